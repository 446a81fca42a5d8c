#include "server/optim/cma/params.c" /* statics and private names */
#include "tests/support/test.h"

/* Strategy constants against pycma 4.4.0 (method.md 9.1, printed to two digits there; to full
 * precision in the shared vectors, which test_cma_vectors replays). */
static struct gdfo_cma_params make(size_t n, int64_t popsize, int covariance)
{
    struct gdfo_cma_values v = {.popsize = popsize,
                                .step_size_init = 1,
                                .covariance = covariance,
                                .reference = GDFO_CMA_PYCMA,
                                .active = 1};
    struct gdfo_cma_params p;
    assert_int_equal(gdfo_cma_params_init(&p, &v, n), 1);
    return p;
}

struct row {
    size_t n;
    double c_1, c_mu, c_c, c_sigma;
    double eigen_gap;
    size_t default_popsize;
};

static const struct row table[] = {
    {10, .015, .058, .302, .419, 0.14, 10},        {20, .0044, .018, .175, .274, 0.23, 12},
    {50, 7.6e-4, .0032, .076, .135, 0.50, 15},     {100, 1.9e-4, 8.4e-4, .039, .073, 0.97, 17},
    {200, 4.9e-5, 2.1e-4, .020, .038, 1.9, 19},    {500, 8.0e-6, 3.5e-5, .0080, .0156, 4.7, 22},
    {1000, 2.0e-6, 8.7e-6, .0040, .0079, 9.4, 24},
};

static void constants_are_those_of_pycma(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct row *t = &table[i];
        struct gdfo_cma_params p = make(t->n, 20, GDFO_CMA_FULL);
        gdfo_test_near(p.c_1 / t->c_1, 1, 0.05);
        gdfo_test_near(p.c_mu / t->c_mu, 1, 0.05);
        gdfo_test_near(p.c_c / t->c_c, 1, 0.03);
        gdfo_test_near(p.c_sigma / t->c_sigma, 1, 0.01);
        gdfo_test_near(p.eigen_gap / t->eigen_gap, 1, 0.04);
        gdfo_test_near(p.mu_eff, 5.938804235601242, 1e-14);
        assert_int_equal(p.mu, 10);
        gdfo_cma_params_deinit(&p);
        p = make(t->n, 0, GDFO_CMA_FULL);
        assert_int_equal(p.lambda, t->default_popsize);
        gdfo_cma_params_deinit(&p);
    }
}

/* weights of pycma for n = 5 and n = 10 with 20 candidates, from the shared vectors' params */
static void negative_weights_are_those_of_pycma(void **state)
{
    struct gdfo_cma_params p = make(5, 20, GDFO_CMA_FULL);
    (void)state;
    gdfo_test_near(p.weights[0], 0.27961472096101825, 1e-14);
    gdfo_test_near(p.weights[10], -0.012584166362204314, 1e-14);
    gdfo_test_near(p.weights[19], -0.1743055280667141, 1e-14);
    gdfo_cma_params_deinit(&p);
    p = make(10, 20, GDFO_CMA_FULL);
    gdfo_test_near(p.weights[10], -0.01573652300571613, 1e-14);
    gdfo_test_near(p.weights[19], -0.217969381005932, 1e-14);
    gdfo_cma_params_deinit(&p);
}

static void weights_keep_what_they_promise(void **state)
{
    (void)state;
    for (int64_t popsize = 2; popsize <= 40; popsize += 3) {
        for (int kind = GDFO_CMA_FULL; kind <= GDFO_CMA_NONE; kind++) {
            struct gdfo_cma_params p = make(12, popsize, kind);
            double negative = -sum(p.weights, p.mu, p.lambda);
            gdfo_test_near(sum(p.weights, 0, p.mu), 1, 1e-14);
            for (size_t i = 1; i < p.lambda; i++) {
                assert_true(p.weights[i] <= p.weights[i - 1]);
            }
            if (kind == GDFO_CMA_NONE) {
                gdfo_test_near(negative, 0, 0);
            }
            /* C stays positive definite: its decay outweighs the worst negative update */
            assert_true(p.c_mu * negative * 12 <= 1 - p.c_1 - p.c_mu + 1e-12);
            gdfo_cma_params_deinit(&p);
        }
    }
}

static void a_diagonal_covariance_learns_faster(void **state)
{
    struct gdfo_cma_params full = make(500, 20, GDFO_CMA_FULL);
    struct gdfo_cma_params diagonal = make(500, 20, GDFO_CMA_DIAGONAL);
    (void)state;
    gdfo_test_near(diagonal.c_1 / full.c_1, 502.0 / 3, 1e-9);
    gdfo_test_near(diagonal.c_mu / full.c_mu, 502.0 / 3, 1e-9);
    gdfo_test_near(full.d_tpa, 13.1, 0.003); /* method.md 9.2 */
    gdfo_cma_params_deinit(&full);
    gdfo_cma_params_deinit(&diagonal);
}

static void the_expected_norm_is_that_of_a_normal_vector(void **state)
{
    (void)state; /* n = 1: sqrt(2/pi), n = 2: sqrt(pi/2), n = 3: 2 sqrt(2/pi) */
    gdfo_test_near(expected_norm(1, GDFO_CMA_PYCMA), sqrt(2 / 3.14159265358979323846), 1e-15);
    gdfo_test_near(expected_norm(2, GDFO_CMA_PYCMA), sqrt(3.14159265358979323846 / 2), 1e-15);
    gdfo_test_near(expected_norm(3, GDFO_CMA_PYCMA), 2 * sqrt(2 / 3.14159265358979323846), 1e-15);
    gdfo_test_near(expected_norm(7, GDFO_CMA_PYCMA), 2.5532305945691696, 1e-4);
    gdfo_test_near(expected_norm(3, GDFO_CMA_PURECMA), 1.5968775302586076, 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_are_those_of_pycma),
        cmocka_unit_test(negative_weights_are_those_of_pycma),
        cmocka_unit_test(weights_keep_what_they_promise),
        cmocka_unit_test(a_diagonal_covariance_learns_faster),
        cmocka_unit_test(the_expected_norm_is_that_of_a_normal_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
