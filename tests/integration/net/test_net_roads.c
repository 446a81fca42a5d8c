/* Connections, replicas, and addresses that must not be reached. */
#include "server/net/net_priv.h"
#include "tests/integration/net/rig.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEPS GDFO_NET_RIG_STEPS
#define OK                                                                                         \
    {                                                                                              \
        GDFO_HOSTILE_ANSWER, GDFO_HOSTILE_OK, 0                                                    \
    }

static void connections_are_kept(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    gdfo_net_rig_open(rig, STEPS(OK));
    for (int i = 0; i < 10; i++) {
        gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    }
    assert_int_equal(gdfo_hostile_n_connections(rig->server), 1);
    assert_int_equal(gdfo_net_rig_look(rig).n_new_connections, 1);
    assert_int_equal(gdfo_net_rig_look(rig).n_sent, 10);
}

static void kept_connection_dies(struct gdfo_net_rig *rig, enum gdfo_hostile_act how)
{
    struct gdfo_net_call call = gdfo_net_rig_call();
    const struct gdfo_hostile_step steps[] = {OK, {how, NULL, 0}, OK};
    rig->spec.max_sends = 1; /* so that the resend is seen to lie outside the count */
    gdfo_net_rig_open(rig, steps, 3);
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    assert_int_equal(call.n_sends, 2);
    assert_int_equal(gdfo_hostile_n_connections(rig->server), 2);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 3);
}

static void a_kept_connection_that_ends_costs_no_send(void **state)
{
    kept_connection_dies(*state, GDFO_HOSTILE_CLOSE);
}

static void a_kept_connection_that_is_reset_costs_no_send(void **state)
{
    kept_connection_dies(*state, GDFO_HOSTILE_RESET);
}

static void the_resend_is_one(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    rig->spec.max_sends = 1;
    gdfo_net_rig_open(rig, STEPS(OK, {GDFO_HOSTILE_CLOSE, NULL, 0}));
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.n_sends, 2);
    assert_int_equal(call.is_unknown, 1);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 3);
}

static void the_resend_is_one_however_many_are_kept(void **state)
{
    struct gdfo_net_rig *rig = *state;
    const struct gdfo_hostile_step four = {GDFO_HOSTILE_GATHER, NULL, 4};
    const struct gdfo_hostile_step steps[] = {
        four, four, four, four, {GDFO_HOSTILE_CLOSE, NULL, 0}};
    struct gdfo_net_call calls[4];
    for (size_t i = 0; i < 4; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->spec.max_sends = 1;
    gdfo_net_rig_open(rig, steps, 5);
    gdfo_test_ok(gdfo_net_send(rig->peer, calls, 4, NULL, &rig->err), &rig->err);
    assert_int_equal(gdfo_hostile_n_connections(rig->server), 4);
    assert_int_equal(gdfo_net_rig_send(rig, &calls[0]), GDFO_STATUS_UPSTREAM);
    assert_int_equal(calls[0].n_sends, 2);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 6);
}

static void refused_connections_send_nothing(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    unsigned port;
    char url[64];
    int fd = gdfo_hostile_reserve(&port);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    rig->urls[0] = url;
    gdfo_net_rig_open(rig, STEPS(OK));
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.n_sends, 0);
    assert_int_equal(call.is_unknown, 0);
    (void)close(fd);
}

static void a_server_without_tls_gets_nothing(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    unsigned port;
    char url[64];
    static const struct gdfo_hostile_step steps[] = {{GDFO_HOSTILE_ANSWER, GDFO_HOSTILE_OK, 0}};
    int fd = gdfo_hostile_reserve(&port);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%u", port);
    rig->urls[0] = url;
    rig->server = gdfo_hostile_start_at(fd, steps, 1);
    rig->spec.timeout_ms = 1000; /* the server takes the handshake for half a request, and waits */
    rig->spec.max_sends = 1;
    gdfo_test_ok(gdfo_net_create(&rig->net, &rig->setup, &rig->err), &rig->err);
    gdfo_test_ok(gdfo_net_peer_open(&rig->peer, rig->net, &rig->spec, &rig->err), &rig->err);
    assert_int_equal(gdfo_net_rig_send(rig, &call), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_down");
    assert_int_equal(call.n_sends, 0);
    assert_int_equal(call.verdict, GDFO_NET_RETRY);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 0);
}

