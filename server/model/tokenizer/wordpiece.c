#include "common/buf.h"
#include "common/parse.h"
#include "server/model/tokenizer/bert_text_priv.h"
#include "server/model/tokenizer/tokenizer_priv.h"

#include <string.h>

/*
 * DESIGN: WordPiece. A word of the basic tokenizer is covered from its left by the longest token
 * each time, all but the first written with "##" in front; a word that cannot be covered whole, or
 * that is too long, is one unknown token.
 */
#define WORD_CHARS_MAX 100
#define MARK           "##"
#define MARK_BYTES     2

struct encoding {
    const struct gdfo_tokenizer *t;
    struct gdfo_ids *out;
    struct gdfo_buf piece;
};

enum gdfo_status gdfo_wordpiece_prepare(const struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    return t->spec.unk >= 0 ? GDFO_STATUS_OK
                            : gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                             "a WordPiece vocabulary needs an unknown token");
}

/* Id and length of the longest token at byte at of the word; -1 when there is none. */
static int32_t longest(struct encoding *e, const char *word, size_t n, size_t at, size_t *n_taken)
{
    const size_t n_mark = at > 0 ? MARK_BYTES : 0;
    size_t end = n - at < e->t->n_longest ? n : at + e->t->n_longest;
    gdfo_buf_reset(&e->piece);
    gdfo_buf_addn(&e->piece, MARK, n_mark);
    gdfo_buf_addn(&e->piece, word + at, end - at);
    for (; gdfo_buf_ok(&e->piece) && end > at; end--) {
        const int is_whole_char = end == n || ((unsigned char)word[end] & 0xC0) != 0x80;
        const int32_t id =
            is_whole_char ? gdfo_vocab_find(e->t, e->piece.data, n_mark + end - at) : -1;
        if (id >= 0) {
            *n_taken = end - at;
            return id;
        }
    }
    return -1;
}

static enum gdfo_status take_word(void *ctx, const char *word, size_t n, size_t n_chars,
                                  struct gdfo_error *err)
{
    struct encoding *e = ctx;
    const size_t n_before = e->out->n;
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t at = n_chars > WORD_CHARS_MAX ? n : 0;
    int is_unknown = n_chars > WORD_CHARS_MAX;
    while (at < n && !is_unknown && status == GDFO_STATUS_OK) {
        size_t n_taken = 0;
        const int32_t id = longest(e, word, n, at, &n_taken);
        if (!gdfo_buf_ok(&e->piece)) {
            return gdfo_error_no_memory(err, "tokenising");
        }
        is_unknown = id < 0;
        at += n_taken;
        status = is_unknown ? status : gdfo_ids_add(e->out, id, err);
    }
    if (status == GDFO_STATUS_OK && is_unknown) {
        e->out->n = n_before;
        status = gdfo_ids_add(e->out, e->t->spec.unk, err);
    }
    return status;
}

enum gdfo_status gdfo_wordpiece_encode(const struct gdfo_tokenizer *t, const char *text, size_t n,
                                       struct gdfo_ids *out, struct gdfo_error *err)
{
    struct encoding e = {.t = t, .out = out};
    const struct gdfo_bert_words words = {.lower_case = t->spec.lower_case,
                                          .strip_accents = t->spec.strip_accents,
                                          .split_cjk = t->spec.split_cjk,
                                          .take = take_word,
                                          .ctx = &e};
    enum gdfo_status status;
    gdfo_buf_init(&e.piece, MARK_BYTES + GDFO_TEXT_LIST_MAX_BYTES);
    status = gdfo_bert_words_cut(&words, text, n, err);
    gdfo_buf_deinit(&e.piece);
    return status;
}

void gdfo_wordpiece_decode(const char *token, size_t n, struct gdfo_buf *out)
{
    if (n > MARK_BYTES && memcmp(token, MARK, MARK_BYTES) == 0) {
        gdfo_buf_addn(out, token + MARK_BYTES, n - MARK_BYTES);
        return;
    }
    if (out->len > 0) {
        gdfo_buf_addc(out, ' ');
    }
    gdfo_buf_addn(out, token, n);
}
