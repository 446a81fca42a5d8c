#include "server/job/job_predict.h"
#include "tests/unit/job/fixture.h"

#include <math.h>

static const struct gdfo_job_input texts[3] = {
    {"The girl was glad", NULL}, {"The boy cried", NULL}, {"They had a lot of fun", NULL}};

static struct gdfo_job_predict request(const char *model, enum gdfo_variant variant)
{
    return (struct gdfo_job_predict){
        .model = model, .variant = variant, .want_scores = 1, .inputs = texts, .n_inputs = 3};
}

/* The answer as JSON; the caller destroys it. */
static struct gdfo_json *predict(struct jobs *j, const struct gdfo_job_predict *r)
{
    struct gdfo_json *answer = NULL;
    struct gdfo_buf b;
    gdfo_buf_init(&b, (size_t)1 << 20);
    gdfo_test_ok(gdfo_job_predict(&j->deps, r, &b, &j->err), &j->err);
    gdfo_test_ok(gdfo_json_parse(&answer, b.data, b.len, NULL, &j->err), &j->err);
    gdfo_buf_deinit(&b);
    return answer;
}

static double number(const struct gdfo_json *o, const char *key)
{
    double v = (double)NAN;
    assert_int_equal(gdfo_json_number(gdfo_json_get(o, key), &v), 1);
    return v;
}

static const struct gdfo_json *row(const struct gdfo_json *answer, size_t at)
{
    const struct gdfo_json *one = gdfo_json_first(gdfo_json_get(answer, "data"));
    while (at-- > 0) {
        one = gdfo_json_next(one);
    }
    assert_non_null(one);
    return one;
}

static double log_odds(const struct gdfo_json *answer, size_t at)
{
    const struct gdfo_json *lp = gdfo_json_get(row(answer, at), "lp");
    return number(lp, "happy") - number(lp, "sad");
}

static void check_row(const struct gdfo_json *one)
{
    const struct gdfo_json *lp = gdfo_json_get(one, "lp");
    double a = number(lp, "happy");
    double b = number(lp, "sad");
    gdfo_test_near(exp(a) + exp(b), 1, 1e-5);
    assert_string_equal(gdfo_json_string(gdfo_json_get(one, "label")), a >= b ? "happy" : "sad");
    gdfo_test_near(number(one, "probability"), exp(a > b ? a : b), 1e-6);
}

static void every_variant_gives_a_distribution_over_the_labels(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    double odds[5];
    for (int v = 0; v < 5; v++) {
        struct gdfo_job_predict r = request(job.id, (enum gdfo_variant)v);
        struct gdfo_json *answer = predict(j, &r);
        assert_int_equal(gdfo_json_size(gdfo_json_get(answer, "data")), 3);
        for (size_t i = 0; i < 3; i++) {
            check_row(row(answer, i));
        }
        odds[v] = log_odds(answer, 0);
        assert_int_equal((int64_t)number(gdfo_json_get(answer, "usage"), "queries"), 3);
        gdfo_json_destroy(answer);
    }
    assert_true(fabs(odds[GDFO_VARIANT_MANUAL] - odds[GDFO_VARIANT_CALIBRATED]) > 1e-4);
    assert_true(fabs(odds[GDFO_VARIANT_MANUAL] - odds[GDFO_VARIANT_TUNED_NO_HEAD]) > 1e-4);
    gdfo_store_job_deinit(&job);
}

/* Calibration sees nothing but the plain prompt's answer: of two labels, the log-odds move along
 * one rising line, so that the texts stay in their order. */
static void calibration_moves_all_texts_along_one_line(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_job_predict plain = request(job.id, GDFO_VARIANT_MANUAL);
    struct gdfo_job_predict calibrated = request(job.id, GDFO_VARIANT_CALIBRATED);
    struct gdfo_json *a = predict(j, &plain);
    struct gdfo_json *b = predict(j, &calibrated);
    double slope = (log_odds(b, 1) - log_odds(b, 0)) / (log_odds(a, 1) - log_odds(a, 0));
    assert_true(slope > 0);
    gdfo_test_near(log_odds(b, 2), log_odds(b, 0) + slope * (log_odds(a, 2) - log_odds(a, 0)),
                   1e-4);
    assert_true(fabs(log_odds(b, 0) - log_odds(a, 0)) > 1e-3);
    gdfo_json_destroy(a);
    gdfo_json_destroy(b);
    gdfo_store_job_deinit(&job);
}

static void one_by_one_is_all_at_once(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_job_predict r = request(job.id, GDFO_VARIANT_TUNED);
    struct gdfo_json *all = predict(j, &r);
    for (size_t i = 0; i < 3; i++) {
        struct gdfo_job_predict single = r;
        struct gdfo_json *one;
        single.inputs = &texts[i];
        single.n_inputs = 1;
        one = predict(j, &single);
        gdfo_test_near(number(row(one, 0), "probability"), number(row(all, i), "probability"),
                       1e-5);
        gdfo_json_destroy(one);
    }
    gdfo_json_destroy(all);
    gdfo_store_job_deinit(&job);
}

