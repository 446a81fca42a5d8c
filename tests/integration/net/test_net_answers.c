/* What a hostile server says, one behaviour a test (service.md 8.5). */
#include "tests/integration/net/rig.h"
#include "tests/support/test.h"

#include <string.h>

#define STEPS GDFO_NET_RIG_STEPS
#define OK                                                                                         \
    {                                                                                              \
        GDFO_HOSTILE_ANSWER, GDFO_HOSTILE_OK, 0                                                    \
    }
#define SAYS(status, headers)                                                                      \
    {                                                                                              \
        GDFO_HOSTILE_ANSWER, "HTTP/1.1 " status " x\r\n" headers "Content-Length: 0\r\n\r\n", 0    \
    }

/* The judge of these tests: JSON begins with '{' and "ok" is right, '!' is wrong. */
static enum gdfo_net_verdict judge(void *ctx, const struct gdfo_net_answer *answer,
                                   struct gdfo_error *err)
{
    int *n = ctx;
    (*n)++;
    if (answer->n == 2 && memcmp(answer->body, "ok", 2) == 0) {
        return GDFO_NET_OK;
    }
    (void)gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "not what was asked for");
    return answer->n > 0 && answer->body[0] == '!' ? GDFO_NET_BAD : GDFO_NET_RETRY;
}

struct expected {
    enum gdfo_status status;
    const char *code; /* "" when all is well */
    uint32_t n_sends;
    int http_status, is_unknown;
};

static void send_one(struct gdfo_net_rig *rig, const struct expected *e, int *n_judged)
{
    struct gdfo_net_call call = gdfo_net_rig_call();
    enum gdfo_status status;
    call.judge = judge;
    call.ctx = n_judged;
    status = gdfo_net_rig_send(rig, &call);
    if (status != e->status || strcmp(rig->err.code, e->code) != 0) {
        fail_msg("%s %s: %s", gdfo_status_name(status), rig->err.code, rig->err.text);
    }
    assert_int_equal(call.n_sends, e->n_sends);
    assert_int_equal(call.http_status, e->http_status);
    assert_int_equal(call.is_unknown, e->is_unknown);
    assert_null(strstr(call.message, GDFO_NET_RIG_SECRET));
    assert_null(strstr(rig->err.text, GDFO_NET_RIG_SECRET));
    assert_int_equal(gdfo_net_rig_look(rig).n_inflight, 0);
    assert_int_equal(gdfo_net_rig_look(rig).n_waiting, 0);
}

static const struct expected well = {GDFO_STATUS_OK, "", 1, 200, 0};
static const struct expected well_at_second = {GDFO_STATUS_OK, "", 2, 200, 0};

#define RUN(e, ...)                                                                                \
    struct gdfo_net_rig *rig = *state;                                                             \
    int n_judged = 0;                                                                              \
    gdfo_net_rig_open(rig, STEPS(__VA_ARGS__));                                                    \
    send_one(rig, (e), &n_judged)

static void a_right_answer_is_taken(void **state)
{
    RUN(&well, OK);
    assert_int_equal(n_judged, 1);
}

static void the_request_is_whole(void **state)
{
    char text[8192];
    RUN(&well, OK);
    gdfo_hostile_request(rig->server, 0, text, sizeof text);
    assert_non_null(strstr(text, "POST /v1/score HTTP/1.1\r\n"));
    assert_non_null(strstr(text, "\r\nAuthorization: Bearer " GDFO_NET_RIG_SECRET "\r\n"));
    assert_non_null(strstr(text, "\r\nIdempotency-Key: gdfo-0123456789abcdef\r\n"));
    assert_non_null(strstr(text, "\r\nContent-Length: 2\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n{}"));
    assert_null(strstr(text, "Expect:"));
    assert_null(strstr(text, "Accept-Encoding"));
}

static void resends_carry_the_same_key(void **state)
{
    char text[8192];
    RUN(&well_at_second, SAYS("500", ""), OK);
    gdfo_hostile_request(rig->server, 1, text, sizeof text);
    assert_non_null(strstr(text, "\r\nIdempotency-Key: gdfo-0123456789abcdef\r\n"));
}

