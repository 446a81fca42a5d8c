#include "server/http/router.h"

#include "server/http/api/api.h"

#include <stdio.h>
#include <string.h>

#define ID_MAX_CHARS   40
#define NAME_MAX_BYTES 512 /* 128 characters */

#define ROUTE(method, pattern, handler, body, params, later)                                       \
    {GDFO_METHOD_##method, GDFO_BODY_##body, pattern, handler, params, later},
static const struct gdfo_route routes[] = {
#include "server/http/api/routes.def"
};

static const char *const methods[] = {"", "GET", "POST", "PUT", "PATCH", "DELETE"};

const char *gdfo_method_name(enum gdfo_method method)
{
    return methods[method];
}

enum gdfo_method gdfo_method_parse(const char *name)
{
    for (size_t i = 1; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i], name) == 0) {
            return (enum gdfo_method)i;
        }
    }
    return strcmp(name, "HEAD") == 0 ? GDFO_METHOD_GET : GDFO_METHOD_OTHER;
}

int gdfo_router_is_id(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");
    size_t k;
    if (n == 0 || s[n] != '-') {
        return 0;
    }
    s += n + 1;
    k = strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return k >= 1 && k <= ID_MAX_CHARS && s[k] == '\0';
}

int gdfo_router_has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    while (*words) {
        size_t k = strcspn(words, " ");
        if (k == n && n > 0 && memcmp(words, word, n) == 0) {
            return 1;
        }
        words += k + (words[k] == ' ');
    }
    return 0;
}

static int is_slot(const char *part, size_t n, const char *name)
{
    return n == strlen(name) && memcmp(part, name, n) == 0;
}

/* Whether a segment fits a part of a pattern; *is_arg tells a slot from a word. */
static int fits(const char *part, size_t n, const char *segment, int *is_arg)
{
    *is_arg = part[0] == '{';
    if (is_slot(part, n, "{id}")) {
        return gdfo_router_is_id(segment);
    }
    if (is_slot(part, n, "{ckpt}")) {
        return gdfo_router_is_id(segment) || strcmp(segment, "best") == 0 ||
               strcmp(segment, "last") == 0;
    }
    if (is_slot(part, n, "{name}") || is_slot(part, n, "{version}")) {
        return strlen(segment) <= NAME_MAX_BYTES;
    }
    return strlen(segment) == n && memcmp(part, segment, n) == 0;
}

static int match(const char *pattern, const struct gdfo_target *t,
                 const char *args[GDFO_REQUEST_ARGS_MAX])
{
    size_t i = 0;
    size_t n_args = 0;
    while (*pattern == '/') {
        size_t n = strcspn(++pattern, "/");
        int is_arg = 0;
        if (i == t->n_segments || !fits(pattern, n, t->segments[i], &is_arg)) {
            return 0;
        }
        if (is_arg && n_args < GDFO_REQUEST_ARGS_MAX) {
            args[n_args++] = t->segments[i];
        }
        i++;
        pattern += n;
    }
    return i == t->n_segments;
}

static void allow_also(char allow[64], enum gdfo_method method)
{
    size_t n = strlen(allow);
    (void)snprintf(allow + n, 64 - n, "%s%s%s", n ? ", " : "", methods[method],
                   method == GDFO_METHOD_GET ? ", HEAD" : "");
}

const struct gdfo_route *gdfo_router_find(enum gdfo_method method, const struct gdfo_target *t,
                                          const char *args[GDFO_REQUEST_ARGS_MAX], char allow[64])
{
    allow[0] = '\0';
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!match(routes[i].pattern, t, args)) {
            continue;
        }
        if (routes[i].method == method) {
            return &routes[i];
        }
        allow_also(allow, routes[i].method);
    }
    return NULL;
}

const struct gdfo_route *gdfo_router_at(size_t index)
{
    return index < sizeof routes / sizeof *routes ? &routes[index] : NULL;
}
