#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/log_pool.h"
#include "server/tune/method/head/head_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- answers of some templates, side by side in a row -------------------------------------------
 */

struct table { /* of n_views templates from the first on */
    uint32_t first, n_views;
    float *lp;       /* [n_rows][n_views][n_labels], owned */
    float *features; /* [n_rows][n_views][n_features], owned */
};

static void table_deinit(struct table *t)
{
    gdfo_mem_free(t->lp);
    gdfo_mem_free(t->features);
}

static void lay(const struct gdfo_head_method *m, const float *from, size_t width,
                const struct table *t, float *to)
{
    for (uint32_t v = 0; v < t->n_views && width > 0; v++) {
        for (size_t i = 0; i < m->n_rows; i++) {
            memcpy(to + (i * t->n_views + v) * width,
                   from + ((t->first + v) * m->n_rows + i) * width, width * sizeof *to);
        }
    }
}

static enum gdfo_status table_init(struct table *t, const struct gdfo_head_method *m,
                                   uint32_t first, uint32_t n_views, struct gdfo_error *err)
{
    const size_t n = m->n_rows * n_views;
    *t = (struct table){first, n_views, gdfo_mem_array(n * m->n_labels, sizeof *t->lp),
                        gdfo_mem_array(n * m->n_features + 1, sizeof *t->features)};
    if (!t->lp || !t->features) {
        table_deinit(t);
        return gdfo_error_no_memory(err, "answers");
    }
    lay(m, m->lp, m->n_labels, t, t->lp);
    lay(m, m->features, m->n_features, t, t->features);
    return GDFO_STATUS_OK;
}

/* ---- one head -----------------------------------------------------------------------------------
 */

struct fitted {
    struct gdfo_head *head;
    float *judged;   /* [n_judged][n_labels]: of the dev rows; without them, held out of train */
    float *held_out; /* [n_train][n_labels] */
};

static void fitted_deinit(struct fitted *f)
{
    gdfo_head_destroy(f->head);
    gdfo_mem_free(f->judged);
    gdfo_mem_free(f->held_out);
    memset(f, 0, sizeof *f);
}

static const struct gdfo_tune_set *judges(const struct gdfo_head_method *m)
{
    return m->env.dev.n > 0 ? &m->env.dev : &m->env.train;
}

static struct gdfo_head_data data_of(const struct gdfo_head_method *m, const struct table *t)
{
    return (struct gdfo_head_data){.lp = t->lp,
                                   .anchors = m->n_anchors > 0 ? t->features : NULL,
                                   .gold = m->env.train.gold,
                                   .n = m->env.train.n,
                                   .n_labels = m->n_labels,
                                   .n_anchors = m->n_anchors,
                                   .hidden = m->want_hidden ? t->features : NULL,
                                   .n_hidden = m->want_hidden ? m->n_features : 0,
                                   .blank = t->lp + m->env.train.n * t->n_views * m->n_labels,
                                   .n_views = t->n_views};
}

static void judge_rows(const struct gdfo_head_method *m, const struct table *t, struct fitted *f)
{
    const size_t first = (size_t)m->env.train.n + 1;
    if (m->env.dev.n > 0) {
        gdfo_head_apply(f->head, t->lp + first * t->n_views * m->n_labels,
                        t->features + first * t->n_views * m->n_features, m->env.dev.n, f->judged);
    } else {
        memcpy(f->judged, f->held_out, m->env.train.n * m->n_labels * sizeof *f->judged);
    }
}

static enum gdfo_status fit_table(const struct gdfo_head_method *m, const struct table *t,
                                  enum gdfo_head_kind kind, struct fitted *f,
                                  struct gdfo_error *err)
{
    struct gdfo_head_data d = data_of(m, t);
    struct gdfo_head_opts o = gdfo_head_opts_default(m->env.seed);
    enum gdfo_status status;
    memset(f, 0, sizeof *f);
    f->judged = gdfo_mem_array(judges(m)->n * m->n_labels, sizeof *f->judged);
    f->held_out = gdfo_mem_array(m->env.train.n * m->n_labels, sizeof *f->held_out);
    if (!f->judged || !f->held_out) {
        fitted_deinit(f);
        return gdfo_error_no_memory(err, "fitting a head");
    }
    o.kind = kind;
    o.held_out = f->held_out;
    o.kinds = 1U << GDFO_HEAD_BIAS | 1U << GDFO_HEAD_TEMPERATURE | 1U << GDFO_HEAD_ANCHORS |
              1U << GDFO_HEAD_HIDDEN;
    status = gdfo_head_fit(&f->head, &d, &o, err);
    if (status != GDFO_STATUS_OK) {
        fitted_deinit(f);
        return status;
    }
    judge_rows(m, t, f);
    return GDFO_STATUS_OK;
}

