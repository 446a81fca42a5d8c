#include "server/store/store_file.h"

#include "server/store/store_priv.h"

#include <string.h>

static enum gdfo_status read_file(struct gdfo_query *q, void *row, struct gdfo_error *err)
{
    struct gdfo_store_file *f = row;
    (void)err;
    f->fid = gdfo_query_get_int(q);
    f->pid = gdfo_query_get_int(q);
    f->uid = gdfo_query_get_int(q);
    gdfo_query_get_text(q, f->id, sizeof f->id);
    gdfo_query_get_text(q, f->project, sizeof f->project);
    gdfo_query_get_text(q, f->filename, sizeof f->filename);
    gdfo_query_get_text(q, f->purpose, sizeof f->purpose);
    gdfo_query_get_text(q, f->status, sizeof f->status);
    gdfo_query_get_sha256(q, f->blob.sha256);
    f->blob.bytes = (uint64_t)gdfo_query_get_int(q);
    f->n_lines = gdfo_query_get_int(q);
    f->created_at = gdfo_query_get_int(q);
    f->expires_at = gdfo_query_get_int(q);
    return GDFO_STATUS_OK;
}

static enum gdfo_status one_file(struct gdfo_query *q, struct gdfo_store_file *out,
                                 struct gdfo_error *err)
{
    const struct gdfo_rows row = {out, sizeof *out, 1, read_file, NULL};
    return gdfo_query_only(q, &row, "file", err);
}

static enum gdfo_status file_of_fid(struct gdfo_db *db, int64_t fid, struct gdfo_store_file *out,
                                    struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_FILE_OF_FID);
    gdfo_query_int(&q, fid);
    return one_file(&q, out, err);
}

