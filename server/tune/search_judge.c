#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/head.h"
#include "server/tune/search_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* gdfo_search_head's order is that of the option's choices: auto, none, bias, anchors. */
static enum gdfo_head_kind head_kind(const struct gdfo_search *s)
{
    static const enum gdfo_head_kind kinds[] = {GDFO_HEAD_AUTO, GDFO_HEAD_NONE, GDFO_HEAD_BIAS,
                                                GDFO_HEAD_ANCHORS};
    return kinds[s->opts.head];
}

static enum gdfo_status fit(const struct gdfo_search *s, struct gdfo_head_opts *o, const float *lp,
                            const float *anchors, struct gdfo_head **out, struct gdfo_error *err)
{
    struct gdfo_head_data d = {.lp = lp,
                               .anchors = s->n_anchors > 0 ? anchors : NULL,
                               .gold = s->env.train.gold,
                               .n = s->env.train.n,
                               .n_labels = gdfo_task_n_labels(s->env.task),
                               .n_anchors = s->n_anchors};
    return gdfo_head_fit(out, &d, o, err);
}

static struct gdfo_head_opts head_opts(const struct gdfo_search *s, enum gdfo_head_kind kind)
{
    struct gdfo_head_opts o = gdfo_head_opts_default(s->env.seed);
    o.kind = kind;
    return o;
}

static const struct gdfo_head_score *score_of(const struct gdfo_head *h)
{
    return gdfo_head_score_of(h, gdfo_head_shape_of(h)->kind);
}

double gdfo_search_objective(const struct gdfo_search *s, const float *lp, struct gdfo_error *err)
{
    struct gdfo_answers a = {lp, s->env.train.gold, s->env.train.n,
                             gdfo_task_n_labels(s->env.task)};
    struct gdfo_head_opts o = head_opts(s, GDFO_HEAD_BIAS);
    struct gdfo_head *h = NULL;
    double loss = (double)NAN;
    if (s->opts.objective == GDFO_OBJECTIVE_LABELS) {
        return gdfo_task_loss(s->env.task, &a, NULL);
    }
    if (fit(s, &o, lp, NULL, &h, err) == GDFO_STATUS_OK) {
        loss = score_of(h)->loss;
    }
    gdfo_head_destroy(h);
    return loss;
}

struct judged { /* what the dev rows say of one prompt under one head */
    double loss, metric;
};

static void measure(const struct gdfo_search *s, const struct gdfo_head *h,
                    const struct gdfo_evaluation *e, float *out, struct judged *j)
{
    struct gdfo_answers a = {out, s->env.dev.gold, s->env.dev.n, gdfo_task_n_labels(s->env.task)};
    struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    gdfo_head_apply(h, e->lp, e->anchors, s->env.dev.n, out);
    j->loss = gdfo_loss_mean(&ce, &a, NULL);
    j->metric = gdfo_task_metric(s->env.task, &a);
}

/* One dev eval; without dev rows the head's own held-out numbers stand in. */
static enum gdfo_status ask_dev(struct gdfo_search *s, const float *rows, uint32_t n_prompt_tokens,
                                struct gdfo_evaluation *e, float **out, struct gdfo_error *err)
{
    struct gdfo_prompts p = {rows, 1, n_prompt_tokens};
    *out = gdfo_mem_array((size_t)s->env.dev.n * gdfo_task_n_labels(s->env.task), sizeof **out);
    if (!*out) {
        return gdfo_error_no_memory(err, "dev answers");
    }
    return s->env.dev.n > 0 ? gdfo_evaluate(s->evaluator, &p, GDFO_PURPOSE_DEV, e, err)
                            : GDFO_STATUS_OK;
}

static struct judged judge_head(const struct gdfo_search *s, const struct gdfo_head *h,
                                const struct gdfo_evaluation *e, float *scratch)
{
    struct judged j = {score_of(h)->loss, score_of(h)->accuracy};
    if (s->env.dev.n > 0) {
        measure(s, h, e, scratch, &j);
    }
    return j;
}

