#include "server/teacher/adapter/embedded/text_cache.h"

#include "common/mem.h"
#include "server/model/tokenizer/tokenizer.h"

#include <string.h>

#define ENTRIES_MAX 1048576u

struct gdfo_text_cache {
    const struct gdfo_model *model;
    size_t kv_max_bytes, kv_bytes;
    struct gdfo_text_entry *entries;
    size_t n, cap;
    uint64_t turn;
    struct gdfo_run *runs; /* scratch of fill */
    struct gdfo_piece *pieces;
    size_t runs_cap, pieces_cap;
};

enum gdfo_status gdfo_text_cache_create(struct gdfo_text_cache **out,
                                        const struct gdfo_model *model, size_t kv_max_bytes,
                                        struct gdfo_error *err)
{
    struct gdfo_text_cache *c = gdfo_mem_array(1, sizeof *c);
    if (!c) {
        return gdfo_error_no_memory(err, "text cache");
    }
    c->model = model;
    c->kv_max_bytes = kv_max_bytes;
    *out = c;
    return GDFO_STATUS_OK;
}

static void drop_kv(struct gdfo_text_cache *c, struct gdfo_text_entry *e)
{
    if (e->kv) {
        c->kv_bytes -= (size_t)gdfo_kv_bytes(e->kv);
        gdfo_kv_destroy(e->kv);
        e->kv = NULL;
    }
}

void gdfo_text_cache_destroy(struct gdfo_text_cache *c)
{
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        drop_kv(c, &c->entries[i]);
        gdfo_mem_free(c->entries[i].text);
        gdfo_mem_free(c->entries[i].ids);
    }
    gdfo_mem_free(c->entries);
    gdfo_mem_free(c->runs);
    gdfo_mem_free(c->pieces);
    gdfo_mem_free(c);
}

struct gdfo_text_entry *gdfo_text_cache_at(struct gdfo_text_cache *c, size_t index)
{
    return &c->entries[index];
}

static uint64_t hash_text(struct gdfo_text text)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < text.n; i++) {
        h = (h ^ (unsigned char)text.s[i]) * 0x100000001B3u;
    }
    return h;
}

static enum gdfo_status tokenize(const struct gdfo_model *model, struct gdfo_text text,
                                 struct gdfo_text_entry *e, struct gdfo_error *err)
{
    const struct gdfo_tokenizer *t = gdfo_model_tokenizer(model);
    struct gdfo_ids ids = {0};
    int32_t bos = gdfo_tokenizer_bos(t);
    void *data = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (bos >= 0) {
        if (!gdfo_mem_grow(&data, &ids.cap, 1, sizeof *ids.data)) {
            return gdfo_error_no_memory(err, "token ids");
        }
        ids.data = data;
        ids.data[ids.n++] = bos;
    }
    e->mask_at = GDFO_MASKED_NONE;
    status = gdfo_model_config(model)->is_masked
                 ? gdfo_masked_encode(t, text, &ids, &e->mask_at, err)
                 : gdfo_tokenizer_encode(t, text.s, text.n, &ids, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_ids_deinit(&ids);
        return status;
    }
    e->ids = ids.data;
    e->n_ids = ids.n;
    return GDFO_STATUS_OK;
}

