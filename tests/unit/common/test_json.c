#include "common/json.h"
#include "common/json_write.h"
#include "common/mem.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static enum gdfo_status parse_n(const char *text, size_t n, struct gdfo_error *err)
{
    struct gdfo_json *v = NULL;
    enum gdfo_status status = gdfo_json_parse(&v, text, n, NULL, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_json_destroy(v);
    } else {
        assert_null(v);
    }
    return status;
}

static struct gdfo_json *must_parse(const char *text)
{
    struct gdfo_json *v = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_json_parse(&v, text, strlen(text), NULL, &err), &err);
    return v;
}

static void refused_n(const char *text, size_t n)
{
    struct gdfo_error err = {0};
    enum gdfo_status status = parse_n(text, n, &err);
    if (status != GDFO_STATUS_FORMAT) {
        fail_msg("not refused: %.*s", (int)n, text);
    }
    assert_string_equal(err.code, "invalid_json");
    assert_non_null(strstr(err.text, "at byte "));
}

static void refused_at(const char *text, const char *where)
{
    struct gdfo_error err = {0};
    assert_int_equal(parse_n(text, strlen(text), &err), GDFO_STATUS_FORMAT);
    if (!strstr(err.text, where)) {
        fail_msg("%s: %s does not say %s", text, err.text, where);
    }
}

static void every_form_of_rfc_8259_is_accepted(void **state)
{
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "1.5",
        "-1.5",
        "0.5",
        "1e3",
        "1E3",
        "1e+3",
        "1e-3",
        "1.25e2",
        "0e0",
        "0.0e-0",
        "1e-400",
        "5e-324",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        " [ ] ",
        "\t\r\n{\t}\n",
        "[1,2,3]",
        "[[[]]]",
        "[{}]",
        "{\"a\":{}}",
        "{\"a\":1,\"b\":[2]}",
        "{\"\":0}",
        "[null,true,false]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\"",
        "\"\\u00e9\"",
        "\"\\u00E9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uD83D\\uDE00\"",
        "\"\xc3\xa9\"",
        "\"\xf0\x9f\x98\x80\"",
        "\"\x7f\"",
        "\"\xe2\x80\xa8\"",
        "\"\xef\xbf\xbf\"",
        "\"\\uffff\"",
        "{\"a\":1,\"A\":2}",
        "[1,1,1]",
        "\"/\"",
        "[\"a\",\"a\"]",
        "1.7976931348623157e308",
        "{\"a\":{\"x\":1},\"b\":{\"x\":1}}",
        "12345678901234567890",
        "  7  ",
    };
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (parse_n(good[i], strlen(good[i]), &err) != GDFO_STATUS_OK) {
            fail_msg("refused: %s: %s", good[i], err.text);
        }
    }
}

static void everything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "\n",
        "nul",
        "nulll",
        "True",
        "TRUE",
        "undefined",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "inf",
        "+1",
        ".5",
        "-.5",
        "1.",
        "[1.]",
        "-",
        "--1",
        "01",
        "[01]",
        "-01",
        "00",
        "1e",
        "1e+",
        "1E-",
        "1.e1",
        "0x10",
        "1_000",
        "1,",
        "1 2",
        "[1]]",
        "[1] x",
        "{} {}",
        "[1,]",
        "[,1]",
        "[,]",
        "[1,,2]",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[\"a\"",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\"::1}",
        "{\"a\":1 \"b\":2}",
        "{null:1}",
        "[1 2]",
        "['a']",
        "'a'",
        "\"a",
        "\"",
        "\"\\\"",
        "\"\\a\"",
        "\"\\x41\"",
        "\"\\'\"",
        "\"\\0\"",
        "\"\\u\"",
        "\"\\u1\"",
        "\"\\u12\"",
        "\"\\u123\"",
        "\"\\u12g4\"",
        "\"\\u0000\"",
        "{\"\\u0000\":1}",
        "\"\\ud800\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ude00\\ud83d\"",
        "\"\n\"",
        "\"\r\"",
        "\"\t\"",
        "\"\x01\"",
        "\"\x1f\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xe0\x80\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x80\x80\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xc3\"",
        "\"\xc3(\"",
        "\"\xe2\x82\"",
        "\"\x80\"",
        "\xef\xbb\xbf[]",
        "\xc2\xa0[]",
        "\f[]",
        "\v1",
        "// c\n1",
        "/* c */1",
        "[1]//",
        "#1",
        "1e999",
        "-1e999",
        "[1e400]",
        "{\"a\":1e309}",
        "\x80",
        "[\"a\"",
        "tru",
        "[tru]",
        "[true",
        "fals",
        "{\"a\":nul}",
        "[1}",
        "{\"a\":1]",
        "\"a\"\"b\"",
        "-x",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused_n(bad[i], strlen(bad[i]));
    }
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    static const char texts[][8] = {"\"a\0b\"", "[1,\0 2]", "{\"\0\":1}", "1\0", "\0 1", "[1]\0"};
    static const size_t n[] = {5, 7, 7, 2, 3, 4};
    (void)state;
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        refused_n(texts[i], n[i]);
    }
}

