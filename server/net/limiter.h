#ifndef GDFO_SERVER_NET_LIMITER_H
#define GDFO_SERVER_NET_LIMITER_H

#include <stdint.h>

/*
 * How many calls of a peer may fly now: token buckets for requests and tokens a minute, a
 * concurrency that adds one and halves (AIMD), and the pause that a server asked for. Pure: time is
 * an argument, of any monotonic clock in milliseconds. Owner thread only.
 */
struct gdfo_limiter_bucket {
    double per_ms; /* 0: no limit */
    double cap, level;
};

struct gdfo_limiter {
    struct gdfo_limiter_bucket requests, tokens;
    int64_t filled_ms;
    uint32_t max_inflight, allowed, n_inflight;
    uint32_t n_clean; /* good calls since allowed last changed */
    int64_t cut_ms;   /* of the last halving */
    int64_t paused_until_ms;
};

/* per_minute: 0 = no limit. A bucket holds one second's worth, at least one request. */
void gdfo_limiter_init(struct gdfo_limiter *l, uint32_t max_inflight, double requests_per_minute,
                       double tokens_per_minute, int64_t now_ms);

/* 1: taken, the call may be sent. 0: *wait_ms to wait, or -1 until a call ends. A call of more
 * tokens than the bucket holds goes when it is full, and those behind it wait longer. */
int gdfo_limiter_take(struct gdfo_limiter *l, int64_t now_ms, int64_t n_tokens, int64_t *wait_ms);

void gdfo_limiter_give(struct gdfo_limiter *l);  /* a call that was taken has ended */
void gdfo_limiter_clean(struct gdfo_limiter *l); /* ... and well */

/* ... throttled or timed out: halves, but only once for all calls sent before the last halving. */
void gdfo_limiter_cut(struct gdfo_limiter *l, int64_t sent_ms, int64_t now_ms);

void gdfo_limiter_pause(struct gdfo_limiter *l, int64_t until_ms); /* never shortens a pause */

#endif
