#include "common/buf.h"
#include "common/rng.h"
#include "server/http/multipart.h"
#include "tests/support/test.h"

#include <string.h>

/* What a parse gave, as one text: "[name|filename]content;" */
struct heard {
    struct gdfo_buf text;
    size_t n_parts, fail_at_part; /* 0: never */
};

static enum gdfo_status on_part(void *ctx, const char *name, const char *filename,
                                struct gdfo_error *err)
{
    struct heard *h = ctx;
    gdfo_buf_addf(&h->text, "[%s|%s]", name, filename ? filename : "-");
    if (++h->n_parts == h->fail_at_part) {
        return gdfo_error_set(err, GDFO_STATUS_FULL, "no space");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_data(void *ctx, const char *bytes, size_t n, struct gdfo_error *err)
{
    struct heard *h = ctx;
    (void)err;
    assert_true(n > 0);
    gdfo_buf_addn(&h->text, bytes, n);
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_end(void *ctx, struct gdfo_error *err)
{
    struct heard *h = ctx;
    (void)err;
    gdfo_buf_add(&h->text, ";");
    return GDFO_STATUS_OK;
}

/* Feeds body cut at the given places (ascending, ended by n). */
static enum gdfo_status feed(struct heard *h, const char *body, size_t n, const size_t *cuts,
                             struct gdfo_error *err)
{
    const struct gdfo_multipart_sink sink = {h, on_part, on_data, on_end};
    struct gdfo_multipart *m = NULL;
    enum gdfo_status status;
    size_t at = 0;
    gdfo_buf_reset(&h->text);
    h->n_parts = 0;
    gdfo_test_ok(gdfo_multipart_create(&m, "XyZ", &sink, err), err);
    do {
        size_t end = *cuts < n ? *cuts : n;
        status = gdfo_multipart_add(m, body + at, end - at, err);
        at = end;
        cuts++;
    } while (status == GDFO_STATUS_OK && at < n);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_multipart_end(m, err);
    }
    gdfo_multipart_destroy(m);
    return status;
}

static enum gdfo_status feed_whole(struct heard *h, const char *body, struct gdfo_error *err)
{
    const size_t whole[] = {SIZE_MAX};
    return feed(h, body, strlen(body), whole, err);
}

static int setup(void **state)
{
    static struct heard h;
    memset(&h, 0, sizeof h);
    gdfo_buf_init(&h.text, 1 << 20);
    *state = &h;
    return 0;
}

static int teardown(void **state)
{
    struct heard *h = *state;
    gdfo_buf_deinit(&h->text);
    return 0;
}

static void gives(struct heard *h, const char *body, const char *want)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(feed_whole(h, body, &err), &err);
    assert_string_equal(h->text.data, want);
}

static void refused(struct heard *h, const char *body)
{
    struct gdfo_error err = {0};
    if (feed_whole(h, body, &err) != GDFO_STATUS_FORMAT) {
        fail_msg("accepted: %s", body);
    }
    assert_string_equal(err.code, "invalid_value");
}

#define FILE_PART                                                                                  \
    "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"t.jsonl\"\r\n"             \
    "Content-Type: application/octet-stream\r\n\r\n"
#define PURPOSE_PART                                                                               \
    "--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
#define END "--XyZ--\r\n"

static void parts_come_in_either_order(void **state)
{
    gives(*state, FILE_PART "{}\n\r\n" PURPOSE_PART END,
          "[file|t.jsonl]{}\n;[purpose|-]fine-tune;");
    gives(*state, PURPOSE_PART FILE_PART "{}\n\r\n" END,
          "[purpose|-]fine-tune;[file|t.jsonl]{}\n;");
}

static void content_that_looks_like_a_boundary_is_content(void **state)
{
    gives(*state, FILE_PART "a\r\n--Xy\r\n\r\n--XyY\r\r\n-\r\n--X\r\n\r\n" END,
          "[file|t.jsonl]a\r\n--Xy\r\n\r\n--XyY\r\r\n-\r\n--X\r\n;");
    gives(*state, FILE_PART "--XyZ\r\n" END, "[file|t.jsonl]--XyZ;");
    gives(*state, FILE_PART "\n--XyZ--\r\n" END, "[file|t.jsonl]\n--XyZ--;");
}

static void a_part_may_be_empty(void **state)
{
    gives(*state, FILE_PART "\r\n" END, "[file|t.jsonl];");
    gives(*state, FILE_PART "\r\n\r\n" END, "[file|t.jsonl]\r\n;");
    gives(*state, "--XyZ--", "");
}

static void preamble_and_epilogue_are_passed_over(void **state)
{
    gives(*state, "ignore\r\n--Xy me\r\n" PURPOSE_PART "--XyZ--\r\nand me\r\n--XyZ\r\n",
          "[purpose|-]fine-tune;");
}

static void header_names_and_parameters_follow_their_grammar(void **state)
{
    gives(*state,
          "--XyZ\r\ncontent-disposition:form-data;name=file ; "
          "filename=\"a\\\"b\\\\c\"\r\n\r\n\r\n" END,
          "[file|a\"b\\c];");
    gives(*state,
          "--XyZ\r\nX-Any: 1\r\nContent-Disposition: Form-Data; filename=\"\"; name=\"n m\"\r\n"
          "content-transfer-encoding: binary\r\n\r\n1\r\n" END,
          "[n m|]1;");
    gives(*state,
          "--XyZ\r\nContent-Disposition: form-data; name=f; filename=a; "
          "filename*=UTF-8''b\r\n\r\n\r\n" END,
          "[f|a];");
}

static void what_is_not_multipart_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "no boundary at all",
        FILE_PART "{}\n",
        FILE_PART "{}\n\r\n--XyZ",
        FILE_PART "{}\n\r\n--XyZ-",
        FILE_PART "{}\n\r\n--XyZxx",
        "--XyZ \r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" END,
        "--XyZ\nContent-Disposition: form-data; name=a\n\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a\n\r\n\r\n" END,
        "--XyZ\r\nno colon\r\n\r\n\r\n" END,
        "--XyZ\r\n\r\nno name\r\n" END,
        "--XyZ\r\nContent-Type: a/b\r\n\r\nno disposition\r\n" END,
        "--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=\"a\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a; evil=b\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a junk\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a\r\n"
        "Content-Disposition: form-data; name=b\r\n\r\n\r\n" END,
        "--XyZ\r\nContent-Disposition: form-data; name=a\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n" END,
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(*state, bad[i]);
    }
}

