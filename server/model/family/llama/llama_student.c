#include "server/model/family/llama/llama_student.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

#define ALIGN_FLOATS 16 /* a cache line */

/*
 * Deals pointers out of one slab. Run once with base NULL to count, then again to deal, so the
 * count cannot differ from what is dealt.
 */
struct dealer {
    float *base;
    size_t used;
    int overflows;
};

static float *deal(struct dealer *d, size_t rows, size_t cols)
{
    size_t n = 0;
    float *p = d->base ? d->base + d->used : NULL;
    if (!gdfo_size_mul(&n, rows, cols) || !gdfo_size_add(&n, n, ALIGN_FLOATS - 1) ||
        !gdfo_size_add(&d->used, d->used, n / ALIGN_FLOATS * ALIGN_FLOATS)) {
        d->overflows = 1;
        return NULL;
    }
    return p;
}

static void set_sizes(struct gdfo_llama_linear *lin, const struct gdfo_model_config *c)
{
    size_t C = c->d_model;
    size_t Q = (size_t)c->n_heads * c->d_head;
    size_t K = (size_t)c->n_kv_heads * c->d_head;
    size_t ff = c->d_ff;
    const size_t sizes[GDFO_LLAMA_N_LINEAR][2] = {{C, Q},  {C, K},  {C, K}, {Q, C},
                                                  {C, ff}, {C, ff}, {ff, C}};
    for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
        lin[i].in = sizes[i][0];
        lin[i].out = sizes[i][1];
    }
}

static void borrow_weights(struct gdfo_llama_net *net, const struct gdfo_llama_weights *w)
{
    net->out_norm = w->out_norm;
    for (size_t l = 0; l < net->base.config.n_layers; l++) {
        struct gdfo_llama_train_layer *y = &net->layers[l];
        const struct gdfo_llama_layer *from = &w->layers[l];
        const float *const sources[GDFO_LLAMA_N_LINEAR] = {from->q,    from->k,  from->v,   from->o,
                                                           from->gate, from->up, from->down};
        set_sizes(y->lin, &net->base.config);
        y->attn_norm = from->attn_norm;
        y->ffn_norm = from->ffn_norm;
        for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
            y->lin[i].w = sources[i];
        }
    }
}

/* FULL: one trainable tensor. Copies *w to its place in params and points both there. */
static void deal_copy(struct gdfo_llama_net *net, struct dealer *d, const float **w, float **dw,
                      size_t n)
{
    size_t at = d->used;
    float *p = deal(d, n, 1);
    if (p) {
        memcpy(p, *w, n * sizeof *p);
        *w = p;
        *dw = net->base.grads + at;
    }
}

static void deal_full(struct gdfo_llama_net *net, struct dealer *d)
{
    size_t C = net->base.config.d_model;
    for (size_t l = 0; l < net->base.config.n_layers; l++) {
        struct gdfo_llama_train_layer *y = &net->layers[l];
        deal_copy(net, d, &y->attn_norm, &y->d_attn_norm, C);
        deal_copy(net, d, &y->ffn_norm, &y->d_ffn_norm, C);
        for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
            struct gdfo_llama_linear *lin = &y->lin[i];
            deal_copy(net, d, &lin->w, &lin->dw, lin->in * lin->out);
        }
    }
    deal_copy(net, d, &net->out_norm, &net->d_out_norm, C);
}

/* ADAPTER: a is N(0, 1 / in), b is zero: at the start the student is its base. */
static void deal_adapter(struct gdfo_llama_net *net, struct dealer *d,
                         struct gdfo_llama_linear *lin, struct gdfo_rng *rng)
{
    size_t at = d->used;
    float *a = deal(d, net->rank, lin->in);
    size_t at_b = d->used;
    float *b = deal(d, net->rank, lin->out);
    if (!a || !b) {
        return;
    }
    for (size_t i = 0; i < net->rank * lin->in; i++) {
        a[i] = (float)(gdfo_rng_normal(rng) / sqrt((double)lin->in));
    }
    lin->a = a;
    lin->b = b;
    lin->da = net->base.grads + at;
    lin->db = net->base.grads + at_b;
}

static void deal_adapters(struct gdfo_llama_net *net, struct dealer *d, uint64_t seed)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "student-adapter");
    for (size_t l = 0; l < net->base.config.n_layers; l++) {
        for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
            deal_adapter(net, d, &net->layers[l].lin[i], &rng);
        }
    }
}

static void deal_params(struct gdfo_llama_net *net, struct dealer *d,
                        const struct gdfo_student_opts *opts)
{
    switch (opts->mode) {
    case GDFO_TRAIN_FROZEN: break;
    case GDFO_TRAIN_ADAPTER: deal_adapters(net, d, opts->seed); break;
    case GDFO_TRAIN_FULL: deal_full(net, d); break;
    }
}

