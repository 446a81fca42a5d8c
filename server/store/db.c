/* Opening and closing a connection: the pragmas and switches that every one of ours carries. */
#include "server/store/db_priv.h"

#include <sqlite3.h>

#include <stddef.h>

#define SQL_TEXT_MAX (1 << 20)

/* service.md 8.4, Q3: the defaults are not ours. WAL is made by the writer, readers find it. */
static const char both_pragmas[] = "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"
                                   "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
                                   "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=0;";
static const char writer_pragmas[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;";
static const char reader_pragmas[] = "PRAGMA query_only=ON;";

static int remember_wal_pages(void *ctx, sqlite3 *handle, const char *name, int n_pages)
{
    struct gdfo_db *db = ctx;
    (void)handle;
    (void)name;
    db->wal_pages = n_pages;
    return SQLITE_OK;
}

static void switch_off(sqlite3 *handle)
{
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_SQL_LENGTH, SQL_TEXT_MAX);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_VDBE_OP, 25000);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_EXPR_DEPTH, 64);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256);
}

enum gdfo_status gdfo_db_open(struct gdfo_db *db, const char *path, int is_writer,
                              struct gdfo_error *err)
{
    int mode = is_writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    int rc = sqlite3_open_v2(path, &db->handle, mode | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(db->handle, 1);
        switch_off(db->handle);
        rc = sqlite3_exec(db->handle, both_pragmas, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc =
            sqlite3_exec(db->handle, is_writer ? writer_pragmas : reader_pragmas, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK && is_writer) {
        (void)sqlite3_wal_hook(db->handle, remember_wal_pages, db);
    }
    if (rc != SQLITE_OK) {
        enum gdfo_status status = gdfo_db_fail(db, rc, err);
        gdfo_db_close(db);
        return status;
    }
    return GDFO_STATUS_OK;
}

void gdfo_db_close(struct gdfo_db *db)
{
    for (int i = 0; i < GDFO_SQL_END; i++) {
        (void)sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    (void)sqlite3_close(db->handle);
    db->handle = NULL;
}
