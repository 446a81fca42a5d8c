#include "server/store/store_call.h"
#include "server/store/store_metric.h"
#include "server/store/store_model.h"
#include "tests/unit/job/fixture.h"

#include <math.h>

/* ---- validating -------------------------------------------------------------------------------
 */

static void a_good_job_is_queued_and_nothing_is_asked(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_store_file file;
    jobs_validate(j, &job);
    assert_int_equal(job.status, GDFO_JOB_QUEUED);
    assert_int_equal(job.spend.calls, 0);
    gdfo_test_ok(gdfo_store_file_of_fid(j->deps.store, job.training_fid, &file, &j->err), &j->err);
    assert_string_equal(file.status, "processed");
    assert_int_equal(file.n_lines, 8);
    gdfo_store_job_deinit(&job);
}

struct refusal {
    const char *train, *task, *code, *reason, *words, *param;
};

/* Codes are the closed list of service.md 1.2, reasons that of 4.2. */
static const struct refusal refusals[] = {
    {"{\"text\":\"a\",\"label\":\"happy\"}\n{\"text\":\n", NULL, "invalid_training_file",
     "invalid_training_file", "", "training_file:2"},
    {"\n\n{\"label\":\"happy\"}\n", NULL, "invalid_training_file", "invalid_training_file", "text",
     "training_file:3"},
    {"", NULL, "too_few_examples", "too_few_examples", "", NULL},
    {"{\"text\":\"a\",\"label\":\"happy\"}\n", NULL, "too_few_examples", "too_few_examples", "",
     NULL},
    {"{\"text\":\"a\",\"label\":\"happy\"}\n{\"text\":\"b\",\"label\":\"odd\"}\n", NULL,
     "label_set_mismatch", "label_set_mismatch", "odd", NULL},
};

static void bad_data_fails_with_its_code(void **state)
{
    struct jobs *j = *state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        struct gdfo_store_job job =
            jobs_submit(j, &(struct jobs_order){.train = r->train, .task = r->task});
        jobs_validate(j, &job);
        assert_int_equal(job.status, GDFO_JOB_FAILED);
        assert_string_equal(job.err_code, r->code);
        assert_string_equal(job.reason, r->reason);
        assert_non_null(strstr(job.err_message, r->words));
        if (r->param) {
            assert_string_equal(job.err_param, r->param);
        }
        assert_int_equal(job.spend.calls, 0);
        assert_true(job.finished_at > 0);
        gdfo_store_job_deinit(&job);
    }
}

static void a_file_at_fault_is_marked(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){.train = "plain text\n"});
    struct gdfo_store_file file;
    jobs_validate(j, &job);
    gdfo_test_ok(gdfo_store_file_of_fid(j->deps.store, job.training_fid, &file, &j->err), &j->err);
    assert_string_equal(file.status, "error");
    gdfo_store_job_deinit(&job);
}

static int has_message(struct jobs *j, int64_t jid, const char *code)
{
    const struct gdfo_store_event_query q = {.jid = jid, .has_after_seq = 1, .limit = 100};
    struct gdfo_store_event events[100];
    size_t n = 0;
    int more = 0, found = 0;
    gdfo_test_ok(gdfo_store_event_list(j->deps.store, &q, events, &n, &more, &j->err), &j->err);
    for (size_t i = 0; i < n; i++) {
        found |= events[i].data && strstr(events[i].data, code) != NULL;
        gdfo_store_event_deinit(&events[i]);
    }
    return found;
}

static void what_a_user_should_know_is_told_before_the_run(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job few =
        jobs_submit(j, &(struct jobs_order){.train = "{\"text\":\"a\",\"label\":\"happy\"}\n"
                                                     "{\"text\":\"b\",\"label\":\"sad\"}\n"});
    struct gdfo_store_job automatic = jobs_submit(j, &(struct jobs_order){.method = "auto"});
    jobs_validate(j, &few);
    jobs_validate(j, &automatic);
    assert_int_equal(has_message(j, few.jid, "dev_split_off"), 1);
    assert_int_equal(has_message(j, few.jid, "method_resolved"), 0);
    assert_int_equal(has_message(j, automatic.jid, "method_resolved"), 1);
    assert_int_equal(has_message(j, automatic.jid, "dev_split_off"), 0);
    gdfo_store_job_deinit(&few);
    gdfo_store_job_deinit(&automatic);
}

/* ---- running ----------------------------------------------------------------------------------
 */

