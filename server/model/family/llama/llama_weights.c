#include "common/mem.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/model/family/llama/llama_shelf.h"
#include "server/num/pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define ALIGN_FLOATS 16 /* 64 bytes */
#define NAME_BYTES   64

enum dim { DIM_ONE, DIM_MODEL, DIM_Q, DIM_KV, DIM_FF, DIM_VOCAB };

struct row {
    const char *tensor; /* "blk.N." stands in front of a layer's */
    size_t member;      /* of struct gdfo_llama_layer, or of struct gdfo_llama_weights */
    enum dim rows, cols;
    int is_joined; /* follows the tensor before it without a gap */
};

#define OF_LAYER(m) offsetof(struct gdfo_llama_layer, m)
#define OF_MODEL(m) offsetof(struct gdfo_llama_weights, m)

static const struct row layer_rows[] = {
    {"attn_norm", OF_LAYER(attn_norm), DIM_ONE, DIM_MODEL, 0},
    {"attn_q", OF_LAYER(q), DIM_Q, DIM_MODEL, 0},
    {"attn_k", OF_LAYER(k), DIM_KV, DIM_MODEL, 1},
    {"attn_v", OF_LAYER(v), DIM_KV, DIM_MODEL, 1},
    {"attn_output", OF_LAYER(o), DIM_MODEL, DIM_Q, 0},
    {"ffn_norm", OF_LAYER(ffn_norm), DIM_ONE, DIM_MODEL, 0},
    {"ffn_gate", OF_LAYER(gate), DIM_FF, DIM_MODEL, 0},
    {"ffn_up", OF_LAYER(up), DIM_FF, DIM_MODEL, 1},
    {"ffn_down", OF_LAYER(down), DIM_MODEL, DIM_FF, 0},
};
#define N_LAYER_ROWS (sizeof layer_rows / sizeof layer_rows[0])

static const struct row model_rows[] = {
    {"token_embd", OF_MODEL(embed), DIM_VOCAB, DIM_MODEL, 0},
    {"output_norm", OF_MODEL(out_norm), DIM_ONE, DIM_MODEL, 0},
    {"output", OF_MODEL(head), DIM_VOCAB, DIM_MODEL, 0}, /* last: left out when tied */
};

static size_t n_model_rows(const struct gdfo_model_config *c)
{
    return c->is_tied ? 2 : 3;
}

static size_t dim_of(const struct gdfo_model_config *c, enum dim d)
{
    switch (d) {
    case DIM_ONE: return 1;
    case DIM_MODEL: return c->d_model;
    case DIM_Q: return (size_t)c->n_heads * c->d_head;
    case DIM_KV: return (size_t)c->n_kv_heads * c->d_head;
    case DIM_FF: return c->d_ff;
    case DIM_VOCAB: return c->vocab;
    }
    return 0;
}

static size_t elements(const struct gdfo_model_config *c, const struct row *r)
{
    return dim_of(c, r->rows) * dim_of(c, r->cols);
}

/* Adds the place of one tensor to *at; 0 on overflow. */
static int place(size_t *at, const struct gdfo_model_config *c, const struct row *r)
{
    size_t n = 0;
    if (!r->is_joined &&
        !gdfo_size_add(at, *at, (ALIGN_FLOATS - *at % ALIGN_FLOATS) % ALIGN_FLOATS)) {
        return 0;
    }
    return gdfo_size_mul(&n, dim_of(c, r->rows), dim_of(c, r->cols)) && gdfo_size_add(at, *at, n);
}

static int shapes_fit(const struct gdfo_model_config *c)
{
    return c->n_layers > 0 && c->d_model > 0 && c->n_heads > 0 && c->n_kv_heads > 0 &&
           c->d_head > 0 && c->d_ff > 0 && c->vocab > 0 && c->n_heads % c->n_kv_heads == 0 &&
           c->n_rot % 2 == 0 && c->n_rot <= c->d_head;
}

size_t gdfo_llama_weights_floats(const struct gdfo_model_config *c)
{
    size_t at = 0;
    if (!shapes_fit(c)) {
        return 0;
    }
    for (size_t i = 0; i < n_model_rows(c); i++) {
        if (!place(&at, c, &model_rows[i])) {
            return 0;
        }
    }
    for (size_t l = 0; l < c->n_layers; l++) {
        for (size_t i = 0; i < N_LAYER_ROWS; i++) {
            if (!place(&at, c, &layer_rows[i])) {
                return 0;
            }
        }
    }
    return at;
}

/* Sets the pointer member of owner to the place of its tensor, zeroes the gap before it and moves
 * *at past it. */
static void deal_one(void *owner, const struct row *r, const struct gdfo_llama_weights *w,
                     size_t *at)
{
    size_t n = elements(&w->config, r);
    size_t end = *at; /* of the tensor before */
    float *p;
    (void)place(at, &w->config, r);
    p = w->slab + (*at - n);
    memset(w->slab + end, 0, (*at - n - end) * sizeof *p);
    memcpy((char *)owner + r->member, &p, sizeof p);
}

static void deal(struct gdfo_llama_weights *w)
{
    size_t at = 0;
    for (size_t i = 0; i < n_model_rows(&w->config); i++) {
        deal_one(w, &model_rows[i], w, &at);
    }
    if (w->config.is_tied) {
        w->head = w->embed;
    }
    for (size_t l = 0; l < w->config.n_layers; l++) {
        for (size_t i = 0; i < N_LAYER_ROWS; i++) {
            deal_one(&w->layers[l], &layer_rows[i], w, &at);
        }
    }
}