/* Two replicas: the first refuses connections until it is started. */
static int open_two(struct gdfo_net_rig *rig, char *url, size_t cap)
{
    static const struct gdfo_hostile_step ok = OK;
    unsigned port;
    int fd = gdfo_hostile_reserve(&port);
    (void)snprintf(url, cap, "http://127.0.0.1:%u", port);
    rig->server = gdfo_hostile_start(&ok, 1);
    rig->urls[0] = url;
    rig->urls[1] = gdfo_hostile_url(rig->server);
    rig->spec.n_base_urls = 2;
    gdfo_test_ok(gdfo_net_create(&rig->net, &rig->setup, &rig->err), &rig->err);
    gdfo_test_ok(gdfo_net_peer_open(&rig->peer, rig->net, &rig->spec, &rig->err), &rig->err);
    return fd;
}

static void send_ten(struct gdfo_net_rig *rig)
{
    struct gdfo_net_call calls[10];
    for (size_t i = 0; i < 10; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    gdfo_test_ok(gdfo_net_send(rig->peer, calls, 10, NULL, &rig->err), &rig->err);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(calls[i].n_sends, 1);
    }
}

static void a_replica_that_is_down_costs_no_send(void **state)
{
    struct gdfo_net_rig *rig = *state;
    char url[64];
    int fd;
    rig->spec.max_sends = 1;
    fd = open_two(rig, url, sizeof url);
    send_ten(rig);
    assert_int_equal(gdfo_net_rig_look(rig).n_replicas_up, 1);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), 10);
    (void)atomic_fetch_add(&rig->ahead_ms, 31000); /* a call probes it, fails, goes on */
    send_ten(rig);
    assert_int_equal(gdfo_net_rig_look(rig).n_replicas_up, 1);
    assert_int_equal(gdfo_net_rig_look(rig).breaker_is_open, 0);
    (void)close(fd);
}

static void a_call_brings_a_replica_back(void **state)
{
    static const struct gdfo_hostile_step ok = OK;
    struct gdfo_net_rig *rig = *state;
    struct gdfo_hostile *second;
    char url[64];
    int fd = open_two(rig, url, sizeof url);
    send_ten(rig);
    second = gdfo_hostile_start_at(fd, &ok, 1);
    send_ten(rig);
    assert_int_equal(gdfo_hostile_n_connections(second), 0); /* it is out until its time */
    (void)atomic_fetch_add(&rig->ahead_ms, 31000);
    send_ten(rig);
    assert_int_equal(gdfo_net_rig_look(rig).n_replicas_up, 2);
    assert_true(gdfo_hostile_n_requests(second) >= 1);
    gdfo_hostile_stop(second);
}

static void the_health_path_brings_a_replica_back(void **state)
{
    static const struct gdfo_hostile_step ok = OK;
    struct gdfo_net_rig *rig = *state;
    struct gdfo_hostile *second;
    char text[8192];
    char url[64];
    int fd;
    rig->spec.health_path = "/health";
    fd = open_two(rig, url, sizeof url);
    send_ten(rig);
    second = gdfo_hostile_start_at(fd, &ok, 1);
    (void)atomic_fetch_add(&rig->ahead_ms, 31000);
    while (gdfo_net_rig_look(rig).n_replicas_up < 2) { /* ctest's limit ends it if it never is */
        GDFO_IGNORE(gdfo_clk_sleep(1, NULL));
    }
    gdfo_hostile_request(second, 0, text, sizeof text);
    assert_non_null(strstr(text, "GET /health HTTP/1.1\r\n"));
    gdfo_hostile_stop(second);
}

/* As if a name that was harmless when the peer was opened leads somewhere else now. */
static struct gdfo_net_peer *open_rebound(struct gdfo_net_rig *rig)
{
    struct gdfo_net_peer *peer = NULL;
    gdfo_test_ok(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err), &rig->err);
    gdfo_test_ok(gdfo_gate_cidr_parse(&peer->allowed[0], "10.0.0.0/8", &rig->err), &rig->err);
    return peer;
}

