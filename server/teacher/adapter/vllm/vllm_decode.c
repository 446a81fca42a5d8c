#include "server/teacher/adapter/vllm/vllm_priv.h"

#include <stdio.h>
#include <string.h>

#define CHOICE_VALUES 64 /* of JSON, around a choice's labels */
#define LABEL_VALUES  32 /* of one label of chat: its name's bytes one by one */

enum gdfo_verdict gdfo_vllm_find(const struct gdfo_json *top, int32_t id, float *lp, uint8_t *flag,
                                 struct gdfo_error *err)
{
    const struct gdfo_json *found = NULL;
    double said = 0;
    char key[24];
    GDFO_IGNORE(snprintf(key, sizeof key, "token_id:%d", id));
    if (gdfo_json_type(top) == GDFO_JSON_OBJECT) {
        found = gdfo_json_get(top, key);
    } else {
        for (const struct gdfo_json *v = gdfo_json_first(top); v; v = gdfo_json_next(v)) {
            const char *token = gdfo_answer_str(v, "token");
            if (!token || strcmp(token, key) != 0) {
                continue;
            }
            if (found) {
                return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "label %d stands twice", id);
            }
            found = gdfo_answer_get(v, "logprob", GDFO_JSON_NUMBER);
            if (!found) {
                break;
            }
        }
    }
    if (!found) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                 "no log-probability of label %d: the server ignores "
                                 "logprob_token_ids",
                                 id);
    }
    return gdfo_json_number(found, &said) && gdfo_answer_lp(said, lp, flag)
               ? GDFO_VERDICT_OK
               : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "label %d: %g is no log-probability", id,
                                   said);
}

enum gdfo_verdict gdfo_vllm_choice(const struct gdfo_json *root, size_t n, size_t index,
                                   const struct gdfo_json **out, struct gdfo_error *err)
{
    const struct gdfo_json *choices = gdfo_answer_get(root, "choices", GDFO_JSON_ARRAY);
    *out = NULL;
    if (!choices || gdfo_json_size(choices) != n) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "%zu choices, asked for %zu",
                                 choices ? gdfo_json_size(choices) : 0, n);
    }
    for (const struct gdfo_json *c = gdfo_json_first(choices); c; c = gdfo_json_next(c)) {
        int64_t its = 0;
        if (gdfo_answer_count(c, "index", &its) && (uint64_t)its == index) {
            if (*out) {
                return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "choice %zu stands twice", index);
            }
            *out = c;
        }
    }
    return *out ? GDFO_VERDICT_OK
                : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "no choice %zu", index);
}

const struct gdfo_json *gdfo_vllm_top(const struct gdfo_json *choice, int is_chat)
{
    const struct gdfo_json *logprobs = gdfo_answer_get(choice, "logprobs", GDFO_JSON_OBJECT);
    const struct gdfo_json *list;
    const struct gdfo_json *first;
    if (is_chat) {
        list = gdfo_answer_get(logprobs, "content", GDFO_JSON_ARRAY);
        return gdfo_answer_get(gdfo_answer_at(list, 0), "top_logprobs", GDFO_JSON_ARRAY);
    }
    list = gdfo_answer_get(logprobs, "top_logprobs", GDFO_JSON_ARRAY);
    first = gdfo_answer_at(list, 0);
    return first && gdfo_json_type(first) == GDFO_JSON_OBJECT ? first : NULL;
}

static enum gdfo_verdict fill_cell(const struct gdfo_remote_block *b, struct gdfo_vllm_cell cell,
                                   const struct gdfo_json *top, struct gdfo_remote_cells *cells,
                                   struct gdfo_error *err)
{
    const uint32_t node = b->first_node + cell.node;
    const size_t at = gdfo_answer_cell(b, cell.prompt, cell.example, cell.node);
    enum gdfo_verdict verdict = GDFO_VERDICT_OK;
    if (!top) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "a choice without log-probabilities");
    }
    for (uint32_t i = 0; i < gdfo_remote_n_asked(b, node) && verdict == GDFO_VERDICT_OK; i++) {
        verdict = gdfo_vllm_find(top, gdfo_remote_asked(b, node, i), &cells->lp[at + i],
                                 &cells->flags[at + i], err);
    }
    return verdict;
}

