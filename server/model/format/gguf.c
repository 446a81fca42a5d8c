#include "common/mem.h"
#include "server/model/format/gguf_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KV_BYTES_MIN     14u /* length, one byte of name, type, one byte of value */
#define INFO_BYTES_MIN   33u /* length, one byte of name, n_dims, one dim, type, offset */
#define ALIGNMENT_KEY    "general.alignment"
#define ALIGNMENT_MIN    8u
#define ALIGNMENT_MAX    4096u
#define ALIGNMENT_USUAL  32u
#define VERSION_SWAPPED2 0x02000000u
#define VERSION_SWAPPED3 0x03000000u

struct head {
    uint64_t n_tensors, n_kvs;
    uint64_t alignment;
    uint64_t data_at; /* where tensor offsets count from */
};

void gdfo_gguf_destroy(struct gdfo_gguf *g)
{
    if (g) {
        gdfo_mem_free(g->kvs);
        gdfo_mem_free(g);
    }
}

static enum gdfo_status check_version(uint32_t version, struct gdfo_error *err)
{
    if (version == 2 || version == 3) {
        return GDFO_STATUS_OK;
    }
    if (version == VERSION_SWAPPED2 || version == VERSION_SWAPPED3) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "big-endian GGUF is not read");
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "GGUF version %" PRIu32 " is not read, accepted 2 and 3", version);
}

static enum gdfo_status check_count(const struct gdfo_cursor *c, uint64_t n, uint64_t max,
                                    uint64_t bytes_min, const char *what, struct gdfo_error *err)
{
    if (n > max) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: %" PRIu64 ", at most %" PRIu64, what, n,
                              max);
    }
    return gdfo_cursor_need(c, n, bytes_min, what, err);
}

