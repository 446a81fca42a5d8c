/* The data of a tensor: out of the JSON text, out of raw bytes. */
#include "common/json.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/http/oip_priv.h"

#include <math.h>
#include <string.h>

#define NUMBER_MAX_CHARS 63

/* ---- lifting --------------------------------------------------------------------------------- */

struct lift {
    char *text; /* rewritten behind the cursor alone */
    size_t n, at;
    struct gdfo_oip_span *spans;
    size_t n_spans;
};

static int peek(const struct lift *l)
{
    return l->at < l->n ? (unsigned char)l->text[l->at] : -1;
}

static int is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct lift *l)
{
    while (is_blank(peek(l))) {
        l->at++;
    }
}

static int take(struct lift *l, int c)
{
    int is_there;
    skip_blanks(l);
    is_there = peek(l) == c;
    l->at += (size_t)is_there;
    return is_there;
}

/* The cursor stands on the opening quote. */
static void skip_string(struct lift *l)
{
    for (l->at++; l->at < l->n && l->text[l->at] != '"'; l->at++) {
        l->at += l->text[l->at] == '\\';
    }
    l->at = l->at < l->n ? l->at + 1 : l->n;
}

static void skip_value(struct lift *l)
{
    size_t depth = 0;
    do {
        int c = peek(l);
        if (c == '"') {
            skip_string(l);
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}' || is_blank(c))) {
            return;
        }
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
        l->at++;
        if (depth == 0 && (c == ']' || c == '}')) {
            return;
        }
    } while (l->at < l->n);
    l->at = l->n;
}

static void lift_value(struct lift *l)
{
    const size_t start = l->at;
    skip_value(l);
    if (l->at == start || l->n_spans == GDFO_OIP_SPANS_MAX) {
        return;
    }
    l->spans[l->n_spans] = (struct gdfo_oip_span){start, l->at - start};
    memset(l->text + start, ' ', l->at - start);
    l->text[start] = (char)('0' + (int)l->n_spans++);
}

/* Members of an object, until something is not as it should be: on_value is called at the value of
 * `key`. */
static void walk_members(struct lift *l, const char *key, void (*on_value)(struct lift *l))
{
    if (!take(l, '{')) {
        skip_value(l);
        return;
    }
    do {
        size_t start;
        size_t n;
        skip_blanks(l);
        start = l->at + 1;
        if (peek(l) != '"') {
            break;
        }
        skip_string(l);
        n = l->at - start;
        if (!take(l, ':')) {
            return;
        }
        skip_blanks(l);
        if (n == strlen(key) + 1 && memcmp(l->text + start, key, n - 1) == 0) {
            on_value(l);
        } else {
            skip_value(l);
        }
    } while (take(l, ','));
    (void)take(l, '}');
}

static void walk_tensor(struct lift *l)
{
    walk_members(l, "data", lift_value);
}

static void walk_inputs(struct lift *l)
{
    if (!take(l, '[')) {
        skip_value(l);
        return;
    }
    do {
        skip_blanks(l);
        walk_tensor(l);
    } while (take(l, ','));
    (void)take(l, ']');
}

size_t gdfo_oip_lift(char *text, size_t n, struct gdfo_oip_span spans[GDFO_OIP_SPANS_MAX])
{
    struct lift l = {.text = text, .n = n, .spans = spans};
    skip_blanks(&l);
    walk_members(&l, "inputs", walk_inputs);
    return l.n_spans;
}

/* ---- pouring numbers --------------------------------------------------------------------------
 */

struct pour {
    struct gdfo_oip_tensor *t;
    const char *s; /* the whole body, for offsets */
    size_t at, end;
    size_t n; /* poured */
    struct gdfo_error *err;
};

static enum gdfo_status bad(struct pour *p, const char *want)
{
    return gdfo_error_set(p->err, GDFO_STATUS_INVALID, "data at byte %zu: %s", p->at, want);
}

static int next(struct pour *p)
{
    while (p->at < p->end && is_blank((unsigned char)p->s[p->at])) {
        p->at++;
    }
    return p->at < p->end ? (unsigned char)p->s[p->at] : -1;
}

static enum gdfo_status expect(struct pour *p, int c, const char *want)
{
    if (next(p) != c) {
        return bad(p, want);
    }
    p->at++;
    return GDFO_STATUS_OK;
}

