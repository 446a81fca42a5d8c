#include "server/tune/search_measure.h"

#include "common/mem.h"
#include "server/tune/rank.h"

struct gdfo_yardstick {
    struct gdfo_tune_env env; /* ours with the teacher as its own student */
    struct gdfo_search_opts opts;
    struct gdfo_pupil *teacher;
    float *at, *of_student, *of_teacher; /* [P][H] a prompt and two gradients at it */
};

static enum gdfo_status build(struct gdfo_yardstick *y, const struct gdfo_search *s,
                              struct gdfo_error *err)
{
    char note[240];
    y->env = s->env;
    y->env.student_model = s->env.teacher_model;
    y->env.is_same_model = 1;
    y->opts = s->opts;
    y->opts.distill = 0;
    y->opts.student_layers = INT32_MAX;
    y->opts.allow_same_student = 1;
    y->at = gdfo_mem_array(s->n_floats, sizeof *y->at);
    y->of_student = gdfo_mem_array(s->n_floats, sizeof *y->of_student);
    y->of_teacher = gdfo_mem_array(s->n_floats, sizeof *y->of_teacher);
    return y->at && y->of_student && y->of_teacher
               ? gdfo_pupil_create(&y->teacher, &y->env, &y->opts, note, err)
               : gdfo_error_no_memory(err, "yardstick");
}

enum gdfo_status gdfo_yardstick_create(struct gdfo_yardstick **out, const struct gdfo_search *s,
                                       struct gdfo_error *err)
{
    struct gdfo_yardstick *y;
    enum gdfo_status status;
    if (!s->opts.measure_cosine || !s->pupil) {
        return GDFO_STATUS_OK;
    }
    y = gdfo_mem_array(1, sizeof *y);
    if (!y) {
        return gdfo_error_no_memory(err, "yardstick");
    }
    status = build(y, s, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_yardstick_destroy(y);
        return status;
    }
    *out = y;
    return GDFO_STATUS_OK;
}

void gdfo_yardstick_destroy(struct gdfo_yardstick *y)
{
    if (y) {
        gdfo_pupil_destroy(y->teacher);
        gdfo_mem_free(y->at);
        gdfo_mem_free(y->of_student);
        gdfo_mem_free(y->of_teacher);
        gdfo_mem_free(y);
    }
}

enum gdfo_status gdfo_search_measure_gradient(struct gdfo_search *s, const float *rows,
                                              const float *grad, struct gdfo_report *r,
                                              struct gdfo_error *err)
{
    struct gdfo_yardstick *y = s->yardstick;
    double loss = 0;
    enum gdfo_status status = gdfo_pupil_gradient(y->teacher, rows, y->of_teacher, &loss, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "cosine_student",
                               gdfo_rank_cosine(grad, y->of_teacher, s->n_floats));
    }
    return status;
}

enum gdfo_status gdfo_search_measure_at(struct gdfo_search *s, const float *rows,
                                        struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_yardstick *y = s->yardstick;
    double loss = 0;
    enum gdfo_status status;
    if (!y) {
        return GDFO_STATUS_OK;
    }
    status = gdfo_pupil_gradient(s->pupil, rows, y->of_student, &loss, err);
    return status == GDFO_STATUS_OK ? gdfo_search_measure_gradient(s, rows, y->of_student, r, err)
                                    : status;
}

/* A student that has stopped learning is measured for research alone: it costs its forward pass. */
static int measures_tau(const struct gdfo_search *s)
{
    return s->pupil && (s->stage == GDFO_STAGE_DISTIL || s->opts.measure_cosine);
}

enum gdfo_status gdfo_search_measure(struct gdfo_search *s, uint32_t n, struct gdfo_report *r,
                                     struct gdfo_error *err)
{
    double *losses;
    enum gdfo_status status;
    if (!measures_tau(s)) {
        return GDFO_STATUS_OK;
    }
    losses = gdfo_mem_array(n, sizeof *losses);
    status = losses ? gdfo_pupil_losses(s->pupil, s->prompts, n, losses, err)
                    : gdfo_error_no_memory(err, "student's losses");
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "tau_student", gdfo_rank_tau(losses, s->losses, n));
    }
    gdfo_mem_free(losses);
    if (status == GDFO_STATUS_OK && s->yardstick) {
        gdfo_search_mean_prompt(s, s->yardstick->at);
        status = gdfo_search_measure_at(s, s->yardstick->at, r, err);
    }
    return status;
}
