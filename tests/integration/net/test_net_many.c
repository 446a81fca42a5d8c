/* Many calls, many workers, little memory: that nothing is lost, mixed up or left behind. */
#include "common/lock.h"
#include "common/mem.h"
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
#define N_AT_ONCE 100
#define N_WORKERS 6
#define N_ROUNDS  10
#define N_CALLS   7

static void as_many_fly_at_once_as_are_allowed(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call *calls = gdfo_mem_array(N_AT_ONCE, sizeof *calls);
    enum gdfo_status status;
    for (size_t i = 0; calls && i < N_AT_ONCE; i++) {
        calls[i] = gdfo_net_rig_call();
    }
    rig->spec.max_inflight = N_AT_ONCE;
    rig->spec.breaker_failures = 1000;
    rig->spec.max_sends = 1;
    /* nobody is answered before all have come */
    gdfo_net_rig_open(rig, STEPS({GDFO_HOSTILE_GATHER, NULL, N_AT_ONCE}));
    status = gdfo_net_send(rig->peer, calls, N_AT_ONCE, NULL, &rig->err);
    gdfo_mem_free(calls);
    gdfo_test_ok(status, &rig->err);
    assert_int_equal(gdfo_hostile_n_connections(rig->server), N_AT_ONCE);
    assert_int_equal(gdfo_net_rig_look(rig).n_new_connections, N_AT_ONCE);
}

struct worker {
    struct gdfo_net_rig *rig;
    struct gdfo_thread *thread;
    size_t n_ok, n_ended, n_other;
    int cancels;
};

static int is_cancelled(void *ctx)
{
    const struct worker *w = ctx;
    return w->cancels;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    const struct gdfo_net_control control = {is_cancelled, w, 1};
    for (int round = 0; round < N_ROUNDS; round++) {
        struct gdfo_net_call calls[N_CALLS];
        struct gdfo_error err = {0};
        for (size_t i = 0; i < N_CALLS; i++) {
            calls[i] = gdfo_net_rig_call();
        }
        w->cancels = round % 3 == 2;
        GDFO_IGNORE(gdfo_net_send(w->rig->peer, calls, N_CALLS, &control, &err));
        for (size_t i = 0; i < N_CALLS; i++) {
            w->n_ok += calls[i].status == GDFO_STATUS_OK;
            w->n_ended += calls[i].status == GDFO_STATUS_CANCELLED;
            w->n_other +=
                calls[i].status != GDFO_STATUS_OK && calls[i].status != GDFO_STATUS_CANCELLED;
        }
    }
    return NULL;
}

static void workers_share_a_peer(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct worker workers[N_WORKERS] = {{.rig = rig}};
    size_t n_ok = 0;
    rig->spec.max_inflight = 5;
    rig->spec.max_sends = 100;
    rig->spec.breaker_failures = 1000;
    gdfo_net_rig_open(rig, STEPS(OK, SAYS("500", ""), {GDFO_HOSTILE_RESET, "HTTP/1.1 2", 0}, OK,
                                 {GDFO_HOSTILE_CLOSE, NULL, 0}, SAYS("502", ""), OK));
    for (size_t i = 0; i < N_WORKERS; i++) {
        workers[i].rig = rig;
        workers[i].thread = gdfo_thread_start("worker", work, &workers[i]);
        assert_non_null(workers[i].thread);
    }
    for (size_t i = 0; i < N_WORKERS; i++) {
        gdfo_thread_join(workers[i].thread);
        n_ok += workers[i].n_ok;
        assert_int_equal(workers[i].n_other, 0);
        assert_int_equal(workers[i].n_ok + workers[i].n_ended, N_ROUNDS * N_CALLS);
        assert_true(workers[i].n_ok >= 7 * N_CALLS); /* the rounds that nobody cancelled */
    }
    assert_int_equal(gdfo_net_rig_look(rig).n_ok, n_ok);
    assert_int_equal(gdfo_net_rig_look(rig).n_inflight, 0);
    assert_int_equal(gdfo_net_rig_look(rig).n_waiting, 0);
}

static void without_memory_nothing_is_lost(void **state)
{
    struct gdfo_net_rig *rig = *state;
    size_t n_ok = 0;
    gdfo_net_rig_open(rig, STEPS(OK));
    for (long n = 0; n < 40; n++) {
        struct gdfo_net_call calls[2] = {gdfo_net_rig_call(), gdfo_net_rig_call()};
        enum gdfo_status status;
        gdfo_mem_fail_after(n);
        status = gdfo_net_send(rig->peer, calls, 2, NULL, &rig->err);
        gdfo_mem_fail_after(-1);
        n_ok += status == GDFO_STATUS_OK;
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY ||
                    status == GDFO_STATUS_UPSTREAM);
        assert_int_equal(gdfo_net_rig_look(rig).n_inflight, 0);
    }
    assert_true(n_ok > 0);
}

static void opening_without_memory_leaves_nothing(void **state)
{
    struct gdfo_net_rig *rig = *state;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    gdfo_net_rig_open(rig, STEPS(OK));
    for (long n = 0; status != GDFO_STATUS_OK; n++) {
        struct gdfo_net_peer *peer = NULL;
        gdfo_mem_fail_after(n);
        status = gdfo_net_peer_open(&peer, rig->net, &rig->spec, &rig->err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_net_peer_close(peer);
    }
    status = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; status != GDFO_STATUS_OK; n++) {
        struct gdfo_net *net = NULL;
        gdfo_mem_fail_after(n);
        status = gdfo_net_create(&net, &rig->setup, &rig->err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_net_destroy(net);
    }
}

static void a_warm_peer_allocates_per_send_not_per_call(void **state)
{
    struct gdfo_net_rig *rig = *state;
    struct gdfo_net_call calls[N_CALLS];
    size_t before;
    rig->spec.max_inflight = 1;
    gdfo_net_rig_open(rig, STEPS(OK));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < N_CALLS; i++) {
            calls[i] = gdfo_net_rig_call();
        }
        before = gdfo_mem_count();
        gdfo_test_ok(gdfo_net_send(rig->peer, calls, N_CALLS, NULL, &rig->err), &rig->err);
    }
    assert_in_range(gdfo_mem_count() - before, 0, 2); /* the tickets and the condition */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, gdfo_net_rig_setup, gdfo_net_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_many_fly_at_once_as_are_allowed),
        TEST(workers_share_a_peer),
        TEST(without_memory_nothing_is_lost),
        TEST(opening_without_memory_leaves_nothing),
        TEST(a_warm_peer_allocates_per_send_not_per_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
