#include "server/store/store.h"

#include "common/mem.h"
#include "common/ulid.h"
#include "server/store/folder_priv.h"
#include "server/store/migrate_priv.h"
#include "server/store/store_priv.h"

#include <sqlite3.h>

#include <stdio.h>
#include <string.h>

#define READERS_DEFAULT 4

static enum gdfo_status make_locks(struct gdfo_store *s, struct gdfo_error *err)
{
    s->lock = gdfo_lock_create();
    s->idle = gdfo_lock_create();
    s->freed = gdfo_cond_create();
    return s->lock && s->idle && s->freed ? GDFO_STATUS_OK
                                          : gdfo_error_no_memory(err, "opening the store");
}

static enum gdfo_status open_writer(struct gdfo_store *s, const char *path, struct gdfo_error *err)
{
    char backups[GDFO_STORE_PATH_BYTES];
    struct gdfo_migrate m = {gdfo_migrations, gdfo_n_migrations, backups, gdfo_store_now_ms(s)};
    enum gdfo_status status = gdfo_folder_path(s, "backups", backups, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_db_open(&s->writer, path, 1, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_migrate(&s->writer, &m, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_db_prepare_all(&s->writer, err);
    }
    return status;
}

static enum gdfo_status open_readers(struct gdfo_store *s, const char *path, size_t n,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = gdfo_db_open(&s->pool[i], path, 0, err);
        if (status == GDFO_STATUS_OK) {
            s->n_readers++;
            s->pool[i].next = s->readers;
            s->readers = &s->pool[i];
        }
    }
    return status;
}

enum gdfo_status gdfo_store_open(struct gdfo_store **out, const struct gdfo_store_options *options,
                                 struct gdfo_error *err)
{
    char path[GDFO_STORE_PATH_BYTES];
    size_t n_readers = options->n_readers ? options->n_readers : READERS_DEFAULT;
    enum gdfo_status status;
    struct gdfo_store *s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "opening the store");
    }
    s->lock_fd = -1;
    s->clk = options->clk ? options->clk : gdfo_clk_system();
    s->ballast_bytes = options->ballast_bytes;
    status = make_locks(s, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_folder_open(s, options->dir, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_folder_path(s, "gdfod.db", path, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_writer(s, path, err);
    }
    if (status == GDFO_STATUS_OK) {
        n_readers = n_readers < GDFO_STORE_READERS_MAX ? n_readers : GDFO_STORE_READERS_MAX;
        status = open_readers(s, path, n_readers, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_store_close(s);
        return status;
    }
    gdfo_ballast_keep(s);
    *out = s;
    return GDFO_STATUS_OK;
}

void gdfo_store_close(struct gdfo_store *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->n_readers; i++) {
        gdfo_db_close(&s->pool[i]);
    }
    if (s->writer.handle) {
        (void)sqlite3_wal_checkpoint_v2(s->writer.handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                        NULL); /* the next open would do it */
        gdfo_db_close(&s->writer);
    }
    gdfo_folder_close(s);
    gdfo_cond_destroy(s->freed);
    gdfo_lock_destroy(s->idle);
    gdfo_lock_destroy(s->lock);
    gdfo_mem_free(s);
}

const char *gdfo_store_dir(const struct gdfo_store *s)
{
    return s->dir;
}

const char *gdfo_store_library(void)
{
    return sqlite3_libversion();
}

void gdfo_store_id(const struct gdfo_store *s, const char *prefix, char out[GDFO_STORE_ID_BYTES])
{
    char ulid[GDFO_ULID_BYTES];
    gdfo_ulid(ulid, gdfo_store_now_ms(s));
    GDFO_IGNORE(snprintf(out, GDFO_STORE_ID_BYTES, "%.12s%s", prefix, ulid));
}

enum gdfo_status gdfo_store_maintain(struct gdfo_store *s, struct gdfo_error *err)
{
    int folder;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    folder = s->next_sweep++ & 0xFF;
    gdfo_ballast_keep(s);
    status = gdfo_tx_end(s, status, err); /* looks at the WAL on its way out */
    gdfo_blob_sweep(s, folder);
    return status;
}

int gdfo_store_is_full(const struct gdfo_store *s)
{
    return atomic_load(&s->is_full);
}

enum gdfo_status gdfo_store_ping(struct gdfo_store *s, struct gdfo_error *err)
{
    struct gdfo_db *db;
    int64_t n;
    struct gdfo_query q;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(db, GDFO_SQL_PING);
        status = gdfo_query_one_int(&q, 0, &n, err);
        gdfo_read_end(s, db);
    }
    return status;
}

enum gdfo_status gdfo_store_meta_get(struct gdfo_store *s, const char *key, char *out,
                                     size_t out_bytes, struct gdfo_error *err)
{
    struct gdfo_db *db;
    struct gdfo_query q;
    int has_row = 0;
    enum gdfo_status status = gdfo_read_begin(s, &db, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(db, GDFO_SQL_META_GET);
    gdfo_query_text(&q, key);
    status = gdfo_query_row(&q, &has_row, err);
    if (status == GDFO_STATUS_OK && has_row) {
        gdfo_query_get_text(&q, out, out_bytes);
        gdfo_query_end(&q);
    } else if (status == GDFO_STATUS_OK) {
        status = gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no meta value is called %s", key);
    }
    gdfo_read_end(s, db);
    return status;
}

enum gdfo_status gdfo_store_meta_set(struct gdfo_store *s, const char *key, const char *value,
                                     struct gdfo_error *err)
{
    struct gdfo_query q;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_META_SET);
    gdfo_query_text(&q, key);
    gdfo_query_text(&q, value);
    return gdfo_tx_end(s, gdfo_query_run(&q, err), err);
}
