#include "common/mem.h"
#include "common/rng.h"
#include "server/num/mathx.h"
#include "server/num/pack.h"
#include "tests/support/test.h"

#include <string.h>

/* Packed products in float32 against a triple loop in double. */

#define M_MAX (GDFO_GEMM_TILE + 40)

static void draw(float *x, size_t n, const char *name)
{
    struct gdfo_rng r = gdfo_rng_stream(n, name);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)gdfo_rng_normal(&r);
    }
}

static double plain(const struct gdfo_pack_source *s, const float *a, size_t j)
{
    double sum = 0;
    for (size_t i = 0; i < s->k; i++) {
        size_t at = s->op == GDFO_GEMM_NT ? j * s->ld + i : i * s->ld + j;
        sum += (double)a[i] * (double)s->w[at];
    }
    return sum;
}

static struct gdfo_pack *make(enum gdfo_precision p, const struct gdfo_pack_source *s)
{
    struct gdfo_error err = {0};
    struct gdfo_pack *pack = NULL;
    gdfo_test_ok(gdfo_pack_create(&pack, p, s, &err), &err);
    return pack;
}

static void check_f32(enum gdfo_gemm_op op, size_t m, size_t n, size_t k)
{
    float *w = gdfo_mem_aligned(n * k, sizeof *w);
    float *a = gdfo_mem_aligned(m * k, sizeof *a);
    float *c = gdfo_mem_aligned(m * n, sizeof *c);
    struct gdfo_pack_source s = {.op = op, .w = w, .n = n, .k = k};
    struct gdfo_product x = {.m = m, .a = a, .lda = k, .c = c, .ldc = n, .beta = 1.0F};
    struct gdfo_pack *p;
    draw(w, n * k, "weights");
    draw(a, m * k, "activations");
    draw(c, m * n, "before");
    s.ld = op == GDFO_GEMM_NT ? k : n;
    p = make(GDFO_PRECISION_F32, &s);
    x.scratch = gdfo_mem_aligned(gdfo_pack_scratch(p, m), 1);
    gdfo_pack_product(p, &x);
    x.beta = 0.0F;
    for (size_t i = 0; i < m * n; i++) {
        gdfo_test_near((double)c[i], 0, 1e3);
    }
    gdfo_pack_product(p, &x);
    for (size_t i = 0; i < m * n; i++) {
        gdfo_test_near((double)c[i], plain(&s, a + i / n * k, i % n), 1e-4);
    }
    gdfo_pack_destroy(p);
    gdfo_mem_free(x.scratch);
    gdfo_mem_free(w);
    gdfo_mem_free(a);
    gdfo_mem_free(c);
}

static void float_products_equal_the_plain_loop(void **state)
{
    static const size_t sizes[] = {1, 3, 17, 65};
    (void)state;
    for (size_t i = 0; i < 64; i++) {
        check_f32(GDFO_GEMM_NT, sizes[i % 4], sizes[i / 4 % 4], sizes[i / 16]);
        check_f32(GDFO_GEMM_NN, sizes[i % 4], sizes[i / 4 % 4], sizes[i / 16]);
    }
    check_f32(GDFO_GEMM_NT, M_MAX, 33, 20);
}

static void precisions_have_names(void **state)
{
    enum gdfo_precision p = GDFO_PRECISION_F32;
    (void)state;
    assert_int_equal(gdfo_precision_parse("int8", &p), 1);
    assert_int_equal(p, GDFO_PRECISION_INT8);
    assert_int_equal(gdfo_precision_parse("bf16", &p), 1);
    assert_int_equal(p, GDFO_PRECISION_BF16);
    assert_int_equal(gdfo_precision_parse("fp64", &p), 0);
    assert_int_equal(p, GDFO_PRECISION_BF16);
    assert_string_equal(gdfo_precision_name(GDFO_PRECISION_F32), "f32");
    assert_int_equal(gdfo_precision_is_available(GDFO_PRECISION_F32), 1);
    assert_string_equal(gdfo_precision_kernels(GDFO_PRECISION_F32), gdfo_gemm_name());
}

static void empty_and_ragged_weights_are_refused(void **state)
{
    float w[6] = {0};
    struct gdfo_pack_source s = {.op = GDFO_GEMM_NT, .w = w, .n = 0, .k = 3, .ld = 3};
    struct gdfo_error err = {0};
    struct gdfo_pack *p = NULL;
    (void)state;
    assert_int_equal(gdfo_pack_create(&p, GDFO_PRECISION_F32, &s, &err), GDFO_STATUS_INVALID);
    s.n = 2;
    s.ld = 2;
    assert_int_equal(gdfo_pack_create(&p, GDFO_PRECISION_F32, &s, &err), GDFO_STATUS_INVALID);
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_products_equal_the_plain_loop),
        cmocka_unit_test(precisions_have_names),
        cmocka_unit_test(empty_and_ragged_weights_are_refused),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
