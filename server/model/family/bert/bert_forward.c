#include "common/mem.h"
#include "server/model/family/bert/bert_math_priv.h"
#include "server/model/family/bert/bert_weights_priv.h"
#include "server/model/family/family.h"
#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. C d_model, F d_ff, N rows of the pack. Every position of a run sees all others, so no run
 * has a past. A layer is two loops over the pool, as in the llama family: attention over groups of
 * runs and heads, from qkv into att; then, over tiles of rows, all the rest of a tile while it is
 * warm: output projection, residual and norm, feed-forward, residual and norm, the next layer's
 * q k v. Every product has TILE rows, so who shares a tile changes no bit. A bias is laid into the
 * output first and the product added to it. The last layer's second loop runs on the scored rows
 * alone, moved together, and goes on through the transform of the masked-LM head.
 */
#define TILE       ((size_t)GDFO_GEMM_TILE)
#define GROUP_ROWS 128 /* rows of attention per pool item; ours */
#define VECTOR     16

struct slot {     /* scratch of one thread of the pool */
    float *ff;    /* [TILE][F]; the head's transform [TILE][C] */
    float *k, *v; /* keys [C / heads][S] and values [S][d_stride] of one run and head */
    float *scores;
};

struct group {
    size_t first, n; /* runs */
};

struct work {
    const struct gdfo_bert_weights *w;
    const struct gdfo_math *math;
    size_t d_stride, own_max;
    float *qkv;  /* [N][3 C] */
    float *att;  /* [N][C] */
    size_t *pos; /* [N] */
    struct group *groups;
    struct slot *slots; /* [n_threads] */
    float *scratch;     /* of all slots */
    /* set by forward for the loop under way */
    const struct gdfo_pass *pass;
    size_t layer, n_groups;
};

/* ---- set-up ---------------------------------------------------------------------------------- */

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* One slot's floats; deals the pointers when s is given. */
static size_t deal_slot(const struct work *k, struct slot *s, float *at)
{
    const struct gdfo_model_config *c = &k->w->config;
    const size_t wide = c->d_ff > c->d_model ? c->d_ff : c->d_model;
    const size_t n[] = {
        round_up(TILE * wide, VECTOR), c->d_head * round_up(k->own_max, VECTOR) + VECTOR,
        k->own_max * k->d_stride + VECTOR, gdfo_attend_scratch(0, k->own_max) + VECTOR};
    if (s) {
        s->ff = at;
        s->k = s->ff + n[0];
        s->v = s->k + round_up(n[1], VECTOR);
        s->scores = s->v + round_up(n[2], VECTOR);
    }
    return n[0] + round_up(n[1], VECTOR) + round_up(n[2], VECTOR) + round_up(n[3], VECTOR);
}

static void destroy(void *workspace)
{
    struct work *k = workspace;
    if (k) {
        gdfo_mem_free(k->qkv);
        gdfo_mem_free(k->att);
        gdfo_mem_free(k->pos);
        gdfo_mem_free(k->groups);
        gdfo_mem_free(k->slots);
        gdfo_mem_free(k->scratch);
        gdfo_mem_free(k);
    }
}

static int allocate(struct work *k, const struct gdfo_pass_sizes *sizes, uint64_t *bytes)
{
    const size_t d = k->w->config.d_model;
    const size_t n = round_up(sizes->positions_max, TILE);
    const size_t n_slot = deal_slot(k, NULL, NULL);
    k->qkv = gdfo_mem_aligned(n * 3 * d, sizeof *k->qkv);
    k->att = gdfo_mem_aligned(n * d, sizeof *k->att);
    k->pos = gdfo_mem_array(n, sizeof *k->pos);
    k->groups = gdfo_mem_array(n, sizeof *k->groups);
    k->slots = gdfo_mem_array(sizes->n_threads, sizeof *k->slots);
    k->scratch = gdfo_mem_aligned(sizes->n_threads * n_slot, sizeof *k->scratch);
    if (!k->qkv || !k->att || !k->pos || !k->groups || !k->slots || !k->scratch) {
        return 0;
    }
    for (size_t i = 0; i < sizes->n_threads; i++) {
        (void)deal_slot(k, &k->slots[i], k->scratch + i * n_slot);
    }
    *bytes = (n * 4 * d + sizes->n_threads * n_slot) * sizeof(float) +
             n * (sizeof *k->pos + sizeof *k->groups);
    return 1;
}

