#!/usr/bin/env python3
"""Numbers for tests/unit/tune/test_rank.c: scipy's Kendall tau-b, with and without ties.

usage: tau.py > tau.json        needs numpy and scipy; the versions used are in the output
"""
import json
import platform

import numpy as np
import scipy
from scipy.stats import kendalltau

rng = np.random.default_rng(20261130)
cases = []
for n, ties in ((2, False), (3, False), (8, False), (20, False), (20, True), (47, True), (128, False)):
    a = np.round(rng.normal(size=n), 6)
    b = np.round(0.5 * a + rng.normal(size=n), 6)
    if ties:
        a, b = np.round(a, 0), np.round(b, 1)
    a, b = a + 0.0, b + 0.0               # no minus zero
    cases.append({'a': a.tolist(), 'b': b.tolist(), 'tau': float(kendalltau(a, b, variant='b').statistic)})
print(json.dumps({'versions': {'python': platform.python_version(), 'numpy': np.__version__, 'scipy': scipy.__version__},
                  'cases': cases}))
