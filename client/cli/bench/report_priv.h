#ifndef GDFO_CLIENT_CLI_BENCH_REPORT_PRIV_H
#define GDFO_CLIENT_CLI_BENCH_REPORT_PRIV_H

#include "client/cli/bench/doc.h"
#include "client/cli/bench/grid.h"

/* The parts of a report; each appends to a buffer whose breach is seen at the end. */

/* One row a cell, and every pair of series at every budget. */
void gdfo_report_results_csv(const struct gdfo_grid *g, struct gdfo_buf *out);
void gdfo_report_differences_csv(const struct gdfo_grid *g, struct gdfo_buf *out);

void gdfo_report_html(const struct gdfo_grid *g, struct gdfo_buf *out);
void gdfo_report_markdown(const struct gdfo_grid *g, struct gdfo_buf *out);

/* Over the seeds of a place, or of the mean over all places when place is n_places; *n_places: how
 * many took part. */
struct gdfo_stats gdfo_report_stats(const struct gdfo_grid *g, size_t series, size_t place,
                                    size_t budget, enum gdfo_grid_measure measure,
                                    size_t *n_places);
void gdfo_report_place(const struct gdfo_grid *g, size_t place, char *out, size_t size);

/* A number with so many places, or "-" when it is none. */
#define GDFO_REPORT_NUMBER_BYTES 32
const char *gdfo_report_number(double v, int n_digits, char out[GDFO_REPORT_NUMBER_BYTES]);

#endif
