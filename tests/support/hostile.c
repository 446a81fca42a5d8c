#include "tests/support/hostile.h"

#include "common/lock.h"
#include "common/mem.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define REQUESTS_KEPT   256
#define REQUEST_MAX     8192
#define FLOOD_BYTES     ((size_t)100 << 20)
#define DRIP_MS         5

struct connection {
    struct gdfo_hostile *h;
    struct gdfo_thread *thread;
    int fd;
};

struct gdfo_hostile {
    struct gdfo_hostile_step *steps;
    size_t n_steps;
    int listener;
    unsigned port;
    char url[64];
    struct gdfo_thread *thread;
    struct gdfo_lock *lock;
    struct gdfo_cond *came; /* a request, or the stop */
    /* under the lock */
    struct connection connections[CONNECTIONS_MAX];
    size_t n_connections, n_requests;
    char requests[REQUESTS_KEPT][REQUEST_MAX];
    int is_stopping;
};

static int is_stopping(struct gdfo_hostile *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    return h->is_stopping;
}

static int send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);
        if (k <= 0) {
            return 0;
        }
        bytes += k;
        n -= (size_t)k;
    }
    return 1;
}

/* Until the client goes, or the server's stop shuts the socket. */
static void wait_for_end(int fd)
{
    char byte[256];
    while (recv(fd, byte, sizeof byte, 0) > 0) {
    }
}

static void drip(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, DRIP_MS) == 0 && send_all(fd, "x", 1)) {
    }
}

static void flood(int fd)
{
    char *block = gdfo_mem_array(65536, 1);
    for (size_t sent = 0; block && sent < FLOOD_BYTES && send_all(fd, block, 65536);) {
        sent += 65536;
    }
    gdfo_mem_free(block);
}

static int gather(struct gdfo_hostile *h, int fd, size_t n)
{
    {
        GDFO_LOCK_SCOPE(h->lock);
        while (h->n_requests < n && !h->is_stopping) {
            gdfo_cond_wait(h->came, h->lock);
        }
    }
    return send_all(fd, GDFO_HOSTILE_OK, strlen(GDFO_HOSTILE_OK));
}

/* 1 when the connection stays. */
static int play(struct gdfo_hostile *h, int fd, const struct gdfo_hostile_step *s)
{
    const struct linger now = {1, 0};
    size_t n = s->bytes ? (s->n ? s->n : strlen(s->bytes)) : 0;
    if (!send_all(fd, s->bytes, n)) {
        return 0;
    }
    switch (s->act) {
    case GDFO_HOSTILE_ANSWER: return 1;
    case GDFO_HOSTILE_CLOSE: return 0;
    case GDFO_HOSTILE_RESET:
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        return 0;
    case GDFO_HOSTILE_HANG: wait_for_end(fd); return 0;
    case GDFO_HOSTILE_DRIP: drip(fd); return 0;
    case GDFO_HOSTILE_FLOOD: flood(fd); return 0;
    case GDFO_HOSTILE_GATHER: return gather(h, fd, s->n);
    }
    return 0;
}

static size_t content_length(const char *head)
{
    for (const char *line = head; line; line = strstr(line, "\r\n")) {
        line += line[0] == '\r' ? 2 : 0;
        if (strncasecmp(line, "content-length:", 15) == 0) {
            return (size_t)strtoul(line + 15, NULL, 10);
        }
    }
    return 0;
}

/* One whole request into out; 0 when the client has gone. */
static int read_request(int fd, char *out)
{
    size_t n = 0;
    for (;;) {
        const char *end;
        ssize_t k = recv(fd, out + n, REQUEST_MAX - 1 - n, 0);
        if (k <= 0) {
            return 0;
        }
        n += (size_t)k;
        out[n] = '\0';
        end = strstr(out, "\r\n\r\n");
        if (end && n >= (size_t)(end + 4 - out) + content_length(out)) {
            return 1;
        }
    }
}

