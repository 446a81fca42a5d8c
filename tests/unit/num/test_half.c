#include "server/num/half.h"
#include "tests/support/test.h"

#include <math.h>

static void every_half_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = gdfo_half_from_f16((uint16_t)h);
        const float b = gdfo_half_from_bf16((uint16_t)h);
        if (!isnan(f)) {
            assert_int_equal(gdfo_half_to_f16(f), h);
        }
        if (!isnan(b)) {
            assert_int_equal(gdfo_half_to_bf16(b), h);
        }
    }
}

/* Between two neighbours: the nearer one, and of two as near the even one. */
static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h += 7) {
        const float low = gdfo_half_from_f16((uint16_t)h);
        const float high = gdfo_half_from_f16((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(gdfo_half_to_f16(middle), h + (h & 1));
        assert_int_equal(gdfo_half_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(gdfo_half_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(gdfo_half_to_f16(-middle), 0x8000u | (h + (h & 1)));
    }
    for (uint32_t h = 0; h < 0x7F7F; h += 7) {
        const float low = gdfo_half_from_bf16((uint16_t)h);
        const float high = gdfo_half_from_bf16((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(gdfo_half_to_bf16(middle), h + (h & 1));
        assert_int_equal(gdfo_half_to_bf16(nextafterf(middle, INFINITY)), h + 1);
    }
}

static void what_is_too_large_is_infinite(void **state)
{
    (void)state;
    assert_int_equal(gdfo_half_to_f16(65519), 0x7BFF);
    assert_int_equal(gdfo_half_to_f16(65520), 0x7C00);
    assert_int_equal(gdfo_half_to_f16(-1e30F), 0xFC00);
    assert_int_equal(gdfo_half_to_bf16(3.4028235e38F), 0x7F80);
    assert_true(isnan(gdfo_half_from_f16(gdfo_half_to_f16(NAN))));
    assert_true(isnan(gdfo_half_from_bf16(gdfo_half_to_bf16(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_comes_back),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(what_is_too_large_is_infinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
