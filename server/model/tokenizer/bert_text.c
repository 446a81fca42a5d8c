#include "common/buf.h"
#include "common/parse.h"
#include "server/model/tokenizer/bert_text_priv.h"
#include "server/model/tokenizer/unicode_bert_priv.h"
#include "server/model/tokenizer/unicode_priv.h"

#include <string.h>

#define BASES_MAX      4 /* characters left of one */
#define DOTTED_I       0x130U
#define COMBINING_DOT  0x307U
#define HANGUL_FIRST   0xAC00U
#define HANGUL_LAST    0xD7A3U
#define JAMO_LEAD      0x1100U
#define JAMO_VOWEL     0x1161U
#define JAMO_TAIL      0x11A7U
#define N_JAMO_VOWELS  21U
#define N_JAMO_TAILS   28U
#define GROWTH_OF_TEXT 4 /* at most: three characters of four bytes each out of one of three */

/* ---- one character ----------------------------------------------------------------------------
 */

/* Row of a table, sorted by a first uint32_t of each row, that starts at or before c: its index, or
 * n when there is none. */
static size_t row_before(const void *table, size_t n, size_t row_bytes, uint32_t c)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        uint32_t first;
        memcpy(&first, (const char *)table + mid * row_bytes, sizeof first);
        if (first <= c) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low > 0 ? low - 1 : n;
}

static enum gdfo_bert_class classify(uint32_t c)
{
    const size_t i = row_before(gdfo_bert_ranges, gdfo_bert_n_ranges, sizeof *gdfo_bert_ranges, c);
    return i < gdfo_bert_n_ranges && c <= gdfo_bert_ranges[i].last ? gdfo_bert_ranges[i].class
                                                                   : GDFO_BERT_OTHER;
}

static uint32_t lower(uint32_t c)
{
    const size_t i = row_before(gdfo_bert_lowers, gdfo_bert_n_lowers, sizeof *gdfo_bert_lowers, c);
    const struct gdfo_bert_lower *row = &gdfo_bert_lowers[i < gdfo_bert_n_lowers ? i : 0];
    const int is_in =
        c >= row->first && c <= row->last && (c - row->first) % (uint32_t)row->step == 0;
    return is_in ? (uint32_t)((int64_t)c + row->delta) : c;
}

/* Hangul syllables by rule; all others by the tables. Returns the number of characters in out. */
static size_t without_marks(uint32_t c, uint32_t out[BASES_MAX])
{
    size_t i;
    if (c >= HANGUL_FIRST && c <= HANGUL_LAST) {
        const uint32_t s = c - HANGUL_FIRST;
        out[0] = JAMO_LEAD + s / (N_JAMO_VOWELS * N_JAMO_TAILS);
        out[1] = JAMO_VOWEL + s / N_JAMO_TAILS % N_JAMO_VOWELS;
        out[2] = JAMO_TAIL + s % N_JAMO_TAILS;
        return s % N_JAMO_TAILS ? 3 : 2;
    }
    if (classify(c) == GDFO_BERT_MARK) {
        return 0;
    }
    i = row_before(gdfo_bert_bases, gdfo_bert_n_bases, sizeof *gdfo_bert_bases, c);
    if (i < gdfo_bert_n_bases && gdfo_bert_bases[i].from == c) {
        out[0] = gdfo_bert_bases[i].to;
        return 1;
    }
    i = row_before(gdfo_bert_splits, gdfo_bert_n_splits, sizeof *gdfo_bert_splits, c);
    if (i < gdfo_bert_n_splits && gdfo_bert_splits[i].from == c) {
        size_t n = 0;
        for (; n < 3 && gdfo_bert_splits[i].to[n] != 0; n++) {
            out[n] = gdfo_bert_splits[i].to[n];
        }
        return n;
    }
    out[0] = c;
    return 1;
}

static size_t fold(const struct gdfo_bert_words *w, uint32_t c, uint32_t out[BASES_MAX])
{
    size_t n = 1;
    out[0] = c;
    if (w->strip_accents) {
        n = without_marks(c, out);
    } else if (w->lower_case && c == DOTTED_I) { /* the only one whose lower case is two */
        out[0] = 'i';
        out[1] = COMBINING_DOT;
        return 2;
    }
    for (size_t i = 0; i < n && w->lower_case; i++) {
        out[i] = lower(out[i]);
    }
    return n;
}

static int is_han(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } blocks[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                  {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        if (c >= blocks[i].first && c <= blocks[i].last) {
            return 1;
        }
    }
    return 0;
}

/* ---- words ------------------------------------------------------------------------------------
 */

struct cut { /* the word under way */
    const struct gdfo_bert_words *w;
    struct gdfo_buf word;
    size_t n_chars;
};

static enum gdfo_status end_word(struct cut *k, struct gdfo_error *err)
{
    const size_t n_chars = k->n_chars;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!gdfo_buf_ok(&k->word)) {
        return gdfo_error_no_memory(err, "tokenising");
    }
    if (n_chars > 0) {
        status = k->w->take(k->w->ctx, k->word.data, k->word.len, n_chars, err);
        gdfo_buf_reset(&k->word);
        k->n_chars = 0;
    }
    return status;
}

static void add_char(struct cut *k, uint32_t c)
{
    char utf8[4];
    gdfo_buf_addn(&k->word, utf8, gdfo_utf8_put(utf8, c));
    k->n_chars++;
}

static enum gdfo_status add_alone(struct cut *k, uint32_t c, struct gdfo_error *err)
{
    enum gdfo_status status = end_word(k, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    add_char(k, c);
    return end_word(k, err);
}

/* A character that is neither dropped nor white space. */
static enum gdfo_status add_folded(struct cut *k, uint32_t c, struct gdfo_error *err)
{
    uint32_t bases[BASES_MAX] = {0};
    const size_t n = fold(k->w, c, bases);
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        if (classify(bases[i]) == GDFO_BERT_PUNCTUATION) {
            status = add_alone(k, bases[i], err);
        } else {
            add_char(k, bases[i]);
        }
    }
    return status;
}

static enum gdfo_status add_one(struct cut *k, uint32_t c, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (gdfo_unicode_classify(c) == GDFO_UNICODE_SPACE) {
        return end_word(k, err);
    }
    if (classify(c) == GDFO_BERT_DROPPED) {
        return GDFO_STATUS_OK;
    }
    if (!k->w->split_cjk || !is_han(c)) {
        return add_folded(k, c, err);
    }
    status = end_word(k, err);
    if (status == GDFO_STATUS_OK) {
        status = add_folded(k, c, err);
    }
    return status == GDFO_STATUS_OK ? end_word(k, err) : status;
}

enum gdfo_status gdfo_bert_words_cut(const struct gdfo_bert_words *w, const char *text, size_t n,
                                     struct gdfo_error *err)
{
    struct cut k = {.w = w};
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_buf_init(&k.word, GROWTH_OF_TEXT * n + 1);
    for (size_t at = 0; at < n && status == GDFO_STATUS_OK;) {
        uint32_t c = 0;
        const size_t step = gdfo_utf8_next(text + at, n - at, &c);
        at += step > 0 ? step : 1; /* valid UTF-8 always steps */
        status = add_one(&k, c, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = end_word(&k, err);
    }
    gdfo_buf_deinit(&k.word);
    return status;
}
