#ifndef GDFO_CLIENT_CLI_BENCH_REPORT_TEXT_H
#define GDFO_CLIENT_CLI_BENCH_REPORT_TEXT_H

#include "client/cli/bench/doc.h"
#include "client/cli/bench/grid.h"

/* The words and tables that both reports share. The place n_places is the mean over all. */
void gdfo_report_summary(const struct gdfo_grid *g, struct gdfo_doc *d);
void gdfo_report_overview(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place);
void gdfo_report_details(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place);
void gdfo_report_differences(const struct gdfo_grid *g, struct gdfo_doc *d);
void gdfo_report_costs(const struct gdfo_grid *g, struct gdfo_doc *d);
void gdfo_report_faults(const struct gdfo_grid *g, struct gdfo_doc *d);
void gdfo_report_reading(const struct gdfo_grid *g, struct gdfo_doc *d);

#endif
