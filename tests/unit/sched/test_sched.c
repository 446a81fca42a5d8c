#include "common/clk.h"
#include "common/lock.h"
#include "server/sched/sched.h"
#include "tests/unit/job/fixture.h"

#define PATIENCE_MS 60000

/* Jobs as the daemon has them: stored, and worked on by a scheduler's own threads. */
static struct gdfo_sched *start(struct jobs *j, unsigned n_workers)
{
    const struct gdfo_sched_config config = {.n_workers = n_workers, .stop_ms = 8000};
    struct gdfo_sched *s = NULL;
    gdfo_test_ok(
        gdfo_sched_start(&s, j->deps.store, j->deps.models, j->deps.pool, &config, &j->err),
        &j->err);
    return s;
}

static int is_in(const struct gdfo_store_job *job, unsigned states)
{
    return (states >> job->status & 1) != 0;
}

#define STATE(name) (1u << GDFO_JOB_##name)
#define ENDED       (STATE(SUCCEEDED) | STATE(FAILED) | STATE(CANCELLED))

/* Looks until the job is in one of these states, or has ended. */
static void await(struct jobs *j, struct gdfo_store_job *job, unsigned states)
{
    int64_t end = gdfo_clk_monotonic_ms(gdfo_clk_system()) + PATIENCE_MS;
    jobs_reread(j, job);
    while (!is_in(job, states | ENDED)) {
        assert_true(gdfo_clk_monotonic_ms(gdfo_clk_system()) < end);
        jobs_reread(j, job);
    }
    if (!is_in(job, states)) {
        print_error("%s is %s: %s\n", job->id, gdfo_job_status_name(job->status), job->err_message);
        fail();
    }
}

static const struct jobs_order endless = {.budget = "{\"evals\":1000000}"};

/* A running job that will not end by itself. */
static struct gdfo_store_job start_endless(struct jobs *j, struct gdfo_sched *s)
{
    struct gdfo_store_job job = jobs_submit(j, &endless);
    gdfo_sched_wake(s);
    await(j, &job, STATE(RUNNING));
    return job;
}

static void a_job_goes_from_its_files_to_its_end(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 2);
    struct gdfo_store_job good = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_store_job bad = jobs_submit(j, &(struct jobs_order){.train = "no JSON\n"});
    gdfo_sched_wake(s);
    await(j, &good, STATE(SUCCEEDED));
    await(j, &bad, STATE(FAILED));
    assert_string_equal(bad.err_code, "invalid_training_file");
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&good);
    gdfo_store_job_deinit(&bad);
}

static void what_was_stored_before_the_start_is_worked_on(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_sched *s = start(j, 1);
    await(j, &job, STATE(SUCCEEDED));
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&job);
}

static void files_are_checked_while_every_worker_has_a_job(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    struct gdfo_store_job busy = start_endless(j, s);
    struct gdfo_store_job next = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_store_job bad = jobs_submit(j, &(struct jobs_order){.train = ""});
    gdfo_sched_wake(s);
    await(j, &next, STATE(QUEUED));
    await(j, &bad, STATE(FAILED));
    jobs_reread(j, &busy);
    assert_int_equal(busy.status, GDFO_JOB_RUNNING);
    gdfo_test_ok(gdfo_sched_cancel(s, busy.id, &j->err), &j->err);
    await(j, &busy, STATE(CANCELLED));
    await(j, &next, STATE(SUCCEEDED));
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&busy);
    gdfo_store_job_deinit(&next);
    gdfo_store_job_deinit(&bad);
}

static void a_stop_queues_what_runs_and_the_next_start_takes_it_up(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 2);
    struct gdfo_store_job a = start_endless(j, s);
    struct gdfo_store_job b = start_endless(j, s);
    gdfo_sched_stop(s);
    jobs_reread(j, &a);
    jobs_reread(j, &b);
    assert_int_equal(a.status, GDFO_JOB_QUEUED);
    assert_int_equal(b.status, GDFO_JOB_QUEUED);
    assert_string_equal(a.reason, "draining");
    s = start(j, 2);
    await(j, &a, STATE(RUNNING));
    await(j, &b, STATE(RUNNING));
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&a);
    gdfo_store_job_deinit(&b);
}

