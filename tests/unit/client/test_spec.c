#include "client/cli/spec.h"
#include "common/rng.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static void assert_strips(const char *in, const char *out)
{
    char text[256];
    struct gdfo_error err = {0};
    (void)snprintf(text, sizeof text, "%s", in);
    gdfo_test_ok(gdfo_spec_strip(text, strlen(text), &err), &err);
    assert_string_equal(text, out);
}

static void comments_become_blanks_of_the_same_length(void **state)
{
    (void)state;
    assert_strips("{} // end", "{}       ");
    assert_strips("{/* a\nb */}", "{    \n    }");
    assert_strips("1 / 2 /**/ 3", "1 / 2      3");
    assert_strips("// only\n// these\n1", "       \n        \n1");
    assert_strips("/* * / // */ 1", "             1");
    assert_strips("", "");
    assert_strips("/", "/");
}

static void comment_marks_inside_strings_stay(void **state)
{
    (void)state;
    assert_strips("\"// a\" // b", "\"// a\"     ");
    assert_strips("\"/*\" 1 \"*/\"", "\"/*\" 1 \"*/\"");
    assert_strips("\"\\\"// a\" //", "\"\\\"// a\"   ");
    assert_strips("\"\\\\\" // a", "\"\\\\\"     ");
    assert_strips("\"never closed // a", "\"never closed // a");
}

static void a_comment_that_never_ends_is_named_by_line(void **state)
{
    char text[] = "{}\n\n/* so *";
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_spec_strip(text, strlen(text), &err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(err.text, "line 3"));
}

static void any_bytes_can_be_stripped(void **state)
{
    static const char letters[] = "/*\"\\\n a{";
    struct gdfo_rng rng = gdfo_rng_stream(7, "strip");
    (void)state;
    for (int turn = 0; turn < 20000; turn++) {
        char text[24];
        size_t n = (size_t)gdfo_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < n; i++) {
            text[i] = letters[gdfo_rng_below(&rng, sizeof letters - 1)];
        }
        GDFO_IGNORE(gdfo_spec_strip(text, n, NULL));
    }
}

/* ---- writing with sets ---- */

static enum gdfo_status apply(const char *spec, const char *const *words, char *out, size_t size,
                              struct gdfo_error *err)
{
    char text[512], copies[8][128];
    struct gdfo_spec_set sets[8];
    struct gdfo_json *root = NULL;
    struct gdfo_buf b;
    size_t n = 0;
    enum gdfo_status status;
    (void)snprintf(text, sizeof text, "%s", spec);
    gdfo_test_ok(gdfo_spec_parse(&root, text, strlen(text), "spec", err), err);
    for (; words[n]; n++) {
        (void)snprintf(copies[n], sizeof copies[n], "%s", words[n]);
        gdfo_test_ok(gdfo_spec_set_parse(&sets[n], copies[n], err), err);
    }
    gdfo_buf_init(&b, 4096);
    status = gdfo_spec_write(&b, root, sets, n, err);
    (void)snprintf(out, size, "%s", b.data ? b.data : "");
    gdfo_buf_deinit(&b);
    gdfo_json_destroy(root);
    return status;
}

static void assert_applies(const char *spec, const char *const *words, const char *want)
{
    char out[1024];
    struct gdfo_error err = {0};
    gdfo_test_ok(apply(spec, words, out, sizeof out, &err), &err);
    assert_string_equal(out, want);
}

static void without_sets_the_spec_is_what_it_was(void **state)
{
    (void)state;
    assert_applies("{\"a\":[1,{\"b\":null}],\"c\":\"\\u00e9\",\"d\":0.5,\"e\":true}",
                   (const char *const[]){NULL},
                   "{\"a\":[1,{\"b\":null}],\"c\":\"\xc3\xa9\",\"d\":0.5,\"e\":true}");
}

