"""What the fault tests share: two concurrent jobs, run undisturbed once, then run again while something happens to them.
Everything that the daemon leaves behind must be equal, byte for byte."""
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
from real_daemon import GDFO, TERMINAL, Daemon, Record, Refused, prompt_of, spec  # noqa: F401 (for the tests)

SEED = int(os.environ.get('GDFO_KILL_SEED') or random.SystemRandom().randrange(1 << 31))


def specs():
    """One job with a student, one without; both in several stages, with dev checks and checkpoints on the way. One text is
    longer than the teacher's context: what is told about that must not depend on who asked first."""
    bbt = spec('bbt', 140, 12)
    bbt['method']['bbt']['task']['examples'].append({'text': 'They ran and ran. ' * 150, 'label': 'happy'})
    return {'gdfo': spec('gdfo', 120, 11), 'bbt': bbt}


def submit(daemon):
    return {name: daemon.create(one) for name, one in specs().items()}


def finish(daemon, jobs):
    """Waits for all, stops the daemon, and reads what is left: by job, everything."""
    for job in jobs.values():
        daemon.wait(job, 'succeeded')
    prompts = {name: prompt_of(daemon, job) for name, job in jobs.items()}
    spends = {name: daemon.job(job)['spend'] for name, job in jobs.items()}
    status = daemon.stop()
    assert status == 0, 'gdfod ended with %d\n%s' % (status, daemon.words())
    record = Record(daemon.data)
    left = {name: dict(record.whole(job), prompt=prompts[name], spend=spends[name]) for name, job in jobs.items()}
    for name, job in jobs.items():
        assert record.sums(job) == record.spend(job), '%s: the ledger\'s rows do not sum to the spend' % name
    assert not record.rows("SELECT 1 FROM calls WHERE state='intent'"), 'a call is still open'
    record.close()
    return left


def first_difference(a, b, path=''):
    """Where two records part, or None."""
    if type(a) is not type(b):
        return '%s: %r and %r' % (path, a, b)
    if isinstance(a, dict):
        for key in sorted(set(a) | set(b), key=str):
            if key not in a or key not in b:
                return '%s.%s: in one only' % (path, key)
            found = first_difference(a[key], b[key], '%s.%s' % (path, key))
            if found:
                return found
    elif isinstance(a, (list, tuple)):
        for i, (x, y) in enumerate(zip(a, b)):
            found = first_difference(x, y, '%s[%d]' % (path, i))
            if found:
                return found
        if len(a) != len(b):
            return '%s: %d and %d of them' % (path, len(a), len(b))
    elif a != b:
        return '%s: %.200r and %.200r' % (path, a, b)
    return None


class Survival(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.undisturbed = cls.run_undisturbed()

    @staticmethod
    def run_undisturbed(*args):
        daemon = Daemon(*args)
        try:
            return finish(daemon, submit(daemon))
        finally:
            daemon.close()

    def setUp(self):
        self.random = random.Random('%d %s' % (SEED, self.id()))
        self.daemon = Daemon()
        self.addCleanup(lambda: self.daemon.close())        # whichever it is by then

    def total(self, column):
        return sum(left['job'][column] for left in self.undisturbed.values())

    def assert_same(self, left):
        for name in self.undisturbed:
            found = first_difference(self.undisturbed[name], left[name], name)
            self.assertIsNone(found, '%s (GDFO_KILL_SEED=%d)\n%s' % (found, SEED, self.daemon.words()))


class Watch:
    """Looks at the tables of a running daemon; a reader in another process is allowed (service.md 8.4, Q1)."""

    def __init__(self, daemon):
        self.daemon, self.record = daemon, Record(daemon.data)

    def close(self):
        self.record.close()

    def sum(self, column):
        return self.record.rows('SELECT coalesce(sum(%s),0) AS n FROM jobs' % column)[0]['n']

    def is_call_open(self):
        return bool(self.record.rows("SELECT 1 FROM calls WHERE state='intent' LIMIT 1"))

    def live(self):
        return [row['id'] for row in self.record.rows('SELECT id, status FROM jobs') if row['status'] not in TERMINAL]

    def until(self, is_so):
        """As soon as it is so: no pause between looks. False when all jobs have ended without it."""
        while not is_so():
            if not self.live():
                return False
            if self.daemon.process.poll() is not None:
                self.daemon.is_alive('being watched')
        return True


def main():
    print('GDFO_KILL_SEED=%d' % SEED, flush=True)
    unittest.main(module='__main__', verbosity=2)
