"""A real gdfod for a story: its own folder, a free port, the tiny model stories260K as teacher and student.

usage of the test programs: test_x.py FOLDER-OF-BINARIES [unittest arguments]
Shared files are found at $GDFO_SHARED, else ../shared from the working folder; a missing one fails the test.
"""
import hashlib
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

BIN = None
SHARED = os.path.abspath(os.environ.get('GDFO_SHARED') or '../shared')
TINY = 'models/stories260K/stories260K.derived.gguf'
PATIENCE = 120                      # seconds any one wait may take before the test fails


def shared(relative):
    path = os.path.join(SHARED, relative)
    if not os.path.exists(path):
        raise AssertionError('shared file %s is missing: set GDFO_SHARED to the folder that holds it' % path)
    return path


class RealDaemon:
    def __init__(self, folder, args=()):
        self.folder, self.args, self.port, self.process = folder, list(args), 0, None
        self.data, self.models = os.path.join(folder, 'data'), os.path.join(folder, 'models')
        self.log = os.path.join(folder, 'gdfod.log')
        os.makedirs(self.models, exist_ok=True)
        if not os.path.exists(os.path.join(self.models, 'local.gguf')):
            shutil.copy(shared(TINY), os.path.join(self.models, 'local.gguf'))

    @property
    def url(self):
        return 'http://127.0.0.1:%d' % self.port

    def command(self, port=None):
        return [os.path.join(BIN, 'gdfod'), '--data.dir=' + self.data, '--models.dir=' + self.models,
                '--http.port=%d' % (self.port if port is None else port), *self.args]

    def start(self):
        """Starts, or starts again on the same port, and returns once it serves."""
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        out, line = self.process.stdout.fileno(), b''
        end = time.monotonic() + PATIENCE
        while not line.endswith(b'\n'):
            if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError('no ready line in %d s\n%s' % (PATIENCE, self.tail()))
            piece = os.read(out, 1)
            if not piece:
                raise AssertionError('gdfod ended with %s before it was ready\n%s' % (self.process.wait(), self.tail()))
            line += piece
        words = line.decode().split()
        if len(words) != 2 or words[0] != 'ready' or not words[1].startswith('http://127.0.0.1:'):
            raise AssertionError('the first line is %r' % line)
        self.port = int(words[1].rsplit(':', 1)[1])
        return self

    def signal(self, number):
        """Sends a signal and waits for the end; the exit status."""
        self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError('gdfod did not end within %d s\n%s' % (PATIENCE, self.tail()))
        finally:
            self.process.stdout.close()
        self.process = None
        return code

    def kill(self):
        return self.signal(signal.SIGKILL)

    def stop(self):
        return self.signal(signal.SIGTERM)

    def tail(self):
        with open(self.log, 'rb') as f:
            return '---- the daemon\'s log\n' + f.read()[-16384:].decode(errors='replace') + '---- end of it'

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.loads(answer.read())

    def rows(self, sql, *args):
        """Reads the database of a daemon that is stopped (or beside one that runs, read-only)."""
        db = sqlite3.connect('file:%s?mode=ro' % os.path.join(self.data, 'gdfod.db'), uri=True)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(errors='replace'), err.decode(errors='replace')


