#include "common/file.h"
#include "common/log.h"
#include "server/store/db_priv.h"
#include "server/store/migrate_priv.h"

#include <sqlite3.h>

#include <inttypes.h>
#include <stdio.h>

#define APPLICATION_ID 1195656783 /* "GDFO" */
#define PATH_BYTES     4096

/* Before the schema exists no statement of the table can be prepared; these few have no values. */
static enum gdfo_status pragma_int(struct gdfo_db *db, const char *sql, int64_t *out,
                                   struct gdfo_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(st, 0);
        (void)sqlite3_finalize(st);
        return GDFO_STATUS_OK;
    }
    (void)sqlite3_finalize(st);
    return gdfo_db_fail(db, rc, err);
}

static enum gdfo_status check_owner(struct gdfo_db *db, int64_t version, struct gdfo_error *err)
{
    int64_t id = 0;
    int64_t n_tables = 0;
    enum gdfo_status status = pragma_int(db, "PRAGMA application_id", &id, err);
    if (status == GDFO_STATUS_OK) {
        status = pragma_int(db, "SELECT count(*) FROM sqlite_master", &n_tables, err);
    }
    if (status == GDFO_STATUS_OK && (version != 0 || n_tables != 0) && id != APPLICATION_ID) {
        status =
            gdfo_error_set(err, GDFO_STATUS_FORMAT,
                           "gdfod.db is not a gdfo database (application id %" PRId64 "; want %d)",
                           id, APPLICATION_ID);
    }
    return status;
}

static enum gdfo_status back_up(struct gdfo_db *db, const struct gdfo_migrate *m, int64_t version,
                                struct gdfo_error *err)
{
    char path[PATH_BYTES];
    sqlite3 *copy = NULL;
    sqlite3_backup *b = NULL;
    int rc;
    enum gdfo_status status = gdfo_file_mkdirs(m->backup_folder, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (snprintf(path, sizeof path, "%s/gdfod-v%" PRId64 "-%" PRId64 ".db", m->backup_folder,
                 version, m->now_ms) >= (int)sizeof path) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "the data folder's path is too long");
    }
    rc = sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc == SQLITE_OK) {
        b = sqlite3_backup_init(copy, "main", db->handle, "main");
        rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(copy);
    }
    if (b) {
        rc = sqlite3_backup_finish(b);
    }
    (void)sqlite3_close(copy);
    if (rc != SQLITE_OK) {
        status = gdfo_db_fail(db, rc, err);
        GDFO_IGNORE(gdfo_error_prefix(err, "backup before migrating"));
    }
    return status;
}

static enum gdfo_status run_one(struct gdfo_db *db, const struct gdfo_migration *m,
                                struct gdfo_error *err)
{
    int64_t version = 0;
    enum gdfo_status status;
    int rc = sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db->handle, m->sql, NULL, NULL, NULL);
    }
    status = rc == SQLITE_OK ? pragma_int(db, "PRAGMA user_version", &version, err)
                             : gdfo_db_fail(db, rc, err);
    if (status == GDFO_STATUS_OK && version != m->version) {
        status = gdfo_error_set(err, GDFO_STATUS_STATE,
                                "leaves user_version at %" PRId64 "; want %" PRId64, version,
                                m->version);
    }
    if (status == GDFO_STATUS_OK) {
        rc = sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
        status = rc == SQLITE_OK ? status : gdfo_db_fail(db, rc, err);
    }
    if (status != GDFO_STATUS_OK && !sqlite3_get_autocommit(db->handle)) {
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    }
    if (status != GDFO_STATUS_OK) {
        GDFO_IGNORE(gdfo_error_prefix(err, "migration %s", m->name));
    }
    return status;
}

enum gdfo_status gdfo_migrate(struct gdfo_db *db, const struct gdfo_migrate *m,
                              struct gdfo_error *err)
{
    int64_t version = 0;
    int64_t newest = (int64_t)m->n;
    enum gdfo_status status = pragma_int(db, "PRAGMA user_version", &version, err);
    if (status == GDFO_STATUS_OK) {
        status = check_owner(db, version, err);
    }
    if (status == GDFO_STATUS_OK && version > newest) {
        status =
            gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                           "gdfod.db has schema version %" PRId64
                           "; this gdfod knows versions up to %" PRId64 ": start the newer one",
                           version, newest);
    }
    if (status == GDFO_STATUS_OK && version > 0 && version < newest) {
        status = back_up(db, m, version, err);
    }
    for (int64_t i = version; status == GDFO_STATUS_OK && i < newest; i++) {
        status = run_one(db, &m->migrations[i], err);
        if (status == GDFO_STATUS_OK) {
            gdfo_log(GDFO_LOG_INFO, "store", "ev=migrated to=%" PRId64, i + 1);
        }
    }
    return status;
}