static void lines_headers_and_parts_have_ceilings(void **state)
{
    struct heard *h = *state;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "--XyZ\r\nX: ");
    for (int i = 0; i < 3000; i++) {
        gdfo_buf_add(&b, "y");
    }
    refused(h, b.data);
    gdfo_buf_reset(&b);
    gdfo_buf_add(&b, "--XyZ\r\nContent-Disposition: form-data; name=a\r\n");
    for (int i = 0; i < 16; i++) {
        gdfo_buf_add(&b, "X: y\r\n");
    }
    gdfo_buf_add(&b, "\r\n\r\n" END);
    refused(h, b.data);
    gdfo_buf_reset(&b);
    for (int i = 0; i < 16; i++) {
        gdfo_buf_add(&b, PURPOSE_PART);
    }
    gdfo_buf_add(&b, END);
    assert_int_equal(feed_whole(h, b.data, NULL), GDFO_STATUS_OK);
    gdfo_buf_reset(&b);
    for (int i = 0; i < 17; i++) {
        gdfo_buf_add(&b, PURPOSE_PART);
    }
    gdfo_buf_add(&b, END);
    refused(h, b.data);
    gdfo_buf_deinit(&b);
}

static void a_sink_that_fails_ends_the_parse(void **state)
{
    struct heard *h = *state;
    struct gdfo_error err = {0};
    h->fail_at_part = 2;
    assert_int_equal(feed_whole(h, PURPOSE_PART FILE_PART "x\r\n" END, &err), GDFO_STATUS_FULL);
    assert_string_equal(err.text, "no space");
}

static const char long_body[] = "pre\r\n" PURPOSE_PART FILE_PART "\r\n--XyY\r\r\n--XyZ\x01\r\n--X"
                                "\r\n" PURPOSE_PART FILE_PART "\r\r\n\r\n\r\n" END "epi";
static const char long_body_bad[] = PURPOSE_PART FILE_PART "abc\r\n--XyZ?";

/* Two cuts at every pair of places: the same parts, the same bytes. */
static void where_the_stream_is_cut_changes_nothing(void **state)
{
    static const char body[] = "pre\r\n" PURPOSE_PART FILE_PART
                               "\r\n--XyY\r\r\n\r\r\n--XyZ\r\nContent-Disposition: form-data; "
                               "name=x\r\n\r\n\r\n--Xy\r\n" END "epi";
    struct heard *h = *state;
    struct gdfo_error err = {0};
    char want[512];
    size_t n = sizeof body - 1;
    gdfo_test_ok(feed_whole(h, body, &err), &err);
    assert_true(h->text.len < sizeof want);
    memcpy(want, h->text.data, h->text.len + 1);
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = i; j <= n; j++) {
            const size_t cuts[] = {i, j, SIZE_MAX};
            gdfo_test_ok(feed(h, body, n, cuts, &err), &err);
            assert_string_equal(h->text.data, want);
        }
    }
}

