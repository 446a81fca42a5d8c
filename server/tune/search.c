#include "server/tune/search.h"

#include "common/check.h"
#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/optim/optim_ops.h"
#include "server/task/task.h"
#include "server/tune/search_committee.h"
#include "server/tune/search_demo.h"
#include "server/tune/search_experts.h"
#include "server/tune/search_map.h"
#include "server/tune/search_measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OPTIM_VALUES_MAX 512 /* bytes of any optimiser's option struct */
#define POPSIZE_MIN      4   /* of the option table */
#define EVALS_DEFAULT    200
#define CHECK_EVERY      40 /* train evals between dev checks: two generations of 20 */
#define DISTIL_SHARE     0.4

/* ---- set-up ------------------------------------------------------------------------------------
 */

enum gdfo_status gdfo_search_check(const void *options, struct gdfo_error *err)
{
    const struct gdfo_search_opts *o = options;
    if (o->head == GDFO_SEARCH_HEAD_ANCHORS && o->n_anchors == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "head anchors needs n_anchors of 1 or more");
    }
    if (o->schedule == GDFO_SCHEDULE_INTERLEAVED &&
        (!o->distill || !o->gradient || o->distillation != GDFO_DISTILLATION_PUBLISHED)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "schedule interleaved needs distill, gradient, and distillation "
                              "published");
    }
    if (o->intrinsic_dim > 2000 && o->covariance == 0 && o->optimiser == GDFO_SEARCH_CMA) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "intrinsic_dim %lld with full covariance: want at most 2000, or covariance "
            "diagonal or none",
            (long long)o->intrinsic_dim);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status set_option(const struct gdfo_optim_ops *ops, void *values, const char *name,
                                   const char *text, struct gdfo_error *err)
{
    return gdfo_opt_set_text(ops->options, values, name, text, err);
}

static enum gdfo_status optim_values(const struct gdfo_search *s, const struct gdfo_optim_ops *ops,
                                     void *values, struct gdfo_error *err)
{
    static const char *const step_sizes[] = {"csa", "tpa"};
    static const char *const covariances[] = {"full", "diagonal", "none"};
    const struct gdfo_search_opts *o = &s->opts;
    char number[32];
    enum gdfo_status status;
    gdfo_opt_defaults(ops->options, values);
    (void)snprintf(number, sizeof number, "%lld", (long long)o->popsize);
    status = set_option(ops, values, "popsize", number, err);
    if (status == GDFO_STATUS_OK) {
        (void)snprintf(number, sizeof number, "%.17g", o->step_size_init);
        status = set_option(ops, values, "step_size_init", number, err);
    }
    if (status == GDFO_STATUS_OK && o->optimiser == GDFO_SEARCH_CMA) {
        status = set_option(ops, values, "step_size", step_sizes[o->step_size], err);
        if (status == GDFO_STATUS_OK) {
            status = set_option(ops, values, "covariance", covariances[o->covariance], err);
        }
    }
    return status;
}

enum gdfo_status gdfo_search_make_optim(const struct gdfo_search *s, size_t dim, uint64_t seed,
                                        struct gdfo_optim **out, struct gdfo_error *err)
{
    const char *name = s->opts.optimiser == GDFO_SEARCH_CMA ? "cma" : "random_search";
    const struct gdfo_optim_ops *ops = gdfo_optim_find(name);
    _Alignas(16) unsigned char values[OPTIM_VALUES_MAX] = {0};
    struct gdfo_optim_spec spec = {
        .name = name,
        .values = values,
        .dim = dim,
        .seed = seed,
        .stop = {.tol_fun = -1, .stagnation_generations = -1, .flat_generations = -1}};
    enum gdfo_status status;
    GDFO_CHECK(ops && ops->values_bytes <= sizeof values);
    status = optim_values(s, ops, values, err);
    return status == GDFO_STATUS_OK ? gdfo_optim_create(out, &spec, err) : status;
}

