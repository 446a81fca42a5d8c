#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/num/la.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* A symmetric random matrix whose upper triangle is spoilt: it must not be read. */
static double *make(size_t n, uint64_t seed)
{
    struct gdfo_rng r = gdfo_rng_stream(seed, "la");
    double *a = gdfo_mem_array(n * n + 1, sizeof *a);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            a[i * n + j] = j <= i ? gdfo_rng_normal(&r) : 1e9;
        }
    }
    return a;
}

static double at(const double *a, size_t n, size_t i, size_t j)
{
    return i >= j ? a[i * n + j] : a[j * n + i];
}

/* A v = w v for every pair, rows orthonormal, eigenvalues ascending. */
static void check(size_t n)
{
    double *a = make(n, n);
    double *v = gdfo_mem_dup(a, (n * n + 1) * sizeof *a);
    double *w = gdfo_mem_array(n + 1, sizeof *w);
    struct gdfo_la_eigen *e = gdfo_la_eigen_create(n);
    assert_non_null(e);
    assert_int_equal(gdfo_la_eigen_run(e, v, w), 1);
    for (size_t k = 0; k < n; k++) {
        assert_true(k == 0 || w[k] >= w[k - 1]);
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                sum += at(a, n, i, j) * v[k * n + j];
            }
            gdfo_test_near(sum, w[k] * v[k * n + i], 1e-12 * (double)n);
            gdfo_test_near(gdfo_la_dot(v + k * n, v + i * n, n), k == i ? 1 : 0, 1e-13 * (double)n);
        }
    }
    gdfo_la_eigen_destroy(e);
    gdfo_mem_free(a);
    gdfo_mem_free(v);
    gdfo_mem_free(w);
}

static void eigenpairs_belong_to_the_matrix(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 3, 17, 65, 130};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check(sizes[i]);
    }
}

static void a_known_matrix_has_its_known_eigenvalues(void **state)
{
    double a[9] = {2, 0, 0, -1, 2, 0, 0, -1, 2}; /* 2 - sqrt 2, 2, 2 + sqrt 2 */
    double w[3];
    struct gdfo_la_eigen *e = gdfo_la_eigen_create(3);
    (void)state;
    assert_int_equal(gdfo_la_eigen_run(e, a, w), 1);
    gdfo_test_near(w[0], 2 - sqrt(2), 1e-14);
    gdfo_test_near(w[1], 2, 1e-14);
    gdfo_test_near(w[2], 2 + sqrt(2), 1e-14);
    gdfo_la_eigen_destroy(e);
}

static void the_same_matrix_gives_the_same_bits(void **state)
{
    enum { N = 65 };
    double *a = make(N, 5);
    double *b = gdfo_mem_dup(a, N * N * sizeof *a);
    double w[N];
    double x[N];
    struct gdfo_la_eigen *e = gdfo_la_eigen_create(N);
    size_t before = gdfo_mem_count();
    (void)state;
    assert_int_equal(gdfo_la_eigen_run(e, a, w), 1);
    assert_int_equal(gdfo_la_eigen_run(e, b, x), 1);
    assert_int_equal(gdfo_mem_count(), before); /* and nothing is allocated */
    assert_memory_equal(a, b, N * N * sizeof *a);
    assert_memory_equal(w, x, sizeof w);
    gdfo_la_eigen_destroy(e);
    gdfo_mem_free(a);
    gdfo_mem_free(b);
}

static void no_memory_gives_no_workspace(void **state)
{
    (void)state;
    for (long n = 0; n < 3; n++) {
        gdfo_mem_fail_after(n);
        assert_null(gdfo_la_eigen_create(4));
    }
    gdfo_mem_fail_after(-1);
    assert_null(gdfo_la_eigen_create(8193));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenpairs_belong_to_the_matrix),
        cmocka_unit_test(a_known_matrix_has_its_known_eigenvalues),
        cmocka_unit_test(the_same_matrix_gives_the_same_bits),
        cmocka_unit_test(no_memory_gives_no_workspace),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
