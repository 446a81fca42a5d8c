/* What the edge lets in: framing, paths, sizes, hosts, and what every answer carries. */
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Sends bytes as they are; "Host" is right for any port. */
static void talk(struct rig *rig, const char *bytes, struct answer *a)
{
    rig_talk(rig, bytes, strlen(bytes), a);
}

#define HOST "Host: localhost\r\n"
#define NEXT "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
#define JOBS "POST /v1/fine_tuning/jobs HTTP/1.1\r\n" HOST

static void healthz_answers_with_the_headers_of_every_answer(void **state)
{
    struct answer a;
    rig_get(*state, "/healthz", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "status"), "ok");
    assert_string_equal(rig_header(&a, "content-type"), "application/json");
    assert_string_equal(rig_header(&a, "x-content-type-options"), "nosniff");
    assert_string_equal(rig_header(&a, "cache-control"), "no-store");
    assert_int_equal(strlen(rig_header(&a, "x-request-id")), 26);
    assert_true(rig_header(&a, "date")[0] != '\0');
    assert_string_equal(rig_header(&a, "access-control-allow-origin"), "");
    rig_free(&a);
}

static void each_request_has_an_id_of_its_own(void **state)
{
    struct answer a, b;
    char first[64];
    rig_get(*state, "/healthz", &a);
    (void)snprintf(first, sizeof first, "%s", rig_header(&a, "x-request-id"));
    rig_get(*state, "/healthz", &b);
    assert_string_not_equal(first, rig_header(&b, "x-request-id"));
    rig_free(&a);
    rig_free(&b);
}

static void a_connection_serves_many_requests(void **state)
{
    struct rig *rig = *state;
    int fd = rig_connect(rig);
    for (int i = 0; i < 50; i++) {
        struct answer a;
        static const char wrong[] = "GET /v1/nothing HTTP/1.1\r\n" HOST "\r\n";
        static const char body[] = "PUT /v1/files HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
        rig_send(fd, NEXT, sizeof NEXT - 1);
        rig_read(fd, &a);
        assert_int_equal(a.status, 200);
        rig_free(&a);
        rig_send(fd, wrong, sizeof wrong - 1);
        rig_read(fd, &a);
        rig_is_refusal(&a, 404, "not_found");
        rig_free(&a);
        rig_send(fd, body, sizeof body - 1); /* refused, its small body read, and on */
        rig_read(fd, &a);
        rig_is_refusal(&a, 405, "method_not_allowed");
        rig_free(&a);
    }
    (void)close(fd);
}

static void two_requests_in_one_write_get_two_answers(void **state)
{
    struct answer a;
    talk(*state, NEXT "GET /healthz HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "HTTP/1.1 200"));
    rig_free(&a);
}

/* One answer, a refusal, and the end: nothing behind it is read. */
static void framing_refused(struct rig *rig, const char *bytes)
{
    struct answer a;
    talk(rig, bytes, &a);
    if (a.status != 400 || !a.is_closed || strstr(a.raw.data, "\"ok\"")) {
        fail_msg("%s\n-> %s", bytes, a.raw.data);
    }
    rig_free(&a);
}

static void ambiguous_framing_is_refused_and_closed(void **state)
{
    static const char *const bad[] = {
        JOBS "Content-Length: 0\r\nContent-Length: 38\r\n\r\n" NEXT,
        JOBS "Content-Length: 38\r\nContent-Length: 38\r\n\r\n" NEXT,
        JOBS "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" NEXT,
        JOBS "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\n{}\r\n0\r\n\r\n" NEXT,
        JOBS "Content-Length : 38\r\n\r\n" NEXT,
        JOBS "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" NEXT,
        JOBS "Transfer-Encoding: gzip\r\n\r\n" NEXT,
        JOBS "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" NEXT,
        JOBS "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT,
        "POST /v1/fine_tuning/jobs HTTP/1.0\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT,
        "GET /healthz HTTP/1.1\r\n\r\n" NEXT,
        "GET /healthz HTTP/1.1\r\n" HOST HOST "\r\n" NEXT,
        "GET /healthz HTTP/1.1\r\n" HOST "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n" NEXT,
        "GET /healthz HTTP/1.1\r\n" HOST "X Y: z\r\n\r\n" NEXT,
        "GET /healthz HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n" NEXT,
    };
    struct answer a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        framing_refused(*state, bad[i]);
    }
    talk(*state, bad[0], &a);
    rig_is_refusal(&a, 400, "bad_framing");
    assert_string_equal(rig_header(&a, "connection"), "close");
    rig_free(&a);
    framing_refused(*state, JOBS "Content-Length: +2\r\n\r\n{}" NEXT); /* by the library itself */
}

