#include "common/json_scan.h"

#include "common/mem.h"
#include "common/parse.h"

#include <string.h>

#define NUMBER_MAX_CHARS 63 /* cJSON copies a number into 64 bytes and would split a longer one */
#define INTEGER_MAX      (INT64_C(1) << 53)

struct scan {
    const char *text;
    size_t n, at;
    size_t depth;
    const struct gdfo_json_limits *limits;
    struct gdfo_json_marks *marks;
    struct gdfo_error *err;
};

static enum gdfo_status scan_value(struct scan *s, size_t key_offset);

static enum gdfo_status fault(struct scan *s, size_t at, const char *what)
{
    enum gdfo_status status =
        gdfo_error_set(s->err, GDFO_STATUS_FORMAT, "invalid JSON at byte %zu: %s", at, what);
    gdfo_error_at(s->err, "", "invalid_json");
    return status;
}

static enum gdfo_status fault_limit(struct scan *s, size_t at, const char *what, size_t max)
{
    enum gdfo_status status = gdfo_error_set(
        s->err, GDFO_STATUS_FORMAT, "invalid JSON at byte %zu: more than %zu %s", at, max, what);
    gdfo_error_at(s->err, "", "invalid_json");
    return status;
}

/* The byte at the cursor, or -1 at the end. */
static int peek(const struct scan *s)
{
    return s->at < s->n ? (unsigned char)s->text[s->at] : -1;
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->n && s->text[s->at] != '\0' && strchr(" \t\r\n", s->text[s->at])) {
        s->at++;
    }
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at the cursor; -1 when there are not four. */
static long hex4(struct scan *s)
{
    long v = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        int d = hex_digit(peek(s));
        if (d < 0) {
            return -1;
        }
        v = v * 16 + d;
    }
    return v;
}

/* The cursor stands after "\u". Adds the length of the code point in UTF-8 to *len. */
static enum gdfo_status scan_unicode(struct scan *s, size_t *len)
{
    size_t start = s->at - 2;
    long c = hex4(s);
    if (c < 0) {
        return fault(s, s->at, "\\u wants four hex digits");
    }
    if (c == 0) {
        return fault(s, start, "\\u0000 is not allowed");
    }
    if (c >= 0xDC00 && c <= 0xDFFF) {
        return fault(s, start, "a low surrogate without its high one");
    }
    if (c >= 0xD800 && c <= 0xDBFF) {
        long low = -1;
        if (s->n - s->at >= 6 && memcmp(s->text + s->at, "\\u", 2) == 0) {
            s->at += 2;
            low = hex4(s);
        }
        if (low < 0xDC00 || low > 0xDFFF) {
            return fault(s, start, "a high surrogate without its low one");
        }
        *len += 4;
        return GDFO_STATUS_OK;
    }
    *len += c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
    return GDFO_STATUS_OK;
}

/* The cursor stands on a backslash. */
static enum gdfo_status scan_escape(struct scan *s, size_t *len)
{
    int c;
    s->at++;
    c = peek(s);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c)) {
        return fault(s, s->at - 1, "unknown escape in a string");
    }
    s->at++;
    if (c == 'u') {
        return scan_unicode(s, len);
    }
    (*len)++;
    return GDFO_STATUS_OK;
}

/* One unescaped character: valid UTF-8, no control character. */
static enum gdfo_status scan_plain(struct scan *s, size_t *len)
{
    uint32_t c;
    size_t k = gdfo_utf8_next(s->text + s->at, s->n - s->at, &c);
    if (k == 0) {
        return fault(s, s->at, "not UTF-8");
    }
    if (c < 0x20) {
        return fault(s, s->at, "a control character inside a string must be escaped");
    }
    s->at += k;
    *len += k;
    return GDFO_STATUS_OK;
}

/* The cursor stands on the opening quote. */
static enum gdfo_status scan_string(struct scan *s)
{
    size_t start = s->at++;
    size_t len = 0;
    for (;;) {
        int c = peek(s);
        enum gdfo_status status;
        if (c < 0) {
            return fault(s, start, "a string without its closing quote");
        }
        if (c == '"') {
            s->at++;
            return GDFO_STATUS_OK;
        }
        status = c == '\\' ? scan_escape(s, &len) : scan_plain(s, &len);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        if (len > s->limits->string_bytes) {
            return fault_limit(s, start, "bytes in a string", s->limits->string_bytes);
        }
    }
}

static size_t skip_digits(struct scan *s)
{
    size_t start = s->at;
    while (peek(s) >= '0' && peek(s) <= '9') {
        s->at++;
    }
    return s->at - start;
}

/* 1 when the digits text[0..n) make an integer up to 2^53. */
static int fits_integer(const char *digits, size_t n)
{
    int64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v = v * 10 + (digits[i] - '0');
        if (v > INTEGER_MAX) {
            return 0;
        }
    }
    return 1;
}

