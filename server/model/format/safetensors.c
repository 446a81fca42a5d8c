#include "common/mem.h"
#include "server/model/format/bert_priv.h"
#include "server/model/format/safetensors_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER_PREFIX "model.layers."

struct name_row {
    const char *file; /* after "model.layers.N." for those of a block */
    const char *gguf;
};

static const struct name_row of_block[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
};
static const struct name_row of_file[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

static const char *translate(const struct name_row *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].file, name) == 0) {
            return table[i].gguf;
        }
    }
    return NULL;
}

/* The GGUF name of a tensor; whether its block exists is checked with all tensors later. */
static enum gdfo_status map_name(struct gdfo_model_tensor *t, const char *name,
                                 struct gdfo_error *err)
{
    const size_t n_prefix = strlen(LAYER_PREFIX);
    const size_t n_name = strlen(name);
    const char *gguf = NULL;
    if (strncmp(name, LAYER_PREFIX, n_prefix) == 0) {
        const size_t n = strspn(name + n_prefix, "0123456789");
        if (n >= 1 && n <= 5 && name[n_prefix + n] == '.') {
            gguf =
                translate(of_block, sizeof of_block / sizeof of_block[0], name + n_prefix + n + 1);
        }
        if (gguf) {
            GDFO_IGNORE(
                snprintf(t->name, sizeof t->name, "blk.%.*s.%s", (int)n, name + n_prefix, gguf));
        }
    } else {
        gguf = translate(of_file, sizeof of_file / sizeof of_file[0], name);
        if (gguf) {
            GDFO_IGNORE(snprintf(t->name, sizeof t->name, "%s", gguf));
        }
    }
    if (gguf) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s %s",
                          gdfo_format_label("tensor", name).text,
                          n_name > 5 && strcmp(name + n_name - 5, ".bias") == 0
                              ? "is a bias: models with bias are not read"
                              : "has no place in a llama model");
}

static enum gdfo_status find_type(struct gdfo_model_tensor *t, const char *dtype, const char *label,
                                  struct gdfo_error *err)
{
    static const struct {
        const char *name;
        uint32_t id;
    } types[] = {{"F32", GDFO_BLOCK_F32}, {"F16", GDFO_BLOCK_F16}, {"BF16", GDFO_BLOCK_BF16}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, dtype) == 0) {
            t->type = gdfo_block_find(types[i].id);
            return GDFO_STATUS_OK;
        }
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s has %s, accepted F32, F16, BF16", label,
                          gdfo_format_label("dtype", dtype).text);
}

/* An array of at most max non-negative integers. */
static enum gdfo_status read_ints(const struct gdfo_json *v, const char *label, const char *what,
                                  uint64_t *out, size_t max, struct gdfo_error *err)
{
    size_t n = 0;
    for (const struct gdfo_json *i = gdfo_json_first(v); i; i = gdfo_json_next(i)) {
        int64_t number = 0;
        if (n >= max || !gdfo_json_int(i, &number) || number < 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s: \"%s\" has %zu entries or one that is no integer of 0 or "
                                  "more; accepted at most %zu",
                                  label, what, gdfo_json_size(v), max);
        }
        out[n++] = (uint64_t)number;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_shape(struct gdfo_model_tensor *t, const struct gdfo_json *shape,
                                   const char *label, struct gdfo_error *err)
{
    uint64_t rows_first[4] = {0};
    enum gdfo_status status = read_ints(shape, label, "shape", rows_first, 4, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    t->n_dims = (uint32_t)gdfo_json_size(shape);
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = i < t->n_dims ? rows_first[t->n_dims - 1 - i] : 1;
    }
    return gdfo_model_tensor_size(t, label, err);
}

/* The offset stays relative to the data. */
static enum gdfo_status read_offsets(struct gdfo_model_tensor *t, const struct gdfo_json *offsets,
                                     const char *label, struct gdfo_error *err)
{
    uint64_t range[2] = {0};
    enum gdfo_status status = read_ints(offsets, label, "data_offsets", range, 2, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (gdfo_json_size(offsets) != 2 || range[1] < range[0] || range[1] - range[0] != t->n_bytes) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: data_offsets %" PRIu64 "..%" PRIu64 " are not the %" PRIu64
                              " bytes of its shape",
                              label, range[0], range[1], t->n_bytes);
    }
    t->offset = range[0];
    return GDFO_STATUS_OK;
}

