#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/head.h"
#include "server/tune/search_committee.h"

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

/* Behind each other in new memory; second may be NULL where it has no floats. */
static float *joined(const float *first, size_t n_first, const float *second, size_t n_second)
{
    float *all = gdfo_mem_array(n_first + n_second, sizeof *all);
    if (all && n_first > 0) {
        memcpy(all, first, n_first * sizeof *all);
    }
    if (all && n_second > 0) {
        memcpy(all + n_first, second, n_second * sizeof *all);
    }
    return all;
}

/*
 * A committee's heads are fitted on the dev rows too. Which prompts label, and with which weights,
 * is decided by what each head says of rows that its fold did not see, so there is nothing that the
 * dev rows would have to be kept apart for; and twice the labelled rows is the dearest thing there
 * is at 16 a class.
 */
static int fits_dev_too(const struct gdfo_search *s)
{
    return gdfo_search_has_committee(s) && s->env.dev.n > 0 &&
           (size_t)s->env.train.n + s->env.dev.n <= GDFO_HEAD_ROWS_MAX;
}

/* The train rows' answers are lp and anchors, the dev rows' are e. */
static enum gdfo_status fit_all_rows(const struct gdfo_search *s, struct gdfo_head_opts *o,
                                     const struct gdfo_incumbent *who,
                                     const struct gdfo_evaluation *e, struct gdfo_head **out,
                                     struct gdfo_error *err)
{
    const size_t n_labels = gdfo_task_n_labels(s->env.task);
    const size_t n_train = s->env.train.n;
    const size_t n_dev = s->env.dev.n;
    float *lp = joined(who->lp, n_train * n_labels, e->lp, n_dev * n_labels);
    float *anchors = joined(who->anchors, n_train * s->n_anchors, e->anchors, n_dev * s->n_anchors);
    struct gdfo_head_data d = {.lp = lp,
                               .anchors = s->n_anchors > 0 ? anchors : NULL,
                               .gold = s->gallery.gold,
                               .n = n_train + n_dev,
                               .n_labels = n_labels,
                               .n_anchors = s->n_anchors};
    enum gdfo_status status = lp && anchors ? gdfo_head_fit(out, &d, o, err)
                                            : gdfo_error_no_memory(err, "held-out answers");
    gdfo_mem_free(lp);
    gdfo_mem_free(anchors);
    return status;
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

double gdfo_search_objective(const struct gdfo_search *s, const float *lp, const float *anchors,
                             struct gdfo_error *err)
{
    struct gdfo_answers a = {lp, s->env.train.gold, s->env.train.n,
                             gdfo_task_n_labels(s->env.task)};
    const int is_head = s->opts.objective == GDFO_OBJECTIVE_HEAD;
    struct gdfo_head_opts o = head_opts(s, is_head ? head_kind(s) : GDFO_HEAD_BIAS);
    struct gdfo_head *h = NULL;
    double loss = (double)NAN;
    if (s->opts.objective == GDFO_OBJECTIVE_LABELS) {
        return gdfo_task_loss(s->env.task, &a, NULL);
    }
    if (fit(s, &o, lp, is_head ? anchors : NULL, &h, err) == GDFO_STATUS_OK) {
        loss = score_of(h)->loss;
    }
    gdfo_head_destroy(h);
    return loss;
}

struct judged { /* what the dev rows say of one prompt under one head */
    double loss, metric;
};

/* One dev eval; nothing without dev rows. */
static enum gdfo_status ask_dev(struct gdfo_search *s, const struct gdfo_prompts *p,
                                struct gdfo_evaluation *e, struct gdfo_error *err)
{
    return s->env.dev.n > 0 ? gdfo_evaluate(s->evaluator, p, GDFO_PURPOSE_DEV, e, err)
                            : GDFO_STATUS_OK;
}

/* Of rows that the head was not fitted on: votes [train rows, dev rows][labels]. Without dev rows
 * its own held-out numbers stand in. */
static struct judged measure(const struct gdfo_search *s, const struct gdfo_head *h,
                             const float *votes)
{
    const size_t n_labels = gdfo_task_n_labels(s->env.task);
    struct gdfo_answers a = {votes + (size_t)s->env.train.n * n_labels, s->env.dev.gold,
                             s->env.dev.n, n_labels};
    struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    struct judged j = {score_of(h)->loss, score_of(h)->accuracy};
    if (s->env.dev.n > 0) {
        j.loss = gdfo_loss_mean(&ce, &a, NULL);
        j.metric = gdfo_task_metric(s->env.task, &a);
    }
    return j;
}

/* Fits on the train rows; votes [train rows, dev rows][labels] gets what the head says of rows it
 * was not fitted on. anchors of neither or of both. */
static enum gdfo_status fit_train_rows(const struct gdfo_search *s, struct gdfo_head_opts *o,
                                       const struct gdfo_incumbent *who, const float *anchors,
                                       const struct gdfo_evaluation *e, struct gdfo_head **head,
                                       struct gdfo_error *err)
{
    enum gdfo_status status = fit(s, o, who->lp, anchors, head, err);
    if (status == GDFO_STATUS_OK && s->env.dev.n > 0) {
        gdfo_head_apply(*head, e->lp, anchors ? e->anchors : NULL, s->env.dev.n,
                        o->held_out + (size_t)s->env.train.n * gdfo_task_n_labels(s->env.task));
    }
    return status;
}

/* The head of a prompt that may label. */
static enum gdfo_status fit_head(const struct gdfo_search *s, const struct gdfo_incumbent *who,
                                 const struct gdfo_evaluation *e, float *votes,
                                 struct gdfo_head **head, struct gdfo_error *err)
{
    struct gdfo_head_opts o = head_opts(s, head_kind(s));
    o.held_out = votes;
    return fits_dev_too(s) ? fit_all_rows(s, &o, who, e, head, err)
                           : fit_train_rows(s, &o, who, who->anchors, e, head, err);
}

/* The plain prompt's, as it is or with a bias per class: what every user could have. */
static enum gdfo_status fit_baseline(const struct gdfo_search *s, enum gdfo_head_kind kind,
                                     const struct gdfo_evaluation *e, float *votes,
                                     struct gdfo_head **head, struct gdfo_error *err)
{
    struct gdfo_head_opts o = head_opts(s, kind);
    o.held_out = votes;
    return fit_train_rows(s, &o, &s->plain, NULL, e, head, err);
}

/* [train rows, dev rows][labels] */
static float *new_votes(const struct gdfo_search *s)
{
    size_t n = (size_t)s->env.train.n + s->env.dev.n;
    return gdfo_mem_array(n * gdfo_task_n_labels(s->env.task), sizeof(float));
}

/* who NULL: the plain prompt. */
static enum gdfo_status fill_result(struct gdfo_search *s, struct gdfo_artefact *a,
                                    const struct gdfo_incumbent *who, struct gdfo_error *err)
{
    uint32_t n_anchors = 0;
    const int32_t *ids = gdfo_evaluator_anchors(s->evaluator, &n_anchors);
    a->n_prompt_tokens = who ? (uint32_t)s->opts.n_prompt_tokens : 0;
    a->d_model = (uint32_t)s->width;
    a->position = s->env.position;
    a->rows = who ? gdfo_mem_dup(who->rows, s->n_floats * sizeof *a->rows)
                  : gdfo_mem_array(0, sizeof *a->rows);
    a->n_anchors = n_anchors;
    a->anchor_ids = gdfo_mem_dup(ids, a->n_anchors * sizeof *ids);
    if (who && s->deep && s->deep->n > 1) {
        a->n_layer_ids = s->deep->n - 1;
        a->layer_ids = gdfo_mem_dup(s->deep->ids + 1, a->n_layer_ids * sizeof *a->layer_ids);
    }
    if (!a->rows || !a->anchor_ids || (a->n_layer_ids > 0 && !a->layer_ids) ||
        (who && gdfo_words_copy(&a->words, &s->words, err) != GDFO_STATUS_OK)) {
        return gdfo_error_no_memory(err, "result");
    }
    return gdfo_head_copy(&a->baseline, s->baseline, err);
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
    if (s->result && gdfo_search_has_committee(s)) { /* whose numbers the result's are */
        a->loss_train = s->result->loss_train;
        a->loss_dev = s->result->loss_dev;
        a->metric_dev = s->result->metric_dev;
        gdfo_artefact_hand_over(a, s->result);
    }
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

/* What early stop watches falls by this share of itself, or it is no gain: a committee elected from
 * more prompts is nearly always a little better on the rows that elect it. */
#define GAIN_SHARE 0.01

/* Early stop counts checks since the selection's number last fell by enough. */
static void count_gain(struct gdfo_search *s, struct gdfo_report *r)
{
    const int is_together = gdfo_search_has_committee(s);
    double value = s->env.select_by_metric ? -r->best_value
                   : is_together           ? s->result->loss_train
                                           : -r->best_rank;
    double least = is_together && !s->env.select_by_metric ? GAIN_SHARE * s->gain_value : 0;
    int is_gain;
    least = s->env.stop_min_delta > least ? s->env.stop_min_delta : least;
    is_gain = r->has_new_best && (!s->has_gain_value || value < s->gain_value - least);
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

static void book(struct gdfo_search *s, struct gdfo_report *r)
{
    const struct gdfo_meter *m = gdfo_stack_meter(s->env.stack);
    s->result->evals = r->has_new_best ? m->evals : s->result->evals;
    s->result->queries = r->has_new_best ? m->queries : s->result->queries;
    count_gain(s, r);
}

/* Everything after the dev rows were asked. */
static enum gdfo_status settle(struct gdfo_search *s, const struct gdfo_search_subject *subject,
                               struct gdfo_head **head, struct judged j, struct gdfo_report *r,
                               struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_report_metric_add(r, "loss_dev", j.loss);
    gdfo_report_metric_add(r, "loss_cv", score_of(*head)->loss);
    gdfo_search_report_dev(s, r, j.metric);
    subject->who->is_checked = 1;
    if (!subject->is_scout) {
        status = weigh(s, subject->who, head, j, r, err);
    }
    if (status == GDFO_STATUS_OK && gdfo_search_has_committee(s)) {
        status = gdfo_search_elect(s, r, err);
    }
    if (status == GDFO_STATUS_OK && s->result) {
        book(s, r);
    }
    return status;
}

enum gdfo_status gdfo_search_judge_subject(struct gdfo_search *s,
                                           const struct gdfo_search_subject *subject,
                                           struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_prompts p = {subject->who->rows, 1, subject->n_prompt_tokens, subject->cue};
    struct gdfo_head *head = NULL;
    struct gdfo_evaluation e = {0};
    float *votes = new_votes(s);
    struct judged j = {0, 0};
    enum gdfo_status status =
        votes ? ask_dev(s, &p, &e, err) : gdfo_error_no_memory(err, "held-out answers");
    if (status == GDFO_STATUS_OK) {
        status = fit_head(s, subject->who, &e, votes, &head, err);
    }
    if (status == GDFO_STATUS_OK) {
        struct gdfo_picture picture = {p.n_prompt_tokens, p.rows, p.cue, head, votes};
        j = measure(s, head, votes);
        status = gdfo_search_hang(s, &picture, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = settle(s, subject, &head, j, r, err);
    }
    gdfo_mem_free(votes);
    gdfo_head_destroy(head);
    return status;
}

enum gdfo_status gdfo_search_judge(struct gdfo_search *s, struct gdfo_incumbent *who,
                                   struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_search_subject subject = {who, (uint32_t)s->opts.n_prompt_tokens, NULL, 0};
    return gdfo_search_judge_subject(s, &subject, r, err);
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

/*
 * The plain prompt under the same kind of head as the tuned ones. It may sit on the committee; it
 * is the result while there is no other, where one is elected or the budget ends here.
 */
static enum gdfo_status place_plain(struct gdfo_search *s, const struct gdfo_evaluation *e,
                                    float *votes, struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_head *head = NULL;
    struct judged j = {0, 0};
    enum gdfo_status status = fit_head(s, &s->plain, e, votes, &head, err);
    if (status == GDFO_STATUS_OK) {
        struct gdfo_picture p = {.head = head, .lp = votes};
        j = measure(s, head, votes);
        status = gdfo_search_hang(s, &p, err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_search_report_dev(s, r, j.metric);
        r->has_new_best = 1;
        r->best_rank = -(s->env.dev.n > 0 ? j.loss : score_of(head)->loss);
        r->best_value = j.metric;
        status = new_result(s, NULL, &head, j, err);
    }
    if (status == GDFO_STATUS_OK && gdfo_search_has_committee(s)) {
        status = gdfo_search_elect(s, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        book(s, r);
    }
    gdfo_head_destroy(head);
    return status;
}

enum gdfo_status gdfo_search_judge_plain(struct gdfo_search *s, struct gdfo_report *r,
                                         struct gdfo_error *err)
{
    struct gdfo_prompts p = {.n = 1};
    struct gdfo_head *none = NULL;
    struct gdfo_evaluation e = {0};
    float *votes = new_votes(s);
    struct judged plain = {0, 0};
    enum gdfo_status status =
        votes ? ask_dev(s, &p, &e, err) : gdfo_error_no_memory(err, "held-out answers");
    if (status == GDFO_STATUS_OK) {
        status = fit_baseline(s, GDFO_HEAD_NONE, &e, votes, &none, err);
    }
    if (status == GDFO_STATUS_OK) {
        plain = measure(s, none, votes);
        status = fit_baseline(s, GDFO_HEAD_BIAS, &e, s->calibrated, &s->baseline, err);
    }
    if (status == GDFO_STATUS_OK) {
        report_plain(s, r, plain, measure(s, s->baseline, s->calibrated));
        if (gdfo_search_has_committee(s) || gdfo_search_evals_left(s) <= 0) {
            status = place_plain(s, &e, votes, r, err);
        }
    }
    gdfo_mem_free(votes);
    gdfo_head_destroy(none);
    return status;
}
