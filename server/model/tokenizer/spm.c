#include "common/mem.h"
#include "common/parse.h"
#include "server/model/tokenizer/merge_priv.h"
#include "server/model/tokenizer/tokenizer_priv.h"

#include <inttypes.h>
#include <string.h>

static const char blank_text[] = "\xE2\x96\x81"; /* U+2581 stands for a blank */
#define BLANK_BYTES 3u

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0xXX>", -1 for other texts. */
static int byte_of_token(const char *text, size_t n)
{
    int high;
    int low;
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    high = hex_digit(text[3]);
    low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

enum gdfo_status gdfo_spm_prepare(struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    if (!t->spec.scores) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "an SPM tokenizer needs scores");
    }
    for (size_t i = 0; t->spec.types && i < t->spec.tokens.n; i++) {
        size_t n = 0;
        const char *text = gdfo_text_list_at(&t->spec.tokens, i, &n);
        const int byte = byte_of_token(text, n);
        if (t->spec.types[i] != GDFO_TOKEN_BYTE) {
            continue;
        }
        if (byte < 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                  "token %zu has type 6 (byte), but its text is not <0xXX>", i);
        }
        if (t->byte_ids[byte] < 0) {
            t->byte_ids[byte] = (int32_t)i;
        }
    }
    return GDFO_STATUS_OK;
}

struct spm_text { /* what find_joined looks at */
    const struct gdfo_tokenizer *t;
    const char *bytes;
};

static int find_joined(const void *ctx, const struct gdfo_merge_symbol *left,
                       const struct gdfo_merge_symbol *right, struct gdfo_merge_found *out)
{
    const struct spm_text *s = ctx; /* neighbours lie side by side in the text */
    out->id = gdfo_vocab_find(s->t, s->bytes + left->start, (size_t)left->n + right->n);
    if (out->id < 0) {
        return 0;
    }
    out->key = -(double)s->t->spec.scores[out->id];
    return 1;
}

static void normalise(const struct gdfo_spm_text *text, struct gdfo_buf *out)
{
    if (text->has_prefix) {
        gdfo_buf_addn(out, blank_text, BLANK_BYTES);
    }
    for (size_t i = 0; i < text->n; i++) {
        if (text->s[i] == ' ') {
            gdfo_buf_addn(out, blank_text, BLANK_BYTES);
        } else {
            gdfo_buf_addc(out, text->s[i]);
        }
    }
}

static enum gdfo_status add_characters(struct gdfo_merge *m, const struct spm_text *s, size_t n,
                                       struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t at = 0;
    while (at < n && status == GDFO_STATUS_OK) {
        uint32_t c = 0;
        size_t len = gdfo_utf8_next(s->bytes + at, n - at, &c);
        len = len > 0 ? len : 1;
        status = gdfo_merge_add(m, (uint32_t)at, (uint32_t)len,
                                gdfo_vocab_find(s->t, s->bytes + at, len), err);
        at += len;
    }
    return status;
}

static enum gdfo_status emit(const struct spm_text *s, const struct gdfo_merge_symbol *symbol,
                             struct gdfo_ids *out, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (symbol->id >= 0) {
        return gdfo_ids_add(out, symbol->id, err);
    }
    for (uint32_t i = 0; i < symbol->n && status == GDFO_STATUS_OK; i++) {
        const unsigned char byte = (unsigned char)s->bytes[symbol->start + i];
        if (s->t->byte_ids[byte] < 0) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "the vocabulary has no token for the byte 0x%02x", byte);
        }
        status = gdfo_ids_add(out, s->t->byte_ids[byte], err);
    }
    return status;
}

enum gdfo_status gdfo_spm_encode(const struct gdfo_tokenizer *t, const struct gdfo_spm_text *text,
                                 struct gdfo_ids *out, struct gdfo_error *err)
{
    struct gdfo_merge m = {0};
    struct gdfo_buf normal;
    struct spm_text s = {.t = t};
    enum gdfo_status status;
    gdfo_buf_init(&normal, BLANK_BYTES * (text->n + 1));
    normalise(text, &normal);
    s.bytes = normal.data;
    status = gdfo_buf_ok(&normal) ? add_characters(&m, &s, normal.len, err)
                                  : gdfo_error_no_memory(err, "tokenising");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_merge_run(&m, find_joined, &s, err);
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i != GDFO_MERGE_END; i = m.symbols[i].next) {
        status = emit(&s, &m.symbols[i], out, err);
    }
    gdfo_merge_deinit(&m);
    gdfo_buf_deinit(&normal);
    return status;
}

void gdfo_spm_decode(const struct gdfo_tokenizer *t, int32_t id, struct gdfo_buf *out)
{
    size_t n = 0;
    const char *text = gdfo_text_list_at(&t->spec.tokens, (size_t)id, &n);
    if (t->spec.types && t->spec.types[id] == GDFO_TOKEN_BYTE) {
        gdfo_buf_addc(out, (char)byte_of_token(text, n));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (n - i >= BLANK_BYTES && memcmp(text + i, blank_text, BLANK_BYTES) == 0) {
            gdfo_buf_addc(out, ' ');
            i += BLANK_BYTES - 1;
        } else {
            gdfo_buf_addc(out, text[i]);
        }
    }
}
