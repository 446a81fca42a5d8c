#include "server/net/batch_priv.h"
#include "server/net/line_priv.h"
#include "server/net/net_priv.h"
#include "server/net/peer_priv.h"
#include "server/net/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct outcome {
    enum gdfo_net_verdict verdict;
    int64_t hint_ms;
    int is_answered; /* the server has said something whole enough to go by */
    int is_connect;  /* the request never left: no connection came about */
    int is_timeout;
    const char *code; /* NULL: the verdict's own */
};

/* ---- words ---- */

static void clean(const struct gdfo_net_ticket *t)
{
    char *s = t->call->message;
    if (gdfo_secret_is_in(t->batch->peer->secret, s)) {
        (void)snprintf(s, sizeof t->call->message, "withheld: the words held the teacher's key");
    }
    for (; *s; s++) {
        *s = (char)(*s < 0x20 || *s >= 0x7f ? '?' : *s);
    }
}

GDFO_PRINTF(2, 3) static void note(struct gdfo_net_ticket *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(t->call->message, sizeof t->call->message, fmt, args);
    va_end(args);
    clean(t);
}

void gdfo_net_ticket_end(struct gdfo_net_ticket *t, enum gdfo_status status, const char *code,
                         const char *fmt, ...)
{
    struct gdfo_net_peer *peer = t->batch->peer;
    if (fmt) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(t->call->message, sizeof t->call->message, fmt, args);
        va_end(args);
        clean(t);
    }
    t->is_ended = 1;
    t->code = code;
    t->call->status = status;
    t->call->done_ms = gdfo_clk_wall_ms(peer->net->setup.clk);
    gdfo_timer_clear(&peer->net->timers, &t->timer);
    gdfo_net_link_cut(&t->link);
    peer->n_waiting -= t->line == NULL;
    t->line = NULL;
    t->batch->n_left--;
    (void)atomic_fetch_add_explicit(status == GDFO_STATUS_OK ? &peer->seen.n_ok
                                                             : &peer->seen.n_failed,
                                    1, memory_order_relaxed);
    if (status != GDFO_STATUS_OK && !t->batch->is_failed) {
        gdfo_net_batch_end_waiting(t->batch, 0);
    }
}

/* ---- what it was ---- */

static void by_answer(struct gdfo_net_line *line, int status, int is_whole, struct outcome *o)
{
    struct gdfo_net_ticket *t = line->ticket;
    struct gdfo_net_call *call = t->call;
    struct gdfo_error err = {0};
    char word[GDFO_VERDICT_WORD_MAX];
    struct gdfo_net_answer answer = {status, line->body.data ? line->body.data : "", line->body.len,
                                     line->headers.data ? line->headers.data : ""};
    o->is_answered = 1;
    o->verdict = gdfo_verdict_of(&answer);
    o->hint_ms = gdfo_verdict_wait_ms(&answer, gdfo_clk_wall_ms(line->peer->net->setup.clk));
    if (status != 200) {
        gdfo_verdict_word(&answer, word);
        note(t, "teacher %.64s answered %d%s%s%s", line->peer->name, status, word[0] ? " (" : "",
             word, word[0] ? ")" : "");
    }
    if (is_whole && call->judge &&
        (o->verdict == GDFO_NET_OK ||
         (call->judges_all && (o->verdict == GDFO_NET_FATAL || o->verdict == GDFO_NET_BAD)))) {
        o->verdict = call->judge(call->ctx, &answer, &err);
        if (o->verdict == GDFO_NET_THROTTLE || o->verdict == GDFO_NET_PAUSE) {
            o->verdict = GDFO_NET_BAD;
        }
        if (o->verdict != GDFO_NET_OK) {
            note(t, "teacher %.64s: %.160s", line->peer->name, err.text);
        }
    }
}

static void by_failure(struct gdfo_net_line *line, CURLcode rc, struct outcome *o)
{
    struct gdfo_net_ticket *t = line->ticket;
    const char *name = line->peer->name;
    o->verdict = GDFO_NET_RETRY;
    o->is_connect = line->n_prereq == 0;
    o->is_timeout = rc == CURLE_OPERATION_TIMEDOUT;
    if (line->is_forbidden) {
        o->verdict = GDFO_NET_FATAL;
        o->code = "teacher_address_forbidden";
        note(t, "teacher %.64s: its address is in a private range that it may not reach", name);
    } else if (line->is_dripping) {
        note(t, "teacher %.64s: the answer had not ended %lld ms after its first byte", name,
             (long long)line->peer->spec.drip_ms);
    } else if (rc == CURLE_URL_MALFORMAT) {
        o->verdict = GDFO_NET_FATAL;
        note(t, "teacher %.64s: %s", name, curl_easy_strerror(rc));
    } else {
        note(t, "teacher %.64s: %s: %s", name,
             o->is_connect      ? "no connection"
             : line->has_answer ? "the answer was cut short"
                                : "no answer",
             curl_easy_strerror(rc));
    }
}

