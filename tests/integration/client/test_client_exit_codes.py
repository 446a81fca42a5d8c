"""Every exit code of the contract comes out of the program, and nothing else does."""
import os
import socket
import unittest

import cli_case
import fake_daemon
from cli_case import Case

JOB = 'ftjob-01JTEST'


class ExitCodes(Case):
    def test_0_done(self):
        self.assertEqual(self.gdfo('status').code, 0)

    def test_1_a_refused_request_that_has_no_code_of_its_own(self):
        self.daemon.faults['/v1/info'] = (500, 'internal_error')
        done = self.gdfo('status')
        self.assertEqual(done.code, 1)
        self.assertIn('request: 01JREQUEST', done.err)
        self.assertIn('next: ', done.err)

    def test_2_usage(self):
        for words in (['frobnicate'], ['job'], ['job', 'show'], ['job', 'show', JOB, 'two'], ['status', '--nope'],
                      ['job', 'ls', '--limit', '0'], ['job', 'ls', '--limit'], ['job', 'show', '../../etc'],
                      ['job', 'wait', JOB, '--timeout', 'soon'], ['job', 'wait', JOB, '--for', 'rnuning'],
                      ['job', 'events', JOB, '--after', '-1'], ['file', 'show', 'nodash'],
                      ['job', 'metrics', JOB, '--names', 'a&b'], ['predict', 'm', '-', '--variant', 'best'],
                      ['api', 'FETCH', '/v1/info'], ['status', '--url', 'ftp://x'], ['version', '--json=a', '--json'],
                      ['status', '--json', '--url', 'http://a b']):
            done = self.gdfo(*words)
            self.assertEqual(done.code, 2, (words, done.err))
            self.assertIn('next: ', done.err, words)
        self.assertEqual(self.daemon.requests, [])

    def test_3_the_person_says_no(self):
        self.daemon.files.append({'id': 'file-1'})
        running = self.start_on_terminal('file', 'rm', 'file-1')
        running.until('[y/N]')
        os.write(running.terminal, b'n\n')
        self.assertEqual(running.finish(), 3)
        self.assertEqual(len(self.daemon.files), 1)

    def test_3_or_yes_and_nobody_to_ask(self):
        self.daemon.files += [{'id': 'file-1'}, {'id': 'file-2'}, {'id': 'file-3'}]
        running = self.start_on_terminal('file', 'rm', 'file-1')
        running.until('[y/N]')
        os.write(running.terminal, b'y\n')
        self.assertEqual(running.finish(), 0)
        self.assertEqual(self.start_on_terminal('file', 'rm', 'file-2', '--yes').finish(), 0)
        self.ok('file', 'rm', 'file-3')
        self.assertEqual(self.daemon.files, [])

    def test_4_token_missing_or_refused(self):
        self.daemon.token = 'gdfo_right'
        done = self.gdfo('status')
        self.assertEqual(done.code, 4)
        self.assertIn('GDFO_TOKEN', done.err)
        self.assertEqual(self.gdfo('status', GDFO_TOKEN='gdfo_wrong').code, 4)
        self.assertEqual(self.gdfo('status', GDFO_TOKEN='gdfo_right').code, 0)
        self.daemon.faults['/v1/info'] = (403, 'forbidden')
        self.assertEqual(self.gdfo('status', GDFO_TOKEN='gdfo_right').code, 4)

    def test_4_the_token_is_never_printed(self):
        self.daemon.token = 'gdfo_right'
        done = self.gdfo('status', '--json', GDFO_TOKEN='gdfo_sesame')
        self.assertNotIn('sesame', done.out + done.err)

    def test_5_not_found(self):
        done = self.gdfo('job', 'show', 'ftjob-none')
        self.assertEqual(done.code, 5)
        self.assertIn('no job ftjob-none', done.err)

    def test_6_conflict(self):
        self.daemon.add_job('succeeded')
        self.assertEqual(self.gdfo('job', 'pause', JOB).code, 6)
        self.daemon.faults['/v1/info'] = (412, 'rev_mismatch')
        self.assertEqual(self.gdfo('status').code, 6)

    def test_7_unreachable(self):
        self.daemon.stop()
        done = self.gdfo('status')
        self.assertEqual(done.code, 7)
        self.assertIn('start gdfod', done.err)

    def test_7_the_connection_breaks(self):
        self.daemon.cut = True
        self.assertEqual(self.gdfo('status').code, 7)

    def test_7_the_daemon_is_going(self):
        self.daemon.faults['/v1/info'] = (503, 'draining')
        self.assertEqual(self.gdfo('status').code, 7)

    def test_8_budget_or_quota(self):
        self.daemon.faults['/v1/predict'] = (402, 'budget_insufficient')
        self.daemon.faults['/v1/info'] = (429, 'rate_limited')
        self.assertEqual(self.gdfo('predict', 'm', stdin=b'x\n').code, 8)
        self.assertEqual(self.gdfo('status').code, 8)

    def test_9_and_10_the_awaited_job(self):
        self.daemon.add_job('failed', 'ftjob-f', error={'code': 'too_few_examples', 'message': 'one example of "a"'},
                            reason='user_error')
        self.daemon.add_job('cancelled', 'ftjob-c')
        self.daemon.add_job('succeeded', 'ftjob-s')
        for verb in (['job', 'wait'], ['watch']):
            self.assertEqual(self.gdfo(*verb, 'ftjob-s').code, 0)
            self.assertEqual(self.gdfo(*verb, 'ftjob-c').code, 10)
            done = self.gdfo(*verb, 'ftjob-f')
            self.assertEqual(done.code, 9)
        self.assertIn('one example of "a"', done.err)
        self.assertEqual(self.gdfo('job', 'wait', 'ftjob-s', 'ftjob-f', 'ftjob-c').code, 9)

    def test_11_wait_timed_out(self):
        self.daemon.add_job()
        done = self.gdfo('job', 'wait', JOB, '--timeout', '1ms')
        self.assertEqual(done.code, 11)
        self.assertIn('still running', done.err)

    def test_12_verification(self):
        self.daemon.add_job('succeeded')
        self.daemon.lie_about_etag = True
        self.assertEqual(self.gdfo('result', JOB, '-o', 'out').code, 12)
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'out', 'result.json')))

    def test_130_interrupted(self):
        self.daemon.add_job()
        running = self.start('watch', JOB)
        running.until('is running')
        running.interrupt()
        self.assertEqual(running.finish(), 130)
        self.assertIn('goes on without this watcher', running.text)
        self.assertEqual(self.daemon.jobs[JOB]['status'], 'running')

    def test_130_while_no_answer_comes(self):
        with socket.socket() as silent:
            silent.bind(('127.0.0.1', 0))
            silent.listen()
            running = self.start('status', GDFO_URL='http://127.0.0.1:%d' % silent.getsockname()[1])
            peer, _ = silent.accept()
            running.interrupt()
            self.assertEqual(running.finish(), 130)
            peer.close()

    def test_the_list_in_the_help_is_the_list(self):
        codes = self.ok('help', 'exit-codes', '--json').json()
        self.assertEqual(sorted(codes.values()), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 130])
        for code in codes.values():
            self.assertRegex(self.ok('help', 'exit-codes').out, r'(?m)^ *%d  \w' % code)


