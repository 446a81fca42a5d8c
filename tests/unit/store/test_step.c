#include "server/store/store_metric.h"
#include "server/store/store_step.h"
#include "tests/unit/store/fixture.h"

#include <sqlite3.h>

#include <math.h>
#include <stdio.h>

static void exec_sql(const struct fixture *f, const char *sql)
{
    char path[4096];
    sqlite3 *db;
    (void)snprintf(path, sizeof path, "%s/gdfod.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
}

static int commit(struct fixture *f, const struct gdfo_store_step *step)
{
    int was_new = 9;
    gdfo_test_ok(gdfo_store_step_commit(f->s, step, &was_new, &f->err), &f->err);
    return was_new;
}

static void add_snapshot(struct fixture *f, int64_t jid, int64_t generation, const char *bytes)
{
    const struct gdfo_store_snapshot_new snapshot = {bytes, strlen(bytes), 3, generation * 20};
    const struct gdfo_store_step step = {
        .jid = jid, .generation = generation, .snapshot = &snapshot};
    assert_int_equal(commit(f, &step), 1);
}

static void add_checkpoint(struct fixture *f, int64_t jid, int64_t generation, double rank)
{
    char bytes[32];
    struct gdfo_store_checkpoint_new c = {bytes, 0,          generation, generation * 640,
                                          rank,  "{\"a\":1}"};
    const struct gdfo_store_step step = {.jid = jid, .generation = generation, .checkpoint = &c};
    c.n = (size_t)snprintf(bytes, sizeof bytes, "prompt %lld", (long long)generation);
    assert_int_equal(commit(f, &step), 1);
}

/* ---- one step ------------------------------------------------------------------------------- */

static void a_step_leaves_all_of_its_parts(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    const struct gdfo_store_point points[] = {{"loss_train", 1, 20, 640, 0.75},
                                              {"accuracy_dev", 1, 20, 640, 0.5}};
    const struct gdfo_store_checkpoint_new c = {"rows", 4, 1, 640, 0.5, "{\"step\":1}"};
    const struct gdfo_store_snapshot_new snapshot = {"state", 5, 1, 20};
    const struct gdfo_store_event_new events[] = {
        {GDFO_STORE_INFO, "metrics", "step 1", "{\"step\":1}"}};
    const struct gdfo_store_step step = {.jid = jid,
                                         .generation = 1,
                                         .points = points,
                                         .n_points = 2,
                                         .has_best = 1,
                                         .best_metric = 0.5,
                                         .best_step = 1,
                                         .best_queries = 640,
                                         .checkpoint = &c,
                                         .snapshot = &snapshot,
                                         .events = events,
                                         .n_events = 1};
    struct gdfo_store_job job;
    struct gdfo_store_checkpoint got;
    struct gdfo_buf bytes;
    char names[4][GDFO_STORE_METRIC_NAME_BYTES];
    size_t n;
    f->now_ms += 2000;
    assert_int_equal(commit(f, &step), 1);
    fixture_reopen(f);
    job = fixture_read(f, jid);
    assert_int_equal(job.generation, 1);
    assert_int_equal(job.has_best, 1);
    gdfo_test_near(job.best_metric, 0.5, 0);
    assert_int_equal(job.best_step, 1);
    assert_int_equal(job.best_queries, 640);
    assert_int_equal(job.rev, 4);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_metric_names(f->s, jid, names, 4, &n, &f->err), &f->err);
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "accuracy_dev");
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "last", &got, &f->err), &f->err);
    assert_memory_equal(got.id, "ftckpt-", 7);
    assert_int_equal(got.step, 1);
    assert_int_equal(got.bytes, 4);
    assert_string_equal(got.metrics, "{\"step\":1}");
    gdfo_buf_init(&bytes, 100);
    gdfo_test_ok(gdfo_store_checkpoint_read(f->s, &got, &bytes, &f->err), &f->err);
    assert_memory_equal(bytes.data, "rows", 4);
    gdfo_buf_deinit(&bytes);
    gdfo_store_checkpoint_deinit(&got);
}

