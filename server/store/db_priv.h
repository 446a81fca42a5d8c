#ifndef GDFO_SERVER_STORE_DB_PRIV_H
#define GDFO_SERVER_STORE_DB_PRIV_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* One SQLite connection with its prepared statements. Used by one thread at a time: the writer
 * under its lock, a reader by who took it. */
#define GDFO_SQL(name, text) GDFO_SQL_##name,
enum gdfo_sql {
#include "server/store/statements.def"
    GDFO_SQL_END
};
#undef GDFO_SQL

struct sqlite3;
struct sqlite3_stmt;

struct gdfo_db {
    struct sqlite3 *handle;
    struct sqlite3_stmt *statements[GDFO_SQL_END]; /* NULL until first used */
    struct gdfo_db *next;                          /* in the list of free readers */
    int wal_pages;                                 /* after the last commit of the writer */
};

/* Any thread may own the connection, one at a time. *db is the caller's; close ends it. */
GDFO_MUST_USE enum gdfo_status gdfo_db_open(struct gdfo_db *db, const char *path, int is_writer,
                                            struct gdfo_error *err);
void gdfo_db_close(struct gdfo_db *db);
GDFO_MUST_USE enum gdfo_status gdfo_db_prepare_all(struct gdfo_db *db, struct gdfo_error *err);
/* What SQLite refused, as a status of ours: FULL, CONFLICT, CORRUPT, BUSY, NO_MEMORY or IO. */
enum gdfo_status gdfo_db_fail(struct gdfo_db *db, int rc, struct gdfo_error *err);
int64_t gdfo_db_last_rowid(const struct gdfo_db *db);
int gdfo_db_changes(const struct gdfo_db *db);

#endif
