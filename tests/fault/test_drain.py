#!/usr/bin/env python3
"""SIGTERM in the middle, five times: the daemon ends with 0, jobs stand in the queue, and go on to the same end.

usage: test_drain.py [unittest arguments]      GDFO_KILL_SEED=N repeats the moments of a run
"""
import signal
import time

from survival import Record, Survival, Watch, finish, main, submit

STOPS = 5


class Drain(Survival):
    def stop_at(self, target):
        watch = Watch(self.daemon)
        watch.until(lambda: watch.sum('spent_evals') >= target)
        time.sleep(self.random.uniform(0, 0.02))        # anywhere within a step
        at = watch.sum('spent_evals')
        watch.close()
        self.assertEqual(self.daemon.stop(signal.SIGTERM), 0, self.daemon.words())
        print('stopped: %d evals spent' % at, flush=True)

    def look_at_rest(self):
        """What a stopped daemon leaves: nothing in flight, nobody running, the folder free."""
        record = Record(self.daemon.data)
        for row in record.rows('SELECT id, status, reason, generation FROM jobs'):
            self.assertIn(row['status'], ('validating_files', 'queued', 'succeeded'), row)
            if row['status'] == 'queued' and row['generation'] > 0:
                self.assertEqual(row['reason'], 'draining', row)
                self.assertTrue(record.snapshots(row['id']), 'no snapshot to go on from')
        self.assertEqual(record.rows("SELECT * FROM calls WHERE state<>'done'"), [])
        record.close()

    def test_five_stops_leave_no_trace(self):
        jobs = submit(self.daemon)
        evals = self.total('spent_evals')
        for target in sorted(self.random.uniform(0, 0.9 * evals) for _ in range(STOPS)):
            self.stop_at(target)
            self.look_at_rest()
            self.daemon.start()
        self.assert_same(finish(self.daemon, jobs))

    def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(self):
        jobs = submit(self.daemon)
        watch = Watch(self.daemon)
        watch.until(lambda: watch.sum('spent_evals') >= 40)
        watch.close()
        self.daemon.process.send_signal(signal.SIGTERM)
        time.sleep(self.random.uniform(0, 0.01))
        status = self.daemon.stop(signal.SIGTERM)
        self.assertIn(status, (0, -signal.SIGTERM), self.daemon.words())
        self.daemon.start()
        self.assert_same(finish(self.daemon, jobs))

    def test_workers_and_threads_change_nothing(self):
        self.assert_same(self.run_undisturbed('--sched.workers=1', '--compute.threads=1'))


if __name__ == '__main__':
    main()
