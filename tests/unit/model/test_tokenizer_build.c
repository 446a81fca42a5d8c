#include "common/mem.h"
#include "common/parse.h"
#include "common/rng.h"
#include "server/model/format/format.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void add(struct gdfo_text_list *list, const char *text)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_text_list_add(list, text, strlen(text), &err), &err);
}

static void init_spec(struct gdfo_tokenizer_spec *s, enum gdfo_tokenizer_kind kind,
                      const char *const *tokens, size_t n)
{
    *s = (struct gdfo_tokenizer_spec){.kind = kind, .bos = -1, .eos = -1};
    for (size_t i = 0; i < n; i++) {
        add(&s->tokens, tokens[i]);
    }
    s->types = gdfo_mem_array(n, 1);
    memset(s->types, GDFO_TOKEN_NORMAL, n);
    s->scores = gdfo_mem_array(n, sizeof *s->scores);
}

/* Ends s. */
static void refused(struct gdfo_tokenizer_spec *s, const char *words)
{
    struct gdfo_error err = {0};
    struct gdfo_tokenizer *t = NULL;
    assert_int_equal(gdfo_tokenizer_create(&t, s, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, words);
    assert_null(t);
    assert_null(s->tokens.bytes); /* taken, also on failure */
}

static struct gdfo_tokenizer *create(struct gdfo_tokenizer_spec *s)
{
    struct gdfo_error err = {0};
    struct gdfo_tokenizer *t = NULL;
    gdfo_test_ok(gdfo_tokenizer_create(&t, s, &err), &err);
    return t;
}

static void assert_ids(const struct gdfo_tokenizer *t, const char *text, const char *want)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    struct gdfo_buf got;
    gdfo_buf_init(&got, 1u << 20);
    gdfo_test_ok(gdfo_tokenizer_encode(t, text, strlen(text), &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++) {
        gdfo_buf_addf(&got, " %d", (int)ids.data[i]);
    }
    assert_string_equal(got.data, want);
    gdfo_buf_deinit(&got);
    gdfo_ids_deinit(&ids);
}

/* ---- what is refused --------------------------------------------------------------------------
 */

static const char *const abc[] = {"a", "b", "c", "ab", "abc", "<s>"};
#define N_ABC 6u

static void merges_are_two_tokens_that_make_a_third(void **state)
{
    static const struct {
        const char *merge;
        const char *words;
    } rows[] = {{"", "merge 1 is not two parts with one blank between"},
                {"ab", "merge 1 is not two parts with one blank between"},
                {" ab", "merge 1 is not two parts with one blank between"},
                {"ab ", "merge 1 is not two parts with one blank between"},
                {"a b c", "merge 1 is not two parts with one blank between"},
                {"a  b", "merge 1 is not two parts with one blank between"},
                {"x b", "merge 1: its left part is no token"},
                {"a x", "merge 1: its right part is no token"},
                {"a c", "merge 1: its result is no token"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gdfo_tokenizer_spec s;
        init_spec(&s, GDFO_TOKENIZER_GPT2, abc, N_ABC);
        add(&s.merges, "a b");
        add(&s.merges, rows[i].merge);
        refused(&s, rows[i].words);
    }
}

static void a_merge_never_makes_a_control_token(void **state)
{
    struct gdfo_tokenizer_spec s;
    (void)state;
    init_spec(&s, GDFO_TOKENIZER_GPT2, abc, N_ABC);
    s.types[3] = GDFO_TOKEN_CONTROL;
    add(&s.merges, "a b");
    refused(&s, "merge 0: its result is no token");
}

static void types_scores_and_ids_are_checked(void **state)
{
    struct gdfo_tokenizer_spec s;
    (void)state;
    for (int type = 0; type <= 7; type += 7) {
        char words[80];
        init_spec(&s, GDFO_TOKENIZER_GPT2, abc, N_ABC);
        s.types[2] = (uint8_t)type;
        (void)snprintf(words, sizeof words, "token 2 has type %d, accepted 1..6", type);
        refused(&s, words);
    }
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    s.scores[4] = NAN;
    refused(&s, "the score of token 4 is not finite");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    s.bos = 6;
    refused(&s, "the BOS id is 6, accepted 0..5, or -1 for none");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    s.eos = -2;
    refused(&s, "the EOS id is -2, accepted 0..5, or -1 for none");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    s.add_bos = 1;
    refused(&s, "BOS is to be added, but has no id");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    s.types[1] = GDFO_TOKEN_BYTE;
    refused(&s, "token 1 has type 6 (byte), but its text is not <0xXX>");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, N_ABC);
    gdfo_mem_free(s.scores);
    s.scores = NULL;
    refused(&s, "an SPM tokenizer needs scores");
    init_spec(&s, GDFO_TOKENIZER_NONE, abc, N_ABC);
    refused(&s, "a tokenizer needs a kind and tokens");
    init_spec(&s, GDFO_TOKENIZER_SPM, abc, 0);
    refused(&s, "a tokenizer needs a kind and tokens");
}

static void a_list_of_texts_has_a_ceiling(void **state)
{
    const size_t half = GDFO_TEXT_LIST_MAX_BYTES / 2;
    char *text = gdfo_mem_array(half, 1);
    struct gdfo_text_list list = {0};
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_text_list_add(&list, text, half, &err), &err);
    gdfo_test_ok(gdfo_text_list_add(&list, text, half, &err), &err);
    gdfo_test_ok(gdfo_text_list_add(&list, "", 0, &err), &err);
    assert_int_equal(gdfo_text_list_add(&list, "x", 1, &err), GDFO_STATUS_LIMIT);
    assert_int_equal(list.n, 3);
    gdfo_text_list_deinit(&list);
    gdfo_mem_free(text);
}

