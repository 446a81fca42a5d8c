#include "server/job/job_models.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS_MAX       256
#define MODEL_MAX_BYTES  ((uint64_t)16 << 30)
#define PATH_BYTES       4096
#define HASH_CHUNK_BYTES (1u << 20)

struct slot {
    struct gdfo_model_entry entry;
    struct gdfo_model *model; /* NULL until first used */
    size_t same_as;           /* 1 + index of the slot that an alias stands for; 0: none */
};

struct gdfo_models {
    char folder[PATH_BYTES];
    struct gdfo_lock *lock; /* guards the loading; entries never change after create */
    struct slot slots[MODELS_MAX];
    size_t n;
};

struct open_model { /* a file with its config, open while it is read */
    struct gdfo_reader file, config;
    int has_config;
    struct gdfo_model_file *parsed;
};

static void open_model_close(struct open_model *o)
{
    gdfo_model_file_destroy(o->parsed);
    gdfo_reader_close(&o->file);
    if (o->has_config) {
        gdfo_reader_close(&o->config);
    }
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s);
    size_t m = strlen(tail);
    return n > m && strcmp(s + n - m, tail) == 0;
}

static enum gdfo_status open_model_open(struct open_model *o, const struct gdfo_models *m,
                                        const struct gdfo_model_entry *e, struct gdfo_error *err)
{
    char path[PATH_BYTES + 256];
    enum gdfo_status status;
    memset(o, 0, sizeof *o);
    if (gdfo_model_name_is_shard(e->file)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "%s: one shard of several, which are not read; save the model as one "
                              "file (save_pretrained with a larger max_shard_size)",
                              e->file);
    }
    (void)snprintf(path, sizeof path, "%s/%s", m->folder, e->file);
    status = gdfo_reader_open(&o->file, path, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (ends_with(e->file, ".safetensors")) {
        (void)snprintf(path, sizeof path, "%s/%s.config.json", m->folder, e->name);
        status = gdfo_reader_open(&o->config, path, err);
        o->has_config = status == GDFO_STATUS_OK;
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_file_open(&o->parsed, &o->file, o->has_config ? &o->config : NULL, err);
    }
    if (status != GDFO_STATUS_OK) {
        open_model_close(o);
    }
    return status;
}

static enum gdfo_status hash_file(const struct gdfo_reader *r, char hex[65], struct gdfo_error *err)
{
    struct gdfo_sha256 h;
    unsigned char digest[GDFO_SHA256_BYTES];
    char *chunk = gdfo_mem_array(HASH_CHUNK_BYTES, 1);
    enum gdfo_status status = chunk ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "hashing a model");
    gdfo_sha256_init(&h);
    for (uint64_t at = 0; status == GDFO_STATUS_OK && at < r->size; at += HASH_CHUNK_BYTES) {
        size_t n = r->size - at < HASH_CHUNK_BYTES ? (size_t)(r->size - at) : HASH_CHUNK_BYTES;
        status = gdfo_reader_at(r, at, chunk, n, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_sha256_add(&h, chunk, n);
        }
    }
    gdfo_sha256_end(&h, digest);
    gdfo_hex(digest, sizeof digest, hex);
    gdfo_mem_free(chunk);
    return status;
}

static enum gdfo_status inspect(const struct gdfo_models *m, struct gdfo_model_entry *e,
                                struct gdfo_error *err)
{
    struct open_model o;
    struct gdfo_tokenizer *t = NULL;
    enum gdfo_status status = open_model_open(&o, m, e, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    e->bytes = o.file.size;
    e->params = gdfo_model_file_float_bytes(o.parsed) / sizeof(float);
    e->n_layers = gdfo_model_file_config(o.parsed)->n_layers;
    e->d_model = gdfo_model_file_config(o.parsed)->d_model;
    e->n_heads = gdfo_model_file_config(o.parsed)->n_heads;
    e->vocab = gdfo_model_file_config(o.parsed)->vocab;
    status = gdfo_model_file_tokenizer(o.parsed, &t, err);
    e->has_tokenizer = status == GDFO_STATUS_OK;
    gdfo_tokenizer_destroy(t);
    if (status == GDFO_STATUS_OK || status == GDFO_STATUS_NOT_FOUND) {
        status = hash_file(&o.file, e->sha256, err);
    }
    open_model_close(&o);
    return status;
}

static int has_model_name(const char *file)
{
    return file[0] != '.' && strlen(file) < sizeof((struct gdfo_model_entry *)0)->name &&
           (ends_with(file, ".gguf") || ends_with(file, ".safetensors"));
}

static void add(struct gdfo_models *m, const char *file)
{
    struct slot *slot = &m->slots[m->n];
    struct gdfo_error err = {0};
    char quoted[600];
    memset(slot, 0, sizeof *slot);
    (void)snprintf(slot->entry.file, sizeof slot->entry.file, "%s", file);
    (void)snprintf(slot->entry.name, sizeof slot->entry.name, "%.*s",
                   (int)(strrchr(file, '.') - file), file);
    if (inspect(m, &slot->entry, &err) != GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_WARN, "models", "ev=model_left_out why=%s",
                 gdfo_log_quote(err.text, quoted, (int)sizeof quoted));
        return;
    }
    if (gdfo_models_find(m, slot->entry.name)) {
        gdfo_log(GDFO_LOG_WARN, "models", "ev=model_left_out why=\"two files of one name\" name=%s",
                 gdfo_log_quote(slot->entry.name, quoted, (int)sizeof quoted));
        return;
    }
    m->n++;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct slot *)a)->entry.name, ((const struct slot *)b)->entry.name);
}

