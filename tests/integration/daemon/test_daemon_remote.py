"""Teachers over HTTP: one daemon tunes against another that serves its model, and what becomes of a job when the server
dies, forgets or refuses. The same job on the embedded engine is the reference, number for number."""
import json
import os
import time

import real_daemon
from real_daemon import Case, rows_of


def section(url, **more):
    keys = dict({'adapter': 'oip', 'model': 'local', 'local': 'local', 'base_url': url,
                 'allow_cidrs': '127.0.0.0/8'}, **more)
    return '[teacher far]\n' + ''.join('%s = %s\n' % pair for pair in keys.items())


class Remote(Case):
    maxDiff = None

    """self.daemon serves `local` to the other one, `near`, whose teacher `far` it is."""
    args = ('--precision=f32', '--serve.models=local')

    def near(self, **more):
        name = 'near-%d' % len(os.listdir(self.folder))
        path = self.write(name + '.conf', section(self.daemon.url, **more))
        near = real_daemon.RealDaemon(os.path.join(self.folder, name), ['--precision=f32', '--config=' + path])
        self.addCleanup(self.end, near)
        return near.start()

    def result_of(self, job):
        """The rows, bit for bit, and everything that people read but the names of job and teacher."""
        files = self.result(job, daemon=self.near_by)
        about = json.loads(files['result.json'])
        for part in (about, about.get('about', {})):
            for name in ('job', 'teacher', 'teacher_sha256', 'student_is_of_teacher_file', 'created_at'):
                part.pop(name, None)
        rows = files['prompt.safetensors']
        n_header = int.from_bytes(rows[:8], 'little')
        return rows[8 + n_header:], about

    def run_both(self, method, **more):
        """The same job on the embedded engine and over HTTP."""
        jobs = [self.submit(self.spec(method, model=t, **more), daemon=self.near_by) for t in ('local', 'far')]
        self.ok('job', 'wait', *jobs, daemon=self.near_by)
        return jobs

    def answers(self, job):
        return self.near_by.rows('SELECT seq,purpose,n_prompts,n_examples,result FROM calls JOIN jobs USING(jid) '
                                 "WHERE jobs.id=? AND calls.state='done' ORDER BY seq,part", job)

    def spent(self, job):
        return self.near_by.get('/v1/fine_tuning/jobs/' + job)['spend']['evals']

    def until(self, what):
        end = time.monotonic() + real_daemon.PATIENCE
        while not what():
            if time.monotonic() > end:
                self.fail('not within %d s\n%s' % (real_daemon.PATIENCE, self.near_by.tail()))
            time.sleep(0.02)

    def long_job(self, teacher):
        return self.submit(self.spec('bbt', model=teacher, body={'budget': {'evals': 1200}}), daemon=self.near_by)

    def status(self, job):
        row = self.near_by.get('/v1/fine_tuning/jobs/' + job)
        return row['status'] if row['status'] != 'paused' else 'paused: ' + row['reason']

    def test_the_same_job_over_http_and_in_the_process(self):
        self.write_task()
        for form, method in (('json', 'bbt'), ('binary', 'bbt'), ('binary', 'gdfo'), ('json', 'auto')):
            with self.subTest(form=form, method=method):
                self.near_by = self.near(**{'options.format': form})
                near, far = self.run_both(method)
                self.assertEqual([row[:4] for row in self.answers(near)], [row[:4] for row in self.answers(far)])
                self.assertEqual(self.result_of(near), self.result_of(far))

    def test_a_prediction_asks_the_same_teacher(self):
        self.write_task()
        self.write('test.jsonl', rows_of(5, 300))
        self.near_by = self.near()
        near, far = (json.loads(self.ok('predict', job, 'test.jsonl', '--json', daemon=self.near_by).out)['data']
                     for job in self.run_both('bbt'))
        self.assertEqual(near, far)

    def test_a_server_that_dies_pauses_the_job_and_nothing_is_lost(self):
        self.write_task()
        self.near_by = self.near()
        job = self.long_job('far')
        self.until(lambda: self.spent(job) >= 80)
        self.daemon.kill()
        self.until(lambda: self.status(job) == 'paused: teacher_down')
        paid = self.spent(job)
        self.daemon.start()                                     # on the same port
        self.ok('job', 'resume', job, daemon=self.near_by)
        self.ok('job', 'wait', job, daemon=self.near_by)
        self.assertGreater(self.spent(job), paid)
        whole = self.long_job('local')
        self.ok('job', 'wait', whole, daemon=self.near_by)
        self.assertEqual(self.result_of(whole), self.result_of(job))

    def test_a_killed_daemon_counts_the_call_in_flight_and_goes_on(self):
        self.write_task()
        self.near_by = self.near()
        job = self.long_job('far')
        self.until(lambda: self.spent(job) >= 80)
        self.near_by.kill()
        self.near_by.start()
        self.ok('job', 'wait', job, daemon=self.near_by)
        whole = self.long_job('local')
        self.ok('job', 'wait', whole, daemon=self.near_by)
        self.assertEqual(self.result_of(whole), self.result_of(job))
        rows = self.near_by.rows('SELECT seq, attempt, calls.state FROM calls JOIN jobs USING(jid) WHERE jobs.id=?', job)
        for seq, attempt, state in rows:                        # sent and unanswered: counted, and sent once more
            self.assertIn(state, ('done', 'unknown'))
            if state == 'unknown':
                self.assertIn((seq, attempt + 1, 'done'), rows)

    def test_another_model_under_the_old_name_pauses_the_job(self):
        self.write_task()
        self.near_by = self.near()
        job = self.long_job('far')
        self.until(lambda: self.spent(job) >= 80)
        self.ok('job', 'pause', job, daemon=self.near_by)
        self.until(lambda: self.status(job) == 'paused: user')
        self.daemon.stop()
        other = os.path.join(self.daemon.models, 'local.gguf')
        kept = self.read('d', 'models', 'local.gguf')
        with open(other, 'r+b') as f:                           # the same name, other weights
            f.seek(-1, os.SEEK_END)
            f.write(bytes([kept[-1] ^ 1]))
        self.daemon.start()
        self.ok('job', 'resume', job, daemon=self.near_by)
        self.until(lambda: self.status(job) == 'paused: teacher_drift')
        self.assertIn('is another than the one this job was begun on',
                      self.ok('job', 'events', job, daemon=self.near_by).out)

    def test_what_a_teacher_is_not_is_said_with_its_name(self):
        self.write_task()
        self.near_by = self.near(model='other')
        job = self.submit(self.spec('bbt', model='far'), daemon=self.near_by)
        done = self.gdfo('job', 'wait', job, daemon=self.near_by)
        self.assertNotEqual(done.code, 0)
        error = self.near_by.get('/v1/fine_tuning/jobs/' + job)['error']
        self.assertEqual(error['code'], 'teacher_rejected')
        self.assertIn("teacher far: the model's readiness was refused (HTTP 404: model 'other' is not served",
                      error['message'])
        deep = self.spec('bbtv2', model='far', body={'hyperparameters': None})
        done = self.gdfo('job', 'run', deep, '--detach', daemon=self.near_by)
        self.assertIn('method bbtv2 adds rows before every layer', done.err)

    def test_an_address_that_is_not_allowed_is_not_asked(self):
        path = self.write('closed.conf', section(self.daemon.url, allow_cidrs='10.0.0.0/8'))
        closed = real_daemon.RealDaemon(os.path.join(self.folder, 'closed'), ['--precision=f32', '--config=' + path])
        with self.assertRaisesRegex(AssertionError, 'teacher far: base URL: the address 127.0.0.1 is in a private range'):
            closed.start()


if __name__ == '__main__':
    real_daemon.main()
