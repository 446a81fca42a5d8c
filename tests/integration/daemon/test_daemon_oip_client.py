"""The public client of the protocol, tritonclient[http], reads and asks a gdfod that serves a model.

It lives in a Python of its own: $GDFO_OIP_PYTHON, else the one that deploy/test puts into the cache from
tests/reference/oip/requirements.txt. Without one this test fails and says so.
"""
import os
import subprocess
import unittest

import real_daemon
from real_daemon import Case

CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'reference', 'oip', 'check_client.py')


def oip_python():
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    path = os.environ.get('GDFO_OIP_PYTHON') or os.path.join(cache, 'gdfo', 'oip-venv', 'bin', 'python')
    if not os.path.exists(path):
        raise AssertionError('%s is missing: run deploy/test, or set GDFO_OIP_PYTHON to a Python with the packages of '
                             'tests/reference/oip/requirements.txt' % path)
    return path


class Client(Case):
    args = ('--precision=f32', '--serve.models=local')

    def test_the_public_client_gets_its_numbers(self):
        python = oip_python()
        done = subprocess.run([python, CHECK, '127.0.0.1:%d' % self.daemon.port], capture_output=True, text=True,
                              timeout=real_daemon.PATIENCE)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, 'ok'), done.stderr)


if __name__ == '__main__':
    real_daemon.main()
