#include "common/mem.h"
#include "common/parse.h"
#include "server/model/format/gguf_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct type_row {
    const char *name;
    uint32_t n_bytes; /* of a scalar; the least a string or array takes */
    int is_signed, is_unsigned, is_float;
};

static const struct type_row types[GDFO_GGUF_END] = {
    [GDFO_GGUF_U8] = {"a u8", 1, 0, 1, 0},         [GDFO_GGUF_I8] = {"an i8", 1, 1, 0, 0},
    [GDFO_GGUF_U16] = {"a u16", 2, 0, 1, 0},       [GDFO_GGUF_I16] = {"an i16", 2, 1, 0, 0},
    [GDFO_GGUF_U32] = {"a u32", 4, 0, 1, 0},       [GDFO_GGUF_I32] = {"an i32", 4, 1, 0, 0},
    [GDFO_GGUF_F32] = {"an f32", 4, 0, 0, 1},      [GDFO_GGUF_BOOL] = {"a bool", 1, 0, 0, 0},
    [GDFO_GGUF_STRING] = {"a string", 8, 0, 0, 0}, [GDFO_GGUF_ARRAY] = {"an array", 12, 0, 0, 0},
    [GDFO_GGUF_U64] = {"a u64", 8, 0, 1, 0},       [GDFO_GGUF_I64] = {"an i64", 8, 1, 0, 0},
    [GDFO_GGUF_F64] = {"an f64", 8, 0, 0, 1},
};

const char *gdfo_gguf_type_name(uint32_t type)
{
    return type < GDFO_GGUF_END ? types[type].name : NULL;
}

static enum gdfo_status check_type(uint32_t type, const char *what, struct gdfo_error *err)
{
    if (type < GDFO_GGUF_END) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s has type %" PRIu32 ", accepted 0..12", what,
                          type);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static int64_t sign_extend(uint64_t v, uint32_t n_bytes)
{
    const uint64_t sign = (uint64_t)1 << (8 * n_bytes - 1);
    const uint64_t low = v & (sign - 1);
    if ((v & sign) == 0) {
        return (int64_t)low;
    }
    return (int64_t)low - (int64_t)(sign - 1) - 1;
}

static double to_double(uint64_t bits, uint32_t n_bytes)
{
    const uint32_t low = (uint32_t)bits;
    double wide;
    float narrow;
    if (n_bytes == sizeof wide) {
        memcpy(&wide, &bits, sizeof wide);
        return wide;
    }
    memcpy(&narrow, &low, sizeof narrow);
    return (double)narrow;
}

enum gdfo_status gdfo_gguf_scalar(struct gdfo_cursor *c, uint32_t type, struct gdfo_gguf_value *out,
                                  const char *what, struct gdfo_error *err)
{
    const struct type_row *row = &types[type];
    unsigned char b[8] = {0};
    uint64_t bits = 0;
    enum gdfo_status status = gdfo_cursor_bytes(c, b, row->n_bytes, what, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (uint32_t i = 0; i < row->n_bytes; i++) {
        bits |= (uint64_t)b[i] << (8 * i);
    }
    if (type == GDFO_GGUF_BOOL && bits > 1) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has a bool of %" PRIu64 ", accepted 0 and 1", what, bits);
    }
    *out = (struct gdfo_gguf_value){.u = bits};
    if (row->is_signed) {
        out->i = sign_extend(bits, row->n_bytes);
    }
    if (row->is_float) {
        out->f = to_double(bits, row->n_bytes);
    }
    return GDFO_STATUS_OK;
}

struct kv_reader {
    struct gdfo_cursor *c;
    struct gdfo_buf text; /* scratch for strings */
    const char *what;
};

static enum gdfo_status skip_array(struct kv_reader *r, uint32_t nesting, uint32_t *element_type,
                                   uint64_t *at, uint64_t *n, struct gdfo_error *err);

