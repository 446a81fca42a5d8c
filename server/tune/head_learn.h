#ifndef GDFO_SERVER_TUNE_HEAD_LEARN_H
#define GDFO_SERVER_TUNE_HEAD_LEARN_H

#include "server/tune/head_part.h"

/*
 * Kinds of head that are no penalised regression. Each is one const struct: how it is fitted on
 * some rows, and what its logits are. head_cv.c tries its knobs by cross-validation, as it does the
 * penalties of a regression.
 */
struct gdfo_head_lesson { /* borrowed */
    const struct gdfo_head_data *d;
    struct gdfo_head_features features;
    const uint32_t *rows; /* [n] row numbers of d: the others are not looked at */
    size_t n;
    double knob;
    uint64_t seed;
};

struct gdfo_head_learner {
    const double *knobs;
    size_t n_knobs; /* 1..8 */
    /* Doubles of `extra`; NULL: the head is linear, and fit writes scale, bias and weights. */
    size_t (*n_extra)(const struct gdfo_head_numbers *h);
    /* h has the kind's sizes and its arrays; all of them are written. */
    enum gdfo_status (*fit)(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                            struct gdfo_error *err);
    /* One row, unnormalised; NULL: linear. */
    void (*logits)(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out);
    int (*is_sound)(const struct gdfo_head_numbers *h); /* of numbers from a file; NULL: any are */
};

/* NULL for the regressions, and for none. */
const struct gdfo_head_learner *gdfo_head_learner_of(enum gdfo_head_kind kind);

extern const struct gdfo_head_learner gdfo_head_blank, gdfo_head_verbalizer, gdfo_head_dect,
    gdfo_head_mpd, gdfo_head_promptboost;

/* Rows of a lesson over classes: the papers' shots. */
static inline double gdfo_head_shots(const struct gdfo_head_lesson *l)
{
    return (double)l->n / (double)l->d->n_labels;
}

/* ---- of dect, seen by its test ---- */

#define GDFO_DECT_WIDTH 128U

/* extra as head_dect.c cuts it, for K = GDFO_DECT_WIDTH */
struct gdfo_dect {
    double *w;     /* [K][H] */
    double *proto; /* [L][K], frozen */
    double *ratio; /* [L] calibration of the label words */
};
struct gdfo_dect gdfo_dect_of(const struct gdfo_head_numbers *h);
/* Trains from the w, proto and ratio there are; the radii become the bias. */
GDFO_MUST_USE enum gdfo_status gdfo_dect_train(struct gdfo_head_numbers *h,
                                               const struct gdfo_head_lesson *l,
                                               struct gdfo_error *err);

#endif
