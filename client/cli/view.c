#include "client/cli/view.h"

#include "client/cli/render.h"

#include <math.h>
#include <string.h>

#define BAR_MIN   10
#define BAR_MAX   40
#define SPARK_MAX 72
#define WIDEN_MAX 6
#define LEVELS    16 /* two rows of eight eighths */

/* ---- pieces ---- */

void gdfo_view_bar(double share, int n, int is_ascii, struct gdfo_buf *out)
{
    int full = 0;
    if (share > 0.0) {
        full = share >= 1.0 ? n : (int)(share * (double)n);
    }
    if (is_ascii) {
        gdfo_buf_addc(out, '[');
    }
    for (int i = 0; i < n; i++) {
        if (is_ascii) {
            gdfo_buf_addc(out, i < full ? '#' : '.');
        } else {
            gdfo_buf_add(out, i < full ? "\xe2\x96\x88" : "\xe2\x96\x91");
        }
    }
    if (is_ascii) {
        gdfo_buf_addc(out, ']');
    }
}

/* The mean of the finite points in y[from..to), NAN without any. */
static double mean_of(const double *y, size_t from, size_t to)
{
    double sum = 0.0;
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        if (isfinite(y[i])) {
            sum += y[i];
            n++;
        }
    }
    return n ? sum / (double)n : (double)NAN;
}

static void range_of(const double *y, size_t n, double *low, double *high)
{
    *low = (double)NAN;
    *high = (double)NAN;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(y[i])) {
            *low = isnan(*low) || y[i] < *low ? y[i] : *low;
            *high = isnan(*high) || y[i] > *high ? y[i] : *high;
        }
    }
}

/* One column of the two rows; level 1..LEVELS, 0 = nothing there. */
static void spark_column(int level, int is_ascii, struct gdfo_buf rows[2])
{
    static const char *const blocks[] = {" ",
                                         "\xe2\x96\x81",
                                         "\xe2\x96\x82",
                                         "\xe2\x96\x83",
                                         "\xe2\x96\x84",
                                         "\xe2\x96\x85",
                                         "\xe2\x96\x86",
                                         "\xe2\x96\x87",
                                         "\xe2\x96\x88"};
    static const char *const ascii[] = {" ", ".", ".", "-", "-", "=", "=", "#", "#"};
    const char *const *table = is_ascii ? ascii : blocks;
    int half = LEVELS / 2;
    gdfo_buf_add(&rows[0], table[level > half ? level - half : 0]);
    gdfo_buf_add(&rows[1], table[level > half ? half : level]);
}

void gdfo_view_spark(const double *y, size_t n, int columns, int is_ascii, struct gdfo_buf rows[2])
{
    double low, high;
    size_t wide = columns > 0 ? (size_t)columns : 0;
    size_t used = n < wide ? n : wide;
    range_of(y, n, &low, &high);
    for (size_t i = 0; i < used; i++) {
        double v = mean_of(y, i * n / used, (i + 1) * n / used);
        int level = 0;
        if (isfinite(v)) {
            double share = high > low ? (v - low) / (high - low) : 0.5;
            level = 1 + (int)(share * (double)(LEVELS - 1) + 0.5);
        }
        spark_column(level, is_ascii, rows);
    }
}

/* ---- from the wire ---- */

static double positive_at(const struct gdfo_json *v, const char *path)
{
    double n = gdfo_cli_number_at(v, path);
    return n > 0.0 ? n : (double)NAN;
}

/* The tightest of the caps a person counts in: evals first, then queries. */
static void take_budget(struct gdfo_view *v, const struct gdfo_json *job)
{
    v->unit = "evals";
    v->cap = positive_at(job, "budget.evals");
    v->used = gdfo_cli_number_at(job, "spend.evals");
    if (isnan(v->cap) && !isnan(positive_at(job, "budget.queries"))) {
        v->unit = "queries";
        v->cap = positive_at(job, "budget.queries");
        v->used = gdfo_cli_number_at(job, "spend.queries");
    } else if (isnan(v->cap) && !isnan(positive_at(job, "progress.queries_total"))) {
        v->unit = "queries";
        v->cap = positive_at(job, "progress.queries_total");
        v->used = gdfo_cli_number_at(job, "progress.queries_done");
    }
}

