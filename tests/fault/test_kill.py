#!/usr/bin/env python3
"""kill -9, ten times, at random moments of two concurrent jobs: both end as if nothing had happened.

usage: test_kill.py [unittest arguments]       GDFO_KILL_SEED=N repeats the moments of a run, GDFO_KILLS=N changes their number
"""
import os
import signal
import time

from survival import Survival, Watch, finish, main, submit

KILLS = int(os.environ.get('GDFO_KILLS') or 10)


class Kill(Survival):
    def pause(self, most):
        time.sleep(self.random.uniform(0, most))        # the moment itself is the subject: it has to be spread

    def plan(self):
        """The moments, in order: while files are validated, then in calls, at commits and anywhere over the run, then while
        each of the two jobs finishes."""
        between = [self.random.choice(('call', 'commit', 'any')) for _ in range(KILLS - 6)] + ['call', 'commit', 'any']
        self.random.shuffle(between)
        evals = self.total('spent_evals')
        targets = sorted(self.random.uniform(0, 0.95 * evals) for _ in between)
        return [('validating', 0)] + list(zip(between, targets)) + [('finishing', 1), ('finishing', 2)]

    def reach(self, watch, jobs, moment, target):
        if moment == 'validating':
            self.pause(0.03)
        elif moment == 'finishing':                     # every call of so many jobs is answered: the rest is the end's own work
            wanted = {jobs[name]: left['job']['spent_calls'] for name, left in self.undisturbed.items()}
            watch.until(lambda: sum(row['spent_calls'] == wanted[row['id']] for row in
                                    watch.record.rows('SELECT id, spent_calls FROM jobs')) >= target)
            self.pause(0.02)
        else:
            watch.until(lambda: watch.sum('spent_evals') >= target)
            if moment == 'call':
                watch.until(watch.is_call_open)
            elif moment == 'commit':
                before = watch.sum('generation')
                watch.until(lambda: watch.sum('generation') > before)
                self.pause(0.002)
            else:
                self.pause(0.05)

    def test_ten_kills_leave_no_trace(self):
        jobs = submit(self.daemon)
        n_live = 0
        for moment, target in self.plan():
            watch = Watch(self.daemon)
            self.reach(watch, jobs, moment, target)
            n_live += bool(watch.live())
            at = watch.sum('spent_evals')
            watch.close()
            self.assertEqual(self.daemon.stop(signal.SIGKILL), -signal.SIGKILL)
            print('killed: %s, %d evals spent' % (moment, at), flush=True)
            self.daemon.start()
        self.assertGreaterEqual(n_live, KILLS - 1, 'the kills came too late to matter')
        self.assert_same(finish(self.daemon, jobs))


if __name__ == '__main__':
    main()