static void a_job_ends_with_everything_that_belongs_to_it(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){.suffix = "mine"});
    struct gdfo_store_spend sums;
    struct gdfo_store_model model;
    struct gdfo_store_checkpoint best = {0};
    struct gdfo_store_snapshot snapshot;
    struct gdfo_buf none;
    int found = 1;
    assert_string_equal(job.reason, "completed");
    assert_int_equal(job.n_results, 1);
    assert_int_equal(job.has_best, 1);
    assert_true(job.spend.evals > 8 && job.spend.evals <= 14);
    assert_true(job.spend.dev_queries > 0);
    assert_int_equal(strncmp(job.fine_tuned_model, "gdfo:local:mine:", 16), 0);
    assert_string_equal(job.fine_tuned_model + 16, job.id + strlen(job.id) - 8);
    assert_string_equal(job.machine_class, gdfo_job_machine_class());
    gdfo_test_ok(gdfo_store_call_sums(j->deps.store, job.jid, &sums, &j->err), &j->err);
    assert_memory_equal(&sums, &job.spend, sizeof sums);
    gdfo_test_ok(gdfo_store_model_get(j->deps.store, GDFO_STORE_LOCAL_PID, job.fine_tuned_model,
                                      &model, &j->err),
                 &j->err);
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job.jid, "best", &best, &j->err),
                 &j->err);
    assert_string_equal(model.checkpoint, best.id);
    gdfo_store_checkpoint_deinit(&best);
    gdfo_buf_init(&none, 1 << 20);
    gdfo_test_ok(
        gdfo_store_snapshot_load(j->deps.store, job.jid, &snapshot, &none, &found, &j->err),
        &j->err);
    assert_int_equal(found, 0);
    gdfo_store_job_deinit(&job);
}

/* What two runs leave of their prompts: the checkpoints' hashes. */
static size_t hashes(struct jobs *j, int64_t jid, unsigned char out[][GDFO_SHA256_BYTES])
{
    struct gdfo_store_checkpoint c[10];
    const struct gdfo_store_page page = {NULL, 10, 1};
    size_t n = 0;
    int more = 0;
    gdfo_test_ok(gdfo_store_checkpoint_list(j->deps.store, jid, &page, c, &n, &more, &j->err),
                 &j->err);
    for (size_t i = 0; i < n; i++) {
        memcpy(out[i], c[i].sha256, GDFO_SHA256_BYTES);
        gdfo_store_checkpoint_deinit(&c[i]);
    }
    return n;
}

static void assert_same_prompts(struct jobs *j, int64_t a, int64_t b)
{
    unsigned char ha[10][GDFO_SHA256_BYTES];
    unsigned char hb[10][GDFO_SHA256_BYTES];
    size_t n = hashes(j, a, ha);
    assert_true(n > 0);
    assert_int_equal(hashes(j, b, hb), n);
    assert_memory_equal(ha, hb, n * GDFO_SHA256_BYTES);
}

static void one_spec_and_seed_is_one_prompt(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job a = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_store_job b = jobs_finish(j, &(struct jobs_order){0});
    assert_same_prompts(j, a.jid, b.jid);
    assert_memory_equal(&a.spend, &b.spend, sizeof a.spend);
    gdfo_store_job_deinit(&a);
    gdfo_store_job_deinit(&b);
}

static void asked_before_the_first_step_it_does_nothing(void **state)
{
    static const struct {
        enum gdfo_job_stop stop;
        enum gdfo_job_status asked, want;
        const char *reason;
    } rows[] = {{GDFO_JOB_STOP_DRAIN, GDFO_JOB_RUNNING, GDFO_JOB_QUEUED, "draining"},
                {GDFO_JOB_STOP_PAUSE, GDFO_JOB_PAUSING, GDFO_JOB_PAUSED, "user"},
                {GDFO_JOB_STOP_CANCEL, GDFO_JOB_CANCELLING, GDFO_JOB_CANCELLED, "user"}};
    struct jobs *j = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
        struct gdfo_store_job claimed = {0};
        struct gdfo_store_move asked = {.to = rows[i].asked, .reason = "user"};
        int found = 0;
        jobs_validate(j, &job);
        gdfo_test_ok(gdfo_store_job_claim(j->deps.store, &claimed, &found, &j->err), &j->err);
        if (rows[i].asked != GDFO_JOB_RUNNING) {
            gdfo_test_ok(
                gdfo_store_job_set_state(j->deps.store, job.jid, &asked, NULL, NULL, &j->err),
                &j->err);
        }
        atomic_store(&j->stop, (int)rows[i].stop);
        gdfo_job_run(&j->deps, &claimed, &j->stop);
        atomic_store(&j->stop, GDFO_JOB_STOP_NONE);
        jobs_reread(j, &job);
        assert_int_equal(job.status, rows[i].want);
        assert_string_equal(job.reason, rows[i].reason);
        assert_int_equal(job.spend.calls, 0);
        if (job.status == GDFO_JOB_QUEUED) { /* out of the way of the next one */
            jobs_run(j, &job);
            assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
        }
        gdfo_store_job_deinit(&claimed);
        gdfo_store_job_deinit(&job);
    }
}

