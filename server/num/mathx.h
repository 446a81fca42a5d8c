#ifndef GDFO_SERVER_NUM_MATHX_H
#define GDFO_SERVER_NUM_MATHX_H

#include <stddef.h>

/*
 * The float loops of a model that are not matrix products, one source compiled for plain x86-64,
 * AVX2 and AVX-512 (anything else: the plain one). The table for this processor is chosen once; its
 * results depend on the table and the arguments alone, never on alignment or on neighbours in
 * memory. Pure; any thread. NaN in, NaN out.
 *
 *   const struct gdfo_math *m = gdfo_math();
 *   m->rms_norm(y, x, w, d_model, 1e-5);
 */

/* Keys and values of one KV head: keys transposed, n_pad a multiple of 16, values row-wise. */
struct gdfo_attend_keys {
    const float *k; /* [d_head][k_stride], lane j is position j; lanes n..n_pad are readable */
    const float *v; /* [n][d_stride], d_stride d_head rounded up to 16, the rest readable */
    size_t n, k_stride;
};

/* Attention of one run and one KV head, for the n_group query heads that share it. */
struct gdfo_attend {
    const float *q; /* query of row t, head g at q + t q_stride + g d_head */
    float *out;     /* the same shape, with out_stride */
    size_t q_stride, out_stride;
    size_t n_group, d_head, d_stride;
    size_t q_first;               /* rows before this one are left alone */
    size_t q_end;                 /* and rows from this one on; 0: own.n */
    int is_both_ways;             /* every row sees all of own */
    struct gdfo_attend_keys past; /* seen by every row; n may be 0 */
    struct gdfo_attend_keys own;  /* row t sees 0..t */
    float scale;                  /* on q . k */
    float *scores;                /* scratch: gdfo_attend_scratch() floats */
};

#define GDFO_ATTEND_BLOCK 6 /* query rows that go through the keys together */

struct gdfo_math {
    const char *name;                                /* "plain", "avx2", "avx512" */
    void (*exp)(float *y, const float *x, size_t n); /* within 2 ulp; 0 below -87.3 */
    /* y = x w / sqrt(mean(x^2) + eps), the mean in double */
    void (*rms_norm)(float *y, const float *x, const float *w, size_t n, double eps);
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n); /* y may be gate */
    /* max of x (-inf for n = 0) and the sum of exp(x - max) */
    void (*max_sum_exp)(const float *x, size_t n, float *max, double *sum);
    /* Turns pairs (2i, 2i+1), i < n_rot/2, of each head by the angle whose cos and sin are
       turn[2i], turn[2i+1]. */
    void (*rope)(float *x, const float *turn, size_t n_heads, size_t d_head, size_t n_rot);
    /* k [d_head][k_stride] from rows x [n][x_stride], and v [n][d_stride] likewise, in the layout
       of gdfo_attend_keys. */
    void (*lay_keys)(float *k, size_t k_stride, const float *x, size_t x_stride, size_t n,
                     size_t d_head);
    void (*attend)(const struct gdfo_attend *a);
};

const struct gdfo_math *gdfo_math(void);        /* the best for this processor */
const struct gdfo_math *gdfo_math_at(size_t i); /* those it can run, plain first; NULL past them */
/* For tests, before any thread: as if the processor had nothing beyond the table of this name, nor
 * the reduced precisions that need more. NULL lifts it. */
void gdfo_math_limit(const char *name);
size_t gdfo_attend_scratch(size_t n_past, size_t n_own); /* floats */

#endif
