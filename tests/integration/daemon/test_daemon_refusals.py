"""Bad input of every kind: one clear line each, the right status or exit code, and nothing lost."""
import json
import os
import socket
import subprocess
import unittest

import real_daemon
from real_daemon import Case, RealDaemon, rows_of


class Jobs(Case):
    def failed(self, train, words, code, dev=None, **more):
        """A job on this training text fails for the reason told, before it asks the teacher anything."""
        self.write('train.jsonl', train)
        self.write('dev.jsonl', dev if dev is not None else rows_of(4, 100))
        job = self.submit(self.spec(**more))
        done = self.gdfo('job', 'wait', job)
        self.assertEqual(done.code, 9, self.daemon.tail())
        shown = json.loads(self.ok('job', 'show', job, '--json').out)
        self.assertEqual(shown['error']['code'], code, shown['error'])
        self.assertIn(words, shown['error']['message'] + ' ' + str(shown['error']['param']))
        self.assertEqual(shown['spend']['calls'], 0)
        return shown

    def test_malformed_lines_are_named(self):
        good = rows_of(4, 0)
        shown = self.failed(good + '{"text":"no end","label":\n', '9', 'invalid_training_file')
        self.assertIn('training_file:9', shown['error']['param'])
        for bad in ('{"text":"a"}\n', '{"label":"good"}\n', '{"text":"","label":"good"}\n', '[1]\n', 'plain\n',
                    '{"text":"a","label":"good","lable":1}\n', '{"text":"a","label":{}}\n'):
            shown = self.failed('\n' + good + bad, '10', 'invalid_training_file')
            self.assertIn('training_file:10', shown['error']['param'], bad)

    def test_too_few_examples(self):
        self.failed('{"text":"a","label":"good"}\n', 'label', 'too_few_examples')
        self.failed('', '', 'too_few_examples')

    def test_a_label_without_a_verbalizer(self):
        self.failed(rows_of(4, 0) + '{"text":"c","label":"neutral"}\n', 'neutral', 'label_set_mismatch')

    def test_validation_with_a_label_that_training_lacks(self):
        self.failed(rows_of(4, 0), 'odd', 'label_set_mismatch', dev=rows_of(4, 100) + '{"text":"c","label":"odd"}\n',
                    body={'task': {'verbalizer': {'odd': 'very'}}})

    def test_labels_that_share_tokens(self):
        self.write('train.jsonl', rows_of(4, 0))
        self.write('dev.jsonl', rows_of(4, 100))
        spec = self.spec(body={'task': {'verbalizer': {'good': 'big', 'bad': 'big'}}})
        done = self.gdfo('job', 'run', spec)
        self.assertIn(done.code, (1, 9))
        self.assertIn('big', done.err)

    def test_all_faults_of_a_spec_are_told_at_once(self):
        self.write_task()
        spec = self.spec(body={'budget': {'evals': -1}, 'hyperparameters': {'popsiez': 4}}, seed=-1)
        done = self.gdfo('job', 'run', spec)
        self.assertEqual(done.code, 1)
        for words in ('popsiez', 'evals', 'seed', 'request: '):
            self.assertIn(words, done.err)
        self.assertEqual(self.ok('job', 'ls').out, '')

    def test_a_teacher_that_is_not_there(self):
        self.write_task()
        done = self.gdfo('job', 'run', self.spec(model='nobody'))
        self.assertIn(done.code, (1, 5))
        self.assertIn('nobody', done.err)

    def test_a_student_that_is_the_teacher_needs_the_flag(self):
        self.write_task()
        done = self.gdfo('job', 'run', self.spec(body={'student': 'local', 'hyperparameters': {
            'student_layers': 5, 'allow_same_student': False}}))
        self.assertIn(done.code, (1, 9), done.err)
        self.assertIn('allow_same_student', done.err + done.out)

    def test_what_is_not_there_is_5_everywhere(self):
        for words in (['job', 'show'], ['job', 'events'], ['job', 'metrics'], ['job', 'pause'], ['job', 'cancel'],
                      ['watch'], ['result'], ['job', 'wait']):
            done = self.gdfo(*words, 'ftjob-01JZZZZZZZZZZZZZZZZZZZZZZZ')
            self.assertEqual(done.code, 5, (words, done.err))
            self.assertIn('request: ', done.err)
        for words in (['file', 'show'], ['file', 'get'], ['file', 'rm']):
            self.assertEqual(self.gdfo(*words, 'file-01JZZZZZZZZZZZZZZZZZZZZZZZ').code, 5)
        self.assertEqual(self.gdfo('predict', 'ftjob-01JZZZZZZZZZZZZZZZZZZZZZZZ', stdin=b'x\n').code, 5)

    def test_a_file_in_use_stays(self):
        self.write_task()
        job = self.submit(self.spec(body={'budget': {'evals': 100000}}))
        file_id = json.loads(self.ok('job', 'show', job, '--json').out)['training_file']
        self.assertEqual(self.gdfo('file', 'rm', file_id).code, 6)
        self.ok('job', 'cancel', job)
        self.gdfo('job', 'wait', job)
        self.ok('file', 'rm', file_id)

    def test_files_come_back_byte_for_byte(self):
        path = self.write('train.jsonl', rows_of(20, 0))
        file_id = self.ok('file', 'put', path).out.strip()
        self.ok('file', 'get', file_id, '-o', 'back.jsonl')
        self.assertEqual(self.read('back.jsonl'), self.read('train.jsonl'))