static void only_n_bytes_are_read(void **state)
{
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(parse_n("123garbage", 3, &err), &err);
    gdfo_test_ok(parse_n("truefalse", 4, &err), &err);
    refused_n("true", 3);
    refused_n("\"\\u0041\"", 6);
    refused_n("\"\\ud83d\\ude00\"", 10);
}

/* Every strict prefix of a text whose value needs its last byte is no JSON. */
static void no_prefix_of_a_document_is_a_document(void **state)
{
    static const char text[] =
        "{\"a\":[1,-2.5e3,\"\\u00e9\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":null,\"d\":true}}";
    (void)state;
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        char *copy = gdfo_mem_dup(text, n + 1); /* so that a sanitizer sees a read past the end */
        copy[n] = '}';
        if (n < sizeof text - 2) {
            refused_n(copy, n);
        }
        gdfo_mem_free(copy);
    }
}

static void duplicate_keys_are_compared_after_unescaping(void **state)
{
    (void)state;
    refused_at("{\"a\":1,\"a\":2}", "byte 7");
    refused_at("{\"a\":1,\"\\u0061\":2}", "byte 7");
    refused_at("{\"\\u00e9\":1,\"\xc3\xa9\":2}", "twice");
    refused_at("{\"\":1,\"\":1}", "twice");
    refused_at("[{\"x\":{\"k\":1,\"j\":2,\"k\":3}}]", "byte 19");
    refused_at("{\"a/b\":1,\"a\\/b\":1}", "twice");
    refused_at("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}", "twice");
}

static void a_fault_names_its_byte(void **state)
{
    (void)state;
    refused_at("[1,x]", "byte 3");
    refused_at("[1,2] 3", "byte 6");
    refused_at("{\"a\":1e999}", "byte 5");
    refused_at("[\"ab\\q\"]", "byte 4");
    refused_at("[\"\xff\"]", "byte 2");
    refused_at("[1,", "byte 3");
}

static void repeat(struct gdfo_buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gdfo_buf_add(b, s);
    }
}

static enum gdfo_status parse_nested(size_t depth, const char *open, const char *close)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    gdfo_buf_init(&b, 1 << 20);
    repeat(&b, open, depth);
    gdfo_buf_add(&b, "1");
    repeat(&b, close, depth);
    status = parse_n(b.data, b.len, &err);
    gdfo_buf_deinit(&b);
    return status;
}

static void nesting_is_64_and_no_deeper(void **state)
{
    (void)state;
    assert_int_equal(parse_nested(64, "[", "]"), GDFO_STATUS_OK);
    assert_int_equal(parse_nested(65, "[", "]"), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_nested(64, "{\"a\":", "}"), GDFO_STATUS_OK);
    assert_int_equal(parse_nested(65, "{\"a\":", "}"), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_nested(100000, "[", ""), GDFO_STATUS_FORMAT);
}

static void depth_is_nesting_and_not_count(void **state)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "[1");
    repeat(&b, ",[],{}", 200);
    gdfo_buf_add(&b, "]");
    gdfo_test_ok(parse_n(b.data, b.len, &err), &err);
    gdfo_buf_deinit(&b);
}

static enum gdfo_status parse_string_of(const char *piece, size_t n)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "\"");
    repeat(&b, piece, n);
    gdfo_buf_add(&b, "\"");
    status = parse_n(b.data, b.len, &err);
    gdfo_buf_deinit(&b);
    return status;
}

