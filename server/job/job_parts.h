#ifndef GDFO_SERVER_JOB_JOB_PARTS_H
#define GDFO_SERVER_JOB_JOB_PARTS_H

#include "server/job/job_models.h"
#include "server/job/job_remotes.h"
#include "server/job/job_spec_priv.h"
#include "server/store/store_job.h"
#include "server/task/dataset.h"
#include "server/task/forms.h"
#include "server/task/split.h"
#include "server/task/task.h"
#include "server/teacher/stack.h"
#include "server/tune/env.h"

/*
 * What a job is made of, built from its row: spec, data, task, teacher. Building checks everything
 * that can be checked without a call; its errors carry the job's error code. Used to validate, to
 * run and to predict. BUSY: the memory it needs is in use by others.
 */
struct gdfo_job_deps { /* borrowed */
    struct gdfo_store *store;
    struct gdfo_models *models;
    struct gdfo_pool *pool;
    const struct gdfo_clk *clk;         /* of budgets in time */
    const struct gdfo_remotes *remotes; /* NULL: no teacher over HTTP */
};

struct gdfo_job_texts { /* rendered examples; bodies point into bytes */
    struct gdfo_buf bytes;
    struct gdfo_text *bodies;
    struct gdfo_buf plain;   /* the same without their template */
    struct gdfo_text *texts; /* into plain */
    uint32_t *gold;
    uint32_t n;
};

enum gdfo_job_purpose {
    GDFO_JOB_CHECK,  /* tokenizer and shapes: no student, no work, whichever precision is loaded */
    GDFO_JOB_RUN,    /* all of it */
    GDFO_JOB_PREDICT /* no student */
};

struct gdfo_job_use {
    enum gdfo_job_purpose purpose;
    enum gdfo_precision precision; /* of the teacher */
    const char *partner;           /* GDFO_JOB_PREDICT: the model to hold beside the teacher */
    const atomic_int *stop;        /* set: a wait for a server ends; NULL: never */
};

struct gdfo_job_parts {
    struct gdfo_models *models; /* from which hold is borrowed */
    struct gdfo_models_hold hold;
    struct gdfo_json *spec_json;
    struct gdfo_job_spec *spec;
    struct gdfo_dataset *training, *validation; /* validation NULL when there is none */
    struct gdfo_split split;
    struct gdfo_task *task;
    struct gdfo_teacher *teacher;
    const struct gdfo_model *teacher_model, *student_model;
    const struct gdfo_model *partner_model; /* labels beside the teacher; NULL: none */
    char partner_sha256[65];
    int is_same_model;
    struct gdfo_forms *forms;         /* words with labels and warnings */
    struct gdfo_label_ids *label_ids; /* the same for the teacher */
    struct gdfo_text *form_texts;     /* and as words, for teachers that know no tokens */
    struct gdfo_job_texts train, dev;
    enum gdfo_position position;
    char student_name[GDFO_STORE_NAME_BYTES];
};

GDFO_MUST_USE enum gdfo_status gdfo_job_parts_build(struct gdfo_job_parts *p,
                                                    const struct gdfo_job_deps *deps,
                                                    const struct gdfo_store_job *job,
                                                    const struct gdfo_job_use *use,
                                                    struct gdfo_error *err);
int gdfo_job_adds_rows(const struct gdfo_task *task); /* "prompt": "added" */
void gdfo_job_parts_deinit(struct gdfo_job_parts *p); /* zeroed or half-built is fine */

/* Renders rows of a dataset: `which` [n] row numbers, NULL = all. */
GDFO_MUST_USE enum gdfo_status gdfo_job_texts_render(struct gdfo_job_texts *t,
                                                     const struct gdfo_task *task,
                                                     const struct gdfo_dataset *d,
                                                     const uint32_t *which, size_t n,
                                                     struct gdfo_error *err);
/* Adds one row: its body to bytes, and its text or texts, a line each, to plain. */
GDFO_MUST_USE enum gdfo_status gdfo_job_texts_add(struct gdfo_job_texts *t, size_t at,
                                                  const struct gdfo_task *task,
                                                  const struct gdfo_row *row,
                                                  struct gdfo_error *err);
/* Room for n rows before they are added; afterwards, when the bytes have stopped moving, where
 * each begins. */
GDFO_MUST_USE enum gdfo_status gdfo_job_texts_init(struct gdfo_job_texts *t, size_t n,
                                                   struct gdfo_error *err);
void gdfo_job_texts_settle(struct gdfo_job_texts *t, size_t n);
void gdfo_job_texts_deinit(struct gdfo_job_texts *t);

#endif
