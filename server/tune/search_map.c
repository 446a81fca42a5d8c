#include "server/tune/search_map.h"

#include "common/mem.h"
#include "server/model/model.h"
#include "server/task/task.h"
#include "server/tune/rank.h"
#include "server/tune/search_measure.h"
#include "server/tune/space_map.h"

#include <math.h>
#include <string.h>

#define STEPS_MAX    64   /* past the 50 that method.md section 10 gives this stage */
#define RADIUS       0.1  /* first trust radius, in deviations of the embedding over all numbers */
#define RADIUS_LEAST 0.05 /* of the first: then nothing is left to gain here */
#define GROW         1.5
#define SHRINK       0.6
#define GOOD_RATIO   0.5
#define TAU_LEAST    0.3 /* method.md section 10 rank 3, over the last 15 points */
#define TAU_POINTS   15u
#define TAU_NEEDS    8u
#define FLOATS_MAX   ((size_t)64 << 20) /* of the Jacobian: 256 MiB */

struct gdfo_search_map {
    struct gdfo_space_map model;
    size_t n_floats, n_logits;
    int is_corrected; /* 0: an ablation, the student's Jacobian as it is */
    int has_model;    /* jac is that of x with all corrections */
    int has_x;
    float *x, *step, *grad; /* [P][H] */
    double *at_x, *asked;   /* [n_logits] the teacher's logits there, centred */
    double loss, radius, radius_first;
    uint32_t n_steps;
    float *steps;  /* [STEPS_MAX][P][H] tried */
    double *moved; /* [STEPS_MAX][n_logits] what the logits did */
    double predicted[STEPS_MAX], actual[STEPS_MAX];
};

static enum gdfo_status allocate(struct gdfo_search_map *m, const struct gdfo_search *s,
                                 struct gdfo_error *err)
{
    size_t n_labels = gdfo_task_n_labels(s->env.task);
    m->n_floats = s->n_floats;
    m->n_logits = s->env.train.n * n_labels;
    if (m->n_logits > FLOATS_MAX / m->n_floats) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "distillation repaired: %zu logits of the train rows times %zu "
                              "numbers of a prompt: want at most %zu; use published, or fewer rows",
                              m->n_logits, m->n_floats, FLOATS_MAX);
    }
    m->x = gdfo_mem_array(3 * m->n_floats, sizeof *m->x);
    m->at_x = gdfo_mem_array(2 * m->n_logits, sizeof *m->at_x);
    m->steps = gdfo_mem_array(STEPS_MAX * m->n_floats, sizeof *m->steps);
    m->moved = gdfo_mem_array(STEPS_MAX * m->n_logits, sizeof *m->moved);
    if (!m->x || !m->at_x || !m->steps || !m->moved) {
        return gdfo_error_no_memory(err, "the student's proposals");
    }
    m->step = m->x + m->n_floats;
    m->grad = m->step + m->n_floats;
    m->asked = m->at_x + m->n_logits;
    return gdfo_space_map_init(&m->model, s->env.train.n, n_labels, m->n_floats, err);
}

enum gdfo_status gdfo_search_map_create(struct gdfo_search_map **out, const struct gdfo_search *s,
                                        struct gdfo_error *err)
{
    struct gdfo_search_map *m;
    enum gdfo_status status;
    if (s->opts.distillation != GDFO_DISTILLATION_REPAIRED || !s->opts.gradient || !s->pupil ||
        s->opts.student_alone) {
        return GDFO_STATUS_OK;
    }
    m = gdfo_mem_array(1, sizeof *m);
    if (!m) {
        return gdfo_error_no_memory(err, "the student's proposals");
    }
    status = allocate(m, s, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_search_map_destroy(m);
        return status;
    }
    m->is_corrected = s->opts.distill;
    m->radius_first =
        RADIUS * gdfo_model_embed_std(s->env.teacher_model) * sqrt((double)m->n_floats);
    m->radius = m->radius_first;
    *out = m;
    return GDFO_STATUS_OK;
}

