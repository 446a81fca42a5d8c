#ifndef GDFO_SERVER_NET_REPLICA_H
#define GDFO_SERVER_NET_REPLICA_H

#include <stdint.h>

#define GDFO_REPLICAS_MAX 16

/*
 * The servers behind one peer, and which of them the next call goes to: the one with the fewest
 * calls in flight. One that could not be connected to is out until a probe succeeds: a request to
 * the health path, or, where there is none, a call once the pause is over. Pure; owner thread only.
 */
struct gdfo_replica {
    uint32_t n_inflight;
    int is_down, is_probed; /* is_probed: a probe is out */
    int64_t probe_at_ms;    /* while it is down */
};

/* The index of the replica to send to, never none: with all down, that which is due first.
 * probes_by_call: a call may go to a replica that is down and due. *turn breaks ties in turn. */
uint32_t gdfo_replica_choose(const struct gdfo_replica *r, uint32_t n, int probes_by_call,
                             int64_t now_ms, uint32_t *turn);

void gdfo_replica_down(struct gdfo_replica *r, int64_t probe_at_ms);
void gdfo_replica_up(struct gdfo_replica *r);
uint32_t gdfo_replica_n_up(const struct gdfo_replica *r, uint32_t n);

#endif
