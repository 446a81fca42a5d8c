#!/usr/bin/env python3
"""Writes t_quantiles.h: quantiles of Student's t, and one paired comparison, by scipy. usage: make_t_quantiles.py > t_quantiles.h"""
import scipy
from scipy import stats

A = [0.81, 0.77, 0.9, 0.66, 0.71, 0.84, 0.795]
B = [0.78, 0.79, 0.83, 0.61, 0.72, 0.80, 0.76]

print('/* Made by make_t_quantiles.py with scipy %s: {p, degrees of freedom, t}. */' % scipy.__version__)
print('#ifndef GDFO_TESTS_REFERENCE_CLIENT_T_QUANTILES_H\n#define GDFO_TESTS_REFERENCE_CLIENT_T_QUANTILES_H\n')
print('static const double t_quantiles[][3] = {')
for p in (0.9, 0.975, 0.995):
    for df in (1, 2, 3, 4, 5, 7, 11, 15, 23, 35, 59, 119, 1000):
        print('    {%s, %s, %.12f},' % (p, float(df), stats.t.ppf(p, df)))
print('};')
d = stats.ttest_rel(A, B)
low, high = d.confidence_interval(0.95)
print('static const double paired_a[] = {%s};' % ', '.join(map(str, A)))
print('static const double paired_b[] = {%s};' % ', '.join(map(str, B)))
print('/* scipy.stats.ttest_rel(a, b).confidence_interval(0.95) */')
print('static const double paired_low = %.12f, paired_high = %.12f;' % (low, high))
print('\n#endif')
