#ifndef GDFO_SERVER_HTTP_EXPORT_H
#define GDFO_SERVER_HTTP_EXPORT_H

#include "common/buf.h"
#include "common/error.h"

/*
 * A stored prompt (.gdfo bytes) in the format a client asks for (service.md 4.6): gdfo, json,
 * safetensors, peft (a tar of the two files of an adapter folder). Any thread.
 */
struct gdfo_export {
    const char *content_type, *extension; /* static */
};

/* Appends to out. INVALID for an unknown format, UNSUPPORTED when the export would change what the
 * prompt means or is not built. */
GDFO_MUST_USE enum gdfo_status gdfo_export_prompt(const char *format, const struct gdfo_buf *stored,
                                                  struct gdfo_buf *out, struct gdfo_export *how,
                                                  struct gdfo_error *err);

#endif