/* ---- what it is worth ---------------------------------------------------------------------------
 */

struct verdict {
    double loss, metric;
};

static struct verdict weigh(const struct gdfo_head_method *m, const float *lp,
                            const struct gdfo_tune_set *set)
{
    struct gdfo_answers a = {lp, set->gold, set->n, m->n_labels};
    struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    return (struct verdict){gdfo_loss_mean(&ce, &a, NULL), gdfo_task_metric(m->env.task, &a)};
}

/* The two baselines, on the task's own cue; the calibrated one goes into the result. */
static enum gdfo_status baselines(struct gdfo_head_method *m, struct gdfo_artefact *a,
                                  struct gdfo_report *r, struct gdfo_error *err)
{
    struct table t;
    struct fitted plain = {0};
    struct fitted bias = {0};
    enum gdfo_status status = table_init(&t, m, 0, 1, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = fit_table(m, &t, GDFO_HEAD_NONE, &plain, err);
    if (status == GDFO_STATUS_OK) {
        status = fit_table(m, &t, GDFO_HEAD_BIAS, &bias, err);
    }
    if (status == GDFO_STATUS_OK) {
        const struct verdict p = weigh(m, plain.judged, judges(m));
        const struct verdict c = weigh(m, bias.judged, judges(m));
        gdfo_report_metric_add(r, "loss_plain_dev", p.loss);
        gdfo_report_metric_add(r, "metric_plain_dev", p.metric);
        gdfo_report_metric_add(r, "loss_calibrated_dev", c.loss);
        gdfo_report_metric_add(r, "metric_calibrated_dev", c.metric);
        gdfo_report_message_add(
            r, 0, "baselines", "%s rows: plain prompt %.3f, calibrated %.3f (loss %.3f and %.3f)",
            m->env.dev.n > 0 ? "dev" : "held-out train", p.metric, c.metric, p.loss, c.loss);
        a->baseline = bias.head;
        bias.head = NULL;
    }
    fitted_deinit(&plain);
    fitted_deinit(&bias);
    table_deinit(&t);
    return status;
}

/* ---- the result ---------------------------------------------------------------------------------
 */

static int is_joint(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_MPD || kind == GDFO_HEAD_PROMPTBOOST;
}

static enum gdfo_status seat(const struct gdfo_head_method *m, struct gdfo_artefact_member *to,
                             uint32_t view, struct gdfo_error *err)
{
    const char *cue = m->cues[view];
    to->rows = gdfo_mem_array(1, sizeof *to->rows);
    to->cue = cue ? gdfo_mem_dup(cue, strlen(cue) + 1) : NULL;
    return to->rows && (!cue || to->cue) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "committee");
}

/* One head on one template, or on all of them at once. */
static enum gdfo_status fit_one(struct gdfo_head_method *m, struct gdfo_artefact *a,
                                struct fitted *f, struct gdfo_error *err)
{
    struct table t;
    enum gdfo_status status = table_init(&t, m, 0, m->n_done, err);
    if (status == GDFO_STATUS_OK) {
        status = fit_table(m, &t, m->kind, f, err);
        table_deinit(&t);
    }
    if (status == GDFO_STATUS_OK && m->n_done > 1) {
        status = gdfo_artefact_clear_members(a, m->n_done, err);
    }
    for (uint32_t v = 0; status == GDFO_STATUS_OK && v < a->n_members; v++) {
        status = seat(m, &a->members[v], v, err);
    }
    if (status == GDFO_STATUS_OK) {
        a->head = f->head;
        f->head = NULL;
    }
    return status;
}

/* Adds a head's share of an even average of log-probabilities. */
static void add_share(float *sum, const float *lp, size_t n, uint32_t n_views)
{
    for (size_t i = 0; i < n; i++) {
        sum[i] += lp[i] / (float)n_views;
    }
}

