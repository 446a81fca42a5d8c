#!/usr/bin/env python3
"""Numbers for tests/unit/tune/test_head_learn.c, from implementations that share nothing with ours.

usage: learn.py > learn.json      needs numpy and PyTorch; the versions used are in the output

Log-probabilities of held-out rows on the same made-up answers (n rows, L labels, V prompts of A anchors
and hidden states of width H), under each kind of head:
  hidden, temperature   the penalised likelihood's optimum, by torch.optim.LBFGS in double
  dect                  DecT with torch.optim.Adam, 30 steps, from a W and prototypes that are sines
  mpd                   class prototypes, and optimal transport by Sinkhorn steps on logarithms
  promptboost           AdaBoost (SAMME) over prompts and words; the learners' weights too
  verbalizer            the anchor tokens that tell the classes apart, averaged
and the transport cost of one matrix.
"""
import json
import math
import platform

import numpy as np
import torch

N, HELD, L, A, H, V, K = 24, 6, 3, 7, 5, 2, 128
torch.set_default_dtype(torch.float64)


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def optimum(x, offset, gold, xh, offset_held, penalty, penalty_bias, penalty_scale):
    x, offset, gold = torch.tensor(x), torch.tensor(offset), torch.tensor(gold)
    w = torch.zeros(L, x.shape[1], requires_grad=True)
    b = torch.zeros(L, requires_grad=True)
    s = torch.ones(1, requires_grad=True)
    solver = torch.optim.LBFGS([w, b, s], max_iter=2000, tolerance_grad=1e-11, tolerance_change=1e-15,
                               line_search_fn='strong_wolfe')

    def loss():
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(s * offset + b + x @ w.T, gold, reduction='sum')
        value = value + penalty / 2 * (w ** 2).sum() + penalty_bias / 2 * (b ** 2).sum()
        value = value + penalty_scale / 2 * ((s - 1) ** 2).sum()
        value.backward()
        return value

    for _ in range(5):
        solver.step(loss)
    w, b, s = w.detach().numpy(), b.detach().numpy(), s.detach().numpy()
    return log_softmax(s * offset_held + b + xh @ w.T)


def dect(hidden, lp, gold, blank):
    """Rows behind the first N are held out."""
    w = torch.tensor([[0.3 * math.sin(1 + k * H + j) for j in range(H)] for k in range(K)], requires_grad=True)
    proto = torch.tensor([[0.2 * math.cos(2 + c * K + k) for k in range(K)] for c in range(L)])
    h, s, y = torch.tensor(hidden), torch.tensor(lp / (blank / blank.mean())), torch.tensor(gold)

    def far(h):
        return torch.cdist(torch.nn.functional.normalize(h @ w.T, dim=1)[:, None], proto[None].expand(len(h), -1, -1),
                           compute_mode='donot_use_mm_for_euclid_dist')[:, 0]

    with torch.no_grad():
        start = far(h[:N])
    r = torch.stack([start[y[:N] == c, c].mean() for c in range(L)]).requires_grad_()
    adam = torch.optim.Adam([w, r], lr=0.01)
    score = lambda rows: s[rows] * (L / N) + r - far(h[rows])
    for _ in range(30):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(score(slice(0, N)), y[:N]).backward()
        adam.step()
    return torch.log_softmax(score(slice(N, None)), 1).detach().numpy()


def transport(cost, epsilon=0.1, steps=50):
    lse = lambda z, axis: np.log(np.exp(z - z.max(axis, keepdims=True)).sum(axis)) + z.max(axis)
    n = len(cost)
    f, g, even = np.zeros(n), np.zeros(n), -math.log(n)
    for _ in range(steps):
        f = even - lse(g[None, :] - cost / epsilon, 1)
        g = even - lse(f[:, None] - cost / epsilon, 0)
    return float((np.exp(f[:, None] + g[None, :] - cost / epsilon) * cost).sum())


def mpd(hidden, lp, gold, blank, knob):
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    z = unit(hidden - hidden[:N].mean(0))                                      # rows, prompts, width
    proto = unit(np.stack([z[:N][gold[:N] == c].mean(0) for c in range(L)]))   # classes, prompts, width
    out = []
    for i in range(N, N + HELD):
        said = (lp[i] - blank).mean(0) * L / N
        out.append([said[c] - knob * transport(1 - z[i] @ proto[c].T) for c in range(L)])
    return log_softmax(np.array(out))


