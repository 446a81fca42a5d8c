#!/usr/bin/env python3
"""cobyla.py: the first 250 evaluations of scipy's COBYLA on a function of 500 variables.

usage: cobyla.py > cobyla.json     needs scipy with the Fortran COBYLA (up to 1.15) and numpy

BBT-RGB's second stage gives COBYLA 250 evaluations of 500 variables, half of what its first simplex takes. The file
lists every point asked as what changed against x0 = 0: the coordinates that stand at rhobeg, and the loss.
"""
import json
import sys

import numpy as np
import scipy
from scipy.optimize import minimize

DIM, EVALS, RHO = 500, 250, 1.0


def f(x):
    i = np.arange(DIM)
    target = (i * 37 % 11 - 5) / 5
    weight = 1 + i % 7
    return float((weight * (x - target) ** 2).sum() + 0.1 * x.sum() ** 2) / DIM


def main():
    asked = []

    def seen(x):
        asked.append((np.flatnonzero(x), x[np.flatnonzero(x)], f(x)))
        return asked[-1][2]
    minimize(seen, np.zeros(DIM), method='COBYLA', options={'rhobeg': RHO, 'maxiter': EVALS})
    asked = asked[:EVALS]
    assert all((v == RHO).all() for _, v, _ in asked), 'a step that is not rhobeg along a coordinate'
    out = {'versions': {'scipy': scipy.__version__, 'numpy': np.__version__}, 'dim': DIM, 'rhobeg': RHO,
           'evals': [{'probe': int(k[-1]) if len(k) else -1, 'n_kept': int(len(k) - 1), 'loss': round(v, 12)} for k, _, v in asked]}
    sys.stdout.write(json.dumps(out, separators=(',', ':')).replace('{"probe"', '\n{"probe"') + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
