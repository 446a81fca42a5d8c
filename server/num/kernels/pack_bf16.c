#include "server/num/kernels/pack_kernels.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/*
 * DESIGN. vdpbf16ps multiplies 16 pairs of bfloat16 and adds both products to 16 floats, once a
 * cycle on Zen 4. A panel is [k/2][2][16][2]: for each pair of depths, two vectors of 16 columns.
 * A row of A is k bfloat16, of which a pair is broadcast at a time. ROWS rows by two vectors of
 * sums stay in registers over the whole depth, 14 loads for 24 products.
 */
#define VECTOR 16
#define ROWS   12
#define L2     252 /* rows that go through all panels together */
#define K_UNIT 32  /* k is padded with zeros to whole cache lines of a row */
#define INLINE static inline __attribute__((always_inline))

static size_t pad(size_t k)
{
    return (k + K_UNIT - 1) / K_UNIT * K_UNIT;
}

static size_t panel_bytes(size_t k)
{
    return pad(k) * GDFO_PACK_COLUMNS * sizeof(uint16_t);
}

/* Not a multiple of 1024, so that the rows of a tile do not fall on the same lines of the cache. */
static size_t row_bytes(size_t k)
{
    size_t n = pad(k) * sizeof(uint16_t);
    return n % 1024 == 0 ? n + 64 : n;
}

/* The first n of 16 floats, the rest zero. */
INLINE __m512 load_up_to(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)(n < VECTOR ? (1u << n) - 1u : 0xFFFFu), p);
}

/* One column whose depths lie side by side: 16 pairs at a time, each to a row of its own. */
static void fill_column(uint32_t *to, const float *w, size_t k)
{
    uint32_t pairs[VECTOR];
    for (size_t i = 0; i < k; i += 2 * VECTOR, to += VECTOR * GDFO_PACK_COLUMNS) {
        size_t rest = k - i;
        __m512 lo = load_up_to(w + i, rest);
        __m512 hi = rest > VECTOR ? load_up_to(w + i + VECTOR, rest - VECTOR) : _mm512_setzero_ps();
        __m512bh both = _mm512_cvtne2ps_pbh(hi, lo);
        memcpy(pairs, &both, sizeof pairs);
        for (size_t j = 0; j < VECTOR; j++) {
            to[j * GDFO_PACK_COLUMNS] = pairs[j];
        }
    }
}

/* All columns of a pair of depths; x1 NULL: there is no second. */
static void fill_pair(uint32_t *to, const float *x0, const float *x1, size_t n)
{
    for (size_t j = 0; j < n && j < GDFO_PACK_COLUMNS; j += VECTOR) {
        __m512 first = load_up_to(x0 + j, n - j);
        __m512 second = x1 ? load_up_to(x1 + j, n - j) : _mm512_setzero_ps();
        __m512i lo = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(first));
        __m512i hi = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(second));
        _mm512_storeu_si512(to + j, _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
    }
}

/* Weights change with every step of a student that trains, so this has to be quick too. */
static void fill(unsigned char *panel, const struct gdfo_pack_source *s, size_t first)
{
    uint32_t *to = (uint32_t *)(void *)panel;
    size_t n = s->n - first < GDFO_PACK_COLUMNS ? s->n - first : GDFO_PACK_COLUMNS;
    memset(panel, 0, panel_bytes(s->k));
    for (size_t j = 0; j < n && s->op == GDFO_GEMM_NT; j++) {
        fill_column(to + j, s->w + (first + j) * s->ld, s->k);
    }
    for (size_t i = 0; i < s->k && s->op == GDFO_GEMM_NN; i += 2) {
        const float *w = s->w + i * s->ld + first;
        fill_pair(to + i / 2 * GDFO_PACK_COLUMNS, w, i + 1 < s->k ? w + s->ld : NULL, n);
    }
}

static void prepare(unsigned char *row, const float *a, size_t k)
{
    size_t whole = k / VECTOR * VECTOR;
    size_t i = 0;
    for (; i < whole; i += VECTOR) {
        __m256bh h = _mm512_cvtneps_pbh(_mm512_loadu_ps(a + i));
        memcpy(row + i * sizeof(uint16_t), &h, sizeof h);
    }
    for (; i < pad(k); i += VECTOR) {
        __mmask16 mask = (__mmask16)(i < k ? (1u << (k - i)) - 1u : 0u);
        __m256bh h = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, a + i));
        memcpy(row + i * sizeof(uint16_t), &h, sizeof h);
    }
}

INLINE __m512bh load_pairs(const unsigned char *p)
{
    return (__m512bh)_mm512_load_si512((const void *)p);
}

