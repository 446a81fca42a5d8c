#include "server/tune/fake.h"
#include "tests/support/test.h"

#include <math.h>

#define N       400
#define LABELS  3
#define ANCHORS 2

struct answers { /* row i says i in every column, in hundreds by column */
    float lp[N * LABELS], anchors[N * ANCHORS];
    struct gdfo_fake_answers a;
};

static void fill(struct answers *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < LABELS; j++) {
            x->lp[i * LABELS + j] = (float)(i + 1000 * j);
        }
        for (size_t j = 0; j < ANCHORS; j++) {
            x->anchors[i * ANCHORS + j] = (float)(i + 5000 * (j + 1));
        }
    }
    x->a = (struct gdfo_fake_answers){
        .lp = x->lp, .anchors = x->anchors, .n = n, .n_labels = LABELS, .n_anchors = ANCHORS};
}

static void falsify(struct answers *x, size_t n, enum gdfo_fake kind, uint64_t seed, float prompt)
{
    struct gdfo_error err = {0};
    fill(x, n);
    gdfo_test_ok(gdfo_fake_answer(&x->a, kind, seed, &prompt, 1, &err), &err);
}

static void shuffled_answers_are_all_there_and_rows_stay_whole(void **state)
{
    static struct answers x;
    int seen[N] = {0};
    size_t n_moved = 0;
    (void)state;
    falsify(&x, N, GDFO_FAKE_SHUFFLED, 7, 1);
    for (size_t i = 0; i < N; i++) {
        size_t from = (size_t)x.lp[i * LABELS];
        assert_in_range(from, 0, N - 1);
        seen[from]++;
        n_moved += from != i;
        assert_true(x.lp[i * LABELS + 1] == (float)(from + 1000));
        assert_true(x.lp[i * LABELS + 2] == (float)(from + 2000));
        assert_true(x.anchors[i * ANCHORS] == (float)(from + 5000));
        assert_true(x.anchors[i * ANCHORS + 1] == (float)(from + 10000));
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(n_moved > N / 2);
}

static void the_same_seed_and_prompt_are_the_same_answers(void **state)
{
    static struct answers x[4];
    (void)state;
    for (int kind = GDFO_FAKE_SHUFFLED; kind <= GDFO_FAKE_RANDOM; kind++) {
        falsify(&x[0], 32, (enum gdfo_fake)kind, 7, 1);
        falsify(&x[1], 32, (enum gdfo_fake)kind, 7, 1);
        falsify(&x[2], 32, (enum gdfo_fake)kind, 7, 2); /* another prompt */
        falsify(&x[3], 32, (enum gdfo_fake)kind, 8, 1); /* another seed */
        assert_memory_equal(x[0].lp, x[1].lp, 32 * LABELS * sizeof(float));
        assert_memory_equal(x[0].anchors, x[1].anchors, 32 * ANCHORS * sizeof(float));
        assert_memory_not_equal(x[0].lp, x[2].lp, 32 * LABELS * sizeof(float));
        assert_memory_not_equal(x[0].lp, x[3].lp, 32 * LABELS * sizeof(float));
    }
}

/* Of 0..399 the mean is 199.5, the deviation 115.47: 400 draws keep them within 4 standard
 * errors. */
static void random_answers_keep_mean_and_deviation(void **state)
{
    static struct answers x;
    double sum = 0;
    double square = 0;
    (void)state;
    falsify(&x, N, GDFO_FAKE_RANDOM, 7, 1);
    for (size_t i = 0; i < N; i++) {
        double v = (double)x.lp[i * LABELS + 1] - 1199.5;
        sum += v;
        square += v * v;
    }
    gdfo_test_near(sum / N, 0, 4 * 115.47 / 20);
    gdfo_test_near(sqrt(square / N), 115.47, 4 * 115.47 / sqrt(2.0 * N));
}

static void real_answers_stay(void **state)
{
    static struct answers x;
    static struct answers want;
    (void)state;
    fill(&want, N);
    falsify(&x, N, GDFO_FAKE_REAL, 7, 1);
    assert_memory_equal(x.lp, want.lp, sizeof x.lp);
    assert_memory_equal(x.anchors, want.anchors, sizeof x.anchors);
}

/* A label that a server did not send: nothing known, nothing made of it that is not a number. */
static void a_column_of_infinities_becomes_zero(void **state)
{
    float lp[4] = {-HUGE_VALF, -1, -HUGE_VALF, -1};
    struct gdfo_fake_answers a = {.lp = lp, .n = 2, .n_labels = 2};
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_fake_answer(&a, GDFO_FAKE_RANDOM, 1, NULL, 0, &err), &err);
    assert_true(lp[0] == 0 && lp[2] == 0 && lp[1] == -1 && lp[3] == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffled_answers_are_all_there_and_rows_stay_whole),
        cmocka_unit_test(the_same_seed_and_prompt_are_the_same_answers),
        cmocka_unit_test(random_answers_keep_mean_and_deviation),
        cmocka_unit_test(real_answers_stay),
        cmocka_unit_test(a_column_of_infinities_becomes_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