static void a_drain_has_the_patience_it_was_given(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_sched_config none = {.n_workers = 1, .stop_ms = 0};
    struct gdfo_sched *s = NULL;
    struct gdfo_store_job job;
    gdfo_test_ok(gdfo_sched_start(&s, j->deps.store, j->deps.models, j->deps.pool, &none, &j->err),
                 &j->err);
    job = start_endless(j, s);
    assert_int_equal(gdfo_sched_drain(s), 0); /* no thread can have ended since it was asked */
    gdfo_sched_stop(s);
    jobs_reread(j, &job);
    assert_int_equal(job.status, GDFO_JOB_QUEUED);
    s = start(j, 1);
    await(j, &job, STATE(RUNNING));
    assert_int_equal(gdfo_sched_drain(s), 1);
    jobs_reread(j, &job);
    assert_int_equal(job.status, GDFO_JOB_QUEUED);
    assert_string_equal(job.reason, "draining");
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&job);
}

static void paused_stays_paused_until_it_is_resumed(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    struct gdfo_store_job job = start_endless(j, s);
    int64_t calls;
    gdfo_test_ok(gdfo_sched_pause(s, job.id, &j->err), &j->err);
    gdfo_test_ok(gdfo_sched_pause(s, job.id, &j->err), &j->err); /* again: nothing new */
    await(j, &job, STATE(PAUSED));
    assert_string_equal(job.reason, "user");
    calls = job.spend.calls;
    gdfo_sched_stop(s);
    s = start(j, 1);
    gdfo_sched_wake(s);
    jobs_reread(j, &job);
    assert_int_equal(job.status, GDFO_JOB_PAUSED);
    assert_int_equal(job.spend.calls, calls);
    gdfo_test_ok(gdfo_sched_resume(s, job.id, &j->err), &j->err);
    gdfo_test_ok(gdfo_sched_resume(s, job.id, &j->err), &j->err);
    await(j, &job, STATE(RUNNING));
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&job);
}

static void a_waiting_job_moves_at_once(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    struct gdfo_store_job busy = start_endless(j, s);
    struct gdfo_store_job waiting = jobs_submit(j, &(struct jobs_order){0});
    gdfo_sched_wake(s);
    await(j, &waiting, STATE(QUEUED));
    gdfo_test_ok(gdfo_sched_pause(s, waiting.id, &j->err), &j->err);
    jobs_reread(j, &waiting);
    assert_int_equal(waiting.status, GDFO_JOB_PAUSED);
    gdfo_test_ok(gdfo_sched_resume(s, waiting.id, &j->err), &j->err);
    jobs_reread(j, &waiting);
    assert_int_equal(waiting.status, GDFO_JOB_QUEUED);
    gdfo_test_ok(gdfo_sched_cancel(s, waiting.id, &j->err), &j->err);
    jobs_reread(j, &waiting);
    assert_int_equal(waiting.status, GDFO_JOB_CANCELLED);
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&busy);
    gdfo_store_job_deinit(&waiting);
}

