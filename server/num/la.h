#ifndef GDFO_SERVER_NUM_LA_H
#define GDFO_SERVER_NUM_LA_H

#include <stddef.h>

/*
 * The little dense linear algebra that optimisers need beside GEMM, in double, row-major. Owner
 * thread only.
 */
struct gdfo_la_eigen; /* workspace of one eigendecomposition size */

struct gdfo_la_eigen *gdfo_la_eigen_create(size_t n); /* NULL when out of memory */
void gdfo_la_eigen_destroy(struct gdfo_la_eigen *e);

/*
 * Eigenvalues (ascending) and eigenvectors of a symmetric matrix; allocates nothing.
 *
 *   a        [n][n]; in: the matrix, lower triangle read; out: row k is the unit eigenvector of
 * w[k] w        [n] out returns  1, or 0 when the iteration did not converge (a and w are then
 * garbage)
 */
int gdfo_la_eigen_run(struct gdfo_la_eigen *e, double *a, double *w);

double gdfo_la_dot(const double *x, const double *y, size_t n);

#endif