static void deal_layer(struct gdfo_llama_net *net, struct dealer *d,
                       struct gdfo_llama_train_layer *y, size_t T)
{
    const struct gdfo_model_config *c = &net->base.config;
    size_t Q = (size_t)c->n_heads * c->d_head;
    y->x = y == net->layers ? net->base.x : deal(d, T, c->d_model);
    y->q = deal(d, T, Q);
    y->k = deal(d, T, net->base.kv_dim);
    y->v = deal(d, T, net->base.kv_dim);
    y->att = deal(d, T, Q);
    y->mid = deal(d, T, c->d_model);
    y->gate = deal(d, T, c->d_ff);
    y->up = deal(d, T, c->d_ff);
    for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
        y->lin[i].u = deal(d, T, net->rank);
        y->lin[i].bt = deal(d, net->rank, y->lin[i].out);
    }
}

static void deal_du(struct gdfo_llama_net *net, struct dealer *d, size_t T)
{
    for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
        float *du = deal(d, T, net->rank);
        float *dbt = deal(d, net->rank, net->layers->lin[i].out);
        for (size_t l = 0; l < net->base.config.n_layers; l++) {
            net->layers[l].lin[i].du = du;
            net->layers[l].lin[i].dbt = dbt;
        }
    }
}

/* Rows of a tile prepared for a product, for each thread; not in F32, which takes them as they are.
 */
static void deal_rows(struct gdfo_llama_net *net, struct dealer *d)
{
    size_t row = 0;
    if (net->precision == GDFO_PRECISION_F32) {
        return;
    }
    for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
        const struct gdfo_llama_pair *p = &net->layers->lin[i].packs;
        size_t forward = gdfo_pack_row_bytes(p->forward);
        size_t backward = gdfo_pack_row_bytes(p->backward);
        row = forward > row ? forward : row;
        row = backward > row ? backward : row;
    }
    net->row_bytes = GDFO_LLAMA_TILE_ROWS * row;
    net->rows =
        (unsigned char *)deal(d, gdfo_pool_threads(net->pool), net->row_bytes / sizeof(float));
}

/* FULL in reduced precision, where the processor multiplies pairs: room for the operands of a
 * layer's weight gradients. */
static void deal_pairs(struct gdfo_llama_net *net, struct dealer *d,
                       const struct gdfo_student_opts *opts)
{
    const struct gdfo_model_config *c = &net->base.config;
    size_t C = c->d_model;
    size_t Q = (size_t)c->n_heads * c->d_head;
    size_t K = net->base.kv_dim;
    size_t F = c->d_ff;
    const size_t cols[GDFO_LLAMA_N_OPERANDS] = {[GDFO_LLAMA_D_DOWN] = C,
                                                [GDFO_LLAMA_H] = F > K ? F : K,
                                                [GDFO_LLAMA_D_GATE] = F > K ? F : K,
                                                [GDFO_LLAMA_D_UP] = F > Q ? F : Q,
                                                [GDFO_LLAMA_NORM] = C,
                                                [GDFO_LLAMA_D_O] = C,
                                                [GDFO_LLAMA_ATT] = Q};
    if (opts->mode != GDFO_TRAIN_FULL || net->precision == GDFO_PRECISION_F32 ||
        !gdfo_train_lanes()->outer) {
        return;
    }
    net->n_panels = 0;
    for (size_t i = 0; i < GDFO_LLAMA_N_OPERANDS; i++) {
        net->first_panel[i] = net->n_panels;
        net->n_panels += (cols[i] + GDFO_TRAIN_PANEL - 1) / GDFO_TRAIN_PANEL;
    }
    net->max_pairs = ((size_t)opts->max_positions + 1) / 2;
    net->pairs = (uint32_t *)deal(d, net->n_panels * net->max_pairs, GDFO_TRAIN_PANEL);
}

