/* The Open Inference Protocol's bodies: requests in the forms that its documents show, and answers
 * read back. */
#include "common/json.h"
#include "common/mem.h"
#include "server/http/oip.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static struct gdfo_error err;

static void parse(struct gdfo_oip_request *q, const char *body)
{
    gdfo_test_ok(gdfo_oip_request_parse(q, body, strlen(body), GDFO_OIP_ALL_JSON, &err), &err);
}

/* Refused, with these words in what is said. */
static void refused_n(const char *body, size_t n, size_t n_header, const char *words)
{
    struct gdfo_oip_request q;
    enum gdfo_status status = gdfo_oip_request_parse(&q, body, n, n_header, &err);
    if ((status != GDFO_STATUS_INVALID && status != GDFO_STATUS_FORMAT) ||
        !strstr(err.text, words)) {
        fail_msg("%.200s: want \"%s\", got status %d \"%s\"", body, words, (int)status, err.text);
    }
    gdfo_oip_request_deinit(&q);
}

static void refused(const char *body, const char *words)
{
    refused_n(body, strlen(body), GDFO_OIP_ALL_JSON, words);
}

#define TEXT  "{\"name\":\"text\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"good\",\"bad\"]}"
#define IDS   "{\"name\":\"label_ids\",\"shape\":[2],\"datatype\":\"INT32\",\"data\":[3363,2360]}"
#define PLAIN "{\"name\":\"soft_prompt\",\"shape\":[0,3],\"datatype\":\"FP32\",\"data\":[]}"
#define SOFT(shape, data)                                                                          \
    "{\"name\":\"soft_prompt\",\"shape\":" shape ",\"datatype\":\"FP32\",\"data\":" data "}"
#define REQUEST(inputs) "{\"parameters\":{\"position\":\"suffix\"},\"inputs\":[" inputs "]}"

/* ---- reading ----------------------------------------------------------------------------------
 */

static void the_contract_s_example_is_read(void **state)
{
    struct gdfo_oip_request q;
    (void)state;
    parse(&q, "{\"id\":\"c17-b3\",\"parameters\":{\"contract\":\"gdfo-scorer/1\",\"position\":"
              "\"prefix\"},\"inputs\":[" SOFT(
                  "[2,3]", "[0,1,2,3,-4.5,0.1]") "," TEXT "," IDS
                                                 "],\"outputs\":[{\"name\":\"label_logprobs\"}]}");
    assert_string_equal(q.id, "c17-b3");
    assert_int_equal(q.position, GDFO_POSITION_PREFIX);
    assert_int_equal(q.in[GDFO_OIP_SOFT_PROMPT].n_dims, 2);
    assert_int_equal(q.in[GDFO_OIP_SOFT_PROMPT].shape[1], 3);
    assert_true(q.in[GDFO_OIP_SOFT_PROMPT].floats[4] == -4.5F);
    assert_true(q.in[GDFO_OIP_SOFT_PROMPT].floats[5] == 0.1F);
    assert_int_equal(q.in[GDFO_OIP_TEXT].texts[1].n, 3);
    assert_memory_equal(q.in[GDFO_OIP_TEXT].texts[1].s, "bad", 3);
    assert_int_equal(q.in[GDFO_OIP_LABEL_IDS].ints[1], 2360);
    assert_int_equal(q.in[GDFO_OIP_CUE].is_given, 0);
    assert_int_equal(q.n_out, 1);
    assert_int_equal(q.out[0].which, GDFO_OIP_LABEL_LOGPROBS);
    assert_int_equal(q.n_bytes, 24 + 8 + 4 + 3 + 8);
    gdfo_oip_request_deinit(&q);
}

static void data_is_flat_or_nested_with_any_blanks(void **state)
{
    static const char *const forms[] = {"[1,2,3,4,5,6,7,8]", "[[[1,2],[3,4]],[[5,6],[7,8]]]",
                                        " [ [ [1 ,2e0],\n[3.0,\t4]] , [[5,6],\r[7,0.8E+1]] ] ",
                                        "[1.0,2,3,4,5,6,7,80e-1]"};
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char body[512];
        struct gdfo_oip_request q;
        (void)snprintf(body, sizeof body, REQUEST(SOFT("[2,2,2]", "%s") "," TEXT), forms[i]);
        parse(&q, body);
        assert_int_equal(q.in[GDFO_OIP_SOFT_PROMPT].n_dims, 3);
        for (int k = 0; k < 8; k++) {
            assert_true(q.in[GDFO_OIP_SOFT_PROMPT].floats[k] == (float)(k + 1));
        }
        gdfo_oip_request_deinit(&q);
    }
}

