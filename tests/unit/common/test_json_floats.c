#include "common/json_floats.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static enum gdfo_status pour(struct gdfo_json_poured *p, const char *text, size_t max)
{
    const struct gdfo_json_pour setup = {.key = "data", .max_values = max};
    struct gdfo_error err = {0};
    return gdfo_json_pour(p, text, strlen(text), &setup, &err);
}

static void flat_and_nested_arrays_are_poured(void **state)
{
    struct gdfo_json_poured p;
    const struct gdfo_json *v;
    const float *values = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(pour(&p,
                          "{\"a\":[{\"data\" : [ [1, -2.5e1],[ ] , [3]]},{\"data\":[]},{\"data\":["
                          "0.5]}],\"x\":\"\\\"data\\\":[1]\",\"b\":[7]}",
                          10),
                     GDFO_STATUS_OK);
    assert_int_equal(p.n_arrays, 3);
    v = gdfo_json_first(gdfo_json_get(p.root, "a"));
    assert_true(gdfo_json_poured_at(&p, gdfo_json_get(v, "data"), &values, &n));
    assert_int_equal(n, 3);
    assert_float_equal(values[1], -25, 0);
    v = gdfo_json_next(v);
    assert_true(gdfo_json_poured_at(&p, gdfo_json_get(v, "data"), &values, &n));
    assert_int_equal(n, 0);
    v = gdfo_json_next(v);
    assert_true(gdfo_json_poured_at(&p, gdfo_json_get(v, "data"), &values, &n));
    assert_float_equal(values[0], 0.5, 0);
    assert_string_equal(gdfo_json_string(gdfo_json_get(p.root, "x")), "\"data\":[1]");
    assert_int_equal(gdfo_json_size(gdfo_json_get(p.root, "b")), 1);
    assert_false(gdfo_json_poured_at(&p, gdfo_json_get(p.root, "b"), &values, &n));
    assert_false(gdfo_json_poured_at(&p, NULL, &values, &n));
    gdfo_json_poured_deinit(&p);
}

static void what_is_no_array_of_numbers_is_left_as_it_is(void **state)
{
    static const char *const texts[] = {"{\"data\":[\"a\",1]}", "{\"data\":[1,null]}",
                                        "{\"data\":[{\"data\":[1]}]}"};
    static const size_t arrays[] = {0, 0, 1};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct gdfo_json_poured p;
        assert_int_equal(pour(&p, texts[i], 10), GDFO_STATUS_OK);
        assert_int_equal(gdfo_json_type(gdfo_json_get(p.root, "data")), GDFO_JSON_ARRAY);
        assert_int_equal(p.n_arrays, arrays[i]);
        gdfo_json_poured_deinit(&p);
    }
}

static void malformed_arrays_are_refused(void **state)
{
    static const char *const texts[] = {"{\"data\":[1,]}",
                                        "{\"data\":[,1]}",
                                        "{\"data\":[1 2]}",
                                        "{\"data\":[01]}",
                                        "{\"data\":[1.]}",
                                        "{\"data\":[1e]}",
                                        "{\"data\":[1",
                                        "{\"data\":[[1]",
                                        "{\"data\":[-]}",
                                        "{\"data\":[NaN]}",
                                        "{\"data\":[+1]}",
                                        "{\"data\":[1]]}",
                                        "{\"data\":[1][2]}",
                                        "{\"data\"",
                                        "\"data\":[1]",
                                        "{\"data\":[][]}",
                                        "[{\"data\":[1]},{\"data\":[2]1}]"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct gdfo_json_poured p;
        assert_int_equal(pour(&p, texts[i], 10), GDFO_STATUS_FORMAT);
        gdfo_json_poured_deinit(&p);
    }
}

static void too_many_numbers_and_too_large_ones(void **state)
{
    struct gdfo_json_poured p;
    (void)state;
    assert_int_equal(pour(&p, "{\"data\":[1,2,3]}", 2), GDFO_STATUS_LIMIT);
    gdfo_json_poured_deinit(&p);
    assert_int_equal(pour(&p, "{\"data\":[1e39,-1e999,3e38]}", 3), GDFO_STATUS_OK);
    assert_true(isinf(p.values[0]) && isinf(p.values[1]) && isfinite(p.values[2]));
    gdfo_json_poured_deinit(&p);
}

static void digits_give_the_number_back(void **state)
{
    const float values[4] = {0.1F, -4.5F, 1.17549435e-38F, 16777217.0F};
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    struct gdfo_json_poured p;
    (void)state;
    gdfo_buf_init(&b, 1024);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_floats(&w, "data", values, 4, GDFO_JSON_DIGITS_F32);
    gdfo_json_put_int(&w, "x", 1);
    gdfo_json_close(&w, '}');
    assert_int_equal(pour(&p, b.data, 4), GDFO_STATUS_OK);
    assert_memory_equal(p.values, values, sizeof values);
    gdfo_json_poured_deinit(&p);
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_and_nested_arrays_are_poured),
        cmocka_unit_test(what_is_no_array_of_numbers_is_left_as_it_is),
        cmocka_unit_test(malformed_arrays_are_refused),
        cmocka_unit_test(too_many_numbers_and_too_large_ones),
        cmocka_unit_test(digits_give_the_number_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
