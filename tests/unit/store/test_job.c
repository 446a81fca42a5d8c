#include "server/store/store_call.h"
#include "server/store/store_model.h"
#include "server/store/store_step.h"
#include "tests/unit/store/fixture.h"

#include <sqlite3.h>

#include <stdio.h>

static int64_t ask_sql(const struct fixture *f, const char *sql)
{
    char path[4096];
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t v;
    (void)snprintf(path, sizeof path, "%s/gdfod.db", f->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    (void)sqlite3_close(db);
    return v;
}

static enum gdfo_job_status status_of(struct fixture *f, int64_t jid)
{
    struct gdfo_store_job job = fixture_read(f, jid);
    enum gdfo_job_status status = job.status;
    gdfo_store_job_deinit(&job);
    return status;
}

static enum gdfo_status try_move(struct fixture *f, int64_t jid, enum gdfo_job_status to,
                                 const char *reason)
{
    const struct gdfo_store_move move = {.to = to, .reason = reason};
    return gdfo_store_job_set_state(f->s, jid, &move, NULL, NULL, &f->err);
}

/* ---- create and read ------------------------------------------------------------------------ */

static void a_new_job_comes_back_as_it_was_asked_for(void **state)
{
    struct fixture *f = *state;
    char keys[2][2] = {"a", "b"};
    char values[2][4] = {"one", "two"};
    struct gdfo_store_pair metadata[2] = {{keys[1], values[1]}, {keys[0], values[0]}};
    const struct gdfo_store_event_new events[] = {
        {GDFO_STORE_WARN, "message", "dev split is off", "{\"code\":\"dev_split_off\"}"}};
    unsigned char student_sha[GDFO_SHA256_BYTES] = {7};
    struct gdfo_store_job_new asked = fixture_new_job(f);
    struct gdfo_store_job made;
    struct gdfo_store_job job;
    asked.name = "my job";
    asked.suffix = "try-1";
    asked.student = "half";
    asked.student_sha256 = student_sha;
    asked.machine_class = "x86-64";
    asked.priority = -3;
    asked.metadata = metadata;
    asked.n_metadata = 2;
    asked.events = events;
    asked.n_events = 1;
    gdfo_test_ok(gdfo_store_job_create(f->s, &f->who, &asked, &made, &f->err), &f->err);
    fixture_reopen(f); /* it was durable */
    gdfo_test_ok(gdfo_store_job_get(f->s, 1, made.id, &job, &f->err), &f->err);
    assert_int_equal(job.jid, made.jid);
    assert_memory_equal(job.id, "ftjob-", 6);
    assert_int_equal(job.status, GDFO_JOB_VALIDATING_FILES);
    assert_int_equal(job.rev, 1);
    assert_int_equal(job.seed, 7);
    assert_int_equal(job.priority, -3);
    assert_string_equal(job.name, "my job");
    assert_string_equal(job.suffix, "try-1");
    assert_string_equal(job.student, "half");
    assert_string_equal(job.machine_class, "x86-64");
    assert_string_equal(job.method, "gdfo");
    assert_string_equal(job.spec, "{\"model\":\"local\"}");
    assert_string_equal(job.teacher, "local");
    assert_string_equal(job.project, "default");
    assert_string_equal(job.project_id, "proj-default");
    assert_string_equal(job.user, "local");
    assert_string_equal(job.validation_file, "");
    assert_string_equal(job.fine_tuned_model, "");
    assert_string_equal(job.reason, "");
    assert_int_equal(job.created_at, T0_MS / 1000);
    assert_int_equal(job.started_at, 0);
    assert_int_equal(job.finished_at, 0);
    assert_int_equal(job.has_best, 0);
    assert_int_equal(job.n_results, 0);
    assert_int_equal(job.n_metadata, 2);
    assert_string_equal(job.metadata[0].key, "a");
    assert_string_equal(job.metadata[0].value, "one");
    assert_string_equal(job.metadata[1].key, "b");
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events WHERE level='warn'"), 1);
    gdfo_store_job_deinit(&made);
    gdfo_store_job_deinit(&job);
}

static void a_job_that_leans_on_nothing_is_refused_whole(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_event_new events[] = {{GDFO_STORE_INFO, "message", "m", NULL}};
    struct gdfo_store_job_new asked = fixture_new_job(f);
    asked.training_fid = 999;
    asked.events = events;
    asked.n_events = 1;
    assert_int_equal(gdfo_store_job_create(f->s, &f->who, &asked, NULL, &f->err),
                     GDFO_STATUS_CONFLICT);
    asked = fixture_new_job(f);
    asked.method = "magic";
    assert_int_equal(gdfo_store_job_create(f->s, &f->who, &asked, NULL, &f->err),
                     GDFO_STATUS_CONFLICT);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM jobs"), 0);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events"), 0);
}

