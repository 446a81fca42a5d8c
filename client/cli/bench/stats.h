#ifndef GDFO_CLIENT_CLI_BENCH_STATS_H
#define GDFO_CLIENT_CLI_BENCH_STATS_H

#include <stddef.h>

/*
 * The few statistics a report needs. Values that are not finite are missing: they are left out and
 * not counted. What cannot be said of so few values is NAN.
 */
struct gdfo_stats {
    size_t n;
    double mean, sd, se; /* sd with n - 1; NAN below two values */
};

struct gdfo_stats_paired {
    size_t n;                /* pairs of which both sides are there */
    double mean, sd, t_half; /* half the width of the 95 % interval; NAN below two pairs */
};

struct gdfo_stats gdfo_stats_of(const double *values, size_t n);

/* a[i] - b[i] over the pairs, with the interval of Student's t at n - 1 degrees of freedom. */
struct gdfo_stats_paired gdfo_stats_paired(const double *a, const double *b, size_t n);

/* The t below which the share p (0.5 < p < 1) of Student's distribution lies; NAN outside that or
 * for df < 1. To 1e-9, held against scipy in tests/reference/client. */
double gdfo_stats_t_quantile(double p, double df);

#endif
