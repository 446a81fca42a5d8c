"""Jobs of `head`: a classifier on the plain prompt's answers, from the spec to a prediction."""
import json
import unittest

import real_daemon
from real_daemon import Case, rows_of

LABELS = {'good', 'bad'}
VARIANTS = ('tuned', 'tuned_alone', 'tuned_no_head', 'manual', 'calibrated')


class Head(Case):
    def head(self, templates=0, **more):
        fields = {k: None for k in ('n_prompt_tokens', 'intrinsic_dim', 'popsize')}
        return self.spec('head', body={'hyperparameters': {**fields, 'templates': templates, **more},
                                       'evaluation': None})

    def predict(self, job, variant):
        return json.loads(self.ok('predict', job, 'test.jsonl', '--variant', variant, '--json').out)

    def check(self, job, calls, voices):
        shown = json.loads(self.ok('job', 'show', job, '--json').out)
        self.assertEqual((shown['status'], shown['spend']['evals']), ('succeeded', calls))
        self.assertEqual(shown['spend']['dev_queries'], calls * 16)
        answers = {}
        for variant in VARIANTS if voices else VARIANTS[:1]:
            doc = self.predict(job, variant)
            self.assertEqual(len(doc['data']), 10)
            self.assertEqual(doc['usage']['queries'], 10 * voices.get(variant, 1), variant)
            for one in doc['data']:
                self.assertEqual(set(one['lp']), LABELS)
            answers[variant] = doc['data']
        self.assertEqual(answers.get('manual'), answers.get('tuned_no_head'))    # there are no rows to tell them apart

    def test_kinds_from_spec_to_prediction(self):
        self.write_task()
        self.write('test.jsonl', rows_of(5, 300))
        three = {'tuned': 3}
        plan = [('auto', 0, 1, {}), ('anchors', 3, 3, three), ('dect', 0, 1, {}),
                ('mpd', 3, 3, dict(three, tuned_alone=3)), ('promptboost', 3, 3, dict(three, tuned_alone=3)),
                ('verbalizer', 0, 1, {}), ('blank', 0, 1, {})]
        jobs = [self.submit(self.head(templates, kind=kind)) for kind, templates, _, _ in plan]
        self.ok('job', 'wait', *jobs)
        for job, (kind, _, calls, voices) in zip(jobs, plan):
            with self.subTest(kind):
                self.check(job, calls, voices)
                if not voices:
                    continue
                result = self.result(job)
                self.assertEqual(sorted(result), ['metrics', 'result.json'])     # no rows, so no file of rows
                about = json.loads(result['result.json'])['about']
                self.assertEqual(len(about['committee']), calls if calls > 1 else 0)
                self.assertEqual(about['head']['kind'], kind)
        self.assertIn('on the plain prompt; want json', self.ok('result', jobs[0], '-o', 'again').err)

    def test_kill_9_between_templates_gives_the_same_bytes(self):
        self.write_task()
        spec = self.head(8, kind='hidden')
        job = self.submit(spec)
        self.ok('job', 'wait', job, '--for', 'running')
        self.daemon.kill()
        self.daemon.start()
        self.ok('job', 'wait', job)
        plain = self.submit(spec)
        self.ok('job', 'wait', plain)
        self.assertEqual(self.result(job), self.result(plain))
        self.assertEqual(self.ledger(job), self.ledger(plain))

    def test_what_a_kind_cannot_be_is_refused(self):
        self.write_task()
        done = self.gdfo('job', 'run', self.head(kind='anchors', n_anchors=0), '--detach')
        self.assertNotEqual(done.code, 0)
        self.assertIn('kind anchors needs n_anchors of 1 or more', done.err)


if __name__ == '__main__':
    real_daemon.main()
