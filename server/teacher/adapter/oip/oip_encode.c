#include "common/json_floats.h"
#include "common/mem.h"
#include "server/teacher/adapter/oip/oip_priv.h"
#include "server/teacher/exchange_write.h"

#include <stdio.h>
#include <string.h>

#define JSON_BODY_MAX   ((size_t)4 << 20) /* teachers.md 3.2 */
#define BYTES_PER_VALUE 32 /* of JSON, at most: sign, 9 digits, point, exponent, nest */
#define INPUTS_MAX      5

_Static_assert(sizeof(float) == 4 && sizeof(int32_t) == 4, "tensors are 32 bits an element");

void gdfo_oip_block_id(const struct gdfo_remote_block *b, char out[GDFO_OIP_ID_BYTES])
{
    (void)snprintf(out, GDFO_OIP_ID_BYTES, "p%u-%u.e%u-%u.n%u-%u", b->first_prompt, b->n_prompts,
                   b->first_example, b->n_examples, b->first_node, b->n_nodes);
}

/* One input: its shape, and its numbers either in place or in `raw`, behind the JSON. */
struct input {
    const char *name, *type;
    uint64_t shape[3];
    uint32_t rank;
};

struct writing {
    const struct gdfo_remote_setup *setup;
    const struct gdfo_remote_block *b;
    struct gdfo_json_writer w;
    struct gdfo_buf raw;
    int is_binary;
    struct gdfo_ids ids; /* union of the block's asked ids */
    uint32_t n_prefix;   /* K: tokens of the longest path */
};

static void open_input(struct writing *x, const struct input *in)
{
    gdfo_json_open(&x->w, NULL, '{');
    gdfo_json_put_str(&x->w, "name", in->name);
    gdfo_json_put_str(&x->w, "datatype", in->type);
    gdfo_json_open(&x->w, "shape", '[');
    for (uint32_t i = 0; i < in->rank; i++) {
        gdfo_json_put_int(&x->w, NULL, (int64_t)in->shape[i]);
    }
    gdfo_json_close(&x->w, ']');
}

/* n bytes were added to raw: they say so. */
static void close_raw(struct writing *x, size_t before)
{
    gdfo_json_open(&x->w, "parameters", '{');
    gdfo_json_put_int(&x->w, "binary_data_size", (int64_t)(x->raw.len - before));
    gdfo_json_close(&x->w, '}');
    gdfo_json_close(&x->w, '}');
}

static void put_rows(struct writing *x)
{
    const struct gdfo_score_req *r = x->b->req;
    const size_t n = x->b->n_prompts * gdfo_score_req_prompt_floats(r);
    const float *rows = gdfo_exchange_rows(x->b, 0);
    const size_t before = x->raw.len;
    struct input in = {
        "soft_prompt", "FP32", {r->n_prompt_tokens, x->setup->profile->d_model, 0}, 2};
    if (x->setup->profile->takes_many) {
        in = (struct input){"soft_prompt",
                            "FP32",
                            {x->b->n_prompts, r->n_prompt_tokens, x->setup->profile->d_model},
                            3};
    }
    open_input(x, &in);
    if (x->is_binary) {
        gdfo_buf_addn(&x->raw, rows, n * sizeof *rows);
        close_raw(x, before);
    } else {
        gdfo_json_put_floats(&x->w, "data", rows, n, GDFO_JSON_DIGITS_F32);
        gdfo_json_close(&x->w, '}');
    }
}

static void put_text(struct writing *x, struct gdfo_text t)
{
    if (x->is_binary) {
        gdfo_buf_u32(&x->raw, (unsigned)t.n);
        gdfo_buf_addn(&x->raw, t.s, t.n);
    } else {
        gdfo_json_put_strn(&x->w, NULL, t.n > 0 ? t.s : "", t.n);
    }
}

/* Each text once for every node; or the one cue. */
static void put_texts(struct writing *x, const char *name, const struct gdfo_text *texts,
                      uint32_t n, uint32_t n_nodes)
{
    const struct input in = {name, "BYTES", {(uint64_t)n * n_nodes, 0, 0}, 1};
    const size_t before = x->raw.len;
    open_input(x, &in);
    if (!x->is_binary) {
        gdfo_json_open(&x->w, "data", '[');
    }
    for (uint32_t i = 0; i < n * n_nodes; i++) {
        put_text(x, texts[i / n_nodes]);
    }
    if (x->is_binary) {
        close_raw(x, before);
    } else {
        gdfo_json_close(&x->w, ']');
        gdfo_json_close(&x->w, '}');
    }
}

static void put_int(struct writing *x, int32_t v)
{
    if (x->is_binary) {
        gdfo_buf_u32(&x->raw, (unsigned)v);
    } else {
        gdfo_json_put_int(&x->w, NULL, v);
    }
}

static void put_ids(struct writing *x)
{
    const struct input in = {"label_ids", "INT32", {x->ids.n, 0, 0}, 1};
    const size_t before = x->raw.len;
    open_input(x, &in);
    if (!x->is_binary) {
        gdfo_json_open(&x->w, "data", '[');
    }
    for (size_t i = 0; i < x->ids.n; i++) {
        put_int(x, x->ids.data[i]);
    }
    if (x->is_binary) {
        close_raw(x, before);
    } else {
        gdfo_json_close(&x->w, ']');
        gdfo_json_close(&x->w, '}');
    }
}