/* ---- what encoding does -----------------------------------------------------------------------
 */

static void the_best_merge_comes_first_and_the_leftmost_of_equals(void **state)
{
    static const char *const tokens[] = {"a", "b", "aa", "ab", "aab"};
    struct gdfo_tokenizer_spec s;
    struct gdfo_tokenizer *t;
    (void)state;
    init_spec(&s, GDFO_TOKENIZER_GPT2, tokens, 5);
    add(&s.merges, "a a");
    add(&s.merges, "a b");
    add(&s.merges, "aa b");
    t = create(&s);
    assert_ids(t, "aaa", " 2 0");
    assert_ids(t, "aaab", " 2 3");
    assert_ids(t, "aab", " 4");
    assert_ids(t, "baab", " 1 4");
    gdfo_tokenizer_destroy(t);
    init_spec(&s, GDFO_TOKENIZER_GPT2, tokens, 5); /* the other order, another result */
    add(&s.merges, "a b");
    add(&s.merges, "a a");
    t = create(&s);
    assert_ids(t, "aab", " 0 3");
    gdfo_tokenizer_destroy(t);
}

static void of_equal_tokens_the_lowest_id_is_taken(void **state)
{
    static const char *const tokens[] = {"b", "a", "a", "ab", "ab"};
    struct gdfo_tokenizer_spec s;
    struct gdfo_tokenizer *t;
    (void)state;
    init_spec(&s, GDFO_TOKENIZER_GPT2, tokens, 5);
    add(&s.merges, "a b");
    add(&s.merges, "a b");
    t = create(&s);
    assert_ids(t, "aba", " 3 1");
    gdfo_tokenizer_destroy(t);
}

static void spm_takes_the_highest_score_and_falls_back_to_bytes(void **state)
{
    static const char *const tokens[] = {"<unk>",  "\xE2\x96\x81",        "a",  "b",
                                         "ab",     "\xE2\x96\x81\x61",    "ba", "<0xC3>",
                                         "<0xA9>", "\xE2\x96\x81\x61\x62"};
    struct gdfo_tokenizer_spec s;
    struct gdfo_tokenizer *t;
    (void)state;
    init_spec(&s, GDFO_TOKENIZER_SPM, tokens, 10);
    s.types[0] = GDFO_TOKEN_UNKNOWN;
    s.types[7] = GDFO_TOKEN_BYTE;
    s.types[8] = GDFO_TOKEN_BYTE;
    s.scores[4] = 2; /* ab */
    s.scores[5] = 1; /* blank a */
    s.scores[6] = 3; /* ba */
    s.scores[9] = 0.5F;
    s.add_space_prefix = 1;
    t = create(&s);
    assert_ids(t, "ab", " 9");    /* ab first, then blank + ab */
    assert_ids(t, "aba", " 5 6"); /* ba wins, then blank + a */
    assert_ids(t, "a a", " 5 5");
    assert_ids(t, "b\xC3\xA9", " 1 3 7 8"); /* an accented e in two bytes */
    assert_ids(t, "", "");
    {
        struct gdfo_error err = {0};
        struct gdfo_ids ids = {0};
        assert_int_equal(gdfo_tokenizer_encode(t, "z", 1, &ids, &err), GDFO_STATUS_INVALID);
        assert_string_equal(err.text, "the vocabulary has no token for the byte 0x7a");
        gdfo_ids_deinit(&ids);
    }
    gdfo_tokenizer_destroy(t);
}

