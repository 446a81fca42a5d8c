#include "server/model/family/llama/llama_shelf.h"

#include "common/lock.h"
#include "common/mem.h"

#include <string.h>

struct entry {
    struct gdfo_llama_pack_layer packs;
    size_t n_users;
};

struct gdfo_llama_shelf {
    struct gdfo_lock *lock; /* a leaf: nothing is locked under it */
    size_t n_layers;
    struct entry *entries; /* [GDFO_PRECISION_COUNT][n_layers] */
};

enum gdfo_status gdfo_llama_pack_layer_init(struct gdfo_llama_pack_layer *layer,
                                            enum gdfo_precision precision,
                                            const struct gdfo_llama_matrix *matrices,
                                            struct gdfo_error *err)
{
    enum gdfo_status st = GDFO_STATUS_OK;
    memset(layer, 0, sizeof *layer);
    for (size_t i = 0; i < GDFO_LLAMA_MATRICES && st == GDFO_STATUS_OK; i++) {
        const struct gdfo_llama_matrix *m = &matrices[i];
        const struct gdfo_pack_source forward = {
            .op = GDFO_GEMM_NT, .w = m->w, .n = m->out, .k = m->in, .ld = m->in};
        const struct gdfo_pack_source backward = {
            .op = GDFO_GEMM_NN, .w = m->w, .n = m->in, .k = m->out, .ld = m->in};
        st = gdfo_pack_create(&layer->of[i].forward, precision, &forward, err);
        if (st == GDFO_STATUS_OK) {
            st = gdfo_pack_create(&layer->of[i].backward, precision, &backward, err);
        }
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_llama_pack_layer_deinit(layer);
    }
    return st;
}

void gdfo_llama_pack_layer_deinit(struct gdfo_llama_pack_layer *layer)
{
    for (size_t i = 0; i < GDFO_LLAMA_MATRICES; i++) {
        gdfo_pack_destroy(layer->of[i].forward);
        gdfo_pack_destroy(layer->of[i].backward);
    }
    memset(layer, 0, sizeof *layer);
}

struct gdfo_llama_shelf *gdfo_llama_shelf_create(size_t n_layers)
{
    struct gdfo_llama_shelf *s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->n_layers = n_layers;
    s->lock = gdfo_lock_create();
    s->entries = gdfo_mem_array(GDFO_PRECISION_COUNT * n_layers, sizeof *s->entries);
    if (!s->lock || !s->entries) {
        gdfo_llama_shelf_destroy(s);
        return NULL;
    }
    return s;
}

void gdfo_llama_shelf_destroy(struct gdfo_llama_shelf *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; s->entries && i < GDFO_PRECISION_COUNT * s->n_layers; i++) {
        gdfo_llama_pack_layer_deinit(&s->entries[i].packs);
    }
    gdfo_lock_destroy(s->lock);
    gdfo_mem_free(s->entries);
    gdfo_mem_free(s);
}

enum gdfo_status gdfo_llama_shelf_acquire(struct gdfo_llama_shelf *s, enum gdfo_precision precision,
                                          size_t l, const struct gdfo_llama_matrix *matrices,
                                          struct gdfo_llama_pack_layer *out, struct gdfo_error *err)
{
    struct entry *e = &s->entries[(size_t)precision * s->n_layers + l];
    enum gdfo_status st = GDFO_STATUS_OK;
    GDFO_LOCK_SCOPE(s->lock);
    if (e->n_users == 0) {
        st = gdfo_llama_pack_layer_init(&e->packs, precision, matrices, err);
    }
    if (st == GDFO_STATUS_OK) {
        e->n_users++;
        *out = e->packs;
    }
    return st;
}

void gdfo_llama_shelf_release(struct gdfo_llama_shelf *s, enum gdfo_precision precision, size_t l)
{
    struct entry *e = &s->entries[(size_t)precision * s->n_layers + l];
    GDFO_LOCK_SCOPE(s->lock);
    if (--e->n_users == 0) {
        gdfo_llama_pack_layer_deinit(&e->packs);
    }
}

size_t gdfo_llama_shelf_bytes(struct gdfo_llama_shelf *s)
{
    size_t bytes = 0;
    GDFO_LOCK_SCOPE(s->lock);
    for (size_t i = 0; i < GDFO_PRECISION_COUNT * s->n_layers; i++) {
        for (size_t j = 0; j < GDFO_LLAMA_MATRICES && s->entries[i].n_users > 0; j++) {
            bytes += gdfo_pack_bytes(s->entries[i].packs.of[j].forward);
            bytes += gdfo_pack_bytes(s->entries[i].packs.of[j].backward);
        }
    }
    return bytes;
}
