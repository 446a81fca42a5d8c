#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/num/la.h"
#include "server/num/la_factor.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* A covariance with eigenvalues 1..condition in random directions; its upper triangle is spoilt and
 * must not be read. */
static double *make(size_t n, double condition)
{
    struct gdfo_rng rng = gdfo_rng_stream(n, "la_factor");
    struct gdfo_la_eigen *e = gdfo_la_eigen_create(n);
    double *a = gdfo_mem_aligned(n * n + 1, sizeof *a);
    double *q = gdfo_mem_aligned(n * n + 1, sizeof *q);
    double *w = gdfo_mem_array(n + 1, sizeof *w);
    gdfo_rng_normals(&rng, q, n * n);
    assert_int_equal(gdfo_la_eigen_run(e, q, w), 1); /* rows of q: an orthonormal basis */
    for (size_t k = 0; k < n; k++) {
        double value = pow(condition, n > 1 ? (double)k / (double)(n - 1) : 0);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j <= i; j++) {
                a[i * n + j] += value * q[k * n + i] * q[k * n + j];
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            a[i * n + j] = 1e9;
        }
    }
    gdfo_la_eigen_destroy(e);
    gdfo_mem_free(q);
    gdfo_mem_free(w);
    return a;
}

static double *vector(size_t n, const char *name)
{
    struct gdfo_rng rng = gdfo_rng_stream(n, name);
    double *x = gdfo_mem_aligned(n + 1, sizeof *x);
    gdfo_rng_normals(&rng, x, n);
    return x;
}

static const size_t sizes[] = {1, 2, 3, 17, 33, 65, 130};
#define N_SIZES (sizeof sizes / sizeof sizes[0])

static void the_factor_times_its_transpose_is_the_matrix(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        struct gdfo_la_factor *f = gdfo_la_factor_create(n);
        double *a = make(n, 50);
        double *r = gdfo_mem_aligned(n * n, sizeof *r);
        assert_int_equal(gdfo_la_factor_run(f, a, r), 1);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j <= i; j++) {
                double sum = 0;
                for (size_t k = 0; k <= j; k++) {
                    sum += r[k * n + i] * r[k * n + j];
                }
                gdfo_test_near(sum, a[i * n + j], 1e-12 * 50);
            }
        }
        gdfo_la_factor_destroy(f);
        gdfo_mem_free(a);
        gdfo_mem_free(r);
    }
}

/* x = R^T z by its definition, with a lower triangle that must not be read; solving takes it back.
 */
static void multiplying_and_solving_are_each_others_inverse(void **state)
{
    enum { ROWS = 3 };
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        struct gdfo_la_factor *f = gdfo_la_factor_create(n);
        double *a = make(n, 50);
        double *r = gdfo_mem_aligned(n * n, sizeof *r);
        double *z = vector(ROWS * n, "z");
        double *x = gdfo_mem_dup(z, ROWS * n * sizeof *z);
        for (size_t i = 0; i < n * n; i++) {
            r[i] = 1e9;
        }
        assert_int_equal(gdfo_la_factor_run(f, a, r), 1);
        gdfo_la_factor_multiply(f, r, x, ROWS);
        for (size_t i = 0; i < ROWS * n; i++) {
            double sum = 0;
            for (size_t k = 0; k <= i % n; k++) {
                sum += r[k * n + i % n] * z[i / n * n + k];
            }
            gdfo_test_near(x[i], sum, 1e-12 * 50);
        }
        gdfo_la_factor_solve(f, r, x, ROWS);
        for (size_t i = 0; i < ROWS * n; i++) {
            gdfo_test_near(x[i], z[i], 1e-12 * 50);
        }
        gdfo_la_factor_destroy(f);
        gdfo_mem_free(a);
        gdfo_mem_free(r);
        gdfo_mem_free(z);
        gdfo_mem_free(x);
    }
}

/* C^-1/2 b from the eigenvectors. */
static double *by_eigenvectors(const double *a, const double *b, size_t n)
{
    struct gdfo_la_eigen *e = gdfo_la_eigen_create(n);
    double *v = gdfo_mem_dup(a, n * n * sizeof *a);
    double *w = gdfo_mem_array(n, sizeof *w);
    double *out = gdfo_mem_array(n, sizeof *out);
    assert_int_equal(gdfo_la_eigen_run(e, v, w), 1);
    for (size_t k = 0; k < n; k++) {
        double share = gdfo_la_dot(v + k * n, b, n) / sqrt(w[k]);
        for (size_t i = 0; i < n; i++) {
            out[i] += share * v[k * n + i];
        }
    }
    gdfo_la_eigen_destroy(e);
    gdfo_mem_free(v);
    gdfo_mem_free(w);
    return out;
}

