#include "server/http/framing.h"
#include "tests/support/test.h"

#include <string.h>

#define PORT 8787

/* Name, value, name, value, ...; a NULL ends them. */
static struct gdfo_framing read_all(const char *const *headers)
{
    struct gdfo_framing f = {0};
    for (; *headers; headers += 2) {
        gdfo_framing_add(&f, headers[0], strlen(headers[0]), headers[1], strlen(headers[1]));
    }
    return f;
}

static enum gdfo_status check(const char *const *headers, struct gdfo_error *err)
{
    struct gdfo_framing f = read_all(headers);
    return gdfo_framing_check(&f, "HTTP/1.1", err);
}

static void refused(const char *const *headers)
{
    struct gdfo_error err = {0};
    assert_int_equal(check(headers, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.code, "bad_framing");
}

static void accepted(const char *const *headers)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(check(headers, &err), &err);
}

#define HEADERS(...)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void plain_requests_pass(void **state)
{
    (void)state;
    accepted(HEADERS("Host", "localhost"));
    accepted(HEADERS("host", "localhost:1", "Content-Length", "0"));
    accepted(HEADERS("Host", "x", "Content-Length", "00012"));
    accepted(HEADERS("HOST", "x", "Transfer-Encoding", "chunked"));
    accepted(HEADERS("Host", "x", "transfer-encoding", "Chunked"));
    accepted(HEADERS("Host", "x", "X-Odd!#$%&'*+-.^_`|~9", "any\tvalue \xc3\xa9"));
    accepted(HEADERS("Host", "x", "Content-Length", "999999999999999999"));
}

static void a_request_has_exactly_one_host(void **state)
{
    (void)state;
    refused(HEADERS("Accept", "*/*"));
    refused(HEADERS("Host", "a", "Host", "a"));
    refused(HEADERS("Host", "a", "hOST", "b"));
    refused(HEADERS("Host", ""));
}

static void a_length_is_digits_and_stands_once(void **state)
{
    static const char *const bad[] = {"+2",  "-1",  "2 ", " 2", "",   "0x2", "2,2",
                                      "2.0", "1e3", "٣",  "2a", "--", "\t2", "9999999999999999999"};
    (void)state;
    refused(HEADERS("Host", "x", "Content-Length", "2", "Content-Length", "2"));
    refused(HEADERS("Host", "x", "Content-Length", "0", "content-length", "5"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(HEADERS("Host", "x", "Content-Length", bad[i]));
    }
}

static void the_announced_length_is_read(void **state)
{
    struct gdfo_framing f = read_all(HEADERS("Host", "x", "Content-Length", "1099511627776"));
    (void)state;
    assert_int_equal(f.content_length, INT64_C(1) << 40);
    assert_int_equal(f.is_chunked, 0);
    f = read_all(HEADERS("Host", "x", "Transfer-Encoding", "chunked"));
    assert_int_equal(f.is_chunked, 1);
}

static void a_transfer_coding_is_chunked_or_nothing(void **state)
{
    static const char *const bad[] = {"gzip",     "gzip, chunked", "chunked, chunked",
                                      "chunked,", "identity",      "",
                                      "chunked ", "x-chunked",     "\"chunked\""};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(HEADERS("Host", "x", "Transfer-Encoding", bad[i]));
    }
    refused(HEADERS("Host", "x", "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"));
    refused(HEADERS("Host", "x", "Transfer-Encoding", "gzip", "Transfer-Encoding", "chunked"));
}

static void both_framings_at_once_are_refused(void **state)
{
    (void)state;
    refused(HEADERS("Host", "x", "Content-Length", "3", "Transfer-Encoding", "chunked"));
    refused(HEADERS("Host", "x", "Transfer-Encoding", "chunked", "Content-Length", "0"));
}

static void chunks_want_http_1_1(void **state)
{
    struct gdfo_framing f = read_all(HEADERS("Host", "x", "Transfer-Encoding", "chunked"));
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_framing_check(&f, "HTTP/1.0", &err), GDFO_STATUS_INVALID);
}

static void header_names_are_tokens(void **state)
{
    static const char *const bad[] = {
        "Content-Length ", "X A", "X\tA", "", "X(", "X\"", "X/Y", "X@", "X[1]", "Xé", "X\x01"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(HEADERS("Host", "x", bad[i], "1"));
    }
}

static void header_values_have_no_control_characters(void **state)
{
    (void)state;
    refused(HEADERS("Host", "x", "X", "a\rb"));
    refused(HEADERS("Host", "x", "X", "a\x01"));
    refused(HEADERS("Host", "x", "X", "a\x7f"));
}

