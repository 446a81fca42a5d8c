#include "common/mem.h"
#include "server/model/format/format.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"
#include "tests/unit/model/gguf_judge.h"

#include <stdio.h>
#include <string.h>

/* ---- the head ---------------------------------------------------------------------------------
 */

static void versions_two_and_three_are_read(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    m.version = 2;
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    m.version = 1;
    refused(&m, GDFO_STATUS_UNSUPPORTED, "GGUF version 1 is not read, accepted 2 and 3");
    gdfo_test_gguf_tiny(&m);
    m.version = 4;
    refused(&m, GDFO_STATUS_UNSUPPORTED, "GGUF version 4 is not read, accepted 2 and 3");
    gdfo_test_gguf_tiny(&m);
    m.version = 0x03000000;
    refused(&m, GDFO_STATUS_UNSUPPORTED, "big-endian GGUF is not read");
}

static void a_file_that_is_no_model_says_what_it_starts_with(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 100);
    gdfo_buf_add(&b, "PK\x03\x04 and more");
    assert_int_equal(open_bytes(&b, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "x.gguf: not a GGUF file (it starts with 50 4b 03 04, not "
                                  "\"GGUF\"); a safetensors file needs its config.json beside it");
    gdfo_buf_deinit(&b);
    assert_int_equal(open_bytes(&b, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "x.gguf: a file of 0 bytes is no model file");
}

static void counts_are_checked_before_anything_is_allocated(void **state)
{
    static const uint64_t lies[] = {UINT64_MAX - 1, (uint64_t)1 << 63, 4097};
    struct gdfo_test_gguf m;
    char words[200];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        gdfo_test_gguf_tiny(&m);
        m.count_kvs = lies[i];
        (void)snprintf(words, sizeof words, "number of keys: %llu, at most 4096",
                       (unsigned long long)lies[i]);
        refused(&m, GDFO_STATUS_LIMIT, words);
    }
    gdfo_test_gguf_tiny(&m);
    m.count_tensors = 16385;
    refused(&m, GDFO_STATUS_LIMIT, "number of tensors: 16385, at most 16384");
    gdfo_test_gguf_init(&m); /* 24 bytes of head and nothing else, padded to 32 */
    m.count_tensors = 1;
    refused(&m, GDFO_STATUS_FORMAT,
            "number of tensors: 1 of at least 33 bytes each, but the file ends after 8 more bytes");
    gdfo_test_gguf_init(&m);
    m.count_kvs = 4096;
    refused(&m, GDFO_STATUS_FORMAT,
            "number of keys: 4096 of at least 14 bytes each, but the file ends after 8 more bytes");
}

static void as_many_keys_as_the_bound_are_read(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        gdfo_test_gguf_tiny(&m);
        for (unsigned i = 0; m.n_kvs < 4096u + (unsigned)extra; i++) {
            char key[32];
            struct gdfo_test_kv *kv;
            (void)snprintf(key, sizeof key, "x.%u", i);
            kv = gdfo_test_gguf_add(&m, key);
            kv->type = 0;
            gdfo_buf_addc(&kv->value, 1);
        }
        if (extra) {
            refused(&m, GDFO_STATUS_LIMIT, "number of keys: 4097, at most 4096");
        } else {
            accepted(&m);
        }
    }
}

/* 16,384 tensors pass the count and fail on the first name; one more fails on the count. */
static void as_many_tensors_as_the_bound_are_looked_at(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        gdfo_test_gguf_tiny(&m);
        while (m.n_tensors < 16384u + extra) {
            char name[32];
            (void)snprintf(name, sizeof name, "a%zu", m.n_tensors);
            (void)gdfo_test_gguf_tensor(&m, name, 1, 0);
        }
        if (extra) {
            refused(&m, GDFO_STATUS_LIMIT, "number of tensors: 16385, at most 16384");
        } else {
            refused(&m, GDFO_STATUS_UNSUPPORTED,
                    "tensor \"a100\" has no place in a llama model of 1 blocks");
        }
    }
}

