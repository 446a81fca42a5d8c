#!/usr/bin/env python3
"""Many at once: more jobs than workers, predictions and file checks while every worker has a job, and numbers that agree wherever
they are told.

usage: test_many.py [unittest arguments]
"""
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'support'))
from real_daemon import GDFO, Daemon, Refused, examples, prompt_of, spec

ENDLESS = 1000000


def inputs(rows):
    return [{'text': row['text']} for row in rows]


class Case(unittest.TestCase):
    args = ()

    def setUp(self):
        self.daemon = Daemon(*self.args)
        self.addCleanup(self.daemon.close)

    def gdfo(self, *args):
        return subprocess.run([GDFO, *args], capture_output=True, text=True, timeout=240,
                              env=dict(os.environ, GDFO_URL=self.daemon.url, HOME=self.daemon.folder))

    def predict(self, model, rows, variant='tuned'):
        return self.daemon.post('/v1/predict', {'model': model, 'inputs': inputs(rows), 'variant': variant, 'scores': True})


class Many(Case):
    args = ('--sched.workers=4',)

    def test_more_jobs_than_workers_of_every_method(self):
        """Each pair of one spec and seed gives one prompt, whoever ran beside it."""
        specs = [spec('random', 20, 1), spec('bbt', 20, 2), spec('gdfo', 30, 3), spec('bbt', 20, 4, position='prefix')]
        pairs = [(self.daemon.create(one), self.daemon.create(one)) for one in specs]
        for a, b in pairs:
            self.daemon.wait(a, 'succeeded')
            self.daemon.wait(b, 'succeeded')
            self.assertEqual(prompt_of(self.daemon, a), prompt_of(self.daemon, b))
            self.assertEqual(self.daemon.job(a)['spend'], self.daemon.job(b)['spend'])
        prompts = [prompt_of(self.daemon, a)['safetensors'] for a, _ in pairs]
        self.assertEqual(len(set(prompts)), len(prompts), 'different jobs gave one prompt')

    def test_jobs_start_in_the_order_they_came_in(self):
        jobs = [self.daemon.create(spec('random', 20, seed)) for seed in range(7)]
        for job in jobs:
            self.daemon.wait(job, 'succeeded')
        started = [self.daemon.job(job)['started_at'] for job in jobs]
        self.assertEqual(started, sorted(started))


class Busy(Case):
    """Every worker has a job that does not end."""
    args = ('--sched.workers=1',)

    def setUp(self):
        super().setUp()
        self.done = self.daemon.create(spec('bbt', 20, 1))
        self.daemon.wait(self.done, 'succeeded')
        self.endless = self.daemon.create(spec('bbt', ENDLESS, 2))
        self.daemon.wait(self.endless, 'running')

    def test_a_bad_file_is_told_at_once(self):
        bad = spec('bbt', 20, 3)
        bad['method']['bbt']['task']['examples'] = examples(0, 1)[:1]
        job = self.daemon.create(bad)
        found = self.daemon.wait(job, 'failed')
        self.assertEqual(found['error']['code'], 'too_few_examples')
        self.assertEqual(self.daemon.job(self.endless)['status'], 'running')

    def test_the_next_job_is_checked_and_stands_in_the_queue(self):
        job = self.daemon.create(spec('bbt', 20, 3))
        self.assertEqual(self.daemon.wait(job, 'queued')['progress']['queue_position'], 0)
        done = self.gdfo('job', 'wait', job, '--timeout', '1')
        self.assertEqual(done.returncode, 11, done.stderr)
        self.daemon.act(self.endless, 'cancel')
        self.daemon.wait(self.endless, 'cancelled')
        self.daemon.wait(job, 'succeeded')

    def test_predictions_are_answered_beside_it(self):
        rows = examples(300, 8)
        alone = self.predict(self.done, rows)['data']
        answers, threads = {}, []

        def ask(i):
            answers[i] = self.predict(self.done, rows)['data']
        for i in range(8):
            threads.append(threading.Thread(target=ask, args=(i,)))
            threads[-1].start()
        for t in threads:
            t.join()
        self.assertEqual(len(answers), 8)
        for got in answers.values():
            self.assertEqual(got, alone)
        self.assertEqual(self.daemon.job(self.endless)['status'], 'running')

    def test_a_running_job_answers_with_its_best_so_far(self):
        self.daemon.until('a first checkpoint', lambda: self.daemon.job(self.endless)['best'])
        self.assertEqual(len(self.predict(self.endless, examples(300, 2))['data']), 4)

    def test_it_stops_while_predictions_wait(self):
        """An answer or a refusal for everybody, and exit 0."""
        statuses = []

        def ask():
            try:
                statuses.append(self.daemon.ask('POST', '/v1/predict', {'model': self.done, 'inputs': inputs(examples(300, 100))})[0])
            except (AssertionError, OSError):
                statuses.append(0)                          # came too late to be let in
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for t in threads:
            t.start()
        self.assertEqual(self.daemon.stop(), 0, self.daemon.words())
        for t in threads:
            t.join()
        self.assertEqual(len(statuses), 6)
        self.assertEqual([s for s in statuses if s not in (0, 200, 503)], [])