/* Tokens "a".."d" and 60 joins of two earlier ones, each new. */
static size_t random_tokens(struct gdfo_rng *r, char texts[64][64], int parts[64][2])
{
    size_t n = 4;
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(texts[i], 64, "%c", (char)('a' + (int)i));
    }
    for (int tries = 0; n < 64 && tries < 10000; tries++) {
        const size_t left = (size_t)(gdfo_rng_u64(r) % n);
        const size_t right = (size_t)(gdfo_rng_u64(r) % n);
        const size_t n_left = strlen(texts[left]);
        int is_new = n_left + strlen(texts[right]) < 9;
        char joined[130] = "";
        memcpy(joined, texts[left], n_left);
        memcpy(joined + n_left, texts[right], strlen(texts[right]));
        for (size_t i = 0; i < n; i++) {
            is_new = is_new && strcmp(texts[i], joined) != 0;
        }
        if (is_new) {
            memcpy(texts[n], joined, strlen(joined) + 1);
            parts[n][0] = (int)left;
            parts[n][1] = (int)right;
            n++;
        }
    }
    return n;
}

/* Step (4) as it is written: the pair of lowest rank, leftmost first, until none is left. */
static size_t naive_bpe(int *ids, size_t n, int parts[64][2], size_t n_tokens)
{
    for (size_t rank = 4; rank < n_tokens;) {
        size_t at = 0;
        while (at + 1 < n && (ids[at] != parts[rank][0] || ids[at + 1] != parts[rank][1])) {
            at++;
        }
        if (at + 1 >= n) {
            rank++;
            continue;
        }
        ids[at] = (int)rank;
        memmove(&ids[at + 1], &ids[at + 2], (n - at - 2) * sizeof *ids);
        n--;
        rank = 4; /* begin anew: this join may have made a pair of any rank */
    }
    return n;
}

static void the_heap_joins_as_the_plain_rule_does(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct gdfo_rng r = gdfo_rng_stream(seed, "bpe");
        char texts[64][64];
        int parts[64][2];
        const size_t n_tokens = random_tokens(&r, texts, parts);
        struct gdfo_tokenizer_spec s = {.kind = GDFO_TOKENIZER_GPT2, .bos = -1, .eos = -1};
        struct gdfo_tokenizer *t;
        for (size_t i = 0; i < n_tokens; i++) {
            add(&s.tokens, texts[i]);
        }
        for (size_t i = 4; i < n_tokens; i++) {
            struct gdfo_buf merge;
            gdfo_buf_init(&merge, 130);
            gdfo_buf_addf(&merge, "%s %s", texts[parts[i][0]], texts[parts[i][1]]);
            add(&s.merges, merge.data);
            gdfo_buf_deinit(&merge);
        }
        t = create(&s);
        for (int round = 0; round < 40; round++) {
            const size_t n = 1 + (size_t)(gdfo_rng_u64(&r) % 120);
            char text[128] = "";
            int want[128];
            size_t n_want;
            struct gdfo_error err = {0};
            struct gdfo_ids ids = {0};
            for (size_t i = 0; i < n; i++) {
                want[i] = (int)(gdfo_rng_u64(&r) % 4);
                text[i] = (char)('a' + want[i]);
            }
            n_want = naive_bpe(want, n, parts, n_tokens);
            gdfo_test_ok(gdfo_tokenizer_encode(t, text, n, &ids, &err), &err);
            assert_int_equal(ids.n, n_want);
            for (size_t i = 0; i < n_want; i++) {
                assert_int_equal(ids.data[i], want[i]);
            }
            gdfo_ids_deinit(&ids);
        }
        gdfo_tokenizer_destroy(t);
    }
}

/* ---- pre-tokenisers ---------------------------------------------------------------------------
 */