/* ---- keys and values --------------------------------------------------------------------------
 */

static void a_key_has_one_to_256_bytes(void **state)
{
    char key[258];
    struct gdfo_test_gguf m;
    (void)state;
    memset(key, 'k', sizeof key);
    for (size_t n = 256; n < 258; n++) {
        gdfo_test_gguf_tiny(&m);
        key[n] = '\0';
        gdfo_test_gguf_u32(&m, key, 1);
        key[n] = 'k';
        if (n == 256) {
            accepted(&m);
        } else {
            refused(&m, GDFO_STATUS_LIMIT,
                    "key number 10: the name of a key: a string of 257 bytes, at most 256");
        }
    }
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, "", 1);
    refused(&m, GDFO_STATUS_FORMAT, "key number 10 has no name");
}

static void a_key_twice_is_refused(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_test_kv *kv;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    kv = gdfo_test_gguf_add(&m, "llama.block_count");
    kv->type = 4;
    gdfo_buf_u32(&kv->value, 1);
    refused(&m, GDFO_STATUS_FORMAT, "key \"llama.block_count\" stands in the file twice");
}

static void a_value_has_one_of_thirteen_types(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    for (uint32_t type = 12; type < 14; type++) {
        gdfo_test_gguf_tiny(&m);
        gdfo_test_gguf_set(&m, "x", type, "\0\0\0\0\0\0\0\0", 8);
        if (type == 12) {
            accepted(&m);
        } else {
            refused(&m, GDFO_STATUS_FORMAT, "key \"x\" has type 13, accepted 0..12");
        }
    }
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "x", 9, "\x0D\0\0\0\0\0\0\0\0\0\0\0", 12);
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\" has type 13, accepted 0..12");
}

static void a_bool_is_zero_or_one(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "x", 7, "\x01", 1);
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "x", 7, "\x02", 1);
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\" has a bool of 2, accepted 0 and 1");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "x", 9, "\x07\0\0\0\x03\0\0\0\0\0\0\0\x00\x01\x05", 15);
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\" has a bool of 5, accepted 0 and 1");
}

static void strings_are_utf8_without_nul(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "x", "ab\xFF");
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\": a string is not UTF-8 from its byte 2 on");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "x", 8, "\x03\0\0\0\0\0\0\0a\0b", 11);
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\": a string has a NUL at its byte 1");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, "a\xC3(", 1);
    refused(&m, GDFO_STATUS_FORMAT,
            "key number 10: the name of a key: a string is not UTF-8 from its byte 1 on");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "x", "\xED\xA0\x80"); /* a surrogate */
    refused(&m, GDFO_STATUS_FORMAT, "key \"x\": a string is not UTF-8 from its byte 0 on");
}

static void names_in_messages_are_escaped_and_cut(void **state)
{
    struct gdfo_test_gguf m;
    char key[240];
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "\x1B[31m\"\n\xC3\xA9", 13, "", 0);
    refused(&m, GDFO_STATUS_FORMAT,
            "key \"\\x1b[31m\\x22\\x0a\\xc3\\xa9\" has type 13, accepted 0..12");
    memset(key, 'y', sizeof key);
    key[239] = '\0';
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, key, 13, "", 0);
    {
        char words[300];
        (void)snprintf(words, sizeof words, "key \"%.147s...\" has type 13, accepted 0..12", key);
        refused(&m, GDFO_STATUS_FORMAT, words);
    }
}

static void a_string_has_at_most_16_mib(void **state)
{
    const size_t max = (size_t)16 << 20;
    struct gdfo_test_gguf m;
    struct gdfo_buf value;
    char *text = gdfo_mem_array(max + 1, 1);
    (void)state;
    memset(text, 's', max + 1);
    for (size_t n = max; n < max + 2; n++) {
        gdfo_test_gguf_tiny(&m);
        gdfo_buf_init(&value, max + 100);
        gdfo_buf_u64(&value, n);
        gdfo_buf_addn(&value, text, n);
        gdfo_test_gguf_set(&m, "x", 8, value.data, value.len);
        gdfo_buf_deinit(&value);
        if (n == max) {
            accepted(&m);
        } else {
            refused(&m, GDFO_STATUS_LIMIT,
                    "key \"x\": a string of 16777217 bytes, at most 16777216");
        }
    }
    gdfo_mem_free(text);
}

