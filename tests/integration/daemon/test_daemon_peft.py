"""What `gdfo result` writes is loaded by peft itself, and means to it what it means to us.

peft and torch live in a Python of their own: $GDFO_PEFT_PYTHON, else the one that deploy/test puts into the cache from
tests/reference/prompt/requirements.txt. Without one this test fails and says so.
"""
import os
import subprocess
import unittest

import real_daemon
from real_daemon import Case

CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'reference', 'prompt', 'check_peft.py')


def peft_python():
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    path = os.environ.get('GDFO_PEFT_PYTHON') or os.path.join(cache, 'gdfo', 'peft-venv', 'bin', 'python')
    if not os.path.exists(path):
        raise AssertionError('%s is missing: run deploy/test, or set GDFO_PEFT_PYTHON to a Python with the packages of '
                             'tests/reference/prompt/requirements.txt' % path)
    return path


class Peft(Case):
    def test_peft_loads_the_folder(self):
        python = peft_python()
        self.write_task()
        job = self.submit(self.spec('bbt', body={'task': {'position': 'prefix'}, 'budget': {'evals': 20}}))
        self.ok('job', 'wait', job)
        self.ok('result', job, '-o', 'out')
        folder = os.path.join(self.folder, 'out', 'peft')
        good = subprocess.run([python, CHECK, folder], capture_output=True, text=True, timeout=real_daemon.PATIENCE)
        self.assertEqual((good.returncode, good.stdout.strip()[-2:]), (0, 'ok'), good.stderr)


if __name__ == '__main__':
    real_daemon.main()
