#ifndef GDFO_CLIENT_CLI_BENCH_GRID_H
#define GDFO_CLIENT_CLI_BENCH_GRID_H

#include "client/cli/bench/bench.h"
#include "client/cli/bench/stats.h"

/*
 * The results as a report sees them. A *series* is one method under one variant of its prompt, or a
 * baseline; a *place* is one task under one model. A value that is missing (not run, failed, or not
 * said by the job) is NAN and takes part in nothing.
 */
#define GDFO_GRID_LABEL_BYTES 96
#define GDFO_GRID_SERIES_MAX  (GDFO_BENCH_METHODS_MAX * 2 + GDFO_BENCH_VARIANTS_MAX)

enum gdfo_grid_measure {
    GDFO_GRID_ACCURACY,
    GDFO_GRID_LOSS,
    GDFO_GRID_EVALS,       /* papers' calls: one prompt on the training rows */
    GDFO_GRID_SAMPLES,     /* queries, dev checks included */
    GDFO_GRID_QUERIES,     /* without them */
    GDFO_GRID_DEV_QUERIES, /* they alone */
    GDFO_GRID_REQUESTS,    /* calls of the ledger */
    GDFO_GRID_TOKENS,
    GDFO_GRID_SECONDS,
    GDFO_GRID_STUDENT_SECONDS,
    GDFO_GRID_COSINE_FIRST,
    GDFO_GRID_COSINE_LAST,
    GDFO_GRID_COSINE_MEAN,
    GDFO_GRID_TAU_FIRST,
    GDFO_GRID_TAU_LAST,
    GDFO_GRID_TAU_MEAN
};

struct gdfo_grid_series {
    char label[GDFO_GRID_LABEL_BYTES];
    int is_baseline; /* the same at every budget */
    size_t method;
    const char *variant;
};

struct gdfo_grid {
    const struct gdfo_bench *b;
    struct gdfo_grid_series series[GDFO_GRID_SERIES_MAX];
    size_t n_series, n_places; /* baselines last */
    size_t n_dropped;          /* series past the ceiling */
    const struct gdfo_bench_result **rows;
    const struct gdfo_bench_baseline **baselines; /* [n_places][n_seeds][n_baselines] */
};

GDFO_MUST_USE enum gdfo_status gdfo_grid_create(struct gdfo_grid **out, const struct gdfo_bench *b,
                                                struct gdfo_error *err);
void gdfo_grid_destroy(struct gdfo_grid *g); /* NULL is fine */

void gdfo_grid_place_label(const struct gdfo_grid *g, size_t place, char *out, size_t size);
/* The row of a cell, NULL when there is none. */
const struct gdfo_bench_result *gdfo_grid_row(const struct gdfo_grid *g, size_t place,
                                              size_t method, size_t seed, size_t budget);

/* Over the seeds of one place. */
struct gdfo_stats gdfo_grid_at(const struct gdfo_grid *g, size_t series, size_t place,
                               size_t budget, enum gdfo_grid_measure measure);
/*
 * The mean over places, then over seeds: a seed counts when it has every place that any seed has.
 * *n_places: how many these are.
 */
struct gdfo_stats gdfo_grid_mean(const struct gdfo_grid *g, size_t series, size_t budget,
                                 enum gdfo_grid_measure measure, size_t *n_places);
/* a - b over all places and seeds that have both. */
struct gdfo_stats_paired gdfo_grid_paired(const struct gdfo_grid *g, size_t a, size_t b,
                                          size_t budget, enum gdfo_grid_measure measure);

#endif