static void a_step_walked_over_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_point point = {"loss_train", 5, 20, 640, 0.75};
    struct gdfo_store_checkpoint_new c = {"rows", 4, 5, 640, 0.5, "{}"};
    const struct gdfo_store_event_new event = {GDFO_STORE_INFO, "metrics", "step", NULL};
    struct gdfo_store_step step = {.jid = jid,
                                   .generation = 5,
                                   .points = &point,
                                   .n_points = 1,
                                   .checkpoint = &c,
                                   .events = &event,
                                   .n_events = 1};
    struct gdfo_store_checkpoint before;
    struct gdfo_store_checkpoint after;
    struct gdfo_store_bucket bucket;
    const struct gdfo_store_metric_query q = {.jid = jid, .name = "loss_train", .points = 1};
    struct gdfo_store_event_query events = {.jid = jid, .limit = 100};
    static struct gdfo_store_event rows[100];
    size_t n;
    size_t n_events;
    int more;
    int64_t total;
    assert_int_equal(commit(f, &step), 1);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "last", &before, &f->err), &f->err);
    point.value = 99;
    c.bytes = "else";
    step.generation = 5;
    assert_int_equal(commit(f, &step), 0);
    step.generation = 4;
    assert_int_equal(commit(f, &step), 0);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "last", &after, &f->err), &f->err);
    assert_string_equal(before.id, after.id);
    assert_memory_equal(before.sha256, after.sha256, sizeof before.sha256);
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, &bucket, &n, &total, &f->err), &f->err);
    gdfo_test_near(bucket.mean, 0.75, 0);
    gdfo_test_ok(gdfo_store_event_list(f->s, &events, rows, &n_events, &more, &f->err), &f->err);
    assert_int_equal(n_events, 3); /* two moves and one step */
    for (size_t i = 0; i < n_events; i++) {
        gdfo_store_event_deinit(&rows[i]);
    }
    gdfo_store_checkpoint_deinit(&before);
    gdfo_store_checkpoint_deinit(&after);
}

static void a_step_is_stored_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    const struct gdfo_store_point point = {"loss_train", 1, 20, 640, 0.75};
    const struct gdfo_store_snapshot_new snapshot = {"state", 5, 1, 20};
    const struct gdfo_store_event_new bad = {GDFO_STORE_INFO, "no such type", "m", NULL};
    const struct gdfo_store_step step = {.jid = jid,
                                         .generation = 1,
                                         .points = &point,
                                         .n_points = 1,
                                         .snapshot = &snapshot,
                                         .events = &bad,
                                         .n_events = 1};
    struct gdfo_store_job job;
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found = 9;
    char names[1][GDFO_STORE_METRIC_NAME_BYTES];
    size_t n = 9;
    assert_int_equal(gdfo_store_step_commit(f->s, &step, NULL, &f->err), GDFO_STATUS_CONFLICT);
    job = fixture_read(f, jid);
    assert_int_equal(job.generation, 0);
    gdfo_store_job_deinit(&job);
    gdfo_test_ok(gdfo_store_metric_names(f->s, jid, names, 1, &n, &f->err), &f->err);
    assert_int_equal(n, 0);
    gdfo_buf_init(&bytes, 100);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    gdfo_buf_deinit(&bytes);
}

static void steps_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    char name[GDFO_STORE_METRIC_NAME_BYTES + 1];
    struct gdfo_store_point point = {name, 1, 1, 1, 0};
    struct gdfo_store_step step = {.jid = jid, .generation = 0};
    assert_int_equal(gdfo_store_step_commit(f->s, &step, NULL, &f->err), GDFO_STATUS_INVALID);
    step.generation = 1;
    step.points = &point;
    step.n_points = 1;
    memset(name, 'm', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(gdfo_store_step_commit(f->s, &step, NULL, &f->err), GDFO_STATUS_INVALID);
    name[GDFO_STORE_METRIC_NAME_BYTES - 1] = '\0';
    assert_int_equal(commit(f, &step), 1);
    step.jid = 99;
    assert_int_equal(gdfo_store_step_commit(f->s, &step, NULL, &f->err), GDFO_STATUS_NOT_FOUND);
}

