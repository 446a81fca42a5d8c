/*
 * SIGKILL at one write, truncate, sync or delete of SQLite after another over the whole life of a
 * real job: model, search, head and all. Where tests/fault/test_kill.py takes moments by chance,
 * this goes through them; each time the job is taken up again and must leave the rows of an
 * undisturbed run.
 */
#include "tests/support/vfs_fault.h"
#include "tests/unit/job/fixture.h"

#include <sqlite3.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sanitizers are after memory and threads, which fewer of the moments show as well. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#    define STRIDE 37
#else
#    define STRIDE 11
#endif

static const struct jobs_order order = {
    .method = "gdfo",
    .budget = "{\"evals\":26}",
    .options = ",\"student_layers\":2,\"prompt_steps\":4,\"distill_steps\":1,\"distill_evals\":8",
    .rules = ",\"evaluation\":{\"every_queries\":32}"};

static char models_folder[512];

/* The job of the folder, made when there is none. */
static void find_job(struct jobs *j, struct gdfo_store_job *job)
{
    const struct gdfo_store_job_filter all = {.pid = GDFO_STORE_LOCAL_PID};
    const struct gdfo_store_page page = {NULL, 1, 0};
    size_t n = 0;
    int more = 0;
    gdfo_test_ok(gdfo_store_job_list(j->deps.store, &all, &page, job, &n, &more, &j->err), &j->err);
    if (n == 0) {
        *job = jobs_submit(j, &order);
    }
}

/* What a daemon does between its start and the job's end. */
static void live(const char *dir)
{
    struct jobs j = {0};
    struct gdfo_store_recovery found;
    struct gdfo_store_job job = {0};
    gdfo_log_set_level(GDFO_LOG_OFF);
    (void)snprintf(j.data, sizeof j.data, "%s/data", dir);
    j.deps.clk = gdfo_clk_system();
    gdfo_test_ok(gdfo_models_create(&j.deps.models, models_folder, &j.err), &j.err);
    jobs_open_store(&j);
    gdfo_test_ok(gdfo_store_recover(j.deps.store, &found, &j.err), &j.err);
    find_job(&j, &job);
    if (job.status == GDFO_JOB_VALIDATING_FILES) {
        jobs_validate(&j, &job);
    }
    if (job.status == GDFO_JOB_QUEUED) {
        jobs_run(&j, &job);
    }
    assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
    gdfo_store_job_deinit(&job);
    gdfo_store_close(j.deps.store);
    gdfo_models_destroy(j.deps.models);
}

/* In a process of its own: dies at operation kill_at (0: never). 1 when it ended by itself. */
static int live_in_child(const char *dir, long kill_at)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        gdfo_vfs_fault_reset();
        gdfo_vfs_fault_kill_at(kill_at);
        live(dir);
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

/* Rows without times, ids and the story of the disturbance itself. */
#define Q_JOB                                                                                      \
    "SELECT status,reason,generation,best_metric,best_step,best_queries,spent_evals,"              \
    "spent_queries,spent_dev,spent_calls,spent_tokens_in,spent_tokens_out,spent_unknown,student"   \
    " FROM jobs"
#define Q_CALL                                                                                     \
    "SELECT seq,part,attempt,purpose,epoch,state,hex(request_sha256),n_prompts,n_examples,"        \
    "n_queries,reserved_in,used_in,used_out,verdict,hex(result),hex(result_sha256) FROM calls"     \
    " ORDER BY 1,2,3"
#define Q_METRIC                                                                                   \
    "SELECT n.name,m.step,m.evals,m.queries,m.v,m.kind FROM metrics m JOIN metric_names n ON"      \
    " n.mid=m.mid ORDER BY 1,2"
#define Q_CHECKPOINT "SELECT step,queries,hex(sha256),rank,metrics FROM checkpoints ORDER BY step"
#define Q_RESULT                                                                                   \
    "SELECT f.filename,hex(f.sha256) FROM job_results r JOIN files f ON f.fid=r.fid ORDER BY 1"
