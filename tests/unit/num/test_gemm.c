#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pool.h"
#include "tests/support/test.h"

#include <string.h>

static float at(const struct gdfo_gemm *g, const float *x, size_t ld, size_t r, size_t c,
                int transposed)
{
    (void)g;
    return transposed ? x[c * ld + r] : x[r * ld + c];
}

/* Plain triple loop in double: the reference. */
static double plain(const struct gdfo_gemm *g, size_t i, size_t j)
{
    double sum = 0;
    for (size_t k = 0; k < g->k; k++) {
        sum += (double)at(g, g->a, g->lda, i, k, g->op == GDFO_GEMM_TN) *
               (double)at(g, g->b, g->ldb, k, j, g->op == GDFO_GEMM_NT);
    }
    return sum;
}

static void check_shape(struct gdfo_pool *pool, enum gdfo_gemm_op op, size_t m, size_t n, size_t k)
{
    struct gdfo_rng r = gdfo_rng_stream(m * 10000 + n * 100 + k, "gemm");
    float *a = gdfo_mem_array(m * k, sizeof *a);
    float *b = gdfo_mem_array(n * k, sizeof *b);
    float *c = gdfo_mem_array(m * n, sizeof *c);
    struct gdfo_gemm g = {
        .op = op, .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = n, .beta = 1.0F};
    g.lda = op == GDFO_GEMM_TN ? m : k;
    g.ldb = op == GDFO_GEMM_NT ? k : n;
    for (size_t i = 0; i < m * k; i++) {
        a[i] = (float)gdfo_rng_normal(&r);
    }
    for (size_t i = 0; i < n * k; i++) {
        b[i] = (float)gdfo_rng_normal(&r);
    }
    for (size_t i = 0; i < m * n; i++) {
        c[i] = 0.5F;
    }
    gdfo_gemm_pool(pool, &g);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            gdfo_test_near((double)c[i * n + j], plain(&g, i, j) + 0.5, 1e-4);
        }
    }
    gdfo_mem_free(a);
    gdfo_mem_free(b);
    gdfo_mem_free(c);
}

static void every_form_equals_the_plain_loop(void **state)
{
    static const size_t sizes[] = {1, 3, 17, 65};
    struct gdfo_pool *pool = *state;
    for (int op = GDFO_GEMM_NT; op <= GDFO_GEMM_TN; op++) {
        for (size_t i = 0; i < 64; i++) {
            check_shape(pool, (enum gdfo_gemm_op)op, sizes[i % 4], sizes[i / 4 % 4], sizes[i / 16]);
        }
        check_shape(pool, (enum gdfo_gemm_op)op, GDFO_GEMM_TILE * 2 + 5, 7, 9);
    }
}

static void mark(void *ctx, size_t item, unsigned slot)
{
    int *seen = ctx;
    assert_true(slot < 3);
    seen[item]++;
}

static void the_pool_runs_every_item_once(void **state)
{
    static int seen[1000];
    for (int turn = 0; turn < 50; turn++) {
        gdfo_pool_run(*state, 1000, mark, seen);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[i], 50);
    }
    gdfo_pool_run(*state, 0, mark, seen);
    gdfo_pool_run(NULL, 1000, mark, seen);
    assert_int_equal(seen[999], 51);
}

static void a_pool_of_no_threads_is_refused(void **state)
{
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_pool_create(&pool, 0, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "compute threads 0: want 1..256");
    assert_null(pool);
}

static void the_name_tells_both_kinds_of_kernels(void **state)
{
    const char *name = gdfo_gemm_name();
    const char *plus = strchr(name, '+');
    (void)state;
    assert_int_equal(strncmp(name, "openblas/", 9), 0);
    assert_non_null(plus);
    assert_string_equal(plus + 1, gdfo_math()->name);
}

static int make_pool(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_pool *pool = NULL;
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&pool, 3, &err), &err);
    *state = pool;
    return 0;
}

static int end_pool(void **state)
{
    gdfo_pool_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_equals_the_plain_loop),
        cmocka_unit_test(the_pool_runs_every_item_once),
        cmocka_unit_test(a_pool_of_no_threads_is_refused),
        cmocka_unit_test(the_name_tells_both_kinds_of_kernels),
    };
    return cmocka_run_group_tests(tests, make_pool, end_pool);
}