/* The row says cancelling before the flag is set; a worker that looks in between goes by the row.
 */
static void a_cancel_whose_flag_is_not_set_yet_counts(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    const struct gdfo_store_move asked = {.to = GDFO_JOB_CANCELLING, .reason = "user"};
    struct gdfo_store_job claimed = {0};
    int found = 0;
    jobs_validate(j, &job);
    gdfo_test_ok(gdfo_store_job_claim(j->deps.store, &claimed, &found, &j->err), &j->err);
    gdfo_test_ok(gdfo_store_job_set_state(j->deps.store, job.jid, &asked, NULL, NULL, &j->err),
                 &j->err);
    gdfo_job_run(&j->deps, &claimed, &j->stop); /* runs to its end, and may not succeed */
    jobs_reread(j, &job);
    assert_int_equal(job.status, GDFO_JOB_CANCELLED);
    assert_string_equal(job.fine_tuned_model, "");
    gdfo_store_job_deinit(&claimed);
    gdfo_store_job_deinit(&job);
}

static void a_killed_run_ends_with_one_metrics_file(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job undisturbed = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_store_file_new filed = {.filename = "metrics.csv", .purpose = "fine-tune-results"};
    struct gdfo_store_file file;
    jobs_validate(j, &job);
    filed.result_of_jid = job.jid; /* as the run that was killed left it */
    gdfo_test_ok(gdfo_store_blob_put(j->deps.store, "x", 1, &filed.blob, &j->err), &j->err);
    gdfo_test_ok(gdfo_store_file_add(j->deps.store, NULL, &filed, &file, &j->err), &j->err);
    jobs_run(j, &job);
    assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
    assert_int_equal(job.n_results, 1);
    assert_same_prompts(j, undisturbed.jid, job.jid);
    gdfo_store_job_deinit(&undisturbed);
    gdfo_store_job_deinit(&job);
}

static void a_run_that_was_closed_in_between_is_the_same_run(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job a =
        jobs_finish(j, &(struct jobs_order){.method = "gdfo",
                                            .options = ",\"student_layers\":2"
                                                       ",\"prompt_steps\":4"
                                                       ",\"distill_steps\":1"});
    struct gdfo_store_job b =
        jobs_submit(j, &(struct jobs_order){.method = "gdfo",
                                            .options = ",\"student_layers\":2,\"prompt_steps\":4"
                                                       ",\"distill_steps\":1"});
    struct gdfo_store_recovery found;
    jobs_validate(j, &b);
    gdfo_store_close(j->deps.store); /* with the job queued: everything has to be read again */
    jobs_open_store(j);
    gdfo_test_ok(gdfo_store_recover(j->deps.store, &found, &j->err), &j->err);
    jobs_run(j, &b);
    assert_int_equal(b.status, GDFO_JOB_SUCCEEDED);
    assert_string_equal(b.student, "local");
    assert_same_prompts(j, a.jid, b.jid);
    gdfo_store_job_deinit(&a);
    gdfo_store_job_deinit(&b);
}

static void a_student_of_the_same_file_and_depth_needs_the_flag(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job =
        jobs_submit(j, &(struct jobs_order){.method = "gdfo", .options = ",\"student_layers\":5"});
    jobs_validate(j, &job);
    if (job.status == GDFO_JOB_QUEUED) {
        jobs_run(j, &job);
    }
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    assert_string_equal(job.reason, "user_error");
    assert_string_equal(job.err_code, "teacher_capability"); /* nobody asked the teacher anything */
    assert_string_equal(job.err_param, "student");
    assert_int_equal(job.spend.calls, 0);
    assert_non_null(strstr(job.err_message, "allow_same_student"));
    gdfo_store_job_deinit(&job);
}

