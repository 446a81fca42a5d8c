#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/optim/cma/cma_priv.h"

#include <math.h>
#include <string.h>

static void set_ones(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = 1;
    }
}

/* pycma starts with slightly different variances, exp(1e-4 i/n), so that no two eigenvalues are
 * equal; purecma with ones. */
static void set_identity(struct gdfo_cma_model *m, enum gdfo_cma_reference reference)
{
    for (size_t i = 0; i < m->n; i++) {
        double variance = reference == GDFO_CMA_PYCMA ? exp(1e-4 / (double)m->n * (double)i) : 1;
        m->C[i * m->n + i] = variance;
        m->V[i * m->n + i] = 1;
        m->D[i] = sqrt(variance);
    }
}

static int init_full(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    size_t n = m->n;
    m->C = gdfo_mem_aligned(n * n, sizeof *m->C);
    m->V = gdfo_mem_aligned(n * n, sizeof *m->V);
    m->eigenvalues = gdfo_mem_array(n, sizeof *m->eigenvalues);
    m->eigen = gdfo_la_eigen_create(n);
    if (!m->C || !m->V || !m->eigenvalues || !m->eigen) {
        return 0;
    }
    set_identity(m, (enum gdfo_cma_reference)p->opt.reference);
    return 1;
}

int gdfo_cma_model_init(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    *m = (struct gdfo_cma_model){.kind = (enum gdfo_cma_covariance)p->opt.covariance, .n = p->n};
    m->D = gdfo_mem_array(m->n, sizeof *m->D);
    if (!m->D) {
        return 0;
    }
    set_ones(m->D, m->n);
    if (m->kind == GDFO_CMA_FULL) {
        return init_full(m, p);
    }
    if (m->kind == GDFO_CMA_DIAGONAL) {
        m->C = gdfo_mem_array(m->n, sizeof *m->C);
        if (!m->C) {
            return 0;
        }
        set_ones(m->C, m->n);
    }
    return 1;
}

void gdfo_cma_model_deinit(struct gdfo_cma_model *m)
{
    gdfo_mem_free(m->C);
    gdfo_mem_free(m->V);
    gdfo_mem_free(m->D);
    gdfo_mem_free(m->eigenvalues);
    gdfo_la_eigen_destroy(m->eigen);
    *m = (struct gdfo_cma_model){0};
}

/* Half of rounding's reach: an eigenvalue below this share of the largest is noise. By then the
 * search has stopped for its condition number (1e14). */
#define EIGENVALUE_SHARE_MIN 1e-15

static int decompose(struct gdfo_cma_model *m)
{
    size_t n = m->n;
    double floor_;
    memcpy(m->V, m->C, n * n * sizeof *m->V);
    if (!gdfo_la_eigen_run(m->eigen, m->V, m->eigenvalues) || !(m->eigenvalues[n - 1] > 0)) {
        return 0;
    }
    floor_ = m->eigenvalues[n - 1] * EIGENVALUE_SHARE_MIN;
    for (size_t i = 0; i < n; i++) {
        m->D[i] = sqrt(fmax(m->eigenvalues[i], floor_));
    }
    return 1;
}

static int is_due(const struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    double passed = (double)(m->n_updates - m->last_eigen);
    if (p->opt.reference == GDFO_CMA_PURECMA && !(p->opt.eigen_gap > 0)) {
        return passed > p->eigen_gap;
    }
    return passed > 0 && passed >= p->eigen_gap;
}

void gdfo_cma_model_refresh(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    if (m->kind != GDFO_CMA_FULL || !is_due(m, p)) {
        return;
    }
    if (!decompose(m)) { /* C is beyond repair: start it anew, mean and step size stay */
        memset(m->C, 0, m->n * m->n * sizeof *m->C);
        memset(m->V, 0, m->n * m->n * sizeof *m->V);
        set_identity(m, GDFO_CMA_PURECMA);
    }
    m->last_eigen = m->n_updates;
}

