#ifndef GDFO_SERVER_STORE_STORE_BLOB_H
#define GDFO_SERVER_STORE_STORE_BLOB_H

#include "server/store/store.h"

/*
 * The content store: bytes by their SHA-256. Content comes first (an upload, hashed on the way),
 * then the row that names it:
 *
 *   gdfo_store_upload_begin(s, GDFO_STORE_BLOB_MAX, &up, &err);
 *   gdfo_store_upload_add(up, bytes, n, &err);                    as often as bytes come
 *   gdfo_store_upload_end(up, &blob, &err);                       frees up, also on failure
 *   gdfo_store_file_add(s, &who, &(struct gdfo_store_file_new){...}, &file, &err);
 *
 * Content without a row is swept after a day.
 */
struct gdfo_store_upload;

struct gdfo_store_blob {
    unsigned char sha256[GDFO_SHA256_BYTES];
    uint64_t bytes;
};

/* *out: owned by caller, ended by upload_end or upload_abort. One thread at a time. */
GDFO_MUST_USE enum gdfo_status gdfo_store_upload_begin(struct gdfo_store *s, uint64_t max_bytes,
                                                       struct gdfo_store_upload **out,
                                                       struct gdfo_error *err);
/* LIMIT (code body_too_large) past max_bytes, FULL when the disk is. After a failure only abort. */
GDFO_MUST_USE enum gdfo_status gdfo_store_upload_add(struct gdfo_store_upload *up,
                                                     const void *bytes, size_t n,
                                                     struct gdfo_error *err);
/* Makes the content durable under its hash. Takes ownership of up, also on failure. */
GDFO_MUST_USE enum gdfo_status gdfo_store_upload_end(struct gdfo_store_upload *up,
                                                     struct gdfo_store_blob *out,
                                                     struct gdfo_error *err);
void gdfo_store_upload_abort(struct gdfo_store_upload *up); /* NULL is fine */

/* The three steps in one, for bytes in memory. */
GDFO_MUST_USE enum gdfo_status gdfo_store_blob_put(struct gdfo_store *s, const void *bytes,
                                                   size_t n, struct gdfo_store_blob *out,
                                                   struct gdfo_error *err);
/* A reader over content; ended by gdfo_reader_close(). CORRUPT when the content is not there. */
GDFO_MUST_USE enum gdfo_status gdfo_store_blob_open(struct gdfo_store *s,
                                                    const struct gdfo_store_blob *blob,
                                                    struct gdfo_reader *out,
                                                    struct gdfo_error *err);

/* All of it, appended; CORRUPT when its hash is not its name, LIMIT past the buffer's ceiling. */
GDFO_MUST_USE enum gdfo_status gdfo_store_blob_read(struct gdfo_store *s,
                                                    const struct gdfo_store_blob *blob,
                                                    struct gdfo_buf *bytes, struct gdfo_error *err);

#endif
