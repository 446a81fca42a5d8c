#include "server/net/batch_priv.h"
#include "server/net/line_priv.h"
#include "server/net/net_priv.h"
#include "server/net/peer_priv.h"

/* What may be sent next: first what was sent before, then the next in order; NULL: nothing. */
struct gdfo_net_ticket *gdfo_net_batch_peek(struct gdfo_net_batch *b)
{
    if (!gdfo_net_link_is_empty(&b->ready)) {
        return GDFO_NET_OWNER(b->ready.next, struct gdfo_net_ticket, link);
    }
    return b->next < b->n ? &b->tickets[b->next] : NULL;
}

/* In the peer's turns exactly while it has something to send. */
static void take_turn(struct gdfo_net_batch *b)
{
    if (!gdfo_net_batch_peek(b)) {
        gdfo_net_link_cut(&b->turn);
    } else if (gdfo_net_link_is_empty(&b->turn)) {
        gdfo_net_link_add(&b->peer->turns, &b->turn);
    }
}

void gdfo_net_batch_begun(struct gdfo_net_batch *b, struct gdfo_net_ticket *t)
{
    b->next += !t->is_begun;
    t->is_begun = 1;
    b->peer->n_waiting--;
    gdfo_net_link_add(&b->flying, &t->link);
    gdfo_net_link_cut(&b->turn); /* to the end of the turns: batches take them one call each */
    take_turn(b);
}

void gdfo_net_batch_again(struct gdfo_net_ticket *t)
{
    struct gdfo_net_batch *b = t->batch;
    gdfo_net_link_add(&b->ready, &t->link);
    b->peer->n_waiting++;
    take_turn(b);
    gdfo_net_peer_dirty(b->peer);
}

static void on_backoff_end(struct gdfo_timer *timer)
{
    struct gdfo_net_ticket *t = GDFO_NET_OWNER(timer, struct gdfo_net_ticket, timer);
    t->batch->peer->n_waiting--;
    gdfo_net_batch_again(t);
}

void gdfo_net_batch_later(struct gdfo_net_ticket *t, int64_t wait_ms)
{
    struct gdfo_net *net = t->batch->peer->net;
    gdfo_net_link_add(&t->batch->waiting, &t->link);
    t->batch->peer->n_waiting++;
    t->timer.fire = on_backoff_end;
    gdfo_timer_set(&net->timers, &t->timer, gdfo_net_now(net) + wait_ms);
    gdfo_net_peer_dirty(t->batch->peer);
}

void gdfo_net_batch_close(struct gdfo_net_batch *b)
{
    struct gdfo_net *net = b->peer->net;
    if (b->n_left > 0) {
        return;
    }
    gdfo_net_link_cut(&b->link);
    gdfo_net_link_cut(&b->turn);
    net->n_live -= b->n;
    gdfo_net_peer_dirty(b->peer);
    gdfo_net_peer_publish(b->peer);
    GDFO_LOCK_SCOPE(net->lock);
    gdfo_net_link_cut(&b->cancel.link);
    b->is_ended = 1;
    gdfo_cond_signal(b->ended); /* the last touch: it is the worker's again */
}

void gdfo_net_batch_take(struct gdfo_net_batch *b)
{
    struct gdfo_net *net = b->peer->net;
    size_t n_peers;
    gdfo_lock_acquire(net->lock);
    n_peers = net->n_peers;
    gdfo_lock_release(net->lock);
    gdfo_net_link_add(&b->peer->batches, &b->link);
    b->peer->n_waiting += (uint32_t)b->n;
    net->n_live += b->n;
    if (!gdfo_timers_reserve(&net->timers, net->n_live + n_peers)) {
        gdfo_net_ticket_end(&b->tickets[0], GDFO_STATUS_NO_MEMORY, NULL,
                            "out of memory for the calls' timers");
        gdfo_net_batch_close(b);
        return;
    }
    take_turn(b);
    gdfo_net_peer_dirty(b->peer);
}

static void end_one(struct gdfo_net_ticket *t, int is_breaker)
{
    const struct gdfo_net_peer *peer = t->batch->peer;
    if (is_breaker) {
        t->call->verdict = GDFO_NET_RETRY;
        gdfo_net_ticket_end(t, GDFO_STATUS_UPSTREAM, "teacher_down",
                            "teacher %.64s failed %u times in a row and is not asked for %lld ms",
                            peer->name, (unsigned)peer->breaker.n_failures,
                            (long long)peer->spec.breaker_ms);
    } else if (t->batch->is_cancelled) {
        gdfo_net_ticket_end(t, GDFO_STATUS_CANCELLED, NULL, "cancelled");
    } else {
        gdfo_net_ticket_end(t, GDFO_STATUS_CANCELLED, NULL,
                            "not sent any more: another call of its batch has failed");
    }
}

void gdfo_net_batch_end_waiting(struct gdfo_net_batch *b, int is_breaker)
{
    b->is_down = b->is_down || is_breaker;
    b->is_failed = 1; /* first, so that the ends below do not come back here */
    while (!gdfo_net_link_is_empty(&b->ready)) {
        end_one(GDFO_NET_OWNER(b->ready.next, struct gdfo_net_ticket, link), is_breaker);
    }
    while (!gdfo_net_link_is_empty(&b->waiting)) {
        end_one(GDFO_NET_OWNER(b->waiting.next, struct gdfo_net_ticket, link), is_breaker);
    }
    while (b->next < b->n) {
        struct gdfo_net_ticket *t = &b->tickets[b->next++];
        if (!t->is_ended) {
            end_one(t, is_breaker);
        }
    }
    gdfo_net_link_cut(&b->turn);
}

void gdfo_net_batch_cancel(struct gdfo_net_batch *b)
{
    b->is_cancelled = 1;
    gdfo_net_batch_end_waiting(b, 0);
    while (!gdfo_net_link_is_empty(&b->flying)) {
        struct gdfo_net_ticket *t = GDFO_NET_OWNER(b->flying.next, struct gdfo_net_ticket, link);
        gdfo_net_line_abort(t->line);
    }
    gdfo_net_batch_close(b);
}