/* A vocabulary of single bytes and of every whole piece that is asked for: the pieces show. */
static void assert_pieces(enum gdfo_tokenizer_kind kind, const char *text, const char *want)
{
    static const char *const tokens[] = {"a",
                                         "b",
                                         "1",
                                         "2",
                                         "!",
                                         "'",
                                         "s",
                                         "l",
                                         "\xC4\xA0",
                                         "\xC4\x8A",
                                         "aa",
                                         "11",
                                         "!!",
                                         "\xC4\xA0\x61",
                                         "\xC4\xA0\x31",
                                         "\xC4\xA0!",
                                         "\xC4\xA0\xC4\xA0",
                                         "'s",
                                         "'l",
                                         "'ll",
                                         "a'",
                                         "a1"};
    static const char *const merges[] = {
        "a a", "1 1", "! !",  "\xC4\xA0 a", "\xC4\xA0 1", "\xC4\xA0 !", "\xC4\xA0 \xC4\xA0",
        "' s", "' l", "'l l", "a '",        "a 1"};
    struct gdfo_tokenizer_spec s;
    struct gdfo_tokenizer *t;
    init_spec(&s, kind, tokens, sizeof tokens / sizeof tokens[0]);
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        add(&s.merges, merges[i]);
    }
    t = create(&s);
    assert_ids(t, text, want);
    gdfo_tokenizer_destroy(t);
}

static void pieces_of_gpt2(void **state)
{
    const enum gdfo_tokenizer_kind k = GDFO_TOKENIZER_GPT2;
    (void)state;
    assert_pieces(k, "aa11", " 10 11");      /* letters, numbers */
    assert_pieces(k, "a1", " 0 2");          /* never one piece, though there is a merge */
    assert_pieces(k, "a's", " 0 17");        /* 's */
    assert_pieces(k, "a'll", " 0 19");       /* 'll */
    assert_pieces(k, "a'a", " 0 5 0");       /* no contraction */
    assert_pieces(k, " a 1 !", " 13 14 15"); /* one blank goes with what follows */
    assert_pieces(k, "  a", " 8 13");        /* of two the last does */
    assert_pieces(k, "a  ", " 0 16");        /* at the end all stay together */
    assert_pieces(k, "a \n", " 0 8 9");
    assert_pieces(k, "\na", " 9 0"); /* a line feed goes with nothing */
}

static void pieces_of_smollm(void **state)
{
    const enum gdfo_tokenizer_kind k = GDFO_TOKENIZER_SMOLLM;
    (void)state;
    assert_pieces(k, "aa11", " 10 2 2"); /* every digit alone */
    assert_pieces(k, "a 1", " 0 8 2");   /* the blank before a digit is a piece of its own */
    assert_pieces(k, "a  1a", " 0 16 2 0");
    assert_pieces(k, " a 1 !", " 13 8 2 15");
    assert_pieces(k, "1's", " 2 17");
}

static void letters_and_numbers_of_all_scripts_are_known(void **state)
{
    /* The merge of X's last byte and "a" happens only inside a piece: that is, if X is a letter. */
    static const struct {
        const char *text;
        int is_letter;
    } rows[] = {{"\xC3\xA9", 1},         /* e acute */
                {"\xD0\xB6", 1},         /* Cyrillic zhe */
                {"\xE4\xB8\xAD", 1},     /* a Han character */
                {"\xF0\x9F\xA6\x99", 0}, /* an emoji */
                {"\xC2\xBD", 0},         /* one half: a number */
                {"\xD9\xA3", 0},         /* Arabic-Indic three */
                {"\xC2\xA0", 0}};        /* no-break space */
    (void)state;
    assert_string_equal(gdfo_tokenizer_unicode_version(), "14.0.0");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gdfo_tokenizer_spec s = {.kind = GDFO_TOKENIZER_GPT2, .bos = -1, .eos = -1};
        struct gdfo_tokenizer *t;
        struct gdfo_error err = {0};
        struct gdfo_ids ids = {0};
        char text[8];
        const size_t n = strlen(rows[i].text);
        const unsigned char last = (unsigned char)rows[i].text[n - 1];
        for (uint32_t b = 0x80; b < 0x100; b++) { /* only high bytes and "a" are needed */
            char utf8[5] = "";
            const int stays = (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            const uint32_t c = stays ? b : (b == 0xAD ? 0x143 : 0x121 + (b - 0x7F));
            utf8[gdfo_utf8_put(utf8, c)] = '\0';
            add(&s.tokens, utf8);
            if (b == last) {
                char merge[8];
                (void)snprintf(merge, sizeof merge, "%s a", utf8);
                add(&s.merges, merge);
            }
        }
        add(&s.tokens, "a");
        {
            size_t len = 0;
            const char *merge = gdfo_text_list_at(&s.merges, 0, &len);
            char joined[8] = "";
            memcpy(joined, merge, len - 2);
            joined[len - 2] = 'a';
            add(&s.tokens, joined);
        }
        t = create(&s);
        (void)snprintf(text, sizeof text, "%sa", rows[i].text);
        gdfo_test_ok(gdfo_tokenizer_encode(t, text, n + 1, &ids, &err), &err);
        assert_int_equal(ids.n, rows[i].is_letter ? n : n + 1);
        gdfo_ids_deinit(&ids);
        gdfo_tokenizer_destroy(t);
    }
}

