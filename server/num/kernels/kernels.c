#include "server/num/kernels/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * DESIGN. Vectors of 16 lanes are the compiler's own (vector_size), so one text serves every
 * instruction set: one register of AVX-512, two of AVX2, four of plain x86-64. Sums run in a fixed
 * order that depends on lengths only. In attention every score is a sum over the head's dimensions
 * in order, and every output a sum over the positions in order: whether a position lies in the past
 * or among the run's own changes neither.
 */
#define LANES 16
#define ROWS  GDFO_ATTEND_BLOCK
#if defined(__AVX512F__)
#    define WIDE 4 /* vectors that attention keeps ROWS sums of: 24 of 32 registers */
#else
#    define WIDE 1
#endif

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef float hf __attribute__((vector_size(32)));
typedef double hd __attribute__((vector_size(64)));

#define INLINE      static inline __attribute__((always_inline))

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define TEXT_(a)    #a
#define TEXT(a)     TEXT_(a)

static inline vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

static inline vf all(float x)
{
    return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

static inline vf pick(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* The first n lanes from p, the rest `rest`. */
static inline vf load_some(const float *p, size_t n, float rest)
{
    float lane[LANES];
    for (size_t i = 0; i < LANES; i++) {
        lane[i] = rest;
    }
    memcpy(lane, p, n * sizeof *p);
    return load(lane);
}

static inline void store_some(float *p, vf v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

static inline float lanes_max(vf v)
{
    float m = v[0];
    for (int i = 1; i < LANES; i++) {
        m = v[i] > m ? v[i] : m;
    }
    return m;
}

static inline double lanes_sum(vf v)
{
    double s = 0;
    for (int i = 0; i < LANES; i++) {
        s += (double)v[i];
    }
    return s;
}

/*
 * exp by 2^n exp(r), |r| <= ln 2 / 2: n by the rounding constant 1.5 2^23, whose low bits are then
 * n; r by ln 2 in two parts (Cody and Waite); exp(r) by its series to r^7 / 7!, of error below
 * 3e-8 relative with r^8 / 8! left out. Clamped where 2^n would leave the normal floats.
 */
static inline vf exp_lanes(vf x)
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

static void exp_array(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(y + i, exp_lanes(load(x + i)));
    }
    if (i < n) {
        store_some(y + i, exp_lanes(load_some(x + i, n - i, 0.0F)), n - i);
    }
}

static inline hd widen(const float *p)
{
    hf v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, hd);
}

static double sum_squares(const float *x, size_t n)
{
    hd a = {0};
    hd b = {0};
    double s = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        hd p = widen(x + i);
        hd q = widen(x + i + LANES / 2);
        a += p * p;
        b += q * q;
    }
    a += b;
    for (int j = 0; j < LANES / 2; j++) {
        s += a[j];
    }
    for (; i < n; i++) {
        s += (double)x[i] * (double)x[i];
    }
    return s;
}

static void rms_norm(float *restrict y, const float *restrict x, const float *restrict w, size_t n,
                     double eps)
{
    float inv = (float)(1.0 / sqrt(sum_squares(x, n) / (double)n + eps));
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * inv * w[i];
    }
}

static inline vf silu_lanes(vf g, vf u)
{
    return g / (all(1.0F) + exp_lanes(-g)) * u;
}

static void silu_mul(float *y, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(y + i, silu_lanes(load(gate + i), load(up + i)));
    }
    if (i < n) {
        vf g = load_some(gate + i, n - i, 0.0F);
        store_some(y + i, silu_lanes(g, load_some(up + i, n - i, 0.0F)), n - i);
    }
}

static float max_of(const float *x, size_t n)
{
    vf m = all(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = load(x + i);
        m = pick(v > m, v, m);
    }
    if (i < n) {
        vf v = load_some(x + i, n - i, -INFINITY);
        m = pick(v > m, v, m);
    }
    return lanes_max(m);
}

