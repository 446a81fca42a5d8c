#ifndef GDFO_SERVER_TUNE_METHOD_METHOD_H
#define GDFO_SERVER_TUNE_METHOD_METHOD_H

#include "common/buf.h"
#include "common/error.h"
#include "common/opt.h"
#include "server/tune/artefact.h"
#include "server/tune/env.h"

/*
 * A method: what turns calls into a tuned prompt. Seen through its registry only. The job layer
 * calls step until is_done, makes each step's report durable together with the saved state, and can
 * end the process between any two calls: a method loaded from the last saved state, with the
 * answers on file, gives the same bytes as an undisturbed run. Owner thread only.
 *
 *   ops->create(&self, &env, options, &err);
 *   do { ops->step(self, &report, &err); } while (!report.is_done);
 *   ops->result(self) is the tuned prompt.
 */
#define GDFO_REPORT_METRICS_MAX  32
#define GDFO_REPORT_MESSAGES_MAX 16

struct gdfo_report_metric {
    char name[32];
    double value; /* may be non-finite */
};

struct gdfo_report_message {
    int is_warning;
    char code[32];
    char text[240];
};

struct gdfo_report { /* one step's outcome; cleared by the caller before step */
    struct gdfo_report_metric metrics[GDFO_REPORT_METRICS_MAX];
    size_t n_metrics;
    struct gdfo_report_message messages[GDFO_REPORT_MESSAGES_MAX];
    size_t n_messages;
    char detail[96];   /* "generation 3 of 10", for people */
    int has_new_best;  /* ops->result(self) changed: worth a checkpoint */
    double best_rank;  /* higher is better: what selection compared */
    double best_value; /* of the selection metric's name below */
    char best_metric[32];
    int is_done;
    char reason[24]; /* completed, early_stopped, budget_exhausted */
};

/* A name that is there already takes the new value: one point a step and name. */
void gdfo_report_metric_add(struct gdfo_report *r, const char *name, double value);
GDFO_PRINTF(4, 5)
void gdfo_report_message_add(struct gdfo_report *r, int is_warning, const char *code,
                             const char *fmt, ...);

struct gdfo_method_ops {
    const char *name;
    const char *help;
    size_t options_bytes; /* of the struct the table fills */
    const struct gdfo_opt *opts;
    int needs_soft_rows; /* refused on teachers that take none */
    int needs_student;
    int64_t default_evals; /* budget when the request names none */
    /* What "auto" settled on, for the job object; NULL when the name says it. */
    const char *resolves_to;
    enum gdfo_status (*check)(const void *options,
                              struct gdfo_error *err); /* rules across options */
    enum gdfo_status (*create)(void **self, const struct gdfo_tune_env *env, const void *options,
                               struct gdfo_error *err);
    enum gdfo_status (*step)(void *self, struct gdfo_report *report, struct gdfo_error *err);
    void (*save)(const void *self, struct gdfo_buf *out);
    enum gdfo_status (*load)(void *self, const void *bytes, size_t n, struct gdfo_error *err);
    const struct gdfo_artefact *(*result)(
        const void *self); /* best so far; NULL before the first */
    void (*destroy)(void *self);
    /* Whether these options need a student; NULL: needs_student says it of all. */
    int (*wants_student)(const void *options);
    /* A sentence encoder labels along where there is one: env's partner_model. 0 by default. */
    int takes_partner;
    int needs_layers; /* rows before every layer: refused on teachers that take them at the input */
};

static inline int gdfo_method_wants_student(const struct gdfo_method_ops *ops, const void *options)
{
    return ops->wants_student ? ops->wants_student(options) : ops->needs_student;
}

const struct gdfo_method_ops *gdfo_method_at(size_t index); /* registry order; NULL past the last */
const struct gdfo_method_ops *gdfo_method_find(const char *name);

#endif
