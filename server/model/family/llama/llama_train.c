#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/pool.h"

#include <string.h>

#define TILE_UNIT 16

size_t gdfo_llama_n_tiles(size_t n)
{
    size_t tiles = (n + GDFO_LLAMA_TILE_ROWS - 1) / GDFO_LLAMA_TILE_ROWS;
    if (n <= TILE_UNIT) {
        return n > 0;
    }
    return tiles + tiles % 2;
}

struct gdfo_llama_range gdfo_llama_tile(size_t n, size_t item)
{
    size_t tiles = gdfo_llama_n_tiles(n);
    size_t rows = tiles > 0 ? (n + tiles - 1) / tiles : 0;
    struct gdfo_llama_range r;
    rows = (rows + TILE_UNIT - 1) / TILE_UNIT * TILE_UNIT;
    r.first = item * rows < n ? item * rows : n;
    r.end = r.first + rows < n ? r.first + rows : n;
    return r;
}

size_t gdfo_llama_asking(const struct gdfo_llama_net *net, size_t l)
{
    return l + 1 == net->base.config.n_layers ? net->pack->n_scored : net->pack->n_positions;
}

static struct gdfo_llama_range cut(struct gdfo_llama_range r, size_t end)
{
    r.first = r.first < end ? r.first : end;
    r.end = r.end < end ? r.end : end;
    return r;
}

struct gdfo_llama_rows gdfo_llama_prepare(const struct gdfo_llama_net *net,
                                          const struct gdfo_pack *pack, const float *x,
                                          struct gdfo_llama_range r, unsigned slot)
{
    struct gdfo_llama_rows rows = {.x = x, .k = gdfo_pack_k(pack), .r = r};
    if (net->precision != GDFO_PRECISION_F32) {
        unsigned char *room = net->rows + slot * net->row_bytes;
        gdfo_pack_prepare(pack, room, x + r.first * rows.k, rows.k, r.end - r.first);
        rows.prepared = room;
    }
    return rows;
}

void gdfo_llama_multiply(const struct gdfo_pack *pack, const struct gdfo_llama_rows *x, size_t end,
                         float *c, float beta)
{
    size_t n = gdfo_pack_n(pack);
    struct gdfo_llama_range r = cut(x->r, end);
    struct gdfo_product p = {.m = r.end - r.first,
                             .a = x->prepared ? NULL : x->x + r.first * x->k,
                             .lda = x->k,
                             .rows = x->prepared,
                             .ldc = n,
                             .beta = beta,
                             .is_loose = 1};
    if (p.m > 0) {
        p.c = c + r.first * n;
        gdfo_pack_product(pack, &p);
    }
}

struct gdfo_llama_range gdfo_llama_adapted(const struct gdfo_llama_net *net,
                                           struct gdfo_llama_range r)
{
    return cut(r, net->rank > 0 ? net->pack->n_adapted : 0);
}

void gdfo_llama_low(const struct gdfo_llama_net *net, float *u, const float *x, const float *a,
                    size_t k, struct gdfo_llama_range r)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                          .m = r.end - r.first,
                          .n = net->rank,
                          .k = k,
                          .a = x + r.first * k,
                          .lda = k,
                          .b = a,
                          .ldb = k,
                          .ldc = net->rank};
    g.c = u + r.first * net->rank;
    gdfo_train_lanes()->product(&g);
    for (size_t i = 0; i < g.m * net->rank; i++) {
        g.c[i] *= net->scale;
    }
}

void gdfo_llama_low_add(const struct gdfo_llama_net *net, float *y, const float *u, const float *b,
                        size_t n, struct gdfo_llama_range r)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN,
                          .m = r.end - r.first,
                          .n = n,
                          .k = net->rank,
                          .a = u + r.first * net->rank,
                          .lda = net->rank,
                          .b = b,
                          .ldb = n,
                          .ldc = n,
                          .beta = 1};
    g.c = y + r.first * n;
    gdfo_train_lanes()->product(&g);
}

