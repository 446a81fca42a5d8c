#include "server/num/kernels/pack_kernels.h"

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * DESIGN. Both operands in 8 bits by blocks of 32 along k, each over the whole of its block's
 * spread, because activations are rarely even around 0 (half of a block's range would be lost):
 *
 *   weights      w = d q + c, q in -128..127, d the block's spread / 255, c what keeps its least
 * and greatest value exact: nothing is lost of blocks whose values lie on 16 even levels (Q4_1),
 * and half of 1/255 of the spread of any other
 *   activations  a = s u + z, u in 0..255, z the block's least value, s its spread / 255
 *
 * so that a block's part of a product is
 *
 *   sum w a = (d s) sum q u + (d sum q) z + c (s sum u + 32 z)
 *
 * The first sum is exact in int32 (vpdpbusd, once a cycle on Zen 4, which wants one operand
 * unsigned: u). It is converted, multiplied by d s and added in float; so is the second term, whose
 * d sum q is stored with the weights. The third is small, since c is (0 where the block is even
 * around 0); it goes through vdpbf16ps two blocks at a time.
 *
 * A panel is, for each pair of blocks, two times [8][2][16][4] q, [2][16] d, [2][16] d sum q; then
 * [2][16][2] c in bfloat16. A row of A is [k] u, [k/32] s, [k/32] z, [k/32] s sum u + 32 z in
 * bfloat16. What a block lacks of 32 counts as 0 in a, and in w as q 0.
 */
#define VECTOR      16
#define BLOCK       32
#define PAIR        64
#define ROWS        6
#define L2          252 /* rows that go through all panels together */

#define Q_BYTES     1024 /* of one block in a panel */
#define BLOCK_BYTES (Q_BYTES + 256)
#define PAIR_BYTES  (2 * BLOCK_BYTES + 128)
#define INLINE      static inline __attribute__((always_inline))

/* ---- layout ---------------------------------------------------------------------------------- */

static size_t n_pairs(size_t k)
{
    return (k + PAIR - 1) / PAIR;
}

static size_t panel_bytes(size_t k)
{
    return n_pairs(k) * PAIR_BYTES;
}

static size_t scales_at(size_t k)
{
    return n_pairs(k) * PAIR;
}

static size_t least_at(size_t k)
{
    return scales_at(k) + n_pairs(k) * 2 * sizeof(float);
}

static size_t sums_at(size_t k)
{
    return least_at(k) + n_pairs(k) * 2 * sizeof(float);
}

/* Not a multiple of 1024, so that the rows of a tile do not fall on the same lines of the cache. */
static size_t row_bytes(size_t k)
{
    size_t n = (sums_at(k) + n_pairs(k) * 2 * sizeof(uint16_t) + 63) / 64 * 64;
    return n % 1024 == 0 ? n + 64 : n;
}

/* ---- weights --------------------------------------------------------------------------------- */

static uint16_t bfloat(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

static void put_float(unsigned char *to, size_t i, float x)
{
    memcpy(to + i * sizeof x, &x, sizeof x);
}

INLINE __m512i quantise(__m512 w, __m512 lo, __m512 inv)
{
    const __m512 half = _mm512_set1_ps(0.5F);
    const __m512 steps = _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(w, lo), inv), half);
    const __m512i q = _mm512_sub_epi32(_mm512_cvttps_epi32(steps), _mm512_set1_epi32(128));
    return _mm512_min_epi32(q, _mm512_set1_epi32(127));
}

/* The n values w of one block and column j of a panel. Returns c. */
static float fill_block(unsigned char *block, size_t j, const float *w, size_t n)
{
    const uint32_t mask = n < BLOCK ? (1u << n) - 1u : 0xFFFFFFFFu;
    const __mmask16 m0 = (__mmask16)(mask & 0xFFFFu);
    const __mmask16 m1 = (__mmask16)(mask >> VECTOR);
    const __m512 first = _mm512_set1_ps(w[0]);
    const __m512 w0 = _mm512_mask_loadu_ps(first, m0, w);
    const __m512 w1 = _mm512_mask_loadu_ps(first, m1, w + VECTOR);
    const float lo = _mm512_reduce_min_ps(_mm512_min_ps(w0, w1));
    const float hi = _mm512_reduce_max_ps(_mm512_max_ps(w0, w1));
    const float d = (hi - lo) / 255.0F;
    const __m512 inv = _mm512_set1_ps(d > 0.0F ? 1.0F / d : 0.0F);
    const __m512i q0 = _mm512_maskz_mov_epi32(m0, quantise(w0, _mm512_set1_ps(lo), inv));
    const __m512i q1 = _mm512_maskz_mov_epi32(m1, quantise(w1, _mm512_set1_ps(lo), inv));
    unsigned char bytes[BLOCK];
    _mm_storeu_si128((void *)bytes, _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128((void *)(bytes + VECTOR), _mm512_cvtepi32_epi8(q1));
    for (size_t i = 0; i < BLOCK; i += 4) {
        memcpy(block + i / 4 * 128 + j * 4, bytes + i, 4);
    }
    put_float(block + Q_BYTES, j, d);
    put_float(block + Q_BYTES + 128, j,
              d * (float)_mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1)));
    return lo + 128.0F * d;
}

