"""The shared data sets as rows, for the benches: (text, label), or (text_a, text_b, label) for pairs.

    for task in TASKS: rows(task, 'train'); write(folder, task, 500)

Data comes from $GDFO_SHARED (else ../shared beside the project); a missing file ends the run, naming it. The traps of
shared/README.md are met here: AG's News counts classes from 0 in train and dev and from 1 in test, MRPC has CSV quotes
inside TSV, SST-2's test file has a header, and test rows that stand in train are left out. What has no ready split
(the last three tasks) is drawn once with DRAW_SEED: 16 of each label to train, 16 to dev, the rest to test.
"""
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DRAW_SEED = 20261123          # of test rows and splits: drawn once, the same for every cell
K_SHOT = 16
AG = ['world', 'sports', 'business', 'technology']
TREC = ['description', 'entity', 'abbreviation', 'person', 'location', 'number']
INTENTS = {                   # ten of banking77's, each with a word of its own; chosen before anything ran
    'age_limit': ['age'], 'cash_withdrawal_charge': ['fee'], 'change_pin': ['PIN'], 'exchange_rate': ['currency'],
    'lost_or_stolen_phone': ['phone'], 'card_arrival': ['delivery'], 'country_support': ['countries'],
    'passcode_forgotten': ['password'], 'request_refund': ['refund'], 'verify_my_identity': ['identity']}
TASKS = {                     # as the daemon takes them
    'sst2': {'template': 'Review: {text}\n', 'cue': 'Overall, the movie was',
             'verbalizer': {'negative': ['bad'], 'positive': ['great']}},
    'agnews': {'template': 'Article: {text}\n', 'cue': 'This article is about',
               'verbalizer': {'world': ['politics', 'world'], 'sports': ['sports'], 'business': ['business'],
                              'technology': ['technology', 'science']}},
    'trec': {'template': 'Question: {text}\n', 'cue': 'The answer to this question is a',
             'verbalizer': {'description': ['description'], 'entity': ['thing'], 'abbreviation': ['abbreviation'],
                            'person': ['person'], 'location': ['location', 'place'], 'number': ['number']}},
    'mrpc': {'template': 'First: {text_a}\nSecond: {text_b}\n', 'cue': 'Do both mean the same?',
             'verbalizer': {'different': ['No'], 'same': ['Yes']}},
    'uci-sentiment': {'template': 'Review: {text}\n', 'cue': 'Overall, it was',
                      'verbalizer': {'negative': ['bad'], 'positive': ['great']}},
    'sms-spam': {'template': 'Message: {text}\n', 'cue': 'This message is',
                 'verbalizer': {'ham': ['personal'], 'spam': ['advertising']}},
    'banking77': {'template': 'Customer: {text}\n', 'cue': 'The customer asks about', 'verbalizer': INTENTS},
}


def shared(name):
    path = os.path.join(os.environ.get('GDFO_SHARED', os.path.join(ROOT, '..', 'shared')), 'data', name)
    if not os.path.exists(path):
        sys.exit(f'{os.path.basename(sys.argv[0])}: shared file {path} is missing: set GDFO_SHARED')
    return path


def clean(text):
    return ' '.join(text.split())


def table(name, delimiter=','):
    with open(shared(name), encoding='utf-8', newline='') as f:
        return list(csv.reader(f, delimiter=delimiter))


def lines(name):
    with open(shared(name), encoding='utf-8', newline='\n') as f:      # texts hold other line ends of Unicode
        return [line.rstrip('\n') for line in f if line.strip()]


# ---- ready splits ----

def rows_sst2(part):
    rows = [line.split('\t') for line in lines(f'sst2/{part}.tsv')]
    if part == 'test':
        return [(clean(r[0]), ['negative', 'positive'][int(r[1])]) for r in rows[1:]]
    return [(clean(r[0]), r[1]) for r in rows]


def rows_agnews(part):
    if part == 'test':                      # classes 1..4 there, 0..3 in train and dev
        return [(clean(r[1] + ' ' + r[2]), AG[int(r[0]) - 1]) for r in table('agnews/test.csv')[1:]]
    return [(clean(r[0]), AG[int(r[1])]) for r in table(f'agnews/{part}.tsv', '\t')]


def rows_trec(part):
    return [(clean(r[1]), TREC[int(r[0])]) for r in table(f'trec/{part}.csv')]


def rows_mrpc(part):
    names = ['different', 'same']
    if part == 'test':
        return [(clean(r[2]), clean(r[3]), names[int(r[1])]) for r in table('mrpc/test.tsv', '\t')[1:]]
    return [(clean(r[0]), clean(r[1]), names[int(r[2])]) for r in table(f'mrpc/{part}.tsv', '\t')]


