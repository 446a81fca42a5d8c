#include "server/store/store_key.h"

#include "server/store/store_priv.h"

#include <string.h>

#define DAY_S 86400

struct used_key {
    char route[GDFO_STORE_NAME_BYTES];
    unsigned char body_sha256[GDFO_SHA256_BYTES];
    int64_t status; /* 0: the first use is still running */
};

static enum gdfo_status expire(struct gdfo_store *s, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_KEY_EXPIRE);
    gdfo_query_int(&q, gdfo_store_now(s) - DAY_S);
    return gdfo_query_run(&q, err);
}

static enum gdfo_status read_used(struct gdfo_store *s, const struct gdfo_store_key *key,
                                  struct used_key *used, struct gdfo_buf *response, int *found,
                                  struct gdfo_error *err)
{
    const void *bytes;
    size_t n;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_KEY_GET);
    enum gdfo_status status;
    gdfo_query_int(&q, key->uid);
    gdfo_query_text(&q, key->key);
    status = gdfo_query_row(&q, found, err);
    if (status == GDFO_STATUS_OK && *found) {
        gdfo_query_get_text(&q, used->route, sizeof used->route);
        gdfo_query_get_sha256(&q, used->body_sha256);
        used->status = gdfo_query_get_int(&q);
        bytes = gdfo_query_get_blob(&q, &n);
        gdfo_buf_addn(response, bytes ? bytes : "", n);
        gdfo_query_end(&q);
        if (!gdfo_buf_ok(response)) {
            status = gdfo_error_no_memory(err, "reading a stored answer");
        }
    }
    return status;
}

static enum gdfo_status judge(const struct gdfo_store_key *key, const struct used_key *used,
                              struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (strcmp(used->route, key->route) != 0 ||
        memcmp(used->body_sha256, key->body_sha256, GDFO_SHA256_BYTES) != 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "this Idempotency-Key was used for another request");
        gdfo_error_at(err, "", "idempotency_key_reused");
    } else if (used->status == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_BUSY,
                                "the first request with this Idempotency-Key is still running");
        gdfo_error_at(err, "", "idempotency_in_flight");
    }
    return status;
}

static enum gdfo_status take_row(struct gdfo_store *s, const struct gdfo_store_key *key,
                                 struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_KEY_TAKE);
    gdfo_query_int(&q, key->uid);
    gdfo_query_text(&q, key->key);
    gdfo_query_text(&q, key->route);
    gdfo_query_blob(&q, key->body_sha256, GDFO_SHA256_BYTES);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_store_key_take(struct gdfo_store *s, const struct gdfo_store_key *key,
                                     int *http_status, struct gdfo_buf *response,
                                     struct gdfo_error *err)
{
    struct used_key used = {.status = 0};
    int found = 0;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = expire(s, err);
    if (status == GDFO_STATUS_OK) {
        status = read_used(s, key, &used, response, &found, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = found ? judge(key, &used, err) : take_row(s, key, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK) {
        *http_status = (int)used.status;
    }
    return status;
}

enum gdfo_status gdfo_store_key_finish(struct gdfo_store *s, const struct gdfo_store_key *key,
                                       int http_status, const char *response,
                                       struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_KEY_FINISH);
    gdfo_query_int(&q, key->uid);
    gdfo_query_text(&q, key->key);
    gdfo_query_int(&q, http_status);
    gdfo_query_text(&q, response);
    return gdfo_tx_end(s, gdfo_query_run(&q, err), err);
}

enum gdfo_status gdfo_store_key_forget(struct gdfo_store *s, const struct gdfo_store_key *key,
                                       struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_KEY_FORGET);
    gdfo_query_int(&q, key->uid);
    gdfo_query_text(&q, key->key);
    return gdfo_tx_end(s, gdfo_query_run(&q, err), err);
}
