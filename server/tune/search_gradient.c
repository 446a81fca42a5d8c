#include "common/mem.h"
#include "server/tune/rank.h"
#include "server/tune/search_measure.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. method.md 4.3 leaves the weight of the gradient prompt open. It is not guessed here: the
 * prompts along the student's descent, from p0 and shifted onto the mean of stage 1, go to the
 * teacher in one call of at most a generation. The best prompt known by then, from stage 1 or from
 * here, is the centre of the last stage.
 */
#define MARKS_MAX 6u

static uint32_t make_marks(const struct gdfo_search *s, int64_t marks[MARKS_MAX])
{
    static const double shares[MARKS_MAX] = {0.05, 0.1, 0.2, 0.4, 0.7, 1.0};
    uint32_t most = (uint32_t)(s->opts.popsize - 1) / 2;
    uint32_t n = 0;
    if (s->opts.gradient_weight > 0) { /* given, not tried */
        marks[0] = s->opts.prompt_steps;
        return 1;
    }
    for (uint32_t i = 0; i < MARKS_MAX; i++) {
        int64_t mark = (int64_t)ceil(shares[i] * (double)s->opts.prompt_steps);
        if (n == 0 || mark > marks[n - 1]) {
            marks[n++] = mark;
        }
    }
    while (n > most && n > 1) { /* a small generation keeps the longer descents */
        memmove(marks, marks + 1, (n - 1) * sizeof *marks);
        n--;
    }
    return n;
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum);
}

/* out = p0 + weight (g - p0) */
static void weigh(const struct gdfo_search *s, const float *gradient, double weight, float *out)
{
    for (size_t i = 0; i < s->n_floats; i++) {
        double moved = (double)gradient[i] - (double)s->start[i];
        out[i] = (float)((double)s->start[i] + weight * moved);
    }
}

/* s->prompts: [n_marks] p0 + g, then mean, then [n_marks] mean + g. Returns how many. */
static uint32_t compose(struct gdfo_search *s, const float *along, uint32_t n_marks)
{
    size_t n = s->n_floats;
    float *mean = s->prompts + (size_t)n_marks * n;
    memcpy(s->prompts, along, (size_t)n_marks * n * sizeof *along);
    if (s->opts.gradient_weight > 0) {
        weigh(s, along, s->opts.gradient_weight, s->prompts);
        return 1;
    }
    if (gdfo_optim_view(s->optim).generation == 0) {
        return n_marks; /* no stage 1: its mean is p0 itself */
    }
    gdfo_search_mean_prompt(s, mean);
    for (uint32_t k = 0; k < n_marks; k++) {
        float *out = mean + (size_t)(k + 1) * n;
        for (size_t i = 0; i < n; i++) {
            out[i] = mean[i] + (along[(size_t)k * n + i] - s->start[i]);
        }
    }
    return 2 * n_marks + 1;
}

static enum gdfo_status try_along(struct gdfo_search *s, const float *along, uint32_t n_marks,
                                  struct gdfo_report *r, struct gdfo_error *err)
{
    uint32_t n = compose(s, along, n_marks);
    uint32_t best = 0;
    const float *from;
    double *student = gdfo_mem_array(n, sizeof *student);
    struct gdfo_evaluation e = {0};
    enum gdfo_status status =
        student ? gdfo_search_try(s, n, &e, r, err) : gdfo_error_no_memory(err, "student's losses");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_pupil_losses(s->pupil, s->prompts, n, student, err);
    }
    if (status == GDFO_STATUS_OK) {
        for (uint32_t i = 1; i < n; i++) {
            best = s->losses[i] < s->losses[best] ? i : best;
        }
        from = s->opts.gradient_weight <= 0 && s->best.loss < s->losses[best]
                   ? s->best.rows
                   : s->prompts + (size_t)best * s->n_floats;
        memcpy(s->centre, from, s->n_floats * sizeof *s->centre);
        gdfo_report_metric_add(r, "tau_student", gdfo_rank_tau(student, s->losses, n));
        gdfo_report_metric_add(r, "loss_gradient", s->losses[best]);
        gdfo_report_metric_add(r, "distance_gradient", distance(s->centre, s->start, s->n_floats));
        gdfo_report_message_add(
            r, 0, "gradient_prompt",
            "best of %u prompts along the student's gradients: loss %.4f (start %.4f so far)", n,
            s->losses[best], s->best.loss);
    }
    gdfo_mem_free(student);
    return status;
}

