#include "server/job/job_models.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODELS_MAX       256
#define MODEL_MAX_BYTES  ((uint64_t)16 << 30) /* weights of one model, whatever the ceiling */
#define PATH_BYTES       4096
#define HASH_CHUNK_BYTES (1u << 20)
#define WEIGHTS_FILE     "/model.safetensors" /* of a Hugging Face folder */
#define N_BESIDE         6

struct loaded {
    struct gdfo_model *model; /* NULL: not loaded */
    uint64_t bytes;           /* booked for it */
    unsigned n_users;
    uint64_t used; /* turn of the last release */
};

struct slot {
    struct gdfo_model_entry entry;
    struct loaded loaded[GDFO_PRECISION_COUNT];
    size_t same_as; /* 1 + index of the slot that an alias stands for; 0: none */
};

struct gdfo_models {
    char folder[PATH_BYTES];
    struct gdfo_models_setup setup;
    struct gdfo_lock *lock; /* guards all below but the entries, which never change after create */
    struct gdfo_cond *released;
    uint64_t in_use; /* bytes of loaded models and of work */
    uint64_t turn;
    int is_measuring;
    struct slot slots[MODELS_MAX];
    size_t n;
};

/* What lies beside the weights: in a folder under its own name, else behind the stem and a dot. */
static const char *const beside[N_BESIDE] = {"config.json", "tokenizer.json",
                                             "vocab.txt",   "vocab.json",
                                             "merges.txt",  "tokenizer_config.json"};

struct open_model { /* a file and what lies beside it, open while it is read */
    struct gdfo_reader file, beside[N_BESIDE];
    int has[N_BESIDE];
    struct gdfo_model_file *parsed;
};

static void open_model_close(struct open_model *o)
{
    gdfo_model_file_destroy(o->parsed);
    gdfo_reader_close(&o->file);
    for (size_t i = 0; i < N_BESIDE; i++) {
        if (o->has[i]) {
            gdfo_reader_close(&o->beside[i]);
        }
    }
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s);
    size_t m = strlen(tail);
    return n > m && strcmp(s + n - m, tail) == 0;
}