static void texts_past_their_limits_are_refused(void **state)
{
    struct fixture *f = *state;
    char text[GDFO_STORE_NAME_BYTES + 1];
    struct gdfo_store_job_new asked = fixture_new_job(f);
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    asked.name = text;
    assert_int_equal(gdfo_store_job_create(f->s, &f->who, &asked, NULL, &f->err),
                     GDFO_STATUS_LIMIT);
    assert_string_equal(f->err.text, "name has 516 bytes; at most 515");
    asked.name = text + 1;
    gdfo_test_ok(gdfo_store_job_create(f->s, &f->who, &asked, NULL, &f->err), &f->err);
    asked = fixture_new_job(f);
    asked.n_metadata = GDFO_STORE_METADATA_MAX + 1;
    assert_int_equal(gdfo_store_job_create(f->s, &f->who, &asked, NULL, &f->err),
                     GDFO_STATUS_LIMIT);
}

static void jobs_of_another_project_are_not_found(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_job job = fixture_read(f, fixture_job(f, NULL, 0));
    struct gdfo_store_job other;
    assert_int_equal(gdfo_store_job_get(f->s, 2, job.id, &other, &f->err), GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_job_get(f->s, 1, "ftjob-none", &other, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_job_of_jid(f->s, 99, &other, &f->err), GDFO_STATUS_NOT_FOUND);
    gdfo_store_job_deinit(&job);
}

static void out_of_memory_while_reading_is_a_status(void **state)
{
    struct fixture *f = *state;
    char key[] = "k";
    char value[] = "v";
    struct gdfo_store_pair pair = {key, value};
    struct gdfo_store_job_new asked = fixture_new_job(f);
    struct gdfo_store_job job = {0};
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 1;
    asked.metadata = &pair;
    asked.n_metadata = 1;
    gdfo_test_ok(gdfo_store_job_create(f->s, &f->who, &asked, &job, &f->err), &f->err);
    for (; status != GDFO_STATUS_OK && n < 20; n++) {
        struct gdfo_store_job again;
        gdfo_mem_fail_after(n);
        status = gdfo_store_job_of_jid(f->s, job.jid, &again, &f->err);
        gdfo_mem_fail_after(-1);
        if (status == GDFO_STATUS_OK) {
            gdfo_store_job_deinit(&again);
        } else {
            assert_int_equal(status, GDFO_STATUS_NO_MEMORY);
        }
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n > 4); /* the spec, the pair's two texts and its array */
    gdfo_store_job_deinit(&job);
}

/* ---- lists ------------------------------------------------------------------------------------
 */

struct listing {
    struct gdfo_store_job rows[10];
    size_t n;
    int has_more;
};

static void list(struct fixture *f, const struct gdfo_store_job_filter *filter,
                 const struct gdfo_store_page *page, struct listing *out)
{
    gdfo_test_ok(
        gdfo_store_job_list(f->s, filter, page, out->rows, &out->n, &out->has_more, &f->err),
        &f->err);
}

static void unlist(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        gdfo_store_job_deinit(&l->rows[i]);
    }
}

