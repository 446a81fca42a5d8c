"""kill -9, ten times, at moments that nobody chose, over two jobs at once: the end is that of an undisturbed run."""
import json
import os
import random
import time
import unittest

import real_daemon
from real_daemon import Case

KILLS = 10
SPECS = [('gdfo', 7), ('bbt', 8)]


class Kills(Case):
    def submit_both(self, daemon):
        return [self.submit(self.spec(method, name='%s.json' % method, seed=seed, body={
            'budget': {'evals': 600}}), daemon=daemon) for method, seed in SPECS]

    def states(self, jobs):
        return [json.loads(self.ok('job', 'show', job, '--json').out)['status'] for job in jobs]

    def test_ten_kills_leave_no_trace(self):
        self.write_task()
        plain = self.new_daemon('undisturbed').start()
        want = self.submit_both(plain)
        started = time.monotonic()
        self.ok('job', 'wait', *want, daemon=plain)
        length = time.monotonic() - started         # of both jobs; the kills are spread over it
        rng = random.Random(os.environ.get('GDFO_TEST_SEED', '7'))
        jobs = self.submit_both(self.daemon)
        n_live = 0
        for _ in range(KILLS):
            n_live += any(s not in ('succeeded', 'failed') for s in self.states(jobs))
            try:
                # The moment is random; waiting on the process is the clock, for it does not end by itself.
                self.daemon.process.wait(rng.uniform(0, 1.6 * length / KILLS))
                self.fail('gdfod ended by itself\n' + self.daemon.tail())
            except real_daemon.subprocess.TimeoutExpired:
                pass
            self.daemon.kill()
            self.daemon.start()
        self.ok('job', 'wait', *jobs)
        self.assertGreaterEqual(n_live, KILLS // 2, 'the jobs ended before most kills: give them a larger budget')
        for mine, theirs in zip(jobs, want):
            a, b = self.result(mine), self.result(theirs, plain)
            for name in ('prompt.safetensors', 'metrics'):
                self.assertEqual(a[name], b[name], name)
            self.assertEqual(self.ledger(mine), self.ledger(theirs, plain))
            spend = [json.loads(self.ok('job', 'show', j, '--json', daemon=d).out)['spend']
                     for j, d in ((mine, self.daemon), (theirs, plain))]
            self.assertGreaterEqual(spend[0]['queries'], spend[1]['queries'])      # unknown calls count as spent
            self.assertLessEqual(spend[0]['evals'], 600)
        opened = self.daemon.rows("SELECT COUNT(*) FROM calls WHERE state='intent'")[0][0]
        self.assertEqual(opened, 0)
        self.assertEqual(self.daemon.rows('PRAGMA integrity_check'), [('ok',)])


if __name__ == '__main__':
    real_daemon.main()
