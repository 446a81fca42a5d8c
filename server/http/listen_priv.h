#ifndef GDFO_SERVER_HTTP_LISTEN_PRIV_H
#define GDFO_SERVER_HTTP_LISTEN_PRIV_H

#include "common/error.h"

/* A listening socket of our own, so that "address in use" is known as such. *port is the one that
 * was taken. Errors as gdfo_http_start. */
GDFO_MUST_USE enum gdfo_status gdfo_http_listen(const char *bind_to, unsigned port, int *fd,
                                                unsigned *taken, struct gdfo_error *err);

#endif
