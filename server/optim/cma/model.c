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
        m->D[i] = sqrt(variance);
        m->V[i * m->n + i] = m->is_factored ? m->D[i] : 1;
        if (m->is_factored) {
            m->variances[i] = variance;
        }
    }
}

/* Below this many dimensions an eigendecomposition is cheap; 2026-11, tests/bench/optim. */
#define FACTOR_DIM_MIN   128
#define PENDING_ROWS_MAX 65536
#define UPDATE_ROWS      64 /* of C at a time, so that little of the upper triangle is computed */

/* Rows that wait between two roots; very lazy ones are left to eigenvectors. */
static int wants_factor(const struct gdfo_cma_params *p)
{
    double rows = (floor(p->eigen_gap) + 1) * (double)(p->lambda + 1);
    if (p->opt.root == GDFO_CMA_ROOT_AUTO) {
        return p->n >= FACTOR_DIM_MIN && rows <= (double)p->n;
    }
    return p->opt.root == GDFO_CMA_ROOT_FACTOR && rows <= PENDING_ROWS_MAX;
}

static int init_factor(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    m->is_factored = wants_factor(p);
    m->ritz_least = 1;
    m->ritz_most = 1;
    m->pending_decay = 1;
    if (!m->is_factored) {
        return 1;
    }
    m->pending_max = ((size_t)p->eigen_gap + 1) * (p->lambda + 1);
    m->factor = gdfo_la_factor_create(m->n);
    m->pending = gdfo_mem_aligned(m->pending_max * m->n, sizeof *m->pending);
    m->pending_scratch = gdfo_mem_aligned(m->pending_max * m->n, sizeof *m->pending_scratch);
    m->pending_weights = gdfo_mem_array(m->pending_max, sizeof *m->pending_weights);
    m->variances = gdfo_mem_array(m->n, sizeof *m->variances);
    return m->factor && m->pending && m->pending_scratch && m->pending_weights && m->variances;
}

static int init_full(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    size_t n = m->n;
    m->C = gdfo_mem_aligned(n * n, sizeof *m->C);
    m->V = gdfo_mem_aligned(n * n, sizeof *m->V);
    m->eigenvalues = gdfo_mem_array(n, sizeof *m->eigenvalues);
    m->eigen = gdfo_la_eigen_create(n);
    if (!m->C || !m->V || !m->eigenvalues || !m->eigen || !init_factor(m, p)) {
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
    gdfo_la_factor_destroy(m->factor);
    gdfo_mem_free(m->pending);
    gdfo_mem_free(m->pending_scratch);
    gdfo_mem_free(m->pending_weights);
    gdfo_mem_free(m->variances);
    *m = (struct gdfo_cma_model){0};
}

/* Half of rounding's reach: an eigenvalue below this share of the largest is noise. By then the
 * search has stopped for its condition number (1e14). */
#define EIGENVALUE_SHARE_MIN 1e-15

static int decompose(struct gdfo_cma_model *m)
{
    size_t n = m->n;
    double floor_;
    m->is_factored = 0;
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

/* C = decay C + scaled^T y over k rows. The lower triangle, `tall` rows of C at a time: each block
 * of rows ends at the diagonal. */
struct product {
    const double *scaled, *y; /* [k][n] */
    size_t k, tall;
    double decay;
};

static void add_product(struct gdfo_cma_model *m, const struct product *p)
{
    size_t n = m->n;
    struct gdfo_gemm_f64 g = {
        .op = GDFO_GEMM_TN, .k = p->k, .b = p->y, .lda = n, .ldb = n, .ldc = n, .beta = p->decay};
    for (size_t first = 0; first < n; first += g.m) {
        g.m = n - first < p->tall ? n - first : p->tall;
        g.n = first + g.m;
        g.a = p->scaled + first;
        g.c = m->C + first * n;
        gdfo_gemm_f64(&g);
    }
}

static void weigh(double *out, const double *y, const double *weights, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) {
            out[r * n + i] = weights[r] * y[r * n + i];
        }
    }
}

/* C takes on what is pending. */
static void flush(struct gdfo_cma_model *m)
{
    struct product p = {.scaled = m->pending_scratch,
                        .y = m->pending,
                        .k = m->n_pending,
                        .tall = UPDATE_ROWS,
                        .decay = m->pending_decay};
    if (m->n_pending == 0) {
        return;
    }
    weigh(m->pending_scratch, m->pending, m->pending_weights, m->n_pending, m->n);
    add_product(m, &p);
    m->n_pending = 0;
    m->pending_decay = 1;
    for (size_t i = 0; i < m->n; i++) {
        m->variances[i] = m->C[i * m->n + i];
    }
}

static int take_root(struct gdfo_cma_model *m)
{
    if (m->is_factored) {
        flush(m);
        if (gdfo_la_factor_run(m->factor, m->C, m->V)) {
            return 1;
        }
    }
    return decompose(m);
}

int gdfo_cma_model_is_due(const struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    double passed = (double)(m->n_updates - m->last_eigen);
    if (p->opt.reference == GDFO_CMA_PURECMA && !(p->opt.eigen_gap > 0)) {
        return passed > p->eigen_gap;
    }
    return passed > 0 && passed >= p->eigen_gap;
}

