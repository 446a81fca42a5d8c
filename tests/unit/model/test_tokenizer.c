#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/format/format.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"

static struct gdfo_tokenizer *from_model(const char *path)
{
    struct gdfo_error err = {0};
    struct gdfo_reader r;
    struct gdfo_model_file *f = NULL;
    struct gdfo_tokenizer *t = NULL;
    gdfo_test_ok(gdfo_reader_open(&r, path, &err), &err);
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_file_tokenizer(f, &t, &err), &err);
    gdfo_model_file_destroy(f); /* the tokenizer does not lean on the file */
    gdfo_reader_close(&r);
    return t;
}

static int setup_smollm(void **state)
{
    *state = from_model(gdfo_test_model_path());
    return 0;
}

static int setup_stories(void **state)
{
    *state = from_model(gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"));
    return 0;
}

static int teardown(void **state)
{
    gdfo_tokenizer_destroy(*state);
    return 0;
}

/* The ids as text, each with a blank in front, as the vectors have them. */
static void encode_text(const struct gdfo_tokenizer *t, const char *text, size_t n,
                        struct gdfo_buf *out)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    gdfo_test_ok(gdfo_tokenizer_encode(t, text, n, &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++) {
        gdfo_buf_addf(out, " %d", (int)ids.data[i]);
    }
    gdfo_ids_deinit(&ids);
}

static void assert_round_trip(const struct gdfo_tokenizer *t, const char *text, size_t n)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    struct gdfo_buf back;
    gdfo_buf_init(&back, 1u << 24);
    gdfo_test_ok(gdfo_tokenizer_encode(t, text, n, &ids, &err), &err);
    gdfo_test_ok(gdfo_tokenizer_decode(t, ids.data, ids.n, &back, &err), &err);
    assert_int_equal(back.len, n);
    assert_memory_equal(back.data, text, n);
    gdfo_buf_deinit(&back);
    gdfo_ids_deinit(&ids);
}

static void assert_ids(const struct gdfo_tokenizer *t, const char *text, const char *want)
{
    struct gdfo_buf got;
    gdfo_buf_init(&got, 1u << 20);
    encode_text(t, text, strlen(text), &got);
    assert_string_equal(got.data, want);
    gdfo_buf_deinit(&got);
}

/* Every string of a vector file against its line of ids; returns how many there were. */
static size_t check_vectors(const struct gdfo_tokenizer *t, const char *inputs, const char *outputs)
{
    struct gdfo_buf in;
    struct gdfo_buf out;
    struct gdfo_buf got;
    size_t n = 0;
    const char *text;
    const char *line;
    const char *end;
    gdfo_test_shared_read(inputs, &in);
    gdfo_test_shared_read(outputs, &out);
    gdfo_buf_init(&got, 1u << 20);
    text = in.data;
    line = out.data;
    while ((end = strstr(text, SEPARATOR)) != NULL) {
        const char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        gdfo_buf_reset(&got);
        encode_text(t, text, (size_t)(end - text), &got);
        if (got.len != (size_t)(line_end - line) || memcmp(got.data, line, got.len) != 0) {
            print_error("string %zu: got%s, want%.*s\n", n, got.data, (int)(line_end - line), line);
            fail();
        }
        assert_round_trip(t, text, (size_t)(end - text));
        text = end + strlen(SEPARATOR);
        line = line_end + 1;
        n++;
    }
    assert_int_equal(*text, '\0');
    assert_int_equal(*line, '\0');
    gdfo_buf_deinit(&in);
    gdfo_buf_deinit(&out);
    gdfo_buf_deinit(&got);
    return n;
}

static void smollm_gives_the_published_ids(void **state)
{
    assert_int_equal(check_vectors(*state, "vectors/tokenizers/roberta-smollm.derived.inp",
                                   "vectors/tokenizers/ggml-vocab-smollm.gguf.out"),
                     46);
}

