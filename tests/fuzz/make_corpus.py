#!/usr/bin/env python3
"""make_corpus.py: writes the seed inputs of the fuzz targets, all of our own making.

usage: make_corpus.py FOLDER        (tests/fuzz/corpus; files of the same name are replaced)
"""
import json
import os
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
PACK = {U8: '<B', I8: '<b', U16: '<H', I16: '<h', U32: '<I', I32: '<i', F32: '<f', BOOL: '<?', U64: '<Q', I64: '<q', F64: '<d'}
BLOCK = {0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 8: (34, 32), 30: (2, 1)}


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack('<Q', len(s)) + s


def value(t, v):
    if t == STR:
        return text(v)
    if t == ARR:
        element, items = v
        return struct.pack('<IQ', element, len(items)) + b''.join(value(element, i) for i in items)
    return struct.pack(PACK[t], v)


def gguf(kvs, tensors, version=3, align=32):
    head = b'GGUF' + struct.pack('<IQQ', version, len(tensors), len(kvs))
    head += b''.join(text(k) + struct.pack('<I', t) + value(t, v) for k, t, v in kvs)
    data = b''
    for name, dims, kind in tensors:
        data += b'\0' * (-len(data) % align)
        head += text(name) + struct.pack('<I', len(dims)) + b''.join(struct.pack('<Q', d) for d in dims)
        head += struct.pack('<IQ', kind, len(data))
        n = 1
        for d in dims:
            n *= d
        size, per = BLOCK[kind]
        data += bytes((7 * i) % 59 for i in range(n // per * size))      # finite in every type
    return head + b'\0' * (-len(head) % align) + data


def model(d, heads, kv, ff, vocab, kinds):
    rows = kv * d // heads
    shapes = [('token_embd', (d, vocab)), ('output_norm', (d,)), ('blk.0.attn_norm', (d,)), ('blk.0.attn_q', (d, d)),
              ('blk.0.attn_k', (d, rows)), ('blk.0.attn_v', (d, rows)), ('blk.0.attn_output', (d, d)),
              ('blk.0.ffn_norm', (d,)), ('blk.0.ffn_gate', (d, ff)), ('blk.0.ffn_up', (d, ff)), ('blk.0.ffn_down', (ff, d))]
    kvs = [('general.architecture', STR, 'llama'), ('llama.block_count', U32, 1), ('llama.embedding_length', U32, d),
           ('llama.feed_forward_length', U32, ff), ('llama.context_length', U32, 8), ('llama.attention.head_count', U32, heads),
           ('llama.attention.head_count_kv', U32, kv), ('llama.attention.layer_norm_rms_epsilon', F32, 1e-5)]
    return kvs, [(n + '.weight', s, kinds[i % len(kinds)]) for i, (n, s) in enumerate(shapes)]


TOKENS = ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', '\u2581', '<0x41>', '\u0120', '\u0120a', '1', "'"]
TYPES = [2, 3, 3, 1, 1, 1, 1, 6, 1, 1, 1, 1]


def tokenizer(kind):
    kvs = [('tokenizer.ggml.model', STR, kind), ('tokenizer.ggml.tokens', ARR, (STR, TOKENS)),
           ('tokenizer.ggml.token_type', ARR, (I32, TYPES)), ('tokenizer.ggml.bos_token_id', U32, 1),
           ('tokenizer.ggml.eos_token_id', U32, 2)]
    if kind == 'llama':
        return kvs + [('tokenizer.ggml.scores', ARR, (F32, [float(-i) for i in range(len(TOKENS))]))]
    return kvs + [('tokenizer.ggml.pre', STR, 'smollm'), ('tokenizer.ggml.merges', ARR, (STR, ['a b', '\u0120 a']))]


def ggufs():
    kvs, tensors = model(4, 2, 1, 3, len(TOKENS), [0])
    yield 'bpe', gguf(kvs + tokenizer('gpt2') + [('tokenizer.ggml.add_bos_token', BOOL, True)], tensors)
    yield 'spm', gguf(kvs + tokenizer('llama') + [('general.alignment', U32, 8)], tensors, version=2, align=8)
    every = [('x%d' % t, t, 1) for t in PACK] + [('s', STR, 'word'), ('aa', ARR, (ARR, [(U8, [1, 2]), (STR, ['q'])])),
                                                  ('ab', ARR, (BOOL, [True, False])), ('ad', ARR, (F64, [0.5]))]
    yield 'kinds', gguf(kvs + every, tensors)
    kvs, tensors = model(32, 2, 1, 32, 4, [8, 0, 0, 3, 2, 1, 30, 0])
    yield 'blocks', gguf(kvs + [('llama.rope.freq_base', F64, 5e5), ('llama.rope.scaling.type', STR, 'none')], tensors)
    honest = gguf([('general.architecture', STR, 'llama')], [('token_embd.weight', (5, 2), 0)])
    yield 'lie', honest.replace(struct.pack('<QQ', 5, 2), struct.pack('<QQ', 1 << 39, 2))


def safetensors():
    d, kv, ff, vocab, layer = 8, 4, 3, 4, 'model.layers.0.'
    shapes = {'model.embed_tokens': (vocab, d), 'model.norm': (d,), layer + 'input_layernorm': (d,),
              layer + 'self_attn.q_proj': (d, d), layer + 'self_attn.k_proj': (kv, d), layer + 'self_attn.v_proj': (kv, d),
              layer + 'self_attn.o_proj': (d, d), layer + 'post_attention_layernorm': (d,),
              layer + 'mlp.gate_proj': (ff, d), layer + 'mlp.up_proj': (ff, d), layer + 'mlp.down_proj': (d, ff)}
    config = {'model_type': 'llama', 'hidden_size': d, 'intermediate_size': ff, 'num_hidden_layers': 1, 'num_attention_heads': 2,
              'num_key_value_heads': 1, 'vocab_size': vocab, 'max_position_embeddings': 8, 'rms_norm_eps': 1e-5}
    for name, dtypes in (('f32', ['F32']), ('half', ['F16', 'BF16', 'F32'])):
        head, end = {'__metadata__': {'format': 'pt'}}, 0
        for i, (key, shape) in enumerate(shapes.items()):
            dtype, n = dtypes[i % len(dtypes)], shape[0] * (shape[1] if len(shape) > 1 else 1)
            begin, end = end, end + n * (4 if dtype == 'F32' else 2)
            head[key + '.weight'] = {'dtype': dtype, 'shape': list(shape), 'data_offsets': [begin, end]}
        if name == 'half':
            config['rope_parameters'] = {'rope_type': 'default', 'rope_theta': 500000.0}
        c, h = json.dumps(config).encode(), json.dumps(head).encode()
        yield name, struct.pack('<H', len(c)) + c + struct.pack('<Q', len(h)) + h + bytes((5 * i) % 53 for i in range(end))


def bert():
    """A BERT of one block without a head, d 2."""
    config = {'model_type': 'bert', 'hidden_size': 2, 'intermediate_size': 3, 'num_hidden_layers': 1, 'num_attention_heads': 1,
              'vocab_size': 3, 'max_position_embeddings': 2, 'type_vocab_size': 1}
    shapes = [('embeddings.word_embeddings.weight', [3, 2]), ('embeddings.position_embeddings.weight', [2, 2]),
              ('embeddings.token_type_embeddings.weight', [1, 2]), ('embeddings.LayerNorm.gamma', [2]), ('embeddings.LayerNorm.beta', [2])]
    for part, rows, columns in (('attention.self.query', 2, 2), ('attention.self.key', 2, 2), ('attention.self.value', 2, 2),
                                ('attention.output.dense', 2, 2), ('intermediate.dense', 3, 2), ('output.dense', 2, 3)):
        shapes += [('encoder.layer.0.%s.weight' % part, [rows, columns]), ('encoder.layer.0.%s.bias' % part, [rows])]
    for part in ('attention.output', 'output'):
        shapes += [('encoder.layer.0.%s.LayerNorm.%s' % (part, x), [2]) for x in ('weight', 'bias')]
    head, end = {}, 0
    for name, shape in shapes + [('pooler.dense.bias', [2])]:
        n = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        head['bert.' + name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [end, end + n]}
        end += n
    c, h = json.dumps(config).encode(), json.dumps(head).encode()
    yield 'bert', struct.pack('<H', len(c)) + c + struct.pack('<Q', len(h)) + h + bytes((5 * i) % 53 for i in range(end))


def tokenizer_files():
    def pair(kind, first, second=b''):
        return bytes([kind]) + struct.pack('<H', len(first)) + first + second
    vocab = {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3, 'I': 4, 't': 5, 'It': 6, '\u0120': 7, 'w': 8, 'a': 9, 's': 10, '<mask>': 11}
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'it', 'was', '##n', 'un', '\u4e2d', "'", 't', '\u1112', '##\u1161', '##\u11ab']
    bert = {'added_tokens': [{'id': i, 'content': w, 'special': True} for i, w in enumerate(words[:5])],
            'normalizer': {'type': 'BertNormalizer', 'lowercase': True}, 'pre_tokenizer': {'type': 'BertPreTokenizer'},
            'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {}}, {'Sequence': {}}, {'SpecialToken': {}}]},
            'model': {'type': 'WordPiece', 'unk_token': '[UNK]', 'vocab': {w: i for i, w in enumerate(words)}}}
    roberta = {'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False}, 'post_processor': {'type': 'RobertaProcessing'},
               'model': {'type': 'BPE', 'vocab': vocab, 'merges': [['I', 't']]}}
    yield 'bert-json', pair(0, json.dumps(bert).encode(), 'It was \u4e2d\ud55c'.encode())
    yield 'roberta-json', pair(0, json.dumps(roberta).encode(), b'It was')
    yield 'vocab-txt', pair(1, '\n'.join(words).encode(), b'{"do_lower_case":false,"strip_accents":true}')
    yield 'vocab-json', pair(2, json.dumps(vocab).encode(), b'#version: 0.2\nI t\n')


def texts():
    sample = "Say 12 'aab aa\u00e9's   end\n\n \u4e2d\u00bd\u0663 \U0001f999 we'll'd 'VE a\u00a0b"
    for i, name in enumerate(('gpt2', 'smollm', 'spm')):
        yield name, bytes([i]) + sample.encode()
    yield 'build-bpe', bytes([3]) + 'a\nb\nab\n\u0120\n\u010a\n\na b\n'.encode()
    yield 'build-spm', bytes([5]) + '\u2581\na\nb\nab\n'.encode()
    yield 'not-utf8', bytes([0]) + b'ok \xc3( \xed\xa0\x80 \xf4\x90\x80\x80'


def jsons():
    yield 'empty', b'{}'
    yield 'kinds', b'{"a":[1,-2.5e3,0,-0,9007199254740993,1e-400],"b":{"c":null,"d":true,"e":false},"":""}'
    yield 'escapes', b'"\\u0041\\u00e9\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t"'
    yield 'utf8', '{"\u00e9":"\u20ac\U0001f600"}'.encode()
    yield 'blanks', b' \t\r\n[ 1 , [ ] , { } ]\n'
    yield 'twice', b'{"a":1,"\\u0061":2}'
    yield 'surrogate', b'["\\ud800","\\udc00"]'
    yield 'zero', b'["\\u0000"]'
    yield 'deep', b'[' * 65 + b']' * 65
    yield 'huge', b'[1e999]'
    yield 'tiny', b'[-9e-400,-0,-0.0]'
    yield 'job', json.dumps({'model': 'local', 'training_file': 'file-1', 'seed': 7, 'metadata': {'k': 'v'},
                             'method': {'type': 'bbt', 'bbt': {'budget': {'queries': 640}}}}).encode()


def multiparts():
    purpose = b'--XyZ\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    part = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a\\"b.jsonl"\r\nContent-Type: x/y\r\n\r\n'
    end = b'--XyZ--\r\n'
    yield 'plain', b'\x00\x00' + purpose + part + b'{}\n\r\n' + end
    yield 'near', b'\x06\x00' + part + b'\r\n--XyY\r\r\n--XyZ\r' + b'\r\n\r\n' + end
    yield 'preamble', b'\x40\x00before\r\n' + purpose + b'--XyZ--after'
    yield 'bare', b'\x02\x00--XyZ\ncontent-disposition: form-data; name=a\n\n1\n--XyZ--'
    yield 'open', b'\x09\x00' + purpose + part + b'no end'
    yield 'nothing', b'\x01\x00' + end


def requests():
    host = b'Host:localhost:8787\n'
    yield 'get', b'GET /v1/files?limit=2&after=file-1&order=asc HTTP/1.1\n' + host
    yield 'post', b'POST /v1/fine_tuning/jobs HTTP/1.1\n' + host + b'Content-Type:application/json\nContent-Length:2'
    yield 'upload', b'POST /v1/files HTTP/1.1\n' + host + b'Content-Type:multipart/form-data; boundary=x\nTransfer-Encoding:chunked'
    yield 'action', b'POST /v1/fine_tuning/jobs/ftjob-1/cancel HTTP/1.1\n' + host + b'Origin:http://localhost:8787'
    yield 'checkpoint', b'HEAD /v1/fine_tuning/jobs/ftjob-1/checkpoints/best/content?format=gdfo HTTP/1.1\n' + host
    yield 'two_lengths', b'POST /v1/predict HTTP/1.1\n' + host + b'Content-Length:0\nContent-Length:5'
    yield 'both', b'POST /v1/predict HTTP/1.1\n' + host + b'Content-Length:3\nTransfer-Encoding:chunked'
    yield 'dots', b'GET /v1/files/%2e%2e%2f%2e%2e/content HTTP/1.1\n' + host
    yield 'zero', b'GET /v1/files/%00?a=%zz HTTP/1.1\n' + host
    yield 'later', b'GET /v1/fine_tuning/jobs?metadata%5Bteam%5D=x&nope HTTP/1.1\n' + host
    yield 'stranger', b'GET /healthz HTTP/1.1\nHost:evil.example\nOrigin:null'


def datasets():
    line = lambda **row: json.dumps(row, ensure_ascii=False).encode() + b'\n'
    chat = lambda label, *texts: line(messages=[{'role': 'user', 'content': t} for t in texts] +
                                      [{'role': 'assistant', 'content': label}])
    yield 'text', b''.join(line(text='t%d \u00e9' % i, label='ab'[i % 2], id=i) for i in range(9))
    yield 'pair', line(text_a='a', text_b='b', label=1) + b'\r\n' + line(text_a='c', text_b='d', label=-2, meta={'x': [None]})
    yield 'chat', chat(' x\n', 'one', 'two') + chat('y', [{'type': 'text', 'text': 'three'}])
    yield 'inputs', b'\xef\xbb\xbf' + line(text='only') + line(text='texts', id='7')
    yield 'faults', line(text='', label='a') + b'{"text":"a"\n[1]\n' + line(text='a', label='', more=1) + b'\xff\x00\n'
    yield 'utf16', '{"text":"a","label":"b"}\n'.encode('utf-16')


def task_specs():
    yield 'none', b'{}'
    yield 'preset', b'{"preset":"mrpc","cue":"Same:","k_shot":4}'
    yield 'full', json.dumps(dict(kind='classification', template='{{x}} {text}', cue=' ', position='prefix',
                                  verbalizer={'a': ['x', 'y'], 'b~/': 'z'}, label_space='none', words='mean', loss='hinge',
                                  margin=0.5, metric='f1', positive_label='a', examples=[])).encode()
    yield 'pair', b'{"template":"{text_a}{text_b}","verbalizer":{"a":"1","b":"2"},"k_shot":null}'
    yield 'faults', b'{"cue":1,"nope":2,"template":"{","verbalizer":{"a":[],"":"x"},"metric":"f1","k_shot":0,"loss":"l"}'


def configs():
    yield 'good', b'# all of it\ndata.dir = /d\n[http]\r\nport = 0 # any\n[teacher t]\nmodel = m\n[student s]\nfile = f.gguf\n[log]\nlevel=warn'
    yield 'faults', b'port = 1\n[http\n[http]\nport\nport = -1\nport = 2\n[teacher]\n[teacher a b]\n[teacher a]\nnope = 1\n[teacher a]\n'
    yield 'bytes', b'[http]\nport = 1\xff\n\x00\n' + b'a' * 5000 + b' = 1\n[' + b'b' * 5000 + b']\n=\n==\n]\n[]\n[ ]\n'
    yield 'many', b''.join(b'[teacher t%d]\n[student s%d]\n' % (i, i) for i in range(40))


def net_verdicts():
    quota = b'{"error":{"message":"m","type":"insufficient_quota","code":null}}'
    yield 'ok', b'200\ncontent-type: application/json\n\n{"choices":[]}'
    yield 'quota', b'429\nretry-after: 7\n\n' + quota
    yield 'date', b'503\nretry-after: Sun, 06 Nov 2044 08:49:37 GMT\n\n'
    yield 'resets', b'429\nx-ratelimit-reset-requests: 20ms\nx-ratelimit-reset-tokens: 6m0s\n\n{"error":"slow_down"}'
    yield 'absurd', b'529\nretry-after-ms: -1\nretry-after: 99999999999999999999999999999999999999\n\n{"code":"x"}'
    yield 'duration', b'400\n1h2m3.004s\n\n{"type":"a b","status":"INVALID"}'
    yield 'html', b'502\nserver: x\nempty: \n\n<html>\xff\x00'


def oip_requests():
    def tensor(name, datatype, shape, **more):
        return dict(name=name, datatype=datatype, shape=shape, **more)

    def request(*inputs, **more):
        return json.dumps(dict(inputs=list(inputs), **more)).encode()

    def binary(head, tail):
        return struct.pack('<H', len(head)) + head + tail

    texts = tensor('text', 'BYTES', [2], data=['good "film"', 'b\u00e9'])
    ids = tensor('label_ids', 'INT32', [2], data=[3363, 2360])
    soft = tensor('soft_prompt', 'FP32', [2, 3], data=[0, 1.5, -2e-3, 3, -4.5, 0.1])
    place = dict(contract='gdfo-scorer/1', position='prefix')
    yield 'flat', b'\xff\xff' + request(soft, texts, ids, id='c17', parameters=place, outputs=[dict(name='label_logprobs')])
    nested = dict(soft, shape=[1, 2, 3], data=[[[0, 1.5, -2e-3], [3, -4.5, 0.1]]])
    yield 'nested', b'\xff\xff' + request(nested, texts, ids, tensor('cue', 'BYTES', [1], data=[' It was']),
                                          tensor('label_prefix_ids', 'INT32', [2, 2], data=[[5, -1], [-1, -1]]), parameters=place)
    yield 'plain', b'\xff\xff' + request(tensor('soft_prompt', 'FP32', [2, 0, 3], data=[[], []]), texts,
                                         outputs=[dict(name='hidden'), dict(name='tokens_used')])
    head = request(tensor('soft_prompt', 'FP32', [1, 2], parameters=dict(binary_data_size=8)),
                   tensor('text', 'BYTES', [2], parameters=dict(binary_data_size=12)), ids,
                   parameters=dict(place, binary_data_output=True), outputs=[dict(name='logits')])
    tail = struct.pack('<ff', 1, -2.5) + b'\3\0\0\0a",\1\0\0\0}'
    yield 'binary', binary(head, tail)
    yield 'cut', binary(head, tail[:-3])
    yield 'more', binary(head, tail + b'x')
    yield 'numbers', b'\xff\xff' + request(dict(soft, data=[]), texts).replace(b'[]', b'[01, +1, 1e999, NaN, 0x1, -]')
    yield 'faults', b'\xff\xff{"inputs":[{"data":[1,[2]],"data":{"a":"]"},"d\\u0061ta":0},3,{"name":"text"'
    yield 'shapes', b'\xff\xff' + request(dict(soft, shape=[64, 512, 2147483647]), texts)


def oip_answers():
    def lp(**more):
        return dict(dict(name='label_logprobs', datatype='FP32', shape=[4, 3]), **more)

    def answer(*outputs, model_name='m', id='p0-1.e0-2.n0-2'):
        return json.dumps(dict(model_name=model_name, id=id, outputs=list(outputs))).encode()

    soft = dict(name='soft_prompt', datatype='FP32', shape=[-1, -1, 3])
    labels = dict(name='label_ids', datatype='INT32', shape=[-1])
    yield 'server', b'\0\0\0' + json.dumps(dict(name='s', version='1', extensions=['binary_tensor_data'])).encode()
    yield 'model', b'\2\0\0' + json.dumps(dict(name='m', inputs=[soft, labels], outputs=[lp(), dict(name='hidden')],
                                               parameters=dict(max_positions=9, sha256='00', max_labels=8))).encode()
    numbers = [-float(i + 1) for i in range(12)]
    hidden = dict(name='hidden', datatype='FP32', shape=[4, 3])
    used = dict(name='tokens_used', datatype='INT32', shape=[4], data=[1, 2, 3, 4])
    yield 'json', b'\3\0\0' + answer(lp(data=numbers), dict(hidden, data=numbers), used)
    yield 'nested', b'\3\0\0' + answer(lp(data=[numbers[i:i + 3] for i in range(0, 12, 3)]), dict(hidden, data=numbers))
    size = dict(parameters=dict(binary_data_size=48))
    head = answer(lp(**size), dict(hidden, **size))
    yield 'binary', b'\4' + struct.pack('<H', len(head)) + head + 2 * struct.pack('<12f', *numbers)
    yield 'nan', b'\4' + struct.pack('<H', len(head)) + head + struct.pack('<12f', *numbers[:11], float('nan')) + bytes(48)


def openai_answers():
    def token(text, lp, **more):
        return dict(token=text, bytes=list(text.encode()), logprob=lp, **more)

    def chat(*top, content=' great', **more):
        choice = dict(message=dict(content=content), logprobs=dict(content=[dict(token(content, -0.5), top_logprobs=top)]))
        return json.dumps(dict(model='m', choices=[choice], usage=dict(prompt_tokens=9, completion_tokens=1), **more)).encode()

    def completions(top):
        return json.dumps(dict(choices=[dict(text=' bad', logprobs=dict(top_logprobs=top))])).encode()

    topk, hard, probe, refused = 0x10, 0x00, 0x20, 0x60
    great, bad = token(' great', -0.5), token(' bad', -2.25)
    yield 'chat', bytes([topk]) + chat(great, bad, id='c', system_fingerprint='fp')
    yield 'chat_bytes', bytes([topk]) + chat(token('\u00e9', -1), dict(token='?', bytes=[195, 169], logprob=-2), dict(great, bytes=None))
    yield 'chat_faults', bytes([topk]) + chat(dict(great, bytes=[300]), dict(logprob=1), content='')
    yield 'chat_zeros', bytes([topk]) + chat(token(' great', 0), token(' bad', 0))
    yield 'chat_twice', bytes([topk]) + chat(great, great)
    yield 'chat_huge', bytes([topk]) + chat(great, bad).replace(b'-2.25', b'-2e400')
    yield 'hard', bytes([hard]) + json.dumps(dict(choices=[dict(message=dict(content=' bad \n'), logprobs=None)])).encode()
    yield 'hard_none', bytes([topk]) + json.dumps(dict(choices=[dict(message=dict(content=None))])).encode()
    yield 'object', bytes([topk + 1]) + completions([{' great': -0.5, ' bad': -2, '': -3}])
    yield 'lists', bytes([topk + 1]) + completions([[great, bad]])
    yield 'list', bytes([topk + 1]) + completions([great, bad])
    yield 'same_key', bytes([topk + 1]) + b'{"choices":[{"logprobs":{"top_logprobs":[{" a":-1," a":-2}]}}]}'
    llama = dict(content=' great', tokens_evaluated=5, tokens_predicted=1, truncated=True, timings=dict(cache_n=9))
    yield 'llamacpp', bytes([topk + 2]) + json.dumps(dict(llama, completion_probabilities=[dict(great, top_logprobs=[great, bad])])).encode()
    yield 'llamacpp_old', bytes([topk + 2]) + json.dumps(dict(llama, completion_probabilities=[dict(probs=[
        dict(tok_str=' great', prob=0.5), dict(tok_str=' bad', prob=0)])])).encode()
    yield 'html', bytes([topk]) + b'<html>\xff'
    yield 'cut', bytes([topk]) + chat(great, bad)[:-30]
    yield 'probe', bytes([probe]) + chat(great, bad)
    yield 'probe_models', bytes([probe]) + json.dumps(dict(data=[dict(id='a'), dict(id='m', max_model_len=99), 3])).encode()
    yield 'probe_other', bytes([probe]) + json.dumps(dict(data=[dict(id='a\u001b'), dict(id=7), 3])).encode()
    yield 'probe_props', bytes([probe + 2]) + json.dumps(dict(default_generation_settings=dict(n_ctx=64), build_info='b1')).encode()
    yield 'probe_refused', bytes([refused]) + b'{"error":{"message":"use max_completion_tokens","param":"temperature"}}'
    yield 'probe_top', bytes([refused]) + b'{"message":"logprobs of 20 are greater than max allowed: 5"}'
    yield 'error', bytes([topk]) + b'{"error":{"message":"gone\\u001b"}}'


def ask(mode, kind, a=0, b=0):
    """What a target of an adapter is asked for, see fuzz_adapter.h."""
    return bytes([mode, kind, a, b])


def probe(step, status, body):
    return ask(1 | step << 1, 0, (200, 400, 404, 500).index(status)) + json.dumps(body).encode()


def vllm_answers():
    lps = {'token_id:%d' % i: -i / 2 for i in (3, 4, 5, 6)}
    usage = {'prompt_tokens': 40, 'completion_tokens': 1, 'prompt_tokens_details': {'cached_tokens': 16}}
    choices = [{'index': i, 'logprobs': {'top_logprobs': [lps]}} for i in range(4)]
    yield 'completions', ask(0, 1) + json.dumps({'id': 'c', 'model': 'm', 'choices': choices, 'usage': usage}).encode()
    tops = [{'token': k, 'logprob': v, 'bytes': [1, 2]} for k, v in lps.items()]
    yield 'chat', ask(0, 0) + json.dumps({'model': 'm', 'choices': [{'index': 0, 'logprobs': {'content': [{'top_logprobs': tops}]}}],
                                          'usage': usage}).encode()
    yield 'models', probe(0, 200, {'data': [{'id': 'm', 'max_model_len': 64}]})
    yield 'version', probe(1, 200, {'version': '1'})
    yield 'labels', probe(2, 200, {'choices': [{'index': 0, 'logprobs': {'top_logprobs': [{'token_id:200': -1, 'token_id:201': -2}]}}]})
    yield 'width', probe(3, 400, {'error': {'message': "hidden_size 1 does not match the model's hidden_size 576."}})
    yield 'template', probe(5, 200, {'tokens': [1, 2, 3]})


def sglang_answers():
    yield 'score', ask(0, 0) + json.dumps({'model': 'm', 'scores': [[0.5, 0.25, 0, 1]] * 4, 'usage': {'prompt_tokens': 9}}).encode()
    yield 'over', ask(0, 0) + json.dumps({'model': 'm', 'scores': [[0.5, 0.25, 1.5, 1]] * 4}).encode()
    triples = [[-0.5, 3, None], [-1, 4, None]]
    yield 'generate', ask(0, 1) + json.dumps({'meta_info': {'prompt_tokens': 2, 'output_token_ids_logprobs': [triples]}}).encode()
    yield 'models', probe(0, 200, {'data': [{'id': 'm', 'max_model_len': 64}]})
    yield 'mismatch', probe(2, 400, {'object': 'error', 'message': 'embed_override_token_id'})
    yield 'try', probe(3, 200, {'model': 'm', 'scores': [[0.5, 0.25]]})


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for target, inputs in (('gguf', ggufs()), ('safetensors', [*safetensors(), *bert()]), ('tokenizer', texts()),
                           ('tokenizer_files', tokenizer_files()),
                           ('json', jsons()), ('multipart', multiparts()), ('request', requests()),
                           ('dataset', datasets()), ('task_spec', task_specs()), ('config', configs()),
                           ('net_verdict', net_verdicts()), ('oip_request', oip_requests()),
                           ('adapter_oip', oip_answers()), ('adapter_openai_text', openai_answers()),
                           ('adapter_vllm', vllm_answers()), ('adapter_sglang', sglang_answers())):
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        for name, data in inputs:
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(data)
    return 0


if __name__ == '__main__':
    sys.exit(main())
