#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/tune/head.h"
#include "server/tune/partner.h"
#include "tests/support/engine.h"

#include <math.h>
#include <string.h>

#define N 40

static const char *const texts[] = {"Once upon a time", "", "The dog ran",
                                    "Lily saw a big red bird"};

static void features_of(const struct gdfo_model *m, struct gdfo_pool *pool, size_t first, size_t n,
                        float *out)
{
    struct gdfo_text t[4];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < n; i++) {
        t[i] = (struct gdfo_text){texts[first + i], strlen(texts[first + i])};
    }
    gdfo_test_ok(gdfo_partner_features(m, pool, t, n, out, &err), &err);
}

static void a_text_has_the_same_features_alone_and_in_company(void **state)
{
    struct gdfo_model *m = gdfo_test_stories();
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    size_t d = gdfo_partner_width(m);
    float *all = gdfo_mem_array(4 * d, sizeof *all);
    float *one = gdfo_mem_array(d, sizeof *one);
    (void)state;
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&pool, 2, &err), &err);
    features_of(m, pool, 0, 4, all);
    for (size_t i = 0; i < 4; i++) {
        features_of(m, NULL, i, 1, one);
        assert_memory_equal(one, all + i * d, d * sizeof *one);
    }
    assert_memory_not_equal(all, all + 2 * d, d * sizeof *all);
    gdfo_pool_destroy(pool);
    gdfo_mem_free(all);
    gdfo_mem_free(one);
    gdfo_model_destroy(m);
}

/* The mask asks the teacher; the partner reads the text around it. Longer than the context: cut. */
static void a_mask_is_not_read_and_a_long_text_is_cut(void **state)
{
    struct gdfo_model *m = gdfo_test_stories();
    struct gdfo_error err = {0};
    size_t d = gdfo_partner_width(m);
    float *x = gdfo_mem_array(3 * d, sizeof *x);
    char lengthy[8000];
    const char masked[] = {'O', 'n', 'c', 'e', ' ', GDFO_TEXT_MASK, 0};
    struct gdfo_text t[3] = {{masked, 6}, {"Once ", 5}, {lengthy, sizeof lengthy}};
    (void)state;
    for (size_t i = 0; i < sizeof lengthy; i++) {
        lengthy[i] = " the cat sat"[i % 12];
    }
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_partner_features(m, NULL, t, 3, x, &err), &err);
    assert_memory_equal(x, x + d, d * sizeof *x);
    assert_true(isfinite(x[2 * d]));
    gdfo_mem_free(x);
    gdfo_model_destroy(m);
}

/* Classes that a feature tells apart are told apart, held out and anew; the head is a head. */
static void its_head_learns_from_features_alone(void **state)
{
    float x[N * 4];
    float held_out[N * 2];
    float out[N * 2];
    uint32_t gold[N];
    struct gdfo_rng rng = gdfo_rng_stream(3, "partner test");
    struct gdfo_partner_fit fit = {x, gold, N, 2, 4, 1};
    struct gdfo_head *head = NULL;
    struct gdfo_error err = {0};
    int n_right = 0;
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        gold[i] = i % 2;
        for (size_t k = 0; k < 4; k++) {
            x[i * 4 + k] = (float)gdfo_rng_normal(&rng);
        }
        x[i * 4 + 2] += gold[i] ? 4 : -4;
    }
    gdfo_test_ok(gdfo_partner_fit(&head, &fit, held_out, &err), &err);
    gdfo_partner_apply(head, x, N, out);
    for (uint32_t i = 0; i < N; i++) {
        gdfo_test_near(exp((double)held_out[2 * i]) + exp((double)held_out[2 * i + 1]), 1, 1e-5);
        n_right += held_out[2 * i + gold[i]] > logf(0.5F) && out[2 * i + gold[i]] > logf(0.5F);
    }
    assert_in_range(n_right, 38, 40);
    gdfo_head_destroy(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_has_the_same_features_alone_and_in_company),
        cmocka_unit_test(a_mask_is_not_read_and_a_long_text_is_cut),
        cmocka_unit_test(its_head_learns_from_features_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
