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
 *   gdfo_log_pool_join(&pool, weights, out);             on any rows
 *
 * Pure functions: any thread.
 */
struct gdfo_log_pool {         /* borrowed during the call */
    const float *const *votes; /* [n_voices] of [n][n_labels]: log-probabilities */
    size_t n_voices, n, n_labels;
    /* to weigh only */
    const double *prior;  /* [n_voices] what the weights are drawn to, >= 0 */
    const uint32_t *gold; /* [n] */
};

/*
 * weights [n_voices], >= 0: of least cross-entropy of the pool on those rows, summed, plus 8 times
 * their squared distance from the prior. A voice that only misleads gets 0, never a say against
 * itself. Votes are finite. NO_MEMORY is the only error.
 */
GDFO_MUST_USE enum gdfo_status gdfo_log_pool_weigh(const struct gdfo_log_pool *p, double *weights,
                                                   struct gdfo_error *err);

/* out [n][n_labels]: log-probabilities whose rows sum to 1; may be one of the votes. A row is NaN
 * throughout where a voice of weight above 0 has a NaN in it. */
void gdfo_log_pool_join(const struct gdfo_log_pool *p, const double *weights, float *out);

/* lp [n][n_labels] becomes log-probabilities whose rows sum to 1: a pool of one voice. */
void gdfo_log_pool_renormalise(float *lp, size_t n, size_t n_labels);

#endif
