#include "common/mem.h"
#include "common/rng.h"
#include "server/num/mathx.h"
#include "server/num/pack.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * Products in reduced precision against sums in double over operands that this file rounds itself,
 * by the rules that pack.h and the kernels' DESIGN state. Where the processor lacks the
 * instructions the same tests check that the precision is refused.
 */

#define M_MAX 41
#define N_MAX 131
#define K_MAX 200

struct shape {
    size_t m, n, k;
};

static const struct shape shapes[] = {
    {1, 1, 1},     {1, 32, 32},   {2, 3, 31},    {3, 17, 33},    {4, 16, 64},
    {5, 33, 65},   {6, 31, 96},   {7, 48, 95},   {8, 47, 97},    {9, 64, 128},
    {11, 65, 63},  {12, 96, 127}, {13, 97, 129}, {14, 130, 160}, {23, 131, 199},
    {24, 40, 200}, {25, 20, 100}, {40, 7, 34},   {41, 15, 2},
};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

struct operands {
    float a[M_MAX * K_MAX], w[N_MAX * K_MAX], c[M_MAX * N_MAX];
    struct gdfo_pack *pack;
    unsigned char *scratch;
};

static struct operands x;

static void draw(float *to, size_t n, const char *name, double spread)
{
    struct gdfo_rng r = gdfo_rng_stream(n, name);
    for (size_t i = 0; i < n; i++) {
        to[i] = (float)(spread * gdfo_rng_normal(&r));
    }
}

static void pack_weights(enum gdfo_precision p, const struct shape *s)
{
    const struct gdfo_pack_source w = {GDFO_GEMM_NT, x.w, s->n, s->k, s->k};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_pack_create(&x.pack, p, &w, &err), &err);
    x.scratch = gdfo_mem_aligned(gdfo_pack_scratch(x.pack, M_MAX), 1);
}

static void set_up(enum gdfo_precision p, const struct shape *s)
{
    draw(x.a, s->m * s->k, "activations", 2.0);
    draw(x.w, s->n * s->k, "weights", 0.2);
    memset(x.c, 0, sizeof x.c);
    pack_weights(p, s);
}

static void tear_down(void)
{
    gdfo_pack_destroy(x.pack);
    gdfo_mem_free(x.scratch);
    x.pack = NULL;
    x.scratch = NULL;
}

static void multiply(const struct shape *s, float *c, float beta)
{
    const struct gdfo_product p = {
        .m = s->m, .a = x.a, .lda = s->k, .c = c, .ldc = s->n, .beta = beta, .scratch = x.scratch};
    gdfo_pack_product(x.pack, &p);
}

/* 1 when this processor can; else holds the refusal against the words. */
static int can(enum gdfo_precision p)
{
    const float one = 1;
    const struct gdfo_pack_source s = {GDFO_GEMM_NT, &one, 1, 1, 1};
    struct gdfo_error err = {0};
    struct gdfo_pack *pack = NULL;
    if (gdfo_precision_is_available(p)) {
        return 1;
    }
    print_message("%s is not available here: checking that it is refused\n",
                  gdfo_precision_name(p));
    assert_int_equal(gdfo_pack_create(&pack, p, &s, &err), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.text, gdfo_precision_name(p)));
    assert_non_null(strstr(err.text, "f32 works everywhere"));
    assert_null(pack);
    return 0;
}

/* ---- the operands as the kernels see them ---- */

static double bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

struct sum {
    double value, size; /* and the sum of magnitudes */
};

static void add(struct sum *s, double term)
{
    s->value += term;
    s->size += fabs(term);
}

static struct sum sum_bf16(const float *a, const float *w, size_t k)
{
    struct sum s = {0, 0};
    for (size_t i = 0; i < k; i++) {
        add(&s, bf16(a[i]) * bf16(w[i]));
    }
    return s;
}

