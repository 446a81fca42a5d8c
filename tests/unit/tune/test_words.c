#include "server/task/metric.h"
#include "server/tune/words.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Four rows, two classes. Anchor 1 speaks for class 0, anchor 2 for class 1, the others for
 * nothing; the label words alone get row 3 wrong. */
#define N 4
#define L 2
#define A 4

static const float lp[N * L] = {-1, -2, -3, -1, -1, -2, -1.5F, -2};
static const float anchors[N * A] = {-5, -1, -6, -4, -5, -6, -1, -4,
                                     -5, -1, -6, -4, -5, -6, -1, -4};
static const uint32_t gold[N] = {0, 1, 0, 1};

static struct gdfo_words_data data(void)
{
    return (struct gdfo_words_data){lp, anchors, gold, N, L, A};
}

static double ce(const float *answers)
{
    const struct gdfo_loss_spec spec = {GDFO_LOSS_CE, 0};
    const struct gdfo_answers a = {answers, gold, N, L};
    return gdfo_loss_mean(&spec, &a, NULL);
}

static void the_tokens_that_tell_classes_apart_are_chosen(void **state)
{
    const struct gdfo_words_data d = data();
    struct gdfo_words w = {0};
    struct gdfo_error err = {0};
    float mixed[N * L];
    (void)state;
    gdfo_test_ok(gdfo_words_choose(&w, &d, 4, &err), &err);
    assert_in_range(w.n_sets, 1, 2); /* four tokens are two sets at most */
    assert_int_equal(w.at[0], 1);
    assert_int_equal(w.at[1], 2);
    w.n_sets = 1;
    memcpy(mixed, lp, sizeof mixed);
    gdfo_words_apply(&w, mixed, anchors, A, N);
    gdfo_test_near((double)mixed[0], (-1.0 - 1.0) / 2, 1e-6); /* plain mean by hand */
    gdfo_test_near((double)mixed[1], (-2.0 - 6.0) / 2, 1e-6);
    gdfo_test_near((double)mixed[6], (-1.5 - 6.0) / 2, 1e-6);
    gdfo_test_near((double)mixed[7], (-2.0 - 1.0) / 2, 1e-6);
    assert_true(ce(mixed) < ce(lp));
    gdfo_words_deinit(&w);
}

/* However many are asked for, the loss on the rows never rises. */
static void more_sets_never_raise_the_loss(void **state)
{
    const struct gdfo_words_data d = data();
    double before = ce(lp);
    (void)state;
    for (uint32_t n = 0; n < 4; n++) {
        struct gdfo_words w = {0};
        struct gdfo_error err = {0};
        float mixed[N * L];
        gdfo_test_ok(gdfo_words_choose(&w, &d, n, &err), &err);
        assert_in_range(w.n_sets, 0, n);
        memcpy(mixed, lp, sizeof mixed);
        gdfo_words_apply(&w, mixed, anchors, A, N);
        assert_true(ce(mixed) <= before + 1e-6);
        before = ce(mixed);
        gdfo_words_deinit(&w);
    }
}

static void tokens_that_say_nothing_are_left_out(void **state)
{
    struct gdfo_words_data d = data();
    static const float same[N * A] = {-1, -2, -3, -4, -1, -2, -3, -4,
                                      -1, -2, -3, -4, -1, -2, -3, -4};
    static const float sure[N * L] = {-1, -9, -9, -1, -1, -9, -9, -1};
    struct gdfo_words w = {0};
    struct gdfo_error err = {0};
    (void)state;
    d.anchors = same;
    d.lp = sure;
    gdfo_test_ok(gdfo_words_choose(&w, &d, 4, &err), &err);
    assert_int_equal(w.n_sets, 0);
    gdfo_words_deinit(&w);
}

static void words_survive_their_bytes(void **state)
{
    const struct gdfo_words_data d = data();
    struct gdfo_words w = {0};
    struct gdfo_words back = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    struct gdfo_span in;
    (void)state;
    gdfo_buf_init(&b, 1 << 16);
    gdfo_test_ok(gdfo_words_choose(&w, &d, 1, &err), &err);
    gdfo_words_save(&w, &b);
    in = gdfo_span_make(b.data, b.len);
    gdfo_test_ok(gdfo_words_load(&back, &in, L, A, &err), &err);
    assert_int_equal(back.n_sets, w.n_sets);
    assert_memory_equal(back.at, w.at, L * sizeof *w.at);
    in = gdfo_span_make(b.data, b.len);
    assert_int_equal(gdfo_words_load(&back, &in, L, 2, &err), GDFO_STATUS_CORRUPT);
    gdfo_words_deinit(&w);
    gdfo_words_deinit(&back);
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tokens_that_tell_classes_apart_are_chosen),
        cmocka_unit_test(more_sets_never_raise_the_loss),
        cmocka_unit_test(tokens_that_say_nothing_are_left_out),
        cmocka_unit_test(words_survive_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