static enum gdfo_status scan_number(struct scan *s, struct gdfo_json_mark *mark)
{
    size_t start = s->at;
    size_t first, n_digits;
    s->at += peek(s) == '-';
    first = s->at;
    n_digits = skip_digits(s);
    if (n_digits == 0 || (n_digits > 1 && s->text[first] == '0')) {
        return fault(s, start,
                     n_digits == 0 ? "a number wants a digit here"
                                   : "a number with a leading zero");
    }
    mark->is_integer = fits_integer(s->text + first, n_digits);
    if (peek(s) == '.') {
        s->at++;
        mark->is_integer = 0;
        if (skip_digits(s) == 0) {
            return fault(s, start, "a number wants a digit after its point");
        }
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        mark->is_integer = 0;
        s->at += peek(s) == '+' || peek(s) == '-';
        if (skip_digits(s) == 0) {
            return fault(s, start, "a number wants a digit in its exponent");
        }
    }
    if (s->at - start > NUMBER_MAX_CHARS) {
        return fault_limit(s, start, "characters in a number", NUMBER_MAX_CHARS);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status scan_word(struct scan *s, const char *word)
{
    size_t k = strlen(word);
    if (s->n - s->at < k || memcmp(s->text + s->at, word, k) != 0) {
        return fault(s, s->at, "want a value");
    }
    s->at += k;
    return GDFO_STATUS_OK;
}

static enum gdfo_status enter(struct scan *s)
{
    if (s->depth >= s->limits->depth) {
        return fault_limit(s, s->at, "levels of nesting", s->limits->depth);
    }
    s->depth++;
    s->at++;
    skip_blanks(s);
    return GDFO_STATUS_OK;
}

/* After an element: the closing bracket or a comma. *done says which. */
static enum gdfo_status next_or_end(struct scan *s, char closing, int *done)
{
    skip_blanks(s);
    *done = peek(s) == closing;
    if (!*done && peek(s) != ',') {
        return fault(s, s->at, closing == ']' ? "want ',' or ']'" : "want ',' or '}'");
    }
    s->at++;
    skip_blanks(s);
    return GDFO_STATUS_OK;
}

static enum gdfo_status scan_array(struct scan *s)
{
    int done = 0;
    enum gdfo_status status = enter(s);
    if (status == GDFO_STATUS_OK && peek(s) == ']') {
        s->at++;
        done = 1;
    }
    while (status == GDFO_STATUS_OK && !done) {
        status = scan_value(s, 0);
        if (status == GDFO_STATUS_OK) {
            status = next_or_end(s, ']', &done);
        }
    }
    s->depth -= status == GDFO_STATUS_OK;
    return status;
}

static enum gdfo_status scan_member(struct scan *s)
{
    size_t key_offset = s->at;
    enum gdfo_status status;
    if (peek(s) != '"') {
        return fault(s, s->at, "want a member name in double quotes");
    }
    status = scan_string(s);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    skip_blanks(s);
    if (peek(s) != ':') {
        return fault(s, s->at, "want ':' after a member name");
    }
    s->at++;
    skip_blanks(s);
    return scan_value(s, key_offset);
}

static enum gdfo_status scan_object(struct scan *s)
{
    size_t start = s->at;
    size_t n_members = 0;
    int done = 0;
    enum gdfo_status status = enter(s);
    if (status == GDFO_STATUS_OK && peek(s) == '}') {
        s->at++;
        done = 1;
    }
    while (status == GDFO_STATUS_OK && !done) {
        if (++n_members > s->limits->members) {
            return fault_limit(s, start, "members in an object", s->limits->members);
        }
        status = scan_member(s);
        if (status == GDFO_STATUS_OK) {
            status = next_or_end(s, '}', &done);
        }
    }
    s->depth -= status == GDFO_STATUS_OK;
    return status;
}

/* The next mark, with the value's place filled in; NULL when out of memory. */
static struct gdfo_json_mark *new_mark(struct scan *s, size_t key_offset)
{
    struct gdfo_json_marks *m = s->marks;
    void *items = m->items;
    struct gdfo_json_mark *mark;
    if (m->n == m->cap) {
        if (!gdfo_mem_grow(&items, &m->cap, m->n + 1, sizeof *m->items)) {
            return NULL;
        }
        m->items = items;
    }
    mark = &m->items[m->n++];
    mark->offset = s->at;
    mark->key_offset = key_offset;
    return mark;
}

static enum gdfo_status scan_value(struct scan *s, size_t key_offset)
{
    struct gdfo_json_mark *mark;
    if (s->marks->n >= s->limits->values) {
        return fault_limit(s, s->at, "values", s->limits->values);
    }
    mark = new_mark(s, key_offset);
    if (!mark) {
        return gdfo_error_no_memory(s->err, "reading JSON");
    }
    switch (peek(s)) {
    case '{': return scan_object(s);
    case '[': return scan_array(s);
    case '"': return scan_string(s);
    case 't': return scan_word(s, "true");
    case 'f': return scan_word(s, "false");
    case 'n': return scan_word(s, "null");
    default: break;
    }
    if (peek(s) == '-' || (peek(s) >= '0' && peek(s) <= '9')) {
        return scan_number(s, mark);
    }
    return fault(s, s->at, s->at < s->n ? "want a value" : "the text ends before its value");
}

enum gdfo_status gdfo_json_scan(const char *text, size_t n, const struct gdfo_json_limits *limits,
                                struct gdfo_json_marks *marks, struct gdfo_error *err)
{
    struct scan s = {.text = text, .n = n, .limits = limits, .marks = marks, .err = err};
    enum gdfo_status status;
    skip_blanks(&s);
    status = scan_value(&s, 0);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    skip_blanks(&s);
    return s.at == n ? GDFO_STATUS_OK : fault(&s, s.at, "more bytes after the value");
}
