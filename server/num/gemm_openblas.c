#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pool.h"

#include <cblas.h>

#include <stdio.h>

void gdfo_gemm_init(void)
{
    openblas_set_num_threads(1);
}

const char *gdfo_gemm_name(void)
{
    static _Thread_local char name[64];
    (void)snprintf(name, sizeof name, "openblas/%s+%s", openblas_get_corename(), gdfo_math()->name);
    return name;
}

static enum CBLAS_TRANSPOSE trans_a(enum gdfo_gemm_op op)
{
    return op == GDFO_GEMM_TN ? CblasTrans : CblasNoTrans;
}

static enum CBLAS_TRANSPOSE trans_b(enum gdfo_gemm_op op)
{
    return op == GDFO_GEMM_NT ? CblasTrans : CblasNoTrans;
}

void gdfo_gemm(const struct gdfo_gemm *g)
{
    if (g->m > 0 && g->n > 0) {
        cblas_sgemm(CblasRowMajor, trans_a(g->op), trans_b(g->op), (blasint)g->m, (blasint)g->n,
                    (blasint)g->k, 1.0F, g->a, (blasint)g->lda, g->b, (blasint)g->ldb, g->beta,
                    g->c, (blasint)g->ldc);
    }
}

void gdfo_gemm_f64(const struct gdfo_gemm_f64 *g)
{
    if (g->m > 0 && g->n > 0) {
        cblas_dgemm(CblasRowMajor, trans_a(g->op), trans_b(g->op), (blasint)g->m, (blasint)g->n,
                    (blasint)g->k, 1.0, g->a, (blasint)g->lda, g->b, (blasint)g->ldb, g->beta, g->c,
                    (blasint)g->ldc);
    }
}

static void run_tile(void *ctx, size_t item, unsigned slot)
{
    struct gdfo_gemm tile = *(const struct gdfo_gemm *)ctx;
    size_t first = item * GDFO_GEMM_TILE;
    (void)slot;
    tile.m = tile.m - first < GDFO_GEMM_TILE ? tile.m - first : GDFO_GEMM_TILE;
    tile.a += tile.op == GDFO_GEMM_TN ? first : first * tile.lda;
    tile.c += first * tile.ldc;
    gdfo_gemm(&tile);
}

void gdfo_gemm_pool(struct gdfo_pool *pool, const struct gdfo_gemm *g)
{
    struct gdfo_gemm shared = *g;
    gdfo_pool_run(pool, (g->m + GDFO_GEMM_TILE - 1) / GDFO_GEMM_TILE, run_tile, &shared);
}
