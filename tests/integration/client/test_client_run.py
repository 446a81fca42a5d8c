"""`job run`: the SPEC as people write it, uploads, keys, and the job that comes out."""
import json
import os
import unittest

import cli_case
from cli_case import Case

TRAIN = '{"text":"good","label":"positive"}\n{"text":"bad","label":"negative"}\n'


class Run(Case):
    def run_detached(self, text, *args, **more):
        spec = self.write('spec.json', text)
        done = self.gdfo('job', 'run', spec, '--detach', *args, **more)
        return done

    def sent(self, text, *args):
        done = self.run_detached(text, *args)
        self.assertEqual(done.code, 0, done.err)
        return self.daemon.jobs[done.out.strip()]['spec']

    def test_comments_are_allowed_and_strings_are_left_alone(self):
        spec = self.sent('''// the job
            { "model": "local", /* the
              teacher */ "name": "a // b /* c */ \\" // d", "seed": 7 // last
            }''')
        self.assertEqual(spec, {'model': 'local', 'name': 'a // b /* c */ " // d', 'seed': 7})

    def test_a_fault_names_file_and_line(self):
        for text, words in (('{\n"a": 1,\n}', 'line 3'), ('{"a": 1}\n/* never closed', 'line 2'),
                            ('[1]', 'an array'), ('{"a":1,"a":2}', 'line 1'), ('', 'byte 0')):
            done = self.run_detached(text)
            self.assertEqual(done.code, 2, text)
            self.assertIn('spec.json: ', done.err)
            self.assertIn(words, done.err)
        self.assertEqual(self.gdfo('job', 'run', 'missing.json').code, 2)

    def test_set_changes_adds_and_nests(self):
        spec = self.sent('{"model":"a","method":{"type":"gdfo","gdfo":{"budget":{"evals":5}}},"keep":[1,2.5,null]}',
                         '--set', 'method.gdfo.budget.evals=60', '--set', 'method.gdfo.student=tiny',
                         '--set', 'model=b', '--set', 'metadata.team.name=x', '--set', 'metadata.team.size=3',
                         '--set', 'seed=7', '--set', 'suffix="7"', '--name', '42')
        self.assertEqual(spec, {'model': 'b', 'method': {'type': 'gdfo', 'gdfo': {'budget': {'evals': 60},
                                                                               'student': 'tiny'}},
                                'keep': [1, 2.5, None], 'metadata': {'team': {'name': 'x', 'size': 3}},
                                'seed': 7, 'suffix': '7', 'name': '42'})

    def test_the_last_set_of_a_path_wins(self):
        self.assertEqual(self.sent('{"seed":1}', '-s', 'seed=2', '-s', 'seed=3')['seed'], 3)

    def test_a_set_through_a_value_is_refused(self):
        for words in ('seed.x=1', '=1', 'seed', 'a..b=1', '.a=1', 'a.=1'):
            self.assertEqual(self.run_detached('{"seed":1}', '--set', words).code, 2, words)

    def test_spec_from_stdin(self):
        done = self.ok('job', 'run', '-', '--detach', stdin=b'{"model":"local"}')
        self.assertEqual(self.daemon.jobs[done.out.strip()]['spec'], {'model': 'local'})

    def test_files_are_uploaded_from_beside_the_spec(self):
        os.mkdir(os.path.join(self.folder, 'task'))
        self.write('task/train.jsonl', TRAIN)
        self.write('task/dev.jsonl', TRAIN * 2)
        self.write('task/spec.json', '{"training_file":"@train.jsonl","validation_file":"@dev.jsonl"}')
        done = self.ok('job', 'run', 'task/spec.json', '--detach')
        spec = self.daemon.jobs[done.out.strip()]['spec']
        self.assertEqual(spec, {'training_file': 'file-1', 'validation_file': 'file-2'})
        self.assertEqual([f['content'] for f in self.daemon.files], [(TRAIN * 2).encode(), TRAIN.encode()])
        self.assertEqual(self.daemon.files[1]['filename'], 'train.jsonl')

    def test_a_file_named_on_the_command_line_is_meant_from_here(self):
        os.mkdir(os.path.join(self.folder, 'task'))
        self.write('task/spec.json', '{"training_file":"@train.jsonl"}')
        self.write('mine.jsonl', TRAIN)
        done = self.ok('job', 'run', 'task/spec.json', '--detach', '--set', 'training_file=@mine.jsonl')
        self.assertEqual(self.daemon.jobs[done.out.strip()]['spec'], {'training_file': 'file-1'})

    def test_the_same_content_is_uploaded_once(self):
        self.write('train.jsonl', TRAIN)
        for i in range(2):
            self.assertEqual(self.sent('{"training_file":"@train.jsonl"}')['training_file'], 'file-1')
        self.assertEqual(self.daemon.paths('POST').count('/v1/files'), 1)
        self.write('train.jsonl', TRAIN + TRAIN)
        self.assertEqual(self.sent('{"training_file":"@train.jsonl"}')['training_file'], 'file-2')

    def test_the_search_for_the_same_content_turns_pages(self):
        self.daemon.files = [{'id': 'file-x%d' % i, 'sha256': '%064d' % i, 'content': b''} for i in range(150)]
        self.write('train.jsonl', TRAIN)
        self.assertEqual(self.sent('{"training_file":"@train.jsonl"}')['training_file'], 'file-151')
        self.daemon.files.append(self.daemon.files.pop(0))
        self.assertEqual(self.sent('{"training_file":"@train.jsonl"}')['training_file'], 'file-151')
        self.assertEqual(self.daemon.paths('POST').count('/v1/files'), 1)

    def test_a_missing_file_stops_before_anything_is_made(self):
        done = self.run_detached('{"training_file":"@none.jsonl"}')
        self.assertEqual(done.code, 2)
        self.assertIn('none.jsonl', done.err)
        self.assertEqual(self.daemon.jobs, {})

    def test_a_symbolic_link_to_data_is_followed(self):
        self.write('real.jsonl', TRAIN)
        os.symlink('real.jsonl', os.path.join(self.folder, 'train.jsonl'))
        self.assertEqual(self.sent('{"training_file":"@train.jsonl"}')['training_file'], 'file-1')

    def keys(self):
        return [h.get('idempotency-key') for m, p, h, _ in self.daemon.requests
                if (m, p) == ('POST', '/v1/fine_tuning/jobs')]

    def test_the_key_is_kept_until_there_is_an_answer(self):
        self.daemon.faults['/v1/fine_tuning/jobs'] = (500, 'internal_error')
        self.assertEqual(self.run_detached('{"model":"local"}').code, 1)
        del self.daemon.faults['/v1/fine_tuning/jobs']
        self.assertEqual(self.run_detached('{"model":"local"}').code, 0)
        self.assertEqual(self.run_detached('{"model":"local"}').code, 0)
        first, again, other = self.keys()
        self.assertRegex(first, '^[0-9A-Z]{26}$')
        self.assertEqual(first, again)
        self.assertNotEqual(again, other)
        self.assertEqual(os.listdir(os.path.join(self.folder, '.local/state/gdfo/keys')), [])

    def test_a_home_that_cannot_be_written_is_no_reason_not_to_run(self):
        self.assertEqual(self.run_detached('{"model":"local"}', HOME='/dev/null').code, 0)

    def test_run_watches_to_the_end_and_returns_the_jobs_verdict(self):
        def go_on(job):
            if job['status'] == 'validating_files':
                self.daemon.move('running', job['id'])
                self.daemon.add_event(job['id'], 'metrics', 'm', {'step': 1, 'evals': 20, 'loss_dev': 0.5})
            elif job['status'] == 'running':
                self.daemon.move('succeeded', job['id'], fine_tuned_model='gdfo:local:x:1', reason='completed')
        self.daemon.on_job_read = go_on
        done = self.ok('job', 'run', self.write('s.json', '{"model":"local"}'))
        self.assertIn('validating_files -> running', done.out)
        self.assertIn('metrics  step 1  evals 20  loss_dev 0.5', done.out)
        self.assertIn('succeeded (completed); model gdfo:local:x:1', done.err)
        self.assertIn('gdfo predict gdfo:local:x:1', done.err)

    def test_run_json_is_a_stream_of_documents(self):
        def fail(job):
            if job['status'] != 'failed':
                self.daemon.move('failed', job['id'])
        self.daemon.on_job_read = fail
        done = self.gdfo('job', 'run', self.write('s.json', '{"model":"local"}'), '--json')
        self.assertEqual(done.code, 9)
        kinds = [d['object'] for d in done.lines()]
        self.assertEqual(kinds, ['fine_tuning.job', 'fine_tuning.job.event', 'fine_tuning.job'])
        self.assertEqual(done.lines()[-1]['status'], 'failed')

    def test_detach_json_is_one_document(self):
        done = self.run_detached('{"model":"local"}', '--json=id,status')
        self.assertEqual(list(done.json()), ['id', 'status'])


if __name__ == '__main__':
    cli_case.main()