def boost(anchors, lp, gold, knob):
    """Sums run in the rows' order, so that ties are ties here and there."""
    x = np.concatenate([anchors, lp], 2)                                       # rows, prompts, words
    n_words = x.shape[2]
    mean = [[sum(x[i, v, w] / N for i in range(N)) for w in range(n_words)] for v in range(V)]
    x = x - np.array(mean)
    top_n = 10
    weight = [1 / N] * N
    learners = []
    says = lambda i, v, words: max(range(L), key=lambda c: (x[i, v, words[c]], -c))
    error = lambda v, words: sum(weight[i] for i in range(N) if says(i, v, words) != gold[i])

    def preference(v, w, c):
        s, t = [0, 0], [0, 0]
        for i in range(N):
            s[int(gold[i] == c)] += weight[i] * x[i, v, w]
            t[int(gold[i] == c)] += weight[i]
        return s[1] / t[1] - s[0] / t[0]

    while len(learners) < 200:
        found = []
        for v in range(V):
            top = [sorted(range(n_words), key=lambda w: (-preference(v, w, c), w))[:top_n] for c in range(L)]
            words = [top[c][0] for c in range(L)]
            best = error(v, words)
            for _ in range(2):
                for c in range(L):
                    keep = words[c]
                    for w in top[c]:
                        words[c] = w
                        e = error(v, words)
                        if e < best:
                            best, keep = e, w
                    words[c] = keep
            found.append((best, v, list(words)))
        e, v, words = min(found, key=lambda t: (t[0], t[1]))
        kept = max(e, 1e-6)
        alpha = math.log((1 - kept) / kept) + math.log(L - 1)
        if not alpha > 1e-9:
            break
        learners.append((alpha, v, words))
        if e <= 1e-6:
            break
        weight = [weight[i] * (math.exp(alpha) if says(i, v, words) != gold[i] else 1) for i in range(N)]
        total = 0
        for one in weight:
            total += one
        weight = [one / total for one in weight]
    votes = np.zeros((HELD, L))
    for alpha, v, words in learners:
        for i in range(HELD):
            votes[i, says(N + i, v, words)] += alpha
    return log_softmax(knob * votes / sum(a for a, _, _ in learners)), [a for a, _, _ in learners]


def verbalizer(anchors, lp, gold, n_words):
    x = anchors - anchors.mean(1, keepdims=True)
    t, g = x[:N], gold[:N]
    score = np.zeros((N + HELD, L))
    for c in range(L):
        inside, rest = t[g == c], t[g != c]
        within = ((inside - inside.mean(0)) ** 2).sum(0) + ((rest - rest.mean(0)) ** 2).sum(0)
        separation = (inside.mean(0) - rest.mean(0)) / np.sqrt(within / N + 1e-6)
        chosen = np.argsort(-separation)[:n_words]
        score[:, c] = (lp[:, c] + anchors[:, chosen].sum(1)) / (1 + n_words)
    return log_softmax(score[N:] - score[:N].mean(0))


def main():
    rng = np.random.default_rng(20261130)
    gold = np.r_[np.arange(N) % L, rng.integers(0, L, HELD)]
    pull = lambda width: 0.5 * rng.normal(size=(L, V, width))[gold]
    single = lambda x: np.round(x, 4).astype(np.float32)
    anchors = single(-9 + rng.normal(size=(N + HELD, V, A)) + pull(A))
    hidden = single(0.3 + 2 * rng.normal(size=(N + HELD, V, H)) + 2 * pull(H))
    lp = single(-3 + rng.normal(size=(N + HELD, V, L)) + 0.3 * np.eye(L)[gold][:, None])
    blank = single(-4 + rng.normal(size=(V, L)))
    given = dict(gold=gold.tolist(), anchors=anchors.tolist(), hidden=hidden.tolist(), lp=lp.tolist(),
                 blank=blank.tolist())
    anchors, hidden, lp, blank = (x.astype(np.float64) for x in (anchors, hidden, lp, blank))
    x = hidden[:, 0]
    x = (x - x[:N].mean(0)) / x[:N].std(0) / math.sqrt(H)
    offset = lp[:, 0] - lp[:, 0].mean(1, keepdims=True)
    votes, alphas = boost(anchors, lp, gold, 4)
    cost = np.round(rng.uniform(0, 2, (4, 4)), 3)
    cases = dict(hidden=optimum(x[:N], offset[:N], gold[:N], x[N:], offset[N:], 0.03, 0.1, 4),
                 temperature=optimum(x[:N, :0], offset[:N], gold[:N], x[N:, :0], offset[N:], 1, 0.3, 4),
                 dect=dect(hidden[:, 0], lp[:, 0], gold, blank[0]), mpd=mpd(hidden, lp, gold, blank, 10),
                 promptboost=votes, verbalizer=verbalizer(anchors[:, 0], lp[:, 0], gold, 2))
    print(json.dumps(dict(versions=dict(python=platform.python_version(), numpy=np.__version__, torch=torch.__version__),
                          **given, cost=cost.tolist(), transport=transport(cost), alphas=alphas,
                          cases={k: v.tolist() for k, v in cases.items()})))



main()
