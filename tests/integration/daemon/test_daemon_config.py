"""Settings, exit codes and signals of gdfod, as someone sees them who starts it by hand or from a supervisor."""
import os
import signal
import sqlite3
import subprocess
import unittest

import real_daemon
from real_daemon import Case


class Verbs(unittest.TestCase):
    def run_it(self, *args, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith('GDFO_') and k not in ('STATE_DIRECTORY', 'HOME')}
        clean.update(env)
        return subprocess.run([os.path.join(real_daemon.BIN, 'gdfod'), *args], capture_output=True, text=True, env=clean,
                              stdin=subprocess.DEVNULL, timeout=real_daemon.PATIENCE)

    def test_help_and_version_go_to_stdout(self):
        for flag, words in (('--help', 'usage: gdfod'), ('-h', 'exit status'), ('--version', 'gdfod '),
                            ('--help-config', 'http.port')):
            p = self.run_it(flag)
            self.assertEqual((p.returncode, p.stderr), (0, ''), flag)
            self.assertIn(words, p.stdout)

    def test_print_config_names_every_source(self):
        p = self.run_it('--print-config', '--http.port=5', GDFO_SCHED_WORKERS='3', HOME='/home/x')
        self.assertEqual(p.returncode, 0)
        lines = p.stdout.splitlines()
        for line in ('http.port = 5   # flag', 'sched.workers = 3   # environment', 'http.threads = 2   # built-in',
                     'data.dir = /home/x/.local/state/gdfod   # built-in'):
            self.assertIn(line, lines)

    def test_faults_of_every_source_are_listed_at_once(self):
        p = self.run_it('--htp.port=1', GDFO_LOG_LEVEL='loud')
        self.assertEqual((p.returncode, p.stdout), (2, ''))
        self.assertEqual(p.stderr.splitlines(), [
            "command line: unknown option 'htp.port'; nearest is 'http.port'",
            "GDFO_LOG_LEVEL: log.level is 'loud'; want one of debug|info|warn|error|off",
            'data.dir: neither STATE_DIRECTORY nor HOME gives one; set it'])


    def test_the_manual_and_the_example_hold_every_key(self):
        rows = [line.split()[0] for line in self.run_it('--help-config').stdout.splitlines() if line[0] != '[']
        with open('deploy/CONFIG.md', encoding='utf-8') as f:
            manual = f.read()
        with open('deploy/gdfod.conf', encoding='utf-8') as f:
            example = f.read()
        self.assertGreater(len(rows), 10)
        for key in rows:
            self.assertIn('| `%s` |' % key, manual)
            section, name = key.split('.')
            self.assertRegex(example, r'\[%s\]\n(#? ?\w+ =.*\n)*#? ?%s =' % (section, name))
        p = self.run_it('--print-config', '--config', 'deploy/gdfod.conf', '--data.dir=/d')
        self.assertEqual(p.returncode, 0, p.stderr)
        built_in = self.run_it('--print-config', '--data.dir=/d').stdout.replace('built-in', 'file')
        self.assertEqual(p.stdout.replace('built-in', 'file'), built_in)    # the example changes nothing


