#include "server/net/net.h"

#include "common/check.h"
#include "common/mem.h"
#include "server/net/batch_priv.h"
#include "server/net/line_priv.h"
#include "server/net/net_priv.h"
#include "server/net/peer_priv.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * DESIGN. libcurl is driven by its socket interface over one epoll set: curl_multi_perform asks
 * every transfer's socket with a system call of its own at every turn, which at 500 calls in flight
 * is most of a core; here a turn costs what happened in it. All decisions (admission, waits, ends)
 * are ours and stand in the other files; this one is the loop.
 */
#define CONNECTIONS_MAX 256
#define PENDING_MAX     65536
#define N_EVENTS        256
#define TURN_MAX_MS     250 /* with timers set: a clock that jumped is seen by then */

int64_t gdfo_net_now(const struct gdfo_net *net)
{
    return gdfo_clk_monotonic_ms(net->setup.clk);
}

void gdfo_net_post(struct gdfo_net *net, struct gdfo_net_command *command)
{
    const uint64_t one = 1;
    int was_empty = gdfo_net_link_is_empty(&net->commands);
    gdfo_net_link_add(&net->commands, &command->link);
    if (was_empty) {
        GDFO_CHECK(write(net->wake_fd, &one, sizeof one) == (ssize_t)sizeof one);
    }
}

/* ---- libcurl's callbacks ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
    static char mark;
    struct gdfo_net *net = ctx;
    struct epoll_event e = {0};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(net->epoll_fd, EPOLL_CTL_DEL, fd, &e);
        return 0;
    }
    e.events = ((what & CURL_POLL_IN) ? (uint32_t)EPOLLIN : 0) |
               ((what & CURL_POLL_OUT) ? (uint32_t)EPOLLOUT : 0);
    e.data.fd = fd;
    if (epoll_ctl(net->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) != 0 &&
        (errno == ENOENT || errno == EEXIST)) {
        (void)epoll_ctl(net->epoll_fd, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e);
    }
    (void)curl_multi_assign(net->multi, fd, &mark);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
    struct gdfo_net *net = ctx;
    (void)multi;
    net->curl_at_ms = ms < 0 ? -1 : gdfo_clk_monotonic_ms(gdfo_clk_system()) + ms;
    return 0;
}

/* ---- the loop ---- */

static void obey(struct gdfo_net_command *command)
{
    switch (command->kind) {
    case GDFO_NET_SUBMIT: gdfo_net_batch_take(command->of); break;
    case GDFO_NET_CANCEL: gdfo_net_batch_cancel(command->of); break;
    case GDFO_NET_CLOSE: gdfo_net_peer_end(command->of); break;
    }
}

/* One at a time, because a batch that ends takes its own commands out of the queue. */
static struct gdfo_net_command *next_command(struct gdfo_net *net, int *is_stopping)
{
    struct gdfo_net_command *command = NULL;
    GDFO_LOCK_SCOPE(net->lock);
    if (!gdfo_net_link_is_empty(&net->commands)) {
        command = GDFO_NET_OWNER(net->commands.next, struct gdfo_net_command, link);
        gdfo_net_link_cut(&command->link);
    }
    *is_stopping = net->is_stopping;
    return command;
}

static int obey_all(struct gdfo_net *net)
{
    struct gdfo_net_command *command;
    int is_stopping = 0;
    while ((command = next_command(net, &is_stopping)) != NULL) {
        obey(command);
    }
    return !is_stopping;
}

static void pump_dirty(struct gdfo_net *net)
{
    while (!gdfo_net_link_is_empty(&net->dirty)) {
        struct gdfo_net_peer *peer = GDFO_NET_OWNER(net->dirty.next, struct gdfo_net_peer, dirty);
        gdfo_net_link_cut(&peer->dirty);
        gdfo_net_peer_pump(peer);
    }
    /* a connection became free: the peers that lacked one take turns */
    if (net->n_flying < net->setup.max_connections && !gdfo_net_link_is_empty(&net->starved)) {
        struct gdfo_net_link *first = net->starved.next;
        gdfo_net_link_cut(first);
        gdfo_net_link_add(&net->dirty, first);
        pump_dirty(net);
    }
}

static void settle_done(struct gdfo_net *net)
{
    CURLMsg *msg;
    int n_left = 0;
    while ((msg = curl_multi_info_read(net->multi, &n_left)) != NULL) {
        struct gdfo_net_line *line = NULL;
        CURL *easy = msg->easy_handle;
        CURLcode rc = msg->data.result;
        if (msg->msg == CURLMSG_DONE) {
            (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &line);
            (void)curl_multi_remove_handle(net->multi, easy);
            gdfo_net_line_done(line, rc);
        }
    }
}

static int turn_ms(const struct gdfo_net *net)
{
    int64_t ms = gdfo_timers_next(&net->timers, gdfo_net_now(net));
    if (ms > TURN_MAX_MS) {
        ms = TURN_MAX_MS;
    }
    if (net->curl_at_ms >= 0) {
        int64_t left = net->curl_at_ms - gdfo_clk_monotonic_ms(gdfo_clk_system());
        left = left < 0 ? 0 : left;
        ms = ms < 0 || left < ms ? left : ms;
    }
    return ms > 60000 ? 60000 : (int)ms;
}

