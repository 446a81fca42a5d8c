#ifndef GDFO_SERVER_STORE_STORE_METRIC_H
#define GDFO_SERVER_STORE_STORE_METRIC_H

#include "server/store/store.h"

/* Curves of a job, written by gdfo_store_step_commit (store_step.h). */
#define GDFO_STORE_METRIC_NAME_BYTES 64
#define GDFO_STORE_METRIC_POINTS_MAX 1500

enum gdfo_store_axis {
    GDFO_STORE_AXIS_STEP,
    GDFO_STORE_AXIS_EVALS,
    GDFO_STORE_AXIS_QUERIES,
    GDFO_STORE_AXIS_TIME
};

enum gdfo_store_odd {
    GDFO_STORE_FINITE,
    GDFO_STORE_PLUS_INF,
    GDFO_STORE_MINUS_INF,
    GDFO_STORE_NAN
};

/* One bucket of neighbouring points; of one point when there are no more points than buckets. */
struct gdfo_store_bucket {
    double step, evals, queries, at_ms; /* means */
    double mean, min, max;              /* of the finite values; 0 when there are none */
    enum gdfo_store_odd odd;            /* the worst kind among its points */
    int64_t n;
};

struct gdfo_store_metric_query {
    int64_t jid;
    const char *name;
    enum gdfo_store_axis axis; /* what from and to are measured in */
    int has_from, has_to;
    double from, to; /* both included */
    size_t points;   /* 1..GDFO_STORE_METRIC_POINTS_MAX buckets: the size of the caller's array */
};

/* Names in use by the job, in alphabetical order; at most max. */
GDFO_MUST_USE enum gdfo_status gdfo_store_metric_names(struct gdfo_store *s, int64_t jid,
                                                       char (*out)[GDFO_STORE_METRIC_NAME_BYTES],
                                                       size_t max, size_t *n,
                                                       struct gdfo_error *err);
/* *total: points in range before they were put into buckets. An unknown name gives none. */
GDFO_MUST_USE enum gdfo_status gdfo_store_metric_series(struct gdfo_store *s,
                                                        const struct gdfo_store_metric_query *q,
                                                        struct gdfo_store_bucket *out, size_t *n,
                                                        int64_t *total, struct gdfo_error *err);
/* Every point as it was stored, with step > after_step, at most q->points; the axis and its range
 * are not looked at. For CSV. Here n is 1. */
GDFO_MUST_USE enum gdfo_status gdfo_store_metric_points(struct gdfo_store *s,
                                                        const struct gdfo_store_metric_query *q,
                                                        int64_t after_step,
                                                        struct gdfo_store_bucket *out, size_t *n,
                                                        struct gdfo_error *err);

#endif
