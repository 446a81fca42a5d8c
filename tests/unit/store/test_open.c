#include "common/file.h"
#include "server/store/db_priv.h"
#include "server/store/migrate_priv.h"
#include "tests/unit/store/fixture.h"

#include <sqlite3.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void path_in(const struct fixture *f, const char *name, char out[4096])
{
    (void)snprintf(out, 4096, "%s/%s", f->dir, name);
}

static unsigned int mode_of(const struct fixture *f, const char *name)
{
    char path[4096];
    struct stat st;
    path_in(f, name, path);
    assert_int_equal(stat(path, &st), 0);
    return (unsigned int)st.st_mode & 0777U;
}

static void exec_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
}

static int64_t ask_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t v;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
    return v;
}

static void everything_in_the_folder_is_private(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mode_of(f, "."), 0700);
    assert_int_equal(mode_of(f, "gdfod.db"), 0600);
    assert_int_equal(mode_of(f, "gdfod.db-wal"), 0600);
    assert_int_equal(mode_of(f, "gdfod.lock"), 0600);
    assert_int_equal(mode_of(f, "blobs"), 0700);
    assert_int_equal(mode_of(f, "tmp"), 0700);
}

static void a_missing_folder_is_made_with_its_parents(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    struct gdfo_store *s;
    struct stat st;
    path_in(f, "a/b/c", path);
    gdfo_test_ok(gdfo_store_open(&s, &(struct gdfo_store_options){.dir = path}, &f->err), &f->err);
    assert_string_equal(gdfo_store_dir(s), path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    gdfo_store_close(s);
}

static void a_second_daemon_is_refused_with_the_pid_of_the_first(void **state)
{
    struct fixture *f = *state;
    char want[128];
    int status = 1;
    pid_t child;
    (void)snprintf(want, sizeof want, "state folder is in use by another gdfod (pid %ld)",
                   (long)getpid());
    child = fork();
    if (child == 0) {
        struct gdfo_store *s = NULL;
        struct gdfo_error err = {0};
        const struct gdfo_store_options options = {.dir = f->dir};
        int ok = gdfo_store_open(&s, &options, &err) == GDFO_STATUS_CONFLICT && s == NULL &&
                 strcmp(err.text, want) == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    gdfo_test_ok(gdfo_store_ping(f->s, &f->err), &f->err); /* the first one is not hurt */
}

static void the_lock_goes_with_a_clean_close_and_a_stale_file_does_not_matter(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    int fd;
    path_in(f, "gdfod.lock", path);
    gdfo_store_close(f->s);
    f->s = NULL;
    assert_int_not_equal(access(path, F_OK), 0);
    fd = open(path, O_CREAT | O_WRONLY, 0600); /* what a killed daemon leaves */
    assert_int_equal(write(fd, "999999\n", 7), 7);
    (void)close(fd);
    fixture_open(f);
}

static void closing_leaves_no_wal(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    struct stat st;
    gdfo_store_close(f->s);
    f->s = NULL;
    path_in(f, "gdfod.db-wal", path);
    assert_true(stat(path, &st) != 0 || st.st_size == 0);
    fixture_open(f);
}

static void a_newer_database_is_refused_with_its_version(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    struct gdfo_store *s = NULL;
    const struct gdfo_store_options options = {.dir = f->dir};
    char mend[64];
    gdfo_store_close(f->s);
    f->s = NULL;
    path_in(f, "gdfod.db", path);
    (void)snprintf(mend, sizeof mend, "PRAGMA user_version=%lld",
                   (long long)ask_sql(path, "PRAGMA user_version"));
    exec_sql(path, "PRAGMA user_version=977");
    assert_int_equal(gdfo_store_open(&s, &options, &f->err), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(f->err.text, "schema version 977"));
    assert_null(s);
    exec_sql(path, mend);
    fixture_open(f); /* and the lock had been given back */
}

static void a_foreign_database_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    char dir[4096];
    struct gdfo_store *s = NULL;
    struct gdfo_store_options options = {.dir = dir};
    path_in(f, "foreign", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/foreign/gdfod.db", f->dir);
    exec_sql(path, "CREATE TABLE theirs(x)");
    assert_int_equal(gdfo_store_open(&s, &options, &f->err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(f->err.text, "not a gdfo database"));
    assert_int_equal(ask_sql(path, "SELECT count(*) FROM sqlite_master"), 1);
}

static void garbage_in_place_of_the_database_is_corrupt(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    char text[4096];
    struct gdfo_store *s = NULL;
    const struct gdfo_store_options options = {.dir = f->dir};
    gdfo_store_close(f->s);
    f->s = NULL;
    path_in(f, "gdfod.db", path);
    memset(text, 'x', sizeof text);
    gdfo_test_ok(gdfo_file_write(path, text, sizeof text, &f->err), &f->err);
    assert_int_equal(gdfo_store_open(&s, &options, &f->err), GDFO_STATUS_CORRUPT);
    assert_int_equal(unlink(path), 0);
    fixture_open(f);
}

static void a_path_longer_than_the_system_allows_is_refused(void **state)
{
    struct fixture *f = *state;
    char dir[5000];
    struct gdfo_store *s = NULL;
    const struct gdfo_store_options options = {.dir = dir};
    memset(dir, 'd', sizeof dir - 1);
    dir[sizeof dir - 1] = '\0';
    assert_int_equal(gdfo_store_open(&s, &options, &f->err), GDFO_STATUS_INVALID);
    dir[0] = '\0';
    assert_int_equal(gdfo_store_open(&s, &options, &f->err), GDFO_STATUS_INVALID);
}

/* ---- migrations ---------------------------------------------------------------------------- */

static size_t count_files(const char *dir)
{
    size_t n = 0;
    struct dirent *entry;
    DIR *d = opendir(dir);
    while (d && (entry = readdir(d)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    if (d) {
        (void)closedir(d);
    }
    return n;
}

#define STAMP "PRAGMA application_id=1195656783;"

static const struct gdfo_migration good[] = {
    {1, "0001_one.sql", STAMP "CREATE TABLE a(x); INSERT INTO a VALUES(41); PRAGMA user_version=1"},
    {2, "0002_two.sql", "UPDATE a SET x=x+1; PRAGMA user_version=2"},
    {3, "0003_three.sql", "CREATE TABLE b(y); PRAGMA user_version=3"},
};

struct old {
    struct gdfo_db db;
    char path[4096], backups[4096];
    struct gdfo_migrate m;
};

static void old_open(struct fixture *f, struct old *o, size_t n)
{
    memset(o, 0, sizeof *o);
    path_in(f, "old.db", o->path);
    path_in(f, "backups", o->backups);
    o->m = (struct gdfo_migrate){good, n, o->backups, 1234};
    gdfo_test_ok(gdfo_db_open(&o->db, o->path, 1, &f->err), &f->err);
}

static void an_old_database_is_copied_then_taken_step_by_step(void **state)
{
    struct fixture *f = *state;
    struct old o;
    char copy[8300];
    old_open(f, &o, 1);
    gdfo_test_ok(gdfo_migrate(&o.db, &o.m, &f->err), &f->err);
    assert_int_equal(count_files(o.backups), 0); /* there was nothing to lose */
    o.m.n = 3;
    gdfo_test_ok(gdfo_migrate(&o.db, &o.m, &f->err), &f->err);
    gdfo_db_close(&o.db);
    assert_int_equal(ask_sql(o.path, "PRAGMA user_version"), 3);
    assert_int_equal(ask_sql(o.path, "SELECT x FROM a"), 42);
    (void)snprintf(copy, sizeof copy, "%s/gdfod-v1-1234.db", o.backups);
    assert_int_equal(count_files(o.backups), 1);
    assert_int_equal(ask_sql(copy, "PRAGMA user_version"), 1);
    assert_int_equal(ask_sql(copy, "SELECT x FROM a"), 41);
}

static void a_database_that_is_up_to_date_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct old o;
    old_open(f, &o, 3);
    gdfo_test_ok(gdfo_migrate(&o.db, &o.m, &f->err), &f->err);
    gdfo_test_ok(gdfo_migrate(&o.db, &o.m, &f->err), &f->err);
    gdfo_db_close(&o.db);
    assert_int_equal(ask_sql(o.path, "SELECT x FROM a"), 42);
    assert_int_equal(count_files(o.backups), 0);
}

static void a_migration_that_fails_leaves_the_version_before_it(void **state)
{
    static const struct gdfo_migration bad[] = {
        {1, "0001_one.sql", STAMP "CREATE TABLE a(x); PRAGMA user_version=1"},
        {2, "0002_half.sql",
         "CREATE TABLE c(z); INSERT INTO nowhere VALUES(1);"
         " PRAGMA user_version=2"},
    };
    struct fixture *f = *state;
    struct old o;
    old_open(f, &o, 2);
    o.m.migrations = bad;
    assert_int_not_equal(gdfo_migrate(&o.db, &o.m, &f->err), GDFO_STATUS_OK);
    assert_non_null(strstr(f->err.text, "migration 0002_half.sql"));
    gdfo_db_close(&o.db);
    assert_int_equal(ask_sql(o.path, "PRAGMA user_version"), 1);
    assert_int_equal(ask_sql(o.path, "SELECT count(*) FROM sqlite_master WHERE name='c'"), 0);
}

static void a_migration_that_forgets_its_number_is_refused(void **state)
{
    static const struct gdfo_migration bad[] = {{1, "0001_one.sql", STAMP "CREATE TABLE a(x)"}};
    struct fixture *f = *state;
    struct old o;
    old_open(f, &o, 1);
    o.m.migrations = bad;
    assert_int_equal(gdfo_migrate(&o.db, &o.m, &f->err), GDFO_STATUS_STATE);
    gdfo_db_close(&o.db);
    assert_int_equal(ask_sql(o.path, "SELECT count(*) FROM sqlite_master"), 0);
}

/* 0002: what had begun was begun in float32, the only precision there was; what had not is free. */
static void jobs_that_had_begun_before_there_were_precisions_are_in_f32(void **state)
{
    static const char add[] =
        "INSERT INTO jobs(jid,id,pid,uid,tch,training_fid,method,status,seed,spec,spec_sha256,"
        "code_version,created_at,updated_at,started_at) VALUES"
        "(1,'a',1,1,1,1,'bbt','paused',1,'{}',x'00','0',1,1,5),"
        "(2,'b',1,1,1,1,'bbt','queued',1,'{}',x'00','0',1,1,NULL)";
    struct fixture *f = *state;
    char path[4096];
    path_in(f, "one.db", path);
    exec_sql(path, gdfo_migrations[0].sql);
    exec_sql(path, add);
    exec_sql(path, gdfo_migrations[1].sql);
    assert_int_equal(ask_sql(path, "SELECT precision='f32' FROM jobs WHERE jid=1"), 1);
    assert_int_equal(ask_sql(path, "SELECT precision IS NULL FROM jobs WHERE jid=2"), 1);
    assert_int_equal(ask_sql(path, "SELECT count(*) FROM model_precisions"), 0);
}

/* Every table, index and trigger of the contract is in a fresh database, with at least its columns,
 * and with triggers that say the same. */
static void a_fresh_database_holds_the_contracts_schema(void **state)
{
    static const char same_objects[] =
        "SELECT count(*) FROM c.sqlite_master w WHERE w.name NOT LIKE 'sqlite_%' AND NOT EXISTS("
        "SELECT 1 FROM main.sqlite_master h WHERE h.type=w.type AND h.name=w.name AND "
        "(w.type='table' OR h.sql=w.sql))";
    static const char same_columns[] =
        "SELECT count(*) FROM c.sqlite_master t, pragma_table_info(t.name,'c') w WHERE "
        "t.type='table' AND t.name NOT LIKE 'sqlite_%' AND NOT EXISTS(SELECT 1 FROM "
        "pragma_table_info(t.name,'main') h WHERE h.name=w.name AND h.type=w.type AND "
        "h.\"notnull\"=w.\"notnull\" AND h.pk=w.pk AND h.dflt_value IS w.dflt_value)";
    struct fixture *f = *state;
    struct gdfo_buf sql;
    char contract[4096];
    char ours[4096];
    char attach[8300];
    sqlite3 *db;
    sqlite3_stmt *st;
    const char *questions[] = {same_objects, same_columns};
    gdfo_store_close(f->s);
    f->s = NULL;
    path_in(f, "contract.db", contract);
    path_in(f, "gdfod.db", ours);
    gdfo_test_shared_read("design/schema.sql", &sql);
    exec_sql(contract, sql.data);
    gdfo_buf_deinit(&sql);
    assert_int_equal(sqlite3_open(ours, &db), SQLITE_OK);
    (void)snprintf(attach, sizeof attach, "ATTACH '%s' AS c", contract);
    assert_int_equal(sqlite3_exec(db, attach, NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(sqlite3_prepare_v2(db, questions[i], -1, &st, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int64(st, 0), 0);
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    fixture_open(f);
}

static void the_connection_carries_the_settings_of_the_contract(void **state)
{
    static const struct {
        const char *pragma;
        int64_t want;
    } settings[] = {{"PRAGMA synchronous", 2},       {"PRAGMA foreign_keys", 1},
                    {"PRAGMA trusted_schema", 0},    {"PRAGMA cell_size_check", 1},
                    {"PRAGMA mmap_size", 0},         {"PRAGMA temp_store", 2},
                    {"PRAGMA wal_autocheckpoint", 0}};
    struct fixture *f = *state;
    struct gdfo_db db;
    char path[4096];
    sqlite3_stmt *st;
    memset(&db, 0, sizeof db);
    path_in(f, "other.db", path);
    gdfo_test_ok(gdfo_db_open(&db, path, 1, &f->err), &f->err);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        assert_int_equal(sqlite3_prepare_v2(db.handle, settings[i].pragma, -1, &st, NULL), 0);
        /* mmap_size answers without a row where the system has no mmap */
        if (sqlite3_step(st) == SQLITE_ROW) {
            assert_int_equal(sqlite3_column_int64(st, 0), settings[i].want);
        }
        (void)sqlite3_finalize(st);
    }
    assert_int_equal(sqlite3_prepare_v2(db.handle, "PRAGMA journal_mode", -1, &st, NULL), 0);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), "wal");
    (void)sqlite3_finalize(st);
    gdfo_db_close(&db);
}

/* ---- small things -------------------------------------------------------------------------- */

static void meta_values_are_kept_over_a_restart(void **state)
{
    struct fixture *f = *state;
    char value[32];
    assert_int_equal(gdfo_store_meta_get(f->s, "instance_id", value, sizeof value, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_test_ok(gdfo_store_meta_set(f->s, "instance_id", "one", &f->err), &f->err);
    gdfo_test_ok(gdfo_store_meta_set(f->s, "instance_id", "two", &f->err), &f->err);
    fixture_reopen(f);
    gdfo_test_ok(gdfo_store_meta_get(f->s, "instance_id", value, sizeof value, &f->err), &f->err);
    assert_string_equal(value, "two");
}

static void ids_carry_their_prefix_and_rise(void **state)
{
    struct fixture *f = *state;
    char a[GDFO_STORE_ID_BYTES];
    char b[GDFO_STORE_ID_BYTES];
    gdfo_store_id(f->s, "ftjob-", a);
    gdfo_store_id(f->s, "ftjob-", b);
    assert_int_equal(strlen(a), 32);
    assert_memory_equal(a, "ftjob-01HF7YAT", 14);
    assert_true(strcmp(a, b) < 0);
}

static void out_of_memory_anywhere_in_open_is_a_status(void **state)
{
    struct fixture *f = *state;
    char dir[4096];
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    path_in(f, "oom", dir);
    for (long n = 1; n < 50 && status != GDFO_STATUS_OK; n++) {
        struct gdfo_store *s = NULL;
        const struct gdfo_store_options options = {.dir = dir};
        gdfo_mem_fail_after(n);
        status = gdfo_store_open(&s, &options, &f->err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_store_close(s);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
}

static void uploads_of_a_killed_daemon_are_cleared_at_open(void **state)
{
    struct fixture *f = *state;
    char path[4096];
    path_in(f, "tmp/up-left", path);
    gdfo_test_ok(gdfo_file_write(path, "x", 1, &f->err), &f->err);
    fixture_reopen(f);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(everything_in_the_folder_is_private),
        CASE(a_missing_folder_is_made_with_its_parents),
        CASE(a_second_daemon_is_refused_with_the_pid_of_the_first),
        CASE(the_lock_goes_with_a_clean_close_and_a_stale_file_does_not_matter),
        CASE(closing_leaves_no_wal),
        CASE(a_newer_database_is_refused_with_its_version),
        CASE(a_foreign_database_is_refused),
        CASE(garbage_in_place_of_the_database_is_corrupt),
        CASE(a_path_longer_than_the_system_allows_is_refused),
        CASE(an_old_database_is_copied_then_taken_step_by_step),
        CASE(a_database_that_is_up_to_date_is_left_alone),
        CASE(a_migration_that_fails_leaves_the_version_before_it),
        CASE(a_migration_that_forgets_its_number_is_refused),
        CASE(jobs_that_had_begun_before_there_were_precisions_are_in_f32),
        CASE(a_fresh_database_holds_the_contracts_schema),
        CASE(the_connection_carries_the_settings_of_the_contract),
        CASE(meta_values_are_kept_over_a_restart),
        CASE(ids_carry_their_prefix_and_rise),
        CASE(out_of_memory_anywhere_in_open_is_a_status),
        CASE(uploads_of_a_killed_daemon_are_cleared_at_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
