#include "server/http/router.h"
#include "tests/support/test.h"

#include <string.h>

static struct gdfo_target target;
static const char *args[GDFO_REQUEST_ARGS_MAX];
static char allow[64];

static const struct gdfo_route *find(enum gdfo_method method, const char *path)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_target_parse(&target, path, &err), &err);
    return gdfo_router_find(method, &target, args, allow);
}

static void is_route(enum gdfo_method method, const char *path, const char *pattern)
{
    const struct gdfo_route *route = find(method, path);
    assert_non_null(route);
    assert_string_equal(route->pattern, pattern);
    assert_int_equal(route->method, method);
}

static void paths_find_their_rows(void **state)
{
    (void)state;
    is_route(GDFO_METHOD_GET, "/healthz", "/healthz");
    is_route(GDFO_METHOD_POST, "/v1/files", "/v1/files");
    is_route(GDFO_METHOD_GET, "/v1/files", "/v1/files");
    is_route(GDFO_METHOD_DELETE, "/v1/files/file-1", "/v1/files/{id}");
    is_route(GDFO_METHOD_GET, "/v1/fine_tuning/jobs/ftjob-1/checkpoints/best/content",
             "/v1/fine_tuning/jobs/{id}/checkpoints/{ckpt}/content");
    assert_string_equal(args[0], "ftjob-1");
    assert_string_equal(args[1], "best");
    is_route(GDFO_METHOD_GET, "/v1/teachers/any%20name", "/v1/teachers/{name}");
    assert_string_equal(args[0], "any name");
}

static void a_path_without_the_method_lists_those_it_has(void **state)
{
    (void)state;
    assert_null(find(GDFO_METHOD_PUT, "/v1/files"));
    assert_string_equal(allow, "POST, GET, HEAD");
    assert_null(find(GDFO_METHOD_OTHER, "/v1/files/file-1"));
    assert_string_equal(allow, "GET, HEAD, DELETE");
    assert_null(find(GDFO_METHOD_GET, "/v1/predict"));
    assert_string_equal(allow, "POST");
}

static void no_path_no_methods(void **state)
{
    static const char *const none[] = {"/",
                                       "/v1",
                                       "/healthz/x",
                                       "/v1/files/x",
                                       "/v1/files/file-1/x",
                                       "/v1/fine_tuning/jobs/ftjob-1/checkpoints/worst/content",
                                       "/v1/fine_tuning",
                                       "/V1/info"};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_null(find(GDFO_METHOD_GET, none[i]));
        assert_string_equal(allow, "");
    }
}

static void ids_follow_their_pattern(void **state)
{
    static const char *const good[] = {"file-1", "ftjob-01J0000000000000000000000Z", "a-b", "x-0A",
                                       "f-0123456789012345678901234567890123456789"};
    static const char *const bad[] = {"",
                                      "-",
                                      "file",
                                      "file-",
                                      "-1",
                                      "File-1",
                                      "fi1e-1",
                                      "file-1-2",
                                      "file-_",
                                      "file-1 ",
                                      " file-1",
                                      "file-\xc3\xa9",
                                      "f-01234567890123456789012345678901234567890"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(gdfo_router_is_id(good[i]), 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(gdfo_router_is_id(bad[i]), 0);
    }
}

static void methods_are_read_as_written(void **state)
{
    (void)state;
    assert_int_equal(gdfo_method_parse("GET"), GDFO_METHOD_GET);
    assert_int_equal(gdfo_method_parse("HEAD"), GDFO_METHOD_GET);
    assert_int_equal(gdfo_method_parse("DELETE"), GDFO_METHOD_DELETE);
    assert_int_equal(gdfo_method_parse("get"), GDFO_METHOD_OTHER);
    assert_int_equal(gdfo_method_parse(""), GDFO_METHOD_OTHER);
    assert_int_equal(gdfo_method_parse("BREW"), GDFO_METHOD_OTHER);
    assert_string_equal(gdfo_method_name(GDFO_METHOD_PATCH), "PATCH");
}

static void words_are_whole(void **state)
{
    (void)state;
    assert_int_equal(gdfo_router_has_word("after limit order", "limit"), 1);
    assert_int_equal(gdfo_router_has_word("after limit order", "order"), 1);
    assert_int_equal(gdfo_router_has_word("after limit order", "lim"), 0);
    assert_int_equal(gdfo_router_has_word("after limit order", "limit order"), 0);
    assert_int_equal(gdfo_router_has_word("after limit order", ""), 0);
    assert_int_equal(gdfo_router_has_word("", "x"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_find_their_rows),
        cmocka_unit_test(a_path_without_the_method_lists_those_it_has),
        cmocka_unit_test(no_path_no_methods),
        cmocka_unit_test(ids_follow_their_pattern),
        cmocka_unit_test(methods_are_read_as_written),
        cmocka_unit_test(words_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
