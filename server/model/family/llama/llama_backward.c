#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/kernels/train_kernels.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"

#include <string.h>

/*
 * DESIGN. The gradient to the residual stream lives in base.dx and walks down the layers in place.
 * A layer's backward is: rows behind attention, attention, rows before it. The products behind and
 * before give gradients to activations; those to weights sum over rows, so they run between the
 * steps, cut by rows of the weight. Norm outputs and h are computed again rather than kept.
 */
#define GRAD_ROWS 96 /* rows of a weight gradient in one pool item */

/* dx [T][in] = dy [T][out] w + beta dx, adapter included, for rows r. dx NULL: only the adapter's
 * du. */
static void linear_backward(const struct gdfo_llama_net *net, const struct gdfo_llama_linear *lin,
                            const float *dy, float *dx, struct gdfo_llama_range r, float beta)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN,
                          .m = r.end - r.first,
                          .n = lin->in,
                          .k = lin->out,
                          .a = dy + r.first * lin->out,
                          .lda = lin->out,
                          .b = lin->w,
                          .ldb = lin->in,
                          .ldc = lin->in,
                          .beta = beta};
    size_t end = r.end < net->pack->n_adapted ? r.end : net->pack->n_adapted;
    struct gdfo_gemm low = g;
    float *du = lin->du + r.first * net->rank;
    if (dx) {
        g.c = dx + r.first * lin->in;
        gdfo_gemm(&g);
    }
    if (!lin->a || r.first >= end) {
        return;
    }
    low.m = end - r.first;
    low.n = net->rank;
    low.b = lin->b;
    low.ldb = net->rank;
    low.c = du;
    low.ldc = net->rank;
    low.beta = 0;
    gdfo_gemm(&low);
    for (size_t i = 0; i < low.m * net->rank; i++) {
        du[i] *= net->scale;
    }
    if (dx) {
        g.m = low.m;
        g.k = net->rank;
        g.a = du;
        g.lda = net->rank;
        g.b = lin->a;
        g.beta = 1;
        gdfo_gemm(&g);
    }
}

/* Rows behind attention, back to datt. */
static void behind_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_llama_train_layer *y = &net->layers[net->layer];
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range r = gdfo_llama_tile(gdfo_llama_asking(net, net->layer), item);
    size_t C = c->d_model;
    size_t ff = c->d_ff;
    size_t n = r.end - r.first;
    float *dres = net->base.dx + r.first * C;
    const float *mid = y->mid + r.first * C;
    (void)slot;
    if (net->want & GDFO_NET_WANT_PARAMS) {
        memcpy(net->dffn + r.first * C, dres, n * C * sizeof *dres);
        gdfo_train_rmsnorm_forward(net->norm + r.first * C, mid, y->ffn_norm, n, C, c->rms_eps);
        gdfo_train_swiglu_forward(net->h + r.first * ff, y->gate + r.first * ff,
                                  y->up + r.first * ff, n * ff);
    }
    linear_backward(net, &y->lin[GDFO_LLAMA_DOWN], net->base.dx, net->dup, r, 0);
    gdfo_train_swiglu_backward(net->dgate + r.first * ff, net->dup + r.first * ff,
                               net->dup + r.first * ff, y->gate + r.first * ff,
                               y->up + r.first * ff, n * ff);
    linear_backward(net, &y->lin[GDFO_LLAMA_GATE], net->dgate, net->dnorm, r, 0);
    linear_backward(net, &y->lin[GDFO_LLAMA_UP], net->dup, net->dnorm, r, 1);
    gdfo_train_rmsnorm_backward(dres, net->dnorm + r.first * C, mid, y->ffn_norm, n, C, c->rms_eps);
    linear_backward(net, &y->lin[GDFO_LLAMA_O], net->base.dx, net->datt, r, 0);
}

static void attention_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_train_attention a = gdfo_llama_attention(net, net->layer, item);
    gdfo_train_attention_backward(net->dq, net->dk, net->dv, net->datt, &a,
                                  net->attention + slot * net->attention_floats);
}

/* The lowest layer's input gradient is only worth its cost when somebody reads it. */
static int is_input_wanted(const struct gdfo_llama_net *net)
{
    return net->layer > 0 || (net->want & GDFO_NET_WANT_INPUT) || net->d_out_norm;
}