INLINE __m512bh spread_pair(const unsigned char *p)
{
    int pair;
    memcpy(&pair, p, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* Columns of one panel that exist, as masks of its two vectors. */
struct edge {
    __mmask16 lo, hi;
};

INLINE void put(const struct gdfo_panel_product *x, float *c, __m512 sum, __mmask16 mask)
{
    if (x->is_added) {
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, c));
    }
    _mm512_mask_storeu_ps(c, mask, sum);
}

INLINE void run_tile(const struct gdfo_panel_product *x, const unsigned char *panel,
                     const unsigned char *rows, float *c, struct edge edge, const int n_rows)
{
    const size_t stride = row_bytes(x->k);
    const size_t n_pairs = pad(x->k) / 2;
    __m512 lo[ROWS], hi[ROWS];
#pragma GCC unroll 12
    for (int r = 0; r < n_rows; r++) {
        lo[r] = hi[r] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < n_pairs; i++, panel += 128, rows += 4) {
        const __m512bh w_lo = load_pairs(panel);
        const __m512bh w_hi = load_pairs(panel + 64);
#pragma GCC unroll 12
        for (int r = 0; r < n_rows; r++) {
            const __m512bh a = spread_pair(rows + (size_t)r * stride);
            lo[r] = _mm512_dpbf16_ps(lo[r], w_lo, a);
            hi[r] = _mm512_dpbf16_ps(hi[r], w_hi, a);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < n_rows; r++) {
        put(x, c + (size_t)r * x->ldc, lo[r], edge.lo);
        put(x, c + (size_t)r * x->ldc + VECTOR, hi[r], edge.hi);
    }
}

/* The last rows, fewer than ROWS, one, two or four at a time. */
static void run_rest(const struct gdfo_panel_product *x, const unsigned char *panel, size_t row,
                     size_t col, struct edge edge)
{
    const size_t stride = row_bytes(x->k);
    while (row < x->m) {
        const unsigned char *a = x->rows + row * stride;
        float *c = x->c + row * x->ldc + col;
        if (x->m - row >= 8) {
            run_tile(x, panel, a, c, edge, 8);
            row += 8;
        } else if (x->m - row >= 4) {
            run_tile(x, panel, a, c, edge, 4);
            row += 4;
        } else if (x->m - row >= 2) {
            run_tile(x, panel, a, c, edge, 2);
            row += 2;
        } else {
            run_tile(x, panel, a, c, edge, 1);
            row += 1;
        }
    }
}

static struct edge edge_of(size_t n)
{
    struct edge e = {0xFFFF, 0xFFFF};
    if (n < VECTOR) {
        e.lo = (__mmask16)((1u << n) - 1u);
        e.hi = 0;
    } else if (n < 2 * VECTOR) {
        e.hi = (__mmask16)((1u << (n - VECTOR)) - 1u);
    }
    return e;
}

/* Asks for a part of the next panel (it may lie behind the last: asking is harmless), as the rows
 * of this one go by: weights come from far away, and each only once for all rows. */
INLINE void ask(const unsigned char *next, size_t n, size_t row, size_t m)
{
    const size_t end = (row + ROWS < m ? row + ROWS : m) * n / m;
    for (size_t at = row * n / m / 64 * 64; at < end; at += 64) {
        _mm_prefetch((const void *)(next + at), _MM_HINT_T1);
    }
}

static void run_rows(const struct gdfo_panel_product *x)
{
    const size_t stride = row_bytes(x->k);
    const size_t n_panel = panel_bytes(x->k);
    const unsigned char *panel = x->panels;
    for (size_t col = 0; col < x->n; col += GDFO_PACK_COLUMNS, panel += n_panel) {
        const struct edge edge = edge_of(x->n - col);
        size_t row = 0;
        for (; row + ROWS <= x->m; row += ROWS) {
            ask(panel + n_panel, n_panel, row, x->m);
            run_tile(x, panel, x->rows + row * stride, x->c + row * x->ldc + col, edge, ROWS);
        }
        run_rest(x, panel, row, col, edge);
    }
}

static void product(const struct gdfo_panel_product *x)
{
    for (size_t row = 0; row < x->m; row += L2) {
        struct gdfo_panel_product part = *x;
        part.m = x->m - row < L2 ? x->m - row : L2;
        part.rows += row * row_bytes(x->k);
        part.c += row * x->ldc;
        run_rows(&part);
    }
}

const struct gdfo_pack_kernels gdfo_pack_bf16_avx512 = {
    .name = "bf16/avx512",
    .panel_bytes = panel_bytes,
    .row_bytes = row_bytes,
    .fill = fill,
    .prepare = prepare,
    .product = product,
};
