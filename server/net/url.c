#include "server/net/url.h"

#include <curl/curl.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PATH_MAX_BYTES 4096

struct parts {
    char *scheme, *host, *port, *path, *zone, *query, *fragment;
};

static enum gdfo_status refuse(struct gdfo_error *err, const char *why)
{
    /* not the URL itself: what is refused may hold a password */
    return gdfo_error_set(err, GDFO_STATUS_INVALID, "base URL: %s", why);
}

static int is_printable(const char *s, const char *but)
{
    for (; *s; s++) {
        if (*s <= 0x20 || *s >= 0x7f || strchr(but, *s)) {
            return 0;
        }
    }
    return 1;
}

int gdfo_net_path_is_good(const char *path)
{
    return path[0] == '/' && strlen(path) < PATH_MAX_BYTES && is_printable(path, "#\\");
}

static void parts_free(struct parts *p)
{
    curl_free(p->scheme);
    curl_free(p->host);
    curl_free(p->port);
    curl_free(p->path);
    curl_free(p->zone);
    curl_free(p->query);
    curl_free(p->fragment);
}

/* Optional parts stay NULL. */
static int parts_get(CURLU *u, struct parts *p)
{
    (void)curl_url_get(u, CURLUPART_PORT, &p->port, 0);
    (void)curl_url_get(u, CURLUPART_ZONEID, &p->zone, 0);
    (void)curl_url_get(u, CURLUPART_QUERY, &p->query, 0);
    (void)curl_url_get(u, CURLUPART_FRAGMENT, &p->fragment, 0);
    return curl_url_get(u, CURLUPART_SCHEME, &p->scheme, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_HOST, &p->host, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_PATH, &p->path, 0) == CURLUE_OK;
}

static int is_name(const char *host)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return strlen(host) <= 253 && host[strspn(host, letters)] == '\0';
}

/* 1 and the address when the host needs no resolver: digits, brackets, or localhost. */
static int host_addr(const char *host, struct gdfo_gate_addr *out)
{
    char inner[64];
    size_t n = strlen(host);
    if (host[0] == '[' && n > 2 && n < sizeof inner) {
        memcpy(inner, host + 1, n - 2);
        inner[n - 2] = '\0';
        return gdfo_gate_addr_parse(out, inner);
    }
    if (strcasecmp(host, "localhost") == 0 ||
        (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0)) {
        return gdfo_gate_addr_parse(out, "127.0.0.1");
    }
    return gdfo_gate_addr_parse(out, host);
}

static enum gdfo_status judge(const struct parts *p, int is_https,
                              const struct gdfo_gate_cidr *allowed, size_t n,
                              struct gdfo_error *err)
{
    struct gdfo_gate_addr addr;
    enum gdfo_gate_word word = GDFO_GATE_PUBLIC;
    int is_addr = host_addr(p->host, &addr);
    if (!is_addr && !is_name(p->host)) {
        return refuse(err, "the host is neither a name nor an address");
    }
    if (is_addr) {
        word = gdfo_gate_judge(&addr, allowed, n);
    }
    if (word == GDFO_GATE_FORBIDDEN) {
        (void)gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                             "base URL: the address %.64s is in a private range that this teacher "
                             "may not reach; an administrator can allow it",
                             p->host);
        gdfo_error_at(err, "", "teacher_address_forbidden");
        return GDFO_STATUS_CONFLICT;
    }
    if (!is_https && (is_addr ? word != GDFO_GATE_LISTED : n == 0)) {
        return refuse(err, "http is for the allowed private ranges only: want https");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check(const struct parts *p, struct gdfo_error *err)
{
    if (strcmp(p->scheme, "https") != 0 && strcmp(p->scheme, "http") != 0) {
        return refuse(err, "want https://HOST[:PORT][/PATH]");
    }
    if (p->query || p->fragment || p->zone) {
        return refuse(err, "a query, a fragment or a zone has no place in it");
    }
    if (!is_printable(p->path, "#\\?")) {
        return refuse(err, "the path holds bytes that are not printable");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status format(struct gdfo_net_url *out, const struct parts *p, int is_https,
                               struct gdfo_error *err)
{
    size_t path_bytes = strlen(p->path);
    int n;
    while (path_bytes > 0 && p->path[path_bytes - 1] == '/') {
        path_bytes--;
    }
    n = snprintf(out->text, sizeof out->text, "%s://%s%s%s%.*s", p->scheme, p->host,
                 p->port ? ":" : "", p->port ? p->port : "", (int)path_bytes, p->path);
    out->is_https = is_https;
    return n > 0 && (size_t)n < sizeof out->text ? GDFO_STATUS_OK : refuse(err, "it is too long");
}

static enum gdfo_status parse(CURLU *u, struct gdfo_net_url *out, const char *text,
                              const struct gdfo_gate_cidr *allowed, size_t n,
                              struct gdfo_error *err)
{
    struct parts p = {0};
    struct gdfo_net_url url;
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER);
    enum gdfo_status status;
    int is_https;
    if (rc == CURLUE_USER_NOT_ALLOWED) {
        return refuse(err, "a user or a password has no place in it");
    }
    if (rc == CURLUE_OUT_OF_MEMORY) {
        return gdfo_error_no_memory(err, "reading a URL");
    }
    if (rc != CURLUE_OK || !parts_get(u, &p)) {
        parts_free(&p);
        return refuse(err, "want https://HOST[:PORT][/PATH]");
    }
    is_https = strcmp(p.scheme, "https") == 0;
    status = check(&p, err);
    if (status == GDFO_STATUS_OK) {
        status = judge(&p, is_https, allowed, n, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = format(&url, &p, is_https, err);
    }
    parts_free(&p);
    if (status == GDFO_STATUS_OK) {
        *out = url;
    }
    return status;
}

enum gdfo_status gdfo_net_url_parse(struct gdfo_net_url *out, const char *text,
                                    const struct gdfo_gate_cidr *allowed, size_t n,
                                    struct gdfo_error *err)
{
    CURLU *u;
    enum gdfo_status status;
    if (!is_printable(text, "\\") || strlen(text) >= GDFO_NET_URL_MAX || strstr(text, ":///")) {
        return refuse(err, "want https://HOST[:PORT][/PATH], printable, at most 511 bytes");
    }
    u = curl_url();
    if (!u) {
        return gdfo_error_no_memory(err, "reading a URL");
    }
    status = parse(u, out, text, allowed, n, err);
    curl_url_cleanup(u);
    return status;
}