static void add_metric_dev(const struct gdfo_search *s, struct gdfo_report *r, double value)
{
    const struct gdfo_task_options *o = gdfo_task_options_of(s->env.task);
    static const char *const names[] = {"accuracy_dev", "macro_f1_dev", "f1_dev"};
    gdfo_report_metric_add(r, names[o->metric], value);
    (void)snprintf(r->best_metric, sizeof r->best_metric, "%s", names[o->metric]);
}

/* [train rows, dev rows][labels] */
static float *new_held_out(const struct gdfo_search *s)
{
    size_t n = (size_t)s->env.train.n + s->env.dev.n;
    return gdfo_mem_array(n * gdfo_task_n_labels(s->env.task), sizeof(float));
}

static enum gdfo_status fill_result(struct gdfo_search *s, struct gdfo_artefact *a,
                                    const struct gdfo_incumbent *who, struct gdfo_error *err)
{
    uint32_t n_anchors = 0;
    const int32_t *ids = gdfo_evaluator_anchors(s->evaluator, &n_anchors);
    a->n_prompt_tokens = (uint32_t)s->opts.n_prompt_tokens;
    a->d_model = (uint32_t)(s->n_floats / a->n_prompt_tokens);
    a->position = s->env.position;
    a->rows = gdfo_mem_dup(who->rows, s->n_floats * sizeof *a->rows);
    a->n_anchors = n_anchors;
    a->anchor_ids = gdfo_mem_dup(ids, a->n_anchors * sizeof *ids);
    return a->rows && a->anchor_ids ? gdfo_head_copy(&a->baseline, s->baseline, err)
                                    : gdfo_error_no_memory(err, "result");
}

static enum gdfo_status new_result(struct gdfo_search *s, const struct gdfo_incumbent *who,
                                   struct gdfo_head **head, struct judged j, struct gdfo_error *err)
{
    struct gdfo_artefact *a = gdfo_artefact_create();
    enum gdfo_status status;
    if (!a) {
        return gdfo_error_no_memory(err, "result");
    }
    status = fill_result(s, a, who, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_artefact_destroy(a);
        return status;
    }
    a->loss_train = score_of(*head)->loss;
    a->loss_dev = s->env.dev.n > 0 ? j.loss : (double)NAN;
    a->metric_dev = s->env.dev.n > 0 ? j.metric : (double)NAN;
    a->head = *head;
    *head = NULL;
    gdfo_artefact_destroy(s->result);
    s->result = a;
    return GDFO_STATUS_OK;
}

/* Strictly better than what was: then it becomes the tuned prompt. */
static enum gdfo_status weigh(struct gdfo_search *s, const struct gdfo_incumbent *who,
                              struct gdfo_head **head, struct judged j, struct gdfo_report *r,
                              struct gdfo_error *err)
{
    double value = s->env.select_by_metric ? -j.metric : j.loss;
    if (s->has_best_value && !(value < s->best_value)) {
        return GDFO_STATUS_OK;
    }
    s->best_value = value;
    s->has_best_value = 1;
    r->has_new_best = 1;
    r->best_rank = -value;
    r->best_value = j.metric;
    return new_result(s, who, head, j, err);
}

/* Held-out rows of the gallery: the train rows, then the dev rows. */
static enum gdfo_status hang(struct gdfo_search *s, struct gdfo_picture *p, float *held_out,
                             const struct gdfo_evaluation *e, struct gdfo_error *err)
{
    size_t n_train = s->env.train.n;
    if (s->opts.n_committee < 2) {
        return GDFO_STATUS_OK;
    }
    if (s->env.dev.n > 0) {
        gdfo_head_apply(p->head, e->lp, e->anchors, s->env.dev.n,
                        held_out + n_train * gdfo_task_n_labels(s->env.task));
    }
    p->lp = held_out;
    return gdfo_gallery_add(&s->gallery, p, err);
}