static void empty_tensors_are_tensors(void **state)
{
    static const char *const forms[] = {SOFT("[0,3]", "[]"), SOFT("[2,0,3]", "[]"),
                                        SOFT("[2,0,3]", "[[],[]]")};
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char body[512];
        struct gdfo_oip_request q;
        (void)snprintf(body, sizeof body, "{\"inputs\":[%s,%s]}", forms[i], TEXT);
        parse(&q, body); /* without rows nothing has to be placed */
        assert_int_equal(q.in[GDFO_OIP_SOFT_PROMPT].n, 0);
        assert_int_equal(q.position, GDFO_POSITION_PREFIX);
        gdfo_oip_request_deinit(&q);
    }
}

/* Texts may hold anything that looks like structure. */
static void texts_come_through_untouched(void **state)
{
    struct gdfo_oip_request q;
    (void)state;
    parse(
        &q,
        "{\"id\":\"\\\"inputs\\\":[{\\\"data\\\":[1]}]\",\"inputs\":[{\"data\":[\"a]}\\\"\\\\\","
        "\"\\u00e9\\ud83d\\ude00,\"],\"name\":\"text\",\"shape\":[2],\"datatype\":\"BYTES\"}," PLAIN
        "]}");
    assert_string_equal(q.id, "\"inputs\":[{\"data\":[1]}]");
    assert_int_equal(q.in[GDFO_OIP_TEXT].texts[0].n, 5);
    assert_memory_equal(q.in[GDFO_OIP_TEXT].texts[0].s, "a]}\"\\", 5);
    assert_memory_equal(q.in[GDFO_OIP_TEXT].texts[1].s, "\xC3\xA9\xF0\x9F\x98\x80,", 7);
    gdfo_oip_request_deinit(&q);
}

static void every_float_comes_back(void **state)
{
    static const float hard[] = {0.1F,           -1.17549435e-38F, 1.40129846e-45F,
                                 3.40282347e38F, 16777217.0F,      0.333333343F,
                                 -0.0F,          9.99999975e-5F,   1.00000012F};
    (void)state;
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        for (size_t k = 0; k < 2; k++) {
            char number[64];
            char body[512];
            struct gdfo_oip_request q;
            (void)snprintf(number, sizeof number, k ? "%.17g" : "%.9g", (double)hard[i]);
            (void)snprintf(body, sizeof body, REQUEST(SOFT("[1,1]", "[%s]") "," TEXT), number);
            parse(&q, body);
            assert_memory_equal(q.in[GDFO_OIP_SOFT_PROMPT].floats, &hard[i], sizeof hard[i]);
            gdfo_oip_request_deinit(&q);
        }
    }
}

