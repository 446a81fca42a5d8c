#include "common/span.h"

#include <string.h>

struct gdfo_span gdfo_span_make(const void *bytes, size_t n)
{
    struct gdfo_span s = {bytes, n, 0};
    return s;
}

const void *gdfo_span_take(struct gdfo_span *s, size_t n)
{
    const unsigned char *at = s->data;
    if (s->is_broken || n > s->n) {
        s->is_broken = 1;
        return NULL;
    }
    s->data += n;
    s->n -= n;
    return at;
}

static uint64_t get(struct gdfo_span *s, int n_bytes)
{
    const unsigned char *p = gdfo_span_take(s, (size_t)n_bytes);
    uint64_t v = 0;
    for (int i = n_bytes - 1; p && i >= 0; i--) {
        v = (v << 8) | p[i];
    }
    return v;
}

uint32_t gdfo_span_u32(struct gdfo_span *s)
{
    return (uint32_t)get(s, 4);
}

uint64_t gdfo_span_u64(struct gdfo_span *s)
{
    return get(s, 8);
}

double gdfo_span_f64(struct gdfo_span *s)
{
    uint64_t bits = get(s, 8);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

int gdfo_span_copy(struct gdfo_span *s, void *out, size_t n)
{
    const void *from = gdfo_span_take(s, n);
    if (!from) {
        memset(out, 0, n);
        return 0;
    }
    if (n > 0) {
        memcpy(out, from, n);
    }
    return 1;
}

const void *gdfo_span_block(struct gdfo_span *s, size_t *n)
{
    uint64_t len = gdfo_span_u64(s);
    *n = 0;
    if (s->is_broken || len > s->n) {
        s->is_broken = 1;
        return NULL;
    }
    *n = (size_t)len;
    return gdfo_span_take(s, *n);
}

int gdfo_span_ok(const struct gdfo_span *s)
{
    return !s->is_broken;
}

int gdfo_span_done(const struct gdfo_span *s)
{
    return !s->is_broken && s->n == 0;
}