#define Q_EVENT                                                                                    \
    "SELECT level,type,message,data FROM events WHERE type IN ('metrics','message') ORDER BY seq"

static void dump(const char *dir, struct gdfo_buf *out)
{
    static const char *const questions[] = {Q_JOB,
                                            Q_CALL,
                                            Q_METRIC,
                                            Q_CHECKPOINT,
                                            Q_RESULT,
                                            Q_EVENT,
                                            "SELECT count(*) FROM snapshots",
                                            "SELECT unit,cap,held,used,over FROM budgets",
                                            "SELECT count(*) FROM models",
                                            "PRAGMA integrity_check",
                                            "PRAGMA foreign_key_check"};
    char path[600];
    sqlite3 *db;
    (void)snprintf(path, sizeof path, "%s/data/gdfod.db", dir);
    gdfo_buf_init(out, (size_t)16 << 20);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        sqlite3_stmt *st;
        assert_int_equal(sqlite3_prepare_v2(db, questions[i], -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
            for (int k = 0; k < sqlite3_column_count(st); k++) {
                const unsigned char *text = sqlite3_column_text(st, k);
                gdfo_buf_addf(out, "%s|", text ? (const char *)text : "NULL");
            }
            gdfo_buf_addc(out, '\n');
        }
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    assert_true(gdfo_buf_ok(out));
}

static void compare(const char *dir, const struct gdfo_buf *want, long killed_at)
{
    struct gdfo_buf got;
    size_t same = 0;
    dump(dir, &got);
    while (same < got.len && same < want->len && got.data[same] == want->data[same]) {
        same++;
    }
    if (got.len != want->len || same != got.len) {
        print_error("killed at operation %ld: %.300s\nundisturbed: %.300s\n", killed_at,
                    got.data + (same > 100 ? same - 100 : 0),
                    want->data + (same > 100 ? same - 100 : 0));
        fail();
    }
    gdfo_buf_deinit(&got);
}

static void a_job_killed_at_any_operation_ends_like_an_undisturbed_one(void **state)
{
    struct gdfo_buf want;
    char *dir = gdfo_test_mkdir();
    long op = 0;
    int ended = 0, n = 0;
    (void)state;
    assert_int_equal(live_in_child(dir, 0), 1);
    dump(dir, &want);
    gdfo_test_rmdir(dir);
    while (!ended) {
        op += STRIDE;
        n++;
        dir = gdfo_test_mkdir();
        ended = live_in_child(dir, op);
        assert_int_equal(live_in_child(dir, 0), 1);
        compare(dir, &want, op);
        gdfo_test_rmdir(dir);
    }
    assert_true(op > 200); /* it was a real sweep */
    print_message("%d kills over %ld operations\n", n - 1, op);
    gdfo_buf_deinit(&want);
}

static void a_job_killed_again_and_again_ends_like_an_undisturbed_one(void **state)
{
    struct gdfo_buf want;
    char *dir = gdfo_test_mkdir();
    int lives = 1;
    (void)state;
    assert_int_equal(live_in_child(dir, 0), 1);
    dump(dir, &want);
    gdfo_test_rmdir(dir);
    dir = gdfo_test_mkdir();
    while (!live_in_child(dir, 60 + lives)) { /* a little further each time */
        lives++;
        assert_true(lives < 200);
    }
    assert_true(lives > 4);
    compare(dir, &want, lives);
    gdfo_test_rmdir(dir);
    gdfo_buf_deinit(&want);
}

static int setup(void **state)
{
    struct jobs *j = jobs_make_folder();
    jobs_add_tiny(j, "local.gguf");
    (void)snprintf(models_folder, sizeof models_folder, "%s", j->folder);
    *state = j;
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_job_killed_at_any_operation_ends_like_an_undisturbed_one),
        CASE(a_job_killed_again_and_again_ends_like_an_undisturbed_one),
    };
    if (access("/dev/shm", W_OK) == 0) { /* a kill needs no real disk */
        assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
    }
    gdfo_vfs_fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
