#ifndef GDFO_SERVER_TUNE_HEAD_PART_H
#define GDFO_SERVER_TUNE_HEAD_PART_H

#include "common/error.h"
#include "server/tune/head.h"
#include "server/tune/head_solve.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What a head computes, and one part of the rows made ready to fit it: the rows of all folds but
 * one, or all rows. Features are taken from the part's own rows alone, so nothing of a held-out row
 * leaks into its prediction.
 */
struct gdfo_head_numbers { /* logits = scale lp + bias + weights features, but for learners */
    enum gdfo_head_kind kind;
    size_t n_labels, n_features, n_views;
    int is_centred; /* of the features of a row, their mean is taken off first */
    double scale;
    double *bias;    /* [L] */
    double *weights; /* [n_weights]: [L][F] or none */
    double *extra;   /* [n_extra] of a learner: head_learn.h */
    size_t n_weights, n_extra;
};

/* Sizes for a head of this shape; the arrays are the caller's. */
void gdfo_head_numbers_size(struct gdfo_head_numbers *h, const struct gdfo_head_shape *shape);

/* One row: out [L] log-probabilities. lp and features as answered. A NaN makes the row NaN. */
void gdfo_head_row(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out);

struct gdfo_head_features { /* borrowed: [row of d][n], and n of them for each view */
    const float *x;
    size_t n;
    int is_centred;
};
/* What a kind looks at beside the label log-probabilities; n 0: nothing. */
struct gdfo_head_features gdfo_head_features_of(const struct gdfo_head_data *d,
                                                enum gdfo_head_kind kind);

struct gdfo_head_part {
    struct gdfo_head_problem problem; /* borrows the arrays below */
    struct gdfo_head_features features;
    double *block;  /* all doubles; those below point into it */
    double *x;      /* [n][r] rotated features */
    double *offset; /* [n][L] */
    double *energy; /* [r] */
    double *basis;  /* [r][A] column = basis * (features - row mean - mean) */
    double *mean;   /* [A] of the centred features */
    double *theta;  /* the solution so far: a warm start for the next strength */
    uint32_t *gold; /* [n] */
};

/* rows [n_rows] are row numbers of d; features may be none. Ended by gdfo_head_part_deinit, which
 * takes a half-built part too. */
GDFO_MUST_USE enum gdfo_status gdfo_head_part_init(struct gdfo_head_part *part,
                                                   const struct gdfo_head_data *d,
                                                   const struct gdfo_head_features *features,
                                                   const uint32_t *rows, size_t n_rows,
                                                   struct gdfo_error *err);
void gdfo_head_part_deinit(struct gdfo_head_part *part);

/* Writes what theta means on raw answers into h, whose arrays are the caller's. */
void gdfo_head_part_unfold(const struct gdfo_head_part *part, struct gdfo_head_numbers *h);

#endif
