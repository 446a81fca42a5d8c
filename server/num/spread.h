#ifndef GDFO_SERVER_NUM_SPREAD_H
#define GDFO_SERVER_NUM_SPREAD_H

#include <stddef.h>

/* Deviation of x [n] after so many rounds of clipping to mean +- 3 deviations, in double; x is
 * clipped in place. 0 for n = 0. Pure; any thread. Source: BBTv2 (method.md 2). */
double gdfo_spread_clipped(float *x, size_t n, int n_rounds);

#endif