static void what_is_no_data_is_refused_where_it_stands(void **state)
{
    (void)state;
    refused(REQUEST(SOFT("[2]", "[1,2]") "," TEXT),
            "shape has 1 dimensions; want an array of 2 or 3");
    refused(REQUEST(SOFT("[1,2]", "[1,2,3]") "," TEXT), "the shape has no more elements");
    refused(REQUEST(SOFT("[1,2]", "[1]") "," TEXT), "the shape has more elements");
    refused(REQUEST(SOFT("[2,2]", "[[1,2,3],[4]]") "," TEXT), "no more elements");
    refused(REQUEST(SOFT("[1,2]", "[[[1,2]]]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "{}") "," TEXT), "want an array");
    refused(REQUEST(SOFT("[1,2]", "7") "," TEXT), "want an array");
    refused(REQUEST(SOFT("[1,2]", "[1,2]]") "," TEXT), "invalid JSON at byte");
    refused(REQUEST(SOFT("[1,2]", "[1 2]") "," TEXT), "want ','");
    refused(REQUEST(SOFT("[1,2]", "[01,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[+1,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[1.,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[1e,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[NaN,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[null,2]") "," TEXT), "want a number");
    refused(REQUEST(SOFT("[1,2]", "[0x1,2]") "," TEXT), "want ','");
    refused(REQUEST(SOFT("[1,2]", "[3.5e38,2]") "," TEXT), "want a finite number of 32 bits");
    refused(REQUEST(SOFT("[1,2]", "[1e999,2]") "," TEXT), "want a finite number of 32 bits");
    refused("{\"inputs\":[" SOFT("[1,1]", "[x]") "]}", "input soft_prompt: data at byte 73: want");
    refused("{\"inputs\":[{\"name\":\"label_ids\",\"shape\":[1],\"datatype\":\"INT32\",\"data\":[1."
            "0]}]}",
            "want an integer of 32 bits");
    refused("{\"inputs\":[{\"name\":\"label_ids\",\"shape\":[1],\"datatype\":\"INT32\",\"data\":["
            "2147483648]}]}",
            "want an integer of 32 bits");
    refused("{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[[\"a\"]"
            "]}]}",
            "levels of nesting");
    refused(
        "{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":\"a\"}]}",
        "data is no array of 1 texts");
    refused("{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":["
            "\"\\u0000\"]}]}",
            "\\u0000 is not allowed");
}

static void structure_is_refused_by_name(void **state)
{
    (void)state;
    refused("", "invalid JSON at byte 0");
    refused("[]", "the request is an array; want an object");
    refused("{\"inputs\":[]} x", "more bytes after the value");
    refused("{\"inputs\":{}}", "inputs is missing or no short array");
    refused("{\"inputs\":[3]}", "an input is a number; want an object");
    refused("{\"inputs\":[{},{},{},{},{},{},{},{},{}]}", "at most 8 objects");
    refused("{\"inputs\":[],\"inputs\":[]}", "invalid JSON");
    refused("{\"inputs\":[{\"name\":\"text\",\"data\":[],\"data\":[]}]}", "invalid JSON");
    refused("{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\"}]}", "no data");
    refused("{\"inputs\":[{\"name\":\"text\",\"shape\":[1],\"datatype\":\"BYTES\",\"d\\u0061ta\":["
            "\"a\"]}]}",
            "without escapes");
    refused("{\"inputs\":[" TEXT "]}", "input soft_prompt is missing");
    refused("{\"inputs\":[" SOFT("[0,0,3]", "[]") "," TEXT "]}", "of no candidate");
    refused("{\"inputs\":[" PLAIN "]}", "input text is missing or empty");
    refused(REQUEST(SOFT("[513,1]", "[]") "," TEXT), "dimension 0 of the shape is 513");
    refused(REQUEST(SOFT("[65,1,1]", "[]") "," TEXT), "dimension 0 of the shape is 65");
    refused(REQUEST(SOFT("[64,512,2147483647]", "[]") "," TEXT), "more elements than fit");
    refused(REQUEST(SOFT("[1.5,1]", "[]") "," TEXT), "no count");
    refused("{\"parameters\":{\"position\":1},\"inputs\":[" PLAIN "," TEXT "]}", "position is ''");
    refused("{\"parameters\":[],\"inputs\":[]}", "parameters is an array");
    refused("{\"outputs\":[{\"name\":\"label_logprobs\"}],\"inputs\":[" PLAIN "," TEXT "]}",
            "this daemon has no labels of its own");
    refused("{\"outputs\":[{\"name\":\"hidden\",\"parameters\":{\"classification\":2}}],\"inputs\":"
            "[" PLAIN "," TEXT "]}",
            "'classification'");
    refused("{\"inputs\":[" PLAIN "," TEXT
            ",{\"name\":\"label_prefix_ids\",\"shape\":[2,2],\"datatype\":"
            "\"INT32\",\"data\":[1,2,-1,3]}]}",
            "label_prefix_ids has 3 at element 3");
    refused("{\"inputs\":[" PLAIN "," TEXT
            ",{\"name\":\"label_prefix_ids\",\"shape\":[2,1],\"datatype\":"
            "\"INT32\",\"data\":[1,-2]}]}",
            "label_prefix_ids has -2 at element 1");
}

/* ---- binary ------------------------------------------------------------------------------------
 */

#define HEADER                                                                                     \
    "{\"inputs\":[{\"name\":\"soft_prompt\",\"shape\":[1,2],\"datatype\":\"FP32\",\"parameters\":" \
    "{"                                                                                            \
    "\"binary_data_size\":8}},{\"name\":\"text\",\"shape\":[2],\"datatype\":\"BYTES\","            \
    "\"parameters\":"                                                                              \
    "{\"binary_data_size\":12}}," IDS                                                              \
    "],\"parameters\":{\"position\":\"prefix\",\"binary_data_output\":"                            \
    "true},\"outputs\":[{\"name\":\"logits\"},{\"name\":\"hidden\",\"parameters\":{\"binary_"      \
    "data\":false}}]}"
static const char tail[20] = {0, 0, -128, 63, 0,   0,   0x20, -64, /* 1.0, -2.5 */
                              3, 0, 0,    0,  'a', '"', ',',       /* a", */
                              1, 0, 0,    0,  '}'};

static size_t join(char *body, const void *bytes, size_t n)
{
    const size_t n_header = strlen(HEADER);
    memcpy(body, HEADER, n_header);
    memcpy(body + n_header, bytes, n);
    return n_header + n;
}

static void binary_tensors_follow_the_json_in_order(void **state)
{
    char body[1024];
    struct gdfo_oip_request q;
    size_t n = join(body, tail, sizeof tail);
    (void)state;
    gdfo_test_ok(gdfo_oip_request_parse(&q, body, n, strlen(HEADER), &err), &err);
    assert_true(q.in[GDFO_OIP_SOFT_PROMPT].floats[0] == 1.0F);
    assert_true(q.in[GDFO_OIP_SOFT_PROMPT].floats[1] == -2.5F);
    assert_memory_equal(q.in[GDFO_OIP_TEXT].texts[0].s, "a\",", 3);
    assert_int_equal(q.in[GDFO_OIP_TEXT].texts[1].n, 1);
    assert_int_equal(q.in[GDFO_OIP_LABEL_IDS].ints[0], 3363); /* the forms mix */
    assert_int_equal(q.n_out, 2);
    assert_true(q.out[0].is_binary && !q.out[1].is_binary);
    gdfo_oip_request_deinit(&q);
}

static void binary_that_does_not_add_up_is_refused(void **state)
{
    char body[1024];
    char bytes[sizeof tail + 1] = {0};
    const size_t h = strlen(HEADER);
    (void)state;
    refused_n(body, join(body, tail, sizeof tail - 1), h, "11 bytes are left behind the JSON");
    memcpy(bytes, tail, sizeof tail);
    refused_n(body, join(body, bytes, sizeof bytes), h,
              "1 bytes stand behind the last binary tensor");
    bytes[8] = 9;
    refused_n(body, join(body, bytes, sizeof tail), h, "element 0 is cut");
    bytes[8] = 2; /* the next length begins one byte too early, and is wrong */
    refused_n(body, join(body, bytes, sizeof tail), h, "element 1 is cut");
    bytes[8] = 3;
    bytes[12] = '\xFF';
    refused_n(body, join(body, bytes, sizeof tail), h, "element 0 is not UTF-8");
    bytes[12] = 'a';
    bytes[3] = 127;
    bytes[2] = '\xC0'; /* a NaN */
    refused_n(body, join(body, bytes, sizeof tail), h,
              "input soft_prompt: element 0 is not finite");
    refused_n(body, join(body, tail, sizeof tail), GDFO_OIP_ALL_JSON, "invalid JSON");
    refused_n(HEADER, h, GDFO_OIP_ALL_JSON, "Inference-Header-Content-Length");
    refused_n(HEADER, h, h + 1, "bytes of JSON in a body of");
}

static void json_has_its_ceilings(void **state)
{
    static char body[GDFO_OIP_JSON_MAX_BYTES + 1];
    (void)state;
    memset(body, ' ', sizeof body);
    refused_n(body, sizeof body, GDFO_OIP_ALL_JSON, "4194304 without them");
    refused_n(body, sizeof body, GDFO_OIP_HEADER_MAX_BYTES + 1, "at most 65536 in front");
    refused_n(body, sizeof body - 1, GDFO_OIP_ALL_JSON, "invalid JSON");
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static const float lp[4] = {-0.2F, -2.1F, -1.9F, -0.3F};
static const float hidden[6] = {1, 2, 3, 4, 5, -6};
static const int32_t used[2] = {7, 65543};

static struct gdfo_oip_answer answer_to(const struct gdfo_oip_request *q)
{
    return (struct gdfo_oip_answer){.model = "b\"b",
                                    .request = q,
                                    .d_model = 3,
                                    .vocab = 5,
                                    .n_truncated = 1,
                                    .data = {lp, NULL, hidden, used, used}};
}

static const struct gdfo_json *nth(const struct gdfo_json *list, size_t i)
{
    const struct gdfo_json *v = gdfo_json_first(list);
    while (v && i-- > 0) {
        v = gdfo_json_next(v);
    }
    assert_non_null(v);
    return v;
}

static void an_answer_is_json_that_reads_back(void **state)
{
    struct gdfo_oip_request q;
    struct gdfo_oip_answer a;
    struct gdfo_json *root = NULL;
    const struct gdfo_json *out;
    struct gdfo_buf b;
    (void)state;
    parse(&q, "{\"id\":\"7\",\"inputs\":[" PLAIN "," TEXT "," IDS "]}");
    a = answer_to(&q);
    gdfo_buf_init(&b, 1 << 16);
    assert_int_equal(gdfo_oip_answer_write(&a, &b), 0);
    assert_true(gdfo_buf_ok(&b) && b.len <= gdfo_oip_answer_bytes(&a));
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    assert_string_equal(gdfo_json_string(gdfo_json_get(root, "model_name")), "b\"b");
    assert_string_equal(gdfo_json_string(gdfo_json_get(root, "id")), "7");
    out = gdfo_json_get(root, "outputs");
    assert_int_equal(gdfo_json_size(out), 3); /* label_logprobs and the tokens, unless named */
    assert_int_equal(gdfo_json_size(gdfo_json_get(nth(out, 0), "shape")), 2);
    for (size_t i = 0; i < 4; i++) {
        double v = 0;
        assert_true(gdfo_json_number(nth(gdfo_json_get(nth(out, 0), "data"), i), &v));
        assert_true((float)v == lp[i]);
    }
    assert_string_equal(gdfo_json_string(gdfo_json_get(nth(out, 1), "datatype")), "INT32");
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    gdfo_oip_request_deinit(&q);
}

static void binary_outputs_stand_behind_the_json_in_order(void **state)
{
    static const char want[] = {7, 0, 0, 0, 7, 0, 1, 0};
    struct gdfo_oip_request q;
    struct gdfo_oip_answer a;
    struct gdfo_json *root = NULL;
    struct gdfo_buf b;
    size_t n_json;
    float f;
    (void)state;
    parse(&q,
          "{\"outputs\":[{\"name\":\"hidden\",\"parameters\":{\"binary_data\":true}},{\"name\":"
          "\"label_logprobs\"},{\"name\":\"tokens_used\",\"parameters\":{\"binary_data\":true}}],"
          "\"inputs\":[" SOFT("[1,0,3]", "[]") "," TEXT "," IDS "]}");
    a = answer_to(&q);
    gdfo_buf_init(&b, 1 << 16);
    n_json = gdfo_oip_answer_write(&a, &b);
    assert_int_equal(b.len, n_json + 24 + 8);
    assert_true(b.len <= gdfo_oip_answer_bytes(&a));
    assert_memory_equal(b.data + n_json + 24, want, 8);
    memcpy(&f, b.data + n_json + 20, sizeof f);
    assert_true(f == -6.0F);
    gdfo_test_ok(gdfo_json_parse(&root, b.data, n_json, NULL, &err), &err);
    assert_null(gdfo_json_get(root, "id"));
    assert_int_equal(gdfo_json_size(gdfo_json_get(nth(gdfo_json_get(root, "outputs"), 0), "shape")),
                     3); /* a third dimension in is one out */
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    gdfo_oip_request_deinit(&q);
}

static void no_allocation_that_fails_is_unseen(void **state)
{
    char body[1024];
    size_t n = join(body, tail, sizeof tail);
    long k = 0;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    (void)state;
    for (; status == GDFO_STATUS_NO_MEMORY && k < 1000; k++) {
        struct gdfo_oip_request q;
        gdfo_mem_fail_after(k);
        status = gdfo_oip_request_parse(&q, body, n, strlen(HEADER), &err);
        gdfo_mem_fail_after(-1);
        gdfo_oip_request_deinit(&q);
    }
    gdfo_test_ok(status, &err);
    assert_true(k > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_contract_s_example_is_read),
        cmocka_unit_test(data_is_flat_or_nested_with_any_blanks),
        cmocka_unit_test(empty_tensors_are_tensors),
        cmocka_unit_test(texts_come_through_untouched),
        cmocka_unit_test(every_float_comes_back),
        cmocka_unit_test(what_is_no_data_is_refused_where_it_stands),
        cmocka_unit_test(structure_is_refused_by_name),
        cmocka_unit_test(binary_tensors_follow_the_json_in_order),
        cmocka_unit_test(binary_that_does_not_add_up_is_refused),
        cmocka_unit_test(json_has_its_ceilings),
        cmocka_unit_test(an_answer_is_json_that_reads_back),
        cmocka_unit_test(binary_outputs_stand_behind_the_json_in_order),
        cmocka_unit_test(no_allocation_that_fails_is_unseen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
