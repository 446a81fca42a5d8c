#include "common/mem.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pack.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. C d_model, F d_ff, Q n_heads d_head, K n_kv_heads d_head, N rows of the pack. A layer is
 * two loops over the pool. The first goes over groups of runs and KV heads: attention, from qkv
 * into att. The second goes over tiles of rows and does all the rest of a tile while it is warm:
 * output projection, norm, SwiGLU, and then the next layer's norm, q k v projection and rotation.
 * A row is prepared for its product (pack.h) as soon as it is normed. Products do not depend on who
 * shares a tile, so neither does a bit of the result. The last layer's second loop runs on the
 * scored rows alone, moved together.
 */
#define TILE_BLAS  ((size_t)GDFO_GEMM_TILE)
#define TILE_MAX   96  /* rows whose gate and up stay in a cache of 1 MiB; ours */
#define TILE_UNIT  12  /* rows that the kernels take together */
#define GROUP_ROWS 128 /* rows of attention per pool item; ours */
#define SCORES_PAD 48  /* padding of past and own, and one spare vector */
#define VECTOR     16
#define N_PARTS    7 /* of a slot */

struct slot {               /* scratch of one thread of the pool */
    float *norm;            /* [C] */
    float *ff;              /* [tile][2 F]: gate | up */
    float *k, *v;           /* own keys [d_head][S] and values [S][d_stride] of one run and head */
    float *scores;          /* of attention */
    unsigned char *rows;    /* prepared, [tile][row_bytes] of the widest */
    unsigned char *scratch; /* of products */
};

struct group {
    size_t first, n; /* runs */
};

struct work {
    const struct gdfo_llama_weights *w;
    const struct gdfo_math *math;
    size_t q_dim, kv_dim, qkv_dim, d_stride, own_max;
    size_t tile_max, rows_bytes, scratch_bytes; /* of a tile, the prepared rows, the products */
    float *qkv;                                 /* [N][Q + 2 K] */
    float *att;                                 /* [N][Q] */
    float *turn;                                /* [S][n_rot]: cos, sin of each pair's angle */
    size_t *pos;                                /* [N] */
    struct group *groups;
    struct slot *slots; /* [n_threads] */
    float *scratch;     /* of all slots */
    /* set by forward for the loop under way */
    const struct gdfo_pass *pass;
    size_t layer, n_groups;
    size_t tile, n_rows; /* rows of an item, rows in all */
};

/* ---- set-up ---------------------------------------------------------------------------------- */

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* One slot's floats; deals the pointers when s is given. */
static size_t deal_slot(const struct work *k, const struct gdfo_pass_sizes *sizes, struct slot *s,
                        float *at)
{
    const struct gdfo_model_config *c = &k->w->config;
    size_t n[N_PARTS];
    size_t total = 0;
    n[0] = round_up(c->d_model, VECTOR);
    n[1] = round_up(k->tile_max * 2 * c->d_ff, VECTOR);
    n[2] = c->d_head * round_up(k->own_max, VECTOR);
    n[3] = k->own_max * k->d_stride;
    n[4] = GDFO_ATTEND_BLOCK * round_up(sizes->context_max + SCORES_PAD, VECTOR);
    n[5] = round_up(k->rows_bytes / sizeof(float), VECTOR);
    n[6] = round_up(k->scratch_bytes / sizeof(float), VECTOR);
    if (s) {
        s->norm = at;
        s->ff = s->norm + n[0];
        s->k = s->ff + n[1];
        s->v = s->k + n[2];
        s->scores = s->v + n[3];
        s->rows = (unsigned char *)(s->scores + n[4]);
        s->scratch = (unsigned char *)(s->scores + n[4] + n[5]);
    }
    for (size_t i = 0; i < N_PARTS; i++) {
        total += n[i];
    }
    return total;
}

static size_t at_least(size_t n, size_t least)
{
    return n > least ? n : least;
}

/* How many rows a tile has, and what its products take; layers differ in INT8. */
static void choose_tile(struct work *k)
{
    const int is_blas = k->w->precision == GDFO_PRECISION_F32;
    k->tile_max = is_blas ? TILE_BLAS : TILE_MAX;
    for (size_t l = 0; l < k->w->config.n_layers; l++) {
        const struct gdfo_llama_packs *p = &k->w->packs[l];
        const struct gdfo_pack *const all[] = {p->qkv, p->o, p->gate_up, p->down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            k->rows_bytes = at_least(k->rows_bytes, k->tile_max * gdfo_pack_row_bytes(all[i]));
            if (is_blas) {
                k->scratch_bytes =
                    at_least(k->scratch_bytes, gdfo_pack_scratch(all[i], k->tile_max));
            }
        }
    }
}