static void the_inverse_root_is_that_of_the_eigenvectors(void **state)
{
    static const double conditions[] = {1, 1.01, 1.5, 5};
    (void)state;
    for (size_t s = 0; s < N_SIZES * 4; s++) {
        size_t n = sizes[s / 4];
        struct gdfo_la_factor *f = gdfo_la_factor_create(n);
        struct gdfo_la_ritz ritz = {0};
        double *a = make(n, conditions[s % 4]);
        double *b = vector(n, "b");
        double *want = by_eigenvectors(a, b, n);
        double *have = gdfo_mem_array(n, sizeof *have);
        double length = sqrt(gdfo_la_dot(b, b, n));
        size_t steps = gdfo_la_factor_inverse_root(f, a, b, have, &ritz);
        assert_in_range(steps, 1, n < 48 ? n : 48);
        for (size_t i = 0; i < n; i++) {
            gdfo_test_near(have[i], want[i], 1e-13 * length);
        }
        assert_true(ritz.least >= 1 - 1e-12 && ritz.most <= conditions[s % 4] * (1 + 1e-12));
        gdfo_la_factor_destroy(f);
        gdfo_mem_free(a);
        gdfo_mem_free(b);
        gdfo_mem_free(want);
        gdfo_mem_free(have);
    }
}

static void close_eigenvalues_need_few_steps_and_far_ones_too_many(void **state)
{
    static const double conditions[] = {1.03, 1e6};
    enum { N = 130 };
    struct gdfo_la_factor *f = gdfo_la_factor_create(N);
    double *b = vector(N, "b");
    double out[N] = {7};
    struct gdfo_la_ritz ritz = {3, 4};
    double *near = make(N, conditions[0]);
    double *far = make(N, conditions[1]);
    (void)state;
    assert_int_equal(gdfo_la_factor_inverse_root(f, far, b, out, &ritz), 0);
    gdfo_test_near(out[0], 7, 0); /* untouched */
    gdfo_test_near(ritz.least, 3, 0);
    assert_in_range(gdfo_la_factor_inverse_root(f, near, b, out, &ritz), 3, 9);
    gdfo_la_factor_destroy(f);
    gdfo_mem_free(b);
    gdfo_mem_free(near);
    gdfo_mem_free(far);
}

static void a_matrix_that_is_not_positive_is_refused(void **state)
{
    double a[4] = {1, 0, 2, 1}; /* eigenvalues -1 and 3 */
    double r[4];
    double b[2] = {1, 0};
    struct gdfo_la_ritz ritz;
    struct gdfo_la_factor *f = gdfo_la_factor_create(2);
    (void)state;
    assert_int_equal(gdfo_la_factor_run(f, a, r), 0);
    assert_int_equal(gdfo_la_factor_inverse_root(f, a, b, b, &ritz), 0);
    gdfo_la_factor_destroy(f);
}

static void the_root_of_nothing_is_nothing(void **state)
{
    double a[4] = {2, 0, 0, 2};
    double b[2] = {0, 0};
    double out[2] = {5, 5};
    struct gdfo_la_ritz ritz;
    struct gdfo_la_factor *f = gdfo_la_factor_create(2);
    (void)state;
    assert_int_equal(gdfo_la_factor_inverse_root(f, a, b, out, &ritz), 1);
    gdfo_test_near(out[0], 0, 0);
    gdfo_test_near(ritz.most, 1, 0);
    b[1] = 3;
    assert_int_equal(gdfo_la_factor_inverse_root(f, a, b, b, &ritz), 1); /* in place */
    gdfo_test_near(b[1], 3 / sqrt(2), 1e-15);
    gdfo_test_near(ritz.least, 2, 1e-15);
    gdfo_la_factor_destroy(f);
}

static void nothing_is_allocated_after_set_up(void **state)
{
    enum { N = 33 };
    struct gdfo_la_factor *f = gdfo_la_factor_create(N);
    struct gdfo_la_ritz ritz;
    double *a = make(N, 2);
    double *r = gdfo_mem_aligned((size_t)N * N, sizeof *r);
    double *b = vector(N, "b");
    size_t before = gdfo_mem_count();
    (void)state;
    assert_int_equal(gdfo_la_factor_run(f, a, r), 1);
    assert_true(gdfo_la_factor_inverse_root(f, a, b, b, &ritz) > 0);
    gdfo_la_factor_solve(f, r, b, 1);
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_la_factor_destroy(f);
    gdfo_mem_free(a);
    gdfo_mem_free(r);
    gdfo_mem_free(b);
}

static void no_memory_gives_no_workspace(void **state)
{
    (void)state;
    for (long n = 0; n < 2; n++) {
        gdfo_mem_fail_after(n);
        assert_null(gdfo_la_factor_create(4));
    }
    gdfo_mem_fail_after(-1);
    assert_null(gdfo_la_factor_create(8193));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_factor_times_its_transpose_is_the_matrix),
        cmocka_unit_test(multiplying_and_solving_are_each_others_inverse),
        cmocka_unit_test(the_inverse_root_is_that_of_the_eigenvectors),
        cmocka_unit_test(close_eigenvalues_need_few_steps_and_far_ones_too_many),
        cmocka_unit_test(a_matrix_that_is_not_positive_is_refused),
        cmocka_unit_test(the_root_of_nothing_is_nothing),
        cmocka_unit_test(nothing_is_allocated_after_set_up),
        cmocka_unit_test(no_memory_gives_no_workspace),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
