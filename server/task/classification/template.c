#include "server/task/classification/parts_priv.h"
#include "server/task/quote.h"

#include <string.h>

/*
 * A template is text with slots in braces; doubled braces stand for themselves. One scanner serves
 * the check and the rendering, so what was checked is what is rendered.
 */
enum piece {
    PIECE_END,
    PIECE_CHARS,
    PIECE_TEXT,
    PIECE_TEXT_A,
    PIECE_TEXT_B,
    PIECE_MASK,
    PIECE_BAD
};

static const struct {
    const char *spelling;
    enum piece piece;
} slots[] = {{"{text}", PIECE_TEXT},
             {"{text_a}", PIECE_TEXT_A},
             {"{text_b}", PIECE_TEXT_B},
             {"{mask}", PIECE_MASK}};

/* The piece at s: *n is the number of literal bytes, *step how far to move on. */
static enum piece next_piece(const char *s, size_t *n, size_t *step)
{
    *n = strcspn(s, "{}");
    *step = *n;
    if (*n > 0) {
        return PIECE_CHARS;
    }
    if (s[0] == '\0') {
        return PIECE_END;
    }
    if (s[1] == s[0]) {
        *n = 1;
        *step = 2;
        return PIECE_CHARS;
    }
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        size_t len = strlen(slots[i].spelling);
        if (strncmp(s, slots[i].spelling, len) == 0) {
            *step = len;
            return slots[i].piece;
        }
    }
    return PIECE_BAD;
}

static enum gdfo_status bad_brace(const char *template, const char *at, struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_INVALID,
                          "byte %zu of the template: %s; want {text}, or {text_a} and {text_b}, "
                          "{mask}, and {{ or }} for a brace",
                          (size_t)(at - template) + 1, gdfo_task_quote(at).s);
}

enum gdfo_status gdfo_classification_check_template(const char *template, int is_pair,
                                                    struct gdfo_error *err)
{
    int n_of[PIECE_BAD + 1] = {0};
    enum piece piece = PIECE_CHARS;
    const char *s = template;
    while (piece != PIECE_END) {
        size_t n = 0;
        size_t step = 0;
        piece = next_piece(s, &n, &step);
        if (piece == PIECE_BAD) {
            return bad_brace(template, s, err);
        }
        n_of[piece]++;
        s += step;
    }
    if (n_of[PIECE_MASK] > 1) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%d times {mask}; want at most one",
                              n_of[PIECE_MASK]);
    }
    if (is_pair && (n_of[PIECE_TEXT] > 0 || !n_of[PIECE_TEXT_A] || !n_of[PIECE_TEXT_B])) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the data has text_a and text_b; want both slots in the template");
    }
    if (!is_pair && (!n_of[PIECE_TEXT] || n_of[PIECE_TEXT_A] > 0 || n_of[PIECE_TEXT_B] > 0)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the data has one text; want the slot {text} in the template");
    }
    return GDFO_STATUS_OK;
}

const char *gdfo_classification_default_template(int is_pair)
{
    return is_pair ? "{text_a}\n{text_b}" : "{text}";
}

void gdfo_classification_render(const char *template, const struct gdfo_row *row,
                                struct gdfo_buf *out)
{
    enum piece piece = PIECE_CHARS;
    const char *s = template;
    while (piece != PIECE_END && piece != PIECE_BAD) {
        size_t n = 0;
        size_t step = 0;
        piece = next_piece(s, &n, &step);
        if (piece == PIECE_CHARS) {
            gdfo_buf_addn(out, s, n);
        } else if (piece == PIECE_TEXT || piece == PIECE_TEXT_A) {
            gdfo_buf_add(out, row->text);
        } else if (piece == PIECE_TEXT_B) {
            gdfo_buf_add(out, row->text_b);
        } else if (piece == PIECE_MASK) {
            gdfo_buf_addc(out, GDFO_TASK_MASK);
        }
        s += step;
    }
}