/* Positions that were sent, and which texts were cut for it. */
static enum gdfo_verdict count_sent(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b,
                                    struct gdfo_remote_cells *cells, int64_t *n,
                                    struct gdfo_error *err)
{
    struct gdfo_error why = {0};
    *n = 0;
    for (uint32_t e = 0; e < b->n_examples; e++) {
        for (uint32_t k = 0; k < b->n_nodes; k++) {
            struct gdfo_layout l = {0};
            enum gdfo_status status =
                gdfo_layout_make(&l, setup, b, b->first_example + e, b->first_node + k, &why);
            *n += (int64_t)(l.head.n + b->req->n_prompt_tokens + l.tail.n) * b->n_prompts;
            if (l.is_cut && cells->truncated) {
                cells->truncated[e] = 1;
            }
            gdfo_layout_deinit(&l);
            if (status != GDFO_STATUS_OK) {
                return gdfo_answer_fault(err, GDFO_VERDICT_RETRY, "%.400s", why.text);
            }
        }
    }
    return GDFO_VERDICT_OK;
}

/* What the server billed must be what we sent: it may have cut, or read something else. */
static enum gdfo_verdict read_usage(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, const struct gdfo_json *root,
                                    struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const struct gdfo_json *usage = gdfo_answer_get(root, "usage", GDFO_JSON_OBJECT);
    const struct gdfo_json *details =
        gdfo_answer_get(usage, "prompt_tokens_details", GDFO_JSON_OBJECT);
    const int is_chat = (setup->profile->route & GDFO_VLLM_CHAT) != 0;
    int64_t said = 0;
    int64_t sent = b->req->n_prompt_tokens;
    if (!gdfo_answer_count(usage, "prompt_tokens", &said)) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "an answer without usage.prompt_tokens");
    }
    if (!is_chat && count_sent(setup, b, cells, &sent, err) != GDFO_VERDICT_OK) {
        return GDFO_VERDICT_RETRY;
    }
    if (is_chat ? said < sent : said != sent) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "%lld positions billed, %lld sent",
                                 (long long)said, (long long)sent);
    }
    cells->usage.tokens_in = said;
    (void)gdfo_answer_count(usage, "completion_tokens", &cells->usage.tokens_out);
    (void)gdfo_answer_count(details, "cached_tokens", &cells->usage.tokens_cached);
    return cells->usage.tokens_cached <= said
               ? GDFO_VERDICT_OK
               : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "more positions cached than there are");
}

static enum gdfo_verdict read_root(const struct gdfo_remote_setup *setup,
                                   const struct gdfo_remote_block *b, const struct gdfo_json *root,
                                   struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const char *model = gdfo_answer_str(root, "model");
    const int is_chat = (setup->profile->route & GDFO_VLLM_CHAT) != 0;
    const size_t n = gdfo_exchange_cells(b);
    enum gdfo_verdict verdict = GDFO_VERDICT_OK;
    if (!model || (setup->profile->model[0] && strcmp(model, setup->profile->model) != 0)) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer is of another model");
    }
    for (size_t i = 0; i < n && verdict == GDFO_VERDICT_OK; i++) {
        const struct gdfo_json *choice = NULL;
        verdict = gdfo_vllm_choice(root, n, i, &choice, err);
        if (verdict == GDFO_VERDICT_OK) {
            verdict =
                fill_cell(b, gdfo_vllm_cell_at(b, i), gdfo_vllm_top(choice, is_chat), cells, err);
        }
    }
    return verdict == GDFO_VERDICT_OK ? read_usage(setup, b, root, cells, err) : verdict;
}

enum gdfo_verdict gdfo_vllm_decode(const struct gdfo_remote_setup *setup,
                                   const struct gdfo_remote_block *b,
                                   const struct gdfo_exchange_answer *a,
                                   struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const size_t n_values =
        (CHOICE_VALUES + (size_t)LABEL_VALUES * GDFO_VLLM_IDS_MAX) * gdfo_exchange_cells(b);
    struct gdfo_json *root = NULL;
    enum gdfo_verdict verdict;
    gdfo_answer_clear(b, cells);
    verdict = gdfo_answer_json(&root, a, n_values, err);
    if (verdict == GDFO_VERDICT_OK) {
        gdfo_answer_id(a, root, cells);
        verdict = read_root(setup, b, root, cells, err);
    }
    gdfo_json_destroy(root);
    return verdict;
}
