#include "server/teacher/teacher.h"

#include "common/mem.h"
#include "server/teacher/exchange.h"

#include <math.h>
#include <string.h>

#define PROMPTS_MAX       1024
#define PROMPT_TOKENS_MAX 512
#define EXAMPLES_MAX      65536
#define FORMS_MAX         4096
#define LP_TOLERANCE      1e-3F /* a log-probability may exceed 0 by rounding, not by more */

struct gdfo_teacher {
    const struct gdfo_teacher_ops *ops;
    void *self;
    struct gdfo_teacher_caps caps;
};

static const struct gdfo_teacher_ops *find_adapter(const char *name)
{
    const struct gdfo_teacher_ops *ops = NULL;
    for (size_t i = 0; (ops = gdfo_teacher_adapter(i)) != NULL; i++) {
        if (strcmp(ops->name, name) == 0) {
            return ops;
        }
    }
    return gdfo_remote_find(name) ? &gdfo_teacher_remote_ops : NULL;
}

enum gdfo_status gdfo_teacher_open(struct gdfo_teacher **out, const char *adapter,
                                   const struct gdfo_teacher_env *env, struct gdfo_error *err)
{
    const struct gdfo_teacher_ops *ops = find_adapter(adapter);
    struct gdfo_teacher *t;
    enum gdfo_status status;
    if (!ops) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "teacher adapter \"%s\": this build has \"%s\"", adapter,
                              gdfo_teacher_adapter(0)->name);
    }
    t = gdfo_mem_array(1, sizeof *t);
    if (!t) {
        return gdfo_error_no_memory(err, "teacher");
    }
    t->ops = ops;
    status = ops->open(&t->self, env, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_mem_free(t);
        return status;
    }
    ops->probe(t->self, &t->caps);
    *out = t;
    return GDFO_STATUS_OK;
}

uint64_t gdfo_teacher_memory(const char *adapter, const struct gdfo_model_config *config,
                             const struct gdfo_teacher_env *env)
{
    const struct gdfo_teacher_ops *ops = find_adapter(adapter);
    return ops && ops->memory ? ops->memory(config, env) : 0;
}

void gdfo_teacher_close(struct gdfo_teacher *t)
{
    if (t) {
        t->ops->close(t->self);
        gdfo_mem_free(t);
    }
}

const struct gdfo_teacher_caps *gdfo_teacher_caps(const struct gdfo_teacher *t)
{
    return &t->caps;
}

enum gdfo_status gdfo_teacher_tokenize(const struct gdfo_teacher *t, struct gdfo_text text,
                                       struct gdfo_label_ids *out, struct gdfo_error *err)
{
    return t->ops->tokenize(t->self, text, out, err);
}

static enum gdfo_status check_layers(const struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                     struct gdfo_error *err)
{
    if (req->n_layer_ids > 0 && !t->caps.can_inject_layers) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "prompt rows at deeper layers: this teacher takes them at its input "
                              "alone");
    }
    for (uint32_t k = 0; k < req->n_layer_ids; k++) {
        if (req->layer_ids[k] <= (k > 0 ? req->layer_ids[k - 1] : 0) ||
            req->layer_ids[k] >= t->caps.n_layers) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "prompt rows at layer %u: want layers 1..%u, ascending",
                                  req->layer_ids[k], t->caps.n_layers - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_said(const struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                   struct gdfo_error *err)
{
    if (req->said && !t->caps.can_continue) {
        return gdfo_error_set(
            err, GDFO_STATUS_UNSUPPORTED,
            "an answer that has begun: this teacher answers from its first token");
    }
    if (req->want_logits && t->caps.n_logits == 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "this teacher gives no logits");
    }
    for (uint32_t b = 0; req->said && b < req->n_examples; b++) {
        if (req->said[b].n_ids > GDFO_LABEL_IDS_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "example %u begins its answer with %u tokens: at most %d", b,
                                  req->said[b].n_ids, GDFO_LABEL_IDS_MAX);
        }
    }
    return check_layers(t, req, err);
}

