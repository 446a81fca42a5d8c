#ifndef GDFO_CLIENT_TRANSPORT_PRIV_H
#define GDFO_CLIENT_TRANSPORT_PRIV_H

#include "client/gdfo.h"

/* One libcurl easy handle, its base URL and its token. Owner thread only. */
struct gdfo_transport;

GDFO_MUST_USE enum gdfo_status gdfo_transport_open(struct gdfo_transport **out,
                                                   const struct gdfo_client_config *config,
                                                   struct gdfo_error *err);
void gdfo_transport_close(struct gdfo_transport *t);

/* One request, one answer. reply is emptied first. */
GDFO_MUST_USE enum gdfo_status gdfo_transport_send(struct gdfo_transport *t,
                                                   const struct gdfo_request *request,
                                                   struct gdfo_reply *reply,
                                                   struct gdfo_error *err);

#endif
