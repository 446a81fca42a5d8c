#include "common/json_write.h"

#include "common/parse.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void put_quoted(struct gdfo_buf *b, const char *s, size_t n)
{
    size_t k;
    gdfo_buf_addn(b, "\"", 1);
    for (size_t i = 0; i < n; i += k) {
        uint32_t c = 0;
        k = gdfo_utf8_next(s + i, n - i, &c);
        if (k == 0) { /* an answer is always valid UTF-8 */
            gdfo_buf_add(b, "\xEF\xBF\xBD");
            k = 1;
        } else if (c == '"' || c == '\\') {
            gdfo_buf_addf(b, "\\%c", (char)c);
        } else if (c == '\n') {
            gdfo_buf_add(b, "\\n");
        } else if (c < 0x20) {
            gdfo_buf_addf(b, "\\u%04x", (unsigned)c);
        } else {
            gdfo_buf_addn(b, s + i, k);
        }
    }
    gdfo_buf_addn(b, "\"", 1);
}

/* The comma and the key in front of every value. */
static struct gdfo_buf *begin(struct gdfo_json_writer *w, const char *key)
{
    if (w->needs_comma) {
        gdfo_buf_addn(w->buf, ",", 1);
    }
    if (key) {
        put_quoted(w->buf, key, strlen(key));
        gdfo_buf_addn(w->buf, ":", 1);
    }
    w->needs_comma = 1;
    return w->buf;
}

struct gdfo_json_writer gdfo_json_writer(struct gdfo_buf *buf)
{
    return (struct gdfo_json_writer){.buf = buf};
}

void gdfo_json_open(struct gdfo_json_writer *w, const char *key, char bracket)
{
    gdfo_buf_addn(begin(w, key), &bracket, 1);
    w->needs_comma = 0;
}

void gdfo_json_close(struct gdfo_json_writer *w, char bracket)
{
    gdfo_buf_addn(w->buf, &bracket, 1);
    w->needs_comma = 1;
}

void gdfo_json_put_str(struct gdfo_json_writer *w, const char *key, const char *s)
{
    if (s) {
        put_quoted(begin(w, key), s, strlen(s));
    } else {
        gdfo_json_put_null(w, key);
    }
}

void gdfo_json_put_strn(struct gdfo_json_writer *w, const char *key, const char *s, size_t n)
{
    put_quoted(begin(w, key), s, n);
}

void gdfo_json_put_int(struct gdfo_json_writer *w, const char *key, int64_t v)
{
    gdfo_buf_addf(begin(w, key), "%" PRId64, v);
}

void gdfo_json_put_num(struct gdfo_json_writer *w, const char *key, double v)
{
    if (v == 0.0 && signbit(v)) {
        gdfo_buf_add(begin(w, key), "-0.0"); /* "-0" would be read as the integer 0 */
    } else if (isfinite(v)) {
        gdfo_buf_addf(begin(w, key), "%.17g", v);
    } else {
        gdfo_json_put_null(w, key);
    }
}

void gdfo_json_put_bool(struct gdfo_json_writer *w, const char *key, int v)
{
    gdfo_buf_add(begin(w, key), v ? "true" : "false");
}

void gdfo_json_put_null(struct gdfo_json_writer *w, const char *key)
{
    gdfo_buf_add(begin(w, key), "null");
}

void gdfo_json_put_raw(struct gdfo_json_writer *w, const char *key, const char *json)
{
    gdfo_buf_add(begin(w, key), json);
}

static void put_container(struct gdfo_json_writer *w, const char *key, const struct gdfo_json *v,
                          const char *brackets)
{
    gdfo_json_open(w, key, brackets[0]);
    for (const struct gdfo_json *c = gdfo_json_first(v); c; c = gdfo_json_next(c)) {
        gdfo_json_put_node(w, gdfo_json_key(c), c);
    }
    gdfo_json_close(w, brackets[1]);
}

void gdfo_json_put_node(struct gdfo_json_writer *w, const char *key, const struct gdfo_json *v)
{
    double num = 0;
    int64_t whole = 0;
    int is_true = 0;
    switch (gdfo_json_type(v)) {
    case GDFO_JSON_NULL: gdfo_json_put_null(w, key); break;
    case GDFO_JSON_BOOL:
        (void)gdfo_json_bool(v, &is_true);
        gdfo_json_put_bool(w, key, is_true);
        break;
    case GDFO_JSON_NUMBER:
        if (gdfo_json_int(v, &whole)) {
            gdfo_json_put_int(w, key, whole);
        } else {
            (void)gdfo_json_number(v, &num);
            gdfo_json_put_num(w, key, num);
        }
        break;
    case GDFO_JSON_STRING: gdfo_json_put_str(w, key, gdfo_json_string(v)); break;
    case GDFO_JSON_ARRAY: put_container(w, key, v, "[]"); break;
    case GDFO_JSON_OBJECT: put_container(w, key, v, "{}"); break;
    }
}