static void lists_are_newest_first_and_page_by_id(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    int64_t jids[5];
    char after[GDFO_STORE_ID_BYTES];
    for (int i = 0; i < 5; i++) {
        jids[i] = fixture_job(f, NULL, 0);
    }
    list(f, &(struct gdfo_store_job_filter){.pid = 1}, &(struct gdfo_store_page){NULL, 3, 0}, &l);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.has_more, 1);
    assert_int_equal(l.rows[0].jid, jids[4]);
    assert_int_equal(l.rows[2].jid, jids[2]);
    (void)snprintf(after, sizeof after, "%s", l.rows[2].id);
    unlist(&l);
    list(f, &(struct gdfo_store_job_filter){.pid = 1}, &(struct gdfo_store_page){after, 3, 0}, &l);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.has_more, 0);
    assert_int_equal(l.rows[0].jid, jids[1]);
    assert_int_equal(l.rows[1].jid, jids[0]);
    unlist(&l);
    list(f, &(struct gdfo_store_job_filter){.pid = 1}, &(struct gdfo_store_page){after, 10, 1}, &l);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.rows[0].jid, jids[3]);
    unlist(&l);
}

static void lists_can_ask_for_one_status(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    int64_t queued = fixture_job(f, NULL, 0);
    (void)fixture_job(f, NULL, 0);
    fixture_move(f, queued, GDFO_JOB_QUEUED);
    list(f, &(struct gdfo_store_job_filter){.pid = 1, .has_status = 1, .status = GDFO_JOB_QUEUED},
         &(struct gdfo_store_page){NULL, 10, 0}, &l);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.rows[0].jid, queued);
    unlist(&l);
    list(f, &(struct gdfo_store_job_filter){.pid = 2}, &(struct gdfo_store_page){NULL, 10, 0}, &l);
    assert_int_equal(l.n, 0);
}

/* ---- moves ------------------------------------------------------------------------------------
 */

/* The table of service.md 4.2, written down a second time. */
static int is_legal(enum gdfo_job_status from, enum gdfo_job_status to)
{
    static const unsigned int legal[GDFO_JOB_STATUS_END] = {
        [GDFO_JOB_VALIDATING_FILES] =
            1u << GDFO_JOB_QUEUED | 1u << GDFO_JOB_FAILED | 1u << GDFO_JOB_CANCELLED,
        [GDFO_JOB_QUEUED] = 1u << GDFO_JOB_RUNNING | 1u << GDFO_JOB_PAUSED | 1u << GDFO_JOB_FAILED |
                            1u << GDFO_JOB_CANCELLED,
        [GDFO_JOB_RUNNING] = 1u << GDFO_JOB_PAUSING | 1u << GDFO_JOB_PAUSED |
                             1u << GDFO_JOB_QUEUED | 1u << GDFO_JOB_CANCELLING |
                             1u << GDFO_JOB_SUCCEEDED | 1u << GDFO_JOB_FAILED,
        [GDFO_JOB_PAUSING] = 1u << GDFO_JOB_PAUSED | 1u << GDFO_JOB_CANCELLING |
                             1u << GDFO_JOB_SUCCEEDED | 1u << GDFO_JOB_FAILED,
        [GDFO_JOB_PAUSED] = 1u << GDFO_JOB_QUEUED | 1u << GDFO_JOB_CANCELLED,
        [GDFO_JOB_CANCELLING] = 1u << GDFO_JOB_CANCELLED,
    };
    return (int)(legal[from] >> to & 1u);
}

