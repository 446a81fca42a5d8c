"""The table of tests/bench/engine from its state. Where a bar is missed the last column says so."""
import statistics

PYTORCH, WHOLE, LLAMA = 'PyTorch', 'whole', 'llama.cpp'


def number(x):
    return '-' if x is None else '%.3g' % x if abs(x) < 100 else '%.0f' % x


def median(values):
    values = [v for v in values or [] if v is not None]
    return statistics.median(values) if values else None


def spread(row):
    """The widest of the sides: the largest over the smallest of its turns. A disturbed turn shows here."""
    out = 1.0
    for values in row.values():
        values = [v for v in values if v]
        if values:
            out = max(out, max(values) / min(values))
    return '%.2f' % out


def bar(ratio, want):
    if ratio is None:
        return 'not measured'
    return '%.2f (bar %s: %s)' % (ratio, want, 'met' if ratio >= float(want) else '**missed**')


def over(a, b):
    return a / b if a and b else None


def ratio(row, peer, mine):
    """The median over turns of the peer's seconds over ours in the same turn: they were measured side by side."""
    return median([over(p, m) for p, m in zip(row.get(peer, []), row.get(mine, []))])


def lines(head, rows):
    out = ['| %s |' % ' | '.join(head), '|' + '---|' * len(head)]
    return out + ['| %s |' % ' | '.join(map(str, r)) for r in rows] + ['']


def medians(row):
    return {side: median(values) for side, values in row.items()}


def named(turns, prefix):
    return [(name[len(prefix):], row) for name, row in turns.items() if name.startswith(prefix)]


def forward(state, a, positions):
    rows = []
    for work, row in named(state['turns'], 'forward-'):
        m, mine = medians(row), 'ours ' + a.auto
        n = positions[work]
        rows.append([work] + [number(over(n, m.get('ours ' + p))) for p in a.precisions] +
                    [number(over(n, m.get(PYTORCH + ' float32'))), number(over(n, m.get(PYTORCH + ' bfloat16'))),
                     '%s (%s)' % (number(over(n, m.get(LLAMA))), state['chosen'].get(work + ', llama.cpp', '?')),
                     bar(ratio(row, PYTORCH + ' bfloat16', mine), '1.3'), bar(ratio(row, LLAMA, mine), '2.5'),
                     spread(row)])
    return lines(['forward, positions/s'] + ['ours ' + p for p in a.precisions] +
                 ['PyTorch float32', 'PyTorch bfloat16', 'llama.cpp (build, type, ubatch, unified, flash)',
                  '%s over PyTorch bfloat16' % a.auto, '%s over llama.cpp' % a.auto, 'spread'], rows) if rows else []


def generation(state, a):
    rows = []
    for work, row in named(state['turns'], 'generation-'):
        m, mine = medians(row), 'ours ' + a.auto
        rows.append([work] + [number(over(20, m.get('ours ' + p))) for p in a.precisions] +
                    ['%s (%s)' % (number(over(20, m.get(PYTORCH))), state['chosen'].get(work + ', PyTorch', '?')),
                     number(over(20, m.get(WHOLE))), bar(ratio(row, PYTORCH, mine), '2'),
                     bar(ratio(row, WHOLE, mine), '8'), spread(row)])
    return lines(['generation of 20 on 32, candidates/s'] + ['ours ' + p for p in a.precisions] +
                 ["PyTorch's best", 'reference way', "%s over PyTorch's best" % a.auto,
                  '%s over the reference way' % a.auto, 'spread'], rows) if rows else []


def student(state, a):
    """Our fastest precision against the peer's, whatever they are."""
    rows = []
    for mode, row in named(state['turns'], 'student-'):
        m = medians(row)
        ours = {k: v for k, v in m.items() if not k.startswith(PYTORCH) and v}
        peers = {k: v for k, v in m.items() if k.startswith(PYTORCH) and v}
        mine, peer = min(ours, key=ours.get, default=None), min(peers, key=peers.get, default=None)
        rows.append([mode] + [number(over(1, m.get('ours ' + p))) for p in a.precisions] +
                    [', '.join('%s %s' % (k.split(' ', 1)[1], number(over(1, v))) for k, v in peers.items()),
                     '%s over %s' % (mine, peer), bar(ratio(row, peer, mine), '1.5'), spread(row)])
    return lines(['student, steps/s'] + ['ours ' + p for p in a.precisions] +
                 ['PyTorch', 'best over best', 'ratio', 'spread'], rows) if rows else []


