/* report.html: one file without a script or anything from elsewhere; colours follow the reader's
 * light or dark preference. */
#include "client/cli/bench/plot.h"
#include "client/cli/bench/report_priv.h"
#include "client/cli/bench/report_text.h"
#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The eight colours are Okabe and Ito's (2008) for colour-blind readers, some darkened for white.
 */
static const char style[] =
    ":root{--ink:#1d2329;--soft:#5b6670;--line:#d9dee3;--page:#fff;--card:#f7f8fa;--good:#e2f2e6;"
    "--bad:#fbe6e3;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8578f;--c4:#c28500;--c5:#3f9fd8;"
    "--c6:#6b4fa0;--c7:#7a5c3e;--c8:#5b6670;--c9:#99a3ad}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b0;--line:#343c44;"
    "--page:#15191d;--card:#1c2126;--good:#17351f;--bad:#43201c;--c0:#4aa8e0;--c1:#f0813a;"
    "--c2:#2fc79a;--c3:#e08abb;--c4:#eab13a;--c5:#8fcdf5;--c6:#a98fe0;--c7:#c9a27c;--c8:#9aa5b0;"
    "--c9:#6d7781}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    "main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 8px}"
    "h2{font-size:20px;margin:38px 0 10px;padding-top:14px;border-top:1px solid var(--line)}"
    "h3{font-size:16px;margin:20px 0 6px}p{margin:6px 0;max-width:88ch;color:var(--soft)}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:12px;"
    "margin:10px 0}svg.plot{width:100%;background:var(--card);border:1px solid var(--line);"
    "border-radius:8px}.name{font-size:13px;font-weight:600;fill:var(--ink)}"
    ".tick,.label{font-size:11px;fill:var(--soft)}.grid{stroke:var(--line);fill:none}"
    ".axis{stroke:var(--soft);fill:none}.line{stroke:var(--c);fill:none;stroke-width:2}"
    ".band{fill:var(--c);opacity:.13;stroke:none}.mark{fill:var(--c);stroke:var(--page);"
    "stroke-width:.6}.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0;padding:0;"
    "list-style:none;font-size:14px}.legend li{display:flex;align-items:center;gap:7px;"
    "cursor:default}svg.key{width:30px;height:12px}"
    ".wide{overflow-x:auto;margin:10px 0}table{border-collapse:collapse;font-size:13.5px;"
    "font-variant-numeric:tabular-nums}th,td{padding:4px 10px;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600;"
    "border-bottom:2px solid var(--line)}.text{text-align:left}td.base{color:var(--soft)}"
    "td.better{background:var(--good)}td.worse{background:var(--bad)}"
    "tbody tr:hover td{background:var(--card)}details{margin:8px 0}summary{cursor:pointer;"
    "color:var(--soft)}";

/* ---- plots ---- */

static const struct axis {
    enum gdfo_grid_measure measure;
    const char *label;
} axes[] = {{GDFO_GRID_EVALS, "calls (one prompt on the training rows)"},
            {GDFO_GRID_SAMPLES, "samples asked, dev checks included"},
            {GDFO_GRID_TOKENS, "tokens, dev checks included"}};

static void put_tip(struct gdfo_plot_point *p, const struct gdfo_grid_series *s,
                    const struct gdfo_stats *y)
{
    char mean[GDFO_REPORT_NUMBER_BYTES], sd[GDFO_REPORT_NUMBER_BYTES], at[48] = "";
    if (!s->is_baseline) {
        (void)snprintf(at, sizeof at, " at %.6g", p->x);
    }
    (void)snprintf(p->tip, sizeof p->tip, "%s%s: %s \xC2\xB1 %s (%zu seed%s)", s->label, at,
                   gdfo_report_number(y->mean, 3, mean), gdfo_report_number(y->sd, 3, sd), y->n,
                   y->n == 1 ? "" : "s");
}

static void fill_line(const struct gdfo_grid *g, size_t series, size_t place,
                      enum gdfo_grid_measure x, enum gdfo_grid_measure y,
                      struct gdfo_plot_line *line)
{
    const struct gdfo_grid_series *s = &g->series[series];
    line->n = 0;
    line->style = s->is_baseline ? GDFO_PLOT_LINES_MAX + s->method : series;
    line->is_rule = s->is_baseline;
    for (size_t i = 0; i < (s->is_baseline ? 1 : g->b->plan->n_budgets); i++) {
        struct gdfo_plot_point *p = &line->points[line->n];
        size_t n_places, n_x;
        struct gdfo_stats at = gdfo_report_stats(g, series, place, i, y, &n_places);
        p->x = s->is_baseline ? 0.0 : gdfo_report_stats(g, series, place, i, x, &n_x).mean;
        if (at.n == 0 || !isfinite(p->x) || (place == g->n_places && n_places < g->n_places)) {
            continue; /* a mean over some of the tasks is no point of the others' line */
        }
        p->y = at.mean;
        p->spread = at.sd;
        put_tip(p, s, &at);
        line->n++;
    }
}