static void drain_wake(const struct gdfo_net *net)
{
    uint64_t count;
    (void)!read(net->wake_fd, &count, sizeof count);
}

static void act(struct gdfo_net *net, const struct epoll_event *e)
{
    int running = 0;
    int flags = ((e->events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
                ((e->events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
                ((e->events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
    if (e->data.fd == net->wake_fd) {
        drain_wake(net);
    } else {
        (void)curl_multi_socket_action(net->multi, e->data.fd, flags, &running);
    }
}

static void *run(void *arg)
{
    struct gdfo_net *net = arg;
    struct epoll_event events[N_EVENTS];
    int running = 0;
    while (obey_all(net)) {
        int n;
        gdfo_timers_fire(&net->timers, gdfo_net_now(net));
        pump_dirty(net);
        n = epoll_wait(net->epoll_fd, events, N_EVENTS, turn_ms(net));
        for (int i = 0; i < n; i++) {
            act(net, &events[i]);
        }
        if (net->curl_at_ms >= 0 && net->curl_at_ms <= gdfo_clk_monotonic_ms(gdfo_clk_system())) {
            net->curl_at_ms = -1;
            (void)curl_multi_socket_action(net->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        settle_done(net);
    }
    return NULL;
}

/* ---- create, destroy ---- */

static int open_multi(struct gdfo_net *net)
{
    net->is_global = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    net->multi = net->is_global ? curl_multi_init() : NULL;
    return net->multi &&
           curl_multi_setopt(net->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(net->multi, CURLMOPT_SOCKETDATA, net) == CURLM_OK &&
           curl_multi_setopt(net->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl_multi_setopt(net->multi, CURLMOPT_TIMERDATA, net) == CURLM_OK &&
           curl_multi_setopt(net->multi, CURLMOPT_MAXCONNECTS, (long)net->setup.max_connections) ==
               CURLM_OK;
}

static enum gdfo_status open_sockets(struct gdfo_net *net, struct gdfo_error *err)
{
    struct epoll_event e = {0};
    net->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    net->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e.events = EPOLLIN;
    e.data.fd = net->wake_fd;
    if (net->epoll_fd < 0 || net->wake_fd < 0 ||
        epoll_ctl(net->epoll_fd, EPOLL_CTL_ADD, net->wake_fd, &e) != 0) {
        return gdfo_error_errno(err, errno, "opening the net's event descriptors");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status start(struct gdfo_net *net, struct gdfo_error *err)
{
    enum gdfo_status status = open_sockets(net, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    net->lock = gdfo_lock_create();
    if (!net->lock || !open_multi(net)) {
        return gdfo_error_no_memory(err, "starting the net");
    }
    net->thread = gdfo_thread_start("net", run, net);
    return net->thread ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "starting the net's thread");
}

enum gdfo_status gdfo_net_create(struct gdfo_net **out, const struct gdfo_net_setup *setup,
                                 struct gdfo_error *err)
{
    struct gdfo_net *net = gdfo_mem_array(1, sizeof *net);
    enum gdfo_status status;
    if (!net) {
        return gdfo_error_no_memory(err, "starting the net");
    }
    net->setup = *setup;
    net->setup.clk = setup->clk ? setup->clk : gdfo_clk_system();
    net->setup.max_connections = setup->max_connections ? setup->max_connections : CONNECTIONS_MAX;
    net->setup.max_pending = setup->max_pending ? setup->max_pending : PENDING_MAX;
    net->rng = gdfo_rng_stream(setup->seed, "net.jitter");
    net->curl_at_ms = -1;
    net->epoll_fd = -1;
    net->wake_fd = -1;
    gdfo_net_link_init(&net->dirty);
    gdfo_net_link_init(&net->starved);
    gdfo_net_link_init(&net->commands);
    status = start(net, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_net_destroy(net);
        return status;
    }
    *out = net;
    return GDFO_STATUS_OK;
}

static void stop(struct gdfo_net *net)
{
    const uint64_t one = 1;
    GDFO_LOCK_SCOPE(net->lock);
    GDFO_CHECK(net->n_peers == 0);
    net->is_stopping = 1;
    GDFO_CHECK(write(net->wake_fd, &one, sizeof one) == (ssize_t)sizeof one);
}

void gdfo_net_destroy(struct gdfo_net *net)
{
    if (!net) {
        return;
    }
    if (net->thread) {
        stop(net);
        gdfo_thread_join(net->thread);
    }
    (void)curl_multi_cleanup(net->multi);
    if (net->is_global) {
        curl_global_cleanup();
    }
    gdfo_timers_deinit(&net->timers);
    gdfo_lock_destroy(net->lock);
    if (net->epoll_fd >= 0) {
        (void)close(net->epoll_fd);
    }
    if (net->wake_fd >= 0) {
        (void)close(net->wake_fd);
    }
    gdfo_mem_free(net);
}