class Files(Case):
    def check(self, path):
        return subprocess.run([os.path.join(real_daemon.BIN, 'gdfod'), '--check-config', path], capture_output=True,
                              text=True, env=self.env(), timeout=real_daemon.PATIENCE)

    def test_check_config(self):
        good = self.write('good.conf', '[http]\nport = 0\n')
        p = self.check(good)
        self.assertEqual((p.returncode, p.stderr), (0, ''))
        bad = self.write('bad.conf', '[http]\nport = x\n[shed]\nworkers = 2\n')
        p = self.check(bad)
        self.assertEqual(p.returncode, 2)
        self.assertEqual(p.stderr.splitlines(), [
            bad + ":2: http.port is 'x'; want an integer 0..65535",
            bad + ":4: unknown option 'shed.workers'; nearest is 'sched.workers'"])
        p = self.check(os.path.join(self.folder, 'none.conf'))
        self.assertEqual(p.returncode, 2)
        self.assertIn('none.conf', p.stderr)

    def test_sections_give_models_further_names(self):
        path = self.write('gdfod.conf', '[teacher tiny]\nmodel = local\n[student pupil]\nfile = local.gguf\n')
        other = self.new_daemon('other')
        other.args = ['--config=' + path]
        other.start()
        self.assertEqual({t['name'] for t in other.get('/v1/teachers')['data']}, {'local', 'tiny', 'pupil'})
        students = {s['name']: s['sha256'] for s in other.get('/v1/students')['data']}
        self.assertEqual(set(students), {'local', 'tiny', 'pupil'})
        self.assertEqual(len(set(students.values())), 1)

    def test_a_section_of_a_model_that_is_not_there_is_2(self):
        path = self.write('gdfod.conf', '[teacher big]\nmodel = nowhere\n')
        other = self.new_daemon('other')
        other.args = ['--config', path]
        p = subprocess.run(other.command(0), capture_output=True, text=True, timeout=real_daemon.PATIENCE)
        self.assertEqual((p.returncode, p.stdout), (2, ''))
        self.assertIn('nowhere', p.stderr)

    def test_other_than_loopback_is_2(self):
        other = self.new_daemon('other')
        other.args = ['--http.bind=0.0.0.0']
        p = subprocess.run(other.command(0), capture_output=True, text=True, timeout=real_daemon.PATIENCE)
        self.assertEqual((p.returncode, p.stdout), (2, ''))
        self.assertIn('0.0.0.0', p.stderr)

    def test_a_newer_database_is_3_and_untouched(self):
        self.assertEqual(self.daemon.stop(), 0)
        path = os.path.join(self.daemon.data, 'gdfod.db')
        db = sqlite3.connect(path)
        db.execute('PRAGMA user_version=4711')
        db.close()
        p = subprocess.run(self.daemon.command(0), capture_output=True, text=True, timeout=real_daemon.PATIENCE)
        self.assertEqual((p.returncode, p.stdout), (3, ''))
        self.assertIn('4711', p.stderr)
        self.assertEqual(self.daemon.rows('PRAGMA user_version'), [(4711,)])


class Signals(Case):
    def lock(self):
        return os.path.join(self.daemon.data, 'gdfod.lock')

    def test_both_stop_signals_stop_it_cleanly(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.assertTrue(os.path.exists(self.lock()))
            self.assertEqual(self.daemon.signal(number), 0)
            self.assertFalse(os.path.exists(self.lock()))
            self.assertEqual(len(self.daemon.rows("SELECT v FROM meta WHERE k='last_clean_stop_at'")), 1)
            self.daemon.start()

    def test_hangup_does_not_stop_it(self):
        self.daemon.process.send_signal(signal.SIGHUP)
        self.assertEqual(self.daemon.get('/healthz')['status'], 'ok')
        self.assertEqual(self.daemon.signal(signal.SIGTERM), 0)

    def test_it_starts_again_after_a_kill_and_is_the_same_instance(self):
        before = self.daemon.rows("SELECT v FROM meta WHERE k='instance_id'")
        self.assertEqual(self.daemon.kill(), -signal.SIGKILL)
        self.assertTrue(os.path.exists(self.lock()))        # stale, and in nobody's way
        self.daemon.start()
        self.assertEqual(self.daemon.rows("SELECT v FROM meta WHERE k='instance_id'"), before)

    def test_everything_it_makes_is_private(self):
        for root, folders, names in os.walk(self.daemon.data):
            for name in folders + names:
                mode = os.stat(os.path.join(root, name)).st_mode & 0o777
                self.assertEqual(mode & 0o077, 0, name)


if __name__ == '__main__':
    real_daemon.main()