class Case(unittest.TestCase):
    """One daemon in a folder of its own; stopped in the end with exit status 0 expected. In float32 unless a story is
    about precision: `auto` would first measure the model, which says nothing here and takes a minute under TSan."""
    args = ('--precision=f32',)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='gdfo-story-')
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.daemon = self.new_daemon('d')
        self.daemon.start()

    def new_daemon(self, name):
        daemon = RealDaemon(os.path.join(self.folder, name), self.args)
        self.addCleanup(self.end, daemon)
        return daemon

    def end(self, daemon):
        if daemon.process:
            code = daemon.stop()
            if code != 0:
                raise AssertionError('gdfod ended with %s\n%s' % (code, daemon.tail()))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return path

    def read(self, *names):
        with open(os.path.join(self.folder, *names), 'rb') as f:
            return f.read()

    def env(self, daemon=None):
        env = dict(os.environ, GDFO_URL=(daemon or self.daemon).url, HOME=self.folder, TERM='dumb')
        env.pop('GDFO_TOKEN', None)
        return env

    def gdfo(self, *args, stdin=b'', daemon=None):
        p = subprocess.run([os.path.join(BIN, 'gdfo'), *args], input=stdin, capture_output=True,
                           env=self.env(daemon), cwd=self.folder, timeout=PATIENCE)
        return Done(p.returncode, p.stdout, p.stderr)

    def ok(self, *args, **more):
        done = self.gdfo(*args, **more)
        if done.code != 0:
            self.fail('%s gave %d\n%s\n%s\n%s' % (args, done.code, done.out, done.err,
                                                (more.get('daemon') or self.daemon).tail()))
        return done

    def start(self, *args):
        p = subprocess.Popen([os.path.join(BIN, 'gdfo'), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env=self.env(), cwd=self.folder, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(lambda: p.poll() is None and p.kill())
        return p

    # ---- a task that costs nothing ----

    def write_task(self, n=8, train='train.jsonl', dev='dev.jsonl'):
        self.write(train, rows_of(n, 0))
        self.write(dev, rows_of(n, 100))

    def spec(self, method='gdfo', name='spec.json', **more):
        body = {'task': {'template': '{text}', 'cue': ' It was', 'position': 'suffix',
                         'verbalizer': {'good': 'big', 'bad': 'little'}},
                'budget': {'evals': 40}, 'hyperparameters': {'n_prompt_tokens': 4, 'intrinsic_dim': 16, 'popsize': 8},
                'evaluation': {'every_queries': 320}}
        merge(body, more.pop('body', {}))
        spec = {'model': 'local', 'training_file': '@train.jsonl', 'validation_file': '@dev.jsonl', 'seed': 7,
                'method': {'type': method, method: body}}
        merge(spec, more)
        return self.write(name, '// made by the test\n' + json.dumps(spec))

    def submit(self, spec, *args, daemon=None):
        return self.ok('job', 'run', spec, '--detach', *args, daemon=daemon).out.strip()

    def result(self, job, daemon=None):
        """Every byte a job leaves, but for the ids in it, which are made from the clock."""
        folder = tempfile.mkdtemp(prefix='result-', dir=self.folder)
        self.ok('result', job, '-o', folder, daemon=daemon)
        out = {}
        for root, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(root, name), 'rb') as f:
                    data = re.sub(rb'(ft[a-z]+|file)-[0-9A-Z]{26}', b'\\1-NAMED-BY-THE-CLOCK', f.read())
                out[os.path.relpath(os.path.join(root, name), folder)] = data
        lines = [line.split(',') for line in self.ok('job', 'metrics', job, '--csv', daemon=daemon).out.splitlines()]
        clock = lines[0].index('at_ms')
        out['metrics'] = [line[:clock] + line[clock + 1:] for line in lines]
        return out

    def ledger(self, job, daemon=None):
        """What was asked and answered, in order; a call sent again after a crash has one answer all the same."""
        daemon = daemon or self.daemon
        return daemon.rows('SELECT seq,part,purpose,request_sha256,n_prompts,n_examples,n_queries,used_in,used_out,'
                           'result,result_sha256 FROM calls JOIN jobs USING(jid) WHERE jobs.id=? AND calls.state=\'done\' '
                           'ORDER BY seq,part', job)


def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value


ADJECTIVES = ['red', 'old', 'small', 'big', 'quiet', 'blue', 'soft', 'warm', 'tall', 'round']
THINGS = ['cat', 'ball', 'tree', 'dog', 'car', 'bird', 'cake', 'boat', 'hat', 'frog']


def rows_of(n, offset):
    """n short texts of each label, no two alike."""
    lines = []
    for i in range(n):
        k = offset + i
        thing = '%s %s %d' % (ADJECTIVES[k % 10], THINGS[(k // 3) % 10], k)
        lines.append({'text': 'Lily smiled and played with the %s.' % thing, 'label': 'good'})
        lines.append({'text': 'Tom cried and lost the %s.' % thing, 'label': 'bad'})
    return ''.join(json.dumps(line) + '\n' for line in lines)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def main():
    global BIN
    BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(module='__main__', verbosity=1)
