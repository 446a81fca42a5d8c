#ifndef GDFO_SERVER_NUM_PACK_H
#define GDFO_SERVER_NUM_PACK_H

#include "common/error.h"
#include "server/num/gemm.h"
#include "server/num/precision.h"

#include <stddef.h>

/*
 * A weight matrix prepared once for many products C[m,n] = A[m,k] W + beta C, A and C in float,
 * in the precision asked for. Immutable once filled, so any number of threads multiply with one
 * pack at once, each with scratch of its own.
 *
 *   GDFO_GEMM_NT   the source is w[n][k] and the product uses its transpose (activations)
 *   GDFO_GEMM_NN   the source is w[k][n]                                    (gradient to
 * activations)
 *
 *   const struct gdfo_pack_source w = {.op = GDFO_GEMM_NT, .w = weights, .n = F, .k = C, .ld = C};
 *   gdfo_pack_create(&p, GDFO_PRECISION_INT8, &w, &err);
 *   scratch = gdfo_mem_aligned(gdfo_pack_scratch(p, T), 1);
 *   gdfo_pack_product(p, &(struct gdfo_product){.m = T, .a = x, .lda = C, .c = y, .ldc = F,
 *                                               .scratch = scratch});
 *
 * Each element of C is one sum in an order that depends on k alone: neither m, nor the other rows,
 * nor who computes what changes a bit. Non-finite elements of A make their own row of C non-finite
 * (NaN), and no other.
 *
 * Rows can be prepared once for several products, or one by one while they are in the cache:
 * gdfo_pack_prepare writes m rows of gdfo_pack_row_bytes each, which depend on k and the precision
 * only, and a product with .rows instead of .a takes them as they are.
 */
struct gdfo_pack;

struct gdfo_pack_source {
    enum gdfo_gemm_op op; /* NT or NN */
    const float *w; /* finite; F32 borrows it until destroy, the others copy. NULL: to be filled by
                       gdfo_pack_refill before the first product */
    size_t n, k, ld;
};

/* *out: owned by caller. INVALID for empty shapes, UNSUPPORTED where the processor lacks the
 * instructions, NO_MEMORY. */
GDFO_MUST_USE enum gdfo_status gdfo_pack_create(struct gdfo_pack **out,
                                                enum gdfo_precision precision,
                                                const struct gdfo_pack_source *source,
                                                struct gdfo_error *err);
void gdfo_pack_destroy(struct gdfo_pack *p); /* NULL is fine */

/* The same shape again with other weights (a student's, after a step). Allocates nothing; packs of
 * their own may be filled on several threads at once. */
void gdfo_pack_refill(struct gdfo_pack *p, const float *w, size_t ld);

size_t gdfo_pack_bytes(const struct gdfo_pack *p); /* of its own memory */
size_t gdfo_pack_bytes_for(enum gdfo_precision precision, size_t n,
                           size_t k); /* what create takes; 0 where that is refused */
size_t gdfo_pack_n(const struct gdfo_pack *p);
size_t gdfo_pack_k(const struct gdfo_pack *p);
enum gdfo_precision gdfo_pack_precision(const struct gdfo_pack *p);

#define GDFO_PACK_COLUMNS 32 /* a product of some columns starts at a multiple of this */

struct gdfo_product {
    size_t m;
    const float *a; /* [m][lda], or NULL and rows set */
    size_t lda;
    const void *rows; /* [m] prepared rows */
    float *c;         /* [m][ldc] */
    size_t ldc;
    float beta;              /* 0 overwrites C, 1 adds to it */
    size_t n_first, n_count; /* the columns wanted; n_count 0: all of them */
    void *scratch; /* on a 64-byte boundary, gdfo_pack_scratch() bytes for this m or more */
    int is_loose;  /* F32 alone: take m as it is. Else its rows go through the BLAS in tiles of
                      GDFO_GEMM_TILE, zeros below the last, because its bits depend on m. */
};

void gdfo_pack_product(const struct gdfo_pack *p, const struct gdfo_product *x);
size_t gdfo_pack_scratch(const struct gdfo_pack *p, size_t m_max);

size_t gdfo_pack_row_bytes(const struct gdfo_pack *p); /* a multiple of 64 */
void gdfo_pack_prepare(const struct gdfo_pack *p, void *rows, const float *a, size_t lda, size_t m);

#endif