static void an_endless_host_is_refused(void **state)
{
    char name[300];
    (void)state;
    memset(name, 'a', sizeof name);
    name[299] = '\0';
    refused(HEADERS("Host", name));
}

static enum gdfo_status check_host(const char *host, const char *origin, const char *hosts,
                                   struct gdfo_error *err)
{
    struct gdfo_framing f = origin ? read_all(HEADERS("Host", host, "Origin", origin))
                                   : read_all(HEADERS("Host", host));
    memset(err, 0, sizeof *err);
    return gdfo_framing_check_host(&f, hosts, PORT, err);
}

static void loopback_names_are_ours_with_any_port(void **state)
{
    static const char *const good[] = {"localhost",   "LocalHost", "localhost:8787", "127.0.0.1",
                                       "127.0.0.1:1", "[::1]",     "[::1]:65535"};
    struct gdfo_error err;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        gdfo_test_ok(check_host(good[i], NULL, NULL, &err), &err);
    }
}

static void other_names_are_not(void **state)
{
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil.example",
                                      "127.0.0.2",
                                      "0.0.0.0",
                                      "[::]",
                                      "[::1",
                                      "::1",
                                      "[::1]x",
                                      "localhost:",
                                      "localhost:0",
                                      "localhost:65536",
                                      "localhost:x",
                                      "localhost:80:80",
                                      "localhost ",
                                      "a@localhost",
                                      "localhost/x",
                                      ":80",
                                      "localhost:-1"};
    struct gdfo_error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (check_host(bad[i], NULL, NULL, &err) != GDFO_STATUS_INVALID) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_string_equal(err.code, "bad_framing");
    }
}

static void configured_names_are_ours_too(void **state)
{
    static const char hosts[] = "tune.example, box";
    struct gdfo_error err;
    (void)state;
    gdfo_test_ok(check_host("tune.example", NULL, hosts, &err), &err);
    gdfo_test_ok(check_host("TUNE.example:443", NULL, hosts, &err), &err);
    gdfo_test_ok(check_host("box:1", NULL, hosts, &err), &err);
    assert_int_equal(check_host("tune", NULL, hosts, &err), GDFO_STATUS_INVALID);
    assert_int_equal(check_host("example", NULL, hosts, &err), GDFO_STATUS_INVALID);
    assert_int_equal(check_host("tune.example,", NULL, hosts, &err), GDFO_STATUS_INVALID);
}

static void pages_of_this_daemon_may_ask(void **state)
{
    struct gdfo_error err;
    (void)state;
    gdfo_test_ok(check_host("127.0.0.1:8787", "http://127.0.0.1:8787", NULL, &err), &err);
    gdfo_test_ok(check_host("127.0.0.1:8787", "http://localhost:8787", NULL, &err), &err);
    gdfo_test_ok(check_host("box", "https://box", "box", &err), &err);
    gdfo_test_ok(check_host("box", "https://tune.example:444", "box,tune.example", &err), &err);
}

static void pages_from_elsewhere_may_not(void **state)
{
    static const char *const bad[] = {"http://evil.example",
                                      "https://evil.example",
                                      "null",
                                      "",
                                      "http://localhost:3000",
                                      "http://localhost",
                                      "localhost:8787",
                                      "file://localhost:8787",
                                      "http://127.0.0.1:8787.evil.example",
                                      "http://evil.example:8787",
                                      "http://"};
    struct gdfo_error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (check_host("127.0.0.1:8787", bad[i], NULL, &err) != GDFO_STATUS_INVALID) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_string_equal(err.code, "forbidden");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_requests_pass),
        cmocka_unit_test(a_request_has_exactly_one_host),
        cmocka_unit_test(a_length_is_digits_and_stands_once),
        cmocka_unit_test(the_announced_length_is_read),
        cmocka_unit_test(a_transfer_coding_is_chunked_or_nothing),
        cmocka_unit_test(both_framings_at_once_are_refused),
        cmocka_unit_test(chunks_want_http_1_1),
        cmocka_unit_test(header_names_are_tokens),
        cmocka_unit_test(header_values_have_no_control_characters),
        cmocka_unit_test(an_endless_host_is_refused),
        cmocka_unit_test(loopback_names_are_ours_with_any_port),
        cmocka_unit_test(other_names_are_not),
        cmocka_unit_test(configured_names_are_ours_too),
        cmocka_unit_test(pages_of_this_daemon_may_ask),
        cmocka_unit_test(pages_from_elsewhere_may_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
