#include "common/mem.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/num/pack.h"
#include "server/num/pool.h"

/*
 * DESIGN. INT8 is for the product that bears it best, gate and up (half of a layer's work), outside
 * the last tenth of the layers; bfloat16 for those whose rounding shows most in the answers for the
 * time it saves: q k v, o, down (whose inputs have outliers) and the head, whose outputs are the
 * answers themselves and which few rows go through. Measured 2026-11 on SmolLM2-135M, 200 prompts
 * on 8 texts, Kendall's tau of the losses and share of equal predictions:
 *
 *   in int8                                     AG's News      TREC
 *   all but q k v, the last tenth, the first    0.979 0.986    0.981 0.986
 *   tenth's down, and the head
 *   gate and up                                 0.983 0.991    0.982 0.987
 *   nothing                                     0.990 0.994    0.989 0.991
 */
#define N_KINDS 4 /* of packed matrices in a layer */
#define GATE_UP 2
#define HEAD    SIZE_MAX

struct matrix {
    enum gdfo_precision precision;
    size_t n, k;
};

static enum gdfo_precision precision_of(const struct gdfo_model_config *c, enum gdfo_precision p,
                                        size_t layer, size_t i)
{
    const size_t n_edge = (c->n_layers + 9) / 10;
    const int is_fine = layer == HEAD || layer + n_edge >= c->n_layers || i != GATE_UP;
    return p == GDFO_PRECISION_INT8 && is_fine ? GDFO_PRECISION_BF16 : p;
}

/* Matrix number i of a layer, in the order of struct gdfo_llama_packs; or the head. */
static struct matrix matrix_of(const struct gdfo_model_config *c, enum gdfo_precision p,
                               size_t layer, size_t i)
{
    const size_t q = (size_t)c->n_heads * c->d_head;
    const size_t kv = (size_t)c->n_kv_heads * c->d_head;
    p = precision_of(c, p, layer, i);
    if (layer == HEAD) {
        return (struct matrix){p, c->vocab, c->d_model};
    }
    switch (i) {
    case 0: return (struct matrix){p, q + 2 * kv, c->d_model};
    case 1: return (struct matrix){p, c->d_model, q};
    case GATE_UP: return (struct matrix){p, 2 * (size_t)c->d_ff, c->d_model};
    default: return (struct matrix){p, c->d_model, c->d_ff};
    }
}

static struct gdfo_pack **place_of(const struct gdfo_llama_weights *w, size_t layer, size_t i)
{
    struct gdfo_llama_packs *p = &w->packs[layer];
    struct gdfo_pack **const places[N_KINDS] = {&p->qkv, &p->o, &p->gate_up, &p->down};
    return places[i];
}

static const float *source_of(const struct gdfo_llama_weights *w, size_t layer, size_t i)
{
    const struct gdfo_llama_layer *l = &w->layers[layer];
    const float *const sources[N_KINDS] = {l->q, l->o, l->gate, l->down};
    return sources[i];
}

static enum gdfo_status create_one(struct gdfo_pack **out, const struct matrix *m,
                                   struct gdfo_error *err)
{
    const struct gdfo_pack_source s = {.op = GDFO_GEMM_NT, .n = m->n, .k = m->k, .ld = m->k};
    return gdfo_pack_create(out, m->precision, &s, err);
}

static enum gdfo_status create_all(struct gdfo_llama_weights *w, enum gdfo_precision precision,
                                   struct gdfo_error *err)
{
    enum gdfo_status st = GDFO_STATUS_OK;
    if (precision != GDFO_PRECISION_F32) {
        const struct matrix m = matrix_of(&w->config, precision, HEAD, 0);
        st = create_one(&w->head_pack, &m, err);
    }
    for (size_t i = 0; i < w->config.n_layers * N_KINDS && st == GDFO_STATUS_OK; i++) {
        const struct matrix m = matrix_of(&w->config, precision, i / N_KINDS, i % N_KINDS);
        st = create_one(place_of(w, i / N_KINDS, i % N_KINDS), &m, err);
    }
    return st;
}

/* Pool item: the head (0, the largest, first), or one matrix of a layer. */
static void fill_one(void *ctx, size_t item, unsigned slot)
{
    const struct gdfo_llama_weights *w = ctx;
    (void)slot;
    if (item > 0) {
        size_t layer = (item - 1) / N_KINDS;
        struct gdfo_pack *p = *place_of(w, layer, (item - 1) % N_KINDS);
        gdfo_pack_refill(p, source_of(w, layer, (item - 1) % N_KINDS), gdfo_pack_k(p));
    } else if (w->head_pack) {
        gdfo_pack_refill(w->head_pack, w->head, w->config.d_model);
    }
}

enum gdfo_status gdfo_llama_packs_create(struct gdfo_llama_weights *w,
                                         const struct gdfo_family_load *how, struct gdfo_error *err)
{
    enum gdfo_status st;
    w->precision = how->precision;
    w->packs = gdfo_mem_array(w->config.n_layers, sizeof *w->packs);
    if (!w->packs) {
        return gdfo_error_no_memory(err, "packed weights");
    }
    st = create_all(w, how->precision, err);
    if (st == GDFO_STATUS_OK) {
        gdfo_pool_run(how->pool, 1 + w->config.n_layers * N_KINDS, fill_one, w);
    }
    return st;
}

void gdfo_llama_packs_destroy(struct gdfo_llama_weights *w)
{
    for (size_t i = 0; w->packs && i < w->config.n_layers * N_KINDS; i++) {
        gdfo_pack_destroy(*place_of(w, i / N_KINDS, i % N_KINDS));
    }
    gdfo_pack_destroy(w->head_pack);
    gdfo_mem_free(w->packs);
}

uint64_t gdfo_llama_packs_bytes(const struct gdfo_model_config *c, enum gdfo_precision precision)
{
    const struct matrix head = matrix_of(c, precision, HEAD, 0);
    uint64_t sum = gdfo_pack_bytes_for(head.precision, head.n, head.k);
    if (precision == GDFO_PRECISION_F32) {
        return 0; /* they borrow the floats */
    }
    for (size_t i = 0; i < c->n_layers * N_KINDS; i++) {
        const struct matrix m = matrix_of(c, precision, i / N_KINDS, i % N_KINDS);
        sum += gdfo_pack_bytes_for(m.precision, m.n, m.k);
    }
    return sum;
}
