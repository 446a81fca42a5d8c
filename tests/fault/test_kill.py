#!/usr/bin/env python3
"""kill -9, ten times, at random moments of two concurrent jobs: both end as if nothing had happened.

usage: test_kill.py [unittest arguments]       GDFO_KILL_SEED=N repeats the moments of a run, GDFO_KILLS=N changes their number
"""
import os
import signal
import time

from survival import Daemon, Survival, Watch, finish, main, submit

KILLS = int(os.environ.get('GDFO_KILLS') or 10)


class Kill(Survival):
    def pause(self, most):
        time.sleep(self.random.uniform(0, most))        # the moment itself is the subject: it has to be spread

    def plan(self):
        """The moments, in order: while files are validated, then in calls, at commits and anywhere over the run, then while
        each of the two jobs finishes."""
        between = [self.random.choice(('call', 'commit', 'any')) for _ in range(max(0, KILLS - 6))] + ['call', 'commit', 'any']
        self.random.shuffle(between)
        return ['validating'] + between + ['finishing', 'filed']

    def reach(self, watch, jobs, moment, n_left):
        if moment == 'validating':
            self.pause(0.03)
        elif moment == 'finishing':                     # every call of a job is answered: the rest is the end's own work
            wanted = {jobs[name]: left['job']['spent_calls'] for name, left in self.undisturbed.items()}
            watch.until(lambda: any(row['spent_calls'] == wanted[row['id']] and row['status'] == 'running' for row in
                                    watch.record.rows('SELECT id, status, spent_calls FROM jobs')))
            self.pause(0.02)
        elif moment == 'filed':                         # its metrics file is kept, its last move is not made
            watch.until(lambda: watch.record.rows("SELECT 1 FROM job_results JOIN jobs USING(jid) WHERE status='running'"))
        else:                                           # spread over what is left of the run, however far it got meanwhile
            spent = watch.sum('spent_evals')
            target = spent + self.random.uniform(0, 1.5 * max(0, self.total('spent_evals') - spent) / n_left)
            watch.until(lambda: watch.sum('spent_evals') >= target)
            if moment == 'call':
                watch.until(watch.is_call_open)
            elif moment == 'commit':
                before = watch.sum('generation')
                watch.until(lambda: watch.sum('generation') > before)
                self.pause(0.002)
            else:
                self.pause(0.05)

    def kill_over_and_over(self):
        """One run of both jobs; how many kills met a job that had not ended."""
        jobs = submit(self.daemon)
        moments = self.plan()
        n_kills = 0
        while moments:
            watch = Watch(self.daemon)
            self.reach(watch, jobs, moments[0], len(moments))
            live, at = watch.live(), watch.sum('spent_evals')
            watch.close()
            if not live:
                break
            self.assertEqual(self.daemon.stop(signal.SIGKILL), -signal.SIGKILL)
            print('killed: %s, %d evals spent' % (moments.pop(0), at), flush=True)
            n_kills += 1
            self.daemon.start()
        self.assert_same(finish(self.daemon, jobs))
        return n_kills

    def test_ten_kills_leave_no_trace(self):
        n_kills = self.kill_over_and_over()
        while n_kills < KILLS:                          # a busy machine let the jobs end too soon: the rest on a run of its own
            self.daemon.close()
            self.daemon = Daemon()
            n_kills += self.kill_over_and_over()


if __name__ == '__main__':
    main()
