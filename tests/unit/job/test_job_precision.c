#include "common/json.h"
#include "server/job/job_export.h"
#include "server/job/job_precision.h"
#include "server/store/store_event.h"
#include "server/store/store_precision.h"
#include "tests/unit/job/fixture.h"

#include <math.h>

static void set(struct jobs *j, int precision)
{
    const struct gdfo_models_setup setup = {.precision = precision};
    gdfo_models_set_up(j->deps.models, &setup);
}

/* ---- settling ----------------------------------------------------------------------------------
 */

struct heard {
    int n;
    char last[200];
};

static void hear(void *ctx, const char *words)
{
    struct heard *h = ctx;
    h->n++;
    (void)snprintf(h->last, sizeof h->last, "%s", words);
}

static enum gdfo_precision settle(struct jobs *j, struct heard *heard)
{
    const struct gdfo_precision_ask ask = {&j->deps, "local", NULL, hear, heard};
    enum gdfo_precision p = GDFO_PRECISION_INT8;
    gdfo_test_ok(gdfo_job_precision_settle(&ask, &p, &j->err), &j->err);
    assert_in_range(p, GDFO_PRECISION_F32, GDFO_PRECISION_INT8);
    return p;
}

static const struct gdfo_model_entry *local(struct jobs *j)
{
    return gdfo_models_find(j->deps.models, "local");
}

static enum gdfo_status stored(struct jobs *j, enum gdfo_precision p,
                               struct gdfo_store_precision *row)
{
    char engine[GDFO_PRECISION_ENGINE_BYTES];
    const struct gdfo_store_precision_key key = {local(j)->sha256, engine};
    gdfo_job_precision_engine(p, engine);
    return gdfo_store_precision_get(j->deps.store, &key, gdfo_precision_name(p), row, &j->err);
}

static int has_reduced(void)
{
    return gdfo_precision_is_available(GDFO_PRECISION_BF16) ||
           gdfo_precision_is_available(GDFO_PRECISION_INT8);
}

static void a_setting_is_taken_without_a_measurement(void **state)
{
    struct jobs *j = *state;
    struct heard heard = {0};
    struct gdfo_store_precision row;
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            set(j, p);
            assert_int_equal(settle(j, &heard), p);
        }
        assert_int_equal(stored(j, (enum gdfo_precision)p, &row), GDFO_STATUS_NOT_FOUND);
    }
    assert_int_equal(heard.n, 0);
}

static void auto_measures_once_and_for_good(void **state)
{
    struct jobs *j = *state;
    struct heard heard = {0};
    struct gdfo_store_precision row;
    enum gdfo_precision first;
    const struct gdfo_store_options options = {.dir = j->data};
    set(j, GDFO_PRECISION_AUTO);
    first = settle(j, &heard);
    assert_int_equal(heard.n, has_reduced());
    assert_int_equal(settle(j, &heard), first);
    gdfo_store_close(j->deps.store); /* and so after a restart */
    gdfo_test_ok(gdfo_store_open(&j->deps.store, &options, &j->err), &j->err);
    assert_int_equal(settle(j, &heard), first);
    assert_int_equal(heard.n, has_reduced());
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        int is_there = stored(j, (enum gdfo_precision)p, &row) == GDFO_STATUS_OK;
        assert_int_equal(is_there,
                         has_reduced() && gdfo_precision_is_available((enum gdfo_precision)p));
        if (is_there && p == GDFO_PRECISION_F32) {
            gdfo_test_near(row.tau, 1, 0);
            gdfo_test_near(row.lp_max, 0, 0);
        }
        if (is_there) {
            assert_true(row.measured_at > 0 && row.ms >= 0);
            assert_true(row.agreement >= 0 && row.agreement <= 1);
        }
    }
}

/* kill -9 in the middle: nothing is on file, so it is measured again. */
static void an_interrupted_measurement_leaves_nothing(void **state)
{
    struct jobs *j = *state;
    struct heard heard = {0};
    struct gdfo_store_precision row;
    atomic_int stop = 1;
    const struct gdfo_precision_ask ask = {&j->deps, "local", &stop, hear, &heard};
    enum gdfo_precision p;
    set(j, GDFO_PRECISION_AUTO);
    if (has_reduced()) {
        assert_int_equal(gdfo_job_precision_settle(&ask, &p, &j->err), GDFO_STATUS_CANCELLED);
    }
    for (int i = 0; i < GDFO_PRECISION_COUNT; i++) {
        assert_int_equal(stored(j, (enum gdfo_precision)i, &row), GDFO_STATUS_NOT_FOUND);
    }
    (void)settle(j, &heard);
    assert_int_equal(heard.n, 2 * has_reduced());
}

