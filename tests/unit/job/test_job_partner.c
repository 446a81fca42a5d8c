#include "server/job/job_export.h"
#include "server/job/job_predict.h"
#include "tests/support/tiny_masked.h"
#include "tests/unit/job/fixture.h"

#include <math.h>
#include <unistd.h>

/* auto with a sentence encoder (a tiny random BERT without a head) beside the tiny teacher. */

static void put(struct jobs *j, const char *name, const struct gdfo_buf *bytes)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/encoder/%s", j->folder, name);
    gdfo_test_ok(gdfo_file_write(path, bytes->data, bytes->len, &j->err), &j->err);
}

static void add_encoder(struct jobs *j)
{
    const struct gdfo_test_masked *m = gdfo_test_masked_find("bert-encoder");
    struct gdfo_buf weights, config, vocab;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/encoder", j->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    gdfo_test_masked_weights(m, &weights);
    gdfo_test_masked_config(m, &config);
    gdfo_buf_init(&vocab, 1u << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/engine/masked/bert/vocab.txt", &vocab, &j->err),
                 &j->err);
    put(j, "model.safetensors", &weights);
    put(j, "config.json", &config);
    put(j, "vocab.txt", &vocab);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&config);
    gdfo_buf_deinit(&vocab);
}

/* As a restart of the daemon sees the folder. */
static void reopen_models(struct jobs *j)
{
    gdfo_models_destroy(j->deps.models);
    j->deps.models = NULL;
    gdfo_test_ok(gdfo_models_create(&j->deps.models, j->folder, &j->err), &j->err);
}

static int setup(void **state)
{
    struct jobs *j;
    jobs_setup(state);
    j = *state;
    add_encoder(j);
    reopen_models(j);
    return 0;
}

static const struct jobs_order order = {.method = "auto", .budget = "{\"evals\":3}"};

static enum gdfo_status predict(struct jobs *j, const char *model, enum gdfo_variant variant,
                                struct gdfo_json **answer)
{
    static const struct gdfo_job_input texts[2] = {{"The girl was glad", NULL}, {"He cried", NULL}};
    const struct gdfo_job_predict r = {
        .model = model, .variant = variant, .want_scores = 1, .inputs = texts, .n_inputs = 2};
    struct gdfo_buf b;
    enum gdfo_status status;
    gdfo_buf_init(&b, (size_t)1 << 20);
    status = gdfo_job_predict(&j->deps, &r, &b, &j->err);
    if (status == GDFO_STATUS_OK) {
        gdfo_test_ok(gdfo_json_parse(answer, b.data, b.len, NULL, &j->err), &j->err);
    }
    gdfo_buf_deinit(&b);
    return status;
}

static double number(const struct gdfo_json *o, const char *key)
{
    double v = (double)NAN;
    assert_int_equal(gdfo_json_number(gdfo_json_get(o, key), &v), 1);
    return v;
}

static double log_odds(struct jobs *j, const char *model, enum gdfo_variant variant,
                       int64_t *n_queries)
{
    struct gdfo_json *answer = NULL;
    const struct gdfo_json *lp;
    double odds;
    gdfo_test_ok(predict(j, model, variant, &answer), &j->err);
    lp = gdfo_json_get(gdfo_json_first(gdfo_json_get(answer, "data")), "lp");
    odds = number(lp, "happy") - number(lp, "sad");
    gdfo_test_near(exp(number(lp, "happy")) + exp(number(lp, "sad")), 1, 1e-5);
    *n_queries = (int64_t)number(gdfo_json_get(answer, "usage"), "queries");
    gdfo_json_destroy(answer);
    return odds;
}

static void the_only_encoder_labels_along_by_itself(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &order);
    int64_t n = -1;
    double alone;
    double together;
    assert_string_equal(job.student, "encoder");
    alone = log_odds(j, job.id, GDFO_VARIANT_STUDENT, &n);
    assert_int_equal(n, 0); /* the teacher was not asked */
    together = log_odds(j, job.id, GDFO_VARIANT_TUNED, &n);
    assert_true(n >= 2 && isfinite(alone) && isfinite(together));
    gdfo_store_job_deinit(&job);
}

/* What stands around a text for the teacher is nothing that the student reads. */
static void the_student_reads_the_text_without_its_template(void **state)
{
    struct jobs *j = *state;
    struct jobs_order o = order;
    struct gdfo_store_job plain = jobs_finish(j, &o);
    struct gdfo_store_job framed;
    int64_t n = -1;
    o.task = ",\"template\":\"All was dark and cold: {text} The end.\"";
    framed = jobs_finish(j, &o);
    assert_true(log_odds(j, plain.id, GDFO_VARIANT_STUDENT, &n) ==
                log_odds(j, framed.id, GDFO_VARIANT_STUDENT, &n));
    gdfo_store_job_deinit(&plain);
    gdfo_store_job_deinit(&framed);
}

