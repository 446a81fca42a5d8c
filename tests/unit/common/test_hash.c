#include "common/hash.h"
#include "tests/support/test.h"

#include <string.h>

/* The check value of CRC-32C, and the test vectors of RFC 3720 B.4. */
static void the_published_sums_are_reproduced(void **state)
{
    unsigned char bytes[32];
    (void)state;
    assert_int_equal(gdfo_crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(gdfo_crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(gdfo_crc32c(0, bytes, sizeof bytes), 0x8A9136AAu);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(gdfo_crc32c(0, bytes, sizeof bytes), 0x62A8AB43u);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)i;
    }
    assert_int_equal(gdfo_crc32c(0, bytes, sizeof bytes), 0x46DD794Eu);
}

/* Bit by bit, by the definition. */
static uint32_t slow(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n * 8; i++) {
        uint32_t bit = ((uint32_t)p[i / 8] >> (i % 8)) & 1u;
        crc = ((crc ^ bit) & 1u) ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

/* Lengths around the words that are taken at once, from odd addresses, whole and in two parts. */
static void any_length_from_any_address_gives_the_sum_of_the_definition(void **state)
{
    unsigned char bytes[80];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 37 + 11);
    }
    for (size_t first = 0; first < 9; first++) {
        for (size_t n = 0; first + n <= sizeof bytes; n++) {
            uint32_t want = slow(bytes + first, n);
            uint32_t half = gdfo_crc32c(0, bytes + first, n / 3);
            assert_int_equal(gdfo_crc32c(0, bytes + first, n), want);
            assert_int_equal(gdfo_crc32c(half, bytes + first + n / 3, n - n / 3), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_sums_are_reproduced),
        cmocka_unit_test(any_length_from_any_address_gives_the_sum_of_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