void gdfo_search_map_destroy(struct gdfo_search_map *m)
{
    if (m) {
        gdfo_space_map_deinit(&m->model);
        gdfo_mem_free(m->x);
        gdfo_mem_free(m->at_x);
        gdfo_mem_free(m->steps);
        gdfo_mem_free(m->moved);
        gdfo_mem_free(m);
    }
}

static void take_logits(const struct gdfo_search_map *m, const float *lp, double *out)
{
    for (size_t i = 0; i < m->n_logits; i++) {
        out[i] = isfinite(lp[i]) ? (double)lp[i] : -100; /* a label that was not sent */
    }
    gdfo_space_map_centre_logits(&m->model, out);
}

/* The student's Jacobian at x, then every answer so far in its order: a resumed run rebuilds the
 * same bits. */
static enum gdfo_status rebuild(struct gdfo_search_map *m, struct gdfo_search *s,
                                struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_pupil_jacobian(s->pupil, m->x, m->model.jac, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_space_map_centre(&m->model);
    for (uint32_t k = 0; m->is_corrected && k < m->n_steps; k++) {
        gdfo_space_map_correct(&m->model, m->steps + k * m->n_floats, m->moved + k * m->n_logits);
    }
    m->has_model = 1;
    return GDFO_STATUS_OK;
}

static enum gdfo_status get_ready(struct gdfo_search_map *m, struct gdfo_search *s,
                                  struct gdfo_report *r, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!m->has_x) { /* the first prompt: the best so far */
        memcpy(m->x, s->best.rows, m->n_floats * sizeof *m->x);
        take_logits(m, s->best.lp, m->at_x);
        m->loss = gdfo_space_map_loss(&m->model, m->at_x, s->env.train.gold);
        m->has_x = 1;
    }
    if (!m->has_model) {
        status = rebuild(m, s, err);
    }
    if (status == GDFO_STATUS_OK && s->yardstick) {
        gdfo_space_map_gradient(&m->model, m->at_x, s->env.train.gold, m->grad);
        status = gdfo_search_measure_gradient(s, m->x, m->grad, r, err);
    }
    return status;
}

/* Of the last predictions, how well they rank with what the teacher said; NaN with too few. */
static double trust(const struct gdfo_search_map *m)
{
    uint32_t n = m->n_steps < TAU_POINTS ? m->n_steps : TAU_POINTS;
    uint32_t first = m->n_steps - n;
    return n < TAU_NEEDS ? (double)NAN : gdfo_rank_tau(m->predicted + first, m->actual + first, n);
}

/* Learns from the answer at x + step and moves when it is better. */
static void take_answer(struct gdfo_search_map *m, const struct gdfo_search *s, double predicted)
{
    double loss = gdfo_space_map_loss(&m->model, m->asked, s->env.train.gold);
    double gain = m->loss - loss;
    double *moved = m->moved + m->n_steps * m->n_logits;
    for (size_t i = 0; i < m->n_logits; i++) {
        moved[i] = m->asked[i] - m->at_x[i];
    }
    memcpy(m->steps + m->n_steps * m->n_floats, m->step, m->n_floats * sizeof *m->step);
    m->predicted[m->n_steps] = predicted;
    m->actual[m->n_steps] = loss;
    m->n_steps++;
    if (gain > 0) {
        m->radius *= gain > GOOD_RATIO * (m->loss - predicted) ? GROW : 1;
        memcpy(m->x, s->prompts, m->n_floats * sizeof *m->x);
        memcpy(m->at_x, m->asked, m->n_logits * sizeof *m->at_x);
        m->loss = loss;
        m->has_model = 0; /* its Jacobian is that of another place */
    } else {
        m->radius *= SHRINK;
        if (m->is_corrected) {
            gdfo_space_map_correct(&m->model, m->step, moved);
        }
    }
}

static const char *why_over(const struct gdfo_search_map *m, const struct gdfo_search *s)
{
    if (m->n_steps >= STEPS_MAX ||
        gdfo_stack_meter(s->env.stack)->evals >= s->evals_at_distil_end) {
        return "its evals are spent";
    }
    if (m->radius < RADIUS_LEAST * m->radius_first) {
        return "nothing near is better";
    }
    return trust(m) < TAU_LEAST ? "its predictions do not rank as the teacher does" : NULL;
}

