#include "server/model/kernels/train_lanes.h"

#include "server/model/kernels/train_lanes_priv.h"

#include <math.h>
#include <string.h>

#if defined(__AVX512F__)
#    include <immintrin.h>
#endif

/*
 * DESIGN. As in num/kernels: vectors of 16 lanes are the compiler's own, so one text serves every
 * instruction set. A product keeps a block of C in registers while it walks through k, so each
 * element is one sum in order of k, whatever the block.
 */
#define LANES 16
#define ROWS  6 /* of a block of C */
#define DOTS  4 /* rows of an NT block, against DOTS of B */
#if defined(__AVX512F__)
#    define COLS 4 /* vectors of a block of C: 24 registers of 32 */
#else
#    define COLS 1
#endif

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef float hf __attribute__((vector_size(32)));
typedef double hd __attribute__((vector_size(64)));

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define TEXT_(a)    #a
#define TEXT(a)     TEXT_(a)
#define INLINE      static inline __attribute__((always_inline))

INLINE vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vf all(float x)
{
    return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

INLINE vf pick(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* The first n lanes from p, the rest 0. */
static vf load_some(const float *p, size_t n)
{
    vf v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static void store_some(float *p, vf v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

/* Halves added together until one is left. */
INLINE float sum_lanes(vf v)
{
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            a[i] += a[i + half];
        }
    }
    return a[0];
}

INLINE double sum_wide(hd v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

INLINE hd low(vf v)
{
    hf h;
    memcpy(&h, &v, sizeof h);
    return __builtin_convertvector(h, hd);
}

INLINE hd high(vf v)
{
    hf h;
    memcpy(&h, (const char *)&v + sizeof h, sizeof h);
    return __builtin_convertvector(h, hd);
}

/* exp as in num/kernels/kernels.c: 2^n exp(r) with r by Cody and Waite, series to r^7 / 7!. */
INLINE vf exp_lanes(vf x)
{
    const vf lo = all(-87.3F);
    const vf hi = all(88.3F);
    const vf magic = all(12582912.0F);
    vi is_low = x < lo;
    vf c = pick(x > hi, hi, pick(is_low, lo, x));
    vf t = c * all(1.44269504F) + magic;
    vf n = t - magic;
    vf r = c - n * all(0.693359375F);
    vf p = all(1.0F / 5040.0F);
    vu bits;
    r = r - n * all(-2.12194440e-4F);
    p = p * r + all(1.0F / 720.0F);
    p = p * r + all(1.0F / 120.0F);
    p = p * r + all(1.0F / 24.0F);
    p = p * r + all(1.0F / 6.0F);
    p = p * r + all(0.5F);
    p = p * r * r + r + all(1.0F);
    bits = (vu)t - (vu)magic;
    p = (vf)((vu)p + (bits << 23));
    p = pick((x <= hi) | (x > hi), p, x); /* NaN is neither */
    return pick(is_low, all(0.0F), p);
}

/* ---- element by element ---------------------------------------------------------------------- */

/* The sum of w x y in double; w NULL: of x y. */
static double dot3(const float *w, const float *x, const float *y, size_t n)
{
    hd a = {0};
    hd b = {0};
    double s;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf p = w ? load(w + i) * load(x + i) : load(x + i);
        vf q = load(y + i);
        a += low(p) * low(q);
        b += high(p) * high(q);
    }
    s = sum_wide(a + b);
    for (; i < n; i++) {
        s += (double)(w ? w[i] * x[i] : x[i]) * (double)y[i];
    }
    return s;
}

static double inverse_rms(const float *x, size_t C, double eps)
{
    return 1.0 / sqrt(dot3(NULL, x, x, C) / (double)C + eps);
}

/* With r = 1/rms: d out_i / d x_j = w_i r (delta_ij - x_i x_j r^2 / C). */
static void norm_backward(float *dx, const float *dout, const float *x, const float *w, size_t C,
                          double eps)
{
    double r = inverse_rms(x, C, eps);
    float scale = (float)r;
    float pull = (float)(dot3(w, dout, x, C) * r * r * r / (double)C);
    size_t j = 0;
    for (; j + LANES <= C; j += LANES) {
        vf d = all(scale) * (load(w + j) * load(dout + j)) - all(pull) * load(x + j);
        store(dx + j, load(dx + j) + d);
    }
    for (; j < C; j++) {
        dx[j] += scale * (w[j] * dout[j]) - pull * x[j];
    }
}

static void norm_backward_weight(float *dw, const float *dout, const float *x, size_t C, double eps)
{
    float r = (float)inverse_rms(x, C, eps);
    size_t j = 0;
    for (; j + LANES <= C; j += LANES) {
        store(dw + j, load(dw + j) + load(dout + j) * (load(x + j) * all(r)));
    }
    for (; j < C; j++) {
        dw[j] += dout[j] * (x[j] * r);
    }
}

/* With s = sigmoid(g): d silu / dg = s (1 + g (1 - s)). */
INLINE void swiglu_lanes(vf *dgate, vf *dup, vf d, vf g, vf u)
{
    vf one = all(1.0F);
    vf s = one / (one + exp_lanes(-g));
    *dgate = d * u * s * (one + g * (one - s));
    *dup = d * g * s;
}

static void swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate,
                            const float *up, size_t n)
{
    vf a, b;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        swiglu_lanes(&a, &b, load(dout + i), load(gate + i), load(up + i));
        store(dgate + i, a);
        store(dup + i, b);
    }
    if (i < n) {
        swiglu_lanes(&a, &b, load_some(dout + i, n - i), load_some(gate + i, n - i),
                     load_some(up + i, n - i));
        store_some(dgate + i, a, n - i);
        store_some(dup + i, b, n - i);
    }
}

