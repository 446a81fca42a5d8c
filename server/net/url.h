#ifndef GDFO_SERVER_NET_URL_H
#define GDFO_SERVER_NET_URL_H

#include "server/net/gate.h"

#define GDFO_NET_URL_MAX 512

/* A base URL of a peer, as it is put in front of a call's path: no slash at its end. */
struct gdfo_net_url {
    char text[GDFO_NET_URL_MAX];
    int is_https;
};

/*
 * Reads a base URL through libcurl's own parser, so that what is judged here is what is connected
 * to. Resolves nothing: a name is judged when it is connected to, and with http it may then only
 * lead into an allowed range.
 *
 *   errors   INVALID: another scheme, userinfo, query, fragment, zone, http to what is not allowed;
 *            CONFLICT with code teacher_address_forbidden: an address that the gate refuses
 */
GDFO_MUST_USE enum gdfo_status gdfo_net_url_parse(struct gdfo_net_url *out, const char *text,
                                                  const struct gdfo_gate_cidr *allowed, size_t n,
                                                  struct gdfo_error *err);

/* A call's path: begins with '/', printable ASCII without blanks, '#' and '\'. 1 when it is one. */
int gdfo_net_path_is_good(const char *path);

#endif