static void deal_work(struct gdfo_llama_net *net, struct dealer *d,
                      const struct gdfo_student_opts *opts)
{
    const struct gdfo_model_config *c = &net->base.config;
    size_t T = opts->max_positions;
    size_t C = c->d_model;
    size_t Q = (size_t)c->n_heads * c->d_head;
    net->base.x = deal(d, T, C);
    net->base.dx = deal(d, T, C);
    net->base.hidden = deal(d, opts->max_items, C);
    net->base.dhidden = deal(d, opts->max_items, C);
    net->x_out = deal(d, opts->max_items, C);
    for (size_t l = 0; l < c->n_layers; l++) {
        deal_layer(net, d, &net->layers[l], T);
    }
    deal_du(net, d, T);
    net->cosines = deal(d, opts->max_sequence, c->n_rot / 2);
    net->sines = deal(d, opts->max_sequence, c->n_rot / 2);
    net->norm = deal(d, T, C);
    net->dnorm = deal(d, T, C);
    net->dffn = deal(d, T, C);
    net->h = deal(d, T, c->d_ff);
    net->dgate = deal(d, T, c->d_ff);
    net->dup = deal(d, T, c->d_ff);
    net->datt = deal(d, T, Q);
    net->dq = deal(d, T, Q);
    net->dk = deal(d, T, net->base.kv_dim);
    net->dv = deal(d, T, net->base.kv_dim);
    net->attention_floats =
        gdfo_train_attention_scratch(opts->max_sequence, c->n_heads / c->n_kv_heads, c->d_head);
    net->attention = deal(d, gdfo_pool_threads(net->pool), net->attention_floats);
    deal_rows(net, d);
    deal_pairs(net, d, opts);
}

/* How many parameters deal_params would deal. */
static size_t count_params(const struct gdfo_llama_net *net, const struct gdfo_student_opts *opts)
{
    const struct gdfo_model_config *c = &net->base.config;
    struct dealer d = {0};
    for (size_t l = 0; l < c->n_layers && opts->mode != GDFO_TRAIN_FROZEN; l++) {
        for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
            const struct gdfo_llama_linear *lin = &net->layers[l].lin[i];
            if (opts->mode == GDFO_TRAIN_FULL) {
                (void)deal(&d, lin->in, lin->out);
            } else {
                (void)deal(&d, net->rank, lin->in);
                (void)deal(&d, net->rank, lin->out);
            }
        }
    }
    for (size_t i = 0; i <= 2 * (size_t)c->n_layers && opts->mode == GDFO_TRAIN_FULL; i++) {
        (void)deal(&d, c->d_model, 1); /* the norms */
    }
    return d.used;
}

/* FULL: packs that borrow (F32) look at the copies from here on. */
static void follow_copies(struct gdfo_llama_net *net)
{
    for (size_t l = 0; l < net->base.config.n_layers; l++) {
        for (size_t i = 0; i < GDFO_LLAMA_N_LINEAR; i++) {
            struct gdfo_llama_linear *lin = &net->layers[l].lin[i];
            gdfo_pack_refill(lin->packs.forward, lin->w, lin->in);
            gdfo_pack_refill(lin->packs.backward, lin->w, lin->in);
        }
    }
}

static void matrices_of(const struct gdfo_llama_train_layer *y,
                        struct gdfo_llama_matrix m[GDFO_LLAMA_MATRICES])
{
    for (size_t i = 0; i < GDFO_LLAMA_MATRICES; i++) {
        m[i] = (struct gdfo_llama_matrix){y->lin[i].w, y->lin[i].out, y->lin[i].in};
    }
}

/* Packs of every layer: lent from the model's shelf, but our own of weights that will train; of
 * those the base's values serve for now. */
static enum gdfo_status pack_weights(struct gdfo_llama_net *net, enum gdfo_train_mode mode,
                                     struct gdfo_error *err)
{
    size_t n = net->base.config.n_layers;
    enum gdfo_status st = GDFO_STATUS_OK;
    net->packs = gdfo_mem_array(n, sizeof *net->packs);
    if (!net->packs) {
        return gdfo_error_no_memory(err, "student");
    }
    for (size_t l = 0; l < n && st == GDFO_STATUS_OK; l++) {
        struct gdfo_llama_matrix m[GDFO_LLAMA_MATRICES];
        matrices_of(&net->layers[l], m);
        st = mode == GDFO_TRAIN_FULL
                 ? gdfo_llama_pack_layer_init(&net->packs[l], net->precision, m, err)
                 : gdfo_llama_shelf_acquire(net->shelf, net->precision, l, m, &net->packs[l], err);
        net->n_packed += st == GDFO_STATUS_OK;
        for (size_t i = 0; i < GDFO_LLAMA_MATRICES && st == GDFO_STATUS_OK; i++) {
            net->layers[l].lin[i].packs = net->packs[l].of[i];
        }
    }
    if (mode == GDFO_TRAIN_FULL) {
        net->shelf = NULL;
    }
    return st;
}

static void unpack_weights(struct gdfo_llama_net *net)
{
    for (size_t l = 0; l < net->n_packed; l++) {
        if (net->shelf) {
            gdfo_llama_shelf_release(net->shelf, net->precision, l);
        } else {
            gdfo_llama_pack_layer_deinit(&net->packs[l]);
        }
    }
    gdfo_mem_free(net->packs);
}

