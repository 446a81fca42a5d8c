#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"
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
                            const float *dy, float *dx, struct gdfo_llama_range r, float beta,
                            unsigned slot)
{
    struct gdfo_llama_range low = gdfo_llama_adapted(net, r);
    if (dx) {
        struct gdfo_llama_rows x = gdfo_llama_prepare(net, lin->packs.backward, dy, r, slot);
        gdfo_llama_multiply(lin->packs.backward, &x, r.end, dx, beta);
    }
    if (low.first < low.end) {
        gdfo_llama_low(net, lin->du, dy, lin->bt, lin->out, low);
    }
    if (low.first < low.end && dx) {
        gdfo_llama_low_add(net, dx, lin->du, lin->a, lin->in, low);
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
    if (net->want & GDFO_NET_WANT_PARAMS) {
        memcpy(net->dffn + r.first * C, dres, n * C * sizeof *dres);
        gdfo_train_rmsnorm_forward(net->norm + r.first * C, mid, y->ffn_norm, n, C, c->rms_eps);
        gdfo_train_swiglu_forward(net->h + r.first * ff, y->gate + r.first * ff,
                                  y->up + r.first * ff, n * ff);
    }
    linear_backward(net, &y->lin[GDFO_LLAMA_DOWN], net->base.dx, net->dup, r, 0, slot);
    gdfo_train_swiglu_backward(net->dgate + r.first * ff, net->dup + r.first * ff,
                               net->dup + r.first * ff, y->gate + r.first * ff,
                               y->up + r.first * ff, n * ff);
    linear_backward(net, &y->lin[GDFO_LLAMA_GATE], net->dgate, net->dnorm, r, 0, slot);
    linear_backward(net, &y->lin[GDFO_LLAMA_UP], net->dup, net->dnorm, r, 1, slot);
    gdfo_train_rmsnorm_backward(dres, net->dnorm + r.first * C, mid, y->ffn_norm, n, C, c->rms_eps);
    linear_backward(net, &y->lin[GDFO_LLAMA_O], net->base.dx, net->datt, r, 0, slot);
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
    gdfo_train_rope_backward(net->dk + r.first * net->base.kv_dim, pos + r.first, net->cosines,
                             net->sines, n, c->n_kv_heads, c->d_head, c->n_rot);
    gdfo_train_rope_backward(net->dq + asking.first * c->n_heads * c->d_head, pos + asking.first,
                             net->cosines, net->sines, asking.end - asking.first, c->n_heads,
                             c->d_head, c->n_rot);
    if (net->want & GDFO_NET_WANT_PARAMS) {
        gdfo_train_rmsnorm_forward(net->norm + r.first * C, y->x + r.first * C, y->attn_norm, n, C,
                                   c->rms_eps);
    }
    linear_backward(net, &y->lin[GDFO_LLAMA_K], net->dk, dnorm, r, 0, slot);
    linear_backward(net, &y->lin[GDFO_LLAMA_V], net->dv, dnorm, r, 1, slot);
    linear_backward(net, &y->lin[GDFO_LLAMA_Q], net->dq, dnorm, asking, 1, slot);
    if (dnorm) {
        gdfo_train_rmsnorm_backward(net->base.dx + r.first * C, dnorm + r.first * C,
                                    y->x + r.first * C, y->attn_norm, n, C, c->rms_eps);
    }
}

/* An operand of weight gradients: x [n][cols], and its place among the pairs. */
struct operand {
    enum gdfo_llama_operand_id id;
    const float *x;
    size_t cols;
};

/* What a product's weight gradient is made of: dy [n][out], x [n][in]. */
struct source {
    enum gdfo_llama_linear_id id;
    struct operand dy, x;
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
static struct gdfo_gemm add_tn(float *c, size_t m, size_t n, size_t k, const float *a, size_t lda,
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
    g.c = c;
    return g;
}

/* db [out][r] += (u^T dy)^T, by way of [r][out]. */
static void add_db(const struct gdfo_llama_net *net, const struct gdfo_llama_linear *lin,
                   const float *dy, size_t n)
{
    struct gdfo_gemm g = add_tn(lin->dbt, net->rank, lin->out, n, lin->u, net->rank, dy);
    g.beta = 0;
    gdfo_train_lanes()->product(&g);
    for (size_t i = 0; i < lin->out; i++) {
        for (size_t j = 0; j < net->rank; j++) {
            lin->db[i * net->rank + j] += lin->dbt[j * lin->out + i];
        }
    }
}

static const uint32_t *pairs_of(const struct gdfo_llama_net *net, enum gdfo_llama_operand_id id,
                                size_t panel)
{
    return net->pairs + (net->first_panel[id] + panel) * net->max_pairs * GDFO_TRAIN_PANEL;
}

/* Rows first .. first + rows - 1 of dw. */
static void add_dw(const struct gdfo_llama_net *net, const struct source *s, size_t first,
                   size_t rows)
{
    const struct gdfo_llama_linear *lin = &net->layers[net->layer].lin[s->id];
    float *dw = lin->dw + first * lin->in;
    if (net->pairs) {
        const struct gdfo_train_outer o = {.a = pairs_of(net, s->dy.id, first / GDFO_TRAIN_PANEL),
                                           .b = pairs_of(net, s->x.id, 0),
                                           .n_pairs = (s->n + 1) / 2,
                                           .panel_pairs = net->max_pairs,
                                           .m = rows,
                                           .n = lin->in,
                                           .c = dw,
                                           .ldc = lin->in,
                                           .is_written = (net->want & GDFO_NET_IS_FIRST) != 0};
        gdfo_train_lanes()->outer(&o);
    } else if (s->n > 0) {
        struct gdfo_gemm g = add_tn(dw, rows, lin->in, s->n, s->dy.x + first, lin->out, s->x.x);
        g.beta = net->want & GDFO_NET_IS_FIRST ? 0.0F : 1.0F;
        gdfo_gemm(&g);
    }
}

static void grad_item(const struct gdfo_llama_net *net, const struct source *s, size_t item)
{
    const struct gdfo_llama_linear *lin = &net->layers[net->layer].lin[s->id];
    size_t adapted = s->n < net->pack->n_adapted ? s->n : net->pack->n_adapted;
    size_t first = item * GRAD_ROWS;
    if (lin->a && item == 0) {
        add_db(net, lin, s->dy.x, adapted);
    } else if (lin->a) {
        struct gdfo_gemm g =
            add_tn(lin->da, net->rank, lin->in, adapted, lin->du, net->rank, s->x.x);
        gdfo_train_lanes()->product(&g);
    } else {
        add_dw(net, s, first, lin->out - first < GRAD_ROWS ? lin->out - first : GRAD_ROWS);
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

static size_t n_panels(const struct operand *x)
{
    return (x->cols + GDFO_TRAIN_PANEL - 1) / GDFO_TRAIN_PANEL;
}

/* The i-th operand of all sources; those that share one name it again. */
static const struct operand *operand_at(const struct grads *g, size_t i)
{
    const struct source *s = &g->sources[i / 2];
    return i % 2 ? &s->x : &s->dy;
}

static int is_repeated(const struct grads *g, size_t i)
{
    int seen = 0;
    for (size_t j = 0; j < i; j++) {
        seen = seen || operand_at(g, j)->id == operand_at(g, i)->id;
    }
    return seen;
}

/* Lays out one panel of one operand by pairs. */
static void pairs_tile(void *ctx, size_t item, unsigned slot)
{
    const struct grads *g = ctx;
    const struct gdfo_llama_net *net = g->net;
    (void)slot;
    for (size_t i = 0; i < 2 * g->n_sources; i++) {
        const struct operand *x = operand_at(g, i);
        size_t n = is_repeated(g, i) ? 0 : n_panels(x);
        size_t first = item * GDFO_TRAIN_PANEL;
        if (item < n) {
            uint32_t *out =
                net->pairs + (net->first_panel[x->id] + item) * net->max_pairs * GDFO_TRAIN_PANEL;
            gdfo_train_lanes()->pairs(out, x->x + first, x->cols, g->sources[i / 2].n,
                                      x->cols - first);
            return;
        }
        item -= n;
    }
}

static void run_grads(struct grads *g)
{
    const struct gdfo_llama_net *net = g->net;
    size_t n = g->d_norm_weight != NULL;
    size_t panels = 0;
    for (size_t i = 0; i < 2 * g->n_sources && net->pairs; i++) {
        panels += is_repeated(g, i) ? 0 : n_panels(operand_at(g, i));
    }
    gdfo_pool_run(net->pool, panels, pairs_tile, g);
    for (size_t i = 0; i < g->n_sources; i++) {
        n += n_grad_items(&net->layers[net->layer].lin[g->sources[i].id]);
    }
    gdfo_pool_run(net->pool, n, grads_tile, g);
}

static void behind_grads(struct gdfo_llama_net *net)
{
    const struct gdfo_llama_train_layer *y = &net->layers[net->layer];
    size_t C = net->base.config.d_model;
    size_t F = net->base.config.d_ff;
    size_t n = gdfo_llama_asking(net, net->layer);
    const struct operand down = {GDFO_LLAMA_D_DOWN, net->dffn, C};
    const struct operand h = {GDFO_LLAMA_H, net->h, F};
    const struct operand gate = {GDFO_LLAMA_D_GATE, net->dgate, F};
    const struct operand up = {GDFO_LLAMA_D_UP, net->dup, F};
    const struct operand norm = {GDFO_LLAMA_NORM, net->norm, C};
    const struct operand o = {GDFO_LLAMA_D_O, net->base.dx, C};
    const struct operand att = {GDFO_LLAMA_ATT, y->att, y->lin[GDFO_LLAMA_O].in};
    struct grads g = {.net = net,
                      .sources = {{GDFO_LLAMA_DOWN, down, h, n},
                                  {GDFO_LLAMA_GATE, gate, norm, n},
                                  {GDFO_LLAMA_UP, up, norm, n},
                                  {GDFO_LLAMA_O, o, att, n}},
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
    const struct operand k = {GDFO_LLAMA_D_K, net->dk, net->base.kv_dim};
    const struct operand v = {GDFO_LLAMA_D_V, net->dv, net->base.kv_dim};
    const struct operand q = {GDFO_LLAMA_D_Q, net->dq, y->lin[GDFO_LLAMA_Q].out};
    const struct operand norm = {GDFO_LLAMA_NORM, net->norm, net->base.config.d_model};
    struct grads g = {.net = net,
                      .sources = {{GDFO_LLAMA_K, k, norm, n},
                                  {GDFO_LLAMA_V, v, norm, n},
                                  {GDFO_LLAMA_Q, q, norm, gdfo_llama_asking(net, net->layer)}},
                      .n_sources = 3,
                      .d_norm_weight = y->d_attn_norm,
                      .norm_input = y->x,
                      .norm_rows = n};
    run_grads(&g);
}

/* What is added to rather than written: adapters' gradients, and in FULL mode those of norms. */
static void clear_grads(const struct gdfo_llama_net *net)
{
    const struct gdfo_net *b = &net->base;
    size_t norm = b->config.d_model * sizeof *b->grads;
    if (!net->d_out_norm) {
        memset(b->grads, 0, b->n_params * sizeof *b->grads);
        return;
    }
    memset(net->d_out_norm, 0, norm);
    for (size_t l = 0; l < b->config.n_layers; l++) {
        memset(net->layers[l].d_attn_norm, 0, norm);
        memset(net->layers[l].d_ffn_norm, 0, norm);
    }
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
    if (net->want & GDFO_NET_WANT_PARAMS && net->want & GDFO_NET_IS_FIRST) {
        clear_grads(net);
    }
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
