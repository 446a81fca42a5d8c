#include "common/opt.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

struct my {
    int64_t popsize;
    double step_size;
    int is_fast;
    int rule;
    char name[GDFO_OPT_STR_BYTES];
    int64_t any;
};

static const struct gdfo_opt opts[] = {
    {"popsize", GDFO_OPT_INT, offsetof(struct my, popsize), "20", 2, 1024, NULL, "candidates"},
    {"step_size", GDFO_OPT_NUM, offsetof(struct my, step_size), "0.5", 0, 10, NULL, "start"},
    {"is_fast", GDFO_OPT_BOOL, offsetof(struct my, is_fast), "true", 0, 0, NULL, "hurry"},
    {"rule", GDFO_OPT_ENUM, offsetof(struct my, rule), "tpa", 0, 0, "csa|tpa|none", "step rule"},
    {"name", GDFO_OPT_STR, offsetof(struct my, name), "n1", 0, 0, NULL, "a name"},
    {"any", GDFO_OPT_INT, offsetof(struct my, any), "-5", 0, 0, NULL, "no range"},
    {0},
};

struct faults {
    size_t n;
    char pointer[8][80];
    char code[8][20];
    char detail[8][160];
};

static void collect(void *ctx, const char *pointer, const char *code, const char *detail)
{
    struct faults *f = ctx;
    assert_true(f->n < 8);
    (void)snprintf(f->pointer[f->n], sizeof f->pointer[0], "%s", pointer);
    (void)snprintf(f->code[f->n], sizeof f->code[0], "%s", code);
    (void)snprintf(f->detail[f->n], sizeof f->detail[0], "%s", detail);
    f->n++;
}

static size_t set_json(struct my *m, const char *text, struct faults *f)
{
    struct gdfo_json *v = NULL;
    struct gdfo_error err = {0};
    size_t n;
    gdfo_test_ok(gdfo_json_parse(&v, text, strlen(text), NULL, &err), &err);
    gdfo_opt_defaults(opts, m);
    memset(f, 0, sizeof *f);
    n = gdfo_opt_set_json(opts, m, v, "/method/bbt", collect, f);
    gdfo_json_destroy(v);
    assert_int_equal(n, f->n);
    return n;
}

static void defaults_fill_every_member(void **state)
{
    struct my m;
    (void)state;
    memset(&m, 0x5a, sizeof m);
    gdfo_opt_defaults(opts, &m);
    assert_int_equal(m.popsize, 20);
    gdfo_test_near(m.step_size, 0.5, 0);
    assert_int_equal(m.is_fast, 1);
    assert_int_equal(m.rule, 1);
    assert_string_equal(m.name, "n1");
    assert_int_equal(m.any, -5);
}

static void text_sets_each_type(void **state)
{
    struct my m;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_opt_defaults(opts, &m);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "popsize", "1024", &err), &err);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "step_size", "1e-3", &err), &err);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "is_fast", "no", &err), &err);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "rule", "none", &err), &err);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "name", "", &err), &err);
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "any", "-9000000000", &err), &err);
    assert_int_equal(m.popsize, 1024);
    gdfo_test_near(m.step_size, 1e-3, 0);
    assert_int_equal(m.is_fast, 0);
    assert_int_equal(m.rule, 2);
    assert_string_equal(m.name, "");
    assert_int_equal(m.any, INT64_C(-9000000000));
}

static void text_out_of_range_names_value_and_range(void **state)
{
    static const char *const bad[][2] = {
        {"popsize", "1"},   {"popsize", "1025"},   {"popsize", "20.0"}, {"popsize", ""},
        {"popsize", " 20"}, {"step_size", "nan"},  {"step_size", "-1"}, {"step_size", "10.5"},
        {"is_fast", "2"},   {"rule", "cs"},        {"rule", "csa|tpa"}, {"rule", ""},
        {"rule", "CSA"},    {"step_size", "1e999"}};
    struct my m;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_opt_defaults(opts, &m);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(gdfo_opt_set_text(opts, &m, bad[i][0], bad[i][1], &err),
                         GDFO_STATUS_INVALID);
        assert_string_equal(err.code, "invalid_value");
        assert_string_equal(err.field, bad[i][0]);
    }
    assert_int_equal(gdfo_opt_set_text(opts, &m, "popsize", "1", &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "popsize is '1'; want an integer 2..1024");
    assert_int_equal(m.popsize, 20);
}

static void a_long_text_is_refused_at_64_bytes(void **state)
{
    struct my m;
    struct gdfo_error err = {0};
    char text[65];
    (void)state;
    gdfo_opt_defaults(opts, &m);
    memset(text, 'x', sizeof text);
    text[64] = '\0';
    assert_int_equal(gdfo_opt_set_text(opts, &m, "name", text, &err), GDFO_STATUS_INVALID);
    text[63] = '\0';
    gdfo_test_ok(gdfo_opt_set_text(opts, &m, "name", text, &err), &err);
    assert_string_equal(m.name, text);
}

