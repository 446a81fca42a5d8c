#include "server/num/la_factor.h"

#include "common/mem.h"

#include <cblas.h>

#include <float.h>
#include <math.h>
#include <string.h>

/*
 * LAPACK from OpenBLAS, as in la.c: Fortran stores by columns, so our lower triangle is its upper
 * one.
 */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
extern void dsteqr_(const char *compz, const int *n, double *d, double *e, double *z,
                    const int *ldz, double *work, int *info);

#define STEPS     GDFO_LA_FACTOR_STEPS_MAX
#define ORDER_MAX 8192
/* Steps are added until the result moves by less than this share of its length. */
#define TOLERANCE 1e-14

struct gdfo_la_factor {
    size_t n;
    double *basis;                    /* [STEPS + 1][n] orthonormal Lanczos vectors */
    double alpha[STEPS], beta[STEPS]; /* the tridiagonal matrix T */
    double ritz[STEPS], off[STEPS];   /* scratch of its decomposition */
    double vectors[STEPS * STEPS];    /* the same */
    double work[2 * STEPS];           /* the same */
    double now[STEPS], before[STEPS]; /* T^-1/2 e_1, and one check ago */
    double overlap[STEPS + 1];        /* scratch of the orthogonalisation */
};

struct gdfo_la_factor *gdfo_la_factor_create(size_t n)
{
    struct gdfo_la_factor *f = n <= ORDER_MAX ? gdfo_mem_array(1, sizeof *f) : NULL;
    if (!f) {
        return NULL;
    }
    f->n = n;
    f->basis = gdfo_mem_aligned((STEPS + 1) * n, sizeof *f->basis);
    if (!f->basis) {
        gdfo_la_factor_destroy(f);
        return NULL;
    }
    return f;
}

void gdfo_la_factor_destroy(struct gdfo_la_factor *f)
{
    if (f) {
        gdfo_mem_free(f->basis);
        gdfo_mem_free(f);
    }
}

#define BLOCK 32 /* of the transposition: two blocks of doubles stay in the first cache */

/* Rows at[0]..at[1]-1, BLOCK columns from at[2] on of the lower triangle of c, to the upper one of
 * r. */
static void transpose_block(const double *c, double *r, size_t n, const size_t at[3])
{
    for (size_t i = at[0]; i < at[1]; i++) {
        size_t end = at[2] + BLOCK <= i ? at[2] + BLOCK : i + 1;
        for (size_t j = at[2]; j < end; j++) {
            r[j * n + i] = c[i * n + j];
        }
    }
}

static void transpose_triangle(const double *c, double *r, size_t n)
{
    for (size_t i0 = 0; i0 < n; i0 += BLOCK) {
        size_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n;
        for (size_t j0 = 0; j0 < i1; j0 += BLOCK) {
            transpose_block(c, r, n, (const size_t[3]){i0, i1, j0});
        }
    }
}

#define ROOT_ROWS 64 /* of the factor at a time: a twentieth faster at order 500 than one call */

/* LAPACK's lower variant, a quarter faster than its upper one at order 500, wants the columns of
 * the lower triangle: our rows of the upper one. Each block of rows, then what it takes from the
 * triangle below. */
int gdfo_la_factor_run(const struct gdfo_la_factor *f, const double *c, double *r)
{
    int n = (int)f->n;
    transpose_triangle(c, r, f->n);
    for (int wide, first = 0; first < n; first += wide) {
        double *at = r + (size_t)first * f->n + (size_t)first;
        int rest;
        int info = 0;
        wide = n - first < ROOT_ROWS ? n - first : ROOT_ROWS;
        rest = n - first - wide;
        dpotrf_("L", &wide, at, &n, &info);
        if (info != 0) {
            return 0;
        }
        if (rest > 0) {
            cblas_dtrsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, wide, rest,
                        1.0, at, n, at + wide, n);
            cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, rest, wide, -1.0, at + wide, n, 1.0,
                        at + (size_t)wide * f->n + (size_t)wide, n);
        }
    }
    return 1;
}

/* Columns of the product at a time: for few rows, the BLAS is a fifth faster by rectangles than by
 * one triangle. */
#define COLUMNS 64

/* The last columns first: each needs those before it as they were. */
void gdfo_la_factor_multiply(const struct gdfo_la_factor *f, const double *r, double *x,
                             size_t rows)
{
    blasint n = (blasint)f->n;
    for (size_t end = f->n; end > 0;) {
        size_t first = (end - 1) / COLUMNS * COLUMNS;
        blasint wide = (blasint)(end - first);
        cblas_dtrmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit,
                    (blasint)rows, wide, 1.0, r + first * f->n + first, n, x + first, n);
        if (first > 0) {
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, wide,
                        (blasint)first, 1.0, x, n, r + first, n, 1.0, x + first, n);
        }
        end = first;
    }
}

void gdfo_la_factor_solve(const struct gdfo_la_factor *f, const double *r, double *x, size_t rows)
{
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, (blasint)rows,
                (blasint)f->n, 1.0, r, (blasint)f->n, x, (blasint)f->n);
}

/* ---- C^-1/2 b ---- */

