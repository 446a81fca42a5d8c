#ifndef GDFO_SERVER_NET_TIMER_H
#define GDFO_SERVER_NET_TIMER_H

#include <stddef.h>
#include <stdint.h>

/*
 * A binary heap of one-shot timers that live inside what they belong to: setting and clearing cost
 * the logarithm of their number and allocate nothing once there is room. Owner thread only.
 */
struct gdfo_timer {
    int64_t at_ms;
    size_t place; /* in the heap, counted from 1; 0 = not set */
    void (*fire)(struct gdfo_timer *timer);
};

struct gdfo_timers {
    struct gdfo_timer **heap;
    size_t n, cap;
};

int gdfo_timers_reserve(struct gdfo_timers *t, size_t n); /* room for n at once; 0: no memory */
void gdfo_timers_deinit(struct gdfo_timers *t);
void gdfo_timer_set(struct gdfo_timers *t, struct gdfo_timer *timer, int64_t at_ms);
void gdfo_timer_clear(struct gdfo_timers *t, struct gdfo_timer *timer);
void gdfo_timers_fire(struct gdfo_timers *t, int64_t now_ms); /* all that are due; fire may set */
int64_t gdfo_timers_next(const struct gdfo_timers *t, int64_t now_ms); /* ms to wait; -1: none */

#endif
