#ifndef GDFO_SERVER_NET_BREAKER_H
#define GDFO_SERVER_NET_BREAKER_H

#include <stdint.h>

/*
 * Stops asking a peer that has failed so often in a row, then asks with one call whether it is
 * back. Pure: time is an argument. Owner thread only.
 */
enum gdfo_breaker_state {
    GDFO_BREAKER_STATE_CLOSED, /* calls go */
    GDFO_BREAKER_STATE_OPEN,   /* until until_ms; then the next call is the probe */
    GDFO_BREAKER_STATE_PROBING /* one call is out; the others wait for its end */
};

struct gdfo_breaker {
    uint32_t failures_max, n_failures;
    int64_t open_ms, until_ms;
    enum gdfo_breaker_state state;
};

enum gdfo_breaker_end {
    GDFO_BREAKER_END_NONE, /* cancelled: says nothing of the peer */
    GDFO_BREAKER_END_GOOD, /* it answered, well or not */
    GDFO_BREAKER_END_FAILED
};

/* CLOSED: a call may go (also the probe, when its time has come); OPEN: not before until_ms;
 * PROBING: not before the probe's end. */
enum gdfo_breaker_state gdfo_breaker_ask(const struct gdfo_breaker *b, int64_t now_ms);

int gdfo_breaker_begin(struct gdfo_breaker *b); /* a call goes: 1 when it is the probe */
void gdfo_breaker_end(struct gdfo_breaker *b, int is_probe, enum gdfo_breaker_end how,
                      int64_t now_ms);

#endif