/* Angle pos base^(-2i/n_rot), in double. */
static void fill_turns(struct work *k, size_t n_positions)
{
    const struct gdfo_model_config *c = &k->w->config;
    for (size_t i = 0; i < c->n_rot; i += 2) {
        double step = pow(c->rope_base, -(double)i / (double)c->n_rot);
        for (size_t p = 0; p < n_positions; p++) {
            k->turn[p * c->n_rot + i] = (float)cos((double)p * step);
            k->turn[p * c->n_rot + i + 1] = (float)sin((double)p * step);
        }
    }
}

static void destroy(void *workspace)
{
    struct work *k = workspace;
    if (k) {
        gdfo_mem_free(k->qkv);
        gdfo_mem_free(k->att);
        gdfo_mem_free(k->turn);
        gdfo_mem_free(k->pos);
        gdfo_mem_free(k->groups);
        gdfo_mem_free(k->slots);
        gdfo_mem_free(k->scratch);
        gdfo_mem_free(k);
    }
}

static int allocate(struct work *k, const struct gdfo_pass_sizes *sizes, uint64_t *bytes)
{
    size_t n = sizes->positions_max;
    size_t n_slot = round_up(deal_slot(k, sizes, NULL, NULL), VECTOR);
    k->qkv = gdfo_mem_aligned(n * k->qkv_dim, sizeof *k->qkv);
    k->att = gdfo_mem_aligned(n * k->q_dim, sizeof *k->att);
    k->turn = gdfo_mem_aligned(sizes->context_max * k->w->config.n_rot, sizeof *k->turn);
    k->pos = gdfo_mem_array(n, sizeof *k->pos);
    k->groups = gdfo_mem_array(n, sizeof *k->groups);
    k->slots = gdfo_mem_array(sizes->n_threads, sizeof *k->slots);
    k->scratch = gdfo_mem_aligned(sizes->n_threads * n_slot, sizeof *k->scratch);
    if (!k->qkv || !k->att || !k->turn || !k->pos || !k->groups || !k->slots || !k->scratch) {
        return 0;
    }
    for (size_t i = 0; i < sizes->n_threads; i++) {
        (void)deal_slot(k, sizes, &k->slots[i], k->scratch + i * n_slot);
    }
    *bytes = (n * (k->qkv_dim + k->q_dim) + sizes->context_max * k->w->config.n_rot +
              sizes->n_threads * n_slot) *
                 sizeof(float) +
             n * (sizeof *k->pos + sizeof *k->groups);
    return 1;
}

static enum gdfo_status create(void **workspace, const void *weights,
                               const struct gdfo_pass_sizes *sizes, uint64_t *bytes,
                               struct gdfo_error *err)
{
    struct work *k = gdfo_mem_array(1, sizeof *k);
    const struct gdfo_model_config *c;
    if (!k) {
        return gdfo_error_no_memory(err, "llama workspace");
    }
    k->w = weights;
    k->math = gdfo_math();
    c = &k->w->config;
    k->q_dim = (size_t)c->n_heads * c->d_head;
    k->kv_dim = (size_t)c->n_kv_heads * c->d_head;
    k->qkv_dim = k->q_dim + 2 * k->kv_dim;
    k->d_stride = round_up(c->d_head, VECTOR);
    k->own_max =
        sizes->positions_max < sizes->context_max ? sizes->positions_max : sizes->context_max;
    choose_tile(k);
    if (!allocate(k, sizes, bytes)) {
        destroy(k);
        return gdfo_error_no_memory(err, "llama workspace");
    }
    fill_turns(k, sizes->context_max);
    *workspace = k;
    return GDFO_STATUS_OK;
}

/* ---- a tile of rows -------------------------------------------------------------------------- */

struct tile {
    size_t row, n; /* of the pack */
};

static struct tile tile_of(const struct work *k, size_t item)
{
    struct tile t = {.row = item * k->tile};
    t.n = k->n_rows - t.row < k->tile ? k->n_rows - t.row : k->tile;
    return t;
}

static void put_row(const struct gdfo_pack *p, const struct slot *s, size_t r, const float *row)
{
    gdfo_pack_prepare(p, s->rows + r * gdfo_pack_row_bytes(p), row, 0, 1);
}

