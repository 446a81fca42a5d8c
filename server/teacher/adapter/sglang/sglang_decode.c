#include "server/teacher/adapter/sglang/sglang_priv.h"

#include <math.h>
#include <string.h>

#define P_MIN     1e-30 /* teachers.md 3.4: the floor of a probability */
#define ID_VALUES 8     /* of JSON, for a label of an item */
#define ITEM_ROOM 64

/* Which value of the cells each value of an item is: its id's column in what was asked. */
static size_t column_of(const struct gdfo_ids *ids, int32_t id)
{
    size_t c = 0;
    while (c < ids->n && ids->data[c] != id) {
        c++;
    }
    return c;
}

static enum gdfo_verdict read_p(const struct gdfo_json *v, float *lp, uint8_t *flag,
                                struct gdfo_error *err)
{
    double p = -1;
    if (!v || !gdfo_json_number(v, &p) || p < 0) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "a score that is no probability");
    }
    if (!gdfo_answer_lp(log(p > P_MIN ? p : P_MIN), lp, flag)) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "a score of %g, at most 1", p);
    }
    *flag = p > P_MIN ? *flag : GDFO_CELL_FLOORED;
    return GDFO_VERDICT_OK;
}

static enum gdfo_verdict read_scores(const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                     const struct gdfo_json *root, struct gdfo_remote_cells *cells,
                                     struct gdfo_error *err)
{
    const struct gdfo_json *scores = gdfo_answer_get(root, "scores", GDFO_JSON_ARRAY);
    const struct gdfo_json *item = scores ? gdfo_json_first(scores) : NULL;
    const size_t n = gdfo_exchange_cells(b);
    enum gdfo_verdict verdict = GDFO_VERDICT_OK;
    size_t at = 0;
    if (!scores || gdfo_json_size(scores) != n) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "%zu items scored, asked for %zu",
                                 scores ? gdfo_json_size(scores) : 0, n);
    }
    for (size_t cell = 0; cell < n; cell++, item = gdfo_json_next(item)) {
        const uint32_t node = b->first_node + (uint32_t)(cell % b->n_nodes);
        if (gdfo_json_type(item) != GDFO_JSON_ARRAY || gdfo_json_size(item) != ids->n) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "an item without its %zu scores",
                                     ids->n);
        }
        for (uint32_t i = 0; i < gdfo_remote_n_asked(b, node); i++, at++) {
            const size_t column = column_of(ids, gdfo_remote_asked(b, node, i));
            verdict = read_p(gdfo_answer_at(item, column), &cells->lp[at], &cells->flags[at], err);
            if (verdict != GDFO_VERDICT_OK) {
                return verdict;
            }
        }
    }
    return GDFO_VERDICT_OK;
}

static enum gdfo_verdict read_score(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                    const struct gdfo_json *root, struct gdfo_remote_cells *cells,
                                    struct gdfo_error *err)
{
    const char *model = gdfo_answer_str(root, "model");
    if (!model || strcmp(model, setup->model) != 0) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer is of another model");
    }
    (void)gdfo_answer_count(gdfo_answer_get(root, "usage", GDFO_JSON_OBJECT), "prompt_tokens",
                            &cells->usage.tokens_in);
    return read_scores(b, ids, root, cells, err);
}

/* [lp, id, null] of each id, in any order, once each. */
static enum gdfo_verdict read_triples(const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                      const struct gdfo_json *list, struct gdfo_remote_cells *cells,
                                      struct gdfo_error *err)
{
    const uint32_t n_asked = gdfo_remote_n_asked(b, b->first_node);
    if (!list || gdfo_json_type(list) != GDFO_JSON_ARRAY || gdfo_json_size(list) != ids->n) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                 "an answer without the log-probabilities of its %zu labels",
                                 ids->n);
    }
    for (const struct gdfo_json *t = gdfo_json_first(list); t; t = gdfo_json_next(t)) {
        const struct gdfo_json *said =
            gdfo_json_type(t) == GDFO_JSON_ARRAY ? gdfo_json_first(t) : NULL;
        const struct gdfo_json *which = said ? gdfo_json_next(said) : NULL;
        int64_t id = -1;
        double lp = 0;
        if (!which || !gdfo_json_number(said, &lp) || !gdfo_json_int(which, &id)) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "an odd log-probability");
        }
        for (uint32_t i = 0; i < n_asked; i++) {
            if (gdfo_remote_asked(b, b->first_node, i) != id) {
                continue;
            }
            if (!isnan(cells->lp[i]) || !gdfo_answer_lp(lp, &cells->lp[i], &cells->flags[i])) {
                return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                         "%g is no log-probability, or its label stands twice", lp);
            }
        }
    }
    for (uint32_t i = 0; i < n_asked; i++) {
        if (isnan(cells->lp[i])) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "no log-probability of label %d",
                                     gdfo_remote_asked(b, b->first_node, i));
        }
    }
    return GDFO_VERDICT_OK;
}

