#ifndef GDFO_SERVER_NUM_GEMM_H
#define GDFO_SERVER_NUM_GEMM_H

#include <stddef.h>

/*
 * The one seam to matrix multiplication. Row-major; the library below runs single-threaded, and
 * parallelism is ours: gdfo_gemm_pool cuts C into fixed tiles of GDFO_GEMM_TILE rows, so who
 * computes a tile never changes a bit. Any thread.
 *
 *   GDFO_GEMM_NT   C[m,n] = A[m,k] B[n,k]^T + beta C      (activations times weights [out,in])
 *   GDFO_GEMM_NN   C[m,n] = A[m,k] B[k,n]   + beta C      (gradient to activations)
 *   GDFO_GEMM_TN   C[m,n] = A[k,m]^T B[k,n] + beta C      (gradient to weights)
 *
 *   struct gdfo_gemm g = {.op = GDFO_GEMM_NT, .m = T, .n = F, .k = C, .a = x, .lda = C, .b = w,
 * .ldb = C, .c = y, .ldc = F}; gdfo_gemm_pool(pool, &g);
 */
enum gdfo_gemm_op { GDFO_GEMM_NT, GDFO_GEMM_NN, GDFO_GEMM_TN };
#define GDFO_GEMM_TILE 256

struct gdfo_pool;

struct gdfo_gemm {
    enum gdfo_gemm_op op;
    size_t m, n, k;
    const float *a, *b;
    float *c;
    size_t lda, ldb, ldc; /* row lengths in elements */
    float beta;           /* 0 overwrites C, 1 adds to it */
};

struct gdfo_gemm_f64 {
    enum gdfo_gemm_op op;
    size_t m, n, k;
    const double *a, *b;
    double *c;
    size_t lda, ldb, ldc;
    double beta;
};

void gdfo_gemm(const struct gdfo_gemm *g);
void gdfo_gemm_pool(struct gdfo_pool *pool, const struct gdfo_gemm *g);
void gdfo_gemm_f64(const struct gdfo_gemm_f64 *g);

void gdfo_gemm_init(void); /* once, in main, before any thread: one BLAS thread */
/* What decides a model's bits besides its file, part of a teacher's identity: the library's kernels
 * and our own: "openblas/SkylakeX+avx512". */
const char *gdfo_gemm_name(void);

#endif
