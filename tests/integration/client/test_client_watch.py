"""`watch`, `wait`, `events -f`: following a job, over restarts of the daemon, on a terminal and off it."""
import os
import re
import time
import unittest

import cli_case
from cli_case import Case

JOB = 'ftjob-01JTEST'


class Plain(Case):
    def test_every_event_is_a_line_and_comes_once(self):
        self.daemon.add_job()
        for i in range(3):
            self.daemon.add_event(message='number %d' % i)
        running = self.start('watch', JOB)
        running.until('number 2')
        self.daemon.add_event(message='later on', level='warn')
        running.until('! message  later on')
        self.daemon.move('succeeded')
        self.assertEqual(running.finish(), 0)
        self.assertEqual([running.text.count('number %d' % i) for i in range(3)], [1, 1, 1])

    def test_metrics_are_shown_against_the_budget(self):
        self.daemon.add_job()
        running = self.start('watch', JOB)
        running.until('is running')
        self.daemon.add_event(type_='metrics', data={'step': 4, 'evals': 56, 'queries': 1792, 'loss_dev': 0.25,
                                                     'accuracy_dev': 0.875, 'loss_gen_mean': 9.5})
        running.until('metrics  step 4  evals 56 of 100  1m40s left  loss_dev 0.25  accuracy_dev 0.875')
        self.assertNotIn('9.5', running.text)

    def test_a_long_history_begins_with_the_last_few(self):
        self.daemon.add_job('succeeded')
        for i in range(250):
            self.daemon.add_event(message='number %d.' % i)
        done = self.ok('watch', JOB)
        self.assertNotIn('number 239.', done.out)
        self.assertIn('number 240.', done.out)
        self.assertIn('number 249.', done.out)

    def test_a_restart_is_survived_and_nothing_is_missed_or_repeated(self):
        self.daemon.add_job()
        self.daemon.add_event(message='before')
        running = self.start('watch', JOB)
        running.until('before')
        self.daemon.stop()
        running.until('connection lost')
        self.daemon.add_event(message='meanwhile')
        self.daemon.start()
        running.until('connected again')
        running.until('meanwhile')
        self.daemon.move('succeeded')
        self.assertEqual(running.finish(), 0)
        self.assertEqual(running.text.count('message  before'), 1)
        self.assertEqual(running.text.count('message  meanwhile'), 1)

    def test_a_draining_daemon_is_waited_for(self):
        self.daemon.add_job()
        running = self.start('watch', JOB)
        running.until('is running')
        self.daemon.faults['/v1/'] = (503, 'draining')
        running.until('connection lost')
        self.daemon.faults.clear()
        running.until('connected again')
        self.daemon.move('succeeded')
        self.assertEqual(running.finish(), 0)

    def test_interrupted_while_the_daemon_is_away(self):
        self.daemon.add_job()
        running = self.start('watch', JOB)
        running.until('is running')
        self.daemon.stop()
        running.until('connection lost')
        running.interrupt()
        self.assertEqual(running.finish(), 130)
        self.assertIn('goes on without this watcher', running.text)

    def test_a_job_that_is_not_there_is_told_at_once(self):
        self.assertEqual(self.gdfo('watch', 'ftjob-none').code, 5)

    def test_control_characters_do_not_reach_the_terminal(self):
        self.daemon.add_job('succeeded')
        self.daemon.add_event(message='red \x1b[31m, bell \x07, turned \u202e')
        done = self.ok('watch', JOB)
        self.assertIn('red ?[31m, bell ?, turned ???', done.out)

    def test_watch_json_is_events_and_then_the_job(self):
        self.daemon.add_job('succeeded')
        self.daemon.add_event(message='one')
        docs = self.ok('watch', JOB, '--json').lines()
        self.assertEqual([d['object'] for d in docs], ['fine_tuning.job.event', 'fine_tuning.job'])

    def test_wait_for_a_status(self):
        self.daemon.add_job('queued')
        running = self.start('job', 'wait', JOB, '--for', 'paused')
        while not self.daemon.paths():
            running.pump(0.05)
        self.daemon.move('paused')
        self.assertEqual(running.finish(), 0)
        self.assertIn('%s\tpaused' % JOB, running.text)

    def test_wait_rides_over_a_restart_too(self):
        self.daemon.add_job()
        running = self.start('job', 'wait', JOB, '--timeout', '1m')
        while not self.daemon.paths():
            running.pump(0.05)
        self.daemon.stop()
        running.until('connection lost')
        self.daemon.jobs[JOB]['status'] = 'succeeded'
        self.daemon.start()
        self.assertEqual(running.finish(), 0)

    def test_wait_json_is_one_document(self):
        self.daemon.add_job('failed')
        done = self.gdfo('job', 'wait', JOB, '--json=id,status')
        self.assertEqual((done.code, done.json()), (9, {'id': JOB, 'status': 'failed'}))

    def test_events_turn_pages(self):
        self.daemon.add_job()
        for i in range(230):
            self.daemon.add_event(message='n%d' % i)
        done = self.ok('job', 'events', JOB, '--json')
        self.assertEqual([d['seq'] for d in done.lines()], list(range(1, 231)))
        done = self.ok('job', 'events', JOB, '--after', '228')
        self.assertEqual([line.split('\t')[0] for line in done.out.splitlines()], ['229', '230'])

    def test_events_follow_ends_with_the_job_whatever_its_end(self):
        self.daemon.add_job()
        running = self.start('job', 'events', JOB, '-f')
        self.daemon.add_event(message='first')
        running.until('first')
        self.daemon.move('failed')
        self.assertEqual(running.finish(), 0)


