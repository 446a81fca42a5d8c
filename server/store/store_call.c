#include "server/store/store_call.h"

#include "server/store/call_priv.h"
#include "server/store/call_read_priv.h"
#include "server/store/store_blob.h"

#include <inttypes.h>
#include <string.h>

#define INLINE_MAX   ((size_t)64 << 10) /* larger answers are blobs: service.md 7.2 */
#define ATTEMPTS_MAX 16

static struct gdfo_amounts held_by(const struct gdfo_store_call *c)
{
    struct gdfo_amounts a = {
        {c->held_evals, c->held_queries, c->reserved_in, c->reserved_out, c->reserved_usd_micros}};
    return a;
}

static struct gdfo_amounts needed_by(const struct gdfo_store_intent *call)
{
    struct gdfo_amounts a = {{call->held_evals, call->held_queries, call->reserved_in,
                              call->reserved_out, call->reserved_usd_micros}};
    return a;
}

/* Books a done or unknown row into the job's spend (sign 1), or takes an unknown one back (-1). */
static enum gdfo_status spend(struct gdfo_store *s, int64_t jid, const struct gdfo_store_call *c,
                              int sign, struct gdfo_error *err)
{
    int is_train = c->purpose == GDFO_STORE_TRAIN;
    int is_known = c->state == GDFO_STORE_CALL_DONE;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_SPEND);
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, is_train && c->part == 0 ? c->n_prompts : 0);
    gdfo_query_int(&q, is_train ? c->n_queries : 0);
    gdfo_query_int(&q, is_train ? 0 : c->n_queries);
    gdfo_query_int(&q, 1);
    gdfo_query_int(&q, is_known ? c->used_in : c->reserved_in);
    gdfo_query_int(&q, is_known ? c->used_out : c->reserved_out);
    gdfo_query_int(&q, is_known ? c->used_usd_micros : c->reserved_usd_micros);
    gdfo_query_int(&q, is_known ? 0 : 1);
    gdfo_query_int(&q, sign);
    return gdfo_query_run(&q, err);
}

/* ---- intent ------------------------------------------------------------------------------- */

/* A crashed run's row is to be used again: as if it had never been tried. */
static enum gdfo_status take_back(struct gdfo_store *s, int64_t jid,
                                  const struct gdfo_store_call *row, struct gdfo_error *err)
{
    static const struct gdfo_amounts none;
    struct gdfo_amounts held = held_by(row);
    enum gdfo_status status;
    if (row->state == GDFO_STORE_CALL_INTENT) {
        return gdfo_budget_settle(s, jid, &held, &none, err);
    }
    status = gdfo_budget_undo(s, jid, &held, err);
    return status == GDFO_STATUS_OK ? spend(s, jid, row, -1, err) : status;
}