static void smollm_adds_no_bos_and_knows_its_control_tokens(void **state)
{
    assert_int_equal(gdfo_tokenizer_vocab(*state), 49152);
    assert_int_equal(gdfo_tokenizer_bos(*state), -1);
    assert_int_equal(gdfo_tokenizer_eos(*state), 2);
    assert_true(gdfo_tokenizer_is_control(*state, 0));
    assert_true(gdfo_tokenizer_is_control(*state, 16));
    assert_false(gdfo_tokenizer_is_control(*state, 17));
    assert_false(gdfo_tokenizer_is_control(*state, -1));
    assert_false(gdfo_tokenizer_is_control(*state, 49152));
}

static void text_that_spells_a_control_token_stays_text(void **state)
{
    static const char text[] = "<|im_start|>user<|endoftext|>";
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    gdfo_test_ok(gdfo_tokenizer_encode(*state, text, strlen(text), &ids, &err), &err);
    assert_true(ids.n > 5);
    for (size_t i = 0; i < ids.n; i++) {
        assert_false(gdfo_tokenizer_is_control(*state, ids.data[i]));
    }
    gdfo_ids_deinit(&ids);
    assert_round_trip(*state, text, strlen(text));
}

static void a_byte_without_a_token_is_named(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    assert_int_equal(gdfo_tokenizer_encode(*state, "a\x04", 2, &ids, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "the vocabulary has no token for the byte 0x04");
    gdfo_ids_deinit(&ids);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    assert_int_equal(gdfo_tokenizer_encode(*state, "ab\xC3", 3, &ids, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "the text is not UTF-8 from its byte 2 on");
    assert_int_equal(ids.n, 0);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    const int32_t wrong[] = {49152, -1};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 100);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(gdfo_tokenizer_decode(*state, &wrong[i], 1, &b, &err),
                         GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, "accepted 0..49151"));
    }
    gdfo_buf_deinit(&b);
}

static void decoding_stops_at_the_ceiling_of_the_buffer(void **state)
{
    const int32_t ids[] = {17, 18, 19};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 2);
    assert_int_equal(gdfo_tokenizer_decode(*state, ids, 3, &b, &err), GDFO_STATUS_LIMIT);
    gdfo_buf_deinit(&b);
}

/* One piece of letters without a blank, and a text: at the bound and one past it. */
static void long_pieces_and_texts_have_bounds(void **state)
{
    const size_t n = GDFO_TOKENIZER_TEXT_MAX_BYTES + 1;
    char *text = gdfo_mem_array(n + 1, 1);
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    memset(text, 'a', n);
    assert_round_trip(*state, text, GDFO_TOKENIZER_PIECE_MAX_BYTES);
    assert_int_equal(
        gdfo_tokenizer_encode(*state, text, GDFO_TOKENIZER_PIECE_MAX_BYTES + 1, &ids, &err),
        GDFO_STATUS_LIMIT);
    assert_non_null(strstr(err.text, "65537 bytes without a place to cut them, at most 65536"));
    for (size_t i = 0; i < n; i += 4) {
        text[i] = ' ';
    }
    assert_round_trip(*state, text, n - 1);
    assert_int_equal(gdfo_tokenizer_encode(*state, text, n, &ids, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text, "a text of 1048577 bytes, at most 1048576");
    gdfo_ids_deinit(&ids);
    gdfo_mem_free(text);
}

static void empty_text_has_no_ids(void **state)
{
    assert_ids(*state, "", "");
}

static void a_blank_before_a_digit_is_a_piece_of_its_own(void **state)
{
    /* The ids of the pieces alone, then together: numbers are cut out first, one by one. */
    struct gdfo_buf parts;
    struct gdfo_buf whole;
    const char *const pieces[] = {"of", " ", "4", "2", " x"};
    gdfo_buf_init(&parts, 1000);
    gdfo_buf_init(&whole, 1000);
    for (size_t i = 0; i < 5; i++) {
        encode_text(*state, pieces[i], strlen(pieces[i]), &parts);
    }
    encode_text(*state, "of 42 x", 7, &whole);
    assert_string_equal(whole.data, parts.data);
    gdfo_buf_deinit(&parts);
    gdfo_buf_deinit(&whole);
}

/* ---- GPT-2's own files ------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
    const struct gdfo_json *const *x = a;
    const struct gdfo_json *const *y = b;
    double i = 0;
    double j = 0;
    assert_true(gdfo_json_number(*x, &i) && gdfo_json_number(*y, &j));
    return (i > j) - (i < j);
}

static void read_gpt2_tokens(struct gdfo_text_list *tokens)
{
    const struct gdfo_json_limits limits = {.depth = 2, .members = 60000, .values = 60001};
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    const struct gdfo_json **order;
    size_t n = 0;
    gdfo_test_shared_read("tokenizers/gpt2/encoder.json", &text);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &limits, &err), &err);
    order = gdfo_mem_array(60000, sizeof(struct gdfo_json *));
    for (const struct gdfo_json *v = gdfo_json_first(root); v; v = gdfo_json_next(v)) {
        order[n++] = v;
    }
    qsort(order, n, sizeof *order, by_number);
    for (size_t i = 0; i < n; i++) {
        const char *key = gdfo_json_key(order[i]);
        gdfo_test_ok(gdfo_text_list_add(tokens, key, strlen(key), &err), &err);
    }
    gdfo_mem_free(order);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

static void read_gpt2_merges(struct gdfo_text_list *merges)
{
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    size_t at;
    gdfo_test_shared_read("tokenizers/gpt2/vocab.bpe", &text);
    at = strcspn(text.data, "\n") + 1; /* past "#version" */
    while (at < text.len) {
        const char *line = text.data + at;
        const char *end = memchr(line, '\n', text.len - at);
        const size_t n = end ? (size_t)(end - line) : text.len - at;
        gdfo_test_ok(gdfo_text_list_add(merges, line, n, &err), &err);
        at += n + 1;
    }
    gdfo_buf_deinit(&text);
}

