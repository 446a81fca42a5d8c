#include "common/buf.h"

#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char empty[1] = "";

void gdfo_buf_init(struct gdfo_buf *b, size_t max_bytes)
{
    memset(b, 0, sizeof *b);
    b->max = max_bytes;
    b->data = empty;
}

void gdfo_buf_deinit(struct gdfo_buf *b)
{
    if (b->data != empty) {
        gdfo_mem_free(b->data);
    }
    gdfo_buf_init(b, b->max);
}

void gdfo_buf_reset(struct gdfo_buf *b)
{
    b->len = 0;
    b->is_broken = 0;
    if (b->data != empty) {
        b->data[0] = '\0';
    }
}

/* Makes room for n more bytes and the final NUL; 0 breaks the buffer. */
static int reserve(struct gdfo_buf *b, size_t n)
{
    void *p = b->data == empty ? NULL : b->data;
    if (b->is_broken) {
        return 0;
    }
    if (n > b->max || b->len > b->max - n || !gdfo_mem_grow(&p, &b->cap, b->len + n + 1, 1)) {
        b->is_broken = 1;
        return 0;
    }
    b->data = p;
    return 1;
}

void gdfo_buf_addn(struct gdfo_buf *b, const void *bytes, size_t n)
{
    if (reserve(b, n)) {
        if (n > 0) {
            memcpy(b->data + b->len, bytes, n);
        }
        b->len += n;
        b->data[b->len] = '\0';
    }
}

void gdfo_buf_add(struct gdfo_buf *b, const char *text)
{
    gdfo_buf_addn(b, text, strlen(text));
}

void gdfo_buf_addc(struct gdfo_buf *b, char c)
{
    gdfo_buf_addn(b, &c, 1);
}

void gdfo_buf_addf(struct gdfo_buf *b, const char *fmt, ...)
{
    va_list args;
    int n;
    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->is_broken = 1;
        return;
    }
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args));
    va_end(args);
    b->len += (size_t)n;
}

int gdfo_buf_ok(const struct gdfo_buf *b)
{
    return !b->is_broken;
}

char *gdfo_buf_take(struct gdfo_buf *b)
{
    char *out = NULL;
    if (!b->is_broken && reserve(b, 0)) {
        b->data[b->len] = '\0';
        out = b->data;
        b->data = empty;
        b->len = 0;
        b->cap = 0;
    }
    return out;
}

void gdfo_buf_u32(struct gdfo_buf *b, unsigned int v)
{
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(v >> (8 * i));
    }
    gdfo_buf_addn(b, bytes, sizeof bytes);
}

void gdfo_buf_u64(struct gdfo_buf *b, unsigned long long v)
{
    gdfo_buf_u32(b, (unsigned int)v);
    gdfo_buf_u32(b, (unsigned int)(v >> 32));
}

void gdfo_buf_f64(struct gdfo_buf *b, double v)
{
    unsigned long long bits;
    memcpy(&bits, &v, sizeof bits);
    gdfo_buf_u64(b, bits);
}

void gdfo_buf_block(struct gdfo_buf *b, const void *bytes, size_t n)
{
    gdfo_buf_u64(b, n);
    gdfo_buf_addn(b, bytes, n);
}
