#ifndef GDFO_SERVER_NET_GATE_H
#define GDFO_SERVER_NET_GATE_H

#include "common/error.h"

#include <stddef.h>

/*
 * Which addresses a peer may reach (service.md 8.3). Pure: addresses and ranges in, a word out. An
 * address is judged as it stands in the socket, never as a name, so that no spelling and no
 * resolver can slip by. IPv4 inside IPv6 (mapped and compatible) is judged by the inner address.
 */
struct gdfo_gate_addr {
    unsigned char bytes[16]; /* network order; the first four of IPv4 */
    int is_v6;
};

struct gdfo_gate_cidr {
    struct gdfo_gate_addr addr;
    unsigned n_bits;
};

enum gdfo_gate_word {
    GDFO_GATE_FORBIDDEN, /* in a private or special range that is not allowed */
    GDFO_GATE_PUBLIC,
    GDFO_GATE_LISTED /* inside one of the allowed ranges */
};

/* The plain texts "192.0.2.1" and "2001:db8::1": no port, no brackets, no zone. 1 on success. */
int gdfo_gate_addr_parse(struct gdfo_gate_addr *out, const char *text);

/* "10.0.0.0/8", "fd00::/8", or one address. INVALID also for bits behind the prefix: more likely a
 * slip than meant. */
GDFO_MUST_USE enum gdfo_status gdfo_gate_cidr_parse(struct gdfo_gate_cidr *out, const char *text,
                                                    struct gdfo_error *err);

enum gdfo_gate_word gdfo_gate_judge(const struct gdfo_gate_addr *addr,
                                    const struct gdfo_gate_cidr *allowed, size_t n);

#endif
