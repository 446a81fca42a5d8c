#ifndef GDFO_SERVER_TUNE_METHOD_HEAD_HEAD_PRIV_H
#define GDFO_SERVER_TUNE_METHOD_HEAD_HEAD_PRIV_H

#include "server/tune/artefact.h"
#include "server/tune/evaluate.h"
#include "server/tune/head.h"
#include "server/tune/method/method.h"

/*
 * The method `head`: no search and no soft prompt. Each text is asked once under each template,
 * with an empty text beside the train rows, and a classifier is fitted on what came back. A step is
 * one template; the last one fits.
 */
#define GDFO_HEAD_TEMPLATES_MAX 8

struct gdfo_head_method_opts {
    int kind; /* in the order of the option's choices: gdfo_head_method_kind */
    int64_t templates, n_anchors;
    int teacher_answers; /* enum gdfo_fake */
};

struct gdfo_head_method {
    struct gdfo_tune_env env; /* borrowed members, copied struct */
    struct gdfo_head_method_opts opts;
    enum gdfo_head_kind kind;
    struct gdfo_evaluator *evaluator;
    char *cues[GDFO_HEAD_TEMPLATES_MAX]; /* owned; the first is NULL: the task's own */
    struct gdfo_buf blank;               /* body of an empty text */
    struct gdfo_text *asked;             /* [n_train + 1] train bodies, then the empty text */
    size_t n_labels, n_rows;             /* rows: train, the empty text, dev */
    size_t n_features;                   /* of one answer: hidden state or anchors */
    int want_hidden;
    uint32_t n_anchors;
    uint32_t n_views; /* templates that the budget allows */
    /* state */
    uint32_t n_done;
    int is_done;
    float *lp;       /* [n_views][n_rows][n_labels] */
    float *features; /* [n_views][n_rows][n_features] */
    struct gdfo_artefact *result;
};

/* views.c */
GDFO_MUST_USE enum gdfo_status gdfo_head_make_cues(struct gdfo_head_method *m,
                                                   struct gdfo_error *err);
/* Asks all rows under the next template. */
GDFO_MUST_USE enum gdfo_status gdfo_head_ask(struct gdfo_head_method *m, struct gdfo_report *r,
                                             struct gdfo_error *err);

/* fit.c: from the templates that were asked to the result. */
GDFO_MUST_USE enum gdfo_status gdfo_head_finish(struct gdfo_head_method *m, struct gdfo_report *r,
                                                struct gdfo_error *err);

#endif
