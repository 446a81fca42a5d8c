#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/kernels/train_kernels.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"

#include <string.h>

#define TILE_ROWS 256 /* most rows of a tile: weights are read once for each */
#define TILE_UNIT 16

size_t gdfo_llama_n_tiles(size_t n)
{
    size_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
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

void gdfo_llama_linear_forward(const struct gdfo_llama_net *net,
                               const struct gdfo_llama_linear *lin, const float *x, float *y,
                               struct gdfo_llama_range r, float beta)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                          .m = r.end - r.first,
                          .n = lin->out,
                          .k = lin->in,
                          .a = x + r.first * lin->in,
                          .lda = lin->in,
                          .b = lin->w,
                          .ldb = lin->in,
                          .c = y + r.first * lin->out,
                          .ldc = lin->out,
                          .beta = beta};
    float *u;
    gdfo_gemm(&g);
    r = cut(r, net->pack->n_adapted);
    if (!lin->a || r.first == r.end) {
        return;
    }
    u = lin->u + r.first * net->rank;
    g.m = r.end - r.first;
    g.n = net->rank;
    g.b = lin->a;
    g.c = u;
    g.ldc = net->rank;
    g.beta = 0;
    gdfo_gemm(&g);
    for (size_t i = 0; i < g.m * net->rank; i++) {
        u[i] *= net->scale;
    }
    g.n = lin->out;
    g.k = net->rank;
    g.a = u;
    g.lda = net->rank;
    g.b = lin->b;
    g.ldb = net->rank;
    g.c = y + r.first * lin->out;
    g.ldc = lin->out;
    g.beta = 1;
    gdfo_gemm(&g);
}

/* Norm, q, k, v and rotation of layer l for rows r. */
static void begin_layer(struct gdfo_llama_net *net, size_t l, struct gdfo_llama_range r)
{
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range asking = cut(r, gdfo_llama_asking(net, l));
    const uint32_t *pos = net->pack->pos;
    gdfo_train_rmsnorm_forward(net->norm + r.first * c->d_model, y->x + r.first * c->d_model,
                               y->attn_norm, r.end - r.first, c->d_model, c->rms_eps);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_K], net->norm, y->k, r, 0);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_V], net->norm, y->v, r, 0);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_Q], net->norm, y->q, asking, 0);
    gdfo_train_rope_forward(y->k + r.first * net->base.kv_dim, pos + r.first, net->cosines,
                            net->sines, r.end - r.first, c->n_kv_heads, c->d_head, c->n_rot);
    gdfo_train_rope_forward(y->q + asking.first * c->n_heads * c->d_head, pos + asking.first,
                            net->cosines, net->sines, asking.end - asking.first, c->n_heads,
                            c->d_head, c->n_rot);
}

/* Everything of layer l behind attention, for rows r that ask. */
static void finish_layer(struct gdfo_llama_net *net, size_t l, struct gdfo_llama_range r)
{
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    const struct gdfo_model_config *c = &net->base.config;
    size_t C = c->d_model;
    size_t ff = c->d_ff;
    size_t n = r.end - r.first;
    float *next = l + 1 == c->n_layers ? net->x_out : net->layers[l + 1].x;
    memcpy(y->mid + r.first * C, y->x + r.first * C, n * C * sizeof *next);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_O], y->att, y->mid, r, 1);
    gdfo_train_rmsnorm_forward(net->norm + r.first * C, y->mid + r.first * C, y->ffn_norm, n, C,
                               c->rms_eps);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_GATE], net->norm, y->gate, r, 0);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_UP], net->norm, y->up, r, 0);
    gdfo_train_swiglu_forward(net->h + r.first * ff, y->gate + r.first * ff, y->up + r.first * ff,
                              n * ff);
    memcpy(next + r.first * C, y->mid + r.first * C, n * C * sizeof *next);
    gdfo_llama_linear_forward(net, &y->lin[GDFO_LLAMA_DOWN], net->h, next, r, 1);
}

/* Rows between the attentions of layer - 1 and layer. */
static void rows_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    struct gdfo_llama_range r = gdfo_llama_tile(net->pack->n_positions, item);
    (void)slot;
    if (net->layer > 0) {
        finish_layer(net, net->layer - 1, r);
    }
    begin_layer(net, net->layer, r);
}

/* Scored rows behind the last attention. */
static void last_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range r = gdfo_llama_tile(net->pack->n_scored, item);
    (void)slot;
    finish_layer(net, c->n_layers - 1, r);
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

void gdfo_llama_train_forward(struct gdfo_net *base, const struct gdfo_pack *pack)
{
    struct gdfo_llama_net *net = (struct gdfo_llama_net *)base;
    const struct gdfo_model_config *c = &base->config;
    net->pack = pack;
    for (size_t l = 0; l < c->n_layers; l++) {
        net->layer = l;
        gdfo_pool_run(net->pool, gdfo_llama_n_tiles(pack->n_positions), rows_tile, net);
        if (gdfo_llama_asking(net, l) > 0) {
            gdfo_pool_run(net->pool, pack->n_spans * c->n_kv_heads, attention_tile, net);
        }
    }
    gdfo_pool_run(net->pool, gdfo_llama_n_tiles(pack->n_scored), last_tile, net);
}