static void progress_alone_raises_rev_once_a_second(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_step step = {.jid = jid};
    static const struct {
        int64_t later_ms, rev;
    } steps[] = {{1000, 4}, {100, 4}, {100, 4}, {1000, 5}, {5000, 6}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct gdfo_store_job job;
        f->now_ms += steps[i].later_ms;
        step.generation = (int64_t)i + 1;
        assert_int_equal(commit(f, &step), 1);
        job = fixture_read(f, jid);
        assert_int_equal(job.rev, steps[i].rev);
        gdfo_store_job_deinit(&job);
    }
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void the_newest_snapshot_is_loaded_and_two_are_kept(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found;
    gdfo_buf_init(&bytes, 100);
    for (int64_t g = 1; g <= 4; g++) {
        char text[16];
        (void)snprintf(text, sizeof text, "state %d", (int)g);
        add_snapshot(f, jid, g, text);
    }
    fixture_reopen(f);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 1);
    assert_int_equal(got.generation, 4);
    assert_int_equal(got.format, 3);
    assert_int_equal(got.next_seq, 80);
    assert_int_equal(got.n_bad, 0);
    assert_int_equal(bytes.len, 7);
    assert_memory_equal(bytes.data, "state 4", 7);
    exec_sql(f, "DELETE FROM snapshots WHERE generation IN (3,4)");
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    gdfo_buf_deinit(&bytes);
}

static void a_damaged_snapshot_gives_way_to_the_one_before(void **state)
{
    static const char *const damages[] = {
        "UPDATE snapshots SET state=CAST('stete 2' AS BLOB) WHERE generation=2",
        "UPDATE snapshots SET state=CAST('state 2+' AS BLOB) WHERE generation=2",
        "UPDATE snapshots SET state=zeroblob(0) WHERE generation=2",
        "UPDATE snapshots SET next_seq=41 WHERE generation=2",
        "UPDATE snapshots SET format=4 WHERE generation=2",
        "UPDATE snapshots SET crc32c=crc32c+1 WHERE generation=2",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        int64_t jid = fixture_running_job(f, NULL, 0);
        struct gdfo_store_snapshot got;
        struct gdfo_buf bytes;
        int found;
        add_snapshot(f, jid, 1, "state 1");
        add_snapshot(f, jid, 2, "state 2");
        exec_sql(f, damages[i]);
        gdfo_buf_init(&bytes, 100);
        gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
        assert_int_equal(found, 1);
        assert_int_equal(got.generation, 1);
        assert_int_equal(got.n_bad, 1);
        assert_int_equal(bytes.len, 7);
        assert_memory_equal(bytes.data, "state 1", 7);
        gdfo_buf_deinit(&bytes);
    }
}

static void two_damaged_snapshots_are_as_none(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found = 9;
    add_snapshot(f, jid, 1, "state 1");
    add_snapshot(f, jid, 2, "state 2");
    exec_sql(f, "UPDATE snapshots SET crc32c=1");
    gdfo_buf_init(&bytes, 100);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    assert_int_equal(bytes.len, 0);
    gdfo_buf_deinit(&bytes);
}

static void a_snapshot_larger_than_the_buffer_is_a_limit(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found;
    add_snapshot(f, jid, 1, "state 1");
    gdfo_buf_init(&bytes, 6);
    assert_int_equal(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err),
                     GDFO_STATUS_LIMIT);
    gdfo_buf_deinit(&bytes);
}

static void a_snapshot_of_megabytes_survives(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    size_t n = (size_t)6 << 20; /* past the size at which the WAL is checkpointed */
    unsigned char *state_bytes = gdfo_mem_array(n, 1);
    struct gdfo_store_snapshot_new snapshot = {state_bytes, n, 1, 20};
    struct gdfo_store_step step = {.jid = jid, .snapshot = &snapshot};
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found;
    for (size_t i = 0; i < n; i++) {
        state_bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    for (int64_t g = 1; g <= 4; g++) {
        step.generation = g;
        state_bytes[0] = (unsigned char)g;
        assert_int_equal(commit(f, &step), 1);
    }
    fixture_reopen(f);
    gdfo_buf_init(&bytes, n);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(got.generation, 4);
    assert_int_equal(bytes.len, n);
    assert_int_equal(memcmp(bytes.data, state_bytes, n), 0);
    gdfo_buf_deinit(&bytes);
    gdfo_mem_free(state_bytes);
}

static void a_job_at_its_end_has_no_snapshots(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    int64_t other = fixture_running_job(f, NULL, 0);
    const struct gdfo_store_move end = {.to = GDFO_JOB_SUCCEEDED, .reason = "completed"};
    struct gdfo_store_snapshot got;
    struct gdfo_buf bytes;
    int found;
    add_snapshot(f, jid, 1, "state");
    add_snapshot(f, other, 1, "other");
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &end, NULL, NULL, &f->err), &f->err);
    gdfo_buf_init(&bytes, 100);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, jid, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    gdfo_test_ok(gdfo_store_snapshot_load(f->s, other, &got, &bytes, &found, &f->err), &f->err);
    assert_int_equal(found, 1);
    gdfo_buf_deinit(&bytes);
}