static void fill_column(unsigned char *panel, size_t j, const float *w, size_t stride, size_t k)
{
    for (size_t first = 0; first < k; first += BLOCK) {
        float values[BLOCK];
        unsigned char *pair = panel + first / PAIR * PAIR_BYTES;
        size_t half = first / BLOCK % 2;
        size_t n = k - first < BLOCK ? k - first : BLOCK;
        uint16_t c;
        for (size_t i = 0; i < n && stride > 1; i++) {
            values[i] = w[(first + i) * stride];
        }
        c = bfloat(fill_block(pair + half * BLOCK_BYTES, j, stride > 1 ? values : w + first, n));
        memcpy(pair + 2 * BLOCK_BYTES + (2 * j + half) * sizeof c, &c, sizeof c);
    }
}

static void fill(unsigned char *panel, const struct gdfo_pack_source *s, size_t first)
{
    memset(panel, 0, panel_bytes(s->k));
    for (size_t j = 0; j < GDFO_PACK_COLUMNS && first + j < s->n; j++) {
        const float *w = s->op == GDFO_GEMM_NT ? s->w + (first + j) * s->ld : s->w + first + j;
        fill_column(panel, j, w, s->op == GDFO_GEMM_NT ? 1 : s->ld, s->k);
    }
}

/* ---- activations ----------------------------------------------------------------------------- */

/* One block from two vectors. A value that is not finite makes the scale NaN. */
INLINE void put_block(unsigned char *row, size_t b, size_t k, __m512 x0, __m512 x1)
{
    const __mmask16 odd = _mm512_fpclass_ps_mask(x0, 0x99) | _mm512_fpclass_ps_mask(x1, 0x99);
    const float max = _mm512_reduce_max_ps(_mm512_max_ps(x0, x1));
    const float z = odd ? 0.0F : _mm512_reduce_min_ps(_mm512_min_ps(x0, x1));
    const float spread = max - z;
    const float s = odd ? (float)NAN : spread / 255.0F;
    const __m512 inv = _mm512_set1_ps(spread > 0.0F ? 255.0F / spread : 0.0F);
    const __m512 least = _mm512_set1_ps(z);
    const __m512i u0 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(x0, least), inv));
    const __m512i u1 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(x1, least), inv));
    const int sum = _mm512_reduce_add_epi32(_mm512_add_epi32(u0, u1));
    const uint16_t h = bfloat(odd ? 0.0F : s * (float)sum + 32.0F * z);
    _mm_storeu_si128((void *)(row + b * BLOCK), _mm512_cvtusepi32_epi8(u0));
    _mm_storeu_si128((void *)(row + b * BLOCK + VECTOR), _mm512_cvtusepi32_epi8(u1));
    put_float(row + scales_at(k), b, s);
    put_float(row + least_at(k), b, z);
    memcpy(row + sums_at(k) + b * sizeof h, &h, sizeof h);
}

static __m512 load_part(const float *a, size_t at, size_t k)
{
    size_t n = at < k ? k - at : 0;
    return _mm512_maskz_loadu_ps((__mmask16)(n < VECTOR ? (1u << n) - 1u : 0xFFFFu), a + at);
}

static void prepare(unsigned char *row, const float *a, size_t k)
{
    const size_t n_whole = k / BLOCK;
    for (size_t b = 0; b < n_whole; b++) {
        put_block(row, b, k, _mm512_loadu_ps(a + b * BLOCK),
                  _mm512_loadu_ps(a + b * BLOCK + VECTOR));
    }
    for (size_t b = n_whole; b < 2 * n_pairs(k); b++) {
        put_block(row, b, k, load_part(a, b * BLOCK, k), load_part(a, b * BLOCK + VECTOR, k));
    }
}

/* ---- the product ----------------------------------------------------------------------------- */

/* Columns of one panel that exist, as masks of its two vectors. */
struct edge {
    __mmask16 lo, hi;
};

INLINE __m512i load_ints(const unsigned char *p)
{
    return _mm512_load_si512((const void *)p);
}