static enum gdfo_status scan(struct gdfo_models *m, struct gdfo_error *err)
{
    struct dirent *entry;
    DIR *dir = opendir(m->folder);
    if (!dir) {
        return gdfo_error_errno(err, errno, "models folder %s", m->folder);
    }
    while (m->n < MODELS_MAX && (entry = readdir(dir)) != NULL) {
        if (has_model_name(entry->d_name)) {
            add(m, entry->d_name);
        }
    }
    (void)closedir(dir);
    qsort(m->slots, m->n, sizeof m->slots[0], compare_names);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_models_create(struct gdfo_models **out, const char *folder,
                                    struct gdfo_error *err)
{
    struct gdfo_models *m = gdfo_mem_array(1, sizeof *m);
    enum gdfo_status status;
    if (!m) {
        return gdfo_error_no_memory(err, "models");
    }
    m->lock = gdfo_lock_create();
    if (!m->lock) {
        gdfo_mem_free(m);
        return gdfo_error_no_memory(err, "models");
    }
    (void)snprintf(m->folder, sizeof m->folder, "%s", folder);
    status = gdfo_file_mkdirs(folder, err);
    if (status == GDFO_STATUS_OK) {
        status = scan(m, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_models_destroy(m);
        return status;
    }
    *out = m;
    return GDFO_STATUS_OK;
}

void gdfo_models_destroy(struct gdfo_models *m)
{
    if (m) {
        for (size_t i = 0; i < m->n; i++) {
            gdfo_model_destroy(m->slots[i].model);
        }
        gdfo_lock_destroy(m->lock);
        gdfo_mem_free(m);
    }
}

size_t gdfo_models_count(const struct gdfo_models *m)
{
    return m->n;
}

const struct gdfo_model_entry *gdfo_models_at(const struct gdfo_models *m, size_t index)
{
    return index < m->n ? &m->slots[index].entry : NULL;
}

static size_t find_slot(const struct gdfo_models *m, const char *name)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->slots[i].entry.name, name) != 0) {
        i++;
    }
    return i;
}

const struct gdfo_model_entry *gdfo_models_find(const struct gdfo_models *m, const char *name)
{
    return gdfo_models_at(m, find_slot(m, name));
}

static size_t find_file(const struct gdfo_models *m, const char *file)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->slots[i].entry.file, file) != 0) {
        i++;
    }
    return i;
}

enum gdfo_status gdfo_models_alias(struct gdfo_models *m, const char *name, const char *model,
                                   struct gdfo_error *err)
{
    size_t at = find_slot(m, model);
    struct slot *slot = &m->slots[m->n];
    at = at < m->n ? at : find_file(m, model);
    if (at == m->n) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "%s: \"%s\" is not in the models folder (%zu good models there)",
                              name, model, m->n);
    }
    if (strcmp(m->slots[at].entry.name, name) == 0) {
        return GDFO_STATUS_OK; /* it has this name already */
    }
    if (find_slot(m, name) < m->n || m->n == MODELS_MAX ||
        strlen(name) >= sizeof slot->entry.name) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                              "%s: another model has this name, or there are %d already", name,
                              MODELS_MAX);
    }
    slot->entry = m->slots[at].entry;
    slot->same_as = m->slots[at].same_as ? m->slots[at].same_as : at + 1;
    (void)snprintf(slot->entry.name, sizeof slot->entry.name, "%s", name);
    m->n++;
    return GDFO_STATUS_OK;
}

/* The file must still be the one that was listed: a changed file would be another teacher under the
 * old name. */
static enum gdfo_status load(const struct gdfo_models *m, struct slot *slot, struct gdfo_error *err)
{
    struct open_model o;
    struct gdfo_model_options options = {.memory_max_bytes = MODEL_MAX_BYTES};
    char sha256[65];
    enum gdfo_status status = open_model_open(&o, m, &slot->entry, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = hash_file(&o.file, sha256, err);
    if (status == GDFO_STATUS_OK && strcmp(sha256, slot->entry.sha256) != 0) {
        status =
            gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                           "%s has changed since the daemon started: restart it", slot->entry.file);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_open(&slot->model, o.parsed, &options, err);
    }
    open_model_close(&o);
    return status;
}

enum gdfo_status gdfo_models_get(struct gdfo_models *m, const char *name,
                                 const struct gdfo_model **out, struct gdfo_error *err)
{
    size_t at = find_slot(m, name);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (at == m->n) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "model \"%s\" is not in the models folder (%zu there)", name, m->n);
    }
    at = m->slots[at].same_as ? m->slots[at].same_as - 1 : at;
    GDFO_LOCK_SCOPE(m->lock);
    if (!m->slots[at].model) {
        status = load(m, &m->slots[at], err);
    }
    if (status == GDFO_STATUS_OK) {
        *out = m->slots[at].model;
    }
    return status;
}
