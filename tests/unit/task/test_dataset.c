#include "common/mem.h"
#include "server/task/dataset.h"
#include "server/task/kind.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

struct parsed { /* what one parse left behind */
    enum gdfo_status status;
    struct gdfo_dataset *d;
    struct gdfo_faults faults;
    struct gdfo_error err;
};

static struct parsed parse_bytes(const void *bytes, size_t n, enum gdfo_rows rows)
{
    struct parsed p = {0};
    struct gdfo_reader in = gdfo_reader_memory(bytes, n, "train.jsonl");
    struct gdfo_dataset_source from = {gdfo_task_kind(0), rows, "training_file"};
    p.status = gdfo_dataset_parse(&p.d, &in, &from, &p.faults, &p.err);
    return p;
}

static struct parsed parse(const char *text)
{
    return parse_bytes(text, strlen(text), GDFO_ROWS_TRAIN);
}

static struct gdfo_dataset *parse_ok(const char *text)
{
    struct parsed p = parse(text);
    gdfo_test_ok(p.status, &p.err);
    assert_int_equal(p.faults.n, 0);
    return p.d;
}

#define TWO "{\"text\":\"good one\",\"label\":\"pos\"}\n{\"text\":\"bad one\",\"label\":\"neg\"}\n"

static void one_text_and_label(void **state)
{
    (void)state;
    struct gdfo_dataset *d = parse_ok(TWO);
    assert_int_equal(gdfo_dataset_size(d), 2);
    assert_false(gdfo_dataset_is_pair(d));
    assert_int_equal(gdfo_dataset_n_labels(d), 2);
    assert_string_equal(gdfo_dataset_label(d, 0), "neg");
    assert_string_equal(gdfo_dataset_label(d, 1), "pos");
    assert_string_equal(gdfo_dataset_labels(d)[1], "pos");
    assert_string_equal(gdfo_dataset_row(d, 0)->text, "good one");
    assert_int_equal(gdfo_dataset_row(d, 0)->label, 1);
    assert_int_equal(gdfo_dataset_row(d, 1)->label, 0);
    assert_int_equal(gdfo_dataset_row(d, 1)->line, 2);
    assert_null(gdfo_dataset_row(d, 0)->text_b);
    assert_null(gdfo_dataset_row(d, 0)->id);
    assert_int_equal(gdfo_dataset_n_of_label(d, 0), 1);
    gdfo_dataset_destroy(d);
}

static void two_texts(void **state)
{
    (void)state;
    struct gdfo_dataset *d =
        parse_ok("{\"text_a\":\"A man sleeps.\",\"text_b\":\"Nobody is awake.\",\"label\":\"x\"}\n"
                 "{\"label\":\"y\",\"text_b\":\"b\",\"text_a\":\"a\"}");
    assert_true(gdfo_dataset_is_pair(d));
    assert_string_equal(gdfo_dataset_row(d, 0)->text, "A man sleeps.");
    assert_string_equal(gdfo_dataset_row(d, 0)->text_b, "Nobody is awake.");
    assert_string_equal(gdfo_dataset_row(d, 1)->text, "a");
    gdfo_dataset_destroy(d);
}

static void chat_messages(void **state)
{
    (void)state;
    struct gdfo_dataset *d = parse_ok(
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Sort this.\"},"
        "{\"role\":\"user\",\"content\":\"  a film  \"},"
        "{\"role\":\"assistant\",\"content\":\" positive \\n\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
        "{\"type\":\"text\",\"text\":\"two\"}]},{\"role\":\"assistant\",\"content\":\"neg\"}]}\n");
    assert_false(gdfo_dataset_is_pair(d));
    assert_string_equal(gdfo_dataset_row(d, 0)->text, "Sort this.\n  a film  ");
    assert_string_equal(gdfo_dataset_label(d, gdfo_dataset_row(d, 0)->label), "positive");
    assert_string_equal(gdfo_dataset_row(d, 1)->text, "one\ntwo");
    gdfo_dataset_destroy(d);
}