static enum gdfo_status skip_elements(struct kv_reader *r, uint32_t type, uint64_t n,
                                      uint32_t nesting, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    struct gdfo_gguf_value value;
    uint32_t inner_type;
    uint64_t inner_at;
    uint64_t inner_n;
    if (type != GDFO_GGUF_BOOL && type != GDFO_GGUF_STRING && type != GDFO_GGUF_ARRAY) {
        r->c->at += n * types[type].n_bytes; /* fits: checked by the caller */
        return GDFO_STATUS_OK;
    }
    for (uint64_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        if (type == GDFO_GGUF_BOOL) {
            status = gdfo_gguf_scalar(r->c, type, &value, r->what, err);
        } else if (type == GDFO_GGUF_STRING) {
            status = gdfo_cursor_text(r->c, &r->text, GDFO_GGUF_STRING_MAX, r->what, err);
        } else {
            status = skip_array(r, nesting + 1, &inner_type, &inner_at, &inner_n, err);
        }
    }
    return status;
}

/* Walks over an array's head and elements, checking all of them. */
static enum gdfo_status skip_array(struct kv_reader *r, uint32_t nesting, uint32_t *element_type,
                                   uint64_t *at, uint64_t *n, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (nesting > GDFO_GGUF_NESTING) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%s has arrays nested deeper than %u in an array", r->what,
                              GDFO_GGUF_NESTING);
    }
    status = gdfo_cursor_u32(r->c, element_type, r->what, err);
    if (status == GDFO_STATUS_OK) {
        status = check_type(*element_type, r->what, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u64(r->c, n, r->what, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (*n > GDFO_GGUF_ARRAY_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%s has an array of %" PRIu64 " elements, at most %u", r->what, *n,
                              GDFO_GGUF_ARRAY_MAX);
    }
    status = gdfo_cursor_need(r->c, *n, types[*element_type].n_bytes, r->what, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    *at = r->c->at;
    return skip_elements(r, *element_type, *n, nesting, err);
}

static enum gdfo_status read_value(struct kv_reader *r, struct gdfo_gguf_kv *kv,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_cursor_u32(r->c, &kv->type, r->what, err);
    if (status == GDFO_STATUS_OK) {
        status = check_type(kv->type, r->what, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (kv->type == GDFO_GGUF_ARRAY) {
        return skip_array(r, 0, &kv->element_type, &kv->at, &kv->n, err);
    }
    if (kv->type == GDFO_GGUF_STRING) {
        status = gdfo_cursor_text(r->c, &r->text, GDFO_GGUF_STRING_MAX, r->what, err);
        kv->n = r->text.len;
        kv->at = r->c->at - kv->n;
        return status;
    }
    return gdfo_gguf_scalar(r->c, kv->type, &kv->value, r->what, err);
}

static enum gdfo_status read_kv(struct kv_reader *r, struct gdfo_gguf_kv *kv, uint64_t number,
                                struct gdfo_error *err)
{
    struct gdfo_format_label label;
    enum gdfo_status status =
        gdfo_cursor_text(r->c, &r->text, GDFO_GGUF_KEY_MAX, "the name of a key", err);
    if (status != GDFO_STATUS_OK) {
        return err ? gdfo_error_prefix(err, "key number %" PRIu64, number) : status;
    }
    if (r->text.len < 1) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "key number %" PRIu64 " has no name",
                              number);
    }
    memcpy(kv->key, r->text.data, r->text.len + 1); /* at most KEY_MAX, NUL included in the + 1 */
    label = gdfo_format_label("key", kv->key);
    r->what = label.text;
    return read_value(r, kv, err);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct gdfo_gguf_kv *)a)->key, ((const struct gdfo_gguf_kv *)b)->key);
}