struct verdict {
    double int8_tau, int8_agreement, bf16_tau, bf16_agreement;
    enum gdfo_precision chosen;
};

static void put_verdict(struct jobs *j, const struct verdict *v)
{
    char engines[2][GDFO_PRECISION_ENGINE_BYTES];
    const struct gdfo_store_precision_key keys[2] = {{local(j)->sha256, engines[0]},
                                                     {local(j)->sha256, engines[1]}};
    const struct gdfo_store_precision rows[2] = {
        {.precision = "int8", .tau = v->int8_tau, .agreement = v->int8_agreement},
        {.precision = "bf16", .tau = v->bf16_tau, .agreement = v->bf16_agreement}};
    gdfo_job_precision_engine(GDFO_PRECISION_INT8, engines[0]);
    gdfo_job_precision_engine(GDFO_PRECISION_BF16, engines[1]);
    gdfo_test_ok(gdfo_store_precision_put(j->deps.store, keys, rows, 2, &j->err), &j->err);
}

/* The fastest that is good; float32 when none is. A processor without one passes it over. */
static void what_was_measured_decides(void **state)
{
    static const struct verdict verdicts[] = {
        {0.99, 1, 0.999, 1, GDFO_PRECISION_INT8},
        {0.94, 1, 0.999, 1, GDFO_PRECISION_BF16},
        {0.99, 0.98, 0.96, 0.995, GDFO_PRECISION_BF16},
        {0.94, 1, 0.94, 1, GDFO_PRECISION_F32},
        {(double)NAN, (double)NAN, (double)NAN, (double)NAN, GDFO_PRECISION_F32},
    };
    struct jobs *j = *state;
    struct heard heard = {0};
    set(j, GDFO_PRECISION_AUTO);
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        enum gdfo_precision want = verdicts[i].chosen;
        if (want == GDFO_PRECISION_INT8 && !gdfo_precision_is_available(want)) {
            want = GDFO_PRECISION_BF16;
        }
        if (want == GDFO_PRECISION_BF16 && !gdfo_precision_is_available(want)) {
            want = GDFO_PRECISION_F32;
        }
        put_verdict(j, &verdicts[i]);
        assert_int_equal(settle(j, &heard), want);
    }
    assert_int_equal(heard.n, 0);
}

static void a_model_that_is_not_there_is_told(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_precision_ask ask = {&j->deps, "nobody", NULL, NULL, NULL};
    enum gdfo_precision p;
    assert_int_equal(gdfo_job_precision_settle(&ask, &p, &j->err), GDFO_STATUS_NOT_FOUND);
    assert_non_null(strstr(j->err.text, "nobody"));
}

/* ---- what a teacher is --------------------------------------------------------------------------
 */

static void a_teachers_fingerprint_is_another_in_each_precision(void **state)
{
    struct jobs *j = *state;
    unsigned char prints[GDFO_PRECISION_COUNT][GDFO_SHA256_BYTES];
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        gdfo_job_precision_fingerprint(local(j), (enum gdfo_precision)p, prints[p]);
        for (int i = 0; i < p; i++) {
            assert_memory_not_equal(prints[i], prints[p], GDFO_SHA256_BYTES);
        }
    }
}

static void another_precision_is_another_epoch(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_teacher a = {0};
    struct gdfo_store_teacher b = {0};
    if (!has_reduced()) {
        return; /* a processor with one precision has one epoch */
    }
    gdfo_test_ok(gdfo_store_teacher_get(j->deps.store, "local", &a, &j->err), &j->err);
    set(j, gdfo_precision_is_available(GDFO_PRECISION_INT8) ? GDFO_PRECISION_INT8
                                                            : GDFO_PRECISION_BF16);
    gdfo_test_ok(gdfo_job_register_teachers(j->deps.store, j->deps.models, &j->err), &j->err);
    gdfo_test_ok(gdfo_store_teacher_get(j->deps.store, "local", &b, &j->err), &j->err);
    assert_memory_not_equal(a.fingerprint, b.fingerprint, sizeof a.fingerprint);
    assert_int_equal(b.epoch, a.epoch + 1);
    gdfo_store_teacher_deinit(&a);
    gdfo_store_teacher_deinit(&b);
}

