/*
 * SIGKILL at every single write, truncate, sync and delete that SQLite makes in a job's life, in
 * the middle of a write too. After each one the job is taken up again and must end with the rows of
 * an undisturbed run.
 */
#include "common/log.h"
#include "tests/fault/store_run.h"
#include "tests/support/vfs_fault.h"

#include <signal.h>
#include <sys/wait.h>

/* Sanitizers are after memory and threads, which a third of the moments shows as well. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#    define STRIDE 3
#else
#    define STRIDE 1
#endif

/* In a process of its own: dies at operation kill_at (0: never). 1 when it ended by itself. */
static int run_in_child(const char *dir, long kill_at)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        struct run r;
        gdfo_vfs_fault_reset();
        gdfo_vfs_fault_kill_at(kill_at);
        if (!run_open(&r, dir) || !run_go_on(&r)) {
            (void)fprintf(stderr, "the run failed: %s\n", r.err.text);
            _exit(1);
        }
        gdfo_store_close(r.s);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return 0;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return 1;
}

/* Before anything is recovered: the spend of every job is the sum of its ledger. */
static void check_sums(const char *dir)
{
    static const char question[] =
        "SELECT count(*) FROM jobs j WHERE spent_evals<>(SELECT coalesce(sum(n_prompts),0) FROM"
        " calls c WHERE c.jid=j.jid AND state IN ('done','unknown')) OR spent_tokens_in<>(SELECT"
        " coalesce(sum(CASE state WHEN 'done' THEN used_in ELSE reserved_in END),0) FROM calls c"
        " WHERE c.jid=j.jid AND state IN ('done','unknown'))";
    char path[4096];
    sqlite3 *db;
    sqlite3_stmt *st;
    (void)snprintf(path, sizeof path, "%s/gdfod.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_prepare_v2(db, question, -1, &st, NULL) == SQLITE_OK) { /* else: no schema yet */
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int64(st, 0), 0);
    }
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
}

static void compare(const char *dir, const struct gdfo_buf *want, long killed_at)
{
    struct gdfo_buf got;
    run_dump(dir, &got);
    if (got.len != want->len || memcmp(got.data, want->data, got.len) != 0) {
        print_error("killed at operation %ld:\n%s\nundisturbed:\n%s\n", killed_at, got.data,
                    want->data);
        fail();
    }
    gdfo_buf_deinit(&got);
}

static void a_run_killed_at_any_operation_ends_like_an_undisturbed_one(void **state)
{
    struct gdfo_buf want;
    char *dir = gdfo_test_mkdir();
    long op = 0;
    int ended = 0;
    (void)state;
    assert_int_equal(run_in_child(dir, 0), 1);
    run_dump(dir, &want);
    gdfo_test_rmdir(dir);
    while (!ended) {
        op += STRIDE;
        dir = gdfo_test_mkdir();
        ended = run_in_child(dir, op);
        check_sums(dir);
        assert_int_equal(run_in_child(dir, 0), 1);
        compare(dir, &want, op);
        gdfo_test_rmdir(dir);
    }
    assert_true(op > 100); /* it was a real sweep */
    gdfo_buf_deinit(&want);
}

static void a_run_killed_again_and_again_ends_like_an_undisturbed_one(void **state)
{
    static const long spacing[] = {40, 75, 120};
    struct gdfo_buf want;
    char *dir = gdfo_test_mkdir();
    (void)state;
    assert_int_equal(run_in_child(dir, 0), 1);
    run_dump(dir, &want);
    gdfo_test_rmdir(dir);
    for (size_t i = 0; i < sizeof spacing / sizeof spacing[0]; i++) {
        int lives = 1;
        dir = gdfo_test_mkdir();
        while (!run_in_child(dir, spacing[i] + lives)) { /* a little further each time */
            lives++;
            assert_true(lives < 500);
        }
        assert_true(lives > 2);
        compare(dir, &want, spacing[i]);
        gdfo_test_rmdir(dir);
    }
    gdfo_buf_deinit(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_killed_at_any_operation_ends_like_an_undisturbed_one),
        cmocka_unit_test(a_run_killed_again_and_again_ends_like_an_undisturbed_one),
    };
    gdfo_log_set_level(GDFO_LOG_ERROR);
    run_in_memory();
    gdfo_vfs_fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