static void forbidden(struct gdfo_net_rig *rig, struct gdfo_net_peer *peer, size_t n_requests)
{
    struct gdfo_net_call call = gdfo_net_rig_call();
    assert_int_equal(gdfo_net_send(peer, &call, 1, NULL, &rig->err), GDFO_STATUS_UPSTREAM);
    assert_string_equal(rig->err.code, "teacher_address_forbidden");
    assert_int_equal(call.n_sends, 0);
    assert_int_equal(call.is_unknown, 0);
    assert_int_equal(gdfo_hostile_n_requests(rig->server), n_requests);
    gdfo_net_peer_close(peer);
}

static void a_forbidden_address_is_not_connected_to(void **state)
{
    struct gdfo_net_rig *rig = *state;
    gdfo_net_rig_open(rig, STEPS(OK));
    forbidden(rig, open_rebound(rig), 0);
    assert_int_equal(gdfo_hostile_n_connections(rig->server), 0);
}

static void another_peer_s_connection_is_no_way_round(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call call = gdfo_net_rig_call();
    gdfo_net_rig_open(rig, STEPS(OK));
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err); /* leaves its connection behind */
    forbidden(rig, open_rebound(rig), 1);
    assert_int_equal(gdfo_hostile_n_connections(rig->server), 1);
    gdfo_test_ok(gdfo_net_rig_send(rig, &call), &rig->err);
}

static void peers_that_may_not_be_are_refused_at_once(void **state)
{
    static const struct {
        const char *url;
        enum gdfo_status status;
        const char *code;
    } rows[] = {
        {"https://10.1.2.3", GDFO_STATUS_CONFLICT, "teacher_address_forbidden"},
        {"http://192.168.1.1:80/v1", GDFO_STATUS_CONFLICT, "teacher_address_forbidden"},
        {"http://8.8.8.8", GDFO_STATUS_INVALID, ""},
        {"https://user:pw@example.com", GDFO_STATUS_INVALID, ""},
        {"ftp://example.com", GDFO_STATUS_INVALID, ""},
    };
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_peer *peer = NULL;
    gdfo_net_rig_open(rig, STEPS(OK));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gdfo_error err = {0};
        rig->urls[0] = rows[i].url;
        assert_int_equal(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &err), rows[i].status);
        assert_string_equal(err.code, rows[i].code);
        assert_null(strstr(err.text, "pw"));
    }
}

static void a_broken_secret_is_refused_and_not_shown(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_peer *peer = NULL;
    gdfo_net_rig_open(rig, STEPS(OK));
    rig->spec.secret = "abc\r\nHost: evil";
    assert_int_equal(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err),
                     GDFO_STATUS_INVALID);
    assert_null(strstr(rig->err.text, "abc"));
}

static void numbers_out_of_range_are_refused(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_peer *peer = NULL;
    gdfo_net_rig_open(rig, STEPS(OK));
    rig->spec.timeout_ms = 999;
    assert_int_equal(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err),
                     GDFO_STATUS_INVALID);
    rig->spec.timeout_ms = 0;
    rig->spec.max_inflight = 1025;
    assert_int_equal(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err),
                     GDFO_STATUS_INVALID);
    rig->spec.max_inflight = 0;
    rig->spec.n_base_urls = 0;
    assert_int_equal(gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err),
                     GDFO_STATUS_INVALID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, gdfo_net_rig_setup, gdfo_net_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(connections_are_kept),
        TEST(a_kept_connection_that_ends_costs_no_send),
        TEST(a_kept_connection_that_is_reset_costs_no_send),
        TEST(the_resend_is_one),
        TEST(the_resend_is_one_however_many_are_kept),
        TEST(refused_connections_send_nothing),
        TEST(a_server_without_tls_gets_nothing),
        TEST(a_replica_that_is_down_costs_no_send),
        TEST(a_call_brings_a_replica_back),
        TEST(the_health_path_brings_a_replica_back),
        TEST(a_forbidden_address_is_not_connected_to),
        TEST(another_peer_s_connection_is_no_way_round),
        TEST(peers_that_may_not_be_are_refused_at_once),
        TEST(a_broken_secret_is_refused_and_not_shown),
        TEST(numbers_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
