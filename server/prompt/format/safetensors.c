#include "server/prompt/format/format_priv.h"

#include <string.h>

#define LENGTH_BYTES 8
#define TENSOR       "prompt_embeddings"
#define DEEPER       "layer_prompts"

static void put_tensor(struct gdfo_json_writer *w, const struct gdfo_prompt *p)
{
    gdfo_json_open(w, TENSOR, '{');
    gdfo_json_put_str(w, "dtype", "F32");
    gdfo_json_open(w, "shape", '[');
    gdfo_json_put_int(w, NULL, (int64_t)p->n_prompt_tokens);
    gdfo_json_put_int(w, NULL, (int64_t)p->d_model);
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "data_offsets", '[');
    gdfo_json_put_int(w, NULL, 0);
    gdfo_json_put_int(w, NULL, (int64_t)gdfo_prompt_bytes(p));
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

/* What a deep prompt adds before further layers, behind the rows of the input. */
static void put_deeper(struct gdfo_json_writer *w, const struct gdfo_prompt *p)
{
    const size_t n = gdfo_prompt_bytes(p);
    gdfo_json_open(w, DEEPER, '{');
    gdfo_json_put_str(w, "dtype", "F32");
    gdfo_json_open(w, "shape", '[');
    gdfo_json_put_int(w, NULL, (int64_t)p->n_layers);
    gdfo_json_put_int(w, NULL, (int64_t)p->n_prompt_tokens);
    gdfo_json_put_int(w, NULL, (int64_t)p->d_model);
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "data_offsets", '[');
    gdfo_json_put_int(w, NULL, (int64_t)n);
    gdfo_json_put_int(w, NULL, (int64_t)((1 + p->n_layers) * n));
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

/* "3,6,9" */
static void put_layer_ids(struct gdfo_json_writer *w, const struct gdfo_prompt *p)
{
    struct gdfo_buf list;
    gdfo_buf_init(&list, 65536);
    for (size_t k = 0; k < p->n_layers; k++) {
        gdfo_buf_addf(&list, "%s%u", k > 0 ? "," : "", p->layer_ids[k]);
    }
    gdfo_buf_addc(&list, '\0');
    gdfo_json_put_str(w, "gdfo.layers", gdfo_buf_ok(&list) ? list.data : "");
    gdfo_buf_deinit(&list);
}

static void put_header(const struct gdfo_prompt *p, int with_ours, struct gdfo_buf *json)
{
    struct gdfo_json_writer w = gdfo_json_writer(json);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_open(&w, "__metadata__", '{');
    gdfo_json_put_str(&w, "format", "pt");
    if (with_ours) {
        gdfo_json_put_str(&w, "gdfo.position", gdfo_prompt_position_name(p->position));
        gdfo_json_put_str(&w, "gdfo.bos_before_soft", p->bos_before_soft ? "true" : "false");
        gdfo_json_put_str(&w, "gdfo.cue", p->cue ? p->cue : "");
        gdfo_json_put_str(&w, "gdfo.about", p->about ? p->about : "{}");
        if (p->n_layers > 0) {
            put_layer_ids(&w, p);
        }
    }
    gdfo_json_close(&w, '}');
    put_tensor(&w, p);
    if (p->n_layers > 0) {
        put_deeper(&w, p);
    }
    gdfo_json_close(&w, '}');
    while (gdfo_buf_ok(json) && (LENGTH_BYTES + json->len) % 8 != 0) {
        gdfo_buf_addc(json, ' ');
    }
}

void gdfo_prompt_put_safetensors(const struct gdfo_prompt *p, int with_ours, struct gdfo_buf *out)
{
    struct gdfo_buf json;
    gdfo_buf_init(&json, 2 * GDFO_PROMPT_JSON_MAX_BYTES);
    put_header(p, with_ours, &json);
    if (gdfo_buf_ok(&json)) {
        gdfo_buf_u64(out, json.len);
        gdfo_buf_addn(out, json.data, json.len);
        gdfo_buf_addn(out, p->rows, (1 + p->n_layers) * gdfo_prompt_bytes(p));
    } else {
        out->is_broken = 1;
    }
    gdfo_buf_deinit(&json);
}

enum gdfo_status gdfo_prompt_write_safetensors(const struct gdfo_prompt *p, struct gdfo_buf *out,
                                               struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_prompt_check(p, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_prompt_put_safetensors(p, 1, out);
    return gdfo_buf_ok(out) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "a safetensors file");
}

/* ---- reading ---- */

static int pair(const struct gdfo_json *list, int64_t *a, int64_t *b)
{
    const struct gdfo_json *first;
    if (gdfo_json_type(list) != GDFO_JSON_ARRAY || gdfo_json_size(list) != 2) {
        return 0;
    }
    first = gdfo_json_first(list);
    return gdfo_json_int(first, a) && gdfo_json_int(gdfo_json_next(first), b);
}