static void what_is_shown_names_setting_and_choice(void **state)
{
    struct jobs *j = *state;
    struct heard heard = {0};
    struct gdfo_buf b;
    struct gdfo_json *v = NULL;
    const struct gdfo_json *shown;
    for (int is_settled = 0; is_settled < 2; is_settled++) {
        struct gdfo_json_writer w;
        set(j, GDFO_PRECISION_AUTO);
        gdfo_buf_init(&b, 100000);
        w = gdfo_json_writer(&b);
        gdfo_json_open(&w, NULL, '{');
        gdfo_job_precision_write(j->deps.store, j->deps.models, "local", &w);
        gdfo_json_close(&w, '}');
        gdfo_test_ok(gdfo_json_parse(&v, b.data, b.len, NULL, &j->err), &j->err);
        shown = gdfo_json_get(v, "precision");
        assert_string_equal(gdfo_json_string(gdfo_json_get(shown, "setting")), "auto");
        if (has_reduced()) {
            assert_int_equal(gdfo_json_type(gdfo_json_get(shown, "in_use")) == GDFO_JSON_NULL,
                             !is_settled);
            assert_int_equal(gdfo_json_first(gdfo_json_get(shown, "measured")) != NULL, is_settled);
        }
        assert_string_equal(gdfo_json_string(gdfo_json_first(gdfo_json_get(shown, "available"))),
                            "f32");
        gdfo_json_destroy(v);
        gdfo_buf_deinit(&b);
        (void)settle(j, &heard);
    }
}

/* ---- jobs ---------------------------------------------------------------------------------------
 */

static int has_event(struct jobs *j, int64_t jid, const char *words)
{
    struct gdfo_store_event rows[50];
    const struct gdfo_store_event_query q = {.jid = jid, .has_after_seq = 1, .limit = 50};
    size_t n = 0;
    int has_more;
    int found = 0;
    gdfo_test_ok(gdfo_store_event_list(j->deps.store, &q, rows, &n, &has_more, &j->err), &j->err);
    for (size_t i = 0; i < n; i++) {
        found = found || strstr(rows[i].message, words) != NULL;
        gdfo_store_event_deinit(&rows[i]);
    }
    return found;
}

static void a_job_says_and_keeps_its_precision(void **state)
{
    struct jobs *j = *state;
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        struct gdfo_store_job job;
        char words[64];
        if (!gdfo_precision_is_available((enum gdfo_precision)p)) {
            continue;
        }
        set(j, p);
        job = jobs_finish(j, &(struct jobs_order){0});
        assert_string_equal(job.precision, gdfo_precision_name((enum gdfo_precision)p));
        (void)snprintf(words, sizeof words, "computes in %s", job.precision);
        assert_int_equal(has_event(j, job.jid, words), 1);
        gdfo_store_job_deinit(&job);
    }
}

static void a_job_that_waits_for_the_measurement_says_so(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job;
    set(j, GDFO_PRECISION_AUTO);
    job = jobs_finish(j, &(struct jobs_order){0});
    assert_int_equal(has_event(j, job.jid, "measuring once how faithful"), has_reduced());
    gdfo_store_job_deinit(&job);
    job = jobs_finish(j, &(struct jobs_order){0});
    assert_int_equal(has_event(j, job.jid, "measuring once how faithful"), 0);
    gdfo_store_job_deinit(&job);
}

/* Begun in one precision, resumed by a daemon that is set to another: the job's own counts. */
static void a_job_begun_in_one_precision_goes_on_in_it(void **state)
{
    static const struct gdfo_store_run begun = {.precision = "f32"};
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    jobs_validate(j, &job);
    gdfo_test_ok(gdfo_store_job_set_run(j->deps.store, job.jid, &begun, &j->err), &j->err);
    set(j, has_reduced() ? GDFO_PRECISION_AUTO : GDFO_PRECISION_F32);
    jobs_run(j, &job);
    assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
    assert_string_equal(job.precision, "f32");
    assert_int_equal(has_event(j, job.jid, "measuring"), 0);
    gdfo_store_job_deinit(&job);
}

