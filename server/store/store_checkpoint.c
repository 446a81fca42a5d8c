#include "common/mem.h"
#include "server/store/step_priv.h"
#include "server/store/store_priv.h"

#include <string.h>

enum gdfo_status gdfo_checkpoint_row(struct gdfo_store *s, int64_t jid,
                                     const struct gdfo_store_checkpoint_new *checkpoint,
                                     const struct gdfo_store_blob *blob, struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    struct gdfo_query q;
    enum gdfo_status status = gdfo_blob_row(s, blob, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_store_id(s, "ftckpt-", id);
    q = gdfo_query(&s->writer, GDFO_SQL_CHECKPOINT_ADD);
    gdfo_query_text(&q, id);
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, checkpoint->step);
    gdfo_query_int(&q, checkpoint->queries);
    gdfo_query_blob(&q, blob->sha256, GDFO_SHA256_BYTES);
    gdfo_query_text(&q, checkpoint->metrics);
    gdfo_query_real(&q, checkpoint->rank);
    gdfo_query_int(&q, gdfo_store_now(s));
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(&s->writer, GDFO_SQL_CHECKPOINT_PRUNE);
        gdfo_query_int(&q, jid);
        status = gdfo_query_run(&q, err);
    }
    return status;
}

void gdfo_store_checkpoint_deinit(struct gdfo_store_checkpoint *checkpoint)
{
    gdfo_mem_free(checkpoint->metrics);
    checkpoint->metrics = NULL;
}

/* In the order of CHECKPOINT_SELECT (query.c). */
static enum gdfo_status read_checkpoint(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_checkpoint *c = row;
    c->cid = gdfo_query_get_int(q);
    c->jid = gdfo_query_get_int(q);
    c->step = gdfo_query_get_int(q);
    c->queries = gdfo_query_get_int(q);
    c->created_at = gdfo_query_get_int(q);
    gdfo_query_get_text(q, c->id, sizeof c->id);
    gdfo_query_get_text(q, c->job, sizeof c->job);
    gdfo_query_get_sha256(q, c->sha256);
    c->bytes = (uint64_t)gdfo_query_get_int(q);
    c->rank = gdfo_query_get_real(q);
    c->metrics = gdfo_query_dup_text(q);
    return c->metrics ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "reading checkpoints");
}

static void drop_checkpoint(void *row)
{
    gdfo_store_checkpoint_deinit(row);
}

static enum gdfo_status one_checkpoint(struct gdfo_store *s, enum gdfo_sql sql, int64_t scope,
                                       const char *id, struct gdfo_store_checkpoint *out,
                                       struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_checkpoint, drop_checkpoint};
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, sql);
        gdfo_query_int(&q, scope);
        if (id) {
            gdfo_query_text(&q, id);
        }
        status = gdfo_query_only(&q, &row, "checkpoint", err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_checkpoint_get(struct gdfo_store *s, int64_t jid, const char *id,
                                           struct gdfo_store_checkpoint *out,
                                           struct gdfo_error *err)
{
    if (strcmp(id, "best") == 0) {
        return one_checkpoint(s, GDFO_SQL_CHECKPOINT_BEST, jid, NULL, out, err);
    }
    if (strcmp(id, "last") == 0) {
        return one_checkpoint(s, GDFO_SQL_CHECKPOINT_LAST, jid, NULL, out, err);
    }
    return one_checkpoint(s, GDFO_SQL_CHECKPOINT_GET, jid, id, out, err);
}

enum gdfo_status gdfo_store_checkpoint_find(struct gdfo_store *s, int64_t pid, const char *id,
                                            struct gdfo_store_checkpoint *out,
                                            struct gdfo_error *err)
{
    return one_checkpoint(s, GDFO_SQL_CHECKPOINT_FIND, pid, id, out, err);
}

enum gdfo_status gdfo_store_checkpoint_list(struct gdfo_store *s, int64_t jid,
                                            const struct gdfo_store_page *page,
                                            struct gdfo_store_checkpoint *out, size_t *n,
                                            int *has_more, struct gdfo_error *err)
{
    const struct gdfo_rows rows = {out, sizeof *out, page->limit, read_checkpoint, drop_checkpoint};
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t key;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, page, GDFO_SQL_CHECKPOINT_KEY, jid, &key, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db,
                       page->is_ascending ? GDFO_SQL_CHECKPOINT_LIST_UP : GDFO_SQL_CHECKPOINT_LIST);
        gdfo_query_int(&q, jid);
        gdfo_query_int(&q, key);
        gdfo_query_int(&q, (int64_t)page->limit + 1);
        status = gdfo_query_rows(&q, &rows, n, has_more, err);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_checkpoint_read(struct gdfo_store *s,
                                            const struct gdfo_store_checkpoint *checkpoint,
                                            struct gdfo_buf *bytes, struct gdfo_error *err)
{
    struct gdfo_store_blob blob = {.bytes = checkpoint->bytes};
    memcpy(blob.sha256, checkpoint->sha256, sizeof blob.sha256);
    return gdfo_store_blob_read(s, &blob, bytes, err);
}
