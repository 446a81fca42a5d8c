#include "common/file.h"
#include "common/json.h"
#include "server/tune/coordinate.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define DIM 500

/* f of tests/reference/tune/cobyla.py */
static double loss_of(const double *z)
{
    double sum = 0;
    double total = 0;
    for (int i = 0; i < DIM; i++) {
        double target = (double)(i * 37 % 11 - 5) / 5;
        total += (1 + i % 7) * (z[i] - target) * (z[i] - target);
        sum += z[i];
    }
    return (total + 0.1 * sum * sum) / DIM;
}

static double number(const struct gdfo_json *o, const char *key)
{
    double x = (double)NAN;
    assert_true(gdfo_json_number(gdfo_json_get(o, key), &x));
    return x;
}

static void it_asks_what_cobyla_asks(void **state)
{
    const struct gdfo_json_limits wide = {.depth = 8, .values = 20000};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    double z[DIM] = {0};
    struct gdfo_coordinate c = gdfo_coordinate_at(DIM, loss_of(z));
    const struct gdfo_json *e;
    int n_kept = 0;
    int n = 1;
    (void)state;
    gdfo_buf_init(&text, 1u << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/tune/cobyla.json", &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &wide, &err), &err);
    e = gdfo_json_first(gdfo_json_get(root, "evals"));
    gdfo_test_near(c.pole_loss, number(e, "loss"), 1e-11);
    for (e = gdfo_json_next(e); e; e = gdfo_json_next(e), n++) {
        const int64_t at = c.next;
        double loss;
        assert_true(at == (int64_t)number(e, "probe"));
        assert_true(n_kept == (int)number(e, "n_kept"));
        z[at] += number(root, "rhobeg");
        loss = loss_of(z);
        gdfo_test_near(loss, number(e, "loss"), 1e-11);
        if (gdfo_coordinate_tell(&c, loss)) {
            n_kept++;
        } else {
            z[at] = 0;
        }
    }
    assert_int_equal(n, 250);
    assert_true(gdfo_coordinate_left(&c) == DIM - 249);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

static void what_is_not_lower_is_not_kept(void **state)
{
    struct gdfo_coordinate c = gdfo_coordinate_at(3, 1.0);
    (void)state;
    assert_int_equal(gdfo_coordinate_tell(&c, 1.0), 0);
    assert_int_equal(gdfo_coordinate_tell(&c, (double)NAN), 0);
    assert_int_equal(gdfo_coordinate_tell(&c, 0.5), 1);
    assert_true(c.pole_loss == 0.5);
    assert_true(gdfo_coordinate_left(&c) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_asks_what_cobyla_asks),
        cmocka_unit_test(what_is_not_lower_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
