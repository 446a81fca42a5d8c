#ifndef GDFO_COMMON_SPAN_H
#define GDFO_COMMON_SPAN_H

#include <stddef.h>
#include <stdint.h>

/*
 * Reads little-endian numbers and blocks off borrowed bytes, front to back. The first read past the
 * end breaks the span: it and all later reads give zeros and NULL, so that a chain of reads is
 * checked once at its end with gdfo_span_ok. The counterpart of gdfo_buf_u32 and friends.
 */
struct gdfo_span {
    const unsigned char *data;
    size_t n;
    int is_broken;
};

struct gdfo_span gdfo_span_make(const void *bytes, size_t n);
uint32_t gdfo_span_u32(struct gdfo_span *s);
uint64_t gdfo_span_u64(struct gdfo_span *s);
double gdfo_span_f64(struct gdfo_span *s);
const void *gdfo_span_take(struct gdfo_span *s, size_t n);    /* borrowed; NULL when broken */
int gdfo_span_copy(struct gdfo_span *s, void *out, size_t n); /* 1 on success; else out is zeroed */

/* A block written as u64 length and bytes. *n is its length; NULL when broken. */
const void *gdfo_span_block(struct gdfo_span *s, size_t *n);
int gdfo_span_ok(const struct gdfo_span *s);
int gdfo_span_done(const struct gdfo_span *s); /* ok, and nothing left */

#endif