enum gdfo_status gdfo_search_new_optimiser(struct gdfo_search *s, uint64_t seed,
                                           struct gdfo_error *err)
{
    gdfo_optim_destroy(s->optim);
    s->optim = NULL;
    return gdfo_search_make_optim(s, gdfo_projection_dim(s->projection), seed, &s->optim, err);
}

static enum gdfo_status first_rows(struct gdfo_search *s, struct gdfo_error *err)
{
    const struct gdfo_model *m = s->env.teacher_model;
    struct gdfo_embedding e = {gdfo_model_embed(m), gdfo_model_config(m)->vocab,
                               gdfo_model_config(m)->d_model};
    size_t n_rows = (size_t)s->opts.n_prompt_tokens;
    struct gdfo_ids ids = {0};
    struct gdfo_prompt_words all = {NULL, 0};
    enum gdfo_status status = GDFO_STATUS_OK;
    if (s->opts.prompt_init == GDFO_INIT_ZEROS || s->env.is_added) { /* added: placeholders alone */
        gdfo_soft_prompt_zeros(s->start, n_rows, e.d_model);
    } else if (s->opts.prompt_init == GDFO_INIT_VOCAB) {
        status = gdfo_soft_prompt_from_vocab(s->start, n_rows, &e, &all, s->env.seed, err);
    } else {
        status = gdfo_search_instruction(s, &ids, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_soft_prompt_from_ids(s->start, n_rows, &e, ids.data, ids.n, err);
        }
    }
    gdfo_ids_deinit(&ids);
    return status;
}

enum gdfo_status gdfo_search_new_projection(struct gdfo_search *s, struct gdfo_error *err)
{
    const struct gdfo_model *m = s->env.teacher_model;
    struct gdfo_embedding e = {gdfo_model_embed(m), gdfo_model_config(m)->vocab,
                               gdfo_model_config(m)->d_model};
    struct gdfo_projection_spec spec = {.kind = (enum gdfo_projection_kind)s->opts.projection,
                                        .n_prompt_tokens = (size_t)s->opts.n_prompt_tokens,
                                        .d_model = e.d_model,
                                        .dim = (size_t)s->opts.intrinsic_dim,
                                        .alpha = s->opts.alpha,
                                        .seed = s->env.seed,
                                        .std_embedding = gdfo_model_embed_std(m),
                                        .embedding = &e,
                                        .reference = s->start,
                                        .columns = s->experts};
    if (s->experts) {
        spec.kind = GDFO_PROJECTION_GIVEN;
    }
    gdfo_projection_destroy(s->projection);
    s->projection = NULL;
    return gdfo_projection_create(&s->projection, &spec, err);
}

static enum gdfo_status make_memory(struct gdfo_search *s, struct gdfo_error *err)
{
    size_t n_lp = (size_t)s->env.train.n * gdfo_task_n_labels(s->env.task);
    size_t popsize = (size_t)s->opts.popsize;
    enum gdfo_status status;
    s->n_floats = (size_t)s->opts.n_prompt_tokens * s->width * (s->deep ? s->deep->n : 1);
    s->start = gdfo_mem_array(s->n_floats, sizeof *s->start);
    s->centre = gdfo_mem_array(s->n_floats, sizeof *s->centre);
    if (s->opts.n_experts > 0) { /* zeros until the first step makes them */
        s->opts.intrinsic_dim = s->opts.n_experts;
        s->experts = gdfo_mem_array((size_t)s->opts.n_experts * s->n_floats, sizeof *s->experts);
    }
    s->gradient = gdfo_mem_array(s->n_floats, sizeof *s->gradient);
    s->z = gdfo_mem_array(popsize * (size_t)s->opts.intrinsic_dim, sizeof *s->z);
    s->losses = gdfo_mem_array(popsize, sizeof *s->losses);
    s->prompts = gdfo_mem_array(popsize * s->n_floats, sizeof *s->prompts);
    if (!s->start || !s->centre || (s->opts.n_experts > 0 && !s->experts) || !s->gradient ||
        !s->z || !s->losses || !s->prompts) {
        return gdfo_error_no_memory(err, "search");
    }
    status = gdfo_incumbent_init(&s->best, s->n_floats, n_lp, (size_t)s->env.train.n * s->n_anchors,
                                 err);
    return status == GDFO_STATUS_OK
               ? gdfo_incumbent_init(&s->plain, 0, n_lp, (size_t)s->env.train.n * s->n_anchors, err)
               : status;
}

