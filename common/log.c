#include "common/log.h"

#include "common/clk.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_int min_level = GDFO_LOG_INFO;
static atomic_int as_json;
static _Thread_local char context[96];

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

void gdfo_log_set_level(enum gdfo_log_level level)
{
    atomic_store(&min_level, (int)level);
}

int gdfo_log_parse_level(const char *name, enum gdfo_log_level *out)
{
    for (int i = 0; i <= GDFO_LOG_OFF; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum gdfo_log_level)i;
            return 1;
        }
    }
    return 0;
}

void gdfo_log_set_json(int on)
{
    atomic_store(&as_json, on);
}

void gdfo_log_context(const char *key, const char *id)
{
    if (!id || !*id) {
        context[0] = '\0';
    } else {
        GDFO_IGNORE(snprintf(context, sizeof context, " %s=%s", key, id));
    }
}

const char *gdfo_log_quote(const char *s, char *out, int out_bytes)
{
    int at = 0;
    out[at++] = '"';
    for (; *s && at < out_bytes - 10; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7F || c == '"' || c == '\\') {
            at += snprintf(out + at, (size_t)(out_bytes - at), "\\x%02x", c);
        } else {
            out[at++] = (char)c;
        }
    }
    GDFO_IGNORE(snprintf(out + at, (size_t)(out_bytes - at), *s ? "...\"" : "\""));
    return out;
}

static void json_quote(const char *s, char *out, size_t out_bytes)
{
    size_t at = 0;
    out[at++] = '"';
    for (; *s && at < out_bytes - 9; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7F || c == '"' || c == '\\') {
            at += (size_t)snprintf(out + at, out_bytes - at, "\\u%04x", c);
        } else {
            out[at++] = (char)c;
        }
    }
    out[at++] = '"';
    out[at] = '\0';
}

void gdfo_log(enum gdfo_log_level level, const char *mod, const char *fmt, ...)
{
    char text[1024];
    char quoted[1280];
    va_list args;
    double at;
    if ((int)level < atomic_load(&min_level)) {
        return;
    }
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(text, sizeof text, fmt, args));
    va_end(args);
    for (char *p = text; *p; p++) {
        if (*p == '\n' || *p == '\r') {
            *p = ' ';
        }
    }
    at = (double)gdfo_clk_wall_ms(gdfo_clk_system()) / 1000.0;
    if (atomic_load(&as_json)) {
        json_quote(text, quoted, sizeof quoted);
        (void)fprintf(stderr,
                      "{\"t\":%.3f,\"lvl\":\"%s\",\"mod\":\"%s\",\"ctx\":\"%s\",\"msg\":%s}\n", at,
                      names[level], mod, context[0] ? context + 1 : "", quoted);
    } else {
        (void)fprintf(stderr, "t=%.3f lvl=%s mod=%s%s %s\n", at, names[level], mod, context, text);
    }
}
