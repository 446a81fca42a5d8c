#ifndef GDFO_SERVER_TUNE_LOG_POOL_H
#define GDFO_SERVER_TUNE_LOG_POOL_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The logarithmic opinion pool: several voices label one row, and together they say the product of
 * their probabilities, each to the power of its weight, renormalised (Heskes, Selecting weighting
 * factors in logarithmic opinion pools, NIPS 1997). Evenly weighted it is the geometric mean.
 *
 *   gdfo_log_pool_weigh(&pool, weights, &err);           on rows that no voice was fitted on
 *   gdfo_log_pool_join(votes, weights, n, n_labels, out);
 *
 * Pure functions: any thread.
 */
struct gdfo_log_pool {         /* borrowed during the call */
    const float *const *votes; /* [n_voices] of [n][n_labels]: log-probabilities, finite */
    const double *prior;       /* [n_voices] what the weights are drawn to, >= 0 */
    size_t n_voices;
    const uint32_t *gold; /* [n] */
    size_t n, n_labels;
};

/*
 * weights [n_voices], >= 0: of least cross-entropy of the pool on those rows, summed, plus 8 times
 * their squared distance from the prior. A voice that only misleads gets 0, never a say against
 * itself. NO_MEMORY is the only error.
 */
GDFO_MUST_USE enum gdfo_status gdfo_log_pool_weigh(const struct gdfo_log_pool *p, double *weights,
                                                   struct gdfo_error *err);

/* One row: votes [n_voices] of [n_labels], out [n_labels] log-probabilities that sum to 1; out may
 * be one of the votes. NaN throughout where a voice of weight above 0 has one. */
void gdfo_log_pool_join(const float *const *votes, const double *weights, size_t n_voices,
                        size_t n_labels, float *out);

/* lp [n][n_labels] becomes log-probabilities whose rows sum to 1: a pool of one voice. */
void gdfo_log_pool_renormalise(float *lp, size_t n, size_t n_labels);

#endif
