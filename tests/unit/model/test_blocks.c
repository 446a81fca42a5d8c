#include "server/model/format/block.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* binary16 by the book: (-1)^s 2^(e-15) (1 + f/1024), subnormals 2^-14 f/1024. */
static double half_by_the_book(uint32_t h)
{
    const int e = (int)((h >> 10) & 31);
    const double f = (double)(h & 1023) / 1024.0;
    const double v = e == 0 ? ldexp(f, -14) : ldexp(1.0 + f, e - 15);
    return h & 0x8000 ? -v : v;
}

static void every_half_is_widened_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const double got = (double)gdfo_block_half_to_float((uint16_t)h);
        if (((h >> 10) & 31) == 31) {
            assert_true((h & 1023) ? isnan(got) : isinf(got));
        } else {
            gdfo_test_near(got, half_by_the_book(h), 0);
            assert_int_equal(signbit(got) != 0, h >> 15);
        }
    }
}

static void every_type_has_the_block_of_its_table(void **state)
{
    static const struct {
        uint32_t id, n_bytes, n_elements;
        const char *name;
    } want[] = {{0, 4, 1, "F32"},    {1, 2, 1, "F16"},    {30, 2, 1, "BF16"},
                {2, 18, 32, "Q4_0"}, {3, 20, 32, "Q4_1"}, {8, 34, 32, "Q8_0"}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct gdfo_block_type *t = gdfo_block_find(want[i].id);
        assert_non_null(t);
        assert_int_equal(t->id, want[i].id);
        assert_int_equal(t->n_bytes, want[i].n_bytes);
        assert_int_equal(t->n_elements, want[i].n_elements);
        assert_string_equal(t->name, want[i].name);
        assert_string_equal(gdfo_block_name(want[i].id), want[i].name);
        assert_non_null(strstr(gdfo_block_list(), want[i].name));
    }
}

static void other_types_have_a_name_but_no_reader(void **state)
{
    static const struct {
        uint32_t id;
        const char *name;
    } want[] = {{6, "Q5_0"},    {7, "Q5_1"},    {9, "Q8_1"},   {10, "Q2_K"}, {11, "Q3_K"},
                {12, "Q4_K"},   {13, "Q5_K"},   {14, "Q6_K"},  {15, "Q8_K"}, {16, "IQ2_XXS"},
                {20, "IQ4_NL"}, {23, "IQ4_XS"}, {24, "I8"},    {27, "I64"},  {28, "F64"},
                {29, "IQ1_M"},  {34, "TQ1_0"},  {35, "TQ2_0"}, {39, "MXFP4"}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_null(gdfo_block_find(want[i].id));
        assert_string_equal(gdfo_block_name(want[i].id), want[i].name);
    }
    assert_null(gdfo_block_find(40));
    assert_null(gdfo_block_name(40));
    assert_null(gdfo_block_name(UINT32_MAX));
}

static size_t decode(uint32_t id, const void *bytes, size_t n, float *out)
{
    return gdfo_block_find(id)->decode(bytes, n, out);
}

static void plain_types_come_out_as_stored(void **state)
{
    float out[3];
    (void)state;
    assert_int_equal(decode(0, "\x00\x00\x80\x3f\x00\x00\x20\xc1\x01\x00\x00\x00", 3, out), 3);
    gdfo_test_near((double)out[0], 1, 0);
    gdfo_test_near((double)out[1], -10, 0);
    assert_true((double)out[2] == 0x1p-149); /* the smallest subnormal */
    assert_int_equal(decode(1, "\x00\x3c\x01\x00\xff\xfb", 3, out), 3);
    gdfo_test_near((double)out[0], 1, 0);
    assert_true((double)out[1] == 0x1p-24);
    gdfo_test_near((double)out[2], -65504, 0);
    assert_int_equal(decode(30, "\x80\x3f\x49\x40\x01\x00", 3, out), 3);
    gdfo_test_near((double)out[0], 1, 0);
    gdfo_test_near((double)out[1], 3.140625, 0);
    assert_true((double)out[2] == 0x1p-133);
}