/* Only the place counts; the dtype may be one that we do not read. */
static enum gdfo_status read_ignored(struct gdfo_model_tensor *t, const struct gdfo_json *offsets,
                                     const char *label, struct gdfo_error *err)
{
    uint64_t range[2] = {0};
    enum gdfo_status status = read_ints(offsets, label, "data_offsets", range, 2, err);
    if (status == GDFO_STATUS_OK && (gdfo_json_size(offsets) != 2 || range[1] < range[0])) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: data_offsets %" PRIu64 "..%" PRIu64 " are no range", label,
                              range[0], range[1]);
    }
    t->type = gdfo_block_find(GDFO_BLOCK_F32);
    t->n_dims = 1;
    t->offset = range[0];
    t->n_bytes = range[1] - range[0];
    return status;
}

static enum gdfo_status read_entry(struct gdfo_model_tensor *t, const struct gdfo_model_config *c,
                                   const struct gdfo_json *entry, struct gdfo_error *err)
{
    const struct gdfo_format_label label = gdfo_format_label("tensor", gdfo_json_key(entry));
    const struct gdfo_json *dtype = gdfo_json_get(entry, "dtype");
    const struct gdfo_json *shape = gdfo_json_get(entry, "shape");
    const struct gdfo_json *offsets = gdfo_json_get(entry, "data_offsets");
    enum gdfo_status status;
    if (gdfo_json_type(entry) != GDFO_JSON_OBJECT || gdfo_json_size(entry) != 3 || !dtype ||
        !gdfo_json_string(dtype) || !shape || gdfo_json_type(shape) != GDFO_JSON_ARRAY ||
        !offsets || gdfo_json_type(offsets) != GDFO_JSON_ARRAY) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s is not an object of \"dtype\" (a string), \"shape\" and "
                              "\"data_offsets\" (arrays)",
                              label.text);
    }
    status = gdfo_is_bert(c) ? gdfo_bert_map_name(t, c, gdfo_json_key(entry), err)
                             : map_name(t, gdfo_json_key(entry), err);
    if (status == GDFO_STATUS_OK && t->is_ignored) {
        return read_ignored(t, offsets, label.text, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_type(t, gdfo_json_string(dtype), label.text, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_shape(t, shape, label.text, err);
    }
    return status == GDFO_STATUS_OK ? read_offsets(t, offsets, label.text, err) : status;
}

static enum gdfo_status check_metadata(const struct gdfo_json *v, struct gdfo_error *err)
{
    int ok = gdfo_json_type(v) == GDFO_JSON_OBJECT;
    for (const struct gdfo_json *i = ok ? gdfo_json_first(v) : NULL; i; i = gdfo_json_next(i)) {
        ok = ok && gdfo_json_string(i) != NULL;
    }
    return ok ? GDFO_STATUS_OK
              : gdfo_error_set(err, GDFO_STATUS_FORMAT,
                               "\"__metadata__\" is not an object of strings");
}

static enum gdfo_status read_entries(struct gdfo_model_file *f, const struct gdfo_json *root,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (gdfo_json_type(root) != GDFO_JSON_OBJECT) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the header is no JSON object");
    }
    for (const struct gdfo_json *v = gdfo_json_first(root); v && status == GDFO_STATUS_OK;
         v = gdfo_json_next(v)) {
        struct gdfo_model_tensor *t;
        if (strcmp(gdfo_json_key(v), "__metadata__") == 0) {
            status = check_metadata(v, err);
            continue;
        }
        if (f->n_tensors >= GDFO_FORMAT_TENSORS_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT, "more than %u tensors",
                                  GDFO_FORMAT_TENSORS_MAX);
        }
        t = gdfo_model_tensor_add(f);
        status = t ? read_entry(t, &f->config, v, err)
                   : gdfo_error_no_memory(err, "reading tensor infos");
    }
    return status;
}

