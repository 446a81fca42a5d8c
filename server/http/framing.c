#include "server/http/framing.h"

#include "common/parse.h"

#include <string.h>
#include <strings.h>

#define LENGTH_MAX_DIGITS 18 /* always inside int64_t */

static int is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        return 1;
    }
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static int is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_token_char((unsigned char)s[i])) {
            return 0;
        }
    }
    return n > 0;
}

/* No control character but a tab: a bare CR could end the line for another reader. */
static int is_plain_value(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return 0;
        }
    }
    return 1;
}

static int is_name(const char *name, size_t n, const char *want)
{
    return n == strlen(want) && strncasecmp(name, want, n) == 0;
}

static void keep(struct gdfo_framing *f, char out[GDFO_FRAMING_TEXT_BYTES], const char *value,
                 size_t n)
{
    if (n >= GDFO_FRAMING_TEXT_BYTES) {
        f->has_long_text = 1;
        return;
    }
    memcpy(out, value, n);
    out[n] = '\0';
}

static void add_length(struct gdfo_framing *f, const char *value, size_t n)
{
    char digits[LENGTH_MAX_DIGITS + 1];
    int64_t v = 0;
    f->n_length++;
    if (n == 0 || n > LENGTH_MAX_DIGITS || value[0] == '-') {
        f->has_bad_length = 1;
        return;
    }
    memcpy(digits, value, n);
    digits[n] = '\0';
    if (!gdfo_parse_i64(digits, 0, INT64_MAX, &v)) {
        f->has_bad_length = 1;
        return;
    }
    f->content_length = (uint64_t)v;
}

void gdfo_framing_add(struct gdfo_framing *f, const char *name, size_t n_name, const char *value,
                      size_t n_value)
{
    value = value ? value : "";
    f->has_bad_name |= !is_token(name, n_name);
    f->has_bad_value |= !is_plain_value(value, n_value);
    if (is_name(name, n_name, "host")) {
        f->n_host++;
        keep(f, f->host, value, n_value);
    } else if (is_name(name, n_name, "origin")) {
        f->n_origin++;
        keep(f, f->origin, value, n_value);
    } else if (is_name(name, n_name, "content-length")) {
        add_length(f, value, n_value);
    } else if (is_name(name, n_name, "transfer-encoding")) {
        f->n_transfer++;
        f->is_chunked = is_name(value, n_value, "chunked");
        f->has_bad_transfer |= !f->is_chunked;
    }
}

static enum gdfo_status bad(struct gdfo_error *err, const char *what)
{
    enum gdfo_status status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s", what);
    gdfo_error_at(err, "", "bad_framing");
    return status;
}

enum gdfo_status gdfo_framing_check(const struct gdfo_framing *f, const char *version,
                                    struct gdfo_error *err)
{
    if (f->has_bad_name) {
        return bad(err, "a header name with characters that RFC 9110 does not allow");
    }
    if (f->has_bad_value) {
        return bad(err, "a header value with control characters");
    }
    if (f->n_host != 1 || f->has_long_text || f->host[0] == '\0') {
        return bad(err, "want exactly one Host header of at most 255 bytes");
    }
    if (f->n_length > 1 || f->has_bad_length) {
        return bad(err, "want at most one Content-Length, of digits only");
    }
    if (f->n_transfer > 1 || f->has_bad_transfer) {
        return bad(err, "want no Transfer-Encoding, or exactly chunked");
    }
    if (f->n_transfer && f->n_length) {
        return bad(err, "Content-Length and Transfer-Encoding exclude each other");
    }
    if (f->n_transfer && strcmp(version, "HTTP/1.1") != 0) {
        return bad(err, "Transfer-Encoding wants HTTP/1.1");
    }
    return GDFO_STATUS_OK;
}

/* Splits "name[:port]" or "[::1][:port]" into the length of the name and the port (-1: none). 0
 * when it is neither. */
static int split_host(const char *host, size_t *n_name, int64_t *port)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    const char *colon = strchr(end ? end : host, ':');
    if (host[0] == '[' && (!end || (end[1] != '\0' && end[1] != ':'))) {
        return 0;
    }
    *n_name = colon ? (size_t)(colon - host) : strlen(host);
    *port = -1;
    if (colon && (colon[1] == '-' || !gdfo_parse_i64(colon + 1, 1, 65535, port))) {
        return 0;
    }
    return *n_name > 0;
}

static int in_list(const char *list, const char *name, size_t n)
{
    const char *p = list ? list : "";
    while (*p) {
        size_t len;
        p += strspn(p, " ,");
        len = strcspn(p, " ,");
        if (len == n && n > 0 && strncasecmp(p, name, n) == 0) {
            return 1;
        }
        p += len;
    }
    return 0;
}

static int is_loopback_name(const char *name, size_t n)
{
    return in_list("localhost,127.0.0.1,[::1]", name, n);
}

/* An origin is ours when it has the very authority of Host, a loopback name with our port, or a
 * configured name. */
static int is_own_origin(const struct gdfo_framing *f, const char *hosts, unsigned port)
{
    const char *rest = strstr(f->origin, "://");
    size_t n_name = 0;
    int64_t origin_port = -1;
    if (!rest ||
        (strncasecmp(f->origin, "http://", 7) != 0 && strncasecmp(f->origin, "https://", 8) != 0)) {
        return 0;
    }
    rest += 3;
    if (strcasecmp(rest, f->host) == 0) {
        return 1;
    }
    if (!split_host(rest, &n_name, &origin_port)) {
        return 0;
    }
    return in_list(hosts, rest, n_name) ||
           (is_loopback_name(rest, n_name) && origin_port == (int64_t)port);
}

enum gdfo_status gdfo_framing_check_host(const struct gdfo_framing *f, const char *hosts,
                                         unsigned port, struct gdfo_error *err)
{
    size_t n_name = 0;
    int64_t host_port = -1;
    enum gdfo_status status;
    if (!split_host(f->host, &n_name, &host_port) ||
        (!is_loopback_name(f->host, n_name) && !in_list(hosts, f->host, n_name))) {
        return bad(err, "this daemon answers to the Host localhost, 127.0.0.1 or [::1] only, and "
                        "to the names in http.hosts");
    }
    if (f->n_origin > 1 || (f->n_origin == 1 && !is_own_origin(f, hosts, port))) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "pages of another origin may not ask");
        gdfo_error_at(err, "", "forbidden");
        return status;
    }
    return GDFO_STATUS_OK;
}
