#include "common/mem.h"
#include "server/model/format/format_priv.h"
#include "server/model/format/gguf_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of stored bytes read at a time, on the stack: more than one block of any type. */
#define CHUNK_BYTES 65536u

struct gdfo_format_label gdfo_format_label(const char *kind, const char *name)
{
    static const size_t room = sizeof((struct gdfo_format_label *)0)->text - 8;
    struct gdfo_format_label l;
    size_t n = (size_t)snprintf(l.text, sizeof l.text, "%s \"", kind);
    for (; *name && n < room; name++) {
        const unsigned char c = (unsigned char)*name;
        const int is_plain = c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
        n += (size_t)snprintf(l.text + n, sizeof l.text - n, is_plain ? "%c" : "\\x%02x", c);
    }
    GDFO_IGNORE(snprintf(l.text + n, sizeof l.text - n, *name ? "...\"" : "\""));
    return l;
}

/* Puts the file's name in front of a message that has none yet (the reader's own have it). */
static enum gdfo_status name_file(const struct gdfo_model_file *f, struct gdfo_error *err,
                                  enum gdfo_status status)
{
    const char *name = f->reader.name ? f->reader.name : "model file";
    if (status != GDFO_STATUS_OK && err && strncmp(err->text, name, strlen(name)) != 0) {
        return gdfo_error_prefix(err, "%s", name);
    }
    return status;
}

static enum gdfo_status open_by_magic(struct gdfo_model_file *f, const struct gdfo_reader *config,
                                      struct gdfo_error *err)
{
    char magic[4] = "";
    enum gdfo_status status = GDFO_STATUS_OK;
    if (f->reader.size > GDFO_FORMAT_FILE_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "the file has %" PRIu64 " bytes, at most %" PRIu64, f->reader.size,
                              GDFO_FORMAT_FILE_MAX);
    }
    if (f->reader.size < 8) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "a file of %" PRIu64 " bytes is no model file", f->reader.size);
    }
    status = gdfo_reader_at(&f->reader, 0, magic, sizeof magic, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (memcmp(magic, "GGUF", 4) == 0) {
        return gdfo_gguf_open(f, err);
    }
    if (config) {
        return gdfo_safetensors_open(f, config, err);
    }
    return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                          "not a GGUF file (it starts with %02x %02x %02x %02x, not \"GGUF\"); a "
                          "safetensors file needs its config.json beside it",
                          (unsigned char)magic[0], (unsigned char)magic[1], (unsigned char)magic[2],
                          (unsigned char)magic[3]);
}

enum gdfo_status gdfo_model_file_open(struct gdfo_model_file **out, const struct gdfo_reader *file,
                                      const struct gdfo_reader *config, struct gdfo_error *err)
{
    enum gdfo_status status;
    struct gdfo_model_file *f = gdfo_mem_array(1, sizeof *f);
    if (!f) {
        return gdfo_error_no_memory(err, "opening a model file");
    }
    f->reader = *file;
    status = name_file(f, err, open_by_magic(f, config, err));
    if (status != GDFO_STATUS_OK) {
        gdfo_model_file_destroy(f);
        return status;
    }
    *out = f;
    return GDFO_STATUS_OK;
}

void gdfo_model_file_destroy(struct gdfo_model_file *f)
{
    if (f) {
        gdfo_gguf_destroy(f->gguf);
        gdfo_mem_free(f->tensors);
        gdfo_mem_free(f);
    }
}

const struct gdfo_model_config *gdfo_model_file_config(const struct gdfo_model_file *f)
{
    return &f->config;
}

int gdfo_model_file_has(const struct gdfo_model_file *f, const char *tensor)
{
    return gdfo_model_tensor_find(f, tensor) != NULL;
}

uint64_t gdfo_model_file_float_bytes(const struct gdfo_model_file *f)
{
    uint64_t sum = 0; /* 16,384 tensors of 2^40 elements of 4 bytes: 2^56 */
    for (size_t i = 0; i < f->n_tensors; i++) {
        sum += f->tensors[i].n_elements * sizeof(float);
    }
    return sum;
}

