#include "common/log.h"
#include "server/store/step_priv.h"
#include "server/store/store_priv.h"

#include <inttypes.h>

#define KEPT 2 /* service.md 7.1, D5 */

/* Over the bytes and over what says how to read them. */
static uint32_t checksum(const void *bytes, size_t n, int64_t generation, int64_t format,
                         int64_t next_seq)
{
    const int64_t head[3] = {generation, format, next_seq};
    unsigned char text[24];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (unsigned char)((uint64_t)head[i / 8] >> (8 * (i % 8)));
    }
    return gdfo_crc32c(gdfo_crc32c(0, text, sizeof text), bytes, n);
}

enum gdfo_status gdfo_snapshot_prune(struct gdfo_store *s, int64_t jid, int64_t kept,
                                     struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_SNAPSHOT_PRUNE);
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, kept);
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_snapshot_row(struct gdfo_store *s, int64_t jid, int64_t generation,
                                   const struct gdfo_store_snapshot_new *snapshot,
                                   struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_SNAPSHOT_ADD);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, generation);
    gdfo_query_int(&q, snapshot->next_seq);
    gdfo_query_int(&q, snapshot->format);
    gdfo_query_blob(&q, snapshot->bytes ? snapshot->bytes : "", snapshot->n);
    gdfo_query_int(&q, (int64_t)checksum(snapshot->bytes, snapshot->n, generation, snapshot->format,
                                         snapshot->next_seq));
    gdfo_query_int(&q, gdfo_store_now(s));
    status = gdfo_query_run(&q, err);
    return status == GDFO_STATUS_OK ? gdfo_snapshot_prune(s, jid, KEPT, err) : status;
}

/* 1 when this row's bytes are what was written. */
static int read_good(struct gdfo_query *q, struct gdfo_store_snapshot *out, const void **bytes,
                     size_t *n)
{
    int64_t crc;
    out->generation = gdfo_query_get_int(q);
    out->next_seq = gdfo_query_get_int(q);
    out->format = gdfo_query_get_int(q);
    crc = gdfo_query_get_int(q);
    *bytes = gdfo_query_get_blob(q, n);
    return crc == (int64_t)checksum(*bytes, *n, out->generation, out->format, out->next_seq);
}

static enum gdfo_status newest_good(struct gdfo_db *db, int64_t jid,
                                    struct gdfo_store_snapshot *out, struct gdfo_buf *state,
                                    int *found, struct gdfo_error *err)
{
    struct gdfo_store_snapshot snapshot = {0};
    const void *bytes;
    size_t n;
    int has_row = 0;
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_SNAPSHOT_LIST);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    status = gdfo_query_row(&q, &has_row, err);
    while (status == GDFO_STATUS_OK && has_row && !*found) {
        if (read_good(&q, &snapshot, &bytes, &n)) {
            gdfo_buf_addn(state, bytes ? bytes : "", n);
            *out = snapshot;
            *found = 1;
        } else {
            snapshot.n_bad++;
            gdfo_log(GDFO_LOG_WARN, "store", "ev=bad_snapshot generation=%" PRId64,
                     snapshot.generation);
            status = gdfo_query_row(&q, &has_row, err);
        }
    }
    gdfo_query_end(&q);
    return status;
}

enum gdfo_status gdfo_store_snapshot_load(struct gdfo_store *s, int64_t jid,
                                          struct gdfo_store_snapshot *out, struct gdfo_buf *state,
                                          int *found, struct gdfo_error *err)
{
    struct gdfo_db *db;
    int is_there = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = newest_good(db, jid, out, state, &is_there, err);
    gdfo_read_end(s, db);
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(state)) {
        status =
            gdfo_error_set(err, GDFO_STATUS_LIMIT, "a snapshot larger than %zu bytes", state->max);
    }
    if (status == GDFO_STATUS_OK) {
        *found = is_there;
    }
    return status;
}