class Errors(Case):
    def test_json_errors_are_one_document_with_code_and_request(self):
        done = self.gdfo('job', 'show', 'ftjob-none', '--json')
        e = done.json()['error']
        self.assertEqual((e['code'], e['exit'], e['http'], e['request_id']), ('not_found', 5, 404, '01JREQUEST'))
        self.assertTrue(e['next'])

    def test_json_errors_of_usage_and_of_the_wire(self):
        self.assertEqual(self.gdfo('job', 'ls', '--json', '--limit', '101').json()['error']['exit'], 2)
        self.daemon.stop()
        self.assertEqual(self.gdfo('job', 'ls', '--json').json()['error']['code'], 'unreachable')

    def test_all_faults_of_a_request_are_told(self):
        spec = self.write('s.json', '{"seed": -1}')
        done = self.gdfo('job', 'run', spec)
        self.assertEqual(done.code, 1)
        self.assertIn('/seed: -1; want 0..2147483647', done.err)
        self.assertIn('/model: the model is missing', done.err)

    def test_an_answer_that_is_no_json_is_told_as_such(self):
        self.daemon.teachers = lambda *a: fake_daemon.Raw(b'<html>', 'text/html', None)
        done = self.gdfo('teacher', 'ls')
        self.assertEqual(done.code, 1)
        self.assertIn("the daemon's answer", done.err)

    def test_unknown_options_name_those_there_are(self):
        self.assertIn('--detach', self.gdfo('job', 'run', 'x', '--detatch').err)

    def test_every_command_has_help_and_json(self):
        commands = self.ok('help', '--json').json()
        self.assertEqual(len(commands), 23)
        for words in commands:
            done = self.ok(*words.split(), '--help')
            self.assertTrue(done.out.startswith('usage: gdfo ' + words), words)
            self.assertIn('--json', done.out)
            self.assertEqual(self.ok('help', *words.split()).out, done.out)


if __name__ == '__main__':
    cli_case.main()
