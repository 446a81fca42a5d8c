/* Making a job: the body checked whole against the real option tables, then rows that are durable.
 */
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#define JOBS "/v1/fine_tuning/jobs"

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

/* A create body around an uploaded file; rest begins with a comma or is empty. */
static void create(struct rig *rig, const char *rest, struct answer *a)
{
    struct gdfo_store_file file;
    char body[4096];
    rig_add_file(rig, "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"y\"}\n",
                 &file);
    (void)snprintf(body, sizeof body, "{\"model\":\"local\",\"training_file\":\"%s\"%s}", file.id,
                   rest);
    rig_post(rig, JOBS, body, a);
}

static void a_job_is_made_and_the_scheduler_woken(void **state)
{
    struct rig *rig = *state;
    char path[128];
    struct answer a, b;
    create(rig, ",\"seed\":7,\"suffix\":\"s1\",\"name\":\"n 1\",\"metadata\":{\"team\":\"probe\"}",
           &a);
    assert_int_equal(a.status, 200);
    assert_memory_equal(rig_text(&a, "id"), "ftjob-", 6);
    assert_string_equal(rig_text(&a, "status"), "validating_files");
    assert_int_equal(rig_int(&a, "seed"), 7);
    assert_int_equal(rig_int(&a, "rev"), 1);
    assert_string_equal(rig_text(&a, "suffix"), "s1");
    assert_string_equal(rig_text(&a, "name"), "n 1");
    assert_string_equal(rig_text(&a, "metadata.team"), "probe");
    assert_string_equal(rig_text(&a, "method.type"), "auto");
    assert_int_equal(rig->n_wakes, 1);
    (void)snprintf(path, sizeof path, JOBS "/%s", rig_text(&a, "id"));
    rig_get(rig, path, &b);
    assert_int_equal(b.n_body, a.n_body);
    assert_memory_equal(b.body, a.body, a.n_body);
    rig_free(&b);
    (void)snprintf(path, sizeof path, JOBS "/%s/events", rig_text(&a, "id"));
    rig_get(rig, path, &b);
    assert_string_equal(rig_text(&b, "data.0.data.to"), "validating_files");
    rig_free(&b);
    rig_free(&a);
}

static void a_seed_is_drawn_and_shown(void **state)
{
    struct answer a, b;
    create(*state, "", &a);
    create(*state, ",\"seed\":null", &b);
    assert_in_range(rig_int(&a, "seed"), 0, 2147483647);
    assert_in_range(rig_int(&b, "seed"), 0, 2147483647);
    assert_true(rig_int(&a, "seed") != rig_int(&b, "seed"));
    rig_free(&a);
    rig_free(&b);
}

static void defaults_are_filled_in_and_budgets_kept(void **state)
{
    struct answer a;
    create(*state,
           ",\"method\":{\"type\":\"bbt\",\"bbt\":{\"budget\":{\"queries\":640,\"evals\":20}}}",
           &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "method.type"), "bbt");
    assert_int_equal(rig_int(&a, "method.bbt.budget.queries"), 640);
    assert_string_equal(rig_text(&a, "method.bbt.task.loss"), "ce");
    (void)rig_at(&a, "method.bbt.hyperparameters");
    assert_int_equal(rig_int(&a, "budget.queries"), 640);
    assert_int_equal(rig_int(&a, "budget.evals"), 20);
    assert_int_equal(rig_int(&a, "progress.queries_total"), 640);
    assert_int_equal(rig_int(&a, "budget.held.queries"), 0);
    rig_free(&a);
}

