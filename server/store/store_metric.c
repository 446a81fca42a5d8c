#include "server/store/store_metric.h"

#include "server/store/store_priv.h"

#include <math.h>

static enum gdfo_status read_name(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    (void)err;
    gdfo_query_get_text(q, row, GDFO_STORE_METRIC_NAME_BYTES);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_metric_names(struct gdfo_store *s, int64_t jid,
                                         char (*out)[GDFO_STORE_METRIC_NAME_BYTES], size_t max,
                                         size_t *n, struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, GDFO_STORE_METRIC_NAME_BYTES, max, read_name, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_more;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_METRIC_NAMES);
        gdfo_query_int(&q, jid);
        gdfo_query_int(&q, (int64_t)max);
        status = gdfo_query_rows(&q, &rows, n, &has_more, err);
        gdfo_read_end(s, db);
    }
    return status;
}

static enum gdfo_status read_bucket(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_bucket *b = row;
    (void)err;
    b->step = gdfo_query_get_real(q);
    b->evals = gdfo_query_get_real(q);
    b->queries = gdfo_query_get_real(q);
    b->at_ms = gdfo_query_get_real(q);
    b->mean = gdfo_query_get_real(q);
    b->min = gdfo_query_get_real(q);
    b->max = gdfo_query_get_real(q);
    b->odd = (enum gdfo_store_odd)(gdfo_query_get_int(q) & 3);
    b->n = gdfo_query_get_int(q);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_metric_series(struct gdfo_store *s,
                                          const struct gdfo_store_metric_query *q,
                                          struct gdfo_store_bucket *out, size_t *n, int64_t *total,
                                          struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, q->points, read_bucket, NULL};
    struct gdfo_db *db;
    struct gdfo_query found;
    int has_more;
    enum gdfo_status status;
    if (q->points < 1 || q->points > GDFO_STORE_METRIC_POINTS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "points is %zu; want 1..%d", q->points,
                              GDFO_STORE_METRIC_POINTS_MAX);
    }
    status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    found = gdfo_query(db, GDFO_SQL_METRIC_SERIES);
    gdfo_query_int(&found, q->jid);
    gdfo_query_text(&found, q->name);
    gdfo_query_int(&found, (int64_t)q->axis);
    gdfo_query_real(&found, q->has_from ? q->from : -HUGE_VAL);
    gdfo_query_real(&found, q->has_to ? q->to : HUGE_VAL);
    gdfo_query_int(&found, (int64_t)q->points);
    status = gdfo_query_rows(&found, &rows, n, &has_more, err);
    gdfo_read_end(s, db);
    if (status == GDFO_STATUS_OK) {
        *total = 0;
        for (size_t i = 0; i < *n; i++) {
            *total += out[i].n;
        }
    }
    return status;
}

enum gdfo_status gdfo_store_metric_points(struct gdfo_store *s,
                                          const struct gdfo_store_metric_query *q,
                                          int64_t after_step, struct gdfo_store_bucket *out,
                                          size_t *n, struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, q->points, read_bucket, NULL};
    struct gdfo_db *db;
    struct gdfo_query found;
    int has_more;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        found = gdfo_query(db, GDFO_SQL_METRIC_POINTS);
        gdfo_query_int(&found, q->jid);
        gdfo_query_text(&found, q->name);
        gdfo_query_int(&found, after_step);
        gdfo_query_int(&found, (int64_t)q->points);
        status = gdfo_query_rows(&found, &rows, n, &has_more, err);
        gdfo_read_end(s, db);
    }
    return status;
}
