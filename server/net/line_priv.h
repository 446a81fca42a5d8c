#ifndef GDFO_SERVER_NET_LINE_PRIV_H
#define GDFO_SERVER_NET_LINE_PRIV_H

#include "common/error.h"

#include <curl/curl.h>

#include <stdint.h>

struct gdfo_net_line;
struct gdfo_net_peer;
struct gdfo_net_ticket;

/* One request on one easy handle, and what comes of it. The io thread only. */
GDFO_MUST_USE int gdfo_net_line_begin(struct gdfo_net_peer *peer, uint32_t replica,
                                      struct gdfo_net_ticket *ticket); /* 0: no memory */
void gdfo_net_line_abort(struct gdfo_net_line *line); /* takes it off its socket; then release */
void gdfo_net_line_release(struct gdfo_net_line *line);
void gdfo_net_line_destroy(struct gdfo_net_line *line);

/* outcome.c */
void gdfo_net_line_done(struct gdfo_net_line *line, CURLcode rc);
void gdfo_net_line_dripped(struct gdfo_net_line *line);
GDFO_PRINTF(4, 5)
void gdfo_net_ticket_end(struct gdfo_net_ticket *t, enum gdfo_status status, const char *code,
                         const char *fmt, ...); /* fmt NULL: keeps the message */

#endif
