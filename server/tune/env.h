#ifndef GDFO_SERVER_TUNE_ENV_H
#define GDFO_SERVER_TUNE_ENV_H

#include "server/num/precision.h"
#include "server/teacher/teacher.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Everything a method works with, built by the job layer and lent for the method's whole life.
 * Nothing in it knows of files, SQL, clocks or threads: a method is a pure function of this, its
 * options and the teacher's answers.
 */
struct gdfo_stack;
struct gdfo_task;
struct gdfo_model;
struct gdfo_pool;

struct gdfo_tune_set {              /* rendered examples */
    const struct gdfo_text *bodies; /* [n] */
    const uint32_t *gold;           /* [n] */
    uint32_t n;
    const struct gdfo_text *texts; /* [n] without the template, for a partner; NULL: the bodies */
};

struct gdfo_tune_budget { /* 0 = no cap */
    int64_t evals;        /* train evals: one prompt on the train set, the papers' "API call" */
    int64_t queries;      /* train and dev queries together */
    int64_t tokens_in, tokens_out;
};

static inline int gdfo_tune_budget_has_cap(const struct gdfo_tune_budget *b)
{
    return b->evals > 0 || b->queries > 0 || b->tokens_in > 0 || b->tokens_out > 0;
}

struct gdfo_tune_env {
    uint64_t seed;
    struct gdfo_stack *stack; /* the metered teacher */
    const struct gdfo_task *task;
    const struct gdfo_label_ids *forms; /* [n_forms]: the teacher's tokens of every label word */
    uint32_t n_forms;
    const struct gdfo_text *form_texts; /* [n_forms] the same as text; NULL: not known */
    struct gdfo_text cue;
    enum gdfo_position position;     /* resolved, never AUTO */
    int is_added;                    /* rows are added to placeholders (struct gdfo_score_req) */
    struct gdfo_tune_set train, dev; /* dev.n may be 0: then train's held-out loss selects */
    struct gdfo_tune_budget budget;
    const struct gdfo_model
        *teacher_model; /* embedding rows and tokenizer; embedded teachers only */
    const struct gdfo_model *student_model; /* NULL: no student */
    const struct gdfo_model *partner_model; /* labels beside the teacher (partner.h); NULL: none */
    const char *partner_sha256;             /* hex, of its files */
    int is_same_model;                      /* the student is made from the teacher's own file */
    enum gdfo_precision student_precision;  /* part of its state: one for a job's whole life */
    struct gdfo_pool *pool;
    int64_t dev_every_evals; /* dev check after so many train evals; 0 = the method's choice */
    int select_by_metric;    /* 1: the dev metric as published; 0: the dev loss */
    int64_t stop_patience;   /* early stop after so many dev checks without gain; 0 = off */
    double stop_min_delta;
    const atomic_int *cancel; /* checked between batches */
};

#endif
