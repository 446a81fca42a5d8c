"""The papers' own setting from a Hugging Face folder: a masked language model as teacher, tuned and used."""
import json
import os
import unittest

import real_daemon
import tiny_masked
from real_daemon import Case, RealDaemon, rows_of

PAPERS = {'template': ' . {text} . It was {mask} .', 'cue': None, 'prompt': 'added', 'position': 'prefix',
          'verbalizer': {'good': 'great', 'bad': 'terrible'}}


class Masked(Case):
    def new_daemon(self, name):
        daemon = RealDaemon(os.path.join(self.folder, name), self.args)
        tiny_masked.write(os.path.join(daemon.models, 'roberta-tiny'))
        self.addCleanup(self.end, daemon)
        return daemon

    def spec_of(self, name, method='bbt', task=None, **more):
        return self.spec(method, name, model='roberta-tiny',
                         body={'task': dict(PAPERS, **(task or {})), 'budget': {'evals': 26},
                               'hyperparameters': {'n_prompt_tokens': 20}}, **more)

    def test_the_papers_setting_end_to_end(self):
        self.write_task()
        self.assertIn('roberta-tiny', self.ok('teacher', 'ls').out)
        job = self.submit(self.spec_of('added.json'))
        self.ok('job', 'wait', job)
        shown = json.loads(self.ok('job', 'show', job, '--json').out)
        self.assertEqual(shown['status'], 'succeeded')
        self.assertLessEqual(shown['spend']['evals'], 26)
        path = self.write('test.jsonl', rows_of(5, 300))
        answers = {}
        for variant in ('tuned', 'tuned_no_head', 'manual', 'calibrated'):
            doc = json.loads(self.ok('predict', job, path, '--variant', variant, '--json').out)
            self.assertEqual((len(doc['data']), doc['labelled']), (10, 10))
            for one in doc['data']:
                self.assertEqual(set(one['lp']), {'good', 'bad'})
            answers[variant] = [one['lp']['good'] for one in doc['data']]
        self.assertNotEqual(answers['tuned_no_head'], answers['manual'])    # the prompt counts
        one = self.ok('predict', job, '--json', stdin=b'Tom cried.\n')
        self.assertEqual(len(json.loads(one.out)['data']), 1)
        self.check_result(job)

    def test_auto_needs_no_student(self):
        self.write_task(4)
        for name, task in (('added.json', {}), ('inserted.json', {'template': '{text}', 'cue': ' It was', 'prompt': 'inserted'})):
            job = self.submit(self.spec_of(name, method='auto', task=task))
            self.ok('job', 'wait', job)
            one = json.loads(self.ok('predict', job, '--json', stdin=b'Tom cried.\n').out)
            self.assertEqual(len(one['data']), 1)

    def check_result(self, job):
        """What is written says what stands around a text; PEFT has no such layout."""
        self.ok('result', job, '-o', 'out')
        about = json.loads(self.read('out', 'result.json'))
        self.assertIn('{mask}', json.dumps(about))
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'out', 'peft')))

    def test_the_same_job_gives_the_same_bytes(self):
        self.write_task()
        other = self.new_daemon('other')
        other.start()
        results = []
        for daemon in (self.daemon, other):
            job = self.submit(self.spec_of('one.json', task={'prompt': 'inserted'}), daemon=daemon)
            self.ok('job', 'wait', job, daemon=daemon)
            results.append(self.result(job, daemon))
        self.assertEqual(results[0], results[1])

    def test_a_head_on_the_hidden_state_at_the_mask(self):
        self.write_task()
        self.write('test.jsonl', rows_of(5, 300))
        for name, task, calls in (('text.json', {}, 1),                      # the mask is the text's: one way to ask
                                  ('cue.json', {'template': '{text}', 'cue': ' It was {mask} .'}, 3)):
            spec = json.loads(open(self.spec_of(name, 'head', dict(task, prompt=None)), encoding='utf-8').read().split('\n', 1)[1])
            spec['method']['head']['hyperparameters'] = {'kind': 'hidden', 'templates': 3}
            job = self.submit(self.write(name, json.dumps(spec)))
            self.ok('job', 'wait', job)
            self.assertEqual(json.loads(self.ok('job', 'show', job, '--json').out)['spend']['evals'], calls)
            doc = json.loads(self.ok('predict', job, 'test.jsonl', '--json').out)
            self.assertEqual((len(doc['data']), doc['usage']['queries']), (10, 10 * calls))

    def refused(self, words, *args, **more):
        job = self.submit(self.spec_of(*args, **more))
        self.assertEqual(self.gdfo('job', 'wait', job).code, 9)
        error = json.loads(self.ok('job', 'show', job, '--json').out)['error']
        self.assertIn(words, error['message'])
        self.assertEqual(error['code'], 'teacher_capability')

    def test_what_cannot_be_is_refused_before_a_call(self):
        self.write_task()
        self.refused('learns a student from the teacher', 'gdfo.json', method='gdfo')
        self.write('spec.json', json.dumps({
            'model': 'local', 'training_file': '@train.jsonl', 'seed': 7,
            'method': {'type': 'bbt', 'bbt': {'task': PAPERS}}}))
        job = self.submit(os.path.join(self.folder, 'spec.json'))
        self.assertEqual(self.gdfo('job', 'wait', job).code, 9)
        self.assertIn('the teacher is no masked language model',
                      json.loads(self.ok('job', 'show', job, '--json').out)['error']['message'])


if __name__ == '__main__':
    real_daemon.main()
