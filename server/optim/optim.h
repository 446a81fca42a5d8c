#ifndef GDFO_SERVER_OPTIM_OPTIM_H
#define GDFO_SERVER_OPTIM_OPTIM_H

#include "common/buf.h"
#include "common/error.h"
#include "common/opt.h"
#include "common/rng.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Derivative-free search by ask and tell. The caller's loop is: ask for a population, evaluate it
 * as it likes, tell the losses (lower is better), look whether to stop. Nothing here calls back, so
 * the caller can batch, persist, pause and cancel. All in double; owner thread only; same seed,
 * machine and build: same bytes. After creation ask and tell allocate nothing.
 *
 *   struct gdfo_optim_spec spec = {.name = "cma", .dim = 500, .seed = 42};
 *   gdfo_optim_create(&o, &spec, &err);
 *   while (gdfo_optim_stop(o) == GDFO_OPTIM_STOP_NONE) {
 *       gdfo_optim_ask(o, candidates, &err);          [popsize][dim]
 *       ... losses[popsize] ...
 *       gdfo_optim_tell(o, losses, &err);
 *   }
 *
 * Options: look the optimiser up with gdfo_optim_find, fill values_bytes bytes through its option
 * table (gdfo_opt_defaults, gdfo_opt_set_json) and hand them over in the spec.
 *
 * Losses that are not finite are ranked behind all others and never enter the state. A generation
 * without one finite loss changes nothing but the counters.
 */
#define GDFO_OPTIM_DIM_MAX     16384
#define GDFO_OPTIM_POPSIZE_MAX 1024

struct gdfo_optim;
struct gdfo_optim_ops;

/* Why a search should end; a tolerance means the same for every optimiser. */
enum gdfo_optim_stop {
    GDFO_OPTIM_STOP_NONE = 0,
    GDFO_OPTIM_STOP_TARGET,     /* best loss <= target */
    GDFO_OPTIM_STOP_MAX_EVALS,  /* candidates told >= max_evals */
    GDFO_OPTIM_STOP_FLAT,       /* all candidates the same loss, flat_generations times in a row */
    GDFO_OPTIM_STOP_TOL_FUN,    /* losses of the last generations within tol_fun */
    GDFO_OPTIM_STOP_TOL_X,      /* largest standard deviation below tol_x */
    GDFO_OPTIM_STOP_STAGNATION, /* no new best for stagnation_generations */
    GDFO_OPTIM_STOP_CONDITION   /* condition number of the covariance past condition_max */
};

/* A member that is 0 takes the default of method.md 9.5, a negative one is off. */
struct gdfo_optim_stop_rules {
    int has_target;
    double target;
    double max_evals;              /* default off */
    double flat_generations;       /* default 20 (ours) */
    double tol_fun;                /* default 1e-11 */
    double tol_x;                  /* default 1e-11 */
    double stagnation_generations; /* default 100 + 100 dim^1.5 / popsize */
    double condition_max;          /* default 1e14 */
};

struct gdfo_optim_spec {
    const char *name;    /* NULL = "cma" */
    const void *values;  /* options as the table of this optimiser stores them; NULL = defaults */
    size_t dim;          /* 1..GDFO_OPTIM_DIM_MAX */
    uint64_t seed;       /* all draws come from the stream "optim" of this seed */
    const double *start; /* [dim] first mean; NULL = zeros */
    struct gdfo_optim_stop_rules stop;
};

const struct gdfo_optim_ops *gdfo_optim_find(const char *name); /* NULL when unknown */
size_t gdfo_optim_count(void);
const struct gdfo_optim_ops *gdfo_optim_at(size_t i); /* i < gdfo_optim_count() */

/* *out: owned by caller, ended by gdfo_optim_destroy(). Everything in spec is copied. */
GDFO_MUST_USE enum gdfo_status gdfo_optim_create(struct gdfo_optim **out,
                                                 const struct gdfo_optim_spec *spec,
                                                 struct gdfo_error *err);
void gdfo_optim_destroy(struct gdfo_optim *o);

/*
 * Draws the next population. Points that were injected come first (behind the two probes of the
 * two-point step size), the rest is fresh.
 *
 *   candidates  [popsize][dim] row-major, caller's storage, written on success only
 *   errors      STATE when the last population was not told yet
 */
GDFO_MUST_USE enum gdfo_status gdfo_optim_ask(struct gdfo_optim *o, double *candidates,
                                              struct gdfo_error *err);

/* Tells the losses of the candidates of the last ask. STATE when there was none. */
GDFO_MUST_USE enum gdfo_status gdfo_optim_tell(struct gdfo_optim *o, const double *losses,
                                               struct gdfo_error *err);

/*
 * Tells popsize points of the caller's own with their losses; no ask is needed, an open one is
 * dropped.
 *
 *   is_outside  [popsize], 1 for points that the search did not draw: their steps are cut to a
 *               plausible length and they never shrink the covariance; NULL = none
 *   errors      INVALID for a coordinate that is not finite
 */
GDFO_MUST_USE enum gdfo_status gdfo_optim_tell_points(struct gdfo_optim *o, const double *points,
                                                      const double *losses,
                                                      const unsigned char *is_outside,
                                                      struct gdfo_error *err);

/*
 * Queues an outside point (student optimum, gradient step, old prompt) for the next ask. A step
 * longer than sqrt(dim) standard deviations is rescaled to the length of a fresh sample unless
 * keep_length is set; when told it is cut at sqrt(dim) + 2 dim/(dim + 2) (method.md 9.4).
 *
 *   errors  LIMIT past popsize/4 (at least 1) queued points; STATE while a population is out;
 *           INVALID for a coordinate that is not finite
 */
GDFO_MUST_USE enum gdfo_status gdfo_optim_inject(struct gdfo_optim *o, const double *point,
                                                 int keep_length, struct gdfo_error *err);

struct gdfo_optim_view {
    size_t dim, popsize;
    uint64_t generation, evals; /* generations told, candidates told */
    double best_loss;           /* infinity while nothing finite was told */
    const double *best;         /* [dim], NULL while nothing finite was told */
    const double *mean;         /* [dim] what the search recommends */
    double step_size, std_max;  /* std_max: largest standard deviation of a coordinate */
    double condition; /* of the covariance, from dimension 128 on an estimate; 1 when none */
    const double *path_sigma, *path_c; /* [dim], NULL where the optimiser has none */
    const double *covariance; /* [dim][dim] lower triangle, or NULL; from dimension 128 on as of the
                                 last root */
    const double *variances;  /* [dim] when the covariance is diagonal, or NULL */
};

/* Borrowed until the next call on o. */
struct gdfo_optim_view gdfo_optim_view(const struct gdfo_optim *o);

enum gdfo_optim_stop gdfo_optim_stop(const struct gdfo_optim *o);
const char *gdfo_optim_stop_name(enum gdfo_optim_stop reason); /* "tol_x"; static storage */

/*
 * The whole state, random stream and a population that is out included: a loaded optimiser goes on
 * bit by bit as the saved one would. save appends to buf (check gdfo_buf_ok). load needs an
 * optimiser created with the same spec and leaves it alone on failure.
 *
 *   errors  CORRUPT for bytes that are cut, changed or not ours; CONFLICT for a state of another
 *           optimiser, dimension, population or option value
 */
void gdfo_optim_save(const struct gdfo_optim *o, struct gdfo_buf *buf);
GDFO_MUST_USE enum gdfo_status gdfo_optim_load(struct gdfo_optim *o, const void *bytes, size_t n,
                                               struct gdfo_error *err);

#endif