static int64_t job_in(struct fixture *f, enum gdfo_job_status wanted)
{
    static const enum gdfo_job_status ways[GDFO_JOB_STATUS_END][4] = {
        [GDFO_JOB_QUEUED] = {GDFO_JOB_QUEUED},
        [GDFO_JOB_RUNNING] = {GDFO_JOB_QUEUED, GDFO_JOB_RUNNING},
        [GDFO_JOB_PAUSING] = {GDFO_JOB_QUEUED, GDFO_JOB_RUNNING, GDFO_JOB_PAUSING},
        [GDFO_JOB_PAUSED] = {GDFO_JOB_QUEUED, GDFO_JOB_PAUSED},
        [GDFO_JOB_CANCELLING] = {GDFO_JOB_QUEUED, GDFO_JOB_RUNNING, GDFO_JOB_CANCELLING},
        [GDFO_JOB_SUCCEEDED] = {GDFO_JOB_QUEUED, GDFO_JOB_RUNNING, GDFO_JOB_SUCCEEDED},
        [GDFO_JOB_FAILED] = {GDFO_JOB_FAILED},
        [GDFO_JOB_CANCELLED] = {GDFO_JOB_CANCELLED},
    };
    int64_t jid = fixture_job(f, NULL, 0);
    for (size_t i = 0; i < 4 && ways[wanted][i]; i++) { /* 0 is where it begins */
        fixture_move(f, jid, ways[wanted][i]);
    }
    return jid;
}

static void every_move_is_legal_or_refused_as_the_contract_says(void **state)
{
    struct fixture *f = *state;
    for (int from = 0; from < GDFO_JOB_STATUS_END; from++) {
        for (int to = 0; to < GDFO_JOB_STATUS_END; to++) {
            int64_t jid = job_in(f, (enum gdfo_job_status)from);
            enum gdfo_status status = try_move(f, jid, (enum gdfo_job_status)to, NULL);
            int ok = is_legal((enum gdfo_job_status)from, (enum gdfo_job_status)to);
            assert_int_equal(status, ok ? GDFO_STATUS_OK : GDFO_STATUS_CONFLICT);
            assert_int_equal(status_of(f, jid), ok ? to : from);
        }
    }
}

static void a_refused_move_names_where_the_job_is_and_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    int64_t jid = job_in(f, GDFO_JOB_SUCCEEDED);
    struct gdfo_store_job before = fixture_read(f, jid);
    struct gdfo_store_job after;
    int64_t events = ask_sql(f, "SELECT count(*) FROM events");
    int64_t audit = ask_sql(f, "SELECT count(*) FROM audit");
    char want[128];
    assert_int_equal(try_move(f, jid, GDFO_JOB_PAUSED, "user"), GDFO_STATUS_CONFLICT);
    (void)snprintf(want, sizeof want, "job %s is succeeded and cannot become paused", before.id);
    assert_string_equal(f->err.text, want);
    assert_string_equal(f->err.code, "invalid_transition");
    after = fixture_read(f, jid);
    assert_int_equal(after.rev, before.rev);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events"), events);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM audit"), audit);
    gdfo_store_job_deinit(&before);
    gdfo_store_job_deinit(&after);
}

static void a_move_raises_rev_and_writes_event_and_audit(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    const struct gdfo_store_move move = {.to = GDFO_JOB_QUEUED};
    struct gdfo_store_job job;
    f->now_ms += 5000;
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &move, &f->who, &job, &f->err), &f->err);
    assert_int_equal(job.status, GDFO_JOB_QUEUED);
    assert_int_equal(job.rev, 2);
    assert_int_equal(job.updated_at, T0_MS / 1000 + 5);
    gdfo_store_job_deinit(&job);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events WHERE type='status' AND data="
                                "'{\"from\":\"validating_files\",\"to\":\"queued\",\"reason\":"
                                "null}' AND message='validating_files -> queued'"),
                     1);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM audit WHERE action='job.status' AND uid=1 AND"
                                " request_id='req-1' AND at_ms=1700000005000"),
                     1);
}

