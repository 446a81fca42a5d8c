"""gdfo bench against a real daemon: a small plan through kills of both sides, its report's numbers, its refusals.

What the report says is computed again here from the predictions and the daemon's own record, with Python's
statistics and the t quantiles of tests/reference/client (scipy).
"""
import csv
import itertools
import json
import math
import os
import re
import signal
import statistics
import unittest

import real_daemon
from real_daemon import Case, rows_of

HERE = os.path.dirname(os.path.abspath(__file__))
T_TABLE = os.path.join(HERE, '..', '..', 'reference', 'client', 't_quantiles.h')
TASK = {'template': '{text}', 'cue': ' It was', 'position': 'suffix', 'verbalizer': {'good': 'big', 'bad': 'little'}}
SMALL = {'n_prompt_tokens': 2, 'intrinsic_dim': 8, 'popsize': 4}
BASELINES = ('manual', 'calibrated')


def t_quantile(df):
    with open(T_TABLE, encoding='ascii') as f:
        rows = re.findall(r'\{([0-9.]+), ([0-9.]+), ([0-9.]+)\}', f.read())
    return next(float(t) for p, k, t in rows if float(p) == 0.975 and float(k) == df)


def read_csv(path):
    with open(path, encoding='utf-8', newline='') as f:
        return list(csv.DictReader(f))


def score(path):
    """Accuracy and mean cross-entropy among the labels, from the predictions themselves."""
    with open(path, encoding='utf-8') as f:
        rows = [json.loads(line) for line in f][1:]
    losses = []
    for row in rows:
        highest = max(row['lp'].values())
        z = sum(math.exp(v - highest) for v in row['lp'].values())
        losses.append(-(row['lp'][row['label']] - highest - math.log(z)))
    return statistics.fmean(r['label'] == r['predicted'] for r in rows), statistics.fmean(losses)


