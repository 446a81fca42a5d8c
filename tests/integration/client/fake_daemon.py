"""A daemon made of a dictionary: the part of the REST contract that the client speaks.

It lives in the test's own process, so a test scripts it (statuses, events, faults), reads what it
received, stops it and starts it again on the same port.
"""
import hashlib
import io
import json
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ENDS = ('succeeded', 'failed', 'cancelled')
HTTP_CODES = {400: 'invalid_value', 401: 'unauthorized', 402: 'budget_insufficient', 403: 'forbidden',
              404: 'not_found', 409: 'invalid_transition', 412: 'rev_mismatch', 413: 'body_too_large',
              422: 'not_supported', 429: 'rate_limited', 500: 'internal_error', 503: 'draining'}


def peft_tar(names=('adapter_config.json', 'adapter_model.safetensors')):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            data = ('content of %s' % name).encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Refusal(Exception):
    def __init__(self, http, code=None, message=None, errors=None):
        self.http, self.code = http, code or HTTP_CODES[http]
        self.message, self.errors = message or 'refused with %d' % http, errors or []


class FakeDaemon:
    """Attributes are the daemon's state; a test changes them under `lock` or before requests."""

    def __init__(self):
        self.lock = threading.RLock()
        self.files, self.jobs, self.events = [], {}, {}
        self.requests = []                  # (method, path, headers, body) as received
        self.token = None                   # when set, the only one that is accepted
        self.faults = {}                    # path prefix -> (http, code)
        self.peft = peft_tar()              # None: 422, a suffix prompt
        self.lie_about_etag = False
        self.on_job_read = None             # called with the job each time it is read
        self.metrics = {'loss_dev': [0.9, 0.7, 0.5, 0.4], 'accuracy_dev': [0.5, 0.6, 0.8, 0.9]}
        self.labels = ('positive', 'negative')
        self.cut = False                    # close the connection without an answer
        self.server = self.thread = None
        self.port = 0
        self.start()

    # ---- life ----

    def start(self):
        daemon = self

        class Handler(FakeHandler):
            fake = daemon
        self.server = ThreadingHTTPServer(('127.0.0.1', self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()
            self.server = None

    @property
    def url(self):
        return 'http://127.0.0.1:%d' % self.port

    # ---- state ----

    def add_job(self, status='running', job_id='ftjob-01JTEST', **more):
        job = {'id': job_id, 'object': 'fine_tuning.job', 'created_at': 1764000000, 'status': status,
               'model': 'local', 'method': {'type': 'gdfo'}, 'seed': 7, 'reason': None,
               'status_detail': 'generation 3 of 10', 'error': None, 'fine_tuned_model': None,
               'started_at': 1764000001, 'finished_at': None, 'training_file': 'file-1',
               'budget': {'evals': 100}, 'spend': {'evals': 40, 'queries': 1280, 'dev_queries': 64,
                                                   'tokens_in': 9000, 'tokens_out': 0},
               'progress': {'eta_seconds': 100, 'queries_done': 1280, 'queries_total': 3200},
               'best': {'metric': 'accuracy_dev', 'value': 0.9, 'step': 3}}
        job.update(more)
        with self.lock:
            self.jobs[job_id] = job
            self.events.setdefault(job_id, [])
        return job

    def add_event(self, job_id='ftjob-01JTEST', type_='message', message='hello', data=None, level='info'):
        with self.lock:
            seq = 1 + sum(len(e) for e in self.events.values())
            self.events[job_id].append({'id': 'ftevent-%d' % seq, 'object': 'fine_tuning.job.event',
                                        'created_at': 1764000000 + seq, 'level': level, 'type': type_,
                                        'message': message, 'data': data or {}, 'seq': seq})
            return seq

    def move(self, status, job_id='ftjob-01JTEST', **more):
        """What the state machine does: the event, then the row."""
        with self.lock:
            job = self.jobs[job_id]
            self.add_event(job_id, 'status', 'moved', {'from': job['status'], 'to': status, 'reason': None})
            job.update(more, status=status)

    def paths(self, method='GET'):
        with self.lock:
            return [p for m, p, _, _ in self.requests if m == method]

    # ---- routes ----

    def route(self, method, path, query, headers, body):
        for prefix, (http, code) in list(self.faults.items()):
            if path.startswith(prefix):
                raise Refusal(http, code)
        if self.token and headers.get('authorization') != 'Bearer ' + self.token:
            raise Refusal(401, message='no token, or not one of ours')
        for pattern, name in ROUTES:
            m = re.fullmatch(pattern, method + ' ' + path)
            if m:
                return getattr(self, name)(query, body, *m.groups())
        raise Refusal(404, message='no such route: %s' % path)

    def get_job(self, job_id):
        if job_id not in self.jobs:
            raise Refusal(404, message='no job %s' % job_id)
        return self.jobs[job_id]

    def info(self, query, body):
        return {'object': 'info', 'version': '0.1.0', 'methods': ['gdfo', 'bbt', 'random']}

    def teachers(self, query, body):
        return {'object': 'list', 'has_more': False, 'data': [
            {'id': 'teacher-1', 'object': 'teacher', 'name': 'local', 'adapter': 'embedded', 'model': 'tiny'}]}

    def file_put(self, query, body):
        m = re.search(rb'filename="([^"]*)".*?\r\n\r\n(.*?)\r\n--', body, re.S)
        if not m or b'name="purpose"\r\n\r\nfine-tune' not in body:
            raise Refusal(400, 'missing_field', 'no file part, or no purpose')
        row = {'id': 'file-%d' % (len(self.files) + 1), 'object': 'file', 'bytes': len(m.group(2)),
               'created_at': 1764000000, 'filename': m.group(1).decode(), 'purpose': 'fine-tune',
               'status': 'uploaded', 'sha256': hashlib.sha256(m.group(2)).hexdigest(),
               'content': m.group(2), 'n_lines': m.group(2).count(b'\n'), 'project': 'default'}
        self.files.insert(0, row)
        return visible(row)

    def file_list(self, query, body):
        limit = int(query.get('limit', ['50'])[0])
        rows, after = [visible(f) for f in self.files], query.get('after', [None])[0]
        if after:
            rows = rows[[r['id'] for r in rows].index(after) + 1:]
        return page(rows, limit)

    def find_file(self, file_id):
        for row in self.files:
            if row['id'] == file_id:
                return row
        raise Refusal(404, message='no file %s' % file_id)

    def file_show(self, query, body, file_id):
        return visible(self.find_file(file_id))

    def file_content(self, query, body, file_id):
        row = self.find_file(file_id)
        return Raw(row['content'], 'application/octet-stream', row['sha256'])

    def file_rm(self, query, body, file_id):
        self.files.remove(self.find_file(file_id))
        return {'id': file_id, 'object': 'file', 'deleted': True}

    def job_create(self, query, body):
        spec = json.loads(body)
        if spec.get('seed', 0) < 0:
            raise Refusal(400, 'invalid_value', 'seed is -1; want an integer 0..2147483647', [
                {'pointer': '/seed', 'code': 'invalid_value', 'detail': '-1; want 0..2147483647'},
                {'pointer': '/model', 'code': 'missing_field', 'detail': 'the model is missing'}])
        return self.add_job('validating_files', 'ftjob-01JNEW%d' % len(self.jobs), spec=spec)

    def job_list(self, query, body):
        return page(list(self.jobs.values()), int(query.get('limit', ['20'])[0]))

    def job_show(self, query, body, job_id):
        job = self.get_job(job_id)
        if self.on_job_read:
            self.on_job_read(job)
        return dict(job)

    def job_act(self, query, body, job_id, action):
        job = self.get_job(job_id)
        if job['status'] in ENDS and not (action == 'cancel' and job['status'] == 'cancelled'):
            raise Refusal(409, message='%s is %s' % (job_id, job['status']))
        self.move({'pause': 'paused', 'resume': 'queued', 'cancel': 'cancelled'}[action], job_id)
        return dict(job)

    def job_events(self, query, body, job_id):
        self.get_job(job_id)
        limit = int(query.get('limit', ['20'])[0])
        rows = self.events[job_id]
        if 'after_seq' in query:
            return page([e for e in rows if e['seq'] > int(query['after_seq'][0])], limit)
        return page(rows[::-1], limit)

    def job_metrics(self, query, body, job_id):
        self.get_job(job_id)
        if query.get('format') == ['csv']:
            return Raw(b'name,x,y\nloss_dev,0,0.9\n', 'text/csv', None)
        names = query.get('names', [','.join(self.metrics)])[0].split(',')
        series = {n: {'x': list(range(len(self.metrics[n]))), 'y': self.metrics[n], 'n': len(self.metrics[n])}
                  for n in names if n in self.metrics}
        return {'object': 'metrics', 'x': 'queries', 'series': series}

    def job_content(self, query, body, job_id, checkpoint):
        self.get_job(job_id)
        form = query['format'][0]
        if form == 'peft' and self.peft is None:
            raise Refusal(422, message='the prompt stands behind the text; PEFT puts it in front')
        data = {'json': b'{"object":"result"}', 'safetensors': b'\x08\0\0\0\0\0\0\0{}      ',
                'peft': self.peft}[form]
        kind = {'json': 'application/json', 'peft': 'application/x-tar'}.get(form, 'application/octet-stream')
        return Raw(data, kind, hashlib.sha256(data).hexdigest())

    def predict(self, query, body):
        ask = json.loads(body)
        data = []
        for row in ask['inputs']:
            text = row.get('text') or row['text_a'] + row['text_b']
            label = self.labels[0] if 'good' in text else self.labels[1]
            data.append({'label': label, 'lp': {n: -0.1 if n == label else -2.5 for n in self.labels},
                         'mass': 0.97, 'truncated': 'long' in text})
        return {'object': 'prediction_list', 'model': ask['model'], 'checkpoint': 'ftckpt-1', 'data': data,
                'usage': {'queries': len(data), 'cached': 0, 'tokens_in': 10 * len(data), 'tokens_out': 0}}


ID = r'([a-z]+-[0-9A-Za-z]{1,40})'
ROUTES = [
    (r'GET /v1/info', 'info'), (r'GET /v1/teachers', 'teachers'),
    (r'POST /v1/files', 'file_put'), (r'GET /v1/files', 'file_list'),
    (r'GET /v1/files/' + ID, 'file_show'), (r'GET /v1/files/' + ID + '/content', 'file_content'),
    (r'DELETE /v1/files/' + ID, 'file_rm'),
    (r'POST /v1/fine_tuning/jobs', 'job_create'), (r'GET /v1/fine_tuning/jobs', 'job_list'),
    (r'GET /v1/fine_tuning/jobs/' + ID, 'job_show'),
    (r'POST /v1/fine_tuning/jobs/' + ID + '/(pause|resume|cancel)', 'job_act'),
    (r'GET /v1/fine_tuning/jobs/' + ID + '/events', 'job_events'),
    (r'GET /v1/fine_tuning/jobs/' + ID + '/metrics', 'job_metrics'),
    (r'GET /v1/fine_tuning/jobs/' + ID + '/checkpoints/([a-z0-9A-Z-]+)/content', 'job_content'),
    (r'POST /v1/predict', 'predict'),
]


class Raw:
    def __init__(self, data, kind, etag):
        self.data, self.kind, self.etag = data, kind, etag


def visible(row):
    return {k: v for k, v in row.items() if k != 'content'}


def page(rows, limit):
    return {'object': 'list', 'data': rows[:limit], 'has_more': len(rows) > limit,
            'first_id': rows[0]['id'] if rows else None, 'last_id': rows[:limit][-1]['id'] if rows else None}


class FakeHandler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    fake = None

    def log_message(self, *args):
        pass

    def answer(self, http, kind, data, etag=None):
        self.send_response(http)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(data)))
        self.send_header('x-request-id', '01JREQUEST')
        if etag:
            self.send_header('ETag', '"%s"' % ('0' * 64 if self.fake.lie_about_etag else etag))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        split = urlsplit(self.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        if self.fake.server is None or self.fake.cut:
            self.close_connection = True    # a stopped daemon answers nobody, kept connections neither
            return
        with self.fake.lock:
            self.fake.requests.append((self.command, self.path, headers, body))
            try:
                out = self.fake.route(self.command, split.path, parse_qs(split.query), headers, body)
            except Refusal as r:
                out = {'type': 'urn:gdfo:error:' + r.code, 'status': r.http, 'detail': r.message,
                       'errors': r.errors, 'error': {'message': r.message, 'type': 'invalid_request_error',
                                                     'param': 'seed' if r.errors else None, 'code': r.code}}
                self.answer(r.http, 'application/problem+json', json.dumps(out).encode())
                return
            data = out.data if isinstance(out, Raw) else json.dumps(out).encode()
        if isinstance(out, Raw):
            self.answer(200, out.kind, data, out.etag)
        else:
            self.answer(200, 'application/json', data)

    do_GET = do_POST = do_DELETE = do_PATCH = handle_any
