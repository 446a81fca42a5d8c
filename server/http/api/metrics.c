/* Curves (service.md 4.7): buckets with their mean and band as JSON, or every point as CSV. */
#include "common/mem.h"
#include "common/parse.h"
#include "server/http/api/api.h"
#include "server/http/api/job_priv.h"
#include "server/store/store_metric.h"

#include <stdio.h>
#include <string.h>

#define NAMES_MAX      64
#define POINTS_DEFAULT 300
#define CSV_CHUNK      1000

struct curves {
    struct gdfo_request *request;
    struct gdfo_store_metric_query query; /* without its name */
    char names[NAMES_MAX][GDFO_STORE_METRIC_NAME_BYTES];
    size_t n_names;
    struct gdfo_store_bucket *rows; /* query.points or CSV_CHUNK of them */
};

static const char *const axes[] = {
    [GDFO_STORE_AXIS_STEP] = "step",
    [GDFO_STORE_AXIS_EVALS] = "evals",
    [GDFO_STORE_AXIS_QUERIES] = "queries",
    [GDFO_STORE_AXIS_TIME] = "time",
};

static double position(const struct gdfo_store_bucket *b, enum gdfo_store_axis axis)
{
    switch (axis) {
    case GDFO_STORE_AXIS_STEP: return b->step;
    case GDFO_STORE_AXIS_EVALS: return b->evals;
    case GDFO_STORE_AXIS_QUERIES: return b->queries;
    case GDFO_STORE_AXIS_TIME: break;
    }
    return b->at_ms / 1000.0;
}

enum column { COLUMN_X, COLUMN_Y, COLUMN_MIN, COLUMN_MAX };

static void put_column(struct gdfo_json_writer *w, const char *key, const struct curves *c,
                       size_t n, enum column column)
{
    gdfo_json_open(w, key, '[');
    for (size_t i = 0; i < n; i++) {
        const struct gdfo_store_bucket *b = &c->rows[i];
        if (column == COLUMN_X) {
            gdfo_json_put_num(w, NULL, position(b, c->query.axis));
        } else if (b->odd != GDFO_STORE_FINITE) {
            gdfo_json_put_null(w, NULL);
        } else {
            gdfo_json_put_num(w, NULL,
                              column == COLUMN_Y     ? b->mean
                              : column == COLUMN_MIN ? b->min
                                                     : b->max);
        }
    }
    gdfo_json_close(w, ']');
}

static void put_odd(struct gdfo_json_writer *w, const struct curves *c, size_t n)
{
    static const char *const kinds[] = {"", "inf", "-inf", "nan"};
    gdfo_json_open(w, "odd", '[');
    for (size_t i = 0; i < n; i++) {
        if (c->rows[i].odd != GDFO_STORE_FINITE) {
            gdfo_json_open(w, NULL, '[');
            gdfo_json_put_int(w, NULL, (int64_t)i);
            gdfo_json_put_str(w, NULL, kinds[c->rows[i].odd]);
            gdfo_json_close(w, ']');
        }
    }
    gdfo_json_close(w, ']');
}

static enum gdfo_status put_series(struct gdfo_json_writer *w, struct curves *c, const char *name,
                                   struct gdfo_error *err)
{
    struct gdfo_store_metric_query q = c->query;
    int64_t total = 0;
    size_t n = 0;
    enum gdfo_status status;
    q.name = name;
    status = gdfo_store_metric_series(c->request->deps->store, &q, c->rows, &n, &total, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_json_open(w, name, '{');
    put_column(w, "x", c, n, COLUMN_X);
    put_column(w, "y", c, n, COLUMN_Y);
    put_column(w, "min", c, n, COLUMN_MIN);
    put_column(w, "max", c, n, COLUMN_MAX);
    put_odd(w, c, n);
    gdfo_json_put_int(w, "n", total);
    gdfo_json_close(w, '}');
    return GDFO_STATUS_OK;
}

static void send_json(struct curves *c)
{
    struct gdfo_error err = {0};
    enum gdfo_status status = GDFO_STATUS_OK;
    struct gdfo_json_writer w = gdfo_respond_json(c->request, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "metrics");
    gdfo_json_put_str(&w, "x", axes[c->query.axis]);
    gdfo_json_open(&w, "series", '{');
    for (size_t i = 0; i < c->n_names && status == GDFO_STATUS_OK; i++) {
        status = put_series(&w, c, c->names[i], &err);
    }
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, '}');
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(c->request, &err);
    }
}

