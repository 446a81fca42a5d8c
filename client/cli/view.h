#ifndef GDFO_CLIENT_CLI_VIEW_H
#define GDFO_CLIENT_CLI_VIEW_H

#include "common/buf.h"
#include "common/json.h"

#include <stddef.h>

/*
 * The live view of one job, as pure text: numbers in, lines out. Nothing here knows terminals,
 * clocks or the wire; the follower draws what this renders.
 */
#define GDFO_VIEW_POINTS 512

struct gdfo_view {
    const char *id, *status, *method, *model, *detail; /* borrowed; NULL: unknown */
    const char *unit;                                  /* "evals" or "queries" */
    double used, cap;                                  /* of unit; NAN: unknown */
    double queries, dev_queries, tokens;
    double elapsed_s, eta_s;
    double loss_best, loss_last; /* of loss_dev, else of loss_train */
    const char *loss_name;
    double accuracy_best, accuracy_last;
    double curve[GDFO_VIEW_POINTS]; /* loss_dev over the calls, oldest first */
    size_t n_curve;
    const char *note; /* the last event's words, or that the connection is lost */
    int width;        /* columns */
    int is_ascii;     /* no block characters */
    int has_color;
};

/* Appends the lines, each ended by \n and at most width columns wide; returns their number. */
int gdfo_view_render(const struct gdfo_view *v, struct gdfo_buf *out);

/* "[#####.....]" of n columns for a share in 0..1; anything else is an empty bar. */
void gdfo_view_bar(double share, int n, int is_ascii, struct gdfo_buf *out);

/* y[0..n) as two rows of `columns` blocks each, resampled by the mean; non-finite points are
 * left out. rows[0] is the upper one. */
void gdfo_view_spark(const double *y, size_t n, int columns, int is_ascii, struct gdfo_buf rows[2]);

/* Fills what a job object says; strings stay the object's. */
void gdfo_view_take_job(struct gdfo_view *v, const struct gdfo_json *job);

/* Fills losses, accuracy and curve from a metrics object. */
void gdfo_view_take_metrics(struct gdfo_view *v, const struct gdfo_json *metrics);

#endif
