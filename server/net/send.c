#include "common/mem.h"
#include "server/net/net_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CANCEL_POLL_MS 50

/* ---- checks ---- */

static int is_line(const char *s)
{
    for (; *s; s++) {
        if (*s < 0x20 || *s >= 0x7f) {
            return 0;
        }
    }
    return 1;
}

/* Framing, authority and what the net sets by itself are no caller's business. */
static int is_ours(const char *header, size_t name_bytes)
{
    static const char *const names[] = {"authorization",     "host",           "content-length",
                                        "transfer-encoding", "connection",     "expect",
                                        "accept-encoding",   "idempotency-key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == name_bytes && strncasecmp(header, names[i], name_bytes) == 0) {
            return 1;
        }
    }
    return 0;
}

static int header_is_good(const char *header)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t n = strspn(header, letters);
    return n > 0 && header[n] == ':' && header[n + 1] == ' ' && is_line(header) &&
           !is_ours(header, n);
}

static const char *fault(const struct gdfo_net_call *c)
{
    if (strcmp(c->method, "GET") != 0 && strcmp(c->method, "POST") != 0) {
        return "method: want GET or POST";
    }
    if (!gdfo_net_path_is_good(c->path)) {
        return "path: want /PATH of printable ASCII without blanks";
    }
    if (c->n_headers > GDFO_NET_HEADERS_MAX) {
        return "more than 16 headers";
    }
    for (size_t i = 0; i < c->n_headers; i++) {
        if (!header_is_good(c->headers[i])) {
            return "header: want 'name: value' of printable ASCII, and none that the net sets";
        }
    }
    if (c->idempotency_key && (strlen(c->idempotency_key) > 160 || !is_line(c->idempotency_key))) {
        return "idempotency key: want at most 160 bytes of printable ASCII";
    }
    return c->answer_max == 0 || c->answer_max > GDFO_NET_ANSWER_MAX
               ? "answer_max: want 1..16777216 bytes"
               : NULL;
}

static enum gdfo_status check(const struct gdfo_net_call *calls, size_t n, struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *why = fault(&calls[i]);
        if (why) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "call %zu: %s", i, why);
        }
    }
    return GDFO_STATUS_OK;
}

/* ---- the batch ---- */

static void init_tickets(struct gdfo_net_batch *b, struct gdfo_net_call *calls)
{
    for (size_t i = 0; i < b->n; i++) {
        struct gdfo_net_call *c = &calls[i];
        b->tickets[i].batch = b;
        b->tickets[i].call = c;
        gdfo_net_link_init(&b->tickets[i].link);
        c->status = GDFO_STATUS_OK;
        c->verdict = GDFO_NET_OK;
        c->http_status = 0;
        c->n_sends = 0;
        c->is_unknown = 0;
        c->wait_ms = 0;
        c->sent_ms = 0;
        c->first_byte_ms = 0;
        c->done_ms = 0;
        c->message[0] = '\0';
    }
}

static void init_command(struct gdfo_net_command *c, enum gdfo_net_command_kind kind,
                         struct gdfo_net_batch *b)
{
    gdfo_net_link_init(&c->link);
    c->kind = kind;
    c->of = b;
}

static int batch_init(struct gdfo_net_batch *b, struct gdfo_net_peer *peer,
                      struct gdfo_net_call *calls, size_t n)
{
    memset(b, 0, sizeof *b);
    b->peer = peer;
    b->n = n;
    b->n_left = n;
    gdfo_net_link_init(&b->link);
    gdfo_net_link_init(&b->turn);
    gdfo_net_link_init(&b->ready);
    gdfo_net_link_init(&b->waiting);
    gdfo_net_link_init(&b->flying);
    init_command(&b->submit, GDFO_NET_SUBMIT, b);
    init_command(&b->cancel, GDFO_NET_CANCEL, b);
    b->tickets = gdfo_mem_array(n, sizeof *b->tickets);
    b->ended = gdfo_cond_create();
    if (!b->tickets || !b->ended) {
        return 0;
    }
    init_tickets(b, calls);
    return 1;
}