static void an_array_has_at_most_4194304_elements(void **state)
{
    const size_t max = 4194304;
    struct gdfo_test_gguf m;
    struct gdfo_buf value;
    char *bytes = gdfo_mem_array(max + 1, 1);
    (void)state;
    for (size_t n = max; n < max + 2; n++) {
        gdfo_test_gguf_tiny(&m);
        gdfo_buf_init(&value, max + 100);
        gdfo_buf_u32(&value, 0);
        gdfo_buf_u64(&value, n);
        gdfo_buf_addn(&value, bytes, n);
        gdfo_test_gguf_set(&m, "x", 9, value.data, value.len);
        gdfo_buf_deinit(&value);
        if (n == max) {
            accepted(&m);
        } else {
            refused(&m, GDFO_STATUS_LIMIT,
                    "key \"x\" has an array of 4194305 elements, at most 4194304");
        }
    }
    gdfo_mem_free(bytes);
}

/* An array of one array of one array ..., depth arrays in all. */
static void set_nested(struct gdfo_test_gguf *m, unsigned depth)
{
    struct gdfo_buf value;
    gdfo_buf_init(&value, 1000);
    for (unsigned i = 0; i < depth; i++) {
        gdfo_buf_u32(&value, i + 1 < depth ? 9 : 0);
        gdfo_buf_u64(&value, 1);
    }
    gdfo_buf_addc(&value, 7);
    gdfo_test_gguf_set(m, "x", 9, value.data, value.len);
    gdfo_buf_deinit(&value);
}

static void arrays_nest_one_level(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    set_nested(&m, 2);
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    set_nested(&m, 3);
    refused(&m, GDFO_STATUS_LIMIT, "key \"x\" has arrays nested deeper than 1 in an array");
}

static void array_counts_are_checked_against_the_bytes_left(void **state)
{
    static const struct {
        char type;
        const char *words;
    } rows[] = {
        {8, "key \"x\": 4194304 of at least 8 bytes each, but the file ends after 0 more bytes"},
        {9, "key \"x\": 4194304 of at least 12 bytes each, but the file ends after 0 more bytes"},
        {12, "key \"x\": 4194304 of at least 8 bytes each, but the file ends after 0 more bytes"},
        {0, "key \"x\": 4194304 of at least 1 bytes each, but the file ends after 0 more bytes"}};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char value[12] = {rows[i].type, 0, 0, 0, 0, 0, 0x40};
        struct gdfo_test_gguf m;
        struct gdfo_buf b;
        struct gdfo_error err = {0};
        gdfo_test_gguf_init(&m);
        gdfo_test_gguf_set(&m, "x", 9, value, sizeof value);
        m.alignment = 1; /* no pad: the file ends with the count */
        gdfo_test_gguf_build(&m, &b);
        assert_int_equal(open_bytes(&b, &err), GDFO_STATUS_FORMAT);
        assert_string_equal(err.text + 8, rows[i].words);
        gdfo_buf_deinit(&b);
        gdfo_test_gguf_deinit(&m);
    }
}

