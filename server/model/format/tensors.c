/*
 * DESIGN: what both formats share once the names are GGUF's: the tensor list, and the table of the
 * tensors that a llama-layout model has. A file is taken only when its list equals the table, so
 * nothing behind this point meets a missing, surplus or misshapen tensor.
 */
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/format/format_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gdfo_model_tensor *gdfo_model_tensor_add(struct gdfo_model_file *f)
{
    void *p = f->tensors;
    const int ok = gdfo_mem_grow(&p, &f->cap_tensors, f->n_tensors + 1, sizeof *f->tensors);
    f->tensors = p;
    return ok ? &f->tensors[f->n_tensors++] : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct gdfo_model_tensor *)a)->name,
                  ((const struct gdfo_model_tensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    const struct gdfo_model_tensor *const *x = a;
    const struct gdfo_model_tensor *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

const struct gdfo_model_tensor *gdfo_model_tensor_find(const struct gdfo_model_file *f,
                                                       const char *name)
{
    size_t low = 0;
    size_t high = f->n_tensors;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int order = strcmp(name, f->tensors[mid].name);
        if (order == 0) {
            return &f->tensors[mid];
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

enum gdfo_status gdfo_model_tensor_size(struct gdfo_model_tensor *t, const char *label,
                                        struct gdfo_error *err)
{
    uint64_t n = 1;
    if (t->n_dims < 1 || t->n_dims > 4) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has %" PRIu32 " dimensions, accepted 1..4", label, t->n_dims);
    }
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 1) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s: dimension %" PRIu32 " is 0", label,
                                  i);
        }
        if (t->dims[i] > GDFO_FORMAT_ELEMENTS_MAX / n) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s has more than %" PRIu64 " elements",
                                  label, GDFO_FORMAT_ELEMENTS_MAX);
        }
        n *= t->dims[i];
    }
    if (t->dims[0] % t->type->n_elements != 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: row length %" PRIu64 " is no multiple of %" PRIu32
                              ", the block of %s",
                              label, t->dims[0], t->type->n_elements, t->type->name);
    }
    t->n_elements = n;
    t->n_bytes = n / t->type->n_elements * t->type->n_bytes;
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_overlap(const struct gdfo_model_file *f,
                                      const struct gdfo_model_tensor **order,
                                      struct gdfo_error *err)
{
    for (size_t i = 0; i < f->n_tensors; i++) {
        order[i] = &f->tensors[i];
    }
    qsort(order, f->n_tensors, sizeof *order, by_offset);
    for (size_t i = 1; i < f->n_tensors; i++) {
        const struct gdfo_model_tensor *a = order[i - 1];
        if (a->offset + a->n_bytes > order[i]->offset) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s overlaps %s at byte %" PRIu64 " of the file",
                                  gdfo_format_label("tensor", order[i]->name).text,
                                  gdfo_format_label("tensor", a->name).text, order[i]->offset);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_model_tensors_sort(struct gdfo_model_file *f, struct gdfo_error *err)
{
    const struct gdfo_model_tensor **order = NULL;
    enum gdfo_status status;
    if (f->n_tensors < 1) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the file has no tensors");
    }
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < f->n_tensors; i++) {
        if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s stands in the file twice",
                                  gdfo_format_label("tensor", f->tensors[i].name).text);
        }
    }
    order = gdfo_mem_array(f->n_tensors, sizeof *order);
    if (!order) {
        return gdfo_error_no_memory(err, "checking a model file");
    }
    status = check_overlap(f, order, err);
    gdfo_mem_free(order);
    return status;
}

/* ---- meaning ----------------------------------------------------------------------------------
 */

struct bound {
    const char *name;
    uint64_t value, min, max;
};

enum gdfo_status gdfo_format_check_bounds(const struct gdfo_model_config *c, struct gdfo_error *err)
{
    const struct bound bounds[] = {
        {"number of blocks", c->n_layers, 1, GDFO_FORMAT_LAYERS_MAX},
        {"embedding length", c->d_model, 1, GDFO_FORMAT_WIDTH_MAX},
        {"number of heads", c->n_heads, 1, GDFO_FORMAT_WIDTH_MAX},
        {"number of KV heads", c->n_kv_heads, 1, GDFO_FORMAT_WIDTH_MAX},
        {"feed-forward length", c->d_ff, 1, GDFO_FORMAT_FF_MAX},
        {"vocabulary", c->vocab, 1, GDFO_FORMAT_VOCAB_MAX},
        {"context length", c->context_max, 1, GDFO_FORMAT_CONTEXT_MAX},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        const struct bound *b = &bounds[i];
        if (b->value < b->min || b->value > b->max) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s is %" PRIu64 ", accepted %" PRIu64 "..%" PRIu64, b->name,
                                  b->value, b->min, b->max);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_format_check_config(const struct gdfo_model_config *c, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_format_check_bounds(c, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if ((uint64_t)c->n_heads * c->d_head != c->d_model) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "embedding length %" PRIu32 " is not %" PRIu32
                              " heads of size %" PRIu32,
                              c->d_model, c->n_heads, c->d_head);
    }
    if (c->n_heads % c->n_kv_heads != 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%" PRIu32 " heads are no multiple of %" PRIu32 " KV heads",
                              c->n_heads, c->n_kv_heads);
    }
    if (c->n_rot < 2 || c->n_rot % 2 != 0 || c->n_rot > c->d_head) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "rope dimension is %" PRIu32 ", accepted even numbers 2..%" PRIu32
                              " (the head size)",
                              c->n_rot, c->d_head);
    }
    if (!(c->rms_eps > 0 && c->rms_eps <= 0.01)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "rms epsilon is %g, accepted above 0 and up to 0.01", c->rms_eps);
    }
    if (!isfinite(c->rope_base) || c->rope_base < 1) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "rope base is %g, accepted 1 and above",
                              c->rope_base);
    }
    return GDFO_STATUS_OK;
}

