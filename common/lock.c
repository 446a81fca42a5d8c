#include "common/lock.h"

#include "common/check.h"
#include "common/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

struct gdfo_lock {
    pthread_mutex_t mutex;
};

struct gdfo_cond {
    pthread_cond_t cond;
};

struct gdfo_thread {
    pthread_t id;
};

struct gdfo_lock *gdfo_lock_create(void)
{
    struct gdfo_lock *l = gdfo_mem_array(1, sizeof *l);
    if (l && pthread_mutex_init(&l->mutex, NULL) != 0) {
        gdfo_mem_free(l);
        l = NULL;
    }
    return l;
}

void gdfo_lock_destroy(struct gdfo_lock *l)
{
    if (l) {
        GDFO_CHECK(pthread_mutex_destroy(&l->mutex) == 0);
        gdfo_mem_free(l);
    }
}

void gdfo_lock_acquire(struct gdfo_lock *l)
{
    GDFO_CHECK(pthread_mutex_lock(&l->mutex) == 0);
}

void gdfo_lock_release(struct gdfo_lock *l)
{
    GDFO_CHECK(pthread_mutex_unlock(&l->mutex) == 0);
}

struct gdfo_cond *gdfo_cond_create(void)
{
    struct gdfo_cond *c = gdfo_mem_array(1, sizeof *c);
    pthread_condattr_t attr;
    int ok = c != NULL;
    if (ok && pthread_condattr_init(&attr) == 0) {
        ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
             pthread_cond_init(&c->cond, &attr) == 0;
        (void)pthread_condattr_destroy(&attr);
    }
    if (!ok) {
        gdfo_mem_free(c);
        c = NULL;
    }
    return c;
}

void gdfo_cond_destroy(struct gdfo_cond *c)
{
    if (c) {
        GDFO_CHECK(pthread_cond_destroy(&c->cond) == 0);
        gdfo_mem_free(c);
    }
}

void gdfo_cond_wait(struct gdfo_cond *c, struct gdfo_lock *l)
{
    GDFO_CHECK(pthread_cond_wait(&c->cond, &l->mutex) == 0);
}

int gdfo_cond_wait_ms(struct gdfo_cond *c, struct gdfo_lock *l, int64_t timeout_ms)
{
    struct timespec ts;
    int rc;
    GDFO_CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    ts.tv_sec += (time_t)(timeout_ms / 1000);
    ts.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (ts.tv_nsec >= 1000000000L) {
        ts.tv_nsec -= 1000000000L;
        ts.tv_sec++;
    }
    rc = pthread_cond_timedwait(&c->cond, &l->mutex, &ts);
    GDFO_CHECK(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void gdfo_cond_signal(struct gdfo_cond *c)
{
    GDFO_CHECK(pthread_cond_signal(&c->cond) == 0);
}

void gdfo_cond_broadcast(struct gdfo_cond *c)
{
    GDFO_CHECK(pthread_cond_broadcast(&c->cond) == 0);
}

struct gdfo_thread *gdfo_thread_start(const char *name, void *(*run)(void *), void *arg)
{
    struct gdfo_thread *t = gdfo_mem_array(1, sizeof *t);
    sigset_t all;
    sigset_t old;
    int rc;
    (void)name; /* kept in the interface for debuggers; naming a thread is not POSIX */
    if (!t) {
        return NULL;
    }
    (void)sigfillset(&all);
    GDFO_CHECK(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
    rc = pthread_create(&t->id, NULL, run, arg);
    GDFO_CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    if (rc != 0) {
        gdfo_mem_free(t);
        t = NULL;
    }
    return t;
}

void gdfo_thread_join(struct gdfo_thread *t)
{
    if (t) {
        GDFO_CHECK(pthread_join(t->id, NULL) == 0);
        gdfo_mem_free(t);
    }
}
