#include "common/mem.h"
#include "server/model/family/family.h"
#include "server/model/forward.h"

static size_t pad16(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* Pairs of (layer, KV head). */
static size_t n_planes(const struct gdfo_model_config *c)
{
    return (size_t)c->n_layers * c->n_kv_heads;
}

uint64_t gdfo_kv_bytes_for(const struct gdfo_model *model, size_t n_positions)
{
    const struct gdfo_model_config *c = gdfo_model_config(model);
    uint64_t k = (uint64_t)c->d_head * pad16(n_positions);
    uint64_t v = (uint64_t)pad16(c->d_head) * n_positions;
    return n_planes(c) * (k + v) * sizeof(float) + sizeof(struct gdfo_kv);
}

enum gdfo_status gdfo_kv_create(struct gdfo_kv **out, const struct gdfo_model *model,
                                size_t n_positions, struct gdfo_error *err)
{
    const struct gdfo_model_config *c = gdfo_model_config(model);
    struct gdfo_kv *kv;
    if (n_positions < 1 || n_positions > c->context_max) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "cache for %zu positions: want 1..%u",
                              n_positions, c->context_max);
    }
    kv = gdfo_mem_array(1, sizeof *kv);
    if (!kv) {
        return gdfo_error_no_memory(err, "key and value cache");
    }
    kv->model = model;
    kv->cap = n_positions;
    kv->k_stride = pad16(n_positions);
    kv->d_stride = pad16(c->d_head);
    kv->k = gdfo_mem_aligned(n_planes(c) * c->d_head * kv->k_stride, sizeof *kv->k);
    kv->v = gdfo_mem_aligned(n_planes(c) * n_positions * kv->d_stride, sizeof *kv->v);
    if (!kv->k || !kv->v) {
        gdfo_kv_destroy(kv);
        return gdfo_error_no_memory(err, "key and value cache");
    }
    *out = kv;
    return GDFO_STATUS_OK;
}

void gdfo_kv_destroy(struct gdfo_kv *kv)
{
    if (kv) {
        gdfo_mem_free(kv->k);
        gdfo_mem_free(kv->v);
        gdfo_mem_free(kv);
    }
}

size_t gdfo_kv_positions(const struct gdfo_kv *kv)
{
    return kv->n;
}

uint64_t gdfo_kv_bytes(const struct gdfo_kv *kv)
{
    return gdfo_kv_bytes_for(kv->model, kv->cap);
}
