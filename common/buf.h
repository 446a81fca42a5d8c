#ifndef GDFO_COMMON_BUF_H
#define GDFO_COMMON_BUF_H

#include "common/error.h"

#include <stddef.h>

/*
 * A growable byte buffer with a ceiling given at birth. The first failed add (no memory, or the
 * ceiling) makes the buffer "broken": later adds do nothing, so a chain of adds is checked once at
 * its end with gdfo_buf_ok. The bytes are always followed by a NUL that is not counted.
 */
struct gdfo_buf {
    char *data;
    size_t len, cap, max;
    int is_broken;
};

void gdfo_buf_init(struct gdfo_buf *b, size_t max_bytes);
void gdfo_buf_deinit(struct gdfo_buf *b);
void gdfo_buf_reset(struct gdfo_buf *b); /* empties it, keeps the memory, mends it */
void gdfo_buf_addn(struct gdfo_buf *b, const void *bytes, size_t n);
void gdfo_buf_add(struct gdfo_buf *b, const char *text);
void gdfo_buf_addc(struct gdfo_buf *b, char c);
GDFO_PRINTF(2, 3) void gdfo_buf_addf(struct gdfo_buf *b, const char *fmt, ...);
int gdfo_buf_ok(const struct gdfo_buf *b);
char *gdfo_buf_take(
    struct gdfo_buf *b); /* hands the bytes over (gdfo_mem_free); NULL when broken */

/* Little-endian numbers, for snapshots and file formats. */
void gdfo_buf_u32(struct gdfo_buf *b, unsigned int v);
void gdfo_buf_u64(struct gdfo_buf *b, unsigned long long v);
void gdfo_buf_f64(struct gdfo_buf *b, double v); /* its bits */
void gdfo_buf_block(struct gdfo_buf *b, const void *bytes,
                    size_t n); /* u64 length, then the bytes */

#endif
