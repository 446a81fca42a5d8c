#include "server/tune/evaluate.h"

#include "common/hash.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/task/task.h"

#include <string.h>

#define ANSWER_FLOATS_MAX                                                                          \
    ((size_t)16 << 20) /* of one call: bounds memory and the ledger's blobs                        \
                        */

struct gdfo_evaluator {
    const struct gdfo_tune_env *env;
    int32_t *anchor_ids;
    uint32_t n_anchors;
    enum gdfo_fake fake;
    const uint32_t *layer_ids; /* of every soft prompt; NULL: none */
    uint32_t n_layer_ids;
    const struct gdfo_words *words;
    float *form_lp, *lp, *anchors, *hidden;
    size_t form_cap, lp_cap, anchors_cap, hidden_cap;
};

static int is_taken(const int32_t *ids, uint32_t n, int32_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == id) {
            return 1;
        }
    }
    return 0;
}

static enum gdfo_status draw_anchors(struct gdfo_evaluator *e, uint32_t n, struct gdfo_error *err)
{
    const struct gdfo_tokenizer *t = gdfo_model_tokenizer(e->env->teacher_model);
    uint32_t vocab = gdfo_model_config(e->env->teacher_model)->vocab;
    struct gdfo_rng rng = gdfo_rng_stream(e->env->seed, "anchors");
    n = n < vocab / 2 ? n : vocab / 2;
    e->anchor_ids = gdfo_mem_array(n, sizeof *e->anchor_ids);
    if (!e->anchor_ids) {
        return gdfo_error_no_memory(err, "anchor tokens");
    }
    for (uint32_t tries = 0; e->n_anchors < n && tries < 64 * (n + 1); tries++) {
        int32_t id = (int32_t)gdfo_rng_below(&rng, vocab);
        if (!gdfo_tokenizer_is_control(t, id) && !is_taken(e->anchor_ids, e->n_anchors, id)) {
            e->anchor_ids[e->n_anchors++] = id;
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_evaluator_create(struct gdfo_evaluator **out, const struct gdfo_tune_env *env,
                                       uint32_t n_anchors, struct gdfo_error *err)
{
    struct gdfo_evaluator *e = gdfo_mem_array(1, sizeof *e);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!e) {
        return gdfo_error_no_memory(err, "evaluator");
    }
    e->env = env;
    if (n_anchors > 0 && env->teacher_model) {
        status = draw_anchors(e, n_anchors, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_evaluator_destroy(e);
        return status;
    }
    *out = e;
    return GDFO_STATUS_OK;
}

void gdfo_evaluator_destroy(struct gdfo_evaluator *e)
{
    if (e) {
        gdfo_mem_free(e->anchor_ids);
        gdfo_mem_free(e->form_lp);
        gdfo_mem_free(e->lp);
        gdfo_mem_free(e->anchors);
        gdfo_mem_free(e->hidden);
        gdfo_mem_free(e);
    }
}

void gdfo_evaluator_fake(struct gdfo_evaluator *e, enum gdfo_fake kind)
{
    e->fake = kind;
}

const int32_t *gdfo_evaluator_anchors(const struct gdfo_evaluator *e, uint32_t *n)
{
    *n = e->n_anchors;
    return e->anchor_ids;
}

static int grow(float **array, size_t *cap, size_t want)
{
    void *p = *array;
    int ok = gdfo_mem_grow(&p, cap, want, sizeof(float));
    *array = p;
    return ok;
}

static uint32_t width_of(const struct gdfo_evaluator *e)
{
    return gdfo_teacher_caps(gdfo_stack_teacher(e->env->stack))->d_model;
}

static enum gdfo_status reserve(struct gdfo_evaluator *e, const struct gdfo_question *q,
                                struct gdfo_error *err)
{
    size_t n_cells = (size_t)q->prompts.n * q->n;
    size_t n_labels = gdfo_task_n_labels(e->env->task);
    if (!grow(&e->form_lp, &e->form_cap, n_cells * e->env->n_forms) ||
        !grow(&e->lp, &e->lp_cap, n_cells * n_labels) ||
        !grow(&e->anchors, &e->anchors_cap, n_cells * e->n_anchors + 1) ||
        !grow(&e->hidden, &e->hidden_cap, (q->want_hidden ? n_cells * width_of(e) : 0) + 1)) {
        return gdfo_error_no_memory(err, "answers");
    }
    return GDFO_STATUS_OK;
}

void gdfo_evaluator_set_layers(struct gdfo_evaluator *e, const uint32_t *ids, uint32_t n_layer_ids)
{
    e->layer_ids = ids;
    e->n_layer_ids = n_layer_ids;
}

void gdfo_evaluator_set_words(struct gdfo_evaluator *e, const struct gdfo_words *words)
{
    e->words = words;
}

static enum gdfo_status hear_cancel(const struct gdfo_tune_env *env, struct gdfo_error *err)
{
    if (env->cancel && atomic_load_explicit(env->cancel, memory_order_acquire)) {
        return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "stopped before the next call");
    }
    return GDFO_STATUS_OK;
}

/* One call: prompts first..first+n-1 on all texts. */
static enum gdfo_status ask_chunk(struct gdfo_evaluator *e, const struct gdfo_question *q,
                                  uint32_t first, uint32_t n, struct gdfo_score_res *res,
                                  struct gdfo_error *err)
{
    const struct gdfo_tune_env *env = e->env;
    const size_t before = (size_t)first * q->n;
    uint32_t d = width_of(e);
    struct gdfo_score_req req = {.n_prompts = n,
                                 .n_prompt_tokens = q->prompts.n_prompt_tokens,
                                 .d_model = d,
                                 .position = env->position,
                                 .is_added = env->is_added,
                                 .bodies = q->bodies,
                                 .n_examples = q->n,
                                 .cue = q->cue,
                                 .forms = env->forms,
                                 .n_forms = env->n_forms,
                                 .form_texts = env->form_texts,
                                 .anchor_ids = e->anchor_ids,
                                 .n_anchors = e->n_anchors,
                                 .want_hidden = q->want_hidden};
    enum gdfo_status status;
    if (q->prompts.n_prompt_tokens > 0) {
        req.layer_ids = e->layer_ids;
        req.n_layer_ids = e->n_layer_ids;
        req.rows = q->prompts.rows + first * gdfo_score_req_prompt_floats(&req);
    }
    status = hear_cancel(env, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    res->lp = e->form_lp + before * env->n_forms;
    res->anchor_lp = e->anchors + before * e->n_anchors;
    res->hidden = q->want_hidden ? e->hidden + before * d : NULL;
    return gdfo_stack_score(env->stack, &req, q->purpose, res, err);
}

/* The prompts' answers, each under its cue, become worthless. */
static enum gdfo_status falsify(struct gdfo_evaluator *e, const struct gdfo_question *q,
                                struct gdfo_error *err)
{
    size_t n_labels = gdfo_task_n_labels(e->env->task);
    size_t d = width_of(e);
    size_t n_floats = q->prompts.n_prompt_tokens * d;
    uint64_t seed = e->env->seed ^ gdfo_crc32c(0, q->cue.s, q->cue.n);
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < q->prompts.n; i++) {
        struct gdfo_fake_answers a = {.lp = e->lp + i * q->n * n_labels,
                                      .anchors = e->anchors + i * q->n * e->n_anchors,
                                      .hidden = q->want_hidden ? e->hidden + i * q->n * d : NULL,
                                      .n = q->n,
                                      .n_labels = n_labels,
                                      .n_anchors = e->n_anchors,
                                      .d_model = q->want_hidden ? d : 0};
        const float *rows = n_floats > 0 ? q->prompts.rows + i * n_floats : NULL;
        status = gdfo_fake_answer(&a, e->fake, seed, rows, n_floats, err);
    }
    return status;
}

enum gdfo_status gdfo_evaluator_ask(struct gdfo_evaluator *e, const struct gdfo_question *q,
                                    struct gdfo_evaluation *out, struct gdfo_error *err)
{
    size_t width = e->env->n_forms + e->n_anchors + (q->want_hidden ? width_of(e) : 0);
    size_t most = ANSWER_FLOATS_MAX / (q->n > 0 ? q->n * width : 1);
    uint32_t chunk = most < 1 ? 1 : most > q->prompts.n ? q->prompts.n : (uint32_t)most;
    enum gdfo_status status = reserve(e, q, err);
    out->n_truncated = 0;
    for (uint32_t first = 0; status == GDFO_STATUS_OK && first < q->prompts.n; first += chunk) {
        uint32_t n = q->prompts.n - first < chunk ? q->prompts.n - first : chunk;
        struct gdfo_score_res res = {0};
        status = ask_chunk(e, q, first, n, &res, err);
        out->n_truncated = res.n_truncated;
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_task_combine(e->env->task, e->form_lp, (size_t)q->prompts.n * q->n, e->lp);
        out->lp = e->lp;
        out->anchors = e->n_anchors > 0 ? e->anchors : NULL;
        out->hidden = q->want_hidden ? e->hidden : NULL;
        if (e->words) {
            gdfo_words_apply(e->words, e->lp, e->anchors, e->n_anchors,
                             (size_t)q->prompts.n * q->n);
        }
    }
    return status == GDFO_STATUS_OK && e->fake != GDFO_FAKE_REAL ? falsify(e, q, err) : status;
}

enum gdfo_status gdfo_evaluate(struct gdfo_evaluator *e, const struct gdfo_prompts *prompts,
                               enum gdfo_purpose purpose, struct gdfo_evaluation *out,
                               struct gdfo_error *err)
{
    const struct gdfo_tune_env *env = e->env;
    const struct gdfo_tune_set *set = purpose == GDFO_PURPOSE_TRAIN ? &env->train : &env->dev;
    struct gdfo_question q = {
        .prompts = *prompts,
        .cue = prompts->cue ? (struct gdfo_text){prompts->cue, strlen(prompts->cue)} : env->cue,
        .bodies = set->bodies,
        .n = set->n,
        .purpose = purpose};
    return gdfo_evaluator_ask(e, &q, out, err);
}

enum gdfo_status gdfo_evaluate_layer_std(struct gdfo_evaluator *e, const float *rows,
                                         uint32_t n_prompt_tokens, double *std,
                                         struct gdfo_error *err)
{
    const struct gdfo_tune_env *env = e->env;
    struct gdfo_score_req req = {.rows = rows,
                                 .n_prompts = 1,
                                 .n_prompt_tokens = n_prompt_tokens,
                                 .d_model =
                                     gdfo_teacher_caps(gdfo_stack_teacher(env->stack))->d_model,
                                 .position = env->position,
                                 .is_added = env->is_added,
                                 .bodies = env->train.bodies,
                                 .n_examples = env->train.n,
                                 .cue = env->cue,
                                 .forms = env->forms,
                                 .n_forms = env->n_forms,
                                 .layer_ids = e->layer_ids,
                                 .n_layer_ids = e->n_layer_ids};
    enum gdfo_status status = hear_cancel(env, err);
    return status == GDFO_STATUS_OK ? gdfo_stack_layer_std(env->stack, &req, std, err) : status;
}
