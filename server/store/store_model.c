#include "server/store/store_model.h"

#include "server/store/store_priv.h"

/* In the order of MODEL_SELECT (query.c). */
static enum gdfo_status read_model(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_model *m = row;
    (void)err;
    gdfo_query_get_text(q, m->id, sizeof m->id);
    m->jid = gdfo_query_get_int(q);
    m->cid = gdfo_query_get_int(q);
    m->created_at = gdfo_query_get_int(q);
    gdfo_query_get_text(q, m->job, sizeof m->job);
    gdfo_query_get_text(q, m->checkpoint, sizeof m->checkpoint);
    gdfo_query_get_text(q, m->teacher, sizeof m->teacher);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_model_get(struct gdfo_store *s, int64_t pid, const char *id,
                                      struct gdfo_store_model *out, struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_model, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_MODEL_GET);
        gdfo_query_int(&q, pid);
        gdfo_query_text(&q, id);
        status = gdfo_query_only(&q, &row, "model", err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_model_list(struct gdfo_store *s, int64_t pid,
                                       const struct gdfo_store_page *page,
                                       struct gdfo_store_model *out, size_t *n, int *has_more,
                                       struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, page->limit, read_model, NULL};
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t key;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, page, GDFO_SQL_MODEL_KEY, pid, &key, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, page->is_ascending ? GDFO_SQL_MODEL_LIST_UP : GDFO_SQL_MODEL_LIST);
        gdfo_query_int(&q, pid);
        gdfo_query_int(&q, key);
        gdfo_query_int(&q, (int64_t)page->limit + 1);
        status = gdfo_query_rows(&q, &rows, n, has_more, err);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_service_begin(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                          const struct gdfo_store_service_call *call, int64_t *sid,
                                          struct gdfo_error *err)
{
    /* A call of the daemon's own belongs to the local user: its row needs an owner. */
    static const struct gdfo_store_actor local = {.uid = GDFO_STORE_LOCAL_UID,
                                                  .pid = GDFO_STORE_LOCAL_PID};
    const struct gdfo_store_actor *owner = who ? who : &local;
    int64_t made = 0;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_SERVICE_ADD);
    gdfo_query_text(&q, call->kind);
    gdfo_query_int(&q, owner->pid);
    gdfo_query_int(&q, owner->uid);
    gdfo_query_int(&q, call->tch);
    gdfo_query_opt_int(&q, call->jid);
    gdfo_query_int(&q, call->n_queries);
    gdfo_query_int(&q, call->reserved_in);
    gdfo_query_int(&q, call->reserved_out);
    gdfo_query_int(&q, call->reserved_usd_micros);
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    status = gdfo_query_run(&q, err);
    made = gdfo_db_last_rowid(&s->writer);
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK) {
        *sid = made;
    }
    return status;
}

enum gdfo_status gdfo_store_service_end(struct gdfo_store *s, int64_t sid, const char *state,
                                        int64_t used_in, int64_t used_out, struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_SERVICE_END);
    gdfo_query_int(&q, sid);
    gdfo_query_text(&q, state);
    gdfo_query_int(&q, used_in);
    gdfo_query_int(&q, used_out);
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK && gdfo_db_changes(&s->writer) == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_CONFLICT, "service call is not open");
    }
    return gdfo_tx_end(s, status, err);
}