# ---- drawn splits ----

def drawn(rows, part):
    """Repeats go first, so that no text stands in two parts."""
    rows = list(dict.fromkeys(rows))
    random.Random(DRAW_SEED).shuffle(rows)
    out, seen = {'train': [], 'dev': [], 'test': []}, {}
    for row in rows:
        n = seen[row[-1]] = seen.get(row[-1], 0) + 1
        out['train' if n <= K_SHOT else 'dev' if n <= 2 * K_SHOT else 'test'].append(row)
    return out[part]


def rows_uci(part):
    rows = []
    for name in ('amazon_cells_labelled.txt', 'imdb_labelled.txt'):
        rows += [line.rsplit('\t', 1) for line in lines('uci-sentiment/' + name)]
    return drawn([(clean(t), ['negative', 'positive'][int(label)]) for t, label in rows], part)


def rows_sms(part):
    return drawn([(clean(t), label) for label, t in (line.split('\t', 1) for line in lines('sms-spam/SMSSpamCollection'))],
                 part)


def rows_banking77(part):
    if part == 'test':
        return [(clean(t), label) for t, label in table('banking77/test.csv')[1:] if label in INTENTS]
    return drawn([(clean(t), label) for t, label in table('banking77/train.csv')[1:] if label in INTENTS], part)


ROWS = {'sst2': rows_sst2, 'agnews': rows_agnews, 'trec': rows_trec, 'mrpc': rows_mrpc, 'uci-sentiment': rows_uci,
        'sms-spam': rows_sms, 'banking77': rows_banking77}


# ---- what a bench asks for ----

def rows(name, part, n_test=None):
    """One part; test rows that train or dev has are left out, and n_test of the others are drawn."""
    out = ROWS[name](part)
    if part == 'test':
        known = {r[:-1] for p in ('train', 'dev') for r in ROWS[name](p)}
        out = [r for r in out if r[:-1] not in known]
        if n_test and len(out) > n_test:
            out = random.Random(DRAW_SEED).sample(out, n_test)
    return out


def write(folder, name, n_test):
    """NAME.train.jsonl, NAME.dev.jsonl and NAME.test.jsonl in folder, left alone where they are right already."""
    for part in ('train', 'dev', 'test'):
        text = ''
        for row in rows(name, part, n_test):
            keys = ('text', 'label') if len(row) == 2 else ('text_a', 'text_b', 'label')
            text += json.dumps(dict(zip(keys, row))) + '\n'
        path = os.path.join(folder, f'{name}.{part}.jsonl')
        if not os.path.exists(path) or open(path, encoding='utf-8').read() != text:
            with open(path + '.tmp', 'w', encoding='utf-8') as f:
                f.write(text)
            os.replace(path + '.tmp', path)


class Daemon:
    """A gdfod over `state` with one model file as teacher "local", and perhaps an encoder's folder as "encoder"; `run` is
    the client against it."""

    def __init__(self, build, state, model, *args, encoder=None):
        models = os.path.join(state, 'models')
        os.makedirs(models, exist_ok=True)
        link = os.path.join(models, 'local.gguf')
        if not os.path.exists(link):
            try:
                os.link(model, link)
            except OSError:
                shutil.copy(model, link)
        if encoder and not os.path.exists(os.path.join(models, 'encoder')):
            shutil.copytree(encoder, os.path.join(models, 'encoder'))
        self.log = open(os.path.join(state, 'gdfod.log'), 'a')
        self.p = subprocess.Popen([os.path.join(build, 'bin', 'gdfod'), f'--data.dir={state}/data', f'--models.dir={models}',
                                   '--http.port=0', *args], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.p.stdout.readline()
        if not line.startswith('ready '):
            sys.exit(f'{os.path.basename(sys.argv[0])}: gdfod did not start; see {state}/gdfod.log')
        self.url = line.split()[1]
        self.env = dict(os.environ, GDFO_URL=self.url)
        self.gdfo = os.path.join(build, 'bin', 'gdfo')

    def run(self, *args):
        p = subprocess.run([self.gdfo, *args], env=self.env, capture_output=True, text=True)
        if p.returncode != 0:
            raise RuntimeError(f'gdfo {" ".join(args)}: exit {p.returncode}: {p.stderr.strip()}')
        return p.stdout

    def cpu_seconds(self):
        with open(f'/proc/{self.p.pid}/stat', encoding='ascii') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(60)