static void a_string_is_counted_after_unescaping(void **state)
{
    (void)state;
    assert_int_equal(parse_string_of("a", 65536), GDFO_STATUS_OK);
    assert_int_equal(parse_string_of("a", 65537), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_string_of("\\n", 65536), GDFO_STATUS_OK);
    assert_int_equal(parse_string_of("\\n", 65537), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_string_of("\\u00e9", 32768), GDFO_STATUS_OK);
    assert_int_equal(parse_string_of("\\u00e9", 32769), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_string_of("\\ud83d\\ude00", 16384), GDFO_STATUS_OK);
    assert_int_equal(parse_string_of("\\ud83d\\ude00", 16385), GDFO_STATUS_FORMAT);
}

static enum gdfo_status parse_object_of(size_t n)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "{");
    for (size_t i = 0; i < n; i++) {
        gdfo_buf_addf(&b, "%s\"k%zu\":1", i ? "," : "", i);
    }
    gdfo_buf_add(&b, "}");
    status = parse_n(b.data, b.len, &err);
    gdfo_buf_deinit(&b);
    return status;
}

static void an_object_has_256_members_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(parse_object_of(256), GDFO_STATUS_OK);
    assert_int_equal(parse_object_of(257), GDFO_STATUS_FORMAT);
}

static enum gdfo_status parse_array_of(size_t n, const struct gdfo_json_limits *limits)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    struct gdfo_json *v = NULL;
    enum gdfo_status status;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "[0");
    repeat(&b, ",1", n - 1);
    gdfo_buf_add(&b, "]");
    status = gdfo_json_parse(&v, b.data, b.len, limits, &err);
    gdfo_json_destroy(v);
    gdfo_buf_deinit(&b);
    return status;
}

static void a_document_has_20000_values_and_no_more(void **state)
{
    const struct gdfo_json_limits more = {.values = 30001};
    (void)state;
    assert_int_equal(parse_array_of(19999, NULL), GDFO_STATUS_OK); /* and the array itself */
    assert_int_equal(parse_array_of(20000, NULL), GDFO_STATUS_FORMAT);
    assert_int_equal(parse_array_of(30000, &more), GDFO_STATUS_OK);
    assert_int_equal(parse_array_of(30001, &more), GDFO_STATUS_FORMAT);
}

static void numbers_have_at_most_63_characters(void **state)
{
    char text[70];
    struct gdfo_error err = {0};
    (void)state;
    memset(text, '1', sizeof text);
    text[1] = '.';
    gdfo_test_ok(parse_n(text, 63, &err), &err);
    refused_n(text, 64);
}