static void times_of_a_life_are_kept(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    struct gdfo_store_job job;
    fixture_move(f, jid, GDFO_JOB_QUEUED);
    f->now_ms += 10000;
    fixture_move(f, jid, GDFO_JOB_RUNNING);
    f->now_ms += 10000;
    fixture_move(f, jid, GDFO_JOB_QUEUED); /* the daemon was stopped */
    fixture_move(f, jid, GDFO_JOB_RUNNING);
    f->now_ms += 10000;
    gdfo_test_ok(try_move(f, jid, GDFO_JOB_SUCCEEDED, "completed"), &f->err);
    job = fixture_read(f, jid);
    assert_int_equal(job.started_at - job.created_at, 10); /* the first start counts */
    assert_int_equal(job.finished_at - job.created_at, 30);
    assert_string_equal(job.reason, "completed");
    gdfo_store_job_deinit(&job);
}

static void a_failure_keeps_its_words(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    struct gdfo_error why = {0};
    struct gdfo_store_move move = {.to = GDFO_JOB_FAILED, .reason = "user_error", .fail = &why};
    struct gdfo_store_job job;
    (void)gdfo_error_set(&why, GDFO_STATUS_FORMAT, "line 3: no label");
    gdfo_error_at(&why, "training_file:3", "invalid_training_file");
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &move, NULL, &job, &f->err), &f->err);
    assert_string_equal(job.err_code, "invalid_training_file");
    assert_string_equal(job.err_message, "line 3: no label");
    assert_string_equal(job.err_param, "training_file:3");
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events WHERE level='error'"), 1);
    gdfo_store_job_deinit(&job);
}

