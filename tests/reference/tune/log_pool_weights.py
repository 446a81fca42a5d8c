#!/usr/bin/env python3
"""Weights of least loss for tests/unit/tune/test_log_pool.c, by scipy's bounded quasi-Newton method.

usage: tests/reference/tune/log_pool_weights.py       (numpy 2.4.6, scipy 1.17.1; prints a line of weights for each case)

Loss: the cross-entropy of softmax(sum of weight x vote), summed over rows, plus 8 |weights - prior|^2; weights >= 0.
"""
import numpy as np
from scipy.optimize import minimize

N, L = 40, 3
gold = np.array([i * 7 % 3 for i in range(N)])


def vote(a, b, m, scale, gain):
    """The numbers of make_vote() in the test, in float32 as there."""
    return np.array([[((i * a + c * b) % m) / scale + (gain if c == gold[i] else 0) for c in range(L)] for i in range(N)],
                    np.float32).astype(float)


VOTES = [vote(13, 5, 11, 5.0, 1.2), vote(17, 3, 7, 3.0, 0.4), vote(11, 7, 13, 4.0, -0.9)]


def weigh(votes, prior):
    x, prior = np.stack(votes, 2), np.array(prior)

    def loss(w):
        z = x @ w
        top = z.max(1, keepdims=True)
        p = np.exp(z - top)
        total = p.sum(1, keepdims=True)
        value = (top[:, 0] + np.log(total[:, 0]) - z[np.arange(N), gold]).sum() + 8 * ((w - prior) ** 2).sum()
        grad = ((p / total)[:, :, None] * x).sum((0, 1)) - x[np.arange(N), gold].sum(0) + 16 * (w - prior)
        return value, grad
    out = minimize(loss, prior, jac=True, bounds=[(0, None)] * len(votes), method='L-BFGS-B',
                   options={'ftol': 1e-15, 'gtol': 1e-12, 'maxiter': 10000})
    return out.x


for votes, prior in ((VOTES[:2], [0.5, 0.5]), (VOTES, [1 / 3] * 3), (VOTES[:2], [1, 0])):
    print(' '.join('%.9f' % w for w in weigh(votes, prior)))
