"""gdfod --precision and --memory: what a person asks for, what they are told, and what is kept over restarts and kills."""
import json
import os
import subprocess
import unittest
import urllib.error
import urllib.request

import real_daemon
from real_daemon import Case


class Base(Case):
    args = ('--precision=auto',)

    def daemon_with(self, *args, name='other'):
        other = self.new_daemon(name)
        other.args = list(args)
        return other

    def try_start(self, *args):
        other = self.daemon_with(*args, name='refused')
        return subprocess.run(other.command(0), capture_output=True, text=True, timeout=real_daemon.PATIENCE)

    def shown(self, daemon):
        return daemon.get('/v1/teachers/local')['precision']

    def run_job(self, daemon, **more):
        self.write_task(4)
        job = self.submit(self.spec('bbt', body={'budget': {'evals': 14}}, **more), daemon=daemon)
        self.ok('job', 'wait', job, daemon=daemon)
        return json.loads(self.ok('job', 'show', job, '--json', daemon=daemon).out)

    def events(self, daemon, job):
        return [e['message'] for e in daemon.get('/v1/fine_tuning/jobs/%s/events?limit=100' % job)['data']]

    def log(self, daemon):
        with open(daemon.log, encoding='utf-8', errors='replace') as f:
            return f.read()


class Precision(Base):
    def test_a_word_that_is_no_precision_is_2(self):
        p = self.try_start('--precision', 'fp16')
        self.assertEqual((p.returncode, p.stdout), (2, ''))
        self.assertIn("engine.precision is 'fp16'; want one of f32|bf16|int8|auto", p.stderr)

    def test_each_precision_runs_or_is_refused_in_one_line(self):
        available = self.shown(self.daemon)['available']
        self.assertEqual(available[0], 'f32')
        prints = set()
        for precision in ('f32', 'bf16', 'int8'):
            if precision not in available:
                p = self.try_start('--precision', precision)
                self.assertEqual((p.returncode, p.stdout), (2, ''))
                lines = [line for line in p.stderr.splitlines() if line.startswith('gdfod: ')]
                self.assertEqual(len(lines), 1)
                self.assertIn('cannot compute in %s; available here: %s' % (precision, ', '.join(available)), lines[0])
                continue
            other = self.daemon_with('--precision=' + precision, name=precision).start()
            self.assertIn('ev=engine precision=', self.log(other))
            self.assertEqual((self.shown(other)['setting'], self.shown(other)['in_use']), (precision, precision))
            self.assertEqual(self.shown(other)['measured'], [])
            job = self.run_job(other)
            self.assertEqual(job['precision'], precision)
            self.assertIn('the teacher computes in ' + precision, self.events(other, job['id']))
            folder = os.path.join(self.folder, 'out-' + precision)
            self.ok('result', job['id'], '-o', folder, daemon=other)
            told = [json.loads(self.read(root, name)) for root, _, names in os.walk(folder) for name in names
                    if name.endswith('.json')]
            self.assertIn(precision, [one['about']['precision'] for one in told if 'about' in one])
            self.assertIn(precision, self.ok('job', 'show', job['id'], daemon=other).out)
            answer = json.loads(self.ok('predict', job['id'], '-', '--json', daemon=other, stdin=b'{"text":"Tom ran"}\n').out)
            self.assertEqual(answer['precision'], precision)
            prints.add(other.get('/v1/teachers/local')['fingerprint'])
        self.assertEqual(len(prints), len(available))

    def test_auto_measures_once_and_shows_it(self):
        before = self.shown(self.daemon)
        self.assertEqual(before['setting'], 'auto')
        first = self.run_job(self.daemon)
        told = self.shown(self.daemon)
        self.assertEqual(told['in_use'], first['precision'])
        self.assertEqual({s['name']: s['precision'] for s in self.daemon.get('/v1/students')['data']}['local'], told)
        if len(told['available']) > 1:
            self.assertIsNone(before['in_use'])
            self.assertEqual([m['precision'] for m in told['measured']], told['available'])
            self.assertTrue(any('measuring once' in m for m in self.events(self.daemon, first['id'])))
            for m in told['measured']:
                self.assertEqual(m['faithful'], m['tau'] is not None and m['tau'] >= 0.95 and m['agreement'] >= 0.99)
            fast = [m['precision'] for m in reversed(told['measured']) if m['faithful']]
            self.assertEqual(told['in_use'], fast[0])
        lines = self.log(self.daemon).count('ev=measured')
        self.assertEqual(lines, len(told['measured']))
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual(self.shown(self.daemon), told)
        second = self.run_job(self.daemon, name='again.json')
        self.assertEqual(second['precision'], first['precision'])
        self.assertEqual(self.log(self.daemon).count('ev=measured'), lines)

    def test_killed_while_it_measures_it_measures_again(self):
        self.write_task(4)
        job = self.submit(self.spec('bbt', body={'budget': {'evals': 14}}))
        if len(self.shown(self.daemon)['available']) > 1:
            for _ in range(2000):
                if 'measuring once' in self.log(self.daemon):
                    break
            self.daemon.kill()
            rows = self.daemon.rows('SELECT count(*) FROM model_precisions')[0][0]
            self.assertIn(rows, (0, 2, 3))          # all of a measurement or nothing of it
            self.daemon.start()
        self.ok('job', 'wait', job)
        shown = json.loads(self.ok('job', 'show', job, '--json').out)
        self.assertEqual((shown['status'], shown['precision']), ('succeeded', self.shown(self.daemon)['in_use']))

    def test_a_job_goes_on_in_the_precision_it_was_begun_in(self):
        available = self.shown(self.daemon)['available']
        other = self.daemon_with('--precision=' + available[-1], name='moves').start()
        self.write_task(4)
        job = self.submit(self.spec('bbt', body={'budget': {'evals': 400}, 'hyperparameters': {'popsize': 4}}), daemon=other)
        while json.loads(self.ok('job', 'show', job, '--json', daemon=other).out)['spend']['calls'] == 0:
            pass
        other.kill()
        other.args = ['--precision=f32']
        other.start()
        self.assertEqual(self.shown(other)['in_use'], 'f32')
        self.ok('job', 'cancel', job, daemon=other)
        self.gdfo('job', 'wait', job, daemon=other)
        shown = json.loads(self.ok('job', 'show', job, '--json', daemon=other).out)
        self.assertEqual(shown['precision'], available[-1])
        self.assertIsNone(shown['error'])


