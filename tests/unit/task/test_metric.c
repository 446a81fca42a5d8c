#include "server/task/metric.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Log-probabilities written as probabilities; they need not add up to one over the labels. */
static void logs(const double *p, size_t n, float *lp)
{
    for (size_t i = 0; i < n; i++) {
        lp[i] = (float)log(p[i]);
    }
}

static void ce_is_the_gold_share_among_the_labels(void **state)
{
    (void)state;
    const double p[] = {0.3, 0.1, 0.02, 0.06};
    const uint32_t gold[] = {0, 0};
    float lp[4];
    double each[2];
    struct gdfo_loss_spec spec = {GDFO_LOSS_CE, 2};
    logs(p, 4, lp);
    struct gdfo_answers a = {lp, gold, 2, 2};
    /* 0.3 of 0.4, and 0.02 of 0.08: the mass outside the labels plays no part */
    double mean = gdfo_loss_mean(&spec, &a, each);
    gdfo_test_near(each[0], -log(0.75), 1e-6);
    gdfo_test_near(each[1], -log(0.25), 1e-6);
    gdfo_test_near(mean, -(log(0.75) + log(0.25)) / 2, 1e-6);
    gdfo_test_near(gdfo_loss_mean(&spec, &a, NULL), mean, 0);
}

static void hinge_adds_up_what_is_not_clear_by_the_margin(void **state)
{
    (void)state;
    const float lp[] = {-1.0F, -2.0F, -5.0F, -3.0F, -1.5F, -9.0F};
    const uint32_t gold[] = {0, 0};
    double each[2];
    struct gdfo_loss_spec spec = {GDFO_LOSS_HINGE, 2};
    struct gdfo_answers a = {lp, gold, 2, 3};
    /* row 0: (-2 + 1 + 2) + max(0, -5 + 1 + 2) = 1; row 1: (-1.5 + 3 + 2) + max(0, -9 + 3 + 2)
     * = 3.5 */
    gdfo_test_near(gdfo_loss_mean(&spec, &a, each), 2.25, 1e-12);
    gdfo_test_near(each[0], 1.0, 1e-12);
    gdfo_test_near(each[1], 3.5, 1e-12);
    spec.margin = 0;
    gdfo_test_near(gdfo_loss_mean(&spec, &a, each), 0.75, 1e-12);
}

static void accuracy_loss_counts_and_breaks_ties_downwards(void **state)
{
    (void)state;
    const float lp[] = {-1, -2, -1, -1, -1, -1, -3, -2};
    const uint32_t gold[] = {0, 0, 1, 1};
    struct gdfo_loss_spec spec = {GDFO_LOSS_ACCURACY, 2};
    struct gdfo_answers a = {lp, gold, 4, 2};
    gdfo_test_near(gdfo_loss_mean(&spec, &a, NULL), -0.75, 1e-12);
    gdfo_test_near(gdfo_metric_of_answers(GDFO_METRIC_ACCURACY, 0, &a), 0.75, 1e-12);
}

static void an_unknown_answer_is_never_a_number(void **state)
{
    (void)state;
    const float lp[] = {-1, NAN, -1, -2, NAN, NAN};
    const uint32_t gold[] = {0, 0, 0};
    uint32_t said[3];
    double each[3];
    struct gdfo_answers a = {lp, gold, 3, 2};
    for (int kind = GDFO_LOSS_CE; kind <= GDFO_LOSS_ACCURACY; kind++) {
        struct gdfo_loss_spec spec = {(enum gdfo_loss)kind, 2};
        assert_true(isnan(gdfo_loss_mean(&spec, &a, each)));
        assert_true(isnan(each[0]));
        assert_true(isfinite(each[1]));
    }
    gdfo_metric_predict(&a, said);
    assert_int_equal(said[0], 0);
    assert_int_equal(said[1], 0);
    assert_int_equal(said[2], GDFO_METRIC_NO_LABEL);
    /* the row without any answer is wrong, not right by chance */
    gdfo_test_near(gdfo_metric_of_answers(GDFO_METRIC_ACCURACY, 0, &a), 2.0 / 3, 1e-12);
    gdfo_test_near(gdfo_metric_of_answers(GDFO_METRIC_MACRO_F1, 0, &a), 0.8, 1e-12);
    assert_true(isnan(gdfo_metric_mass(&a, NULL)));
}

static void impossible_labels_are_handled(void **state)
{
    (void)state;
    const float lp[] = {-INFINITY, -1, -INFINITY, -INFINITY};
    const uint32_t gold[] = {0, 1};
    double each[2];
    struct gdfo_loss_spec spec = {GDFO_LOSS_CE, 2};
    struct gdfo_answers a = {lp, gold, 2, 2};
    GDFO_IGNORE((enum gdfo_status)gdfo_loss_mean(&spec, &a, each));
    assert_true(isinf(each[0]) && each[0] > 0);
    assert_true(isnan(each[1])); /* nothing to renormalise */
    gdfo_test_near(gdfo_metric_mass(&a, each), exp(-1.0) / 2, 1e-9);
    gdfo_test_near(each[1], 0, 0);
}

