#include "common/parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int gdfo_parse_i64(const char *s, int64_t min, int64_t max, int64_t *out)
{
    char *end = NULL;
    long long v;
    if (!s || !(*s == '-' || (*s >= '0' && *s <= '9'))) {
        return 0;
    }
    errno = 0;
    v = strtoll(s, &end, 10);
    if (errno != 0 || *end != '\0' || end == s || v < min || v > max) {
        return 0;
    }
    *out = v;
    return 1;
}

int gdfo_parse_f64(const char *s, double *out)
{
    char *end = NULL;
    double v;
    if (!s || !(*s == '-' || *s == '.' || (*s >= '0' && *s <= '9')) || strpbrk(s, "xXpP")) {
        return 0;
    }
    errno = 0;
    v = strtod(s, &end);
    if (*end != '\0' || end == s || !isfinite(v)) {
        return 0;
    }
    *out = v;
    return 1;
}

int gdfo_parse_bool(const char *s, int *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; s && i < 4; i++) {
        if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
            *out = strcmp(s, yes[i]) == 0;
            return 1;
        }
    }
    return 0;
}

size_t gdfo_utf8_next(const char *s, size_t n, uint32_t *code_point)
{
    const unsigned char *u = (const unsigned char *)s;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = u[0] < 0x80   ? 1
                 : u[0] < 0xC2 ? 0
                 : u[0] < 0xE0 ? 2
                 : u[0] < 0xF0 ? 3
                 : u[0] < 0xF5 ? 4
                               : 0;
    uint32_t c;
    if (len == 0 || len > n) {
        return 0;
    }
    c = len == 1 ? u[0] : u[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xC0) != 0x80) {
            return 0;
        }
        c = (c << 6) | (u[i] & 0x3Fu);
    }
    if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return 0;
    }
    *code_point = c;
    return len;
}

size_t gdfo_utf8_valid(const char *s, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint32_t c;
        size_t len = gdfo_utf8_next(s + at, n - at, &c);
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

size_t gdfo_utf8_put(char out[4], uint32_t code_point)
{
    unsigned char *u = (unsigned char *)out;
    if (code_point < 0x80) {
        u[0] = (unsigned char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        u[0] = (unsigned char)(0xC0 | (code_point >> 6));
        u[1] = (unsigned char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        u[0] = (unsigned char)(0xE0 | (code_point >> 12));
        u[1] = (unsigned char)(0x80 | ((code_point >> 6) & 0x3F));
        u[2] = (unsigned char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    u[0] = (unsigned char)(0xF0 | (code_point >> 18));
    u[1] = (unsigned char)(0x80 | ((code_point >> 12) & 0x3F));
    u[2] = (unsigned char)(0x80 | ((code_point >> 6) & 0x3F));
    u[3] = (unsigned char)(0x80 | (code_point & 0x3F));
    return 4;
}
