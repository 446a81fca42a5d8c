#include "server/net/limiter.h"
#include "tests/support/test.h"

/* Takes as many as go at now. */
static uint32_t take_all(struct gdfo_limiter *l, int64_t now, int64_t tokens, int64_t *wait)
{
    uint32_t n = 0;
    while (n < 10000 && gdfo_limiter_take(l, now, tokens, wait)) {
        n++;
    }
    return n;
}

static void no_more_fly_than_allowed(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    (void)state;
    gdfo_limiter_init(&l, 8, 0, 0, 1000);
    assert_int_equal(take_all(&l, 1000, 100000, &wait), 8);
    assert_int_equal(wait, -1);
    gdfo_limiter_give(&l);
    assert_int_equal(take_all(&l, 1000, 0, &wait), 1);
}

static void requests_a_minute_are_kept(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    uint32_t n = 0;
    (void)state;
    gdfo_limiter_init(&l, 1000, 600, 0, 0); /* ten a second */
    assert_int_equal(take_all(&l, 0, 0, &wait), 10);
    assert_in_range(wait, 100, 101);
    for (int64_t now = 0; now < 60000; now += wait) {
        n += take_all(&l, now, 0, &wait);
    }
    assert_in_range(n, 580, 600);
}

static void a_slow_limit_still_lets_one_go(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    (void)state;
    gdfo_limiter_init(&l, 8, 1, 0, 0);
    assert_int_equal(take_all(&l, 0, 0, &wait), 1);
    assert_int_equal(take_all(&l, 59000, 0, &wait), 0);
    assert_in_range(wait, 1000, 1001);
    assert_int_equal(take_all(&l, 60001, 0, &wait), 1);
}

static void a_large_call_goes_and_the_next_pays(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    (void)state;
    gdfo_limiter_init(&l, 8, 0, 60000, 0); /* a thousand tokens a second */
    assert_int_equal(take_all(&l, 0, 5000, &wait), 1);
    assert_in_range(wait, 5000, 5001);
    assert_int_equal(take_all(&l, 4999, 5000, &wait), 0);
    assert_int_equal(take_all(&l, 5001, 1000, &wait), 1);
}

static void a_pause_holds_all_and_is_never_shortened(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    (void)state;
    gdfo_limiter_init(&l, 8, 0, 0, 0);
    gdfo_limiter_pause(&l, 5000);
    gdfo_limiter_pause(&l, 100);
    assert_int_equal(take_all(&l, 0, 0, &wait), 0);
    assert_int_equal(wait, 5000);
    assert_int_equal(take_all(&l, 4999, 0, &wait), 0);
    assert_int_equal(wait, 1);
    assert_int_equal(take_all(&l, 5000, 0, &wait), 8);
}

static void concurrency_halves_once_a_burst_and_grows_by_one(void **state)
{
    struct gdfo_limiter l;
    (void)state;
    gdfo_limiter_init(&l, 8, 0, 0, 0);
    for (int i = 0; i < 8; i++) {
        gdfo_limiter_cut(&l, 10, 20); /* all of them sent before the first was refused */
    }
    assert_int_equal(l.allowed, 4);
    gdfo_limiter_cut(&l, 21, 30);
    assert_int_equal(l.allowed, 2);
    gdfo_limiter_cut(&l, 31, 40);
    gdfo_limiter_cut(&l, 41, 50);
    assert_int_equal(l.allowed, 1);
    gdfo_limiter_clean(&l);
    assert_int_equal(l.allowed, 2);
    gdfo_limiter_clean(&l);
    assert_int_equal(l.allowed, 2);
    gdfo_limiter_clean(&l);
    assert_int_equal(l.allowed, 3);
    gdfo_limiter_clean(&l);
    gdfo_limiter_clean(&l);
    gdfo_limiter_cut(&l, 10, 60); /* an old one halves no more, but the window is not clean */
    assert_int_equal(l.allowed, 3);
    gdfo_limiter_clean(&l);
    assert_int_equal(l.allowed, 3);
    for (int i = 0; i < 100; i++) {
        gdfo_limiter_clean(&l);
    }
    assert_int_equal(l.allowed, 8);
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
    struct gdfo_limiter l;
    int64_t wait = 0;
    (void)state;
    gdfo_limiter_init(&l, 100, 60, 0, 10000);
    assert_int_equal(take_all(&l, 10000, 0, &wait), 1);
    assert_int_equal(take_all(&l, 0, 0, &wait), 0);
    assert_int_equal(take_all(&l, 10500, 0, &wait), 0);
    assert_int_equal(take_all(&l, 11001, 0, &wait), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_fly_than_allowed),
        cmocka_unit_test(requests_a_minute_are_kept),
        cmocka_unit_test(a_slow_limit_still_lets_one_go),
        cmocka_unit_test(a_large_call_goes_and_the_next_pays),
        cmocka_unit_test(a_pause_holds_all_and_is_never_shortened),
        cmocka_unit_test(concurrency_halves_once_a_burst_and_grows_by_one),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
