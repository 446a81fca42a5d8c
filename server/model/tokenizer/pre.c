#include "common/parse.h"
#include "server/model/tokenizer/pre_priv.h"
#include "server/model/tokenizer/unicode_priv.h"

#include <string.h>

/* Class and length of the character at byte at (the text is valid UTF-8). */
static enum gdfo_unicode_class class_at(const struct gdfo_pre *p, size_t at, size_t *n)
{
    uint32_t c = 0;
    *n = gdfo_utf8_next(p->text + at, p->n - at, &c);
    if (*n == 0) { /* not valid after all: never stand still */
        *n = 1;
    }
    return gdfo_unicode_classify(c);
}

/* End of the run of characters of a class from at on, inside the rest. */
static size_t run_end(const struct gdfo_pre *p, size_t at, enum gdfo_unicode_class class)
{
    size_t n = 0;
    while (at < p->rest_end && class_at(p, at, &n) == class) {
        at += n;
    }
    return at;
}

/* Length of 's 't 're 've 'm 'll 'd at the apostrophe at byte at, else 0. */
static size_t contraction(const struct gdfo_pre *p, size_t at)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t n = strlen(endings[i]);
        if (n <= p->rest_end - at && memcmp(p->text + at, endings[i], n) == 0) {
            return n;
        }
    }
    return 0;
}

/* A white-space run leaves its last character to what follows it inside the same rest. */
static size_t space_end(const struct gdfo_pre *p, size_t at)
{
    size_t last = at;
    size_t end = at;
    size_t n = 0;
    while (end < p->rest_end && class_at(p, end, &n) == GDFO_UNICODE_SPACE) {
        last = end;
        end += n;
    }
    return end < p->rest_end && last > at ? last : end;
}

static size_t piece_end(const struct gdfo_pre *p)
{
    size_t n = 0;
    size_t at = p->at;
    enum gdfo_unicode_class class = class_at(p, at, &n);
    const size_t ending = p->text[at] == '\'' ? contraction(p, at) : 0;
    if (ending > 0) {
        return at + ending;
    }
    if (p->text[at] == ' ' && at + 1 < p->rest_end) {
        size_t ignored = 0;
        const enum gdfo_unicode_class next = class_at(p, at + 1, &ignored);
        if (next != GDFO_UNICODE_SPACE) {
            return run_end(p, at + 1, next);
        }
    }
    return class == GDFO_UNICODE_SPACE ? space_end(p, at) : run_end(p, at, class);
}

/* The rest ends at the next number character, or at the end of the text. */
static void find_rest(struct gdfo_pre *p)
{
    size_t n = 0;
    p->rest_end = p->n;
    if (p->cut_numbers) {
        size_t at = p->at;
        while (at < p->n && class_at(p, at, &n) != GDFO_UNICODE_NUMBER) {
            at += n;
        }
        p->rest_end = at;
    }
}

int gdfo_pre_next(struct gdfo_pre *p, size_t *start, size_t *n)
{
    if (p->at >= p->n) {
        return 0;
    }
    if (p->at >= p->rest_end) {
        find_rest(p);
    }
    *start = p->at;
    if (p->at == p->rest_end) { /* an empty rest: a number character */
        (void)class_at(p, p->at, n);
    } else {
        *n = piece_end(p) - p->at;
    }
    p->at += *n;
    return 1;
}
