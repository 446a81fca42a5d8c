"""A real gdfod for the Python tests: a folder of its own, a free loopback port, the tiny model as teacher "local".

    daemon = Daemon()                       # started and ready; ended by close(), which wants exit status 0
    job = daemon.create({...})              # POST /v1/fine_tuning/jobs, the job's id
    daemon.wait(job, 'succeeded')
    daemon.stop(signal.SIGKILL); daemon.start()
    Record(daemon.data).job(job)            # what the tables say, by Python's own SQLite

The programs are named by the environment: GDFOD and GDFO (ctest sets them). Failures carry the end of the daemon's log.
"""
import hashlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get('GDFO_SHARED') or os.path.join(HERE, '..', '..', '..', 'shared')
TINY = os.path.join(SHARED, 'models', 'stories260K', 'stories260K.derived.gguf')
BIN = os.path.join(HERE, '..', '..', 'build', 'test', 'bin')    # for runs by hand
GDFOD = os.environ.get('GDFOD') or os.path.join(BIN, 'gdfod')
GDFO = os.environ.get('GDFO') or os.path.join(BIN, 'gdfo')
PATIENCE = float(os.environ.get('GDFO_TEST_PATIENCE', '240'))   # seconds; sanitizers on a busy machine are slow
TERMINAL = ('succeeded', 'failed', 'cancelled')


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status, body):
        super().__init__('%d %s' % (status, body))
        self.status, self.body = status, body


