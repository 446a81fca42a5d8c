#include "common/mem.h"
#include "server/optim/cma/cma_priv.h"

#include <math.h>
#include <string.h>

#define FULL_DIM_MAX 4096 /* two matrices of 128 MiB each */

static const struct gdfo_opt options[] = {
    {"popsize", GDFO_OPT_INT, offsetof(struct gdfo_cma_values, popsize), "20", 0,
     GDFO_OPTIM_POPSIZE_MAX, NULL, "candidates per generation, 0 = 4 + 3 ln(dimension)"},
    {"step_size_init", GDFO_OPT_NUM, offsetof(struct gdfo_cma_values, step_size_init), "1", 1e-12,
     1e6, NULL, "standard deviation of the first population"},
    {"step_size", GDFO_OPT_ENUM, offsetof(struct gdfo_cma_values, step_size), "csa", 0, 0,
     "csa|tpa", "step size control: path length, or two probes along the last move of the mean"},
    {"covariance", GDFO_OPT_ENUM, offsetof(struct gdfo_cma_values, covariance), "full", 0, 0,
     "full|diagonal|none", "what is learnt of the covariance"},
    {"reference", GDFO_OPT_ENUM, offsetof(struct gdfo_cma_values, reference), "pycma", 0, 0,
     "pycma|purecma", "whose strategy constants"},
    {"active", GDFO_OPT_BOOL, offsetof(struct gdfo_cma_values, active), "true", 0, 0, NULL,
     "bad candidates shrink the covariance"},
    {"eigen_gap", GDFO_OPT_NUM, offsetof(struct gdfo_cma_values, eigen_gap), "0", 0, 1e9, NULL,
     "generations between decompositions of the covariance, 0 = the rule of the reference"},
    {"root", GDFO_OPT_ENUM, offsetof(struct gdfo_cma_values, root), "auto", 0, 0,
     "auto|eigen|factor",
     "square root of a full covariance: eigenvectors, or Cholesky factor until eigenvectors are "
     "needed; auto = factor from 128 dimensions"},
    {0}};

static size_t popsize(const void *values, size_t dim)
{
    return gdfo_cma_popsize(values, dim);
}

static void destroy(void *self)
{
    struct gdfo_cma *s = self;
    if (!s) {
        return;
    }
    gdfo_cma_params_deinit(&s->p);
    gdfo_cma_model_deinit(&s->m);
    gdfo_mem_free(s->mean);
    gdfo_mem_free(s->path_sigma);
    gdfo_mem_free(s->path_c);
    gdfo_mem_free(s->shift);
    gdfo_mem_free(s->y);
    gdfo_mem_free(s->z);
    gdfo_mem_free(s->w);
    gdfo_mem_free(s->length);
    gdfo_mem_free(s);
}

static int alloc_vectors(struct gdfo_cma *s, const double *start)
{
    size_t n = s->p.n;
    size_t rows = s->p.lambda + 1;
    s->mean = gdfo_mem_dup(start, n * sizeof *s->mean);
    s->path_sigma = gdfo_mem_array(n, sizeof *s->path_sigma);
    s->path_c = gdfo_mem_array(n, sizeof *s->path_c);
    s->shift = gdfo_mem_array(n, sizeof *s->shift);
    s->y = gdfo_mem_aligned(rows * n, sizeof *s->y);
    s->z = gdfo_mem_aligned(rows * n, sizeof *s->z);
    s->w = gdfo_mem_array(rows, sizeof *s->w);
    s->length = gdfo_mem_array(s->p.lambda, sizeof *s->length);
    return s->mean && s->path_sigma && s->path_c && s->shift && s->y && s->z && s->w && s->length;
}

static enum gdfo_status create(void **self, const struct gdfo_optim_setup *setup,
                               struct gdfo_error *err)
{
    const struct gdfo_cma_values *v = setup->values;
    struct gdfo_cma *s;
    if (v->covariance == GDFO_CMA_FULL && setup->dim > FULL_DIM_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "dimension %zu with covariance full: at most %d, or use diagonal",
                              setup->dim, FULL_DIM_MAX);
    }
    s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "cma");
    }
    s->rng = setup->rng;
    s->step_size = v->step_size_init;
    if (!gdfo_cma_params_init(&s->p, v, setup->dim) || !gdfo_cma_model_init(&s->m, &s->p) ||
        !alloc_vectors(s, setup->start)) {
        destroy(s);
        return gdfo_error_no_memory(err, "cma");
    }
    *self = s;
    return GDFO_STATUS_OK;
}

/* ---- ask ---- */

/* Length of a fresh N(0, I) vector. */
static double draw_length(struct gdfo_cma *s)
{
    double squared = 0;
    for (size_t i = 0; i < s->p.n; i++) {
        double x = gdfo_rng_normal(s->rng);
        squared += x * x;
    }
    return sqrt(squared);
}

static double whitened_length(struct gdfo_cma *s, const double *y)
{
    gdfo_cma_model_whiten(&s->m, y, s->z, 1);
    return sqrt(gdfo_la_dot(s->z, s->z, s->p.n));
}