static void any_integer_type_is_taken_where_an_integer_is_wanted(void **state)
{
    static const struct {
        uint32_t type;
        size_t n;
    } types[] = {{0, 1}, {1, 1}, {2, 2}, {3, 2}, {4, 4}, {5, 4}, {10, 8}, {11, 8}};
    struct gdfo_test_gguf m;
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        gdfo_test_gguf_tiny(&m);
        gdfo_test_gguf_set(&m, "llama.block_count", types[i].type, "\x01\0\0\0\0\0\0\0",
                           types[i].n);
        accepted(&m);
    }
    for (size_t i = 0; i < 8; i++) { /* all bits set: -1 or the largest */
        static const char *const words[] = {
            "255", "-1", "65535", "-1", "4294967295", "-1", "18446744073709551615", "-1"};
        char want[120];
        gdfo_test_gguf_tiny(&m);
        gdfo_test_gguf_set(&m, "llama.attention.head_count", types[i].type,
                           "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", types[i].n);
        if (i == 0) {
            (void)snprintf(want, sizeof want, "embedding length 32 is not 255 heads of size 0");
        } else if (i == 2) {
            (void)snprintf(want, sizeof want, "embedding length 32 is not 65535 heads of size 0");
        } else {
            (void)snprintf(want, sizeof want,
                           "key \"llama.attention.head_count\" is %s, accepted 1..65536", words[i]);
        }
        refused(&m, GDFO_STATUS_FORMAT, want);
    }
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_f32(&m, "llama.block_count", 1);
    refused(&m, GDFO_STATUS_FORMAT, "key \"llama.block_count\" is an f32, wanted an integer");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "llama.attention.layer_norm_rms_epsilon", "1e-5");
    refused(&m, GDFO_STATUS_FORMAT,
            "key \"llama.attention.layer_norm_rms_epsilon\" is a string, wanted an f32 or f64");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, "general.name", 1);
    refused(&m, GDFO_STATUS_FORMAT, "key \"general.name\" is a u32, wanted a string");
}

/* ---- files that are too long or too short -----------------------------------------------------
 */

struct sparse { /* a reader over a few bytes and zeros behind them */
    const struct gdfo_buf *bytes;
};

static enum gdfo_status read_sparse(void *ctx, uint64_t offset, void *out, size_t n,
                                    struct gdfo_error *err)
{
    const struct sparse *s = ctx;
    (void)err;
    memset(out, 0, n);
    if (offset < s->bytes->len) {
        const size_t have = s->bytes->len - (size_t)offset;
        memcpy(out, s->bytes->data + offset, n < have ? n : have);
    }
    return GDFO_STATUS_OK;
}