static void put_plots(const struct gdfo_grid *g, struct gdfo_buf *out, size_t place)
{
    static const char *const names[] = {"test accuracy", "test loss"};
    struct gdfo_plot plot = {.n_lines = g->n_series};
    plot.lines = gdfo_mem_array(g->n_series, sizeof *plot.lines);
    if (!plot.lines) {
        out->is_broken = 1;
        return;
    }
    gdfo_buf_add(out, "<div class=\"plots\">\n");
    for (int y = GDFO_GRID_ACCURACY; y <= GDFO_GRID_LOSS; y++) {
        for (size_t a = 0; a < sizeof axes / sizeof axes[0]; a++) {
            for (size_t s = 0; s < g->n_series; s++) {
                fill_line(g, s, place, axes[a].measure, (enum gdfo_grid_measure)y, &plot.lines[s]);
            }
            plot.title = names[y];
            plot.x_label = axes[a].label;
            gdfo_plot_svg(&plot, out);
        }
    }
    gdfo_buf_add(out, "</div>\n");
    gdfo_mem_free(plot.lines);
}

static size_t style_of(const struct gdfo_grid *g, size_t series)
{
    const struct gdfo_grid_series *s = &g->series[series];
    return s->is_baseline ? GDFO_PLOT_LINES_MAX + s->method : series;
}

static void put_legend(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    gdfo_buf_add(out, "<ul class=\"legend\">");
    for (size_t s = 0; s < g->n_series; s++) {
        gdfo_buf_addf(out, "<li class=\"l%zu\">", style_of(g, s));
        gdfo_plot_key(style_of(g, s), g->series[s].is_baseline, out);
        gdfo_doc_html_text(out, g->series[s].label);
        gdfo_buf_add(out, "</li>");
    }
    gdfo_buf_add(out, "</ul>\n");
}

/* Pointing at a legend's entry dims the other lines of its section. */
static void put_style(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    gdfo_buf_add(out, "<style>");
    gdfo_buf_add(out, style);
    for (int i = 0; i < GDFO_PLOT_COLORS + 2; i++) {
        gdfo_buf_addf(out, ".c%d{--c:var(--c%d)}", i, i);
    }
    for (size_t s = 0; s < g->n_series; s++) {
        gdfo_buf_addf(out, "section:has(.l%zu:hover) .k:not(.k%zu){opacity:.12}", style_of(g, s),
                      style_of(g, s));
    }
    gdfo_buf_add(out, "</style>");
}

/* ---- the page ---- */

static void put_place(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place)
{
    char label[128];
    gdfo_report_place(g, place, label, sizeof label);
    gdfo_buf_add(d->out, "<section>\n");
    gdfo_doc_heading(d, 2, label);
    put_legend(g, d->out);
    put_plots(g, d->out, place);
    gdfo_report_overview(g, d, place);
    gdfo_buf_add(d->out, "<details><summary>Every number</summary>\n");
    gdfo_report_details(g, d, place);
    gdfo_buf_add(d->out, "</details></section>\n");
}

void gdfo_report_html(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    struct gdfo_doc d = {.out = out, .is_html = 1};
    gdfo_buf_add(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      "<title>gdfo bench: ");
    gdfo_doc_html_text(out, g->b->plan->name);
    gdfo_buf_add(out, "</title>");
    put_style(g, out);
    gdfo_buf_add(out, "</head><body><main>\n<h1>gdfo bench: ");
    gdfo_doc_html_text(out, g->b->plan->name);
    gdfo_buf_add(out, "</h1>\n");
    gdfo_report_summary(g, &d);
    if (g->n_places > 1) {
        put_place(g, &d, g->n_places);
    }
    for (size_t i = 0; i < g->n_places; i++) {
        put_place(g, &d, i);
    }
    gdfo_report_differences(g, &d);
    gdfo_report_costs(g, &d);
    gdfo_report_faults(g, &d);
    gdfo_report_reading(g, &d);
    gdfo_buf_add(out, "</main></body></html>\n");
}
