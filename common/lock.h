#ifndef GDFO_COMMON_LOCK_H
#define GDFO_COMMON_LOCK_H

#include <stdint.h>

/*
 * Mutex, condition variable and thread without the failure paths nobody can handle: a mutex that
 * cannot be locked is a broken invariant. GDFO_LOCK_SCOPE unlocks at the end of the enclosing
 * block. Condition variables wait on the monotonic clock.
 */
struct gdfo_lock;
struct gdfo_cond;
struct gdfo_thread;

struct gdfo_lock *gdfo_lock_create(void); /* NULL when out of memory */
void gdfo_lock_destroy(struct gdfo_lock *l);
void gdfo_lock_acquire(struct gdfo_lock *l);
void gdfo_lock_release(struct gdfo_lock *l);

struct gdfo_cond *gdfo_cond_create(void);
void gdfo_cond_destroy(struct gdfo_cond *c);
void gdfo_cond_wait(struct gdfo_cond *c, struct gdfo_lock *l); /* with l held */
int gdfo_cond_wait_ms(struct gdfo_cond *c, struct gdfo_lock *l,
                      int64_t timeout_ms); /* 0 when timed out */
void gdfo_cond_signal(struct gdfo_cond *c);
void gdfo_cond_broadcast(struct gdfo_cond *c);

/* Starts a thread with all signals blocked. NULL on failure. join frees it. */
struct gdfo_thread *gdfo_thread_start(const char *name, void *(*run)(void *), void *arg);
void gdfo_thread_join(struct gdfo_thread *t);

static inline void gdfo_lock_scope_end(struct gdfo_lock **l)
{
    gdfo_lock_release(*l);
}
static inline struct gdfo_lock *gdfo_lock_scope_begin(struct gdfo_lock *l)
{
    gdfo_lock_acquire(l);
    return l;
}
#define GDFO_LOCK_SCOPE(l)                                                                         \
    struct gdfo_lock *lock_scope_ __attribute__((cleanup(gdfo_lock_scope_end), unused)) =          \
        gdfo_lock_scope_begin(l)

#endif
