#include "common/check.h"
#include "common/mem.h"
#include "server/net/batch_priv.h"
#include "server/net/line_priv.h"
#include "server/net/net_priv.h"
#include "server/net/peer_priv.h"

#include <string.h>

void gdfo_net_peer_dirty(struct gdfo_net_peer *peer)
{
    gdfo_net_link_add(&peer->net->dirty, &peer->dirty);
}

/* ---- admission, io thread ---- */

#define SENT -2 /* a call went; ask again */

static int64_t send_next(struct gdfo_net_peer *peer, int64_t now)
{
    struct gdfo_net *net = peer->net;
    struct gdfo_net_batch *b = GDFO_NET_OWNER(peer->turns.next, struct gdfo_net_batch, turn);
    struct gdfo_net_ticket *t = gdfo_net_batch_peek(b);
    enum gdfo_breaker_state state = gdfo_breaker_ask(&peer->breaker, now);
    int64_t wait = -1;
    uint32_t replica;
    if (state != GDFO_BREAKER_STATE_CLOSED) {
        return state == GDFO_BREAKER_STATE_OPEN ? peer->breaker.until_ms - now : -1;
    }
    if (net->n_flying >= net->setup.max_connections) {
        gdfo_net_link_add(&net->starved, &peer->dirty);
        return -1;
    }
    if (!gdfo_limiter_take(&peer->limiter, now, t->call->tokens, &wait)) {
        return wait;
    }
    replica = gdfo_replica_choose(peer->replicas, peer->n_replicas, !peer->health_path, now,
                                  &peer->replica_turn);
    t->n_tries++;
    if (gdfo_net_line_begin(peer, replica, t)) {
        gdfo_net_batch_begun(b, t);
    } else {
        gdfo_limiter_give(&peer->limiter);
        gdfo_net_ticket_end(t, GDFO_STATUS_NO_MEMORY, NULL, "out of memory for a request");
        gdfo_net_batch_close(b);
    }
    return SENT;
}

/* Milliseconds to the next replica that is due; -1: none. */
static int64_t probe_replicas(struct gdfo_net_peer *peer, int64_t now)
{
    int64_t next = -1;
    for (uint32_t i = 0; peer->health_path && i < peer->n_replicas; i++) {
        struct gdfo_replica *r = &peer->replicas[i];
        int64_t left = r->probe_at_ms - now;
        if (!r->is_down || r->is_probed) {
            continue;
        }
        if (left <= 0) {
            r->is_probed = gdfo_net_line_begin(peer, i, NULL);
            left = peer->spec.breaker_ms; /* for when there was no memory */
            r->probe_at_ms = now + left;
        }
        next = next < 0 || left < next ? left : next;
    }
    return next;
}

/* An open breaker ends the calls of those who do not wait for it. */
static void shut_out(struct gdfo_net_peer *peer)
{
    struct gdfo_net_link *at = peer->batches.next;
    while (at != &peer->batches) {
        struct gdfo_net_batch *b = GDFO_NET_OWNER(at, struct gdfo_net_batch, link);
        at = at->next;
        if (!b->waits_for_breaker) {
            gdfo_net_batch_end_waiting(b, 1);
            gdfo_net_batch_close(b);
        }
    }
}

void gdfo_net_peer_publish(struct gdfo_net_peer *peer)
{
    const memory_order relaxed = memory_order_relaxed;
    atomic_store_explicit(&peer->seen.n_inflight, peer->limiter.n_inflight, relaxed);
    atomic_store_explicit(&peer->seen.n_waiting, peer->n_waiting, relaxed);
    atomic_store_explicit(&peer->seen.allowed, peer->limiter.allowed, relaxed);
    atomic_store_explicit(&peer->seen.n_up, gdfo_replica_n_up(peer->replicas, peer->n_replicas),
                          relaxed);
    atomic_store_explicit(&peer->seen.breaker_is_open,
                          peer->breaker.state != GDFO_BREAKER_STATE_CLOSED, relaxed);
    atomic_store_explicit(&peer->seen.paused_until_ms, peer->limiter.paused_until_ms, relaxed);
}

static void on_timer(struct gdfo_timer *timer)
{
    gdfo_net_peer_dirty(GDFO_NET_OWNER(timer, struct gdfo_net_peer, timer));
}

void gdfo_net_peer_pump(struct gdfo_net_peer *peer)
{
    struct gdfo_net *net = peer->net;
    int64_t now = gdfo_net_now(net);
    int64_t wait = -1;
    int64_t probe;
    if (gdfo_breaker_ask(&peer->breaker, now) == GDFO_BREAKER_STATE_OPEN) {
        shut_out(peer);
    }
    while (!gdfo_net_link_is_empty(&peer->turns)) {
        wait = send_next(peer, now);
        if (wait != SENT) {
            break;
        }
        wait = -1;
    }
    probe = probe_replicas(peer, now);
    wait = wait < 0 || (probe >= 0 && probe < wait) ? probe : wait;
    if (wait >= 0) {
        gdfo_timer_set(&net->timers, &peer->timer, now + wait);
    } else {
        gdfo_timer_clear(&net->timers, &peer->timer);
    }
    gdfo_net_peer_publish(peer);
}

