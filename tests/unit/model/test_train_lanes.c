#include "common/mem.h"
#include "common/rng.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/mathx.h"
#include "server/num/precision.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Every table of training's inner loops against plain loops in double, at odd sizes. */
static const size_t SIZES[] = {1, 3, 8, 17, 65};
#define N_SIZES (sizeof SIZES / sizeof SIZES[0])

static float *randoms(size_t n, const char *name)
{
    struct gdfo_rng rng = gdfo_rng_stream(n, name);
    float *x = gdfo_mem_array(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)gdfo_rng_normal(&rng);
    }
    return x;
}

static double element(const float *x, size_t ld, size_t i, size_t j, int is_transposed)
{
    return (double)(is_transposed ? x[j * ld + i] : x[i * ld + j]);
}

/* ---- products -------------------------------------------------------------------------------- */

struct shape {
    enum gdfo_gemm_op op;
    size_t m, n, k;
    float beta;
};

/* Rows are three longer than they must be, and what lies between is left alone. */
static void check_product(const struct gdfo_train_lanes *lanes, const struct shape *s)
{
    size_t lda = (s->op == GDFO_GEMM_TN ? s->m : s->k) + 3;
    size_t ldb = (s->op == GDFO_GEMM_NT ? s->k : s->n) + 3;
    size_t ldc = s->n + 3;
    float *a = randoms((s->op == GDFO_GEMM_TN ? s->k : s->m) * lda, "a");
    float *b = randoms((s->op == GDFO_GEMM_NT ? s->n : s->k) * ldb, "b");
    float *c = randoms(s->m * ldc, "c");
    float *was = randoms(s->m * ldc, "c");
    struct gdfo_gemm g = {.op = s->op, .m = s->m, .n = s->n, .k = s->k, .a = a, .b = b, .c = c};
    g.lda = lda;
    g.ldb = ldb;
    g.ldc = ldc;
    g.beta = s->beta;
    lanes->product(&g);
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < ldc; j++) {
            double want =
                j < s->n ? (double)s->beta * (double)was[i * ldc + j] : (double)was[i * ldc + j];
            for (size_t l = 0; l < s->k && j < s->n; l++) {
                want += element(a, lda, i, l, s->op == GDFO_GEMM_TN) *
                        element(b, ldb, l, j, s->op == GDFO_GEMM_NT);
            }
            gdfo_test_near((double)c[i * ldc + j], want, 1e-4);
        }
    }
    gdfo_mem_free(a);
    gdfo_mem_free(b);
    gdfo_mem_free(c);
    gdfo_mem_free(was);
}

static void small_products_equal_plain_loops(void **state)
{
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 0; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        for (size_t i = 0; i < N_SIZES * N_SIZES * N_SIZES; i++) {
            struct shape s = {.m = SIZES[i % N_SIZES],
                              .n = SIZES[i / N_SIZES % N_SIZES],
                              .k = SIZES[i / N_SIZES / N_SIZES],
                              .beta = (float)(i % 2)};
            for (int op = GDFO_GEMM_NT; op <= GDFO_GEMM_TN; op++) {
                s.op = (enum gdfo_gemm_op)op;
                check_product(lanes, &s);
            }
        }
    }
}

/* A row's numbers do not depend on how many rows stand beside it. */
static void a_row_of_a_product_is_its_own(void **state)
{
    float *a = randoms(13 * 20, "a");
    float *b = randoms(20 * 37, "b");
    float all[13 * 37], one[37];
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN, .m = 13, .n = 37, .k = 20, .lda = 20};
    (void)state;
    g.a = a;
    g.b = b;
    g.c = all;
    g.ldb = g.ldc = 37;
    gdfo_train_lanes()->product(&g);
    g.m = 1;
    g.c = one;
    for (size_t i = 0; i < 13; i++) {
        g.a = a + i * 20;
        gdfo_train_lanes()->product(&g);
        assert_memory_equal(one, all + i * 37, sizeof one);
    }
    gdfo_mem_free(a);
    gdfo_mem_free(b);
}

/* ---- softmax --------------------------------------------------------------------------------- */

