"""gdfod as an Open Inference Protocol server (serve.models), against numbers of an independent implementation.

The numbers are shared/vectors/stories260K-logits.json: the logits of the tiny model after a plain text, from another engine. Requests
go over raw HTTP, so that nothing is made reasonable on its way; test_daemon_oip_client.py has the public client.
"""
import http.client
import json
import math
import os
import struct
import subprocess
import threading
import time

import real_daemon
import tiny_masked
from real_daemon import Case, RealDaemon, shared

H, V = 64, 512                      # of stories260K
LIMIT_JSON, LIMIT_BINARY = 4 << 20, 64 << 20


def reference():
    with open(shared('vectors/stories260K-logits.json'), encoding='utf-8') as f:
        return json.load(f)


def log_softmax(logits):
    most = max(logits)
    total = math.log(math.fsum(math.exp(x - most) for x in logits)) + most
    return [x - total for x in logits]


def tensor(name, datatype, shape, data):
    return {'name': name, 'shape': shape, 'datatype': datatype, 'data': data}


def rows(n, seed=1):
    """n * H numbers that float32 holds exactly."""
    return [((i * 37 + seed * 101) % 257 - 128) / 1024 for i in range(n * H)]


def request(texts, p=0, soft=None, c=None, cue=' It was', labels=(5, 6, 7), prefixes=None, outputs=('label_logprobs',), position='prefix', **more):
    soft = soft if soft is not None else rows(p * (c or 1))
    inputs = [tensor('soft_prompt', 'FP32', ([c] if c else []) + [p, H], soft), tensor('text', 'BYTES', [len(texts)], list(texts))]
    if cue is not None:
        inputs.append(tensor('cue', 'BYTES', [1], [cue]))
    if labels:
        inputs.append(tensor('label_ids', 'INT32', [len(labels)], list(labels)))
    if prefixes:
        inputs.append(tensor('label_prefix_ids', 'INT32', [len(prefixes), len(prefixes[0])], sum(prefixes, [])))
    body = {'parameters': {'contract': 'gdfo-scorer/1', 'position': position}, 'inputs': inputs}
    if outputs:
        body['outputs'] = [{'name': name} for name in outputs]
    body.update(more)
    return body


PACK = {'FP32': 'f', 'INT32': 'i'}


def to_binary(body, outputs=True):
    """The same request with every tensor behind the JSON; returns header length and bytes."""
    head, tail = dict(body, inputs=[]), b''
    for t in body['inputs']:
        if t['datatype'] == 'BYTES':
            raw = b''.join(struct.pack('<I', len(s.encode())) + s.encode() for s in t['data'])
        else:
            raw = struct.pack('<%d%s' % (len(t['data']), PACK[t['datatype']]), *t['data'])
        head['inputs'].append({'name': t['name'], 'shape': t['shape'], 'datatype': t['datatype'], 'parameters': {'binary_data_size': len(raw)}})
        tail += raw
    if outputs and 'outputs' in head:
        head['outputs'] = [dict(o, parameters={'binary_data': True}) for o in head['outputs']]
    text = json.dumps(head).encode()
    return len(text), text + tail


