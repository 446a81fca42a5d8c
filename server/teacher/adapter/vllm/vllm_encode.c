#include "common/base64.h"
#include "common/hash.h"
#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/half.h"
#include "server/teacher/adapter/vllm/vllm_priv.h"

#include <stdio.h>
#include <string.h>

#define VALUE_BYTES     96 /* of an answer: a label of chat with its bytes */
#define CHOICE_ROOM     24 /* values' worth of what stands around them in a choice */
#define SALT_CHARS      16
#define TEMPLATE_TOKENS 64 /* that a chat template may put around a message: ours */

struct gdfo_vllm_cell gdfo_vllm_cell_at(const struct gdfo_remote_block *b, size_t i)
{
    struct gdfo_vllm_cell c;
    if (b->req->position == GDFO_POSITION_SUFFIX) {
        c.prompt = (uint32_t)(i % b->n_prompts);
        i /= b->n_prompts;
        c.node = (uint32_t)(i % b->n_nodes);
        c.example = (uint32_t)(i / b->n_nodes);
    } else {
        c.node = (uint32_t)(i % b->n_nodes);
        i /= b->n_nodes;
        c.example = (uint32_t)(i % b->n_examples);
        c.prompt = (uint32_t)(i / b->n_examples);
    }
    return c;
}

void gdfo_vllm_put_asked(struct gdfo_json_writer *w, const int32_t *ids, size_t n, int is_chat)
{
    gdfo_json_put_int(w, "max_tokens", 1);
    gdfo_json_put_int(w, "temperature", 0);
    if (is_chat) {
        gdfo_json_put_bool(w, "logprobs", 1);
    } else {
        gdfo_json_put_int(w, "logprobs", 0); /* beside the ids, whose count --max-logprobs limits */
    }
    gdfo_exchange_put_ids(w, "logprob_token_ids", ids, n);
    gdfo_json_put_bool(w, "return_tokens_as_token_ids", 1);
}

static enum gdfo_torch_type torch_type(enum gdfo_grid grid)
{
    switch (grid) {
    case GDFO_GRID_F32: return GDFO_TORCH_F32;
    case GDFO_GRID_F16: return GDFO_TORCH_F16;
    case GDFO_GRID_BF16: return GDFO_TORCH_BF16;
    }
    return GDFO_TORCH_F32;
}

/* The numbers in the grid's type; NULL when out of memory. */
static void *on_grid(enum gdfo_grid grid, const float *values, size_t n)
{
    uint16_t *out = gdfo_mem_array(n + 1, sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        out[i] = grid == GDFO_GRID_F16 ? gdfo_half_to_f16(values[i]) : gdfo_half_to_bf16(values[i]);
    }
    return out;
}

enum gdfo_status gdfo_vllm_put_tensor(struct gdfo_json_writer *w, const char *key,
                                      enum gdfo_grid grid, const float *values, uint32_t rows,
                                      uint32_t d_model, struct gdfo_error *err)
{
    const enum gdfo_torch_type type = torch_type(grid);
    void *halves = grid == GDFO_GRID_F32 ? NULL : on_grid(grid, values, (size_t)rows * d_model);
    struct gdfo_buf pt;
    enum gdfo_status status;
    if (grid != GDFO_GRID_F32 && !halves) {
        return gdfo_error_no_memory(err, "prompt rows");
    }
    gdfo_buf_init(&pt, gdfo_torch_save_bytes(type, rows, d_model));
    status = gdfo_torch_save(&pt, type, rows, d_model, halves ? halves : (const void *)values, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_json_put_raw(w, key, "\"");
        gdfo_base64_add(w->buf, pt.data, pt.len);
        gdfo_buf_addc(w->buf, '"');
    }
    gdfo_buf_deinit(&pt);
    gdfo_mem_free(halves);
    return status;
}

/* ---- completions ---- */

