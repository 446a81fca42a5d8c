/* The report's statistics against scipy's numbers (tests/reference/client). */
#include "client/cli/bench/stats.h"
#include "tests/reference/client/t_quantiles.h"
#include "tests/support/test.h"

#include <math.h>

static void t_quantiles_are_those_of_scipy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof t_quantiles / sizeof t_quantiles[0]; i++) {
        const double *q = t_quantiles[i];
        gdfo_test_near(gdfo_stats_t_quantile(q[0], q[1]), q[2], 1e-9 * q[2]);
    }
}

static void a_quantile_of_nothing_is_no_number(void **state)
{
    (void)state;
    assert_true(isnan(gdfo_stats_t_quantile(0.975, 0.0)));
    assert_true(isnan(gdfo_stats_t_quantile(0.975, (double)NAN)));
    assert_true(isnan(gdfo_stats_t_quantile(1.0, 3.0)));
}

static void a_paired_interval_is_that_of_scipy(void **state)
{
    const size_t n = sizeof paired_a / sizeof paired_a[0];
    struct gdfo_stats_paired p = gdfo_stats_paired(paired_a, paired_b, n);
    (void)state;
    assert_int_equal(p.n, n);
    gdfo_test_near(p.mean - p.t_half, paired_low, 1e-10);
    gdfo_test_near(p.mean + p.t_half, paired_high, 1e-10);
}

static void a_pair_with_one_side_is_no_pair(void **state)
{
    const double a[] = {1.0, (double)NAN, 3.0, 4.0}, b[] = {0.5, 7.0, (double)NAN, 4.5};
    struct gdfo_stats_paired p = gdfo_stats_paired(a, b, 4);
    (void)state;
    assert_int_equal(p.n, 2);
    gdfo_test_near(p.mean, 0.0, 1e-15);
    gdfo_test_near(p.sd, sqrt(0.5), 1e-15);
}

static void spread_needs_two_values(void **state)
{
    const double values[] = {2.0, (double)NAN, 4.0, 9.0};
    struct gdfo_stats s = gdfo_stats_of(values, 4);
    (void)state;
    assert_int_equal(s.n, 3);
    gdfo_test_near(s.mean, 5.0, 1e-15);
    gdfo_test_near(s.sd, sqrt(13.0), 1e-15); /* (9 + 1 + 16) / 2 */
    gdfo_test_near(s.se, sqrt(13.0 / 3.0), 1e-15);
    s = gdfo_stats_of(values, 2);
    assert_int_equal(s.n, 1);
    gdfo_test_near(s.mean, 2.0, 0.0);
    assert_true(isnan(s.sd) && isnan(s.se));
    assert_true(isnan(gdfo_stats_of(values + 1, 1).mean));
    assert_true(isnan(gdfo_stats_paired(values, values, 1).t_half));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t_quantiles_are_those_of_scipy),
        cmocka_unit_test(a_quantile_of_nothing_is_no_number),
        cmocka_unit_test(a_paired_interval_is_that_of_scipy),
        cmocka_unit_test(a_pair_with_one_side_is_no_pair),
        cmocka_unit_test(spread_needs_two_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
