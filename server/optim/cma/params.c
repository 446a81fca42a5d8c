#include "common/mem.h"
#include "server/optim/cma/cma_priv.h"

#include <math.h>

size_t gdfo_cma_popsize(const struct gdfo_cma_values *opt, size_t n)
{
    return opt->popsize > 0 ? (size_t)opt->popsize : 4 + (size_t)(3 * log((double)n));
}

static double sum(const double *x, size_t first, size_t last)
{
    double total = 0;
    for (size_t i = first; i < last; i++) {
        total += x[i];
    }
    return total;
}

static double sum_squares(const double *x, size_t first, size_t last)
{
    return last > first ? gdfo_la_dot(x + first, x + first, last - first) : 0;
}

static void scale(double *x, size_t first, size_t last, double by)
{
    for (size_t i = first; i < last; i++) {
        x[i] *= by;
    }
}

/* w_i = ln((lambda + 1)/2) - ln i, the positive ones normed to sum 1. */
static void raw_weights(struct gdfo_cma_params *p)
{
    double half = log(((double)p->lambda + 1) / 2);
    p->mu = 0;
    for (size_t i = 0; i < p->lambda; i++) {
        p->weights[i] = half - log((double)(i + 1));
        p->mu += p->weights[i] > 0 ? 1 : 0;
    }
    scale(p->weights, 0, p->lambda, 1 / sum(p->weights, 0, p->mu));
    p->mu_eff = 1 / sum_squares(p->weights, 0, p->mu);
}

/*
 * Active CMA: the negative weights are scaled so that the update neither shrinks nor grows C on
 * average, that C stays positive definite, and that their learning rate respects their own
 * effective number (Hansen's tutorial, equations 50 to 53).
 */
static void negative_weights(struct gdfo_cma_params *p)
{
    double negative = -sum(p->weights, p->mu, p->lambda);
    double n = (double)p->n;
    double mu_eff_minus;
    double want;
    if (!p->opt.active || p->opt.reference == GDFO_CMA_PURECMA || !(p->c_mu > 0) ||
        !(negative > 0)) {
        scale(p->weights, p->mu, p->lambda, 0);
        return;
    }
    mu_eff_minus = negative * negative / sum_squares(p->weights, p->mu, p->lambda);
    want = 1 + p->c_1 / p->c_mu;
    want = fmin(want, (1 - p->c_1 - p->c_mu) / p->c_mu / n);
    want = fmin(want, 1 + 2 * mu_eff_minus / (p->mu_eff + 2));
    scale(p->weights, p->mu, p->lambda, want / negative);
}

/* Exact for small n, as pycma tabulates it; a series in 1/n above. */
static double expected_norm(double n, enum gdfo_cma_reference reference)
{
    if (reference == GDFO_CMA_PURECMA) {
        return sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
    }
    if (n <= 6) {
        return sqrt(2) * tgamma((n + 1) / 2) / tgamma(n / 2);
    }
    return sqrt(n) * (1 - 1 / (4 * n) + 1 / (26 * n * n));
}

/* Learning rates of C. A diagonal C has n numbers to learn instead of n^2/2 and may learn
 * (n + 2)/3 times faster (Ros and Hansen, PPSN 2008). */
static void covariance_rates(struct gdfo_cma_params *p)
{
    double n = (double)p->n;
    double mu_eff = p->mu_eff;
    int is_pycma = p->opt.reference == GDFO_CMA_PYCMA;
    double boost = p->opt.covariance == GDFO_CMA_DIAGONAL ? (n + 2) / 3 : 1;
    double offset = is_pycma ? 0.25 : 0;
    p->c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n);
    if (p->opt.covariance == GDFO_CMA_NONE) {
        p->c_1 = 0;
        p->c_mu = 0;
        return;
    }
    p->c_1 = 2 / ((n + 1.3) * (n + 1.3) + mu_eff);
    p->c_1 *= is_pycma ? fmin(1, (double)p->lambda / 6) : 1;
    p->c_mu = 2 * (offset + mu_eff + 1 / mu_eff - 2) / ((n + 2) * (n + 2) + mu_eff);
    p->c_1 = fmin(1, p->c_1 * boost);
    p->c_mu = fmin(1 - p->c_1, p->c_mu * boost);
}

static void step_rates(struct gdfo_cma_params *p)
{
    double n = (double)p->n;
    double mu_eff = p->mu_eff;
    int is_pycma = p->opt.reference == GDFO_CMA_PYCMA;
    p->c_sigma = (mu_eff + 2) / (n + mu_eff + (is_pycma ? 3 : 5));
    if (is_pycma) {
        p->d_sigma = 1 + 2 * fmax(0, sqrt((mu_eff - 1) / (n + 1)) - 1) + p->c_sigma;
    } else {
        p->d_sigma = 2 * mu_eff / (double)p->lambda + 0.3 + p->c_sigma;
    }
    p->d_tpa = 0.7 + 2 * log(n);
    p->chi_n = expected_norm(n, (enum gdfo_cma_reference)p->opt.reference);
    p->length_max = sqrt(n) + 2 * n / (n + 2);
}

/* pycma and purecma decompose after about 1/10 and 1/2 of the time that C needs to change. */
static void decomposition_gap(struct gdfo_cma_params *p)
{
    double n = (double)p->n;
    double learning = p->c_1 + p->c_mu + 1e-23;
    p->eigen_gap = p->opt.reference == GDFO_CMA_PYCMA ? 1 / learning / n / 10 : 0.5 / learning / n;
    if (p->opt.eigen_gap > 0) {
        p->eigen_gap = p->opt.eigen_gap;
    }
}

int gdfo_cma_params_init(struct gdfo_cma_params *p, const struct gdfo_cma_values *opt, size_t n)
{
    *p = (struct gdfo_cma_params){.opt = *opt, .n = n};
    p->lambda = gdfo_cma_popsize(opt, n);
    p->weights = gdfo_mem_array(p->lambda, sizeof *p->weights);
    if (!p->weights) {
        return 0;
    }
    raw_weights(p);
    covariance_rates(p);
    negative_weights(p);
    step_rates(p);
    decomposition_gap(p);
    return 1;
}

void gdfo_cma_params_deinit(struct gdfo_cma_params *p)
{
    gdfo_mem_free(p->weights);
    p->weights = NULL;
}
