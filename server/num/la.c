#include "server/num/la.h"

#include "common/mem.h"

/*
 * LAPACK's divide and conquer eigensolver, from OpenBLAS (which carries LAPACK's Fortran entry
 * points but, on Debian, not the C header). Fortran stores by columns: our lower triangle is its
 * upper one, and its eigenvectors in columns are our rows.
 */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info);

struct gdfo_la_eigen {
    int n, n_work, n_iwork;
    double *work;
    int *iwork;
};

#define ORDER_MAX 8192 /* keeps the work size of dsyevd inside an int */

struct gdfo_la_eigen *gdfo_la_eigen_create(size_t n)
{
    struct gdfo_la_eigen *e = n <= ORDER_MAX ? gdfo_mem_array(1, sizeof *e) : NULL;
    if (!e) {
        return NULL;
    }
    e->n = (int)n;
    e->n_work = 1 + 6 * e->n + 2 * e->n * e->n;
    e->n_iwork = 3 + 5 * e->n;
    e->work = gdfo_mem_array((size_t)e->n_work, sizeof *e->work);
    e->iwork = gdfo_mem_array((size_t)e->n_iwork, sizeof *e->iwork);
    if (!e->work || !e->iwork) {
        gdfo_la_eigen_destroy(e);
        return NULL;
    }
    return e;
}

void gdfo_la_eigen_destroy(struct gdfo_la_eigen *e)
{
    if (e) {
        gdfo_mem_free(e->work);
        gdfo_mem_free(e->iwork);
        gdfo_mem_free(e);
    }
}

int gdfo_la_eigen_run(struct gdfo_la_eigen *e, double *a, double *w)
{
    int info = 0;
    if (e->n > 0) {
        dsyevd_("V", "U", &e->n, a, &e->n, w, e->work, &e->n_work, e->iwork, &e->n_iwork, &info);
    }
    return info == 0;
}

double gdfo_la_dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}
