/* Throttling, breaker, cancelling, and batches of calls. */
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
#define N_MANY 40

static void throttled(struct gdfo_net_rig *rig, int64_t wait_least, int64_t wait_most)
{
    struct gdfo_net_call call = gdfo_net_rig_call();
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.verdict, GDFO_NET_THROTTLE);
    assert_in_range(call.wait_ms, wait_least, wait_most);
    (void)atomic_fetch_add(&rig->ahead_ms, 700000); /* past any pause */
}

static void every_spelling_of_a_wait_is_read(void **state)
{
    struct gdfo_net_rig *rig = *state;
    rig->spec.max_sends = 1;
    gdfo_net_rig_open(
        rig,
        STEPS(SAYS("429", "Retry-After: 7\r\n"), SAYS("503", "retry-after-ms: 250\r\n"),
              SAYS("529", "Retry-After: Wed, 01 Jan 2120 00:00:00 GMT\r\n"),
              SAYS("429", "Retry-After: Thu, 01 Jan 1970 00:00:10 GMT\r\n"),
              SAYS("429", "Retry-After: 31536000\r\n"), SAYS("429", "Retry-After: -5\r\n"),
              SAYS("429", "Retry-After: soon\r\n"),
              SAYS("429", "x-ratelimit-reset-requests: 6m0s\r\nx-ratelimit-reset-tokens: 20ms\r\n"),
              SAYS("429", "")));
    throttled(rig, 7000, 7000);
    throttled(rig, 250, 250);
    throttled(rig, 600000, 600000);
    throttled(rig, 0, 0);
    throttled(rig, 600000, 600000);
    throttled(rig, 0, 0);
    throttled(rig, 0, 0);
    throttled(rig, 360000, 360000);
    throttled(rig, 0, 0);
}

static void a_throttle_pauses_all_calls_and_halves(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    struct gdfo_net_peer_state s;
    rig->spec.max_sends = 1;
    gdfo_net_rig_open(rig, STEPS(SAYS("429", "Retry-After: 500\r\n"), OK));
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    s = gdfo_net_rig_look(rig);
    assert_in_range(s.throttled_ms, 400000, 500000);
    assert_int_equal(s.max_inflight_now, 4);
    assert_int_equal(s.breaker_is_open, 0);
    gdfo_test_ok(gdfo_net_rig_send_leaping(rig, &call), &rig->err);
    assert_true(atomic_load(&rig->ahead_ms) >= 400000); /* it did wait */
}

static void a_throttled_call_goes_again_after_its_wait(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    gdfo_net_rig_open(rig, STEPS(SAYS("529", "Retry-After: 100\r\n"), OK));
    gdfo_test_ok(gdfo_net_rig_send_leaping(rig, &call), &rig->err);
    assert_int_equal(call.n_sends, 2);
    assert_true(atomic_load(&rig->ahead_ms) >= 60000);
}

static void five_failures_open_the_breaker_and_a_probe_closes_it(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    rig->spec.max_sends = 10;
    gdfo_net_rig_open(rig, STEPS(SAYS("500", ""), SAYS("500", ""), SAYS("500", ""), SAYS("500", ""),
                                 SAYS("500", ""), SAYS("502", ""), OK));
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.n_sends, 5);
    assert_int_equal(gdfo_net_rig_look(rig).breaker_is_open, 1);
    /* open: nothing leaves */
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.n_sends, 0);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 5);
    /* a probe that fails opens it again */
    (void)atomic_fetch_add(&rig->ahead_ms, 31000);
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_int_equal(call.n_sends, 1);
    assert_int_equal(gdfo_net_rig_look(rig).breaker_is_open, 1);
    (void)atomic_fetch_add(&rig->ahead_ms, 31000);
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    assert_int_equal(gdfo_net_rig_look(rig).breaker_is_open, 0);
}

static void an_open_breaker_can_be_waited_out(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    rig->spec.max_sends = 10;
    rig->spec.breaker_failures = 2;
    gdfo_net_rig_open(rig, STEPS(SAYS("500", ""), SAYS("500", ""), OK));
    gdfo_test_ok(gdfo_net_rig_send_leaping(rig, &call), &rig->err);
    assert_int_equal(call.n_sends, 3);
    assert_int_equal(gdfo_net_rig_look(rig).breaker_is_open, 0);
}

static int cancel_when_it_has_come(void *ctx)
{
    struct gdfo_net_rig *rig = ctx;
    return gdfo_hostile_n_requests(rig->server) > 0;
}

static void cancelling_ends_what_flies_and_what_waits(void **state)
{
    struct gdfo_net_rig *rig = *state;
    const struct gdfo_net_control control = {cancel_when_it_has_come, rig, 0};
    struct gdfo_net_call calls[N_MANY];
    for (size_t i = 0; i < N_MANY; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->spec.max_inflight = 1;
    gdfo_net_rig_open(rig, STEPS({GDFO_HOSTILE_HANG, NULL, 0}));
    assert_int_equal(gdfo_net_send(rig->peer, calls, N_MANY, &control, &rig->err),
                     GDFO_STATUS_CANCELLED);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 1);
    for (size_t i = 0; i < N_MANY; i++) {
        assert_int_equal(calls[i].status, GDFO_STATUS_CANCELLED);
        assert_int_equal(calls[i].n_sends, i == 0);
        assert_int_equal(calls[i].is_unknown, i == 0);
    }
    assert_int_equal(gdfo_net_rig_look(rig).n_inflight, 0);
    assert_int_equal(gdfo_net_rig_look(rig).n_waiting, 0);
}

