#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "server/tune/rank.h"
#include "tests/support/test.h"

#include <math.h>

#define N_MAX 128

static uint32_t numbers(const struct gdfo_json *array, double *out)
{
    uint32_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(array); v; v = gdfo_json_next(v)) {
        assert_true(n < N_MAX && gdfo_json_number(v, &out[n++]));
    }
    return n;
}

/* tests/reference/tune/tau.py */
static void tau_is_scipys(void **state)
{
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    int n_cases = 0;
    (void)state;
    gdfo_buf_init(&text, 1 << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/tune/tau.json", &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, NULL, &err), &err);
    for (const struct gdfo_json *c = gdfo_json_first(gdfo_json_get(root, "cases")); c;
         c = gdfo_json_next(c)) {
        double a[N_MAX];
        double b[N_MAX];
        double want = 0;
        uint32_t n = numbers(gdfo_json_get(c, "a"), a);
        assert_int_equal(numbers(gdfo_json_get(c, "b"), b), n);
        assert_true(gdfo_json_number(gdfo_json_get(c, "tau"), &want));
        gdfo_test_near(gdfo_rank_tau(a, b, n), want, 1e-12);
        n_cases++;
    }
    assert_int_equal(n_cases, 7);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

static void a_constant_side_has_no_order(void **state)
{
    static const double flat[3] = {1, 1, 1};
    static const double rising[3] = {1, 2, 3};
    (void)state;
    assert_true(isnan(gdfo_rank_tau(flat, rising, 3)));
    assert_true(isnan(gdfo_rank_tau(rising, flat, 3)));
    assert_true(isnan(gdfo_rank_tau(rising, rising, 1)));
}

/* One loss of five is not finite: the order of the other four decides. */
static void a_loss_that_is_not_finite_is_left_out(void **state)
{
    static const double a[5] = {1, 2, HUGE_VAL, 3, 4};
    static const double b[5] = {4, 3, 0, 2, 1};
    (void)state;
    gdfo_test_near(gdfo_rank_tau(a, b, 5), -1, 1e-12);
}

static void the_cosine_is_that_of_the_angle(void **state)
{
    static const float x[3] = {3, 4, 0};
    static const float y[3] = {4, 3, 0};
    static const float back[3] = {-6, -8, 0};
    static const float zero[3] = {0, 0, 0};
    (void)state;
    gdfo_test_near(gdfo_rank_cosine(x, y, 3), 24.0 / 25.0, 1e-12);
    gdfo_test_near(gdfo_rank_cosine(x, back, 3), -1, 1e-12);
    assert_true(isnan(gdfo_rank_cosine(x, zero, 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tau_is_scipys),
        cmocka_unit_test(a_constant_side_has_no_order),
        cmocka_unit_test(a_loss_that_is_not_finite_is_left_out),
        cmocka_unit_test(the_cosine_is_that_of_the_angle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