static enum gdfo_status check_new(const struct gdfo_store_file_new *file, struct gdfo_error *err)
{
    size_t n = strlen(file->filename);
    if (n < 1 || n >= GDFO_STORE_FILENAME_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "filename has %zu bytes; want 1..%d", n,
                              GDFO_STORE_FILENAME_BYTES - 1);
    }
    if (file->blob.bytes > GDFO_STORE_BLOB_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "a file of %llu bytes; at most %llu",
                              (unsigned long long)file->blob.bytes,
                              (unsigned long long)GDFO_STORE_BLOB_MAX);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status insert_file(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                    const struct gdfo_store_file_new *file, int64_t *fid,
                                    struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    /* What the daemon itself adds (a job's results) belongs to the user everyone is for now. */
    const struct gdfo_store_actor local = {.uid = GDFO_STORE_LOCAL_UID,
                                           .pid = GDFO_STORE_LOCAL_PID};
    const struct gdfo_store_actor *owner = who ? who : &local;
    struct gdfo_audit audit = {"file.create", id, NULL};
    enum gdfo_status status;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_FILE_ADD);
    gdfo_store_id(s, "file-", id);
    gdfo_query_text(&q, id);
    gdfo_query_int(&q, owner->pid);
    gdfo_query_int(&q, owner->uid);
    gdfo_query_blob(&q, file->blob.sha256, GDFO_SHA256_BYTES);
    gdfo_query_text(&q, file->filename);
    gdfo_query_text(&q, file->purpose);
    gdfo_query_text(&q, file->result_of_jid ? "processed" : "uploaded");
    gdfo_query_opt_int(&q, file->n_lines);
    gdfo_query_int(&q, gdfo_store_now(s));
    status = gdfo_query_run(&q, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    *fid = gdfo_db_last_rowid(&s->writer);
    if (file->result_of_jid) {
        q = gdfo_query(&s->writer, GDFO_SQL_RESULT_ADD);
        gdfo_query_int(&q, file->result_of_jid);
        gdfo_query_int(&q, *fid);
        status = gdfo_query_run(&q, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_audit_add(s, who, &audit, err) : status;
}

enum gdfo_status gdfo_store_file_add(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                     const struct gdfo_store_file_new *file,
                                     struct gdfo_store_file *out, struct gdfo_error *err)
{
    struct gdfo_store_file made;
    int64_t fid = 0;
    enum gdfo_status status = check_new(file, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tx_begin(s, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_blob_row(s, &file->blob, err);
    if (status == GDFO_STATUS_OK) {
        status = insert_file(s, who, file, &fid, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = file_of_fid(&s->writer, fid, &made, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK && out) {
        *out = made;
    }
    return status;
}

enum gdfo_status gdfo_store_file_get(struct gdfo_store *s, int64_t pid, const char *id,
                                     struct gdfo_store_file *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_FILE_GET);
        gdfo_query_int(&q, pid);
        gdfo_query_text(&q, id);
        status = one_file(&q, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_file_of_fid(struct gdfo_store *s, int64_t fid,
                                        struct gdfo_store_file *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        status = file_of_fid(db, fid, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_file_find(struct gdfo_store *s, int64_t pid,
                                      const unsigned char sha256[GDFO_SHA256_BYTES],
                                      struct gdfo_store_file *out, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_FILE_FIND);
        gdfo_query_int(&q, pid);
        gdfo_query_blob(&q, sha256, GDFO_SHA256_BYTES);
        status = one_file(&q, out, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_file_list(struct gdfo_store *s,
                                      const struct gdfo_store_file_filter *filter,
                                      const struct gdfo_store_page *page,
                                      struct gdfo_store_file *out, size_t *n, int *has_more,
                                      struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    int64_t key;
    const struct gdfo_rows rows = {out, sizeof *out, page->limit, read_file, NULL};
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_page_key(db, page, GDFO_SQL_FILE_KEY, filter->pid, &key, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, page->is_ascending ? GDFO_SQL_FILE_LIST_UP : GDFO_SQL_FILE_LIST);
        gdfo_query_int(&q, filter->pid);
        gdfo_query_opt_text(&q, filter->purpose);
        gdfo_query_int(&q, key);
        gdfo_query_int(&q, (int64_t)page->limit + 1);
        status = gdfo_query_rows(&q, &rows, n, has_more, err);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_file_set_status(struct gdfo_store *s, int64_t fid, const char *state,
                                            int64_t n_lines, struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_FILE_SET_STATUS);
    gdfo_query_int(&q, fid);
    gdfo_query_text(&q, state);
    gdfo_query_opt_int(&q, n_lines);
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK && gdfo_db_changes(&s->writer) == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no such file");
    }
    return gdfo_tx_end(s, status, err);
}

/* CONFLICT with the id of a live job that reads this file. */
static enum gdfo_status check_unused(struct gdfo_store *s, int64_t fid, struct gdfo_error *err)
{
    char job[GDFO_STORE_ID_BYTES];
    int has_row;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_FILE_USER);
    enum gdfo_status status;
    gdfo_query_int(&q, fid);
    status = gdfo_query_row(&q, &has_row, err);
    if (status == GDFO_STATUS_OK && has_row) {
        gdfo_query_get_text(&q, job, sizeof job);
        gdfo_query_end(&q);
        status = gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                                "job %s needs this file until it has ended", job);
        gdfo_error_at(err, "", "file_in_use");
    }
    return status;
}

static enum gdfo_status delete_row(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                   const char *id, struct gdfo_error *err)
{
    struct gdfo_store_file f;
    struct gdfo_audit audit = {"file.delete", id, NULL};
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_FILE_GET);
    enum gdfo_status status;
    gdfo_query_int(&q, who->pid);
    gdfo_query_text(&q, id);
    status = one_file(&q, &f, err);
    if (status == GDFO_STATUS_OK) {
        status = check_unused(s, f.fid, err);
    }
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(&s->writer, GDFO_SQL_FILE_DELETE);
        gdfo_query_int(&q, f.fid);
        gdfo_query_int(&q, gdfo_store_now(s));
        status = gdfo_query_run(&q, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_audit_add(s, who, &audit, err) : status;
}

enum gdfo_status gdfo_store_file_delete(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                        const char *id, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_tx_begin(s, err);
    return status == GDFO_STATUS_OK ? gdfo_tx_end(s, delete_row(s, who, id, err), err) : status;
}