static void integers_are_digits_up_to_2_53(void **state)
{
    static const struct {
        const char *text;
        int is_int;
        int64_t value;
    } rows[] = {
        {"0", 1, 0},
        {"-0", 1, 0},
        {"2147483648", 1, 2147483648},
        {"9007199254740991", 1, 9007199254740991},
        {"9007199254740992", 1, 9007199254740992},
        {"-9007199254740992", 1, -9007199254740992},
        {"9007199254740993", 0, 0},
        {"-9007199254740993", 0, 0},
        {"18446744073709551617", 0, 0},
        {"100000000000000000000000000000000000000000000000000000", 0, 0},
        {"1.0", 0, 0},
        {"1e3", 0, 0},
        {"1.5", 0, 0},
        {"\"1\"", 0, 0},
        {"true", 0, 0},
        {"null", 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gdfo_json *v = must_parse(rows[i].text);
        int64_t got = -77;
        assert_int_equal(gdfo_json_int(v, &got), rows[i].is_int);
        assert_int_equal(got, rows[i].is_int ? rows[i].value : -77);
        gdfo_json_destroy(v);
    }
}

static void getters_refuse_other_types(void **state)
{
    struct gdfo_json *v =
        must_parse("{\"s\":\"x\",\"n\":1.5,\"b\":false,\"z\":null,\"a\":[],\"S\":2}");
    double num = 7;
    int flag = 7;
    (void)state;
    assert_int_equal(gdfo_json_type(v), GDFO_JSON_OBJECT);
    assert_int_equal(gdfo_json_size(v), 6);
    assert_string_equal(gdfo_json_string(gdfo_json_get(v, "s")), "x");
    assert_null(gdfo_json_string(gdfo_json_get(v, "n")));
    assert_null(gdfo_json_get(v, "N"));
    assert_null(gdfo_json_get(v, "missing"));
    assert_int_equal(gdfo_json_number(gdfo_json_get(v, "s"), &num), 0);
    assert_int_equal(gdfo_json_number(gdfo_json_get(v, "n"), &num), 1);
    gdfo_test_near(num, 1.5, 0);
    assert_int_equal(gdfo_json_bool(gdfo_json_get(v, "z"), &flag), 0);
    assert_int_equal(flag, 7);
    assert_int_equal(gdfo_json_bool(gdfo_json_get(v, "b"), &flag), 1);
    assert_int_equal(flag, 0);
    assert_int_equal(gdfo_json_type(gdfo_json_get(v, "z")), GDFO_JSON_NULL);
    assert_int_equal(gdfo_json_type(gdfo_json_get(v, "a")), GDFO_JSON_ARRAY);
    assert_null(gdfo_json_first(gdfo_json_get(v, "a")));
    assert_string_equal(gdfo_json_type_name(GDFO_JSON_STRING), "a string");
    gdfo_json_destroy(v);
}

static void children_come_in_order_with_their_names(void **state)
{
    struct gdfo_json *v = must_parse("{\"b\":1,\"a\":[true,\"x\"]}");
    const struct gdfo_json *c = gdfo_json_first(v);
    (void)state;
    assert_null(gdfo_json_key(v));
    assert_string_equal(gdfo_json_key(c), "b");
    c = gdfo_json_next(c);
    assert_string_equal(gdfo_json_key(c), "a");
    assert_null(gdfo_json_next(c));
    c = gdfo_json_first(c);
    assert_null(gdfo_json_key(c));
    assert_string_equal(gdfo_json_string(gdfo_json_next(c)), "x");
    gdfo_json_destroy(v);
}

static void escapes_become_utf_8(void **state)
{
    struct gdfo_json *v =
        must_parse("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"");
    (void)state;
    assert_string_equal(gdfo_json_string(v),
                        "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"\\/\b\f\n\r\t");
    gdfo_json_destroy(v);
}

/* Changes, drops and doubles bytes of a valid document: whatever is accepted must print and parse
 * again to the same text. */
static void what_a_mangled_document_gives_survives_a_round_trip(void **state)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"\\u00e9\\ud83d\\ude00\"],\"b\":{\"c\":null}}";
    static const char bytes[] = "{}[]\",:\\u0e-+.x \x80\x01";
    char copy[sizeof text];
    size_t n_accepted = 0;
    (void)state;
    for (size_t at = 0; at + 1 < sizeof text; at++) {
        for (size_t k = 0; k + 1 < sizeof bytes; k++) {
            struct gdfo_json *v = NULL;
            struct gdfo_json *again = NULL;
            struct gdfo_error err = {0};
            struct gdfo_buf b;
            memcpy(copy, text, sizeof text);
            copy[at] = bytes[k];
            if (gdfo_json_parse(&v, copy, sizeof text - 1, NULL, &err) != GDFO_STATUS_OK) {
                continue;
            }
            n_accepted++;
            gdfo_buf_init(&b, 4096);
            struct gdfo_json_writer w = gdfo_json_writer(&b);
            gdfo_json_put_node(&w, NULL, v);
            assert_true(gdfo_buf_ok(&b));
            gdfo_test_ok(gdfo_json_parse(&again, b.data, b.len, NULL, &err), &err);
            gdfo_json_destroy(again);
            gdfo_json_destroy(v);
            gdfo_buf_deinit(&b);
        }
    }
    assert_true(n_accepted > 50);
}

static void memory_that_runs_out_is_a_status(void **state)
{
    static const char text[] = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":null}";
    int n_failed = 0;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    (void)state;
    for (long n = 0; n < 100 && status != GDFO_STATUS_OK; n++) {
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = parse_n(text, sizeof text - 1, &err);
        gdfo_mem_fail_after(-1);
        n_failed += status == GDFO_STATUS_NO_MEMORY;
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n_failed > 5);
}

static void the_writer_places_commas_and_keys(void **state)
{
    struct gdfo_buf b;
    struct gdfo_json *v = must_parse("{\"x\":[1,2.5,\"y\",null,true],\"e\":{}}");
    (void)state;
    gdfo_buf_init(&b, 4096);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "s", "a");
    gdfo_json_put_str(&w, "none", NULL);
    gdfo_json_open(&w, "list", '[');
    gdfo_json_put_int(&w, NULL, INT64_C(9007199254740991));
    gdfo_json_put_num(&w, NULL, 0.1 + 0.2);
    gdfo_json_open(&w, NULL, '[');
    gdfo_json_close(&w, ']');
    gdfo_json_put_bool(&w, NULL, 1);
    gdfo_json_close(&w, ']');
    gdfo_json_put_raw(&w, "raw", "[7]");
    gdfo_json_put_node(&w, "node", v);
    gdfo_json_close(&w, '}');
    assert_string_equal(b.data, "{\"s\":\"a\",\"none\":null,\"list\":[9007199254740991,"
                                "0.30000000000000004,[],true],\"raw\":[7],"
                                "\"node\":{\"x\":[1,2.5,\"y\",null,true],\"e\":{}}}");
    gdfo_json_destroy(v);
    gdfo_buf_deinit(&b);
}

static void numbers_are_read_back_bit_for_bit(void **state)
{
    static const double values[] = {
        0.1, 0.0, -0.0, 1.0 / 3, 1e300, -5e-324, 2.2250738585072014e-308, 123456789.125};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct gdfo_buf b;
        double got = 0;
        gdfo_buf_init(&b, 64);
        struct gdfo_json_writer w = gdfo_json_writer(&b);
        gdfo_json_put_num(&w, NULL, values[i]);
        struct gdfo_json *v = must_parse(b.data);
        gdfo_buf_reset(&b); /* and once more, as a node */
        w = gdfo_json_writer(&b);
        gdfo_json_put_node(&w, NULL, v);
        gdfo_json_destroy(v);
        v = must_parse(b.data);
        assert_int_equal(gdfo_json_number(v, &got), 1);
        assert_memory_equal(&got, &values[i], sizeof got);
        gdfo_json_destroy(v);
        gdfo_buf_deinit(&b);
    }
}

