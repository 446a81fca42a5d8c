#ifndef GDFO_SERVER_OPTIM_CMA_CMA_PRIV_H
#define GDFO_SERVER_OPTIM_CMA_CMA_PRIV_H

#include "server/num/la.h"
#include "server/optim/optim_ops.h"

/*
 * DESIGN. CMA-ES as in Hansen's tutorial (arXiv 1604.00772), with the constants of pycma (default)
 * or of its teaching version purecma. Four files, from the bottom up:
 *
 *   params.c   strategy constants from dimension, population and options; never change in a run
 *   model.c    the covariance C and its square root: full (C = B D^2 B^T), diagonal, or none
 *   update.c   one tell: mean, paths, C, step size
 *   cma.c      the plug-in: sampling, injection, probes, saved state
 *
 * Points live in x, steps y = (x - mean)/step_size, whitened steps z = C^-1/2 y.
 */
enum gdfo_cma_step_rule { GDFO_CMA_STEP_CSA, GDFO_CMA_STEP_TPA };
enum gdfo_cma_covariance { GDFO_CMA_FULL, GDFO_CMA_DIAGONAL, GDFO_CMA_NONE };
enum gdfo_cma_reference { GDFO_CMA_PYCMA, GDFO_CMA_PURECMA };

struct gdfo_cma_values { /* options */
    int64_t popsize;     /* 0 = 4 + 3 ln dim */
    double step_size_init;
    int step_size;  /* enum gdfo_cma_step_rule */
    int covariance; /* enum gdfo_cma_covariance */
    int reference;  /* enum gdfo_cma_reference */
    int active;
    double eigen_gap; /* generations; 0 = by rule */
};

struct gdfo_cma_params {
    struct gdfo_cma_values opt;
    size_t n, lambda, mu;
    double mu_eff;           /* variance-effective number of parents */
    double c_sigma, d_sigma; /* CSA: rate of the path, damping */
    double d_tpa;            /* TPA: damping */
    double c_c, c_1, c_mu;   /* rate of path_c, of the rank-one and of the rank-mu update */
    double chi_n;            /* E||N(0,I)|| */
    double eigen_gap;        /* generations between decompositions */
    double length_max;       /* longest whitened step of an outside point: sqrt(n) + 2n/(n+2) */
    double *weights;         /* [lambda] best first; positive ones sum to 1 */
};

GDFO_MUST_USE int gdfo_cma_params_init(struct gdfo_cma_params *p, const struct gdfo_cma_values *opt,
                                       size_t n); /* 0: memory */
void gdfo_cma_params_deinit(struct gdfo_cma_params *p);
size_t gdfo_cma_popsize(const struct gdfo_cma_values *opt, size_t n);

struct gdfo_cma_model {
    enum gdfo_cma_covariance kind;
    size_t n;
    double *C;           /* full: [n][n], lower triangle; diagonal: [n]; none: NULL */
    double *V;           /* full: [n][n], row k is eigenvector k (B transposed) */
    double *D;           /* [n] roots of the eigenvalues of C; ones for none */
    double *eigenvalues; /* full: [n] scratch */
    struct gdfo_la_eigen *eigen;
    uint64_t n_updates, last_eigen; /* updates of C so far, and at the last decomposition */
};

GDFO_MUST_USE int gdfo_cma_model_init(struct gdfo_cma_model *m, const struct gdfo_cma_params *p);
void gdfo_cma_model_deinit(struct gdfo_cma_model *m);
/* Decomposes C when the gap has passed. */
void gdfo_cma_model_refresh(struct gdfo_cma_model *m, const struct gdfo_cma_params *p);
/* y = B D z for rows; z is overwritten. */
void gdfo_cma_model_colour(const struct gdfo_cma_model *m, double *z, double *y, size_t rows);
/* z = D^-1 B^T y for rows: the norm of a row is the step's Mahalanobis length. */
void gdfo_cma_model_whiten(const struct gdfo_cma_model *m, const double *y, double *z, size_t rows);
/* out = B z for one row, which turns the above into C^-1/2 y. */
void gdfo_cma_model_turn(const struct gdfo_cma_model *m, const double *z, double *out);
/* C = decay C + sum_k weights[k] y_k y_k^T; scratch [rows][n]. */
struct gdfo_cma_outer {
    const double *y; /* [rows][n] */
    const double *weights;
    size_t rows;
    double decay;
    double *scratch;
};
void gdfo_cma_model_update(struct gdfo_cma_model *m, const struct gdfo_cma_outer *u);
double gdfo_cma_model_std_max(const struct gdfo_cma_model *m);
double gdfo_cma_model_condition(const struct gdfo_cma_model *m);

struct gdfo_cma {
    struct gdfo_cma_params p;
    struct gdfo_cma_model m;
    struct gdfo_rng *rng;
    uint64_t n_tells;
    double step_size;
    double tpa_sum;                     /* the smoothed rank difference of the probes */
    double *mean, *path_sigma, *path_c; /* [n] */
    double *shift;                      /* [n] last move of the mean; the probes lie along it */
    double *y, *z;                      /* [lambda + 1][n] scratch */
    double *w;                          /* [lambda + 1] scratch */
};

void gdfo_cma_tell(struct gdfo_cma *s, const struct gdfo_optim_told *told);
int gdfo_cma_has_probes(const struct gdfo_cma *s); /* the next population starts with two probes */

#endif
