#ifndef GDFO_SERVER_MODEL_KERNELS_TRAIN_LANES_H
#define GDFO_SERVER_MODEL_KERNELS_TRAIN_LANES_H

#include "server/num/gemm.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The inner loops of training, one source compiled for plain x86-64, AVX2, AVX-512 and AVX-512 with
 * bfloat16 (anything else: the plain one); the table for this processor is chosen once. Results
 * depend on the table and the arguments alone. Pure; any thread; no allocation.
 *
 * Small products are those a BLAS spends its time on packing for: low-rank adapters and the
 * attention of one short sequence.
 */

/* c [m][n] += over n_pairs of (a . b), of operands laid out by pairs; written with is_written. */
struct gdfo_train_outer {
    const uint32_t *a, *b; /* panels of both, from the first row and the first column wanted */
    size_t n_pairs;        /* all of them, and how many lie between panels */
    size_t panel_pairs;
    size_t m, n;
    float *c;
    size_t ldc;
    int is_written;
};

/* The constants of one step of AdamW, and its arrays. */
struct gdfo_train_adamw {
    float *params, *m, *v;
    const float *grads;
    float keep, beta1, beta2, eps, rate, root_bias2;
};

#define GDFO_TRAIN_PANEL 48 /* columns of one panel of pairs */

struct gdfo_train_lanes {
    const char *name; /* "plain", "avx2", "avx512", "avx512bf16" */
    /* One row each: dx [C] += ..., with r = 1 / rms(x); and dw [C] += ... */
    void (*norm_backward)(float *dx, const float *dout, const float *x, const float *w, size_t C,
                          double eps);
    void (*norm_backward_weight)(float *dw, const float *dout, const float *x, size_t C,
                                 double eps);
    void (*swiglu_backward)(float *dgate, float *dup, const float *dout, const float *gate,
                            const float *up, size_t n);
    void (*adamw)(const struct gdfo_train_adamw *s, size_t first, size_t end);
    int (*is_finite)(const float *x, size_t n); /* all of x */
    /* s [n] becomes softmax(scale * s[0..seen)), zero beyond. */
    void (*softmax)(float *s, size_t seen, size_t n, float scale);
    /* ds [n] becomes scale * p (ds - sum p ds). */
    void (*softmax_backward)(float *ds, const float *p, size_t n, float scale);
    /* As gdfo_gemm, for small m, n or k; every sum runs in order of k (NT: in 16 parts). */
    void (*product)(const struct gdfo_gemm *g);
    /* Sums of bfloat16 products in float. NULL without the instructions.
     * pairs: out [n_pairs][GDFO_TRAIN_PANEL] from x [T][ld], columns 0..n-1 of a panel: both of
     * positions 2i and 2i + 1 rounded to bfloat16, zero where there is none. */
    void (*pairs)(uint32_t *out, const float *x, size_t ld, size_t T, size_t n);
    void (*outer)(const struct gdfo_train_outer *o);
};

const struct gdfo_train_lanes *gdfo_train_lanes(void); /* the best for this processor */
/* Those it can run, plain first; NULL past them. */
const struct gdfo_train_lanes *gdfo_train_lanes_at(size_t i);

#endif
