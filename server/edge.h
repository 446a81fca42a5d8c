#ifndef GDFO_SERVER_EDGE_H
#define GDFO_SERVER_EDGE_H

#include "server/http/http.h"

/*
 * What the REST edge asks of the layers below, wired to the scheduler, the models and the methods.
 * Requests go on while the daemon stops, so the scheduler is reached through a gate: after
 * gdfo_edge_close every request that needs it is refused as draining, and none is inside it.
 */
struct gdfo_edge;
struct gdfo_sched;
struct gdfo_models;
struct gdfo_pool;
struct gdfo_remotes;

/* All are borrowed until destroy; remotes NULL: no teachers over HTTP. NULL when out of memory. */
struct gdfo_edge *gdfo_edge_create(struct gdfo_store *store, struct gdfo_sched *sched,
                                   struct gdfo_models *models, struct gdfo_pool *pool,
                                   const struct gdfo_remotes *remotes);
void gdfo_edge_destroy(struct gdfo_edge *e);
void gdfo_edge_close(struct gdfo_edge *e);
struct gdfo_http_deps gdfo_edge_deps(struct gdfo_edge *e); /* good until destroy */

#endif