static void paths_that_are_not_plain_are_refused(void **state)
{
    static const char *const bad[] = {"/v1/files/%00",
                                      "/healthz%00",
                                      "/v1/files/..%2f..%2fetc%2fpasswd/content",
                                      "/v1/files/%2e%2e%2f%2e%2e/content",
                                      "/v1/files/%2e%2e/files",
                                      "/../../etc/passwd",
                                      "//etc/passwd",
                                      "/v1//files",
                                      "/v1/files/",
                                      "/v1/files\\x",
                                      "/v1/files/%5c",
                                      "/healthz#x",
                                      "/healthz%",
                                      "http://localhost/healthz",
                                      "*",
                                      "/heal thz"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer a;
        rig_get(*state, bad[i], &a);
        if (a.status != 400) {
            fail_msg("%s -> %s", bad[i], a.raw.data);
        }
        rig_is_refusal(&a, 400, "bad_framing");
        rig_free(&a);
    }
}

static void ids_have_a_strict_form(void **state)
{
    static const char *const bad[] = {"/v1/files/x",
                                      "/v1/files/FILE-1",
                                      "/v1/files/file-",
                                      "/v1/files/file-1.jsonl",
                                      "/v1/files/file-1%20",
                                      "/v1/files/file-%c3%a9",
                                      "/v1/files/-1",
                                      "/v1/files/file-01234567890123456789012345678901234567890",
                                      "/v1/files/file-1/contents",
                                      "/V1/files",
                                      "/v1/Files",
                                      "/v1",
                                      "/",
                                      "/v1/fine_tuning/jobs/best"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer a;
        rig_get(*state, bad[i], &a);
        rig_is_refusal(&a, 404, "not_found");
        rig_free(&a);
    }
}

