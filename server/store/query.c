#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store/query_priv.h"
#include "server/store/row_priv.h"

#include <sqlite3.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Column lists that several statements share, in the order their struct is read. */
#define FILE_SELECT                                                                                \
    "SELECT f.fid,f.pid,f.uid,f.id,p.name,f.filename,f.purpose,f.status,f.sha256,b.bytes,"         \
    "f.n_lines,f.created_at,f.expires_at FROM files f JOIN projects p ON p.pid=f.pid"              \
    " JOIN blobs b ON b.sha256=f.sha256"
#define JOB_SELECT                                                                                 \
    "SELECT j.jid,j.pid,j.uid,j.tch,j.training_fid,j.validation_fid,j.id,tf.id,vf.id,p.id,p.name," \
    "u.name,t.name,j.method,j.status,j.reason,j.rev,j.priority,j.seed,j.name,j.suffix,j.student,"  \
    "j.spec,j.code_version,j.machine_class,m.id,j.generation,j.best_metric,j.best_step,"           \
    "j.best_queries,j.spent_evals,j.spent_queries,j.spent_dev,j.spent_cached,j.spent_calls,"       \
    "j.spent_tokens_in,j.spent_tokens_out,j.spent_usd_micros,j.spent_unknown,j.recoveries,"        \
    "j.err_code,j.err_message,j.err_param,j.created_at,j.updated_at,j.started_at,j.finished_at,"   \
    "j.archived_at,j.precision FROM jobs j JOIN projects p ON p.pid=j.pid JOIN users u ON "        \
    "u.uid=j.uid"                                                                                  \
    " JOIN teachers t ON t.tch=j.tch JOIN files tf ON tf.fid=j.training_fid"                       \
    " LEFT JOIN files vf ON vf.fid=j.validation_fid LEFT JOIN models m ON m.jid=j.jid"
#define CALL_SELECT                                                                                \
    "SELECT c.seq,c.part,c.attempt,c.purpose,c.state,c.epoch,c.n_prompts,c.n_examples,"            \
    "c.n_queries,c.request_sha256,c.held_evals,c.held_queries,c.reserved_in,c.reserved_out,"       \
    "c.reserved_usd_micros,c.used_in,c.used_cached,c.used_out,c.used_usd_micros,c.http_status,"    \
    "c.intent_ms,c.sent_ms,c.done_ms,c.verdict,c.result,c.result_sha256 FROM calls c"
#define BUDGET_OF_JOB                                                                              \
    " FROM budgets b JOIN jobs j ON j.jid=?1 WHERE b.unit=?2 AND ((b.scope='job' AND"              \
    " b.scope_id=j.jid) OR (b.scope='user' AND b.scope_id=j.uid) OR (b.scope='project' AND"        \
    " b.scope_id=j.pid) OR (b.scope='teacher' AND b.scope_id=j.tch) OR b.scope='daemon')"
#define CHECKPOINT_SELECT                                                                          \
    "SELECT c.cid,c.jid,c.step,c.queries,c.created_at,c.id,j.id,c.sha256,b.bytes,c.rank,c.metrics" \
    " FROM checkpoints c JOIN jobs j ON j.jid=c.jid JOIN blobs b ON b.sha256=c.sha256"
#define TEACHER_SELECT                                                                             \
    "SELECT tch,id,name,adapter,model,capabilities,max_inflight,idempotent,from_config,epoch,"     \
    "fingerprint,created_at,archived_at FROM teachers"
#define MODEL_SELECT                                                                               \
    "SELECT m.id,m.jid,m.cid,m.created_at,j.id,c.id,t.name FROM models m JOIN jobs j ON"           \
    " j.jid=m.jid JOIN checkpoints c ON c.cid=m.cid JOIN teachers t ON t.tch=j.tch"

#define GDFO_SQL(name, text) text,
static const char *const texts[GDFO_SQL_END] = {
#include "server/store/statements.def"
};
#undef GDFO_SQL

