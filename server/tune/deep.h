#ifndef GDFO_SERVER_TUNE_DEEP_H
#define GDFO_SERVER_TUNE_DEEP_H

#include "server/optim/optim.h"
#include "server/prompt/projection.h"
#include "server/tune/coordinate.h"
#include "server/tune/search.h"

/*
 * The deep part of the search core: a prompt of its own for the input and for further layers, which
 * are searched one after the other, bottom first (BBTv2; method.md 2), and bbt-rgb's second stage
 * (method.md 3). A flat prompt is [layers][P][H], the input first. Members of struct gdfo_search
 * beside: centre is p0 at the input and zero at every deeper layer. Owner thread only.
 *
 * Each layer has a CMA-ES and a projection; a candidate is the prompt so far with one layer's rows
 * replaced, and after its generation a layer keeps A times its best-ever z. One generation of each
 * layer is a round.
 *
 * Small budgets. The original spends 320 evals on each of 24 layers. Here a layer is searched only
 * where the budget has two generations for it: `layers` 0 takes as many, spread evenly from the
 * input up; named layers shrink the generations instead, to four candidates at least.
 */
struct gdfo_search;

struct gdfo_deep {
    uint32_t n;     /* layers searched, the input included */
    uint32_t *ids;  /* [n], ids[0] = 0 */
    size_t n_rows;  /* floats of one layer's rows: P x H */
    double *std;    /* [n] of what enters each; std[0]: of the embedding matrix */
    int has_std;    /* those of deeper layers are known, and the projections made */
    float *current; /* [n][P][H] */
    float *scratch; /* [popsize][P][H] */
    struct gdfo_projection **projections; /* [n] */
    struct gdfo_optim **optims;           /* [n] */
    uint32_t at;                          /* layer of the next generation */
    /* second stage */
    int64_t evals_at_stage1_end, n_stage2_evals;
    int is_over; /* no coordinate is left */
    uint32_t coordinate_layer;
    struct gdfo_coordinate coordinate; /* of its layer; pole_loss NaN: not evaluated yet */
    int64_t n_layer_evals;             /* spent on its layer */
};

/* Chooses layers and generation size and makes all that needs no call. s is set up as far as its
 * options, caps and width. */
GDFO_MUST_USE enum gdfo_status gdfo_deep_plan(struct gdfo_search *s, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_deep_build(struct gdfo_search *s, struct gdfo_error *err);
void gdfo_deep_destroy(struct gdfo_deep *d); /* NULL is fine */

/* After the first prompt is known (s->centre): measures how hidden states spread, if more than the
 * input is searched, and makes the projections. */
GDFO_MUST_USE enum gdfo_status gdfo_deep_start(struct gdfo_search *s, struct gdfo_report *r,
                                               struct gdfo_error *err);
/* For another step of the stage: a coordinate is one eval, a generation popsize of them. */
int gdfo_deep_has_room(const struct gdfo_search *s);

/* One generation of one layer; a few coordinates of one layer. Losses go to s->losses [*n]. */
GDFO_MUST_USE enum gdfo_status gdfo_deep_generation(struct gdfo_search *s, struct gdfo_report *r,
                                                    struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_deep_coordinates(struct gdfo_search *s, struct gdfo_report *r,
                                                     struct gdfo_error *err);

/* What deep methods' ops->create and ops->check point at. */
GDFO_MUST_USE enum gdfo_status gdfo_deep_check(const void *options, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_deep_search_create(void **self, const struct gdfo_tune_env *env,
                                                       const void *options, struct gdfo_error *err);

void gdfo_deep_save(const struct gdfo_deep *d, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_deep_load(struct gdfo_search *s, const void *bytes, size_t n,
                                              struct gdfo_error *err);

#endif