/* One whole input: rows of the tokens before, the prompt, rows of the tokens behind. */
static enum gdfo_status put_input(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b, struct gdfo_vllm_cell cell,
                                  struct gdfo_json_writer *w, int64_t *n_positions,
                                  struct gdfo_error *err)
{
    const size_t d = b->req->d_model;
    const uint32_t n_soft = b->req->n_prompt_tokens;
    struct gdfo_layout l = {0};
    float *values = NULL;
    size_t n;
    enum gdfo_status status = gdfo_layout_make(&l, setup, b, b->first_example + cell.example,
                                               b->first_node + cell.node, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_layout_deinit(&l);
        return status;
    }
    n = l.head.n + n_soft + l.tail.n;
    values = gdfo_mem_array(n * d + 1, sizeof *values);
    if (!values) {
        status = gdfo_error_no_memory(err, "an input");
    } else if (n == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "text %u is empty and so is the prompt",
                                b->first_example + cell.example);
    } else {
        status = gdfo_layout_embed(setup->local, l.head.data, l.head.n, values, err);
    }
    if (status == GDFO_STATUS_OK && n_soft > 0) {
        memcpy(values + l.head.n * d, gdfo_exchange_rows(b, cell.prompt),
               n_soft * d * sizeof *values);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_layout_embed(setup->local, l.tail.data, l.tail.n,
                                   values + (l.head.n + n_soft) * d, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_vllm_put_tensor(w, NULL, setup->profile->grid, values, (uint32_t)n,
                                      (uint32_t)d, err);
    }
    *n_positions += (int64_t)n;
    gdfo_mem_free(values);
    gdfo_layout_deinit(&l);
    return status;
}

/* Prompts of other layouts or types must not share the server's prefix cache with ours. */
static void put_salt(const struct gdfo_remote_setup *setup, const struct gdfo_remote_block *b,
                     struct gdfo_json_writer *w)
{
    unsigned char digest[GDFO_SHA256_BYTES];
    char what[64];
    char hex[GDFO_SHA256_HEX];
    char salt[SALT_CHARS + 8];
    int n = snprintf(what, sizeof what, "completions %d %d %u", (int)b->req->position,
                     (int)setup->profile->grid, b->req->n_prompt_tokens);
    gdfo_sha256(what, (size_t)n, digest);
    gdfo_hex(digest, sizeof digest, hex);
    GDFO_IGNORE(snprintf(salt, sizeof salt, "gdfo-%.*s", SALT_CHARS, hex));
    gdfo_json_put_str(w, "cache_salt", salt);
}

static enum gdfo_status check_local(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    if (!setup->local) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this server takes whole inputs: register its model here too, for "
                              "the tokenizer and the embeddings");
    }
    return gdfo_model_config(setup->local)->d_model == b->req->d_model
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_INVALID, "rows of %u numbers, the model has %u",
                                b->req->d_model, gdfo_model_config(setup->local)->d_model);
}

static enum gdfo_status put_completions(const struct gdfo_remote_setup *setup,
                                        const struct gdfo_remote_block *b,
                                        const struct gdfo_ids *ids, struct gdfo_exchange *out,
                                        struct gdfo_error *err)
{
    struct gdfo_json_writer w = gdfo_json_writer(&out->body);
    const size_t n = gdfo_exchange_cells(b);
    enum gdfo_status status = check_local(setup, b, err);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", setup->model);
    gdfo_json_open(&w, "prompt_embeds", '[');
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = put_input(setup, b, gdfo_vllm_cell_at(b, i), &w, &out->tokens, err);
        if (!gdfo_buf_ok(&out->body)) {
            break; /* past the ceiling already: gdfo_exchange_end says so */
        }
    }
    gdfo_json_close(&w, ']');
    gdfo_vllm_put_asked(&w, ids->data, ids->n, 0);
    put_salt(setup, b, &w);
    gdfo_json_close(&w, '}');
    out->tokens += (int64_t)n;
    return status;
}

/* ---- chat ---- */

static void put_text_part(struct gdfo_json_writer *w, struct gdfo_text a, struct gdfo_text b)
{
    struct gdfo_buf text;
    if (a.n + b.n == 0) {
        return;
    }
    gdfo_buf_init(&text, a.n + b.n);
    gdfo_buf_addn(&text, a.s, a.n);
    gdfo_buf_addn(&text, b.s, b.n);
    w->buf->is_broken |= !gdfo_buf_ok(&text);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "type", "text");
    gdfo_json_put_strn(w, "text", text.data, text.len);
    gdfo_json_close(w, '}');
    gdfo_buf_deinit(&text);
}

static enum gdfo_status put_rows_part(const struct gdfo_remote_setup *setup,
                                      const struct gdfo_remote_block *b, struct gdfo_json_writer *w,
                                      struct gdfo_error *err)
{
    enum gdfo_status status;
    if (b->req->n_prompt_tokens == 0) {
        return GDFO_STATUS_OK;
    }
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "type", "prompt_embeds");
    status = gdfo_vllm_put_tensor(w, "data", setup->profile->grid, gdfo_exchange_rows(b, 0),
                                  b->req->n_prompt_tokens, b->req->d_model, err);
    gdfo_json_close(w, '}');
    return status;
}