/* One block of up to 32 of both. */
static void add_block(struct sum *s, const float *a, const float *w, size_t n)
{
    float w_lo = w[0], w_hi = w[0], a_lo = a[0], a_hi = a[0];
    float d, inv_d, scale, inv_a;
    long both = 0, q_all = 0, u_all = 0;
    for (size_t i = 0; i < n; i++) {
        w_lo = fminf(w_lo, w[i]);
        w_hi = fmaxf(w_hi, w[i]);
        a_lo = fminf(a_lo, a[i]);
        a_hi = fmaxf(a_hi, a[i]);
    }
    if (n < 32) { /* the rest of the last block is zeros */
        a_lo = fminf(a_lo, 0);
        a_hi = fmaxf(a_hi, 0);
    }
    d = (w_hi - w_lo) / 255.0F;
    inv_d = d > 0 ? 1.0F / d : 0;
    scale = (a_hi - a_lo) / 255.0F;
    inv_a = a_hi > a_lo ? 255.0F / (a_hi - a_lo) : 0;
    for (size_t i = 0; i < n; i++) {
        long q = lrintf(floorf((w[i] - w_lo) * inv_d + 0.5F)) - 128;
        long u = lrintf((a[i] - a_lo) * inv_a);
        q = q > 127 ? 127 : q;
        u = u > 255 ? 255 : u;
        both += q * u;
        q_all += q;
        u_all += u;
    }
    u_all += (long)(32 - n) * lrintf(-a_lo * inv_a); /* the zeros behind the end */
    add(s, (double)d * (double)scale * (double)both);
    add(s, (double)(d * (float)q_all) * (double)a_lo);
    add(s, bf16(w_lo + 128.0F * d) * bf16(scale * (float)u_all + 32.0F * a_lo));
    s->size += (double)d * (double)scale * 255 * 32;
}

static struct sum sum_int8(const float *a, const float *w, size_t k)
{
    struct sum s = {0, 0};
    for (size_t i = 0; i < k; i += 32) {
        add_block(&s, a + i, w + i, k - i < 32 ? k - i : 32);
    }
    return s;
}

typedef struct sum (*sum_fn)(const float *a, const float *w, size_t k);

static void check_shape(enum gdfo_precision p, sum_fn sum, const struct shape *s)
{
    set_up(p, s);
    multiply(s, x.c, 0);
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < s->n; j++) {
            struct sum want = sum(x.a + i * s->k, x.w + j * s->k, s->k);
            gdfo_test_near((double)x.c[i * s->n + j], want.value, 1e-6 * want.size);
        }
    }
    tear_down();
}

static void bf16_is_the_sum_of_rounded_operands(void **state)
{
    (void)state;
    for (size_t i = 0; can(GDFO_PRECISION_BF16) && i < N_SHAPES; i++) {
        check_shape(GDFO_PRECISION_BF16, sum_bf16, &shapes[i]);
    }
}

static void int8_is_the_sum_of_rounded_operands(void **state)
{
    (void)state;
    for (size_t i = 0; can(GDFO_PRECISION_INT8) && i < N_SHAPES; i++) {
        check_shape(GDFO_PRECISION_INT8, sum_int8, &shapes[i]);
    }
}

/* ---- against the exact product ---- */

/* Root mean square of the error over that of the product. */
static double relative_error(const struct shape *s)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < s->n; j++) {
            double want = 0;
            for (size_t l = 0; l < s->k; l++) {
                want += (double)x.a[i * s->k + l] * (double)x.w[j * s->k + l];
            }
            off += pow((double)x.c[i * s->n + j] - want, 2);
            size += want * want;
        }
    }
    return sqrt(off / size);
}

static void errors_are_those_of_the_formats(void **state)
{
    /* bf16 rounds each operand by 2^-9 at most, 2^-9 / sqrt(3) / sqrt(1.5..2) typically: 0.1 to 0.2
       percent. 8 bits: half a step of spread/255 of a block, uniform: 0.5 percent of each. */
    static const struct shape s = {23, 131, 199};
    static const double most[] = {1e-6, 4e-3, 1e-2};
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        if (can((enum gdfo_precision)p)) {
            set_up((enum gdfo_precision)p, &s);
            multiply(&s, x.c, 0);
            assert_true(relative_error(&s) < most[p]);
            assert_true(relative_error(&s) > most[p] / 10);
            tear_down();
        }
    }
}

/* Weights on 16 even levels in each block of 32, as a Q4_1 file has them. */
static void draw_levels(const struct shape *s)
{
    struct gdfo_rng r = gdfo_rng_stream(4, "levels");
    for (size_t i = 0; i < s->n * s->k; i++) {
        size_t at = i % 32;
        double level = at < 16 ? (double)at : floor(16 * gdfo_rng_uniform(&r));
        x.w[i] = (float)(0.0625 * (level - 7.5));
    }
}

