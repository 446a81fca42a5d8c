/* Many threads on one store; the claims are about sums, and TSan watches the rest. */
#include "server/store/store_event.h"
#include "server/store/store_step.h"
#include "tests/unit/store/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define WRITERS 4
#define ROUNDS  25

struct worker {
    struct fixture *f;
    int64_t jid;
    int number;
    atomic_int *failures;
    int64_t done; /* calls that went through */
};

static void count_failure(struct worker *w, enum gdfo_status status)
{
    if (status != GDFO_STATUS_OK) {
        (void)atomic_fetch_add(w->failures, 1);
    }
}

static void start_all(struct worker *workers, int n, void *(*run)(void *))
{
    pthread_t threads[16];
    for (int i = 0; i < n; i++) {
        workers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, run, &workers[i]), 0);
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* ---- calls against one cap
 * ----------------------------------------------------------------------- */

static void *call_until_refused(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct gdfo_store_intent call = fixture_call(w->jid, w->number * 1000 + i);
        struct gdfo_store_outcome o;
        struct gdfo_error err = {0};
        int64_t attempt = 0;
        enum gdfo_status status;
        call.n_prompts = 1;
        call.held_evals = 1;
        status = gdfo_store_call_intent(w->f->s, &call, &attempt, &err);
        if (status == GDFO_STATUS_BUDGET) {
            continue;
        }
        count_failure(w, status);
        o = fixture_done(&call, attempt);
        count_failure(w, gdfo_store_call_done(w->f->s, &o, &err));
        w->done++;
    }
    return NULL;
}

static void a_cap_holds_against_all_threads_and_is_used_up(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_cap cap = {.unit = GDFO_STORE_EVALS, .cap = 60};
    int64_t jid = fixture_running_job(f, &cap, 1);
    atomic_int failures = 0;
    struct worker workers[WRITERS];
    struct gdfo_store_spend sums = {0};
    struct gdfo_store_job job;
    int64_t done = 0;
    for (int i = 0; i < WRITERS; i++) {
        workers[i] = (struct worker){f, jid, 0, &failures, 0};
    }
    start_all(workers, WRITERS, call_until_refused);
    for (int i = 0; i < WRITERS; i++) {
        done += workers[i].done;
    }
    assert_int_equal(atomic_load(&failures), 0);
    assert_int_equal(done, 60); /* 100 were asked for */
    gdfo_test_ok(gdfo_store_call_sums(f->s, jid, &sums, &f->err), &f->err);
    job = fixture_read(f, jid);
    assert_int_equal(sums.evals, 60);
    assert_int_equal(job.spend.evals, 60);
    assert_int_equal(job.spend.calls, 60);
    gdfo_store_job_deinit(&job);
}

/* ---- claiming
 * ------------------------------------------------------------------------------------- */

static void *claim_all(void *arg)
{
    struct worker *w = arg;
    int found = 1;
    while (found) {
        struct gdfo_store_job job;
        struct gdfo_error err = {0};
        enum gdfo_status status = gdfo_store_job_claim(w->f->s, &job, &found, &err);
        count_failure(w, status);
        if (status != GDFO_STATUS_OK) {
            break;
        }
        if (found) {
            w->done++;
            gdfo_store_job_deinit(&job);
        }
    }
    return NULL;
}

static void each_job_is_claimed_by_one_thread(void **state)
{
    struct fixture *f = *state;
    atomic_int failures = 0;
    struct worker workers[WRITERS];
    int64_t claimed = 0;
    int64_t counts[GDFO_JOB_STATUS_END];
    for (int i = 0; i < 20; i++) {
        fixture_move(f, fixture_job(f, NULL, 0), GDFO_JOB_QUEUED);
    }
    for (int i = 0; i < WRITERS; i++) {
        workers[i] = (struct worker){f, 0, 0, &failures, 0};
    }
    start_all(workers, WRITERS, claim_all);
    for (int i = 0; i < WRITERS; i++) {
        claimed += workers[i].done;
    }
    assert_int_equal(atomic_load(&failures), 0);
    assert_int_equal(claimed, 20);
    gdfo_test_ok(gdfo_store_job_counts(f->s, counts, &f->err), &f->err);
    assert_int_equal(counts[GDFO_JOB_RUNNING], 20);
}