static void success_comes_with_its_model_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    int64_t jid = job_in(f, GDFO_JOB_RUNNING);
    const struct gdfo_store_checkpoint_new prompt = {"rows", 4, 3, 100, 0.9, "{}"};
    const struct gdfo_store_step step = {.jid = jid, .generation = 1, .checkpoint = &prompt};
    struct gdfo_store_checkpoint c;
    struct gdfo_store_model model;
    struct gdfo_store_job job;
    struct gdfo_store_move move = {
        .to = GDFO_JOB_SUCCEEDED, .reason = "completed", .model = "gdfo:local:x:ABC"};
    struct gdfo_store_page page = {NULL, 1, 0};
    size_t n;
    int more;
    move.checkpoint = "ftckpt-none";
    assert_int_equal(gdfo_store_job_set_state(f->s, jid, &move, NULL, NULL, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    assert_int_equal(status_of(f, jid), GDFO_JOB_RUNNING);
    gdfo_test_ok(gdfo_store_step_commit(f->s, &step, NULL, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "best", &c, &f->err), &f->err);
    move.checkpoint = c.id;
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &move, NULL, &job, &f->err), &f->err);
    assert_string_equal(job.fine_tuned_model, "gdfo:local:x:ABC");
    gdfo_test_ok(gdfo_store_model_get(f->s, 1, "gdfo:local:x:ABC", &model, &f->err), &f->err);
    assert_int_equal(model.jid, jid);
    assert_string_equal(model.checkpoint, c.id);
    assert_string_equal(model.job, job.id);
    assert_string_equal(model.teacher, "local");
    assert_int_equal(gdfo_store_model_get(f->s, 2, "gdfo:local:x:ABC", &model, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_test_ok(gdfo_store_model_list(f->s, 1, &page, &model, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 1);
    page.after = model.id;
    gdfo_test_ok(gdfo_store_model_list(f->s, 1, &page, &model, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 0);
    gdfo_store_checkpoint_deinit(&c);
    gdfo_store_job_deinit(&job);
}

static void result_files_are_shown_in_order(void **state)
{
    struct fixture *f = *state;
    int64_t jid = job_in(f, GDFO_JOB_RUNNING);
    struct gdfo_store_file_new result = {
        .filename = "metrics.csv", .purpose = "fine-tune-results", .result_of_jid = jid};
    struct gdfo_store_file files[2];
    struct gdfo_store_job job;
    for (int i = 0; i < 2; i++) {
        gdfo_test_ok(gdfo_store_blob_put(f->s, "csv", 3, &result.blob, &f->err), &f->err);
        gdfo_test_ok(gdfo_store_file_add(f->s, &f->who, &result, &files[i], &f->err), &f->err);
    }
    job = fixture_read(f, jid);
    assert_int_equal(job.n_results, 2);
    assert_string_equal(job.result_files[0], files[0].id);
    assert_string_equal(job.result_files[1], files[1].id);
    gdfo_store_job_deinit(&job);
}

static void what_a_run_learns_about_itself_is_added(void **state)
{
    struct fixture *f = *state;
    unsigned char sha[GDFO_SHA256_BYTES] = {9};
    int64_t jid = fixture_job(f, NULL, 0);
    struct gdfo_store_job job;
    const struct gdfo_store_run first = {"student", sha, "x86-64/a", "bf16"};
    const struct gdfo_store_run second = {NULL, NULL, "x86-64/b", "f32"};
    job = fixture_read(f, jid);
    assert_string_equal(job.precision, "");
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_job_set_run(f->s, jid, &first, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_job_set_run(f->s, jid, &second, &f->err), &f->err);
    job = fixture_read(f, jid);
    assert_string_equal(job.precision, "bf16"); /* for the job's whole life */
    assert_string_equal(job.student, "student");
    assert_string_equal(job.machine_class, "x86-64/b");
    gdfo_store_job_deinit(&job);
}

/* ---- the queue --------------------------------------------------------------------------------
 */

static void the_oldest_queued_job_is_claimed_and_only_once(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_job job;
    int found = 9;
    int64_t a = fixture_job(f, NULL, 0);
    int64_t b = fixture_job(f, NULL, 0);
    int64_t position;
    gdfo_test_ok(gdfo_store_job_claim(f->s, &job, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    fixture_move(f, b, GDFO_JOB_QUEUED); /* b first, but a is older */
    fixture_move(f, a, GDFO_JOB_QUEUED);
    gdfo_test_ok(gdfo_store_job_queue_position(f->s, b, &position, &f->err), &f->err);
    assert_int_equal(position, 1);
    gdfo_test_ok(gdfo_store_job_claim(f->s, &job, &found, &f->err), &f->err);
    assert_int_equal(found, 1);
    assert_int_equal(job.jid, a);
    assert_int_equal(job.status, GDFO_JOB_RUNNING);
    assert_int_equal(job.rev, 3);
    assert_int_equal(job.started_at, T0_MS / 1000);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_job_queue_position(f->s, b, &position, &f->err), &f->err);
    assert_int_equal(position, 0);
    gdfo_test_ok(gdfo_store_job_claim(f->s, &job, &found, &f->err), &f->err);
    assert_int_equal(job.jid, b);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_job_claim(f->s, &job, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM events WHERE message='queued -> running'"),
                     2);
}

static void the_next_job_of_a_status_is_found_after_another(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_job job;
    int found;
    int64_t a = fixture_job(f, NULL, 0);
    int64_t b = fixture_job(f, NULL, 0);
    gdfo_test_ok(gdfo_store_job_next(f->s, GDFO_JOB_VALIDATING_FILES, 0, &job, &found, &f->err),
                 &f->err);
    assert_int_equal(job.jid, a);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_job_next(f->s, GDFO_JOB_VALIDATING_FILES, a, &job, &found, &f->err),
                 &f->err);
    assert_int_equal(job.jid, b);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_job_next(f->s, GDFO_JOB_VALIDATING_FILES, b, &job, &found, &f->err),
                 &f->err);
    assert_int_equal(found, 0);
}

static void jobs_are_counted_by_status(void **state)
{
    struct fixture *f = *state;
    int64_t counts[GDFO_JOB_STATUS_END];
    (void)job_in(f, GDFO_JOB_RUNNING);
    (void)job_in(f, GDFO_JOB_RUNNING);
    (void)job_in(f, GDFO_JOB_FAILED);
    gdfo_test_ok(gdfo_store_job_counts(f->s, counts, &f->err), &f->err);
    for (int i = 0; i < GDFO_JOB_STATUS_END; i++) {
        assert_int_equal(counts[i], i == GDFO_JOB_RUNNING ? 2 : i == GDFO_JOB_FAILED ? 1 : 0);
    }
}

static void caps_are_shown_with_what_stands_against_them(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_cap asked[] = {{.unit = GDFO_STORE_EVALS, .cap = 100},
                                           {.unit = GDFO_STORE_WALL_MS, .cap = 60000}};
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    struct gdfo_store_intent call;
    int64_t attempt;
    size_t n;
    int64_t jid = fixture_running_job(f, asked, 2);
    call = fixture_call(jid, 0);
    gdfo_test_ok(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_job_caps(f->s, jid, caps, &n, &f->err), &f->err);
    assert_int_equal(n, 2);
    assert_int_equal(caps[0].unit, GDFO_STORE_EVALS);
    assert_int_equal(caps[0].cap, 100);
    assert_int_equal(caps[0].held, 20);
    assert_int_equal(caps[0].used, 0);
    assert_int_equal(caps[1].unit, GDFO_STORE_WALL_MS);
    assert_int_equal(caps[1].held, 0);
}

static int64_t wall_used(struct fixture *f, int64_t jid)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    size_t n = 0;
    gdfo_test_ok(gdfo_store_job_caps(f->s, jid, caps, &n, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_int_equal(caps[0].unit, GDFO_STORE_WALL_MS);
    assert_int_equal(caps[0].held, 0);
    return caps[0].used;
}

static void running_time_is_booked_once_with_answers_steps_and_stops(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_cap asked = {.unit = GDFO_STORE_WALL_MS, .cap = 1000};
    const struct gdfo_store_move stop = {
        .to = GDFO_JOB_QUEUED, .reason = "draining", .wall_ms = 100000};
    int64_t jid = fixture_running_job(f, &asked, 1);
    struct gdfo_store_step step = {.jid = jid, .generation = 1, .wall_ms = 20};
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_outcome o;
    int64_t attempt = 0;
    int was_new = 0;
    gdfo_test_ok(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), &f->err);
    o = fixture_done(&call, attempt);
    o.wall_ms = 3;
    gdfo_test_ok(gdfo_store_call_done(f->s, &o, &f->err), &f->err);
    assert_int_equal(wall_used(f, jid), 3);
    gdfo_test_ok(gdfo_store_step_commit(f->s, &step, &was_new, &f->err), &f->err);
    assert_int_equal(wall_used(f, jid), 23);
    gdfo_test_ok(gdfo_store_step_commit(f->s, &step, &was_new, &f->err), &f->err);
    assert_int_equal(was_new, 0); /* so the caller books its time with the next one */
    assert_int_equal(wall_used(f, jid), 23);
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &stop, NULL, NULL, &f->err), &f->err);
    assert_int_equal(wall_used(f, jid), 1000); /* never past the cap */
}