static void labels_may_be_integers_and_rows_may_have_ids(void **state)
{
    (void)state;
    struct gdfo_dataset *d =
        parse_ok("{\"text\":\"a\",\"label\":1,\"id\":\"r-1\",\"meta\":{\"any\":[1,null]}}\n"
                 "{\"text\":\"b\",\"label\":-2,\"id\":17,\"meta\":null}\n"
                 "{\"text\":\"c\",\"label\":\"1\"}\n");
    assert_int_equal(gdfo_dataset_n_labels(d), 2);
    assert_string_equal(gdfo_dataset_label(d, 0), "-2");
    assert_string_equal(gdfo_dataset_label(d, 1), "1");
    assert_int_equal(gdfo_dataset_n_of_label(d, 1), 2);
    assert_string_equal(gdfo_dataset_row(d, 0)->id, "r-1");
    assert_string_equal(gdfo_dataset_row(d, 1)->id, "17");
    gdfo_dataset_destroy(d);
}

static void line_ends_marks_and_blanks(void **state)
{
    (void)state;
    struct gdfo_dataset *d = parse_ok("\xEF\xBB\xBF{\"text\":\"a\",\"label\":\"x\"}\r\n"
                                      "\r\n  \t \n"
                                      "{\"text\":\" kept \xC3\xA9 \",\"label\":\" X\"}");
    assert_int_equal(gdfo_dataset_size(d), 2);
    assert_int_equal(gdfo_dataset_row(d, 1)->line, 4);
    assert_string_equal(gdfo_dataset_row(d, 1)->text, " kept \xC3\xA9 "); /* nothing is repaired */
    assert_string_equal(gdfo_dataset_label(d, 0), " X");
    gdfo_dataset_destroy(d);
}

/* One bad line between good ones: its number and a word of its fault. */
static void expect_fault(const char *line, const char *word)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_addf(&b, "%s%s\n", TWO, line);
    struct parsed p = parse(b.data);
    gdfo_buf_deinit(&b);
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_null(p.d);
    assert_int_equal(p.faults.n, 1);
    assert_int_equal(p.faults.items[0].line, 3);
    if (strstr(p.faults.items[0].text, word) == NULL) {
        fail_msg("'%s' gives '%s', without '%s'", line, p.faults.items[0].text, word);
    }
    assert_string_equal(p.err.code, "invalid_training_file");
    assert_string_equal(p.err.field, "training_file:3");
    assert_non_null(strstr(p.err.text, "line 3: "));
}

static void every_bad_row_is_named(void **state)
{
    (void)state;
    expect_fault("{\"text\":\"a\"}", "label is missing; want a string or an integer");
    expect_fault("{\"label\":\"x\"}", "no text");
    expect_fault("{\"text\":\"\",\"label\":\"x\"}", "text is empty");
    expect_fault("{\"text\":7,\"label\":\"x\"}", "text is a number; want a string");
    expect_fault("{\"text\":\"a\",\"label\":1.5}",
                 "label is a number; want a string or an integer");
    expect_fault("{\"text\":\"a\",\"label\":\"\"}", "label is empty; want 1..64 bytes");
    expect_fault("{\"text\":\"a\",\"label\":null}", "label is null");
    expect_fault("{\"text\":\"a\",\"label\":\"x\",\"lable\":1}", "unknown member \"lable\"");
    expect_fault("{\"text\":\"a\",\"text_a\":\"b\",\"label\":\"x\"}", "exclude each other");
    expect_fault("{\"text\":\"a\",\"label\":\"x\",\"id\":[]}", "id is an array");
    expect_fault("{\"text_a\":\"a\",\"label\":\"x\"}", "text_b");
    expect_fault("{\"text_a\":\"a\",\"text_b\":\"b\",\"label\":\"x\"}", "want one shape");
    expect_fault("[1,2]", "an array; want an object");
    expect_fault("\"text\"", "a string; want an object");
    expect_fault("{\"text\":\"a\",\"label\":\"x\"", "");
    expect_fault("{\"text\":\"a\",\"label\":\"x\"} trailing", "");
    expect_fault("{\"text\":\"a\",\"text\":\"b\",\"label\":\"x\"}", "");
    expect_fault("{'text':'a','label':'x'}", "");
    expect_fault("{\"text\":\"a\\u0000b\",\"label\":\"x\"}", "");
    expect_fault("{\"text\":\"a\xFF\",\"label\":\"x\"}", "byte 11 is no valid UTF-8");
    expect_fault("\xC0\xAF", "byte 1 is no valid UTF-8");
    expect_fault("{\"text\":\"\xED\xA0\x80\",\"label\":\"x\"}", "no valid UTF-8");
}

