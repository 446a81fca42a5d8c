#include "common/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Known answers from the authors' Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
 */
static void philox_gives_the_published_words(void **state)
{
    static const uint32_t zero[4] = {0};
    static const uint32_t ones[4] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    static const uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
    static const uint32_t pi_key[2] = {0xa4093822, 0x299f31d0};
    static const uint32_t want_zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t want_ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    static const uint32_t want_pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    uint32_t out[4];
    (void)state;
    gdfo_rng_philox(zero, zero, out);
    assert_memory_equal(out, want_zero, sizeof out);
    gdfo_rng_philox(ones, ones, out);
    assert_memory_equal(out, want_ones, sizeof out);
    gdfo_rng_philox(pi, pi_key, out);
    assert_memory_equal(out, want_pi, sizeof out);
}

static void saving_mid_stream_continues_the_same_numbers(void **state)
{
    struct gdfo_rng a = gdfo_rng_stream(7, "projection");
    struct gdfo_rng b;
    unsigned char bytes[GDFO_RNG_STATE_BYTES];
    (void)state;
    for (int i = 0; i < 5; i++) {
        (void)gdfo_rng_normal(&a);
    }
    (void)gdfo_rng_u32(&a);
    gdfo_rng_save(&a, bytes);
    gdfo_rng_load(&b, bytes);
    for (int i = 0; i < 100; i++) {
        double x = gdfo_rng_normal(&a);
        double y = gdfo_rng_normal(&b);
        assert_memory_equal(&x, &y, sizeof x);
    }
}

static void streams_differ_by_seed_and_by_name(void **state)
{
    struct gdfo_rng a = gdfo_rng_stream(7, "projection");
    struct gdfo_rng b = gdfo_rng_stream(8, "projection");
    struct gdfo_rng c = gdfo_rng_stream(7, "split");
    uint64_t x = gdfo_rng_u64(&a);
    (void)state;
    assert_true(x != gdfo_rng_u64(&b));
    assert_true(x != gdfo_rng_u64(&c));
}

static void normals_have_the_moments_of_the_normal(void **state)
{
    struct gdfo_rng r = gdfo_rng_stream(1, "moments");
    double m1 = 0;
    double m2 = 0;
    double m4 = 0;
    const int n = 200000;
    (void)state;
    for (int i = 0; i < n; i++) {
        double x = gdfo_rng_normal(&r);
        m1 += x;
        m2 += x * x;
        m4 += x * x * x * x;
    }
    gdfo_test_near(m1 / n, 0.0, 0.01); /* four standard errors */
    gdfo_test_near(m2 / n, 1.0, 0.015);
    gdfo_test_near(m4 / n, 3.0, 0.03);
}

/* Many at once are the same numbers as one by one, wherever the stream stands, and the stream goes
 * on the same. */
static void many_normals_are_those_drawn_one_by_one(void **state)
{
    (void)state;
    for (uint32_t words = 0; words < 6; words++) {
        for (size_t n = 0; n < 12; n++) {
            struct gdfo_rng a = gdfo_rng_stream(3, "normals");
            struct gdfo_rng b;
            double many[13];
            for (uint32_t i = 0; i < words; i++) {
                (void)gdfo_rng_u32(&a);
            }
            if (words > 4) {
                (void)gdfo_rng_normal(&a); /* leaves the second of a pair */
            }
            b = a;
            gdfo_rng_normals(&a, many, n);
            for (size_t i = 0; i < n; i++) {
                double one = gdfo_rng_normal(&b);
                assert_memory_equal(&many[i], &one, sizeof one);
            }
            for (int i = 0; i < 5; i++) {
                double one = gdfo_rng_normal(&b);
                double other = gdfo_rng_normal(&a);
                assert_memory_equal(&one, &other, sizeof one);
            }
            assert_int_equal(gdfo_rng_u64(&a), gdfo_rng_u64(&b));
        }
    }
}

static void below_covers_its_range_evenly(void **state)
{
    struct gdfo_rng r = gdfo_rng_stream(3, "below");
    int count[3] = {0};
    (void)state;
    for (int i = 0; i < 30000; i++) {
        count[gdfo_rng_below(&r, 3)]++;
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(count[i], 9600, 10400);
    }
}

static void shuffle_keeps_every_item_once(void **state)
{
    struct gdfo_rng r = gdfo_rng_stream(3, "shuffle");
    uint32_t items[100];
    int seen[100] = {0};
    int moved = 0;
    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        items[i] = i;
    }
    gdfo_rng_shuffle(&r, items, 100);
    for (uint32_t i = 0; i < 100; i++) {
        seen[items[i]]++;
        moved += items[i] != i;
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(saving_mid_stream_continues_the_same_numbers),
        cmocka_unit_test(streams_differ_by_seed_and_by_name),
        cmocka_unit_test(normals_have_the_moments_of_the_normal),
        cmocka_unit_test(many_normals_are_those_drawn_one_by_one),
        cmocka_unit_test(below_covers_its_range_evenly),
        cmocka_unit_test(shuffle_keeps_every_item_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
