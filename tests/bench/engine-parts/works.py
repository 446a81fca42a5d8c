"""The works of tests/bench/engine: the same token ids for the engine and every peer.

A work is what bench_engine_worker reads: layout forward (texts behind their cached pasts, all positions), suffix or
prefix (candidates of soft rows and a cue, on all texts, label log-probabilities at the end). Row p of candidate c is
the embedding of token (1000 c + 37 p + 11) mod vocab.
"""
import csv
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TASKS = {'sst2': (' It was', (' terrible', ' great')),
         'agnews': (' Topic:', (' World', ' Sports', ' Business', ' Technology'))}
ROWS, CANDIDATES, EXAMPLES = 10, 20, 32


def tokenizer(path):
    """The smollm tokenizer of the file: single numbers cut out, then gpt2's pieces, then the merges."""
    import gguf
    import tokenizers
    fields = gguf.GGUFReader(path).fields
    tokens = fields['tokenizer.ggml.tokens'].contents()
    merges = [tuple(m.split(' ', 1)) for m in fields['tokenizer.ggml.merges'].contents()]
    t = tokenizers.Tokenizer(tokenizers.models.BPE({x: i for i, x in enumerate(tokens)}, merges))
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return t


def texts_of(task, n):
    path = os.path.join(os.environ.get('GDFO_SHARED') or os.path.join(ROOT, '..', 'shared'), 'data', task)
    if task == 'agnews':
        with open(os.path.join(path, 'test.csv'), encoding='utf-8', newline='') as f:
            rows = list(csv.reader(f))[1:n + 1]
        return ['%s %s' % (r[1], r[2]) for r in rows]
    with open(os.path.join(path, 'test.tsv'), encoding='utf-8') as f:
        return [line.split('\t')[0].strip() for line in f.read().split('\n')[1:n + 1]]


def made_up(n, length, salt):
    return [[100 + (i * 131 + j * 17 + salt) % 40000 for j in range(length)] for i in range(n)]


def forward(past, texts):
    return {'layout': 'forward', 'past': past, 'texts': texts, 'candidates': 0, 'rows': 0, 'cue': [],
            'labels': [1109, 13321]}


def generation(model, task, layout, candidates=CANDIDATES, examples=EXAMPLES):
    t = tokenizer(model)
    cue, labels = TASKS[task]
    labels = [t.encode(w).ids for w in labels]
    assert all(len(x) == 1 for x in labels), labels
    return {'layout': layout, 'past': [], 'texts': [t.encode(x).ids for x in texts_of(task, examples)],
            'candidates': candidates, 'rows': ROWS, 'cue': t.encode(cue).ids, 'labels': [x[0] for x in labels]}


def make(name, model):
    if name == '32x14':                           # a prompt of 10 and a cue of 4 behind each cached text
        return forward(made_up(32, 24, 0), made_up(32, 14, 7))
    if name in ('32x64', '8x512'):
        n, length = map(int, name.split('x'))
        return forward([], made_up(n, length, 3))
    words = name.split('-')                       # sst2-suffix, or sst2-suffix-4x8: candidates x examples
    size = [int(x) for x in words[2].split('x')] if len(words) > 2 else []
    return generation(model, words[0], words[1], *size)


def positions(w):
    own, b, c = sum(map(len, w['texts'])), len(w['texts']), w['candidates']
    if w['layout'] == 'forward':
        return own
    if w['layout'] == 'suffix':
        return c * b * (w['rows'] + len(w['cue']))
    return c * (w['rows'] + own + b * len(w['cue']))