static enum gdfo_verdict read_generate(const struct gdfo_remote_setup *setup,
                                       const struct gdfo_remote_block *b,
                                       const struct gdfo_ids *ids, const struct gdfo_json *root,
                                       struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const struct gdfo_json *meta = gdfo_answer_get(root, "meta_info", GDFO_JSON_OBJECT);
    struct gdfo_layout l = {0};
    struct gdfo_error why = {0};
    enum gdfo_status status = gdfo_layout_make(&l, setup, b, b->first_example, b->first_node, &why);
    const int64_t sent = (int64_t)(l.head.n + b->req->n_prompt_tokens + l.tail.n);
    enum gdfo_verdict verdict = read_triples(
        b, ids,
        gdfo_answer_at(gdfo_answer_get(meta, "output_token_ids_logprobs", GDFO_JSON_ARRAY), 0),
        cells, err);
    gdfo_layout_deinit(&l);
    if (verdict != GDFO_VERDICT_OK) {
        return verdict;
    }
    if (status != GDFO_STATUS_OK) {
        return gdfo_answer_fault(err, GDFO_VERDICT_RETRY, "%.400s", why.text);
    }
    if (!gdfo_answer_count(meta, "prompt_tokens", &cells->usage.tokens_in) ||
        cells->usage.tokens_in != sent) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "%lld positions billed, %lld sent",
                                 (long long)cells->usage.tokens_in, (long long)sent);
    }
    (void)gdfo_answer_count(meta, "completion_tokens", &cells->usage.tokens_out);
    return GDFO_VERDICT_OK;
}

/* Which texts lost their end to fit. */
static void note_cuts(const struct gdfo_remote_setup *setup, const struct gdfo_remote_block *b,
                      struct gdfo_remote_cells *cells)
{
    struct gdfo_error why = {0};
    for (uint32_t e = 0; e < b->n_examples && cells->truncated; e++) {
        struct gdfo_layout l = {0};
        GDFO_IGNORE(gdfo_layout_make(&l, setup, b, b->first_example + e, b->first_node, &why));
        cells->truncated[e] |= (uint8_t)l.is_cut;
        gdfo_layout_deinit(&l);
    }
}

enum gdfo_verdict gdfo_sglang_decode(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const int is_score = (setup->profile->route & GDFO_SGLANG_SCORE) != 0;
    struct gdfo_json *root = NULL;
    struct gdfo_ids ids = {0};
    struct gdfo_error why = {0};
    enum gdfo_verdict verdict = GDFO_VERDICT_OK;
    gdfo_answer_clear(b, cells);
    if (gdfo_exchange_union(b, &ids, &why) != GDFO_STATUS_OK) {
        verdict = gdfo_answer_fault(err, GDFO_VERDICT_RETRY, "out of memory");
    }
    if (verdict == GDFO_VERDICT_OK) {
        verdict = gdfo_answer_json(&root, a,
                                   gdfo_exchange_cells(b) * (ids.n * ID_VALUES + ITEM_ROOM), err);
    }
    if (verdict == GDFO_VERDICT_OK) {
        gdfo_answer_id(a, root, cells);
        verdict = is_score ? read_score(setup, b, &ids, root, cells, err)
                           : read_generate(setup, b, &ids, root, cells, err);
    }
    if (verdict == GDFO_VERDICT_OK && setup->local) {
        note_cuts(setup, b, cells);
    }
    gdfo_json_destroy(root);
    gdfo_ids_deinit(&ids);
    return verdict;
}