/* A job of a better processor is kept whole: paused with the reason, and gone on with there. */
static void a_job_begun_in_what_this_processor_lacks_is_paused(void **state)
{
    static const struct gdfo_store_run begun = {.precision = "bf16"};
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    jobs_validate(j, &job);
    gdfo_test_ok(gdfo_store_job_set_run(j->deps.store, job.jid, &begun, &j->err), &j->err);
    gdfo_precision_pretend_lacking(1u << GDFO_PRECISION_BF16);
    jobs_run(j, &job);
    gdfo_precision_pretend_lacking(0);
    assert_int_equal(job.status, GDFO_JOB_PAUSED);
    assert_string_equal(job.reason, "teacher_drift");
    assert_int_equal(job.spend.calls, 0);
    assert_int_equal(has_event(j, job.jid, "two are never mixed: precision bf16"), 1);
    gdfo_store_job_deinit(&job);
}

static void without_reduced_precisions_auto_is_f32_at_once(void **state)
{
    struct jobs *j = *state;
    struct heard heard = {0};
    enum gdfo_precision p;
    gdfo_precision_pretend_lacking(1u << GDFO_PRECISION_BF16 | 1u << GDFO_PRECISION_INT8);
    set(j, GDFO_PRECISION_AUTO);
    p = settle(j, &heard);
    gdfo_precision_pretend_lacking(0);
    assert_int_equal(p, GDFO_PRECISION_F32);
    assert_int_equal(heard.n, 0);
}

static void a_setting_that_the_processor_lacks_is_refused(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_precision_ask ask = {&j->deps, "local", NULL, NULL, NULL};
    enum gdfo_precision p;
    enum gdfo_status status;
    char available[64];
    gdfo_precision_pretend_lacking(1u << GDFO_PRECISION_BF16 | 1u << GDFO_PRECISION_INT8);
    set(j, GDFO_PRECISION_INT8);
    status = gdfo_job_precision_settle(&ask, &p, &j->err);
    gdfo_job_precisions_available(available, sizeof available);
    gdfo_precision_pretend_lacking(0);
    assert_int_equal(status, GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "int8"));
    assert_string_equal(available, "f32");
}

static struct gdfo_json *about(struct jobs *j, const struct gdfo_store_job *job)
{
    struct gdfo_job_export made;
    struct gdfo_store_checkpoint best = {0};
    struct gdfo_json *v = NULL;
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job->jid, "best", &best, &j->err),
                 &j->err);
    gdfo_test_ok(gdfo_job_export(&made, j->deps.store, j->deps.models, job, &best, "json", &j->err),
                 &j->err);
    gdfo_test_ok(gdfo_json_parse(&v, made.bytes.data, made.bytes.len,
                                 &(struct gdfo_json_limits){.values = 1000000}, &j->err),
                 &j->err);
    gdfo_store_checkpoint_deinit(&best);
    gdfo_buf_deinit(&made.bytes);
    return v;
}

static void an_exported_prompt_says_in_which_precision_it_was_tuned(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job;
    struct gdfo_json *v;
    enum gdfo_precision p =
        gdfo_precision_is_available(GDFO_PRECISION_BF16) ? GDFO_PRECISION_BF16 : GDFO_PRECISION_F32;
    set(j, (int)p);
    job = jobs_finish(j, &(struct jobs_order){0});
    v = about(j, &job);
    assert_string_equal(gdfo_json_string(gdfo_json_get(gdfo_json_get(v, "about"), "precision")),
                        gdfo_precision_name(p));
    gdfo_json_destroy(v);
    gdfo_store_job_deinit(&job);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_setting_is_taken_without_a_measurement),
        CASE(auto_measures_once_and_for_good),
        CASE(an_interrupted_measurement_leaves_nothing),
        CASE(what_was_measured_decides),
        CASE(a_model_that_is_not_there_is_told),
        CASE(a_teachers_fingerprint_is_another_in_each_precision),
        CASE(another_precision_is_another_epoch),
        CASE(what_is_shown_names_setting_and_choice),
        CASE(a_job_says_and_keeps_its_precision),
        CASE(a_job_that_waits_for_the_measurement_says_so),
        CASE(a_job_begun_in_one_precision_goes_on_in_it),
        CASE(a_job_begun_in_what_this_processor_lacks_is_paused),
        CASE(without_reduced_precisions_auto_is_f32_at_once),
        CASE(a_setting_that_the_processor_lacks_is_refused),
        CASE(an_exported_prompt_says_in_which_precision_it_was_tuned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