/* ---- the table of tensors ---------------------------------------------------------------------
 */

enum extent { EXTENT_NONE, EXTENT_D, EXTENT_KV, EXTENT_FF, EXTENT_VOCAB };

struct expected {
    const char *name; /* after "blk.N." for those of a block */
    enum extent columns, rows;
};

static const struct expected of_block[] = {
    {"attn_norm.weight", EXTENT_D, EXTENT_NONE}, {"attn_q.weight", EXTENT_D, EXTENT_D},
    {"attn_k.weight", EXTENT_D, EXTENT_KV},      {"attn_v.weight", EXTENT_D, EXTENT_KV},
    {"attn_output.weight", EXTENT_D, EXTENT_D},  {"ffn_norm.weight", EXTENT_D, EXTENT_NONE},
    {"ffn_gate.weight", EXTENT_D, EXTENT_FF},    {"ffn_up.weight", EXTENT_D, EXTENT_FF},
    {"ffn_down.weight", EXTENT_FF, EXTENT_D},
};
static const struct expected of_file[] = {
    {"token_embd.weight", EXTENT_D, EXTENT_VOCAB},
    {"output_norm.weight", EXTENT_D, EXTENT_NONE},
    {"output.weight", EXTENT_D, EXTENT_VOCAB}, /* last: may be absent */
};
#define N_OF_BLOCK (sizeof of_block / sizeof of_block[0])
#define N_OF_FILE  (sizeof of_file / sizeof of_file[0])

static uint64_t extent(const struct gdfo_model_config *c, enum extent e)
{
    switch (e) {
    case EXTENT_NONE: return 1;
    case EXTENT_D: return c->d_model;
    case EXTENT_KV: return (uint64_t)c->n_kv_heads * c->d_head;
    case EXTENT_FF: return c->d_ff;
    case EXTENT_VOCAB: return c->vocab;
    }
    return 0;
}

static const struct expected *find_expected(const struct expected *table, size_t n,
                                            const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

/* The row for a tensor's name, NULL when a model of this config has no such tensor. */
static const struct expected *lookup(const struct gdfo_model_config *c, const char *name)
{
    char number[8] = "";
    size_t n;
    int64_t block = 0;
    if (strncmp(name, "blk.", 4) != 0) {
        return find_expected(of_file, N_OF_FILE, name);
    }
    n = strspn(name + 4, "0123456789");
    if (n < 1 || n >= sizeof number || name[4 + n] != '.' || (name[4] == '0' && n > 1)) {
        return NULL;
    }
    memcpy(number, name + 4, n);
    if (!gdfo_parse_i64(number, 0, (int64_t)c->n_layers - 1, &block)) {
        return NULL;
    }
    return find_expected(of_block, N_OF_BLOCK, name + 4 + n + 1);
}

static enum gdfo_status refuse(const char *name, uint32_t n_layers, struct gdfo_error *err)
{
    const size_t n = strlen(name);
    const char *why = NULL;
    if (n > 5 && strcmp(name + n - 5, ".bias") == 0) {
        why = "models with bias are not read";
    } else if (strcmp(name, "rope_freqs.weight") == 0) {
        why = "rotations with frequency factors are not read";
    }
    if (why) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s: %s",
                              gdfo_format_label("tensor", name).text, why);
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "%s has no place in a llama model of %" PRIu32 " blocks",
                          gdfo_format_label("tensor", name).text, n_layers);
}

static enum gdfo_status check_shape(const struct gdfo_model_config *c,
                                    const struct gdfo_model_tensor *t, struct gdfo_error *err)
{
    const struct expected *e = lookup(c, t->name);
    uint64_t columns;
    uint64_t rows;
    if (!e) {
        return refuse(t->name, c->n_layers, err);
    }
    columns = extent(c, e->columns);
    rows = extent(c, e->rows);
    if (t->dims[0] != columns || t->n_elements != columns * rows ||
        t->n_dims != (e->rows == EXTENT_NONE ? 1u : 2u)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has %" PRIu32 " dimensions, rows of %" PRIu64 " and %" PRIu64
                              " elements; the metadata ask for %" PRIu64 " rows of %" PRIu64,
                              gdfo_format_label("tensor", t->name).text, t->n_dims, t->dims[0],
                              t->n_elements, rows, columns);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status require(const struct gdfo_model_file *f, const char *name,
                                struct gdfo_error *err)
{
    if (gdfo_model_tensor_find(f, name)) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s is missing",
                          gdfo_format_label("tensor", name).text);
}

enum gdfo_status gdfo_format_check_tensors(const struct gdfo_model_file *f, struct gdfo_error *err)
{
    char name[GDFO_FORMAT_NAME_MAX + 1];
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < f->n_tensors && status == GDFO_STATUS_OK; i++) {
        status = check_shape(&f->config, &f->tensors[i], err);
    }
    for (size_t i = 0; i + 1 < N_OF_FILE && status == GDFO_STATUS_OK; i++) {
        status = require(f, of_file[i].name, err);
    }
    for (uint32_t b = 0; b < f->config.n_layers && status == GDFO_STATUS_OK; b++) {
        for (size_t i = 0; i < N_OF_BLOCK && status == GDFO_STATUS_OK; i++) {
            GDFO_IGNORE(snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", b, of_block[i].name));
            status = require(f, name, err);
        }
    }
    return status;
}
