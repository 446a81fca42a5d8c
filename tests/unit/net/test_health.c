/* Breaker, replicas and timers: the small machines of a peer. */
#include "common/rng.h"
#include "server/net/breaker.h"
#include "server/net/replica.h"
#include "server/net/secret.h"
#include "server/net/timer.h"
#include "tests/support/test.h"

#include <string.h>

static void fail_times(struct gdfo_breaker *b, int n, int64_t now)
{
    for (int i = 0; i < n; i++) {
        gdfo_breaker_end(b, gdfo_breaker_begin(b), GDFO_BREAKER_END_FAILED, now);
    }
}

static void failures_in_a_row_open_the_breaker(void **state)
{
    struct gdfo_breaker b = {.failures_max = 5, .open_ms = 30000};
    (void)state;
    fail_times(&b, 4, 0);
    gdfo_breaker_end(&b, 0, GDFO_BREAKER_END_GOOD, 0);
    fail_times(&b, 4, 0);
    assert_int_equal(gdfo_breaker_ask(&b, 0), GDFO_BREAKER_STATE_CLOSED);
    fail_times(&b, 1, 100);
    assert_int_equal(gdfo_breaker_ask(&b, 30099), GDFO_BREAKER_STATE_OPEN);
    gdfo_breaker_end(&b, 0, GDFO_BREAKER_END_FAILED, 20000); /* a straggler holds it no longer */
    assert_int_equal(gdfo_breaker_ask(&b, 30100), GDFO_BREAKER_STATE_CLOSED);
}

static void one_probe_at_a_time(void **state)
{
    struct gdfo_breaker b = {.failures_max = 1, .open_ms = 10};
    (void)state;
    fail_times(&b, 1, 0);
    assert_int_equal(gdfo_breaker_begin(&b), 1);
    assert_int_equal(gdfo_breaker_ask(&b, 100), GDFO_BREAKER_STATE_PROBING);
    gdfo_breaker_end(&b, 1, GDFO_BREAKER_END_NONE, 100); /* cancelled: the next one probes */
    assert_int_equal(gdfo_breaker_ask(&b, 100), GDFO_BREAKER_STATE_CLOSED);
    assert_int_equal(gdfo_breaker_begin(&b), 1);
    gdfo_breaker_end(&b, 1, GDFO_BREAKER_END_FAILED, 100);
    assert_int_equal(gdfo_breaker_ask(&b, 109), GDFO_BREAKER_STATE_OPEN);
    assert_int_equal(gdfo_breaker_ask(&b, 110), GDFO_BREAKER_STATE_CLOSED);
    gdfo_breaker_end(&b, gdfo_breaker_begin(&b), GDFO_BREAKER_END_GOOD, 110);
    assert_int_equal(gdfo_breaker_begin(&b), 0);
    assert_int_equal(b.n_failures, 0);
}

static void the_least_busy_replica_is_chosen_in_turn(void **state)
{
    struct gdfo_replica r[3] = {{.n_inflight = 0}};
    uint32_t turn = 0;
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(gdfo_replica_choose(r, 3, 1, 0, &turn), i % 3);
    }
    r[0].n_inflight = 2;
    r[1].n_inflight = 1;
    r[2].n_inflight = 2;
    assert_int_equal(gdfo_replica_choose(r, 3, 1, 0, &turn), 1);
    r[1].n_inflight = 3;
    assert_int_not_equal(gdfo_replica_choose(r, 3, 1, 0, &turn), 1);
}

static void a_replica_that_is_down_is_out_until_its_time(void **state)
{
    struct gdfo_replica r[2] = {{.n_inflight = 0}};
    uint32_t turn = 0;
    (void)state;
    gdfo_replica_down(&r[0], 100);
    r[1].n_inflight = 50;
    assert_int_equal(gdfo_replica_n_up(r, 2), 1);
    assert_int_equal(gdfo_replica_choose(r, 2, 1, 99, &turn), 1);
    assert_int_equal(gdfo_replica_choose(r, 2, 0, 100, &turn), 1); /* by its health path alone */
    assert_int_equal(gdfo_replica_choose(r, 2, 1, 100, &turn), 0);
    r[0].n_inflight = 1; /* its probe is out */
    assert_int_equal(gdfo_replica_choose(r, 2, 1, 100, &turn), 1);
    gdfo_replica_down(&r[1], 50);
    assert_int_equal(gdfo_replica_choose(r, 2, 0, 0, &turn), 1); /* all down: what is due first */
    gdfo_replica_up(&r[0]);
    assert_int_equal(gdfo_replica_choose(r, 2, 0, 0, &turn), 0);
}

static int n_fired;
static int64_t last_at;

static void on_fire(struct gdfo_timer *t)
{
    assert_true(t->at_ms >= last_at);
    last_at = t->at_ms;
    n_fired++;
}

static void timers_fire_in_order_and_once(void **state)
{
    enum { N = 200 };
    static struct gdfo_timer timers[N];
    struct gdfo_timers t = {0};
    struct gdfo_rng rng = gdfo_rng_stream(3, "timers");
    (void)state;
    assert_int_equal(gdfo_timers_next(&t, 0), -1);
    assert_true(gdfo_timers_reserve(&t, N));
    for (size_t i = 0; i < N; i++) {
        timers[i].fire = on_fire;
        gdfo_timer_set(&t, &timers[i], gdfo_rng_below(&rng, 1000));
    }
    for (size_t i = 0; i < N; i += 2) { /* moved, and a quarter of all taken out */
        gdfo_timer_set(&t, &timers[i], gdfo_rng_below(&rng, 1000));
        if (i % 4 == 0) {
            gdfo_timer_clear(&t, &timers[i]);
            gdfo_timer_clear(&t, &timers[i]);
        }
    }
    for (int64_t now = 0; now < 1000; now += 10) {
        gdfo_timers_fire(&t, now);
        assert_true(gdfo_timers_next(&t, now) != 0);
    }
    gdfo_timers_fire(&t, 1000);
    assert_int_equal(n_fired, N - N / 4);
    assert_int_equal(gdfo_timers_next(&t, 0), -1);
    gdfo_timers_deinit(&t);
}

static void a_secret_is_kept_whole_and_found(void **state)
{
    struct gdfo_secret *s = NULL;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_secret_create(&s, "Authorization: Bearer ", "k-123", &err), &err);
    assert_string_equal(gdfo_secret_whole(s), "Authorization: Bearer k-123");
    assert_true(gdfo_secret_is_in(s, "your key k-123 is wrong"));
    assert_false(gdfo_secret_is_in(s, "your key is wrong"));
    assert_false(gdfo_secret_is_in(NULL, "k-123"));
    gdfo_secret_destroy(s);
    gdfo_secret_destroy(NULL);
    assert_int_equal(gdfo_secret_create(&s, "", "", &err), GDFO_STATUS_INVALID);
    assert_int_equal(gdfo_secret_create(&s, "", "a b", &err), GDFO_STATUS_INVALID);
    assert_int_equal(gdfo_secret_create(&s, "", "a\n", &err), GDFO_STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_the_breaker),
        cmocka_unit_test(one_probe_at_a_time),
        cmocka_unit_test(the_least_busy_replica_is_chosen_in_turn),
        cmocka_unit_test(a_replica_that_is_down_is_out_until_its_time),
        cmocka_unit_test(timers_fire_in_order_and_once),
        cmocka_unit_test(a_secret_is_kept_whole_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
