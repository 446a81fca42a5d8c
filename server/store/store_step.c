#include "server/store/store_step.h"

#include "server/store/call_priv.h"
#include "server/store/step_priv.h"
#include "server/store/store_metric.h"
#include "server/store/store_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static enum gdfo_store_odd odd_of(double v)
{
    if (isnan(v)) {
        return GDFO_STORE_NAN;
    }
    return !isinf(v) ? GDFO_STORE_FINITE : v > 0 ? GDFO_STORE_PLUS_INF : GDFO_STORE_MINUS_INF;
}

static enum gdfo_status add_point(struct gdfo_store *s, int64_t jid,
                                  const struct gdfo_store_point *p, struct gdfo_error *err)
{
    enum gdfo_store_odd odd = odd_of(p->value);
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_METRIC_NAME_ADD);
    enum gdfo_status status;
    gdfo_query_text(&q, p->name);
    status = gdfo_query_run(&q, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_METRIC_ADD);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, p->name);
    gdfo_query_int(&q, p->step);
    gdfo_query_int(&q, p->evals);
    gdfo_query_int(&q, p->queries);
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    gdfo_query_real(&q, odd == GDFO_STORE_FINITE ? p->value : (double)NAN); /* NaN binds as NULL */
    gdfo_query_int(&q, (int64_t)odd);
    return gdfo_query_run(&q, err);
}

static enum gdfo_status check_step(const struct gdfo_store_step *step, struct gdfo_error *err)
{
    for (size_t i = 0; i < step->n_points; i++) {
        size_t n = strlen(step->points[i].name);
        if (n < 1 || n >= GDFO_STORE_METRIC_NAME_BYTES) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "a metric's name has %zu bytes; want 1..%d", n,
                                  GDFO_STORE_METRIC_NAME_BYTES - 1);
        }
    }
    if (step->generation < 1) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "step %" PRId64 ": they count from 1",
                              step->generation);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status last_generation(struct gdfo_db *db, int64_t jid, int64_t *out,
                                        struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_STEP_GENERATION);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    status = gdfo_query_one_int(&q, -1, out, err);
    if (status == GDFO_STATUS_OK && *out < 0) {
        status = gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no such job");
    }
    return status;
}

static enum gdfo_status update_job(struct gdfo_store *s, const struct gdfo_store_step *step,
                                   struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_STEP_ADD);
    enum gdfo_status status;
    gdfo_query_int(&q, step->jid);
    gdfo_query_int(&q, step->generation);
    gdfo_query_int(&q, gdfo_store_now(s));
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK && step->has_best) {
        q = gdfo_query(&s->writer, GDFO_SQL_STEP_BEST);
        gdfo_query_int(&q, step->jid);
        gdfo_query_real(&q, step->best_metric);
        gdfo_query_int(&q, step->best_step);
        gdfo_query_int(&q, step->best_queries);
        status = gdfo_query_run(&q, err);
    }
    return status;
}

static enum gdfo_status write_step(struct gdfo_store *s, const struct gdfo_store_step *step,
                                   const struct gdfo_store_blob *blob, struct gdfo_error *err)
{
    enum gdfo_status status = update_job(s, step, err);
    for (size_t i = 0; i < step->n_points && status == GDFO_STATUS_OK; i++) {
        status = add_point(s, step->jid, &step->points[i], err);
    }
    if (status == GDFO_STATUS_OK && step->checkpoint) {
        status = gdfo_checkpoint_row(s, step->jid, step->checkpoint, blob, err);
    }
    if (status == GDFO_STATUS_OK && step->snapshot) {
        status = gdfo_snapshot_row(s, step->jid, step->generation, step->snapshot, err);
    }
    for (size_t i = 0; i < step->n_events && status == GDFO_STATUS_OK; i++) {
        status = gdfo_event_row(s, step->jid, &step->events[i], NULL, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_budget_book_wall(s, step->jid, step->wall_ms, err)
                                    : status;
}

/* Asked before the checkpoint's bytes go to disk; a job has one worker, so nobody commits between
 * this and the transaction, which asks again. */
static enum gdfo_status is_behind(struct gdfo_store *s, const struct gdfo_store_step *step,
                                  int *behind, struct gdfo_error *err)
{
    struct gdfo_db *db;
    int64_t last = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        status = last_generation(db, step->jid, &last, err);
        gdfo_read_end(s, db);
    }
    *behind = step->generation <= last;
    return status;
}

static enum gdfo_status commit(struct gdfo_store *s, const struct gdfo_store_step *step,
                               const struct gdfo_store_blob *blob, struct gdfo_error *err)
{
    int64_t last = 0;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = last_generation(&s->writer, step->jid, &last, err);
    if (status == GDFO_STATUS_OK && step->generation > last) {
        status = write_step(s, step, blob, err);
    }
    return gdfo_tx_end(s, status, err);
}

enum gdfo_status gdfo_store_step_commit(struct gdfo_store *s, const struct gdfo_store_step *step,
                                        int *was_new, struct gdfo_error *err)
{
    struct gdfo_store_blob blob = {.bytes = 0};
    int behind = 0;
    enum gdfo_status status = check_step(step, err);
    if (status == GDFO_STATUS_OK) {
        status = is_behind(s, step, &behind, err);
    }
    if (status == GDFO_STATUS_OK && !behind && step->checkpoint) {
        status = gdfo_store_blob_put(s, step->checkpoint->bytes, step->checkpoint->n, &blob, err);
    }
    if (status == GDFO_STATUS_OK && !behind) {
        status = commit(s, step, &blob, err);
    }
    if (status == GDFO_STATUS_OK && was_new) {
        *was_new = !behind;
    }
    return status;
}