/* Norms n rows of x and prepares them for p. */
static void norm_rows(const struct work *k, const struct slot *s, size_t n, const float *x,
                      const float *weight, const struct gdfo_pack *p)
{
    size_t d = k->w->config.d_model;
    for (size_t r = 0; r < n; r++) {
        k->math->rms_norm(s->norm, x + r * d, weight, d, k->w->config.rms_eps);
        put_row(p, s, r, s->norm);
    }
}

/* c [n][] = the prepared rows times p, + beta c */
static void product(const struct gdfo_pack *p, const struct slot *s, size_t n, float *c, float beta)
{
    struct gdfo_product x = {.m = n, .rows = s->rows, .c = c, .beta = beta, .scratch = s->scratch};
    x.ldc = gdfo_pack_n(p);
    gdfo_pack_product(p, &x);
}

/* Norm, q k v, rotation of q and k: from x into qkv. */
static void enter_layer(const struct work *k, const struct slot *s, size_t l, struct tile t)
{
    const struct gdfo_model_config *c = &k->w->config;
    const struct gdfo_pack *p = k->w->packs[l].qkv;
    float *qkv = k->qkv + t.row * k->qkv_dim;
    norm_rows(k, s, t.n, k->pass->x + t.row * c->d_model, k->w->layers[l].attn_norm, p);
    product(p, s, t.n, qkv, 0.0F);
    for (size_t r = 0; r < t.n; r++) {
        k->math->rope(qkv + r * k->qkv_dim, k->turn + k->pos[t.row + r] * c->n_rot,
                      c->n_heads + c->n_kv_heads, c->d_head, c->n_rot);
    }
}

/* Output projection and feed-forward, each added to x. */
static void leave_layer(const struct work *k, const struct slot *s, size_t l, struct tile t)
{
    const struct gdfo_model_config *c = &k->w->config;
    const struct gdfo_llama_packs *p = &k->w->packs[l];
    float *x = k->pass->x + t.row * c->d_model;
    size_t f = c->d_ff;
    gdfo_pack_prepare(p->o, s->rows, k->att + t.row * k->q_dim, k->q_dim, t.n);
    product(p->o, s, t.n, x, 1.0F);
    norm_rows(k, s, t.n, x, k->w->layers[l].ffn_norm, p->gate_up);
    product(p->gate_up, s, t.n, s->ff, 0.0F);
    for (size_t r = 0; r < t.n; r++) {
        float *gate = s->ff + r * 2 * f;
        k->math->silu_mul(gate, gate, gate + f, f);
        put_row(p->down, s, r, gate);
    }
    product(p->down, s, t.n, x, 1.0F);
}

static void run_first(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    enter_layer(k, &k->slots[slot], 0, tile_of(k, item));
}

static void run_tile(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    const struct slot *s = &k->slots[slot];
    const struct tile t = tile_of(k, item);
    size_t d = k->w->config.d_model;
    leave_layer(k, s, k->layer, t);
    if (k->layer + 1 < k->w->config.n_layers) {
        gdfo_pass_enter_layer(k->pass, d, k->layer + 1, t.row, t.n);
        enter_layer(k, s, k->layer + 1, t);
        return;
    }
    for (size_t r = t.row; r < t.row + t.n; r++) {
        float *x = k->pass->x + r * d;
        k->math->rms_norm(s->norm, x, k->w->out_norm, d, k->w->config.rms_eps);
        memcpy(x, s->norm, d * sizeof *x);
    }
}

/* Runs fn over tiles of n rows: of one shape for the BLAS; else as many as the threads share
 * evenly. */
