#ifndef GDFO_SERVER_TUNE_PUPIL_H
#define GDFO_SERVER_TUNE_PUPIL_H

#include "common/buf.h"
#include "server/tune/env.h"
#include "server/tune/search_opts.h"

/*
 * The student of one job: distilled from answers that were paid for anyway, then frozen to give a
 * gradient prompt (method.md 4.2 and 4.3). Speaks teacher coordinates outside: where the student is
 * another model, a learned bridge (section 8, option 1) maps rows in and gradients out. Costs no
 * calls. Owner thread only.
 */
struct gdfo_pupil;

/* env and opts are borrowed until destroy. INVALID: the student would be the very teacher and that
 * was not allowed, or its vocabulary cannot say the labels. note: what a user should know, "" for
 * nothing. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_create(struct gdfo_pupil **out,
                                                 const struct gdfo_tune_env *env,
                                                 const struct gdfo_search_opts *opts,
                                                 char note[240], struct gdfo_error *err);
void gdfo_pupil_destroy(struct gdfo_pupil *p);

/* Some AdamW steps on (candidate, example) pairs drawn from one generation. rows [n][P][H_teacher],
 * lp [n][n_train][L]; *loss: mean distillation loss of the steps. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_learn(struct gdfo_pupil *p, const float *rows,
                                                const float *lp, uint32_t n, double *loss,
                                                struct gdfo_error *err);

/* The frozen student's loss on the train rows for each prompt: losses [n]. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_losses(struct gdfo_pupil *p, const float *rows,
                                                 uint32_t n, double *losses,
                                                 struct gdfo_error *err);

/* The student's loss on the train rows at one prompt, rows [P][H], and its gradient to them, grad
 * [P][H]. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_gradient(struct gdfo_pupil *p, const float *rows,
                                                   float *grad, double *loss,
                                                   struct gdfo_error *err);

/* The student's label scores on the train rows at one prompt, rows [P][H], and their gradients to
 * it: jac [n_train][n_labels][P][H_teacher]. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_jacobian(struct gdfo_pupil *p, const float *rows,
                                                   float *jac, struct gdfo_error *err);

/* AdamW on the rows through the frozen student, from start [P][H]; the prompts after marks[k] steps
 * (rising) go to out [n_marks][P][H], their student losses to losses [n_marks]. */
struct gdfo_pupil_descent {
    const float *start;
    const int64_t *marks;
    uint32_t n_marks;
    double lr;
    float *out;
    double *losses;
};
GDFO_MUST_USE enum gdfo_status gdfo_pupil_descend(struct gdfo_pupil *p,
                                                  const struct gdfo_pupil_descent *d,
                                                  struct gdfo_error *err);

/* AdamW steps on the gold labels of some train rows under one prompt; CANCELLED between steps. */
struct gdfo_pupil_lesson {
    const float *rows;        /* [P][H] */
    const uint32_t *examples; /* [n] */
    uint32_t n;
    int64_t steps;
};
GDFO_MUST_USE enum gdfo_status gdfo_pupil_learn_gold(struct gdfo_pupil *p,
                                                     const struct gdfo_pupil_lesson *lesson,
                                                     struct gdfo_error *err);

/* The student's trainable numbers (gdfo_student_params). */
const float *gdfo_pupil_params(const struct gdfo_pupil *p, size_t *n);
void gdfo_pupil_set_params(struct gdfo_pupil *p, const float *params);

void gdfo_pupil_save(const struct gdfo_pupil *p, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_pupil_load(struct gdfo_pupil *p, const void *bytes, size_t n,
                                               struct gdfo_error *err);

#endif