static void a_file_has_at_most_8_gib(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    struct sparse s = {&b};
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    struct gdfo_reader r = {&s, (uint64_t)8 << 30, "long.gguf", read_sparse};
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_build(&m, &b);
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    gdfo_model_file_destroy(f);
    f = NULL;
    r.size++;
    assert_int_equal(gdfo_model_file_open(&f, &r, NULL, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text, "long.gguf: the file has 8589934593 bytes, at most 8589934592");
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

static enum gdfo_status read_nothing(void *ctx, uint64_t offset, void *out, size_t n,
                                     struct gdfo_error *err)
{
    (void)ctx;
    (void)offset;
    (void)out;
    (void)n;
    return gdfo_error_set(err, GDFO_STATUS_IO, "disk.gguf: read failed: Input/output error");
}

static void a_read_error_keeps_its_status_and_its_words(void **state)
{
    struct gdfo_reader r = {NULL, 100, "disk.gguf", read_nothing};
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    (void)state;
    assert_int_equal(gdfo_model_file_open(&f, &r, NULL, &err), GDFO_STATUS_IO);
    assert_string_equal(err.text, "disk.gguf: read failed: Input/output error");
}

/* In a block of exactly n bytes, so that the sanitizer sees one byte too many. */
static void assert_cut_is_refused(const struct gdfo_buf *file, size_t n)
{
    struct gdfo_error err = {0};
    char *cut = gdfo_mem_dup(file->data, n);
    struct gdfo_reader r = gdfo_reader_memory(cut, n, "cut.gguf");
    struct gdfo_model_file *f = NULL;
    const enum gdfo_status status = gdfo_model_file_open(&f, &r, NULL, &err);
    if (status != GDFO_STATUS_FORMAT || strncmp(err.text, "cut.gguf: ", 10) != 0) {
        print_error("cut at %zu: %s: %s\n", n, gdfo_status_name(status), err.text);
        fail();
    }
    gdfo_mem_free(cut);
}

/* Section borders of the file: 0, 4, 8, 16, 24 (first key), 14201 (end of infos), 14208 (data). */
static void the_shared_file_cut_anywhere_is_refused(void **state)
{
    static const size_t borders[] = {24, 64, 14201, 14208, 14208 + 131072, 1054336};
    struct gdfo_buf file;
    (void)state;
    gdfo_test_shared_read("models/stories260K/stories260K.derived.gguf", &file);
    for (size_t n = 0; n < file.len; n += 997) {
        assert_cut_is_refused(&file, n);
    }
    for (size_t i = 0; i < sizeof borders / sizeof borders[0]; i++) {
        for (size_t n = borders[i] - 24; n < borders[i] + 24; n++) {
            assert_cut_is_refused(&file, n);
        }
    }
    assert_cut_is_refused(&file, file.len - 1);
    gdfo_buf_deinit(&file);
}

static void the_tiny_file_cut_anywhere_is_refused(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_build(&m, &b);
    for (size_t n = 0; n < b.len; n += n < 2000 ? 1 : 101) {
        assert_cut_is_refused(&b, n);
    }
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

/* Any one byte of the head changed: taken or refused, never anything else. */
static void one_changed_byte_never_does_harm(void **state)
{
    static const unsigned char flips[] = {0x01, 0x80, 0xFF};
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    size_t n_head;
    size_t n_refused = 0;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_build(&m, &b);
    n_head = b.len - 38272;
    for (size_t at = 0; at < n_head; at++) {
        for (size_t i = 0; i < 3; i++) {
            struct gdfo_error err = {0};
            b.data[at] = (char)(b.data[at] ^ flips[i]);
            n_refused += open_bytes(&b, &err) != GDFO_STATUS_OK;
            b.data[at] = (char)(b.data[at] ^ flips[i]);
        }
    }
    assert_true(n_refused > n_head * 2); /* nearly every byte means something */
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

static void no_memory_at_any_moment_is_an_error_and_nothing_leaks(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_build(&m, &b);
    for (; status != GDFO_STATUS_OK && n < 10000; n++) {
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = open_bytes(&b, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n > 5);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_two_and_three_are_read),
        cmocka_unit_test(a_file_that_is_no_model_says_what_it_starts_with),
        cmocka_unit_test(counts_are_checked_before_anything_is_allocated),
        cmocka_unit_test(as_many_keys_as_the_bound_are_read),
        cmocka_unit_test(as_many_tensors_as_the_bound_are_looked_at),
        cmocka_unit_test(a_key_has_one_to_256_bytes),
        cmocka_unit_test(a_key_twice_is_refused),
        cmocka_unit_test(a_value_has_one_of_thirteen_types),
        cmocka_unit_test(a_bool_is_zero_or_one),
        cmocka_unit_test(strings_are_utf8_without_nul),
        cmocka_unit_test(names_in_messages_are_escaped_and_cut),
        cmocka_unit_test(a_string_has_at_most_16_mib),
        cmocka_unit_test(an_array_has_at_most_4194304_elements),
        cmocka_unit_test(arrays_nest_one_level),
        cmocka_unit_test(array_counts_are_checked_against_the_bytes_left),
        cmocka_unit_test(any_integer_type_is_taken_where_an_integer_is_wanted),
        cmocka_unit_test(a_file_has_at_most_8_gib),
        cmocka_unit_test(a_read_error_keeps_its_status_and_its_words),
        cmocka_unit_test(the_shared_file_cut_anywhere_is_refused),
        cmocka_unit_test(the_tiny_file_cut_anywhere_is_refused),
        cmocka_unit_test(one_changed_byte_never_does_harm),
        cmocka_unit_test(no_memory_at_any_moment_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
