#include "server/store/store_precision.h"

#include "server/store/store_priv.h"

#include <math.h>

static double real_or_nan(struct gdfo_query *q)
{
    int is_null = gdfo_query_is_null(q);
    double v = gdfo_query_get_real(q);
    return is_null ? (double)NAN : v;
}

/* In the order of PRECISION_GET. */
static enum gdfo_status read_row(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_precision *p = row;
    (void)err;
    gdfo_query_get_text(q, p->precision, sizeof p->precision);
    p->lp_max = real_or_nan(q);
    p->lp_mean = real_or_nan(q);
    p->agreement = real_or_nan(q);
    p->tau = real_or_nan(q);
    p->ms = gdfo_query_get_int(q);
    p->measured_at = gdfo_query_get_int(q);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_precision_get(struct gdfo_store *s,
                                          const struct gdfo_store_precision_key *key,
                                          const char *precision, struct gdfo_store_precision *out,
                                          struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_row, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_PRECISION_GET);
        gdfo_query_text(&q, key->model_sha256);
        gdfo_query_text(&q, key->engine);
        gdfo_query_text(&q, precision);
        status = gdfo_query_only(&q, &row, "measurement of a precision", err);
        gdfo_read_end(s, db);
    }
    return status;
}

static enum gdfo_status put_row(struct gdfo_store *s, const struct gdfo_store_precision_key *key,
                                const struct gdfo_store_precision *row, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_PRECISION_PUT);
    gdfo_query_text(&q, key->model_sha256);
    gdfo_query_text(&q, key->engine);
    gdfo_query_text(&q, row->precision);
    gdfo_query_real(&q, row->lp_max);
    gdfo_query_real(&q, row->lp_mean);
    gdfo_query_real(&q, row->agreement);
    gdfo_query_real(&q, row->tau);
    gdfo_query_int(&q, row->ms);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_store_precision_put(struct gdfo_store *s,
                                          const struct gdfo_store_precision_key *keys,
                                          const struct gdfo_store_precision *rows, size_t n,
                                          struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        status = put_row(s, &keys[i], &rows[i], err);
    }
    return gdfo_tx_end(s, status, err);
}
