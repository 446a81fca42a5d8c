#ifndef GDFO_SERVER_NUM_LA_FACTOR_H
#define GDFO_SERVER_NUM_LA_FACTOR_H

#include <stddef.h>

/*
 * A covariance C by its Cholesky factor R (C = R^T R, upper, row-major), in double: n^3/3
 * operations instead of the 9 n^3 or so of an eigendecomposition. Multiplying by R^T colours a
 * sample, solving with it gives Mahalanobis lengths. The one thing R cannot give is C^-1/2 itself;
 * that is computed for a single vector by the Lanczos process, which needs few products with C when
 * the eigenvalues lie close together and says so when they do not. Owner thread only; allocates
 * nothing after create.
 */
struct gdfo_la_factor;

#define GDFO_LA_FACTOR_STEPS_MAX 48 /* Lanczos steps; an eigendecomposition is cheaper by then */

struct gdfo_la_factor *gdfo_la_factor_create(size_t n); /* NULL when out of memory */
void gdfo_la_factor_destroy(struct gdfo_la_factor *f);

/* c [n][n], lower triangle read; r [n][n], upper triangle written, the rest left alone. 0 when c is
 * not positive definite (r is then garbage). */
int gdfo_la_factor_run(const struct gdfo_la_factor *f, const double *c, double *r);

/* rows of x, [rows][n], in place: x = R^T x, and x = R^-T x; r's lower triangle is not read. */
void gdfo_la_factor_multiply(const struct gdfo_la_factor *f, const double *r, double *x,
                             size_t rows);
void gdfo_la_factor_solve(const struct gdfo_la_factor *f, const double *r, double *x, size_t rows);

/* Smallest and largest Ritz value: estimates of the extreme eigenvalues of C, from inside. */
struct gdfo_la_ritz {
    double least, most;
};

/*
 * out = C^-1/2 b to rounding.
 *
 *   c        [n][n], lower triangle read
 *   b, out   [n], may be the same
 *   returns  Lanczos steps taken; 0 when the steps did not suffice or C is not positive definite
 *            (out and ritz are then untouched). b = 0 takes 1 step and knows no eigenvalue: ones.
 */
size_t gdfo_la_factor_inverse_root(struct gdfo_la_factor *f, const double *c, const double *b,
                                   double *out, struct gdfo_la_ritz *ritz);

#endif
