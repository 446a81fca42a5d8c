#include "common/file.h"
#include "server/task/kind.h"
#include "server/task/split.h"
#include "server/task/task.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* The quick-start's data keep the promises of deploy/examples/README.md. */
static const struct example {
    const char *name;
    size_t n_labels, n_train, n_dev, n_test; /* of each label */
} examples[] = {{"tickets", 5, 16, 16, 30}, {"urgency", 2, 16, 16, 70}};
#define N_EXAMPLES (sizeof examples / sizeof examples[0])

/* The tests run in the root of the source tree. */
static struct gdfo_dataset *load(const char *task, const char *part, enum gdfo_rows rows)
{
    char path[128];
    struct gdfo_reader in;
    struct gdfo_dataset *d = NULL;
    struct gdfo_error err = {0};
    struct gdfo_dataset_source from = {gdfo_task_kind(0), rows, part};
    GDFO_IGNORE(snprintf(path, sizeof path, "deploy/examples/%s/%s.jsonl", task, part) < 0);
    gdfo_test_ok(gdfo_reader_open(&in, path, &err), &err);
    gdfo_test_ok(gdfo_dataset_parse(&d, &in, &from, NULL, &err), &err);
    gdfo_reader_close(&in);
    return d;
}

static void check_counts(const struct gdfo_dataset *d, size_t n_labels, size_t n_each)
{
    assert_int_equal(gdfo_dataset_n_labels(d), n_labels);
    assert_int_equal(gdfo_dataset_size(d), n_labels * n_each);
    for (size_t c = 0; c < n_labels; c++) {
        assert_int_equal(gdfo_dataset_n_of_label(d, c), n_each);
    }
}

static void the_files_are_balanced_and_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        const struct example *e = &examples[i];
        struct gdfo_error err = {0};
        struct gdfo_dataset *train = load(e->name, "train", GDFO_ROWS_TRAIN);
        struct gdfo_dataset *dev = load(e->name, "dev", GDFO_ROWS_VALIDATION);
        struct gdfo_dataset *test = load(e->name, "test", GDFO_ROWS_VALIDATION);
        gdfo_test_ok(gdfo_dataset_align(dev, train, &err), &err);
        gdfo_test_ok(gdfo_dataset_align(test, train, &err), &err);
        check_counts(train, e->n_labels, e->n_train);
        check_counts(dev, e->n_labels, e->n_dev);
        check_counts(test, e->n_labels, e->n_test);
        gdfo_dataset_destroy(train);
        gdfo_dataset_destroy(dev);
        gdfo_dataset_destroy(test);
    }
}

/* ---- no test row rephrases another ---- */

static int is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80;
}

/* The different words of a text, in lower case, as hashes; returns how many. */
static size_t words_of(const char *text, uint32_t *out, size_t cap)
{
    size_t n = 0;
    while (*text != '\0') {
        uint32_t hash = 2166136261U; /* FNV-1a */
        size_t len = 0;
        for (; is_word_byte(text[len]); len++) {
            hash = (hash ^ (uint32_t)(unsigned char)(text[len] | 0x20)) * 16777619U;
        }
        int is_new = len > 0;
        for (size_t k = 0; k < n; k++) {
            is_new = is_new && out[k] != hash;
        }
        if (is_new) {
            assert_true(n < cap);
            out[n++] = hash;
        }
        text += len > 0 ? len : 1;
    }
    return n;
}

/* Shared words over all words of both. */
static double overlap(const char *a, const char *b)
{
    uint32_t x[64];
    uint32_t y[64];
    size_t n = words_of(a, x, 64);
    size_t m = words_of(b, y, 64);
    size_t both = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < m; k++) {
            both += x[i] == y[k];
        }
    }
    return (double)both / (double)(n + m - both);
}

static void expect_apart(const struct gdfo_dataset *a, const struct gdfo_dataset *b)
{
    for (size_t i = 0; i < gdfo_dataset_size(a); i++) {
        for (size_t k = 0; k < gdfo_dataset_size(b); k++) {
            const char *s = gdfo_dataset_row(a, i)->text;
            const char *t = gdfo_dataset_row(b, k)->text;
            if (overlap(s, t) >= 0.5) {
                fail_msg("too much alike:\n%s\n%s", s, t);
            }
        }
    }
}

static void no_test_row_rephrases_a_train_row(void **state)
{
    (void)state;
    gdfo_test_near(overlap("One two, two three!", "three FOUR one"), 0.5, 1e-12);
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        struct gdfo_dataset *train = load(examples[i].name, "train", GDFO_ROWS_TRAIN);
        struct gdfo_dataset *dev = load(examples[i].name, "dev", GDFO_ROWS_VALIDATION);
        struct gdfo_dataset *test = load(examples[i].name, "test", GDFO_ROWS_VALIDATION);
        expect_apart(train, test);
        expect_apart(dev, test);
        expect_apart(train, dev);
        gdfo_dataset_destroy(train);
        gdfo_dataset_destroy(dev);
        gdfo_dataset_destroy(test);
    }
}

/* ---- the job files ---- */

/* The client takes // comments out before it sends; here the same for whole-line and end-of-line
 * ones, none of which stand in a string of these files. */
static void drop_comments(struct gdfo_buf *b)
{
    size_t to = 0;
    int in_comment = 0;
    for (size_t i = 0; i < b->len; i++) {
        in_comment |= b->data[i] == '/' && b->data[i + 1] == '/';
        in_comment = in_comment && b->data[i] != '\n';
        if (!in_comment) {
            b->data[to++] = b->data[i];
        }
    }
    b->data[to] = '\0';
    b->len = to;
}

static const struct gdfo_json *at(const struct gdfo_json *v, const char *key)
{
    const struct gdfo_json *member = gdfo_json_get(v, key);
    assert_non_null(member);
    return member;
}

static void every_job_fits_its_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_EXAMPLES; i++) {
        char path[128];
        struct gdfo_buf b;
        struct gdfo_json *root = NULL;
        struct gdfo_task_spec spec;
        struct gdfo_task *task = NULL;
        struct gdfo_error err = {0};
        struct gdfo_dataset *train = load(examples[i].name, "train", GDFO_ROWS_TRAIN);
        gdfo_buf_init(&b, 65536);
        GDFO_IGNORE(snprintf(path, sizeof path, "deploy/examples/%s.json", examples[i].name) < 0);
        gdfo_test_ok(gdfo_file_read(path, &b, &err), &err);
        drop_comments(&b);
        gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
        GDFO_IGNORE(snprintf(path, sizeof path, "@%s/train.jsonl", examples[i].name) < 0);
        assert_string_equal(gdfo_json_string(at(root, "training_file")), path);
        const struct gdfo_json *members = at(at(at(root, "method"), "auto"), "task");
        gdfo_test_ok(gdfo_task_spec_parse(&spec, members, "", NULL, NULL, &err), &err);
        gdfo_test_ok(gdfo_task_create(&task, &spec, gdfo_dataset_labels(train),
                                      gdfo_dataset_n_labels(train), 0, &err),
                     &err);
        assert_null(gdfo_task_unused_label(task));
        gdfo_task_destroy(task);
        gdfo_task_spec_deinit(&spec);
        gdfo_json_destroy(root);
        gdfo_dataset_destroy(train);
        gdfo_buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_files_are_balanced_and_agree),
        cmocka_unit_test(no_test_row_rephrases_a_train_row),
        cmocka_unit_test(every_job_fits_its_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