class Bench(Case):
    def plan(self, name, **more):
        for task, offset in (('a', 0), ('b', 400)):
            self.write(task + '.train.jsonl', rows_of(2, offset))
            self.write(task + '.dev.jsonl', rows_of(2, offset + 100))
            self.write(task + '.test.jsonl', rows_of(4, offset + 200))
        plan = {'name': name, 'model': 'local', 'seeds': [1, 2], 'budgets': [3], 'concurrency': 2, 'test_rows': 6,
                'tasks': [{'name': t, 'train': t + '.train.jsonl', 'dev': t + '.dev.jsonl', 'test': t + '.test.jsonl',
                           'task': TASK} for t in 'ab'],
                'methods': [{'name': 'random', 'type': 'random', 'hyperparameters': SMALL},
                            {'name': 'search', 'type': 'bbt', 'hyperparameters': SMALL,
                             'variants': ['tuned', 'tuned_no_head']}]}
        real_daemon.merge(plan, more)
        return self.write(name + '.json', '// made by the test\n' + json.dumps(plan))

    def load(self, folder):
        return json.loads(self.read(folder, 'results.json'))

    def until_done(self, process, n):
        for line in process.stdout:
            if line.startswith('%d/' % n):
                return
        self.fail('the run ended before its cell %d' % n)

    # ---- a run, undisturbed and disturbed ----

    def test_a_plan_is_the_same_through_kills_and_no_job_runs_twice(self):
        self.ok('bench', self.plan('calm'), '-o', 'calm')
        plan = self.plan('rough')
        first = self.start('bench', plan, '-o', 'rough')
        self.until_done(first, 2)
        first.kill()
        first.wait()
        second = self.start('bench', plan, '-o', 'rough')
        self.until_done(second, 4)
        self.daemon.kill()
        self.daemon.start()
        out = second.stdout.read()
        self.assertEqual(second.wait(), 0, out)
        self.assertIn('connected again', out)

        calm, rough = self.load('calm'), self.load('rough')
        self.assertEqual(len(rough['cells']), 8)
        self.assertEqual(self.facts(calm), self.facts(rough))
        jobs = [j['name'] for j in self.daemon.get('/v1/fine_tuning/jobs?limit=100')['data']
                if j['metadata']['bench'] == 'rough']
        self.assertEqual(sorted(jobs), sorted(c['key'] for c in rough['cells']))

        before = self.read('rough', 'results.json')
        self.ok('bench', plan, '-o', 'rough')                       # nothing is left to do
        self.assertEqual(self.read('rough', 'results.json'), before)
        os.remove(os.path.join(self.folder, 'rough', 'results.json'))
        self.ok('bench', plan, '-o', 'rough')                       # the daemon's jobs are known again
        self.assertEqual(self.facts(self.load('rough')), self.facts(rough))
        self.assertEqual(self.daemon.rows('SELECT count(*) FROM jobs'), [(16,)])
        self.check_report('rough', rough)
        self.check_faults_beside('rough', plan)

    def facts(self, results):
        """All that depends neither on the clock nor on a call that a crash made twice."""
        clock = ('job', 'seconds', 'student_seconds', 'evals', 'queries', 'dev_queries', 'calls', 'tokens')
        return ([{k: v for k, v in c.items() if k not in clock}
                 for c in sorted(results['cells'], key=lambda c: c['key'])],
                [(b['key'], b['variant'], b['accuracy'], b['loss'])
                 for b in sorted(results['baselines'], key=lambda b: (b['key'], b['variant']))])

    # ---- the report against numbers computed here ----

    def check_report(self, folder, results):
        rows = {r['key']: r for r in read_csv(os.path.join(self.folder, folder, 'results.csv'))}
        self.assertEqual(set(rows), {c['key'] for c in results['cells']})
        values = {}
        for cell in results['cells']:
            row = rows[cell['key']]
            job = self.daemon.get('/v1/fine_tuning/jobs/' + cell['job'])
            self.assertEqual((job['name'], job['metadata']['cell']), (cell['key'], cell['digest']))
            for column, want in (('evals', job['spend']['evals']), ('queries', job['spend']['queries']),
                                 ('dev_queries', job['spend']['dev_queries']), ('requests', job['spend']['calls']),
                                 ('tokens', job['spend']['tokens_in'] + job['spend']['tokens_out'])):
                self.assertEqual(int(row[column]), want, (cell['key'], column))
            name = os.path.join(self.folder, folder, 'predictions', cell['key'].replace('/', ','))
            values[cell['key']] = score(name + '.tuned.jsonl')
            self.assertAlmostEqual(float(row['accuracy_tuned']), values[cell['key']][0], 9)
            self.assertAlmostEqual(float(row['loss_tuned']), values[cell['key']][1], 9)
            self.assertEqual(row['n_tuned'], '6')
        self.check_differences(folder, values)
        self.check_words(folder, values)

    def check_differences(self, folder, values):
        rows = [r for r in read_csv(os.path.join(self.folder, folder, 'differences.csv'))
                if (r['a'], r['b'], r['budget']) == ('random', 'search', '3')]
        self.assertEqual([r['measure'] for r in rows], ['accuracy', 'loss'])
        for i, row in enumerate(rows):
            pairs = [values['local/%s/random/s%d/b3' % at][i] - values['local/%s/search/s%d/b3' % at][i]
                     for at in itertools.product('ab', (1, 2))]
            half = t_quantile(3) * statistics.stdev(pairs) / 2
            mean = statistics.fmean(pairs)
            self.assertEqual(row['n'], '4')
            for column, want in (('mean', mean), ('sd', statistics.stdev(pairs)), ('low', mean - half),
                                 ('high', mean + half)):
                self.assertAlmostEqual(float(row[column]), want, 8, column)

    def check_words(self, folder, values):
        """The mean over tasks, then its spread over seeds, stands in both reports; so do the baselines."""
        page = self.read(folder, 'report.html').decode()
        text = self.read(folder, 'report.md').decode()
        means = [statistics.fmean(values['local/%s/search/s%d/b3' % (t, s)][1] for t in 'ab') for s in (1, 2)]
        want = '%.4f | %.4f | %.4f |' % (statistics.fmean(means), statistics.stdev(means),
                                         statistics.stdev(means) / math.sqrt(2))
        self.assertIn(want, text)
        self.assertIn(want.replace(' | ', '</td><td>').replace(' |', '</td>'), page)
        for variant, label in zip(BASELINES, ('plain prompt', 'calibration')):
            got = [score(os.path.join(self.folder, folder, 'predictions', 'local,%s,s%d.%s.jsonl' % (t, s, variant)))
                   for s in (1, 2) for t in 'ab']
            accuracies = [statistics.fmean((got[k][0], got[k + 1][0])) for k in (0, 2)]
            self.assertIn('| %s | %.3f \u00b1 %.3f |' % (label, statistics.fmean(accuracies),
                                                       statistics.stdev(accuracies)), text)
        self.assertEqual(page.count('<svg class="plot"'), 18)        # 2 tasks and their mean, 2 measures, 3 axes
        self.assertNotRegex(page, r'<script|https?://|url\(|<link|@import')

    # ---- a cell that fails, and what does not run ----

    def check_faults_beside(self, folder, plan):
        with open(plan, encoding='utf-8') as f:
            more = json.loads(f.read().split('\n', 1)[1])
        more['methods'].append({'name': 'wrong', 'type': 'bbt', 'hyperparameters': {'popsise': 4}, 'budgets': [3]})
        more['methods'][0]['variants'] = ['tuned', 'no_such']
        changed = self.write('rough.json', json.dumps(more))
        done = self.gdfo('bench', changed, '-o', folder, '--dry-run')
        self.assertIn('12 cells, 4 left to run: at most 12 calls, 48 queries', done.out)
        done = self.gdfo('bench', changed, '-o', folder, '--json')
        self.assertEqual(done.code, 9, done.err)
        lines = [json.loads(line) for line in done.out.splitlines()]
        wrong = [d for d in lines if d.get('key') == 'local/a/wrong/s1/b3']
        self.assertEqual([d['status'] for d in wrong], ['failed'])
        self.assertIn('popsise', wrong[0]['why'])
        self.assertEqual(self.daemon.rows('SELECT count(*) FROM jobs'), [(16,)])
        for name in ('report.md', 'report.html', 'results.csv'):
            self.assertIn('popsise', self.read(folder, name).decode().replace('\\', ''), name)
            self.assertIn('no_such', self.read(folder, name).decode().replace('\\', ''), name)
        page = self.read(folder, 'report.md')
        os.remove(os.path.join(self.folder, 'a.train.jsonl'))        # --report asks neither data nor daemon
        self.ok('bench', changed, '-o', folder, '--report')
        again = self.read(folder, 'report.md')
        self.assertEqual(again.split(b'## ', 1)[1], page.split(b'## ', 1)[1])