/* ---- the optimiser --------------------------------------------------------------------------- */

INLINE void adamw_one(const struct gdfo_train_adamw *s, size_t i)
{
    float g = s->grads[i];
    s->m[i] = s->beta1 * s->m[i] + (1.0F - s->beta1) * g;
    s->v[i] = s->beta2 * s->v[i] + (1.0F - s->beta2) * g * g;
    s->params[i] = s->params[i] * s->keep -
                   s->rate * s->m[i] / (sqrtf(s->v[i]) * (1.0F / s->root_bias2) + s->eps);
}

INLINE vf root(vf v)
{
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)v);
#else
    for (int i = 0; i < LANES; i++) {
        v[i] = sqrtf(v[i]);
    }
    return v;
#endif
}

static void adamw(const struct gdfo_train_adamw *s, size_t first, size_t end)
{
    const vf keep1 = all(s->beta1), keep2 = all(s->beta2);
    const vf new1 = all(1.0F - s->beta1), new2 = all(1.0F - s->beta2);
    const vf bias = all(1.0F / s->root_bias2);
    size_t i = first;
    for (; i + LANES <= end; i += LANES) {
        vf g = load(s->grads + i);
        vf m = keep1 * load(s->m + i) + new1 * g;
        vf v = keep2 * load(s->v + i) + new2 * g * g;
        vf change = all(s->rate) * m / (root(v) * bias + all(s->eps));
        store(s->m + i, m);
        store(s->v + i, v);
        store(s->params + i, load(s->params + i) * all(s->keep) - change);
    }
    for (; i < end; i++) {
        adamw_one(s, i);
    }
}

static int is_finite(const float *x, size_t n)
{
    vf sum = {0}; /* NaN and infinity survive a sum of zeros */
    float rest = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        sum += load(x + i) * all(0.0F);
    }
    for (; i < n; i++) {
        rest += x[i] * 0.0F;
    }
    return sum_lanes(sum) + rest == 0.0F;
}

/* ---- softmax of one row ---------------------------------------------------------------------- */

static float max_of(const float *s, size_t n)
{
    float max = s[0];
    for (size_t j = 1; j < n; j++) {
        max = s[j] > max ? s[j] : max;
    }
    return max;
}

static void softmax(float *s, size_t seen, size_t n, float scale)
{
    float max = max_of(s, seen);
    float inverse;
    vf sum = {0};
    size_t j = 0;
    for (; j + LANES <= seen; j += LANES) {
        vf e = exp_lanes(all(scale) * (load(s + j) - all(max)));
        store(s + j, e);
        sum += e;
    }
    if (j < seen) {
        vf e = exp_lanes(all(scale) * (load_some(s + j, seen - j) - all(max)));
        store_some(s + j, e, seen - j);
        sum += load_some(s + j, seen - j);
    }
    inverse = 1.0F / sum_lanes(sum);
    for (j = 0; j < seen; j++) {
        s[j] *= inverse;
    }
    memset(s + seen, 0, (n - seen) * sizeof *s);
}

static void softmax_backward(float *ds, const float *p, size_t n, float scale)
{
    float mean = (float)dot3(NULL, p, ds, n);
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        store(ds + j, all(scale) * load(p + j) * (load(ds + j) - all(mean)));
    }
    for (; j < n; j++) {
        ds[j] = scale * p[j] * (ds[j] - mean);
    }
}

/* ---- small products -------------------------------------------------------------------------- */

/* c [m][n] = a b + beta c; element (i, l) of a at i * a_row + l * a_step. */
struct walk {
    const float *a, *b;
    float *c;
    size_t a_row, a_step, ldb, ldc, k;
    float beta;
};

