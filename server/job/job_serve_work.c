#include "common/mem.h"
#include "server/job/job_serve_priv.h"

#include <string.h>

#define BLOCK_EXAMPLES 64u
#define BLOCK_CELLS    256u

/* Zeroed: when nothing is asked of the vocabulary, one id still has to be. */
static const int32_t any_id[1];

void gdfo_serve_work_deinit(struct gdfo_serve_work *work)
{
    gdfo_mem_free(work->lp);
    gdfo_mem_free(work->hidden);
    gdfo_mem_free(work->logits);
    gdfo_mem_free(work->tokens_used);
    gdfo_mem_free(work->tokens_cached);
}

/* Everything of the request but prompts and examples. */
static enum gdfo_status common_part(const struct gdfo_serve_ask *ask, struct gdfo_label_ids **forms,
                                    struct gdfo_score_req *req, struct gdfo_error *err)
{
    const int32_t *ids = ask->n_labels > 0 ? ask->label_ids : any_id;
    *req = (struct gdfo_score_req){.n_prompt_tokens = ask->n_prompt_tokens,
                                   .d_model = ask->d_model,
                                   .position = ask->position,
                                   .cue = ask->cue,
                                   .n_forms = ask->n_labels > 0 ? ask->n_labels : 1,
                                   .want_hidden = ask->want_hidden,
                                   .want_logits = ask->want_logits};
    *forms = gdfo_mem_array(req->n_forms, sizeof **forms);
    if (!*forms) {
        return gdfo_error_no_memory(err, "label ids");
    }
    for (uint32_t i = 0; i < req->n_forms; i++) {
        (*forms)[i] = (struct gdfo_label_ids){.ids = {ids[i]}, .n_ids = 1};
    }
    req->forms = *forms;
    return GDFO_STATUS_OK;
}

/* n_prompts prompts from `prompt` on, n_examples examples from `example` on. */
static struct gdfo_score_req part_of(const struct gdfo_serve_ask *ask,
                                     const struct gdfo_score_req *common, uint32_t prompt,
                                     uint32_t n_prompts, uint32_t example, uint32_t n_examples)
{
    struct gdfo_score_req req = *common;
    if (ask->n_prompt_tokens > 0) {
        req.rows = ask->rows + (size_t)prompt * ask->n_prompt_tokens * ask->d_model;
    }
    req.n_prompts = n_prompts;
    req.bodies = ask->bodies + example;
    req.said = ask->said ? ask->said + example : NULL;
    req.n_examples = n_examples;
    return req;
}

/* Usage of each example by the teacher's own measure; what it shares between examples (the rows'
 * KV, in prefix position) is new with the first. */
