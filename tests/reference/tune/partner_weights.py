#!/usr/bin/env python3
"""Weights of least loss for tests/unit/tune/test_partner.c: damped Newton in both weights at once.

usage: tests/reference/tune/partner_weights.py       (numpy 1.24.2; prints the two weights)

Loss: the cross-entropy of softmax(a teacher + b partner), summed over rows, plus 2 ((a - 1)^2 + (b - 1)^2).
"""
import numpy as np

N = 40
gold = np.array([i * 7 % 3 for i in range(N)])
hit = lambda i, c: c == gold[i]
teacher = np.array([[((i * 13 + c * 5) % 11) / 5.0 + (1.2 if hit(i, c) else 0) for c in range(3)] for i in range(N)], np.float32)
partner = np.array([[((i * 17 + c * 3) % 7) / 3.0 + (0.4 if hit(i, c) else 0) for c in range(3)] for i in range(N)], np.float32)
x = np.stack([teacher, partner], 2).astype(float)


def loss(w):
    z = x @ w
    top = z.max(1)
    return (top + np.log(np.exp(z - top[:, None]).sum(1)) - z[np.arange(N), gold]).sum() + 2 * ((w - 1) ** 2).sum()


w = np.ones(2)
for _ in range(50):
    z = x @ w
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean = (p[:, :, None] * x).sum(1)
    gradient = (mean - x[np.arange(N), gold]).sum(0) + 4 * (w - 1)
    hessian = np.einsum('nc,nci,ncj->ij', p, x, x) - mean.T @ mean + 4 * np.eye(2)
    step, size = np.linalg.solve(hessian, gradient), 1.0
    while loss(w - size * step) > loss(w) and size > 1e-9:
        size /= 2
    w = w - size * step
print('%.9f %.9f' % tuple(w))
