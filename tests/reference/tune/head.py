#!/usr/bin/env python3
"""Numbers for tests/unit/tune/test_head_solve.c, from implementations that share nothing with ours.

usage: head.py > head.json      needs numpy and scikit-learn; the versions used are in the output

Three problems on the same made-up answers (n rows, L labels, A anchors), each with held-out rows:
  sklearn    anchors alone: sklearn.linear_model.LogisticRegression (newton-cg, tol 1e-10), C = 1/penalty;
             the penalised bias is a constant column of height sqrt(penalty / penalty_bias)
  offset     the whole objective, with label log-probabilities as an offset of fitted weight: Newton's
             method with the exact Hessian in numpy
  bias       one number per class beside an offset of weight 1: the same Newton
Features as head_part.c makes them: centred in rows, standardised by column, divided by sqrt(A).
"""
import json
import platform

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

N, HELD, L, A = 40, 10, 3, 6


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def features(train, rows):
    centre = lambda x: x - x.mean(1, keepdims=True)
    t, r = centre(train), centre(rows)
    return (r - t.mean(0)) / t.std(0) / np.sqrt(train.shape[1])


def newton(x, offset, gold, penalty, penalty_bias, penalty_scale, scale):
    """Minimises over (W, b, s) stacked class by class; penalty_scale None keeps s fixed."""
    n, a = x.shape
    labels = offset.shape[1]
    free = int(penalty_scale is not None)
    design = np.zeros((n, labels, labels * (a + 1) + free))       # z = offset part + design @ theta
    for c in range(labels):
        design[:, c, c * a:(c + 1) * a] = x
        design[:, c, labels * a + c] = 1
    if free:
        design[:, :, -1] = offset
    base = 0 * offset if free else scale * offset
    ridge = np.r_[np.full(labels * a, penalty), np.full(labels, penalty_bias), [penalty_scale] * free]
    centre = np.r_[np.zeros(labels * (a + 1)), np.ones(free)]
    theta = centre.copy()
    for _ in range(60):
        p = np.exp(log_softmax(base + design @ theta))
        grad = np.einsum('ncd,nc->d', design, p - np.eye(labels)[gold]) + ridge * (theta - centre)
        weights = p[:, :, None] * (np.eye(labels) - p[:, None, :])
        hessian = np.einsum('ncd,nce,nef->df', design, weights, design) + np.diag(ridge)
        step = np.linalg.solve(hessian, grad)
        theta = theta - step
    assert np.abs(grad).max() < 1e-10, np.abs(grad).max()
    return theta[:labels * a].reshape(labels, a), theta[labels * a:labels * (a + 1)], theta[-1] if free else scale


def main():
    rng = np.random.default_rng(20231127)
    gold = rng.integers(0, L, N + HELD)
    anchors = np.round(-9 + rng.normal(size=(N + HELD, A)) + 0.8 * rng.normal(size=(L, A))[gold], 4)
    lp = np.round(log_softmax(1.5 * rng.normal(size=(N + HELD, L)) + np.eye(L)[gold]) - 3, 4)
    train, held = slice(0, N), slice(N, N + HELD)
    offset = lp - lp.mean(1, keepdims=True)
    x, xh = features(anchors[train], anchors[train]), features(anchors[train], anchors[held])
    cases = []

    penalty, penalty_bias = 0.05, 0.1
    height = np.sqrt(penalty / penalty_bias)
    model = LogisticRegression(C=1 / penalty, fit_intercept=False, solver='newton-cg', tol=1e-10, max_iter=10000)
    model.fit(np.c_[x, np.full(N, height)], gold[train])
    cases.append(dict(name='sklearn', penalty=penalty, penalty_bias=penalty_bias, penalty_scale=1, scale_free=False,
                      scale=0, held=model.predict_log_proba(np.c_[xh, np.full(HELD, height)]).tolist()))

    w, b, s = newton(x, offset[train], gold[train], 0.02, 0.1, 4, 1)
    cases.append(dict(name='offset', penalty=0.02, penalty_bias=0.1, penalty_scale=4, scale_free=True, scale=s,
                      held=log_softmax(s * offset[held] + b + xh @ w.T).tolist()))

    w, b, s = newton(np.zeros((N, 0)), offset[train], gold[train], 1, 0.3, None, 1)
    cases.append(dict(name='bias', penalty=1, penalty_bias=0.3, penalty_scale=1, scale_free=False, scale=1,
                      held=log_softmax(offset[held] + b).tolist()))

    print(json.dumps(dict(versions=dict(python=platform.python_version(), numpy=np.__version__,
                                        sklearn=sklearn.__version__),
                          n=N, n_held=HELD, n_labels=L, n_anchors=A, gold=gold.tolist(),
                          lp=lp.tolist(), anchors=anchors.tolist(), cases=cases)))


main()