static int setup_gpt2(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_tokenizer_spec spec = {.kind = GDFO_TOKENIZER_GPT2, .bos = 50256, .eos = 50256};
    struct gdfo_tokenizer *t = NULL;
    read_gpt2_tokens(&spec.tokens);
    read_gpt2_merges(&spec.merges);
    spec.types = gdfo_mem_array(spec.tokens.n, 1);
    memset(spec.types, GDFO_TOKEN_NORMAL, spec.tokens.n);
    spec.types[50256] = GDFO_TOKEN_CONTROL;
    gdfo_test_ok(gdfo_tokenizer_create(&t, &spec, &err), &err);
    *state = t;
    return 0;
}

static void gpt2_gives_the_published_ids(void **state)
{
    assert_int_equal(gdfo_tokenizer_vocab(*state), 50257);
    assert_int_equal(check_vectors(*state, "vectors/tokenizers/ggml-vocab-gpt-2.gguf.inp",
                                   "vectors/tokenizers/ggml-vocab-gpt-2.gguf.out"),
                     46);
}

/* Every byte has a token in GPT-2's vocabulary, so every text comes back. */
static void gpt2_brings_every_character_back(void **state)
{
    struct gdfo_buf text;
    gdfo_buf_init(&text, 1u << 20);
    for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 61) {
        char utf8[4];
        if (c < 0xD800 || c > 0xDFFF) {
            const size_t n = gdfo_utf8_put(utf8, c);
            gdfo_buf_addn(&text, utf8, n);
            gdfo_buf_add(&text, c % 7 == 0 ? " " : "");
        }
    }
    assert_true(gdfo_buf_ok(&text));
    assert_round_trip(*state, text.data, text.len);
    gdfo_buf_deinit(&text);
}

/* ---- SPM of stories260K -----------------------------------------------------------------------
 */

static void stories_gives_the_published_ids(void **state)
{
    assert_int_equal(gdfo_tokenizer_bos(*state), 1);
    assert_int_equal(gdfo_tokenizer_eos(*state), 2);
    assert_int_equal(gdfo_tokenizer_vocab(*state), 512);
    assert_ids(*state, "Once upon a time", " 403 407 261 378"); /* after BOS 1 */
}

static void stories_decodes_with_one_blank_in_front(void **state)
{
    const int32_t ids[] = {403, 407, 261, 378};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 100);
    gdfo_test_ok(gdfo_tokenizer_decode(*state, ids, 4, &b, &err), &err);
    assert_string_equal(b.data, " Once upon a time");
    gdfo_buf_deinit(&b);
}

