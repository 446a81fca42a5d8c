#ifndef GDFO_SERVER_NET_NET_PRIV_H
#define GDFO_SERVER_NET_NET_PRIV_H

#include "common/lock.h"
#include "common/rng.h"
#include "server/net/breaker.h"
#include "server/net/limiter.h"
#include "server/net/link_priv.h"
#include "server/net/net.h"
#include "server/net/replica.h"
#include "server/net/secret.h"
#include "server/net/timer.h"
#include "server/net/url.h"

#include <curl/curl.h>

#include <stdatomic.h>

/*
 * The parts of the net and who owns them. The io thread owns all of it but what stands under
 * "shared": a batch is handed over whole by gdfo_net_send and handed back when its last call has
 * ended. A ticket is one call's way through; a line is one easy handle, used again and again.
 *
 *   send.c  worker's side      net.c   the thread, its multi and its sockets
 *   peer.c  admission          line.c  one request on one handle       outcome.c  what then
 */
#define GDFO_NET_HEADERS_MAX      16                  /* lines that a call may bring along */
#define GDFO_NET_HEADER_BYTES_MAX 65536               /* of an answer's headers */
#define GDFO_NET_ANSWER_MAX       ((size_t)16 << 20)  /* of one answer's body */
#define GDFO_NET_ANSWERS_MAX      ((size_t)512 << 20) /* of all that are being read */
#define GDFO_NET_BODY_KEPT        ((size_t)256 << 10) /* larger buffers are given back */

enum gdfo_net_command_kind { GDFO_NET_SUBMIT, GDFO_NET_CANCEL, GDFO_NET_CLOSE };

struct gdfo_net_command {
    struct gdfo_net_link link;
    enum gdfo_net_command_kind kind;
    void *of; /* the batch, or the peer */
};

struct gdfo_net_batch;
struct gdfo_net_line;

struct gdfo_net_ticket {
    struct gdfo_timer timer;   /* the end of its back-off, or of its answer's dripping */
    struct gdfo_net_link link; /* in the batch's ready, waiting or flying */
    struct gdfo_net_batch *batch;
    struct gdfo_net_call *call;
    struct gdfo_net_line *line; /* while it flies */
    const char *code;           /* of its bad end; static */
    uint32_t n_tries, n_bad;
    int was_resent; /* after a kept connection had died */
    int is_begun, is_ended;
};

struct gdfo_net_batch {
    struct gdfo_net_peer *peer;
    struct gdfo_net_link link; /* in the peer's batches */
    struct gdfo_net_link turn; /* in the peer's turns, while it has something to send */
    struct gdfo_net_ticket *tickets;
    size_t n, next, n_left; /* next: the first that was never sent */
    struct gdfo_net_link ready, waiting, flying;
    int waits_for_breaker, is_failed, is_cancelled, is_down; /* down: by an open breaker */
    /* shared, under the net's lock */
    struct gdfo_net_command submit, cancel;
    struct gdfo_cond *ended;
    int is_ended;
};

struct gdfo_net_line {
    CURL *easy;
    struct gdfo_net_peer *peer;
    struct gdfo_net_ticket *ticket; /* NULL: a health probe */
    struct gdfo_net_link link;      /* in the peer's idle lines, or its probes */
    struct curl_slist lines[GDFO_NET_HEADERS_MAX + 4];
    struct gdfo_buf url, headers, body;
    char idempotency[192];
    uint32_t replica, n_prereq;
    int is_probe; /* of the breaker */
    int is_forbidden, is_over, is_dripping, has_answer;
    int64_t begun_ms;
};

struct gdfo_net_peer {
    struct gdfo_net *net;
    char *name, *ca_file, *proxy, *health_path;
    struct gdfo_net_peer_spec spec; /* its numbers, defaults filled in */
    struct gdfo_secret *secret;
    struct gdfo_gate_cidr *allowed;
    struct gdfo_net_url urls[GDFO_REPLICAS_MAX];
    struct gdfo_replica replicas[GDFO_REPLICAS_MAX];
    uint32_t n_replicas, replica_turn;
    struct gdfo_limiter limiter;
    struct gdfo_breaker breaker;
    struct gdfo_timer timer;             /* when it may send again, or probe a replica */
    struct gdfo_net_link batches, turns; /* all of them; those with something to send */
    struct gdfo_net_link idle, probes;   /* lines */
    struct gdfo_net_link dirty;          /* in the net's dirty or starved */
    uint32_t n_waiting;
    /* shared */
    struct gdfo_net_command close; /* under the net's lock */
    struct gdfo_cond *closed;
    int is_closed;
    struct {
        atomic_uint n_inflight, n_waiting, allowed, n_up;
        atomic_int breaker_is_open;
        atomic_llong paused_until_ms;
        atomic_ullong n_sent, n_ok, n_failed, n_new_connections;
    } seen;
};

struct gdfo_net {
    struct gdfo_net_setup setup;
    struct gdfo_thread *thread;
    CURLM *multi;
    int epoll_fd, wake_fd;
    int64_t curl_at_ms; /* by the system's clock; -1: libcurl waits for nothing */
    struct gdfo_timers timers;
    struct gdfo_net_link dirty, starved; /* peers to look at; peers that want a connection */
    struct gdfo_rng rng;
    uint32_t n_flying;
    size_t n_live;       /* tickets taken over */
    size_t answer_bytes; /* being held for all lines */
    int is_global;       /* curl_global_init was done */
    /* shared */
    struct gdfo_lock *lock;
    struct gdfo_net_link commands; /* under the lock */
    size_t n_peers;                /* under the lock */
    int is_stopping;               /* under the lock */
    atomic_size_t n_pending;
};

int64_t gdfo_net_now(const struct gdfo_net *net);
void gdfo_net_post(struct gdfo_net *net, struct gdfo_net_command *command); /* with the lock held */

#endif