/* Rows before attention, back to the layer's input. */
static void before_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_llama_net *net = ctx;
    const struct gdfo_llama_train_layer *y = &net->layers[net->layer];
    const struct gdfo_model_config *c = &net->base.config;
    struct gdfo_llama_range r = gdfo_llama_tile(net->pack->n_positions, item);
    size_t n_asking = gdfo_llama_asking(net, net->layer);
    struct gdfo_llama_range asking = {r.first < n_asking ? r.first : n_asking,
                                      r.end < n_asking ? r.end : n_asking};
    const uint32_t *pos = net->pack->pos;
    size_t C = c->d_model;
    size_t n = r.end - r.first;
    float *dnorm = is_input_wanted(net) ? net->dnorm : NULL;
    (void)slot;
    gdfo_train_rope_backward(net->dk + r.first * net->base.kv_dim, pos + r.first, net->cosines,
                             net->sines, n, c->n_kv_heads, c->d_head, c->n_rot);
    gdfo_train_rope_backward(net->dq + asking.first * c->n_heads * c->d_head, pos + asking.first,
                             net->cosines, net->sines, asking.end - asking.first, c->n_heads,
                             c->d_head, c->n_rot);
    if (net->want & GDFO_NET_WANT_PARAMS) {
        gdfo_train_rmsnorm_forward(net->norm + r.first * C, y->x + r.first * C, y->attn_norm, n, C,
                                   c->rms_eps);
    }
    linear_backward(net, &y->lin[GDFO_LLAMA_K], net->dk, dnorm, r, 0);
    linear_backward(net, &y->lin[GDFO_LLAMA_V], net->dv, dnorm, r, 1);
    linear_backward(net, &y->lin[GDFO_LLAMA_Q], net->dq, dnorm, asking, 1);
    if (dnorm) {
        gdfo_train_rmsnorm_backward(net->base.dx + r.first * C, dnorm + r.first * C,
                                    y->x + r.first * C, y->attn_norm, n, C, c->rms_eps);
    }
}

/* What a product's weight gradient is made of: dy [n][out], x [n][in]. */
struct source {
    enum gdfo_llama_linear_id id;
    const float *dy, *x;
    size_t n;
};

/* Products whose gradients are taken together, and one norm. */
struct grads {
    struct gdfo_llama_net *net;
    struct source sources[4];
    size_t n_sources;
    float *d_norm_weight; /* FULL only */
    const float *norm_input;
    size_t norm_rows;
};

/* Pool items of one source: tiles of dw, or db and da. */
static size_t n_grad_items(const struct gdfo_llama_linear *lin)
{
    if (lin->a) {
        return 2;
    }
    return (lin->out + GRAD_ROWS - 1) / GRAD_ROWS;
}

/* c [m][n] += a [k][lda]^T b [k][n], of a's first m columns. */
static void add_tn(float *c, size_t m, size_t n, size_t k, const float *a, size_t lda,
                   const float *b)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_TN,
                          .m = m,
                          .n = n,
                          .k = k,
                          .a = a,
                          .lda = lda,
                          .b = b,
                          .ldb = n,
                          .ldc = n,
                          .beta = 1};
    if (k > 0) {
        g.c = c;
        gdfo_gemm(&g);
    }
}

static void grad_item(const struct gdfo_llama_net *net, const struct source *s, size_t item)
{
    const struct gdfo_llama_linear *lin = &net->layers[net->layer].lin[s->id];
    size_t adapted = s->n < net->pack->n_adapted ? s->n : net->pack->n_adapted;
    size_t first = item * GRAD_ROWS;
    size_t rows;
    if (lin->a && item == 0) {
        add_tn(lin->db, lin->out, net->rank, adapted, s->dy, lin->out, lin->u);
    } else if (lin->a) {
        add_tn(lin->da, net->rank, lin->in, adapted, lin->du, net->rank, s->x);
    } else {
        rows = lin->out - first < GRAD_ROWS ? lin->out - first : GRAD_ROWS;
        add_tn(lin->dw + first * lin->in, rows, lin->in, s->n, s->dy + first, lin->out, s->x);
    }
}