class Memory(Base):
    def test_a_job_that_could_never_fit_is_refused_at_creation(self):
        other = self.daemon_with('--memory', '20M', '--precision=f32').start()
        self.write_task(4)
        done = self.gdfo('job', 'run', self.spec('bbt'), daemon=other)
        self.assertEqual(done.code, 1)
        self.assertRegex(done.err, r'needs \d+ bytes of memory .*--memory allows 20971520')
        self.assertEqual(other.get('/v1/fine_tuning/jobs')['data'], [])
        body = json.dumps({'model': 'local', 'training_file': 'file-x',
                           'method': {'type': 'bbt', 'bbt': {'task': {'examples': []}}}}).encode()
        request = urllib.request.Request(other.url + '/v1/fine_tuning/jobs', body, {'Content-Type': 'application/json'})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        self.assertEqual(caught.exception.code // 100, 4)
        caught.exception.close()

    def test_a_model_that_could_never_fit_is_no_teacher(self):
        other = self.daemon_with('--memory=100K', '--precision=f32').start()
        self.assertEqual(other.get('/v1/teachers')['data'], [])
        self.assertRegex(self.log(other), r'ev=model_left_out name="local" why="its weights need \d+ bytes of memory; '
                                          r'--memory allows 102400"')

    def test_jobs_that_do_not_fit_together_run_one_after_the_other(self):
        other = self.daemon_with('--memory=120M', '--precision=f32', '--sched.workers=2').start()
        self.write_task(4)
        jobs = [self.submit(self.spec('bbt', name='%d.json' % i, seed=i, body={'budget': {'evals': 30}}), daemon=other)
                for i in range(3)]
        self.ok('job', 'wait', *jobs, daemon=other)
        for job in jobs:
            self.assertEqual(json.loads(self.ok('job', 'show', job, '--json', daemon=other).out)['status'], 'succeeded')

    def test_a_size_that_is_none_is_2(self):
        p = self.try_start('--memory', '4 gigs')
        self.assertEqual((p.returncode, p.stdout), (2, ''))
        self.assertIn("engine.memory: '4 gigs'; want bytes, or a number with K, M, G or T behind it: 4G", p.stderr)


if __name__ == '__main__':
    real_daemon.main()