static void patience_ends_a_run_early(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(
        j, &(struct jobs_order){.budget = "{\"evals\":2000}",
                                .rules = ",\"early_stop\":{\"patience\":1,\"min_delta\":1}"
                                         ",\"evaluation\":{\"every_queries\":8}"});
    assert_string_equal(job.reason, "early_stopped");
    assert_true(job.spend.evals < 200);
    gdfo_store_job_deinit(&job);
}

static void a_wall_clock_budget_ends_it_or_fails_it_as_asked(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job =
        jobs_submit(j, &(struct jobs_order){.budget = "{\"evals\":10000000,\"wall_seconds\":1,"
                                                      "\"on_exhausted\":\"fail\"}"});
    jobs_validate(j, &job);
    jobs_run(j, &job);
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    assert_string_equal(job.err_code, "budget_exhausted");
    assert_string_equal(job.reason, "budget_exhausted");
    gdfo_store_job_deinit(&job);
}

/* Each cap alone ends the run before it is passed; what is used stands against it, and is what the
 * job says it spent. */
static void every_cap_of_a_budget_holds(void **state)
{
    static const struct {
        const char *budget;
        enum gdfo_store_unit unit;
        int64_t cap;
    } rows[] = {
        {"{\"evals\":10000000,\"queries\":400}", GDFO_STORE_QUERIES, 400},
        {"{\"evals\":10000000,\"tokens_in\":9000}", GDFO_STORE_TOKENS_IN, 9000},
        {"{\"evals\":10000000,\"tokens_out\":2000}", GDFO_STORE_TOKENS_OUT, 2000},
        {"{\"tokens_out\":2000}", GDFO_STORE_TOKENS_OUT, 2000},
        {"{\"evals\":14,\"usd_micros\":5}", GDFO_STORE_USD_MICROS, 5},
    };
    struct jobs *j = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){.budget = rows[i].budget});
        const int64_t spent[] = {job.spend.evals, job.spend.queries + job.spend.dev_queries,
                                 job.spend.tokens_in, job.spend.tokens_out, job.spend.usd_micros};
        struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
        size_t n = 0;
        size_t k = 0;
        gdfo_test_ok(gdfo_store_job_caps(j->deps.store, job.jid, caps, &n, &j->err), &j->err);
        while (k < n && caps[k].unit != rows[i].unit) {
            k++;
        }
        assert_true(k < n);
        assert_int_equal(caps[k].cap, rows[i].cap);
        assert_int_equal(caps[k].held, 0);
        assert_int_equal(caps[k].used, spent[rows[i].unit]);
        assert_true(spent[rows[i].unit] <= rows[i].cap);
        if (rows[i].unit != GDFO_STORE_USD_MICROS) { /* the teacher here has no price */
            assert_true(spent[rows[i].unit] > rows[i].cap / 2);
        }
        gdfo_store_job_deinit(&job);
    }
}

/* Too little for one call: nothing is asked, and the message names the unit. */
static void a_cap_that_no_call_fits_fails_the_job(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job =
        jobs_submit(j, &(struct jobs_order){.budget = "{\"evals\":14,\"tokens_out\":3}"});
    jobs_validate(j, &job);
    jobs_run(j, &job);
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    assert_string_equal(job.err_code, "budget_exhausted");
    assert_non_null(strstr(job.err_message, "tokens_out"));
    assert_int_equal(job.spend.calls, 0);
    gdfo_store_job_deinit(&job);
}

/* A clock on which every look takes 400 ms; at one of them the job is asked to stop. */
struct slow_clock {
    int64_t now_ms;
    int n_looks, stop_at;
    atomic_int *stop;
};

static int64_t slow_monotonic(void *ctx)
{
    struct slow_clock *c = ctx;
    if (++c->n_looks == c->stop_at) {
        atomic_store(c->stop, (int)GDFO_JOB_STOP_DRAIN);
    }
    return c->now_ms += 400;
}

static int64_t used_ms(struct jobs *j, int64_t jid)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    size_t n = 0;
    gdfo_test_ok(gdfo_store_job_caps(j->deps.store, jid, caps, &n, &j->err), &j->err);
    for (size_t i = 0; i < n; i++) {
        if (caps[i].unit == GDFO_STORE_WALL_MS) {
            return caps[i].used;
        }
    }
    return -1;
}

