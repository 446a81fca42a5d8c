#ifndef GDFO_SERVER_OPTIM_OPTIM_OPS_H
#define GDFO_SERVER_OPTIM_OPTIM_OPS_H

#include "server/optim/optim.h"
#include "server/optim/state_io.h"

/*
 * What one optimiser provides (conventions.md 1.3): a const gdfo_optim_<name>_ops and a line in
 * optim.def. The core (optim.c) keeps the protocol, the ranking, the best point, injection, the
 * stop rules and the frame of the saved state, so a plug-in only draws and learns. All members are
 * required.
 */
struct gdfo_optim_setup {
    const void *values; /* options, borrowed during create */
    size_t dim;
    const double *start;  /* [dim], borrowed during create */
    struct gdfo_rng *rng; /* borrowed until destroy; saved by the core */
};

/* One ask: n_injected points [n_injected][dim] come before fresh ones. */
struct gdfo_optim_draw {
    const double *injected;
    const unsigned char *keep_length; /* [n_injected] */
    size_t n_injected;
    double *candidates;        /* out: [popsize][dim] */
    unsigned char *is_outside; /* out: [popsize], 1 for injected points; zero on entry */
};

/* One tell: popsize points, already ranked. */
struct gdfo_optim_told {
    const double *points;            /* [popsize][dim], all finite */
    const double *losses;            /* [popsize], infinity where the loss was not finite */
    const size_t *order;             /* [popsize] indices, best first, ties in order of index */
    const unsigned char *is_outside; /* [popsize] */
    size_t n_finite;                 /* at least 1 */
    int is_asked;                    /* the points are the candidates of the last ask, unchanged */
};

struct gdfo_optim_ops {
    const char *name;
    const char *help;
    const struct gdfo_opt *options;
    size_t values_bytes;
    size_t (*popsize)(const void *values, size_t dim);
    enum gdfo_status (*create)(void **self, const struct gdfo_optim_setup *setup,
                               struct gdfo_error *err);
    void (*destroy)(void *self); /* NULL is fine */
    void (*ask)(void *self, const struct gdfo_optim_draw *draw);
    void (*tell)(void *self, const struct gdfo_optim_told *told);
    void (*view)(const void *self, struct gdfo_optim_view *view); /* fills mean and what follows */
    void (*save)(const void *self, struct gdfo_buf *buf);
    /* Reads what save wrote; a short or odd state shows in the reader. May leave self half read. */
    void (*load)(void *self, struct gdfo_optim_reader *r);
};

#endif
