#include "server/optim/cma/cma_priv.h"

/*
 * DESIGN. Of a factored model only C and the steps that wait for the next root are saved: the
 * factor is computed again from the same C, which gives the same bits, and a snapshot stays a third
 * of what C and its eigenvectors take.
 */
static void put_triangle(struct gdfo_buf *b, const double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gdfo_optim_put_f64(b, a + i * n, i + 1);
    }
}

static void get_triangle(struct gdfo_optim_reader *r, double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gdfo_optim_get_f64(r, a + i * n, i + 1);
    }
}

static void save_factored(const struct gdfo_cma_model *m, struct gdfo_buf *b)
{
    gdfo_optim_put_f64(b, &m->ritz_least, 1);
    gdfo_optim_put_f64(b, &m->ritz_most, 1);
    gdfo_optim_put_f64(b, m->variances, m->n);
    gdfo_buf_u64(b, m->n_pending);
    gdfo_optim_put_f64(b, &m->pending_decay, 1);
    gdfo_optim_put_f64(b, m->pending_weights, m->n_pending);
    gdfo_optim_put_f64(b, m->pending, m->n_pending * m->n);
}

void gdfo_cma_model_save(const struct gdfo_cma_model *m, struct gdfo_buf *b)
{
    gdfo_buf_u64(b, m->n_updates);
    gdfo_buf_u64(b, m->last_eigen);
    if (m->kind == GDFO_CMA_DIAGONAL) {
        gdfo_optim_put_f64(b, m->C, m->n);
    }
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_buf_u64(b, m->is_factored ? 1 : 0);
        put_triangle(b, m->C, m->n);
    }
    if (m->is_factored) {
        save_factored(m, b);
        return;
    }
    gdfo_optim_put_f64(b, m->D, m->n);
    if (m->kind == GDFO_CMA_FULL) {
        gdfo_optim_put_f64(b, m->V, m->n * m->n);
    }
}

static void load_factored(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                          struct gdfo_optim_reader *r)
{
    size_t n = m->n;
    uint64_t n_pending;
    gdfo_optim_get_f64(r, &m->ritz_least, 1);
    gdfo_optim_get_f64(r, &m->ritz_most, 1);
    gdfo_optim_get_f64(r, m->variances, n);
    n_pending = gdfo_optim_get_u64(r);
    if (n_pending > m->pending_max || !(m->ritz_least > 0)) {
        r->is_broken = 1;
        return;
    }
    m->n_pending = (size_t)n_pending;
    gdfo_optim_get_f64(r, &m->pending_decay, 1);
    gdfo_optim_get_f64(r, m->pending_weights, m->n_pending);
    gdfo_optim_get_f64(r, m->pending, m->n_pending * n);
    if (r->is_broken || gdfo_cma_model_is_due(m, p)) {
        return; /* the next ask or tell takes the root */
    }
    r->is_broken = !gdfo_la_factor_run(m->factor, m->C, m->V);
}

static void load_full(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                      struct gdfo_optim_reader *r)
{
    int is_factored = gdfo_optim_get_u64(r) != 0;
    get_triangle(r, m->C, m->n);
    if (is_factored && !m->factor) {
        r->is_broken = 1;
        return;
    }
    m->is_factored = is_factored;
    if (is_factored) {
        load_factored(m, p, r);
        return;
    }
    gdfo_optim_get_f64(r, m->D, m->n);
    gdfo_optim_get_f64(r, m->V, m->n * m->n);
}

void gdfo_cma_model_load(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                         struct gdfo_optim_reader *r)
{
    m->n_updates = gdfo_optim_get_u64(r);
    m->last_eigen = gdfo_optim_get_u64(r);
    if (m->kind == GDFO_CMA_DIAGONAL) {
        gdfo_optim_get_f64(r, m->C, m->n);
    }
    if (m->kind == GDFO_CMA_FULL) {
        load_full(m, p, r);
    } else {
        gdfo_optim_get_f64(r, m->D, m->n);
    }
}