static int cancel_at_once(void *ctx)
{
    (void)ctx;
    return 1;
}

static void cancelling_ends_a_long_wait(void **state)
{
    struct gdfo_net_rig *rig = *state;
    const struct gdfo_net_control control = {cancel_at_once, NULL, 0};
    struct gdfo_net_call call = gdfo_net_rig_call();
    rig->spec.max_sends = 1;
    gdfo_net_rig_open(rig, STEPS(SAYS("429", "Retry-After: 600\r\n"), OK));
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_int_equal(gdfo_net_send(rig->peer, &call, 1, &control, &rig->err),
                     GDFO_STATUS_CANCELLED);
    assert_int_equal(call.n_sends, 0);
    assert_int_equal(call.is_unknown, 0);
}

static void a_bad_end_stops_what_was_not_sent(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call calls[N_MANY];
    for (size_t i = 0; i < N_MANY; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->spec.max_inflight = 1;
    gdfo_net_rig_open(rig, STEPS(OK, SAYS("401", ""), OK));
    assert_int_equal(gdfo_net_send(rig->peer, calls, N_MANY, NULL, &rig->err),
                     GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_refused");
    assert_int_equal(calls[0].status, GDFO_STATUS_OK);
    assert_int_equal(calls[1].status, GDFO_STATUS_UPSTREAM);
    for (size_t i = 2; i < N_MANY; i++) {
        assert_int_equal(calls[i].status, GDFO_STATUS_CANCELLED);
        assert_int_equal(calls[i].n_sends, 0);
    }
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 2);
}

static void many_calls_share_few_connections(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call calls[N_MANY];
    for (size_t i = 0; i < N_MANY; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->spec.max_inflight = 4;
    gdfo_net_rig_open(rig, STEPS(OK));
    gdfo_test_ok(gdfo_net_send(rig->peer, calls, N_MANY, NULL, &rig->err), &rig->err);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), N_MANY);
    assert_in_range(gdfo_hostile_n_connections(rig->server), 1, 4);
    assert_int_equal(gdfo_net_rig_look(rig).n_ok, N_MANY);
}

static void the_net_s_own_ceiling_holds_too(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call calls[N_MANY];
    for (size_t i = 0; i < N_MANY; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->setup.max_connections = 2;
    gdfo_net_rig_open(rig, STEPS(OK));
    gdfo_test_ok(gdfo_net_send(rig->peer, calls, N_MANY, NULL, &rig->err), &rig->err);
    assert_in_range(gdfo_hostile_n_connections(rig->server), 1, 2);
}

static void more_than_may_wait_is_refused(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call calls[2] = {gdfo_net_rig_call(), gdfo_net_rig_call()};
    rig->setup.max_pending = 1;
    gdfo_net_rig_open(rig, STEPS(OK));
    assert_int_equal(gdfo_net_send(rig->peer, calls, 2, NULL, &rig->err), GDFO_STATUS_LIMIT);
    gdfo_test_ok(gdfo_net_send(rig->peer, calls, 1, NULL, &rig->err), &rig->err);
}

static void broken_calls_are_refused_before_they_leave(void **state)
{
    static const char *const headers[] = {"x: a\r\nHost: b", "Host: b",   "authorization: c",
                                          "no-colon",        "x:nospace", "x: \x80"};
    static const char *const paths[] = {"v1", "/a b", "/a#b", "/a\\b", "/\n"};
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    gdfo_net_rig_open(rig, STEPS(OK));
    call.n_headers = 1;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        call.headers = &headers[i];
        assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_INVALID);
    }
    call.n_headers = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        call.path = paths[i];
        assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_INVALID);
    }
    call = gdfo_net_rig_call();
    call.method = "DELETE";
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_INVALID);
    call = gdfo_net_rig_call();
    call.answer_max = 0;
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_INVALID);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, gdfo_net_rig_setup, gdfo_net_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_spelling_of_a_wait_is_read),
        TEST(a_throttle_pauses_all_calls_and_halves),
        TEST(a_throttled_call_goes_again_after_its_wait),
        TEST(five_failures_open_the_breaker_and_a_probe_closes_it),
        TEST(an_open_breaker_can_be_waited_out),
        TEST(cancelling_ends_what_flies_and_what_waits),
        TEST(cancelling_ends_a_long_wait),
        TEST(a_bad_end_stops_what_was_not_sent),
        TEST(many_calls_share_few_connections),
        TEST(the_net_s_own_ceiling_holds_too),
        TEST(more_than_may_wait_is_refused),
        TEST(broken_calls_are_refused_before_they_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