/* n elements of t from element first on (both multiples of its block) into out. */
static enum gdfo_status read_run(const struct gdfo_model_file *f, const struct gdfo_model_tensor *t,
                                 uint64_t first, size_t n, float *out, unsigned char *chunk,
                                 struct gdfo_error *err)
{
    const struct gdfo_block_type *type = t->type;
    const size_t chunk_blocks = CHUNK_BYTES / type->n_bytes;
    uint64_t block = first / type->n_elements;
    const uint64_t end = (first + n) / type->n_elements;
    while (block < end) {
        const size_t take = end - block < chunk_blocks ? (size_t)(end - block) : chunk_blocks;
        size_t good;
        enum gdfo_status status = gdfo_reader_at(&f->reader, t->offset + block * type->n_bytes,
                                                 chunk, take * type->n_bytes, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        good = type->decode(chunk, take, out);
        if (good < take) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "%s: the %s %s number %" PRIu64 " is not finite",
                                  gdfo_format_label("tensor", t->name).text, type->name,
                                  type->n_elements > 1 ? "block scale" : "value", block + good);
        }
        out += take * type->n_elements;
        block += take;
    }
    return GDFO_STATUS_OK;
}

/* From the half-split rotation order of safetensors to adjacent pairs (6.1): within a head of hd
 * rows, row 2i + p is the file's row p * hd/2 + i. */
static enum gdfo_status read_paired(const struct gdfo_model_file *f,
                                    const struct gdfo_model_tensor *t, float *out,
                                    unsigned char *chunk, struct gdfo_error *err)
{
    const uint64_t columns = t->dims[0];
    const uint64_t head_rows = t->dims[1] / t->n_pair_heads;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint64_t r = 0; r < t->dims[1] && status == GDFO_STATUS_OK; r++) {
        const uint64_t in_head = r % head_rows;
        const uint64_t from = r - in_head + (in_head % 2) * (head_rows / 2) + in_head / 2;
        status = read_run(f, t, from * columns, (size_t)columns, out + r * columns, chunk, err);
    }
    return status;
}

enum gdfo_status gdfo_model_file_read(const struct gdfo_model_file *f, const char *tensor,
                                      float *out, size_t n, struct gdfo_error *err)
{
    const struct gdfo_model_tensor *t = gdfo_model_tensor_find(f, tensor);
    unsigned char chunk[CHUNK_BYTES];
    enum gdfo_status status;
    if (!t || t->is_ignored) {
        status = gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no %s in the file",
                                gdfo_format_label("tensor", tensor).text);
        return name_file(f, err, status);
    }
    if (n != t->n_elements) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s has %" PRIu64 " elements, not %zu",
                                gdfo_format_label("tensor", tensor).text, t->n_elements, n);
        return name_file(f, err, status);
    }
    status = t->n_pair_heads ? read_paired(f, t, out, chunk, err)
                             : read_run(f, t, 0, n, out, chunk, err);
    return name_file(f, err, status);
}

void gdfo_model_file_set_tokenizer(struct gdfo_model_file *f,
                                   const struct gdfo_tokenizer_files *files)
{
    f->tokenizer_files = *files;
}

enum gdfo_status gdfo_model_file_tokenizer(const struct gdfo_model_file *f,
                                           struct gdfo_tokenizer **out, struct gdfo_error *err)
{
    if (!f->gguf && f->config.is_masked && gdfo_tokenizer_files_any(&f->tokenizer_files)) {
        return gdfo_tokenizer_files_read(out, &f->tokenizer_files, f->config.vocab, err);
    }
    if (!f->gguf) {
        return name_file(
            f, err,
            gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "a safetensors file carries no tokenizer"));
    }
    return name_file(f, err, gdfo_gguf_tokenizer(f, out, err));
}

int gdfo_model_name_is_shard(const char *file_name)
{
    static const char shape[] = "-#####-of-#####.safetensors";
    const size_t n_shape = sizeof shape - 1;
    const size_t n = strlen(file_name);
    const char *tail = n > n_shape ? file_name + n - n_shape : NULL;
    for (size_t i = 0; tail && i < n_shape; i++) {
        int is_digit = tail[i] >= '0' && tail[i] <= '9';
        if (shape[i] == '#' ? !is_digit : tail[i] != shape[i]) {
            return 0;
        }
    }
    return tail != NULL;
}
