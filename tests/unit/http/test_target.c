#include "server/http/target.h"
#include "tests/support/test.h"

#include <string.h>

static struct gdfo_target target; /* large: not on the stack of every test */

static enum gdfo_status parse(const char *raw, struct gdfo_error *err)
{
    memset(&target, 0x5a, sizeof target);
    memset(err, 0, sizeof *err);
    return gdfo_target_parse(&target, raw, err);
}

static void must(const char *raw)
{
    struct gdfo_error err;
    gdfo_test_ok(parse(raw, &err), &err);
}

static void refused(const char *raw, const char *code)
{
    struct gdfo_error err;
    if (parse(raw, &err) != GDFO_STATUS_INVALID) {
        fail_msg("accepted: %s", raw);
    }
    assert_string_equal(err.code, code);
}

static void a_path_is_its_segments(void **state)
{
    (void)state;
    must("/v1/fine_tuning/jobs/ftjob-1/events");
    assert_int_equal(target.n_segments, 5);
    assert_string_equal(target.segments[0], "v1");
    assert_string_equal(target.segments[4], "events");
    assert_int_equal(target.n_params, 0);
    must("/");
    assert_int_equal(target.n_segments, 0);
    must("/x");
    assert_int_equal(target.n_segments, 1);
}

static void escapes_are_decoded_once(void **state)
{
    (void)state;
    must("/a%41%2541%c3%a9/b%20c");
    assert_string_equal(target.segments[0], "aA%41\xc3\xa9");
    assert_string_equal(target.segments[1], "b c");
}

static void paths_that_are_not_plain_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "*",
                                      "x",
                                      "http://evil.example/",
                                      "//",
                                      "//x",
                                      "/x/",
                                      "/x//y",
                                      "/.",
                                      "/..",
                                      "/x/..",
                                      "/x/../y",
                                      "/x/./y",
                                      "/%2e",
                                      "/%2e%2e",
                                      "/%2E%2e/x",
                                      "/.%2e",
                                      "/a%2fb",
                                      "/a%2Fb",
                                      "/a%5cb",
                                      "/a\\b",
                                      "/%00",
                                      "/a%00b",
                                      "/a%0d",
                                      "/a%1f",
                                      "/a%7f",
                                      "/a b",
                                      "/a\tb",
                                      "/a\x01",
                                      "/a\xc3\xa9",
                                      "/%ff",
                                      "/%c3",
                                      "/%ed%a0%80",
                                      "/%",
                                      "/%4",
                                      "/%zz",
                                      "/a%4",
                                      "/%4%31",
                                      "/a#b",
                                      "/a?b#c",
                                      "/..%2f..%2fetc%2fpasswd",
                                      "/%252e%252e/%2e",
                                      "/v1/files/%00",
                                      "/%"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(bad[i], "bad_framing");
    }
}

static void dots_inside_a_segment_are_plain(void **state)
{
    (void)state;
    must("/a..b/...x/.y");
    assert_string_equal(target.segments[2], ".y");
}

static void a_path_has_twelve_segments_and_no_more(void **state)
{
    (void)state;
    must("/1/2/3/4/5/6/7/8/9/10/11/12");
    refused("/1/2/3/4/5/6/7/8/9/10/11/12/13", "bad_framing");
}

static void a_query_is_its_parameters(void **state)
{
    (void)state;
    must("/v1/files?limit=2&after=file-1&empty=&bare&metadata%5Bteam%5D=a+b%2Bc%26d");
    assert_int_equal(target.n_params, 5);
    assert_string_equal(gdfo_target_param(&target, "limit"), "2");
    assert_string_equal(gdfo_target_param(&target, "after"), "file-1");
    assert_string_equal(gdfo_target_param(&target, "empty"), "");
    assert_string_equal(gdfo_target_param(&target, "bare"), "");
    assert_string_equal(gdfo_target_param(&target, "metadata[team]"), "a b+c&d");
    assert_null(gdfo_target_param(&target, "Limit"));
    must("/x?");
    assert_int_equal(target.n_params, 0);
    must("/x?&&a=1&");
    assert_int_equal(target.n_params, 1);
    must("/x?a=b=c?d/e");
    assert_string_equal(gdfo_target_param(&target, "a"), "b=c?d/e");
}

static void queries_that_are_not_encoded_are_refused(void **state)
{
    static const char *const bad[] = {"/x?a=%",   "/x?a=%4",  "/x?a=%00", "/x?%00=a",
                                      "/x?a=%ff", "/x?a=b c", "/x?a=%0a", "/x?a=1&a=2",
                                      "/x?a&%61", "/x?a=\x80"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(bad[i], "invalid_value");
    }
}

static void a_query_has_32_parameters_and_no_more(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 4096);
    gdfo_buf_add(&b, "/x?");
    for (int i = 0; i < 32; i++) {
        gdfo_buf_addf(&b, "&p%d=%d", i, i);
    }
    must(b.data);
    assert_int_equal(target.n_params, 32);
    gdfo_buf_add(&b, "&more=1");
    refused(b.data, "invalid_value");
    gdfo_buf_deinit(&b);
}

static void a_target_has_4096_bytes_and_no_more(void **state)
{
    static char raw[4098];
    (void)state;
    memset(raw, 'a', sizeof raw);
    raw[0] = '/';
    raw[4096] = '\0';
    must(raw);
    assert_int_equal(strlen(target.segments[0]), 4095);
    raw[4096] = 'a';
    raw[4097] = '\0';
    refused(raw, "uri_too_long");
}

/* The most that a target can need: 32 parameters of one letter, no '='. */
static void every_target_fits_its_storage(void **state)
{
    static char raw[4097];
    size_t n = 4096 - 31 * 3;
    (void)state;
    memset(raw, 'b', sizeof raw - 1);
    raw[0] = '/';
    raw[n] = '?';
    for (size_t i = 0; i < 31; i++) {
        raw[n + 1 + 3 * i] = (char)('A' + i % 26);
        raw[n + 2 + 3 * i] = i < 26 ? 'x' : 'y';
        raw[n + 3 + 3 * i] = '&';
    }
    raw[4096] = '\0';
    must(raw);
    assert_int_equal(target.n_params, 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_its_segments),
        cmocka_unit_test(escapes_are_decoded_once),
        cmocka_unit_test(paths_that_are_not_plain_are_refused),
        cmocka_unit_test(dots_inside_a_segment_are_plain),
        cmocka_unit_test(a_path_has_twelve_segments_and_no_more),
        cmocka_unit_test(a_query_is_its_parameters),
        cmocka_unit_test(queries_that_are_not_encoded_are_refused),
        cmocka_unit_test(a_query_has_32_parameters_and_no_more),
        cmocka_unit_test(a_target_has_4096_bytes_and_no_more),
        cmocka_unit_test(every_target_fits_its_storage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