static struct sqlite3_stmt *prepared(struct gdfo_db *db, enum gdfo_sql sql, int *rc)
{
    if (!db->statements[sql]) {
        *rc = sqlite3_prepare_v3(db->handle, texts[sql], -1, SQLITE_PREPARE_PERSISTENT,
                                 &db->statements[sql], NULL);
    }
    return db->statements[sql];
}

enum gdfo_status gdfo_db_prepare_all(struct gdfo_db *db, struct gdfo_error *err)
{
    for (int i = 0; i < GDFO_SQL_END; i++) {
        int rc = SQLITE_OK;
        if (!prepared(db, (enum gdfo_sql)i, &rc)) {
            return gdfo_db_fail(db, rc, err);
        }
    }
    return GDFO_STATUS_OK;
}

/* A write that fails for a reason of its own (EIO, a file limit) counts like no room (service.md
 * 7.1, D9); SQLite's errno is often another call's by the time it can be asked for. */
static int is_disk_full(struct gdfo_db *db, int rc)
{
    int e = (rc & 0xFF) == SQLITE_IOERR ? sqlite3_system_errno(db->handle) : 0;
    return (rc & 0xFF) == SQLITE_FULL || rc == SQLITE_IOERR_WRITE || gdfo_errno_is_full(e);
}

static enum gdfo_status status_of(int rc)
{
    switch (rc & 0xFF) {
    case SQLITE_CONSTRAINT: return GDFO_STATUS_CONFLICT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return GDFO_STATUS_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return GDFO_STATUS_BUSY;
    case SQLITE_NOMEM: return GDFO_STATUS_NO_MEMORY;
    case SQLITE_TOOBIG: return GDFO_STATUS_LIMIT;
    default: return GDFO_STATUS_IO;
    }
}

enum gdfo_status gdfo_db_fail(struct gdfo_db *db, int rc, struct gdfo_error *err)
{
    char words[256];
    if (is_disk_full(db, rc)) {
        return gdfo_error_set(err, GDFO_STATUS_FULL, "the data folder's disk is full");
    }
    if (rc == SQLITE_CONSTRAINT_TRIGGER) { /* our own words, from the schema */
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT, "%s", sqlite3_errmsg(db->handle));
    }
    gdfo_log(GDFO_LOG_WARN, "store", "ev=refused code=%d words=%s", rc,
             gdfo_log_quote(sqlite3_errmsg(db->handle), words, (int)sizeof words));
    return gdfo_error_set(err, status_of(rc), "storage refused: %s (%d)", sqlite3_errstr(rc), rc);
}