/* Which attempt this is, given the last row there is. */
static enum gdfo_status next_attempt(struct gdfo_store *s, const struct gdfo_store_intent *call,
                                     const struct gdfo_store_call *row, int64_t *attempt,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_call_same_request(call, row, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    *attempt = row->attempt + 1;
    if (row->state == GDFO_STORE_CALL_UNKNOWN || row->state == GDFO_STORE_CALL_INTENT) {
        if (call->is_repeatable) {
            *attempt = row->attempt;
            return take_back(s, call->jid, row, err);
        }
    }
    if (row->state != GDFO_STORE_CALL_UNKNOWN && row->state != GDFO_STORE_CALL_REJECTED) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                              "call %" PRId64 ".%" PRId64 " is %s; it cannot be sent again",
                              row->seq, row->part, gdfo_call_state_name(row->state));
    }
    if (*attempt > ATTEMPTS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "call %" PRId64 ".%" PRId64 " was tried %d times already", row->seq,
                              row->part, ATTEMPTS_MAX);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status insert_intent(struct gdfo_store *s, const struct gdfo_store_intent *call,
                                      int64_t attempt, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_CALL_INTENT);
    gdfo_query_int(&q, call->jid);
    gdfo_query_int(&q, call->seq);
    gdfo_query_int(&q, call->part);
    gdfo_query_int(&q, attempt);
    gdfo_query_text(&q, gdfo_call_purpose_name(call->purpose));
    gdfo_query_int(&q, call->epoch);
    gdfo_query_blob(&q, call->request_sha256, GDFO_SHA256_BYTES);
    gdfo_query_int(&q, call->n_prompts);
    gdfo_query_int(&q, call->n_examples);
    gdfo_query_int(&q, call->n_queries);
    gdfo_query_int(&q, call->held_evals);
    gdfo_query_int(&q, call->held_queries);
    gdfo_query_int(&q, call->reserved_in);
    gdfo_query_int(&q, call->reserved_out);
    gdfo_query_int(&q, call->reserved_usd_micros);
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_store_call_intent(struct gdfo_store *s, const struct gdfo_store_intent *call,
                                        int64_t *attempt, struct gdfo_error *err)
{
    struct gdfo_amounts need = needed_by(call);
    struct gdfo_store_call row;
    int is_there = 0;
    int64_t number = 1;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_call_last(&s->writer, call, &row, &is_there, err);
    if (status == GDFO_STATUS_OK && is_there) {
        status = next_attempt(s, call, &row, &number, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_budget_hold(s, call->jid, &need, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = insert_intent(s, call, number, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK) {
        *attempt = number;
    }
    return status;
}

enum gdfo_status gdfo_store_call_fits(struct gdfo_store *s, const struct gdfo_store_intent *call,
                                      struct gdfo_error *err)
{
    struct gdfo_amounts need = needed_by(call);
    struct gdfo_db *db;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_budget_check(db, call->jid, &need, err);
        gdfo_read_end(s, db);
    }
    return status;
}

/* ---- outcome ------------------------------------------------------------------------------ */

struct answer {
    const void *bytes; /* in the row, or */
    size_t n;
    const struct gdfo_store_blob *blob; /* in a blob, or NULL */
};

static enum gdfo_status update_row(struct gdfo_store *s, const struct gdfo_store_outcome *o,
                                   const struct gdfo_store_call *c, const struct answer *a,
                                   struct gdfo_error *err)
{
    int is_done = c->state == GDFO_STORE_CALL_DONE;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_CALL_SETTLE);
    gdfo_query_int(&q, o->jid);
    gdfo_query_int(&q, o->seq);
    gdfo_query_int(&q, o->part);
    gdfo_query_int(&q, o->attempt);
    gdfo_query_text(&q, gdfo_call_state_name(c->state));
    gdfo_query_int(&q, is_done ? o->used_in : 0);
    gdfo_query_int(&q, is_done ? o->used_cached : 0);
    gdfo_query_int(&q, is_done ? o->used_out : 0);
    gdfo_query_int(&q, is_done ? o->used_usd_micros : 0);
    gdfo_query_opt_text(&q, o->verdict);
    gdfo_query_opt_int(&q, o->http_status);
    gdfo_query_opt_int(&q, o->sent_ms);
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    gdfo_query_opt_text(&q, o->upstream_request_id);
    gdfo_query_opt_text(&q, o->detail);
    gdfo_query_blob(&q, a->bytes, a->n);
    gdfo_query_blob(&q, a->blob ? a->blob->sha256 : NULL, GDFO_SHA256_BYTES);
    return gdfo_query_run(&q, err);
}

/* What leaves the holds and enters the use, by what became of the call. */
static struct gdfo_amounts used_by(const struct gdfo_store_call *c)
{
    struct gdfo_amounts a = {{0}};
    if (c->state == GDFO_STORE_CALL_UNKNOWN) {
        a = held_by(c);
    } else if (c->state == GDFO_STORE_CALL_DONE) {
        a = (struct gdfo_amounts){
            {c->held_evals, c->held_queries, c->used_in, c->used_out, c->used_usd_micros}};
    }
    return a;
}

static enum gdfo_status settle_row(struct gdfo_store *s, const struct gdfo_store_outcome *o,
                                   enum gdfo_store_call_state state, const struct answer *a,
                                   struct gdfo_error *err)
{
    struct gdfo_store_call c;
    struct gdfo_amounts held;
    struct gdfo_amounts used;
    enum gdfo_status status = gdfo_call_get(&s->writer, o, &c, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (c.state != GDFO_STORE_CALL_INTENT) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                              "call %" PRId64 ".%" PRId64 ".%" PRId64 " is %s; it is settled",
                              c.seq, c.part, c.attempt, gdfo_call_state_name(c.state));
    }
    c.state = state;
    c.used_in = o->used_in;
    c.used_out = o->used_out;
    c.used_usd_micros = o->used_usd_micros;
    held = held_by(&c);
    used = used_by(&c);
    status = update_row(s, o, &c, a, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_budget_settle(s, o->jid, &held, &used, err);
    }
    if (status == GDFO_STATUS_OK && state == GDFO_STORE_CALL_DONE) {
        status = gdfo_budget_book_wall(s, o->jid, o->wall_ms, err);
    }
    if (status == GDFO_STATUS_OK && state != GDFO_STORE_CALL_REJECTED) {
        status = spend(s, o->jid, &c, 1, err);
    }
    return status;
}