/* A block of rows x cols vectors; n: lanes of the last vector when cols is 1. */
INLINE void block(const struct walk *w, const int rows, const int cols, size_t n)
{
    vf acc[ROWS][COLS];
    const float *b = w->b;
    const float *a = w->a;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            acc[i][j] = all(0.0F);
        }
    }
    for (size_t l = 0; l < w->k; l++, b += w->ldb, a += w->a_step) {
        vf y[COLS];
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            y[j] = n < LANES ? load_some(b, n) : load(b + j * LANES);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf x = all(a[(size_t)i * w->a_row]);
#pragma GCC unroll 8
            for (int j = 0; j < cols; j++) {
                acc[i][j] += x * y[j];
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            float *c = w->c + (size_t)i * w->ldc + j * LANES;
            vf v = acc[i][j];
            if (n < LANES) {
                store_some(c, w->beta == 0.0F ? v : v + load_some(c, n), n);
            } else {
                store(c, w->beta == 0.0F ? v : v + load(c));
            }
        }
    }
}

INLINE void strip(const struct walk *first, size_t m, const int cols, size_t n)
{
    struct walk w = *first;
    size_t i = 0;
    for (; i + ROWS <= m; i += ROWS) {
        block(&w, ROWS, cols, n);
        w.a += ROWS * w.a_row;
        w.c += ROWS * w.ldc;
    }
    if (m - i >= 4) {
        block(&w, 4, cols, n);
        w.a += 4 * w.a_row;
        w.c += 4 * w.ldc;
        i += 4;
    }
    if (m - i >= 2) {
        block(&w, 2, cols, n);
        w.a += 2 * w.a_row;
        w.c += 2 * w.ldc;
        i += 2;
    }
    if (i < m) {
        block(&w, 1, cols, n);
    }
}

static void walk_columns(struct walk w, size_t m, size_t n)
{
    size_t j = 0;
    const float *b = w.b;
    float *c = w.c;
    while (j < n) {
        w.b = b + j;
        w.c = c + j;
        if (COLS > 1 && n - j >= COLS * LANES) {
            strip(&w, m, COLS, LANES);
            j += COLS * LANES;
        } else if (n - j >= LANES) {
            strip(&w, m, 1, LANES);
            j += LANES;
        } else {
            strip(&w, m, 1, n - j);
            j = n;
        }
    }
}

/* rows x cols dot products; the rest of k below a vector is added one by one. */
INLINE void dots(const struct gdfo_gemm *g, size_t i0, size_t j0, const int rows, const int cols)
{
    vf acc[DOTS][DOTS];
    size_t whole = g->k / LANES * LANES;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            acc[i][j] = all(0.0F);
        }
    }
    for (size_t l = 0; l < whole; l += LANES) {
        vf y[DOTS];
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            y[j] = load(g->b + (j0 + (size_t)j) * g->ldb + l);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf x = load(g->a + (i0 + (size_t)i) * g->lda + l);
#pragma GCC unroll 8
            for (int j = 0; j < cols; j++) {
                acc[i][j] += x * y[j];
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            float *c = g->c + (i0 + (size_t)i) * g->ldc + j0 + (size_t)j;
            float s = sum_lanes(acc[i][j]);
            for (size_t l = whole; l < g->k; l++) {
                s += g->a[(i0 + (size_t)i) * g->lda + l] * g->b[(j0 + (size_t)j) * g->ldb + l];
            }
            *c = g->beta == 0.0F ? s : s + *c;
        }
    }
}

static void product_nt(const struct gdfo_gemm *g)
{
    for (size_t i = 0; i < g->m; i += DOTS) {
        for (size_t j = 0; j < g->n; j += DOTS) {
            if (i + DOTS <= g->m && j + DOTS <= g->n) {
                dots(g, i, j, DOTS, DOTS);
                continue;
            }
            for (size_t r = i; r < g->m && r < i + DOTS; r++) {
                for (size_t c = j; c < g->n && c < j + DOTS; c++) {
                    dots(g, r, c, 1, 1);
                }
            }
        }
    }
}

static void product(const struct gdfo_gemm *g)
{
    struct walk w = {.a = g->a,
                     .b = g->b,
                     .c = g->c,
                     .a_row = g->lda,
                     .a_step = 1,
                     .ldb = g->ldb,
                     .ldc = g->ldc,
                     .k = g->k,
                     .beta = g->beta};
    if (g->op == GDFO_GEMM_NT) {
        product_nt(g);
        return;
    }
    if (g->op == GDFO_GEMM_TN) {
        w.a_row = 1;
        w.a_step = g->lda;
    }
    walk_columns(w, g->m, g->n);
}