static void max_sum_exp(const float *x, size_t n, float *max, double *sum)
{
    float m = max_of(x, n);
    vf s = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        s += exp_lanes(load(x + i) - all(m));
    }
    if (i < n) {
        s += exp_lanes(load_some(x + i, n - i, -INFINITY) - all(m));
    }
    *max = m;
    *sum = lanes_sum(s);
}

static void rope(float *x, const float *turn, size_t n_heads, size_t d_head, size_t n_rot)
{
    for (size_t h = 0; h < n_heads; h++) {
        float *p = x + h * d_head;
        for (size_t i = 0; i < n_rot; i += 2) {
            float a = p[i];
            float b = p[i + 1];
            p[i] = a * turn[i] - b * turn[i + 1];
            p[i + 1] = a * turn[i + 1] + b * turn[i];
        }
    }
}

static void lay_keys(float *restrict k, size_t k_stride, const float *restrict x, size_t x_stride,
                     size_t n, size_t d_head)
{
    for (size_t d = 0; d < d_head; d++) {
        for (size_t j = 0; j < n; j++) {
            k[d * k_stride + j] = x[j * x_stride + d];
        }
    }
}

/* One block of up to ROWS query rows: a row is one (t, g); missing ones repeat the last. */
struct block {
    const float *q[ROWS];
    size_t t[ROWS]; /* position of the row in its run */
    size_t n_rows;
    size_t n_own;    /* own keys that the last row sees */
    size_t past_pad; /* own scores start here in a row of scores */
    size_t stride;   /* of a row of scores */
};

/* WIDE vectors of keys by ROWS rows of sums: as many as the registers hold, because each number of
 * a query that is spread over a vector costs a load. */
