#ifndef GDFO_SERVER_HTTP_TARGET_H
#define GDFO_SERVER_HTTP_TARGET_H

#include "common/error.h"

#include <stddef.h>

/*
 * The raw request target, decoded once (service.md 8.1, E3). microhttpd's own url is cut at %00 and
 * has its dots decoded before anyone looks (8.4, M7), so it is not used. Nothing here ever becomes
 * a file name.
 */
#define GDFO_TARGET_MAX_BYTES    4096
#define GDFO_TARGET_SEGMENTS_MAX 12
#define GDFO_TARGET_PARAMS_MAX   32

struct gdfo_param {
    const char *name, *value;
};

struct gdfo_target {
    const char *segments[GDFO_TARGET_SEGMENTS_MAX]; /* "/v1/files" is "v1", "files" */
    size_t n_segments;
    struct gdfo_param params[GDFO_TARGET_PARAMS_MAX]; /* in order; no name twice */
    size_t n_params;
    char text[2 * GDFO_TARGET_MAX_BYTES + 2]; /* what the pointers above point into */
};

/* INVALID with code bad_framing for a path that is not plain, invalid_value for a query that is
 * not. */
GDFO_MUST_USE enum gdfo_status gdfo_target_parse(struct gdfo_target *t, const char *raw,
                                                 struct gdfo_error *err);

const char *gdfo_target_param(const struct gdfo_target *t, const char *name); /* NULL if missing */

#endif