static void grads_tile(void *ctx, size_t item, unsigned slot)
{
    const struct grads *g = ctx;
    const struct gdfo_llama_net *net = g->net;
    (void)slot;
    for (size_t i = 0; i < g->n_sources; i++) {
        size_t n = n_grad_items(&net->layers[net->layer].lin[g->sources[i].id]);
        if (item < n) {
            grad_item(net, &g->sources[i], item);
            return;
        }
        item -= n;
    }
    gdfo_train_rmsnorm_backward_weight(g->d_norm_weight, net->dnorm, g->norm_input, g->norm_rows,
                                       net->base.config.d_model, net->base.config.rms_eps);
}

static void run_grads(struct grads *g)
{
    const struct gdfo_llama_net *net = g->net;
    size_t n = g->d_norm_weight != NULL;
    for (size_t i = 0; i < g->n_sources; i++) {
        n += n_grad_items(&net->layers[net->layer].lin[g->sources[i].id]);
    }
    gdfo_pool_run(net->pool, n, grads_tile, g);
}

static void behind_grads(struct gdfo_llama_net *net)
{
    const struct gdfo_llama_train_layer *y = &net->layers[net->layer];
    size_t n = gdfo_llama_asking(net, net->layer);
    struct grads g = {.net = net,
                      .sources = {{GDFO_LLAMA_DOWN, net->dffn, net->h, n},
                                  {GDFO_LLAMA_GATE, net->dgate, net->norm, n},
                                  {GDFO_LLAMA_UP, net->dup, net->norm, n},
                                  {GDFO_LLAMA_O, net->base.dx, y->att, n}},
                      .n_sources = 4,
                      .d_norm_weight = y->d_ffn_norm,
                      .norm_input = y->mid,
                      .norm_rows = n};
    run_grads(&g);
}

static void before_grads(struct gdfo_llama_net *net)
{
    const struct gdfo_llama_train_layer *y = &net->layers[net->layer];
    size_t n = net->pack->n_positions;
    struct grads g = {
        .net = net,
        .sources = {{GDFO_LLAMA_K, net->dk, net->norm, n},
                    {GDFO_LLAMA_V, net->dv, net->norm, n},
                    {GDFO_LLAMA_Q, net->dq, net->norm, gdfo_llama_asking(net, net->layer)}},
        .n_sources = 3,
        .d_norm_weight = y->d_attn_norm,
        .norm_input = y->x,
        .norm_rows = n};
    run_grads(&g);
}

/* From dhidden to the gradient of the last layer's output; zero where nothing was scored. */
static void start(struct gdfo_llama_net *net)
{
    const struct gdfo_net *b = &net->base;
    size_t C = b->config.d_model;
    memset(b->dx, 0, net->pack->n_positions * C * sizeof *b->dx);
    gdfo_train_rmsnorm_backward(b->dx, b->dhidden, net->x_out, net->out_norm, net->pack->n_scored,
                                C, b->config.rms_eps);
    if (net->d_out_norm && (net->want & GDFO_NET_WANT_PARAMS)) {
        gdfo_train_rmsnorm_backward_weight(net->d_out_norm, b->dhidden, net->x_out,
                                           net->pack->n_scored, C, b->config.rms_eps);
    }
}

void gdfo_llama_train_backward(struct gdfo_net *base, const struct gdfo_pack *pack, unsigned want)
{
    struct gdfo_llama_net *net = (struct gdfo_llama_net *)base;
    const struct gdfo_model_config *c = &base->config;
    net->pack = pack;
    net->want = base->params ? want : want & ~GDFO_NET_WANT_PARAMS;
    start(net);
    for (size_t l = c->n_layers; l-- > 0;) {
        net->layer = l;
        gdfo_pool_run(net->pool, gdfo_llama_n_tiles(gdfo_llama_asking(net, l)), behind_tile, net);
        if (net->want & GDFO_NET_WANT_PARAMS) {
            behind_grads(net);
        }
        gdfo_pool_run(net->pool, pack->n_spans * c->n_kv_heads, attention_tile, net);
        gdfo_pool_run(net->pool, gdfo_llama_n_tiles(pack->n_positions), before_tile, net);
        if (net->want & GDFO_NET_WANT_PARAMS) {
            before_grads(net);
        }
    }
}
