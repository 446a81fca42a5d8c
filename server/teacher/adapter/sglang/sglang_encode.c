#include "common/json_floats.h"
#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/half.h"
#include "server/teacher/adapter/sglang/sglang_priv.h"

#include <string.h>

#define ITEMS_MAX   1024 /* ours */
#define VALUE_BYTES 40

enum gdfo_status gdfo_sglang_placeholder(const struct gdfo_remote_setup *setup, int32_t *out,
                                         struct gdfo_error *err)
{
    const struct gdfo_sglang_options *o = setup->options;
    const struct gdfo_tokenizer *t = setup->local ? gdfo_model_tokenizer(setup->local) : NULL;
    const int32_t vocab = t ? (int32_t)gdfo_tokenizer_vocab(t) : 0;
    int32_t id = vocab - 1;
    if (!t) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this server is sent tokens: register its model here too, for the "
                              "tokenizer");
    }
    while (id >= 0 && (!gdfo_tokenizer_is_control(t, id) || id == gdfo_tokenizer_bos(t) ||
                       id == gdfo_tokenizer_eos(t))) {
        id--;
    }
    *out = o->placeholder_id >= 0 ? (int32_t)o->placeholder_id : id;
    return *out >= 0 && *out < vocab
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "no token to stand for the rows: set placeholder_id to one below "
                                "%d that no text has",
                                vocab);
}

static void put_rows(struct gdfo_json_writer *w, const char *key, const float *rows, uint32_t n,
                     uint32_t d)
{
    gdfo_json_open(w, key, '[');
    for (uint32_t i = 0; i < n; i++) {
        gdfo_json_put_floats(w, NULL, rows + (size_t)i * d, d, GDFO_JSON_DIGITS_BF16);
    }
    gdfo_json_close(w, ']');
}

/* ---- /v1/score ---- */

struct score { /* a request under way */
    const struct gdfo_remote_setup *setup;
    const struct gdfo_remote_block *b;
    struct gdfo_json_writer w;
    int32_t placeholder;
    int64_t n_tokens;
};

static void put_placeholders(struct score *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        gdfo_json_put_int(&s->w, NULL, s->placeholder);
    }
    s->n_tokens += n;
}

static enum gdfo_status put_tokens(struct score *s, const int32_t *ids, size_t n,
                                   struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == s->placeholder) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "a text has token %d, which stands for the rows: set another "
                                  "placeholder_id",
                                  ids[i]);
        }
        gdfo_json_put_int(&s->w, NULL, ids[i]);
    }
    s->n_tokens += (int64_t)n;
    return GDFO_STATUS_OK;
}

/* What all items share: the rows and BOS, or BOS and the one text. Nothing is said twice: n_shared
 * tokens of each item's layout stand here. */
static enum gdfo_status put_query(struct score *s, size_t *n_shared, struct gdfo_error *err)
{
    const int is_suffix = s->b->req->position == GDFO_POSITION_SUFFIX;
    const int32_t bos = gdfo_tokenizer_bos(gdfo_model_tokenizer(s->setup->local));
    struct gdfo_layout l = {0};
    enum gdfo_status status =
        gdfo_layout_make(&l, s->setup, s->b, s->b->first_example, s->b->first_node, err);
    gdfo_json_open(&s->w, "query", '[');
    if (status == GDFO_STATUS_OK && is_suffix) {
        *n_shared = 0;
        status = put_tokens(s, l.head.data, l.head.n, err);
    } else if (status == GDFO_STATUS_OK) {
        *n_shared = bos >= 0;
        put_placeholders(s, s->b->req->n_prompt_tokens);
        status = put_tokens(s, &bos, *n_shared, err);
    }
    gdfo_json_close(&s->w, ']');
    gdfo_layout_deinit(&l);
    return status;
}

static enum gdfo_status put_item(struct score *s, size_t cell, size_t n_shared,
                                 struct gdfo_error *err)
{
    const uint32_t node = s->b->first_node + (uint32_t)(cell % s->b->n_nodes);
    const uint32_t example =
        s->b->first_example + (uint32_t)(cell / s->b->n_nodes % s->b->n_examples);
    struct gdfo_layout l = {0};
    enum gdfo_status status = gdfo_layout_make(&l, s->setup, s->b, example, node, err);
    gdfo_json_open(&s->w, NULL, '[');
    if (status == GDFO_STATUS_OK && s->b->req->position == GDFO_POSITION_SUFFIX) {
        put_placeholders(s, s->b->req->n_prompt_tokens);
    }
    if (status == GDFO_STATUS_OK) {
        status = put_tokens(s, l.tail.data + n_shared, l.tail.n - n_shared, err);
    }
    gdfo_json_close(&s->w, ']');
    gdfo_layout_deinit(&l);
    return status;
}

static void put_overrides(struct score *s)
{
    const struct gdfo_score_req *r = s->b->req;
    const size_t n = gdfo_exchange_cells(s->b);
    if (r->n_prompt_tokens == 0) {
        return;
    }
    gdfo_json_put_int(&s->w, "embed_override_token_id", s->placeholder);
    if (r->position != GDFO_POSITION_SUFFIX) {
        put_rows(&s->w, "query_embed_overrides", gdfo_exchange_rows(s->b, 0), r->n_prompt_tokens,
                 r->d_model);
        return;
    }
    gdfo_json_open(&s->w, "item_embed_overrides", '[');
    for (size_t i = 0; i < n && gdfo_buf_ok(s->w.buf); i++) {
        put_rows(&s->w, NULL, gdfo_exchange_rows(s->b, (uint32_t)(i / s->b->n_nodes)),
                 r->n_prompt_tokens, r->d_model);
    }
    gdfo_json_close(&s->w, ']');
}