static enum gdfo_status create(void **workspace, const void *weights,
                               const struct gdfo_pass_sizes *sizes, uint64_t *bytes,
                               struct gdfo_error *err)
{
    struct work *k = gdfo_mem_array(1, sizeof *k);
    if (!k) {
        return gdfo_error_no_memory(err, "forward workspace");
    }
    k->w = weights;
    k->math = gdfo_math();
    k->d_stride = round_up(k->w->config.d_head, VECTOR);
    k->own_max =
        sizes->context_max < sizes->positions_max ? sizes->context_max : sizes->positions_max;
    if (!allocate(k, sizes, bytes)) {
        destroy(k);
        return gdfo_error_no_memory(err, "forward workspace");
    }
    *workspace = k;
    return GDFO_STATUS_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void norm_rows(const struct work *k, float *x, const float *weight, const float *bias)
{
    const struct gdfo_bert_norm norm = {weight, bias, k->w->config.d_model, k->w->config.rms_eps};
    for (size_t t = 0; t < TILE; t++) {
        gdfo_bert_layer_norm(x + t * norm.n, &norm);
    }
}

struct linear { /* y[TILE][n] = (is_added ? y : 0) + x[TILE][k] w[n][k]^T + bias[n] */
    float *y;
    const float *x, *w, *bias;
    size_t n, k;
    int is_added;
};

static void apply(const struct linear *l)
{
    const struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                                .m = TILE,
                                .n = l->n,
                                .k = l->k,
                                .a = l->x,
                                .b = l->w,
                                .c = l->y,
                                .lda = l->k,
                                .ldb = l->k,
                                .ldc = l->n,
                                .beta = 1};
    for (size_t t = 0; t < TILE; t++) {
        float *y = l->y + t * l->n;
        if (!l->is_added) {
            memcpy(y, l->bias, l->n * sizeof *y);
            continue;
        }
        for (size_t i = 0; i < l->n; i++) {
            y[i] += l->bias[i];
        }
    }
    gdfo_gemm(&g);
}

/* q, k and v of a layer, from x. */
static void enter_layer(const struct work *k, size_t layer, size_t row)
{
    const struct gdfo_bert_layer *l = &k->w->layers[layer];
    const size_t d = k->w->config.d_model;
    apply(&(struct linear){.y = k->qkv + row * 3 * d,
                           .x = k->pass->x + row * d,
                           .w = l->q,
                           .bias = l->q_bias,
                           .n = 3 * d,
                           .k = d});
}

/* What follows attention in a layer. */
static void leave_layer(const struct work *k, const struct slot *s, size_t layer, size_t row)
{
    const struct gdfo_bert_layer *l = &k->w->layers[layer];
    const size_t d = k->w->config.d_model;
    const size_t ff = k->w->config.d_ff;
    float *x = k->pass->x + row * d;
    apply(&(struct linear){x, k->att + row * d, l->o, l->o_bias, d, d, 1});
    norm_rows(k, x, l->attn_norm, l->attn_norm_bias);
    apply(&(struct linear){s->ff, x, l->up, l->up_bias, ff, d, 0});
    gdfo_bert_activate(s->ff, TILE * ff, k->w->config.activation, k->math);
    apply(&(struct linear){x, s->ff, l->down, l->down_bias, d, ff, 1});
    norm_rows(k, x, l->out_norm, l->out_norm_bias);
}

/* The masked-LM head in front of its decoder. */
static void transform(const struct work *k, const struct slot *s, size_t row)
{
    const size_t d = k->w->config.d_model;
    float *x = k->pass->x + row * d;
    apply(&(struct linear){s->ff, x, k->w->mlm_dense, k->w->mlm_dense_bias, d, d, 0});
    gdfo_bert_activate(s->ff, TILE * d, k->w->config.activation, k->math);
    norm_rows(k, s->ff, k->w->mlm_norm, k->w->mlm_norm_bias);
    memcpy(x, s->ff, TILE * d * sizeof *x);
}

/* Pool item: a tile on its way into the first layer. */
static void run_first(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    const struct gdfo_bert_weights *w = k->w;
    const size_t d = w->config.d_model;
    const size_t row = item * TILE;
    float *x = k->pass->x + row * d;
    const size_t n = k->pass->n - row < TILE ? k->pass->n - row : TILE;
    (void)slot;
    for (size_t t = 0; t < n; t++) {
        const float *position = w->positions + (w->config.position_first + k->pos[row + t]) * d;
        for (size_t i = 0; i < d; i++) {
            x[t * d + i] = x[t * d + i] + w->types[i] + position[i];
        }
    }
    norm_rows(k, x, w->embed_norm, w->embed_norm_bias);
    for (size_t t = 0; t < n; t++) {
        const float *added = k->pass->added ? k->pass->added[row + t] : NULL;
        for (size_t i = 0; added && i < d; i++) {
            x[t * d + i] += added[i];
        }
    }
    enter_layer(k, 0, row);
}

