/*
 * Text against fixed small vocabularies, and a vocabulary made of the input itself. The first byte
 * chooses; promises: encode says what is wrong, decode(encode(s)) is s (SPM: with one blank).
 */
#include "common/check.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

static void add(struct gdfo_text_list *list, const char *text, size_t n)
{
    GDFO_CHECK(gdfo_text_list_add(list, text, n, NULL) == GDFO_STATUS_OK);
}

/* All 256 characters of the byte alphabet, in the order of the bytes. */
static void add_alphabet(struct gdfo_text_list *tokens)
{
    uint32_t shifted = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        const int stays = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        char utf8[4];
        const size_t n = gdfo_utf8_put(utf8, stays ? b : shifted);
        shifted += stays ? 0 : 1;
        add(tokens, utf8, n);
    }
}

static struct gdfo_tokenizer *bpe(enum gdfo_tokenizer_kind kind)
{
    static const char *const merges[] = {
        "a a", "aa aa", "a b",           "\xC4\xA0 a", "\xC4\xA0 \xC4\xA0", "\xC3\x83 \xC2\xA9",
        "' s", "1 1",   "\xC4\xA0\x61 b"};
    struct gdfo_tokenizer_spec s = {.kind = kind, .bos = -1, .eos = -1};
    struct gdfo_tokenizer *t = NULL;
    add_alphabet(&s.tokens);
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        const char *blank = strchr(merges[i], ' ');
        char joined[16];
        const int n = snprintf(joined, sizeof joined, "%.*s%s", (int)(blank - merges[i]), merges[i],
                               blank + 1);
        add(&s.tokens, joined, (size_t)n);
        add(&s.merges, merges[i], strlen(merges[i]));
    }
    GDFO_CHECK(gdfo_tokenizer_create(&t, &s, NULL) == GDFO_STATUS_OK);
    return t;
}

static struct gdfo_tokenizer *spm(void)
{
    static const char *const words[] = {"\xE2\x96\x81",     "a",   "b",       "ab", "aa",
                                        "\xE2\x96\x81\x61", "aab", "\xC3\xA9"};
    struct gdfo_tokenizer_spec s = {
        .kind = GDFO_TOKENIZER_SPM, .bos = -1, .eos = -1, .add_space_prefix = 1};
    struct gdfo_tokenizer *t = NULL;
    const size_t n_words = sizeof words / sizeof words[0];
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        add(&s.tokens, text, (size_t)snprintf(text, sizeof text, "<0x%02X>", b));
    }
    for (size_t i = 0; i < n_words; i++) {
        add(&s.tokens, words[i], strlen(words[i]));
    }
    s.types = gdfo_mem_array(s.tokens.n, 1);
    s.scores = gdfo_mem_array(s.tokens.n, sizeof *s.scores);
    GDFO_CHECK(s.types && s.scores);
    for (size_t i = 0; i < s.tokens.n; i++) {
        s.types[i] = i < 256 ? GDFO_TOKEN_BYTE : GDFO_TOKEN_NORMAL;
        s.scores[i] = (float)(i * 7 % 5);
    }
    GDFO_CHECK(gdfo_tokenizer_create(&t, &s, NULL) == GDFO_STATUS_OK);
    return t;
}

static void check_round_trip(const struct gdfo_tokenizer *t, const char *text, size_t n,
                             size_t n_front)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    struct gdfo_buf back;
    const enum gdfo_status status = gdfo_tokenizer_encode(t, text, n, &ids, &err);
    gdfo_buf_init(&back, 4 * n + 16);
    if (status == GDFO_STATUS_OK) {
        GDFO_CHECK(gdfo_tokenizer_decode(t, ids.data, ids.n, &back, &err) == GDFO_STATUS_OK);
        GDFO_CHECK(n == 0 || back.len == n + n_front);
        GDFO_CHECK(n == 0 || memcmp(back.data + n_front, text, n) == 0);
    } else {
        GDFO_CHECK(err.text[0] != '\0');
    }
    gdfo_buf_deinit(&back);
    gdfo_ids_deinit(&ids);
}

/* SPM writes U+2581 back as a blank: texts that hold it do not come back. */
static int has_blank_sign(const char *text, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++) {
        if (memcmp(text + i, "\xE2\x96\x81", 3) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Lines: tokens, then after an empty line merges; made or refused, and then used on itself. */
static void build_from(enum gdfo_tokenizer_kind kind, const char *text, size_t n)
{
    struct gdfo_tokenizer_spec s = {.kind = kind, .bos = -1, .eos = -1};
    struct gdfo_text_list *list = &s.tokens;
    struct gdfo_error err = {0};
    struct gdfo_tokenizer *t = NULL;
    size_t at = 0;
    while (at < n) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t len = end ? (size_t)(end - text) - at : n - at;
        if (len == 0) {
            list = &s.merges;
        } else {
            add(list, text + at, len);
        }
        at += len + 1;
    }
    s.scores = gdfo_mem_array(s.tokens.n, sizeof *s.scores);
    if (gdfo_tokenizer_create(&t, &s, &err) == GDFO_STATUS_OK) {
        struct gdfo_ids ids = {0};
        GDFO_IGNORE(gdfo_tokenizer_encode(t, text, n, &ids, &err));
        gdfo_ids_deinit(&ids);
    } else {
        GDFO_CHECK(err.text[0] != '\0');
    }
    gdfo_tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct gdfo_tokenizer *fixed[3]; /* live as long as the process */
    const char *text = (const char *)data + 1;
    if (!fixed[0]) {
        fixed[0] = bpe(GDFO_TOKENIZER_GPT2);
        fixed[1] = bpe(GDFO_TOKENIZER_SMOLLM);
        fixed[2] = spm();
    }
    if (n < 1) {
        return 0;
    }
    n--;
    switch (data[0] % 6) {
    case 0: check_round_trip(fixed[0], text, n, 0); break;
    case 1: check_round_trip(fixed[1], text, n, 0); break;
    case 2:
        if (!has_blank_sign(text, n)) {
            check_round_trip(fixed[2], text, n, 1);
        }
        break;
    case 3: build_from(GDFO_TOKENIZER_GPT2, text, n); break;
    case 4: build_from(GDFO_TOKENIZER_SMOLLM, text, n); break;
    default: build_from(GDFO_TOKENIZER_SPM, text, n); break;
    }
    return 0;
}