static void every_cap_of_a_budget_is_kept_and_shown(void **state)
{
    struct answer a;
    create(*state,
           ",\"method\":{\"type\":\"bbt\",\"bbt\":{\"budget\":{\"evals\":1,\"queries\":2,"
           "\"tokens_in\":3,\"tokens_out\":4,\"usd_micros\":5,\"wall_seconds\":6}}}",
           &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(rig_int(&a, "budget.evals"), 1);
    assert_int_equal(rig_int(&a, "budget.queries"), 2);
    assert_int_equal(rig_int(&a, "budget.tokens_in"), 3);
    assert_int_equal(rig_int(&a, "budget.tokens_out"), 4);
    assert_int_equal(rig_int(&a, "budget.usd_micros"), 5);
    assert_int_equal(rig_int(&a, "budget.wall_seconds"), 6);
    rig_free(&a);
}

static void inline_examples_become_a_file(void **state)
{
    static const char body[] =
        "{\"model\":\"local\",\"method\":{\"type\":\"random\",\"random\":{\"task\":{\"examples\":["
        "{\"text\":\"one \\\"1\\\"\",\"label\":\"x\"},{\"label\":2,\"text\":\"two\\n\xc3\xa9\"}],"
        "\"validation_examples\":[{\"text\":\"three\",\"label\":\"x\"}]}}}}";
    struct rig *rig = *state;
    char path[128];
    struct answer a, f;
    rig_post(rig, JOBS, body, &a);
    assert_int_equal(a.status, 200);
    (void)snprintf(path, sizeof path, "/v1/files/%s", rig_text(&a, "training_file"));
    rig_get(rig, path, &f);
    assert_string_equal(rig_text(&f, "filename"), "inline-train.jsonl");
    rig_free(&f);
    (void)snprintf(path, sizeof path, "/v1/files/%s/content", rig_text(&a, "training_file"));
    rig_get(rig, path, &f);
    static const char want[] = "{\"text\":\"one \\\"1\\\"\",\"label\":\"x\"}\n"
                               "{\"label\":2,\"text\":\"two\\n\xc3\xa9\"}\n";
    assert_int_equal(f.n_body, sizeof want - 1);
    assert_memory_equal(f.body, want, sizeof want - 1);
    rig_free(&f);
    (void)snprintf(path, sizeof path, "/v1/files/%s", rig_text(&a, "validation_file"));
    rig_get(rig, path, &f);
    assert_string_equal(rig_text(&f, "filename"), "inline-validation.jsonl");
    rig_free(&f);
    rig_free(&a);
}

static void names_that_do_not_exist_are_faults_together(void **state)
{
    static const char body[] =
        "{\"model\":\"nobody\",\"training_file\":\"file-none\",\"validation_file\":\"file-none2\","
        "\"method\":{\"type\":\"gdfo\",\"gdfo\":{\"student\":\"nostudent\"}}}";
    static const char *const pointers[] = {"/model", "/method/gdfo/student", "/training_file",
                                           "/validation_file"};
    struct rig *rig = *state;
    struct answer a;
    rig_post(rig, JOBS, body, &a);
    rig_is_refusal(&a, 400, "invalid_value");
    assert_int_equal(gdfo_json_size(rig_at(&a, "errors")), 4);
    for (int i = 0; i < 4; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "errors.%d.pointer", i);
        assert_string_equal(rig_text(&a, path), pointers[i]);
    }
    assert_int_equal(rig->n_wakes, 0);
    rig_free(&a);
    rig_get(rig, JOBS, &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 0);
    rig_free(&a);
}

static void a_student_that_exists_is_taken(void **state)
{
    struct answer a;
    create(*state, ",\"method\":{\"type\":\"gdfo\",\"gdfo\":{\"student\":\"tiny\"}}", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "student"), "tiny");
    rig_free(&a);
}

static void faults_of_the_body_are_reported_whole(void **state)
{
    struct answer a;
    create(*state,
           ",\"seed\":-1,\"no_such\":1,\"suffix\":\"a b\",\"method\":{\"type\":\"bbt\","
           "\"bbt\":{\"hyperparameters\":{\"popsiz\":2}}}",
           &a);
    assert_int_equal(a.status, 400);
    assert_int_equal(gdfo_json_size(rig_at(&a, "errors")), 4);
    rig_free(&a);
}

static void single_faults_name_their_member(void **state)
{
    static const struct {
        const char *rest, *code, *pointer;
        int status;
    } rows[] = {
        {",\"seed\":\"seven\"", "invalid_value", "/seed", 400},
        {",\"seed\":1.5", "invalid_value", "/seed", 400},
        {",\"seed\":9007199254740993", "invalid_value", "/seed", 400},
        {",\"seed\":2147483648", "invalid_value", "/seed", 400},
        {",\"Seed\":1", "unknown_field", "/Seed", 400},
        {",\"metadata\":{\"k\":1}", "invalid_value", "/metadata/k", 400},
        {",\"integrations\":[{}]", "not_supported", "/integrations", 422},
        {",\"priority\":1", "not_supported", "/priority", 422},
        {",\"method\":{\"type\":\"dpo\"}", "invalid_value", "/method/type", 400},
        {",\"method\":{\"type\":\"bbt\",\"random\":{}}", "unknown_field", "/method/random", 400},
    };
    struct answer a;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        create(*state, rows[i].rest, &a);
        if (a.status != rows[i].status ||
            strcmp(rig_text(&a, "errors.0.pointer"), rows[i].pointer) != 0) {
            fail_msg("%s -> %s", rows[i].rest, a.body);
        }
        rig_is_refusal(&a, rows[i].status, rows[i].code);
        rig_free(&a);
    }
}

