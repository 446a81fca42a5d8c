#include "server/num/pack.h"

#include "common/mem.h"
#include "server/num/kernels/pack_kernels.h"
#include "server/num/mathx.h"

#include <string.h>

#define TILE    ((size_t)GDFO_GEMM_TILE)
#define COLUMNS ((size_t)GDFO_PACK_COLUMNS)
#define ALIGN   64

struct gdfo_pack {
    enum gdfo_precision precision;
    struct gdfo_pack_source source; /* w is NULL but for F32 */
    const struct gdfo_pack_kernels *kernels;
    unsigned char *panels;
    size_t bytes, row_bytes, panel_bytes;
};

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

const struct gdfo_pack_kernels *gdfo_pack_kernels(enum gdfo_precision p)
{
#if defined(GDFO_KERNELS_X86)
    int has_bf16;
    __builtin_cpu_init();
    has_bf16 = strcmp(gdfo_math()->name, "avx512") == 0 && __builtin_cpu_supports("avx512bf16");
    if (p == GDFO_PRECISION_BF16 && has_bf16) {
        return &gdfo_pack_bf16_avx512;
    }
    if (p == GDFO_PRECISION_INT8 && has_bf16 && __builtin_cpu_supports("avx512vnni")) {
        return &gdfo_pack_int8_avx512;
    }
#endif
    (void)p;
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum gdfo_status allocate(struct gdfo_pack *p, struct gdfo_error *err)
{
    size_t n_panels = (p->source.n + COLUMNS - 1) / COLUMNS;
    p->panel_bytes = p->kernels->panel_bytes(p->source.k);
    p->row_bytes = p->kernels->row_bytes(p->source.k);
    p->panels = gdfo_mem_aligned_unset(n_panels, p->panel_bytes); /* fill writes all of a panel */
    if (!p->panels) {
        return gdfo_error_no_memory(err, "packed weights");
    }
    p->bytes = n_panels * p->panel_bytes;
    return GDFO_STATUS_OK;
}

static enum gdfo_status check(enum gdfo_precision precision, const struct gdfo_pack_source *s,
                              struct gdfo_error *err)
{
    size_t least = s->op == GDFO_GEMM_NT ? s->k : s->n;
    if (s->n == 0 || s->k == 0 || s->ld < least || s->op == GDFO_GEMM_TN) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "weights of %zu x %zu in rows of %zu: want 1 x 1 or more, and rows "
                              "that hold them",
                              s->n, s->k, s->ld);
    }
    return gdfo_precision_check(precision, err);
}

