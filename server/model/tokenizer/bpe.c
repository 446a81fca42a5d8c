/*
 * DESIGN: byte-level BPE over ids, not strings. Every byte is one token; a merge rule is a pair of
 * ids that becomes a third. So a vocabulary whose merges name or make something that is no token
 * is refused when it is built, and encoding cannot meet a text without an id.
 */
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/tokenizer/merge_priv.h"
#include "server/model/tokenizer/pre_priv.h"
#include "server/model/tokenizer/tokenizer_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ALPHABET_SHIFTED                                                                           \
    0x100u /* the bytes that are no printable Latin-1, in order, from here on */
#define N_SHIFTED 68u

static int stays(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
           (byte >= 0xAE && byte <= 0xFF);
}

/* The character that stands for a byte in the vocabulary. */
static uint32_t char_of_byte(uint32_t byte)
{
    uint32_t shifted = ALPHABET_SHIFTED;
    if (stays(byte)) {
        return byte;
    }
    for (uint32_t b = 0; b < byte; b++) {
        shifted += stays(b) ? 0 : 1;
    }
    return shifted;
}

/* The byte of a character of the alphabet, -1 for others. */
static int byte_of_char(uint32_t c)
{
    if (c < ALPHABET_SHIFTED) {
        return stays(c) ? (int)c : -1;
    }
    if (c < 0x121) { /* bytes 0x00..0x20 */
        return (int)(c - ALPHABET_SHIFTED);
    }
    if (c < ALPHABET_SHIFTED + N_SHIFTED - 1) { /* 0x7F..0xA0 */
        return (int)(c - 0x121 + 0x7F);
    }
    return c == ALPHABET_SHIFTED + N_SHIFTED - 1 ? 0xAD : -1;
}

void gdfo_bpe_decode(const char *token, size_t n, struct gdfo_buf *out)
{
    size_t at = 0;
    while (at < n) {
        uint32_t c = 0;
        const size_t len = gdfo_utf8_next(token + at, n - at, &c);
        const int byte = len > 0 ? byte_of_char(c) : -1;
        if (byte >= 0) {
            gdfo_buf_addc(out, (char)byte);
        } else { /* no character of the alphabet: stands for itself (names of added tokens) */
            gdfo_buf_addn(out, token + at, len > 0 ? len : 1);
        }
        at += len > 0 ? len : 1;
    }
}

static int by_pair(const void *a, const void *b)
{
    const struct gdfo_bpe_rule *x = a;
    const struct gdfo_bpe_rule *y = b;
    if (x->pair != y->pair) {
        return x->pair < y->pair ? -1 : 1;
    }
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* "left right": two non-empty parts, both tokens, and a token when joined. */
static enum gdfo_status read_rule(const struct gdfo_tokenizer *t, size_t rank,
                                  struct gdfo_buf *join, struct gdfo_bpe_rule *rule,
                                  struct gdfo_error *err)
{
    size_t n = 0;
    const char *text = gdfo_text_list_at(&t->spec.merges, rank, &n);
    const char *blank = n > 0 ? memchr(text, ' ', n) : NULL;
    const size_t n_left = blank ? (size_t)(blank - text) : 0;
    const size_t n_right = blank ? n - n_left - 1 : 0;
    int32_t left;
    int32_t right;
    if (n_left < 1 || n_right < 1 || memchr(blank + 1, ' ', n_right)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "merge %zu is not two parts with one blank between", rank);
    }
    left = gdfo_vocab_find(t, text, n_left);
    right = gdfo_vocab_find(t, blank + 1, n_right);
    gdfo_buf_reset(join);
    gdfo_buf_addn(join, text, n_left);
    gdfo_buf_addn(join, blank + 1, n_right);
    if (!gdfo_buf_ok(join)) {
        return gdfo_error_no_memory(err, "building a tokenizer");
    }
    rule->id = gdfo_vocab_find(t, join->data, join->len);
    if (left < 0 || right < 0 || rule->id < 0) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "merge %zu: its %s is no token", rank,
                              left < 0    ? "left part"
                              : right < 0 ? "right part"
                                          : "result");
    }
    rule->pair = pair_of(left, right);
    rule->rank = (uint32_t)rank;
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_rules(struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    struct gdfo_buf join;
    enum gdfo_status status = GDFO_STATUS_OK;
    t->n_rules = t->spec.merges.n;
    t->rules = gdfo_mem_array(t->n_rules, sizeof *t->rules);
    if (!t->rules) {
        return gdfo_error_no_memory(err, "building a tokenizer");
    }
    gdfo_buf_init(&join, GDFO_TEXT_LIST_MAX_BYTES);
    for (size_t i = 0; i < t->n_rules && status == GDFO_STATUS_OK; i++) {
        status = read_rule(t, i, &join, &t->rules[i], err);
    }
    gdfo_buf_deinit(&join);
    if (status == GDFO_STATUS_OK) {
        qsort(t->rules, t->n_rules, sizeof *t->rules, by_pair);
    }
    return status;
}

enum gdfo_status gdfo_bpe_prepare(struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    enum gdfo_status status;
    for (uint32_t b = 0; b < 256; b++) {
        char text[4];
        const size_t n = gdfo_utf8_put(text, char_of_byte(b));
        t->byte_ids[b] = gdfo_vocab_find(t, text, n);
    }
    status = read_rules(t, err);
    gdfo_text_list_deinit(&t->spec.merges);
    return status;
}

/* The rule of a pair: of several the first merge. */
static int find_rule(const void *ctx, const struct gdfo_merge_symbol *left,
                     const struct gdfo_merge_symbol *right, struct gdfo_merge_found *out)
{
    const struct gdfo_tokenizer *t = ctx;
    const uint64_t pair = pair_of(left->id, right->id);
    size_t low = 0;
    size_t high = t->n_rules;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (t->rules[mid].pair < pair) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low >= t->n_rules || t->rules[low].pair != pair) {
        return 0;
    }
    out->key = t->rules[low].rank;
    out->id = t->rules[low].id;
    return 1;
}

static enum gdfo_status encode_piece(const struct gdfo_tokenizer *t, struct gdfo_merge *m,
                                     const char *piece, size_t n, struct gdfo_ids *out,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (n > GDFO_TOKENIZER_PIECE_MAX_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%zu bytes without a place to cut them, at most %u", n,
                              GDFO_TOKENIZER_PIECE_MAX_BYTES);
    }
    m->n_symbols = 0;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        const unsigned char byte = (unsigned char)piece[i];
        if (t->byte_ids[byte] < 0) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "the vocabulary has no token for the byte 0x%02x", byte);
        }
        status = gdfo_merge_add(m, (uint32_t)i, 1, t->byte_ids[byte], err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_merge_run(m, find_rule, t, err);
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i != GDFO_MERGE_END; i = m->symbols[i].next) {
        status = gdfo_ids_add(out, m->symbols[i].id, err);
    }
    return status;
}

enum gdfo_status gdfo_bpe_encode(const struct gdfo_tokenizer *t, const char *text, size_t n,
                                 struct gdfo_ids *out, struct gdfo_error *err)
{
    struct gdfo_pre pre = {
        .text = text, .n = n, .cut_numbers = t->spec.kind == GDFO_TOKENIZER_SMOLLM};
    struct gdfo_merge m = {0};
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t start = 0;
    size_t n_piece = 0;
    while (status == GDFO_STATUS_OK && gdfo_pre_next(&pre, &start, &n_piece)) {
        status = encode_piece(t, &m, text + start, n_piece, out, err);
    }
    gdfo_merge_deinit(&m);
    return status;
}