static const struct gdfo_hostile_step *take_step(struct gdfo_hostile *h, const char *request)
{
    size_t k;
    GDFO_LOCK_SCOPE(h->lock);
    k = h->n_requests++;
    gdfo_cond_broadcast(h->came);
    (void)snprintf(h->requests[k % REQUESTS_KEPT], REQUEST_MAX, "%s", request);
    return &h->steps[k < h->n_steps ? k : h->n_steps - 1];
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    char *request = gdfo_mem_array(REQUEST_MAX, 1);
    while (request && read_request(c->fd, request)) {
        if (!play(c->h, c->fd, take_step(c->h, request))) {
            break;
        }
    }
    gdfo_mem_free(request);
    {
        GDFO_LOCK_SCOPE(c->h->lock);
        (void)close(c->fd);
        c->fd = -1;
    }
    return NULL;
}

static void take_in(struct gdfo_hostile *h, int fd)
{
    GDFO_LOCK_SCOPE(h->lock);
    if (h->is_stopping || h->n_connections == CONNECTIONS_MAX) {
        (void)close(fd);
        return;
    }
    struct connection *c = &h->connections[h->n_connections++];
    c->h = h;
    c->fd = fd;
    c->thread = gdfo_thread_start("hostile", serve, c);
}

static void *accept_all(void *arg)
{
    struct gdfo_hostile *h = arg;
    while (!is_stopping(h)) {
        int fd = accept(h->listener, NULL, NULL);
        if (fd >= 0) {
            take_in(h, fd);
        }
    }
    return NULL;
}

int gdfo_hostile_reserve(unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

struct gdfo_hostile *gdfo_hostile_start_at(int fd, const struct gdfo_hostile_step *steps,
                                           size_t n_steps)
{
    struct gdfo_hostile *h = gdfo_mem_array(1, sizeof *h);
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    assert_non_null(h);
    h->steps = gdfo_mem_dup(steps, n_steps * sizeof *steps);
    assert_non_null(h->steps);
    h->n_steps = n_steps;
    h->lock = gdfo_lock_create();
    h->came = gdfo_cond_create();
    h->listener = fd;
    assert_int_equal(listen(fd, 1024), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    h->port = ntohs(a.sin_port);
    (void)snprintf(h->url, sizeof h->url, "http://127.0.0.1:%u", h->port);
    h->thread = gdfo_thread_start("hostile", accept_all, h);
    assert_non_null(h->thread);
    return h;
}

struct gdfo_hostile *gdfo_hostile_start(const struct gdfo_hostile_step *steps, size_t n_steps)
{
    unsigned port;
    return gdfo_hostile_start_at(gdfo_hostile_reserve(&port), steps, n_steps);
}

static void shut_all(struct gdfo_hostile *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    h->is_stopping = 1;
    gdfo_cond_broadcast(h->came);
    (void)shutdown(h->listener, SHUT_RDWR); /* ends accept */
    for (size_t i = 0; i < h->n_connections; i++) {
        if (h->connections[i].fd >= 0) {
            (void)shutdown(h->connections[i].fd, SHUT_RDWR);
        }
    }
}

void gdfo_hostile_stop(struct gdfo_hostile *h)
{
    if (!h) {
        return;
    }
    shut_all(h);
    gdfo_thread_join(h->thread);
    for (size_t i = 0; i < h->n_connections; i++) {
        gdfo_thread_join(h->connections[i].thread);
    }
    (void)close(h->listener);
    gdfo_cond_destroy(h->came);
    gdfo_lock_destroy(h->lock);
    gdfo_mem_free(h->steps);
    gdfo_mem_free(h);
}

const char *gdfo_hostile_url(const struct gdfo_hostile *h)
{
    return h->url;
}

unsigned gdfo_hostile_port(const struct gdfo_hostile *h)
{
    return h->port;
}

size_t gdfo_hostile_n_requests(struct gdfo_hostile *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    return h->n_requests;
}

size_t gdfo_hostile_n_connections(struct gdfo_hostile *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    return h->n_connections;
}

void gdfo_hostile_request(struct gdfo_hostile *h, size_t k, char *out, size_t cap)
{
    GDFO_LOCK_SCOPE(h->lock);
    (void)snprintf(out, cap, "%s", h->requests[k % REQUESTS_KEPT]);
}