/* ---- the tokenizer of a GGUF file -------------------------------------------------------------
 */

static const char *const vocab8[] = {"<unk>", "<s>", "</s>", "a", "b", "ab", "\xE2\x96\x81", "c"};
static const int32_t types8[8] = {2, 3, 3, 1, 1, 1, 1, 1};

static void set_array(struct gdfo_test_gguf *m, const char *key, uint32_t type, const void *values,
                      size_t n, size_t each)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 10000);
    gdfo_buf_u32(&b, type);
    gdfo_buf_u64(&b, n);
    gdfo_buf_addn(&b, values, n * each);
    gdfo_test_gguf_set(m, key, 9, b.data, b.len);
    gdfo_buf_deinit(&b);
}

static void make_bpe(struct gdfo_test_gguf *m)
{
    static const char *const merges[] = {"a b"};
    gdfo_test_gguf_tiny(m);
    gdfo_test_gguf_text(m, "tokenizer.ggml.model", "gpt2");
    gdfo_test_gguf_text(m, "tokenizer.ggml.pre", "smollm");
    gdfo_test_gguf_texts(m, "tokenizer.ggml.tokens", vocab8, 8);
    gdfo_test_gguf_texts(m, "tokenizer.ggml.merges", merges, 1);
    set_array(m, "tokenizer.ggml.token_type", 5, types8, 8, 4);
    gdfo_test_gguf_u32(m, "tokenizer.ggml.bos_token_id", 1);
    gdfo_test_gguf_u32(m, "tokenizer.ggml.eos_token_id", 2);
}

static void make_spm(struct gdfo_test_gguf *m)
{
    static const float scores[8] = {0};
    make_bpe(m);
    gdfo_test_gguf_text(m, "tokenizer.ggml.model", "llama");
    set_array(m, "tokenizer.ggml.scores", 6, scores, 8, 4);
}

/* Opens m's file (which must do) and its tokenizer; ends m. */
static enum gdfo_status read_made(struct gdfo_test_gguf *m, struct gdfo_tokenizer **t,
                                  struct gdfo_error *err)
{
    struct gdfo_buf b;
    struct gdfo_reader r;
    struct gdfo_model_file *f = NULL;
    enum gdfo_status status;
    gdfo_test_gguf_build(m, &b);
    r = gdfo_reader_memory(b.data, b.len, "x.gguf");
    status = gdfo_model_file_open(&f, &r, NULL, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_file_tokenizer(f, t, err);
    }
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(m);
    return status;
}

static void made_refused(struct gdfo_test_gguf *m, enum gdfo_status status, const char *words)
{
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_error err = {0};
    const enum gdfo_status got = read_made(m, &t, &err);
    if (got != status || strcmp(err.text, words) != 0) {
        print_error("got  %s: %s\nwant %s: %s\n", gdfo_status_name(got), err.text,
                    gdfo_status_name(status), words);
        fail();
    }
    assert_null(t);
}