static void every_bad_chat_is_named(void **state)
{
    (void)state;
    static const char *const good = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                                    "{\"role\":\"assistant\",\"content\":\"%s\"}]}\n";
    static const char *const cases[][2] = {
        {"{\"messages\":[]}", "the last message is no assistant's"},
        {"{\"messages\":{}}", "messages is an object; want an array"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}", "no text before"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "no assistant's"},
        {"{\"messages\":[3]}", "a message is a number"},
        {"{\"messages\":[{\"content\":\"a\"}]}", "role is missing"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "role is \"tool\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":1}]}", "content is a number"},
        {"{\"messages\":[{\"role\":\"user\",\"name\":\"n\"}]}", "unknown member \"name\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "content part"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"label\":\"x\"}", "\"label\""},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
         "{\"role\":\"assistant\",\"content\":\" \\n\"}]}",
         "label is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, good, "x");
        n += snprintf(text + n, sizeof text - (size_t)n, good, "y");
        GDFO_IGNORE(snprintf(text + n, sizeof text - (size_t)n, "%s\n", cases[i][0]) < 0);
        struct parsed p = parse(text);
        assert_int_equal(p.faults.n, 1);
        assert_int_equal(p.faults.items[0].line, 3);
        if (strstr(p.faults.items[0].text, cases[i][1]) == NULL) {
            fail_msg("%s: '%s'", cases[i][0], p.faults.items[0].text);
        }
    }
}

static void long_labels_are_refused_at_the_limit(void **state)
{
    (void)state;
    char label[70];
    char line[128];
    memset(label, 'y', sizeof label);
    label[65] = '\0';
    GDFO_IGNORE(snprintf(line, sizeof line, "{\"text\":\"a\",\"label\":\"%s\"}", label) < 0);
    expect_fault(line, "has 65 bytes; want 1..64");
    char text[256];
    GDFO_IGNORE(
        snprintf(text, sizeof text, "%s{\"text\":\"a\",\"label\":\"%s\"}\n", TWO, label + 1) < 0);
    struct gdfo_dataset *d = parse_ok(text);
    assert_int_equal(gdfo_dataset_n_labels(d), 3);
    gdfo_dataset_destroy(d);
}

static void the_first_twenty_faults_are_collected(void **state)
{
    (void)state;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    for (int i = 0; i < 50; i++) {
        gdfo_buf_add(&b, i % 2 == 0 ? "{\"text\":\"a\"}\n" : "{\"text\":\"a\",\"label\":\"x\"}\n");
    }
    struct parsed p = parse(b.data);
    assert_int_equal(p.faults.n, 20);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(p.faults.items[i].line, 2 * i + 1);
    }
    assert_string_equal(p.err.field, "training_file:1");
    assert_non_null(strstr(p.err.text, "(at least 20 errors in all)"));
    gdfo_buf_deinit(&b);
}

static void at_least_two_labels(void **state)
{
    (void)state;
    struct parsed p = parse("{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"x\"}\n");
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_string_equal(p.err.code, "too_few_examples");
    assert_string_equal(p.err.text, "the only label is \"x\"; want at least two");
    p = parse("\n\n");
    assert_string_equal(p.err.code, "too_few_examples");
    p = parse("");
    assert_string_equal(p.err.code, "too_few_examples");
    const char *one = "{\"text\":\"a\",\"label\":\"x\"}\n";
    p = parse_bytes(one, strlen(one), GDFO_ROWS_VALIDATION); /* enough to validate on */
    gdfo_test_ok(p.status, &p.err);
    gdfo_dataset_destroy(p.d);
}

static void inputs_have_no_labels(void **state)
{
    (void)state;
    const char *good = "{\"text\":\"a\"}\n{\"text\":\"b\",\"id\":\"7\"}\n";
    const char *bad = "{\"text\":\"a\",\"label\":\"x\"}\n";
    struct parsed p = parse_bytes(good, strlen(good), GDFO_ROWS_INPUTS);
    gdfo_test_ok(p.status, &p.err);
    assert_int_equal(gdfo_dataset_n_labels(p.d), 0);
    assert_true(gdfo_dataset_row(p.d, 1)->label == GDFO_ROW_NO_LABEL);
    gdfo_dataset_destroy(p.d);
    p = parse_bytes(bad, strlen(bad), GDFO_ROWS_INPUTS);
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_non_null(strstr(p.err.text, "label is not wanted"));
}

/* ---- hostile readers ---- */

struct endless { /* a reader that makes its bytes up */
    uint64_t n_read;
    char fill;
    int fails_at_end;
};