static enum gdfo_status put_score(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                  struct gdfo_exchange *out, struct gdfo_error *err)
{
    struct score s = {.setup = setup, .b = b, .w = gdfo_json_writer(&out->body)};
    const size_t n = gdfo_exchange_cells(b);
    const int is_suffix = b->req->position == GDFO_POSITION_SUFFIX;
    size_t n_shared = 0;
    enum gdfo_status status = gdfo_sglang_placeholder(setup, &s.placeholder, err);
    if (status == GDFO_STATUS_OK &&
        ((is_suffix ? b->n_examples : b->n_prompts) > 1 || n > ITEMS_MAX)) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT,
                                "a request of %u prompts and %u texts: want one %s", b->n_prompts,
                                b->n_examples, is_suffix ? "text" : "prompt");
    }
    gdfo_json_open(&s.w, NULL, '{');
    gdfo_json_put_str(&s.w, "model", setup->model);
    if (status == GDFO_STATUS_OK) {
        status = put_query(&s, &n_shared, err);
    }
    gdfo_json_open(&s.w, "items", '[');
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = put_item(&s, i, n_shared, err);
    }
    gdfo_json_close(&s.w, ']');
    gdfo_exchange_put_ids(&s.w, "label_token_ids", ids->data, ids->n);
    gdfo_json_put_bool(&s.w, "apply_softmax", 0);
    gdfo_json_put_bool(&s.w, "item_first", 0);
    if (status == GDFO_STATUS_OK) {
        put_overrides(&s);
    }
    gdfo_json_close(&s.w, '}');
    out->tokens = s.n_tokens * (int64_t)n; /* the query counts with each item */
    return status;
}

/* ---- /generate ---- */

static void put_sampling(struct gdfo_json_writer *w, const struct gdfo_ids *ids)
{
    gdfo_json_open(w, "sampling_params", '{');
    gdfo_json_put_int(w, "max_new_tokens", 1);
    gdfo_json_put_int(w, "temperature", 0);
    gdfo_json_close(w, '}');
    gdfo_json_put_bool(w, "return_logprob", 1);
    gdfo_exchange_put_ids(w, "token_ids_logprob", ids->data, ids->n);
    gdfo_json_put_int(w, "logprob_start_len", -1);
}

static enum gdfo_status embed_input(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, const struct gdfo_layout *l,
                                    float *values, struct gdfo_error *err)
{
    const size_t d = b->req->d_model;
    const size_t n_soft = b->req->n_prompt_tokens;
    enum gdfo_status status = gdfo_layout_embed(setup->local, l->head.data, l->head.n, values, err);
    if (status == GDFO_STATUS_OK && n_soft > 0) {
        memcpy(values + l->head.n * d, gdfo_exchange_rows(b, 0), n_soft * d * sizeof *values);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_layout_embed(setup->local, l->tail.data, l->tail.n,
                                   values + (l->head.n + n_soft) * d, err);
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < (l->head.n + n_soft + l->tail.n) * d; i++) {
        values[i] = gdfo_half_from_bf16(gdfo_half_to_bf16(values[i]));
    }
    return status;
}

static enum gdfo_status put_generate(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                     struct gdfo_exchange *out, struct gdfo_error *err)
{
    struct gdfo_json_writer w = gdfo_json_writer(&out->body);
    struct gdfo_layout l = {0};
    float *values = NULL;
    size_t n = 0;
    enum gdfo_status status =
        gdfo_exchange_cells(b) == 1
            ? gdfo_layout_make(&l, setup, b, b->first_example, b->first_node, err)
            : gdfo_error_set(err, GDFO_STATUS_LIMIT, "a request of %zu cells, want one",
                             gdfo_exchange_cells(b));
    if (status == GDFO_STATUS_OK) {
        n = l.head.n + b->req->n_prompt_tokens + l.tail.n;
        values = gdfo_mem_array(n * b->req->d_model + 1, sizeof *values);
        status =
            values ? embed_input(setup, b, &l, values, err) : gdfo_error_no_memory(err, "an input");
    }
    gdfo_layout_deinit(&l);
    if (status == GDFO_STATUS_OK) {
        gdfo_json_open(&w, NULL, '{');
        put_rows(&w, "input_embeds", values, (uint32_t)n, b->req->d_model);
        put_sampling(&w, ids);
        gdfo_json_close(&w, '}');
    }
    out->tokens = (int64_t)n + 1;
    gdfo_mem_free(values);
    return status;
}

static enum gdfo_status check(const struct gdfo_remote_setup *setup,
                              const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_exchange_check(b, err);
    if (status == GDFO_STATUS_OK && setup->local && b->req->n_prompt_tokens > 0 &&
        gdfo_model_config(setup->local)->d_model != b->req->d_model) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "rows of %u numbers, the model has %u",
                                b->req->d_model, gdfo_model_config(setup->local)->d_model);
    }
    return status;
}

enum gdfo_status gdfo_sglang_encode(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, struct gdfo_exchange *out,
                                    struct gdfo_error *err)
{
    const int is_score = (setup->profile->route & GDFO_SGLANG_SCORE) != 0;
    struct gdfo_ids ids = {0};
    enum gdfo_status status = check(setup, b, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_start(out, "POST", is_score ? "/v1/score" : "/generate", "", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_union(b, &ids, err);
    }
    if (status == GDFO_STATUS_OK) {
        status =
            is_score ? put_score(setup, b, &ids, out, err) : put_generate(setup, b, &ids, out, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_end(out, gdfo_exchange_cells(b) * (ids.n + 1), VALUE_BYTES, err);
    }
    gdfo_ids_deinit(&ids);
    return status;
}