static int by_offset(const void *a, const void *b)
{
    const struct gdfo_model_tensor *x = a;
    const struct gdfo_model_tensor *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The tensors must lie end to end from the first byte of the data to the last. */
static enum gdfo_status place(struct gdfo_model_file *f, uint64_t data_at, struct gdfo_error *err)
{
    const uint64_t n_data = f->reader.size - data_at;
    uint64_t end = 0;
    if (f->n_tensors > 1) {
        qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_offset);
    }
    for (size_t i = 0; i < f->n_tensors; i++) {
        struct gdfo_model_tensor *t = &f->tensors[i];
        if (t->offset != end) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s starts at byte %" PRIu64 " of the data, accepted %" PRIu64
                                  ", where the one before ends",
                                  gdfo_format_label("tensor", t->name).text, t->offset, end);
        }
        if (t->n_bytes > n_data - end) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s: %" PRIu64 " bytes at offset %" PRIu64
                                  " end outside the file, whose data have %" PRIu64 " bytes",
                                  gdfo_format_label("tensor", t->name).text, t->n_bytes, t->offset,
                                  n_data);
        }
        end += t->n_bytes;
        t->offset += data_at;
    }
    if (end != n_data) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "the tensors end at byte %" PRIu64 " of %" PRIu64 " bytes of data",
                              end, n_data);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_head(struct gdfo_model_file *f, struct gdfo_error *err)
{
    unsigned char b[8] = {0};
    struct gdfo_json *root = NULL;
    uint64_t n = 0;
    enum gdfo_status status = gdfo_reader_at(&f->reader, 0, b, sizeof b, err);
    for (unsigned i = 0; i < 8; i++) {
        n |= (uint64_t)b[i] << (8 * i);
    }
    if (status == GDFO_STATUS_OK && (n < 2 || n > GDFO_SAFETENSORS_HEAD_MAX)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "the header has %" PRIu64 " bytes, accepted 2..%" PRIu64, n,
                              GDFO_SAFETENSORS_HEAD_MAX);
    }
    if (status == GDFO_STATUS_OK && n > f->reader.size - sizeof b) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "the header has %" PRIu64 " bytes, but the file ends after %" PRIu64,
                              n, f->reader.size - sizeof b);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_read_at(&root, &f->reader, sizeof b, (size_t)n, err);
        if (status != GDFO_STATUS_OK && err) {
            status = gdfo_error_prefix(err, "header"); /* JSON, or the read itself */
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = read_entries(f, root, err);
    }
    gdfo_json_destroy(root);
    return status == GDFO_STATUS_OK ? place(f, sizeof b + n, err) : status;
}

/* tie_word_embeddings and lm_head must tell the same; either alone decides. */
static enum gdfo_status settle_head(struct gdfo_model_file *f, struct gdfo_error *err)
{
    const int has_head = gdfo_model_tensor_find(f, "output.weight") != NULL;
    const int said = f->config.is_tied;
    f->config.is_tied = !has_head;
    if (said >= 0 && said != f->config.is_tied) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "tie_word_embeddings is %s, but the file has %s lm_head.weight",
                              said ? "true" : "false", has_head ? "a" : "no");
    }
    return GDFO_STATUS_OK;
}

/* Rotation pairs are adjacent rows in all we compute with; this file has them half a head apart. */
static void mark_paired(struct gdfo_model_file *f)
{
    for (size_t i = 0; i < f->n_tensors; i++) {
        struct gdfo_model_tensor *t = &f->tensors[i];
        if (strstr(t->name, ".attn_q.")) {
            t->n_pair_heads = f->config.n_heads;
        } else if (strstr(t->name, ".attn_k.")) {
            t->n_pair_heads = f->config.n_kv_heads;
        }
    }
}

enum gdfo_status gdfo_safetensors_open(struct gdfo_model_file *f, const struct gdfo_reader *config,
                                       struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_config_json_read(&f->config, config, err);
    if (status == GDFO_STATUS_OK) {
        status = read_head(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_tensors_sort(f, err);
    }
    if (status == GDFO_STATUS_OK && gdfo_is_bert(&f->config)) {
        return gdfo_bert_check(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = settle_head(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_format_check_config(&f->config, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_format_check_tensors(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        mark_paired(f);
    }
    return status;
}
