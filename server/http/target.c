#include "server/http/target.h"

#include "common/parse.h"

#include <string.h>

static enum gdfo_status bad(struct gdfo_error *err, const char *code, const char *what)
{
    enum gdfo_status status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s", what);
    gdfo_error_at(err, "", code);
    return status;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/*
 * Decodes in[0..n) into out, which has room for n + 1 bytes, and ends it with a NUL. plus: '+' is a
 * blank. Returns the number of bytes, or -1 for a broken escape, a control character, a byte that
 * stands for itself though it may not, or text that is not UTF-8.
 */
static ptrdiff_t decode(const char *in, size_t n, int plus, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)in[i];
        if (c <= 0x20 || c >= 0x7F) {
            return -1;
        }
        if (c == '%') {
            int high = n - i > 2 ? hex(in[i + 1]) : -1;
            int low = high >= 0 ? hex(in[i + 2]) : -1;
            if (low < 0) {
                return -1;
            }
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7F) {
            return -1;
        }
        out[k++] = (char)c;
    }
    out[k] = '\0';
    return gdfo_utf8_valid(out, k) == k ? (ptrdiff_t)k : -1;
}

/* One decoded segment of a path: not empty, no dots alone, no slash of either kind. */
static int is_plain_segment(const char *s)
{
    return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strpbrk(s, "/\\");
}

static enum gdfo_status parse_path(struct gdfo_target *t, const char *raw, size_t n, char **out,
                                   struct gdfo_error *err)
{
    size_t at = 1;
    if (n == 0 || raw[0] != '/') {
        return bad(err, "bad_framing", "want a path that begins with '/'");
    }
    while (at < n || (at == n && n > 1)) {
        const char *slash = memchr(raw + at, '/', n - at);
        size_t len = slash ? (size_t)(slash - raw) - at : n - at;
        ptrdiff_t k = decode(raw + at, len, 0, *out);
        if (k < 0 || !is_plain_segment(*out)) {
            return bad(err, "bad_framing",
                       "a path segment is empty, '.', '..' or has characters it may not have");
        }
        if (t->n_segments == GDFO_TARGET_SEGMENTS_MAX) {
            return bad(err, "bad_framing", "a path with more segments than any route has");
        }
        t->segments[t->n_segments++] = *out;
        *out += k + 1;
        at += len + 1;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status parse_param(struct gdfo_target *t, const char *raw, size_t n, char **out,
                                    struct gdfo_error *err)
{
    const char *eq = memchr(raw, '=', n);
    size_t n_name = eq ? (size_t)(eq - raw) : n;
    size_t n_value = eq ? n - n_name - 1 : 0;
    struct gdfo_param *p = &t->params[t->n_params];
    ptrdiff_t k = decode(raw, n_name, 1, *out);
    if (k < 0) {
        return bad(err, "invalid_value", "a query parameter's name is not encoded as it must be");
    }
    p->name = *out;
    *out += k + 1;
    k = decode(eq ? eq + 1 : raw, n_value, 1, *out);
    if (k < 0) {
        return bad(err, "invalid_value", "a query parameter's value is not encoded as it must be");
    }
    p->value = *out;
    *out += k + 1;
    if (gdfo_target_param(t, p->name)) {
        return bad(err, "invalid_value", "a query parameter is given twice");
    }
    t->n_params++;
    return GDFO_STATUS_OK;
}

static enum gdfo_status parse_query(struct gdfo_target *t, const char *raw, char **out,
                                    struct gdfo_error *err)
{
    while (*raw) {
        size_t n = strcspn(raw, "&");
        if (n > 0) {
            enum gdfo_status status;
            if (t->n_params == GDFO_TARGET_PARAMS_MAX) {
                return bad(err, "invalid_value", "more than 32 query parameters");
            }
            status = parse_param(t, raw, n, out, err);
            if (status != GDFO_STATUS_OK) {
                return status;
            }
        }
        raw += n + (raw[n] == '&');
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_target_parse(struct gdfo_target *t, const char *raw, struct gdfo_error *err)
{
    size_t n = strlen(raw);
    size_t n_path = strcspn(raw, "?");
    char *out = t->text;
    enum gdfo_status status;
    t->n_segments = t->n_params = 0;
    if (n > GDFO_TARGET_MAX_BYTES) {
        return bad(err, "uri_too_long", "a request target of more than 4096 bytes");
    }
    if (strchr(raw, '#')) {
        return bad(err, "bad_framing", "a request target has no fragment");
    }
    status = parse_path(t, raw, n_path, &out, err);
    if (status == GDFO_STATUS_OK && raw[n_path] == '?') {
        status = parse_query(t, raw + n_path + 1, &out, err);
    }
    return status;
}

const char *gdfo_target_param(const struct gdfo_target *t, const char *name)
{
    for (size_t i = 0; i < t->n_params; i++) {
        if (strcmp(t->params[i].name, name) == 0) {
            return t->params[i].value;
        }
    }
    return NULL;
}