class Live(Case):
    def test_the_view_shows_budget_time_losses_and_curve(self):
        self.daemon.add_job()
        self.daemon.add_event(message='a word')
        running = self.start_on_terminal('watch', JOB)
        running.until('a word')
        text = running.until('loss_dev')
        for words in ('running', JOB, 'gdfo on local', '40 of 100 evals', 'ETA 1m40s', 'queries 1280',
                      'best loss_dev 0.4', 'dev accuracy 0.9', 'generation 3 of 10', '\u2588'):
            self.assertIn(words, text)
        self.daemon.move('succeeded')
        self.assertEqual(running.finish(), 0)
        self.assertIn('succeeded', running.text)

    def test_it_redraws_in_place_and_at_most_four_times_a_second(self):
        self.daemon.add_job()
        started = time.monotonic()
        running = self.start_on_terminal('watch', JOB)
        running.until('\x1b[J', 3)
        draws = running.text.count('40 of 100 evals')
        self.assertLessEqual(draws, 4 * (time.monotonic() - started) + 1)
        heights = set(re.findall(r'\x1b\[(\d+)A', running.text))
        self.assertTrue(heights <= {'6', '7', '8'}, heights)

    def test_lines_never_pass_the_width(self):
        self.daemon.add_job(status_detail='x' * 300)
        running = self.start_on_terminal('watch', JOB, columns=60, NO_COLOR='1')
        running.until('\x1b[J')
        for line in re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', running.text).splitlines():
            self.assertLessEqual(len(line), 60)

    def test_a_restart_shows_and_passes(self):
        self.daemon.add_job()
        running = self.start_on_terminal('watch', JOB)
        running.until('40 of 100')
        self.daemon.stop()
        running.until('the job is safe')
        self.daemon.jobs[JOB]['spend']['evals'] = 77
        self.daemon.start()
        running.until('77 of 100')

    def test_ctrl_c_on_the_terminal(self):
        self.daemon.add_job()
        running = self.start_on_terminal('watch', JOB)
        running.until('40 of 100')
        running.interrupt()
        self.assertEqual(running.finish(), 130)
        self.assertIn('goes on without this watcher', running.text)

    def test_a_dumb_terminal_gets_lines(self):
        self.daemon.add_job('succeeded')
        self.daemon.add_event(message='a word')
        running = self.start_on_terminal('watch', JOB, TERM='dumb')
        self.assertEqual(running.finish(), 0)
        self.assertNotIn('\x1b', running.text)
        self.assertIn('message  a word', running.text)

    def test_no_color_means_none(self):
        self.daemon.add_job()
        running = self.start_on_terminal('watch', JOB, NO_COLOR='1')
        running.until('40 of 100')
        self.assertNotRegex(running.text, r'\x1b\[[0-9;]*m')


if __name__ == '__main__':
    cli_case.main()