INLINE void score_some(float *restrict scores, const float *restrict k, size_t k_stride,
                       const struct block *b, const struct gdfo_attend *a, const size_t wide)
{
    vf s[WIDE][ROWS] = {{{0}}};
    for (size_t d = 0; d < a->d_head; d++) {
        vf v[WIDE];
#pragma GCC unroll 4
        for (size_t w = 0; w < wide; w++) {
            v[w] = load(k + d * k_stride + w * LANES);
        }
#pragma GCC unroll 6
        for (size_t r = 0; r < ROWS; r++) {
            const vf q = all(b->q[r][d]);
#pragma GCC unroll 4
            for (size_t w = 0; w < wide; w++) {
                s[w][r] += q * v[w];
            }
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
        for (size_t w = 0; w < wide; w++) {
            store(scores + r * b->stride + w * LANES, s[w][r] * all(a->scale));
        }
    }
}

static void score_keys(float *restrict scores, const struct gdfo_attend_keys *keys, size_t n,
                       const struct block *b, const struct gdfo_attend *a)
{
    size_t j = 0;
    for (; j + (WIDE - 1) * LANES < n; j += WIDE * LANES) {
        score_some(scores + j, keys->k + j, keys->k_stride, b, a, WIDE);
    }
    for (; j < n; j += LANES) {
        score_some(scores + j, keys->k + j, keys->k_stride, b, a, 1);
    }
}

/* Turns the scores of one row into exp(score - max), those it must not see into 0; returns 1/sum.
 */
static float soften(float *s, const struct block *b, size_t n_past, size_t n_own, size_t n_all)
{
    vf sum = {0};
    float m;
    for (size_t j = n_past; j < b->past_pad; j++) {
        s[j] = -INFINITY;
    }
    for (size_t j = b->past_pad + n_own; j < n_all; j++) {
        s[j] = -INFINITY;
    }
    m = max_of(s, n_all);
    for (size_t j = 0; j < n_all; j += LANES) {
        vf e = exp_lanes(load(s + j) - all(m));
        store(s + j, e);
        sum += e;
    }
    return (float)(1.0 / lanes_sum(sum));
}

/* Adds p v over n positions to ROWS accumulators of 16 dimensions, wide of these. */
INLINE void mix(vf acc[WIDE][ROWS], const float *p, size_t p_stride, const float *v,
                size_t v_stride, size_t n, const size_t wide)
{
    for (size_t j = 0; j < n; j++) {
        vf x[WIDE];
#pragma GCC unroll 4
        for (size_t w = 0; w < wide; w++) {
            x[w] = load(v + j * v_stride + w * LANES);
        }
#pragma GCC unroll 6
        for (size_t r = 0; r < ROWS; r++) {
            const vf part = all(p[j + r * p_stride]);
#pragma GCC unroll 4
            for (size_t w = 0; w < wide; w++) {
                acc[w][r] += part * x[w];
            }
        }
    }
}

/* Dimensions d.. of the answers to a block. */
INLINE void write_some(const struct gdfo_attend *a, const struct block *b, size_t row,
                       const float inv[ROWS], size_t d, const size_t wide)
{
    vf acc[WIDE][ROWS] = {{{0}}};
    mix(acc, a->scores, b->stride, a->past.v + d, a->d_stride, a->past.n, wide);
    mix(acc, a->scores + b->past_pad, b->stride, a->own.v + d, a->d_stride, b->n_own, wide);
#pragma GCC unroll 6
    for (size_t r = 0; r < ROWS; r++) {
        size_t g = (row + r) % a->n_group;
        float *out = a->out + b->t[r] * a->out_stride + g * a->d_head + d;
        if (r < b->n_rows) {
#pragma GCC unroll 4
            for (size_t w = 0; w < wide; w++) {
                size_t at = d + w * LANES;
                store_some(out + w * LANES, acc[w][r] * all(inv[r]),
                           a->d_head - at < LANES ? a->d_head - at : LANES);
            }
        }
    }
}

static void write_block(const struct gdfo_attend *a, const struct block *b, size_t row,
                        const float inv[ROWS])
{
    size_t d = 0;
    for (; d + (WIDE - 1) * LANES < a->d_head; d += WIDE * LANES) {
        write_some(a, b, row, inv, d, WIDE);
    }
    for (; d < a->d_head; d += LANES) {
        write_some(a, b, row, inv, d, 1);
    }
}

static void attend_block(const struct gdfo_attend *a, struct block *b, size_t row)
{
    float inv[ROWS] = {0};
    size_t n_all;
    for (size_t r = 0; r < ROWS; r++) {
        size_t at = row + (r < b->n_rows ? r : b->n_rows - 1);
        b->t[r] = at / a->n_group;
        b->q[r] = a->q + b->t[r] * a->q_stride + at % a->n_group * a->d_head;
    }
    b->n_own = a->is_both_ways ? a->own.n : b->t[b->n_rows - 1] + 1;
    n_all = b->past_pad + (b->n_own + LANES - 1) / LANES * LANES;
    score_keys(a->scores, &a->past, a->past.n, b, a);
    score_keys(a->scores + b->past_pad, &a->own, b->n_own, b, a);
    for (size_t r = 0; r < ROWS; r++) {
        size_t n_seen = a->is_both_ways ? b->n_own : b->t[r] + 1;
        inv[r] = soften(a->scores + r * b->stride, b, a->past.n, n_seen, n_all);
    }
    write_block(a, b, row, inv);
}

static void attend(const struct gdfo_attend *a)
{
    struct block b = {.past_pad = (a->past.n + LANES - 1) / LANES * LANES};
    size_t n_rows = (a->q_end ? a->q_end : a->own.n) * a->n_group;
    b.stride = b.past_pad + (a->own.n + LANES - 1) / LANES * LANES;
    for (size_t row = a->q_first * a->n_group; row < n_rows; row += ROWS) {
        b.n_rows = n_rows - row < ROWS ? n_rows - row : ROWS;
        attend_block(a, &b, row);
    }
}

const struct gdfo_math JOIN(gdfo_kernels_, GDFO_KERNELS) = {
    .name = TEXT(GDFO_KERNELS),
    .exp = exp_array,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .max_sum_exp = max_sum_exp,
    .rope = rope,
    .lay_keys = lay_keys,
    .attend = attend,
};