static void check_softmax(const struct gdfo_train_lanes *lanes, size_t seen, size_t n)
{
    float *x = randoms(n, "scores");
    float *p = randoms(n, "scores");
    float *ds = randoms(n, "ds");
    double sum = 0;
    double dot = 0;
    lanes->softmax(p, seen, n, 0.5F);
    for (size_t i = 0; i < seen; i++) {
        sum += exp(0.5 * (double)x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        gdfo_test_near((double)p[i], i < seen ? exp(0.5 * (double)x[i]) / sum : 0, 1e-6);
        dot += (double)p[i] * (double)ds[i];
    }
    memcpy(x, ds, n * sizeof *x);
    lanes->softmax_backward(ds, p, n, 0.5F);
    for (size_t i = 0; i < n; i++) {
        gdfo_test_near((double)ds[i], 0.5 * (double)p[i] * ((double)x[i] - dot), 1e-5);
    }
    gdfo_mem_free(x);
    gdfo_mem_free(p);
    gdfo_mem_free(ds);
}

static void softmax_and_its_backward_equal_plain_loops(void **state)
{
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 0; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        for (size_t i = 0; i < N_SIZES; i++) {
            check_softmax(lanes, SIZES[i], SIZES[i]);
            check_softmax(lanes, SIZES[i], SIZES[i] + 9);
        }
    }
}

static void softmax_of_scores_far_apart_stays_finite(void **state)
{
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 0; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        float s[18] = {-3e38F, 1e5F, -1e5F, 1e5F};
        lanes->softmax(s, 18, 18, 1);
        assert_true(s[0] == 0 && s[2] == 0 && s[5] == 0);
        gdfo_test_near((double)s[1], 0.5, 1e-6);
        gdfo_test_near((double)s[3], 0.5, 1e-6);
    }
}

/* ---- norms, activation ----------------------------------------------------------------------- */

static void tables_agree_on_norm_and_swiglu(void **state)
{
    const struct gdfo_train_lanes *plain = gdfo_train_lanes_at(0);
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 1; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        for (size_t i = 0; i < N_SIZES; i++) {
            size_t n = SIZES[i];
            float *x = randoms(n, "x");
            float *w = randoms(n, "w");
            float *d = randoms(n, "d");
            float got[4][65] = {{0}};
            float want[4][65] = {{0}};
            plain->norm_backward(want[0], d, x, w, n, 1e-5);
            lanes->norm_backward(got[0], d, x, w, n, 1e-5);
            plain->norm_backward_weight(want[1], d, x, n, 1e-5);
            lanes->norm_backward_weight(got[1], d, x, n, 1e-5);
            plain->swiglu_backward(want[2], want[3], d, x, w, n);
            lanes->swiglu_backward(got[2], got[3], d, x, w, n);
            for (size_t j = 0; j < sizeof got / sizeof(float); j++) {
                gdfo_test_near((double)got[j / 65][j % 65], (double)want[j / 65][j % 65], 1e-5);
            }
            gdfo_mem_free(x);
            gdfo_mem_free(w);
            gdfo_mem_free(d);
        }
    }
}

/* ---- the optimiser --------------------------------------------------------------------------- */

static void adamw_is_its_formula_inside_its_range(void **state)
{
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 0; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        float *p = randoms(70, "p");
        float *was = randoms(70, "p");
        float *g = randoms(70, "g");
        float m[70] = {0};
        float v[70] = {0};
        struct gdfo_train_adamw s = {.params = p, .m = m, .v = v, .grads = g};
        s.keep = 0.75F;
        s.beta1 = 0.5F;
        s.beta2 = 0.25F;
        s.eps = 1e-3F;
        s.rate = 0.125F;
        s.root_bias2 = 0.5F;
        lanes->adamw(&s, 3, 68);
        for (size_t i = 0; i < 70; i++) {
            double x = (double)g[i];
            double want = (double)was[i] * 0.75 -
                          0.125 * 0.5 * x / (sqrt(0.75 * x * x) / 0.5 + (double)s.eps);
            int is_in = i >= 3 && i < 68;
            gdfo_test_near((double)m[i], is_in ? 0.5 * x : 0, 1e-6);
            gdfo_test_near((double)v[i], is_in ? 0.75 * x * x : 0, 1e-5);
            gdfo_test_near((double)p[i], is_in ? want : (double)was[i], 1e-6);
        }
        gdfo_mem_free(p);
        gdfo_mem_free(was);
        gdfo_mem_free(g);
    }
}

static void one_number_that_is_not_finite_is_found_wherever_it_lies(void **state)
{
    const struct gdfo_train_lanes *lanes;
    (void)state;
    for (size_t t = 0; (lanes = gdfo_train_lanes_at(t)) != NULL; t++) {
        float x[37];
        for (size_t i = 0; i < 37; i++) {
            x[i] = 1e38F; /* whose sum is not */
        }
        assert_true(lanes->is_finite(x, 37));
        for (size_t i = 0; i < 37; i++) {
            x[i] = i % 2 ? NAN : -INFINITY;
            assert_false(lanes->is_finite(x, 37));
            x[i] = 0;
        }
        assert_true(lanes->is_finite(x, 0));
    }
}