/* Two mirrored steps along the last move of the mean, as long as a fresh sample. */
static size_t put_probes(struct gdfo_cma *s)
{
    size_t n = s->p.n;
    double factor;
    if (!gdfo_cma_has_probes(s)) {
        return 0;
    }
    factor = draw_length(s) / whitened_length(s, s->shift);
    for (size_t i = 0; i < n; i++) {
        s->y[i] = factor * s->shift[i];
        s->y[n + i] = -s->y[i];
    }
    return 2;
}

static void put_injected(struct gdfo_cma *s, const struct gdfo_optim_draw *draw, size_t k,
                         double *y)
{
    size_t n = s->p.n;
    double length;
    for (size_t i = 0; i < n; i++) {
        y[i] = (draw->injected[k * n + i] - s->mean[i]) / s->step_size;
    }
    length = whitened_length(s, y);
    if (!draw->keep_length[k] && length > sqrt((double)n)) {
        double factor = draw_length(s) / length;
        for (size_t i = 0; i < n; i++) {
            y[i] *= factor;
        }
    }
}

/* The candidates from `first` are drawn from z, so their Mahalanobis lengths are known. */
static void note_lengths(struct gdfo_cma *s, size_t first)
{
    size_t n = s->p.n;
    memset(s->length, 0, s->p.lambda * sizeof *s->length);
    for (size_t c = first; c < s->p.lambda; c++) {
        const double *z = s->z + (c - first) * n;
        s->length[c] = sqrt(gdfo_la_dot(z, z, n));
    }
}

static void ask(void *self, const struct gdfo_optim_draw *draw)
{
    struct gdfo_cma *s = self;
    size_t n = s->p.n;
    size_t done;
    gdfo_cma_model_refresh(&s->m, &s->p);
    done = put_probes(s);
    for (size_t k = 0; k < draw->n_injected && done < s->p.lambda; k++, done++) {
        put_injected(s, draw, k, s->y + done * n);
        draw->is_outside[done] = 1;
    }
    gdfo_rng_normals(s->rng, s->z, (s->p.lambda - done) * n);
    note_lengths(s, done);
    gdfo_cma_model_colour(&s->m, s->z, s->y + done * n, s->p.lambda - done);
    for (size_t c = 0; c < s->p.lambda; c++) {
        for (size_t i = 0; i < n; i++) {
            draw->candidates[c * n + i] = s->mean[i] + s->step_size * s->y[c * n + i];
        }
    }
}

static void tell(void *self, const struct gdfo_optim_told *told)
{
    gdfo_cma_tell(self, told);
}

static void view(const void *self, struct gdfo_optim_view *v)
{
    const struct gdfo_cma *s = self;
    v->mean = s->mean;
    v->step_size = s->step_size;
    v->std_max = s->step_size * gdfo_cma_model_std_max(&s->m);
    v->condition = gdfo_cma_model_condition(&s->m);
    v->path_sigma = s->path_sigma;
    v->path_c = s->path_c;
    v->covariance = s->m.kind == GDFO_CMA_FULL ? s->m.C : NULL;
    v->variances = s->m.kind == GDFO_CMA_DIAGONAL ? s->m.C : NULL;
}

/* ---- saved state ---- */

static void save(const void *self, struct gdfo_buf *buf)
{
    const struct gdfo_cma *s = self;
    gdfo_buf_u64(buf, s->n_tells);
    gdfo_optim_put_f64(buf, &s->step_size, 1);
    gdfo_optim_put_f64(buf, &s->tpa_sum, 1);
    gdfo_optim_put_f64(buf, s->mean, s->p.n);
    gdfo_optim_put_f64(buf, s->path_sigma, s->p.n);
    gdfo_optim_put_f64(buf, s->path_c, s->p.n);
    gdfo_optim_put_f64(buf, s->shift, s->p.n);
    gdfo_optim_put_f64(buf, s->length, s->p.lambda);
    gdfo_cma_model_save(&s->m, buf);
}

static void load(void *self, struct gdfo_optim_reader *r)
{
    struct gdfo_cma *s = self;
    s->n_tells = gdfo_optim_get_u64(r);
    gdfo_optim_get_f64(r, &s->step_size, 1);
    gdfo_optim_get_f64(r, &s->tpa_sum, 1);
    gdfo_optim_get_f64(r, s->mean, s->p.n);
    gdfo_optim_get_f64(r, s->path_sigma, s->p.n);
    gdfo_optim_get_f64(r, s->path_c, s->p.n);
    gdfo_optim_get_f64(r, s->shift, s->p.n);
    gdfo_optim_get_f64(r, s->length, s->p.lambda);
    gdfo_cma_model_load(&s->m, &s->p, r);
}

const struct gdfo_optim_ops gdfo_optim_cma_ops = {
    .name = "cma",
    .help = "CMA-ES: learns mean, step size and covariance of the candidates",
    .options = options,
    .values_bytes = sizeof(struct gdfo_cma_values),
    .popsize = popsize,
    .create = create,
    .destroy = destroy,
    .ask = ask,
    .tell = tell,
    .view = view,
    .save = save,
    .load = load,
};