static struct outcome look(struct gdfo_net_line *line, CURLcode rc)
{
    struct outcome o = {.verdict = GDFO_NET_RETRY};
    long status = 0;
    (void)curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
    line->ticket->call->http_status = line->has_answer ? (int)status : 0;
    if (rc == CURLE_OK) {
        by_answer(line, (int)status, 1, &o);
    } else if (line->has_answer && status >= 300) {
        by_answer(line, (int)status, 0, &o); /* its first line says enough */
    } else if (line->is_over) {
        o.verdict = GDFO_NET_BAD;
        o.is_answered = 1;
        note(line->ticket, "teacher %.64s: the answer is larger than any right one (%zu bytes)",
             line->peer->name, line->ticket->call->answer_max);
    } else {
        by_failure(line, rc, &o);
    }
    return o;
}

/* ---- what then ---- */

static int64_t backoff_ms(struct gdfo_net_ticket *t, int64_t hint_ms)
{
    const struct gdfo_net_peer_spec *s = &t->batch->peer->spec;
    double most = (double)s->backoff_ms;
    int64_t wait;
    for (uint32_t i = 1; i < t->n_tries && most < (double)s->backoff_max_ms; i++) {
        most *= 2;
    }
    most = most < (double)s->backoff_max_ms ? most : (double)s->backoff_max_ms;
    wait = (int64_t)(most * gdfo_rng_uniform(&t->batch->peer->net->rng));
    return wait > hint_ms ? wait : hint_ms;
}

static int may_go_on(struct gdfo_net_ticket *t)
{
    if (t->n_tries >= t->batch->peer->spec.max_sends || t->batch->is_down) {
        gdfo_net_ticket_end(t, GDFO_STATUS_UPSTREAM,
                            t->call->verdict == GDFO_NET_BAD ? "teacher_refused" : "teacher_down",
                            NULL);
        return 0;
    }
    if (t->batch->is_failed) {
        gdfo_net_ticket_end(t, GDFO_STATUS_CANCELLED, NULL, NULL);
        return 0;
    }
    return 1;
}

static void go_on(struct gdfo_net_ticket *t, int64_t wait_ms)
{
    if (!may_go_on(t)) {
        return;
    }
    t->line = NULL;
    gdfo_net_batch_later(t, wait_ms);
}

static void act(struct gdfo_net_ticket *t, const struct outcome *o, int64_t begun_ms)
{
    struct gdfo_net_peer *peer = t->batch->peer;
    int64_t now = gdfo_net_now(peer->net);
    int64_t wait = backoff_ms(t, o->hint_ms);
    switch (o->verdict) {
    case GDFO_NET_OK:
        gdfo_limiter_clean(&peer->limiter);
        t->call->is_unknown = 0;
        t->call->message[0] = '\0';
        gdfo_net_ticket_end(t, GDFO_STATUS_OK, NULL, NULL);
        break;
    case GDFO_NET_RETRY:
        if (o->is_timeout) {
            gdfo_limiter_cut(&peer->limiter, begun_ms, now);
        }
        go_on(t, wait);
        break;
    case GDFO_NET_THROTTLE:
        gdfo_limiter_cut(&peer->limiter, begun_ms, now);
        gdfo_limiter_pause(&peer->limiter, now + wait);
        go_on(t, wait);
        break;
    case GDFO_NET_BAD:
        if (++t->n_bad >= 2) {
            gdfo_net_ticket_end(t, GDFO_STATUS_UPSTREAM, "teacher_refused", NULL);
        } else if (may_go_on(t)) {
            t->line = NULL;
            gdfo_net_batch_again(t);
        }
        break;
    case GDFO_NET_PAUSE:
        gdfo_net_ticket_end(t, GDFO_STATUS_UPSTREAM, "teacher_refused", NULL);
        break;
    case GDFO_NET_FATAL:
        gdfo_net_ticket_end(t, GDFO_STATUS_UPSTREAM, o->code ? o->code : "teacher_rejected", NULL);
        break;
    }
}

/* A kept connection that dies before any answer byte says nothing of the server: once more at once,
 * on a new one. (libcurl does the same by itself where it can; this is for where it cannot.) */
static int is_stale(const struct gdfo_net_line *line, CURLcode rc, long n_connects)
{
    return n_connects == 0 && !line->has_answer && line->n_prereq > 0 && !line->is_forbidden &&
           !line->ticket->was_resent &&
           (rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR || rc == CURLE_GOT_NOTHING);
}