static void each_row_says_whether_its_text_was_cut(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_job_predict r = request(job.id, GDFO_VARIANT_TUNED);
    char lengthy[8000];
    const struct gdfo_job_input inputs[3] = {{"fun", NULL}, {lengthy, NULL}, {"sun", NULL}};
    struct gdfo_json *answer;
    for (size_t i = 0; i < sizeof lengthy; i++) {
        lengthy[i] = " the cat sat"[i % 12];
    }
    lengthy[sizeof lengthy - 1] = '\0';
    r.inputs = inputs;
    answer = predict(j, &r);
    for (size_t i = 0; i < 3; i++) {
        int is_cut = 9;
        assert_int_equal(gdfo_json_bool(gdfo_json_get(row(answer, i), "truncated"), &is_cut), 1);
        assert_int_equal(is_cut, i == 1);
    }
    gdfo_json_destroy(answer);
    gdfo_store_job_deinit(&job);
}

static void job_checkpoint_and_model_name_the_same_prompt(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_store_checkpoint best = {0};
    const char *names[3] = {job.id, job.fine_tuned_model, best.id};
    double want = 0;
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job.jid, "best", &best, &j->err),
                 &j->err);
    for (size_t i = 0; i < 3; i++) {
        struct gdfo_job_predict r = request(names[i], GDFO_VARIANT_TUNED);
        struct gdfo_json *answer = predict(j, &r);
        double got = number(row(answer, 1), "probability");
        want = i == 0 ? got : want;
        assert_true(got == want);
        assert_string_equal(gdfo_json_string(gdfo_json_get(answer, "model")), names[i]);
        assert_string_equal(gdfo_json_string(gdfo_json_get(answer, "checkpoint")), best.id);
        gdfo_json_destroy(answer);
    }
    gdfo_store_checkpoint_deinit(&best);
    gdfo_store_job_deinit(&job);
}

static void scores_come_only_when_asked_for(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    struct gdfo_job_predict r = request(job.id, GDFO_VARIANT_TUNED);
    struct gdfo_json *answer;
    r.want_scores = 0;
    answer = predict(j, &r);
    assert_null(gdfo_json_get(row(answer, 0), "lp"));
    assert_non_null(gdfo_json_get(row(answer, 0), "mass"));
    gdfo_json_destroy(answer);
    gdfo_store_job_deinit(&job);
}

static enum gdfo_status refused(struct jobs *j, const struct gdfo_job_predict *r)
{
    struct gdfo_buf b;
    enum gdfo_status status;
    gdfo_buf_init(&b, (size_t)1 << 20);
    memset(&j->err, 0, sizeof j->err);
    status = gdfo_job_predict(&j->deps, r, &b, &j->err);
    assert_int_equal(b.len, 0);
    gdfo_buf_deinit(&b);
    return status;
}

static void what_has_no_prompt_is_refused(void **state)
{
    static const char *const nobody[] = {"ftjob-01JZZZZZZZZZZZZZZZZZZZZZZZ",
                                         "ftckpt-01JZZZZZZZZZZZZZZZZZZZZZZZ",
                                         "gdfo:local::NOBODY12", "local"};
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    struct gdfo_job_predict r = request(job.id, GDFO_VARIANT_TUNED);
    assert_int_equal(refused(j, &r), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(j->err.text, "no tuned prompt yet"));
    for (size_t i = 0; i < sizeof nobody / sizeof nobody[0]; i++) {
        r.model = nobody[i];
        assert_int_equal(refused(j, &r), GDFO_STATUS_NOT_FOUND);
    }
    gdfo_store_job_deinit(&job);
}

static void an_input_of_the_wrong_shape_is_named(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){0});
    const struct gdfo_job_input inputs[2] = {{"one", NULL}, {"one", "two"}};
    struct gdfo_job_predict r = request(job.id, GDFO_VARIANT_TUNED);
    r.inputs = inputs;
    r.n_inputs = 2;
    assert_int_equal(refused(j, &r), GDFO_STATUS_INVALID);
    assert_string_equal(j->err.field, "/inputs/1");
    gdfo_store_job_deinit(&job);
}

static void variants_are_told_by_name(void **state)
{
    static const char *const names[] = {"tuned",  "tuned_alone", "tuned_no_head",
                                        "manual", "calibrated",  "student"};
    static const char *const wrong[] = {"", "Tuned", "plain"};
    (void)state;
    for (int i = 0; i < 6; i++) {
        enum gdfo_variant v = GDFO_VARIANT_TUNED;
        assert_int_equal(gdfo_variant_parse(names[i], &v), 1);
        assert_int_equal(v, i);
    }
    for (size_t i = 0; i < 3; i++) {
        enum gdfo_variant v = GDFO_VARIANT_MANUAL;
        assert_int_equal(gdfo_variant_parse(wrong[i], &v), 0);
        assert_int_equal(v, GDFO_VARIANT_MANUAL);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_variant_gives_a_distribution_over_the_labels),
        CASE(calibration_moves_all_texts_along_one_line),
        CASE(one_by_one_is_all_at_once),
        CASE(each_row_says_whether_its_text_was_cut),
        CASE(job_checkpoint_and_model_name_the_same_prompt),
        CASE(scores_come_only_when_asked_for),
        CASE(what_has_no_prompt_is_refused),
        CASE(an_input_of_the_wrong_shape_is_named),
        CASE(variants_are_told_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
