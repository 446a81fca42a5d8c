#include "server/num/pool.h"

#include "common/lock.h"
#include "common/mem.h"

#define THREADS_MAX 256

/* One gdfo_pool_run under way: lives on the stack of the worker that waits for it. */
struct loop {
    gdfo_pool_fn fn;
    void *ctx;
    size_t next, n_items, n_done;
    struct loop *after;
};

struct seat {
    struct gdfo_pool *pool;
    unsigned slot;
    struct gdfo_thread *thread;
};

struct gdfo_pool {
    struct gdfo_lock *lock;
    struct gdfo_cond *work, *done;
    struct loop *first; /* loops with items not yet taken, oldest first */
    int is_stopping;
    unsigned n_threads;
    struct seat seats[];
};

/* With the lock held: takes one item of the loop at the head, then moves that loop to the tail, so
 * that loops of several workers share the threads evenly. */
static struct loop *take_item(struct gdfo_pool *pool, size_t *item)
{
    struct loop *l = pool->first;
    if (!l) {
        return NULL;
    }
    *item = l->next++;
    pool->first = l->after;
    l->after = NULL;
    if (l->next < l->n_items) {
        struct loop **tail = &pool->first;
        while (*tail) {
            tail = &(*tail)->after;
        }
        *tail = l;
    }
    return l;
}

static void *serve(void *arg)
{
    struct seat *seat = arg;
    struct gdfo_pool *pool = seat->pool;
    gdfo_lock_acquire(pool->lock);
    while (!pool->is_stopping) {
        size_t item = 0;
        struct loop *l = take_item(pool, &item);
        if (!l) {
            gdfo_cond_wait(pool->work, pool->lock);
            continue;
        }
        gdfo_lock_release(pool->lock);
        l->fn(l->ctx, item, seat->slot);
        gdfo_lock_acquire(pool->lock);
        if (++l->n_done == l->n_items) {
            gdfo_cond_broadcast(pool->done);
        }
    }
    gdfo_lock_release(pool->lock);
    return NULL;
}

enum gdfo_status gdfo_pool_create(struct gdfo_pool **out, unsigned n_threads,
                                  struct gdfo_error *err)
{
    struct gdfo_pool *pool;
    if (n_threads < 1 || n_threads > THREADS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "compute threads %u: want 1..%d", n_threads,
                              THREADS_MAX);
    }
    pool = gdfo_mem_array(1, sizeof *pool + n_threads * sizeof pool->seats[0]);
    if (!pool) {
        return gdfo_error_no_memory(err, "compute pool");
    }
    pool->lock = gdfo_lock_create();
    pool->work = gdfo_cond_create();
    pool->done = gdfo_cond_create();
    if (!pool->lock || !pool->work || !pool->done) {
        gdfo_pool_destroy(pool);
        return gdfo_error_no_memory(err, "compute pool");
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pool->seats[i].pool = pool;
        pool->seats[i].slot = i;
        pool->seats[i].thread = gdfo_thread_start("compute", serve, &pool->seats[i]);
        if (!pool->seats[i].thread) {
            gdfo_pool_destroy(pool);
            return gdfo_error_set(err, GDFO_STATUS_NO_MEMORY, "cannot start compute thread %u", i);
        }
        pool->n_threads = i + 1;
    }
    *out = pool;
    return GDFO_STATUS_OK;
}

void gdfo_pool_destroy(struct gdfo_pool *pool)
{
    if (!pool) {
        return;
    }
    if (pool->n_threads > 0) {
        gdfo_lock_acquire(pool->lock);
        pool->is_stopping = 1;
        gdfo_cond_broadcast(pool->work);
        gdfo_lock_release(pool->lock);
    }
    for (unsigned i = 0; i < pool->n_threads; i++) {
        gdfo_thread_join(pool->seats[i].thread);
    }
    gdfo_cond_destroy(pool->work);
    gdfo_cond_destroy(pool->done);
    gdfo_lock_destroy(pool->lock);
    gdfo_mem_free(pool);
}

unsigned gdfo_pool_threads(const struct gdfo_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

void gdfo_pool_run(struct gdfo_pool *pool, size_t n_items, gdfo_pool_fn fn, void *ctx)
{
    struct loop l = {fn, ctx, 0, n_items, 0, NULL};
    struct loop **tail;
    if (!pool || n_items == 0) {
        for (size_t i = 0; i < n_items; i++) {
            fn(ctx, i, 0);
        }
        return;
    }
    gdfo_lock_acquire(pool->lock);
    tail = &pool->first;
    while (*tail) {
        tail = &(*tail)->after;
    }
    *tail = &l;
    gdfo_cond_broadcast(pool->work);
    while (l.n_done < l.n_items) {
        gdfo_cond_wait(pool->done, pool->lock);
    }
    gdfo_lock_release(pool->lock);
}
