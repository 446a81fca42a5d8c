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
struct gdfo_head_numbers { /* logits = scale lp + bias + weights (anchors - their row mean) */
    size_t n_labels, n_anchors;
    double scale;
    double *bias;    /* [L] */
    double *weights; /* [L][A] */
};

/* One row: out [L] log-probabilities. lp and anchors as answered. A NaN makes the row NaN. */
void gdfo_head_row(const struct gdfo_head_numbers *h, const float *lp, const float *anchors,
                   double *out);

struct gdfo_head_part {
    struct gdfo_head_problem problem; /* borrows the arrays below */
    size_t n_anchors;
    double *block;  /* all doubles; those below point into it */
    double *x;      /* [n][r] rotated features */
    double *offset; /* [n][L] */
    double *energy; /* [r] */
    double *basis;  /* [r][A] feature = basis * (anchors - row mean - mean) */
    double *mean;   /* [A] of the centred anchors */
    double *theta;  /* the solution so far: a warm start for the next strength */
    uint32_t *gold; /* [n] */
};

/* rows [n_rows] are row numbers of d; n_anchors 0 leaves the anchors out. Ended by
 * gdfo_head_part_deinit, which takes a half-built part too. */
GDFO_MUST_USE enum gdfo_status gdfo_head_part_init(struct gdfo_head_part *part,
                                                   const struct gdfo_head_data *d, size_t n_anchors,
                                                   const uint32_t *rows, size_t n_rows,
                                                   struct gdfo_error *err);
void gdfo_head_part_deinit(struct gdfo_head_part *part);

/* Writes what theta means on raw answers into h, whose arrays are the caller's. */
void gdfo_head_part_unfold(const struct gdfo_head_part *part, struct gdfo_head_numbers *h);

#endif