/* A head for each template, averaged: a committee. The first one stands for it alone. */
static enum gdfo_status fit_each(struct gdfo_head_method *m, struct gdfo_artefact *a,
                                 struct fitted *all, struct gdfo_error *err)
{
    const size_t n_judged = judges(m)->n * m->n_labels;
    const size_t n_train = m->env.train.n * m->n_labels;
    enum gdfo_status status = gdfo_artefact_clear_members(a, m->n_done, err);
    all->judged = gdfo_mem_array(n_judged, sizeof *all->judged);
    all->held_out = gdfo_mem_array(n_train, sizeof *all->held_out);
    if (!all->judged || !all->held_out) {
        return gdfo_error_no_memory(err, "committee");
    }
    for (uint32_t v = 0; status == GDFO_STATUS_OK && v < m->n_done; v++) {
        struct table t;
        struct fitted f = {0};
        status = table_init(&t, m, v, 1, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        status = fit_table(m, &t, m->kind, &f, err);
        if (status == GDFO_STATUS_OK) {
            add_share(all->judged, f.judged, n_judged, m->n_done);
            add_share(all->held_out, f.held_out, n_train, m->n_done);
            a->members[v].head = f.head;
            f.head = NULL;
            status = seat(m, &a->members[v], v, err);
        }
        fitted_deinit(&f);
        table_deinit(&t);
    }
    gdfo_log_pool_renormalise(all->judged, judges(m)->n, m->n_labels);
    gdfo_log_pool_renormalise(all->held_out, m->env.train.n, m->n_labels);
    return status == GDFO_STATUS_OK ? gdfo_head_copy(&a->head, a->members[0].head, err) : status;
}

static void report_result(const struct gdfo_head_method *m, const struct fitted *f,
                          struct gdfo_artefact *a, struct gdfo_report *r)
{
    static const char *const names[] = {"accuracy_dev", "macro_f1_dev", "f1_dev"};
    const char *metric = names[gdfo_task_options_of(m->env.task)->metric];
    const struct gdfo_head_shape *shape = gdfo_head_shape_of(a->head);
    const struct verdict judged = weigh(m, f->judged, judges(m));
    const struct verdict held_out = weigh(m, f->held_out, &m->env.train);
    a->loss_train = held_out.loss;
    a->loss_dev = m->env.dev.n > 0 ? judged.loss : (double)NAN;
    a->metric_dev = m->env.dev.n > 0 ? judged.metric : (double)NAN;
    gdfo_report_metric_add(r, "loss_train", gdfo_head_score_of(a->head, shape->kind)->loss_fit);
    gdfo_report_metric_add(r, "loss_cv", held_out.loss);
    gdfo_report_metric_add(r, "loss_dev", judged.loss);
    gdfo_report_metric_add(r, "loss_dev_best", judged.loss);
    gdfo_report_metric_add(r, metric, judged.metric);
    gdfo_report_metric_add(r, "n_templates", m->n_done);
    gdfo_report_message_add(r, 0, "head", "%s on %u template%s: held-out loss %.3f",
                            gdfo_head_kind_name(shape->kind), m->n_done, m->n_done > 1 ? "s" : "",
                            held_out.loss);
    r->has_new_best = 1;
    r->best_rank = -judged.loss;
    r->best_value = judged.metric;
    (void)snprintf(r->best_metric, sizeof r->best_metric, "%s", metric);
}

static enum gdfo_status fill_frame(const struct gdfo_head_method *m, struct gdfo_artefact *a,
                                   struct gdfo_error *err)
{
    const struct gdfo_meter *meter = gdfo_stack_meter(m->env.stack);
    uint32_t n = 0;
    const int32_t *ids = gdfo_evaluator_anchors(m->evaluator, &n);
    a->d_model = gdfo_teacher_caps(gdfo_stack_teacher(m->env.stack))->d_model;
    a->position = m->env.position;
    a->rows = gdfo_mem_array(1, sizeof *a->rows);
    a->anchor_ids = gdfo_mem_array(n + 1, sizeof *ids);
    a->evals = meter->evals;
    a->queries = meter->queries;
    if (!a->rows || !a->anchor_ids) {
        return gdfo_error_no_memory(err, "result");
    }
    a->n_anchors = n;
    if (n > 0) {
        memcpy(a->anchor_ids, ids, n * sizeof *ids);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_head_finish(struct gdfo_head_method *m, struct gdfo_report *r,
                                  struct gdfo_error *err)
{
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct fitted f = {0};
    enum gdfo_status status = a ? fill_frame(m, a, err) : gdfo_error_no_memory(err, "result");
    if (status == GDFO_STATUS_OK) {
        status = baselines(m, a, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        status =
            m->n_done == 1 || is_joint(m->kind) ? fit_one(m, a, &f, err) : fit_each(m, a, &f, err);
    }
    if (status == GDFO_STATUS_OK) {
        report_result(m, &f, a, r);
        gdfo_artefact_destroy(m->result);
        m->result = a;
        m->is_done = 1;
        a = NULL;
    }
    fitted_deinit(&f);
    gdfo_artefact_destroy(a);
    return status;
}