/* ---- after a crash ----------------------------------------------------------------------------
 */

static void recovery_moves_each_job_where_the_contract_says(void **state)
{
    struct fixture *f = *state;
    int64_t jids[GDFO_JOB_STATUS_END];
    struct gdfo_store_recovery found;
    struct gdfo_store_job job;
    for (int i = 0; i < GDFO_JOB_STATUS_END; i++) {
        jids[i] = job_in(f, (enum gdfo_job_status)i);
    }
    fixture_reopen(f);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err);
    assert_int_equal(found.requeued, 1);
    assert_int_equal(found.paused, 1);
    assert_int_equal(found.cancelled, 1);
    assert_int_equal(found.validating, 1);
    assert_int_equal(found.unknown_calls, 0);
    for (int i = 0; i < GDFO_JOB_STATUS_END; i++) {
        enum gdfo_job_status want = i == GDFO_JOB_RUNNING      ? GDFO_JOB_QUEUED
                                    : i == GDFO_JOB_PAUSING    ? GDFO_JOB_PAUSED
                                    : i == GDFO_JOB_CANCELLING ? GDFO_JOB_CANCELLED
                                                               : (enum gdfo_job_status)i;
        assert_int_equal(status_of(f, jids[i]), want);
    }
    job = fixture_read(f, jids[GDFO_JOB_RUNNING]);
    assert_string_equal(job.reason, "recovering");
    assert_int_equal(job.recoveries, 1);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err); /* nothing is left to do */
    assert_int_equal(found.requeued + found.paused + found.cancelled, 0);
}

