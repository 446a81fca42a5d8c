/* Jobs over the wire: the object, lists, actions, events, checkpoints, metrics, catalogue. */
#include "common/hash.h"
#include "server/store/store_call.h"
#include "server/store/store_event.h"
#include "server/store/store_sched.h"
#include "server/store/store_step.h"
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <sqlite3.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    *state = rig_start();
    return 0;
}

static int teardown(void **state)
{
    rig_end(*state);
    return 0;
}

/* A path below the job: "" for the job itself, "/events" and so on; static storage. */
static const char *path_of(const struct gdfo_store_job *job, const char *rest)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s%s", job->id, rest);
    return path;
}

static void move(struct rig *rig, const struct gdfo_store_job *job, enum gdfo_job_status to,
                 const char *reason)
{
    struct gdfo_error err = {0};
    const struct gdfo_store_move m = {.to = to, .reason = reason};
    gdfo_test_ok(gdfo_store_job_set_state(rig->store, job->jid, &m, NULL, NULL, &err), &err);
}

static void run_sql(const struct rig *rig, const char *sql)
{
    char path[512];
    sqlite3 *db = NULL;
    (void)snprintf(path, sizeof path, "%s/gdfod.db", rig->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void is_null(const struct answer *a, const char *path)
{
    assert_int_equal(gdfo_json_type(rig_at(a, path)), GDFO_JSON_NULL);
}

static void a_job_has_the_members_of_the_contract(void **state)
{
    static const char *const members[] = {"id",
                                          "object",
                                          "created_at",
                                          "finished_at",
                                          "error",
                                          "fine_tuned_model",
                                          "hyperparameters",
                                          "model",
                                          "organization_id",
                                          "result_files",
                                          "seed",
                                          "status",
                                          "trained_tokens",
                                          "training_file",
                                          "validation_file",
                                          "estimated_finish",
                                          "integrations",
                                          "metadata",
                                          "method",
                                          "name",
                                          "suffix",
                                          "project",
                                          "user",
                                          "rev",
                                          "reason",
                                          "status_detail",
                                          "parent",
                                          "priority",
                                          "started_at",
                                          "updated_at",
                                          "spend.evals",
                                          "spend.queries",
                                          "spend.dev_queries",
                                          "spend.cached",
                                          "spend.calls",
                                          "spend.tokens_in",
                                          "spend.tokens_out",
                                          "spend.usd_micros",
                                          "spend.unknown_calls",
                                          "budget.queries",
                                          "budget.held.queries",
                                          "progress.step",
                                          "progress.queries_done",
                                          "progress.queries_total",
                                          "progress.eta_seconds",
                                          "progress.queue_position",
                                          "best",
                                          "deterministic.ok",
                                          "deterministic.machine_class",
                                          "links.events",
                                          "links.metrics"};
    struct gdfo_store_job job;
    struct answer a;
    rig_add_job(*state, "my job", &job);
    rig_get(*state, path_of(&job, ""), &a);
    assert_int_equal(a.status, 200);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        (void)rig_at(&a, members[i]);
    }
    assert_string_equal(rig_text(&a, "id"), job.id);
    assert_string_equal(rig_text(&a, "object"), "fine_tuning.job");
    assert_string_equal(rig_text(&a, "status"), "validating_files");
    assert_string_equal(rig_text(&a, "model"), "local");
    assert_string_equal(rig_text(&a, "name"), "my job");
    assert_string_equal(rig_text(&a, "training_file"), job.training_file);
    assert_string_equal(rig_text(&a, "organization_id"), "proj-default");
    assert_string_equal(rig_text(&a, "metadata.team"), "probe");
    assert_string_equal(rig_text(&a, "method.type"), "random");
    assert_string_equal(rig_text(&a, "hyperparameters.batch_size"), "auto");
    assert_int_equal(rig_int(&a, "hyperparameters.n_epochs"), 3);
    assert_int_equal(rig_int(&a, "seed"), 7);
    assert_int_equal(rig_int(&a, "budget.queries"), 1000);
    is_null(&a, "budget.evals");
    is_null(&a, "finished_at");
    is_null(&a, "error");
    is_null(&a, "validation_file");
    is_null(&a, "best");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void the_first_fifteen_members_come_first(void **state)
{
    static const char *const order[] = {"id",
                                        "object",
                                        "created_at",
                                        "finished_at",
                                        "error",
                                        "fine_tuned_model",
                                        "hyperparameters",
                                        "model",
                                        "organization_id",
                                        "result_files",
                                        "seed",
                                        "status",
                                        "trained_tokens",
                                        "training_file",
                                        "validation_file"};
    struct gdfo_store_job job;
    struct answer a;
    const struct gdfo_json *m;
    rig_add_job(*state, NULL, &job);
    rig_get(*state, path_of(&job, ""), &a);
    m = gdfo_json_first(a.json);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++, m = gdfo_json_next(m)) {
        assert_string_equal(gdfo_json_key(m), order[i]);
    }
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void a_running_job_shows_its_way(void **state)
{
    struct rig *rig = *state;
    const struct gdfo_store_point point = {"loss_dev", 3, 3, 120, 0.5};
    struct gdfo_store_job job;
    struct gdfo_store_step step = {.generation = 3,
                                   .points = &point,
                                   .n_points = 1,
                                   .has_best = 1,
                                   .best_metric = 0.75,
                                   .best_step = 3,
                                   .best_queries = 120};
    struct gdfo_error err = {0};
    struct answer a;
    rig_add_job(rig, NULL, &job);
    move(rig, &job, GDFO_JOB_QUEUED, NULL);
    rig_get(rig, path_of(&job, ""), &a);
    assert_int_equal(rig_int(&a, "progress.queue_position"), 0);
    rig_free(&a);
    move(rig, &job, GDFO_JOB_RUNNING, NULL);
    step.jid = job.jid;
    gdfo_test_ok(gdfo_store_step_commit(rig->store, &step, NULL, &err), &err);
    rig_get(rig, path_of(&job, ""), &a);
    assert_string_equal(rig_text(&a, "status"), "running");
    assert_int_equal(rig_int(&a, "progress.step"), 3);
    assert_int_equal(rig_int(&a, "progress.queries_total"), 1000);
    assert_string_equal(rig_text(&a, "best.metric"), "macro_f1_dev");
    assert_int_equal(rig_int(&a, "best.step"), 3);
    assert_int_equal(rig_int(&a, "best.queries"), 120);
    assert_non_null(strstr(rig_text(&a, "status_detail"), "step 3"));
    assert_true(rig_int(&a, "started_at") > 0);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

/* Half of the queries are answered by a call that was made just now, in a job that began a quarter
 * of an hour ago: the model was measured first, and that is not the pace of the calls. */
static void the_time_left_goes_by_the_calls(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct gdfo_store_intent call = {.purpose = GDFO_STORE_TRAIN,
                                     .epoch = 1,
                                     .n_prompts = 1,
                                     .n_examples = 500,
                                     .n_queries = 500,
                                     .held_evals = 1,
                                     .held_queries = 500};
    struct gdfo_store_outcome o = {.attempt = 1, .answer = "x", .n_answer = 1};
    struct gdfo_error err = {0};
    struct answer a;
    char sql[128];
    rig_add_job(rig, NULL, &job);
    move(rig, &job, GDFO_JOB_QUEUED, NULL);
    move(rig, &job, GDFO_JOB_RUNNING, NULL);
    (void)snprintf(sql, sizeof sql, "UPDATE jobs SET started_at=started_at-900 WHERE jid=%lld",
                   (long long)job.jid);
    run_sql(rig, sql);
    rig_get(rig, path_of(&job, ""), &a);
    is_null(&a, "progress.eta_seconds");
    rig_free(&a);
    call.jid = o.jid = job.jid;
    gdfo_test_ok(gdfo_store_call_intent(rig->store, &call, &o.attempt, &err), &err);
    gdfo_test_ok(gdfo_store_call_done(rig->store, &o, &err), &err);
    rig_get(rig, path_of(&job, ""), &a);
    assert_in_range(rig_int(&a, "progress.eta_seconds"), 0, 300);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void a_failed_job_says_why(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct gdfo_error why = {.status = GDFO_STATUS_INVALID,
                             .text = "line 3: no label",
                             .code = "invalid_training_file",
                             .field = "training_file:3"};
    const struct gdfo_store_move m = {
        .to = GDFO_JOB_FAILED, .reason = "invalid_training_file", .fail = &why};
    struct gdfo_error err = {0};
    struct answer a;
    rig_add_job(rig, NULL, &job);
    gdfo_test_ok(gdfo_store_job_set_state(rig->store, job.jid, &m, NULL, NULL, &err), &err);
    rig_get(rig, path_of(&job, ""), &a);
    assert_string_equal(rig_text(&a, "status"), "failed");
    assert_string_equal(rig_text(&a, "error.code"), "invalid_training_file");
    assert_string_equal(rig_text(&a, "error.message"), "line 3: no label");
    assert_string_equal(rig_text(&a, "error.param"), "training_file:3");
    assert_string_equal(rig_text(&a, "reason"), "invalid_training_file");
    assert_true(rig_int(&a, "finished_at") > 0);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

/* The daemon adds them by itself, on nobody's behalf. */
static void result_files_are_named_and_can_be_read(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct gdfo_store_file file;
    struct gdfo_store_file_new row = {.filename = "metrics.csv", .purpose = "fine-tune-results"};
    struct gdfo_error err = {0};
    char path[128];
    struct answer a;
    rig_add_job(rig, NULL, &job);
    row.result_of_jid = job.jid;
    gdfo_test_ok(gdfo_store_blob_put(rig->store, "a,b\n", 4, &row.blob, &err), &err);
    gdfo_test_ok(gdfo_store_file_add(rig->store, NULL, &row, &file, &err), &err);
    rig_get(rig, path_of(&job, ""), &a);
    assert_string_equal(rig_text(&a, "result_files.0"), file.id);
    rig_free(&a);
    (void)snprintf(path, sizeof path, "/v1/files/%s/content", file.id);
    rig_get(rig, path, &a);
    assert_int_equal(a.n_body, 4);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void an_unchanged_job_is_304(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    char etag[80], header[128];
    struct answer a;
    int fd = rig_connect(rig);
    char text[512];
    rig_add_job(rig, NULL, &job);
    rig_get(rig, path_of(&job, ""), &a);
    (void)snprintf(etag, sizeof etag, "%s", rig_header(&a, "etag"));
    assert_true(etag[0] == '"');
    rig_free(&a);
    (void)snprintf(header, sizeof header, "If-None-Match: %s\r\n", etag);
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                   path_of(&job, ""), header);
    rig_send(fd, text, strlen(text));
    rig_read_head(fd, &a);
    assert_int_equal(a.status, 304);
    assert_int_equal(a.n_body, 0);
    rig_free(&a);
    (void)close(fd);
    move(rig, &job, GDFO_JOB_QUEUED, NULL);
    rig_ask(rig, "GET", path_of(&job, ""), header, NULL, &a);
    assert_int_equal(a.status, 200);
    assert_string_not_equal(rig_header(&a, "etag"), etag);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void jobs_are_listed_newest_first_in_pages(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job jobs[5];
    char path[128];
    int has_more = 0;
    struct answer a;
    for (int i = 0; i < 5; i++) {
        rig_add_job(rig, NULL, &jobs[i]);
    }
    move(rig, &jobs[2], GDFO_JOB_QUEUED, NULL);
    rig_get(rig, "/v1/fine_tuning/jobs?limit=2", &a);
    assert_string_equal(rig_text(&a, "data.0.id"), jobs[4].id);
    assert_string_equal(rig_text(&a, "data.1.id"), jobs[3].id);
    assert_true(gdfo_json_bool(rig_at(&a, "has_more"), &has_more) && has_more);
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs?limit=100&after=%s",
                   rig_text(&a, "last_id"));
    rig_free(&a);
    rig_get(rig, path, &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 3);
    assert_true(gdfo_json_bool(rig_at(&a, "has_more"), &has_more) && !has_more);
    rig_free(&a);
    rig_get(rig, "/v1/fine_tuning/jobs?status=queued", &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 1);
    assert_string_equal(rig_text(&a, "data.0.id"), jobs[2].id);
    rig_free(&a);
    rig_get(rig, "/v1/fine_tuning/jobs?status=done&after=ftjob-x", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    rig_get(rig, "/v1/fine_tuning/jobs?after=ftjob-doesnotexist", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    assert_string_equal(rig_text(&a, "error.param"), "after");
    rig_free(&a);
    for (int i = 0; i < 5; i++) {
        gdfo_store_job_deinit(&jobs[i]);
    }
}

static void unknown_jobs_are_404_everywhere(void **state)
{
    static const char *const rest[] = {"", "/events", "/checkpoints", "/metrics",
                                       "/checkpoints/best/content"};
    static const char *const actions[] = {"/cancel", "/pause", "/resume"};
    struct gdfo_store_job none = {.id = "ftjob-doesnotexist"};
    struct answer a;
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        rig_get(*state, path_of(&none, rest[i]), &a);
        rig_is_refusal(&a, 404, "not_found");
        rig_free(&a);
    }
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        rig_ask(*state, "POST", path_of(&none, actions[i]), "", "", &a);
        rig_is_refusal(&a, 404, "not_found");
        rig_free(&a);
    }
}

static void act(struct rig *rig, const struct gdfo_store_job *job, const char *action,
                const char *status)
{
    struct answer a;
    rig_ask(rig, "POST", path_of(job, action), "", "", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "status"), status);
    assert_string_equal(rig_text(&a, "id"), job->id);
    rig_free(&a);
}

static void actions_move_a_job_and_show_it(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct answer a;
    rig_add_job(rig, NULL, &job);
    move(rig, &job, GDFO_JOB_QUEUED, NULL);
    act(rig, &job, "/pause", "paused");
    act(rig, &job, "/pause", "paused");
    act(rig, &job, "/resume", "queued");
    act(rig, &job, "/cancel", "cancelled");
    act(rig, &job, "/cancel", "cancelled");
    rig_ask(rig, "POST", path_of(&job, "/resume"), "", "", &a);
    rig_is_refusal(&a, 409, "invalid_transition");
    assert_string_equal(rig_header(&a, "x-should-retry"), "false");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void an_action_takes_nothing_or_an_empty_object(void **state)
{
    static const struct {
        const char *headers, *body;
        int status;
    } rows[] = {{"", "", 200},
                {"Content-Type: application/json\r\n", "", 200},
                {"Content-Type: text/plain\r\n", "", 200},
                {"Content-Type: application/json\r\n", "{}", 200},
                {"Content-Type: application/json\r\n", " { } ", 200},
                {"Content-Type: application/json\r\n", "{\"a\":1}", 400},
                {"Content-Type: application/json\r\n", "[]", 400},
                {"Content-Type: application/json\r\n", "x", 400}};
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct answer a;
    rig_add_job(rig, NULL, &job);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rig_ask(rig, "POST", path_of(&job, "/cancel"), rows[i].headers, rows[i].body, &a);
        assert_int_equal(a.status, rows[i].status);
        rig_free(&a);
    }
    gdfo_store_job_deinit(&job);
}

static void events_come_newest_first_or_after_a_number(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    char rest[64];
    int64_t first;
    struct answer a;
    rig_add_job(rig, NULL, &job);
    move(rig, &job, GDFO_JOB_QUEUED, NULL);
    move(rig, &job, GDFO_JOB_CANCELLED, "user");
    rig_get(rig, path_of(&job, "/events"), &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 3);
    assert_string_equal(rig_text(&a, "data.0.object"), "fine_tuning.job.event");
    assert_string_equal(rig_text(&a, "data.0.type"), "status");
    assert_string_equal(rig_text(&a, "data.0.data.to"), "cancelled");
    assert_string_equal(rig_text(&a, "data.0.data.reason"), "user");
    assert_string_equal(rig_text(&a, "data.0.level"), "info");
    assert_memory_equal(rig_text(&a, "data.0.id"), "ftevent-", 8);
    assert_true(rig_int(&a, "data.0.seq") > rig_int(&a, "data.2.seq"));
    first = rig_int(&a, "data.2.seq");
    rig_free(&a);
    rig_get(rig, path_of(&job, "/events?after_seq=0&limit=1"), &a);
    assert_int_equal(rig_int(&a, "data.0.seq"), first);
    rig_free(&a);
    (void)snprintf(rest, sizeof rest, "/events?after_seq=%lld", (long long)first);
    rig_get(rig, path_of(&job, rest), &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 2);
    assert_true(rig_int(&a, "data.0.seq") < rig_int(&a, "data.1.seq"));
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void event_queries_that_are_wrong_are_refused(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    struct answer a;
    rig_add_job(rig, NULL, &job);
    rig_get(rig, path_of(&job, "/events?after_seq=-1"), &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    rig_get(rig, path_of(&job, "/events?after_seq=0&after=ftevent-1"), &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    rig_get(rig, path_of(&job, "/events?after=ftevent-unknown"), &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    rig_get(rig, path_of(&job, "/events?level=warn"), &a);
    rig_is_refusal(&a, 422, "not_supported");
    rig_free(&a);
    rig_ask(rig, "GET", path_of(&job, "/events"), "Accept: text/event-stream\r\n", NULL, &a);
    rig_is_refusal(&a, 422, "not_supported");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

/* A job with `n` steps of two curves, one of them with odd values, and a checkpoint at the last. */
static void add_steps(struct rig *rig, struct gdfo_store_job *job, int64_t n)
{
    struct gdfo_error err = {0};
    rig_add_job(rig, NULL, job);
    move(rig, job, GDFO_JOB_QUEUED, NULL);
    move(rig, job, GDFO_JOB_RUNNING, NULL);
    for (int64_t i = 1; i <= n; i++) {
        const struct gdfo_store_point points[] = {{"loss_dev", i, i * 2, i * 64, 1.0 / (double)i},
                                                  {"step_size", i, i * 2, i * 64,
                                                   i == 2   ? (double)NAN
                                                   : i == 3 ? (double)INFINITY
                                                            : 1.0}};
        const struct gdfo_store_checkpoint_new checkpoint = {.bytes = "stored",
                                                             .n = 6,
                                                             .step = i,
                                                             .queries = i * 64,
                                                             .rank = (double)i,
                                                             .metrics = "{\"step\":1}"};
        const struct gdfo_store_step step = {.jid = job->jid,
                                             .generation = i,
                                             .points = points,
                                             .n_points = 2,
                                             .checkpoint = i == n ? &checkpoint : NULL};
        gdfo_test_ok(gdfo_store_step_commit(rig->store, &step, NULL, &err), &err);
    }
}

static void metrics_are_series_over_queries(void **state)
{
    struct gdfo_store_job job;
    double y = 0;
    struct answer a;
    add_steps(*state, &job, 4);
    rig_get(*state, path_of(&job, "/metrics"), &a);
    assert_string_equal(rig_text(&a, "object"), "metrics");
    assert_string_equal(rig_text(&a, "x"), "queries");
    assert_int_equal(gdfo_json_size(rig_at(&a, "series")), 2);
    assert_int_equal(rig_int(&a, "series.loss_dev.n"), 4);
    assert_int_equal(gdfo_json_size(rig_at(&a, "series.loss_dev.x")), 4);
    assert_int_equal(rig_int(&a, "series.loss_dev.x.1"), 128);
    assert_int_equal(gdfo_json_number(rig_at(&a, "series.loss_dev.y.1"), &y), 1);
    gdfo_test_near(y, 0.5, 0);
    assert_int_equal(gdfo_json_size(rig_at(&a, "series.loss_dev.odd")), 0);
    is_null(&a, "series.step_size.y.1");
    assert_int_equal(rig_int(&a, "series.step_size.odd.0.0"), 1);
    assert_string_equal(rig_text(&a, "series.step_size.odd.0.1"), "nan");
    assert_string_equal(rig_text(&a, "series.step_size.odd.1.1"), "inf");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void metrics_can_be_chosen_and_thinned(void **state)
{
    struct gdfo_store_job job;
    struct answer a;
    add_steps(*state, &job, 9);
    rig_get(*state, path_of(&job, "/metrics?names=loss_dev&points=3&x=step&from=1&to=9"), &a);
    assert_string_equal(rig_text(&a, "x"), "step");
    assert_int_equal(gdfo_json_size(rig_at(&a, "series")), 1);
    assert_int_equal(rig_int(&a, "series.loss_dev.n"), 9);
    assert_in_range(gdfo_json_size(rig_at(&a, "series.loss_dev.x")), 1, 3);
    assert_int_equal(gdfo_json_size(rig_at(&a, "series.loss_dev.min")),
                     gdfo_json_size(rig_at(&a, "series.loss_dev.x")));
    rig_free(&a);
    rig_get(*state, path_of(&job, "/metrics?names=nothing"), &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "series.nothing.x")), 0);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void metrics_as_csv_have_every_point(void **state)
{
    struct gdfo_store_job job;
    size_t n_lines = 0;
    struct answer a;
    add_steps(*state, &job, 4);
    rig_get(*state, path_of(&job, "/metrics?format=csv"), &a);
    assert_int_equal(a.status, 200);
    assert_memory_equal(rig_header(&a, "content-type"), "text/csv", 8);
    for (size_t i = 0; i < a.n_body; i++) {
        n_lines += a.body[i] == '\n';
    }
    assert_int_equal(n_lines, 9);
    assert_memory_equal(a.body, "name,step,evals,queries,at_ms,value\nloss_dev,1,2,64,", 52);
    assert_non_null(strstr(a.body, ",nan\n"));
    assert_non_null(strstr(a.body, ",inf\n"));
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void metric_queries_that_are_wrong_are_refused(void **state)
{
    static const char *const bad[] = {"points=0", "points=1501", "x=epochs",   "from=a",
                                      "to=nan",   "format=xml",  "names=a,,b", "names=,"};
    struct gdfo_store_job job;
    char rest[64];
    struct answer a;
    rig_add_job(*state, NULL, &job);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(rest, sizeof rest, "/metrics?%s", bad[i]);
        rig_get(*state, path_of(&job, rest), &a);
        rig_is_refusal(&a, 400, "invalid_value");
        rig_free(&a);
    }
    gdfo_store_job_deinit(&job);
}

static void checkpoints_are_listed_and_read(void **state)
{
    struct gdfo_store_job job;
    char rest[128];
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[GDFO_SHA256_HEX], etag[80];
    struct answer a;
    add_steps(*state, &job, 2);
    rig_get(*state, path_of(&job, "/checkpoints"), &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 1);
    assert_string_equal(rig_text(&a, "data.0.object"), "fine_tuning.job.checkpoint");
    assert_string_equal(rig_text(&a, "data.0.fine_tuning_job_id"), job.id);
    assert_int_equal(rig_int(&a, "data.0.step_number"), 2);
    assert_int_equal(rig_int(&a, "data.0.queries"), 128);
    assert_int_equal(rig_int(&a, "data.0.bytes"), 6);
    assert_int_equal(rig_int(&a, "data.0.metrics.step"), 1);
    (void)snprintf(rest, sizeof rest, "/checkpoints/%s/content", rig_text(&a, "data.0.id"));
    rig_free(&a);
    rig_get(*state, path_of(&job, rest), &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n_body, 12);
    assert_memory_equal(a.body, "prompt bytes", 12);
    gdfo_sha256(a.body, a.n_body, digest);
    gdfo_hex(digest, sizeof digest, hex);
    (void)snprintf(etag, sizeof etag, "\"%s\"", hex);
    assert_string_equal(rig_header(&a, "etag"), etag);
    assert_string_equal(rig_header(&a, "content-disposition"),
                        "attachment; filename=\"a _b_.gdfo\"");
    rig_free(&a);
    rig_get(*state, path_of(&job, "/checkpoints/best/content?format=gdfo"), &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

static void exports_that_cannot_be_are_refused(void **state)
{
    struct gdfo_store_job job, empty;
    struct answer a;
    add_steps(*state, &job, 1);
    rig_add_job(*state, NULL, &empty);
    rig_get(*state, path_of(&job, "/checkpoints/last/content?format=peft"), &a);
    rig_is_refusal(&a, 422, "not_supported");
    assert_string_equal(rig_header(&a, "etag"), "");
    rig_free(&a);
    rig_get(*state, path_of(&job, "/checkpoints/last/content?format=odt"), &a);
    rig_is_refusal(&a, 400, "invalid_value");
    assert_string_equal(rig_text(&a, "error.param"), "format");
    rig_free(&a);
    rig_get(*state, path_of(&empty, "/checkpoints/best/content"), &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
    rig_get(*state, path_of(&job, "/checkpoints/ftckpt-unknown/content"), &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
    gdfo_store_job_deinit(&empty);
}

static void the_catalogue_is_shown(void **state)
{
    struct answer a;
    char path[128];
    rig_get(*state, "/v1/teachers", &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 1);
    assert_string_equal(rig_text(&a, "data.0.name"), "local");
    assert_string_equal(rig_text(&a, "data.0.adapter"), "embedded");
    (void)snprintf(path, sizeof path, "/v1/teachers/%s", rig_text(&a, "data.0.id"));
    rig_free(&a);
    rig_get(*state, path, &a);
    assert_string_equal(rig_text(&a, "name"), "local");
    rig_free(&a);
    rig_get(*state, "/v1/teachers/local", &a);
    assert_string_equal(rig_text(&a, "object"), "teacher");
    rig_free(&a);
    rig_get(*state, "/v1/teachers/nobody", &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
    rig_get(*state, "/v1/methods", &a);
    assert_string_equal(rig_text(&a, "data.1.type"), "bbt");
    rig_free(&a);
    rig_get(*state, "/v1/students", &a);
    assert_string_equal(rig_text(&a, "data.0.name"), "tiny");
    rig_free(&a);
    rig_get(*state, "/v1/info", &a);
    assert_string_equal(rig_text(&a, "version"), GDFO_VERSION);
    assert_string_equal(rig_text(&a, "methods.0"), "random");
    assert_int_equal(rig_int(&a, "limits.json_body_bytes"), 1 << 20);
    rig_free(&a);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_job_has_the_members_of_the_contract),
        CASE(the_first_fifteen_members_come_first),
        CASE(a_running_job_shows_its_way),
        CASE(the_time_left_goes_by_the_calls),
        CASE(a_failed_job_says_why),
        CASE(result_files_are_named_and_can_be_read),
        CASE(an_unchanged_job_is_304),
        CASE(jobs_are_listed_newest_first_in_pages),
        CASE(unknown_jobs_are_404_everywhere),
        CASE(actions_move_a_job_and_show_it),
        CASE(an_action_takes_nothing_or_an_empty_object),
        CASE(events_come_newest_first_or_after_a_number),
        CASE(event_queries_that_are_wrong_are_refused),
        CASE(metrics_are_series_over_queries),
        CASE(metrics_can_be_chosen_and_thinned),
        CASE(metrics_as_csv_have_every_point),
        CASE(metric_queries_that_are_wrong_are_refused),
        CASE(checkpoints_are_listed_and_read),
        CASE(exports_that_cannot_be_are_refused),
        CASE(the_catalogue_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
