#include "server/net/timer.h"

#include "common/check.h"
#include "common/mem.h"

int gdfo_timers_reserve(struct gdfo_timers *t, size_t n)
{
    void *heap = t->heap;
    if (n <= t->cap) {
        return 1;
    }
    if (!gdfo_mem_grow(&heap, &t->cap, n, sizeof(struct gdfo_timer *))) {
        return 0;
    }
    t->heap = heap;
    return 1;
}

void gdfo_timers_deinit(struct gdfo_timers *t)
{
    gdfo_mem_free(t->heap);
    t->heap = NULL;
    t->n = 0;
    t->cap = 0;
}

static void put(struct gdfo_timers *t, struct gdfo_timer *timer, size_t place)
{
    t->heap[place - 1] = timer;
    timer->place = place;
}

static void swim(struct gdfo_timers *t, struct gdfo_timer *timer)
{
    size_t i = timer->place;
    while (i > 1 && t->heap[i / 2 - 1]->at_ms > timer->at_ms) {
        put(t, t->heap[i / 2 - 1], i);
        i /= 2;
    }
    put(t, timer, i);
}

static void sink(struct gdfo_timers *t, struct gdfo_timer *timer)
{
    size_t i = timer->place;
    for (;;) {
        size_t c = 2 * i;
        if (c > t->n) {
            break;
        }
        c += c < t->n && t->heap[c]->at_ms < t->heap[c - 1]->at_ms;
        if (t->heap[c - 1]->at_ms >= timer->at_ms) {
            break;
        }
        put(t, t->heap[c - 1], i);
        i = c;
    }
    put(t, timer, i);
}

void gdfo_timer_set(struct gdfo_timers *t, struct gdfo_timer *timer, int64_t at_ms)
{
    timer->at_ms = at_ms;
    if (!timer->place) {
        GDFO_CHECK(t->n < t->cap);
        put(t, timer, ++t->n);
    }
    swim(t, timer);
    sink(t, timer);
}

void gdfo_timer_clear(struct gdfo_timers *t, struct gdfo_timer *timer)
{
    size_t place = timer->place;
    struct gdfo_timer *last;
    if (!place) {
        return;
    }
    timer->place = 0;
    last = t->heap[--t->n];
    if (last != timer) {
        put(t, last, place);
        swim(t, last);
        sink(t, last);
    }
}

void gdfo_timers_fire(struct gdfo_timers *t, int64_t now_ms)
{
    while (t->n > 0 && t->heap[0]->at_ms <= now_ms) {
        struct gdfo_timer *timer = t->heap[0];
        gdfo_timer_clear(t, timer);
        timer->fire(timer);
    }
}

int64_t gdfo_timers_next(const struct gdfo_timers *t, int64_t now_ms)
{
    if (t->n == 0) {
        return -1;
    }
    return t->heap[0]->at_ms > now_ms ? t->heap[0]->at_ms - now_ms : 0;
}