static enum gdfo_status read_head(struct gdfo_cursor *c, struct head *h, struct gdfo_error *err)
{
    uint32_t version = 0;
    enum gdfo_status status;
    c->at = 4; /* the magic is known */
    status = gdfo_cursor_u32(c, &version, "the version", err);
    if (status == GDFO_STATUS_OK) {
        status = check_version(version, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u64(c, &h->n_tensors, "the number of tensors", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u64(c, &h->n_kvs, "the number of keys", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_count(c, h->n_kvs, GDFO_GGUF_KVS_MAX, KV_BYTES_MIN, "number of keys", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_count(c, h->n_tensors, GDFO_FORMAT_TENSORS_MAX, INFO_BYTES_MIN,
                             "number of tensors", err);
    }
    return status;
}

static enum gdfo_status read_alignment(const struct gdfo_gguf *g, struct head *h,
                                       struct gdfo_error *err)
{
    const struct gdfo_gguf_range range = {ALIGNMENT_MIN, ALIGNMENT_MAX};
    enum gdfo_status status;
    h->alignment = ALIGNMENT_USUAL;
    status = gdfo_gguf_int(g, ALIGNMENT_KEY, range, &h->alignment, err);
    if (status == GDFO_STATUS_OK && (h->alignment & (h->alignment - 1)) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s is %" PRIu64 ", accepted powers of two 8..4096",
                              gdfo_format_label("key", ALIGNMENT_KEY).text, h->alignment);
    }
    return status;
}

static enum gdfo_status read_tensor_name(struct gdfo_cursor *c, struct gdfo_model_tensor *t,
                                         uint64_t number, struct gdfo_error *err)
{
    struct gdfo_buf name;
    enum gdfo_status status;
    gdfo_buf_init(&name, GDFO_FORMAT_NAME_MAX);
    status = gdfo_cursor_text(c, &name, GDFO_FORMAT_NAME_MAX, "the name of a tensor", err);
    if (status != GDFO_STATUS_OK) {
        status = err ? gdfo_error_prefix(err, "tensor number %" PRIu64, number) : status;
    } else if (name.len < 1) {
        status = gdfo_error_set(err, GDFO_STATUS_FORMAT, "tensor number %" PRIu64 " has no name",
                                number);
    } else {
        memcpy(t->name, name.data, name.len + 1);
    }
    gdfo_buf_deinit(&name);
    return status;
}

static enum gdfo_status find_type(struct gdfo_model_tensor *t, uint32_t id, const char *label,
                                  struct gdfo_error *err)
{
    t->type = gdfo_block_find(id);
    if (t->type) {
        return GDFO_STATUS_OK;
    }
    if (gdfo_block_name(id)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s has type %s, accepted %s", label,
                              gdfo_block_name(id), gdfo_block_list());
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "%s has the unknown type %" PRIu32 ", accepted %s", label, id,
                          gdfo_block_list());
}

/* n_dims, dims, type and offset as they stand; the offset is still relative. */
static enum gdfo_status read_info(struct gdfo_cursor *c, struct gdfo_model_tensor *t,
                                  const char *label, struct gdfo_error *err)
{
    uint32_t type = 0;
    enum gdfo_status status = gdfo_cursor_u32(c, &t->n_dims, label, err);
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = 1;
    }
    if (status == GDFO_STATUS_OK && (t->n_dims < 1 || t->n_dims > 4)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has %" PRIu32 " dimensions, accepted 1..4", label, t->n_dims);
    }
    for (uint32_t i = 0; i < t->n_dims && status == GDFO_STATUS_OK; i++) {
        status = gdfo_cursor_u64(c, &t->dims[i], label, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u32(c, &type, label, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_type(t, type, label, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_cursor_u64(c, &t->offset, label, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_model_tensor_size(t, label, err) : status;
}

static enum gdfo_status read_infos(struct gdfo_model_file *f, struct gdfo_cursor *c, uint64_t n,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint64_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        struct gdfo_model_tensor *t = gdfo_model_tensor_add(f);
        if (!t) {
            return gdfo_error_no_memory(err, "reading tensor infos");
        }
        status = read_tensor_name(c, t, i, err);
        if (status == GDFO_STATUS_OK) {
            status = read_info(c, t, gdfo_format_label("tensor", t->name).text, err);
        }
    }
    return status;
}

/* Makes offsets absolute; each aligned and its bytes inside the file. */
static enum gdfo_status place(struct gdfo_model_file *f, const struct head *h,
                              struct gdfo_error *err)
{
    const uint64_t room = f->reader.size - h->data_at;
    for (size_t i = 0; i < f->n_tensors; i++) {
        struct gdfo_model_tensor *t = &f->tensors[i];
        if (t->offset % h->alignment != 0) {
            return gdfo_error_set(
                err, GDFO_STATUS_FORMAT, "%s: offset %" PRIu64 " is no multiple of %" PRIu64,
                gdfo_format_label("tensor", t->name).text, t->offset, h->alignment);
        }
        if (t->offset > room || t->n_bytes > room - t->offset) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s: %" PRIu64 " bytes at offset %" PRIu64
                                  " end outside the file, whose data have %" PRIu64 " bytes",
                                  gdfo_format_label("tensor", t->name).text, t->n_bytes, t->offset,
                                  room);
        }
        t->offset += h->data_at;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status find_data(const struct gdfo_model_file *f, const struct gdfo_cursor *c,
                                  struct head *h, struct gdfo_error *err)
{
    h->data_at = (c->at + h->alignment - 1) / h->alignment * h->alignment;
    if (h->data_at > f->reader.size) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "the data should start at byte %" PRIu64 ", but the file has %" PRIu64
                              " bytes",
                              h->data_at, f->reader.size);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_all(struct gdfo_model_file *f, struct gdfo_cursor *c,
                                 struct gdfo_error *err)
{
    struct head h = {0};
    enum gdfo_status status = read_head(c, &h, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_read_kvs(f->gguf, c, h.n_kvs, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_alignment(f->gguf, &h, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_infos(f, c, h.n_tensors, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_data(f, c, &h, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = place(f, &h, err);
    }
    return status;
}

enum gdfo_status gdfo_gguf_open(struct gdfo_model_file *f, struct gdfo_error *err)
{
    struct gdfo_cursor c;
    enum gdfo_status status = gdfo_cursor_init(&c, &f->reader, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    f->gguf = gdfo_mem_array(1, sizeof *f->gguf);
    status = f->gguf ? read_all(f, &c, err) : gdfo_error_no_memory(err, "opening a GGUF file");
    gdfo_cursor_deinit(&c);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_tensors_sort(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_config(f, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_format_check_tensors(f, err) : status;
}