static enum gdfo_status read_tensor(struct gdfo_prompt *p, const struct gdfo_json *tensor,
                                    size_t n_data, struct gdfo_error *err)
{
    const struct gdfo_json *dtype = gdfo_json_get(tensor, "dtype");
    const struct gdfo_json *shape = gdfo_json_get(tensor, "shape");
    const struct gdfo_json *offsets = gdfo_json_get(tensor, "data_offsets");
    const char *name = dtype ? gdfo_json_string(dtype) : NULL;
    int64_t n_prompt_tokens = 0;
    int64_t d_model = 0;
    int64_t begin = 0;
    int64_t end = 0;
    if (!name || strcmp(name, "F32") != 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "safetensors: dtype %.16s, want F32",
                              name ? name : "missing");
    }
    if (!shape || !offsets || gdfo_json_size(tensor) != 3 ||
        !pair(shape, &n_prompt_tokens, &d_model) || !pair(offsets, &begin, &end)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "safetensors: want a shape of two numbers and two data_offsets");
    }
    if (begin != 0 || end < 0 || (uint64_t)end != n_data) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "safetensors: data_offsets %lld..%lld, the data has 0..%zu",
                              (long long)begin, (long long)end, n_data);
    }
    return gdfo_prompt_shape(p, n_prompt_tokens, d_model, n_data, err);
}

/* A member of the metadata as text, or fallback when it is not there. */
static const char *meta_text(const struct gdfo_json *meta, const char *key, const char *fallback)
{
    const struct gdfo_json *v = meta ? gdfo_json_get(meta, key) : NULL;
    return v ? gdfo_json_string(v) : fallback;
}

static enum gdfo_status check_meta(const struct gdfo_json *meta, struct gdfo_error *err)
{
    int is_object = meta && gdfo_json_type(meta) == GDFO_JSON_OBJECT;
    if (meta && !is_object) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "safetensors: __metadata__ is no object");
    }
    for (const struct gdfo_json *m = meta ? gdfo_json_first(meta) : NULL; m;
         m = gdfo_json_next(m)) {
        if (gdfo_json_type(m) != GDFO_JSON_STRING) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "safetensors: __metadata__ holds strings only");
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_meta(struct gdfo_prompt *p, const struct gdfo_json *meta,
                                  struct gdfo_error *err)
{
    struct gdfo_json *about = NULL;
    const char *bos;
    enum gdfo_status status = check_meta(meta, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    bos = meta_text(meta, "gdfo.bos_before_soft", "false");
    if (!gdfo_prompt_position_parse(meta_text(meta, "gdfo.position", "prefix"), &p->position) ||
        (strcmp(bos, "true") != 0 && strcmp(bos, "false") != 0)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "safetensors: gdfo.position must be prefix or suffix, "
                              "gdfo.bos_before_soft true or false");
    }
    p->bos_before_soft = bos[0] == 't';
    p->cue = meta_text(meta, "gdfo.cue", "");
    p->about = meta_text(meta, "gdfo.about", "{}");
    status = gdfo_prompt_json(&about, p->about, strlen(p->about), err);
    gdfo_json_destroy(about);
    if (status != GDFO_STATUS_OK) {
        (void)gdfo_error_prefix(err, "safetensors: gdfo.about");
        return GDFO_STATUS_FORMAT;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_root(struct gdfo_prompt_file *out, const struct gdfo_json *root,
                                  const unsigned char *data, size_t n_data, struct gdfo_error *err)
{
    const struct gdfo_json *meta = gdfo_json_get(root, "__metadata__");
    const struct gdfo_json *tensor = gdfo_json_get(root, TENSOR);
    struct gdfo_prompt p = {0};
    enum gdfo_status status;
    if (!tensor || gdfo_json_type(tensor) != GDFO_JSON_OBJECT ||
        gdfo_json_size(root) != (meta ? 2 : 1)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "safetensors: want exactly one tensor, " TENSOR);
    }
    status = read_tensor(&p, tensor, n_data, err);
    if (status == GDFO_STATUS_OK) {
        status = read_meta(&p, meta, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_prompt_finish(out, &p, data, err) : status;
}

static uint64_t get_u64(const unsigned char *b)
{
    uint64_t v = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        v = v << 8 | b[i];
    }
    return v;
}

enum gdfo_status gdfo_prompt_read_safetensors(struct gdfo_prompt_file *out, const void *bytes,
                                              size_t n, struct gdfo_error *err)
{
    const unsigned char *b = bytes;
    struct gdfo_json *root = NULL;
    uint64_t n_json;
    enum gdfo_status status;
    if (n < LENGTH_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "safetensors: %zu bytes, cut short", n);
    }
    n_json = get_u64(b);
    if (n_json > 2 * GDFO_PROMPT_JSON_MAX_BYTES || n_json > n - LENGTH_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "safetensors: header of %llu bytes, at most %zu and the file has %zu",
                              (unsigned long long)n_json, 2 * GDFO_PROMPT_JSON_MAX_BYTES,
                              n - LENGTH_BYTES);
    }
    status = gdfo_prompt_json(&root, (const char *)b + LENGTH_BYTES, (size_t)n_json, err);
    if (status != GDFO_STATUS_OK) {
        (void)gdfo_error_prefix(err, "safetensors header");
        return GDFO_STATUS_FORMAT;
    }
    status =
        read_root(out, root, b + LENGTH_BYTES + n_json, n - LENGTH_BYTES - (size_t)n_json, err);
    gdfo_json_destroy(root);
    return status;
}