/* Pool item: a tile from one layer's attention to the next one's. */
static void run_tile(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    const struct slot *s = &k->slots[slot];
    const size_t row = item * TILE;
    leave_layer(k, s, k->layer, row);
    if (k->layer + 1 < k->w->config.n_layers) {
        const size_t n = k->pass->n - row < TILE ? k->pass->n - row : TILE;
        gdfo_pass_enter_layer(k->pass, k->w->config.d_model, k->layer + 1, row, n);
        enter_layer(k, k->layer + 1, row);
    } else if (!k->w->config.is_encoder && !k->pass->wants_features) {
        transform(k, s, row);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

static void attend_run(const struct work *k, const struct slot *s, const struct gdfo_pass_run *r,
                       size_t head)
{
    const struct gdfo_model_config *c = &k->w->config;
    const size_t d = c->d_model;
    const int is_last = k->layer + 1 == c->n_layers;
    const float *q = k->qkv + r->first * 3 * d + head * c->d_head;
    struct gdfo_attend a = {.q = q,
                            .q_stride = 3 * d,
                            .out = k->att + r->first * d + head * c->d_head,
                            .out_stride = d,
                            .n_group = 1,
                            .d_head = c->d_head,
                            .d_stride = k->d_stride,
                            .q_first = is_last ? r->q_first : 0,
                            .q_end = is_last ? r->q_end : r->n,
                            .is_both_ways = 1,
                            .scale = (float)(1.0 / sqrt((double)c->d_head)),
                            .scores = s->scores};
    if (a.q_first == a.q_end) {
        return;
    }
    a.own.n = r->n;
    a.own.k_stride = round_up(r->n, VECTOR);
    k->math->lay_keys(s->k, a.own.k_stride, q + d, 3 * d, r->n, c->d_head);
    for (size_t j = 0; j < r->n; j++) {
        memcpy(s->v + j * k->d_stride, q + 2 * d + j * 3 * d, c->d_head * sizeof *s->v);
    }
    a.own.k = s->k;
    a.own.v = s->v;
    k->math->attend(&a);
}

static void run_attention(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    const size_t n_heads = k->w->config.n_heads;
    const struct group *g = &k->groups[item / n_heads];
    for (size_t i = 0; i < g->n; i++) {
        attend_run(k, &k->slots[slot], &k->pass->runs[g->first + i], item % n_heads);
    }
}

/* ---- the pass -------------------------------------------------------------------------------- */

static void plan(struct work *k)
{
    size_t n_in_group = GROUP_ROWS;
    k->n_groups = 0;
    for (size_t i = 0; i < k->pass->n_runs; i++) {
        const struct gdfo_pass_run *r = &k->pass->runs[i];
        if (n_in_group >= GROUP_ROWS) {
            k->groups[k->n_groups++] = (struct group){.first = i};
            n_in_group = 0;
        }
        k->groups[k->n_groups - 1].n++;
        n_in_group += r->n;
        for (size_t j = 0; j < r->n; j++) {
            k->pos[r->first + j] = j;
        }
    }
}

/* Moves row scored[i] of x to row i, and zeroes what is left of the last tile. */
static void gather(float *x, size_t width, const struct gdfo_pass *pass)
{
    const size_t end = round_up(pass->n_scored, TILE);
    for (size_t i = 0; i < pass->n_scored; i++) {
        memmove(x + i * width, x + pass->scored[i] * width, width * sizeof *x);
    }
    memset(x + pass->n_scored * width, 0, (end - pass->n_scored) * width * sizeof *x);
}

static void forward(void *workspace, const struct gdfo_pass *pass)
{
    struct work *k = workspace;
    const size_t d = k->w->config.d_model;
    size_t n_tiles = (pass->n + TILE - 1) / TILE;
    k->pass = pass;
    plan(k);
    memset(k->att + pass->n * d, 0, (n_tiles * TILE - pass->n) * d * sizeof *k->att);
    gdfo_pool_run(pass->pool, n_tiles, run_first, k);
    for (k->layer = 0; k->layer < k->w->config.n_layers; k->layer++) {
        gdfo_pool_run(pass->pool, k->n_groups * k->w->config.n_heads, run_attention, k);
        if (k->layer + 1 == k->w->config.n_layers) {
            gather(pass->x, d, pass);
            gather(k->att, d, pass);
            n_tiles = (pass->n_scored + TILE - 1) / TILE;
        }
        gdfo_pool_run(pass->pool, n_tiles, run_tile, k);
    }
}

static const float *embed(const void *weights)
{
    return ((const struct gdfo_bert_weights *)weights)->embed;
}

static const float *head(const void *weights)
{
    return ((const struct gdfo_bert_weights *)weights)->head;
}

static const float *head_bias(const void *weights)
{
    return ((const struct gdfo_bert_weights *)weights)->head_bias;
}

static enum gdfo_status load(void **weights, const struct gdfo_model_file *file,
                             const struct gdfo_family_load *how, struct gdfo_error *err)
{
    struct gdfo_bert_weights *w = NULL;
    enum gdfo_status st = gdfo_bert_weights_load(&w, file, err);
    (void)how; /* F32 alone: gdfo_model_open refused the rest */
    if (st == GDFO_STATUS_OK) {
        *weights = w;
    }
    return st;
}

static void unload(void *weights)
{
    gdfo_bert_weights_destroy(weights);
}

extern const struct gdfo_family_ops gdfo_family_bert_ops;
const struct gdfo_family_ops gdfo_family_bert_ops = {
    .name = "bert",
    .weights_floats = gdfo_bert_weights_floats,
    .load = load,
    .unload = unload,
    .embed = embed,
    .head = head,
    .workspace_create = create,
    .workspace_destroy = destroy,
    .forward = forward,
    .is_both_ways = 1,
    .head_bias = head_bias,
};