static enum gdfo_status read_endless(void *ctx, uint64_t offset, void *out, size_t n,
                                     struct gdfo_error *err)
{
    struct endless *e = ctx;
    (void)offset;
    if (e->fails_at_end && e->n_read > 200000) {
        return gdfo_error_set(err, GDFO_STATUS_IO, "train.jsonl: gone");
    }
    memset(out, e->fill, n);
    e->n_read += n;
    return GDFO_STATUS_OK;
}

static struct parsed parse_endless(struct endless *e, uint64_t size)
{
    struct parsed p = {0};
    struct gdfo_reader in = {e, size, "train.jsonl", read_endless};
    struct gdfo_dataset_source from = {gdfo_task_kind(0), GDFO_ROWS_TRAIN, "training_file"};
    p.status = gdfo_dataset_parse(&p.d, &in, &from, &p.faults, &p.err);
    return p;
}

static void a_gigabyte_line_is_one_fault(void **state)
{
    (void)state;
    struct endless e = {.fill = 'x'};
    struct parsed p = parse_endless(&e, 1ULL << 30);
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_int_equal(p.faults.n, 1);
    assert_string_equal(p.faults.items[0].text, "longer than 262144 bytes");
}

static void a_million_lines_and_no_more(void **state)
{
    (void)state;
    struct endless e = {.fill = '\n'};
    struct parsed p = parse_endless(&e, 1000000);
    assert_string_equal(p.err.code, "too_few_examples"); /* the limit itself is allowed */
    p = parse_endless(&e, 1000001);
    assert_string_equal(p.err.code, "invalid_training_file");
    assert_string_equal(p.err.field, "training_file");
    assert_string_equal(p.err.text, "more than 1,000,000 lines");
}

static void a_reader_that_fails_is_not_the_datas_fault(void **state)
{
    (void)state;
    struct endless e = {.fill = 'x', .fails_at_end = 1};
    struct parsed p = parse_endless(&e, 1ULL << 30);
    assert_int_equal(p.status, GDFO_STATUS_IO);
    assert_string_equal(p.err.text, "train.jsonl: gone");
}

static void binary_and_foreign_encodings(void **state)
{
    (void)state;
    static const unsigned char utf16[] = {0xFF, 0xFE, '{', 0, '"', 0, '\n', 0};
    static const unsigned char nul[] = "{\"text\":\"a\0b\",\"label\":\"x\"}";
    struct parsed p = parse_bytes(utf16, sizeof utf16, GDFO_ROWS_TRAIN);
    assert_non_null(strstr(p.err.text, "the file is UTF-16; want UTF-8"));
    p = parse_bytes(nul, sizeof nul - 1, GDFO_ROWS_TRAIN);
    assert_string_equal(p.faults.items[0].text, "byte 11 is NUL; want UTF-8 text");
    unsigned char noise[4096];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (unsigned char)((i * 2654435761U) >> 13);
    }
    p = parse_bytes(noise, sizeof noise, GDFO_ROWS_TRAIN);
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_true(p.faults.n >= 1);
    for (size_t i = 0; i < p.faults.n; i++) {
        size_t n = strlen(p.faults.items[i].text);
        assert_true(n > 0);
        for (size_t k = 0; k < n; k++) {
            assert_true((unsigned char)p.faults.items[i].text[k] >= 0x20);
        }
    }
}

/* Lines around the ceiling and around the reading window, so that joints are met. */
static void long_lines_up_to_the_ceiling(void **state)
{
    (void)state;
    static const size_t sizes[] = {65535, 65536, 65537, 131072, 262143, 262144, 262145};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct gdfo_buf b;
        const char *head = "{\"text\":\"";
        const char *tail = "\",\"label\":\"pos\"}";
        gdfo_buf_init(&b, 1 << 20);
        gdfo_buf_add(&b, head);
        while (b.len < sizes[i] - strlen(tail)) {
            gdfo_buf_addc(&b, (char)('a' + b.len % 26));
        }
        gdfo_buf_add(&b, tail);
        assert_int_equal(b.len, sizes[i]);
        gdfo_buf_add(&b, "\n" TWO);
        struct parsed p = parse(b.data);
        if (sizes[i] <= GDFO_DATASET_LINE_MAX_BYTES) {
            gdfo_test_ok(p.status, &p.err);
            const struct gdfo_row *row = gdfo_dataset_row(p.d, 0);
            assert_int_equal(strlen(row->text), sizes[i] - strlen(head) - strlen(tail));
            assert_memory_equal(row->text, b.data + strlen(head), strlen(row->text));
            assert_string_equal(gdfo_dataset_row(p.d, 1)->text, "good one");
            gdfo_dataset_destroy(p.d);
        } else {
            assert_int_equal(p.status, GDFO_STATUS_INVALID);
            assert_int_equal(p.faults.items[0].line, 1);
        }
        gdfo_buf_deinit(&b);
    }
}

