#!/usr/bin/env python3
"""Pause, resume and cancel at random moments, with restarts and kills in between.

usage: test_pause.py [unittest arguments]      GDFO_KILL_SEED=N repeats the moments of a run
"""
import signal
import time

from survival import TERMINAL, Daemon, Record, Refused, Survival, Watch, finish, first_difference, main, spec, submit

PAUSES = 3


class Pause(Survival):
    def run_on(self, more):
        """Lets the jobs spend so many evals more, and a little."""
        watch = Watch(self.daemon)
        target = watch.sum('spent_evals') + more
        watch.until(lambda: watch.sum('spent_evals') >= target)
        watch.close()
        time.sleep(self.random.uniform(0, 0.02))

    def at_rest(self):
        """The ledger, of which no row may be open."""
        record = Record(self.daemon.data)
        rows = record.rows('SELECT jid, seq, part, attempt, state FROM calls')
        self.assertEqual([row for row in rows if row['state'] != 'done'], [])
        statuses = [row['status'] for row in record.rows('SELECT status FROM jobs')]
        record.close()
        return rows, statuses

    def pause_all(self, jobs):
        for job in jobs.values():
            if self.daemon.job(job)['status'] not in TERMINAL:
                try:
                    self.daemon.act(job, 'pause')
                except Refused as e:                    # it ended between the question and the request
                    self.assertEqual((e.status, e.body['error']['code']), (409, 'invalid_transition'))
                self.daemon.wait(job, 'paused', 'succeeded')

    def resume_all(self, jobs):
        for job in jobs.values():
            if self.daemon.job(job)['status'] == 'paused':
                self.assertIn(self.daemon.act(job, 'resume')['status'], ('queued', 'running'))

    def test_paused_and_resumed_leave_no_trace(self):
        jobs = submit(self.daemon)
        for _ in range(PAUSES):
            self.run_on(self.random.uniform(5, 60))
            self.pause_all(jobs)
            before = self.at_rest()
            how = self.random.choice((signal.SIGKILL, signal.SIGTERM))
            self.daemon.stop(how)
            self.daemon.start()
            self.assertEqual(self.at_rest(), before, 'a paused job did something')
            self.resume_all(jobs)
        self.assert_same(finish(self.daemon, jobs))

    def test_killed_while_pausing_is_paused(self):
        jobs = submit(self.daemon)
        self.run_on(30)
        asked = [job for job in jobs.values() if self.daemon.act(job, 'pause')['status'] in ('pausing', 'paused')]
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        for job in asked:
            found = self.daemon.job(job)
            self.assertEqual((found['status'], found['reason']), ('paused', 'user'))
        self.resume_all(jobs)
        self.assert_same(finish(self.daemon, jobs))

    def test_asking_twice_is_asking_once(self):
        job = self.daemon.create(spec('bbt', 140, 12))
        self.run_on(10)
        self.assertIn(self.daemon.act(job, 'pause')['status'], ('pausing', 'paused'))
        self.assertIn(self.daemon.act(job, 'pause')['status'], ('pausing', 'paused'))
        self.daemon.wait(job, 'paused')
        self.assertIn(self.daemon.act(job, 'resume')['status'], ('queued', 'running'))
        self.assertIn(self.daemon.act(job, 'resume')['status'], ('queued', 'running'))
        self.daemon.wait(job, 'succeeded')
        for verb in ('pause', 'resume', 'cancel'):
            with self.assertRaises(Refused) as refused:
                self.daemon.act(job, verb)
            self.assertEqual((refused.exception.status, refused.exception.body['error']['code']), (409, 'invalid_transition'))


class Cancel(Survival):
    def cancelled(self, job):
        found = self.daemon.wait(job, 'cancelled')
        self.assertEqual(found['reason'], 'user')
        self.assertIsNotNone(found['finished_at'])
        self.assertIsNone(found['fine_tuned_model'])
        self.assertIsNone(found['error'])
        last = self.daemon.events(job)[-1]
        self.assertEqual((last['type'], last['data']['to'], last['data']['reason']), ('status', 'cancelled', 'user'))
        return found

    def until_spent(self, job, evals):
        self.daemon.until('%s to spend %d evals' % (job, evals), lambda: self.daemon.job(job)['spend']['evals'] >= evals)

    def test_the_other_job_ends_as_if_alone(self):
        jobs = submit(self.daemon)
        self.until_spent(jobs['gdfo'], 20)
        self.daemon.act(jobs['gdfo'], 'cancel')
        found = self.cancelled(jobs['gdfo'])
        spent = found['spend']
        self.daemon.wait(jobs['bbt'], 'succeeded')
        self.assertEqual(self.daemon.job(jobs['gdfo'])['spend'], spent, 'a cancelled job spent more')
        self.assertGreater(len(self.daemon.content(jobs['gdfo'], 'json')['rows']), 0, 'the best prompt so far is kept')
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.cancelled(jobs['gdfo'])
        self.assertEqual(self.daemon.act(jobs['gdfo'], 'cancel')['status'], 'cancelled')
        left = finish(self.daemon, {'bbt': jobs['bbt']})
        self.assertIsNone(first_difference(self.undisturbed['bbt'], left['bbt']))
        record = Record(self.daemon.data)
        self.assertEqual(record.snapshots(jobs['gdfo']), [], 'a job at its end needs no resume point')
        self.assertEqual(record.sums(jobs['gdfo']), record.spend(jobs['gdfo']))
        record.close()

    def test_in_every_state_of_waiting(self):
        self.daemon.close()
        self.daemon = Daemon('--sched.workers=1')
        running = self.daemon.create(spec('bbt', 5000, 12))
        fresh = self.daemon.create(spec('bbt', 140, 13))
        self.assertIn(self.daemon.act(fresh, 'cancel')['status'], ('cancelled', 'cancelling'))
        self.cancelled(fresh)
        queued = self.daemon.create(spec('bbt', 140, 14))
        self.daemon.wait(queued, 'queued', 'running')
        paused = self.daemon.create(spec('bbt', 140, 15))
        self.daemon.wait(paused, 'queued', 'running')
        self.daemon.act(paused, 'pause')
        self.daemon.wait(paused, 'paused')
        for job in (queued, paused, running):
            self.daemon.act(job, 'cancel')
            self.cancelled(job)

    def test_killed_after_the_answer_is_cancelled(self):
        for _ in range(3):
            job = self.daemon.create(spec('gdfo', 5000, 11))
            self.until_spent(job, self.random.randrange(1, 60))
            self.daemon.act(job, 'cancel')
            self.daemon.stop(signal.SIGKILL)
            self.daemon.start()
            self.assertEqual(self.daemon.job(job)['status'], 'cancelled')
            self.cancelled(job)

    def test_pause_and_cancel_at_once_end_cancelled(self):
        for _ in range(4):
            job = self.daemon.create(spec('bbt', 5000, 12))
            self.until_spent(job, self.random.randrange(1, 60))
            self.daemon.act(job, 'pause')
            self.daemon.act(job, 'cancel')
            self.cancelled(job)


if __name__ == '__main__':
    main()
