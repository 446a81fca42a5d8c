#ifndef GDFO_COMMON_BASE64_H
#define GDFO_COMMON_BASE64_H

#include "common/buf.h"

#include <stddef.h>

/* Appends bytes in the standard alphabet of RFC 4648, padded, without line breaks. Any thread. */
void gdfo_base64_add(struct gdfo_buf *out, const void *bytes, size_t n);

#endif
