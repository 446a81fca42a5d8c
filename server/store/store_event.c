#include "server/store/store_event.h"

#include "common/mem.h"
#include "server/store/store_priv.h"

static const char *const levels[] = {"info", "warn", "error"};

const char *gdfo_store_level_name(enum gdfo_store_level level)
{
    return levels[level];
}

enum gdfo_status gdfo_event_row(struct gdfo_store *s, int64_t jid,
                                const struct gdfo_store_event_new *event, int64_t *seq,
                                struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    enum gdfo_status status;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_EVENT_ADD);
    gdfo_store_id(s, "ftevent-", id);
    gdfo_query_text(&q, id);
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, gdfo_store_now(s));
    gdfo_query_text(&q, levels[event->level]);
    gdfo_query_text(&q, event->type);
    gdfo_query_text(&q, event->message);
    gdfo_query_opt_text(&q, event->data);
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK && seq) {
        *seq = gdfo_db_last_rowid(&s->writer);
    }
    return status;
}

enum gdfo_status gdfo_store_event_add(struct gdfo_store *s, int64_t jid,
                                      const struct gdfo_store_event_new *event, int64_t *seq,
                                      struct gdfo_error *err)
{
    int64_t made = 0;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tx_end(s, gdfo_event_row(s, jid, event, &made, err), err);
    }
    if (status == GDFO_STATUS_OK && seq) {
        *seq = made;
    }
    return status;
}

void gdfo_store_event_deinit(struct gdfo_store_event *e)
{
    gdfo_mem_free(e->message);
    gdfo_mem_free(e->data);
    e->message = NULL;
    e->data = NULL;
}

static enum gdfo_status read_event(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_event *e = row;
    int has_data;
    e->seq = gdfo_query_get_int(q);
    e->at = gdfo_query_get_int(q);
    gdfo_query_get_text(q, e->id, sizeof e->id);
    e->level = (enum gdfo_store_level)(gdfo_query_get_word(q, levels, 3) % 3);
    gdfo_query_get_text(q, e->type, sizeof e->type);
    e->message = gdfo_query_dup_text(q);
    has_data = !gdfo_query_is_null(q);
    e->data = gdfo_query_dup_text(q);
    return e->message && (!has_data || e->data) ? GDFO_STATUS_OK
                                                : gdfo_error_no_memory(err, "reading events");
}

static void drop_event(void *row)
{
    gdfo_store_event_deinit(row);
}

enum gdfo_status gdfo_store_event_list(struct gdfo_store *s, const struct gdfo_store_event_query *q,
                                       struct gdfo_store_event *out, size_t *n, int *has_more,
                                       struct gdfo_error *err)
{
    struct gdfo_store_page page = {q->has_after_seq ? NULL : q->after, q->limit, q->has_after_seq};
    const struct gdfo_rows rows = {out, sizeof *out, q->limit, read_event, drop_event};
    struct gdfo_query found;
    struct gdfo_db *db;
    int64_t key;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, &page, GDFO_SQL_EVENT_KEY, q->jid, &key, err);
    if (status == GDFO_STATUS_OK) {
        found = gdfo_query(db, q->has_after_seq ? GDFO_SQL_EVENT_LIST_UP : GDFO_SQL_EVENT_LIST);
        gdfo_query_int(&found, q->jid);
        gdfo_query_int(&found, q->has_after_seq ? q->after_seq : key);
        gdfo_query_int(&found, (int64_t)q->limit + 1);
        status = gdfo_query_rows(&found, &rows, n, has_more, err);
    }
    gdfo_read_end(s, db);
    return status;
}
