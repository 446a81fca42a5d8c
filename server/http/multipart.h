#ifndef GDFO_SERVER_HTTP_MULTIPART_H
#define GDFO_SERVER_HTTP_MULTIPART_H

#include "common/error.h"

#include <stddef.h>

/*
 * multipart/form-data (RFC 7578), a stream cut anywhere (service.md 8.4, M8). Parts come in any
 * order; nothing of a part's content is kept here. Owner thread only.
 *
 *   gdfo_multipart_boundary(content_type, boundary, &err);
 *   gdfo_multipart_create(&m, boundary, &sink, &err);
 *   gdfo_multipart_add(m, bytes, n, &err);      as often as bytes come
 *   gdfo_multipart_end(m, &err);                the closing boundary was there
 *   gdfo_multipart_destroy(m);
 */
#define GDFO_MULTIPART_BOUNDARY_BYTES 71 /* 70 characters and NUL */
#define GDFO_MULTIPART_PARTS_MAX      16
#define GDFO_MULTIPART_NAME_BYTES     128
#define GDFO_MULTIPART_FILENAME_BYTES 1024

struct gdfo_multipart;

struct gdfo_multipart_sink {
    void *ctx;
    /* A part begins; filename is NULL for a plain field. Both borrowed during the call. */
    enum gdfo_status (*part)(void *ctx, const char *name, const char *filename,
                             struct gdfo_error *err);
    enum gdfo_status (*data)(void *ctx, const char *bytes, size_t n, struct gdfo_error *err);
    enum gdfo_status (*end)(void *ctx, struct gdfo_error *err); /* of the part */
};

/* INVALID when content_type is not multipart/form-data with a boundary of 1..70 characters. */
GDFO_MUST_USE enum gdfo_status gdfo_multipart_boundary(const char *content_type,
                                                       char out[GDFO_MULTIPART_BOUNDARY_BYTES],
                                                       struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_multipart_create(struct gdfo_multipart **out,
                                                     const char *boundary,
                                                     const struct gdfo_multipart_sink *sink,
                                                     struct gdfo_error *err);
void gdfo_multipart_destroy(struct gdfo_multipart *m);

/* FORMAT when the body is not multipart; else what a sink returned. No use of m after a failure
 * but destroy. */
GDFO_MUST_USE enum gdfo_status gdfo_multipart_add(struct gdfo_multipart *m, const char *bytes,
                                                  size_t n, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_multipart_end(const struct gdfo_multipart *m,
                                                  struct gdfo_error *err);

#endif
