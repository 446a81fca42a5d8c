#include "common/mem.h"
#include "server/tune/faithful.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

/* ---- Kendall's tau-b, against scipy.stats.kendalltau 1.17.1 (variant "b")
 * ------------------------ */

static void tau_is_scipys(void **state)
{
    static const struct {
        size_t n;
        double x[6], y[6], tau;
    } cases[] = {
        {5, {1, 2, 3, 4, 5}, {1, 2, 3, 5, 4}, 0.7999999999999999},
        {4, {1, 2, 2, 3}, {1, 3, 2, 4}, 0.912870929175277},
        {6, {1, 1, 1, 2, 3, 3}, {2, 1, 1, 2, 2, 5}, 0.7272727272727273},
        {4, {4, 3, 2, 1}, {1, 2, 3, 4}, -1.0},
        {5, {12, 2, 1, 12, 2}, {1, 4, 7, 1, 0}, -0.4714045207910316},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gdfo_test_near(gdfo_kendall_tau_b(cases[i].x, cases[i].y, cases[i].n), cases[i].tau, 1e-14);
        gdfo_test_near(gdfo_kendall_tau_b(cases[i].y, cases[i].x, cases[i].n), cases[i].tau, 1e-14);
    }
}

static void tau_of_many_pairs_is_scipys(void **state)
{
    double x[200];
    double y[200];
    (void)state;
    for (int i = 0; i < 60; i++) {
        x[i] = (i * 37) % 101;
        y[i] = (i * i * 7 + 3 * i) % 53;
    }
    gdfo_test_near(gdfo_kendall_tau_b(x, y, 60), 0.21144238036147286, 1e-14);
    for (int i = 0; i < 200; i++) { /* many ties on both sides */
        x[i] = (i * 37) % 11;
        y[i] = (i * 37) % 11 * 3 + (i * 13) % 7;
    }
    gdfo_test_near(gdfo_kendall_tau_b(x, y, 200), 0.9075057925295316, 1e-14);
}

static void tau_of_what_cannot_be_ordered_is_no_number(void **state)
{
    static const double flat[3] = {2, 2, 2};
    static const double up[3] = {1, 2, 3};
    const double broken[3] = {1, (double)NAN, 3};
    (void)state;
    assert_true(isnan(gdfo_kendall_tau_b(flat, up, 3)));
    assert_true(isnan(gdfo_kendall_tau_b(up, flat, 3)));
    assert_true(isnan(gdfo_kendall_tau_b(up, broken, 3)));
    assert_true(isnan(gdfo_kendall_tau_b(up, up, 1)));
}

/* ---- comparing ----------------------------------------------------------------------------------
 */

static const uint32_t gold[2] = {0, 1};
static const struct gdfo_faithful_shape small = {2, 2, 2, gold, 0, 2};

static void the_same_answers_are_wholly_faithful(void **state)
{
    static const float lp[8] = {-1, -2, -3, -1, -2, -1, -1.5F, -1};
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_faithful_compare(&small, lp, lp, &f, &err), &err);
    gdfo_test_near(f.lp_max, 0, 0);
    gdfo_test_near(f.lp_mean, 0, 0);
    gdfo_test_near(f.agreement, 1, 0);
    gdfo_test_near(f.tau, 1, 0);
    assert_int_equal(gdfo_faithful_is_good(&f), 1);
}

static void differences_and_agreement_are_counted_by_hand(void **state)
{
    /*                          prompt 0: text 0, text 1     prompt 1 */
    static const float a[8] = {-1, -2, -3, -1, -2, -1, -1.5F, -1};
    static const float b[8] = {-1, -2, -3, -1.5F, -1, -2, -1.5F, -1};
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_faithful_compare(&small, a, b, &f, &err), &err);
    gdfo_test_near(f.lp_max, 1, 1e-12);
    gdfo_test_near(f.lp_mean, (0.5 + 1 + 1) / 8, 1e-12);
    gdfo_test_near(f.agreement, 0.75, 1e-12); /* prompt 1, text 0 flips */
    /* losses: a: 0.2200, 0.8937; b: 0.2573, 0.3937: the same order */
    gdfo_test_near(f.tau, 1, 1e-12);
    assert_int_equal(gdfo_faithful_is_good(&f), 0);
}

/* A shift that is common to all labels of a text changes log-probabilities and nothing else. */
static void a_common_shift_keeps_order_and_predictions(void **state)
{
    float a[8] = {-1, -2, -3, -1, -2, -1, -1.5F, -1};
    float b[8];
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    (void)state;
    for (int i = 0; i < 8; i++) {
        b[i] = a[i] - 0.25F;
    }
    gdfo_test_ok(gdfo_faithful_compare(&small, a, b, &f, &err), &err);
    gdfo_test_near(f.lp_max, 0.25, 1e-12);
    gdfo_test_near(f.agreement, 1, 0);
    gdfo_test_near(f.tau, 1, 0);
}

static void the_order_turned_round_is_seen(void **state)
{
    static const float a[8] = {-1, -2, -2, -1, -1, -1.5F, -1.5F, -1};
    static const float b[8] = {-1, -1.5F, -1.5F, -1, -1, -2, -2, -1};
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_faithful_compare(&small, a, b, &f, &err), &err);
    gdfo_test_near(f.agreement, 1, 0); /* every prediction the same, the search misled */
    gdfo_test_near(f.tau, -1, 0);
    assert_int_equal(gdfo_faithful_is_good(&f), 0);
}

