#include "server/model/kernels/train_kernels.h"
#include "server/num/gemm.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. Keys and values of one head, cached and own, are gathered into one contiguous block, and
 * so are the queries of a block of positions, all heads of the group: then everything is a small
 * matrix product. Probabilities are not kept; the backward computes them again, since they cost
 * less than their memory. Own keys are added to in block order, so sums have one order.
 */
#define BLOCK 32 /* asking positions of one block */

#define G     (a->group)
#define D     (a->d_head)

struct work {
    size_t n_keys;
    float *k, *v, *dk, *dv; /* [n_keys][D]; gradients of own keys only */
    float *q, *o, *dq;      /* [G * BLOCK][D]; o also holds dout */
    float *s, *ds;          /* [G * BLOCK][n_keys] */
};

size_t gdfo_train_attention_scratch(size_t n_keys, size_t group, size_t d_head)
{
    return 4 * n_keys * d_head + 3 * group * BLOCK * d_head + 2 * group * BLOCK * n_keys;
}

static void gather(float *out, const float *text, size_t n_text, const float *own,
                   const uint32_t *order, size_t n, size_t stride, size_t offset, size_t d)
{
    for (size_t i = 0; i < n_text; i++, out += d) {
        memcpy(out, text + i * stride + offset, d * sizeof *out);
    }
    for (size_t i = 0; i < n; i++, out += d) {
        memcpy(out, own + order[i] * stride + offset, d * sizeof *out);
    }
}

static struct work lay_out(const struct gdfo_train_attention *a, float *scratch)
{
    struct work w = {.n_keys = a->n_text + a->n};
    w.k = scratch;
    w.v = w.k + w.n_keys * D;
    w.dk = w.v + w.n_keys * D;
    w.dv = w.dk + w.n_keys * D;
    w.q = w.dv + w.n_keys * D;
    w.o = w.q + G * BLOCK * D;
    w.dq = w.o + G * BLOCK * D;
    w.s = w.dq + G * BLOCK * D;
    w.ds = w.s + G * BLOCK * w.n_keys;
    gather(w.k, a->text_k, a->n_text, a->k, a->order, a->n, a->kv_stride, a->kv_offset, D);
    gather(w.v, a->text_v, a->n_text, a->v, a->order, a->n, a->kv_stride, a->kv_offset, D);
    return w;
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

static void multiply(enum gdfo_gemm_op op, float *c, size_t m, size_t n, size_t k, const float *x,
                     size_t ldx, const float *y, size_t ldy, float beta)
{
    struct gdfo_gemm g = {.op = op,
                          .m = m,
                          .n = n,
                          .k = k,
                          .a = x,
                          .lda = ldx,
                          .b = y,
                          .ldb = ldy,
                          .ldc = n,
                          .beta = beta};
    g.c = c;
    gdfo_gemm(&g);
}

/* s [n] becomes softmax(scale * s[0..seen)), zero beyond. */
static void softmax_row(float *s, size_t seen, size_t n, float scale)
{
    float max = s[0];
    float inverse;
    double sum = 0;
    for (size_t j = 1; j < seen; j++) {
        max = s[j] > max ? s[j] : max;
    }
    for (size_t j = 0; j < seen; j++) {
        s[j] = expf(scale * (s[j] - max));
        sum += (double)s[j];
    }
    inverse = (float)(1.0 / sum);
    for (size_t j = 0; j < seen; j++) {
        s[j] *= inverse;
    }
    for (size_t j = seen; j < n; j++) {
        s[j] = 0;
    }
}

/* Probabilities of a block over the keys its last position sees; returns their number. */
static size_t probabilities(const struct work *w, const struct gdfo_train_attention *a,
                            size_t first, size_t n_q)
{
    size_t seen = a->n_text + first + n_q;
    float scale = 1.0F / sqrtf((float)D);
    load_block(w->q, a->q, a, first, n_q);
    multiply(GDFO_GEMM_NT, w->s, G * n_q, seen, D, w->q, D, w->k, D, 0);
    for (size_t j = 0; j < G * n_q; j++) {
        softmax_row(w->s + j * seen, a->n_text + first + j % n_q + 1, seen, scale);
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
    for (size_t first = a->first_query; first < a->n; first += BLOCK) {
        size_t n_q = block_size(a, first);
        size_t seen = probabilities(&w, a, first, n_q);
        multiply(GDFO_GEMM_NN, w.o, G * n_q, D, seen, w.s, seen, w.v, D, 0);
        store_block(out, w.o, a, first, n_q);
    }
}

/* ds [n] becomes the gradient before softmax and scale: scale * p (dp - sum p dp). */
static void softmax_row_backward(float *ds, const float *p, size_t n, float scale)
{
    double dot = 0;
    float mean;
    for (size_t j = 0; j < n; j++) {
        dot += (double)p[j] * (double)ds[j];
    }
    mean = (float)dot;
    for (size_t j = 0; j < n; j++) {
        ds[j] = scale * p[j] * (ds[j] - mean);
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
    memset(w.dk, 0, a->n * D * sizeof *w.dk);
    memset(w.dv, 0, a->n * D * sizeof *w.dv);
    for (size_t first = a->first_query; first < a->n; first += BLOCK) {
        size_t n_q = block_size(a, first);
        size_t seen = probabilities(&w, a, first, n_q);
        size_t own = seen - a->n_text;
        load_block(w.o, dout, a, first, n_q);
        multiply(GDFO_GEMM_NT, w.ds, G * n_q, seen, D, w.o, D, w.v, D, 0);
        for (size_t j = 0; j < G * n_q; j++) {
            softmax_row_backward(w.ds + j * seen, w.s + j * seen, seen, scale);
        }
        multiply(GDFO_GEMM_NN, w.dq, G * n_q, D, seen, w.ds, seen, w.k, D, 0);
        multiply(GDFO_GEMM_TN, w.dk, own, D, G * n_q, w.ds + a->n_text, seen, w.q, D, 1);
        multiply(GDFO_GEMM_TN, w.dv, own, D, G * n_q, w.s + a->n_text, seen, w.o, D, 1);
        store_block(dq, w.dq, a, first, n_q);
    }
    scatter(dk, w.dk, a);
    scatter(dv, w.dv, a);
}
