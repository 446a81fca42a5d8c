#ifndef GDFO_SERVER_HTTP_BACKEND_H
#define GDFO_SERVER_HTTP_BACKEND_H

#include "server/http/http.h"

/*
 * What the REST edge asks of the layers below, answered by the real ones. The catalogue of methods
 * is made from their option tables.
 *
 *   struct gdfo_http_backend b = {.store = store, .sched = sched, .models = models};
 *   struct gdfo_http_deps deps = gdfo_http_deps_of(&b);       b outlives gdfo_http_stop()
 */
struct gdfo_sched;
struct gdfo_models;

struct gdfo_http_backend {
    struct gdfo_store *store;
    struct gdfo_sched *sched;
    struct gdfo_models *models;
};

struct gdfo_http_deps gdfo_http_deps_of(struct gdfo_http_backend *b);

#endif