static void what_cannot_be_asked_is_refused_with_the_state_it_is_in(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    gdfo_sched_wake(s);
    await(j, &job, STATE(SUCCEEDED));
    assert_int_equal(gdfo_sched_pause(s, job.id, &j->err), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(j->err.text, "succeeded"));
    assert_int_equal(gdfo_sched_resume(s, job.id, &j->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_sched_cancel(s, job.id, &j->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_sched_cancel(s, "ftjob-01JZZZZZZZZZZZZZZZZZZZZZZZ", &j->err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&job);
}

static void paused_and_cancelled_at_once_ends_cancelled(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    for (int i = 0; i < 8; i++) {
        struct gdfo_store_job job = start_endless(j, s);
        gdfo_test_ok(gdfo_sched_pause(s, job.id, &j->err), &j->err);
        gdfo_test_ok(gdfo_sched_cancel(s, job.id, &j->err), &j->err);
        await(j, &job, STATE(CANCELLED));
        gdfo_test_ok(gdfo_sched_cancel(s, job.id, &j->err), &j->err);
        gdfo_store_job_deinit(&job);
    }
    gdfo_sched_stop(s);
}

static void what_a_full_disk_paused_goes_on_by_itself(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job full = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_store_job asked = jobs_submit(j, &(struct jobs_order){0});
    const struct gdfo_store_move queued = {.to = GDFO_JOB_QUEUED};
    const struct gdfo_store_move by_disk = {.to = GDFO_JOB_PAUSED, .reason = "disk_full"};
    const struct gdfo_store_move by_user = {.to = GDFO_JOB_PAUSED, .reason = "user"};
    const struct gdfo_store_move *moves[2] = {&by_disk, &by_user};
    struct gdfo_store_job *both[2] = {&full, &asked};
    struct gdfo_sched *s;
    for (int i = 0; i < 2; i++) {
        int64_t jid = both[i]->jid;
        gdfo_test_ok(gdfo_store_job_set_state(j->deps.store, jid, &queued, NULL, NULL, &j->err),
                     &j->err);
        gdfo_test_ok(gdfo_store_job_set_state(j->deps.store, jid, moves[i], NULL, NULL, &j->err),
                     &j->err);
    }
    s = start(j, 1);
    await(j, &full, STATE(SUCCEEDED));
    jobs_reread(j, &asked);
    assert_int_equal(asked.status, GDFO_JOB_PAUSED);
    gdfo_sched_stop(s);
    gdfo_store_job_deinit(&full);
    gdfo_store_job_deinit(&asked);
}

/* ---- predictions ------------------------------------------------------------------------------
 */

struct answers { /* what came back, in any order */
    struct gdfo_lock *lock;
    struct gdfo_cond *changed;
    int n_ok, n_failed;
    enum gdfo_status last;
};

static void take(void *ctx, enum gdfo_status status, const struct gdfo_buf *json,
                 const struct gdfo_error *err)
{
    struct answers *a = ctx;
    (void)err;
    gdfo_lock_acquire(a->lock);
    a->n_ok += status == GDFO_STATUS_OK && json->len > 0;
    a->n_failed += status != GDFO_STATUS_OK;
    a->last = status;
    gdfo_cond_broadcast(a->changed);
    gdfo_lock_release(a->lock);
}

static void await_answers(struct answers *a, int n)
{
    gdfo_lock_acquire(a->lock);
    while (a->n_ok + a->n_failed < n) {
        gdfo_cond_wait(a->changed, a->lock);
    }
    gdfo_lock_release(a->lock);
}

static const struct gdfo_predict_input inputs[2] = {{"a happy day", NULL}, {"a sad day", NULL}};

static struct gdfo_predict prediction(const char *model, struct answers *a)
{
    struct gdfo_predict p = {.inputs = inputs, .n_inputs = 2, .done = take, .ctx = a};
    (void)snprintf(p.model, sizeof p.model, "%s", model);
    return p;
}

static struct answers answers_open(void)
{
    struct answers a = {.lock = gdfo_lock_create(), .changed = gdfo_cond_create()};
    assert_true(a.lock && a.changed);
    return a;
}

static void answers_close(struct answers *a)
{
    gdfo_cond_destroy(a->changed);
    gdfo_lock_destroy(a->lock);
}

static void predictions_are_served_while_every_worker_has_a_job(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job done = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_sched *s = start(j, 1);
    struct gdfo_store_job busy = start_endless(j, s);
    struct answers a = answers_open();
    struct gdfo_predict p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = prediction(done.id, &a);
        gdfo_test_ok(gdfo_sched_predict(s, &p[i], &j->err), &j->err);
    }
    await_answers(&a, 4);
    assert_int_equal(a.n_ok, 4);
    jobs_reread(j, &busy);
    assert_int_equal(busy.status, GDFO_JOB_RUNNING);
    gdfo_sched_stop(s);
    answers_close(&a);
    gdfo_store_job_deinit(&busy);
    gdfo_store_job_deinit(&done);
}

static void a_prediction_that_fails_says_why(void **state)
{
    struct jobs *j = *state;
    struct gdfo_sched *s = start(j, 1);
    struct answers a = answers_open();
    struct gdfo_predict nobody = prediction("ftjob-01JZZZZZZZZZZZZZZZZZZZZZZZ", &a);
    struct gdfo_predict odd = prediction("local", &a);
    gdfo_test_ok(gdfo_sched_predict(s, &nobody, &j->err), &j->err);
    await_answers(&a, 1);
    assert_int_equal(a.last, GDFO_STATUS_NOT_FOUND);
    (void)snprintf(odd.variant, sizeof odd.variant, "magic");
    gdfo_test_ok(gdfo_sched_predict(s, &odd, &j->err), &j->err);
    await_answers(&a, 2);
    assert_int_equal(a.last, GDFO_STATUS_INVALID);
    gdfo_sched_stop(s);
    answers_close(&a);
}

static void everyone_is_answered_before_the_end_and_too_many_are_refused(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job done = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_sched *s = start(j, 2);
    struct answers a = answers_open();
    struct gdfo_predict *p = gdfo_mem_array(200, sizeof *p);
    int n = 0;
    enum gdfo_status status = GDFO_STATUS_OK;
    while (n < 200 && status == GDFO_STATUS_OK) {
        p[n] = prediction(done.id, &a);
        status = gdfo_sched_predict(s, &p[n], &j->err);
        n += status == GDFO_STATUS_OK;
    }
    assert_true(n >= 64);
    if (n < 200) { /* else they were served as fast as they came */
        assert_int_equal(status, GDFO_STATUS_BUSY);
        assert_non_null(strstr(j->err.text, "64"));
    }
    gdfo_sched_stop(s);
    assert_int_equal(a.n_ok, n);
    answers_close(&a);
    gdfo_mem_free(p);
    gdfo_store_job_deinit(&done);
}

static void the_number_of_workers_has_bounds(void **state)
{
    static const unsigned wrong[] = {0, 257};
    struct jobs *j = *state;
    for (size_t i = 0; i < 2; i++) {
        const struct gdfo_sched_config config = {.n_workers = wrong[i]};
        struct gdfo_sched *s = NULL;
        assert_int_equal(
            gdfo_sched_start(&s, j->deps.store, j->deps.models, j->deps.pool, &config, &j->err),
            GDFO_STATUS_INVALID);
        assert_null(s);
        assert_non_null(strstr(j->err.text, "sched.workers"));
    }
    gdfo_sched_stop(NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_job_goes_from_its_files_to_its_end),
        CASE(what_was_stored_before_the_start_is_worked_on),
        CASE(files_are_checked_while_every_worker_has_a_job),
        CASE(a_stop_queues_what_runs_and_the_next_start_takes_it_up),
        CASE(a_drain_has_the_patience_it_was_given),
        CASE(paused_stays_paused_until_it_is_resumed),
        CASE(a_waiting_job_moves_at_once),
        CASE(what_cannot_be_asked_is_refused_with_the_state_it_is_in),
        CASE(paused_and_cancelled_at_once_ends_cancelled),
        CASE(what_a_full_disk_paused_goes_on_by_itself),
        CASE(predictions_are_served_while_every_worker_has_a_job),
        CASE(a_prediction_that_fails_says_why),
        CASE(everyone_is_answered_before_the_end_and_too_many_are_refused),
        CASE(the_number_of_workers_has_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