class Numbers(Case):
    """What tuning told and what serving answers are computed apart; they have to agree."""

    def series(self, job, name):
        return self.daemon.get('/v1/fine_tuning/jobs/%s/metrics?names=%s' % (job, name))['series'][name]['y']

    @staticmethod
    def accuracy(answer, rows):
        return sum(one['label'] == row['label'] for one, row in zip(answer['data'], rows)) / len(rows)

    @staticmethod
    def cross_entropy(answer, rows):
        return -sum(one['lp'][row['label']] for one, row in zip(answer['data'], rows)) / len(rows)

    def check(self, method):
        train, dev = examples(0, 8), examples(100, 4)
        job = self.daemon.create(spec(method, 60, 9))
        found = self.daemon.wait(job, 'succeeded')
        best = found['best']['step']
        page = self.daemon.get('/v1/fine_tuning/jobs/%s/metrics?names=loss_dev_best&x=step' % job)['series']['loss_dev_best']
        loss_dev = dict(zip(page['x'], page['y']))[best]
        tuned = self.predict(job, dev)
        self.assertAlmostEqual(self.cross_entropy(tuned, dev), loss_dev, places=5)
        self.assertAlmostEqual(self.accuracy(tuned, dev), found['best']['value'], places=6)
        manual = self.predict(job, train, 'manual')
        self.assertAlmostEqual(self.cross_entropy(manual, train), self.series(job, 'loss_plain_train')[0], places=5)
        plain = self.predict(job, dev, 'manual')
        self.assertAlmostEqual(self.accuracy(plain, dev), self.series(job, 'metric_plain_dev')[0], places=6)
        calibrated = self.predict(job, dev, 'calibrated')
        self.assertAlmostEqual(self.cross_entropy(calibrated, dev), self.series(job, 'loss_calibrated_dev')[0], places=5)
        self.assertAlmostEqual(self.accuracy(calibrated, dev), self.series(job, 'metric_calibrated_dev')[0], places=6)
        for answer in (tuned, plain, calibrated, self.predict(job, dev, 'tuned_no_head')):
            for one in answer['data']:
                self.assertAlmostEqual(sum(math.exp(v) for v in one['lp'].values()), 1, places=5)
                self.assertAlmostEqual(one['probability'], math.exp(max(one['lp'].values())), places=6)
                self.assertTrue(0 <= one['mass'] <= 1.000001, one)

    def test_with_a_student(self):
        self.check('gdfo')

    def test_without(self):
        self.check('bbt')

    def test_the_same_by_every_name_of_the_prompt(self):
        job = self.daemon.create(spec('bbt', 20, 1))
        found = self.daemon.wait(job, 'succeeded')
        rows = examples(300, 3)
        by_job = self.predict(job, rows)
        for name in (found['fine_tuned_model'], by_job['checkpoint']):
            self.assertEqual(self.predict(name, rows)['data'], by_job['data'])

    def test_caps_hold_in_every_unit(self):
        for cap, value, spent in (('evals', 33, 'evals'), ('queries', 500, 'queries'), ('tokens_in', 20000, 'tokens_in'),
                                  ('tokens_out', 3000, 'tokens_out')):
            one = spec('bbt', 1, 7)
            one['method']['bbt']['budget'] = {cap: value}
            found = self.daemon.wait(self.daemon.create(one), 'succeeded')
            used = found['spend'][spent] + (found['spend']['dev_queries'] if cap == 'queries' else 0)
            self.assertLessEqual(used, value, cap)
            self.assertGreater(used, value * 0.6, cap)

    def test_a_budget_that_runs_out_fails_when_asked_to(self):
        one = spec('bbt', 30, 7)
        one['method']['bbt']['budget'] = {'evals': ENDLESS, 'wall_seconds': 1, 'on_exhausted': 'fail'}
        found = self.daemon.wait(self.daemon.create(one), 'failed')
        self.assertEqual((found['reason'], found['error']['code']), ('budget_exhausted', 'budget_exhausted'))

    def test_a_prompt_that_is_not_there_yet(self):
        bad = spec('bbt', 20, 3)
        bad['method']['bbt']['task']['examples'] = examples(0, 1)[:1]
        job = self.daemon.create(bad)
        self.daemon.wait(job, 'failed')
        with self.assertRaises(Refused) as refused:
            self.predict(job, examples(0, 1))
        self.assertEqual(refused.exception.status, 409)

    def test_wrong_inputs_are_named(self):
        job = self.daemon.create(spec('bbt', 20, 1))
        self.daemon.wait(job, 'succeeded')
        status, answer = self.daemon.ask('POST', '/v1/predict', {'model': job, 'inputs': [
            {'text': 'one'}, {'text_a': 'one', 'text_b': 'two'}]})
        self.assertEqual((status, answer['error']['param']), (400, 'inputs.1'), answer)
        with tempfile.NamedTemporaryFile('w', suffix='.jsonl') as f:
            f.write(json.dumps({'text': 'fine'}) + '\n' + '{"text":\n')
            f.flush()
            done = self.gdfo('predict', job, f.name)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn('line 2', done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