int64_t gdfo_db_last_rowid(const struct gdfo_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int gdfo_db_changes(const struct gdfo_db *db)
{
    return sqlite3_changes(db->handle);
}

struct gdfo_query gdfo_query(struct gdfo_db *db, enum gdfo_sql sql)
{
    struct gdfo_query q = {.db = db, .rc = SQLITE_OK};
    q.st = prepared(db, sql, &q.rc);
    return q;
}

/* Remembers the first failure, so that a chain of binds is checked once. */
static void bound(struct gdfo_query *q, int rc)
{
    q->rc = q->rc == SQLITE_OK ? rc : q->rc;
}

void gdfo_query_int(struct gdfo_query *q, int64_t v)
{
    bound(q, sqlite3_bind_int64(q->st, ++q->n_bound, v));
}

void gdfo_query_opt_int(struct gdfo_query *q, int64_t v)
{
    int i = ++q->n_bound;
    bound(q, v ? sqlite3_bind_int64(q->st, i, v) : sqlite3_bind_null(q->st, i));
}

void gdfo_query_real(struct gdfo_query *q, double v)
{
    bound(q, sqlite3_bind_double(q->st, ++q->n_bound, v));
}

void gdfo_query_text(struct gdfo_query *q, const char *s)
{
    bound(q, sqlite3_bind_text(q->st, ++q->n_bound, s, -1, SQLITE_STATIC));
}

void gdfo_query_opt_text(struct gdfo_query *q, const char *s)
{
    gdfo_query_text(q, s && *s ? s : NULL);
}

void gdfo_query_blob(struct gdfo_query *q, const void *bytes, size_t n)
{
    int i = ++q->n_bound;
    /* n 0 with a pointer is an empty blob, not NULL */
    bound(q, bytes ? sqlite3_bind_blob64(q->st, i, bytes, n, SQLITE_STATIC)
                   : sqlite3_bind_null(q->st, i));
}

enum gdfo_status gdfo_query_row(struct gdfo_query *q, int *has_row, struct gdfo_error *err)
{
    *has_row = 0;
    q->n_read = 0;
    if (q->rc == SQLITE_OK || q->rc == SQLITE_ROW) {
        q->rc = sqlite3_step(q->st);
    }
    if (q->rc == SQLITE_ROW) {
        *has_row = 1;
        return GDFO_STATUS_OK;
    }
    if (q->rc != SQLITE_DONE) {
        enum gdfo_status status = gdfo_db_fail(q->db, q->rc, err);
        gdfo_query_end(q);
        return status;
    }
    gdfo_query_end(q);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_query_run(struct gdfo_query *q, struct gdfo_error *err)
{
    int has_row = 1;
    enum gdfo_status status = GDFO_STATUS_OK;
    while (status == GDFO_STATUS_OK && has_row) {
        status = gdfo_query_row(q, &has_row, err);
    }
    return status;
}

void gdfo_query_end(struct gdfo_query *q)
{
    if (q->st) {
        /* the result repeats what the last step said already */
        (void)sqlite3_reset(q->st);
        (void)sqlite3_clear_bindings(q->st);
    }
    q->st = NULL;
}

int gdfo_query_is_null(const struct gdfo_query *q)
{
    return sqlite3_column_type(q->st, q->n_read) == SQLITE_NULL;
}

int64_t gdfo_query_get_int(struct gdfo_query *q)
{
    return sqlite3_column_int64(q->st, q->n_read++);
}

double gdfo_query_get_real(struct gdfo_query *q)
{
    return sqlite3_column_double(q->st, q->n_read++);
}

void gdfo_query_get_text(struct gdfo_query *q, char *out, size_t out_bytes)
{
    const unsigned char *s = sqlite3_column_text(q->st, q->n_read++);
    GDFO_IGNORE(snprintf(out, out_bytes, "%s", s ? (const char *)s : ""));
}

char *gdfo_query_dup_text(struct gdfo_query *q)
{
    return gdfo_mem_dup_str((const char *)sqlite3_column_text(q->st, q->n_read++));
}

const void *gdfo_query_get_blob(struct gdfo_query *q, size_t *n)
{
    int i = q->n_read++;
    const void *bytes = sqlite3_column_blob(q->st, i);
    *n = (size_t)sqlite3_column_bytes(q->st, i);
    return bytes;
}

void gdfo_query_get_sha256(struct gdfo_query *q, unsigned char out[32])
{
    size_t n;
    const void *bytes = gdfo_query_get_blob(q, &n);
    memset(out, 0, 32);
    if (bytes && n == 32) {
        memcpy(out, bytes, 32);
    }
}

size_t gdfo_query_get_word(struct gdfo_query *q, const char *const *words, size_t n)
{
    const char *s = (const char *)sqlite3_column_text(q->st, q->n_read++);
    size_t i = 0;
    while (i < n && (!s || strcmp(s, words[i]) != 0)) {
        i++;
    }
    return i;
}

enum gdfo_status gdfo_query_one_int(struct gdfo_query *q, int64_t fallback, int64_t *out,
                                    struct gdfo_error *err)
{
    int has_row;
    enum gdfo_status status = gdfo_query_row(q, &has_row, err);
    if (status == GDFO_STATUS_OK) {
        *out = has_row ? gdfo_query_get_int(q) : fallback;
        gdfo_query_end(q);
    }
    return status;
}