void gdfo_view_take_job(struct gdfo_view *v, const struct gdfo_json *job)
{
    double tokens_out = gdfo_cli_number_at(job, "spend.tokens_out");
    v->id = gdfo_cli_text_at(job, "id");
    v->status = gdfo_cli_text_at(job, "status");
    v->method = gdfo_cli_text_at(job, "method.type");
    v->model = gdfo_cli_text_at(job, "model");
    v->detail = gdfo_cli_text_at(job, "status_detail");
    if (!v->detail) {
        v->detail = gdfo_cli_text_at(job, "reason");
    }
    take_budget(v, job);
    v->queries = gdfo_cli_number_at(job, "spend.queries");
    v->dev_queries = gdfo_cli_number_at(job, "spend.dev_queries");
    v->tokens = gdfo_cli_number_at(job, "spend.tokens_in") + (tokens_out > 0.0 ? tokens_out : 0.0);
    v->eta_s = gdfo_cli_number_at(job, "progress.eta_seconds");
    v->accuracy_best = (double)NAN;
    if (gdfo_cli_text_at(job, "best.metric") &&
        strncmp(gdfo_cli_text_at(job, "best.metric"), "accuracy", 8) == 0) {
        v->accuracy_best = gdfo_cli_number_at(job, "best.value");
    }
}

/* Copies series.<name>.y; returns how many points, at most GDFO_VIEW_POINTS (the newest). */
static size_t take_series(const struct gdfo_json *metrics, const char *name, double *y)
{
    char path[64];
    const struct gdfo_json *list;
    size_t n, skip, k = 0;
    (void)snprintf(path, sizeof path, "series.%s.y", name);
    list = gdfo_cli_at(metrics, path);
    if (!list || gdfo_json_type(list) != GDFO_JSON_ARRAY) {
        return 0;
    }
    n = gdfo_json_size(list);
    skip = n > GDFO_VIEW_POINTS ? n - GDFO_VIEW_POINTS : 0;
    for (const struct gdfo_json *p = gdfo_json_first(list); p && k < GDFO_VIEW_POINTS;
         p = gdfo_json_next(p)) {
        if (skip > 0) {
            skip--;
            continue;
        }
        y[k] = (double)NAN;
        (void)gdfo_json_number(p, &y[k]);
        k++;
    }
    return k;
}

static double last_of(const double *y, size_t n)
{
    while (n > 0 && !isfinite(y[n - 1])) {
        n--;
    }
    return n ? y[n - 1] : (double)NAN;
}

void gdfo_view_take_metrics(struct gdfo_view *v, const struct gdfo_json *metrics)
{
    double y[GDFO_VIEW_POINTS];
    double low, high;
    size_t n;
    v->loss_name = "loss_dev";
    v->n_curve = take_series(metrics, v->loss_name, v->curve);
    if (v->n_curve == 0) {
        v->loss_name = "loss_train";
        v->n_curve = take_series(metrics, v->loss_name, v->curve);
    }
    range_of(v->curve, v->n_curve, &v->loss_best, &high);
    v->loss_last = last_of(v->curve, v->n_curve);
    n = take_series(metrics, "accuracy_dev", y);
    range_of(y, n, &low, &high);
    v->accuracy_last = last_of(y, n);
    if (isnan(v->accuracy_best)) {
        v->accuracy_best = high;
    }
}

/* ---- lines ---- */

/* Ends the line begun at `start`: cut to width columns, colours closed. */
static void end_line(struct gdfo_buf *out, size_t start, int width)
{
    int columns = 0;
    size_t i = start;
    if (!gdfo_buf_ok(out)) {
        return;
    }
    while (i < out->len) {
        if (out->data[i] == '\033') { /* takes no column */
            i += strcspn(out->data + i, "m") + 1;
            continue;
        }
        columns += ((unsigned char)out->data[i] & 0xc0) != 0x80;
        if (columns > width) {
            break;
        }
        i++;
    }
    if (i < out->len) {
        out->data[i] = '\0';
        out->len = i;
        gdfo_buf_add(out, "\033[0m");
    }
    gdfo_buf_addc(out, '\n');
}

static void add_number(struct gdfo_buf *out, const char *label, double v)
{
    if (isfinite(v)) {
        gdfo_buf_addf(out, "  %s %.4g", label, v);
    }
}

static void add_count(struct gdfo_buf *out, const char *label, double v)
{
    if (isfinite(v)) {
        gdfo_buf_addf(out, "  %s %.0f", label, v);
    }
}

static const char *color_of(const struct gdfo_view *v)
{
    if (!v->has_color || !v->status) {
        return "";
    }
    if (strcmp(v->status, "succeeded") == 0) {
        return "\033[32m";
    }
    return strcmp(v->status, "failed") == 0 ? "\033[31m" : "\033[1m";
}

static void put_clean(struct gdfo_buf *out, const char *text)
{
    char clean[256];
    (void)snprintf(clean, sizeof clean, "%s", text);
    gdfo_cli_clean(clean);
    gdfo_buf_add(out, clean);
}