enum gdfo_status gdfo_pack_create(struct gdfo_pack **out, enum gdfo_precision precision,
                                  const struct gdfo_pack_source *source, struct gdfo_error *err)
{
    enum gdfo_status st = check(precision, source, err);
    struct gdfo_pack *p;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    p = gdfo_mem_array(1, sizeof *p);
    if (!p) {
        return gdfo_error_no_memory(err, "packed weights");
    }
    p->precision = precision;
    p->source = *source;
    p->kernels = gdfo_pack_kernels(precision);
    p->row_bytes = round_up(source->k * sizeof(float), ALIGN);
    if (p->kernels) {
        st = allocate(p, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_pack_destroy(p);
        return st;
    }
    p->bytes += sizeof *p;
    if (source->w) {
        gdfo_pack_refill(p, source->w, source->ld);
    }
    *out = p;
    return GDFO_STATUS_OK;
}

void gdfo_pack_destroy(struct gdfo_pack *p)
{
    if (p) {
        gdfo_mem_free(p->panels);
        gdfo_mem_free(p);
    }
}

void gdfo_pack_refill(struct gdfo_pack *p, const float *w, size_t ld)
{
    p->source.w = w;
    p->source.ld = ld;
    if (!p->kernels) {
        return;
    }
    for (size_t n = 0; n < p->source.n; n += COLUMNS) {
        p->kernels->fill(p->panels + n / COLUMNS * p->panel_bytes, &p->source, n);
    }
    p->source.w = NULL;
}

size_t gdfo_pack_bytes(const struct gdfo_pack *p)
{
    return p->bytes;
}

size_t gdfo_pack_bytes_for(enum gdfo_precision precision, size_t n, size_t k)
{
    const struct gdfo_pack_kernels *kernels = gdfo_pack_kernels(precision);
    if (!gdfo_precision_is_available(precision)) {
        return 0;
    }
    return sizeof(struct gdfo_pack) +
           (kernels ? (n + COLUMNS - 1) / COLUMNS * kernels->panel_bytes(k) : 0);
}

size_t gdfo_pack_n(const struct gdfo_pack *p)
{
    return p->source.n;
}

size_t gdfo_pack_k(const struct gdfo_pack *p)
{
    return p->source.k;
}

enum gdfo_precision gdfo_pack_precision(const struct gdfo_pack *p)
{
    return p->precision;
}

/* ---- rows ------------------------------------------------------------------------------------ */

size_t gdfo_pack_row_bytes(const struct gdfo_pack *p)
{
    return p->row_bytes;
}

void gdfo_pack_prepare(const struct gdfo_pack *p, void *rows, const float *a, size_t lda, size_t m)
{
    unsigned char *row = rows;
    for (size_t r = 0; r < m; r++, row += p->row_bytes, a += lda) {
        if (p->kernels) {
            p->kernels->prepare(row, a, p->source.k);
        } else {
            memcpy(row, a, p->source.k * sizeof *a);
        }
    }
}

/* ---- products -------------------------------------------------------------------------------- */

size_t gdfo_pack_scratch(const struct gdfo_pack *p, size_t m_max)
{
    return p->kernels ? m_max * p->row_bytes : TILE * (p->source.k + p->source.n) * sizeof(float);
}

/* The last rows, fewer than a tile, among zeros. */
static void blas_rest(struct gdfo_gemm g, float *scratch)
{
    const struct gdfo_gemm want = g;
    float *a = scratch;
    float *c = scratch + TILE * g.k;
    for (size_t r = 0; r < g.m; r++) {
        memcpy(a + r * g.k, want.a + r * want.lda, g.k * sizeof *a);
        if (want.beta != 0.0F) {
            memcpy(c + r * g.n, want.c + r * want.ldc, g.n * sizeof *c);
        }
    }
    memset(a + g.m * g.k, 0, (TILE - g.m) * g.k * sizeof *a);
    memset(c + g.m * g.n, 0, (TILE - g.m) * g.n * sizeof *c);
    g.m = TILE;
    g.a = a;
    g.lda = g.k;
    g.c = c;
    g.ldc = g.n;
    gdfo_gemm(&g);
    for (size_t r = 0; r < want.m; r++) {
        memcpy(want.c + r * want.ldc, c + r * g.n, g.n * sizeof *c);
    }
}

static void blas_product(const struct gdfo_pack *p, const struct gdfo_product *x, size_t n)
{
    const struct gdfo_pack_source *s = &p->source;
    struct gdfo_gemm g = {.op = s->op, .n = n, .k = s->k, .ldb = s->ld, .beta = x->beta};
    g.b = s->w + (s->op == GDFO_GEMM_NT ? x->n_first * s->ld : x->n_first);
    g.a = x->a ? x->a : x->rows;
    g.lda = x->a ? x->lda : p->row_bytes / sizeof(float);
    g.c = x->c;
    g.ldc = x->ldc;
    if (x->is_loose) {
        g.m = x->m;
        gdfo_gemm(&g);
        return;
    }
    g.m = TILE;
    for (size_t r = 0; r + TILE <= x->m; r += TILE) {
        gdfo_gemm(&g);
        g.a += TILE * g.lda;
        g.c += TILE * g.ldc;
    }
    g.m = x->m % TILE;
    if (g.m > 0) {
        blas_rest(g, x->scratch);
    }
}

void gdfo_pack_product(const struct gdfo_pack *p, const struct gdfo_product *x)
{
    size_t n = x->n_count ? x->n_count : p->source.n - x->n_first;
    struct gdfo_panel_product q = {.m = x->m, .n = n, .k = p->source.k, .rows = x->rows};
    if (!p->kernels) {
        blas_product(p, x, n);
        return;
    }
    if (x->a) {
        gdfo_pack_prepare(p, x->scratch, x->a, x->lda, x->m);
        q.rows = x->scratch;
    }
    q.panels = p->panels + x->n_first / COLUMNS * p->panel_bytes;
    q.c = x->c;
    q.ldc = x->ldc;
    q.is_added = x->beta != 0.0F;
    p->kernels->product(&q);
}