static void what_is_not_finite_is_null(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 64);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '[');
    gdfo_json_put_num(&w, NULL, (double)NAN);
    gdfo_json_put_num(&w, NULL, (double)INFINITY);
    gdfo_json_put_num(&w, NULL, -(double)INFINITY);
    gdfo_json_close(&w, ']');
    assert_string_equal(b.data, "[null,null,null]");
    gdfo_buf_deinit(&b);
}

static void text_is_escaped_and_mended(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 256);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_put_str(&w, NULL, "q\" b\\ n\n c\x01 \xc3\xa9 bad\xff end");
    assert_string_equal(b.data, "\"q\\\" b\\\\ n\\n c\\u0001 \xc3\xa9 bad\xef\xbf\xbd end\"");
    gdfo_buf_deinit(&b);
}

static void a_full_buffer_is_seen_at_the_end(void **state)
{
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 8);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "key", "far too long");
    gdfo_json_close(&w, '}');
    assert_false(gdfo_buf_ok(&b));
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_rfc_8259_is_accepted),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(only_n_bytes_are_read),
        cmocka_unit_test(no_prefix_of_a_document_is_a_document),
        cmocka_unit_test(duplicate_keys_are_compared_after_unescaping),
        cmocka_unit_test(a_fault_names_its_byte),
        cmocka_unit_test(nesting_is_64_and_no_deeper),
        cmocka_unit_test(depth_is_nesting_and_not_count),
        cmocka_unit_test(a_string_is_counted_after_unescaping),
        cmocka_unit_test(an_object_has_256_members_and_no_more),
        cmocka_unit_test(a_document_has_20000_values_and_no_more),
        cmocka_unit_test(numbers_have_at_most_63_characters),
        cmocka_unit_test(integers_are_digits_up_to_2_53),
        cmocka_unit_test(getters_refuse_other_types),
        cmocka_unit_test(children_come_in_order_with_their_names),
        cmocka_unit_test(escapes_become_utf_8),
        cmocka_unit_test(what_a_mangled_document_gives_survives_a_round_trip),
        cmocka_unit_test(memory_that_runs_out_is_a_status),
        cmocka_unit_test(the_writer_places_commas_and_keys),
        cmocka_unit_test(numbers_are_read_back_bit_for_bit),
        cmocka_unit_test(what_is_not_finite_is_null),
        cmocka_unit_test(text_is_escaped_and_mended),
        cmocka_unit_test(a_full_buffer_is_seen_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
