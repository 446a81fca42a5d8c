#ifndef GDFO_SERVER_TUNE_RANK_H
#define GDFO_SERVER_TUNE_RANK_H

#include <stddef.h>

/*
 * How far a stand-in (a student, a reduced precision) may be trusted, in two numbers. Pure; any
 * thread.
 */

/* Kendall's tau-b of two lists of losses: 1 when they order the same prompts alike, -1 when
 * reversed, ties taken out of both sides (Kendall, 1945; what scipy.stats.kendalltau computes).
 * Pairs with a loss that is not finite are left out. NaN when either list is constant. O(n^2). */
double gdfo_rank_tau(const double *a, const double *b, size_t n);

/* Cosine of the angle between two vectors; NaN when either is zero or not finite. */
double gdfo_rank_cosine(const float *a, const float *b, size_t n);

#endif
