#ifndef GDFO_SERVER_NET_NET_H
#define GDFO_SERVER_NET_NET_H

#include "common/buf.h"
#include "common/clk.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The way out: every request to a teacher's server. One thread owns one curl multi handle for all
 * peers; limits, breaker, replicas and connections belong to a peer, that is to a teacher. Nothing
 * waits inside libcurl: a call is admitted here first, so its timeout counts from its sending
 * (teachers.md 2).
 *
 *   gdfo_net_create(&net, &setup, err);
 *   gdfo_net_peer_open(&peer, net, &spec, err);
 *   gdfo_net_send(peer, calls, n, &control, err);   any worker thread; returns when all have ended
 *   gdfo_net_peer_close(peer);
 *   gdfo_net_destroy(net);
 *
 * open, close, send and look: any thread. An address is judged before it is connected to and again
 * before every request, the first thing of which is a connection that another peer has opened; with
 * a proxy it is the proxy's address that is judged. Every private range needs the peer's leave.
 *
 * Bounded: calls waiting and in flight, bytes of an answer, of its headers, and of all answers.
 */
struct gdfo_net;
struct gdfo_net_peer;

struct gdfo_net_setup {
    const struct gdfo_clk *clk;
    uint32_t max_connections; /* of all peers; 0 = 256 */
    size_t max_pending;       /* calls of all peers that wait or fly; 0 = 65,536 */
    uint64_t seed;            /* of the jitter */
};

struct gdfo_net_peer_spec {       /* borrowed during the call, copied */
    const char *name;             /* of the teacher, for messages */
    const char *const *base_urls; /* replicas: "https://host[:port][/path]" */
    size_t n_base_urls;           /* 1..16 */
    const char *secret;           /* for Authorization: Bearer; NULL: none. Kept in locked memory */
    const char *const *allow_cidrs; /* private ranges that this peer may reach, "10.0.0.0/8" */
    size_t n_allow_cidrs;
    const char *ca_file;     /* NULL: the system's */
    const char *proxy;       /* NULL: none, whatever the environment says */
    const char *health_path; /* asked while a replica is out; NULL: the next call is the probe */
    int64_t timeout_ms;      /* of a whole call, 1,000..600,000; 0 = 60,000 */
    int64_t connect_ms;      /* 0 = 5,000 */
    int64_t drip_ms;         /* from an answer's first byte to its last; 0 = 15,000 */
    int64_t idle_ms;         /* age at which a kept connection is not used again; 0 = 60,000 */
    uint32_t max_inflight;   /* 1..1024; 0 = 8 */
    double requests_per_minute, tokens_per_minute; /* 0: no limit */
    uint32_t max_sends;                            /* of one call; 0 = 3 */
    uint32_t breaker_failures;                     /* in a row; 0 = 5 */
    int64_t breaker_ms;                            /* 0 = 30,000 */
    int64_t backoff_ms, backoff_max_ms;            /* 0 = 500 and 60,000 */
};

/* CONFLICT with code teacher_address_forbidden, INVALID for a URL that is none of ours: scheme,
 * userinfo, http to a public host. Opens no connection. */
GDFO_MUST_USE enum gdfo_status gdfo_net_peer_open(struct gdfo_net_peer **out, struct gdfo_net *net,
                                                  const struct gdfo_net_peer_spec *spec,
                                                  struct gdfo_error *err);
/* Waits for nothing: no send of it may be under way. */
void gdfo_net_peer_close(struct gdfo_net_peer *peer);

GDFO_MUST_USE enum gdfo_status gdfo_net_create(struct gdfo_net **out,
                                               const struct gdfo_net_setup *setup,
                                               struct gdfo_error *err);
void gdfo_net_destroy(struct gdfo_net *net); /* after its peers; NULL is fine */

/* Status and body code together; the names are those of teachers.md 2. */
enum gdfo_net_verdict {
    GDFO_NET_OK,
    GDFO_NET_RETRY,
    GDFO_NET_THROTTLE,
    GDFO_NET_PAUSE,
    GDFO_NET_FATAL,
    GDFO_NET_BAD
};