static void flags_of_the_file_decide_about_bos_and_blank(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_error err = {0};
    (void)state;
    make_bpe(&m);
    gdfo_test_ok(read_made(&m, &t, &err), &err);
    assert_int_equal(gdfo_tokenizer_bos(t), -1); /* missing: false for gpt2 */
    assert_ids(t, "abc", " 5 7");
    gdfo_tokenizer_destroy(t);
    make_bpe(&m);
    gdfo_test_gguf_set(&m, "tokenizer.ggml.add_bos_token", 7, "\x01", 1);
    gdfo_test_ok(read_made(&m, &t, &err), &err);
    assert_int_equal(gdfo_tokenizer_bos(t), 1);
    gdfo_tokenizer_destroy(t);
    make_spm(&m);
    gdfo_test_ok(read_made(&m, &t, &err), &err);
    assert_int_equal(gdfo_tokenizer_bos(t), 1); /* missing: true for SPM */
    assert_ids(t, "abc", " 6 5 7");
    gdfo_tokenizer_destroy(t);
    make_spm(&m);
    gdfo_test_gguf_set(&m, "tokenizer.ggml.add_bos_token", 7, "\x00", 1);
    gdfo_test_gguf_set(&m, "tokenizer.ggml.add_space_prefix", 7, "\x00", 1);
    gdfo_test_ok(read_made(&m, &t, &err), &err);
    assert_int_equal(gdfo_tokenizer_bos(t), -1);
    assert_ids(t, "abc", " 5 7");
    gdfo_tokenizer_destroy(t);
}

static void other_tokenizers_are_refused_by_name(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    make_bpe(&m);
    gdfo_test_gguf_text(&m, "tokenizer.ggml.model", "t5");
    made_refused(&m, GDFO_STATUS_UNSUPPORTED,
                 "x.gguf: tokenizer model \"t5\" is not read, accepted \"gpt2\" and \"llama\"");
    make_bpe(&m);
    gdfo_test_gguf_text(&m, "tokenizer.ggml.pre", "qwen2");
    made_refused(&m, GDFO_STATUS_UNSUPPORTED,
                 "x.gguf: pre-tokenizer \"qwen2\" is not read, accepted \"gpt2\" and \"smollm\"");
    make_bpe(&m);
    gdfo_test_gguf_drop(&m, "tokenizer.ggml.pre");
    made_refused(&m, GDFO_STATUS_UNSUPPORTED,
                 "x.gguf: pre-tokenizer \"\" is not read, accepted \"gpt2\" and \"smollm\"");
    make_bpe(&m);
    gdfo_test_gguf_drop(&m, "tokenizer.ggml.model");
    made_refused(&m, GDFO_STATUS_NOT_FOUND,
                 "x.gguf: the file carries no tokenizer (tokenizer.ggml.model)");
}

static void lists_of_the_tokenizer_are_checked(void **state)
{
    static const int32_t bad[8] = {2, 3, 3, 1, 1, 7, 1, 1};
    static const float nan_scores[8] = {0, 0, 0, 0, 0, 0, 0, NAN};
    struct gdfo_test_gguf m;
    (void)state;
    make_bpe(&m);
    gdfo_test_gguf_texts(&m, "tokenizer.ggml.tokens", vocab8, 7);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.tokens\" has 7 entries, but the vocabulary is 8");
    make_bpe(&m);
    gdfo_test_gguf_drop(&m, "tokenizer.ggml.tokens");
    made_refused(&m, GDFO_STATUS_FORMAT, "x.gguf: key \"tokenizer.ggml.tokens\" is missing");
    make_bpe(&m);
    gdfo_test_gguf_u32(&m, "tokenizer.ggml.tokens", 1);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.tokens\" is a u32, wanted an array");
    make_bpe(&m);
    set_array(&m, "tokenizer.ggml.tokens", 5, types8, 8, 4);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.tokens\" has elements that are each an i32, wanted "
                 "a string");
    make_bpe(&m);
    set_array(&m, "tokenizer.ggml.token_type", 5, types8, 7, 4);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.token_type\" has 7 entries, but there are 8 tokens");
    make_bpe(&m);
    set_array(&m, "tokenizer.ggml.token_type", 5, bad, 8, 4);
    made_refused(&m, GDFO_STATUS_FORMAT, "x.gguf: tokenizer.ggml.token_type is 7, accepted 1..6");
    make_bpe(&m);
    gdfo_test_gguf_texts(&m, "tokenizer.ggml.token_type", vocab8, 8);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.token_type\" has elements that are each a string, "
                 "wanted an integer");
    make_bpe(&m);
    gdfo_test_gguf_drop(&m, "tokenizer.ggml.merges");
    made_refused(&m, GDFO_STATUS_FORMAT, "x.gguf: key \"tokenizer.ggml.merges\" is missing");
    make_spm(&m);
    gdfo_test_gguf_drop(&m, "tokenizer.ggml.scores");
    made_refused(&m, GDFO_STATUS_FORMAT, "x.gguf: key \"tokenizer.ggml.scores\" is missing");
    make_spm(&m);
    set_array(&m, "tokenizer.ggml.scores", 6, nan_scores, 8, 4);
    made_refused(&m, GDFO_STATUS_FORMAT, "x.gguf: the score of token 7 is not finite");
    make_spm(&m);
    set_array(&m, "tokenizer.ggml.scores", 5, types8, 8, 4);
    made_refused(&m, GDFO_STATUS_FORMAT,
                 "x.gguf: key \"tokenizer.ggml.scores\" has elements that are each an i32, wanted "
                 "an f32");
}