static enum gdfo_status add_entry(struct gdfo_text_cache *c, struct gdfo_text text, uint64_t hash,
                                  struct gdfo_error *err)
{
    struct gdfo_text_entry e = {.n_text = text.n, .hash = hash};
    void *entries = c->entries;
    enum gdfo_status status;
    if (c->n >= ENTRIES_MAX || !gdfo_mem_grow(&entries, &c->cap, c->n + 1, sizeof e)) {
        return gdfo_error_no_memory(err, "text cache");
    }
    c->entries = entries;
    e.text = gdfo_mem_dup(text.s, text.n);
    if (!e.text) {
        return gdfo_error_no_memory(err, "text cache");
    }
    status = tokenize(c->model, text, &e, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_mem_free(e.text);
        return status;
    }
    c->entries[c->n++] = e;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_text_cache_find(struct gdfo_text_cache *c, struct gdfo_text text,
                                      size_t *index, struct gdfo_error *err)
{
    uint64_t hash = hash_text(text);
    enum gdfo_status status;
    for (size_t i = 0; i < c->n; i++) {
        const struct gdfo_text_entry *e = &c->entries[i];
        if (e->hash == hash && e->n_text == text.n && memcmp(e->text, text.s, text.n) == 0) {
            *index = i;
            return GDFO_STATUS_OK;
        }
    }
    status = add_entry(c, text, hash, err);
    if (status == GDFO_STATUS_OK) {
        *index = c->n - 1;
    }
    return status;
}

static size_t kept_ids(const struct gdfo_text_entry *e, size_t n_ids_max)
{
    return e->n_ids < n_ids_max ? e->n_ids : n_ids_max;
}

size_t gdfo_text_cache_fitting(const struct gdfo_text_cache *c, const size_t *indices, size_t n,
                               size_t n_ids_max)
{
    uint64_t bytes = 0;
    size_t fitting = 0;
    while (fitting < n) {
        bytes += gdfo_kv_bytes_for(c->model, kept_ids(&c->entries[indices[fitting]], n_ids_max));
        if (bytes > c->kv_max_bytes && fitting > 0) {
            break;
        }
        fitting++;
    }
    return fitting;
}

/* Drops the least recently used KV that this turn does not need, until `more` bytes fit. */
static void make_room(struct gdfo_text_cache *c, uint64_t more)
{
    while (c->kv_bytes + more > c->kv_max_bytes) {
        struct gdfo_text_entry *oldest = NULL;
        for (size_t i = 0; i < c->n; i++) {
            struct gdfo_text_entry *e = &c->entries[i];
            if (e->kv && e->used < c->turn && (!oldest || e->used < oldest->used)) {
                oldest = e;
            }
        }
        if (!oldest) {
            return;
        }
        drop_kv(c, oldest);
    }
}

static enum gdfo_status prepare_run(struct gdfo_text_cache *c, struct gdfo_text_entry *e,
                                    size_t n_ids, size_t slot, struct gdfo_error *err)
{
    enum gdfo_status status;
    make_room(c, gdfo_kv_bytes_for(c->model, n_ids));
    status = gdfo_kv_create(&e->kv, c->model, n_ids, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    c->kv_bytes += (size_t)gdfo_kv_bytes(e->kv);
    c->pieces[slot] = (struct gdfo_piece){.ids = e->ids, .n = n_ids};
    c->runs[slot] = (struct gdfo_run){.pieces = &c->pieces[slot], .n_pieces = 1, .keep = e->kv};
    return GDFO_STATUS_OK;
}

static enum gdfo_status reserve_runs(struct gdfo_text_cache *c, size_t n, struct gdfo_error *err)
{
    void *runs = c->runs;
    void *pieces = c->pieces;
    int ok = gdfo_mem_grow(&runs, &c->runs_cap, n, sizeof *c->runs);
    c->runs = runs;
    ok = ok && gdfo_mem_grow(&pieces, &c->pieces_cap, n, sizeof *c->pieces);
    c->pieces = pieces;
    return ok ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "text cache");
}

enum gdfo_status gdfo_text_cache_fill(struct gdfo_text_cache *c, struct gdfo_forward *f,
                                      const size_t *indices, size_t n, size_t n_ids_max,
                                      struct gdfo_error *err)
{
    size_t n_runs = 0;
    enum gdfo_status status = reserve_runs(c, n, err);
    c->turn++;
    for (size_t i = 0; i < n; i++) {
        c->entries[indices[i]].used = c->turn;
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        struct gdfo_text_entry *e = &c->entries[indices[i]];
        size_t n_ids = kept_ids(e, n_ids_max);
        size_t n_filled = e->kv ? gdfo_kv_positions(e->kv) : 0;
        if (n_filled > 0 && n_filled != n_ids) {
            drop_kv(c, e); /* cut at another length under another prompt */
        } /* none filled: its run is among those to come, the same text stands here twice */
        if (!e->kv && n_ids > 0) {
            status = prepare_run(c, e, n_ids, n_runs, err);
            n_runs += status == GDFO_STATUS_OK;
        }
    }
    if (status == GDFO_STATUS_OK && n_runs > 0) {
        status = gdfo_forward_run(f, c->runs, n_runs, NULL, err);
    }
    for (size_t i = 0; status != GDFO_STATUS_OK && i < n; i++) {
        drop_kv(c, &c->entries[indices[i]]); /* none may stay half computed */
    }
    return status;
}
