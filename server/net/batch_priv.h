#ifndef GDFO_SERVER_NET_BATCH_PRIV_H
#define GDFO_SERVER_NET_BATCH_PRIV_H

#include "common/error.h"

#include <stdint.h>

struct gdfo_net_batch;
struct gdfo_net_ticket;

/* The calls of one gdfo_net_send, in their order. The io thread only. */
GDFO_MUST_USE struct gdfo_net_ticket *gdfo_net_batch_peek(struct gdfo_net_batch *b);
void gdfo_net_batch_begun(struct gdfo_net_batch *b, struct gdfo_net_ticket *t);
void gdfo_net_batch_again(struct gdfo_net_ticket *t); /* to be sent as soon as may be */
void gdfo_net_batch_later(struct gdfo_net_ticket *t, int64_t wait_ms);
void gdfo_net_batch_take(struct gdfo_net_batch *b); /* from its worker */
void gdfo_net_batch_cancel(struct gdfo_net_batch *b);
/* Ends what does not fly, with the breaker's words or as a consequence of another call's end. */
void gdfo_net_batch_end_waiting(struct gdfo_net_batch *b, int is_breaker);
void gdfo_net_batch_close(struct gdfo_net_batch *b); /* hands it back once no call is left */

#endif