/* ---- bfloat16 -------------------------------------------------------------------------------- */

/* Half of the bits of a float, rounded to even. */
static double rounded(float x)
{
    uint32_t bits;
    float y;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7FFFU + (bits >> 16 & 1U)) & 0xFFFF0000U;
    memcpy(&y, &bits, sizeof y);
    return (double)y;
}

static uint32_t *pairs_of(const struct gdfo_train_lanes *lanes, const float *x, size_t cols,
                          size_t T, size_t room)
{
    size_t n = (cols + GDFO_TRAIN_PANEL - 1) / GDFO_TRAIN_PANEL;
    uint32_t *out = gdfo_mem_array(n * room * GDFO_TRAIN_PANEL, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        lanes->pairs(out + i * room * GDFO_TRAIN_PANEL, x + i * GDFO_TRAIN_PANEL, cols, T,
                     cols - i * GDFO_TRAIN_PANEL);
    }
    return out;
}

static void check_outer(const struct gdfo_train_lanes *lanes, size_t m, size_t n, size_t T)
{
    int is_written = T % 2 == 0;
    size_t room = (T + 1) / 2 + 1;
    float *a = randoms(T * m, "a");
    float *b = randoms(T * n, "b");
    float *c = randoms(m * n, "c");
    float *was = randoms(m * n, "c");
    uint32_t *pa = pairs_of(lanes, a, m, T, room);
    uint32_t *pb = pairs_of(lanes, b, n, T, room);
    const struct gdfo_train_outer o = {.a = pa,
                                       .b = pb,
                                       .n_pairs = (T + 1) / 2,
                                       .panel_pairs = room,
                                       .m = m,
                                       .n = n,
                                       .c = c,
                                       .ldc = n,
                                       .is_written = is_written};
    lanes->outer(&o);
    for (size_t i = 0; i < m * n; i++) {
        double want = is_written ? 0 : (double)was[i];
        for (size_t t = 0; t < T; t++) {
            want += rounded(a[t * m + i / n]) * rounded(b[t * n + i % n]);
        }
        gdfo_test_near((double)c[i], want, 1e-4);
    }
    gdfo_mem_free(a);
    gdfo_mem_free(b);
    gdfo_mem_free(c);
    gdfo_mem_free(was);
    gdfo_mem_free(pa);
    gdfo_mem_free(pb);
}

/* Where no table has them there is nothing to hold to anything. */
static void outer_products_of_pairs_equal_sums_of_rounded_products(void **state)
{
    const struct gdfo_train_lanes *lanes = gdfo_train_lanes();
    (void)state;
    assert_int_equal(lanes->outer != NULL, lanes->pairs != NULL);
    for (size_t i = 0; i < N_SIZES && lanes->outer; i++) {
        check_outer(lanes, SIZES[i], 65, 17);
        check_outer(lanes, 50, SIZES[i], 8);
        check_outer(lanes, 17, 48, SIZES[i]);
    }
}

/* ---- the choice ------------------------------------------------------------------------------ */

static void the_tables_go_no_further_than_those_of_num(void **state)
{
    (void)state;
    assert_string_equal(gdfo_train_lanes_at(0)->name, "plain");
    for (size_t i = 0; gdfo_math_at(i); i++) {
        gdfo_math_limit(gdfo_math_at(i)->name);
        assert_memory_equal(gdfo_train_lanes()->name, gdfo_math()->name, strlen(gdfo_math()->name));
        gdfo_math_limit(NULL);
    }
    if (gdfo_precision_is_available(GDFO_PRECISION_BF16)) {
        assert_non_null(gdfo_train_lanes()->outer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_products_equal_plain_loops),
        cmocka_unit_test(a_row_of_a_product_is_its_own),
        cmocka_unit_test(softmax_and_its_backward_equal_plain_loops),
        cmocka_unit_test(softmax_of_scores_far_apart_stays_finite),
        cmocka_unit_test(tables_agree_on_norm_and_swiglu),
        cmocka_unit_test(adamw_is_its_formula_inside_its_range),
        cmocka_unit_test(one_number_that_is_not_finite_is_found_wherever_it_lies),
        cmocka_unit_test(outer_products_of_pairs_equal_sums_of_rounded_products),
        cmocka_unit_test(the_tables_go_no_further_than_those_of_num),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