/* ---- checkpoints ------------------------------------------------------------------------------
 */

static void the_best_five_and_the_last_are_kept(void **state)
{
    static const double ranks[] = {0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.5, 0.3};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_checkpoint rows[10];
    const struct gdfo_store_page page = {NULL, 10, 1};
    static const int64_t kept[] = {2, 4, 5, 6, 7, 8};
    size_t n;
    int more;
    for (int64_t g = 1; g <= 8; g++) {
        add_checkpoint(f, jid, g, ranks[g - 1]);
    }
    gdfo_test_ok(gdfo_store_checkpoint_list(f->s, jid, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i].step, kept[i]);
        gdfo_store_checkpoint_deinit(&rows[i]);
    }
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "best", &rows[0], &f->err), &f->err);
    assert_int_equal(rows[0].step, 2);
    gdfo_store_checkpoint_deinit(&rows[0]);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "last", &rows[0], &f->err), &f->err);
    assert_int_equal(rows[0].step, 8);
    gdfo_store_checkpoint_deinit(&rows[0]);
}

static void of_equal_checkpoints_the_earlier_is_the_best(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_checkpoint c;
    for (int64_t g = 1; g <= 7; g++) {
        add_checkpoint(f, jid, g, 0.5);
    }
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "best", &c, &f->err), &f->err);
    assert_int_equal(c.step, 1);
    gdfo_store_checkpoint_deinit(&c);
}

static void the_checkpoint_that_serves_is_never_pruned(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_checkpoint first;
    struct gdfo_store_checkpoint again;
    struct gdfo_store_move move = {.to = GDFO_JOB_SUCCEEDED, .model = "gdfo:local::X"};
    add_checkpoint(f, jid, 1, 0.0);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "last", &first, &f->err), &f->err);
    move.checkpoint = first.id;
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &move, NULL, NULL, &f->err), &f->err);
    for (int64_t g = 2; g <= 9; g++) {
        add_checkpoint(f, jid, g, 0.9);
    }
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, first.id, &again, &f->err), &f->err);
    gdfo_store_checkpoint_deinit(&first);
    gdfo_store_checkpoint_deinit(&again);
}

