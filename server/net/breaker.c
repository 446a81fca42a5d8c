#include "server/net/breaker.h"

enum gdfo_breaker_state gdfo_breaker_ask(const struct gdfo_breaker *b, int64_t now_ms)
{
    if (b->state == GDFO_BREAKER_STATE_OPEN && now_ms >= b->until_ms) {
        return GDFO_BREAKER_STATE_CLOSED;
    }
    return b->state;
}

int gdfo_breaker_begin(struct gdfo_breaker *b)
{
    if (b->state != GDFO_BREAKER_STATE_OPEN) {
        return 0;
    }
    b->state = GDFO_BREAKER_STATE_PROBING;
    return 1;
}

void gdfo_breaker_end(struct gdfo_breaker *b, int is_probe, enum gdfo_breaker_end how,
                      int64_t now_ms)
{
    switch (how) {
    case GDFO_BREAKER_END_GOOD:
        b->n_failures = 0;
        b->state = GDFO_BREAKER_STATE_CLOSED;
        break;
    case GDFO_BREAKER_END_FAILED:
        b->n_failures++;
        /* those that were out when it opened do not hold it open longer */
        if (is_probe ||
            (b->state == GDFO_BREAKER_STATE_CLOSED && b->n_failures >= b->failures_max)) {
            b->state = GDFO_BREAKER_STATE_OPEN;
            b->until_ms = now_ms + b->open_ms;
        }
        break;
    case GDFO_BREAKER_END_NONE:
        if (is_probe && b->state == GDFO_BREAKER_STATE_PROBING) {
            b->state = GDFO_BREAKER_STATE_OPEN; /* its time has come: the next call probes */
        }
        break;
    }
}