static void a_wrong_method_is_told_the_right_ones(void **state)
{
    struct answer a;
    rig_ask(*state, "PUT", "/v1/fine_tuning/jobs", "Content-Type: application/json\r\n", "{}", &a);
    rig_is_refusal(&a, 405, "method_not_allowed");
    assert_string_equal(rig_header(&a, "allow"), "POST, GET, HEAD");
    rig_free(&a);
    rig_ask(*state, "OPTIONS", "/healthz", "", NULL, &a);
    rig_is_refusal(&a, 405, "method_not_allowed");
    assert_string_equal(rig_header(&a, "allow"), "GET, HEAD");
    rig_free(&a);
    rig_ask(*state, "get", "/healthz", "", NULL, &a);
    rig_is_refusal(&a, 405, "method_not_allowed");
    rig_free(&a);
    rig_ask(*state, "PATCH", "/v1/nothing", "", NULL, &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
}

static void head_is_get_without_a_body(void **state)
{
    struct rig *rig = *state;
    static const char head[] = "HEAD /v1/methods HTTP/1.1\r\n" HOST "\r\n";
    int fd = rig_connect(rig);
    struct answer a;
    rig_send(fd, head, sizeof head - 1);
    rig_read_head(fd, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n_body, 0);
    assert_true(rig_header(&a, "content-length")[0] > '0');
    rig_free(&a);
    rig_send(fd, NEXT, sizeof NEXT - 1); /* the connection is in step */
    rig_read(fd, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    (void)close(fd);
}

static void only_loopback_names_are_answered(void **state)
{
    static const char *const bad[] = {"evil.example",     "localhost.evil.example",
                                      "127.0.0.1.nip.io", "10.0.0.1",
                                      "127.0.0.1:x",      ""};
    struct answer a;
    char text[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        talk(*state, text, &a);
        rig_is_refusal(&a, 400, "bad_framing");
        assert_int_equal(a.is_closed, 1);
        rig_free(&a);
    }
    talk(*state, "GET /healthz HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
}

static void pages_of_other_origins_are_refused(void **state)
{
    struct rig *rig = *state;
    struct answer a;
    char own[80];
    rig_ask(rig, "GET", "/healthz", "Origin: http://evil.example\r\n", NULL, &a);
    rig_is_refusal(&a, 403, "forbidden");
    rig_free(&a);
    rig_ask(rig, "POST", "/v1/files", "Origin: null\r\nContent-Type: text/plain\r\n", "x", &a);
    rig_is_refusal(&a, 403, "forbidden");
    rig_free(&a);
    (void)snprintf(own, sizeof own, "Origin: http://localhost:%u\r\n", gdfo_http_port(rig->http));
    rig_ask(rig, "GET", "/healthz", own, NULL, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
}

static void configured_names_are_answered_too(void **state)
{
    struct gdfo_http_config cfg = gdfo_http_config_default();
    struct rig *rig;
    struct answer a;
    (void)state;
    cfg.hosts = "tune.example";
    rig = rig_start_with(&cfg);
    talk(rig, "GET /healthz HTTP/1.1\r\nHost: tune.example\r\nConnection: close\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    rig_end(rig);
}

/* A target of n bytes in all, path and query. */
static void ask_long_target(struct rig *rig, size_t n, struct answer *a)
{
    static char path[6000];
    memset(path, 'a', n);
    memcpy(path, "/healthz?x=", 11);
    path[n] = '\0';
    rig_get(rig, path, a);
}

static void a_request_line_has_4_kib_and_no_more(void **state)
{
    struct answer a;
    size_t most = 4096 - strlen("GET  HTTP/1.1\r\n");
    ask_long_target(*state, most, &a);
    rig_is_refusal(&a, 400, "unknown_field"); /* that far it was read */
    rig_free(&a);
    ask_long_target(*state, most + 1, &a);
    rig_is_refusal(&a, 414, "uri_too_long");
    assert_int_equal(a.is_closed, 1);
    rig_free(&a);
}

static void a_path_of_70_kb_is_refused_by_the_library(void **state)
{
    struct answer a;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "GET /");
    for (int i = 0; i < 70000; i++) {
        gdfo_buf_addc(&b, 'a');
    }
    gdfo_buf_add(&b, " HTTP/1.1\r\n" HOST "\r\n");
    rig_talk(*state, b.data, b.len, &a);
    assert_int_equal(a.is_closed, 1);
    assert_in_range(a.status, 400, 499);
    rig_free(&a);
    gdfo_buf_deinit(&b);
}

static void ask_long_headers(struct rig *rig, size_t n, struct answer *a)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    while (b.len + 100 < n) {
        gdfo_buf_addf(&b, "X-%04zu: %088d\r\n", b.len, 0);
    }
    rig_ask(rig, "GET", "/healthz", b.data, NULL, a);
    gdfo_buf_deinit(&b);
}

static void headers_have_16_kib_and_no_more(void **state)
{
    struct answer a;
    ask_long_headers(*state, 16000, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    ask_long_headers(*state, 17000, &a);
    rig_is_refusal(&a, 431, "headers_too_large");
    assert_int_equal(a.is_closed, 1);
    rig_free(&a);
}

static void a_huge_body_is_refused_unread(void **state)
{
    struct answer a;
    talk(*state, JOBS "Content-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n",
         &a);
    rig_is_refusal(&a, 413, "body_too_large");
    assert_int_equal(a.is_closed, 1);
    rig_free(&a);
    talk(*state,
         JOBS "Content-Type: application/json\r\nContent-Length: 1048577\r\n"
              "Expect: 100-continue\r\n\r\n",
         &a);
    rig_is_refusal(&a, 413, "body_too_large"); /* and no "100 Continue" before it */
    rig_free(&a);
}

static void expect_100_is_answered_when_the_body_is_wanted(void **state)
{
    struct rig *rig = *state;
    static const char head[] = "POST /v1/predict HTTP/1.1\r\n" HOST
                               "Content-Type: application/json\r\nContent-Length: 2\r\n"
                               "Expect: 100-continue\r\nConnection: close\r\n\r\n";
    int fd = rig_connect(rig);
    struct answer a;
    rig_send(fd, head, sizeof head - 1);
    rig_read_head(fd, &a);
    assert_int_equal(a.status, 100);
    rig_free(&a);
    rig_send(fd, "{}", 2);
    rig_read_all(fd, &a);
    rig_is_refusal(&a, 400, "missing_field");
    rig_free(&a);
    (void)close(fd);
}

/* A JSON body of n bytes, sent in chunks. */
static void send_chunked(struct rig *rig, size_t n, struct answer *a)
{
    static const char head[] =
        "POST /v1/predict HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char blanks[16384];
    char size[32];
    int fd = rig_connect(rig);
    memset(blanks, ' ', sizeof blanks);
    rig_send(fd, head, sizeof head - 1);
    rig_send(fd, "2\r\n{}\r\n", 7);
    for (size_t sent = 2; sent < n;) {
        size_t k = n - sent < sizeof blanks ? n - sent : sizeof blanks;
        int len = snprintf(size, sizeof size, "%zx\r\n", k);
        rig_send(fd, size, (size_t)len);
        rig_send(fd, blanks, k);
        rig_send(fd, "\r\n", 2);
        sent += k;
    }
    rig_send(fd, "0\r\n\r\n", 5);
    rig_read_all(fd, a);
    (void)close(fd);
}

static void chunks_are_counted_as_they_come(void **state)
{
    struct answer a;
    send_chunked(*state, 1 << 20, &a);
    rig_is_refusal(&a, 400, "missing_field"); /* that much was read */
    rig_free(&a);
    send_chunked(*state, (1 << 20) + 1, &a);
    rig_is_refusal(&a, 413, "body_too_large");
    rig_free(&a);
    send_chunked(*state, 8 << 20, &a); /* endless: cut */
    assert_int_equal(a.is_closed, 1);
    assert_int_equal(a.status, 0);
    rig_free(&a);
}

static void a_body_wants_its_content_type(void **state)
{
    static const char *const bad[] = {"", "Content-Type: text/plain\r\n",
                                      "Content-Type: application/jsonp\r\n",
                                      "Content-Type: application/x-www-form-urlencoded\r\n",
                                      "Content-Type: multipart/form-data; boundary=x\r\n"};
    struct answer a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig_ask(*state, "POST", "/v1/predict", bad[i], "{}", &a);
        rig_is_refusal(&a, 415, "unsupported_media_type");
        rig_free(&a);
    }
    rig_ask(*state, "POST", "/v1/predict", "Content-Type: Application/JSON;charset=utf-8\r\n", "{}",
            &a);
    rig_is_refusal(&a, 400, "missing_field");
    rig_free(&a);
    rig_ask(*state, "POST", "/v1/files", "Content-Type: application/json\r\n", "{}", &a);
    rig_is_refusal(&a, 415, "unsupported_media_type");
    rig_free(&a);
}

static void a_get_takes_no_body(void **state)
{
    struct answer a;
    rig_ask(*state, "GET", "/healthz", "", "{}", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
    rig_ask(*state, "GET", "/healthz", "", "", &a); /* an announced zero is none */
    assert_int_equal(a.status, 200);
    rig_free(&a);
}

static void json_is_strict_before_any_look_up(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"model\":\"m\"} x",
                                      "{\"seed\":007}",
                                      "{\"model\":\"a\",\"model\":\"b\"}",
                                      "{\"model\":\"a\nb\"}",
                                      "{\"model\":\"\\u0000\"}",
                                      "{\"model\":\"\xff\"}",
                                      "nul"};
    struct answer a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig_post(*state, "/v1/predict", bad[i], &a);
        rig_is_refusal(&a, 400, "invalid_json");
        rig_free(&a);
    }
    rig_post(*state, "/v1/predict", "[]", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
}

static void unknown_query_parameters_are_refused_together(void **state)
{
    struct answer a;
    rig_get(*state, "/v1/fine_tuning/jobs?limt=2&aftr=x&limit=1", &a);
    rig_is_refusal(&a, 400, "unknown_field");
    assert_int_equal(gdfo_json_size(rig_at(&a, "errors")), 2);
    assert_string_equal(rig_text(&a, "errors.0.pointer"), "/limt");
    assert_string_equal(rig_text(&a, "error.param"), "limt");
    rig_free(&a);
    rig_get(*state, "/v1/fine_tuning/jobs?metadata%5Bteam%5D=x", &a);
    rig_is_refusal(&a, 422, "not_supported");
    rig_free(&a);
}

static void a_port_in_use_is_named(void **state)
{
    struct rig *rig = *state;
    struct gdfo_http_config cfg = gdfo_http_config_default();
    struct gdfo_http *second = NULL;
    struct gdfo_error err = {0};
    char want[64];
    cfg.port = gdfo_http_port(rig->http);
    assert_int_equal(gdfo_http_start(&second, &cfg, &rig->deps, &err), GDFO_STATUS_BUSY);
    (void)snprintf(want, sizeof want, "127.0.0.1:%u is in use", cfg.port);
    assert_non_null(strstr(err.text, want));
    assert_null(second);
}

static void only_loopback_is_served_without_tokens(void **state)
{
    static const char *const bad[] = {"0.0.0.0", "::", "192.0.2.1"};
    struct rig *rig = *state;
    struct gdfo_http_config cfg = gdfo_http_config_default();
    struct gdfo_http *h = NULL;
    struct gdfo_error err = {0};
    cfg.port = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cfg.bind = bad[i];
        assert_int_equal(gdfo_http_start(&h, &cfg, &rig->deps, &err), GDFO_STATUS_UNSUPPORTED);
    }
    cfg.bind = "example.com";
    assert_int_equal(gdfo_http_start(&h, &cfg, &rig->deps, &err), GDFO_STATUS_INVALID);
}

static void a_quiet_edge_takes_no_new_connection(void **state)
{
    struct rig *rig = *state;
    int fd = rig_connect(rig);
    struct answer a;
    rig_send(fd, NEXT, sizeof NEXT - 1);
    rig_read(fd, &a);
    rig_free(&a);
    gdfo_http_quiesce(rig->http);
    rig_send(fd, NEXT, sizeof NEXT - 1); /* what is open goes on */
    rig_read(fd, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    (void)close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(healthz_answers_with_the_headers_of_every_answer),
        CASE(each_request_has_an_id_of_its_own),
        CASE(a_connection_serves_many_requests),
        CASE(two_requests_in_one_write_get_two_answers),
        CASE(ambiguous_framing_is_refused_and_closed),
        CASE(paths_that_are_not_plain_are_refused),
        CASE(ids_have_a_strict_form),
        CASE(a_wrong_method_is_told_the_right_ones),
        CASE(head_is_get_without_a_body),
        CASE(only_loopback_names_are_answered),
        CASE(pages_of_other_origins_are_refused),
        cmocka_unit_test(configured_names_are_answered_too),
        CASE(a_request_line_has_4_kib_and_no_more),
        CASE(a_path_of_70_kb_is_refused_by_the_library),
        CASE(headers_have_16_kib_and_no_more),
        CASE(a_huge_body_is_refused_unread),
        CASE(expect_100_is_answered_when_the_body_is_wanted),
        CASE(chunks_are_counted_as_they_come),
        CASE(a_body_wants_its_content_type),
        CASE(a_get_takes_no_body),
        CASE(json_is_strict_before_any_look_up),
        CASE(unknown_query_parameters_are_refused_together),
        CASE(a_port_in_use_is_named),
        CASE(only_loopback_is_served_without_tokens),
        CASE(a_quiet_edge_takes_no_new_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