/* What was said already at each node, -1 behind its end. */
static void put_paths(struct writing *x)
{
    const uint32_t n = gdfo_oip_n_texts(x->b);
    const struct input in = {"label_prefix_ids", "INT32", {n, x->n_prefix, 0}, 2};
    const size_t before = x->raw.len;
    open_input(x, &in);
    if (!x->is_binary) {
        gdfo_json_open(&x->w, "data", '[');
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct gdfo_trie_node *node =
            &x->b->trie->nodes[x->b->first_node + i % x->b->n_nodes];
        for (uint32_t k = 0; k < x->n_prefix; k++) {
            put_int(x, k < node->n_path ? node->path[k] : -1);
        }
    }
    if (x->is_binary) {
        close_raw(x, before);
    } else {
        gdfo_json_close(&x->w, ']');
        gdfo_json_close(&x->w, '}');
    }
}

static void want_output(struct writing *x, const char *name)
{
    gdfo_json_open(&x->w, NULL, '{');
    gdfo_json_put_str(&x->w, "name", name);
    if (x->is_binary) {
        gdfo_json_open(&x->w, "parameters", '{');
        gdfo_json_put_bool(&x->w, "binary_data", 1);
        gdfo_json_close(&x->w, '}');
    }
    gdfo_json_close(&x->w, '}');
}

static void put_document(struct writing *x)
{
    const struct gdfo_score_req *r = x->b->req;
    char id[GDFO_OIP_ID_BYTES];
    gdfo_oip_block_id(x->b, id);
    gdfo_json_open(&x->w, NULL, '{');
    gdfo_json_put_str(&x->w, "id", id);
    gdfo_json_open(&x->w, "parameters", '{');
    gdfo_json_put_str(&x->w, "contract", "gdfo-scorer/1");
    gdfo_json_put_str(&x->w, "position", r->position == GDFO_POSITION_PREFIX ? "prefix" : "suffix");
    gdfo_json_close(&x->w, '}');
    gdfo_json_open(&x->w, "inputs", '[');
    put_rows(x);
    put_texts(x, "text", r->bodies + x->b->first_example, x->b->n_examples, x->b->n_nodes);
    put_texts(x, "cue", &r->cue, 1, 1);
    put_ids(x);
    if (x->n_prefix > 0) {
        put_paths(x);
    }
    gdfo_json_close(&x->w, ']');
    gdfo_json_open(&x->w, "outputs", '[');
    want_output(x, "label_logprobs");
    if (r->want_hidden) {
        want_output(x, "hidden");
    }
    want_output(x, "tokens_used");
    want_output(x, "tokens_cached");
    gdfo_json_close(&x->w, ']');
    gdfo_json_close(&x->w, '}');
}

static enum gdfo_status append_raw(struct writing *x, struct gdfo_exchange *out,
                                   struct gdfo_error *err)
{
    char number[32];
    enum gdfo_status status =
        gdfo_exchange_add_header(out, "content-type", "application/octet-stream", err);
    (void)snprintf(number, sizeof number, "%zu", out->body.len);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_add_header(out, "inference-header-content-length", number, err);
    }
    if (!gdfo_buf_ok(&x->raw)) {
        return gdfo_error_no_memory(err, "tensors");
    }
    gdfo_buf_addn(&out->body, x->raw.data, x->raw.len);
    return status;
}

static enum gdfo_status check(const struct gdfo_remote_setup *setup,
                              const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_exchange_check(b, err);
    if (status == GDFO_STATUS_OK && gdfo_oip_n_texts(b) > setup->profile->max_examples) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%u texts in one call: at most %u",
                                gdfo_oip_n_texts(b), setup->profile->max_examples);
    }
    return status;
}

enum gdfo_status gdfo_oip_encode(const struct gdfo_remote_setup *setup,
                                 const struct gdfo_remote_block *b, struct gdfo_exchange *out,
                                 struct gdfo_error *err)
{
    struct writing x = {.setup = setup, .b = b, .is_binary = setup->profile->takes_binary};
    enum gdfo_status status = check(setup, b, err);
    gdfo_buf_init(&x.raw, out->body.max);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_start(out, "POST", "/v2/models/%s/infer", setup->model, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_union(b, &x.ids, err);
    }
    for (uint32_t k = b->first_node; k < b->first_node + b->n_nodes; k++) {
        const uint32_t n = b->trie->nodes[k].n_path;
        x.n_prefix = n > x.n_prefix ? n : x.n_prefix;
    }
    if (status == GDFO_STATUS_OK) {
        x.w = gdfo_json_writer(&out->body);
        put_document(&x);
        status = x.is_binary ? append_raw(&x, out, err) : status;
    }
    if (status == GDFO_STATUS_OK && !x.is_binary && out->body.len > JSON_BODY_MAX) {
        status =
            gdfo_error_set(err, GDFO_STATUS_LIMIT, "a request of %zu bytes of JSON", out->body.len);
    }
    if (status == GDFO_STATUS_OK) {
        const size_t cells = (size_t)b->n_prompts * gdfo_oip_n_texts(b);
        const size_t hidden = b->req->want_hidden ? setup->profile->d_model : 0;
        status = gdfo_exchange_end(out, cells * (x.ids.n + hidden + 2),
                                   x.is_binary ? sizeof(float) : BYTES_PER_VALUE, err);
    }
    gdfo_ids_deinit(&x.ids);
    gdfo_buf_deinit(&x.raw);
    return status;
}