/* ---- bfloat16 -------------------------------------------------------------------------------- */

#if defined(__AVX512BF16__)
#    define OUTER_ROWS 8
#    define OUTER_COLS (GDFO_TRAIN_PANEL / LANES)

/* Lane j: x0[j] below, x1[j] above, both rounded. */
INLINE __m512i pair_lanes(vf x0, vf x1)
{
    __m256i lo = (__m256i)_mm512_cvtneps_pbh((__m512)x0);
    __m256i hi = (__m256i)_mm512_cvtneps_pbh((__m512)x1);
    return _mm512_or_si512(_mm512_cvtepu16_epi32(lo),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16));
}

static void pairs(uint32_t *out, const float *x, size_t ld, size_t T, size_t n)
{
    for (size_t t = 0; t < T; t += 2, x += 2 * ld) {
        for (size_t j = 0; j < GDFO_TRAIN_PANEL; j += LANES, out += LANES) {
            size_t seen = j < n ? n - j : 0;
            vf x0 = seen >= LANES ? load(x + j) : load_some(x + j, seen);
            vf x1 = all(0.0F);
            if (t + 1 < T) {
                x1 = seen >= LANES ? load(x + ld + j) : load_some(x + ld + j, seen);
            }
            _mm512_storeu_si512(out, pair_lanes(x0, x1));
        }
    }
}

/* A block of OUTER_ROWS rows of c and one panel's columns; m, n: how many of them are stored. */
static void outer_block(const struct gdfo_train_outer *o, const uint32_t *a, const uint32_t *b,
                        float *c, size_t m, size_t n)
{
    __m512 acc[OUTER_ROWS][OUTER_COLS];
#    pragma GCC unroll 8
    for (int i = 0; i < OUTER_ROWS; i++) {
#    pragma GCC unroll 8
        for (int j = 0; j < OUTER_COLS; j++) {
            acc[i][j] = _mm512_setzero_ps();
        }
    }
    for (size_t p = 0; p < o->n_pairs; p++, a += GDFO_TRAIN_PANEL, b += GDFO_TRAIN_PANEL) {
        __m512bh y[OUTER_COLS];
#    pragma GCC unroll 8
        for (int j = 0; j < OUTER_COLS; j++) {
            y[j] = (__m512bh)_mm512_loadu_si512(b + j * LANES);
        }
#    pragma GCC unroll 8
        for (int i = 0; i < OUTER_ROWS; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int32_t)a[i]);
#    pragma GCC unroll 8
            for (int j = 0; j < OUTER_COLS; j++) {
                acc[i][j] = _mm512_dpbf16_ps(acc[i][j], x, y[j]);
            }
        }
    }
#    pragma GCC unroll 8
    for (int i = 0; i < OUTER_ROWS; i++) {
#    pragma GCC unroll 8
        for (int j = 0; j < OUTER_COLS; j++) {
            size_t first = (size_t)j * LANES;
            size_t seen = first >= n ? 0 : n - first < LANES ? n - first : LANES;
            __mmask16 lanes = (__mmask16)((1U << seen) - 1U);
            if ((size_t)i < m) {
                float *p = c + (size_t)i * o->ldc + first;
                __m512 v = acc[i][j];
                v = o->is_written ? v : _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, p), v);
                _mm512_mask_storeu_ps(p, lanes, v);
            }
        }
    }
}

static void outer(const struct gdfo_train_outer *o)
{
    size_t panel = o->panel_pairs * GDFO_TRAIN_PANEL;
    for (size_t j = 0; j < o->n; j += GDFO_TRAIN_PANEL) {
        size_t n = o->n - j < GDFO_TRAIN_PANEL ? o->n - j : GDFO_TRAIN_PANEL;
        for (size_t i = 0; i < o->m; i += OUTER_ROWS) {
            size_t m = o->m - i < OUTER_ROWS ? o->m - i : OUTER_ROWS;
            outer_block(o, o->a + i / GDFO_TRAIN_PANEL * panel + i % GDFO_TRAIN_PANEL,
                        o->b + j / GDFO_TRAIN_PANEL * panel, o->c + i * o->ldc + j, m, n);
        }
    }
}
#    define PAIRS pairs
#    define OUTER outer
#else
#    define PAIRS NULL
#    define OUTER NULL
#endif

const struct gdfo_train_lanes JOIN(gdfo_train_lanes_, GDFO_LANES) = {
    .name = TEXT(GDFO_LANES),
    .norm_backward = norm_backward,
    .norm_backward_weight = norm_backward_weight,
    .swiglu_backward = swiglu_backward,
    .adamw = adamw,
    .is_finite = is_finite,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .product = product,
    .pairs = PAIRS,
    .outer = OUTER,
};