static void special_ids_lie_in_the_vocabulary(void **state)
{
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.unknown_token_id",
                                       "tokenizer.ggml.padding_token_id"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct gdfo_test_gguf m;
        struct gdfo_tokenizer *t = NULL;
        struct gdfo_error err = {0};
        char words[100];
        make_bpe(&m);
        gdfo_test_gguf_u32(&m, keys[i], 7);
        gdfo_test_ok(read_made(&m, &t, &err), &err);
        gdfo_tokenizer_destroy(t);
        make_bpe(&m);
        gdfo_test_gguf_u32(&m, keys[i], 8);
        (void)snprintf(words, sizeof words, "x.gguf: key \"%s\" is 8, accepted 0..7", keys[i]);
        made_refused(&m, GDFO_STATUS_FORMAT, words);
    }
}

static void no_memory_at_any_moment_is_an_error_and_nothing_leaks(void **state)
{
    (void)state;
    for (int spm = 0; spm < 2; spm++) {
        enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
        struct gdfo_test_gguf m;
        struct gdfo_buf b;
        struct gdfo_reader r;
        struct gdfo_error err = {0};
        struct gdfo_model_file *f = NULL;
        long n = 0;
        (spm ? make_spm : make_bpe)(&m);
        gdfo_test_gguf_build(&m, &b);
        r = gdfo_reader_memory(b.data, b.len, "x.gguf");
        gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
        for (; status != GDFO_STATUS_OK && n < 1000; n++) {
            struct gdfo_tokenizer *t = NULL;
            struct gdfo_ids ids = {0};
            gdfo_mem_fail_after(n);
            status = gdfo_model_file_tokenizer(f, &t, &err);
            if (status == GDFO_STATUS_OK) {
                status = gdfo_tokenizer_encode(t, "abcab", 5, &ids, &err);
            }
            gdfo_mem_fail_after(-1);
            assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
            gdfo_tokenizer_destroy(t);
            gdfo_ids_deinit(&ids);
        }
        assert_int_equal(status, GDFO_STATUS_OK);
        assert_true(n > 8);
        gdfo_model_file_destroy(f);
        gdfo_buf_deinit(&b);
        gdfo_test_gguf_deinit(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_are_two_tokens_that_make_a_third),
        cmocka_unit_test(a_merge_never_makes_a_control_token),
        cmocka_unit_test(types_scores_and_ids_are_checked),
        cmocka_unit_test(a_list_of_texts_has_a_ceiling),
        cmocka_unit_test(the_best_merge_comes_first_and_the_leftmost_of_equals),
        cmocka_unit_test(of_equal_tokens_the_lowest_id_is_taken),
        cmocka_unit_test(spm_takes_the_highest_score_and_falls_back_to_bytes),
        cmocka_unit_test(the_heap_joins_as_the_plain_rule_does),
        cmocka_unit_test(pieces_of_gpt2),
        cmocka_unit_test(pieces_of_smollm),
        cmocka_unit_test(letters_and_numbers_of_all_scripts_are_known),
        cmocka_unit_test(flags_of_the_file_decide_about_bos_and_blank),
        cmocka_unit_test(other_tokenizers_are_refused_by_name),
        cmocka_unit_test(lists_of_the_tokenizer_are_checked),
        cmocka_unit_test(special_ids_lie_in_the_vocabulary),
        cmocka_unit_test(no_memory_at_any_moment_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