static size_t digits(const char *s)
{
    size_t n = 0;
    while (s[n] >= '0' && s[n] <= '9') {
        n++;
    }
    return n;
}

/* 1 when s is a number of RFC 8259; *is_integer: without fraction and exponent. */
static int is_number(const char *s, int *is_integer)
{
    size_t n;
    s += *s == '-';
    n = digits(s);
    *is_integer = 1;
    if (n == 0 || (n > 1 && s[0] == '0')) {
        return 0;
    }
    s += n;
    if (*s == '.') {
        *is_integer = 0;
        n = digits(++s);
        if (n == 0) {
            return 0;
        }
        s += n;
    }
    if (*s == 'e' || *s == 'E') {
        *is_integer = 0;
        s++;
        s += *s == '+' || *s == '-';
        n = digits(s);
        if (n == 0) {
            return 0;
        }
        s += n;
    }
    return *s == '\0';
}

static enum gdfo_status pour_number(struct pour *p)
{
    char text[NUMBER_MAX_CHARS + 1];
    size_t n = 0;
    int is_integer = 0;
    double v = 0;
    int64_t i = 0;
    (void)next(p);
    while (p->at + n < p->end && n < NUMBER_MAX_CHARS && p->s[p->at + n] &&
           strchr("+-.0123456789eE", p->s[p->at + n])) {
        text[n] = p->s[p->at + n];
        n++;
    }
    text[n] = '\0';
    if (!is_number(text, &is_integer)) {
        return bad(p, "want a number of at most 63 characters");
    }
    if (p->t->ints) {
        if (!is_integer || !gdfo_parse_i64(text, INT32_MIN, INT32_MAX, &i)) {
            return bad(p, "want an integer of 32 bits");
        }
        p->t->ints[p->n++] = (int32_t)i;
    } else {
        float f = gdfo_parse_f64(text, &v) ? (float)v : INFINITY;
        if (!isfinite(f)) {
            return bad(p, "want a finite number of 32 bits");
        }
        p->t->floats[p->n++] = f;
    }
    p->at += n;
    return GDFO_STATUS_OK;
}

/* An array of n things: numbers at the last level, else arrays. */
static enum gdfo_status pour_array(struct pour *p, uint32_t level, size_t n)
{
    const uint32_t last = p->t->n_dims - 1;
    enum gdfo_status status = expect(p, '[', "want an array, flat or nested as the shape is");
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        if (i > 0) {
            status = expect(p, ',', "want ',': the shape has more elements");
        }
        if (status == GDFO_STATUS_OK) {
            status =
                level < last ? pour_array(p, level + 1, p->t->shape[level + 1]) : pour_number(p);
        }
    }
    return status == GDFO_STATUS_OK ? expect(p, ']', "want ']': the shape has no more elements")
                                    : status;
}

static enum gdfo_status pour_numbers(struct pour *p)
{
    const size_t start = p->at;
    int is_nested;
    enum gdfo_status status = expect(p, '[', "want an array");
    is_nested = status == GDFO_STATUS_OK && next(p) == '[';
    p->at = start;
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status =
        is_nested ? pour_array(p, 0, p->t->shape[0]) : pour_array(p, p->t->n_dims - 1, p->t->n);
    return status == GDFO_STATUS_OK && next(p) != -1 ? bad(p, "want nothing more") : status;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static enum gdfo_status reserve(struct gdfo_oip_tensor *t, enum gdfo_oip_type type,
                                size_t n_text_bytes, struct gdfo_error *err)
{
    int ok = 1;
    switch (type) { /* one more, so that an empty tensor is not NULL */
    case GDFO_OIP_FP32: ok = (t->floats = gdfo_mem_array(t->n + 1, sizeof(float))) != NULL; break;
    case GDFO_OIP_INT32: ok = (t->ints = gdfo_mem_array(t->n + 1, sizeof(int32_t))) != NULL; break;
    case GDFO_OIP_BYTES:
        t->texts = gdfo_mem_array(t->n + 1, sizeof *t->texts);
        t->bytes = gdfo_mem_array(n_text_bytes + 1, 1);
        ok = t->texts && t->bytes;
        break;
    }
    return ok ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "reading a tensor");
}

