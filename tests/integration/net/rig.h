#ifndef GDFO_TESTS_INTEGRATION_NET_RIG_H
#define GDFO_TESTS_INTEGRATION_NET_RIG_H

#include "server/net/net.h"
#include "tests/support/hostile.h"

#include <stdatomic.h>

/*
 * One net, one peer, one hostile server; a clock that runs by itself until a test pushes it
 * forward. Back-offs are short, so that a retry costs a test nothing.
 */
struct gdfo_net_rig {
    struct gdfo_net *net;
    struct gdfo_net_peer *peer;
    struct gdfo_hostile *server;
    struct gdfo_net_setup setup;
    struct gdfo_net_peer_spec spec;
    struct gdfo_clk clk;
    atomic_llong ahead_ms; /* of the system's clock */
    const char *urls[4];
    struct gdfo_error err;
};

#define GDFO_NET_RIG_SECRET "s3cret-of-the-teacher"

int gdfo_net_rig_setup(void **state); /* a spec with 127.0.0.0/8 allowed; nothing opened yet */
int gdfo_net_rig_teardown(void **state);
/* Starts server, net and peer with rig->spec. */
void gdfo_net_rig_open(struct gdfo_net_rig *rig, const struct gdfo_hostile_step *steps, size_t n);

/* A POST of "{}" to /v1/score that takes answers of up to 1,000 bytes. */
struct gdfo_net_call gdfo_net_rig_call(void);
/* Sends one; *call as it came back. */
enum gdfo_status gdfo_net_rig_send(struct gdfo_net_rig *rig, struct gdfo_net_call *call);
/* The same, and pushes the clock a minute on at every poll, so that long waits pass. */
enum gdfo_status gdfo_net_rig_send_leaping(struct gdfo_net_rig *rig, struct gdfo_net_call *call);
struct gdfo_net_peer_state gdfo_net_rig_look(struct gdfo_net_rig *rig);

#define GDFO_NET_RIG_STEPS(...)                                                                    \
    (const struct gdfo_hostile_step[]){__VA_ARGS__},                                               \
        sizeof((const struct gdfo_hostile_step[]){__VA_ARGS__}) / sizeof(struct gdfo_hostile_step)

#endif
