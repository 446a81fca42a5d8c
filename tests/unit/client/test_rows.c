#include "client/cli/rows.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* All rows of a text as one JSON array, labels and heads joined by commas beside it. */
static enum gdfo_status read_rows(const char *text, size_t n, char *json, char *labels,
                                  struct gdfo_error *err)
{
    struct gdfo_rows rows = gdfo_rows(text, n);
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    enum gdfo_status status = GDFO_STATUS_OK;
    int is_end = 0;
    gdfo_buf_init(&b, (size_t)1 << 20);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '[');
    labels[0] = '\0';
    while (status == GDFO_STATUS_OK && !is_end) {
        struct gdfo_row row;
        status = gdfo_rows_next(&rows, &w, &row, &is_end, err);
        if (status == GDFO_STATUS_OK && !is_end) {
            (void)snprintf(labels + strlen(labels), 256 - strlen(labels), "%s,", row.label);
        }
    }
    gdfo_json_close(&w, ']');
    (void)snprintf(json, 1024, "%s", b.data ? b.data : "");
    gdfo_buf_deinit(&b);
    return status;
}

static void assert_rows(const char *text, const char *want_json, const char *want_labels)
{
    char json[1024], labels[256];
    struct gdfo_error err = {0};
    gdfo_test_ok(read_rows(text, strlen(text), json, labels, &err), &err);
    assert_string_equal(json, want_json);
    assert_string_equal(labels, want_labels);
}

static void lines_are_texts(void **state)
{
    (void)state;
    assert_rows("one\n\n  two \r\n\t\nlast",
                "[{\"text\":\"one\"},{\"text\":\"  two \"},{\"text\":\"last\"}]", ",,,");
    assert_rows("say \"hi\"\\", "[{\"text\":\"say \\\"hi\\\"\\\\\"}]", ",");
    assert_rows("", "[]", "");
    assert_rows("\n\r\n", "[]", "");
}

static void objects_give_text_and_label(void **state)
{
    (void)state;
    assert_rows("{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":-7}\n{\"label\":null,"
                "\"text\":\"c\"}",
                "[{\"text\":\"a\"},{\"text\":\"b\"},{\"text\":\"c\"}]", "x,-7,,");
    assert_rows("\xEF\xBB\xBF  {\"text_b\":\"q\",\"text_a\":\"p\",\"id\":1,\"meta\":{}}",
                "[{\"text_a\":\"p\",\"text_b\":\"q\"}]", ",");
}

static void bad_rows_are_named_by_line(void **state)
{
    static const struct {
        const char *text, *line;
    } rows[] = {{"{\"text\":\"a\"}\n\n{\"label\":\"b\"}", "line 3"},
                {"{\"text\":\"a\"}\n[1]", "line 2"},
                {"{\"text\":\"a\"}\nnot json", "line 2"},
                {"{\"text\":1}", "line 1"},
                {"{\"text_a\":\"x\"}", "line 1"},
                {"{\"text\":\"a\",\"label\":1.5}", "line 1"},
                {"{\"text\":\"a\",\"label\":[]}", "line 1"},
                {"{\"text\":\"a\",\"label\":\"\"}", "line 1"},
                {"ok\nbroken \xc3", "line 2"},
                {"{\"text\":\"a\",\"text\":\"b\"}", "line 1"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1024], labels[256];
        struct gdfo_error err = {0};
        assert_int_not_equal(read_rows(rows[i].text, strlen(rows[i].text), json, labels, &err),
                             GDFO_STATUS_OK);
        assert_non_null(strstr(err.text, rows[i].line));
    }
}

static void nul_bytes_are_no_text(void **state)
{
    char json[1024], labels[256];
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(read_rows("a\0b", 3, json, labels, &err), GDFO_STATUS_INVALID);
}

static void labels_have_a_ceiling(void **state)
{
    char text[256], json[1024], labels[256];
    struct gdfo_error err = {0};
    (void)state;
    (void)snprintf(text, sizeof text, "{\"text\":\"a\",\"label\":\"%064d\"}", 0);
    gdfo_test_ok(read_rows(text, strlen(text), json, labels, &err), &err);
    (void)snprintf(text, sizeof text, "{\"text\":\"a\",\"label\":\"%065d\"}", 0);
    assert_int_equal(read_rows(text, strlen(text), json, labels, &err), GDFO_STATUS_INVALID);
}

static void heads_end_between_characters(void **state)
{
    char text[128] = "x"; /* so that the cut of 47 bytes falls inside a character */
    struct gdfo_rows rows;
    struct gdfo_row row;
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    struct gdfo_error err = {0};
    int is_end;
    (void)state;
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "\xc3\xa9");
    }
    gdfo_buf_init(&b, 4096);
    w = gdfo_json_writer(&b);
    rows = gdfo_rows(text, strlen(text));
    gdfo_test_ok(gdfo_rows_next(&rows, &w, &row, &is_end, &err), &err);
    assert_int_equal(strlen(row.head), 47);
    text[sizeof text - 1] = '\0';
    (void)memmove(text + 1, text, 80);
    rows = gdfo_rows(text, 80);
    gdfo_test_ok(gdfo_rows_next(&rows, &w, &row, &is_end, &err), &err);
    assert_int_equal(strlen(row.head), 46);
    assert_null(strchr(row.head, '?'));
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_texts),
        cmocka_unit_test(objects_give_text_and_label),
        cmocka_unit_test(bad_rows_are_named_by_line),
        cmocka_unit_test(nul_bytes_are_no_text),
        cmocka_unit_test(labels_have_a_ceiling),
        cmocka_unit_test(heads_end_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