class Starts(Case):
    """Reasons not to start, each with its exit code and a line that names the culprit."""

    def refused(self, daemon, code, *words, port=None):
        p = subprocess.run(daemon.command(port), capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           timeout=real_daemon.PATIENCE)
        self.assertEqual(p.returncode, code, p.stderr)
        self.assertEqual(p.stdout, '')
        for word in words:
            self.assertIn(word, p.stderr)
        return p.stderr

    def test_a_folder_in_use_is_3(self):
        self.refused(self.daemon, 3, 'in use', 'pid %d' % self.daemon.process.pid, port=0)
        self.assertEqual(self.daemon.get('/healthz')['status'], 'ok')

    def test_a_port_in_use_is_4(self):
        other = self.new_daemon('other')
        self.refused(other, 4, str(self.daemon.port), port=self.daemon.port)
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            self.refused(other, 4, str(taken.getsockname()[1]), port=taken.getsockname()[1])

    def test_wrong_settings_are_2(self):
        other = self.new_daemon('other')
        for word, culprit in (('--http.prot=1', 'http.prot'), ('--http.port=70000', '70000'), ('--sched.workers=0', '0'),
                              ('stray', 'stray')):
            other.args = [word]
            self.refused(other, 2, culprit, port=0)

    def test_broken_model_files_are_named_and_the_rest_is_served(self):
        other = self.new_daemon('other')
        with open(real_daemon.shared(real_daemon.TINY), 'rb') as f:
            whole = f.read()
        spoiled = {'cut.gguf': whole[:len(whole) // 2], 'head.gguf': whole[:20], 'empty.gguf': b'',
                   'lies.gguf': whole[:8] + b'\xff' * 8 + whole[16:], 'text.gguf': b'hello',
                   'big-00001-of-00002.safetensors': b'\2\0\0\0\0\0\0\0{}'}
        for name, data in spoiled.items():
            with open(os.path.join(other.models, name), 'wb') as f:
                f.write(data)
        other.start()
        names = self.ok('teacher', 'ls', daemon=other).out
        self.assertIn('local\t', names)
        for name in spoiled:
            self.assertIn(name.split('.')[0], other.tail())
            self.assertNotIn(name.split('.')[0] + '\t', names)
        self.assertIn('big-00001-of-00002.safetensors: one shard of several', other.tail())


if __name__ == '__main__':
    real_daemon.main()