static void int8_keeps_weights_of_sixteen_levels(void **state)
{
    static const struct shape s = {7, 40, 128};
    (void)state;
    if (!can(GDFO_PRECISION_INT8)) {
        return;
    }
    for (size_t i = 0; i < s.m * s.k; i++) { /* -128..127 in every block: exact too */
        x.a[i] = i % 32 == 5 ? 127.0F : i % 32 == 6 ? -128.0F : (float)((int)(i * 37 % 201) - 100);
    }
    draw_levels(&s);
    pack_weights(GDFO_PRECISION_INT8, &s);
    multiply(&s, x.c, 0);
    assert_true(relative_error(&s) < 1e-5);
    tear_down();
}

/* ---- what changes no bit ---- */

static void neither_neighbours_nor_cuts_change_a_bit(void **state)
{
    static const struct shape s = {M_MAX, 97, 129};
    static float alone[N_MAX];
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        for (size_t i = 0; i < s.m; i++) {
            const struct gdfo_product one = {.m = 1,
                                             .a = x.a + i * s.k,
                                             .lda = s.k,
                                             .c = alone,
                                             .ldc = N_MAX,
                                             .scratch = x.scratch};
            gdfo_pack_product(x.pack, &one);
            assert_memory_equal(alone, x.c + i * s.n, s.n * sizeof *alone);
        }
        tear_down();
    }
}

static void some_columns_are_those_of_the_whole(void **state)
{
    static const struct shape s = {13, N_MAX, 70};
    static float some[M_MAX * 64];
    (void)state;
    for (int p = GDFO_PRECISION_BF16; p < GDFO_PRECISION_COUNT; p++) {
        struct gdfo_product part = {.m = s.m, .a = x.a, .lda = s.k, .c = some, .ldc = 64};
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        part.scratch = x.scratch;
        part.n_first = 64;
        part.n_count = 35;
        gdfo_pack_product(x.pack, &part);
        for (size_t i = 0; i < s.m; i++) {
            assert_memory_equal(some + i * 64, x.c + i * s.n + 64, 35 * sizeof *some);
            assert_true(some[i * 64 + 35] == 0);
        }
        tear_down();
        memset(some, 0, sizeof some);
    }
}

static void prepared_rows_are_the_same_rows(void **state)
{
    static const struct shape s = {13, 40, 70};
    static float again[M_MAX * N_MAX];
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        struct gdfo_product q = {.m = s.m, .c = again, .ldc = s.n};
        unsigned char *rows;
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        assert_int_equal(gdfo_pack_row_bytes(x.pack) % 64, 0);
        rows = gdfo_mem_aligned(s.m, gdfo_pack_row_bytes(x.pack));
        gdfo_pack_prepare(x.pack, rows, x.a, s.k, 1);
        gdfo_pack_prepare(x.pack, rows + gdfo_pack_row_bytes(x.pack), x.a + s.k, s.k, s.m - 1);
        q.rows = rows;
        q.scratch = x.scratch;
        gdfo_pack_product(x.pack, &q);
        assert_memory_equal(again, x.c, s.m * s.n * sizeof *again);
        gdfo_mem_free(rows);
        tear_down();
    }
}

static void the_other_orientation_is_the_transposed(void **state)
{
    static const struct shape s = {9, 45, 70};
    static float turned[N_MAX * K_MAX], again[M_MAX * N_MAX];
    const struct gdfo_pack_source w = {GDFO_GEMM_NN, turned, s.n, s.k, 50};
    (void)state;
    for (int p = GDFO_PRECISION_BF16; p < GDFO_PRECISION_COUNT; p++) {
        struct gdfo_error err = {0};
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        for (size_t i = 0; i < s.n * s.k; i++) {
            turned[i % s.k * 50 + i / s.k] = x.w[i];
        }
        gdfo_pack_destroy(x.pack);
        gdfo_test_ok(gdfo_pack_create(&x.pack, (enum gdfo_precision)p, &w, &err), &err);
        multiply(&s, again, 0);
        assert_memory_equal(again, x.c, s.m * s.n * sizeof *again);
        tear_down();
    }
}

