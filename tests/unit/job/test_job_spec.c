#include "common/buf.h"
#include "common/mem.h"
#include "server/job/job_spec.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

struct faults {
    char text[4096]; /* "pointer code; pointer code; " */
};

static void on_fault(void *ctx, const char *pointer, const char *code, const char *detail)
{
    struct faults *f = ctx;
    size_t n = strlen(f->text);
    assert_true(detail[0] != '\0');
    (void)snprintf(f->text + n, sizeof f->text - n, "%s %s; ", pointer, code);
}

/* Parses text; the faults, or "" when the spec was accepted (and then written to canon, if given).
 */
static const char *parse(const char *text, struct gdfo_buf *canon)
{
    static struct faults f;
    struct gdfo_json *body = NULL;
    struct gdfo_job_spec *spec = NULL;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    memset(&f, 0, sizeof f);
    gdfo_test_ok(gdfo_json_parse(&body, text, strlen(text), NULL, &err), &err);
    status = gdfo_job_spec_parse(&spec, body, on_fault, &f, &err);
    assert_int_equal(status == GDFO_STATUS_OK, f.text[0] == '\0');
    if (status == GDFO_STATUS_OK && canon) {
        struct gdfo_json_writer w = gdfo_json_writer(canon);
        gdfo_job_spec_write(spec, &w);
    }
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
    return f.text;
}

static void the_smallest_body_is_a_model_and_a_file(void **state)
{
    (void)state;
    assert_string_equal(parse("{\"model\":\"local\",\"training_file\":\"file-1\"}", NULL), "");
}

static void every_fault_is_told_at_once(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"seed\":-1,\"suffix\":\"a b\",\"colour\":1,\"priority\":2,\"integrations\":[1],"
              "\"method\":{\"type\":\"gdfo\",\"gdfo\":{\"budget\":{\"evals\":0,\"eval\":3},"
              "\"hyperparameters\":{\"popsize\":1,\"popsise\":20}}}}",
              NULL),
        "/colour unknown_field; /priority not_supported; /model missing_field; /seed "
        "invalid_value; "
        "/suffix invalid_value; /integrations not_supported; /method/gdfo/budget/eval "
        "unknown_field; "
        "/method/gdfo/budget/evals invalid_value; /method/gdfo/hyperparameters/popsize "
        "invalid_value; "
        "/method/gdfo/hyperparameters/popsise unknown_field; /training_file missing_field; ");
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":7,\"training_file\":\"f\",\"seed\":\"seven\",\"metadata\":[],"
              "\"hyperparameters\":{\"n_epochs\":true,\"lr\":1}}",
              NULL),
        "/model invalid_value; /seed invalid_value; /metadata invalid_value; "
        "/hyperparameters/n_epochs invalid_value; /hyperparameters/lr unknown_field; ");
    assert_string_equal(parse("[1]", NULL), " invalid_value; ");
}

static void a_member_for_another_type_is_refused(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"bbt\","
              "\"gdfo\":{\"budget\":{\"evals\":5}}}}",
              NULL),
        "/method/gdfo unknown_field; ");
}

static void an_unknown_method_is_refused(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"magic\"}}", NULL),
        "/method/type invalid_value; ");
}

static void one_source_of_training_rows_and_no_more(void **state)
{
    (void)state;
    assert_string_equal(parse("{\"model\":\"m\"}", NULL), "/training_file missing_field; ");
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"random\",\"random\":"
              "{\"task\":{\"examples\":[{\"text\":\"a\",\"label\":\"b\"}]}}}}",
              NULL),
        "/training_file invalid_value; ");
    assert_string_equal(parse("{\"model\":\"m\",\"method\":{\"type\":\"random\",\"random\":"
                              "{\"task\":{\"examples\":[{\"text\":\"a\",\"label\":\"b\"}]}}}}",
                              NULL),
                        "");
}

/* A fault inside the task hides nothing: the rows beside it still count as the source. */
static void a_faulty_task_does_not_lose_its_rows(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":\"m\",\"method\":{\"type\":\"random\",\"random\":{\"task\":{\"colour\":1,"
              "\"examples\":[{\"text\":\"a\",\"label\":\"b\"}]}}}}",
              NULL),
        "/method/random/task/colour unknown_field; ");
}

static void limits_hold_at_the_limit_and_one_past_it(void **state)
{
    char text[1024];
    char long_name[140];
    (void)state;
    memset(long_name, 'x', sizeof long_name);
    for (int n = 128; n <= 129; n++) {
        (void)snprintf(text, sizeof text, "{\"model\":\"%.*s\",\"training_file\":\"f\"}", n,
                       long_name);
        assert_string_equal(parse(text, NULL), n == 128 ? "" : "/model invalid_value; ");
    }
    for (int n = 64; n <= 65; n++) {
        (void)snprintf(text, sizeof text,
                       "{\"model\":\"m\",\"training_file\":\"f\",\"suffix\":\"%.*s\"}", n,
                       long_name);
        assert_string_equal(parse(text, NULL), n == 64 ? "" : "/suffix invalid_value; ");
    }
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"seed\":2147483647}", NULL), "");
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"seed\":2147483648}", NULL),
        "/seed invalid_value; ");
    assert_string_equal(parse("{\"model\":\"m\",\"training_file\":\"f\",\"seed\":1.0}", NULL),
                        "/seed invalid_value; ");
}