static void characters_outside_the_vocabulary_become_bytes(void **state)
{
    /* tokens 3..258 of this vocabulary are <0x00>..<0xFF>; the llama is F0 9F A6 99 */
    struct gdfo_buf got;
    gdfo_buf_init(&got, 1000);
    encode_text(*state, "\xF0\x9F\xA6\x99", 4, &got);
    assert_non_null(strstr(got.data, " 243 162 169 156"));
    gdfo_buf_deinit(&got);
}

static void spm_text_that_spells_a_byte_token_stays_text(void **state)
{
    struct gdfo_buf got;
    gdfo_buf_init(&got, 1000);
    encode_text(*state, "<0x41>", 6, &got);
    assert_null(strstr(got.data, " 68")); /* <0x41> */
    gdfo_buf_deinit(&got);
}

/* Cut before any of its blanks, the text has the ids it has whole: the later part brings its own
 * blank and gets no second one. */
static void a_text_that_follows_has_only_its_own_blank(void **state)
{
    static const char text[] = "Once upon a time the sun was happy";
    struct gdfo_ids whole = {0};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_tokenizer_encode(*state, text, strlen(text), &whole, &err), &err);
    for (size_t cut = 1; cut < strlen(text); cut++) {
        struct gdfo_ids parts = {0};
        if (text[cut] != ' ') {
            continue;
        }
        gdfo_test_ok(gdfo_tokenizer_encode(*state, text, cut, &parts, &err), &err);
        gdfo_test_ok(
            gdfo_tokenizer_encode_after(*state, text + cut, strlen(text) - cut, &parts, &err),
            &err);
        assert_int_equal(parts.n, whole.n);
        assert_memory_equal(parts.data, whole.data, whole.n * sizeof *whole.data);
        gdfo_ids_deinit(&parts);
    }
    gdfo_ids_deinit(&whole);
}

/* "great" and " great" are two different words after "It was" and after "Label:". */
static void a_word_without_a_blank_stays_without(void **state)
{
    struct gdfo_ids bare = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    gdfo_buf_init(&text, 100);
    gdfo_test_ok(gdfo_tokenizer_encode_after(*state, "happy", 5, &bare, &err), &err);
    gdfo_test_ok(gdfo_tokenizer_decode(*state, bare.data, bare.n, &text, &err), &err);
    gdfo_buf_addc(&text, '\0');
    assert_string_equal(text.data, "happy");
    gdfo_buf_deinit(&text);
    gdfo_ids_deinit(&bare);
}

int main(void)
{
    const struct CMUnitTest smollm[] = {
        cmocka_unit_test(smollm_gives_the_published_ids),
        cmocka_unit_test(smollm_adds_no_bos_and_knows_its_control_tokens),
        cmocka_unit_test(text_that_spells_a_control_token_stays_text),
        cmocka_unit_test(a_byte_without_a_token_is_named),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(decoding_stops_at_the_ceiling_of_the_buffer),
        cmocka_unit_test(long_pieces_and_texts_have_bounds),
        cmocka_unit_test(empty_text_has_no_ids),
        cmocka_unit_test(a_blank_before_a_digit_is_a_piece_of_its_own),
    };
    const struct CMUnitTest gpt2[] = {
        cmocka_unit_test(gpt2_gives_the_published_ids),
        cmocka_unit_test(gpt2_brings_every_character_back),
    };
    const struct CMUnitTest stories[] = {
        cmocka_unit_test(stories_gives_the_published_ids),
        cmocka_unit_test(stories_decodes_with_one_blank_in_front),
        cmocka_unit_test(characters_outside_the_vocabulary_become_bytes),
        cmocka_unit_test(spm_text_that_spells_a_byte_token_stays_text),
        cmocka_unit_test(a_text_that_follows_has_only_its_own_blank),
        cmocka_unit_test(a_word_without_a_blank_stays_without),
    };
    return cmocka_run_group_tests(smollm, setup_smollm, teardown) +
           cmocka_run_group_tests(gpt2, setup_gpt2, teardown) +
           cmocka_run_group_tests(stories, setup_stories, teardown);
}