static void destroy_lines(struct gdfo_net_link *head)
{
    while (!gdfo_net_link_is_empty(head)) {
        struct gdfo_net_line *line = GDFO_NET_OWNER(head->next, struct gdfo_net_line, link);
        gdfo_net_link_cut(&line->link);
        gdfo_net_line_destroy(line);
    }
}

void gdfo_net_peer_end(struct gdfo_net_peer *peer)
{
    struct gdfo_net *net = peer->net;
    GDFO_CHECK(gdfo_net_link_is_empty(&peer->batches));
    while (!gdfo_net_link_is_empty(&peer->probes)) {
        gdfo_net_line_abort(GDFO_NET_OWNER(peer->probes.next, struct gdfo_net_line, link));
    }
    destroy_lines(&peer->idle);
    gdfo_timer_clear(&net->timers, &peer->timer);
    gdfo_net_link_cut(&peer->dirty);
    GDFO_LOCK_SCOPE(net->lock);
    net->n_peers--;
    peer->is_closed = 1;
    gdfo_cond_signal(peer->closed);
}

/* ---- open, close ---- */

static enum gdfo_status check_range(const char *name, int64_t v, int64_t min, int64_t max,
                                    struct gdfo_error *err)
{
    if (v < min || v > max) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s %lld: want %lld..%lld", name,
                              (long long)v, (long long)min, (long long)max);
    }
    return GDFO_STATUS_OK;
}

static int64_t or_default(int64_t v, int64_t otherwise)
{
    return v ? v : otherwise;
}

static enum gdfo_status fill_numbers(struct gdfo_net_peer_spec *s, struct gdfo_error *err)
{
    enum gdfo_status status;
    s->timeout_ms = or_default(s->timeout_ms, 60000);
    s->connect_ms = or_default(s->connect_ms, 5000);
    s->drip_ms = or_default(s->drip_ms, 15000);
    s->idle_ms = or_default(s->idle_ms, 60000);
    s->max_inflight = (uint32_t)or_default(s->max_inflight, 8);
    s->max_sends = (uint32_t)or_default(s->max_sends, 3);
    s->breaker_failures = (uint32_t)or_default(s->breaker_failures, 5);
    s->breaker_ms = or_default(s->breaker_ms, 30000);
    s->backoff_ms = or_default(s->backoff_ms, 500);
    s->backoff_max_ms = or_default(s->backoff_max_ms, 60000);
    const struct {
        const char *name;
        int64_t v, min, max;
    } rows[] = {
        {"timeout_ms", s->timeout_ms, 1000, 600000},
        {"connect_ms", s->connect_ms, 1, 600000},
        {"drip_ms", s->drip_ms, 1, 600000},
        {"idle_ms", s->idle_ms, 1, 3600000},
        {"max_inflight", s->max_inflight, 1, 1024},
        {"max_sends", s->max_sends, 1, 100},
        {"breaker_failures", s->breaker_failures, 1, 1000000},
        {"breaker_ms", s->breaker_ms, 1, 3600000},
        {"backoff_ms", s->backoff_ms, 1, 600000},
        {"backoff_max_ms", s->backoff_max_ms, 1, 600000},
        {"base URLs", (int64_t)s->n_base_urls, 1, GDFO_REPLICAS_MAX},
        {"allowed ranges", (int64_t)s->n_allow_cidrs, 0, 256},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        status = check_range(rows[i].name, rows[i].v, rows[i].min, rows[i].max, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_urls(struct gdfo_net_peer *p, const struct gdfo_net_peer_spec *spec,
                                  struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    p->allowed = gdfo_mem_array(spec->n_allow_cidrs + 1, sizeof *p->allowed);
    if (!p->allowed) {
        return gdfo_error_no_memory(err, "opening a teacher");
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < spec->n_allow_cidrs; i++) {
        status = gdfo_gate_cidr_parse(&p->allowed[i], spec->allow_cidrs[i], err);
    }
    p->n_replicas = (uint32_t)spec->n_base_urls;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < spec->n_base_urls; i++) {
        status = gdfo_net_url_parse(&p->urls[i], spec->base_urls[i], p->allowed,
                                    spec->n_allow_cidrs, err);
    }
    if (status == GDFO_STATUS_OK && spec->health_path &&
        !gdfo_net_path_is_good(spec->health_path)) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "health path: want /PATH of printable ASCII without blanks");
    }
    return status;
}

