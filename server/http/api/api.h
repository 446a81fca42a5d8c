#ifndef GDFO_SERVER_HTTP_API_API_H
#define GDFO_SERVER_HTTP_API_API_H

#include "server/http/paging.h"
#include "server/http/request.h"
#include "server/http/respond.h"

/*
 * The handlers, one row each in routes.def. A handler parses, makes one call, responds: it is run
 * when the request is complete and leaves an answer, or parks the request.
 */
#include "server/http/api/routes.def"

#endif