static enum gdfo_status put_csv(struct gdfo_buf *out, struct curves *c, const char *name,
                                struct gdfo_error *err)
{
    static const char *const kinds[] = {"", "inf", "-inf", "nan"};
    const struct gdfo_store_metric_query q = {
        .jid = c->query.jid, .name = name, .points = CSV_CHUNK};
    int64_t after = -1;
    size_t n = CSV_CHUNK;
    while (n == CSV_CHUNK) {
        enum gdfo_status status =
            gdfo_store_metric_points(c->request->deps->store, &q, after, c->rows, &n, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            const struct gdfo_store_bucket *b = &c->rows[i];
            gdfo_buf_addf(out, "%s,%.0f,%.0f,%.0f,%.0f,", name, b->step, b->evals, b->queries,
                          b->at_ms);
            if (b->odd == GDFO_STORE_FINITE) {
                gdfo_buf_addf(out, "%.17g\n", b->mean);
            } else {
                gdfo_buf_addf(out, "%s\n", kinds[b->odd]);
            }
        }
        after = n ? (int64_t)c->rows[n - 1].step : after;
    }
    return GDFO_STATUS_OK;
}

static void send_csv(struct curves *c)
{
    struct gdfo_error err = {0};
    enum gdfo_status status = GDFO_STATUS_OK;
    struct gdfo_buf *out = gdfo_respond_bytes(c->request, "text/csv; charset=utf-8");
    gdfo_buf_add(out, "name,step,evals,queries,at_ms,value\n");
    for (size_t i = 0; i < c->n_names && status == GDFO_STATUS_OK; i++) {
        status = put_csv(out, c, c->names[i], &err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(c->request, &err);
    }
}

static void bad(struct gdfo_request *r, const char *pointer, const char *value, const char *want)
{
    gdfo_respond_fault(r, pointer, "invalid_value", "%s is '%.40s'; want %s", pointer + 1, value,
                       want);
}

static void read_axis(struct curves *c)
{
    const char *x = gdfo_target_param(&c->request->target, "x");
    c->query.axis = GDFO_STORE_AXIS_QUERIES;
    for (size_t i = 0; x && i < sizeof axes / sizeof *axes; i++) {
        if (strcmp(axes[i], x) == 0) {
            c->query.axis = (enum gdfo_store_axis)i;
            return;
        }
    }
    if (x) {
        bad(c->request, "/x", x, "queries, evals, step or time");
    }
}

static int read_bound(struct gdfo_request *r, const char *pointer, double *out)
{
    const char *text = gdfo_target_param(&r->target, pointer + 1);
    if (text && !gdfo_parse_f64(text, out)) {
        bad(r, pointer, text, "a number");
    }
    return text != NULL;
}

/* The names that were asked for: "loss_dev,accuracy_dev". */
static void read_names(struct curves *c, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n == 0 || n >= GDFO_STORE_METRIC_NAME_BYTES || c->n_names == NAMES_MAX) {
            bad(c->request, "/names", text, "at most 64 names by commas");
            return;
        }
        memcpy(c->names[c->n_names], text, n);
        c->names[c->n_names++][n] = '\0';
        text += n + (text[n] == ',');
    }
}

/* 0 after an answer. */
static int read_query(struct curves *c, int *is_csv)
{
    struct gdfo_request *r = c->request;
    const char *names = gdfo_target_param(&r->target, "names");
    const char *format = gdfo_target_param(&r->target, "format");
    int64_t points = POINTS_DEFAULT;
    (void)gdfo_request_int_param(r, "points", 1, GDFO_STORE_METRIC_POINTS_MAX, &points);
    c->query.points = (size_t)points;
    read_axis(c);
    c->query.has_from = read_bound(r, "/from", &c->query.from);
    c->query.has_to = read_bound(r, "/to", &c->query.to);
    if (c->query.axis == GDFO_STORE_AXIS_TIME) { /* seconds outside, milliseconds inside */
        c->query.from *= 1000;
        c->query.to *= 1000;
    }
    if (names) {
        read_names(c, names);
    }
    *is_csv = format && strcmp(format, "csv") == 0;
    if (format && !*is_csv && strcmp(format, "json") != 0) {
        bad(r, "/format", format, "json or csv");
    }
    return !gdfo_respond_faults(r);
}

static void send_curves(struct curves *c, int is_csv)
{
    struct gdfo_error err = {0};
    size_t n_rows = is_csv ? CSV_CHUNK : c->query.points;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (c->n_names == 0) {
        status = gdfo_store_metric_names(c->request->deps->store, c->query.jid, c->names, NAMES_MAX,
                                         &c->n_names, &err);
    }
    c->rows = gdfo_mem_array(n_rows, sizeof *c->rows);
    if (status == GDFO_STATUS_OK && !c->rows) {
        status = gdfo_error_no_memory(&err, "reading metrics");
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(c->request, &err);
    } else if (is_csv) {
        send_csv(c);
    } else {
        send_json(c);
    }
    gdfo_mem_free(c->rows);
}

void gdfo_api_metrics(struct gdfo_request *r)
{
    struct curves c = {.request = r};
    struct gdfo_store_job job = {0};
    int is_csv = 0;
    if (!read_query(&c, &is_csv) || !gdfo_job_find(r, &job)) {
        return;
    }
    c.query.jid = job.jid;
    gdfo_store_job_deinit(&job);
    send_curves(&c, is_csv);
}