INLINE __m512i spread_four(const unsigned char *p)
{
    int four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

INLINE __m512 spread_float(const unsigned char *p)
{
    float x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_ps(x);
}

INLINE void put(const struct gdfo_panel_product *x, float *c, __m512 sum, __mmask16 mask)
{
    if (x->is_added) {
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, c));
    }
    _mm512_mask_storeu_ps(c, mask, sum);
}

/* Adds one block to the sums. u: [n_rows][stride] the block's u; s: likewise its scale; the least
 * value stands `least` bytes behind that. */
INLINE void add_block(__m512 *lo, __m512 *hi, const unsigned char *block, const unsigned char *u,
                      const unsigned char *s, size_t least, size_t stride, const int n_rows)
{
    __m512i i_lo[ROWS], i_hi[ROWS];
    const __m512 d_lo = _mm512_load_ps((const void *)(block + Q_BYTES));
    const __m512 d_hi = _mm512_load_ps((const void *)(block + Q_BYTES + 64));
    const __m512 dq_lo = _mm512_load_ps((const void *)(block + Q_BYTES + 128));
    const __m512 dq_hi = _mm512_load_ps((const void *)(block + Q_BYTES + 192));
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        i_lo[r] = i_hi[r] = _mm512_setzero_si512();
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < BLOCK / 4; i++) {
        const __m512i q_lo = load_ints(block + i * 128);
        const __m512i q_hi = load_ints(block + i * 128 + 64);
#pragma GCC unroll 6
        for (int r = 0; r < n_rows; r++) {
            const __m512i four = spread_four(u + (size_t)r * stride + i * 4);
            i_lo[r] = _mm512_dpbusd_epi32(i_lo[r], four, q_lo);
            i_hi[r] = _mm512_dpbusd_epi32(i_hi[r], four, q_hi);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        const __m512 scale = spread_float(s + (size_t)r * stride);
        const __m512 z = spread_float(s + (size_t)r * stride + least);
        lo[r] = _mm512_fmadd_ps(dq_lo, z, lo[r]);
        hi[r] = _mm512_fmadd_ps(dq_hi, z, hi[r]);
        lo[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(i_lo[r]), _mm512_mul_ps(d_lo, scale), lo[r]);
        hi[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(i_hi[r]), _mm512_mul_ps(d_hi, scale), hi[r]);
    }
}

INLINE void run_tile(const struct gdfo_panel_product *x, const unsigned char *panel,
                     const unsigned char *rows, float *c, struct edge edge, const int n_rows)
{
    const size_t stride = row_bytes(x->k);
    const size_t n = n_pairs(x->k);
    const size_t least = least_at(x->k) - scales_at(x->k);
    const unsigned char *scales = rows + scales_at(x->k);
    const unsigned char *sums = rows + sums_at(x->k);
    __m512 lo[ROWS], hi[ROWS];
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        lo[r] = hi[r] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *rest = panel + 2 * BLOCK_BYTES;
        add_block(lo, hi, panel, rows, scales, least, stride, n_rows);
        add_block(lo, hi, panel + BLOCK_BYTES, rows + BLOCK, scales + 4, least, stride, n_rows);
#pragma GCC unroll 6
        for (int r = 0; r < n_rows; r++) {
            const __m512bh sum = (__m512bh)spread_four(sums + (size_t)r * stride);
            lo[r] = _mm512_dpbf16_ps(lo[r], (__m512bh)load_ints(rest), sum);
            hi[r] = _mm512_dpbf16_ps(hi[r], (__m512bh)load_ints(rest + 64), sum);
        }
        panel += PAIR_BYTES;
        rows += PAIR;
        scales += 8;
        sums += 4;
    }
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        put(x, c + (size_t)r * x->ldc, lo[r], edge.lo);
        put(x, c + (size_t)r * x->ldc + VECTOR, hi[r], edge.hi);
    }
}

/* The last rows, fewer than ROWS. */
static void run_rest(const struct gdfo_panel_product *x, const unsigned char *panel, size_t row,
                     size_t col, struct edge edge)
{
    const unsigned char *a = x->rows + row * row_bytes(x->k);
    float *c = x->c + row * x->ldc + col;
    switch (x->m - row) {
    case 5: run_tile(x, panel, a, c, edge, 5); break;
    case 4: run_tile(x, panel, a, c, edge, 4); break;
    case 3: run_tile(x, panel, a, c, edge, 3); break;
    case 2: run_tile(x, panel, a, c, edge, 2); break;
    case 1: run_tile(x, panel, a, c, edge, 1); break;
    default: break;
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

const struct gdfo_pack_kernels gdfo_pack_int8_avx512 = {
    .name = "int8-spread/avx512",
    .panel_bytes = panel_bytes,
    .row_bytes = row_bytes,
    .fill = fill,
    .prepare = prepare,
    .product = product,
};