static void line_head(const struct gdfo_view *v, struct gdfo_buf *out)
{
    char elapsed[GDFO_CLI_CELL_BYTES];
    gdfo_cli_seconds(v->elapsed_s, elapsed);
    gdfo_buf_addf(out, "%s%s%s  %s", color_of(v), v->status ? v->status : "?",
                  v->has_color ? "\033[0m" : "", v->id ? v->id : "?");
    if (v->method && v->model) {
        gdfo_buf_add(out, "  ");
        put_clean(out, v->method);
        gdfo_buf_add(out, " on ");
        put_clean(out, v->model);
    }
    gdfo_buf_addf(out, "  %s", elapsed);
}

static void line_budget(const struct gdfo_view *v, struct gdfo_buf *out)
{
    char eta[GDFO_CLI_CELL_BYTES];
    int n = v->width - 50;
    n = n < BAR_MIN ? BAR_MIN : n > BAR_MAX ? BAR_MAX : n;
    gdfo_buf_add(out, "budget  ");
    gdfo_view_bar(v->used / v->cap, n, v->is_ascii, out);
    if (isfinite(v->cap) && isfinite(v->used)) {
        gdfo_buf_addf(out, "  %.0f of %.0f %s", v->used, v->cap, v->unit);
    } else if (isfinite(v->used)) {
        gdfo_buf_addf(out, "  %.0f %s", v->used, v->unit);
    }
    if (isfinite(v->eta_s)) {
        gdfo_cli_seconds(v->eta_s, eta);
        gdfo_buf_addf(out, "  ETA %s", eta);
    }
}

static void line_spend(const struct gdfo_view *v, struct gdfo_buf *out)
{
    gdfo_buf_add(out, "spent ");
    add_count(out, "queries", v->queries);
    add_count(out, "dev queries", v->dev_queries);
    add_count(out, "tokens", v->tokens);
}

static void line_loss(const struct gdfo_view *v, struct gdfo_buf *out)
{
    gdfo_buf_add(out, "result");
    if (isfinite(v->loss_best)) {
        gdfo_buf_addf(out, "  best %s %.4g", v->loss_name, v->loss_best);
        add_number(out, "now", v->loss_last);
    }
    add_number(out, "dev accuracy", v->accuracy_best);
    add_number(out, "now", v->accuracy_last);
}

/* A short curve drawn wider: every point several times. Returns how many there are then. */
static size_t widen(const double *y, size_t n, int columns, double out[SPARK_MAX])
{
    size_t times = (size_t)columns / n;
    times = times > WIDEN_MAX ? WIDEN_MAX : times;
    for (size_t i = 0; i < n * times; i++) {
        out[i] = y[i / times];
    }
    return n * times;
}

/* The two rows of the curve, with the range at their ends. */
static int put_curve(const struct gdfo_view *v, struct gdfo_buf *out)
{
    double wide[SPARK_MAX];
    const double *y = v->curve;
    size_t n = v->n_curve;
    struct gdfo_buf rows[2];
    double low, high;
    int columns = v->width - 24;
    size_t start;
    columns = columns > SPARK_MAX ? SPARK_MAX : columns;
    range_of(v->curve, v->n_curve, &low, &high);
    if (v->n_curve < 2 || columns < 8 || !isfinite(low)) {
        return 0;
    }
    gdfo_buf_init(&rows[0], 1024);
    gdfo_buf_init(&rows[1], 1024);
    if (n <= (size_t)columns) {
        n = widen(y, n, columns, wide);
        y = wide;
    }
    gdfo_view_spark(y, n, columns, v->is_ascii, rows);
    for (int i = 0; i < 2; i++) {
        start = out->len;
        gdfo_buf_addf(out, "%-11s%s  %.4g", i ? "" : v->loss_name,
                      gdfo_buf_ok(&rows[i]) ? rows[i].data : "", i ? low : high);
        end_line(out, start, v->width);
        gdfo_buf_deinit(&rows[i]);
    }
    return 2;
}

int gdfo_view_render(const struct gdfo_view *v, struct gdfo_buf *out)
{
    static void (*const lines[])(const struct gdfo_view *, struct gdfo_buf *) = {
        line_head, line_budget, line_spend, line_loss};
    const char *tail[] = {v->detail, v->note};
    int n = 0;
    size_t start;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++, n++) {
        start = out->len;
        lines[i](v, out);
        end_line(out, start, v->width);
    }
    n += put_curve(v, out);
    for (size_t i = 0; i < 2; i++) {
        if (tail[i] && *tail[i]) {
            start = out->len;
            put_clean(out, tail[i]);
            end_line(out, start, v->width);
            n++;
        }
    }
    return n;
}
