#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. Keys and values of one head, cached and own, are gathered into one contiguous block, row
 * by row and transposed, and so are the queries of a block of positions, all heads of the group:
 * then everything is a small matrix product along whole vectors. Probabilities are not kept; the
 * backward computes them again, since they cost less than their memory. Own keys are added to in
 * block order, so sums have one order.
 */
#define BLOCK 32 /* asking positions of one block */
#define LANES 16

#define G     (a->group)
#define D     (a->d_head)

struct work {
    const struct gdfo_train_lanes *lanes;
    size_t n_keys, pad;     /* pad: n_keys rounded up to whole vectors */
    float *k, *v, *dk, *dv; /* [n_keys][D]; gradients of own keys only */
    float *kt, *vt;         /* [D][pad], zero beyond n_keys */
    float *q, *o, *dq;      /* [G * BLOCK][D]; o also holds dout */
    float *s, *ds;          /* [G * BLOCK][pad] */
};

static size_t round_up(size_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

size_t gdfo_train_attention_scratch(size_t n_keys, size_t group, size_t d_head)
{
    size_t pad = round_up(n_keys);
    return (4 * n_keys + 2 * pad + 3 * group * BLOCK) * d_head + 2 * group * BLOCK * pad;
}

static struct work lay_out(const struct gdfo_train_attention *a, float *scratch)
{
    struct work w = {.lanes = gdfo_train_lanes(), .n_keys = a->n_text + a->n};
    w.pad = round_up(w.n_keys);
    w.k = scratch;
    w.v = w.k + w.n_keys * D;
    w.dk = w.v + w.n_keys * D;
    w.dv = w.dk + w.n_keys * D;
    w.kt = w.dv + w.n_keys * D;
    w.vt = w.kt + w.pad * D;
    w.q = w.vt + w.pad * D;
    w.o = w.q + G * BLOCK * D;
    w.dq = w.o + G * BLOCK * D;
    w.s = w.dq + G * BLOCK * D;
    w.ds = w.s + G * BLOCK * w.pad;
    return w;
}

/* Where key or value j of the sequence lies. */
static const float *key(const struct gdfo_train_attention *a, const float *text, const float *own,
                        size_t j)
{
    return a->kv_offset +
           (j < a->n_text ? text + j * a->kv_stride : own + a->order[j - a->n_text] * a->kv_stride);
}

static void gather(float *out, const struct gdfo_train_attention *a, const float *text,
                   const float *own)
{
    for (size_t j = 0; j < a->n_text + a->n; j++) {
        memcpy(out + j * D, key(a, text, own, j), D * sizeof *out);
    }
}

static void gather_transposed(float *out, const struct work *w,
                              const struct gdfo_train_attention *a, const float *text,
                              const float *own)
{
    for (size_t j = 0; j < w->n_keys; j++) {
        const float *x = key(a, text, own, j);
        for (size_t d = 0; d < D; d++) {
            out[d * w->pad + j] = x[d];
        }
    }
    for (size_t d = 0; d < D; d++) {
        memset(out + d * w->pad + w->n_keys, 0, (w->pad - w->n_keys) * sizeof *out);
    }
}

/* Rows j = head * n_q + position between the packed layout and a block. */
static void load_block(float *out, const float *x, const struct gdfo_train_attention *a,
                       size_t first, size_t n_q)
{
    for (size_t h = 0; h < G; h++) {
        for (size_t i = 0; i < n_q; i++, out += D) {
            memcpy(out, x + a->order[first + i] * a->q_stride + a->q_offset + h * D,
                   D * sizeof *out);
        }
    }
}

static void store_block(float *x, const float *in, const struct gdfo_train_attention *a,
                        size_t first, size_t n_q)
{
    for (size_t h = 0; h < G; h++) {
        for (size_t i = 0; i < n_q; i++, in += D) {
            memcpy(x + a->order[first + i] * a->q_stride + a->q_offset + h * D, in, D * sizeof *in);
        }
    }
}

/* c [m][n] = x [m][D] yt [D][pad], of yt's first n columns; rows of c pad apart. */
static void across(const struct work *w, float *c, size_t m, size_t n, const float *x,
                   const float *yt, size_t d_head)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN, .m = m, .n = n, .k = d_head, .a = x, .b = yt};
    g.c = c;
    g.lda = d_head;
    g.ldb = g.ldc = w->pad;
    w->lanes->product(&g);
}