struct gdfo_net_answer { /* borrowed, during judge */
    int status;
    const char *body; /* NUL behind its n bytes */
    size_t n;
    const char *headers; /* "name: value\n" lines, names in lower case */
};

/* The value of a header into out, NUL-terminated and cut to cap: 1 when it is there. */
int gdfo_net_header(const struct gdfo_net_answer *answer, const char *name, char *out, size_t cap);

struct gdfo_net_call {
    /* ---- in ---- */
    const char *method, *path;  /* path is put behind the base URL */
    const char *const *headers; /* "name: value", printable ASCII */
    size_t n_headers;
    const void *body;
    size_t body_bytes;
    size_t answer_max;           /* 1..16 MiB; an answer of 200 with more bytes is cut and BAD */
    int64_t tokens;              /* for the limit of tokens a minute */
    const char *idempotency_key; /* the same on every send; NULL: none */
    /* Judges an answer of status 200: OK, RETRY or BAD. Called on the net's own thread, so it is
       quick and touches only what is this call's own; err's text is kept as the call's message. */
    enum gdfo_net_verdict (*judge)(void *ctx, const struct gdfo_net_answer *answer,
                                   struct gdfo_error *err);
    void *ctx;
    /* 1: judge is asked of refusals as well, of every status but those that are sent again or need
       a person (RETRY, THROTTLE, PAUSE), and may say FATAL too: a probe learns from a 404. */
    int judges_all;
    /* ---- out, when gdfo_net_send has returned ---- */
    enum gdfo_status status; /* OK; UPSTREAM: verdict says which; CANCELLED; NO_MEMORY */
    enum gdfo_net_verdict verdict;
    int http_status;                         /* of the last answer; 0 when there was none */
    uint32_t n_sends;                        /* bytes of the request may have left so often */
    int is_unknown;                          /* one of them had no answer, and none was right */
    int64_t wait_ms;                         /* that the server asked for, capped */
    int64_t sent_ms, first_byte_ms, done_ms; /* of the last send, by the clock's wall time */
    char message[256];                       /* why, cleaned: no control characters, no secret */
};

struct gdfo_net_control { /* NULL: nothing of it */
    /* Polled while waiting, at least every 50 ms: 1 ends all of the calls within 100 ms. */
    int (*is_cancelled)(void *ctx);
    void *ctx;
    /* 1: an open breaker is waited out; 0: it ends the calls with UPSTREAM at once */
    int waits_for_breaker;
};

/*
 * Sends n calls, as many at once as the peer's limits allow, in their order, again where the
 * verdict allows it, and returns when every one has ended. A call that ends badly ends the ones
 * that wait to be sent or sent again (CANCELLED), not those in flight. Batches of one peer take
 * turns, a call each.
 *
 * What counts as a send of max_sends: not the one resend after a kept connection died before any
 * answer byte, and not the way on to another replica after one that could not be connected to.
 *
 *   errors   that of the first call (by index) that ended badly by itself: UPSTREAM with code
 *            teacher_refused (PAUSE, or BAD twice), teacher_rejected (FATAL),
 *            teacher_address_forbidden, or teacher_down (spent its sends, or the breaker is open);
 *            NO_MEMORY. CANCELLED when is_cancelled said so and a call was left. INVALID and LIMIT
 *            (past max_pending) before anything is sent.
 */
GDFO_MUST_USE enum gdfo_status gdfo_net_send(struct gdfo_net_peer *peer,
                                             struct gdfo_net_call *calls, size_t n,
                                             const struct gdfo_net_control *control,
                                             struct gdfo_error *err);

struct gdfo_net_peer_state {                          /* a picture of one moment */
    uint32_t n_inflight, n_waiting, max_inflight_now; /* what the limiter allows now */
    uint32_t n_replicas, n_replicas_up;
    int breaker_is_open;
    int64_t throttled_ms; /* still to wait */
    uint64_t n_sent, n_ok, n_failed, n_new_connections;
};
void gdfo_net_peer_look(struct gdfo_net_peer *peer, struct gdfo_net_peer_state *out);

#endif
