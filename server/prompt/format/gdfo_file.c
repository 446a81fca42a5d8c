#include "common/hash.h"
#include "server/prompt/format/format_priv.h"

#include <string.h>

#define MAGIC       "GDFOPRM1"
#define MAGIC_BYTES 8
#define HEAD_BYTES  12 /* magic, JSON length */
#define ALIGN       64

static void put_header(const struct gdfo_prompt *p, struct gdfo_buf *json)
{
    struct gdfo_json_writer w = gdfo_json_writer(json);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_int(&w, "n_prompt_tokens", (int64_t)p->n_prompt_tokens);
    gdfo_json_put_int(&w, "d_model", (int64_t)p->d_model);
    gdfo_json_put_str(&w, "position", gdfo_prompt_position_name(p->position));
    gdfo_json_put_bool(&w, "bos_before_soft", p->bos_before_soft);
    gdfo_json_put_str(&w, "cue", p->cue ? p->cue : "");
    gdfo_json_put_raw(&w, "about", p->about ? p->about : "{}");
    gdfo_json_close(&w, '}');
}

enum gdfo_status gdfo_prompt_write_gdfo(const struct gdfo_prompt *p, struct gdfo_buf *out,
                                        struct gdfo_error *err)
{
    static const char zeros[ALIGN];
    unsigned char sum[GDFO_SHA256_BYTES];
    struct gdfo_buf json;
    size_t start = out->len;
    enum gdfo_status status = gdfo_prompt_check(p, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_prompt_check_shallow(p, ".gdfo", err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_buf_init(&json, GDFO_PROMPT_JSON_MAX_BYTES);
    put_header(p, &json);
    if (!gdfo_buf_ok(&json)) {
        gdfo_buf_deinit(&json);
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "prompt: its description is too long");
    }
    gdfo_buf_addn(out, MAGIC, MAGIC_BYTES);
    gdfo_buf_u32(out, (unsigned)json.len);
    gdfo_buf_addn(out, json.data, json.len);
    gdfo_buf_addn(out, zeros, (ALIGN - (HEAD_BYTES + json.len) % ALIGN) % ALIGN);
    gdfo_buf_addn(out, p->rows, gdfo_prompt_bytes(p));
    gdfo_buf_deinit(&json);
    if (gdfo_buf_ok(out)) {
        gdfo_sha256(out->data + start, out->len - start, sum);
        gdfo_buf_addn(out, sum, sizeof sum);
    }
    return gdfo_buf_ok(out) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "a prompt file");
}

/* ---- reading ---- */

struct span { /* the parts of a file, found and measured */
    const unsigned char *json, *rows;
    size_t n_json, n_rows;
};

static size_t get_u32(const unsigned char *b)
{
    return (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
}

static enum gdfo_status cut(struct span *s, const unsigned char *b, size_t n,
                            struct gdfo_error *err)
{
    size_t data;
    if (n < HEAD_BYTES || memcmp(b, MAGIC, MAGIC_BYTES) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "no prompt file: it does not begin with %s",
                              MAGIC);
    }
    s->n_json = get_u32(b + MAGIC_BYTES);
    if (s->n_json > GDFO_PROMPT_JSON_MAX_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "prompt file: description of %zu bytes, at most %zu", s->n_json,
                              GDFO_PROMPT_JSON_MAX_BYTES);
    }
    data = (HEAD_BYTES + s->n_json + ALIGN - 1) / ALIGN * ALIGN;
    if (n < data + GDFO_SHA256_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "prompt file: %zu bytes, cut short", n);
    }
    s->json = b + HEAD_BYTES;
    s->rows = b + data;
    s->n_rows = n - data - GDFO_SHA256_BYTES;
    for (const unsigned char *pad = s->json + s->n_json; pad < s->rows; pad++) {
        if (*pad != 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "prompt file: padding is not zero");
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_sum(const unsigned char *b, size_t n, struct gdfo_error *err)
{
    unsigned char sum[GDFO_SHA256_BYTES];
    gdfo_sha256(b, n - GDFO_SHA256_BYTES, sum);
    if (memcmp(sum, b + n - GDFO_SHA256_BYTES, sizeof sum) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "prompt file: checksum does not match");
    }
    return GDFO_STATUS_OK;
}

static int get_int(const struct gdfo_json *object, const char *key, int64_t *out)
{
    const struct gdfo_json *v = gdfo_json_get(object, key);
    return v && gdfo_json_int(v, out);
}

static enum gdfo_status read_header(struct gdfo_prompt *p, const struct gdfo_json *root,
                                    size_t n_rows, struct gdfo_error *err)
{
    const char *position = gdfo_json_string(gdfo_json_get(root, "position"));
    int64_t n_prompt_tokens = 0;
    int64_t d_model = 0;
    const struct gdfo_json *about = gdfo_json_get(root, "about");
    if (!get_int(root, "n_prompt_tokens", &n_prompt_tokens) ||
        !get_int(root, "d_model", &d_model)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "prompt file: n_prompt_tokens and d_model must be whole numbers");
    }
    p->cue = gdfo_json_string(gdfo_json_get(root, "cue"));
    if (!gdfo_prompt_position_parse(position, &p->position) || !p->cue || !about ||
        gdfo_json_type(about) != GDFO_JSON_OBJECT ||
        !gdfo_json_bool(gdfo_json_get(root, "bos_before_soft"), &p->bos_before_soft)) {
        return gdfo_error_set(
            err, GDFO_STATUS_FORMAT,
            "prompt file: want position \"prefix\" or \"suffix\", bos_before_soft "
            "true or false, cue a string, about an object");
    }
    return gdfo_prompt_shape(p, n_prompt_tokens, d_model, n_rows, err);
}

static enum gdfo_status finish(struct gdfo_prompt_file *out, struct gdfo_prompt *p,
                               const struct gdfo_json *root, const unsigned char *rows,
                               struct gdfo_error *err)
{
    struct gdfo_buf about;
    struct gdfo_json_writer w;
    enum gdfo_status status;
    gdfo_buf_init(&about, 2 * GDFO_PROMPT_JSON_MAX_BYTES);
    w = gdfo_json_writer(&about);
    gdfo_json_put_node(&w, NULL, gdfo_json_get(root, "about"));
    p->about = about.data;
    status = gdfo_buf_ok(&about) ? gdfo_prompt_finish(out, p, rows, err)
                                 : gdfo_error_no_memory(err, "a prompt");
    gdfo_buf_deinit(&about);
    return status;
}

enum gdfo_status gdfo_prompt_read_gdfo(struct gdfo_prompt_file *out, const void *bytes, size_t n,
                                       struct gdfo_error *err)
{
    struct span s = {0};
    struct gdfo_prompt p = {0};
    struct gdfo_json *root = NULL;
    enum gdfo_status status = cut(&s, bytes, n, err);
    if (status == GDFO_STATUS_OK) {
        status = check_sum(bytes, n, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_prompt_json(&root, (const char *)s.json, s.n_json, err);
    if (status != GDFO_STATUS_OK) {
        (void)gdfo_error_prefix(err, "prompt file");
        return GDFO_STATUS_FORMAT;
    }
    status = read_header(&p, root, s.n_rows, err);
    if (status == GDFO_STATUS_OK) {
        status = finish(out, &p, root, s.rows, err);
    }
    gdfo_json_destroy(root);
    return status;
}
