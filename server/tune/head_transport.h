#ifndef GDFO_SERVER_TUNE_HEAD_TRANSPORT_H
#define GDFO_SERVER_TUNE_HEAD_TRANSPORT_H

#include <stddef.h>

#define GDFO_SINKHORN_EPSILON 0.1
#define GDFO_SINKHORN_STEPS   50

/*
 * Cost of the entropic optimal transport between two sets of n points under even weights: the
 * plan's share of the cost alone, without the entropy.
 *
 *   cost    [n][n], 0..2; n at most GDFO_HEAD_VIEWS_MAX
 *   source  Cuturi, Sinkhorn Distances, NIPS 2013
 */
double gdfo_sinkhorn(const double *cost, size_t n);

#endif