static void scale_rows(double *x, const double *by, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) {
            x[r * n + i] *= by[i];
        }
    }
}

void gdfo_cma_model_colour(const struct gdfo_cma_model *m, double *z, double *y, size_t rows)
{
    struct gdfo_gemm_f64 g = {.op = GDFO_GEMM_NN,
                              .m = rows,
                              .n = m->n,
                              .k = m->n,
                              .a = z,
                              .b = m->V,
                              .c = y,
                              .lda = m->n,
                              .ldb = m->n,
                              .ldc = m->n};
    scale_rows(z, m->D, rows, m->n);
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_gemm_f64(&g);
    } else {
        memcpy(y, z, rows * m->n * sizeof *y);
    }
}

void gdfo_cma_model_whiten(const struct gdfo_cma_model *m, const double *y, double *z, size_t rows)
{
    struct gdfo_gemm_f64 g = {.op = GDFO_GEMM_NT,
                              .m = rows,
                              .n = m->n,
                              .k = m->n,
                              .a = y,
                              .b = m->V,
                              .c = z,
                              .lda = m->n,
                              .ldb = m->n,
                              .ldc = m->n};
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_gemm_f64(&g);
    } else {
        memcpy(z, y, rows * m->n * sizeof *z);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < m->n; i++) {
            z[r * m->n + i] /= m->D[i];
        }
    }
}

void gdfo_cma_model_turn(const struct gdfo_cma_model *m, const double *z, double *out)
{
    struct gdfo_gemm_f64 g = {.op = GDFO_GEMM_NN,
                              .m = 1,
                              .n = m->n,
                              .k = m->n,
                              .a = z,
                              .b = m->V,
                              .c = out,
                              .lda = m->n,
                              .ldb = m->n,
                              .ldc = m->n};
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_gemm_f64(&g);
    } else {
        memcpy(out, z, m->n * sizeof *out);
    }
}

static void update_full(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u)
{
    size_t n = m->n;
    struct gdfo_gemm_f64 g = {.op = GDFO_GEMM_TN,
                              .m = n,
                              .n = n,
                              .k = u->rows,
                              .a = u->scratch,
                              .b = u->y,
                              .c = m->C,
                              .lda = n,
                              .ldb = n,
                              .ldc = n,
                              .beta = u->decay};
    for (size_t r = 0; r < u->rows; r++) {
        for (size_t i = 0; i < n; i++) {
            u->scratch[r * n + i] = u->weights[r] * u->y[r * n + i];
        }
    }
    gdfo_gemm_f64(&g);
}

static void update_diagonal(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u)
{
    for (size_t i = 0; i < m->n; i++) {
        double variance = u->decay * m->C[i];
        for (size_t r = 0; r < u->rows; r++) {
            variance += u->weights[r] * u->y[r * m->n + i] * u->y[r * m->n + i];
        }
        m->C[i] =
            fmax(variance, 1e-300); /* negative weights cannot take it below zero, rounding can */
        m->D[i] = sqrt(m->C[i]);
    }
}

void gdfo_cma_model_update(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u)
{
    if (m->kind == GDFO_CMA_FULL) {
        update_full(m, u);
    } else if (m->kind == GDFO_CMA_DIAGONAL) {
        update_diagonal(m, u);
    }
    m->n_updates++;
}

double gdfo_cma_model_std_max(const struct gdfo_cma_model *m)
{
    size_t stride = m->kind == GDFO_CMA_FULL ? m->n + 1 : 1;
    double most = 0;
    if (m->kind == GDFO_CMA_NONE) {
        return 1;
    }
    for (size_t i = 0; i < m->n; i++) {
        most = fmax(most, m->C[i * stride]);
    }
    return sqrt(most);
}

double gdfo_cma_model_condition(const struct gdfo_cma_model *m)
{
    double least = m->D[0];
    double most = m->D[0];
    for (size_t i = 1; i < m->n; i++) {
        least = fmin(least, m->D[i]);
        most = fmax(most, m->D[i]);
    }
    return (most / least) * (most / least);
}