/* Four-point central differences; the steps are what float made of them. */
static double slope(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a, float *x)
{
    const float keep = *x;
    const float h = 1.0F / 64; /* exact in binary, so keep +- h rounds little */
    double f[4];
    const float at[4] = {keep - 2 * h, keep - h, keep + h, keep + 2 * h};
    for (int i = 0; i < 4; i++) {
        *x = at[i];
        f[i] = gdfo_loss_mean(spec, a, NULL);
    }
    *x = keep;
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * (double)h);
}

static void gradients_agree_with_differences(void **state)
{
    (void)state;
    /* multiples of 1/8, away from the kinks of the hinge */
    float lp[] = {-1.125F, -2.5F, -0.25F, -4.0F, -3.625F, -0.5F, -1.75F, -2.25F, -6.5F};
    const uint32_t gold[] = {0, 2, 1};
    double grad[9];
    struct gdfo_answers a = {lp, gold, 3, 3};
    for (int kind = GDFO_LOSS_CE; kind <= GDFO_LOSS_ACCURACY; kind++) {
        struct gdfo_loss_spec spec = {(enum gdfo_loss)kind, 1.3};
        gdfo_loss_gradient(&spec, &a, grad);
        for (size_t i = 0; i < 9; i++) {
            gdfo_test_near(grad[i], slope(&spec, &a, &lp[i]), 1e-7);
        }
    }
}

/* gold 0 0 0 1 1 2, said 0 1 0 1 2 2: counted by hand. */
static void metrics_agree_with_hand_counts(void **state)
{
    (void)state;
    const uint32_t gold[] = {0, 0, 0, 1, 1, 2};
    const uint32_t said[] = {0, 1, 0, 1, 2, 2};
    const double f0 = 2 * 2.0 / (2 * 2 + 0 + 1); /* TP 2, FP 0, FN 1 */
    const double f1 = 2 * 1.0 / (2 * 1 + 1 + 1); /* TP 1, FP 1, FN 1 */
    const double f2 = 2 * 1.0 / (2 * 1 + 1 + 0); /* TP 1, FP 1, FN 0 */
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_ACCURACY, 0, said, gold, 6), 4.0 / 6, 1e-12);
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_F1, 0, said, gold, 6), f0, 1e-12);
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_F1, 1, said, gold, 6), f1, 1e-12);
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_F1, 2, said, gold, 6), f2, 1e-12);
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_F1, 7, said, gold, 6), 0, 0);
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_MACRO_F1, 0, said, gold, 6),
                   (f0 + f1 + f2) / 3, 1e-12);
    assert_true(isnan(gdfo_metric_of_labels(GDFO_METRIC_ACCURACY, 0, said, gold, 0)));
}

static void macro_f1_leaves_out_labels_nobody_used(void **state)
{
    (void)state;
    const uint32_t gold[] = {0, 5};
    const uint32_t said[] = {0, 0};
    /* label 0: TP 1, FP 1; label 5: never said; 1 to 4 do not count */
    gdfo_test_near(gdfo_metric_of_labels(GDFO_METRIC_MACRO_F1, 0, said, gold, 2), (2.0 / 3 + 0) / 2,
                   1e-12);
}

static void mass_and_renormalised_answers(void **state)
{
    (void)state;
    const double p[] = {0.3, 0.1, 0.02, 0.06};
    const uint32_t gold[] = {0, 0};
    float lp[4];
    double out[4];
    double each[2];
    logs(p, 4, lp);
    struct gdfo_answers a = {lp, gold, 2, 2};
    gdfo_test_near(gdfo_metric_mass(&a, each), 0.24, 1e-6);
    gdfo_test_near(each[0], 0.4, 1e-6);
    gdfo_test_near(each[1], 0.08, 1e-6);
    gdfo_metric_renormalise(&a, out);
    gdfo_test_near(exp(out[0]), 0.75, 1e-6);
    gdfo_test_near(exp(out[2]) + exp(out[3]), 1, 1e-12);
}

static void logsumexp_survives_the_extremes(void **state)
{
    (void)state;
    const double far[] = {-1000, -1000};
    const double big[] = {800, 0};
    const double none[] = {-(double)INFINITY, -(double)INFINITY};
    const double odd[] = {0, (double)NAN};
    gdfo_test_near(gdfo_metric_logsumexp(far, 2), -1000 + log(2), 1e-12);
    gdfo_test_near(gdfo_metric_logsumexp(big, 2), 800, 1e-12);
    assert_true(isinf(gdfo_metric_logsumexp(none, 2)));
    assert_true(isinf(gdfo_metric_logsumexp(NULL, 0)));
    assert_true(isnan(gdfo_metric_logsumexp(odd, 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ce_is_the_gold_share_among_the_labels),
        cmocka_unit_test(hinge_adds_up_what_is_not_clear_by_the_margin),
        cmocka_unit_test(accuracy_loss_counts_and_breaks_ties_downwards),
        cmocka_unit_test(an_unknown_answer_is_never_a_number),
        cmocka_unit_test(impossible_labels_are_handled),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(metrics_agree_with_hand_counts),
        cmocka_unit_test(macro_f1_leaves_out_labels_nobody_used),
        cmocka_unit_test(mass_and_renormalised_answers),
        cmocka_unit_test(logsumexp_survives_the_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
