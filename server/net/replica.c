#include "server/net/replica.h"

static int is_due(const struct gdfo_replica *r, int64_t now_ms)
{
    return r->is_down && !r->is_probed && r->n_inflight == 0 && now_ms >= r->probe_at_ms;
}

/* 1 when a is the better choice. Those up come first, then what is due first. */
static int is_better(const struct gdfo_replica *a, const struct gdfo_replica *b)
{
    if (a->is_down != b->is_down) {
        return b->is_down;
    }
    return a->is_down ? a->probe_at_ms < b->probe_at_ms : a->n_inflight < b->n_inflight;
}

uint32_t gdfo_replica_choose(const struct gdfo_replica *r, uint32_t n, int probes_by_call,
                             int64_t now_ms, uint32_t *turn)
{
    uint32_t first = *turn % n;
    uint32_t best = first;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = (first + k) % n;
        if (probes_by_call && is_due(&r[i], now_ms)) {
            best = i;
            break;
        }
        if (is_better(&r[i], &r[best])) {
            best = i;
        }
    }
    *turn = (best + 1) % n;
    return best;
}

void gdfo_replica_down(struct gdfo_replica *r, int64_t probe_at_ms)
{
    r->is_down = 1;
    r->probe_at_ms = probe_at_ms;
}

void gdfo_replica_up(struct gdfo_replica *r)
{
    r->is_down = 0;
}

uint32_t gdfo_replica_n_up(const struct gdfo_replica *r, uint32_t n)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < n; i++) {
        up += !r[i].is_down;
    }
    return up;
}
