#ifndef GDFO_SERVER_OPTIM_CMA_CMA_PRIV_H
#define GDFO_SERVER_OPTIM_CMA_CMA_PRIV_H

#include "server/num/la.h"
#include "server/num/la_factor.h"
#include "server/optim/optim_ops.h"

/*
 * DESIGN. CMA-ES as in Hansen's tutorial (arXiv 1604.00772), with the constants of pycma (default)
 * or of its teaching version purecma. Five files, from the bottom up:
 *
 *   params.c   strategy constants from dimension, population and options; never change in a run
 *   model.c    the covariance C and its square root: full (C = B D^2 B^T, or C = R^T R), diagonal,
 *              or none
 *   model_io.c the saved state of the model
 *   update.c   one tell: mean, paths, C, step size
 *   cma.c      the plug-in: sampling, injection, probes, saved state
 *
 * Points live in x, steps y = (x - mean)/step_size, whitened steps z = C^-1/2 y.
 *
 * The root of a full C. An eigendecomposition gives all that is needed, but at 500 dimensions it is
 * nine tenths of a generation. Sampling and Mahalanobis lengths are the same with any factor A A^T
 * = C, so a Cholesky factor does; only path_sigma needs the symmetric root, for one vector in a
 * generation, and the Lanczos process gives it to rounding in few products with C while the
 * eigenvalues of C lie within a factor of some ten of each other. When it does not (a long search
 * that has learnt a bad condition), the model goes over to eigenvectors for good. Both roots are
 * the same method: told the same points they give the same mean, paths, C and step size to
 * rounding.
 */
enum gdfo_cma_step_rule { GDFO_CMA_STEP_CSA, GDFO_CMA_STEP_TPA };
enum gdfo_cma_covariance { GDFO_CMA_FULL, GDFO_CMA_DIAGONAL, GDFO_CMA_NONE };
enum gdfo_cma_root { GDFO_CMA_ROOT_AUTO, GDFO_CMA_ROOT_EIGEN, GDFO_CMA_ROOT_FACTOR };
enum gdfo_cma_reference { GDFO_CMA_PYCMA, GDFO_CMA_PURECMA };

struct gdfo_cma_values { /* options */
    int64_t popsize;     /* 0 = 4 + 3 ln dim */
    double step_size_init;
    int step_size;  /* enum gdfo_cma_step_rule */
    int covariance; /* enum gdfo_cma_covariance */
    int reference;  /* enum gdfo_cma_reference */
    int active;
    double eigen_gap; /* generations; 0 = by rule */
    int root;         /* enum gdfo_cma_root */
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
    int is_factored;     /* full: V holds R, and D is not used */
    double *V;           /* full: [n][n], row k is eigenvector k (B transposed), or R */
    double *D;           /* [n] roots of the eigenvalues of C; ones for none */
    double *eigenvalues; /* full: [n] scratch */
    struct gdfo_la_eigen *eigen;
    struct gdfo_la_factor *factor; /* NULL where the root is always by eigenvectors */
    /* Factored: C stays the one that R belongs to; later updates wait here for the next root, which
     * is one large product for many small ones, and leaves C to the Lanczos process. */
    double *pending;         /* [pending_max][n] steps */
    double *pending_scratch; /* [pending_max][n] */
    double *pending_weights; /* [pending_max] */
    size_t n_pending, pending_max;
    double pending_decay;           /* of C, from all of them */
    double *variances;              /* [n] diagonal of C with what is pending */
    double ritz_least, ritz_most;   /* factored: estimates of the extreme eigenvalues of C */
    uint64_t n_updates, last_eigen; /* updates of C so far, and at the last decomposition */
};

GDFO_MUST_USE int gdfo_cma_model_init(struct gdfo_cma_model *m, const struct gdfo_cma_params *p);
void gdfo_cma_model_deinit(struct gdfo_cma_model *m);
int gdfo_cma_model_is_due(const struct gdfo_cma_model *m, const struct gdfo_cma_params *p);
/* Takes the root of C when the gap has passed. */
void gdfo_cma_model_refresh(struct gdfo_cma_model *m, const struct gdfo_cma_params *p);
/* y = A z for rows, where A A^T = C: B D or R^T; z is overwritten. */
void gdfo_cma_model_colour(const struct gdfo_cma_model *m, double *z, double *y, size_t rows);
/* z = A^-1 y for rows: the norm of a row is the step's Mahalanobis length. */
void gdfo_cma_model_whiten(const struct gdfo_cma_model *m, const double *y, double *z, size_t rows);
/* out = C^-1/2 y for one row, with the symmetric root; scratch [n]. May change the kind of root. */
void gdfo_cma_model_standardise(struct gdfo_cma_model *m, const double *y, double *out,
                                double *scratch);
/* C = decay C + sum_k weights[k] y_k y_k^T; scratch [rows][n]. Factored: C takes it on when the
 * next root is due. */
struct gdfo_cma_outer {
    const double *y; /* [rows][n] */
    const double *weights;
    size_t rows;
    double decay;
    double *scratch;
};
void gdfo_cma_model_update(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                           const struct gdfo_cma_outer *u);
void gdfo_cma_model_save(const struct gdfo_cma_model *m, struct gdfo_buf *b);
void gdfo_cma_model_load(struct gdfo_cma_model *m, const struct gdfo_cma_params *p,
                         struct gdfo_optim_reader *r);
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
    double *length; /* [lambda] Mahalanobis length of the candidates asked, 0 = not known */
};

void gdfo_cma_tell(struct gdfo_cma *s, const struct gdfo_optim_told *told);
int gdfo_cma_has_probes(const struct gdfo_cma *s); /* the next population starts with two probes */

#endif
