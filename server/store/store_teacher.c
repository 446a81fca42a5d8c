#include "server/store/store_teacher.h"

#include "common/mem.h"
#include "server/store/store_priv.h"

#include <string.h>

#define INFLIGHT_DEFAULT 8

void gdfo_store_teacher_deinit(struct gdfo_store_teacher *t)
{
    gdfo_mem_free(t->capabilities);
    t->capabilities = NULL;
}

/* In the order of TEACHER_SELECT (query.c). */
static enum gdfo_status read_teacher(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_teacher *t = row;
    int is_probed;
    t->tch = gdfo_query_get_int(q);
    gdfo_query_get_text(q, t->id, sizeof t->id);
    gdfo_query_get_text(q, t->name, sizeof t->name);
    gdfo_query_get_text(q, t->adapter, sizeof t->adapter);
    gdfo_query_get_text(q, t->model, sizeof t->model);
    is_probed = !gdfo_query_is_null(q);
    t->capabilities = gdfo_query_dup_text(q);
    t->max_inflight = gdfo_query_get_int(q);
    t->is_idempotent = (int)gdfo_query_get_int(q);
    t->is_from_config = (int)gdfo_query_get_int(q);
    t->epoch = gdfo_query_get_int(q);
    t->has_fingerprint = !gdfo_query_is_null(q);
    gdfo_query_get_sha256(q, t->fingerprint);
    t->created_at = gdfo_query_get_int(q);
    t->archived_at = gdfo_query_get_int(q);
    return !is_probed || t->capabilities ? GDFO_STATUS_OK
                                         : gdfo_error_no_memory(err, "reading teachers");
}

static void drop_teacher(void *row)
{
    gdfo_store_teacher_deinit(row);
}

static enum gdfo_status by_name(struct gdfo_db *db, const char *name_or_id,
                                struct gdfo_store_teacher *out, struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_teacher, drop_teacher};
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_TEACHER_GET);
    gdfo_query_text(&q, name_or_id);
    return gdfo_query_only(&q, &row, "teacher", err);
}

enum gdfo_status gdfo_store_teacher_retire(struct gdfo_store *s, struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_TEACHER_RETIRE);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_tx_end(s, gdfo_query_run(&q, err), err);
}

static enum gdfo_status upsert_row(struct gdfo_store *s, const struct gdfo_store_teacher_new *t,
                                   struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_TEACHER_UPSERT);
    gdfo_store_id(s, "teacher-", id);
    gdfo_query_text(&q, id);
    gdfo_query_text(&q, t->name);
    gdfo_query_text(&q, t->adapter);
    gdfo_query_text(&q, t->model);
    gdfo_query_opt_text(&q, t->capabilities);
    gdfo_query_blob(&q, t->fingerprint, GDFO_SHA256_BYTES);
    gdfo_query_int(&q, t->max_inflight ? t->max_inflight : INFLIGHT_DEFAULT);
    gdfo_query_int(&q, t->is_idempotent != 0);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_store_teacher_upsert(struct gdfo_store *s,
                                           const struct gdfo_store_teacher_new *t,
                                           struct gdfo_store_teacher *out, struct gdfo_error *err)
{
    struct gdfo_store_teacher made = {0};
    size_t n = strlen(t->name);
    enum gdfo_status status;
    if (n < 1 || n >= sizeof made.name || strlen(t->model) >= sizeof made.model) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "teacher name of %zu bytes, model of %zu; want 1..%zu and at most %zu", n,
            strlen(t->model), sizeof made.name - 1, sizeof made.model - 1);
    }
    status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = upsert_row(s, t, err);
    if (status == GDFO_STATUS_OK && out) {
        status = by_name(&s->writer, t->name, &made, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK && out) {
        *out = made;
    } else {
        gdfo_store_teacher_deinit(&made);
    }
    return status;
}

enum gdfo_status gdfo_store_teacher_get(struct gdfo_store *s, const char *name_or_id,
                                        struct gdfo_store_teacher *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        status = by_name(db, name_or_id, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_teacher_of_tch(struct gdfo_store *s, int64_t tch,
                                           struct gdfo_store_teacher *out, struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_teacher, drop_teacher};
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_TEACHER_OF_TCH);
        gdfo_query_int(&q, tch);
        status = gdfo_query_only(&q, &row, "teacher", err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_teacher_list(struct gdfo_store *s, const struct gdfo_store_page *page,
                                         struct gdfo_store_teacher *out, size_t *n, int *has_more,
                                         struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, page->limit, read_teacher, drop_teacher};
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t key;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, page, GDFO_SQL_TEACHER_KEY, 0, &key, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, page->is_ascending ? GDFO_SQL_TEACHER_LIST_UP : GDFO_SQL_TEACHER_LIST);
        gdfo_query_int(&q, key);
        gdfo_query_int(&q, (int64_t)page->limit + 1);
        status = gdfo_query_rows(&q, &rows, n, has_more, err);
    }
    gdfo_read_end(s, db);
    return status;
}