/* The config must be there; a tokenizer's files may be. */
static enum gdfo_status open_beside(struct open_model *o, const struct gdfo_models *m,
                                    const struct gdfo_model_entry *e, struct gdfo_error *err)
{
    const char between = strchr(e->file, '/') ? '/' : '.';
    for (size_t i = 0; i < N_BESIDE; i++) {
        char path[PATH_BYTES + 256];
        enum gdfo_status status;
        (void)snprintf(path, sizeof path, "%s/%s%c%s", m->folder, e->name, between, beside[i]);
        status = gdfo_reader_open(&o->beside[i], path, err);
        o->has[i] = status == GDFO_STATUS_OK;
        if (status != GDFO_STATUS_OK && (i == 0 || status != GDFO_STATUS_NOT_FOUND)) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

static const struct gdfo_reader *reader_of(const struct open_model *o, size_t i)
{
    return o->has[i] ? &o->beside[i] : NULL;
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
        status = open_beside(o, m, e, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_file_open(&o->parsed, &o->file, reader_of(o, 0), err);
    }
    if (status == GDFO_STATUS_OK) {
        const struct gdfo_tokenizer_files files = {
            reader_of(o, 1), reader_of(o, 2), reader_of(o, 3), reader_of(o, 4), reader_of(o, 5)};
        gdfo_model_file_set_tokenizer(o->parsed, &files);
    }
    if (status != GDFO_STATUS_OK) {
        open_model_close(o);
    }
    return status;
}

static enum gdfo_status hash_reader(struct gdfo_sha256 *h, const struct gdfo_reader *r,
                                    struct gdfo_error *err)
{
    char *chunk = gdfo_mem_array(HASH_CHUNK_BYTES, 1);
    enum gdfo_status status = chunk ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "hashing a model");
    for (uint64_t at = 0; status == GDFO_STATUS_OK && at < r->size; at += HASH_CHUNK_BYTES) {
        size_t n = r->size - at < HASH_CHUNK_BYTES ? (size_t)(r->size - at) : HASH_CHUNK_BYTES;
        status = gdfo_reader_at(r, at, chunk, n, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_sha256_add(h, chunk, n);
        }
    }
    gdfo_mem_free(chunk);
    return status;
}

/* The weights; of a masked language model also what lies beside them, which makes its answers too.
 */
static enum gdfo_status hash_model(const struct open_model *o, char hex[65], struct gdfo_error *err)
{
    struct gdfo_sha256 h;
    unsigned char digest[GDFO_SHA256_BYTES];
    enum gdfo_status status;
    gdfo_sha256_init(&h);
    status = hash_reader(&h, &o->file, err);
    for (size_t i = 0; i < N_BESIDE && gdfo_model_file_config(o->parsed)->is_masked; i++) {
        if (status == GDFO_STATUS_OK && o->has[i]) {
            gdfo_sha256_add(&h, beside[i], strlen(beside[i]) + 1);
            status = hash_reader(&h, &o->beside[i], err);
        }
    }
    gdfo_sha256_end(&h, digest);
    gdfo_hex(digest, sizeof digest, hex);
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
    e->config = *gdfo_model_file_config(o.parsed);
    e->params = gdfo_model_file_float_bytes(o.parsed) / sizeof(float);
    e->n_layers = gdfo_model_file_config(o.parsed)->n_layers;
    e->d_model = gdfo_model_file_config(o.parsed)->d_model;
    e->n_heads = gdfo_model_file_config(o.parsed)->n_heads;
    e->vocab = gdfo_model_file_config(o.parsed)->vocab;
    status = gdfo_model_file_tokenizer(o.parsed, &t, err);
    e->has_tokenizer = status == GDFO_STATUS_OK;
    gdfo_tokenizer_destroy(t);
    if (status == GDFO_STATUS_OK || status == GDFO_STATUS_NOT_FOUND) {
        status = hash_model(&o, e->sha256, err);
    }
    open_model_close(&o);
    return status;
}

static int has_model_name(const char *file)
{
    return file[0] != '.' && strlen(file) < sizeof((struct gdfo_model_entry *)0)->name &&
           (ends_with(file, ".gguf") || ends_with(file, ".safetensors"));
}

static int folder_has(const struct gdfo_models *m, const char *name, const char *file)
{
    char path[PATH_BYTES + 256];
    struct stat about;
    (void)snprintf(path, sizeof path, "%s/%s%s", m->folder, name, file);
    return lstat(path, &about) == 0 && (file[0] != '\0' || S_ISDIR(about.st_mode));
}

/* A folder (no link) below the models folder that holds model.safetensors: a model of the folder's
 * name. */
static int is_model_folder(const struct gdfo_models *m, const char *name)
{
    char quoted[600];
    if (name[0] == '.' || strlen(name) >= sizeof((struct gdfo_model_entry *)0)->name ||
        !folder_has(m, name, "")) {
        return 0;
    }
    if (folder_has(m, name, WEIGHTS_FILE)) {
        return 1;
    }
    if (folder_has(m, name, WEIGHTS_FILE ".index.json")) {
        gdfo_log(
            GDFO_LOG_WARN, "models",
            "ev=model_left_out why=\"shards are not read; save the model as one file\" name=%s",
            gdfo_log_quote(name, quoted, (int)sizeof quoted));
    }
    return 0;
}

static void add(struct gdfo_models *m, const char *file)
{
    struct slot *slot = &m->slots[m->n];
    struct gdfo_error err = {0};
    char quoted[600];
    memset(slot, 0, sizeof *slot);
    (void)snprintf(slot->entry.file, sizeof slot->entry.file, "%s", file);
    (void)snprintf(slot->entry.name, sizeof slot->entry.name, "%.*s",
                   (int)((strchr(file, '/') ? strchr(file, '/') : strrchr(file, '.')) - file),
                   file);
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
        char file[sizeof m->slots[0].entry.file + sizeof WEIGHTS_FILE];
        if (has_model_name(entry->d_name)) {
            add(m, entry->d_name);
        } else if (is_model_folder(m, entry->d_name)) {
            (void)snprintf(file, sizeof file, "%.*s" WEIGHTS_FILE,
                           (int)sizeof m->slots[0].entry.name, entry->d_name);
            add(m, file);
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
    m->released = gdfo_cond_create();
    if (!m->lock || !m->released) {
        gdfo_models_destroy(m);
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
        for (size_t i = 0; i < m->n * GDFO_PRECISION_COUNT; i++) {
            gdfo_model_destroy(
                m->slots[i / GDFO_PRECISION_COUNT].loaded[i % GDFO_PRECISION_COUNT].model);
        }
        gdfo_cond_destroy(m->released);
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

/* ---- memory -------------------------------------------------------------------------------- */

enum gdfo_precision gdfo_models_setting_for(const struct gdfo_models *m,
                                            const struct gdfo_model_entry *e)
{
    enum gdfo_precision p = m->setup.precision == GDFO_PRECISION_AUTO
                                ? GDFO_PRECISION_F32
                                : (enum gdfo_precision)m->setup.precision;
    return gdfo_models_bytes(e, p) > 0 ? p : GDFO_PRECISION_F32;
}

/* What could never be loaded is no teacher and no student. */
static void leave_out_too_large(struct gdfo_models *m)
{
    char quoted[300];
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        enum gdfo_precision p = gdfo_models_setting_for(m, &m->slots[i].entry);
        uint64_t bytes = gdfo_models_bytes(&m->slots[i].entry, p);
        if (m->setup.memory_bytes > 0 && bytes > m->setup.memory_bytes) {
            gdfo_log(GDFO_LOG_WARN, "models",
                     "ev=model_left_out name=%s why=\"its weights need %" PRIu64
                     " bytes of memory; --memory allows %" PRIu64 "\"",
                     gdfo_log_quote(m->slots[i].entry.name, quoted, (int)sizeof quoted), bytes,
                     m->setup.memory_bytes);
        } else {
            m->slots[n++] = m->slots[i];
        }
    }
    m->n = n;
}

void gdfo_models_set_up(struct gdfo_models *m, const struct gdfo_models_setup *setup)
{
    m->setup = *setup;
    leave_out_too_large(m);
}

const struct gdfo_models_setup *gdfo_models_setup_of(const struct gdfo_models *m)
{
    return &m->setup;
}

uint64_t gdfo_models_bytes(const struct gdfo_model_entry *e, enum gdfo_precision precision)
{
    return gdfo_model_bytes_for(&e->config, precision);
}

static size_t real_slot(const struct gdfo_models *m, const char *name)
{
    size_t at = find_slot(m, name);
    return at < m->n && m->slots[at].same_as ? m->slots[at].same_as - 1 : at;
}

/* What a want comes to: at most two models and its work. */
struct need {
    size_t n, at[2];
    enum gdfo_precision precision[2];
    uint64_t bytes;   /* of all, loaded or not */
    uint64_t missing; /* of it, not yet booked */
};

static enum gdfo_status not_found(const struct gdfo_models *m, const char *name,
                                  struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                          "model \"%s\" is not in the models folder (%zu there)", name, m->n);
}

/* With the lock held, but for gdfo_models_fits, which needs no `missing`. */
static enum gdfo_status need_of(const struct gdfo_models *m, const struct gdfo_models_want *want,
                                struct need *out, struct gdfo_error *err)
{
    const char *const names[2] = {want->teacher, want->student};
    *out = (struct need){.bytes = want->work_bytes, .missing = want->work_bytes};
    for (size_t i = 0; i < 2; i++) {
        enum gdfo_precision p = i == 0 ? want->precision : GDFO_PRECISION_F32;
        size_t at = names[i] ? real_slot(m, names[i]) : 0;
        if (!names[i]) {
            continue;
        }
        if (at == m->n) {
            return not_found(m, names[i], err);
        }
        if (i == 1 && want->teacher && out->at[0] == at) {
            p = out->precision[0]; /* the teacher's own file */
        }
        for (int k = 0; i == 0 && want->any_precision && k < GDFO_PRECISION_COUNT; k++) {
            p = m->slots[at].loaded[k].model ? (enum gdfo_precision)k : p;
        }
        out->at[out->n] = at;
        out->precision[out->n] = p;
        out->n++;
        if (out->n == 2 && out->at[0] == at && out->precision[0] == p) {
            continue; /* booked once */
        }
        out->bytes += gdfo_models_bytes(&m->slots[at].entry, p);
        out->missing +=
            m->slots[at].loaded[p].model ? 0 : gdfo_models_bytes(&m->slots[at].entry, p);
    }
    return GDFO_STATUS_OK;
}

static uint64_t mib(uint64_t bytes)
{
    return (bytes + ((uint64_t)1 << 20) - 1) >> 20;
}

static enum gdfo_status check_alone(const struct gdfo_models *m, const struct need *need,
                                    struct gdfo_error *err)
{
    if (m->setup.memory_bytes == 0 || need->bytes <= m->setup.memory_bytes) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                          "this needs %" PRIu64 " bytes of memory (%" PRIu64
                          " MiB); --memory allows %" PRIu64 " (%" PRIu64 " MiB)",
                          need->bytes, mib(need->bytes), m->setup.memory_bytes,
                          m->setup.memory_bytes >> 20);
}

enum gdfo_status gdfo_models_fits(const struct gdfo_models *m, const struct gdfo_models_want *want,
                                  struct gdfo_error *err)
{
    struct gdfo_models_want plain = *want;
    struct need need;
    enum gdfo_status status;
    plain.any_precision = 0;
    GDFO_LOCK_SCOPE(m->lock);
    status = need_of(m, &plain, &need, err);
    return status == GDFO_STATUS_OK ? check_alone(m, &need, err) : status;
}

static void unload(struct gdfo_models *m, struct loaded *l)
{
    gdfo_model_destroy(l->model);
    m->in_use -= l->bytes;
    *l = (struct loaded){.model = NULL};
}

static int is_needed(const struct need *need, size_t at, int precision)
{
    for (size_t i = 0; i < need->n; i++) {
        if (need->at[i] == at && (int)need->precision[i] == precision) {
            return 1;
        }
    }
    return 0;
}

static struct loaded *oldest_idle(struct gdfo_models *m, const struct need *need)
{
    struct loaded *oldest = NULL;
    for (size_t i = 0; i < m->n * GDFO_PRECISION_COUNT; i++) {
        size_t at = i / GDFO_PRECISION_COUNT;
        int precision = (int)(i % GDFO_PRECISION_COUNT);
        struct loaded *l = &m->slots[at].loaded[precision];
        if (l->model && l->n_users == 0 && !is_needed(need, at, precision) &&
            (!oldest || l->used < oldest->used)) {
            oldest = l;
        }
    }
    return oldest;
}

/* One file in two precisions is twice its floats: what nobody holds of it goes first. */
static void drop_other_precisions(struct gdfo_models *m, const struct need *need)
{
    for (size_t i = 0; i < need->n; i++) {
        for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
            struct loaded *l = &m->slots[need->at[i]].loaded[p];
            if (l->model && l->n_users == 0 && !is_needed(need, need->at[i], p)) {
                unload(m, l);
            }
        }
    }
}