class Refusals(Case):
    def test_every_fault_of_a_plan_is_told_at_once(self):
        self.write('test.jsonl', '{"text": "one", "label": "a"}\n{"text": "two"}\n')
        plan = {'name': 'a b', 'modle': 'local', 'seeds': [1, 1, -1], 'budgets': [],
                'tasks': [{'name': 't', 'train': 5, 'test': 'test.jsonl', 'task': {}}, {'name': 't', 'train': 'x', 'test': ''}],
                'methods': [{'type': 'bbt', 'options': {'budget': {}}}, {'name': 'm', 'type': 'x', 'tasks': ['u']}, 7],
                'also': [{'budgets': [0]}], 'reference': 'n', 'concurrency': 1000, 'test_rows': 1.5}
        done = self.gdfo('bench', self.write('plan.json', json.dumps(plan)), '--json')
        self.assertEqual(done.code, 2)
        lines = [json.loads(line) for line in done.out.splitlines()]
        paths = [d['path'] for d in lines if d.get('object') == 'bench.fault']
        for path in ('$.name', '$.modle', '$.model', '$.seeds[1]', '$.seeds[2]', '$.budgets', '$.tasks[0].train',
                     '$.tasks[1]', '$.tasks[1].test', '$.methods[0].name', '$.methods[0].options.budget',
                     '$.methods[1].tasks[0]', '$.methods[2]', '$.also[0].budgets[0]', '$.reference', '$.concurrency',
                     '$.test_rows'):
            self.assertIn(path, paths)
            self.assertIn(path, done.err)
        self.assertIn('%d faults' % len(paths), lines[-1]['error']['message'])

        good = {'name': 'p', 'model': 'local', 'seeds': [1], 'budgets': [3], 'methods': [{'name': 'm', 'type': 'bbt'}],
                'tasks': [{'name': 't', 'train': 'none.jsonl', 'test': 'test.jsonl'}]}
        done = self.gdfo('bench', self.write('good.json', json.dumps(good)))
        self.assertEqual(done.code, 2)
        self.assertIn('$.tasks[0].train: ', done.err)
        self.assertIn('$.tasks[0].test: ', done.err)
        self.assertIn('line 2 has no label', done.err)
        self.assertEqual(self.daemon.rows('SELECT count(*) FROM jobs'), [(0,)])

        example = os.path.join(HERE, '..', '..', '..', 'deploy', 'examples', 'bench', 'compare.json')
        self.assertIn('54 cells, 54 left to run', self.ok('bench', example, '--dry-run').out)

        self.write('none.jsonl', rows_of(2, 0))
        self.write('test.jsonl', rows_of(2, 100))
        self.daemon.stop()
        self.assertEqual(self.gdfo('bench', self.write('good.json', json.dumps(good))).code, 7)


if __name__ == '__main__':
    real_daemon.main()