static void rules_across_options_are_checked(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"bbt\",\"bbt\":"
              "{\"hyperparameters\":{\"head\":\"anchors\",\"n_anchors\":0}}}}",
              NULL),
        "/method/bbt/hyperparameters invalid_value; ");
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"bbt\",\"bbt\":"
              "{\"hyperparameters\":{\"intrinsic_dim\":5000}}}}",
              NULL),
        "/method/bbt/hyperparameters invalid_value; ");
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"bbt\",\"bbt\":"
              "{\"hyperparameters\":{\"intrinsic_dim\":5000,\"covariance\":\"diagonal\"}}}}",
              NULL),
        "");
}

static void what_is_not_built_in_the_budget_is_named(void **state)
{
    (void)state;
    assert_string_equal(
        parse("{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"auto\",\"auto\":"
              "{\"budget\":{\"on_exhausted\":\"pause\"},\"cache\":\"job\","
              "\"early_stop\":{\"target\":0.9},\"evaluation\":{\"final\":false}}}}",
              NULL),
        "/method/auto/cache not_supported; /method/auto/budget/on_exhausted not_supported; "
        "/method/auto/early_stop/target not_supported; /method/auto/evaluation/final "
        "not_supported; ");
}

/* The canonical text is a spec of its own, and parsing it again writes the same bytes. */
static void the_canonical_text_is_a_fixed_point(void **state)
{
    static const char *const bodies[] = {
        "{\"model\":\"local\",\"training_file\":\"file-1\",\"seed\":7}",
        "{\"model\":\"local\",\"training_file\":\"file-1\",\"validation_file\":\"file-2\",\"seed\":"
        "0,\"suffix\":"
        "\"v1.2\",\"name\":\"n\",\"metadata\":{\"team\":\"a\"},\"method\":{\"type\":\"gdfo\","
        "\"gdfo\":{\"student\":"
        "\"s\",\"task\":{\"template\":\"Q: "
        "{text}\\n\",\"cue\":\"A:\",\"verbalizer\":{\"x\":[\"one\",\"two\"],"
        "\"y\":[\"three\"]}},\"hyperparameters\":{\"alpha\":0.1,\"distill\":false,\"step_size\":"
        "\"csa\"},"
        "\"budget\":{\"evals\":100,\"queries\":5000},\"early_stop\":{\"patience\":3,\"min_delta\":"
        "0.001},"
        "\"evaluation\":{\"every_queries\":640,\"select\":\"dev-metric\",\"dev_split\":0.5}}}}"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_buf first;
        struct gdfo_buf second;
        gdfo_buf_init(&first, 1 << 20);
        gdfo_buf_init(&second, 1 << 20);
        assert_string_equal(parse(bodies[i], &first), "");
        assert_string_equal(parse(first.data, &second), "");
        assert_string_equal(first.data, second.data);
        gdfo_buf_deinit(&first);
        gdfo_buf_deinit(&second);
    }
}

static void defaults_are_shown(void **state)
{
    struct gdfo_buf canon;
    (void)state;
    gdfo_buf_init(&canon, 1 << 20);
    assert_string_equal(parse("{\"model\":\"local\",\"training_file\":\"file-1\"}", &canon), "");
    assert_non_null(strstr(canon.data, "\"type\":\"auto\""));
    assert_non_null(strstr(canon.data, "\"resolved\":\"committee\""));
    assert_non_null(strstr(canon.data, "\"popsize\":20"));
    assert_non_null(strstr(canon.data, "\"n_epochs\":\"auto\""));
    assert_non_null(strstr(canon.data, "\"on_exhausted\":\"finish\""));
    gdfo_buf_deinit(&canon);
}

static void out_of_memory_is_an_ordinary_status(void **state)
{
    static const char text[] =
        "{\"model\":\"m\",\"training_file\":\"f\",\"method\":{\"type\":\"bbt\",\"bbt\":{\"task\":"
        "{\"verbalizer\":{\"a\":[\"x\"],\"b\":[\"y\"]}}}}}";
    struct gdfo_json *body = NULL;
    struct gdfo_error err = {0};
    int n_failed = 0;
    (void)state;
    gdfo_test_ok(gdfo_json_parse(&body, text, sizeof text - 1, NULL, &err), &err);
    for (long n = 0; n < 100; n++) {
        struct gdfo_job_spec *spec = NULL;
        struct faults f = {""};
        enum gdfo_status status;
        gdfo_mem_fail_after(n);
        status = gdfo_job_spec_parse(&spec, body, on_fault, &f, &err);
        gdfo_mem_fail_after(-1);
        if (status == GDFO_STATUS_OK) {
            gdfo_job_spec_destroy(spec);
            break;
        }
        n_failed++;
        assert_null(spec);
    }
    assert_in_range(n_failed, 2, 99);
    gdfo_json_destroy(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_body_is_a_model_and_a_file),
        cmocka_unit_test(every_fault_is_told_at_once),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(a_member_for_another_type_is_refused),
        cmocka_unit_test(an_unknown_method_is_refused),
        cmocka_unit_test(one_source_of_training_rows_and_no_more),
        cmocka_unit_test(a_faulty_task_does_not_lose_its_rows),
        cmocka_unit_test(limits_hold_at_the_limit_and_one_past_it),
        cmocka_unit_test(rules_across_options_are_checked),
        cmocka_unit_test(what_is_not_built_in_the_budget_is_named),
        cmocka_unit_test(the_canonical_text_is_a_fixed_point),
        cmocka_unit_test(defaults_are_shown),
        cmocka_unit_test(out_of_memory_is_an_ordinary_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