static enum gdfo_status ask(struct gdfo_search_map *m, struct gdfo_search *s, struct gdfo_report *r,
                            struct gdfo_error *err)
{
    struct gdfo_evaluation e = {0};
    enum gdfo_status status;
    for (size_t i = 0; i < m->n_floats; i++) {
        s->prompts[i] = m->x[i] + m->step[i];
    }
    status = gdfo_search_try(s, 1, &e, r, err);
    if (status == GDFO_STATUS_OK) {
        take_logits(m, e.lp, m->asked);
    }
    return status;
}

enum gdfo_status gdfo_search_map_step(struct gdfo_search *s, int *is_over, struct gdfo_report *r,
                                      struct gdfo_error *err)
{
    struct gdfo_search_map *m = s->map;
    enum gdfo_status status = get_ready(m, s, r, err);
    double predicted;
    const char *why;
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    predicted = gdfo_space_map_step(&m->model, m->at_x, s->env.train.gold, m->radius, m->step);
    status = ask(m, s, r, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    take_answer(m, s, predicted);
    why = why_over(m, s);
    gdfo_report_metric_add(r, "loss_predicted", predicted);
    gdfo_report_metric_add(r, "loss_proposed", m->actual[m->n_steps - 1]);
    gdfo_report_metric_add(r, "trust_radius", m->radius);
    if (m->n_steps >= TAU_NEEDS) {
        gdfo_report_metric_add(r, "tau_student", trust(m));
    }
    if (why) {
        gdfo_report_message_add(r, 0, "proposals_end",
                                "the student's proposals end after %u, loss %.4f: %s", m->n_steps,
                                m->loss, why);
    }
    *is_over = why != NULL;
    return status;
}

void gdfo_search_map_save(const struct gdfo_search_map *m, struct gdfo_buf *out)
{
    gdfo_buf_u32(out, m->n_steps);
    gdfo_buf_u32(out, (unsigned)m->has_x);
    gdfo_buf_f64(out, m->loss);
    gdfo_buf_f64(out, m->radius);
    gdfo_buf_addn(out, m->x, m->n_floats * sizeof *m->x);
    gdfo_buf_addn(out, m->at_x, m->n_logits * sizeof *m->at_x);
    gdfo_buf_addn(out, m->steps, m->n_steps * m->n_floats * sizeof *m->steps);
    gdfo_buf_addn(out, m->moved, m->n_steps * m->n_logits * sizeof *m->moved);
    gdfo_buf_addn(out, m->predicted, m->n_steps * sizeof *m->predicted);
    gdfo_buf_addn(out, m->actual, m->n_steps * sizeof *m->actual);
}

enum gdfo_status gdfo_search_map_load(struct gdfo_search_map *m, struct gdfo_span *in,
                                      struct gdfo_error *err)
{
    uint32_t n = gdfo_span_u32(in);
    if (n > STEPS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "search state: %u proposals: want %d", n,
                              STEPS_MAX);
    }
    m->has_x = (int)(gdfo_span_u32(in) & 1);
    m->loss = gdfo_span_f64(in);
    m->radius = gdfo_span_f64(in);
    (void)gdfo_span_copy(in, m->x, m->n_floats * sizeof *m->x);
    (void)gdfo_span_copy(in, m->at_x, m->n_logits * sizeof *m->at_x);
    (void)gdfo_span_copy(in, m->steps, n * m->n_floats * sizeof *m->steps);
    (void)gdfo_span_copy(in, m->moved, n * m->n_logits * sizeof *m->moved);
    (void)gdfo_span_copy(in, m->predicted, n * sizeof *m->predicted);
    (void)gdfo_span_copy(in, m->actual, n * sizeof *m->actual);
    m->n_steps = n;
    m->has_model = 0;
    return gdfo_span_ok(in)
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_CORRUPT, "search state: proposals cut short");
}