typedef void *alloc_fn(size_t n, size_t size);

static enum gdfo_status create_by(struct gdfo_llama_weights **out,
                                  const struct gdfo_model_config *config, alloc_fn *alloc,
                                  struct gdfo_error *err)
{
    size_t n = gdfo_llama_weights_floats(config);
    struct gdfo_llama_weights *w;
    if (n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "model shapes do not fit together: %u layers, d %u, %u/%u heads of "
                              "%u, %u rotated, ff %u, vocabulary %u",
                              config->n_layers, config->d_model, config->n_heads,
                              config->n_kv_heads, config->d_head, config->n_rot, config->d_ff,
                              config->vocab);
    }
    w = gdfo_mem_array(1, sizeof *w);
    if (!w) {
        return gdfo_error_no_memory(err, "model weights");
    }
    w->config = *config;
    w->n_floats = n;
    w->slab = alloc(n, sizeof *w->slab);
    w->layers = gdfo_mem_array(config->n_layers, sizeof *w->layers);
    w->shelf = gdfo_llama_shelf_create(config->n_layers);
    if (!w->slab || !w->layers || !w->shelf) {
        gdfo_llama_weights_destroy(w);
        return gdfo_error_no_memory(err, "model weights");
    }
    deal(w);
    *out = w;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_llama_weights_create(struct gdfo_llama_weights **out,
                                           const struct gdfo_model_config *config,
                                           struct gdfo_error *err)
{
    return create_by(out, config, gdfo_mem_aligned, err);
}

void gdfo_llama_weights_destroy(struct gdfo_llama_weights *w)
{
    if (w) {
        gdfo_llama_packs_destroy(w);
        gdfo_llama_shelf_destroy(w->shelf);
        gdfo_mem_free(w->slab);
        gdfo_mem_free(w->layers);
        gdfo_mem_free(w);
    }
}

static enum gdfo_status read_one(const struct gdfo_llama_weights *w, const void *owner,
                                 const struct row *r, const char *name,
                                 const struct gdfo_model_file *file, struct gdfo_error *err)
{
    float *p = NULL;
    memcpy(&p, (const char *)owner + r->member, sizeof p);
    return gdfo_model_file_read(file, name, p, elements(&w->config, r), err);
}

/* Tensor number i: the model's, then layer by layer. */
static enum gdfo_status read_tensor(const struct gdfo_llama_weights *w, size_t i,
                                    const struct gdfo_model_file *file, struct gdfo_error *err)
{
    const size_t n_first = n_model_rows(&w->config);
    char name[NAME_BYTES];
    size_t layer;
    if (i < n_first) {
        (void)snprintf(name, sizeof name, "%s.weight", model_rows[i].tensor);
        return read_one(w, w, &model_rows[i], name, file, err);
    }
    layer = (i - n_first) / N_LAYER_ROWS;
    i = (i - n_first) % N_LAYER_ROWS;
    (void)snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, layer_rows[i].tensor);
    return read_one(w, &w->layers[layer], &layer_rows[i], name, file, err);
}

struct reading {
    const struct gdfo_llama_weights *w;
    const struct gdfo_model_file *file;
    atomic_int has_failed;
};

/* Pool item: one tensor. */
static void read_item(void *ctx, size_t item, unsigned slot)
{
    struct reading *r = ctx;
    struct gdfo_error err;
    (void)slot;
    if (read_tensor(r->w, item, r->file, &err) != GDFO_STATUS_OK) {
        atomic_store_explicit(&r->has_failed, 1, memory_order_relaxed);
    }
}

/* On all threads; when something is wrong, once more in order, so that the words are those of the
 * first fault whoever met it. */
static enum gdfo_status read_all(const struct gdfo_llama_weights *w,
                                 const struct gdfo_model_file *file, struct gdfo_pool *pool,
                                 struct gdfo_error *err)
{
    const size_t n = n_model_rows(&w->config) + w->config.n_layers * N_LAYER_ROWS;
    struct reading r = {.w = w, .file = file};
    enum gdfo_status st = GDFO_STATUS_OK;
    if (pool) {
        gdfo_pool_run(pool, n, read_item, &r);
        if (!atomic_load_explicit(&r.has_failed, memory_order_relaxed)) {
            return GDFO_STATUS_OK;
        }
    }
    for (size_t i = 0; i < n && st == GDFO_STATUS_OK; i++) {
        st = read_tensor(w, i, file, err);
    }
    return st;
}

enum gdfo_status gdfo_llama_weights_load(struct gdfo_llama_weights **out,
                                         const struct gdfo_model_file *file, struct gdfo_pool *pool,
                                         struct gdfo_error *err)
{
    struct gdfo_llama_weights *w = NULL;
    enum gdfo_status st = create_by(&w, gdfo_model_file_config(file), gdfo_mem_aligned_unset, err);
    if (st == GDFO_STATUS_OK && w) {
        st = read_all(w, file, pool, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_llama_weights_destroy(w);
        return st;
    }
    *out = w;
    return GDFO_STATUS_OK;
}

const struct gdfo_llama_weights *gdfo_llama_weights_of(const struct gdfo_model *model)
{
    return gdfo_family_of(model) == &gdfo_family_llama_ops ? gdfo_family_weights(model) : NULL;
}