static enum gdfo_status check_counts(const struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                     struct gdfo_error *err)
{
    if (req->n_prompts < 1 || req->n_prompts > PROMPTS_MAX ||
        req->n_prompt_tokens > PROMPT_TOKENS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "%u prompts of %u rows: want 1..%d of 0..%d", req->n_prompts,
                              req->n_prompt_tokens, PROMPTS_MAX, PROMPT_TOKENS_MAX);
    }
    if (req->n_examples < 1 || req->n_examples > EXAMPLES_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%u examples in a call: want 1..%d",
                              req->n_examples, EXAMPLES_MAX);
    }
    if (req->n_forms < 1 || req->n_forms > FORMS_MAX || req->n_anchors > t->caps.max_anchors) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "%u label forms and %u anchors: at most %d and %u", req->n_forms,
                              req->n_anchors, FORMS_MAX, t->caps.max_anchors);
    }
    if (req->n_prompt_tokens > 0 && t->caps.soft == GDFO_SOFT_NONE) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher takes no soft prompt rows");
    }
    if (req->is_added && !t->caps.is_masked) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "prompt rows that are added to placeholders: this teacher is no "
                              "masked language model");
    }
    if (req->want_hidden && !t->caps.has_hidden) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "this teacher gives no hidden states");
    }
    if (req->n_prompt_tokens > 0 && req->d_model != t->caps.d_model) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "prompt rows of width %u: this teacher has %u", req->d_model,
                              t->caps.d_model);
    }
    return check_said(t, req, err);
}

static enum gdfo_status check_request(const struct gdfo_teacher *t,
                                      const struct gdfo_score_req *req, struct gdfo_error *err)
{
    enum gdfo_status status = check_counts(t, req, err);
    size_t n_floats = req->n_prompts * gdfo_score_req_prompt_floats(req);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n_floats; i++) {
        if (!isfinite(req->rows[i])) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                    "prompt number %zu is not finite: a teacher never sees it", i);
        }
    }
    return status;
}

enum gdfo_status gdfo_teacher_measure(struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                      struct gdfo_usage *worst, struct gdfo_error *err)
{
    enum gdfo_status status = check_counts(t, req, err);
    return status == GDFO_STATUS_OK ? t->ops->measure(t->self, req, worst, err) : status;
}

/* Non-finite and positive log-probabilities are the teacher's fault, never a number for the
 * optimiser. */
static enum gdfo_status check_answer(const float *lp, size_t n, struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(lp[i]) || lp[i] > LP_TOLERANCE) {
            return gdfo_error_set(err, GDFO_STATUS_UPSTREAM,
                                  "the teacher answered log-probability %g in cell %zu",
                                  (double)lp[i], i);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_finite(const float *v, size_t n, const char *what,
                                     struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            return gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "the teacher answered %g in %s %zu",
                                  (double)v[i], what, i);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_teacher_run(struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                  struct gdfo_score_res *res, struct gdfo_error *err)
{
    size_t n_cells = (size_t)req->n_prompts * req->n_examples;
    enum gdfo_status status = check_request(t, req, err);
    if (status == GDFO_STATUS_OK) {
        status = t->ops->run(t->self, req, res, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_answer(res->lp, n_cells * req->n_forms, err);
    }
    if (status == GDFO_STATUS_OK && req->n_anchors > 0) {
        status = check_answer(res->anchor_lp, n_cells * req->n_anchors, err);
    }
    if (status == GDFO_STATUS_OK && req->want_hidden) {
        status = check_finite(res->hidden, n_cells * t->caps.d_model, "hidden state number", err);
    }
    if (status == GDFO_STATUS_OK && req->want_logits) {
        status = check_finite(res->logits, n_cells * t->caps.n_logits, "logit", err);
    }
    return status;
}

enum gdfo_status gdfo_teacher_layer_std(struct gdfo_teacher *t, const struct gdfo_score_req *req,
                                        double *std, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (!t->ops->layer_std) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher shows nothing of its hidden states");
    }
    status = check_request(t, req, err);
    if (status == GDFO_STATUS_OK) {
        status = t->ops->layer_std(t->self, req, std, err);
    }
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < req->n_layer_ids; k++) {
        if (!isfinite(std[k]) || std[k] < 0) {
            status = gdfo_error_set(err, GDFO_STATUS_UPSTREAM,
                                    "the hidden states before layer %u spread by %g",
                                    req->layer_ids[k], std[k]);
        }
    }
    return status;
}