static void a_pause_by_the_user_is_still_the_users_after_a_crash(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_recovery found;
    struct gdfo_store_job job;
    int64_t jid = job_in(f, GDFO_JOB_RUNNING);
    gdfo_test_ok(try_move(f, jid, GDFO_JOB_PAUSING, "user"), &f->err);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err);
    job = fixture_read(f, jid);
    assert_int_equal(job.status, GDFO_JOB_PAUSED);
    assert_string_equal(job.reason, "user");
    gdfo_store_job_deinit(&job);
}

/* ---- the trail --------------------------------------------------------------------------------
 */

static void the_audit_trail_is_a_chain(void **state)
{
    struct fixture *f = *state;
    (void)job_in(f, GDFO_JOB_SUCCEEDED);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM audit a JOIN audit b ON b.seq=a.seq+1 WHERE"
                                " b.prev_sha256<>a.sha256"),
                     0);
    assert_true(ask_sql(f, "SELECT count(*) FROM audit") >= 5);
    assert_int_equal(ask_sql(f, "SELECT count(*) FROM audit WHERE seq=1 AND"
                                " prev_sha256=zeroblob(32)"),
                     1);
}

static void events_have_no_gap_even_after_a_refused_write(void **state)
{
    struct fixture *f = *state;
    int64_t jid = job_in(f, GDFO_JOB_RUNNING);
    const struct gdfo_store_event_new bad = {GDFO_STORE_INFO, "no such type", "m", NULL};
    const struct gdfo_store_event_new good = {GDFO_STORE_INFO, "message", "m", NULL};
    int64_t seq = 0;
    int64_t last = ask_sql(f, "SELECT max(seq) FROM events");
    assert_int_equal(gdfo_store_event_add(f->s, jid, &bad, NULL, &f->err), GDFO_STATUS_CONFLICT);
    gdfo_test_ok(gdfo_store_event_add(f->s, jid, &good, &seq, &f->err), &f->err);
    assert_int_equal(seq, last + 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_new_job_comes_back_as_it_was_asked_for),
        CASE(a_job_that_leans_on_nothing_is_refused_whole),
        CASE(texts_past_their_limits_are_refused),
        CASE(jobs_of_another_project_are_not_found),
        CASE(out_of_memory_while_reading_is_a_status),
        CASE(lists_are_newest_first_and_page_by_id),
        CASE(lists_can_ask_for_one_status),
        CASE(every_move_is_legal_or_refused_as_the_contract_says),
        CASE(a_refused_move_names_where_the_job_is_and_leaves_no_trace),
        CASE(a_move_raises_rev_and_writes_event_and_audit),
        CASE(times_of_a_life_are_kept),
        CASE(a_failure_keeps_its_words),
        CASE(success_comes_with_its_model_or_not_at_all),
        CASE(result_files_are_shown_in_order),
        CASE(what_a_run_learns_about_itself_is_added),
        CASE(the_oldest_queued_job_is_claimed_and_only_once),
        CASE(the_next_job_of_a_status_is_found_after_another),
        CASE(jobs_are_counted_by_status),
        CASE(caps_are_shown_with_what_stands_against_them),
        CASE(running_time_is_booked_once_with_answers_steps_and_stops),
        CASE(recovery_moves_each_job_where_the_contract_says),
        CASE(a_pause_by_the_user_is_still_the_users_after_a_crash),
        CASE(the_audit_trail_is_a_chain),
        CASE(events_have_no_gap_even_after_a_refused_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