def outputs_of(answer, raw=b''):
    """{name: (shape, numbers)} of an answer, whichever form its tensors have."""
    found, at = {}, 0
    for o in answer['outputs']:
        size = o.get('parameters', {}).get('binary_data_size')
        if size is None:
            numbers = o['data']
        else:
            numbers = list(struct.unpack('<%d%s' % (size // 4, PACK[o['datatype']]), raw[at:at + size]))
            at += size
        count = 1
        for n in o['shape']:
            count *= n
        if len(numbers) != count:
            raise AssertionError('%s has %d numbers for shape %s' % (o['name'], len(numbers), o['shape']))
        found[o['name']] = (o['shape'], numbers)
    if at != len(raw):
        raise AssertionError('%d bytes behind the last tensor' % (len(raw) - at))
    return found


def f32(x):
    return struct.unpack('<f', struct.pack('<f', x))[0]


class OipCase(Case):
    """Asks a daemon in the protocol's words."""

    def await_ready(self, daemon):
        """Until the model is loaded: 503 with the reason is the only other answer there may be."""
        end = time.monotonic() + real_daemon.PATIENCE
        while True:
            status, headers, body = self.ask('GET', '/v2/health/ready', daemon=daemon)
            if status == 200:
                return
            self.assertEqual((status, headers['retry-after']), (503, '1'), body)
            self.assertIn('is being loaded', json.loads(body)['error'])
            if time.monotonic() > end:
                self.fail('not ready within %d s\n%s' % (real_daemon.PATIENCE, daemon.tail()))
            time.sleep(0.05)

    def ask(self, method, path, body=None, headers=None, daemon=None):
        c = http.client.HTTPConnection('127.0.0.1', (daemon or self.daemon).port, timeout=real_daemon.PATIENCE)
        try:
            c.request(method, path, body, headers or {})
            answer = c.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            c.close()

    def infer(self, body, model='local', **more):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask('POST', '/v2/models/%s/infer' % model, text, {'Content-Type': 'application/json'}, **more)

    def good(self, body, **more):
        status, headers, text = self.infer(body, **more)
        self.assertEqual((status, headers['content-type']), (200, 'application/json'), text[:500])
        return json.loads(text)

    def good_binary(self, body, outputs=True):
        n, data = to_binary(body, outputs)
        status, headers, text = self.ask('POST', '/v2/models/local/infer', data, {
            'Content-Type': 'application/octet-stream', 'Inference-Header-Content-Length': str(n)})
        self.assertEqual(status, 200, text[:500])
        k = int(headers['inference-header-content-length']) if outputs else len(text)
        self.assertEqual(headers['content-type'], 'application/octet-stream' if outputs else 'application/json')
        return json.loads(text[:k]), text[k:]

    def lps(self, body):
        return outputs_of(self.good(body))['label_logprobs'][1]

    def refused(self, body, *words, status=400, **more):
        got, headers, text = self.infer(body, **more)
        self.assertEqual(got, status, text[:500])
        self.assertEqual(headers['content-type'], 'application/json')
        answer = json.loads(text)
        self.assertEqual(list(answer), ['error'])
        for word in words:
            self.assertIn(word, answer['error'])
        return answer['error']

    def announced(self, n, headers):
        """The answer to a head alone that announces n bytes."""
        c = http.client.HTTPConnection('127.0.0.1', self.daemon.port, timeout=real_daemon.PATIENCE)
        try:
            c.putrequest('POST', '/v2/models/local/infer')
            for name, value in headers.items():
                c.putheader(name, value)
            c.putheader('Content-Length', str(n))
            c.endheaders()
            answer = c.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            c.close()


class Oip(OipCase):
    args = ('--precision=f32', '--serve.models=local', '--sched.workers=1')

    def setUp(self):
        super().setUp()
        self.await_ready(self.daemon)

    # ---- what there is ----

    def test_server_and_models_describe_themselves(self):
        self.assertEqual(self.daemon.get('/v2')['extensions'], ['binary_tensor_data'])
        self.assertEqual(self.daemon.get('/v2')['name'], 'gdfod')
        self.assertEqual(self.daemon.get('/v2/health/live'), {'live': True})
        self.assertEqual(self.daemon.get('/v2/health/ready'), {'ready': True})
        self.assertEqual(self.daemon.get('/v2/models/local/ready'), {'name': 'local', 'ready': True})
        about = self.daemon.get('/v2/models/local')
        self.assertEqual((about['name'], about['versions'], about['platform']), ('local', ['1'], 'gdfo'))
        shapes = {t['name']: (t['datatype'], t['shape']) for t in about['inputs'] + about['outputs']}
        self.assertEqual(shapes, {
            'soft_prompt': ('FP32', [-1, -1, H]), 'text': ('BYTES', [-1]), 'cue': ('BYTES', [1]), 'label_ids': ('INT32', [-1]),
            'label_prefix_ids': ('INT32', [-1, -1]), 'label_logprobs': ('FP32', [-1, -1, -1]), 'logits': ('FP32', [-1, -1, V]),
            'hidden': ('FP32', [-1, -1, H]), 'tokens_used': ('INT32', [-1]), 'tokens_cached': ('INT32', [-1])})
        with open(shared(real_daemon.TINY), 'rb') as f:
            sha256 = real_daemon.sha256(f.read())
        p = about['parameters']
        self.assertEqual((p['contract'], p['grid'], p['precision'], p['sha256']), ('gdfo-scorer/1', 'f32', 'f32', sha256))
        self.assertGreater(p['max_positions'], 0)
        self.assertEqual(self.daemon.get('/v2/models/local/versions/1')['name'], 'local')
        for path in ('/v2/models/other', '/v2/models/other/ready', '/v2/models/local/versions/2', '/v2/nothing', '/v2/models'):
            status, headers, text = self.ask('GET', path)
            self.assertEqual((status, headers['content-type'], list(json.loads(text))), (404, 'application/json', ['error']), path)
        self.refused(request(['a']), "model 'other' is not served", status=404, model='other')
        status, headers, text = self.ask('GET', '/v2/models/local/infer')
        self.assertEqual((status, headers['allow'], list(json.loads(text))), (405, 'POST', ['error']))

    # ---- numbers ----

    def test_the_plain_prompt_agrees_with_another_engine(self):
        for case in reference():
            # The reference has no cue: the last word of the text is one here, tokenised apart, which must give the same tokens.
            text, _, last = case['prompt'].rpartition(' ')
            ids = list(range(0, V, 3))
            want = log_softmax(case['logits'][-1] if isinstance(case['logits'][-1], list) else case['logits'])
            answer = outputs_of(self.good(request([text], cue=' ' + last, labels=ids)))
            shape, got = answer['label_logprobs']
            self.assertEqual(shape, [1, len(ids)])
            worst = max(abs(a - want[i]) for a, i in zip(got, ids))
            self.assertLess(worst, 1e-3, case['prompt'])
            _, raw = self.good_binary(request([text], cue=' ' + last, outputs=('logits',)))
            logits = struct.unpack('<%df' % V, raw)
            self.assertLess(max(abs(a - b) for a, b in zip(log_softmax(logits), want)), 1e-3)

    def test_json_flat_nested_and_binary_are_the_same_bits(self):
        texts = ['The sun was warm.', 'He lost his toy – and cried.', '']
        flat = request(texts, p=3, position='suffix', outputs=('label_logprobs', 'hidden', 'tokens_used', 'tokens_cached'))
        nested = json.loads(json.dumps(flat))
        data = flat['inputs'][0]['data']
        nested['inputs'][0]['data'] = [data[i * H:(i + 1) * H] for i in range(3)]
        answer = outputs_of(self.good(flat))
        self.assertEqual(outputs_of(self.good(nested)), answer)
        self.assertEqual({k: v[0] for k, v in answer.items()},
                         {'label_logprobs': [3, 3], 'hidden': [3, H], 'tokens_used': [3], 'tokens_cached': [3]})
        head, raw = self.good_binary(flat)
        binary = outputs_of(head, raw)
        for name, (shape, numbers) in answer.items():
            self.assertEqual(binary[name], (shape, [f32(x) if name in ('label_logprobs', 'hidden') else x for x in numbers]), name)
        mixed, none = self.good_binary(flat, outputs=False)     # binary in, JSON out
        self.assertEqual((outputs_of(mixed), none), (answer, b''))

    def test_candidates_in_one_call_are_candidates_one_by_one(self):
        texts = ['Lily had a red ball', 'Tom was sad'] * 40         # more than one block
        for position in ('prefix', 'suffix'):
            soft = rows(3 * 2, seed=5)
            shape, many = outputs_of(self.good(request(texts, p=2, c=3, soft=soft, position=position)))['label_logprobs']
            self.assertEqual(shape, [3, 80, 3])
            single = []
            for c in range(3):
                one = outputs_of(self.good(request(texts, p=2, soft=soft[c * 2 * H:(c + 1) * 2 * H], position=position)))
                self.assertEqual(one['label_logprobs'][0], [80, 3])
                single += one['label_logprobs'][1]
            self.assertEqual(many, single)
        self.assertNotEqual(self.lps(request(texts, p=2, position='prefix')), self.lps(request(texts, p=2, position='suffix')))
        self.assertEqual(outputs_of(self.good(request(texts[:2], p=0, c=2, soft=[])))['label_logprobs'][0], [2, 2, 3])

    def test_what_is_said_already_follows_the_cue(self):
        """One request with a prefix for each text is as many requests, and the empty prefix is none."""
        a, b = 'Once upon a time', 'The dog ran'
        plain = self.lps(request([a, b], p=2))
        said = self.lps(request([a, b, a], p=2, prefixes=[[-1, -1], [-1, -1], [403, 407]]))
        self.assertEqual(said[:6], plain)
        self.assertNotEqual(said[6:], plain[:3])
        self.assertEqual(said[6:], self.lps(request([a], p=2, prefixes=[[403, 407]])))
        # The reference's last token, said instead of read.
        case = reference()[0]
        ids = case['tokens']
        want = log_softmax(case['logits'][-1] if isinstance(case['logits'][-1], list) else case['logits'])
        got = self.lps(request([case['prompt'].rpartition(' ')[0].rpartition(' ')[0]], cue=' ' + case['prompt'].split(' ')[-2],
                               prefixes=[[ids[-1]]], labels=(1, 2, 3, 100)))
        self.assertLess(max(abs(x - want[i]) for x, i in zip(got, (1, 2, 3, 100))), 1e-3)

    def test_tokens_are_counted_for_each_text(self):
        texts = ['Once upon a time', 'Once', '']
        o = ('tokens_used', 'tokens_cached')
        plain = outputs_of(self.good(request(texts, labels=None, outputs=o)))
        cue = plain['tokens_used'][1][2] - 1                        # the empty text is BOS
        self.assertEqual(plain['tokens_used'][1][0], len(reference()[0]['tokens']) + cue)
        suffix = outputs_of(self.good(request(texts, p=4, c=2, position='suffix', outputs=o)))
        self.assertEqual(suffix['tokens_used'][1], [2 * (n + 4) for n in plain['tokens_used'][1]])
        self.assertEqual(suffix['tokens_cached'][1], [n - cue for n in plain['tokens_used'][1]])
        prefix = outputs_of(self.good(request(texts, p=4, c=2, position='prefix', outputs=o)))
        self.assertEqual(prefix['tokens_cached'][1], [0, 8, 8])
        default = self.good(request(texts, outputs=None))
        self.assertEqual([x['name'] for x in default['outputs']], ['label_logprobs', 'tokens_used', 'tokens_cached'])
        self.assertEqual(default['parameters'], {'contract': 'gdfo-scorer/1', 'texts_truncated': 0})
        long = self.good(request(['and then ' * 2000, 'short']))
        self.assertEqual(long['parameters']['texts_truncated'], 1)

    def test_the_id_comes_back(self):
        answer = self.good(request(['a'], id='c17-b3 "é"'))
        self.assertEqual((answer['id'], answer['model_name'], answer['model_version']), ('c17-b3 "é"', 'local', '1'))
        self.assertNotIn('id', self.good(request(['a'])))
        status, _, text = self.ask('POST', '/v2/models/local/versions/1/infer', json.dumps(request(['a'])))  # no content type
        self.assertEqual(status, 200, text)

    def test_a_job_that_holds_the_only_worker_does_not_hold_this(self):
        self.write_task()
        job = self.submit(self.spec('bbt', body={'budget': {'evals': 20000}}))
        want = self.lps(request(['Tom ran'], p=2))

        def state():
            return json.loads(self.ok('job', 'show', job, '--json').out)['status']

        end = time.monotonic() + real_daemon.PATIENCE
        while state() != 'running':
            self.assertLess(time.monotonic(), end, self.daemon.tail())
            time.sleep(0.02)
        self.assertEqual(self.lps(request(['Tom ran'], p=2)), want)
        self.assertEqual(state(), 'running')
        self.ok('job', 'cancel', job)

    # ---- refusals ----

    def test_every_limit_at_it_and_past_it(self):
        small = dict(labels=(1,), cue=' x')
        self.good(request(['a'] * 256, **small))
        self.refused(request(['a'] * 257, **small), 'input text', '257', 'at most 256')
        self.good_binary(request(['a'], p=2, c=64, **small))
        self.refused(request(['a'], p=1, c=65, **small), 'input soft_prompt', '65', 'at most 64')
        self.refused(request(['a'], p=513, **small), 'input soft_prompt', '513', 'at most 512')
        most = self.daemon.get('/v2/models/local')['parameters']['max_positions']
        self.assertEqual(most, 512)     # of stories260K: the context is the lower limit here
        used = outputs_of(self.good(request([''], outputs=('tokens_used',), **small)))['tokens_used'][1][0]
        self.good(request([''], p=most - used, **small))
        self.refused(request([''], p=most, **small), 'prompt and cue take', '512', status=413)
        self.good(request(['a' * 65536], **small))
        self.refused(request(['a' * 65537], **small), '65536', 'bytes in a string')
        self.good(request(['a'], cue=' x', labels=range(256)))
        self.refused(request(['a'], cue=' x', labels=[1] * 257), 'input label_ids', '257', 'at most 256')
        self.good(request(['a'], prefixes=[[5] * 8], **small))
        self.refused(request(['a'], prefixes=[[5] * 9], **small), 'label_prefix_ids', '9', 'at most 8')
        body = json.dumps(request(['a'], **small)).encode()
        self.assertEqual(self.infer(body + b' ' * (LIMIT_JSON - len(body)))[0], 200)
        for limit, headers in ((LIMIT_JSON, {}), (LIMIT_BINARY, {'Inference-Header-Content-Length': '10'})):
            self.assertEqual(self.announced(limit + 1, headers), (413, {'error': 'the body is longer than %d bytes' % limit}))
        n, data = to_binary(request(['a'], **small))
        for header, words in ((65537, "'65537'"), (len(data) + 1, 'of JSON in a body of'), ('x', "'x'"), (-1, "'-1'")):
            status, _, text = self.ask('POST', '/v2/models/local/infer', data, {'Inference-Header-Content-Length': str(header)})
            self.assertEqual(status, 400, text)
            self.assertIn(words, json.loads(text)['error'])
        self.refused(request(['a'] * 256, p=1, c=64, labels=range(256), cue=' x'), 'the answer may take', 'ask for fewer')

    def test_every_error_says_what_and_what_to_do(self):
        good = request(['a'], p=1)

        def broken(change):
            body = json.loads(json.dumps(good))
            change(body)
            return body

        def put(i, **members):
            return broken(lambda b: b['inputs'][i].update(members))

        self.refused(b'{"inputs":[', 'invalid JSON')
        self.refused(b'[]', 'the request is an array')
        self.refused(b'', 'invalid JSON')
        self.refused(put(0, data=rows(1)[:-1]), 'input soft_prompt', 'the shape has more elements')
        self.refused(put(0, data=rows(2)), 'input soft_prompt', 'the shape has no more elements')
        self.refused(put(0, data=['x'] * H), 'input soft_prompt', 'want a number')
        self.refused(put(0, data=[1e39] + rows(1)[1:]), 'input soft_prompt', 'want a finite number')
        self.refused(json.dumps(put(0, data=[float('nan')] * H)).encode(), 'want a number')
        self.refused(put(0, shape=[1, H + 1], data=rows(1) + [0]), 'width 65', 'wants 64')
        self.refused(put(0, shape=[0, 3], data=[]), 'width 3', 'wants 64')
        self.refused(put(0, shape=[H]), 'shape has 1 dimensions', '2 or 3')
        self.refused(put(0, shape=[1, -H]), 'no count')
        self.refused(put(0, datatype='FP64'), "datatype is 'FP64'", 'want FP32')
        self.refused(put(0, name='soft_promt'), "input 'soft_promt'", 'soft_prompt, text')
        self.refused(put(1, name='soft_prompt', datatype='FP32'), 'input soft_prompt is given twice')
        self.refused(put(0, surprise=1), "'surprise'")
        self.refused(put(1, data=[1]), 'input text', 'want a text')
        self.refused(put(1, data=['a', 'b']), 'input text', 'as the shape says')
        self.refused(put(2, shape=[0], data=[]), 'input cue')
        self.refused(put(3, data=[1, 2, 512]), 'label_ids has token 512', '0..511')
        self.refused(put(3, data=[1, 2, -1]), 'label_ids has token -1')
        self.refused(put(3, data=[1, 2, 1.5]), 'input label_ids', 'an integer')
        self.refused(put(3, data=[1, 2, 3000000000]), 'input label_ids', '32 bits')
        self.refused(request(['a'], prefixes=[[-1, 5]]), 'label_prefix_ids', 'then -1')
        self.refused(request(['a'], prefixes=[[5], [6]]), 'label_prefix_ids has 2 rows for 1 texts')
        self.refused(request(['a'], prefixes=[[512]]), 'label_prefix_ids has token 512')
        self.refused(broken(lambda b: b['inputs'].pop(0)), 'soft_prompt is missing')
        self.refused(broken(lambda b: b['inputs'].pop(1)), 'text is missing')
        self.refused(broken(lambda b: b['inputs'].pop(3)), 'label_logprobs without label_ids')
        self.refused(broken(lambda b: b.pop('inputs')), 'inputs is missing')
        self.refused(broken(lambda b: b.update(outputs=[{'name': 'logit'}])), "output 'logit'")
        self.refused(broken(lambda b: b.update(outputs=[{'name': 'logits'}])), 'binary only')
        self.refused(broken(lambda b: b.update(outputs=[{'name': 'hidden'}] * 2)), 'asked twice')
        self.refused(broken(lambda b: b['parameters'].update(contract='gdfo-scorer/2')), 'gdfo-scorer/2', 'speaks gdfo-scorer/1')
        self.refused(broken(lambda b: b['parameters'].update(position='middle')), "'middle'", 'want prefix')
        self.refused(broken(lambda b: b['parameters'].pop('position')), 'parameters.position')
        self.refused(broken(lambda b: b['parameters'].update(sequence_id=1)), "'sequence_id'")
        self.refused(broken(lambda b: b.update(id=7)), 'id is no text')
        self.refused(broken(lambda b: b.update(more=7)), "'more'")
        self.refused(request(['a'], cue=''), 'empty cue')
        self.refused(put(0, data=None, parameters={'binary_data_size': 4 * H}), 'both data and binary_data_size')
        status, headers, text = self.ask('POST', '/v2/models/local/infer?x=1', b'{}')
        self.assertEqual((status, list(json.loads(text))), (400, ['error']))
        status, headers, text = self.ask('POST', '/v2/models/local/infer', b'{}', {'Content-Type': 'text/plain'})
        self.assertEqual((status, list(json.loads(text))), (415, ['error']))

    def test_binary_requests_that_lie(self):
        n, data = to_binary(request(['ab'], p=1))
        for cut, words in ((data[:-1], 'are left behind the JSON'), (data + b'x', 'bytes stand behind the last binary tensor'),
                           (data[:n] + struct.pack('<f', math.inf) + data[n + 4:], 'is not finite'),
                           (data[:n + 4 * H] + b'\x03' + data[n + 4 * H + 1:], 'element 0 is cut'),
                           (data[:n + 4 * H + 4] + b'\xff' + data[n + 4 * H + 5:], 'not UTF-8')):
            status, _, text = self.ask('POST', '/v2/models/local/infer', cut, {'Inference-Header-Content-Length': str(n)})
            self.assertEqual(status, 400, text)
            self.assertIn(words, json.loads(text)['error'])
        status, _, text = self.ask('POST', '/v2/models/local/infer', data[:n])
        self.assertEqual((status, 'Inference-Header-Content-Length' in json.loads(text)['error']), (400, True), text)


class Others(OipCase):
    args = ('--precision=f32',)

    def test_off_is_the_built_in_setting(self):
        for method, path in (('GET', '/v2'), ('GET', '/v2/health/live'), ('GET', '/v2/health/ready'), ('GET', '/v2/models/local'),
                             ('POST', '/v2/models/local/infer')):
            status, _, text = self.ask(method, path, json.dumps(request(['a'])) if method == 'POST' else None)
            self.assertEqual((status, list(json.loads(text))), (404, ['error']))
            self.assertIn('--serve.models=NAME', json.loads(text)['error'])

    def test_a_full_queue_is_503_with_when_to_come_again(self):
        """Of a queue without room every request is one too many; unit.job.job_serve fills one of 64."""
        daemon = self.another('q', '--serve.models=local', '--serve.queue=0')
        status, headers, text = self.infer(request(['a']), daemon=daemon)
        self.assertEqual((status, headers['retry-after'], list(json.loads(text))), (503, '1', ['error']))
        self.assertIn('wait already', json.loads(text)['error'])

    def test_a_stop_answers_what_is_asked_and_what_waits(self):
        """One request that takes long, one that waits for it, and a third that finds the queue of one full; then the daemon is told to
        stop. The log says when the first is under way and the second waits. Each gets a whole answer."""
        daemon = self.another('s', '--serve.models=local', '--serve.queue=1', '--log.level=debug')
        n, long = to_binary(request(['and then they all ran home ' * 12] * 256, p=1, c=64, labels=(5,)))
        answers = {}

        def send(name):
            answers[name] = self.ask('POST', '/v2/models/local/infer', long, {'Inference-Header-Content-Length': str(n)}, daemon=daemon)

        def until(event, count):
            end = time.monotonic() + real_daemon.PATIENCE
            while self.read('s', 'gdfod.log').count(b'ev=' + event) < count:
                self.assertLess(time.monotonic(), end, daemon.tail())
                time.sleep(0.01)

        threads = [threading.Thread(target=send, args=(i,)) for i in range(2)]
        threads[0].start()
        until(b'taken', 1)
        threads[1].start()
        until(b'queued', 2)
        status, headers, text = self.infer(request(['a']), daemon=daemon)
        self.assertEqual((status, headers['retry-after']), (503, '1'), text)
        self.assertIn('1 requests with 0 MiB wait already, of at most 1', json.loads(text)['error'])
        self.assertEqual(daemon.stop(), 0)
        for t in threads:
            t.join()
        for i in range(2):
            self.assertEqual((answers[i][0], json.loads(answers[i][2])), (503, {'error': 'the daemon is stopping'}))

    def another(self, name, *args):
        daemon = RealDaemon(os.path.join(self.folder, name), ('--precision=f32', *args))
        self.addCleanup(self.end, daemon)
        daemon.start()
        self.await_ready(daemon)
        return daemon

    def test_a_name_that_is_no_model_stops_the_start(self):
        for value, words in (('nobody', "'nobody' is not in the models folder"), ('local,local', "'local' is named twice"), (',', 'no model is named'),
                             ('masked', "'masked' is a masked language model")):
            daemon = RealDaemon(os.path.join(self.folder, 'x'), ('--precision=f32', '--serve.models=' + value))
            if value == 'masked':
                tiny_masked.write(os.path.join(daemon.models, 'masked'))
            with self.assertRaisesRegex(AssertionError, 'gdfod ended with 2 before') as caught:
                daemon.start()
            self.assertIn(words, str(caught.exception))
            daemon.process.stdout.close()
            daemon.process = None

    def test_the_settings_are_shown(self):
        gdfod = os.path.join(real_daemon.BIN, 'gdfod')
        for flag in ('--print-config', '--help-config'):
            text = subprocess.run([gdfod, flag], capture_output=True, text=True, timeout=real_daemon.PATIENCE).stdout
            self.assertIn('serve.models', text)
            self.assertIn('serve.queue', text)


if __name__ == '__main__':
    real_daemon.main()