static void running_time_counts_over_stops_and_restarts_and_nothing_else_does(void **state)
{
    struct jobs *j = *state;
    struct slow_clock c = {.now_ms = 5000, .stop = &j->stop};
    const struct gdfo_clk clk = {&c, slow_monotonic, slow_monotonic};
    struct gdfo_store_job job =
        jobs_submit(j, &(struct jobs_order){.budget = "{\"evals\":10000000,\"wall_seconds\":20}"});
    int64_t ran_ms = 0;
    jobs_validate(j, &job);
    j->deps.clk = &clk;
    for (int i = 0; job.status == GDFO_JOB_QUEUED && i < 20; i++) {
        const int64_t from_ms = c.now_ms;
        c.stop_at = c.n_looks + 15;
        jobs_run(j, &job);
        ran_ms += c.now_ms - from_ms;
        gdfo_test_near((double)used_ms(j, job.jid), (double)(ran_ms < 20000 ? ran_ms : 20000),
                       400.0 * (i + 2)); /* the looks themselves take time */
        gdfo_store_close(j->deps.store);
        c.now_ms += 3600 * 1000; /* nobody's */
        jobs_open_store(j);
        atomic_store(&j->stop, GDFO_JOB_STOP_NONE);
    }
    assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
    assert_string_equal(job.reason, "budget_exhausted");
    assert_in_range(ran_ms, 20000, 24000); /* several runs, each of 6 s */
    assert_int_equal(used_ms(j, job.jid), 20000);
    j->deps.clk = gdfo_clk_system();
    gdfo_store_job_deinit(&job);
}

/* ---- small things -----------------------------------------------------------------------------
 */

static void a_stopped_job_goes_where_its_row_says(void **state)
{
    struct gdfo_store_move m = gdfo_job_stopped_move(GDFO_JOB_RUNNING, 0);
    (void)state;
    assert_int_equal(m.to, GDFO_JOB_QUEUED);
    assert_string_equal(m.reason, "draining");
    m = gdfo_job_stopped_move(GDFO_JOB_RUNNING, 1);
    assert_int_equal(m.to, GDFO_JOB_PAUSED);
    assert_string_equal(m.reason, "disk_full");
    for (int is_full = 0; is_full < 2; is_full++) { /* a person's word goes before the disk */
        m = gdfo_job_stopped_move(GDFO_JOB_PAUSING, is_full);
        assert_int_equal(m.to, GDFO_JOB_PAUSED);
        assert_string_equal(m.reason, "user");
        m = gdfo_job_stopped_move(GDFO_JOB_CANCELLING, is_full);
        assert_int_equal(m.to, GDFO_JOB_CANCELLED);
    }
}

static void teachers_are_the_models_that_can_tokenize(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_teacher t = {0};
    gdfo_test_ok(gdfo_store_teacher_get(j->deps.store, "local", &t, &j->err), &j->err);
    assert_string_equal(t.adapter, "embedded");
    assert_string_equal(t.model, "local");
    gdfo_store_teacher_deinit(&t);
    gdfo_test_ok(gdfo_job_register_teachers(j->deps.store, j->deps.models, &j->err), &j->err);
    assert_int_equal(gdfo_store_teacher_get(j->deps.store, "nobody", &t, &j->err),
                     GDFO_STATUS_NOT_FOUND);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_good_job_is_queued_and_nothing_is_asked),
        CASE(bad_data_fails_with_its_code),
        CASE(a_file_at_fault_is_marked),
        CASE(what_a_user_should_know_is_told_before_the_run),
        CASE(a_job_ends_with_everything_that_belongs_to_it),
        CASE(one_spec_and_seed_is_one_prompt),
        CASE(asked_before_the_first_step_it_does_nothing),
        CASE(a_cancel_whose_flag_is_not_set_yet_counts),
        CASE(a_killed_run_ends_with_one_metrics_file),
        CASE(a_run_that_was_closed_in_between_is_the_same_run),
        CASE(a_student_of_the_same_file_and_depth_needs_the_flag),
        CASE(patience_ends_a_run_early),
        CASE(a_wall_clock_budget_ends_it_or_fails_it_as_asked),
        CASE(every_cap_of_a_budget_holds),
        CASE(a_cap_that_no_call_fits_fails_the_job),
        CASE(running_time_counts_over_stops_and_restarts_and_nothing_else_does),
        CASE(a_stopped_job_goes_where_its_row_says),
        CASE(teachers_are_the_models_that_can_tokenize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