static void refilled_weights_replace_the_old(void **state)
{
    static const struct shape s = {5, 33, 65};
    static float again[M_MAX * N_MAX];
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        size_t n_blocks;
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        draw(x.w, s.n * s.k, "others", 0.3);
        n_blocks = gdfo_mem_count();
        gdfo_pack_refill(x.pack, x.w, s.k);
        assert_int_equal(gdfo_mem_count(), n_blocks);
        multiply(&s, again, 0);
        assert_true(memcmp(again, x.c, s.m * s.n * sizeof *again) != 0);
        tear_down();
        pack_weights((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        assert_memory_equal(again, x.c, s.m * s.n * sizeof *again);
        tear_down();
    }
}

/* ---- edges ---- */

static void adding_adds(void **state)
{
    static const struct shape s = {7, 35, 65};
    static float sum[M_MAX * N_MAX];
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        for (size_t i = 0; i < s.m * s.n; i++) {
            sum[i] = 100.0F;
        }
        multiply(&s, sum, 1);
        for (size_t i = 0; i < s.m * s.n; i++) {
            gdfo_test_near((double)sum[i], 100.0 + (double)x.c[i],
                           1e-5 * (100 + fabs((double)x.c[i])));
        }
        tear_down();
    }
}

static void a_row_that_is_not_finite_stays_alone(void **state)
{
    static const struct shape s = {8, 33, 70};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static float clean[M_MAX * N_MAX];
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        set_up((enum gdfo_precision)p, &s);
        multiply(&s, clean, 0);
        for (size_t i = 0; i < 3; i++) {
            x.a[3 * s.k + 40 + i] = bad[i];
            multiply(&s, x.c, 0);
            for (size_t j = 0; j < s.m * s.n; j++) {
                assert_true(j / s.n == 3 ? !isfinite(x.c[j]) : x.c[j] == clean[j]);
            }
            x.a[3 * s.k + 40 + i] = 1;
        }
        tear_down();
    }
}

static void zeros_and_equal_weights_are_exact(void **state)
{
    static const struct shape s = {2, 34, 65};
    (void)state;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        if (!can((enum gdfo_precision)p)) {
            continue;
        }
        for (size_t i = 0; i < s.k; i++) {
            x.a[i] = 0;
            x.a[s.k + i] = 1;
        }
        for (size_t i = 0; i < s.n * s.k; i++) {
            x.w[i] = i / s.k % 2 ? 0.5F : 0.0F;
        }
        pack_weights((enum gdfo_precision)p, &s);
        multiply(&s, x.c, 0);
        for (size_t j = 0; j < s.n; j++) {
            assert_true(x.c[j] == 0);
            gdfo_test_near((double)x.c[s.n + j], j % 2 ? 32.5 : 0, 1e-5);
        }
        tear_down();
    }
}

static void a_processor_without_the_instructions_refuses(void **state)
{
    (void)state;
    gdfo_math_limit("avx2");
    assert_int_equal(can(GDFO_PRECISION_F32), 1);
    assert_int_equal(can(GDFO_PRECISION_BF16), 0);
    assert_int_equal(can(GDFO_PRECISION_INT8), 0);
    gdfo_math_limit(NULL);
}

static void names_tell_the_kernels_apart(void **state)
{
    char f32[128];
    (void)state;
    (void)snprintf(f32, sizeof f32, "%s", gdfo_precision_kernels(GDFO_PRECISION_F32));
    assert_string_equal(f32, gdfo_gemm_name());
    for (int p = GDFO_PRECISION_BF16; p < GDFO_PRECISION_COUNT; p++) {
        if (can((enum gdfo_precision)p)) {
            const char *name = gdfo_precision_kernels((enum gdfo_precision)p);
            assert_int_equal(strncmp(name, f32, strlen(f32)), 0);
            assert_non_null(strstr(name, gdfo_precision_name((enum gdfo_precision)p)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_the_sum_of_rounded_operands),
        cmocka_unit_test(int8_is_the_sum_of_rounded_operands),
        cmocka_unit_test(errors_are_those_of_the_formats),
        cmocka_unit_test(int8_keeps_weights_of_sixteen_levels),
        cmocka_unit_test(neither_neighbours_nor_cuts_change_a_bit),
        cmocka_unit_test(some_columns_are_those_of_the_whole),
        cmocka_unit_test(prepared_rows_are_the_same_rows),
        cmocka_unit_test(the_other_orientation_is_the_transposed),
        cmocka_unit_test(refilled_weights_replace_the_old),
        cmocka_unit_test(adding_adds),
        cmocka_unit_test(a_row_that_is_not_finite_stays_alone),
        cmocka_unit_test(zeros_and_equal_weights_are_exact),
        cmocka_unit_test(a_processor_without_the_instructions_refuses),
        cmocka_unit_test(names_tell_the_kernels_apart),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