static void run_tiles(struct work *k, size_t n, gdfo_pool_fn fn)
{
    size_t n_items = (n + k->tile_max - 1) / k->tile_max;
    k->tile = k->tile_max;
    k->n_rows = n;
    if (k->w->precision != GDFO_PRECISION_F32 && n > 0) {
        n_items = round_up(n_items, gdfo_pool_threads(k->pass->pool));
        k->tile = round_up((n + n_items - 1) / n_items, TILE_UNIT);
        n_items = (n + k->tile - 1) / k->tile;
    }
    gdfo_pool_run(k->pass->pool, n_items, fn, k);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Where the own keys and values of a run go: the cache to keep, or scratch. */
static struct gdfo_attend_keys lay_own(const struct work *k, const struct slot *s,
                                       const struct gdfo_pass_run *r, size_t head)
{
    const struct gdfo_model_config *c = &k->w->config;
    size_t plane = k->layer * c->n_kv_heads + head;
    const float *key = k->qkv + r->first * k->qkv_dim + k->q_dim + head * c->d_head;
    float *to_k = s->k;
    float *to_v = s->v;
    size_t stride = round_up(r->n, VECTOR);
    if (r->keep) {
        stride = r->keep->k_stride;
        to_k = r->keep->k + plane * c->d_head * stride;
        to_v = r->keep->v + plane * r->keep->cap * r->keep->d_stride;
    }
    k->math->lay_keys(to_k, stride, key, k->qkv_dim, r->n, c->d_head);
    for (size_t j = 0; j < r->n; j++) {
        memcpy(to_v + j * k->d_stride, key + k->kv_dim + j * k->qkv_dim, c->d_head * sizeof *to_v);
    }
    return (struct gdfo_attend_keys){.k = to_k, .v = to_v, .n = r->n, .k_stride = stride};
}

static void attend_run(const struct work *k, const struct slot *s, const struct gdfo_pass_run *r,
                       size_t head)
{
    const struct gdfo_model_config *c = &k->w->config;
    size_t plane = k->layer * c->n_kv_heads + head;
    size_t n_group = c->n_heads / c->n_kv_heads;
    size_t q_first = k->layer + 1 < c->n_layers ? 0 : r->q_first;
    struct gdfo_attend a = {.n_group = n_group, .d_head = c->d_head, .d_stride = k->d_stride};
    if (q_first == r->n && !r->keep) {
        return;
    }
    a.own = lay_own(k, s, r, head);
    if (r->past) {
        a.past.n = r->past->n;
        a.past.k_stride = r->past->k_stride;
        a.past.k = r->past->k + plane * c->d_head * r->past->k_stride;
        a.past.v = r->past->v + plane * r->past->cap * r->past->d_stride;
    }
    a.q = k->qkv + r->first * k->qkv_dim + head * n_group * c->d_head;
    a.q_stride = k->qkv_dim;
    a.out = k->att + r->first * k->q_dim + head * n_group * c->d_head;
    a.out_stride = k->q_dim;
    a.q_first = q_first;
    a.scale = (float)(1.0 / sqrt((double)c->d_head));
    a.scores = s->scores;
    k->math->attend(&a);
}

static void run_attention(void *ctx, size_t item, unsigned slot)
{
    const struct work *k = ctx;
    size_t n_heads = k->w->config.n_kv_heads;
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
            k->pos[r->first + j] = r->n_past + j;
        }
    }
}

/* Moves row scored[i] of x to row i. */
static void gather(float *x, size_t width, const struct gdfo_pass *pass)
{
    for (size_t i = 0; i < pass->n_scored; i++) {
        memmove(x + i * width, x + pass->scored[i] * width, width * sizeof *x);
    }
}

static void forward(void *workspace, const struct gdfo_pass *pass)
{
    struct work *k = workspace;
    size_t n = pass->n;
    k->pass = pass;
    plan(k);
    run_tiles(k, n, run_first);
    for (k->layer = 0; k->layer < k->w->config.n_layers; k->layer++) {
        gdfo_pool_run(pass->pool, k->n_groups * k->w->config.n_kv_heads, run_attention, k);
        if (k->layer + 1 == k->w->config.n_layers) {
            gather(pass->x, k->w->config.d_model, pass);
            gather(k->att, k->q_dim, pass);
            n = pass->n_scored;
        }
        run_tiles(k, n, run_tile);
    }
}

static const float *embed(const void *weights)
{
    return ((const struct gdfo_llama_weights *)weights)->embed;
}

static const float *head(const void *weights)
{
    return ((const struct gdfo_llama_weights *)weights)->head;
}

static const struct gdfo_pack *head_pack(const void *weights)
{
    return ((const struct gdfo_llama_weights *)weights)->head_pack;
}

static enum gdfo_status load(void **weights, const struct gdfo_model_file *file,
                             const struct gdfo_family_load *how, struct gdfo_error *err)
{
    struct gdfo_llama_weights *w = NULL;
    enum gdfo_status st = gdfo_llama_weights_load(&w, file, how->pool, err);
    if (st == GDFO_STATUS_OK) {
        st = gdfo_llama_packs_create(w, how, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_llama_weights_destroy(w);
        return st;
    }
    *weights = w;
    return st;
}

static void unload(void *weights)
{
    gdfo_llama_weights_destroy(weights);
}

const struct gdfo_family_ops gdfo_family_llama_ops = {
    .name = "llama",
    .weights_floats = gdfo_llama_weights_floats,
    .packs_bytes = gdfo_llama_packs_bytes,
    .load = load,
    .unload = unload,
    .embed = embed,
    .head = head,
    .head_pack = head_pack,
    .workspace_create = create,
    .workspace_destroy = destroy,
    .forward = forward,
};
