#ifndef GDFO_COMMON_FILE_H
#define GDFO_COMMON_FILE_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Random-access bytes with a size: how pure modules read a file without knowing files. read_at
 * fails with FORMAT when [offset, offset + n) is not inside the size.
 */
struct gdfo_reader {
    void *ctx;
    uint64_t size;
    const char *name; /* for messages: the base name, never a path */
    enum gdfo_status (*read_at)(void *ctx, uint64_t offset, void *out, size_t n,
                                struct gdfo_error *err);
};

/* Checks the range, then reads. Use this, not the member. */
GDFO_MUST_USE enum gdfo_status gdfo_reader_at(const struct gdfo_reader *r, uint64_t offset,
                                              void *out, size_t n, struct gdfo_error *err);

/* A reader over memory that stays the caller's. */
struct gdfo_reader gdfo_reader_memory(const void *bytes, size_t n, const char *name);

/* Opens a regular file read-only (O_NOFOLLOW) and reads it by pread. close ends it. */
GDFO_MUST_USE enum gdfo_status gdfo_reader_open(struct gdfo_reader *out, const char *path,
                                                struct gdfo_error *err);
void gdfo_reader_close(struct gdfo_reader *r);

/* Appends the whole file to b (within b's ceiling). */
GDFO_MUST_USE enum gdfo_status gdfo_file_read(const char *path, struct gdfo_buf *b,
                                              struct gdfo_error *err);

/* Durable write: temporary file beside path, fsync, rename, fsync of the folder. Mode 0600. */
GDFO_MUST_USE enum gdfo_status gdfo_file_write(const char *path, const void *bytes, size_t n,
                                               struct gdfo_error *err);

/* mkdir -p with mode 0700; an existing folder is fine. */
GDFO_MUST_USE enum gdfo_status gdfo_file_mkdirs(const char *path, struct gdfo_error *err);

#endif
