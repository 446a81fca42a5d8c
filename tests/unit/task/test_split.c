#include "common/mem.h"
#include "server/task/kind.h"
#include "server/task/split.h"
#include "tests/support/test.h"

#include <string.h>

/* n_a rows of label a and n_b of label b, taking turns while both last. */
static struct gdfo_dataset *rows_of(int n_a, int n_b)
{
    struct gdfo_buf b;
    struct gdfo_dataset *d = NULL;
    struct gdfo_error err = {0};
    struct gdfo_dataset_source from = {gdfo_task_kind(0), GDFO_ROWS_TRAIN, "training_file"};
    gdfo_buf_init(&b, 1 << 20);
    for (int i = 0; i < n_a || i < n_b; i++) {
        if (i < n_a) {
            gdfo_buf_addf(&b, "{\"text\":\"a%d\",\"label\":\"a\"}\n", i);
        }
        if (i < n_b) {
            gdfo_buf_addf(&b, "{\"text\":\"b%d\",\"label\":\"b\"}\n", i);
        }
    }
    struct gdfo_reader in = gdfo_reader_memory(b.data, b.len, "train.jsonl");
    gdfo_test_ok(gdfo_dataset_parse(&d, &in, &from, NULL, &err), &err);
    gdfo_buf_deinit(&b);
    return d;
}

static struct gdfo_split draw(const struct gdfo_dataset *d, uint32_t k, double dev, uint64_t seed)
{
    struct gdfo_split s;
    struct gdfo_error err = {0};
    struct gdfo_split_opts opts = {k, dev, seed};
    gdfo_test_ok(gdfo_split_draw(&s, d, &opts, &err), &err);
    return s;
}

static size_t n_of(const struct gdfo_dataset *d, const uint32_t *rows, size_t n, uint32_t label)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += gdfo_dataset_row(d, rows[i])->label == label;
    }
    return count;
}

static void all_rows_when_nothing_is_asked(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(3, 5);
    struct gdfo_split s = draw(d, 0, 0, 7);
    assert_int_equal(s.n_train, 8);
    assert_int_equal(s.n_dev, 0);
    assert_false(s.is_dev_off);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(s.train[i], i);
    }
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
}

static void k_shot_draws_k_of_each_label(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(40, 20);
    struct gdfo_split s = draw(d, 16, 0, 7);
    assert_int_equal(s.n_train, 32);
    assert_int_equal(n_of(d, s.train, s.n_train, 0), 16);
    for (size_t i = 1; i < s.n_train; i++) { /* file order, each once */
        assert_true(s.train[i - 1] < s.train[i]);
    }
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
}

static void the_seed_decides_the_draw(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(40, 40);
    struct gdfo_split one = draw(d, 16, 0.25, 7);
    struct gdfo_split same = draw(d, 16, 0.25, 7);
    struct gdfo_split other = draw(d, 16, 0.25, 8);
    assert_memory_equal(one.train, same.train, one.n_train * sizeof *one.train);
    assert_memory_equal(one.dev, same.dev, one.n_dev * sizeof *one.dev);
    assert_memory_not_equal(one.train, other.train, one.n_train * sizeof *one.train);
    gdfo_split_deinit(&one);
    gdfo_split_deinit(&same);
    gdfo_split_deinit(&other);
    gdfo_dataset_destroy(d);
}

static void dev_split_is_stratified_and_apart(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(40, 12);
    struct gdfo_split s = draw(d, 0, 0.25, 3);
    unsigned char seen[52] = {0};
    assert_int_equal(s.n_dev, 13);
    assert_int_equal(n_of(d, s.dev, s.n_dev, 0), 10);
    assert_int_equal(n_of(d, s.dev, s.n_dev, 1), 3);
    assert_int_equal(s.n_train, 39);
    for (size_t i = 0; i < s.n_train; i++) {
        seen[s.train[i]]++;
    }
    for (size_t i = 0; i < s.n_dev; i++) {
        seen[s.dev[i]]++;
    }
    for (size_t i = 0; i < sizeof seen; i++) {
        assert_int_equal(seen[i], 1);
    }
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
}

static void both_sides_keep_a_row_of_each_label(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(2, 2);
    struct gdfo_split s = draw(d, 0, 0.01, 3);
    assert_int_equal(s.n_dev, 2);
    assert_int_equal(s.n_train, 2);
    gdfo_split_deinit(&s);
    s = draw(d, 0, 0.5, 3);
    assert_int_equal(s.n_dev, 2);
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
}

static void auto_needs_four_rows_of_each_label(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(16, 4);
    struct gdfo_split s = draw(d, 0, GDFO_SPLIT_AUTO, 3);
    assert_int_equal(s.n_dev, 5);
    assert_false(s.is_dev_off);
    gdfo_split_deinit(&s);
    s = draw(d, 3, GDFO_SPLIT_AUTO, 3); /* what counts is what was drawn */
    assert_int_equal(s.n_dev, 0);
    assert_true(s.is_dev_off);
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
    d = rows_of(16, 3);
    s = draw(d, 0, GDFO_SPLIT_AUTO, 3);
    assert_int_equal(s.n_train, 19);
    assert_true(s.is_dev_off);
    gdfo_split_deinit(&s);
    gdfo_dataset_destroy(d);
}

static void too_few_examples_are_named(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(16, 1);
    struct gdfo_split s;
    struct gdfo_error err = {0};
    struct gdfo_split_opts opts = {2, 0, 7};
    assert_int_equal(gdfo_split_draw(&s, d, &opts, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.code, "too_few_examples");
    assert_string_equal(err.text, "label \"b\" has 1 example; k_shot needs 2");
    opts = (struct gdfo_split_opts){0, 0.2, 7};
    assert_int_equal(gdfo_split_draw(&s, d, &opts, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "label \"b\" has 1 example; dev_split needs 2");
    gdfo_dataset_destroy(d);
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    struct gdfo_dataset *d = rows_of(8, 8);
    struct gdfo_split_opts opts = {4, 0.25, 7};
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    for (; status != GDFO_STATUS_OK && n < 20; n++) {
        struct gdfo_split s;
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = gdfo_split_draw(&s, d, &opts, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_split_deinit(&s);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_int_equal(n, 5); /* four blocks */
    gdfo_dataset_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_rows_when_nothing_is_asked),
        cmocka_unit_test(k_shot_draws_k_of_each_label),
        cmocka_unit_test(the_seed_decides_the_draw),
        cmocka_unit_test(dev_split_is_stratified_and_apart),
        cmocka_unit_test(both_sides_keep_a_row_of_each_label),
        cmocka_unit_test(auto_needs_four_rows_of_each_label),
        cmocka_unit_test(too_few_examples_are_named),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