enum gdfo_status gdfo_search_gradient(struct gdfo_search *s, struct gdfo_report *r,
                                      struct gdfo_error *err)
{
    int64_t marks[MARKS_MAX];
    double student_losses[MARKS_MAX];
    uint32_t n_marks = make_marks(s, marks);
    float *along = gdfo_mem_array((size_t)n_marks * s->n_floats, sizeof *along);
    struct gdfo_pupil_descent d = {.start = s->start,
                                   .marks = marks,
                                   .n_marks = n_marks,
                                   .lr = s->opts.lr_prompt,
                                   .out = along,
                                   .losses = student_losses};
    enum gdfo_status status = along ? gdfo_search_measure_at(s, s->start, r, err)
                                    : gdfo_error_no_memory(err, "gradient prompts");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_pupil_descend(s->pupil, &d, err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "loss_student", student_losses[n_marks - 1]);
        status = try_along(s, along, n_marks, r, err);
    }
    if (status == GDFO_STATUS_OK && !s->best.is_checked) {
        status = gdfo_search_judge(s, &s->best, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        s->scale = s->opts.alpha_final / s->opts.alpha;
        status = gdfo_search_new_optimiser(s, s->env.seed + 1, err);
    }
    gdfo_mem_free(along);
    return status;
}

enum gdfo_status gdfo_search_student_alone(struct gdfo_search *s, struct gdfo_report *r,
                                           struct gdfo_error *err)
{
    double loss = 0;
    const struct gdfo_pupil_descent d = {.start = s->start,
                                         .marks = &s->opts.prompt_steps,
                                         .n_marks = 1,
                                         .lr = s->opts.lr_prompt,
                                         .out = s->prompts,
                                         .losses = &loss};
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = gdfo_search_measure_at(s, s->start, r, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_pupil_descend(s->pupil, &d, err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "loss_student", loss);
        gdfo_report_message_add(r, 1, "student_alone",
                                "ablation: no answer of the teacher had a part in this prompt");
        status = gdfo_search_try(s, 1, &e, r, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_search_judge(s, &s->best, r, err) : status;
}

/* A tenth of the descent after every generation, from where it stood; the moments begin anew, for
 * the student that they were of has changed. The weight is the published half unless given. */
enum gdfo_status gdfo_search_interleave(struct gdfo_search *s, struct gdfo_report *r,
                                        struct gdfo_error *err)
{
    const int64_t mark = (s->opts.prompt_steps + 9) / 10;
    double weight = s->opts.gradient_weight > 0 ? s->opts.gradient_weight : 0.5;
    double loss = 0;
    float *next = gdfo_mem_array(s->n_floats, sizeof *next);
    const struct gdfo_pupil_descent d = {.start = s->gradient,
                                         .marks = &mark,
                                         .n_marks = 1,
                                         .lr = s->opts.lr_prompt,
                                         .out = next,
                                         .losses = &loss};
    enum gdfo_status status =
        next ? gdfo_pupil_descend(s->pupil, &d, err) : gdfo_error_no_memory(err, "gradient prompt");
    if (status == GDFO_STATUS_OK) {
        memcpy(s->gradient, next, s->n_floats * sizeof *next);
        weigh(s, s->gradient, weight, s->centre);
        gdfo_report_metric_add(r, "loss_student", loss);
        gdfo_report_metric_add(r, "distance_gradient", distance(s->centre, s->start, s->n_floats));
    }
    gdfo_mem_free(next);
    return status;
}
