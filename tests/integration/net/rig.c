#include "tests/integration/net/rig.h"

#include "common/mem.h"
#include "tests/support/test.h"

#include <string.h>

static int64_t monotonic_ms(void *ctx)
{
    struct gdfo_net_rig *rig = ctx;
    return gdfo_clk_monotonic_ms(gdfo_clk_system()) + atomic_load(&rig->ahead_ms);
}

static int64_t wall_ms(void *ctx)
{
    struct gdfo_net_rig *rig = ctx;
    return gdfo_clk_wall_ms(gdfo_clk_system()) + atomic_load(&rig->ahead_ms);
}

int gdfo_net_rig_setup(void **state)
{
    static const char *const ranges[] = {"127.0.0.0/8"};
    struct gdfo_net_rig *rig = gdfo_mem_array(1, sizeof *rig);
    if (!rig) {
        return -1;
    }
    rig->clk.ctx = rig;
    rig->clk.monotonic_ms = monotonic_ms;
    rig->clk.wall_ms = wall_ms;
    rig->setup.clk = &rig->clk;
    rig->setup.seed = 7;
    rig->spec.name = "t";
    rig->spec.base_urls = rig->urls;
    rig->spec.n_base_urls = 1;
    rig->spec.secret = GDFO_NET_RIG_SECRET;
    rig->spec.allow_cidrs = ranges;
    rig->spec.n_allow_cidrs = 1;
    rig->spec.timeout_ms = 20000;
    rig->spec.backoff_ms = 1;
    rig->spec.backoff_max_ms = 2;
    *state = rig;
    return 0;
}

int gdfo_net_rig_teardown(void **state)
{
    struct gdfo_net_rig *rig = *state;
    gdfo_net_peer_close(rig->peer);
    gdfo_net_destroy(rig->net);
    gdfo_hostile_stop(rig->server);
    gdfo_mem_free(rig);
    return 0;
}

void gdfo_net_rig_open(struct gdfo_net_rig *rig, const struct gdfo_hostile_step *steps, size_t n)
{
    rig->server = gdfo_hostile_start(steps, n);
    if (!rig->urls[0]) {
        rig->urls[0] = gdfo_hostile_url(rig->server);
    }
    gdfo_test_ok(gdfo_net_create(&rig->net, &rig->setup, &rig->err), &rig->err);
    gdfo_test_ok(gdfo_net_peer_open(&rig->peer, rig->net, &rig->spec, &rig->err), &rig->err);
}

struct gdfo_net_call gdfo_net_rig_call(void)
{
    struct gdfo_net_call call = {.method = "POST",
                                 .path = "/v1/score",
                                 .body = "{}",
                                 .body_bytes = 2,
                                 .answer_max = 1000,
                                 .idempotency_key = "gdfo-0123456789abcdef"};
    return call;
}

enum gdfo_status gdfo_net_rig_send(struct gdfo_net_rig *rig, struct gdfo_net_call *call)
{
    memset(&rig->err, 0, sizeof rig->err);
    return gdfo_net_send(rig->peer, call, 1, NULL, &rig->err);
}

static int leap(void *ctx)
{
    struct gdfo_net_rig *rig = ctx;
    (void)atomic_fetch_add(&rig->ahead_ms, 60000);
    return 0;
}

enum gdfo_status gdfo_net_rig_send_leaping(struct gdfo_net_rig *rig, struct gdfo_net_call *call)
{
    const struct gdfo_net_control control = {leap, rig, 1};
    memset(&rig->err, 0, sizeof rig->err);
    return gdfo_net_send(rig->peer, call, 1, &control, &rig->err);
}

struct gdfo_net_peer_state gdfo_net_rig_look(struct gdfo_net_rig *rig)
{
    struct gdfo_net_peer_state s;
    gdfo_net_peer_look(rig->peer, &s);
    return s;
}