static enum gdfo_status make_room(struct gdfo_models *m, const struct need *need,
                                  struct gdfo_error *err)
{
    uint64_t max = m->setup.memory_bytes;
    struct loaded *idle;
    drop_other_precisions(m, need);
    while (max > 0 && m->in_use + need->missing > max && (idle = oldest_idle(m, need)) != NULL) {
        unload(m, idle);
    }
    if (max > 0 && m->in_use + need->missing > max) {
        return gdfo_error_set(err, GDFO_STATUS_BUSY,
                              "this needs %" PRIu64 " MiB of memory more; %" PRIu64 " of %" PRIu64
                              " MiB that --memory allows are in use",
                              mib(need->missing), mib(m->in_use), max >> 20);
    }
    return GDFO_STATUS_OK;
}

/* ---- loading ------------------------------------------------------------------------------- */

/* The file must still be the one that was listed: a changed file would be another teacher under the
 * old name. */
static enum gdfo_status load(struct gdfo_models *m, struct slot *slot,
                             enum gdfo_precision precision, struct gdfo_error *err)
{
    struct open_model o;
    struct gdfo_model_options options = {
        .memory_max_bytes = MODEL_MAX_BYTES, .precision = precision, .pool = m->setup.pool};
    struct loaded *l = &slot->loaded[precision];
    char quoted[300];
    char sha256[65];
    enum gdfo_status status = open_model_open(&o, m, &slot->entry, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = hash_model(&o, sha256, err);
    if (status == GDFO_STATUS_OK && strcmp(sha256, slot->entry.sha256) != 0) {
        status =
            gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                           "%s has changed since the daemon started: restart it", slot->entry.file);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_open(&l->model, o.parsed, &options, err);
    }
    if (status == GDFO_STATUS_OK) {
        l->bytes = gdfo_models_bytes(&slot->entry, precision);
        m->in_use += l->bytes;
        gdfo_log(GDFO_LOG_INFO, "models", "ev=loaded file=%s precision=%s bytes=%" PRIu64,
                 gdfo_log_quote(slot->entry.file, quoted, (int)sizeof quoted),
                 gdfo_precision_name(precision), l->bytes);
    }
    open_model_close(&o);
    return status;
}