static enum gdfo_status copy_texts(struct gdfo_net_peer *p, const struct gdfo_net_peer_spec *spec,
                                   struct gdfo_error *err)
{
    p->name = gdfo_mem_dup_str(spec->name ? spec->name : "");
    p->ca_file = gdfo_mem_dup_str(spec->ca_file);
    p->proxy = gdfo_mem_dup_str(spec->proxy);
    p->health_path = gdfo_mem_dup_str(spec->health_path);
    p->closed = gdfo_cond_create();
    if (!p->name || (spec->ca_file && !p->ca_file) || (spec->proxy && !p->proxy) ||
        (spec->health_path && !p->health_path) || !p->closed) {
        return gdfo_error_no_memory(err, "opening a teacher");
    }
    if (!spec->secret) {
        return GDFO_STATUS_OK;
    }
    return gdfo_secret_create(&p->secret, "Authorization: Bearer ", spec->secret, err);
}

static void peer_free(struct gdfo_net_peer *p)
{
    gdfo_secret_destroy(p->secret);
    gdfo_cond_destroy(p->closed);
    gdfo_mem_free(p->allowed);
    gdfo_mem_free(p->name);
    gdfo_mem_free(p->ca_file);
    gdfo_mem_free(p->proxy);
    gdfo_mem_free(p->health_path);
    gdfo_mem_free(p);
}

static enum gdfo_status peer_fill(struct gdfo_net_peer *p, const struct gdfo_net_peer_spec *spec,
                                  struct gdfo_error *err)
{
    enum gdfo_status status;
    p->spec = *spec; /* its numbers; the borrowed pointers are not used again */
    status = fill_numbers(&p->spec, err);
    if (status == GDFO_STATUS_OK) {
        status = read_urls(p, spec, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = copy_texts(p, spec, err);
    }
    return status;
}

static void peer_init(struct gdfo_net_peer *p, struct gdfo_net *net)
{
    p->net = net;
    gdfo_net_link_init(&p->batches);
    gdfo_net_link_init(&p->turns);
    gdfo_net_link_init(&p->idle);
    gdfo_net_link_init(&p->probes);
    gdfo_net_link_init(&p->dirty);
    gdfo_net_link_init(&p->close.link);
    p->close.kind = GDFO_NET_CLOSE;
    p->close.of = p;
    p->timer.fire = on_timer;
    p->breaker.failures_max = p->spec.breaker_failures;
    p->breaker.open_ms = p->spec.breaker_ms;
    gdfo_limiter_init(&p->limiter, p->spec.max_inflight, p->spec.requests_per_minute,
                      p->spec.tokens_per_minute, gdfo_net_now(net));
    gdfo_net_peer_publish(p);
}

enum gdfo_status gdfo_net_peer_open(struct gdfo_net_peer **out, struct gdfo_net *net,
                                    const struct gdfo_net_peer_spec *spec, struct gdfo_error *err)
{
    struct gdfo_net_peer *p = gdfo_mem_array(1, sizeof *p);
    enum gdfo_status status;
    if (!p) {
        return gdfo_error_no_memory(err, "opening a teacher");
    }
    status = peer_fill(p, spec, err);
    if (status != GDFO_STATUS_OK) {
        peer_free(p);
        return status;
    }
    peer_init(p, net);
    GDFO_LOCK_SCOPE(net->lock);
    net->n_peers++;
    *out = p;
    return GDFO_STATUS_OK;
}

static void close_and_wait(struct gdfo_net_peer *peer)
{
    GDFO_LOCK_SCOPE(peer->net->lock);
    gdfo_net_post(peer->net, &peer->close);
    while (!peer->is_closed) {
        gdfo_cond_wait(peer->closed, peer->net->lock);
    }
}

void gdfo_net_peer_close(struct gdfo_net_peer *peer)
{
    if (peer) {
        close_and_wait(peer);
        peer_free(peer);
    }
}

void gdfo_net_peer_look(struct gdfo_net_peer *peer, struct gdfo_net_peer_state *out)
{
    const memory_order relaxed = memory_order_relaxed;
    int64_t left = atomic_load_explicit(&peer->seen.paused_until_ms, relaxed);
    int64_t now = gdfo_net_now(peer->net);
    memset(out, 0, sizeof *out);
    out->n_inflight = atomic_load_explicit(&peer->seen.n_inflight, relaxed);
    out->n_waiting = atomic_load_explicit(&peer->seen.n_waiting, relaxed);
    out->max_inflight_now = atomic_load_explicit(&peer->seen.allowed, relaxed);
    out->n_replicas = peer->n_replicas;
    out->n_replicas_up = atomic_load_explicit(&peer->seen.n_up, relaxed);
    out->breaker_is_open = atomic_load_explicit(&peer->seen.breaker_is_open, relaxed);
    out->throttled_ms = left > now ? left - now : 0;
    out->n_sent = atomic_load_explicit(&peer->seen.n_sent, relaxed);
    out->n_ok = atomic_load_explicit(&peer->seen.n_ok, relaxed);
    out->n_failed = atomic_load_explicit(&peer->seen.n_failed, relaxed);
    out->n_new_connections = atomic_load_explicit(&peer->seen.n_new_connections, relaxed);
}