/* The committee's dev numbers, or without dev rows its held-out ones. */
static void judge_committee(const struct gdfo_search *s, const struct gdfo_election *e, float *out,
                            struct judged *j)
{
    size_t first = s->env.dev.n > 0 ? s->env.train.n : 0;
    size_t n_labels = gdfo_task_n_labels(s->env.task);
    struct gdfo_answers a = {out + first * n_labels, s->gallery.gold + first,
                             s->gallery.n_rows - first, n_labels};
    struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    gdfo_gallery_answers(&s->gallery, e, out);
    j->loss = gdfo_loss_mean(&ce, &a, NULL);
    j->metric = gdfo_task_metric(s->env.task, &a);
}

/* Elects the committee anew and makes it part of the result, which is worth keeping when the
 * held-out loss of what labels (committee or best prompt) has fallen. */
static enum gdfo_status reelect(struct gdfo_search *s, float *scratch, struct gdfo_report *r,
                                struct gdfo_error *err)
{
    struct gdfo_election e;
    struct judged j;
    enum gdfo_status status = gdfo_gallery_elect(&s->gallery, (size_t)s->opts.n_committee, &e, err);
    if (status != GDFO_STATUS_OK || e.n < 2) {
        return status;
    }
    status = gdfo_gallery_seat(&s->gallery, &e, s->result, err);
    judge_committee(s, &e, scratch, &j);
    s->result->loss_train = e.loss;
    s->result->loss_dev = s->env.dev.n > 0 ? j.loss : (double)NAN;
    s->result->metric_dev = s->env.dev.n > 0 ? j.metric : (double)NAN;
    gdfo_report_metric_add(r, "loss_committee", e.loss);
    gdfo_report_metric_add(r, "n_committee", (double)e.n);
    gdfo_report_metric_add(r, "loss_dev", j.loss);
    add_metric_dev(s, r, j.metric);
    r->has_new_best = 1;
    r->best_rank = -e.loss;
    r->best_value = j.metric;
    return status;
}

/* Early stop counts checks since the selection's number last fell by enough. */
static void count_gain(struct gdfo_search *s, struct gdfo_report *r)
{
    double value = s->env.select_by_metric ? -r->best_value : -r->best_rank;
    int is_gain =
        r->has_new_best && (!s->has_gain_value || value < s->gain_value - s->env.stop_min_delta);
    s->n_checks_without_gain = is_gain ? 0 : s->n_checks_without_gain + 1;
    if (is_gain) {
        s->gain_value = value;
        s->has_gain_value = 1;
    }
    if (r->has_new_best && s->result) {
        gdfo_report_metric_add(r, "loss_dev_best",
                               s->env.dev.n > 0 ? s->result->loss_dev : s->result->loss_train);
    }
}

/* Everything after the dev rows were asked. */
static enum gdfo_status settle(struct gdfo_search *s, struct gdfo_incumbent *who,
                               struct gdfo_head **head, struct judged j, float *held_out,
                               struct gdfo_report *r, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_report_metric_add(r, "loss_dev", j.loss);
    gdfo_report_metric_add(r, "loss_cv", score_of(*head)->loss);
    add_metric_dev(s, r, j.metric);
    who->is_checked = 1;
    if (!s->is_scouting) {
        status = weigh(s, who, head, j, r, err);
    }
    if (status == GDFO_STATUS_OK && s->opts.n_committee > 1) {
        status = reelect(s, held_out, r, err);
    }
    if (status == GDFO_STATUS_OK && s->result) {
        const struct gdfo_meter *m = gdfo_stack_meter(s->env.stack);
        s->result->evals = r->has_new_best ? m->evals : s->result->evals;
        s->result->queries = r->has_new_best ? m->queries : s->result->queries;
        count_gain(s, r);
    }
    return status;
}