/* c [m][D] = s [m][pad] y [n][D], of s's first n columns. */
static void down(const struct work *w, float *c, size_t m, size_t n, const float *s, const float *y,
                 size_t d_head)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN, .m = m, .n = d_head, .k = n, .a = s, .b = y};
    g.c = c;
    g.lda = w->pad;
    g.ldb = g.ldc = d_head;
    w->lanes->product(&g);
}

/* c [m][D] += s [n][pad]^T y [n][D], of s's first m columns. */
static void add_back(const struct work *w, float *c, size_t m, size_t n, const float *s,
                     const float *y, size_t d_head)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_TN, .m = m, .n = d_head, .k = n, .a = s, .b = y};
    g.c = c;
    g.lda = w->pad;
    g.ldb = g.ldc = d_head;
    g.beta = 1;
    w->lanes->product(&g);
}

/* Probabilities of a block over the keys its last position sees; returns their number. */
static size_t probabilities(const struct work *w, const struct gdfo_train_attention *a,
                            size_t first, size_t n_q)
{
    size_t seen = a->n_text + first + n_q;
    float scale = 1.0F / sqrtf((float)D);
    load_block(w->q, a->q, a, first, n_q);
    across(w, w->s, G * n_q, round_up(seen), w->q, w->kt, D);
    for (size_t j = 0; j < G * n_q; j++) {
        w->lanes->softmax(w->s + j * w->pad, a->n_text + first + j % n_q + 1, round_up(seen),
                          scale);
    }
    return seen;
}

static size_t block_size(const struct gdfo_train_attention *a, size_t first)
{
    return a->n - first < BLOCK ? a->n - first : BLOCK;
}

void gdfo_train_attention_forward(float *out, const struct gdfo_train_attention *a, float *scratch)
{
    const struct work w = lay_out(a, scratch);
    gather_transposed(w.kt, &w, a, a->text_k, a->k);
    gather(w.v, a, a->text_v, a->v);
    for (size_t first = a->first_query; first < a->n; first += BLOCK) {
        size_t n_q = block_size(a, first);
        size_t seen = probabilities(&w, a, first, n_q);
        down(&w, w.o, G * n_q, seen, w.s, w.v, D);
        store_block(out, w.o, a, first, n_q);
    }
}

static void scatter(float *x, const float *in, const struct gdfo_train_attention *a)
{
    for (size_t i = 0; i < a->n; i++, in += D) {
        memcpy(x + a->order[i] * a->kv_stride + a->kv_offset, in, D * sizeof *in);
    }
}

void gdfo_train_attention_backward(float *dq, float *dk, float *dv, const float *dout,
                                   const struct gdfo_train_attention *a, float *scratch)
{
    const struct work w = lay_out(a, scratch);
    float scale = 1.0F / sqrtf((float)D);
    gather(w.k, a, a->text_k, a->k);
    gather_transposed(w.kt, &w, a, a->text_k, a->k);
    gather_transposed(w.vt, &w, a, a->text_v, a->v);
    memset(w.dk, 0, a->n * D * sizeof *w.dk);
    memset(w.dv, 0, a->n * D * sizeof *w.dv);
    for (size_t first = a->first_query; first < a->n; first += BLOCK) {
        size_t n_q = block_size(a, first);
        size_t seen = probabilities(&w, a, first, n_q);
        size_t own = seen - a->n_text;
        load_block(w.o, dout, a, first, n_q);
        across(&w, w.ds, G * n_q, round_up(seen), w.o, w.vt, D);
        for (size_t j = 0; j < G * n_q; j++) {
            w.lanes->softmax_backward(w.ds + j * w.pad, w.s + j * w.pad, seen, scale);
        }
        down(&w, w.dq, G * n_q, seen, w.ds, w.k, D);
        add_back(&w, w.dk, own, G * n_q, w.ds + a->n_text, w.q, D);
        add_back(&w, w.dv, own, G * n_q, w.s + a->n_text, w.o, D);
        store_block(dq, w.dq, a, first, n_q);
    }
    scatter(dk, w.dk, a);
    scatter(dv, w.dv, a);
}
