#ifndef GDFO_SERVER_HTTP_FRAMING_H
#define GDFO_SERVER_HTTP_FRAMING_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Where a request ends, read one way only (service.md 8.1, E1 and E5). microhttpd 0.9.75 takes two
 * lengths, two framings and odd header names (8.4, M1), so the header block is judged here before
 * anything of the body is read. Pure functions over the headers as they came.
 */
#define GDFO_FRAMING_TEXT_BYTES 256

struct gdfo_framing {
    unsigned n_host, n_length, n_transfer, n_origin;
    char host[GDFO_FRAMING_TEXT_BYTES];
    char origin[GDFO_FRAMING_TEXT_BYTES];
    int is_chunked;
    int has_bad_name, has_bad_value, has_bad_length, has_bad_transfer, has_long_text;
    uint64_t content_length; /* 0 when none is announced */
};

/* Notes one header line; f starts zeroed. value NULL is the empty value. */
void gdfo_framing_add(struct gdfo_framing *f, const char *name, size_t n_name, const char *value,
                      size_t n_value);

/* INVALID with code bad_framing unless the headers give exactly one reading. version as sent:
 * "HTTP/1.1". */
GDFO_MUST_USE enum gdfo_status gdfo_framing_check(const struct gdfo_framing *f, const char *version,
                                                  struct gdfo_error *err);

/* Open loopback mode: Host must be localhost, 127.0.0.1 or [::1] with any port, or a name of hosts
 * (by commas, may be NULL); a page of another origin is refused (code forbidden). port is our
 * own. */
GDFO_MUST_USE enum gdfo_status gdfo_framing_check_host(const struct gdfo_framing *f,
                                                       const char *hosts, unsigned port,
                                                       struct gdfo_error *err);

#endif