static void model_and_data_are_required(void **state)
{
    struct answer a;
    rig_post(*state, JOBS, "{}", &a);
    rig_is_refusal(&a, 400, "missing_field");
    assert_true(gdfo_json_size(rig_at(&a, "errors")) >= 2);
    rig_free(&a);
}

/* The same body under a key, twice; another body; and a refusal, which may be mended. */
static void a_key_makes_one_job(void **state)
{
    static const char body[] =
        "{\"model\":\"local\",\"method\":{\"type\":\"random\",\"random\":{\"task\":{\"examples\":["
        "{\"text\":\"a\",\"label\":\"x\"},{\"text\":\"b\",\"label\":\"y\"}]}}}}";
    static const char headers[] = "Content-Type: application/json\r\nIdempotency-Key: key-1\r\n";
    struct rig *rig = *state;
    struct answer a, b;
    rig_ask(rig, "POST", JOBS, headers, "{\"model\":\"local\"}", &a);
    assert_int_equal(a.status, 400);
    rig_free(&a);
    rig_ask(rig, "POST", JOBS, headers, body, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_header(&a, "idempotency-replayed"), "");
    rig_ask(rig, "POST", JOBS, headers, body, &b);
    assert_int_equal(b.status, 200);
    assert_string_equal(rig_header(&b, "idempotency-replayed"), "key");
    assert_int_equal(a.n_body, b.n_body);
    assert_memory_equal(a.body, b.body, a.n_body);
    rig_free(&a);
    rig_free(&b);
    rig_ask(rig, "POST", JOBS, headers, "{\"model\":\"local\"}", &a);
    rig_is_refusal(&a, 422, "idempotency_key_reused");
    rig_free(&a);
    rig_get(rig, JOBS, &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 1);
    rig_free(&a);
}

static void keys_are_printable_and_bounded(void **state)
{
    char headers[400] = "Content-Type: application/json\r\nIdempotency-Key: ";
    size_t n = strlen(headers);
    struct answer a;
    rig_ask(*state, "POST", JOBS, "Content-Type: application/json\r\nIdempotency-Key: \xc3\xa9\r\n",
            "{}", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    memset(headers + n, 'k', 256);
    memcpy(headers + n + 256, "\r\n", 3);
    rig_ask(*state, "POST", JOBS, headers, "{}", &a);
    assert_int_equal(a.status, 400);
    rig_free(&a);
    memcpy(headers + n + 255, "\r\n", 3);
    rig_ask(*state, "POST", JOBS, headers, "{}", &a);
    rig_is_refusal(&a, 400, "missing_field");
    rig_free(&a);
}

static void write_examples(struct gdfo_buf *b, int n)
{
    gdfo_buf_reset(b);
    gdfo_buf_add(b, "{\"model\":\"local\",\"method\":{\"type\":\"random\",\"random\":{\"task\":{"
                    "\"examples\":[");
    for (int i = 0; i < n; i++) {
        gdfo_buf_addf(b, "%s{\"text\":\"t%d\",\"label\":\"%d\"}", i ? "," : "", i, i % 2);
    }
    gdfo_buf_add(b, "]}}}}");
}

static void there_are_2048_inline_examples_and_no_more(void **state)
{
    struct gdfo_buf b;
    struct answer a;
    gdfo_buf_init(&b, 1 << 20);
    write_examples(&b, 2048);
    rig_post(*state, JOBS, b.data, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    write_examples(&b, 2049);
    rig_post(*state, JOBS, b.data, &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    gdfo_buf_deinit(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_job_is_made_and_the_scheduler_woken),
        CASE(a_seed_is_drawn_and_shown),
        CASE(defaults_are_filled_in_and_budgets_kept),
        CASE(every_cap_of_a_budget_is_kept_and_shown),
        CASE(inline_examples_become_a_file),
        CASE(names_that_do_not_exist_are_faults_together),
        CASE(a_student_that_exists_is_taken),
        CASE(faults_of_the_body_are_reported_whole),
        CASE(single_faults_name_their_member),
        CASE(model_and_data_are_required),
        CASE(a_key_makes_one_job),
        CASE(keys_are_printable_and_bounded),
        CASE(there_are_2048_inline_examples_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