static enum gdfo_status count_tokens(struct gdfo_serve_work *work, struct gdfo_teacher *teacher,
                                     const struct gdfo_score_req *common, struct gdfo_error *err)
{
    const struct gdfo_serve_ask *ask = work->ask;
    const int shares_rows = ask->position == GDFO_POSITION_PREFIX && ask->n_prompt_tokens > 0;
    for (uint32_t b = 0; b < ask->n_examples; b++) {
        const struct gdfo_score_req req = part_of(ask, common, 0, ask->n_prompts, b, 1);
        struct gdfo_usage usage = {0};
        enum gdfo_status status = gdfo_teacher_measure(teacher, &req, &usage, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        usage.tokens_cached +=
            shares_rows && b > 0 ? (int64_t)ask->n_prompts * ask->n_prompt_tokens : 0;
        work->tokens_used[b] = (int32_t)usage.tokens_in; /* at most 64 x 4,096 */
        work->tokens_cached[b] = (int32_t)usage.tokens_cached;
    }
    return GDFO_STATUS_OK;
}

/* A block of whole prompts, or of examples of one: its cells stand together in the answer. */
static enum gdfo_status run_block(struct gdfo_serve_work *work, struct gdfo_teacher *teacher,
                                  const struct gdfo_score_req *req, size_t first_cell,
                                  struct gdfo_error *err)
{
    const struct gdfo_serve_ask *ask = work->ask;
    struct gdfo_score_res res = {.lp = work->lp + first_cell * req->n_forms};
    enum gdfo_status status;
    if (ask->want_hidden) {
        res.hidden = work->hidden + first_cell * ask->d_model;
    }
    if (ask->want_logits) {
        res.logits = work->logits + first_cell * gdfo_teacher_caps(teacher)->n_logits;
    }
    status = gdfo_teacher_run(teacher, req, &res, err);
    if (status == GDFO_STATUS_OK && first_cell < ask->n_examples) { /* texts are cut alike */
        work->answer.n_truncated += res.n_truncated;
    }
    return status;
}

static enum gdfo_status run_blocks(struct gdfo_serve_work *work, struct gdfo_teacher *teacher,
                                   const struct gdfo_score_req *common, struct gdfo_error *err)
{
    const struct gdfo_serve_ask *ask = work->ask;
    const uint32_t step_b = ask->n_examples < BLOCK_EXAMPLES ? ask->n_examples : BLOCK_EXAMPLES;
    const uint32_t step_c = ask->n_examples <= BLOCK_EXAMPLES ? BLOCK_CELLS / step_b : 1;
    for (uint32_t c = 0; c < ask->n_prompts; c += step_c) {
        for (uint32_t b = 0; b < ask->n_examples; b += step_b) {
            uint32_t n_c = ask->n_prompts - c < step_c ? ask->n_prompts - c : step_c;
            uint32_t n_b = ask->n_examples - b < step_b ? ask->n_examples - b : step_b;
            const struct gdfo_score_req req = part_of(ask, common, c, n_c, b, n_b);
            enum gdfo_status status;
            if (atomic_load(work->stop)) {
                return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "the daemon is stopping");
            }
            status = run_block(work, teacher, &req, (size_t)c * ask->n_examples + b, err);
            if (status != GDFO_STATUS_OK) {
                return status;
            }
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status reserve(struct gdfo_serve_work *work, uint32_t n_forms, uint32_t n_logits,
                                struct gdfo_error *err)
{
    const struct gdfo_serve_ask *ask = work->ask;
    const size_t n = (size_t)ask->n_prompts * ask->n_examples;
    work->lp = gdfo_mem_array(n * n_forms, sizeof *work->lp);
    work->tokens_used = gdfo_mem_array(ask->n_examples, sizeof *work->tokens_used);
    work->tokens_cached = gdfo_mem_array(ask->n_examples, sizeof *work->tokens_cached);
    work->hidden = ask->want_hidden ? gdfo_mem_array(n * ask->d_model, sizeof(float)) : NULL;
    work->logits = ask->want_logits ? gdfo_mem_array(n * n_logits, sizeof(float)) : NULL;
    if (!work->lp || !work->tokens_used || !work->tokens_cached ||
        (ask->want_hidden && !work->hidden) || (ask->want_logits && !work->logits)) {
        return gdfo_error_no_memory(err, "an answer");
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_serve_work_run(struct gdfo_serve_work *work, struct gdfo_teacher *teacher,
                                     struct gdfo_error *err)
{
    struct gdfo_label_ids *forms = NULL;
    struct gdfo_score_req common;
    enum gdfo_status status = common_part(work->ask, &forms, &common, err);
    if (status == GDFO_STATUS_OK) {
        status = reserve(work, common.n_forms, gdfo_teacher_caps(teacher)->n_logits, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = count_tokens(work, teacher, &common, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = run_blocks(work, teacher, &common, err);
    }
    if (status == GDFO_STATUS_OK) {
        work->answer.lp = work->ask->n_labels > 0 ? work->lp : NULL;
        work->answer.hidden = work->hidden;
        work->answer.logits = work->logits;
        work->answer.tokens_used = work->tokens_used;
        work->answer.tokens_cached = work->tokens_cached;
    }
    gdfo_mem_free(forms);
    return status;
}