/* 1: the call goes to another replica at once, outside its count. */
static int judge_replica(struct gdfo_net_line *line, const struct outcome *o)
{
    struct gdfo_net_peer *peer = line->peer;
    struct gdfo_replica *r = &peer->replicas[line->replica];
    if (o->is_answered) {
        gdfo_replica_up(r);
        return 0;
    }
    if (!o->is_connect || o->code) {
        return 0;
    }
    gdfo_replica_down(r, gdfo_net_now(peer->net) + peer->spec.breaker_ms);
    return gdfo_replica_n_up(peer->replicas, peer->n_replicas) > 0;
}

static void land(struct gdfo_net_line *line)
{
    line->peer->net->n_flying--;
    line->peer->replicas[line->replica].n_inflight--;
    gdfo_net_peer_dirty(line->peer);
    if (line->ticket) {
        gdfo_limiter_give(&line->peer->limiter);
        gdfo_timer_clear(&line->peer->net->timers, &line->ticket->timer);
    }
}

static void end_health(struct gdfo_net_line *line, CURLcode rc)
{
    struct gdfo_replica *r = &line->peer->replicas[line->replica];
    long status = 0;
    (void)curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
    r->is_probed = 0;
    if (rc == CURLE_OK && status >= 200 && status <= 299) {
        gdfo_replica_up(r);
    } else {
        gdfo_replica_down(r, gdfo_net_now(line->peer->net) + line->peer->spec.breaker_ms);
    }
    gdfo_net_line_release(line);
}

/* The ticket's line is let go; where the ticket goes is said by the caller. */
static void resend(struct gdfo_net_ticket *t)
{
    if (t->batch->is_failed) {
        gdfo_net_ticket_end(t, GDFO_STATUS_CANCELLED, NULL, NULL);
        return;
    }
    t->n_tries--;
    t->line = NULL;
    gdfo_net_batch_again(t);
}

static void settle(struct gdfo_net_line *line, CURLcode rc, long n_connects)
{
    struct gdfo_net_ticket *t = line->ticket;
    struct gdfo_net_peer *peer = line->peer;
    int64_t begun_ms = line->begun_ms;
    int is_probe = line->is_probe;
    int is_resend = is_stale(line, rc, n_connects);
    enum gdfo_breaker_end end = GDFO_BREAKER_END_NONE;
    struct outcome o = look(line, rc);
    t->was_resent = is_resend;
    is_resend = judge_replica(line, &o) || is_resend;
    if (!o.code && !is_resend) {
        end = o.verdict == GDFO_NET_RETRY ? GDFO_BREAKER_END_FAILED : GDFO_BREAKER_END_GOOD;
    }
    t->call->verdict = o.verdict;
    t->call->wait_ms = o.hint_ms;
    t->call->is_unknown = t->call->is_unknown || (!o.is_answered && line->n_prereq > 0);
    gdfo_breaker_end(&peer->breaker, is_probe, end, gdfo_net_now(peer->net));
    gdfo_net_line_release(line);
    if (is_resend) {
        resend(t);
    } else {
        act(t, &o, begun_ms);
    }
}

void gdfo_net_line_done(struct gdfo_net_line *line, CURLcode rc)
{
    long n_connects = 0;
    (void)curl_easy_getinfo(line->easy, CURLINFO_NUM_CONNECTS, &n_connects);
    (void)atomic_fetch_add_explicit(&line->peer->seen.n_new_connections, (unsigned)n_connects,
                                    memory_order_relaxed);
    land(line);
    if (!line->ticket) {
        end_health(line, rc);
    } else {
        struct gdfo_net_batch *batch = line->ticket->batch;
        settle(line, rc, n_connects);
        gdfo_net_batch_close(batch);
    }
}

void gdfo_net_line_dripped(struct gdfo_net_line *line)
{
    line->is_dripping = 1;
    (void)curl_multi_remove_handle(line->peer->net->multi, line->easy);
    gdfo_net_line_done(line, CURLE_OPERATION_TIMEDOUT);
}

void gdfo_net_line_abort(struct gdfo_net_line *line)
{
    struct gdfo_net_ticket *t = line->ticket;
    (void)curl_multi_remove_handle(line->peer->net->multi, line->easy);
    land(line);
    if (t) {
        gdfo_breaker_end(&line->peer->breaker, line->is_probe, GDFO_BREAKER_END_NONE, 0);
        t->call->is_unknown = t->call->is_unknown || line->n_prereq > 0;
        gdfo_net_ticket_end(t, GDFO_STATUS_CANCELLED, NULL, "cancelled");
    }
    gdfo_net_line_release(line);
}