/* d = 0.5 (0x3800); byte j of the nibbles is j * 17 mod 256: low nibble j, high nibble j. */
static void q4_0_is_centred_on_eight(void **state)
{
    unsigned char block[36] = {0x00, 0x38};
    float out[64];
    (void)state;
    for (unsigned j = 0; j < 16; j++) {
        block[2 + j] = (unsigned char)(j | (15 - j) << 4);
    }
    memcpy(block + 18, block, 18);
    block[19] = 0xC0; /* second block: d = -2 */
    block[18] = 0x00;
    assert_int_equal(decode(2, block, 2, out), 2);
    for (int j = 0; j < 16; j++) {
        gdfo_test_near((double)out[j], (j - 8) * 0.5, 0);
        gdfo_test_near((double)out[j + 16], (7 - j) * 0.5, 0);
        gdfo_test_near((double)out[32 + j], (j - 8) * -2.0, 0);
        gdfo_test_near((double)out[48 + j], (7 - j) * -2.0, 0);
    }
}

/* d = 0.25 (0x3400), m = -3 (0xC200). */
static void q4_1_has_a_step_and_a_start(void **state)
{
    unsigned char block[20] = {0x00, 0x34, 0x00, 0xC2};
    float out[32];
    (void)state;
    for (unsigned j = 0; j < 16; j++) {
        block[4 + j] = (unsigned char)((15 - j) | j << 4);
    }
    assert_int_equal(decode(3, block, 1, out), 1);
    for (int j = 0; j < 16; j++) {
        gdfo_test_near((double)out[j], (15 - j) * 0.25 - 3, 0);
        gdfo_test_near((double)out[j + 16], j * 0.25 - 3, 0);
    }
}

/* d = 2^-24, the smallest half there is; q runs over both signs. */
static void q8_0_is_signed(void **state)
{
    unsigned char block[34] = {0x01, 0x00};
    static const int q[32] = {0,   1,  2,  3,  -1, -2,  -3,  127, -128, -127, 64,
                              -64, 10, 20, 30, 40, -10, -20, 99,  98,   97,   96,
                              95,  94, 93, 92, 91, 90,  89,  88,  87,   86};
    float out[32];
    (void)state;
    for (int j = 0; j < 32; j++) {
        block[2 + j] = (unsigned char)(q[j] & 255);
    }
    assert_int_equal(decode(8, block, 1, out), 1);
    for (int j = 0; j < 32; j++) {
        assert_true((double)out[j] == ldexp(q[j], -24));
    }
}

/* The first bad block is named: number 1 of three. */
static void scales_and_values_that_are_not_finite_are_found(void **state)
{
    static const struct {
        uint32_t id;
        size_t at; /* offset in the block of the 16 high bits to spoil */
    } where[] = {{0, 2}, {1, 0}, {30, 0}, {2, 0}, {3, 0}, {3, 2}, {8, 0}};
    float out[96];
    (void)state;
    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        const struct gdfo_block_type *t = gdfo_block_find(where[i].id);
        const int is_half = where[i].id != 0 && where[i].id != 30;
        for (int nan = 0; nan < 2; nan++) {
            unsigned char blocks[3 * 34] = {0};
            unsigned char *bad = blocks + t->n_bytes + where[i].at;
            bad[0] = nan ? 0x81 : (is_half ? 0x00 : 0x80);
            bad[1] = is_half ? 0x7C : 0x7F;
            bad[0] |= nan && !is_half ? 0xC0 : 0;
            assert_int_equal(t->decode(blocks, 3, out), 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_widened_exactly),
        cmocka_unit_test(every_type_has_the_block_of_its_table),
        cmocka_unit_test(other_types_have_a_name_but_no_reader),
        cmocka_unit_test(plain_types_come_out_as_stored),
        cmocka_unit_test(q4_0_is_centred_on_eight),
        cmocka_unit_test(q4_1_has_a_step_and_a_start),
        cmocka_unit_test(q8_0_is_signed),
        cmocka_unit_test(scales_and_values_that_are_not_finite_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