/* With the lock held. */
static void give_back(struct gdfo_models *m, struct gdfo_models_hold *hold)
{
    m->turn++;
    for (size_t i = 0; i < 2; i++) {
        if (hold->slots[i] > 0) {
            struct loaded *l = &m->slots[hold->slots[i] - 1].loaded[hold->precisions[i]];
            l->n_users--;
            l->used = m->turn;
        }
    }
    m->in_use -= hold->work_bytes;
    *hold = (struct gdfo_models_hold){.teacher = NULL};
}

static enum gdfo_status take(struct gdfo_models *m, const struct gdfo_models_want *want,
                             const struct need *need, struct gdfo_models_hold *hold,
                             struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    hold->work_bytes = want->work_bytes;
    m->in_use += want->work_bytes;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < need->n; i++) {
        struct slot *slot = &m->slots[need->at[i]];
        struct loaded *l = &slot->loaded[need->precision[i]];
        if (!l->model) {
            status = load(m, slot, need->precision[i], err);
        }
        if (status == GDFO_STATUS_OK) {
            l->n_users++;
            hold->slots[i] = need->at[i] + 1;
            hold->precisions[i] = need->precision[i];
            *(want->teacher && i == 0 ? &hold->teacher : &hold->student) = l->model;
        }
    }
    if (status != GDFO_STATUS_OK) {
        give_back(m, hold);
    }
    return status;
}