enum gdfo_status gdfo_search_judge(struct gdfo_search *s, struct gdfo_incumbent *who,
                                   struct gdfo_report *r, struct gdfo_error *err)
{
    uint32_t n_rows = (uint32_t)s->opts.n_prompt_tokens;
    struct gdfo_head_opts o = head_opts(s, head_kind(s));
    struct gdfo_head *head = NULL;
    struct gdfo_evaluation e = {0};
    float *held_out = new_held_out(s);
    float *scratch = NULL;
    struct judged j = {0, 0};
    enum gdfo_status status =
        held_out ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "held-out answers");
    o.held_out = held_out;
    if (status == GDFO_STATUS_OK) {
        status = fit(s, &o, who->lp, who->anchors, &head, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = ask_dev(s, who->rows, n_rows, &e, &scratch, err);
    }
    if (status == GDFO_STATUS_OK) {
        struct gdfo_picture p = {.n_prompt_tokens = n_rows, .rows = who->rows, .head = head};
        j = judge_head(s, head, &e, scratch);
        status = hang(s, &p, held_out, &e, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = settle(s, who, &head, j, held_out, r, err);
    }
    gdfo_mem_free(scratch);
    gdfo_mem_free(held_out);
    gdfo_head_destroy(head);
    return status;
}

/* The two baselines: the plain manual prompt, and the same with a bias per class fitted on the
 * train rows. */
static void report_plain(const struct gdfo_search *s, struct gdfo_report *r, struct judged plain,
                         struct judged calibrated)
{
    gdfo_report_metric_add(r, "loss_plain_dev", plain.loss);
    gdfo_report_metric_add(r, "metric_plain_dev", plain.metric);
    gdfo_report_metric_add(r, "loss_calibrated_dev", calibrated.loss);
    gdfo_report_metric_add(r, "metric_calibrated_dev", calibrated.metric);
    gdfo_report_message_add(r, 0, "baselines",
                            "%s rows: plain prompt %.3f, calibrated %.3f (loss %.3f and %.3f)",
                            s->env.dev.n > 0 ? "dev" : "held-out train", plain.metric,
                            calibrated.metric, plain.loss, calibrated.loss);
}

/* The plain prompt may sit on the committee, under the same kind of head as the tuned ones. */
static enum gdfo_status hang_plain(struct gdfo_search *s, const struct gdfo_evaluation *e,
                                   struct gdfo_error *err)
{
    struct gdfo_head_opts o = head_opts(s, head_kind(s));
    struct gdfo_head *head = NULL;
    float *held_out = new_held_out(s);
    enum gdfo_status status =
        held_out ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "held-out answers");
    o.held_out = held_out;
    if (status == GDFO_STATUS_OK) {
        status = fit(s, &o, s->plain.lp, s->plain.anchors, &head, err);
    }
    if (status == GDFO_STATUS_OK) {
        struct gdfo_picture p = {.head = head};
        status = hang(s, &p, held_out, e, err);
    }
    gdfo_head_destroy(head);
    gdfo_mem_free(held_out);
    return status;
}

enum gdfo_status gdfo_search_judge_plain(struct gdfo_search *s, struct gdfo_report *r,
                                         struct gdfo_error *err)
{
    struct gdfo_head_opts bias = head_opts(s, GDFO_HEAD_BIAS);
    struct gdfo_head_opts as_is = head_opts(s, GDFO_HEAD_NONE);
    struct gdfo_head *none = NULL;
    struct gdfo_evaluation e = {0};
    float *scratch = NULL;
    enum gdfo_status status = fit(s, &bias, s->plain.lp, NULL, &s->baseline, err);
    if (status == GDFO_STATUS_OK) {
        status = fit(s, &as_is, s->plain.lp, NULL, &none, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = ask_dev(s, NULL, 0, &e, &scratch, err);
    }
    if (status == GDFO_STATUS_OK) {
        struct judged plain = judge_head(s, none, &e, scratch);
        report_plain(s, r, plain, judge_head(s, s->baseline, &e, scratch));
        status = s->opts.n_committee > 1 ? hang_plain(s, &e, err) : status;
    }
    gdfo_mem_free(scratch);
    gdfo_head_destroy(none);
    return status;
}