/* Takes the part along the first k basis vectors out of v; twice is enough (Kahan, Parlett). */
static void orthogonalise(struct gdfo_la_factor *f, size_t k, double *v)
{
    blasint n = (blasint)f->n;
    for (int pass = 0; pass < 2; pass++) {
        cblas_dgemv(CblasRowMajor, CblasNoTrans, (blasint)k, n, 1.0, f->basis, n, v, 1, 0.0,
                    f->overlap, 1);
        cblas_dgemv(CblasRowMajor, CblasTrans, (blasint)k, n, -1.0, f->basis, n, f->overlap, 1, 1.0,
                    v, 1);
    }
}

/* Basis vector k+1 and row k of T from basis vectors 0..k. */
static void extend(struct gdfo_la_factor *f, const double *c, size_t k)
{
    blasint n = (blasint)f->n;
    double *q = f->basis + k * f->n;
    double *next = q + f->n;
    cblas_dsymv(CblasRowMajor, CblasLower, n, 1.0, c, n, q, 1, 0.0, next, 1);
    f->alpha[k] = cblas_ddot(n, next, 1, q, 1);
    orthogonalise(f, k + 1, next);
    f->beta[k] = cblas_dnrm2(n, next, 1);
    if (f->beta[k] > 0) {
        cblas_dscal(n, 1 / f->beta[k], next, 1);
    }
}

/* now = T^-1/2 e_1 for the leading k x k part of T; 0 when T is not positive. */
static int inverse_root_of_t(struct gdfo_la_factor *f, size_t k)
{
    int order = (int)k;
    int info = 0;
    memcpy(f->ritz, f->alpha, k * sizeof *f->ritz);
    memcpy(f->off, f->beta, k * sizeof *f->off);
    dsteqr_("I", &order, f->ritz, f->off, f->vectors, &order, f->work, &info);
    if (info != 0 || !(f->ritz[0] > 0)) {
        return 0;
    }
    memset(f->now, 0, sizeof f->now);
    for (size_t j = 0; j < k; j++) { /* by columns: eigenvector j starts at vectors + j k */
        double share = f->vectors[j * k] / sqrt(f->ritz[j]);
        for (size_t i = 0; i < k; i++) {
            f->now[i] += share * f->vectors[j * k + i];
        }
    }
    return 1;
}

static double change(const struct gdfo_la_factor *f, size_t k)
{
    double moved = 0;
    double length = 0;
    for (size_t i = 0; i < k; i++) {
        moved += (f->now[i] - f->before[i]) * (f->now[i] - f->before[i]);
        length += f->now[i] * f->now[i];
    }
    return sqrt(moved / length);
}

/* Few steps are looked at one by one, many (where one look costs more) every fourth. */
static int is_look_due(size_t k)
{
    return k <= 12 ? k >= 2 : k % 4 == 0;
}

/* What the looks at T^-1/2 e_1 have shown. */
struct looks {
    size_t n;
    double moved, last; /* the last two differences; known from the second and third look on */
};

/* Whether the result stands still, or is about to: differences that shrink fast go on doing so, and
 * the next one, foreseen from the last two, is below rounding. */
static int is_settled(const struct looks *s)
{
    int is_foreseen = s->n >= 3 && s->moved <= s->last / 16;
    return s->n >= 2 &&
           (s->moved <= TOLERANCE || (is_foreseen && s->moved * s->moved <= TOLERANCE * s->last));
}

/* Steps until T^-1/2 e_1 stands still, or the basis is exhausted; 0 when neither comes. */
static size_t run_lanczos(struct gdfo_la_factor *f, const double *c)
{
    size_t most = f->n < STEPS ? f->n : STEPS;
    struct looks seen = {0};
    memset(f->before, 0, sizeof f->before);
    for (size_t k = 1; k <= most; k++) {
        int is_exhausted;
        extend(f, c, k - 1);
        is_exhausted = k == f->n || f->beta[k - 1] <= 4 * DBL_EPSILON * f->alpha[k - 1];
        if (!is_exhausted && !is_look_due(k)) {
            continue;
        }
        if (!inverse_root_of_t(f, k)) {
            return 0;
        }
        seen.n++;
        seen.last = seen.moved;
        seen.moved = change(f, k);
        if (is_exhausted || is_settled(&seen)) {
            return k;
        }
        memcpy(f->before, f->now, sizeof f->before);
    }
    return 0;
}

size_t gdfo_la_factor_inverse_root(struct gdfo_la_factor *f, const double *c, const double *b,
                                   double *out, struct gdfo_la_ritz *ritz)
{
    double length = cblas_dnrm2((blasint)f->n, b, 1);
    size_t k;
    if (!(length > 0)) {
        memset(out, 0, f->n * sizeof *out);
        *ritz = (struct gdfo_la_ritz){1, 1};
        return 1;
    }
    for (size_t i = 0; i < f->n; i++) {
        f->basis[i] = b[i] / length;
    }
    k = run_lanczos(f, c);
    if (k > 0) {
        cblas_dgemv(CblasRowMajor, CblasTrans, (blasint)k, (blasint)f->n, length, f->basis,
                    (blasint)f->n, f->now, 1, 0.0, out, 1);
        *ritz = (struct gdfo_la_ritz){f->ritz[0], f->ritz[k - 1]};
    }
    return k;
}
