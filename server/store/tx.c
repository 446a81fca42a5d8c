/*
 * DESIGN. Who may use which connection. One lock serialises writers; a transaction holds it from
 * BEGIN IMMEDIATE to COMMIT, so SQLITE_BUSY cannot come from ourselves. Checkpoints of the WAL are
 * made here too, by the same connection, because SQLite before 3.51.3 can corrupt a WAL that two
 * connections write and checkpoint at once. A reader is lent to one thread for one read transaction
 * and goes back before the caller waits for anything, so no reader pins the WAL.
 */
#include "common/log.h"
#include "server/store/folder_priv.h"
#include "server/store/store_priv.h"

#include <sqlite3.h>

#include <inttypes.h>

#define PAGE_BYTES     4096
#define PASSIVE_PAGES  ((4 << 20) / PAGE_BYTES) /* service.md 8.4, Q3 */
#define TRUNCATE_PAGES ((64 << 20) / PAGE_BYTES)

int64_t gdfo_store_now_ms(const struct gdfo_store *s)
{
    return gdfo_clk_wall_ms(s->clk);
}

int64_t gdfo_store_now(const struct gdfo_store *s)
{
    return gdfo_store_now_ms(s) / 1000;
}

static enum gdfo_status run_plain(struct gdfo_db *db, enum gdfo_sql sql, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(db, sql);
    return gdfo_query_run(&q, err);
}

enum gdfo_status gdfo_tx_begin(struct gdfo_store *s, struct gdfo_error *err)
{
    enum gdfo_status status;
    gdfo_lock_acquire(s->lock);
    status = run_plain(&s->writer, GDFO_SQL_BEGIN_WRITE, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_lock_release(s->lock);
    }
    return status;
}

static void checkpoint_when_due(struct gdfo_store *s)
{
    int n_log = 0;
    int n_done = 0;
    int mode = s->writer.wal_pages >= TRUNCATE_PAGES ? SQLITE_CHECKPOINT_TRUNCATE
                                                     : SQLITE_CHECKPOINT_PASSIVE;
    if (s->writer.wal_pages < PASSIVE_PAGES) {
        return;
    }
    /* A reader in the way makes it a partial one; the next commit tries again. */
    (void)sqlite3_wal_checkpoint_v2(s->writer.handle, NULL, mode, &n_log, &n_done);
    if (n_log >= 0 && n_log == n_done) {
        s->writer.wal_pages = 0;
    }
}

static void roll_back(struct gdfo_store *s)
{
    /* a full disk and some other failures have rolled back by themselves */
    if (!sqlite3_get_autocommit(s->writer.handle)) {
        GDFO_IGNORE(run_plain(&s->writer, GDFO_SQL_ROLLBACK, NULL));
    }
}

enum gdfo_status gdfo_tx_end(struct gdfo_store *s, enum gdfo_status status, struct gdfo_error *err)
{
    if (status == GDFO_STATUS_OK) {
        status = run_plain(&s->writer, GDFO_SQL_COMMIT, err);
    }
    if (status != GDFO_STATUS_OK) {
        roll_back(s);
    } else {
        atomic_store(&s->is_full, 0);
        checkpoint_when_due(s);
    }
    if (status == GDFO_STATUS_FULL && !atomic_exchange(&s->is_full, 1)) {
        gdfo_log(GDFO_LOG_ERROR, "store", "ev=disk_full");
        gdfo_ballast_drop(s);
    }
    gdfo_lock_release(s->lock);
    return status;
}

enum gdfo_status gdfo_read_begin(struct gdfo_store *s, struct gdfo_db **db, struct gdfo_error *err)
{
    enum gdfo_status status;
    gdfo_lock_acquire(s->idle);
    while (!s->readers) {
        gdfo_cond_wait(s->freed, s->idle);
    }
    *db = s->readers;
    s->readers = (*db)->next;
    gdfo_lock_release(s->idle);
    status = run_plain(*db, GDFO_SQL_BEGIN_READ, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_read_end(s, *db);
    }
    return status;
}

void gdfo_read_end(struct gdfo_store *s, struct gdfo_db *db)
{
    if (!sqlite3_get_autocommit(db->handle)) {
        GDFO_IGNORE(run_plain(db, GDFO_SQL_COMMIT, NULL)); /* nothing was written */
    }
    gdfo_lock_acquire(s->idle);
    db->next = s->readers;
    s->readers = db;
    gdfo_cond_signal(s->freed);
    gdfo_lock_release(s->idle);
}

enum gdfo_status gdfo_page_key(struct gdfo_db *db, const struct gdfo_store_page *page,
                               enum gdfo_sql sql, int64_t scope, int64_t *key,
                               struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status;
    if (page->limit < 1 || page->limit > GDFO_STORE_LIST_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "limit is %zu; want 1..%d", page->limit,
                              GDFO_STORE_LIST_MAX);
    }
    *key = page->is_ascending ? 0 : INT64_MAX;
    if (!page->after || !*page->after) {
        return GDFO_STATUS_OK;
    }
    q = gdfo_query(db, sql);
    if (scope != 0) {
        gdfo_query_int(&q, scope);
    }
    gdfo_query_text(&q, page->after);
    status = gdfo_query_one_int(&q, -1, key, err);
    if (status == GDFO_STATUS_OK && *key < 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "after names nothing in this list; want the id of a row of it");
        gdfo_error_at(err, "/after", NULL);
    }
    return status;
}