static enum gdfo_status copy_texts(struct gdfo_oip_tensor *t, const struct gdfo_json *list,
                                   struct gdfo_error *err)
{
    size_t i = 0;
    size_t at = 0;
    if (gdfo_json_type(list) != GDFO_JSON_ARRAY || gdfo_json_size(list) != t->n) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "data is no array of %zu texts, as the shape says", t->n);
    }
    for (const struct gdfo_json *v = gdfo_json_first(list); v; v = gdfo_json_next(v), i++) {
        const char *s = gdfo_json_string(v);
        if (!s) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "data[%zu] is %s; want a text", i,
                                  gdfo_json_type_name(gdfo_json_type(v)));
        }
        t->texts[i] = (struct gdfo_text){t->bytes + at, strlen(s)};
        memcpy(t->bytes + at, s, t->texts[i].n);
        at += t->texts[i].n;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status pour_texts(struct gdfo_oip_tensor *t, const char *json,
                                   struct gdfo_oip_span span, struct gdfo_error *err)
{
    const struct gdfo_json_limits limits = {.depth = 1, .string_bytes = GDFO_OIP_TEXT_MAX_BYTES};
    struct gdfo_json *list = NULL;
    enum gdfo_status status = gdfo_json_parse(&list, json + span.at, span.n, &limits, err);
    if (status != GDFO_STATUS_OK) {
        return gdfo_error_prefix(err, "data from byte %zu", span.at);
    }
    status = reserve(t, GDFO_OIP_BYTES, span.n, err); /* a text is never longer than its JSON */
    if (status == GDFO_STATUS_OK) {
        status = copy_texts(t, list, err);
    }
    gdfo_json_destroy(list);
    return status;
}

enum gdfo_status gdfo_oip_pour(struct gdfo_oip_tensor *t, enum gdfo_oip_type type, const char *json,
                               struct gdfo_oip_span span, struct gdfo_error *err)
{
    struct pour p = {.t = t, .s = json, .at = span.at, .end = span.at + span.n, .err = err};
    enum gdfo_status status;
    if (type == GDFO_OIP_BYTES) {
        return pour_texts(t, json, span, err);
    }
    status = reserve(t, type, 0, err);
    return status == GDFO_STATUS_OK ? pour_numbers(&p) : status;
}

/* ---- raw bytes ------------------------------------------------------------------------------- */

static uint32_t get_u32(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static enum gdfo_status unpack_numbers(struct gdfo_oip_tensor *t, const char *bytes,
                                       struct gdfo_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        uint32_t u = get_u32(bytes + 4 * i);
        if (t->ints) {
            memcpy(&t->ints[i], &u, sizeof u);
            continue;
        }
        memcpy(&t->floats[i], &u, sizeof u);
        if (!isfinite(t->floats[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "element %zu is not finite; want finite numbers", i);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status unpack_texts(struct gdfo_oip_tensor *t, const char *bytes, size_t n,
                                     struct gdfo_error *err)
{
    size_t at = 0;
    size_t i = 0;
    if (n > 0) {
        memcpy(t->bytes, bytes, n);
    }
    while (i < t->n && n - at >= 4) {
        struct gdfo_text text = {t->bytes + at + 4, get_u32(t->bytes + at)};
        if (text.n > n - at - 4) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "element %zu is cut: its length says %zu bytes, %zu are left", i,
                                  text.n, n - at - 4);
        }
        if (text.n > GDFO_OIP_TEXT_MAX_BYTES) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "element %zu has %zu bytes; a text has at most %zu", i, text.n,
                                  GDFO_OIP_TEXT_MAX_BYTES);
        }
        if (gdfo_utf8_valid(text.s, text.n) != text.n || memchr(text.s, '\0', text.n)) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "element %zu is not UTF-8, or has a NUL; want text", i);
        }
        t->texts[i++] = text;
        at += 4 + text.n;
    }
    return i == t->n && at == n
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "binary_data_size %zu does not hold %zu texts, each a length of 4 "
                                "bytes and its bytes",
                                n, t->n);
}

enum gdfo_status gdfo_oip_unpack(struct gdfo_oip_tensor *t, enum gdfo_oip_type type,
                                 const char *bytes, size_t n, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (type != GDFO_OIP_BYTES && n != 4 * t->n) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "binary_data_size is %zu; the shape wants %zu bytes", n, 4 * t->n);
    }
    status = reserve(t, type, n, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    return type == GDFO_OIP_BYTES ? unpack_texts(t, bytes, n, err) : unpack_numbers(t, bytes, err);
}