static void a_byte_at_a_time_gives_the_same_verdict(void **state)
{
    static const char *const bodies[] = {long_body, long_body_bad, PURPOSE_PART END};
    static size_t cuts[1024];
    struct heard *h = *state;
    for (size_t i = 0; i < 1024; i++) {
        cuts[i] = i + 1;
    }
    for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
        struct gdfo_error whole = {0};
        struct gdfo_error bytes = {0};
        enum gdfo_status status = feed_whole(h, bodies[b], &whole);
        assert_true(strlen(bodies[b]) < 1024);
        assert_int_equal(feed(h, bodies[b], strlen(bodies[b]), cuts, &bytes), status);
        assert_string_equal(bytes.text, whole.text);
    }
}

/* Bytes changed at random, cut at random: no crash, no read past the end, one of two verdicts. */
static void mangled_bodies_are_taken_or_refused(void **state)
{
    struct heard *h = *state;
    struct gdfo_rng rng = gdfo_rng_stream(5, "multipart");
    static const char good[] = PURPOSE_PART FILE_PART "{\"a\":1}\r\n" END;
    char body[sizeof good];
    size_t n_taken = 0;
    for (int round = 0; round < 20000; round++) {
        size_t cuts[4] = {0, 0, 0, SIZE_MAX};
        struct gdfo_error err = {0};
        enum gdfo_status status;
        memcpy(body, good, sizeof good);
        for (uint32_t k = gdfo_rng_below(&rng, 4); k > 0; k--) {
            body[gdfo_rng_below(&rng, sizeof good - 1)] =
                gdfo_rng_below(&rng, 2) ? "\r\n-XyZ;=\":"[gdfo_rng_below(&rng, 10)]
                                        : (char)gdfo_rng_below(&rng, 256);
        }
        for (int k = 0; k < 3; k++) {
            cuts[k] = (k ? cuts[k - 1] : 0) + gdfo_rng_below(&rng, 60);
        }
        status = feed(h, body, sizeof good - 1, cuts, &err);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_FORMAT);
        n_taken += status == GDFO_STATUS_OK;
    }
    assert_true(n_taken > 1000);
}

static void boundaries_are_found_in_the_content_type(void **state)
{
    static const char *const good[][2] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;boundary=\"a b:c\"", "a b:c"},
        {"multipart/form-data; charset=utf-8; BOUNDARY=----x", "----x"},
        {"multipart/form-data ; boundary=x", "x"},
    };
    static const char *const bad[] = {
        "",
        "text/plain; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a ",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a\xff",
        "multipart/form-data; boundary=\"a\rb\"",
        ("multipart/form-data; boundary="
         "0123456789012345678901234567890123456789012345678901234567890123456789x"),
    };
    char out[GDFO_MULTIPART_BOUNDARY_BYTES];
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        gdfo_test_ok(gdfo_multipart_boundary(good[i][0], out, &err), &err);
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (gdfo_multipart_boundary(bad[i], out, &err) != GDFO_STATUS_FORMAT) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void a_boundary_of_70_characters_is_the_longest(void **state)
{
    char type[200] = "multipart/form-data; boundary=";
    char out[GDFO_MULTIPART_BOUNDARY_BYTES];
    struct gdfo_error err = {0};
    size_t n = strlen(type);
    (void)state;
    memset(type + n, 'b', 70);
    type[n + 70] = '\0';
    gdfo_test_ok(gdfo_multipart_boundary(type, out, &err), &err);
    assert_int_equal(strlen(out), 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_come_in_either_order, setup, teardown),
        cmocka_unit_test_setup_teardown(content_that_looks_like_a_boundary_is_content, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_part_may_be_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(preamble_and_epilogue_are_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(header_names_and_parameters_follow_their_grammar, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_not_multipart_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_headers_and_parts_have_ceilings, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sink_that_fails_ends_the_parse, setup, teardown),
        cmocka_unit_test_setup_teardown(where_the_stream_is_cut_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_at_a_time_gives_the_same_verdict, setup, teardown),
        cmocka_unit_test_setup_teardown(mangled_bodies_are_taken_or_refused, setup, teardown),
        cmocka_unit_test(boundaries_are_found_in_the_content_type),
        cmocka_unit_test(a_boundary_of_70_characters_is_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
