#ifndef GDFO_SERVER_TUNE_INCUMBENT_H
#define GDFO_SERVER_TUNE_INCUMBENT_H

#include "common/buf.h"
#include "common/span.h"
#include "server/tune/env.h"
#include "server/tune/evaluate.h"

/*
 * One prompt with the answers it was paid for: what a head is fitted on and what a dev check
 * judges. Fixed size, filled by copying. Owner thread only.
 */
struct gdfo_incumbent {
    size_t n_rows_floats, n_lp, n_anchors; /* capacities */
    float *rows, *lp, *anchors;            /* [P][H], [n_train][L], [n_train][A] */
    double loss;                           /* of the objective on the train rows */
    int is_set;
    int is_checked; /* a dev check has judged it */
};

GDFO_MUST_USE enum gdfo_status gdfo_incumbent_init(struct gdfo_incumbent *i, size_t n_rows_floats,
                                                   size_t n_lp, size_t n_anchors,
                                                   struct gdfo_error *err);
void gdfo_incumbent_deinit(struct gdfo_incumbent *i);

/* Takes prompt number `at` of an evaluation on the train set. */
void gdfo_incumbent_set(struct gdfo_incumbent *i, const float *rows,
                        const struct gdfo_evaluation *e, size_t at, double loss);
void gdfo_incumbent_save(const struct gdfo_incumbent *i, struct gdfo_buf *out);
int gdfo_incumbent_load(struct gdfo_incumbent *i, struct gdfo_span *s); /* 1 on success */

#endif
