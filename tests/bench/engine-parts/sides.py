"""The processes behind tests/bench/engine: each holds its model and answers commands, so that turns alternate without
loading anything again. A side is one way to do a work; take() gives the seconds of one pass."""
import atexit
import json
import os
import subprocess
import sys
import tempfile

import works

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA_TYPES = {'BF16': 32, 'Q4_0': 2, 'Q8_0': 7, 'F16': 1, 'F32': 0, 'Q4_1': 3}     # enum llama_ftype
LLAMA_TRIED = ('BF16', 'Q4_0', 'Q8_0', 'F16')         # F32 and Q4_1: 0.58 and 0.37 of BF16 at 512 tokens
AVX2 = {'OPENBLAS_CORETYPE': 'Haswell', 'GDFO_BENCH_MATH': 'avx2', 'ATEN_CPU_CAPABILITY': 'avx2',
        'ONEDNN_MAX_CPU_ISA': 'AVX2', 'DNNL_MAX_CPU_ISA': 'AVX2', 'MKL_ENABLE_INSTRUCTIONS': 'AVX2'}


class Process:
    def __init__(self, command, env=None):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=dict(os.environ, **(env or {})))
        atexit.register(self.end)
        self.hello, self.name = self.read(), ' '.join(command)

    def read(self):
        line = self.p.stdout.readline()
        if not line:
            raise RuntimeError('%s: ended with %s' % (' '.join(self.p.args), self.p.wait()))
        return json.loads(line)

    def __call__(self, command):
        self.p.stdin.write((command if isinstance(command, str) else json.dumps(command)) + '\n')
        self.p.stdin.flush()
        return self.read()

    def end(self):
        if self.p.poll() is None:
            self.p.stdin.close()
            self.p.wait()


class Works:
    """The files of the works, written once for all processes."""

    def __init__(self, model):
        self.model, self.folder, self.made = model, tempfile.TemporaryDirectory(prefix='gdfo-bench-'), {}

    def get(self, name):
        if name not in self.made:
            self.made[name] = works.make(name, self.model)
            with open(self.path(name), 'w', encoding='utf-8') as f:
                json.dump(self.made[name], f)
            if self.made[name]['layout'] == 'forward':
                self.write_text(name, self.made[name])
        return self.made[name]

    def path(self, name, end='json'):
        return os.path.join(self.folder.name, '%s.%s' % (name, end))

    def write_text(self, name, w):                # for peer_llama: all texts are of one length
        past = w['past'] or [[] for _ in w['texts']]
        numbers = [len(past), len(past[0]), len(w['texts'][0]), len(w['labels'])] + w['labels']
        for p, t in zip(past, w['texts'], strict=True):
            numbers += p + t
        with open(self.path(name, 'txt'), 'w', encoding='utf-8') as f:
            f.write(' '.join(map(str, numbers)))


class Sides:
    def __init__(self, args):
        self.a, self.works, self.processes, self.warm = args, Works(args.model), {}, set()

    def process(self, key, command, env=None):
        if key not in self.processes:
            self.processes[key] = Process(command, env)
        return self.processes[key]

    # ---- ours

    def worker(self, precision, masked=False):
        return self.process(('ours', precision, masked), self.worker_command(precision), masked and AVX2)

    def worker_command(self, precision):
        return [os.path.join(self.a.bin, 'bench_engine_worker'), self.a.model, precision, str(self.a.threads)]

    def ours(self, work, precision, masked=False, jobs=1):
        self.works.get(work)
        p = self.worker(precision, masked)
        p.opened = p('open %s %d' % (self.works.path(work), jobs))
        return p

    # ---- PyTorch

    def torch_command(self):
        return [sys.executable, os.path.join(HERE, 'peer_torch.py'), self.a.model]

    def torch(self, work, way, dtype, masked=False):
        self.works.get(work)
        p = self.process(('torch', masked), self.torch_command(),
                         dict(AVX2 if masked else {}, OMP_NUM_THREADS=str(self.a.threads)))
        p({'do': 'open', 'work': self.works.path(work), 'way': way, 'dtype': dtype})
        if (p, work, way, dtype) not in self.warm:          # what is compiled is compiled here
            p({'do': 'run'})
            self.warm.add((p, work, way, dtype))
        return p

    # ---- llama.cpp

    def llama(self, work, build, kind, options):
        self.works.get(work)
        key = ('llama', build, kind, work, tuple(options))
        fresh = key not in self.processes
        p = self.process(key, [self.llama_program(build), self.llama_file(kind), str(self.a.threads),
                               self.llama_backends(build)])
        if fresh:
            p('open %s %d %d %d' % (self.works.path(work, 'txt'), *options))
            p('run')
        return p

    def end_llama(self):
        for key in [k for k in self.processes if k[0] == 'llama']:
            self.processes.pop(key).end()

    def llama_folder(self, build):
        if build == 'npm':
            return os.path.join(self.a.peers, 'npm/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64')
        return os.path.join(self.a.peers, 'llama/lib/python%d.%d/site-packages' % sys.version_info[:2])

    def llama_backends(self, build):
        return self.llama_folder('npm') if build == 'npm' else '-'

    def llama_program(self, build):
        out, source = os.path.join(self.a.peers, 'peer_llama_' + build), os.path.join(HERE, 'peer_llama.c')
        if os.path.exists(out) and os.path.getmtime(out) > os.path.getmtime(source):
            return out
        at = self.llama_folder(build)
        if build == 'npm':
            headers = [os.path.join(self.a.peers, 'npm-src', x) for x in ('include', 'ggml/include')]
            libs, folder = [x for x in sorted(os.listdir(at)) if x.startswith(('libllama.v', 'libggml.v'))], at
        else:
            headers, folder = [os.path.join(at, 'include')], os.path.join(at, 'llama_cpp/lib')
            libs = ['libllama.so', 'libggml.so']
        subprocess.run(['cc', '-O2', '-o', out, source] + ['-I' + x for x in headers] +
                       [os.path.join(folder, x) for x in libs] + ['-Wl,-rpath,' + folder, '-lm'], check=True)
        return out

    def llama_file(self, kind):
        """The model in another file type, by llama.cpp's own quantiser."""
        if kind == 'Q4_1':
            return self.a.model
        out = os.path.join(self.a.peers, 'gguf', '%s.gguf' % kind)
        if not os.path.exists(out):
            os.makedirs(os.path.dirname(out), exist_ok=True)
            build = 'pip' if os.path.isdir(os.path.join(self.llama_folder('pip'), 'llama_cpp')) else 'npm'
            subprocess.run([self.llama_program(build), 'quantize', self.a.model, out + '.part',
                            str(LLAMA_TYPES[kind]), self.llama_backends(build)], check=True, stdout=subprocess.DEVNULL)
            os.rename(out + '.part', out)
        return out
