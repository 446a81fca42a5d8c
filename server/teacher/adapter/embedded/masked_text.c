#include "server/teacher/adapter/embedded/masked_text.h"

#include <string.h>

#define PLACEHOLDER_FIRST 1000 /* method.md 1.1 */

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

enum gdfo_status gdfo_masked_encode(const struct gdfo_tokenizer *t, struct gdfo_text text,
                                    struct gdfo_ids *out, size_t *mask_at, struct gdfo_error *err)
{
    const char *mask = text.n > 0 ? memchr(text.s, GDFO_TEXT_MASK, text.n) : NULL;
    const size_t n_after = mask ? text.n - (size_t)(mask - text.s) - 1 : 0;
    size_t n_before = mask ? (size_t)(mask - text.s) : text.n;
    enum gdfo_status status;
    *mask_at = GDFO_MASKED_NONE;
    if (n_after > 0 && memchr(mask + 1, GDFO_TEXT_MASK, n_after)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "two masks in a text: want one");
    }
    while (mask && gdfo_tokenizer_mask_eats_blank(t) && n_before > 0 &&
           is_blank(text.s[n_before - 1])) {
        n_before--;
    }
    status = gdfo_tokenizer_encode_after(t, text.s, n_before, out, err);
    if (status == GDFO_STATUS_OK && mask) {
        *mask_at = out->n;
        status = gdfo_ids_add(out, gdfo_tokenizer_mask(t), err);
    }
    return status == GDFO_STATUS_OK && mask
               ? gdfo_tokenizer_encode_after(t, mask + 1, n_after, out, err)
               : status;
}

void gdfo_masked_cut(const struct gdfo_masked_body *body, size_t n_max, size_t *from, size_t *to)
{
    const size_t room = n_max > 1 ? n_max - 1 : 1;
    const size_t n = body->n > 1 ? body->n - 1 : 0;
    size_t n_tail;
    *from = 1;
    *to = n <= room ? body->n : 1 + room;
    if (n <= room || body->mask_at == GDFO_MASKED_NONE || body->mask_at < *to) {
        return;
    }
    n_tail = body->n - body->mask_at; /* the mask and what follows it */
    n_tail = n_tail > (room + 1) / 2 ? (room + 1) / 2 : n_tail;
    *to = body->mask_at + n_tail;
    *from = *to - room;
}

struct gdfo_run gdfo_masked_run(const struct gdfo_masked_cell *c, struct gdfo_piece *pieces)
{
    const size_t n_body = c->to - c->from;
    const int is_prefix = c->position == GDFO_POSITION_PREFIX;
    const struct gdfo_piece body = {.ids = c->body.ids + c->from, .n = n_body};
    const struct gdfo_piece rows = {.ids = c->placeholders, .rows = c->rows, .n = c->n_rows};
    struct gdfo_run run = {.pieces = pieces, .n_pieces = 4, .scored = GDFO_SCORED_AT};
    pieces[0] = (struct gdfo_piece){.ids = c->body.ids, .n = 1};
    pieces[1] = is_prefix ? rows : body;
    pieces[2] = is_prefix ? body : rows;
    pieces[3] = (struct gdfo_piece){.ids = c->cue, .n = c->n_cue};
    run.scored_at = c->body.mask_at != GDFO_MASKED_NONE
                        ? 1 + (is_prefix ? c->n_rows : 0) + (c->body.mask_at - c->from)
                        : 1 + c->n_rows + n_body + c->cue_mask_at;
    return run;
}

enum gdfo_status gdfo_masked_placeholder(size_t vocab, size_t n_rows, int32_t *first,
                                         struct gdfo_error *err)
{
    if (n_rows > vocab) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "%zu prompt rows to be added to as many tokens: the vocabulary has "
                              "%zu",
                              n_rows, vocab);
    }
    *first = vocab >= PLACEHOLDER_FIRST + n_rows ? PLACEHOLDER_FIRST : (int32_t)(vocab - n_rows);
    return GDFO_STATUS_OK;
}
