#ifndef GDFO_SERVER_NUM_POOL_H
#define GDFO_SERVER_NUM_POOL_H

#include "common/error.h"

#include <stddef.h>

/*
 * The compute pool: one per process, as many threads as cores, shared by all jobs. A worker hands
 * over a loop of independent items and waits; items of loops handed over by several workers at once
 * interleave. Items must not allocate, lock, or call gdfo_pool_run. Which thread runs an item is
 * not defined, so an item's result must depend on its index alone.
 */
struct gdfo_pool;

/* slot is 0..gdfo_pool_threads()-1 and unique among items running at once: an index into scratch
 * memory. */
typedef void (*gdfo_pool_fn)(void *ctx, size_t item, unsigned slot);

GDFO_MUST_USE enum gdfo_status gdfo_pool_create(struct gdfo_pool **out, unsigned n_threads,
                                                struct gdfo_error *err);
void gdfo_pool_destroy(struct gdfo_pool *pool);
unsigned gdfo_pool_threads(const struct gdfo_pool *pool);

/* Runs fn for items 0..n_items-1 and returns when all have ended. pool NULL: on the calling thread,
 * slot 0. */
void gdfo_pool_run(struct gdfo_pool *pool, size_t n_items, gdfo_pool_fn fn, void *ctx);

#endif
