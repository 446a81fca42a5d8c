#ifndef GDFO_SERVER_HTTP_OIP_PRIV_H
#define GDFO_SERVER_HTTP_OIP_PRIV_H

#include "server/http/oip.h"

/* Between the files of the codec. */
#define GDFO_OIP_TEXT_MAX_BYTES ((size_t)64 << 10)
#define GDFO_OIP_SPANS_MAX      8 /* one digit names a span */

struct gdfo_oip_span {
    size_t at, n;
};

/* Replaces the value of every "data" in "inputs" by the number of its span, then blanks, so that
 * byte offsets stay. JSON that is none is left as it is, for the real parser to refuse. Returns the
 * number of spans. */
size_t gdfo_oip_lift(char *text, size_t n, struct gdfo_oip_span spans[GDFO_OIP_SPANS_MAX]);

/*
 * Pours one JSON array into t, whose shape and n are set, flat or nested as the shape is. Errors
 * name the byte of the body: `at` is where the array begins in it.
 */
GDFO_MUST_USE enum gdfo_status gdfo_oip_pour(struct gdfo_oip_tensor *t, enum gdfo_oip_type type,
                                             const char *json, struct gdfo_oip_span span,
                                             struct gdfo_error *err);

/* The same from raw little-endian bytes, all of them. */
GDFO_MUST_USE enum gdfo_status gdfo_oip_unpack(struct gdfo_oip_tensor *t, enum gdfo_oip_type type,
                                               const char *bytes, size_t n, struct gdfo_error *err);

#endif