class Daemon:
    def __init__(self, *args, folder=None, models=None, start=True):
        self.args = list(args)
        self.folder = folder or tempfile.mkdtemp(prefix='gdfo-story-')
        self.is_own_folder = folder is None
        self.data = os.path.join(self.folder, 'data')
        self.models = os.path.join(self.folder, 'models')
        self.log = os.path.join(self.folder, 'gdfod.log')
        self.process, self.port, self.url = None, 0, None
        os.makedirs(self.models, exist_ok=True)
        for name, source in (models or {'local.gguf': TINY}).items():
            shutil.copyfile(source, os.path.join(self.models, name))
        if start:
            self.start()

    # ---- life

    def command(self):
        return [GDFOD, '--data.dir=' + self.data, '--models.dir=' + self.models,
                '--http.port=%d' % self.port, '--stop.seconds=50',                # slow machines, sanitizers
                '--precision=f32'] + self.args    # `auto` would first measure the model: a minute under TSan

    def start(self):
        """Starts, on the port of the first start, and waits for the ready line."""
        assert self.process is None, 'it runs already'
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline().decode()
        if not line.startswith('ready http://127.0.0.1:'):
            raise AssertionError('the first line is %r\n%s' % (line, self.words()))
        self.url = line.split()[1]
        self.port = int(self.url.rsplit(':', 1)[1])

    def stop(self, number=signal.SIGTERM):
        """Sends a signal and waits for the end; the exit status, negative for a signal."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        process, self.process = self.process, None
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError('it did not end within a minute and was killed\n' + self.words()) from None
        finally:
            process.stdout.close()

    def close(self):
        if not os.path.exists(self.folder):
            return
        status = self.stop() if self.process else 0
        words = self.words()
        if self.is_own_folder:
            shutil.rmtree(self.folder, True)
        assert status == 0, 'gdfod ended with %d\n%s' % (status, words)

    def words(self, most=16384):
        with open(self.log, 'rb') as f:
            return '---- the daemon\'s log\n' + f.read()[-most:].decode(errors='replace') + '---- end of it'

    # ---- requests

    def ask(self, method, path, body=None, content_type='application/json'):
        """Status and body; JSON bodies as Python."""
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            c.request(method, path, data, {'Content-Type': content_type} if data is not None else {})
            answer = c.getresponse()
            raw = answer.read()
            is_json = 'json' in (answer.getheader('content-type') or '')
            return answer.status, json.loads(raw) if is_json else raw
        except OSError as e:
            self.is_alive('%s %s' % (method, path))
            raise e
        finally:
            c.close()

    def get(self, path):
        status, body = self.ask('GET', path)
        if status != 200:
            raise Refused(status, body)
        return body

    def post(self, path, body=None):
        status, answer = self.ask('POST', path, {} if body is None else body)
        if status != 200:
            raise Refused(status, answer)
        return answer

    def create(self, spec):
        return self.post('/v1/fine_tuning/jobs', spec)['id']

    def job(self, job):
        return self.get('/v1/fine_tuning/jobs/' + job)

    def act(self, job, verb):
        return self.post('/v1/fine_tuning/jobs/%s/%s' % (job, verb))

    def content(self, job, form, checkpoint='best'):
        return self.get('/v1/fine_tuning/jobs/%s/checkpoints/%s/content?format=%s' % (job, checkpoint, form))

    def events(self, job):
        """All of them, oldest first."""
        out, after = [], 0
        while True:
            page = self.get('/v1/fine_tuning/jobs/%s/events?after_seq=%d&limit=100' % (job, after))
            out += page['data']
            if not page['has_more']:
                return out
            after = out[-1]['seq']

    def until(self, what, is_so):
        """Asks again until is_so() gives something true, and gives that."""
        end = time.monotonic() + PATIENCE
        while True:
            found = is_so()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError('waited in vain for: %s\n%s' % (what, self.words()))
            if self.process.poll() is not None:
                self.is_alive(what)
            time.sleep(0.01)

    def is_alive(self, what):
        process = self.process
        try:
            if process is None or process.wait(0.2) is None:
                return                                  # stopped by the test itself
        except subprocess.TimeoutExpired:
            return
        raise AssertionError('gdfod ended by itself with %d while: %s\n%s' % (process.returncode, what, self.words()))

    def wait(self, job, *statuses):
        """Until the job stands in one of these, or has ended in another."""
        def there():
            found = self.job(job)
            return found if found['status'] in statuses + TERMINAL else None
        found = self.until('%s to be %s' % (job, ' or '.join(statuses)), there)
        if found['status'] not in statuses:
            raise AssertionError('%s is %s (%s, %s)\n%s' % (job, found['status'], found['reason'], found['error'], self.words()))
        return found


# ---- specs ----

WORDS = {'happy': ('The sun was warm and the girl was glad', 'They played and laughed all day', 'He got a big red ball',
                   'Mom gave her a hug', 'The dog ran to the boy', 'She found her toy again', 'We had a lot of fun',
                   'The cake was sweet and good'),
         'sad': ('The boy lost his toy and cried', 'It was dark and cold', 'She fell and hurt her leg', 'The cat was not there',
                 'His friend went away', 'The old tree broke', 'Nobody wanted to play', 'The bird could not fly')}


# Each word one token of the tiny model, as a student needs.
VERBALIZER = {'happy': ['happy'], 'sad': ['saw']}


def examples(first, n):
    return [{'text': '%s, %d.' % (texts[i % len(texts)], i), 'label': label}
            for i in range(first, first + n) for label, texts in WORDS.items()]


def spec(method, evals, seed, n_train=8, n_dev=4, position='auto', **hyperparameters):
    """A small job on the tiny model: seconds, not minutes."""
    options = dict({'n_prompt_tokens': 4, 'intrinsic_dim': 20, 'popsize': 6, 'n_anchors': 16}, **hyperparameters)
    if method == 'gdfo':
        options = dict({'student_layers': 2, 'prompt_steps': 10, 'distill_steps': 2, 'distill_batch': 8}, **options)
    return {'model': 'local', 'seed': seed,
            'method': {'type': method,
                       method: {'task': {'examples': examples(0, n_train), 'validation_examples': examples(100, n_dev),
                                         'position': position, 'verbalizer': VERBALIZER},
                                'evaluation': {'every_queries': 24 * n_train}, 'budget': {'evals': evals},
                                'hyperparameters': options}}}


# ---- what the tables say ----

class Record:
    """The database as it lies on disk, read by Python's SQLite and nothing of ours. Ids, row numbers and times are left out:
    two runs of one spec must give equal records."""

    def __init__(self, data):
        self.data = data
        self.db = sqlite3.connect('file:%s?mode=ro' % os.path.join(data, 'gdfod.db'), uri=True, timeout=30)
        self.db.row_factory = sqlite3.Row

    def close(self):
        self.db.close()

    def rows(self, sql, *args):
        return [dict(row) for row in self.db.execute(sql, args)]

    def blob(self, sha256):
        """Content by its hash, which must be right."""
        if sha256 is None:
            return None
        name = sha256.hex()
        with open(os.path.join(self.data, 'blobs', name[:2], name[2:]), 'rb') as f:
            content = f.read()
        assert hashlib.sha256(content).digest() == sha256, 'blob %s is not what its name says' % name
        return content

    @staticmethod
    def without(row, *names):
        return {k: v for k, v in row.items() if k not in names and not k.endswith(('_ms', '_at'))}

    def jid(self, job):
        return self.rows('SELECT jid FROM jobs WHERE id=?', job)[0]['jid']

    def calls(self, job):
        out = []
        for row in self.rows('SELECT * FROM calls WHERE jid=? ORDER BY seq,part,attempt', self.jid(job)):
            row['content'] = self.blob(row['result_sha256'])
            out.append(self.without(row, 'jid'))
        return out

    def metrics(self, job):
        rows = self.rows('SELECT n.name, m.* FROM metrics m JOIN metric_names n USING(mid) WHERE jid=? ORDER BY n.name, step',
                         self.jid(job))
        return [self.without(row, 'jid', 'mid') for row in rows]

    def checkpoints(self, job):
        rows = self.rows('SELECT * FROM checkpoints WHERE jid=? ORDER BY step', self.jid(job))
        return [dict(self.without(row, 'cid', 'id', 'jid'), content=self.blob(row['sha256'])) for row in rows]

    def budgets(self, job):
        rows = self.rows("SELECT * FROM budgets WHERE scope='job' AND scope_id=? ORDER BY unit", self.jid(job))
        return [self.without(row, 'bid', 'scope_id') for row in rows]

    def results(self, job):
        rows = self.rows('SELECT f.filename, f.sha256 FROM job_results r JOIN files f USING(fid) WHERE r.jid=?', self.jid(job))
        return sorted((row['filename'], self.blob(row['sha256'])) for row in rows)

    def snapshots(self, job):
        return self.rows('SELECT generation FROM snapshots WHERE jid=?', self.jid(job))

    def job(self, job):
        """The job's own row, less what tells one run from another: ids, times, how often it was taken up again."""
        row = self.rows('SELECT * FROM jobs WHERE id=?', job)[0]
        text = json.loads(row.pop('spec'))
        text.pop('training_file'), text.pop('validation_file', None)
        return dict(self.without(row, 'jid', 'id', 'rev', 'recoveries', 'training_fid', 'validation_fid', 'spec_sha256'), spec=text)

    def told(self, job):
        """Events that say what was computed; those on recoveries and moves differ by nature."""
        rows = self.rows("SELECT level, type, message, data FROM events WHERE jid=? AND type IN ('message','metrics') ORDER BY seq",
                         self.jid(job))
        return rows

    def whole(self, job):
        return {name: getattr(self, name)(job) for name in
                ('job', 'calls', 'metrics', 'checkpoints', 'budgets', 'results', 'snapshots', 'told')}

    def sums(self, job):
        """The spend as the ledger's rows have it."""
        got = dict.fromkeys(('evals', 'queries', 'dev', 'calls', 'tokens_in', 'tokens_out', 'unknown'), 0)
        for row in self.calls(job):
            if row['state'] not in ('done', 'unknown'):
                continue
            is_train, is_done = row['purpose'] == 'train', row['state'] == 'done'
            got['calls'] += 1
            got['evals'] += row['n_prompts'] if is_train and row['part'] == 0 else 0
            got['queries' if is_train else 'dev'] += row['n_queries']
            got['tokens_in'] += row['used_in'] if is_done else row['reserved_in']
            got['tokens_out'] += row['used_out'] if is_done else row['reserved_out']
            got['unknown'] += not is_done
        return got

    def spend(self, job):
        row = self.rows('SELECT * FROM jobs WHERE id=?', job)[0]
        return {k: row['spent_' + k] for k in ('evals', 'queries', 'dev', 'calls', 'tokens_in', 'tokens_out', 'unknown')}


def prompt_of(daemon, job):
    """The final prompt in every form it is given out in; the ids of job and checkpoint, which are all as long, made alike."""
    checkpoint = daemon.get('/v1/fine_tuning/jobs/%s/checkpoints/best/content?format=json' % job)['about']['checkpoint']
    out = {}
    for form in ('json', 'gdfo', 'safetensors'):
        status, body = daemon.ask('GET', '/v1/fine_tuning/jobs/%s/checkpoints/best/content?format=%s' % (job, form))
        assert status == 200, (status, body)
        body = json.dumps(body).encode() if form == 'json' else body
        if form == 'gdfo':                              # ends in the hash of all before it, ids included
            assert hashlib.sha256(body[:-32]).digest() == body[-32:], 'a .gdfo file with a wrong hash'
            body = body[:-32]
        out[form] = body.replace(job.encode(), b'JOB').replace(checkpoint.encode(), b'CHECKPOINT')
    return out
