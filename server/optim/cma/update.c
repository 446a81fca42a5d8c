#include "server/optim/cma/cma_priv.h"

#include <math.h>
#include <string.h>

#define STEP_SIZE_GROWTH_MAX 1e20 /* of the initial one: keeps a diverging run finite */

static double norm(const double *x, size_t n)
{
    return sqrt(gdfo_la_dot(x, x, n));
}

int gdfo_cma_has_probes(const struct gdfo_cma *s)
{
    return s->p.opt.step_size == GDFO_CMA_STEP_TPA && s->n_tells > 0 &&
           gdfo_la_dot(s->shift, s->shift, s->p.n) > 0;
}

/* Fills y with the ranked steps, best first, and cuts the steps of outside points (Hansen 2011). */
static void ranked_steps(struct gdfo_cma *s, const struct gdfo_optim_told *told)
{
    size_t n = s->p.n;
    for (size_t k = 0; k < s->p.lambda; k++) {
        size_t c = told->order[k];
        double *y = s->y + k * n;
        for (size_t i = 0; i < n; i++) {
            y[i] = (told->points[c * n + i] - s->mean[i]) / s->step_size;
        }
        if (told->is_outside[c]) {
            double cut;
            gdfo_cma_model_whiten(&s->m, y, s->z, 1);
            cut = s->p.length_max / norm(s->z, n);
            for (size_t i = 0; cut < 1 && i < n; i++) {
                y[i] *= cut;
            }
        }
    }
}

/*
 * The weights of this generation: points without a finite loss lose their share in the mean to the
 * others, outside points never shrink C.
 */
static void ranked_weights(struct gdfo_cma *s, const struct gdfo_optim_told *told)
{
    double positive = 0;
    for (size_t k = 0; k < s->p.lambda; k++) {
        double w = s->p.weights[k];
        int is_lost = w > 0 && k >= told->n_finite;
        int is_outside = w < 0 && told->is_outside[told->order[k]];
        s->w[k] = is_lost || is_outside ? 0 : w;
        positive += s->w[k] > 0 ? s->w[k] : 0;
    }
    for (size_t k = 0; told->n_finite < s->p.mu && k < s->p.mu; k++) {
        s->w[k] /= positive;
    }
}

/* shift = the mean's step in y; written over shift, in units of step_size until move_mean. */
static void recombine(struct gdfo_cma *s)
{
    size_t n = s->p.n;
    memset(s->shift, 0, n * sizeof *s->shift);
    for (size_t k = 0; k < s->p.mu; k++) {
        for (size_t i = 0; i < n; i++) {
            s->shift[i] += s->w[k] * s->y[k * n + i];
        }
    }
}

/* path_sigma, and whether it is short enough for path_c to learn (h_sigma). */
static int step_path(struct gdfo_cma *s)
{
    size_t n = s->p.n;
    double c = s->p.c_sigma;
    double gain = sqrt(c * (2 - c) * s->p.mu_eff);
    double warm = 1 - pow(1 - c, 2 * (double)s->n_tells);
    gdfo_cma_model_standardise(&s->m, s->shift, s->z + n, s->z);
    for (size_t i = 0; i < n; i++) {
        s->path_sigma[i] = (1 - c) * s->path_sigma[i] + gain * s->z[n + i];
    }
    return gdfo_la_dot(s->path_sigma, s->path_sigma, n) / warm / (double)n <
           2 + 4 / ((double)n + 1);
}

static void covariance_path(struct gdfo_cma *s, int h_sigma)
{
    double c = s->p.c_c;
    double gain = h_sigma ? sqrt(c * (2 - c) * s->p.mu_eff) : 0;
    for (size_t i = 0; i < s->p.n; i++) {
        s->path_c[i] = (1 - c) * s->path_c[i] + gain * s->shift[i];
    }
}

/* Mahalanobis length of the step of rank k. With a factor, that of a candidate of our own is known
 * from the draw; z holds the whitened steps otherwise. */
static double ranked_length(struct gdfo_cma *s, const struct gdfo_optim_told *told, size_t k)
{
    size_t n = s->p.n;
    double drawn = s->length[told->order[k]];
    if (told->is_asked && s->m.is_factored) {
        if (drawn > 0) {
            return drawn;
        }
        gdfo_cma_model_whiten(&s->m, s->y + k * n, s->z + k * n, 1);
    }
    return norm(s->z + k * n, n);
}

/* A negative weight acts on a step of Mahalanobis length sqrt(n), however long it is: this keeps C
 * positive definite. */
