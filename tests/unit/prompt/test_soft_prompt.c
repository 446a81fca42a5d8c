#include "server/prompt/prompt.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define VOCAB 6
#define H     3

static const float table[VOCAB * H] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5};
static const struct gdfo_embedding embedding = {.rows = table, .vocab = VOCAB, .d_model = H};

static void the_deviation_is_over_all_entries(void **state)
{
    (void)state; /* 0..5, each three times: variance 35/12 */
    gdfo_test_near(gdfo_embedding_std(&embedding), sqrt(35.0 / 12), 1e-12);
}

static void check_rows(const float *rows, size_t n, const int32_t *ids)
{
    for (size_t r = 0; r < n; r++) {
        for (size_t k = 0; k < H; k++) {
            gdfo_test_near((double)rows[r * H + k], (double)ids[r], 0);
        }
    }
}

static void a_short_text_is_repeated_and_a_long_one_cut(void **state)
{
    static const int32_t ids[] = {4, 1, 5};
    static const int32_t repeated[] = {4, 1, 5, 4, 1, 5, 4};
    struct gdfo_error err = {0};
    float rows[7 * H];
    (void)state;
    gdfo_test_ok(gdfo_soft_prompt_from_ids(rows, 7, &embedding, ids, 3, &err), &err);
    check_rows(rows, 7, repeated);
    gdfo_test_ok(gdfo_soft_prompt_from_ids(rows, 2, &embedding, ids, 3, &err), &err);
    check_rows(rows, 2, ids);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    static const int32_t high[] = {0, VOCAB};
    static const int32_t low[] = {-1};
    struct gdfo_error err = {0};
    float rows[2 * H];
    (void)state;
    assert_int_equal(gdfo_soft_prompt_from_ids(rows, 2, &embedding, high, 2, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "token id 6: want 0..5");
    assert_int_equal(gdfo_soft_prompt_from_ids(rows, 2, &embedding, low, 1, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "token id -1: want 0..5");
    assert_int_equal(gdfo_soft_prompt_from_ids(rows, 2, &embedding, low, 0, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "soft prompt: no tokens to start from");
}

static void random_rows_are_rows_of_allowed_tokens(void **state)
{
    static const int32_t allowed[] = {2, 5};
    const struct gdfo_prompt_words words = {.ids = allowed, .n = 2};
    struct gdfo_error err = {0};
    float rows[64 * H];
    float again[64 * H];
    size_t n_two = 0;
    (void)state;
    gdfo_test_ok(gdfo_soft_prompt_from_vocab(rows, 64, &embedding, &words, 9, &err), &err);
    for (size_t r = 0; r < 64; r++) {
        int is_two = rows[r * H] < 3.0F;
        const int32_t id = is_two ? 2 : 5;
        check_rows(rows + r * H, 1, &id);
        n_two += is_two ? 1 : 0;
    }
    assert_in_range(n_two, 16, 48);
    gdfo_test_ok(gdfo_soft_prompt_from_vocab(again, 64, &embedding, &words, 9, &err), &err);
    assert_memory_equal(rows, again, sizeof rows);
    gdfo_test_ok(gdfo_soft_prompt_from_vocab(again, 64, &embedding, &words, 10, &err), &err);
    assert_memory_not_equal(rows, again, sizeof rows);
}

static void without_a_list_every_token_may_come(void **state)
{
    struct gdfo_error err = {0};
    float rows[200 * H];
    int seen[VOCAB] = {0};
    (void)state;
    gdfo_test_ok(gdfo_soft_prompt_from_vocab(rows, 200, &embedding, NULL, 1, &err), &err);
    for (size_t r = 0; r < 200; r++) {
        seen[(size_t)rows[r * H]] = 1;
    }
    for (size_t i = 0; i < VOCAB; i++) {
        assert_true(seen[i]);
    }
}

static void an_empty_or_wrong_list_is_refused(void **state)
{
    static const int32_t bad[] = {9};
    struct gdfo_prompt_words words = {.ids = bad, .n = 1};
    struct gdfo_error err = {0};
    float rows[H];
    (void)state;
    assert_int_equal(gdfo_soft_prompt_from_vocab(rows, 1, &embedding, &words, 1, &err),
                     GDFO_STATUS_INVALID);
    words.n = 0;
    assert_int_equal(gdfo_soft_prompt_from_vocab(rows, 1, &embedding, &words, 1, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "soft prompt: no tokens to draw from");
}

static void zeros_are_zeros(void **state)
{
    float rows[2 * H] = {1, 2, 3, 4, 5, 6};
    (void)state;
    gdfo_soft_prompt_zeros(rows, 2, H);
    for (size_t i = 0; i < (size_t)2 * H; i++) {
        assert_true(rows[i] == 0.0F);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_deviation_is_over_all_entries),
        cmocka_unit_test(a_short_text_is_repeated_and_a_long_one_cut),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(random_rows_are_rows_of_allowed_tokens),
        cmocka_unit_test(without_a_list_every_token_may_come),
        cmocka_unit_test(an_empty_or_wrong_list_is_refused),
        cmocka_unit_test(zeros_are_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