enum gdfo_status gdfo_models_acquire(struct gdfo_models *m, const struct gdfo_models_want *want,
                                     struct gdfo_models_hold *hold, struct gdfo_error *err)
{
    struct need need;
    enum gdfo_status status;
    *hold = (struct gdfo_models_hold){.teacher = NULL};
    GDFO_LOCK_SCOPE(m->lock);
    status = need_of(m, want, &need, err);
    if (status == GDFO_STATUS_OK) {
        status = check_alone(m, &need, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = make_room(m, &need, err);
    }
    return status == GDFO_STATUS_OK ? take(m, want, &need, hold, err) : status;
}

void gdfo_models_release(struct gdfo_models *m, struct gdfo_models_hold *hold)
{
    GDFO_LOCK_SCOPE(m->lock);
    give_back(m, hold);
    gdfo_cond_broadcast(m->released);
}

void gdfo_models_wait(struct gdfo_models *m, int64_t timeout_ms)
{
    GDFO_LOCK_SCOPE(m->lock);
    (void)gdfo_cond_wait_ms(m->released, m->lock, timeout_ms);
}

uint64_t gdfo_models_in_use(struct gdfo_models *m)
{
    GDFO_LOCK_SCOPE(m->lock);
    return m->in_use;
}

int gdfo_models_measure_begin(struct gdfo_models *m)
{
    int was;
    GDFO_LOCK_SCOPE(m->lock);
    was = m->is_measuring;
    m->is_measuring = 1;
    return !was;
}

void gdfo_models_measure_end(struct gdfo_models *m)
{
    GDFO_LOCK_SCOPE(m->lock);
    m->is_measuring = 0;
    gdfo_cond_broadcast(m->released);
}