static int wants_pupil(const struct gdfo_search_opts *o)
{
    return o->distill || o->gradient;
}

/* What moves the prompt. */
static enum gdfo_status build_search(struct gdfo_search *s, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (s->deep) {
        gdfo_evaluator_set_layers(s->evaluator, s->deep->ids + 1, s->deep->n - 1);
        return gdfo_deep_build(s, err);
    }
    status = gdfo_search_new_projection(s, err);
    if (status == GDFO_STATUS_OK && wants_pupil(&s->opts)) {
        status = gdfo_pupil_create(&s->pupil, &s->env, &s->opts, s->pupil_note, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_search_map_create(&s->map, s, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_yardstick_create(&s->yardstick, s, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_search_new_optimiser(s, s->env.seed, err) : status;
}

static enum gdfo_status build(struct gdfo_search *s, struct gdfo_error *err)
{
    int needs_anchors = s->opts.head == GDFO_SEARCH_HEAD_AUTO ||
                        s->opts.head == GDFO_SEARCH_HEAD_ANCHORS || s->opts.n_words > 1;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!s->env.teacher_model) {
        return gdfo_error_set(
            err, GDFO_STATUS_UNSUPPORTED,
            "the search needs the teacher's embedding matrix: an embedded teacher");
    }
    s->width = gdfo_model_config(s->env.teacher_model)->d_model;
    if (s->opts.is_deep) {
        status = gdfo_deep_plan(s, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_evaluator_create(&s->evaluator, &s->env,
                                       needs_anchors ? (uint32_t)s->opts.n_anchors : 0, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_evaluator_fake(s->evaluator, (enum gdfo_fake)s->opts.teacher_answers);
    (void)gdfo_evaluator_anchors(s->evaluator, &s->n_anchors);
    status = make_memory(s, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_search_committee_create(s, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = first_rows(s, err);
    }
    return status == GDFO_STATUS_OK ? build_search(s, err) : status;
}

/* What is left for less than two generations gets two smaller ones: 20 evals are worth a search
 * too. */
static void fit_popsize(struct gdfo_search *s)
{
    int64_t half = (s->caps.evals - 2 - gdfo_search_n_scouts(s)) / 2;
    if (s->caps.evals > 0 && half < s->opts.popsize) {
        s->opts.popsize = half < POPSIZE_MIN ? POPSIZE_MIN : half;
    }
}

enum gdfo_status gdfo_search_create(void **self, const struct gdfo_tune_env *env,
                                    const void *options, struct gdfo_error *err)
{
    struct gdfo_search *s = gdfo_mem_array(1, sizeof *s);
    enum gdfo_status status;
    if (!s) {
        return gdfo_error_no_memory(err, "search");
    }
    s->env = *env;
    s->opts = *(const struct gdfo_search_opts *)options;
    s->caps = env->budget;
    if (!gdfo_tune_budget_has_cap(&s->caps)) {
        s->caps.evals = EVALS_DEFAULT;
    }
    if (s->opts.student_alone) { /* what the switch means, whatever the others say */
        s->opts.distill = 0;
        s->opts.gradient = 1;
        s->opts.search = 0;
        s->opts.n_committee = 1;
        s->opts.n_cues = 1;
        s->opts.n_scouts = 0;
        s->opts.partner = 0;
    }
    s->scale = 1.0;
    s->env.stop_patience = env->stop_patience > 0 ? env->stop_patience : s->opts.patience;
    s->asked_popsize = s->opts.popsize;
    if (!s->opts.is_deep) { /* that has a rule of its own */
        fit_popsize(s);
    }
    status = build(s, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_search_destroy(s);
        return status;
    }
    memcpy(s->centre, s->start, s->n_floats * sizeof *s->centre);
    memcpy(s->gradient, s->start, s->n_floats * sizeof *s->gradient);
    *self = s;
    return GDFO_STATUS_OK;
}

void gdfo_search_destroy(void *self)
{
    struct gdfo_search *s = self;
    if (!s) {
        return;
    }
    gdfo_search_map_destroy(s->map);
    gdfo_yardstick_destroy(s->yardstick);
    gdfo_pupil_destroy(s->pupil);
    gdfo_optim_destroy(s->optim);
    gdfo_deep_destroy(s->deep);
    gdfo_words_deinit(&s->words);
    gdfo_projection_destroy(s->projection);
    gdfo_evaluator_destroy(s->evaluator);
    gdfo_incumbent_deinit(&s->best);
    gdfo_incumbent_deinit(&s->plain);
    gdfo_search_committee_destroy(s);
    gdfo_artefact_destroy(s->result);
    gdfo_mem_free(s->start);
    gdfo_mem_free(s->centre);
    gdfo_mem_free(s->gradient);
    gdfo_mem_free(s->experts);
    gdfo_mem_free(s->z);
    gdfo_mem_free(s->losses);
    gdfo_mem_free(s->prompts);
    gdfo_mem_free(s);
}

const struct gdfo_artefact *gdfo_search_result(const void *self)
{
    return ((const struct gdfo_search *)self)->result;
}

/* ---- calls -------------------------------------------------------------------------------------
 */

/* By the mean of what evals have cost so far; two of them kept in reserve. */
static int64_t evals_in_tokens(const struct gdfo_meter *m, int64_t cap, int64_t used)
{
    int64_t per_eval = used / (m->evals + m->dev_evals) + 1;
    return cap > 0 ? (cap - used) / per_eval - 2 : INT64_MAX;
}

/* One dev check is kept in reserve. */
int64_t gdfo_search_evals_left(const struct gdfo_search *s)
{
    const struct gdfo_meter *m = gdfo_stack_meter(s->env.stack);
    int64_t left = INT64_MAX;
    if (s->caps.evals > 0) {
        left = s->caps.evals - m->evals;
    }
    if (s->caps.queries > 0) {
        int64_t queries = s->caps.queries - m->queries - m->dev_queries - 2 * (int64_t)s->env.dev.n;
        int64_t by_queries = queries / (int64_t)s->env.train.n;
        left = by_queries < left ? by_queries : left;
    }
    if (m->evals > 0) {
        int64_t by_in = evals_in_tokens(m, s->caps.tokens_in, m->tokens_in);
        int64_t by_out = evals_in_tokens(m, s->caps.tokens_out, m->tokens_out);
        left = by_in < left ? by_in : left;
        left = by_out < left ? by_out : left;
    }
    return left < 0 ? 0 : left;
}

enum gdfo_status gdfo_search_try(struct gdfo_search *s, uint32_t n, struct gdfo_evaluation *e,
                                 struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_prompts p = {
        .rows = s->prompts, .n = n, .n_prompt_tokens = (uint32_t)s->opts.n_prompt_tokens};
    size_t n_lp = (size_t)s->env.train.n * gdfo_task_n_labels(s->env.task);
    enum gdfo_status status = gdfo_evaluate(s->evaluator, &p, GDFO_PURPOSE_TRAIN, e, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    s->n_parallel++;
    for (uint32_t i = 0; i < n; i++) {
        const float *anchors =
            e->anchors ? e->anchors + (size_t)i * s->env.train.n * s->n_anchors : NULL;
        double loss = gdfo_search_objective(s, e->lp + i * n_lp, anchors, err);
        s->losses[i] = loss;
        if (isfinite(loss) && (!s->best.is_set || loss < s->best.loss)) {
            gdfo_incumbent_set(&s->best, s->prompts + i * s->n_floats, e, i, loss);
        }
    }
    gdfo_report_metric_add(r, "loss_train", s->best.loss);
    return GDFO_STATUS_OK;
}

void gdfo_search_mean_prompt(struct gdfo_search *s, float *rows)
{
    struct gdfo_projection_input in = {.n = 1, .p0 = s->centre, .scale = s->scale};
    if (s->deep) {
        memcpy(rows, s->deep->current, s->n_floats * sizeof *rows);
        return;
    }
    in.z = gdfo_optim_view(s->optim).mean;
    gdfo_projection_apply(s->projection, &in, rows);
}

/* Whether there is a prompt beside the best one that is worth an eval of its own. */
static int has_mean(const struct gdfo_search *s)
{
    if (s->deep) {
        return s->generation > 0 &&
               memcmp(s->deep->current, s->best.rows, s->n_floats * sizeof(float)) != 0;
    }
    return s->opts.optimiser == GDFO_SEARCH_CMA && gdfo_optim_view(s->optim).generation > 0;
}

/* Judges the best prompt that no dev check has seen; then, for one more eval, the search's own
 * mean. */
static enum gdfo_status check(struct gdfo_search *s, struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_evaluation e = {0};
    struct gdfo_incumbent mean;
    enum gdfo_status status = GDFO_STATUS_OK;
    s->evals_at_check = gdfo_stack_meter(s->env.stack)->evals;
    if (has_mean(s) && gdfo_search_evals_left(s) > 0) {
        gdfo_search_mean_prompt(s, s->prompts);
        status = gdfo_incumbent_init(&mean, s->n_floats, s->best.n_lp, s->best.n_anchors, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_search_try(s, 1, &e, r, err);
        }
        if (status == GDFO_STATUS_OK && isfinite(s->losses[0]) && s->losses[0] > s->best.loss) {
            gdfo_incumbent_set(&mean, s->prompts, &e, 0, s->losses[0]);
            gdfo_report_metric_add(r, "loss_mean", s->losses[0]);
            status = gdfo_search_judge(s, &mean, r, err);
        }
        gdfo_incumbent_deinit(&mean);
    }
    if (status == GDFO_STATUS_OK && s->best.is_set && !s->best.is_checked) {
        r->n_metrics =
            r->n_metrics > GDFO_REPORT_METRICS_MAX - 4 ? GDFO_REPORT_METRICS_MAX - 4 : r->n_metrics;
        status = gdfo_search_judge(s, &s->best, r, err);
    }
    return status;
}

/* ---- stages ------------------------------------------------------------------------------------
 */

static int64_t distil_evals(const struct gdfo_search *s)
{
    int64_t all = s->caps.evals > 0 ? s->caps.evals : gdfo_search_evals_left(s);
    int64_t want =
        s->opts.distill_evals > 0 ? s->opts.distill_evals : (int64_t)(DISTIL_SHARE * (double)all);
    if (s->opts.schedule == GDFO_SCHEDULE_INTERLEAVED) {
        return INT64_MAX; /* one stage to the end */
    }
    want -= want % s->opts.popsize;
    return want < s->opts.popsize ? s->opts.popsize : want;
}

/* Only methods with a student have the switch (gdfo_opts.h); without one the search is all there
 * is. */
static void enter_search(struct gdfo_search *s)
{
    int has_switch = s->opts.distill_batch > 0;
    s->stage = s->opts.search || !has_switch ? GDFO_STAGE_SEARCH : GDFO_STAGE_DONE;
}

static enum gdfo_status try_start(struct gdfo_search *s, struct gdfo_report *r,
                                  struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_search_first_prompt(s, r, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_search_judge(s, &s->best, r, err);
    }
    if (status == GDFO_STATUS_OK && s->deep) {
        status = gdfo_deep_start(s, r, err);
    }
    if (status == GDFO_STATUS_OK && s->experts) {
        status = gdfo_search_experts_make(s, r, err);
        status = status == GDFO_STATUS_OK ? gdfo_search_experts_try(s, r, err) : status;
    }
    return status;
}

static void leave_start(struct gdfo_search *s)
{
    s->evals_at_distil_end = distil_evals(s);
    if (gdfo_search_n_scouts(s) > 0) { /* a scout that gains nothing says nothing of the search */
        s->n_checks_without_gain = 0;
    }
    if (s->map || (s->opts.distill && s->opts.distillation == GDFO_DISTILLATION_PUBLISHED)) {
        s->stage = GDFO_STAGE_DISTIL;
    } else if (s->opts.gradient) { /* repaired without a gradient is a search alone */
        s->stage = GDFO_STAGE_GRADIENT;
    } else {
        enter_search(s);
    }
}

/* What a user should know of this run, once. */
static void report_setting(const struct gdfo_search *s, struct gdfo_report *r)
{
    gdfo_fake_report((enum gdfo_fake)s->opts.teacher_answers, r);
    if (s->opts.popsize < s->asked_popsize) {
        gdfo_report_message_add(r, 0, "popsize_reduced",
                                "the budget allows generations of %lld, not %lld",
                                (long long)s->opts.popsize, (long long)s->asked_popsize);
    }
    if (s->pupil_note[0]) {
        gdfo_report_message_add(r, 0, "student", "%s", s->pupil_note);
    }
    if (s->env.is_same_model && s->opts.allow_same_student && s->pupil) {
        gdfo_report_message_add(r, 1, "student_is_teacher",
                                "the student is made from the teacher's own file");
    }
}

/* The plain prompt on the train rows, then its baselines. */
static enum gdfo_status start_plain(struct gdfo_search *s, struct gdfo_report *r,
                                    struct gdfo_error *err)
{
    struct gdfo_prompts plain = {.n = 1};
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = gdfo_evaluate(s->evaluator, &plain, GDFO_PURPOSE_TRAIN, &e, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    s->n_parallel++;
    if (e.n_truncated > 0) {
        gdfo_report_message_add(r, 1, "text_truncated",
                                "%u train texts were cut to the teacher's context", e.n_truncated);
    }
    gdfo_incumbent_set(&s->plain, NULL, &e, 0, gdfo_search_objective(s, e.lp, e.anchors, err));
    gdfo_report_metric_add(r, "loss_plain_train", s->plain.loss);
    if (s->partner) {
        gdfo_search_partner_report(s, r);
    }
    return gdfo_search_judge_plain(s, r, err);
}

static enum gdfo_status step_start(struct gdfo_search *s, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = start_plain(s, r, err);
    if (status == GDFO_STATUS_OK) {
        report_setting(s, r);
    }
    if (status == GDFO_STATUS_OK && gdfo_search_n_scouts(s) > 0) {
        s->stage = GDFO_STAGE_SCOUT;
        return status;
    }
    if (status == GDFO_STATUS_OK && !s->opts.student_alone && gdfo_search_evals_left(s) > 0) {
        status = s->opts.n_words > 1 ? gdfo_search_choose_words(s, r, err) : status;
        status = status == GDFO_STATUS_OK ? try_start(s, r, err) : status;
    }
    leave_start(s);
    return status;
}

/* Prompts for the committee alone, then the first rows of the search. */
static enum gdfo_status step_scout(struct gdfo_search *s, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    enum gdfo_status status;
    if (s->n_scouted < gdfo_search_n_scouts(s)) {
        status = gdfo_search_scout(s, s->n_scouted, r, err);
        s->n_scouted++;
        return status;
    }
    status = try_start(s, r, err);
    leave_start(s);
    return status;
}

void gdfo_search_report_generation(const struct gdfo_search *s, const struct gdfo_optim *o,
                                   uint32_t n, struct gdfo_report *r)
{
    double min = (double)INFINITY;
    double max = -(double)INFINITY;
    double sum = 0;
    uint32_t n_finite = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isfinite(s->losses[i])) {
            min = s->losses[i] < min ? s->losses[i] : min;
            max = s->losses[i] > max ? s->losses[i] : max;
            sum += s->losses[i];
            n_finite++;
        }
    }
    gdfo_report_metric_add(r, "loss_gen_min", min);
    gdfo_report_metric_add(r, "loss_gen_mean", n_finite > 0 ? sum / n_finite : (double)NAN);
    gdfo_report_metric_add(r, "loss_gen_max", max);
    gdfo_report_metric_add(r, "step_size", gdfo_optim_view(o).step_size);
    if (n_finite < n) {
        gdfo_report_message_add(r, 1, "loss_not_finite",
                                "%u of %u losses are not finite: ranked last", n - n_finite, n);
    }
}

static enum gdfo_status learn(struct gdfo_search *s, uint32_t n, const struct gdfo_evaluation *e,
                              struct gdfo_report *r, struct gdfo_error *err)
{
    double loss = (double)NAN;
    enum gdfo_status status = gdfo_pupil_learn(s->pupil, s->prompts, e->lp, n, &loss, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "loss_kd", loss);
    }
    return status;
}

/* Ask, evaluate in one call, tell; the student learns from the same answers. */
static enum gdfo_status generation(struct gdfo_search *s, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    uint32_t n = (uint32_t)s->opts.popsize;
    struct gdfo_projection_input in = {.z = s->z, .n = n, .p0 = s->centre, .scale = s->scale};
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = gdfo_optim_ask(s->optim, s->z, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_projection_apply(s->projection, &in, s->prompts);
    status = gdfo_search_try(s, n, &e, r, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_search_measure(s, n, r, err);
    }
    if (status == GDFO_STATUS_OK && s->stage == GDFO_STAGE_DISTIL) {
        status = learn(s, n, &e, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_optim_tell(s->optim, s->losses, err);
        s->generation++;
        gdfo_search_report_generation(s, s->optim, n, r);
    }
    if (status == GDFO_STATUS_OK && s->stage == GDFO_STAGE_DISTIL &&
        s->opts.schedule == GDFO_SCHEDULE_INTERLEAVED) {
        status = gdfo_search_interleave(s, r, err);
    }
    return status;
}

static int stops_early(const struct gdfo_search *s)
{
    return s->env.stop_patience > 0 && s->n_checks_without_gain >= s->env.stop_patience;
}

/* The least that the next step asks. */
static int64_t evals_of_step(const struct gdfo_search *s)
{
    int is_one = s->opts.student_alone || s->stage == GDFO_STAGE_SCOUT ||
                 (s->map && s->stage == GDFO_STAGE_DISTIL);
    return is_one ? 1 : s->opts.popsize;
}

static int has_room(const struct gdfo_search *s)
{
    return s->deep && s->stage != GDFO_STAGE_START ? gdfo_deep_has_room(s)
                                                   : gdfo_search_evals_left(s) >= evals_of_step(s);
}

static enum gdfo_status step_generation(struct gdfo_search *s, struct gdfo_report *r,
                                        struct gdfo_error *err)
{
    int64_t every = s->env.dev_every_evals > 0 ? s->env.dev_every_evals : CHECK_EVERY;
    enum gdfo_status status = s->stage == GDFO_STAGE_COORDINATE ? gdfo_deep_coordinates(s, r, err)
                              : s->deep                         ? gdfo_deep_generation(s, r, err)
                                                                : generation(s, r, err);
    const struct gdfo_meter *m = gdfo_stack_meter(s->env.stack);
    if (status == GDFO_STATUS_OK && (m->evals - s->evals_at_check >= every || !has_room(s))) {
        status = check(s, r, err);
    }
    if (s->deep && s->stage == GDFO_STAGE_SEARCH && s->opts.coordinate &&
        s->deep->evals_at_stage1_end - m->evals < s->opts.popsize) {
        s->stage = GDFO_STAGE_COORDINATE;
    }
    if (s->stage == GDFO_STAGE_DISTIL && m->evals >= s->evals_at_distil_end) {
        s->stage = GDFO_STAGE_GRADIENT;
        if (!s->opts.gradient) {
            enter_search(s); /* the stage's optimiser goes on */
        }
    }
    if (stops_early(s)) {
        s->stage = GDFO_STAGE_DONE;
        (void)snprintf(r->reason, sizeof r->reason, "early_stopped");
    }
    return status;
}

/* The repaired stage: a proposal of the student's at a time; then the search, around the best. */
static enum gdfo_status step_map(struct gdfo_search *s, struct gdfo_report *r,
                                 struct gdfo_error *err)
{
    int64_t every = s->env.dev_every_evals > 0 ? s->env.dev_every_evals : CHECK_EVERY;
    int is_over = 0;
    int64_t evals;
    enum gdfo_status status = gdfo_search_map_step(s, &is_over, r, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    evals = gdfo_stack_meter(s->env.stack)->evals;
    is_over = is_over || gdfo_search_evals_left(s) < 1;
    if (!s->best.is_checked && (is_over || evals - s->evals_at_check >= every)) {
        s->evals_at_check = evals;
        status = gdfo_search_judge(s, &s->best, r, err);
    }
    if (status == GDFO_STATUS_OK && is_over) {
        memcpy(s->centre, s->best.rows, s->n_floats * sizeof *s->centre);
        s->scale = s->opts.alpha_final / s->opts.alpha;
        status = gdfo_search_new_optimiser(s, s->env.seed + 1, err);
        enter_search(s);
    }
    if (stops_early(s)) {
        s->stage = GDFO_STAGE_DONE;
        (void)snprintf(r->reason, sizeof r->reason, "early_stopped");
    }
    return status;
}

static enum gdfo_status run_stage(struct gdfo_search *s, struct gdfo_report *r,
                                  struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    switch (s->stage) {
    case GDFO_STAGE_START: return step_start(s, r, err);
    case GDFO_STAGE_SCOUT: return step_scout(s, r, err);
    case GDFO_STAGE_DISTIL: return s->map ? step_map(s, r, err) : step_generation(s, r, err);
    case GDFO_STAGE_SEARCH:
    case GDFO_STAGE_COORDINATE: return step_generation(s, r, err);
    case GDFO_STAGE_GRADIENT:
        status = s->opts.student_alone ? gdfo_search_student_alone(s, r, err)
                                       : gdfo_search_gradient(s, r, err);
        if (status == GDFO_STATUS_OK) {
            enter_search(s);
        }
        return status;
    case GDFO_STAGE_DONE: break;
    }
    return GDFO_STATUS_OK;
}

static const char *stage_name(enum gdfo_search_stage stage)
{
    static const char *const names[] = {"start",  "scout",      "distil", "gradient",
                                        "search", "coordinate", "done"};
    return names[stage];
}

/* Ends when a further generation does not fit; a cap that the ledger enforced counts the same. */
enum gdfo_status gdfo_search_step(void *self, struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_search *s = self;
    enum gdfo_search_stage stage = s->stage;
    enum gdfo_status status = run_stage(s, r, err);
    int is_over = status == GDFO_STATUS_BUDGET && s->result != NULL;
    if (status != GDFO_STATUS_OK && !is_over) {
        return status;
    }
    gdfo_report_metric_add(r, "calls_parallel", (double)s->n_parallel);
    (void)snprintf(r->detail, sizeof r->detail, "%s, generation %lld", stage_name(stage),
                   (long long)s->generation);
    if (is_over || s->stage == GDFO_STAGE_DONE || !has_room(s)) {
        r->is_done = 1;
        if (r->reason[0] == '\0') {
            (void)snprintf(r->reason, sizeof r->reason, is_over ? "budget_exhausted" : "completed");
        }
    }
    return GDFO_STATUS_OK;
}