static void scale_negative_weights(struct gdfo_cma *s, const struct gdfo_optim_told *told)
{
    size_t n = s->p.n;
    size_t first = s->p.mu;
    while (first < s->p.lambda && !(s->w[first] < 0)) {
        first++;
    }
    if (first < s->p.lambda && !(told->is_asked && s->m.is_factored)) {
        gdfo_cma_model_whiten(&s->m, s->y + first * n, s->z + first * n, s->p.lambda - first);
    }
    for (size_t k = first; k < s->p.lambda; k++) {
        double length = ranked_length(s, told, k) + 1e-9; /* pycma's guard against a zero step */
        s->w[k] *= (double)n / (length * length);
    }
}

static void learn_covariance(struct gdfo_cma *s, const struct gdfo_optim_told *told, int h_sigma)
{
    size_t n = s->p.n;
    size_t lambda = s->p.lambda;
    double lost = h_sigma ? 0 : s->p.c_c * (2 - s->p.c_c); /* variance that path_c did not get */
    struct gdfo_cma_outer u = {.y = s->y, .weights = s->w, .rows = lambda + 1, .scratch = s->z};
    double total = 0;
    if (s->p.opt.covariance == GDFO_CMA_NONE) {
        return;
    }
    for (size_t k = 0; k < lambda; k++) {
        total += s->w[k];
    }
    u.decay = 1 - s->p.c_1 * (1 - lost) - s->p.c_mu * total;
    scale_negative_weights(s, told);
    for (size_t k = 0; k < lambda; k++) {
        s->w[k] *= s->p.c_mu;
    }
    s->w[lambda] = s->p.c_1;
    memcpy(s->y + lambda * n, s->path_c, n * sizeof *s->y);
    gdfo_cma_model_update(&s->m, &s->p, &u);
}

/* Log change of the step size by the length of path_sigma. */
static double csa_change(const struct gdfo_cma *s)
{
    double n = (double)s->p.n;
    double squared = gdfo_la_dot(s->path_sigma, s->path_sigma, s->p.n);
    double rate = s->p.c_sigma / s->p.d_sigma;
    if (s->p.opt.reference == GDFO_CMA_PURECMA) {
        return fmin(1, rate * (squared / n - 1) / 2);
    }
    return fmax(-1, fmin(1, rate * (sqrt(squared) / s->p.chi_n - 1)));
}

static double n_better(const struct gdfo_optim_told *told, size_t lambda, double loss)
{
    double n = 0;
    for (size_t i = 0; i < lambda; i++) {
        n += told->losses[i] < loss ? 1 : 0;
    }
    return n;
}

/* Log change by the ranks of the two probes, the first two candidates (pycma's rule). In the first
 * generation there are none and the first two candidates stand in, as in pycma. */
static double tpa_change(struct gdfo_cma *s, const struct gdfo_optim_told *told, int has_probes)
{
    double difference;
    if (!has_probes) {
        return 0; /* the mean did not move */
    }
    difference =
        n_better(told, s->p.lambda, told->losses[1]) - n_better(told, s->p.lambda, told->losses[0]);
    difference /= (double)s->p.lambda - 1;
    s->tpa_sum = 0.7 * s->tpa_sum + 0.3 * copysign(sqrt(fabs(difference)), difference);
    return s->tpa_sum / s->p.d_tpa;
}

static void adapt_step_size(struct gdfo_cma *s, const struct gdfo_optim_told *told, int has_probes)
{
    double change =
        s->p.opt.step_size == GDFO_CMA_STEP_TPA ? tpa_change(s, told, has_probes) : csa_change(s);
    double most = s->p.opt.step_size_init * STEP_SIZE_GROWTH_MAX;
    s->step_size = fmax(fmin(s->step_size * exp(change), most), 1e-150);
}

static void move_mean(struct gdfo_cma *s)
{
    for (size_t i = 0; i < s->p.n; i++) {
        s->shift[i] *= s->step_size;
        s->mean[i] += s->shift[i];
    }
}

void gdfo_cma_tell(struct gdfo_cma *s, const struct gdfo_optim_told *told)
{
    int has_probes = s->n_tells == 0 || gdfo_cma_has_probes(s);
    int h_sigma;
    gdfo_cma_model_refresh(&s->m, &s->p);
    ranked_steps(s, told);
    ranked_weights(s, told);
    s->n_tells++;
    recombine(s);
    h_sigma = step_path(s);
    covariance_path(s, h_sigma);
    move_mean(s); /* in units of the old step size */
    learn_covariance(s, told, h_sigma);
    adapt_step_size(s, told, has_probes);
}