/* y [T][out] = x [T][in] w^T + beta y, adapter included, for x's rows up to end. */
static void linear_forward(const struct gdfo_llama_net *net, const struct gdfo_llama_linear *lin,
                           const struct gdfo_llama_rows *x, size_t end, float *y, float beta)
{
    struct gdfo_llama_range low = cut(gdfo_llama_adapted(net, x->r), end);
    gdfo_llama_multiply(lin->packs.forward, x, end, y, beta);
    if (low.first < low.end) {
        gdfo_llama_low(net, lin->u, x->x, lin->a, lin->in, low);
        gdfo_llama_low_add(net, y, lin->u, lin->bt, lin->out, low);
    }
}

/* Norm, q, k, v and rotation of layer l for rows r. */
static void begin_layer(struct gdfo_llama_net *net, size_t l, struct gdfo_llama_range r,
                        unsigned slot)
{
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range asking = cut(r, gdfo_llama_asking(net, l));
    const uint32_t *pos = net->pack->pos;
    struct gdfo_llama_rows x;
    gdfo_train_rmsnorm_forward(net->norm + r.first * c->d_model, y->x + r.first * c->d_model,
                               y->attn_norm, r.end - r.first, c->d_model, c->rms_eps);
    x = gdfo_llama_prepare(net, y->lin[GDFO_LLAMA_K].packs.forward, net->norm, r, slot);
    linear_forward(net, &y->lin[GDFO_LLAMA_K], &x, r.end, y->k, 0);
    linear_forward(net, &y->lin[GDFO_LLAMA_V], &x, r.end, y->v, 0);
    linear_forward(net, &y->lin[GDFO_LLAMA_Q], &x, asking.end, y->q, 0);
    gdfo_train_rope_forward(y->k + r.first * net->base.kv_dim, pos + r.first, net->cosines,
                            net->sines, r.end - r.first, c->n_kv_heads, c->d_head, c->n_rot);
    gdfo_train_rope_forward(y->q + asking.first * c->n_heads * c->d_head, pos + asking.first,
                            net->cosines, net->sines, asking.end - asking.first, c->n_heads,
                            c->d_head, c->n_rot);
}

/* Everything of layer l behind attention, for rows r that ask. */
static void finish_layer(struct gdfo_llama_net *net, size_t l, struct gdfo_llama_range r,
                         unsigned slot)
{
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    const struct gdfo_model_config *c = &net->base.config;
    size_t C = c->d_model;
    size_t ff = c->d_ff;
    size_t n = r.end - r.first;
    float *next = l + 1 == c->n_layers ? net->x_out : net->layers[l + 1].x;
    struct gdfo_llama_rows x =
        gdfo_llama_prepare(net, y->lin[GDFO_LLAMA_O].packs.forward, y->att, r, slot);
    memcpy(y->mid + r.first * C, y->x + r.first * C, n * C * sizeof *next);
    linear_forward(net, &y->lin[GDFO_LLAMA_O], &x, r.end, y->mid, 1);
    gdfo_train_rmsnorm_forward(net->norm + r.first * C, y->mid + r.first * C, y->ffn_norm, n, C,
                               c->rms_eps);
    x = gdfo_llama_prepare(net, y->lin[GDFO_LLAMA_GATE].packs.forward, net->norm, r, slot);
    linear_forward(net, &y->lin[GDFO_LLAMA_GATE], &x, r.end, y->gate, 0);
    linear_forward(net, &y->lin[GDFO_LLAMA_UP], &x, r.end, y->up, 0);
    gdfo_train_swiglu_forward(net->h + r.first * ff, y->gate + r.first * ff, y->up + r.first * ff,
                              n * ff);
    memcpy(next + r.first * C, y->mid + r.first * C, n * C * sizeof *next);
    x = gdfo_llama_prepare(net, y->lin[GDFO_LLAMA_DOWN].packs.forward, net->h, r, slot);
    linear_forward(net, &y->lin[GDFO_LLAMA_DOWN], &x, r.end, next, 1);
}

