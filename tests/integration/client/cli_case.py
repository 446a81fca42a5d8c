"""What the client's test programs share: run gdfo, in a pipe or on a terminal, against a fake daemon.

usage: test_x.py PATH-OF-GDFO [unittest arguments]
"""
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import fcntl
import time
import unittest

from fake_daemon import FakeDaemon

GDFO = None
PATIENCE = float(os.environ.get('GDFO_TEST_PATIENCE', '8'))     # seconds a step may take before the test fails


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A gdfo that runs while the test goes on; `until` waits for words in what it printed."""

    def __init__(self, process, fds):
        self.process, self.fds, self.text = process, list(fds), ''

    def pump(self, timeout):
        ready, _, _ = select.select(self.fds, [], [], timeout)
        for fd in ready:
            try:
                data = os.read(fd, 65536)
            except OSError:                     # a terminal whose other end has closed
                data = b''
            if data:
                self.text += data.decode(errors='replace')
            else:
                self.fds.remove(fd)

    def until(self, words, count=1):
        end = time.monotonic() + PATIENCE
        while self.text.count(words) < count:
            if not self.fds or time.monotonic() > end:
                raise AssertionError('%r did not come %d time(s) in:\n%s' % (words, count, self.text))
            self.pump(0.1)
        return self.text

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def finish(self):
        end = time.monotonic() + PATIENCE
        while self.fds and time.monotonic() < end:
            self.pump(0.1)
        code = self.process.wait(PATIENCE)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Case(unittest.TestCase):
    def setUp(self):
        self.daemon = FakeDaemon()
        self.addCleanup(self.daemon.stop)
        self.folder = tempfile.mkdtemp(prefix='gdfo-cli-')
        self.addCleanup(shutil.rmtree, self.folder, True)

    def env(self, **more):
        env = dict(os.environ, GDFO_URL=self.daemon.url, HOME=self.folder, TERM='xterm')
        for name in ('GDFO_TOKEN', 'XDG_STATE_HOME', 'NO_COLOR'):
            env.pop(name, None)
        env.update(more)
        return env

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return path

    def read(self, *name):
        with open(os.path.join(self.folder, *name), 'rb') as f:
            return f.read()

    def gdfo(self, *args, stdin=b'', **env):
        p = subprocess.run([GDFO, *args], input=stdin, capture_output=True, env=self.env(**env),
                           cwd=self.folder, timeout=60)
        return Done(p.returncode, p.stdout.decode(errors='replace'), p.stderr.decode(errors='replace'))

    def ok(self, *args, **more):
        done = self.gdfo(*args, **more)
        self.assertEqual(done.code, 0, '%s\n%s\n%s' % (args, done.out, done.err))
        return done

    def start(self, *args, **env):
        p = subprocess.Popen([GDFO, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env=self.env(**env), cwd=self.folder)
        running = Running(p, [p.stdout.fileno()])
        self.addCleanup(p.stdout.close)
        self.addCleanup(running.close)
        return running

    def start_on_terminal(self, *args, columns=100, **env):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 30, columns, 0, 0))
        p = subprocess.Popen([GDFO, *args], stdin=theirs, stdout=theirs, stderr=theirs,
                             env=self.env(**env), cwd=self.folder, start_new_session=True)
        os.close(theirs)
        running = Running(p, [ours])
        running.terminal = ours
        self.addCleanup(os.close, ours)
        self.addCleanup(running.close)
        return running


def main():
    global GDFO
    GDFO = os.path.abspath(sys.argv.pop(1))
    unittest.main(module='__main__', verbosity=1)
