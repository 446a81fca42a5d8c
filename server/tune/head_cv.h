#ifndef GDFO_SERVER_TUNE_HEAD_CV_H
#define GDFO_SERVER_TUNE_HEAD_CV_H

#include "server/tune/head_part.h"

/*
 * Stratified cross-validation of one kind of head: a part per fold, made once; then one setting
 * after the other from strong to weak, each started from the last one's solution.
 */
struct gdfo_head_setting { /* one point of a grid */
    double penalty, penalty_bias;
    double knob; /* of a learner: head_learn.h */
};

struct gdfo_head_cv {
    const struct gdfo_head_data *d;
    enum gdfo_head_kind kind;
    const struct gdfo_head_learner *learner; /* NULL: a regression, on parts */
    struct gdfo_head_features features;
    uint64_t seed;
    uint32_t n_folds;
    uint32_t *fold; /* [n] */
    uint32_t *rows; /* [n] scratch */
    struct gdfo_head_part parts[GDFO_HEAD_FOLDS_MAX];
    struct gdfo_head_numbers numbers; /* scratch of one fold */
    double *block, *scratch, *row;
    double *loss, *loss_best;         /* [n] held out, of the setting at hand and of the best */
    double *held_out, *held_out_best; /* [n][L] the log-probabilities behind them */
    size_t n_right, n_right_best;
    struct gdfo_head_setting best;
    double mean_best;
};

/* n_folds is lowered to the smallest class that occurs, but never below 2. Ended by
 * gdfo_head_cv_deinit, which takes a half-built one too. */
GDFO_MUST_USE enum gdfo_status gdfo_head_cv_init(struct gdfo_head_cv *cv,
                                                 const struct gdfo_head_data *d,
                                                 enum gdfo_head_kind kind,
                                                 const struct gdfo_head_opts *opts,
                                                 struct gdfo_error *err);
void gdfo_head_cv_deinit(struct gdfo_head_cv *cv);

/* Runs the kind's grid; best, loss_best, mean_best and n_right_best are the outcome. */
GDFO_MUST_USE enum gdfo_status gdfo_head_cv_run(struct gdfo_head_cv *cv, struct gdfo_error *err);

/* Fits all rows with the best setting. h has the kind's sizes and room for them. */
GDFO_MUST_USE enum gdfo_status gdfo_head_cv_refit(struct gdfo_head_cv *cv,
                                                  struct gdfo_head_numbers *h,
                                                  struct gdfo_error *err);

#endif