static void checkpoints_are_found_by_id_within_their_project_and_job(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    int64_t other = fixture_running_job(f, NULL, 0);
    struct gdfo_store_job job = fixture_read(f, jid);
    struct gdfo_store_checkpoint c;
    struct gdfo_store_checkpoint d;
    add_checkpoint(f, jid, 1, 0.5);
    gdfo_test_ok(gdfo_store_checkpoint_get(f->s, jid, "best", &c, &f->err), &f->err);
    assert_string_equal(c.job, job.id);
    gdfo_test_ok(gdfo_store_checkpoint_find(f->s, 1, c.id, &d, &f->err), &f->err);
    assert_int_equal(d.cid, c.cid);
    gdfo_store_checkpoint_deinit(&d);
    assert_int_equal(gdfo_store_checkpoint_find(f->s, 2, c.id, &d, &f->err), GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_checkpoint_get(f->s, other, c.id, &d, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_checkpoint_get(f->s, other, "best", &d, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_store_checkpoint_deinit(&c);
    gdfo_store_job_deinit(&job);
}

static void checkpoint_lists_page_both_ways(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_checkpoint rows[2];
    struct gdfo_store_page page = {NULL, 2, 0};
    char after[GDFO_STORE_ID_BYTES];
    size_t n;
    int more;
    for (int64_t g = 1; g <= 3; g++) {
        add_checkpoint(f, jid, g, 0.5);
    }
    gdfo_test_ok(gdfo_store_checkpoint_list(f->s, jid, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 2);
    assert_int_equal(more, 1);
    assert_int_equal(rows[0].step, 3);
    (void)snprintf(after, sizeof after, "%s", rows[1].id);
    gdfo_store_checkpoint_deinit(&rows[0]);
    gdfo_store_checkpoint_deinit(&rows[1]);
    page.after = after;
    gdfo_test_ok(gdfo_store_checkpoint_list(f->s, jid, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_int_equal(more, 0);
    assert_int_equal(rows[0].step, 1);
    gdfo_store_checkpoint_deinit(&rows[0]);
}

/* ---- curves -----------------------------------------------------------------------------------
 */

static void add_points(struct fixture *f, int64_t jid, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t k = (int64_t)i + 1;
        const struct gdfo_store_point point = {"loss", k, k * 20, k * 640, values[i]};
        const struct gdfo_store_step step = {
            .jid = jid, .generation = k, .points = &point, .n_points = 1};
        f->now_ms += 10;
        assert_int_equal(commit(f, &step), 1);
    }
}

static void a_short_curve_comes_back_point_by_point_to_the_last_bit(void **state)
{
    static const double values[] = {0.1 + 0.2, 1e-308, -1.5, 1.7976931348623157e308};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_bucket b[8];
    const struct gdfo_store_metric_query q = {.jid = jid, .name = "loss", .points = 8};
    size_t n;
    int64_t total;
    add_points(f, jid, values, 4);
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
    assert_int_equal(n, 4);
    assert_int_equal(total, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_memory_equal(&b[i].mean, &values[i], sizeof(double));
        assert_memory_equal(&b[i].min, &values[i], sizeof(double));
        assert_int_equal(b[i].n, 1);
        gdfo_test_near(b[i].step, (double)(i + 1), 0);
        gdfo_test_near(b[i].queries, (double)(i + 1) * 640, 0);
        gdfo_test_near(b[i].evals, (double)(i + 1) * 20, 0);
    }
    gdfo_test_near(b[1].at_ms - b[0].at_ms, 10, 0);
}

static void a_long_curve_is_put_into_buckets_with_their_bands(void **state)
{
    static const double values[] = {1, 2, 3, 4, 5, 6, 7};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_bucket b[3];
    const struct gdfo_store_metric_query q = {.jid = jid, .name = "loss", .points = 3};
    size_t n;
    int64_t total;
    add_points(f, jid, values, 7);
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
    assert_int_equal(n, 3);
    assert_int_equal(total, 7); /* 3 + 2 + 2 */
    assert_int_equal(b[0].n, 3);
    gdfo_test_near(b[0].mean, 2, 1e-15);
    gdfo_test_near(b[0].min, 1, 0);
    gdfo_test_near(b[0].max, 3, 0);
    gdfo_test_near(b[1].mean, 4.5, 1e-15);
    gdfo_test_near(b[2].mean, 6.5, 1e-15);
    gdfo_test_near(b[2].step, 6.5, 1e-15);
}

static void what_is_not_finite_is_kept_and_told(void **state)
{
    const double values[] = {1, (double)NAN, 3, (double)INFINITY, -(double)INFINITY};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_bucket b[5];
    struct gdfo_store_metric_query q = {.jid = jid, .name = "loss", .points = 5};
    size_t n;
    int64_t total;
    add_points(f, jid, values, 5);
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
    assert_int_equal(b[0].odd, GDFO_STORE_FINITE);
    assert_int_equal(b[1].odd, GDFO_STORE_NAN);
    assert_int_equal(b[3].odd, GDFO_STORE_PLUS_INF);
    assert_int_equal(b[4].odd, GDFO_STORE_MINUS_INF);
    q.points = 1;
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
    assert_int_equal(b[0].odd, GDFO_STORE_NAN);
    gdfo_test_near(b[0].mean, 2, 0); /* of the finite ones */
    assert_int_equal(b[0].n, 5);
}

static void a_range_can_be_taken_on_any_axis(void **state)
{
    static const double values[] = {1, 2, 3, 4, 5};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_bucket b[5];
    static const struct {
        enum gdfo_store_axis axis;
        double from, to;
    } ranges[] = {{GDFO_STORE_AXIS_STEP, 2, 4},
                  {GDFO_STORE_AXIS_EVALS, 40, 80},
                  {GDFO_STORE_AXIS_QUERIES, 1280, 2560},
                  {GDFO_STORE_AXIS_TIME, (double)T0_MS + 20, (double)T0_MS + 40}};
    add_points(f, jid, values, 5);
    for (size_t i = 0; i < 4; i++) {
        struct gdfo_store_metric_query q = {.jid = jid,
                                            .name = "loss",
                                            .points = 5,
                                            .axis = ranges[i].axis,
                                            .has_from = 1,
                                            .has_to = 1,
                                            .from = ranges[i].from,
                                            .to = ranges[i].to};
        size_t n;
        int64_t total;
        gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
        assert_int_equal(n, 3);
        gdfo_test_near(b[0].mean, 2, 0);
        q.has_to = 0;
        gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
        assert_int_equal(n, 4);
        q.has_from = 0;
        gdfo_test_ok(gdfo_store_metric_series(f->s, &q, b, &n, &total, &f->err), &f->err);
        assert_int_equal(n, 5);
    }
}

static void every_point_can_be_read_in_portions(void **state)
{
    static const double values[] = {1, 2, 3, 4, 5};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_bucket b[2];
    const struct gdfo_store_metric_query q = {.jid = jid, .name = "loss", .points = 2};
    int64_t after = 0;
    size_t seen = 0;
    size_t n;
    add_points(f, jid, values, 5);
    do {
        gdfo_test_ok(gdfo_store_metric_points(f->s, &q, after, b, &n, &f->err), &f->err);
        for (size_t i = 0; i < n; i++) {
            gdfo_test_near(b[i].mean, values[seen++], 0);
            after = (int64_t)b[i].step;
        }
    } while (n > 0);
    assert_int_equal(seen, 5);
}

static void names_unknown_and_points_out_of_range(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_bucket b;
    struct gdfo_store_metric_query q = {.jid = 1, .name = "nothing", .points = 1};
    size_t n = 9;
    int64_t total = 9;
    gdfo_test_ok(gdfo_store_metric_series(f->s, &q, &b, &n, &total, &f->err), &f->err);
    assert_int_equal(n, 0);
    assert_int_equal(total, 0);
    q.points = 0;
    assert_int_equal(gdfo_store_metric_series(f->s, &q, &b, &n, &total, &f->err),
                     GDFO_STATUS_INVALID);
    q.points = GDFO_STORE_METRIC_POINTS_MAX + 1;
    assert_int_equal(gdfo_store_metric_series(f->s, &q, &b, &n, &total, &f->err),
                     GDFO_STATUS_INVALID);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_step_leaves_all_of_its_parts),
        CASE(a_step_walked_over_again_changes_nothing),
        CASE(a_step_is_stored_whole_or_not_at_all),
        CASE(steps_that_cannot_be_are_refused),
        CASE(progress_alone_raises_rev_once_a_second),
        CASE(the_newest_snapshot_is_loaded_and_two_are_kept),
        CASE(a_damaged_snapshot_gives_way_to_the_one_before),
        CASE(two_damaged_snapshots_are_as_none),
        CASE(a_snapshot_larger_than_the_buffer_is_a_limit),
        CASE(a_snapshot_of_megabytes_survives),
        CASE(a_job_at_its_end_has_no_snapshots),
        CASE(the_best_five_and_the_last_are_kept),
        CASE(of_equal_checkpoints_the_earlier_is_the_best),
        CASE(the_checkpoint_that_serves_is_never_pruned),
        CASE(checkpoints_are_found_by_id_within_their_project_and_job),
        CASE(checkpoint_lists_page_both_ways),
        CASE(a_short_curve_comes_back_point_by_point_to_the_last_bit),
        CASE(a_long_curve_is_put_into_buckets_with_their_bands),
        CASE(what_is_not_finite_is_kept_and_told),
        CASE(a_range_can_be_taken_on_any_axis),
        CASE(every_point_can_be_read_in_portions),
        CASE(names_unknown_and_points_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
