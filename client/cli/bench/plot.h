#ifndef GDFO_CLIENT_CLI_BENCH_PLOT_H
#define GDFO_CLIENT_CLI_BENCH_PLOT_H

#include "common/buf.h"

#include <stddef.h>

/*
 * One chart as SVG: a line each for what was measured at several x, with a band of its spread, and
 * dashed rules for what has no x. Colours come from the page: classes c0..c7 by style, and every
 * mark of a line carries k<style>, so that a legend can point at it.
 */
#define GDFO_PLOT_POINTS_MAX 32
#define GDFO_PLOT_LINES_MAX  140
#define GDFO_PLOT_COLORS     8
#define GDFO_PLOT_TIP_BYTES  200

struct gdfo_plot_point {
    double x, y, spread; /* spread NAN: none known */
    char tip[GDFO_PLOT_TIP_BYTES];
};

struct gdfo_plot_line {
    struct gdfo_plot_point points[GDFO_PLOT_POINTS_MAX]; /* x rising */
    size_t n;
    size_t style;
    int is_rule; /* points[0].y across the whole width */
};

struct gdfo_plot {
    const char *title, *x_label;
    struct gdfo_plot_line *lines;
    size_t n_lines;
};

/* Nothing but a note when no point is there. */
void gdfo_plot_svg(const struct gdfo_plot *plot, struct gdfo_buf *out);

/* The sample of a style for a legend: a short line with its mark, as an SVG of its own. */
void gdfo_plot_key(size_t style, int is_rule, struct gdfo_buf *out);

/* Round numbers inside [low, high], about n of them; at most max. *n_out of them in ticks. */
void gdfo_plot_ticks(double low, double high, int n, double *ticks, size_t max, size_t *n_out);

#endif
