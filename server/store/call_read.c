/* Reading the ledger; writing it is in store_call.c. */
#include "server/store/call_read_priv.h"
#include "server/store/store_blob.h"

#include <inttypes.h>
#include <string.h>

static const char *const purposes[] = {"train", "dev", "test", "canary"};
static const char *const states[] = {"intent", "done", "cached", "rejected", "unknown"};

const char *gdfo_call_purpose_name(enum gdfo_store_purpose purpose)
{
    return purposes[purpose];
}

const char *gdfo_call_state_name(enum gdfo_store_call_state state)
{
    return states[state];
}

static void read_amounts(struct gdfo_query *q, struct gdfo_store_call *c)
{
    c->held_evals = gdfo_query_get_int(q);
    c->held_queries = gdfo_query_get_int(q);
    c->reserved_in = gdfo_query_get_int(q);
    c->reserved_out = gdfo_query_get_int(q);
    c->reserved_usd_micros = gdfo_query_get_int(q);
    c->used_in = gdfo_query_get_int(q);
    c->used_cached = gdfo_query_get_int(q);
    c->used_out = gdfo_query_get_int(q);
    c->used_usd_micros = gdfo_query_get_int(q);
}

/* In the order of CALL_SELECT (query.c). */
static enum gdfo_status read_call(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_call *c = row;
    const void *answer;
    size_t n;
    (void)err;
    c->seq = gdfo_query_get_int(q);
    c->part = gdfo_query_get_int(q);
    c->attempt = gdfo_query_get_int(q);
    c->purpose = (enum gdfo_store_purpose)(gdfo_query_get_word(q, purposes, 4) % 4);
    c->state = (enum gdfo_store_call_state)(gdfo_query_get_word(q, states, 5) % 5);
    c->epoch = gdfo_query_get_int(q);
    c->n_prompts = gdfo_query_get_int(q);
    c->n_examples = gdfo_query_get_int(q);
    c->n_queries = gdfo_query_get_int(q);
    gdfo_query_get_sha256(q, c->request_sha256);
    read_amounts(q, c);
    c->http_status = gdfo_query_get_int(q);
    c->intent_ms = gdfo_query_get_int(q);
    c->sent_ms = gdfo_query_get_int(q);
    c->done_ms = gdfo_query_get_int(q);
    gdfo_query_get_text(q, c->verdict, sizeof c->verdict);
    answer = gdfo_query_get_blob(q, &n);
    gdfo_query_get_sha256(q, c->answer_sha256);
    if (answer || n > 0) {
        gdfo_sha256(answer, n, c->answer_sha256);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_call_last(struct gdfo_db *db, const struct gdfo_store_intent *call,
                                struct gdfo_store_call *out, int *found, struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, 1, read_call, NULL};
    size_t n = 0;
    int has_more;
    enum gdfo_status status;
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_CALL_LAST);
    gdfo_query_int(&q, call->jid);
    gdfo_query_int(&q, call->seq);
    gdfo_query_int(&q, call->part);
    status = gdfo_query_rows(&q, &rows, &n, &has_more, err);
    *found = n > 0;
    return status;
}

enum gdfo_status gdfo_call_get(struct gdfo_db *db, const struct gdfo_store_outcome *key,
                               struct gdfo_store_call *out, struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_call, NULL};
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_CALL_GET);
    gdfo_query_int(&q, key->jid);
    gdfo_query_int(&q, key->seq);
    gdfo_query_int(&q, key->part);
    gdfo_query_int(&q, key->attempt);
    return gdfo_query_only(&q, &row, "call", err);
}

enum gdfo_status gdfo_call_same_request(const struct gdfo_store_intent *call,
                                        const struct gdfo_store_call *row, struct gdfo_error *err)
{
    if (memcmp(call->request_sha256, row->request_sha256, GDFO_SHA256_BYTES) == 0) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                          "call %" PRId64 ".%" PRId64
                          " was made for another request: this run took another way",
                          row->seq, row->part);
}

/* The answer is in the row, or in a blob that the row names. */
static enum gdfo_status read_answer(struct gdfo_db *db, int64_t jid,
                                    const struct gdfo_store_call *row, struct gdfo_buf *answer,
                                    struct gdfo_store_blob *blob, struct gdfo_error *err)
{
    int has_row;
    const void *bytes;
    size_t n;
    enum gdfo_status status;
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_CALL_ANSWER);
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, row->seq);
    gdfo_query_int(&q, row->part);
    gdfo_query_int(&q, row->attempt);
    status = gdfo_query_row(&q, &has_row, err);
    if (status == GDFO_STATUS_OK && has_row) {
        bytes = gdfo_query_get_blob(&q, &n);
        gdfo_buf_addn(answer, bytes ? bytes : "", n);
        gdfo_query_get_sha256(&q, blob->sha256);
        blob->bytes = (uint64_t)gdfo_query_get_int(&q);
        gdfo_query_end(&q);
    }
    return status;
}

enum gdfo_status gdfo_store_call_find(struct gdfo_store *s, const struct gdfo_store_intent *call,
                                      struct gdfo_buf *answer, int *found, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_store_call row;
    struct gdfo_store_blob blob = {.bytes = 0};
    int is_there = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_call_last(db, call, &row, &is_there, err);
    is_there =
        is_there && (row.state == GDFO_STORE_CALL_DONE || row.state == GDFO_STORE_CALL_CACHED);
    if (status == GDFO_STATUS_OK && is_there) {
        status = gdfo_call_same_request(call, &row, err);
    }
    if (status == GDFO_STATUS_OK && is_there) {
        status = read_answer(db, call->jid, &row, answer, &blob, err);
    }
    gdfo_read_end(s, db);
    if (status == GDFO_STATUS_OK && blob.bytes > 0) {
        status = gdfo_store_blob_read(s, &blob, answer, err);
    }
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(answer)) {
        status =
            gdfo_error_set(err, GDFO_STATUS_LIMIT, "an answer larger than %zu bytes", answer->max);
    }
    if (status == GDFO_STATUS_OK) {
        *found = is_there;
    }
    return status;
}

enum gdfo_status gdfo_store_call_sums(struct gdfo_store *s, int64_t jid,
                                      struct gdfo_store_spend *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_row;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(db, GDFO_SQL_CALL_SUMS);
    gdfo_query_int(&q, jid);
    status = gdfo_query_row(&q, &has_row, err);
    if (status == GDFO_STATUS_OK && has_row) {
        out->evals = gdfo_query_get_int(&q);
        out->queries = gdfo_query_get_int(&q);
        out->dev_queries = gdfo_query_get_int(&q);
        out->cached = gdfo_query_get_int(&q);
        out->calls = gdfo_query_get_int(&q);
        out->tokens_in = gdfo_query_get_int(&q);
        out->tokens_out = gdfo_query_get_int(&q);
        out->usd_micros = gdfo_query_get_int(&q);
        out->unknown_calls = gdfo_query_get_int(&q);
        gdfo_query_end(&q);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_call_list(struct gdfo_store *s, int64_t jid,
                                      const struct gdfo_store_call *after,
                                      struct gdfo_store_call *out, size_t limit, size_t *n,
                                      struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, limit, read_call, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_more;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_CALL_LIST);
        gdfo_query_int(&q, jid);
        gdfo_query_int(&q, after ? after->seq : INT64_MIN);
        gdfo_query_int(&q, after ? after->part : 0);
        gdfo_query_int(&q, after ? after->attempt : 0);
        gdfo_query_int(&q, (int64_t)limit);
        status = gdfo_query_rows(&q, &rows, n, &has_more, err);
        gdfo_read_end(s, db);
    }
    return status;
}