static enum gdfo_status settle(struct gdfo_store *s, const struct gdfo_store_outcome *o,
                               enum gdfo_store_call_state state, const struct answer *a,
                               struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (a->blob) {
        status = gdfo_blob_row(s, a->blob, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = settle_row(s, o, state, a, err);
    }
    return gdfo_tx_end(s, status, err);
}

enum gdfo_status gdfo_store_call_done(struct gdfo_store *s,
                                      const struct gdfo_store_outcome *outcome,
                                      struct gdfo_error *err)
{
    struct gdfo_store_blob blob;
    struct answer a = {outcome->answer ? outcome->answer : "", outcome->n_answer, NULL};
    if (outcome->n_answer > INLINE_MAX) {
        enum gdfo_status status =
            gdfo_store_blob_put(s, outcome->answer, outcome->n_answer, &blob, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        a = (struct answer){NULL, 0, &blob};
    }
    return settle(s, outcome, GDFO_STORE_CALL_DONE, &a, err);
}

enum gdfo_status gdfo_store_call_rejected(struct gdfo_store *s,
                                          const struct gdfo_store_outcome *outcome,
                                          struct gdfo_error *err)
{
    const struct answer none = {0};
    return settle(s, outcome, GDFO_STORE_CALL_REJECTED, &none, err);
}

enum gdfo_status gdfo_store_call_unknown(struct gdfo_store *s,
                                         const struct gdfo_store_outcome *outcome,
                                         struct gdfo_error *err)
{
    const struct answer none = {0};
    return settle(s, outcome, GDFO_STORE_CALL_UNKNOWN, &none, err);
}

static enum gdfo_status first_open(struct gdfo_store *s, struct gdfo_store_outcome *o, int *found,
                                   struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_CALL_OPEN);
    enum gdfo_status status = gdfo_query_row(&q, found, err);
    if (status == GDFO_STATUS_OK && *found) {
        o->jid = gdfo_query_get_int(&q);
        o->seq = gdfo_query_get_int(&q);
        o->part = gdfo_query_get_int(&q);
        o->attempt = gdfo_query_get_int(&q);
        gdfo_query_end(&q);
    }
    return status;
}

enum gdfo_status gdfo_call_recover(struct gdfo_store *s, int64_t *n, struct gdfo_error *err)
{
    const struct answer none = {0};
    struct gdfo_store_outcome o = {0};
    int found = 0;
    enum gdfo_status status = first_open(s, &o, &found, err);
    *n = 0;
    while (status == GDFO_STATUS_OK && found) {
        status = settle_row(s, &o, GDFO_STORE_CALL_UNKNOWN, &none, err);
        *n += 1;
        if (status == GDFO_STATUS_OK) {
            status = first_open(s, &o, &found, err);
        }
    }
    return status;
}