static void sets_replace_add_and_nest(void **state)
{
    (void)state;
    assert_applies(
        "{\"a\":1,\"m\":{\"x\":1,\"y\":{\"z\":2}}}",
        (const char *const[]){"a=2", "m.y.z=3", "m.new=t", "p.q.r=null", NULL},
        "{\"a\":2,\"m\":{\"x\":1,\"y\":{\"z\":3},\"new\":\"t\"},\"p\":{\"q\":{\"r\":null}}}");
    assert_applies("{}", (const char *const[]){"a.b=1", "a.c=2", "d=[1,2]", NULL},
                   "{\"a\":{\"b\":1,\"c\":2},\"d\":[1,2]}");
    assert_applies("{\"a\":null}", (const char *const[]){"a.b=1", NULL}, "{\"a\":{\"b\":1}}");
}

static void the_last_set_wins(void **state)
{
    (void)state;
    assert_applies("{\"a\":1}", (const char *const[]){"a=2", "a=3", NULL}, "{\"a\":3}");
    assert_applies("{}", (const char *const[]){"a.b=2", "a=7", NULL}, "{\"a\":7}");
}

static void values_are_json_or_else_text(void **state)
{
    (void)state;
    assert_applies(
        "{}", (const char *const[]){"a=1e3", "b=\"1\"", "c=01", "d=", "e=x=y", "f={\"g\":1}", NULL},
        "{\"a\":1000,\"b\":\"1\",\"c\":\"01\",\"d\":\"\",\"e\":\"x=y\",\"f\":{\"g\":1}}");
}

static void a_path_through_a_value_is_refused(void **state)
{
    static const char *const bad[][3] = {{"a.b=1"}, {"l.b=1"}, {"n=1", "n.b=2"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char out[256];
        struct gdfo_error err = {0};
        assert_int_equal(apply("{\"a\":1,\"l\":[]}", bad[i], out, sizeof out, &err),
                         GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, "want an object"));
    }
}

static void paths_are_checked(void **state)
{
    static const char *const bad[] = {"", "=1", "a", ".a=1", "a.=1", "a..b=1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[16];
        struct gdfo_spec_set set;
        struct gdfo_error err = {0};
        (void)snprintf(text, sizeof text, "%s", bad[i]);
        assert_int_equal(gdfo_spec_set_parse(&set, text, &err), GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, "want PATH=VALUE"));
    }
}

static void a_spec_must_be_an_object(void **state)
{
    static const char *const bad[] = {"[]", "1", "", "{} {}", "{\"a\":1,}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[16];
        struct gdfo_json *root = NULL;
        struct gdfo_error err = {0};
        (void)snprintf(text, sizeof text, "%s", bad[i]);
        assert_int_equal(gdfo_spec_parse(&root, text, strlen(text), "x.json", &err),
                         GDFO_STATUS_INVALID);
        assert_int_equal(strncmp(err.text, "x.json: ", 8), 0);
        assert_null(root);
    }
}

static void members_come_from_the_last_set_or_the_spec(void **state)
{
    char text[] = "{\"a\":\"x\",\"b\":1}";
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    const struct gdfo_spec_set sets[] = {{"a", "y", 0}, {"a", "z", 1}};
    (void)state;
    gdfo_test_ok(gdfo_spec_parse(&root, text, strlen(text), "s", &err), &err);
    assert_string_equal(gdfo_spec_member(root, NULL, 0, "a"), "x");
    assert_string_equal(gdfo_spec_member(root, sets, 2, "a"), "z");
    assert_null(gdfo_spec_member(root, sets, 2, "b"));
    assert_null(gdfo_spec_member(root, sets, 2, "c"));
    gdfo_json_destroy(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_become_blanks_of_the_same_length),
        cmocka_unit_test(comment_marks_inside_strings_stay),
        cmocka_unit_test(a_comment_that_never_ends_is_named_by_line),
        cmocka_unit_test(any_bytes_can_be_stripped),
        cmocka_unit_test(without_sets_the_spec_is_what_it_was),
        cmocka_unit_test(sets_replace_add_and_nest),
        cmocka_unit_test(the_last_set_wins),
        cmocka_unit_test(values_are_json_or_else_text),
        cmocka_unit_test(a_path_through_a_value_is_refused),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(a_spec_must_be_an_object),
        cmocka_unit_test(members_come_from_the_last_set_or_the_spec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