def share(state, a):
    """The share of the peak: operations of the pass over its seconds, turn by turn over the peak of that turn."""
    rows = []
    peaks = state['turns'].get('peak', {})
    for name, row in state['turns'].items():
        work = name.split('-', 1)[1] if name.startswith(('forward-', 'generation-')) else None
        if not work or work not in state['notes']:
            continue
        cells = []
        for p in a.precisions:
            pairs = zip(row.get('ours ' + p, []), peaks.get('ours ' + p, []))
            shares = [state['notes'][work]['flop'] * 1e-9 / s / g for s, g in pairs if s and g]
            cells.append(bar(median(shares), '0.80') if shares else '-')
        rows.append([work] + cells)
    if not peaks:
        return []
    rows.insert(0, ['large square products, GFLOP/s (int8: of its mixture with bf16)'] + [number(median(peaks.get('ours ' + p))) for p in a.precisions])
    return lines(['share of the measured GEMM peak'] + ['ours ' + p for p in a.precisions], rows)


def load(state, a):
    row = state['turns'].get('load')
    if not row:
        return []
    cells = [[p, number(median(row.get(p + ' warm'))), number(median(row.get(p + ' cold'))),
              bar(over(0.5, median(row.get(p + ' warm'))), '1')] for p in a.precisions]
    return lines(['time to load the model', 'warm, s', 'cold, s', '0.5 s over warm'], cells)


def memory(state):
    row = state['turns'].get('memory')
    if not row:
        return []
    cells = []
    for side, values in row.items():
        weights = state['notes'].get('weights ' + side.replace('ours ', ''))
        cells.append([side, number((median(values) or 0) / 2 ** 20), number(weights and weights / 2 ** 20)])
    return lines(['peak memory: load, one generation (sst2-suffix)', 'largest resident set, MiB',
                  'of it weights, MiB'], cells)


def jobs(state, a):
    rows = []
    for n, row in named(state['turns'], 'jobs-'):
        m = medians(row)
        rows.append([n] + [number(over(int(n) * 20, m.get('ours ' + a.auto)))] + [spread(row)])
    return lines(['concurrent jobs of 20 x 8, candidates/s of all', 'ours ' + a.auto, 'spread'],
                 rows) if rows else []


def merge(state):
    rows = []
    for name, row in named(state['turns'], 'merge-'):
        m = medians(row)
        p = next(iter(row)).split(' ')[0]
        work, n = name.rsplit('-', 1)
        apart, merged = m.get(p + ' jobs'), m.get(p + ' merged')
        rows.append([work, n, p, number(apart), number(merged), number(over(apart, merged)), spread(row)])
    return lines(['jobs apart or merged into one pass', 'jobs', 'precision', 'apart, s', 'merged, s',
                  'apart over merged', 'spread'], rows) if rows else []


def avx2(state, positions):
    rows = []
    for work, row in named(state['turns'], 'avx2-'):
        m = medians(row)
        rows.append([work, number(over(positions[work], m.get('ours f32'))),
                     number(over(positions[work], m.get('PyTorch float32'))),
                     bar(over(m.get('PyTorch float32'), m.get('ours f32')), '1'), spread(row)])
    return lines(['AVX2 only, positions/s', 'ours f32', 'PyTorch float32', 'ratio', 'spread'], rows) if rows else []


def differences(state):
    worst = {}
    for key, d in state['diff'].items():
        work, side = key.split(', ', 1)
        worst.setdefault(side, {})[work] = d
    rows = [[side, '%.2g' % max(v.values()), max(v, key=v.get), len(v)] for side, v in worst.items()]
    return lines(['largest difference of a label log-probability from ours f32', 'difference', 'in', 'works compared'],
                 rows) if rows else []


def types(state):
    tried = state['tried'].get('llama.cpp types')
    if not tried:
        return []
    rows = [[k, number(448 / v)] for k, v in sorted(tried.items(), key=lambda x: x[1])]
    return lines(['llama.cpp at 32x14, ubatch 512, flash attention, while choosing', 'positions/s'], rows)


def write(state, a, positions):
    out = forward(state, a, positions) + generation(state, a) + student(state, a) + share(state, a) + load(state, a)
    out += memory(state) + jobs(state, a) + merge(state) + avx2(state, positions) + differences(state) + types(state)
    return '\n'.join(out)