/* Rows between the attentions of layer - 1 and layer. */
static void rows_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    struct gdfo_llama_range r = gdfo_llama_tile(net->pack->n_positions, item);
    if (net->layer > 0) {
        finish_layer(net, net->layer - 1, r, slot);
    }
    begin_layer(net, net->layer, r, slot);
}

/* Scored rows behind the last attention. */
static void last_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range r = gdfo_llama_tile(net->pack->n_scored, item);
    finish_layer(net, c->n_layers - 1, r, slot);
    gdfo_train_rmsnorm_forward(net->base.hidden + r.first * c->d_model,
                               net->x_out + r.first * c->d_model, net->out_norm, r.end - r.first,
                               c->d_model, c->rms_eps);
}

struct gdfo_train_attention gdfo_llama_attention(const struct gdfo_llama_net *net, size_t l,
                                                 size_t item)
{
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    const struct gdfo_model_config *c = &net->base.config;
    const struct gdfo_pack_span *span = &net->pack->spans[item / c->n_kv_heads];
    size_t head = item % c->n_kv_heads;
    struct gdfo_train_attention a = {.q = y->q,
                                     .k = y->k,
                                     .v = y->v,
                                     .order = net->pack->order + span->first,
                                     .n = span->n,
                                     .q_stride = (size_t)c->n_heads * c->d_head,
                                     .kv_stride = net->base.kv_dim,
                                     .kv_offset = head * c->d_head,
                                     .group = c->n_heads / c->n_kv_heads,
                                     .d_head = c->d_head};
    a.q_offset = head * a.group * a.d_head;
    if (gdfo_llama_asking(net, l) < net->pack->n_positions) {
        a.first_query = span->n - 1; /* the last layer is asked at the scored position only */
    }
    if (span->kv) {
        a.n_text = span->kv->n;
        a.text_k = span->kv->data + 2 * l * a.n_text * a.kv_stride;
        a.text_v = a.text_k + a.n_text * a.kv_stride;
    }
    return a;
}

static void attention_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_train_attention a = gdfo_llama_attention(net, net->layer, item);
    gdfo_train_attention_forward(net->layers[net->layer].att, &a,
                                 net->attention + slot * net->attention_floats);
}

/* What follows from parameters that were written: packs of weights, transposes of adapters. */
static void follow_tile(void *ctx, size_t item, unsigned slot)
{
    const struct gdfo_llama_net *net = ctx;
    const struct gdfo_llama_linear *lin =
        &net->layers[item / GDFO_LLAMA_N_LINEAR].lin[item % GDFO_LLAMA_N_LINEAR];
    (void)slot;
    if (lin->dw && net->precision != GDFO_PRECISION_F32) {
        gdfo_pack_refill(lin->packs.forward, lin->w, lin->in);
        gdfo_pack_refill(lin->packs.backward, lin->w, lin->in);
    }
    for (size_t i = 0; lin->a && i < lin->out; i++) {
        for (size_t j = 0; j < net->rank; j++) {
            lin->bt[j * lin->out + i] = lin->b[i * net->rank + j];
        }
    }
}

void gdfo_llama_train_forward(struct gdfo_net *base, const struct gdfo_pack *pack)
{
    struct gdfo_llama_net *net = (struct gdfo_llama_net *)base;
    const struct gdfo_model_config *c = &base->config;
    net->pack = pack;
    if (base->is_changed) {
        base->is_changed = 0;
        gdfo_pool_run(net->pool, (size_t)c->n_layers * GDFO_LLAMA_N_LINEAR, follow_tile, net);
    }
    for (size_t l = 0; l < c->n_layers; l++) {
        net->layer = l;
        gdfo_pool_run(net->pool, gdfo_llama_n_tiles(pack->n_positions), rows_tile, net);
        if (gdfo_llama_asking(net, l) > 0) {
            gdfo_pool_run(net->pool, pack->n_spans * c->n_kv_heads, attention_tile, net);
        }
    }
    gdfo_pool_run(net->pool, gdfo_llama_n_tiles(pack->n_scored), last_tile, net);
}
