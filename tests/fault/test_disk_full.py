#!/usr/bin/env python3
"""The disk fills up under two running jobs: they stop, everything is still served, writes are refused with one clear line; when
there is room again they go on by themselves and end as if nothing had happened.

usage: test_disk_full.py [unittest arguments]
Two kinds of full. A small tmpfs in a mount namespace of the test's own, where the machine lets anybody have one (user
namespaces, or root). And on every machine: a limit on the size of the running daemon's files, set and lifted from outside
(RLIMIT_FSIZE), so that no write of a byte succeeds. The same faults are played below SQLite by test_store_full.c.
"""
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

from survival import GDFO, Daemon, Record, Survival, Watch, finish, main, submit

DISK = '40m'
BALLAST_MIB = 4


def stop_once_spent(daemon, evals):
    """Holds the daemon still (SIGSTOP) as soon as its jobs have spent so much, so that none can end before the fault is there,
    however busy the machine is. What plays the fault lets it go on."""
    watch = Watch(daemon)
    watch.until(lambda: watch.sum('spent_evals') >= evals)
    daemon.process.send_signal(signal.SIGSTOP)
    watch.close()


class SmallDisk(Survival):
    def setUp(self):
        super().setUp()
        self.daemon.close()
        self.folder = tempfile.mkdtemp(prefix='gdfo-full-')
        self.addCleanup(shutil.rmtree, self.folder, True)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=' + DISK, 'tmpfs', self.folder], check=True)
        self.addCleanup(subprocess.run, ['umount', '-l', self.folder], check=True)
        self.daemon = Daemon('--db.ballast_mib=%d' % BALLAST_MIB, folder=self.folder)
        self.addCleanup(self.daemon.close)              # before the disk goes

    def fill(self):
        """All but a few pages, at one blow: what is freed by giving up the ballast is not for us."""
        try:
            self.take_all()
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)

    def take_all(self):
        left = 128 << 10
        with open(os.path.join(self.folder, 'filler'), 'wb') as f:
            while not os.fstat(f.fileno()).st_size:
                free = os.statvfs(self.folder)
                try:
                    os.posix_fallocate(f.fileno(), 0, free.f_bavail * free.f_frsize - left)
                except OSError as e:                        # the jobs took some meanwhile
                    self.assertEqual(e.errno, errno.ENOSPC)
                    left *= 2

    def check_at_rest(self, jobs):
        for job in jobs.values():
            found = self.daemon.wait(job, 'paused')
            self.assertEqual(found['reason'], 'disk_full')
        self.assertFalse(os.path.exists(os.path.join(self.daemon.data, 'ballast')), 'the ballast was not given up')
        self.assertEqual(self.daemon.get('/healthz')['status'], 'ok')
        self.assertEqual(len(self.daemon.get('/v1/fine_tuning/jobs')['data']), 2)
        for job in jobs.values():
            self.assertGreater(len(self.daemon.events(job)), 3)
            self.assertGreater(len(self.daemon.content(job, 'json')['rows']), 0)

    def check_refusals(self, jobs):
        """What would write is refused, and says so in one line."""
        put = os.path.join(self.folder, 'filler')           # its size does not matter: it is refused unread
        with open(put, 'rb') as f:
            head = f.read(100)
        small = tempfile.NamedTemporaryFile(suffix='.jsonl')
        small.write(head)
        small.flush()
        done = subprocess.run([GDFO, 'file', 'put', small.name], capture_output=True, text=True,
                              env=dict(os.environ, GDFO_URL=self.daemon.url))
        small.close()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('disk is full', done.stderr.splitlines()[0])
        self.assertIn('free space', done.stderr)
        for path, body in (('/v1/fine_tuning/jobs', {'model': 'local', 'training_file': 'file-x'}),
                           ('/v1/predict', {'model': jobs['bbt'], 'inputs': [{'text': 'a'}]})):
            status, answer = self.daemon.ask('POST', path, body)
            self.assertEqual((status, answer['error']['code']), (503, 'storage_full'), answer)

    def test_jobs_stop_and_go_on_by_themselves(self):
        jobs = submit(self.daemon)
        stop_once_spent(self.daemon, 30)
        self.fill()
        self.check_at_rest(jobs)
        self.check_refusals(jobs)
        os.unlink(os.path.join(self.folder, 'filler'))
        left = finish(self.daemon, jobs)
        self.assertTrue(os.path.exists(os.path.join(self.daemon.data, 'ballast')), 'the ballast did not come back')
        self.assert_same(left)

    def test_a_disk_without_room_for_last_words(self):
        jobs = submit(self.daemon)
        stop_once_spent(self.daemon, 30)
        self.fill()
        self.daemon.until('the ballast to be given up', lambda: not os.path.exists(os.path.join(self.daemon.data, 'ballast')))
        # Somebody else takes what that made free.
        with open(os.path.join(self.folder, 'more'), 'wb', buffering=0) as f:
            try:
                while f.write(b'x' * 4096):
                    pass
            except OSError:
                pass
            self.assertEqual(self.daemon.get('/healthz')['status'], 'ok')
            os.unlink(f.name)
        self.check_at_rest(jobs)
        os.unlink(os.path.join(self.folder, 'filler'))
        self.assert_same(finish(self.daemon, jobs))

    def test_a_stop_in_between_loses_nothing(self):
        jobs = submit(self.daemon)
        stop_once_spent(self.daemon, 30)
        self.fill()
        self.check_at_rest(jobs)
        self.assertEqual(self.daemon.stop(), 0, self.daemon.words())
        os.unlink(os.path.join(self.folder, 'filler'))
        self.daemon.start()
        self.assert_same(finish(self.daemon, jobs))
        record = Record(self.daemon.data)
        self.assertEqual(record.rows('PRAGMA integrity_check')[0]['integrity_check'], 'ok')
        record.close()


