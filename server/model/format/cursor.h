#ifndef GDFO_SERVER_MODEL_FORMAT_CURSOR_H
#define GDFO_SERVER_MODEL_FORMAT_CURSOR_H

#include "common/buf.h"
#include "common/file.h"

/*
 * Reads the head of a file front to back through a window, little-endian, never past the end. The
 * message of a failure says which thing ends too early, so every call takes its name. One owner.
 */
struct gdfo_cursor {
    struct gdfo_reader reader;
    uint64_t at; /* next byte */
    unsigned char *window;
    uint64_t window_at;
    size_t window_len;
};

GDFO_MUST_USE enum gdfo_status gdfo_cursor_init(struct gdfo_cursor *c,
                                                const struct gdfo_reader *reader,
                                                struct gdfo_error *err);
void gdfo_cursor_deinit(struct gdfo_cursor *c);
uint64_t gdfo_cursor_left(const struct gdfo_cursor *c);

/* LIMIT-free check that count things of at least each bytes still fit; FORMAT with the numbers. */
GDFO_MUST_USE enum gdfo_status gdfo_cursor_need(const struct gdfo_cursor *c, uint64_t count,
                                                uint64_t each, const char *what,
                                                struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_cursor_bytes(struct gdfo_cursor *c, void *out, size_t n,
                                                 const char *what, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_cursor_u32(struct gdfo_cursor *c, uint32_t *out,
                                               const char *what, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_cursor_u64(struct gdfo_cursor *c, uint64_t *out,
                                               const char *what, struct gdfo_error *err);

/* u64 length + bytes into b (emptied first): at most max bytes, UTF-8 without NUL. */
GDFO_MUST_USE enum gdfo_status gdfo_cursor_text(struct gdfo_cursor *c, struct gdfo_buf *b,
                                                uint64_t max, const char *what,
                                                struct gdfo_error *err);

#endif