static void batch_deinit(struct gdfo_net_batch *b)
{
    gdfo_cond_destroy(b->ended);
    gdfo_mem_free(b->tickets);
}

/* ---- the wait ---- */

/* 1: has ended. Waits a poll's length where somebody may cancel, else to the end. */
static int wait_some(struct gdfo_net_batch *b, int is_polled)
{
    GDFO_LOCK_SCOPE(b->peer->net->lock);
    while (!b->is_ended && !is_polled) {
        gdfo_cond_wait(b->ended, b->peer->net->lock);
    }
    if (!b->is_ended) {
        GDFO_IGNORE(gdfo_cond_wait_ms(b->ended, b->peer->net->lock, CANCEL_POLL_MS));
    }
    return b->is_ended;
}

static void post(struct gdfo_net_batch *b, struct gdfo_net_command *command)
{
    GDFO_LOCK_SCOPE(b->peer->net->lock);
    if (!b->is_ended) {
        gdfo_net_post(b->peer->net, command);
    }
}

static int fly(struct gdfo_net_batch *b, const struct gdfo_net_control *control)
{
    int is_polled = control && control->is_cancelled;
    int was_cancelled = 0;
    post(b, &b->submit);
    do {
        if (is_polled && control->is_cancelled(control->ctx)) {
            was_cancelled = 1;
            is_polled = 0; /* one command is enough; its end comes at once */
            post(b, &b->cancel);
        }
    } while (!wait_some(b, is_polled));
    return was_cancelled;
}

static enum gdfo_status first_bad(const struct gdfo_net_batch *b, int was_cancelled,
                                  struct gdfo_error *err)
{
    const struct gdfo_net_ticket *bad = NULL;
    size_t n_bad = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct gdfo_net_ticket *t = &b->tickets[i];
        n_bad += t->call->status != GDFO_STATUS_OK;
        if (!bad && t->call->status != GDFO_STATUS_OK && t->call->status != GDFO_STATUS_CANCELLED) {
            bad = t;
        }
    }
    if (n_bad > 0 && (was_cancelled || !bad)) {
        return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "cancelled with %zu of %zu calls left",
                              n_bad, b->n);
    }
    if (!bad) {
        return GDFO_STATUS_OK;
    }
    (void)gdfo_error_set(err, bad->call->status, "%s", bad->call->message);
    if (bad->code) {
        gdfo_error_at(err, "", bad->code);
    }
    return bad->call->status;
}

static enum gdfo_status send_all(struct gdfo_net_peer *peer, struct gdfo_net_call *calls, size_t n,
                                 const struct gdfo_net_control *control, struct gdfo_error *err)
{
    struct gdfo_net_batch b;
    enum gdfo_status status;
    if (!batch_init(&b, peer, calls, n)) {
        batch_deinit(&b);
        return gdfo_error_no_memory(err, "sending to a teacher");
    }
    b.waits_for_breaker = control && control->waits_for_breaker;
    status = first_bad(&b, fly(&b, control), err);
    batch_deinit(&b);
    return status;
}

enum gdfo_status gdfo_net_send(struct gdfo_net_peer *peer, struct gdfo_net_call *calls, size_t n,
                               const struct gdfo_net_control *control, struct gdfo_error *err)
{
    struct gdfo_net *net = peer->net;
    enum gdfo_status status = check(calls, n, err);
    size_t before;
    if (status != GDFO_STATUS_OK || n == 0) {
        return status;
    }
    before = atomic_fetch_add(&net->n_pending, n);
    if (before > net->setup.max_pending || n > net->setup.max_pending - before) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT,
                                "%zu calls with %zu waiting already: want at most %zu", n, before,
                                net->setup.max_pending);
    } else {
        status = send_all(peer, calls, n, control, err);
    }
    (void)atomic_fetch_sub(&net->n_pending, n);
    return status;
}