static void the_rule_of_auto(void **state)
{
    static const struct {
        struct gdfo_faithful f;
        int is_good;
    } cases[] = {
        {{0, 0, 1, 1}, 1},      {{9, 9, 0.99, 0.95}, 1}, {{0, 0, 0.9899, 1}, 0},
        {{0, 0, 1, 0.9499}, 0}, {{0, 0, 1, -1}, 0},
    };
    struct gdfo_faithful none = {0, 0, 1, (double)NAN};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(gdfo_faithful_is_good(&cases[i].f), cases[i].is_good);
    }
    assert_int_equal(gdfo_faithful_is_good(&none), 0);
}

/* ---- the probe ----------------------------------------------------------------------------------
 */

static int open_tiny(void **state)
{
    static struct tiny t;
    tiny_open(&t, 0);
    *state = &t;
    return 0;
}

static int close_tiny(void **state)
{
    tiny_close(*state);
    return 0;
}

static void the_probe_is_the_same_every_time(void **state)
{
    struct tiny *t = *state;
    float *a = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *a);
    float *b = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *b);
    struct gdfo_error err = {0};
    assert_true(a && b);
    gdfo_test_ok(gdfo_faithful_probe(t->teacher, t->model, NULL, a, &err), &err);
    gdfo_test_ok(gdfo_faithful_probe(t->teacher, t->model, NULL, b, &err), &err);
    assert_memory_equal(a, b, GDFO_FAITHFUL_FLOATS * sizeof *a);
    gdfo_mem_free(a);
    gdfo_mem_free(b);
}

/* 200 prompts that differ: no two losses alike, so that tau has something to order. */
static void its_prompts_are_told_apart(void **state)
{
    struct tiny *t = *state;
    float *lp = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *lp);
    const size_t n = (size_t)GDFO_FAITHFUL_TEXTS * GDFO_FAITHFUL_LABELS;
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    size_t n_same = 0;
    assert_non_null(lp);
    gdfo_test_ok(gdfo_faithful_probe(t->teacher, t->model, NULL, lp, &err), &err);
    for (size_t i = 0; i < GDFO_FAITHFUL_FLOATS; i++) {
        assert_true(isfinite(lp[i]) && lp[i] <= 0);
    }
    for (size_t p = 1; p < GDFO_FAITHFUL_PROMPTS; p++) {
        n_same += memcmp(lp, lp + p * n, n * sizeof *lp) == 0;
    }
    assert_int_equal(n_same, 0);
    gdfo_test_ok(gdfo_faithful_probe_compare(lp, lp, &f, &err), &err);
    gdfo_test_near(f.tau, 1, 0);
    gdfo_mem_free(lp);
}

/* The likeliest of the six topics is another on every eighth text, and of the two moods on none. */
static void the_worse_set_of_labels_counts(void **state)
{
    float *a = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *a);
    float *b = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *b);
    struct gdfo_faithful f;
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i < GDFO_FAITHFUL_FLOATS; i++) {
        size_t cell = i / GDFO_FAITHFUL_LABELS;
        size_t label = i % GDFO_FAITHFUL_LABELS;
        a[i] = -1 - (float)label - (float)(cell / GDFO_FAITHFUL_TEXTS) * (label == 0 ? 1e-3F : 0);
        a[i] -= label == 2 ? (float)(cell / GDFO_FAITHFUL_TEXTS) * 1e-3F : 0;
        b[i] = a[i] + (label == 7 && cell % GDFO_FAITHFUL_TEXTS == 0 ? 6 : 0);
    }
    gdfo_test_ok(gdfo_faithful_probe_compare(a, b, &f, &err), &err);
    gdfo_test_near(f.agreement, 0.875, 1e-12);
    gdfo_test_near(f.lp_max, 6, 1e-6);
    gdfo_test_near(f.lp_mean, 6.0 / GDFO_FAITHFUL_TEXTS / 6, 1e-6);
    gdfo_mem_free(a);
    gdfo_mem_free(b);
}

static void a_stop_is_noticed(void **state)
{
    struct tiny *t = *state;
    float *lp = gdfo_mem_array(GDFO_FAITHFUL_FLOATS, sizeof *lp);
    struct gdfo_error err = {0};
    atomic_int stop = 1;
    assert_non_null(lp);
    assert_int_equal(gdfo_faithful_probe(t->teacher, t->model, &stop, lp, &err),
                     GDFO_STATUS_CANCELLED);
    gdfo_mem_free(lp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tau_is_scipys),
        cmocka_unit_test(tau_of_many_pairs_is_scipys),
        cmocka_unit_test(tau_of_what_cannot_be_ordered_is_no_number),
        cmocka_unit_test(the_same_answers_are_wholly_faithful),
        cmocka_unit_test(differences_and_agreement_are_counted_by_hand),
        cmocka_unit_test(a_common_shift_keeps_order_and_predictions),
        cmocka_unit_test(the_order_turned_round_is_seen),
        cmocka_unit_test(the_rule_of_auto),
        cmocka_unit_test_setup_teardown(the_probe_is_the_same_every_time, open_tiny, close_tiny),
        cmocka_unit_test(the_worse_set_of_labels_counts),
        cmocka_unit_test_setup_teardown(its_prompts_are_told_apart, open_tiny, close_tiny),
        cmocka_unit_test_setup_teardown(a_stop_is_noticed, open_tiny, close_tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