static enum gdfo_status sort_kvs(struct gdfo_gguf *g, struct gdfo_error *err)
{
    if (g->n_kvs > 1) {
        qsort(g->kvs, g->n_kvs, sizeof *g->kvs, by_key);
    }
    for (size_t i = 1; i < g->n_kvs; i++) {
        if (strcmp(g->kvs[i - 1].key, g->kvs[i].key) == 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s stands in the file twice",
                                  gdfo_format_label("key", g->kvs[i].key).text);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_gguf_read_kvs(struct gdfo_gguf *g, struct gdfo_cursor *c, uint64_t n,
                                    struct gdfo_error *err)
{
    struct kv_reader r = {.c = c};
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_buf_init(&r.text, GDFO_GGUF_STRING_MAX);
    for (uint64_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        void *p = g->kvs;
        if (!gdfo_mem_grow(&p, &g->cap_kvs, g->n_kvs + 1, sizeof *g->kvs)) {
            status = gdfo_error_no_memory(err, "reading metadata");
            break;
        }
        g->kvs = p;
        status = read_kv(&r, &g->kvs[g->n_kvs++], i, err);
    }
    gdfo_buf_deinit(&r.text);
    return status == GDFO_STATUS_OK ? sort_kvs(g, err) : status;
}

/* ---- getters ----------------------------------------------------------------------------------
 */

const struct gdfo_gguf_kv *gdfo_gguf_find(const struct gdfo_gguf *g, const char *key)
{
    size_t low = 0;
    size_t high = g->n_kvs;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int order = strcmp(key, g->kvs[mid].key);
        if (order == 0) {
            return &g->kvs[mid];
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

static enum gdfo_status wrong_type(const char *what, uint32_t type, const char *wanted,
                                   struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s is %s, wanted %s", what, types[type].name,
                          wanted);
}

enum gdfo_status gdfo_gguf_missing(const char *key, struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s is missing",
                          gdfo_format_label("key", key).text);
}

enum gdfo_status gdfo_gguf_int_of(uint32_t type, struct gdfo_gguf_value value,
                                  struct gdfo_gguf_range range, uint64_t *out, const char *what,
                                  struct gdfo_error *err)
{
    const struct type_row *row = &types[type];
    if (!row->is_signed && !row->is_unsigned) {
        return wrong_type(what, type, "an integer", err);
    }
    if (row->is_signed && value.i < 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s is %" PRId64 ", accepted %" PRIu64 "..%" PRIu64, what, value.i,
                              range.min, range.max);
    }
    if (value.u < range.min || value.u > range.max) { /* a signed one >= 0 has the same bits */
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s is %" PRIu64 ", accepted %" PRIu64 "..%" PRIu64, what, value.u,
                              range.min, range.max);
    }
    *out = value.u;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_gguf_int(const struct gdfo_gguf *g, const char *key,
                               struct gdfo_gguf_range range, uint64_t *out, struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = gdfo_gguf_find(g, key);
    if (!kv) {
        return GDFO_STATUS_OK;
    }
    return gdfo_gguf_int_of(kv->type, kv->value, range, out, gdfo_format_label("key", key).text,
                            err);
}

enum gdfo_status gdfo_gguf_float(const struct gdfo_gguf *g, const char *key, double *out,
                                 struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = gdfo_gguf_find(g, key);
    if (!kv) {
        return GDFO_STATUS_OK;
    }
    if (!types[kv->type].is_float) {
        return wrong_type(gdfo_format_label("key", key).text, kv->type, "an f32 or f64", err);
    }
    if (!isfinite(kv->value.f)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s is not finite",
                              gdfo_format_label("key", key).text);
    }
    *out = kv->value.f;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_gguf_bool(const struct gdfo_gguf *g, const char *key, int *out,
                                struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = gdfo_gguf_find(g, key);
    if (!kv) {
        return GDFO_STATUS_OK;
    }
    if (kv->type != GDFO_GGUF_BOOL) {
        return wrong_type(gdfo_format_label("key", key).text, kv->type, "a bool", err);
    }
    *out = kv->value.u == 1;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_gguf_text(const struct gdfo_gguf *g, const struct gdfo_reader *r,
                                const char *key, char *out, size_t cap, struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = gdfo_gguf_find(g, key);
    size_t n;
    enum gdfo_status status;
    if (!kv) {
        return GDFO_STATUS_OK;
    }
    if (kv->type != GDFO_GGUF_STRING) {
        return wrong_type(gdfo_format_label("key", key).text, kv->type, "a string", err);
    }
    n = kv->n < cap - 1 ? (size_t)kv->n : cap - 1;
    status = gdfo_reader_at(r, kv->at, out, n, err);
    if (status == GDFO_STATUS_OK) {
        out[gdfo_utf8_valid(out, n)] = '\0'; /* a cut may have split the last character */
    }
    return status;
}

enum gdfo_status gdfo_gguf_array(const struct gdfo_gguf *g, const char *key,
                                 const struct gdfo_gguf_kv **out, struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = gdfo_gguf_find(g, key);
    if (kv && kv->type != GDFO_GGUF_ARRAY) {
        return wrong_type(gdfo_format_label("key", key).text, kv->type, "an array", err);
    }
    *out = kv;
    return GDFO_STATUS_OK;
}