static void reset_in_mid_body_is_sent_again(void **state)
{
    RUN(&well_at_second,
        {GDFO_HOSTILE_RESET, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", 0}, OK);
}

static void a_body_cut_short_is_sent_again(void **state)
{
    RUN(&well_at_second,
        {GDFO_HOSTILE_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", 0}, OK);
}

static void html_with_200_is_sent_again(void **state)
{
    RUN(&well_at_second,
        {GDFO_HOSTILE_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", 0}, OK);
    assert_int_equal(n_judged, 2);
}

static void no_http_at_all_is_sent_again(void **state)
{
    RUN(&well_at_second, {GDFO_HOSTILE_CLOSE, "SSH-2.0-x\r\n", 0}, OK);
}

static void silence_ends_unknown(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_down", 3, 0, 1};
    RUN(&e, {GDFO_HOSTILE_CLOSE, NULL, 0});
    assert_int_equal(n_judged, 0);
}

static void a_hang_is_cut_by_the_timeout(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_down", 1, 0, 1};
    ((struct gdfo_net_rig *)*state)->spec.timeout_ms = 1000;
    ((struct gdfo_net_rig *)*state)->spec.max_sends = 1;
    RUN(&e, {GDFO_HOSTILE_HANG, NULL, 0});
    assert_int_equal(gdfo_net_rig_look(rig).max_inflight_now, 4); /* halved */
}

static void dripping_is_cut_by_its_timer(void **state)
{
    ((struct gdfo_net_rig *)*state)->spec.drip_ms = 100;
    RUN(&well_at_second, {GDFO_HOSTILE_DRIP, "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", 0},
        OK);
}

static void one_byte_then_nothing_is_cut(void **state)
{
    ((struct gdfo_net_rig *)*state)->spec.drip_ms = 100;
    RUN(&well_at_second, {GDFO_HOSTILE_HANG, "HTTP/1.1 200 OK\r\n", 0}, OK);
}

static void a_flood_is_cut_at_the_ceiling(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 2, 200, 0};
    RUN(&e, {GDFO_HOSTILE_FLOOD, "HTTP/1.1 200 OK\r\n\r\n", 0});
    assert_int_equal(n_judged, 0);
}

static void a_flood_of_headers_is_cut(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_down", 3, 200, 1};
    RUN(&e, {GDFO_HOSTILE_FLOOD, "HTTP/1.1 200 OK\r\nx: ", 0});
}

/* The bomb's bytes pass as they are: nobody asked for an encoding, nobody unpacks it. */
static void an_encoded_body_stays_opaque(void **state)
{
    static const char bomb[] =
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n!\x1f\x8b\x08";
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 2, 200, 0};
    RUN(&e, {GDFO_HOSTILE_ANSWER, bomb, sizeof bomb - 1});
    assert_int_equal(n_judged, 2); /* of 4 bytes: BAD twice */
}

static void redirects_are_not_followed(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_rejected", 1, 302, 0};
    RUN(&e, SAYS("302", "Location: http://127.0.0.1:1/\r\n"), OK);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 1);
}

static void refusals_are_final(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_rejected", 1, 413, 0};
    RUN(&e, SAYS("413", ""), OK);
}

static void a_bad_key_waits_for_a_person(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 1, 401, 0};
    RUN(&e, SAYS("401", ""), OK);
}

static void a_refusal_with_a_broken_body_counts(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 1, 401, 0};
    RUN(&e, {GDFO_HOSTILE_RESET, "HTTP/1.1 401 x\r\nContent-Length: 50\r\n\r\n", 0}, OK);
}

static void an_empty_account_waits_for_a_person(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 1, 429, 0};
    RUN(&e, {GDFO_HOSTILE_ANSWER,
             "HTTP/1.1 429 x\r\nContent-Length: "
             "39\r\n\r\n{\"error\":{\"code\":\"insufficient_quota\"}}",
             0});
    assert_non_null(strstr(rig->err.text, "insufficient_quota"));
}

static void a_key_in_the_answer_is_not_repeated(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 1, 401, 0};
    RUN(&e, {GDFO_HOSTILE_CLOSE,
             "HTTP/1.1 401 x\r\n\r\n{\"error\":{\"code\":\"" GDFO_NET_RIG_SECRET "\"}}", 0});
    assert_non_null(strstr(rig->err.text, "withheld"));
}

static void wrong_answers_get_one_more_chance(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_refused", 2, 200, 0};
    RUN(&e, {GDFO_HOSTILE_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", 0});
    assert_int_equal(n_judged, 2);
}

static void spent_sends_end_in_teacher_down(void **state)
{
    static const struct expected e = {GDFO_STATUS_UPSTREAM, "teacher_down", 3, 502, 0};
    RUN(&e, SAYS("502", ""));
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 3);
}

static enum gdfo_net_verdict judge_404(void *ctx, const struct gdfo_net_answer *answer,
                                       struct gdfo_error *err)
{
    (void)ctx;
    (void)err;
    return answer->status == 404 ? GDFO_NET_OK : GDFO_NET_FATAL;
}

static void a_probe_may_judge_refusals(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    call.method = "GET";
    call.judge = judge_404;
    call.judges_all = 1;
    gdfo_net_rig_open(rig, STEPS(SAYS("404", "")));
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    assert_int_equal(call.http_status, 404);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, gdfo_net_rig_setup, gdfo_net_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_right_answer_is_taken),
        TEST(the_request_is_whole),
        TEST(resends_carry_the_same_key),
        TEST(reset_in_mid_body_is_sent_again),
        TEST(a_body_cut_short_is_sent_again),
        TEST(html_with_200_is_sent_again),
        TEST(no_http_at_all_is_sent_again),
        TEST(silence_ends_unknown),
        TEST(a_hang_is_cut_by_the_timeout),
        TEST(dripping_is_cut_by_its_timer),
        TEST(one_byte_then_nothing_is_cut),
        TEST(a_flood_is_cut_at_the_ceiling),
        TEST(a_flood_of_headers_is_cut),
        TEST(an_encoded_body_stays_opaque),
        TEST(redirects_are_not_followed),
        TEST(refusals_are_final),
        TEST(a_bad_key_waits_for_a_person),
        TEST(a_refusal_with_a_broken_body_counts),
        TEST(an_empty_account_waits_for_a_person),
        TEST(a_key_in_the_answer_is_not_repeated),
        TEST(wrong_answers_get_one_more_chance),
        TEST(spent_sends_end_in_teacher_down),
        TEST(a_probe_may_judge_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
