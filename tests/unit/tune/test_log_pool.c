#include "server/tune/log_pool.h"
#include "tests/support/test.h"

#include <math.h>

#define N 40
#define L 3

/* One row of two classes, of two voices. */
static void join_two(const float *const *votes, const double *weights, float *out)
{
    const struct gdfo_log_pool p = {.votes = votes, .n_voices = 2, .n = 1, .n_labels = 2};
    gdfo_log_pool_join(&p, weights, out);
}

/* .8^2 x .3 : .2^2 x .7 is .872727 : .127273. */
static void a_weighted_product_is_renormalised(void **state)
{
    const float a[] = {logf(0.8F), logf(0.2F)};
    const float b[] = {logf(0.3F), logf(0.7F)};
    const float *votes[] = {a, b};
    const double weights[] = {2, 1};
    float out[2];
    (void)state;
    join_two(votes, weights, out);
    gdfo_test_near(exp((double)out[0]), 0.872727, 1e-5);
    gdfo_test_near(exp((double)out[1]), 0.127273, 1e-5);
}

/* sqrt(.8 x .4) : sqrt(.2 x .6) is .6202 : .3798. */
static void even_weights_speak_the_geometric_mean(void **state)
{
    float a[] = {logf(0.8F), logf(0.2F)};
    const float b[] = {logf(0.4F), logf(0.6F)};
    const float *votes[] = {a, b};
    const double weights[] = {0.5, 0.5};
    (void)state;
    join_two(votes, weights, a); /* over one of the votes */
    gdfo_test_near(exp((double)a[0]), 0.620204, 1e-5);
    gdfo_test_near(exp((double)a[1]), 0.379796, 1e-5);
}

static void what_one_voice_cannot_say_none_says(void **state)
{
    const float a[] = {NAN, -1};
    const float b[] = {-1, -1};
    const float *votes[] = {a, b};
    double weights[] = {1, 1};
    float out[2];
    (void)state;
    join_two(votes, weights, out);
    assert_true(isnan(out[0]) && isnan(out[1]));
    weights[0] = 0; /* has no say */
    join_two(votes, weights, out);
    gdfo_test_near((double)out[0], log(0.5), 1e-6);
}

/* A vote on N rows of three classes, from a line that the reference has too. */
static void make_vote(float *vote, uint32_t a, uint32_t b, uint32_t m, double scale, double gain)
{
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t c = 0; c < L; c++) {
            vote[i * L + c] = (float)(((i * a + c * b) % m) / scale + (c == i * 7 % 3 ? gain : 0));
        }
    }
}

struct votes {
    float at[3][N * L];
    const float *of[3];
    uint32_t gold[N];
};

static void make_votes(struct votes *v)
{
    make_vote(v->at[0], 13, 5, 11, 5.0, 1.2);
    make_vote(v->at[1], 17, 3, 7, 3.0, 0.4);
    make_vote(v->at[2], 11, 7, 13, 4.0, -0.9); /* likes what is wrong */
    for (uint32_t i = 0; i < N; i++) {
        v->gold[i] = i * 7 % 3;
    }
    for (size_t k = 0; k < 3; k++) {
        v->of[k] = v->at[k];
    }
}

static void weigh(const struct votes *v, size_t n, const double *prior, double *weights)
{
    const struct gdfo_log_pool p = {
        .votes = v->of, .n_voices = n, .n = N, .n_labels = L, .prior = prior, .gold = v->gold};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_log_pool_weigh(&p, weights, &err), &err);
}

/* tests/reference/tune/log_pool_weights.py: scipy 1.17.1, L-BFGS-B with bounds. */
static void weights_are_those_of_least_loss(void **state)
{
    const double even[] = {0.5, 0.5};
    const double first[] = {1, 0};
    struct votes v;
    double w[3];
    (void)state;
    make_votes(&v);
    weigh(&v, 2, even, w);
    gdfo_test_near(w[0], 1.028094276, 1e-6);
    gdfo_test_near(w[1], 0.491141988, 1e-6);
    weigh(&v, 2, first, w);
    gdfo_test_near(w[0], 1.347859550, 1e-6);
    gdfo_test_near(w[1], 0.174987427, 1e-6);
}

static void a_voice_that_misleads_is_silenced(void **state)
{
    const double even[] = {1.0 / 3, 1.0 / 3, 1.0 / 3};
    struct votes v;
    double w[3];
    (void)state;
    make_votes(&v);
    weigh(&v, 3, even, w);
    gdfo_test_near(w[0], 0.940608056, 1e-6);
    gdfo_test_near(w[1], 0.396047303, 1e-6);
    assert_true(w[2] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weighted_product_is_renormalised),
        cmocka_unit_test(even_weights_speak_the_geometric_mean),
        cmocka_unit_test(what_one_voice_cannot_say_none_says),
        cmocka_unit_test(weights_are_those_of_least_loss),
        cmocka_unit_test(a_voice_that_misleads_is_silenced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