class NoRoom(Survival):
    """Every write past the limit fails, those of content and of the ballast too, and nothing that is given up makes room."""

    def setUp(self):
        super().setUp()
        self.daemon.close()
        self.daemon = Daemon('--db.ballast_mib=%d' % BALLAST_MIB)

    def limit(self, size):
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def until_short(self):
        """The daemon has met the wall: what would write is refused before it is tried."""
        def is_refused():
            return self.daemon.ask('POST', '/v1/fine_tuning/jobs', {'model': 'local', 'training_file': 'file-x'})[0] == 503
        self.daemon.until('a refusal', is_refused)

    def put(self, data):
        head = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n' \
               '--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n'
        return self.daemon.ask('POST', '/v1/files', head.encode() + data + b'\r\n--b--\r\n', 'multipart/form-data; boundary=b')

    def test_jobs_that_cannot_write_a_byte_go_on_by_themselves(self):
        jobs = submit(self.daemon)
        stop_once_spent(self.daemon, 30)
        self.limit(0)
        self.daemon.process.send_signal(signal.SIGCONT)
        self.until_short()
        self.assertFalse(os.path.exists(os.path.join(self.daemon.data, 'ballast')), 'the ballast was not given up')
        self.assertEqual(self.daemon.get('/healthz')['status'], 'ok')
        self.assertEqual(len(self.daemon.get('/v1/fine_tuning/jobs')['data']), 2)
        for path, body in (('/v1/fine_tuning/jobs', {'model': 'local', 'training_file': 'file-x'}),
                           ('/v1/predict', {'model': jobs['bbt'], 'inputs': [{'text': 'a'}]})):
            status, answer = self.daemon.ask('POST', path, body)
            self.assertEqual((status, answer['error']['code']), (503, 'storage_full'), answer)
        self.limit(resource.RLIM_INFINITY)
        left = finish(self.daemon, jobs)
        self.assertTrue(os.path.exists(os.path.join(self.daemon.data, 'ballast')), 'the ballast did not come back')
        self.assert_same(left)

    def test_a_kill_in_between_loses_nothing(self):
        jobs = submit(self.daemon)
        stop_once_spent(self.daemon, 30)
        self.limit(0)
        self.daemon.process.send_signal(signal.SIGCONT)
        self.until_short()
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()                                 # its limit ended with it
        self.assert_same(finish(self.daemon, jobs))

    def test_content_that_does_not_fit_leaves_nothing(self):
        row = b'{"text":"%s","label":"happy"}\n' % (b'the sun was warm ' * 60)
        big = row * (3 * 1024 * 1024 // len(row))
        self.limit(1 << 20)                                 # the database is far smaller
        status, answer = self.put(big)
        self.assertEqual((status, answer['error']['code']), (503, 'storage_full'), answer)
        self.daemon.until('tmp/ to be empty', lambda: not os.listdir(os.path.join(self.daemon.data, 'tmp')))
        self.assertEqual(sum(len(names) for _, _, names in os.walk(os.path.join(self.daemon.data, 'blobs'))), 0)
        self.assertEqual(self.daemon.get('/v1/files')['data'], [])
        self.limit(resource.RLIM_INFINITY)
        self.daemon.until('room', lambda: self.put(big)[0] == 200)
        kept = self.daemon.get('/v1/files')['data']
        self.assertEqual(len(kept), 1)
        status, content = self.daemon.ask('GET', '/v1/files/%s/content' % kept[0]['id'])
        self.assertEqual((status, content), (200, big))


def mount_works():
    if not shutil.which('mount'):
        return False
    folder = tempfile.mkdtemp(prefix='gdfo-full-')
    try:
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], capture_output=True).returncode != 0:
            return False
        return subprocess.run(['umount', folder]).returncode == 0
    finally:
        os.rmdir(folder)


if __name__ == '__main__':
    if len(sys.argv) > 1 and sys.argv[1] == '--can-mount':
        sys.exit(0 if mount_works() else 1)
    if not mount_works():
        inside = ['unshare', '-U', '-r', '-m', sys.executable, sys.argv[0]]
        if shutil.which('unshare') and subprocess.run(inside + ['--can-mount'], capture_output=True).returncode == 0:
            os.execvp('unshare', inside + sys.argv[1:])
        print('nobody may mount a tmpfs here: the stories of NoRoom play the full disk without one')
        del SmallDisk
    main()
