"""Starting and stopping: what a taken port may touch, and how long SIGTERM waits."""
import json
import os
import socket
import subprocess
import time
import unittest

import real_daemon
from real_daemon import PATIENCE, Case, rows_of


def long_rows(n):
    """One call on these takes the tiny model many seconds: n texts that fill its context."""
    words = ' '.join('once upon a time there was a big dog and a little cat' for _ in range(24))
    return ''.join(json.dumps({'text': '%d %s' % (i, words), 'label': ('good', 'bad')[i % 2]}) + '\n' for i in range(n))


class Life(Case):
    def everything(self):
        """All that the database says of jobs, but the time of the last clean stop."""
        tables = ('jobs', 'events', 'calls', 'budgets', 'metrics', 'snapshots', 'checkpoints', 'audit')
        return {table: self.daemon.rows('SELECT * FROM %s' % table) for table in tables}

    def await_rows(self, sql):
        end = time.monotonic() + PATIENCE
        while not self.daemon.rows(sql):
            self.assertLess(time.monotonic(), end, self.daemon.tail())
            time.sleep(0.02)

    def test_a_taken_port_is_found_before_any_job_is_touched(self):
        self.write_task()
        self.submit(self.spec(body={'budget': {'evals': 1000000}}))
        self.await_rows("SELECT 1 FROM jobs WHERE status='running' AND generation>0")
        self.daemon.kill()
        before = self.everything()
        self.assertEqual([row[0] for row in self.daemon.rows('SELECT status FROM jobs')], ['running'])
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen(1)
            port = taken.getsockname()[1]
            p = subprocess.run(self.daemon.command(port), capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual((p.returncode, p.stdout), (4, ''), p.stderr)
        self.assertIn('in use', p.stderr)
        self.assertIn(str(port), p.stderr)
        for table, rows in self.everything().items():
            self.assertTrue(rows == before[table], table)

    def leave_threads(self):
        """This daemon is to leave while its threads are at work, ended ones unjoined: TSan need not call that a leak."""
        was = os.environ.get('TSAN_OPTIONS', '')
        os.environ['TSAN_OPTIONS'] = (was + ':' if was else '') + 'report_thread_leaks=0'
        self.addCleanup(os.environ.__setitem__, 'TSAN_OPTIONS', was)

    def test_a_stop_waits_no_longer_than_it_is_told_to(self):
        self.daemon.stop()
        self.leave_threads()
        self.daemon.args += ['--stop.seconds=1']
        self.daemon.start()
        self.write('train.jsonl', long_rows(2000))
        self.write('dev.jsonl', rows_of(4, 100))
        job = self.submit(self.spec(method='bbt', body={'budget': {'evals': 1000000}}))
        self.await_rows("SELECT 1 FROM calls WHERE state='intent'")
        self.assertEqual(self.daemon.stop(), 0, self.daemon.tail())
        self.assertIn('ev=left', self.daemon.tail())
        self.assertEqual(self.daemon.rows('SELECT status FROM jobs'), [('running',)])
        self.assertEqual(self.daemon.rows('SELECT state FROM calls'), [('intent',)])
        self.daemon.start()                              # all was durable: it is taken up again
        self.await_rows("SELECT 1 FROM jobs WHERE status='running' AND recoveries=1")
        self.ok('job', 'cancel', job)

    def test_a_stop_that_is_quick_enough_leaves_nothing_running(self):
        self.daemon.stop()
        self.daemon.args += ['--stop.seconds=100']
        self.daemon.start()
        self.write_task()
        self.submit(self.spec(body={'budget': {'evals': 1000000}}))
        self.await_rows("SELECT 1 FROM jobs WHERE status='running' AND generation>0")
        self.assertEqual(self.daemon.stop(), 0, self.daemon.tail())
        self.assertNotIn('ev=left', self.daemon.tail())
        self.assertEqual(self.daemon.rows('SELECT status, reason FROM jobs'), [('queued', 'draining')])
        self.assertEqual(self.daemon.rows("SELECT 1 FROM calls WHERE state='intent'"), [])


if __name__ == '__main__':
    real_daemon.main()