static enum gdfo_status allocate(struct gdfo_llama_net *net, const struct gdfo_student_opts *opts,
                                 struct gdfo_error *err)
{
    size_t n_params = count_params(net, opts);
    struct dealer d = {0};
    net->base.n_params = n_params;
    (void)deal(&d, n_params, 2);
    deal_work(net, &d, opts);
    if (d.overflows || d.used > GDFO_STUDENT_MEMORY_MAX / sizeof(float)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "student of %u layers and %u positions needs more than %zu MiB of "
                              "memory",
                              net->base.config.n_layers, opts->max_positions,
                              GDFO_STUDENT_MEMORY_MAX >> 20);
    }
    net->slab = gdfo_mem_aligned(d.used, sizeof *net->slab);
    if (!net->slab) {
        return gdfo_error_no_memory(err, "student");
    }
    if (n_params > 0) {
        net->base.params = net->slab;
        net->base.grads = net->slab + n_params;
        d = (struct dealer){.base = net->base.params};
        deal_params(net, &d, opts);
        if (opts->mode == GDFO_TRAIN_FULL) {
            follow_copies(net);
        }
    }
    d = (struct dealer){.base = net->slab, .used = 2 * n_params};
    deal_work(net, &d, opts);
    gdfo_train_rope_tables(net->cosines, net->sines, opts->max_sequence, net->base.config.n_rot,
                           net->base.config.rope_base);
    return GDFO_STATUS_OK;
}

static void destroy(struct gdfo_net *base)
{
    struct gdfo_llama_net *net = (struct gdfo_llama_net *)base;
    if (net) {
        unpack_weights(net);
        gdfo_mem_free(net->slab);
        gdfo_mem_free(net->layers);
        gdfo_mem_free(net);
    }
}

static void copy_kv(const struct gdfo_net *base, const struct gdfo_pack *pack, size_t span,
                    float *data)
{
    const struct gdfo_llama_net *net = (const struct gdfo_llama_net *)base;
    const struct gdfo_pack_span *s = &pack->spans[span];
    size_t width = base->kv_dim;
    for (size_t l = 0; l < base->config.n_layers; l++) {
        const float *const sources[2] = {net->layers[l].k, net->layers[l].v};
        for (size_t i = 0; i < 2 * (size_t)s->n; i++, data += width) {
            const float *row = sources[i / s->n] + pack->order[s->first + i % s->n] * width;
            memcpy(data, row, width * sizeof *data);
        }
    }
}

enum gdfo_status gdfo_llama_net_create(struct gdfo_net **out, const struct gdfo_llama_weights *w,
                                       const struct gdfo_student_opts *opts, struct gdfo_pool *pool,
                                       struct gdfo_error *err)
{
    struct gdfo_llama_net *net = gdfo_mem_array(1, sizeof *net);
    enum gdfo_status st;
    if (!net) {
        return gdfo_error_no_memory(err, "student");
    }
    net->base.ops = &gdfo_net_llama_ops;
    net->base.config = w->config;
    net->base.config.n_layers = opts->n_layers ? opts->n_layers : w->config.n_layers;
    net->base.kv_dim = (size_t)w->config.n_kv_heads * w->config.d_head;
    net->base.embed = w->embed;
    net->base.head = w->head;
    net->pool = pool;
    net->rank = opts->mode == GDFO_TRAIN_ADAPTER ? opts->adapter_rank : 0;
    net->scale = (float)opts->adapter_scale;
    net->precision = opts->precision;
    net->shelf = w->shelf;
    net->base.is_changed = 1;
    if (net->base.config.n_layers > w->config.n_layers) {
        st = gdfo_error_set(err, GDFO_STATUS_INVALID, "student of %u layers: the model has %u",
                            opts->n_layers, w->config.n_layers);
        goto fail;
    }
    net->layers = gdfo_mem_array(net->base.config.n_layers, sizeof *net->layers);
    if (!net->layers) {
        st = gdfo_error_no_memory(err, "student");
        goto fail;
    }
    borrow_weights(net, w);
    st = pack_weights(net, opts->mode, err);
    if (st == GDFO_STATUS_OK) {
        st = allocate(net, opts, err);
    }
    if (st != GDFO_STATUS_OK) {
        goto fail;
    }
    *out = &net->base;
    return GDFO_STATUS_OK;
fail:
    destroy(&net->base);
    return st;
}

static enum gdfo_status open_model(struct gdfo_net **out, const struct gdfo_model *model,
                                   const struct gdfo_student_opts *opts, struct gdfo_pool *pool,
                                   struct gdfo_error *err)
{
    return gdfo_llama_net_create(out, gdfo_llama_weights_of(model), opts, pool, err);
}

const struct gdfo_net_ops gdfo_net_llama_ops = {
    .architecture = "llama",
    .open = open_model,
    .destroy = destroy,
    .forward = gdfo_llama_train_forward,
    .backward = gdfo_llama_train_backward,
    .copy_kv = copy_kv,
};