/* A node's tokens as the beginning of the assistant's answer. */
static enum gdfo_status put_path(const struct gdfo_remote_setup *setup,
                                 const struct gdfo_trie_node *node, struct gdfo_json_writer *w,
                                 struct gdfo_error *err)
{
    struct gdfo_buf text;
    enum gdfo_status status;
    if (node->n_path == 0) {
        return GDFO_STATUS_OK;
    }
    if (!setup->local || !gdfo_model_tokenizer(setup->local)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "label words of several tokens: register the server's model here "
                              "too, for its tokenizer, or use words of one token");
    }
    gdfo_buf_init(&text, 65536);
    status = gdfo_tokenizer_decode(gdfo_model_tokenizer(setup->local), node->path, node->n_path,
                                   &text, err);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "role", "assistant");
    gdfo_json_put_strn(w, "content", text.data, text.len);
    gdfo_json_close(w, '}');
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status put_messages(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b, struct gdfo_json_writer *w,
                                     struct gdfo_error *err)
{
    const struct gdfo_text none = {"", 0};
    const struct gdfo_text body = b->req->bodies[b->first_example];
    const int is_suffix = b->req->position == GDFO_POSITION_SUFFIX;
    enum gdfo_status status;
    gdfo_json_open(w, "messages", '[');
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "role", "user");
    gdfo_json_open(w, "content", '[');
    if (is_suffix) {
        put_text_part(w, body, none);
    }
    status = put_rows_part(setup, b, w, err);
    put_text_part(w, is_suffix ? none : body, b->req->cue);
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
    if (status == GDFO_STATUS_OK) {
        status = put_path(setup, &b->trie->nodes[b->first_node], w, err);
    }
    gdfo_json_close(w, ']');
    return status;
}

static enum gdfo_status put_chat(const struct gdfo_remote_setup *setup,
                                 const struct gdfo_remote_block *b, const struct gdfo_ids *ids,
                                 struct gdfo_exchange *out, struct gdfo_error *err)
{
    const struct gdfo_vllm_options *o = setup->options;
    const int has_path = b->trie->nodes[b->first_node].n_path > 0;
    struct gdfo_json_writer w = gdfo_json_writer(&out->body);
    enum gdfo_status status;
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", setup->model);
    status = put_messages(setup, b, &w, err);
    gdfo_vllm_put_asked(&w, ids->data, ids->n, 1);
    gdfo_json_put_bool(&w, "add_generation_prompt", !has_path);
    if (has_path) {
        gdfo_json_put_bool(&w, "continue_final_message", 1);
    }
    if (o->no_thinking) {
        gdfo_json_open(&w, "chat_template_kwargs", '{');
        gdfo_json_put_bool(&w, "enable_thinking", 0);
        gdfo_json_close(&w, '}');
    }
    gdfo_json_close(&w, '}');
    out->tokens =
        (int64_t)(b->req->bodies[b->first_example].n + b->req->cue.n + b->req->n_prompt_tokens) +
        TEMPLATE_TOKENS;
    return status;
}

enum gdfo_status gdfo_vllm_encode(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b, struct gdfo_exchange *out,
                                  struct gdfo_error *err)
{
    const int is_chat = (setup->profile->route & GDFO_VLLM_CHAT) != 0;
    const size_t n = gdfo_exchange_cells(b);
    struct gdfo_ids ids = {0};
    enum gdfo_status status = gdfo_exchange_check(b, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_union(b, &ids, err);
    }
    if (status == GDFO_STATUS_OK &&
        (ids.n > GDFO_VLLM_IDS_MAX || n > (is_chat ? 1 : GDFO_VLLM_CELLS_MAX))) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "a request of %zu inputs and %zu labels", n,
                                ids.n);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_start(out, "POST",
                                     is_chat ? "/v1/chat/completions" : "/v1/completions", "", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = is_chat ? put_chat(setup, b, &ids, out, err)
                         : put_completions(setup, b, &ids, out, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_end(out, n * (ids.n + CHOICE_ROOM), VALUE_BYTES, err);
    }
    gdfo_ids_deinit(&ids);
    return status;
}
