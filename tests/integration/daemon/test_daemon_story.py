"""The main job, end to end: submitted, followed, kept, used; over restarts of every kind."""
import json
import os
import signal
import unittest

import real_daemon
from real_daemon import Case, rows_of

LABELS = {'good', 'bad'}


class Story(Case):
    def test_a_job_from_spec_to_prediction(self):
        self.write_task()
        done = self.ok('job', 'run', self.spec(), '--json')
        docs = [json.loads(line) for line in done.out.splitlines()]
        job = docs[-1]
        self.assertEqual((docs[0]['object'], docs[0]['status']), ('fine_tuning.job', 'validating_files'))
        self.assertEqual(job['status'], 'succeeded')
        self.assertTrue(job['fine_tuned_model'].startswith('gdfo:local:'), job['fine_tuned_model'])
        self.assertLessEqual(job['spend']['evals'], 40)
        self.assertGreater(job['spend']['evals'], 20)
        self.assertGreater(job['spend']['dev_queries'], 0)
        events = [d for d in docs if d['object'] == 'fine_tuning.job.event']
        seqs = [e['seq'] for e in events]
        self.assertEqual(seqs, sorted(set(seqs)))
        moves = [(e['data']['from'], e['data']['to']) for e in events if e['type'] == 'status']
        self.assertEqual(moves[-1], ('running', 'succeeded'))
        self.assertTrue(any(e['type'] == 'metrics' for e in events))
        self.check_lists(job)
        self.check_predictions(job)

    def check_lists(self, job):
        self.assertIn(job['id'], self.ok('job', 'ls').out)
        self.assertIn('succeeded', self.ok('job', 'show', job['id']).out)
        self.assertIn('local', self.ok('teacher', 'ls').out)
        names = [line.split('\t')[1] for line in self.ok('file', 'ls').out.splitlines()]
        self.assertIn('train.jsonl', names)
        self.assertIn('dev.jsonl', names)
        curves = json.loads(self.ok('job', 'metrics', job['id'], '--json').out)['series']
        for name in ('loss_train', 'loss_dev', 'accuracy_dev'):
            self.assertIn(name, curves)
            self.assertGreater(curves[name]['n'], 0)

    def check_predictions(self, job):
        path = self.write('test.jsonl', rows_of(5, 300))
        for model in (job['id'], job['fine_tuned_model']):
            for variant in ('tuned', 'tuned_alone', 'tuned_no_head', 'manual', 'calibrated'):
                doc = json.loads(self.ok('predict', model, path, '--variant', variant, '--json').out)
                self.assertEqual((len(doc['data']), doc['labelled']), (10, 10))
                for one in doc['data']:
                    self.assertIn(one['label'], LABELS)
                    self.assertEqual(set(one['lp']), LABELS)
                    self.assertEqual(max(one['lp'], key=one['lp'].get), one['label'])
        one_by_one = [self.ok('predict', job['id'], stdin=(json.loads(line)['text'] + '\n').encode()).out
                      for line in rows_of(2, 300).splitlines()]
        together = self.ok('predict', job['id'], stdin=b''.join(
            (json.loads(line)['text'] + '\n').encode() for line in rows_of(2, 300).splitlines())).out
        self.assertEqual(''.join(one_by_one), together)

    def test_the_result_is_the_same_bytes_twice(self):
        self.write_task()
        first, second = (self.submit(self.spec()) for _ in range(2))
        self.ok('job', 'wait', first, second)
        a, b = self.result(first), self.result(second)
        self.assertEqual(sorted(a), ['metrics', 'prompt.safetensors', 'result.json'])   # a suffix prompt: no peft
        self.assertEqual(a['prompt.safetensors'], b['prompt.safetensors'])
        self.assertEqual(a['metrics'], b['metrics'])
        self.assertEqual(self.ledger(first), self.ledger(second))

    def test_another_seed_is_another_prompt(self):
        self.write_task()
        first, second = self.submit(self.spec()), self.submit(self.spec(), '--set', 'seed=8')
        self.ok('job', 'wait', first, second)
        self.assertNotEqual(self.result(first)['prompt.safetensors'], self.result(second)['prompt.safetensors'])

    def test_every_method_runs_and_a_prefix_prompt_has_a_peft_folder(self):
        self.write_task()
        jobs = {m: self.submit(self.spec(m, body={'task': {'position': 'prefix'}})) for m in
                ('random', 'bbt', 'gdfo', 'auto')}
        self.ok('job', 'wait', *jobs.values())
        for method, job in jobs.items():
            files = self.result(job)
            self.assertIn('peft/adapter_config.json', files, method)
            config = json.loads(files['peft/adapter_config.json'])
            self.assertEqual((config['peft_type'], config['num_virtual_tokens'], config['token_dim']),
                             ('PROMPT_TUNING', 4, 64))
            self.assertGreater(len(files['peft/adapter_model.safetensors']), 4 * 64 * 4)
        shown = json.loads(self.ok('job', 'show', jobs['auto'], '--json').out)
        self.assertEqual(shown['method']['type'], 'auto')
        self.assertIn('committee', self.ok('job', 'events', jobs['auto']).out)

    def test_pause_resume_and_cancel(self):
        self.write_task()
        plain = self.submit(self.spec(body={'budget': {'evals': 400}}))
        job = self.submit(self.spec(body={'budget': {'evals': 400}}))
        self.ok('job', 'wait', job, '--for', 'running')
        self.ok('job', 'pause', job)
        self.ok('job', 'wait', job, '--for', 'paused')
        spent = json.loads(self.ok('job', 'show', job, '--json').out)['spend']
        self.ok('job', 'pause', job)                         # pausing a paused one is no error
        self.ok('job', 'resume', job)
        other = self.submit(self.spec(body={'budget': {'evals': 100000}}))
        self.ok('job', 'wait', job, plain)
        after = json.loads(self.ok('job', 'show', job, '--json').out)['spend']
        self.assertGreaterEqual(after['queries'], spent['queries'])
        self.assertEqual(self.result(job)['prompt.safetensors'], self.result(plain)['prompt.safetensors'])
        self.ok('job', 'cancel', other)
        self.assertEqual(self.gdfo('job', 'wait', other).code, 10)
        self.ok('job', 'cancel', other)
        self.assertEqual(self.gdfo('job', 'pause', other).code, 6)

    def test_a_watcher_rides_over_kill_9(self):
        self.write_task()
        spec = self.spec(body={'budget': {'evals': 400}})
        plain = self.submit(spec)
        self.ok('job', 'wait', plain)
        running = self.start('job', 'run', spec)
        seen = []
        for line in running.stdout:
            seen.append(line)
            if '  metrics  ' in line:
                break
        self.daemon.kill()
        for line in running.stdout:
            seen.append(line)
            if 'connection lost' in line:
                break
        self.daemon.start()
        seen += running.stdout.readlines()
        text = ''.join(seen)
        self.assertEqual(running.wait(real_daemon.PATIENCE), 0, text + self.daemon.tail())
        self.assertIn('connected again', text)
        self.assertIn('succeeded', text)
        job = text.split('created ')[1].split()[0]
        a, b = self.result(job), self.result(plain)
        self.assertEqual(a['prompt.safetensors'], b['prompt.safetensors'])
        self.assertEqual(a['metrics'], b['metrics'])
        self.assertEqual(self.ledger(job), self.ledger(plain))

    def test_sigterm_is_exit_0_and_the_job_goes_on_after_it(self):
        self.write_task()
        spec = self.spec(body={'budget': {'evals': 400}})
        job = self.submit(spec)
        self.ok('job', 'wait', job, '--for', 'running')
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.ok('job', 'wait', job)
        plain = self.submit(spec)
        self.ok('job', 'wait', plain)
        self.assertEqual(self.result(job)['prompt.safetensors'], self.result(plain)['prompt.safetensors'])

    def test_ledger_and_spend_agree(self):
        self.write_task()
        job = self.submit(self.spec())
        self.ok('job', 'wait', job)
        spend = json.loads(self.ok('job', 'show', job, '--json').out)['spend']
        sums = dict(self.daemon.rows(
            "SELECT CASE purpose WHEN 'dev' THEN 'dev' ELSE 'train' END, SUM(n_queries) FROM calls JOIN jobs USING(jid) "
            "WHERE jobs.id=? AND calls.state IN ('done','unknown') GROUP BY 1", job))
        tokens = self.daemon.rows("SELECT SUM(used_in) FROM calls JOIN jobs USING(jid) WHERE jobs.id=?", job)[0][0]
        self.assertEqual(sums.get('dev', 0), spend['dev_queries'])
        self.assertIn(spend['queries'], (sums['train'], sums['train'] + sums.get('dev', 0)))
        self.assertEqual(tokens, spend['tokens_in'])


if __name__ == '__main__':
    real_daemon.main()