static void too_many_labels_are_refused(void **state)
{
    (void)state;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    for (int i = 0; i < 1000; i++) {
        gdfo_buf_addf(&b, "{\"text\":\"t\",\"label\":%d}\n", i);
    }
    struct parsed p = parse(b.data);
    gdfo_test_ok(p.status, &p.err);
    assert_int_equal(gdfo_dataset_n_labels(p.d), 1000);
    for (size_t i = 1; i < 1000; i++) { /* byte order, each once */
        assert_true(strcmp(gdfo_dataset_label(p.d, i - 1), gdfo_dataset_label(p.d, i)) < 0);
        assert_int_equal(gdfo_dataset_n_of_label(p.d, i), 1);
    }
    for (size_t i = 0; i < 1000; i++) {
        char name[8];
        GDFO_IGNORE(snprintf(name, sizeof name, "%zu", i) < 0);
        assert_string_equal(gdfo_dataset_label(p.d, gdfo_dataset_row(p.d, i)->label), name);
    }
    gdfo_dataset_destroy(p.d);
    gdfo_buf_add(&b, "{\"text\":\"t\",\"label\":\"one more\"}\n");
    p = parse(b.data);
    assert_int_equal(p.status, GDFO_STATUS_LIMIT);
    assert_string_equal(p.err.code, "invalid_training_file");
    gdfo_buf_deinit(&b);
}

/* ---- arrays ---- */

static struct parsed parse_array(const char *text)
{
    struct parsed p = {0};
    struct gdfo_json *root = NULL;
    struct gdfo_dataset_source from = {gdfo_task_kind(0), GDFO_ROWS_TRAIN, "/task/examples"};
    gdfo_test_ok(gdfo_json_parse(&root, text, strlen(text), NULL, &p.err), &p.err);
    p.status = gdfo_dataset_parse_json(&p.d, root, &from, &p.faults, &p.err);
    gdfo_json_destroy(root);
    return p;
}

static void inline_examples_follow_the_same_rules(void **state)
{
    (void)state;
    struct parsed p =
        parse_array("[{\"text\":\"a\",\"label\":\"x\"},{\"text\":\"b\",\"label\":1}]");
    gdfo_test_ok(p.status, &p.err);
    assert_int_equal(gdfo_dataset_size(p.d), 2);
    assert_int_equal(gdfo_dataset_row(p.d, 1)->line, 2);
    gdfo_dataset_destroy(p.d);
    p = parse_array("[{\"text\":\"a\",\"label\":\"x\"},{\"text\":\"b\"},7]");
    assert_int_equal(p.faults.n, 2);
    assert_string_equal(p.err.field, "/task/examples/1");
    assert_non_null(strstr(p.err.text, "example 2: label is missing"));
    p = parse_array("{}");
    assert_string_equal(p.err.text, "not an array; want an array of examples");
    p = parse_array("[]");
    assert_string_equal(p.err.code, "too_few_examples");
}

static void inline_examples_have_a_ceiling(void **state)
{
    (void)state;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_addc(&b, '[');
    for (int i = 0; i < 2048; i++) {
        gdfo_buf_addf(&b, "%s{\"text\":\"t\",\"label\":%d}", i > 0 ? "," : "", i % 2);
    }
    size_t n = b.len;
    gdfo_buf_addc(&b, ']');
    struct parsed p = parse_array(b.data);
    gdfo_test_ok(p.status, &p.err);
    assert_int_equal(gdfo_dataset_size(p.d), 2048);
    gdfo_dataset_destroy(p.d);
    b.len = n;
    gdfo_buf_add(&b, ",{\"text\":\"t\",\"label\":1}]");
    p = parse_array(b.data);
    assert_int_equal(p.status, GDFO_STATUS_INVALID);
    assert_non_null(strstr(p.err.text, "more than 2,048 examples"));
    gdfo_buf_deinit(&b);
}

/* ---- two data sets ---- */

static struct gdfo_dataset *validation_of(const char *text)
{
    struct parsed p = parse_bytes(text, strlen(text), GDFO_ROWS_VALIDATION);
    gdfo_test_ok(p.status, &p.err);
    return p.d;
}

