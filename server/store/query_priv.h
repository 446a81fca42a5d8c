#ifndef GDFO_SERVER_STORE_QUERY_PRIV_H
#define GDFO_SERVER_STORE_QUERY_PRIV_H

#include "server/store/db_priv.h"

/*
 * One running statement. Values are bound and columns read (row_priv.h) in their order, so that a
 * row and its struct can be compared line by line.
 *
 *   struct gdfo_query q = gdfo_query(db, GDFO_SQL_META_GET);
 *   gdfo_query_text(&q, key);
 *   status = gdfo_query_row(&q, &has_row, err);
 *   if (has_row) { gdfo_query_get_text(&q, out, out_bytes); }
 *   gdfo_query_end(&q);
 */
struct gdfo_query {
    struct gdfo_db *db;
    struct sqlite3_stmt *st; /* NULL: could not be prepared; the next row or run says why */
    int n_bound, n_read;
    int rc;
};

struct gdfo_query gdfo_query(struct gdfo_db *db, enum gdfo_sql sql);
void gdfo_query_int(struct gdfo_query *q, int64_t v);
void gdfo_query_opt_int(struct gdfo_query *q, int64_t v); /* 0: NULL */
void gdfo_query_real(struct gdfo_query *q, double v);     /* NaN: NULL */
void gdfo_query_text(struct gdfo_query *q, const char *s);
void gdfo_query_opt_text(struct gdfo_query *q, const char *s);           /* NULL or "": NULL */
void gdfo_query_blob(struct gdfo_query *q, const void *bytes, size_t n); /* NULL bytes: NULL */

/* Steps to the next row; without one the statement has ended. */
GDFO_MUST_USE enum gdfo_status gdfo_query_row(struct gdfo_query *q, int *has_row,
                                              struct gdfo_error *err);
/* Runs to the end; for statements without rows. */
GDFO_MUST_USE enum gdfo_status gdfo_query_run(struct gdfo_query *q, struct gdfo_error *err);
void gdfo_query_end(struct gdfo_query *q); /* also when it ended by itself */

#endif