static void an_unknown_name_gets_the_nearest_one(void **state)
{
    struct my m;
    struct gdfo_error err = {0};
    char longest[300];
    (void)state;
    gdfo_opt_defaults(opts, &m);
    assert_int_equal(gdfo_opt_set_text(opts, &m, "popsiz", "3", &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "unknown option 'popsiz'; nearest is 'popsize'");
    assert_string_equal(err.code, "unknown_field");
    assert_int_equal(gdfo_opt_set_text(opts, &m, "zzzzzz", "3", &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "unknown option 'zzzzzz'");
    memset(longest, 'p', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(gdfo_opt_set_text(opts, &m, longest, "3", &err), GDFO_STATUS_INVALID);
}

static void json_sets_values_and_null_keeps_the_default(void **state)
{
    struct my m;
    struct faults f;
    (void)state;
    assert_int_equal(set_json(&m,
                              "{\"popsize\":2,\"step_size\":3,\"is_fast\":false,\"rule\":\"csa\","
                              "\"name\":\"z\",\"any\":null}",
                              &f),
                     0);
    assert_int_equal(m.popsize, 2);
    gdfo_test_near(m.step_size, 3, 0);
    assert_int_equal(m.is_fast, 0);
    assert_int_equal(m.rule, 0);
    assert_string_equal(m.name, "z");
    assert_int_equal(m.any, -5);
    assert_int_equal(gdfo_opt_set_json(opts, &m, NULL, "", collect, &f), 0);
}

static void json_faults_come_all_at_once_with_pointers(void **state)
{
    struct my m;
    struct faults f;
    (void)state;
    assert_int_equal(set_json(&m,
                              "{\"popsize\":1,\"step_size\":\"x\",\"is_fast\":1,\"rule\":\"q\","
                              "\"a/b~c\":0,\"any\":1.0,\"name\":[1]}",
                              &f),
                     7);
    assert_string_equal(f.pointer[0], "/method/bbt/popsize");
    assert_string_equal(f.code[0], "invalid_value");
    assert_string_equal(f.detail[0], "popsize is 1; want an integer 2..1024");
    assert_string_equal(f.detail[1], "step_size is \"x\"; want a number 0..10");
    assert_string_equal(f.detail[2], "is_fast is 1; want true or false");
    assert_string_equal(f.detail[3], "rule is \"q\"; want one of csa|tpa|none");
    assert_string_equal(f.pointer[4], "/method/bbt/a~1b~0c");
    assert_string_equal(f.code[4], "unknown_field");
    assert_string_equal(f.detail[5], "any is 1; want an integer");
    assert_string_equal(f.detail[6], "name is an array; want text of at most 63 bytes");
    assert_int_equal(m.popsize, 20);
}

static void a_long_value_is_not_echoed(void **state)
{
    struct my m;
    struct faults f;
    char text[400];
    (void)state;
    (void)snprintf(text, sizeof text, "{\"rule\":\"%0300d\"}", 0);
    assert_int_equal(set_json(&m, text, &f), 1);
    assert_string_equal(f.detail[0], "rule is a long text; want one of csa|tpa|none");
}

static void values_are_written_in_table_order(void **state)
{
    struct my m;
    struct gdfo_buf b;
    (void)state;
    gdfo_opt_defaults(opts, &m);
    gdfo_buf_init(&b, 4096);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_opt_write_json(opts, &m, &w);
    gdfo_json_close(&w, '}');
    assert_string_equal(b.data, "{\"popsize\":20,\"step_size\":0.5,\"is_fast\":true,"
                                "\"rule\":\"tpa\",\"name\":\"n1\",\"any\":-5}");
    gdfo_buf_deinit(&b);
}

static void the_catalogue_shows_the_table(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 4096);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_opt_write_catalogue(opts, &w, "options");
    gdfo_json_close(&w, '}');
    assert_non_null(
        strstr(b.data, "{\"options\":[{\"name\":\"popsize\",\"type\":\"integer\",\"default\":20,"
                       "\"min\":2,\"max\":1024,\"choices\":null,\"help\":\"candidates\"}"));
    assert_non_null(strstr(b.data, "{\"name\":\"rule\",\"type\":\"enum\",\"default\":\"tpa\","
                                   "\"min\":null,\"max\":null,\"choices\":[\"csa\",\"tpa\","
                                   "\"none\"],\"help\":\"step rule\"}"));
    assert_non_null(strstr(b.data, "\"name\":\"any\",\"type\":\"integer\",\"default\":-5,"
                                   "\"min\":null"));
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_every_member),
        cmocka_unit_test(text_sets_each_type),
        cmocka_unit_test(text_out_of_range_names_value_and_range),
        cmocka_unit_test(a_long_text_is_refused_at_64_bytes),
        cmocka_unit_test(an_unknown_name_gets_the_nearest_one),
        cmocka_unit_test(json_sets_values_and_null_keeps_the_default),
        cmocka_unit_test(json_faults_come_all_at_once_with_pointers),
        cmocka_unit_test(a_long_value_is_not_echoed),
        cmocka_unit_test(values_are_written_in_table_order),
        cmocka_unit_test(the_catalogue_shows_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