/* ---- reading while writing
 * --------------------------------------------------------------------------- */

static void *step_job(void *arg)
{
    struct worker *w = arg;
    for (int64_t g = 1; g <= ROUNDS; g++) {
        const struct gdfo_store_point points[] = {{"loss", g, g, g, (double)g}};
        const struct gdfo_store_snapshot_new snapshot = {"state", 5, 1, g};
        const struct gdfo_store_event_new event = {GDFO_STORE_INFO, "metrics", "step", NULL};
        const struct gdfo_store_step step = {.jid = w->jid,
                                             .generation = g,
                                             .points = points,
                                             .n_points = 1,
                                             .snapshot = &snapshot,
                                             .events = &event,
                                             .n_events = 1};
        struct gdfo_error err = {0};
        count_failure(w, gdfo_store_step_commit(w->f->s, &step, NULL, &err));
    }
    return NULL;
}

/* Generation and events of one job always belong together: a reader sees whole transactions. */
static void *watch_job(void *arg)
{
    struct worker *w = arg;
    int64_t last = 0;
    while (last < ROUNDS) {
        struct gdfo_store_job job;
        struct gdfo_error err = {0};
        enum gdfo_status status = gdfo_store_job_of_jid(w->f->s, w->jid, &job, &err);
        count_failure(w, status);
        if (status != GDFO_STATUS_OK) {
            break;
        }
        if (job.generation < last) {
            (void)atomic_fetch_add(w->failures, 1);
        }
        last = job.generation;
        gdfo_store_job_deinit(&job);
    }
    return NULL;
}

static void *step_or_watch(void *arg)
{
    struct worker *w = arg;
    return w->number == 0 ? step_job(arg) : watch_job(arg);
}

static void readers_see_whole_steps_in_order(void **state)
{
    struct fixture *f = *state;
    atomic_int failures = 0;
    struct worker workers[8];
    int64_t jid = fixture_running_job(f, NULL, 0);
    for (int i = 0; i < 8; i++) { /* more readers than there are connections */
        workers[i] = (struct worker){f, jid, 0, &failures, 0};
    }
    start_all(workers, 8, step_or_watch);
    assert_int_equal(atomic_load(&failures), 0);
}

/* ---- content
 * -------------------------------------------------------------------------------------------- */

static void *upload_same(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 10; i++) {
        struct gdfo_store_blob blob;
        struct gdfo_error err = {0};
        struct gdfo_store_file file;
        struct gdfo_store_file_new new_file = {.filename = "f", .purpose = "fine-tune"};
        char text[16];
        int n = snprintf(text, sizeof text, "content %d", i); /* all threads the same ten */
        count_failure(w, gdfo_store_blob_put(w->f->s, text, (size_t)n, &blob, &err));
        new_file.blob = blob;
        count_failure(w, gdfo_store_file_add(w->f->s, &w->f->who, &new_file, &file, &err));
        count_failure(w, gdfo_store_maintain(w->f->s, &err));
    }
    return NULL;
}

static void the_same_content_from_many_threads_is_one_blob(void **state)
{
    struct fixture *f = *state;
    atomic_int failures = 0;
    struct worker workers[WRITERS];
    struct gdfo_store_file rows[GDFO_STORE_LIST_MAX];
    const struct gdfo_store_page page = {NULL, GDFO_STORE_LIST_MAX, 0};
    const struct gdfo_store_file_filter filter = {1, NULL};
    size_t n;
    int more;
    for (int i = 0; i < WRITERS; i++) {
        workers[i] = (struct worker){f, 0, 0, &failures, 0};
    }
    start_all(workers, WRITERS, upload_same);
    assert_int_equal(atomic_load(&failures), 0);
    gdfo_test_ok(gdfo_store_file_list(f->s, &filter, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, WRITERS * 10 + 1);
    for (size_t i = 0; i < n; i++) {
        struct gdfo_buf b;
        gdfo_buf_init(&b, 100);
        gdfo_test_ok(gdfo_store_blob_read(f->s, &rows[i].blob, &b, &f->err), &f->err);
        gdfo_buf_deinit(&b);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_cap_holds_against_all_threads_and_is_used_up),
        CASE(each_job_is_claimed_by_one_thread),
        CASE(readers_see_whole_steps_in_order),
        CASE(the_same_content_from_many_threads_is_one_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
