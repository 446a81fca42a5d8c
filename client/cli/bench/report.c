#include "client/cli/bench/report_priv.h"
#include "client/cli/bench/report_text.h"
#include "common/file.h"

#include <math.h>
#include <stdio.h>

#define REPORT_MAX_BYTES ((size_t)256 << 20)

struct gdfo_stats gdfo_report_stats(const struct gdfo_grid *g, size_t series, size_t place,
                                    size_t budget, enum gdfo_grid_measure measure, size_t *n_places)
{
    struct gdfo_stats s;
    if (place == g->n_places) {
        return gdfo_grid_mean(g, series, budget, measure, n_places);
    }
    s = gdfo_grid_at(g, series, place, budget, measure);
    *n_places = s.n > 0;
    return s;
}

void gdfo_report_place(const struct gdfo_grid *g, size_t place, char *out, size_t size)
{
    if (place == g->n_places) {
        (void)snprintf(out, size, "Mean over %zu tasks", g->n_places);
    } else {
        gdfo_grid_place_label(g, place, out, size);
    }
}

const char *gdfo_report_number(double v, int n_digits, char out[GDFO_REPORT_NUMBER_BYTES])
{
    if (isfinite(v)) {
        (void)snprintf(out, GDFO_REPORT_NUMBER_BYTES, "%.*f", n_digits, v);
    } else {
        (void)snprintf(out, GDFO_REPORT_NUMBER_BYTES, "-");
    }
    return out;
}

void gdfo_report_markdown(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    struct gdfo_doc d = {.out = out};
    char title[256];
    (void)snprintf(title, sizeof title, "gdfo bench: %s", g->b->plan->name);
    gdfo_buf_addf(out, "# %s\n\n", title);
    gdfo_report_summary(g, &d);
    for (size_t i = 0; i < g->n_places + (g->n_places > 1); i++) {
        size_t place = g->n_places > 1 ? (i ? i - 1 : g->n_places) : i; /* the mean first */
        char label[128];
        gdfo_report_place(g, place, label, sizeof label);
        gdfo_doc_heading(&d, 2, label);
        gdfo_report_overview(g, &d, place);
        gdfo_report_details(g, &d, place);
    }
    gdfo_report_differences(g, &d);
    gdfo_report_costs(g, &d);
    gdfo_report_faults(g, &d);
    gdfo_report_reading(g, &d);
}

static int write_part(struct gdfo_bench *b, const struct gdfo_grid *g, const char *name,
                      void (*part)(const struct gdfo_grid *g, struct gdfo_buf *out))
{
    char path[GDFO_BENCH_PATH_BYTES + 32];
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    enum gdfo_status status;
    gdfo_buf_init(&text, REPORT_MAX_BYTES);
    part(g, &text);
    (void)snprintf(path, sizeof path, "%s/%s", b->folder, name);
    status = gdfo_buf_ok(&text) ? gdfo_file_write(path, text.data, text.len, &err)
                                : gdfo_error_no_memory(&err, name);
    gdfo_buf_deinit(&text);
    if (status != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    if (!b->cli->is_json) {
        (void)fprintf(b->cli->out, "%s\n", path);
    }
    return 0;
}

int gdfo_bench_report(struct gdfo_bench *b)
{
    struct gdfo_grid *g = NULL;
    struct gdfo_error err = {0};
    int code;
    if (gdfo_grid_create(&g, b, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    code = write_part(b, g, "results.csv", gdfo_report_results_csv);
    code = code ? code : write_part(b, g, "differences.csv", gdfo_report_differences_csv);
    code = code ? code : write_part(b, g, "report.md", gdfo_report_markdown);
    code = code ? code : write_part(b, g, "report.html", gdfo_report_html);
    gdfo_grid_destroy(g);
    return code;
}