static void validation_takes_trainings_numbers(void **state)
{
    (void)state;
    struct gdfo_error err = {0};
    struct gdfo_dataset *train = parse_ok("{\"text\":\"1\",\"label\":\"a\"}\n"
                                          "{\"text\":\"2\",\"label\":\"b\"}\n"
                                          "{\"text\":\"3\",\"label\":\"c\"}\n");
    struct gdfo_dataset *dev = validation_of("{\"text\":\"4\",\"label\":\"c\"}\n"
                                             "{\"text\":\"5\",\"label\":\"b\"}\n"
                                             "{\"text\":\"6\",\"label\":\"c\"}\n");
    assert_int_equal(gdfo_dataset_row(dev, 0)->label, 1);
    for (int turn = 0; turn < 2; turn++) { /* doing it twice changes nothing */
        gdfo_test_ok(gdfo_dataset_align(dev, train, &err), &err);
        assert_int_equal(gdfo_dataset_row(dev, 0)->label, 2);
        assert_int_equal(gdfo_dataset_row(dev, 1)->label, 1);
        assert_int_equal(gdfo_dataset_n_labels(dev), 3);
        assert_int_equal(gdfo_dataset_n_of_label(dev, 0), 0);
        assert_int_equal(gdfo_dataset_n_of_label(dev, 2), 2);
    }
    gdfo_dataset_destroy(train); /* dev borrows nothing of it */
    assert_string_equal(gdfo_dataset_label(dev, 2), "c");
    gdfo_dataset_destroy(dev);
}

static void a_label_that_training_lacks_is_refused(void **state)
{
    (void)state;
    struct gdfo_error err = {0};
    struct gdfo_dataset *train = parse_ok(TWO);
    struct gdfo_dataset *dev =
        validation_of("{\"text\":\"4\",\"label\":\"pos\"}\n{\"text\":\"5\",\"label\":\"Neg\"}\n");
    assert_int_equal(gdfo_dataset_align(dev, train, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.code, "label_set_mismatch");
    assert_string_equal(err.text,
                        "validation has the label \"Neg\" (line 2), which training lacks");
    gdfo_dataset_destroy(dev);
    dev = validation_of("{\"text_a\":\"4\",\"text_b\":\"x\",\"label\":\"pos\"}\n");
    assert_int_equal(gdfo_dataset_align(dev, train, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.code, "invalid_training_file");
    gdfo_dataset_destroy(dev);
    gdfo_dataset_destroy(train);
}

/* Allocation N fails for N = 0, 1, 2, ...: no crash, no leak, the right status. */
static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    for (; status != GDFO_STATUS_OK && n < 200; n++) {
        gdfo_mem_fail_after(n);
        struct parsed p = parse(TWO);
        gdfo_mem_fail_after(-1);
        status = p.status;
        if (status != GDFO_STATUS_OK) {
            assert_int_equal(status, GDFO_STATUS_NO_MEMORY);
            assert_null(p.d);
        }
        gdfo_dataset_destroy(p.d);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_text_and_label),
        cmocka_unit_test(two_texts),
        cmocka_unit_test(chat_messages),
        cmocka_unit_test(labels_may_be_integers_and_rows_may_have_ids),
        cmocka_unit_test(line_ends_marks_and_blanks),
        cmocka_unit_test(every_bad_row_is_named),
        cmocka_unit_test(every_bad_chat_is_named),
        cmocka_unit_test(long_labels_are_refused_at_the_limit),
        cmocka_unit_test(the_first_twenty_faults_are_collected),
        cmocka_unit_test(at_least_two_labels),
        cmocka_unit_test(inputs_have_no_labels),
        cmocka_unit_test(a_gigabyte_line_is_one_fault),
        cmocka_unit_test(a_million_lines_and_no_more),
        cmocka_unit_test(a_reader_that_fails_is_not_the_datas_fault),
        cmocka_unit_test(binary_and_foreign_encodings),
        cmocka_unit_test(long_lines_up_to_the_ceiling),
        cmocka_unit_test(too_many_labels_are_refused),
        cmocka_unit_test(inline_examples_follow_the_same_rules),
        cmocka_unit_test(inline_examples_have_a_ceiling),
        cmocka_unit_test(validation_takes_trainings_numbers),
        cmocka_unit_test(a_label_that_training_lacks_is_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