/* C is beyond repair; mean and step size stay. */
static void start_anew(struct gdfo_cma_model *m)
{
    memset(m->C, 0, m->n * m->n * sizeof *m->C);
    memset(m->V, 0, m->n * m->n * sizeof *m->V);
    m->n_pending = 0;
    set_identity(m, GDFO_CMA_PURECMA);
}

void gdfo_cma_model_refresh(struct gdfo_cma_model *m, const struct gdfo_cma_params *p)
{
    if (m->kind != GDFO_CMA_FULL || !gdfo_cma_model_is_due(m, p)) {
        return;
    }
    if (!take_root(m)) {
        start_anew(m);
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

/* out = x V (to_basis 0) or x V^T (to_basis 1) for rows. */
static void turn(const struct gdfo_cma_model *m, const double *x, double *out, size_t rows,
                 int to_basis)
{
    struct gdfo_gemm_f64 g = {.op = to_basis ? GDFO_GEMM_NT : GDFO_GEMM_NN,
                              .m = rows,
                              .n = m->n,
                              .k = m->n,
                              .a = x,
                              .b = m->V,
                              .c = out,
                              .lda = m->n,
                              .ldb = m->n,
                              .ldc = m->n};
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_gemm_f64(&g);
    } else {
        memcpy(out, x, rows * m->n * sizeof *out);
    }
}

void gdfo_cma_model_colour(const struct gdfo_cma_model *m, double *z, double *y, size_t rows)
{
    if (m->is_factored) {
        memcpy(y, z, rows * m->n * sizeof *y);
        gdfo_la_factor_multiply(m->factor, m->V, y, rows);
        return;
    }
    scale_rows(z, m->D, rows, m->n);
    turn(m, z, y, rows, 0);
}

void gdfo_cma_model_whiten(const struct gdfo_cma_model *m, const double *y, double *z, size_t rows)
{
    if (m->is_factored) {
        memcpy(z, y, rows * m->n * sizeof *z);
        gdfo_la_factor_solve(m->factor, m->V, z, rows);
        return;
    }
    turn(m, y, z, rows, 1);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < m->n; i++) {
            z[r * m->n + i] /= m->D[i];
        }
    }
}

void gdfo_cma_model_standardise(struct gdfo_cma_model *m, const double *y, double *out,
                                double *scratch)
{
    struct gdfo_la_ritz ritz;
    if (m->is_factored) {
        if (gdfo_la_factor_inverse_root(m->factor, m->C, y, out, &ritz)) {
            m->ritz_least = ritz.least;
            m->ritz_most = ritz.most;
            return;
        }
        if (!decompose(m)) {
            start_anew(m);
        }
        flush(m);
    }
    gdfo_cma_model_whiten(m, y, scratch, 1);
    turn(m, scratch, out, 1, 0);
}

static void update_full(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u)
{
    struct product p = {
        .scaled = u->scratch, .y = u->y, .k = u->rows, .tall = m->n, .decay = u->decay};
    weigh(u->scratch, u->y, u->weights, u->rows, m->n);
    add_product(m, &p);
}

static void add_pending(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u)
{
    size_t n = m->n;
    for (size_t r = 0; r < m->n_pending; r++) {
        m->pending_weights[r] *= u->decay;
    }
    m->pending_decay *= u->decay;
    memcpy(m->pending + m->n_pending * n, u->y, u->rows * n * sizeof *m->pending);
    memcpy(m->pending_weights + m->n_pending, u->weights, u->rows * sizeof *u->weights);
    m->n_pending += u->rows;
    for (size_t i = 0; i < n; i++) {
        m->variances[i] *= u->decay;
    }
    for (size_t r = 0; r < u->rows; r++) {
        for (size_t i = 0; i < n; i++) {
            m->variances[i] += u->weights[r] * u->y[r * n + i] * u->y[r * n + i];
        }
    }
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

void gdfo_cma_model_update(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                           const struct gdfo_cma_outer *u)
{
    if (m->kind == GDFO_CMA_FULL && m->is_factored) {
        add_pending(m, u);
    } else if (m->kind == GDFO_CMA_FULL) {
        update_full(m, u);
    } else if (m->kind == GDFO_CMA_DIAGONAL) {
        update_diagonal(m, u);
    }
    m->n_updates++;
    if (m->is_factored && gdfo_cma_model_is_due(m, p)) {
        flush(m); /* R goes on until the next ask or tell, which takes the new root first */
    }
}

double gdfo_cma_model_std_max(const struct gdfo_cma_model *m)
{
    size_t stride = m->kind == GDFO_CMA_FULL && !m->is_factored ? m->n + 1 : 1;
    const double *variances = m->is_factored ? m->variances : m->C;
    double most = 0;
    if (m->kind == GDFO_CMA_NONE) {
        return 1;
    }
    for (size_t i = 0; i < m->n; i++) {
        most = fmax(most, variances[i * stride]);
    }
    return sqrt(most);
}

double gdfo_cma_model_condition(const struct gdfo_cma_model *m)
{
    double least = m->D[0];
    double most = m->D[0];
    if (m->is_factored) {
        return m->ritz_most / m->ritz_least;
    }
    for (size_t i = 1; i < m->n; i++) {
        least = fmin(least, m->D[i]);
        most = fmax(most, m->D[i]);
    }
    return (most / least) * (most / least);
}