/* Another encoder, or none where there was one: the name decides nothing, the digest does. */
static void a_result_whose_student_is_gone_says_so(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &order);
    char path[1024];
    char away[1024];
    int64_t n = -1;
    struct gdfo_json *answer = NULL;
    (void)snprintf(path, sizeof path, "%s/encoder", j->folder);
    (void)snprintf(away, sizeof away, "%s/away", j->dir);
    assert_int_equal(rename(path, away), 0);
    reopen_models(j);
    assert_int_equal(predict(j, job.id, GDFO_VARIANT_TUNED, &answer), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(j->err.text, "not in the models folder"));
    memset(&j->err, 0, sizeof j->err);
    assert_int_equal(predict(j, job.id, GDFO_VARIANT_STUDENT, &answer), GDFO_STATUS_CONFLICT);
    memset(&j->err, 0, sizeof j->err);
    (void)log_odds(j, job.id, GDFO_VARIANT_TUNED_ALONE, &n); /* needs it not */
    assert_int_equal(n, 2);
    (void)snprintf(path, sizeof path, "%s/renamed", j->folder);
    assert_int_equal(rename(away, path), 0);
    reopen_models(j);
    (void)log_odds(j, job.id, GDFO_VARIANT_TUNED, &n);
    gdfo_store_job_deinit(&job);
}

static void without_an_encoder_there_is_no_partner(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_finish(j, &order);
    struct gdfo_json *answer = NULL;
    assert_string_equal(job.student, "");
    assert_int_equal(predict(j, job.id, GDFO_VARIANT_STUDENT, &answer), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "had no student"));
    memset(&j->err, 0, sizeof j->err);
    gdfo_store_job_deinit(&job);
}

/* A causal model labels along by its features where it is named. */
static void a_named_student_labels_along(void **state)
{
    struct jobs *j = *state;
    struct jobs_order o = order;
    struct gdfo_store_job job;
    int64_t n = -1;
    o.rules = ",\"student\":\"local\"";
    job = jobs_finish(j, &o);
    assert_string_equal(job.student, "local");
    (void)log_odds(j, job.id, GDFO_VARIANT_STUDENT, &n);
    assert_int_equal(n, 0);
    gdfo_store_job_deinit(&job);
}

static void one_eval_is_the_plain_prompt_and_only_json_can_say_it(void **state)
{
    static const char *const refused[] = {"gdfo", "safetensors", "peft"};
    static const char *const methods[] = {"auto", "bbt"};
    struct jobs *j = *state;
    for (size_t m = 0; m < 2; m++) {
        struct jobs_order o = {.method = methods[m], .budget = "{\"evals\":1}"};
        struct gdfo_store_job job = jobs_finish(j, &o);
        struct gdfo_store_checkpoint best = {0};
        struct gdfo_job_export out;
        int64_t n = -1;
        (void)log_odds(j, job.id, GDFO_VARIANT_TUNED, &n);
        assert_int_equal(n, 2);
        gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job.jid, "best", &best, &j->err),
                     &j->err);
        gdfo_test_ok(
            gdfo_job_export(&out, j->deps.store, j->deps.models, &job, &best, "json", &j->err),
            &j->err);
        assert_non_null(strstr(out.bytes.data, "\"n_prompt_tokens\":0"));
        gdfo_buf_deinit(&out.bytes);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(gdfo_job_export(&out, j->deps.store, j->deps.models, &job, &best,
                                             refused[i], &j->err),
                             GDFO_STATUS_UNSUPPORTED);
            assert_non_null(strstr(j->err.text, "has no prompt rows"));
            gdfo_buf_deinit(&out.bytes);
            memset(&j->err, 0, sizeof j->err);
        }
        gdfo_store_checkpoint_deinit(&best);
        gdfo_store_job_deinit(&job);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_only_encoder_labels_along_by_itself),
        CASE(the_student_reads_the_text_without_its_template),
        CASE(a_result_whose_student_is_gone_says_so),
        cmocka_unit_test_setup_teardown(without_an_encoder_there_is_no_partner, jobs_setup,
                                        jobs_teardown),
        CASE(a_named_student_labels_along),
        CASE(one_eval_is_the_plain_prompt_and_only_json_can_say_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
