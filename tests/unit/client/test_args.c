#include "client/cli/args.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static const struct gdfo_cli_option options[] = {{"json", 0, GDFO_CLI_MAYBE, "FIELDS", "documents"},
                                                 {"follow", 'f', GDFO_CLI_FLAG, NULL, "go on"},
                                                 {"output", 'o', GDFO_CLI_VALUE, "DIR", "where to"},
                                                 {"set", 's', GDFO_CLI_REPEATED, "K=V", "a member"},
                                                 {0}};

#define MAX_WORDS 8

static enum gdfo_status parse(struct gdfo_cli_args *a, const char *line, struct gdfo_error *err)
{
    static char text[256]; /* the result points into it */
    char *argv[MAX_WORDS];
    int argc = 0;
    char *p = text;
    (void)snprintf(text, sizeof text, "%s", line);
    while (*p && argc < MAX_WORDS) {
        size_t n = strcspn(p, " ");
        argv[argc++] = p;
        p += n;
        if (*p) {
            *p++ = '\0';
        }
    }
    return gdfo_cli_args_parse(a, options, argc, argv, err);
}

static void options_take_their_values_in_every_spelling(void **state)
{
    static const char *const lines[] = {"-o dir x", "-odir x", "--output dir x", "--output=dir x",
                                        "x --output=dir"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct gdfo_cli_args a;
        struct gdfo_error err = {0};
        gdfo_test_ok(parse(&a, lines[i], &err), &err);
        assert_string_equal(gdfo_cli_args_get(&a, "output"), "dir");
        assert_int_equal(a.n_words, 1);
        assert_string_equal(a.words[0], "x");
        assert_null(gdfo_cli_args_get(&a, "json"));
    }
}

static void a_value_may_look_like_an_option(void **state)
{
    struct gdfo_cli_args a;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(parse(&a, "-o -f -- -x --json", &err), &err);
    assert_string_equal(gdfo_cli_args_get(&a, "output"), "-f");
    assert_null(gdfo_cli_args_get(&a, "follow"));
    assert_int_equal(a.n_words, 2);
    assert_string_equal(a.words[0], "-x");
}

static void json_takes_fields_only_behind_an_equals_sign(void **state)
{
    struct gdfo_cli_args a;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(parse(&a, "--json id", &err), &err);
    assert_string_equal(gdfo_cli_args_get(&a, "json"), "");
    assert_int_equal(a.n_words, 1);
    gdfo_test_ok(parse(&a, "--json=id,status", &err), &err);
    assert_string_equal(gdfo_cli_args_get(&a, "json"), "id,status");
}

static void repeated_ones_keep_their_order(void **state)
{
    struct gdfo_cli_args a;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(parse(&a, "--set a=1 -sb=2 --set=c=3", &err), &err);
    assert_int_equal(a.n_repeated, 3);
    assert_string_equal(a.repeated[0], "a=1");
    assert_string_equal(a.repeated[1], "b=2");
    assert_string_equal(a.repeated[2], "c=3");
}

static void a_dash_alone_is_a_word(void **state)
{
    struct gdfo_cli_args a;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(parse(&a, "- -f", &err), &err);
    assert_string_equal(a.words[0], "-");
    assert_string_equal(gdfo_cli_args_get(&a, "follow"), "");
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line, *words;
    } rows[] = {{"--outptu x", "there are: --json --follow --output --set"},
                {"-z", "-z"},
                {"--output", "wants a value: --output DIR"},
                {"-o", "wants a value"},
                {"--follow=yes", "takes no value"},
                {"-o a -o b", "stands twice"},
                {"--out x", "unknown option"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gdfo_cli_args a;
        struct gdfo_error err = {0};
        assert_int_equal(parse(&a, rows[i].line, &err), GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, rows[i].words));
    }
}

static void too_many_are_refused(void **state)
{
    static char word[] = "x", set[] = "-sa=1";
    char *argv[GDFO_CLI_ARGS_MAX + 1];
    struct gdfo_cli_args a;
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i <= GDFO_CLI_ARGS_MAX; i++) {
        argv[i] = word;
    }
    gdfo_test_ok(gdfo_cli_args_parse(&a, options, GDFO_CLI_ARGS_MAX, argv, &err), &err);
    assert_int_equal(gdfo_cli_args_parse(&a, options, GDFO_CLI_ARGS_MAX + 1, argv, &err),
                     GDFO_STATUS_INVALID);
    for (size_t i = 0; i <= GDFO_CLI_SETS_MAX; i++) {
        argv[i] = set;
    }
    gdfo_test_ok(gdfo_cli_args_parse(&a, options, GDFO_CLI_SETS_MAX, argv, &err), &err);
    assert_int_equal(gdfo_cli_args_parse(&a, options, GDFO_CLI_SETS_MAX + 1, argv, &err),
                     GDFO_STATUS_INVALID);
}

static void the_table_is_the_help(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 4096);
    gdfo_cli_args_help(options, &b);
    assert_string_equal(b.data, "  --json[=FIELDS]         documents\n"
                                "  -f, --follow            go on\n"
                                "  -o, --output DIR        where to\n"
                                "  -s, --set K=V           a member\n");
    gdfo_buf_deinit(&b);
}

static void durations_have_units(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"90", 90000},   {"90s", 90000}, {"5m", 300000},
                {"2h", 7200000}, {"500ms", 500}, {"0", 0}};
    static const char *const bad[] = {"",   "s",   "-1",  "1.5s",
                                      "1d", "5 m", "1mm", "99999999999999999999"};
    int64_t ms;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(gdfo_cli_duration_ms(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(gdfo_cli_duration_ms(bad[i], &ms));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_take_their_values_in_every_spelling),
        cmocka_unit_test(a_value_may_look_like_an_option),
        cmocka_unit_test(json_takes_fields_only_behind_an_equals_sign),
        cmocka_unit_test(repeated_ones_keep_their_order),
        cmocka_unit_test(a_dash_alone_is_a_word),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(too_many_are_refused),
        cmocka_unit_test(the_table_is_the_help),
        cmocka_unit_test(durations_have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
