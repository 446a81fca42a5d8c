#include "server/http/http.h"

#include "common/clk.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/wire.h"
#include "server/http/listen_priv.h"
#include "server/http/request.h"
#include "server/http/respond.h"
#include "server/http/router.h"

#include <microhttpd.h>

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * DESIGN. All of microhttpd is in this file. A request is made when its target is known (the raw
 * one, before the library cuts or decodes it), judged at the first handler call, fed by the next
 * ones and answered at the last. An answer queued at the first call ends the connection in 0.9.75,
 * body read or not, so only what must not be read is refused there; other refusals wait for the
 * last call and the connection goes on.
 *
 * A parked request is suspended before its work is submitted, for it may be done at once. Whoever
 * does the work answers, takes the request out of the count and resumes the connection, in this
 * order and under one lock; stop waits for the count.
 */
#define POOL_BYTES (64u << 10) /* per connection; above our own ceiling of the header block */
#define READ_BYTES (64u << 10)

struct gdfo_http {
    struct gdfo_http_config cfg;
    struct gdfo_http_deps deps;
    char hosts[512];
    unsigned port;
    struct MHD_Daemon *daemon;
    int quiesced_fd;        /* -1 while listening */
    struct gdfo_lock *lock; /* of what follows */
    struct gdfo_cond *none_parked;
    size_t n_parked;
    size_t n_unsent; /* parked once, answered, and not gone out yet */
};

#define SEND_MS                                                                                    \
    2000 /* at a stop, for answers to go out: a client may be slow, or not read at all */

struct gdfo_http_config gdfo_http_config_default(void)
{
    return (struct gdfo_http_config){
        .bind = "127.0.0.1",
        .port = 8787,
        .n_threads = 2,
        .n_connections = 1024,
        .n_per_address = 64,
        .idle_seconds = 75,
        .json_max_bytes = (size_t)1 << 20,
        .upload_max_bytes = (uint64_t)512 << 20,
    };
}

__attribute__((format(printf, 2, 0))) static void on_library_log(void *cls, const char *fmt,
                                                                 va_list args)
{
    char line[256];
    char quoted[4 * sizeof line];
    (void)cls;
    (void)vsnprintf(line, sizeof line, fmt, args);
    gdfo_log(GDFO_LOG_DEBUG, "http", "ev=library words=%s",
             gdfo_log_quote(line, quoted, sizeof quoted));
}

/* ---- answers ------------------------------------------------------------------------------ */

static ssize_t read_content(void *cls, uint64_t at, char *out, size_t max)
{
    struct gdfo_reader *reader = cls;
    uint64_t left = at < reader->size ? reader->size - at : 0;
    size_t n = left < max ? (size_t)left : max;
    struct gdfo_error err = {0};
    if (n == 0) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (gdfo_reader_at(reader, at, out, n, &err) != GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_ERROR, "http", "ev=content_unreadable status=%s",
                 gdfo_status_name(err.status));
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    return (ssize_t)n;
}

static struct MHD_Response *make_response(struct gdfo_request *r)
{
    struct gdfo_answer *a = &r->answer;
    size_t n = a->body.len;
    char *bytes;
    struct MHD_Response *response;
    if (a->has_reader) { /* the reader is the request's, which outlives the sending */
        return MHD_create_response_from_callback(a->reader.size, READ_BYTES, read_content,
                                                 &a->reader, NULL);
    }
    if (n == 0) {
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    }
    bytes = gdfo_buf_take(&a->body);
    response =
        bytes ? MHD_create_response_from_buffer_with_free_callback(n, bytes, gdfo_mem_free) : NULL;
    if (bytes && !response) {
        gdfo_mem_free(bytes);
    }
    return response;
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    if (value && value[0]) {
        (void)MHD_add_response_header(response, name, value);
    }
}

static void add_headers(struct MHD_Response *response, const struct gdfo_request *r)
{
    const struct gdfo_answer *a = &r->answer;
    char number[24];
    add_header(response, "x-request-id", r->id);
    add_header(response, "x-content-type-options", "nosniff");
    add_header(response, "cache-control", "no-store");
    add_header(response, "content-type", a->content_type);
    add_header(response, "allow", a->allow);
    add_header(response, "etag", a->etag);
    add_header(response, "content-disposition", a->disposition);
    add_header(response, "idempotency-replayed", a->replayed);
    if (a->retry >= 0) {
        add_header(response, "x-should-retry", a->retry ? "true" : "false");
    }
    if (a->http_status == 503 || a->http_status == 429) {
        (void)snprintf(number, sizeof number, "%d",
                       a->retry_after_s > 0 ? a->retry_after_s : GDFO_WIRE_RETRY_AFTER_S);
        add_header(response, "retry-after", number);
    }
    if (a->http_status == 200 && a->inference_header > 0) {
        (void)snprintf(number, sizeof number, "%zu", a->inference_header);
        add_header(response, "inference-header-content-length", number);
    }
    if (a->must_close) {
        add_header(response, "connection", "close");
    }
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct gdfo_request *r)
{
    struct MHD_Response *response;
    enum MHD_Result result;
    if (!gdfo_buf_ok(&r->answer.body)) {
        struct gdfo_error err = {0};
        (void)gdfo_error_no_memory(&err, "writing an answer");
        gdfo_respond_error(r, &err);
    }
    response = make_response(r);
    if (!response) {
        return MHD_NO;
    }
    add_headers(response, r);
    result = MHD_queue_response(connection, (unsigned)r->answer.http_status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- parking ------------------------------------------------------------------------------ */

static void unpark(struct gdfo_request *r)
{
    struct gdfo_http *h = r->http;
    struct MHD_Connection *connection = r->connection;
    GDFO_LOCK_SCOPE(h->lock);
    h->n_parked--;
    h->n_unsent++;
    MHD_resume_connection(connection); /* from here on the request is the http thread's */
    gdfo_cond_broadcast(h->none_parked);
}

static void park(struct gdfo_http *h, struct MHD_Connection *connection, struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    enum gdfo_status (*submit)(struct gdfo_request *, struct gdfo_error *) = r->submit;
    r->submit = NULL;
    r->http = h;
    r->connection = connection;
    r->unpark = unpark;
    gdfo_lock_acquire(h->lock);
    h->n_parked++;
    gdfo_lock_release(h->lock);
    MHD_suspend_connection(connection);
    if (submit(r, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        unpark(r);
    }
}

/* ---- callbacks ---------------------------------------------------------------------------- */

/* The first thing known of a request: its raw target. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct gdfo_http *h = cls;
    struct gdfo_request *r = gdfo_request_create(&h->cfg, &h->deps, h->port);
    (void)connection;
    if (r) {
        gdfo_request_set_target(r, target ? target : "");
    }
    return r;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 size_t n_name, const char *value, size_t n_value)
{
    (void)kind;
    gdfo_request_header(cls, name, n_name, value, n_value);
    return MHD_YES;
}

static enum MHD_Result begin(struct MHD_Connection *connection, struct gdfo_request *r,
                             const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const struct gdfo_request_head head = {
        .method = method,
        .version = version,
        .header_bytes = info ? info->header_size : 0,
    };
    r->is_begun = 1;
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, r);
    gdfo_request_begin(r, &head);
    if (r->answer.is_ready && !gdfo_request_drains(r)) {
        r->answer.must_close = 1;
        return send_answer(connection, r);
    }
    return MHD_YES;
}

static enum MHD_Result take(struct gdfo_http *h, struct MHD_Connection *connection,
                            struct gdfo_request *r, size_t *n, const char *bytes)
{
    if (*n > 0) {
        int is_good = gdfo_request_body(r, bytes, *n);
        *n = 0;
        return is_good ? MHD_YES : MHD_NO;
    }
    if (!r->answer.is_ready) {
        gdfo_request_end(r);
    }
    if (r->submit) {
        park(h, connection, r);
        return MHD_YES;
    }
    if (!r->answer.is_ready) {
        return MHD_NO; /* a handler that forgot to answer */
    }
    return send_answer(connection, r);
}

/* The library's signature, one parameter longer than ours may be. */
#define ACCESS_PARAMETERS                                                                          \
    void *cls, struct MHD_Connection *connection, const char *url, const char *method,             \
        const char *version, const char *bytes, size_t *n, void **con_cls

static enum MHD_Result on_access(ACCESS_PARAMETERS) /* NOLINT(readability-function-size) */
{
    struct gdfo_request *r = *con_cls;
    enum MHD_Result result;
    (void)url; /* decoded and cut by the library: never used */
    if (!r) {
        return MHD_NO;
    }
    gdfo_log_context("req", r->id);
    result =
        r->is_begun ? take(cls, connection, r, n, bytes) : begin(connection, r, method, version);
    gdfo_log_context(NULL, NULL);
    return result;
}

static void note_sent(struct gdfo_http *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    h->n_unsent--;
    gdfo_cond_broadcast(h->none_parked);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct gdfo_request *r = *con_cls;
    (void)cls;
    (void)connection;
    *con_cls = NULL;
    if (r && r->unpark) {
        note_sent(r->http);
    }
    if (r && r->is_begun) {
        gdfo_log_context("req", r->id);
        gdfo_log(r->method == GDFO_METHOD_GET ? GDFO_LOG_DEBUG : GDFO_LOG_INFO, "http",
                 "ev=request method=%s route=%s http=%d ms=%lld whole=%d",
                 gdfo_method_name(r->method), r->route ? r->route->pattern : "none",
                 r->answer.http_status,
                 (long long)(gdfo_clk_monotonic_ms(gdfo_clk_system()) - r->start_ms),
                 code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        gdfo_log_context(NULL, NULL);
    }
    gdfo_request_destroy(r);
}

/* ---- lifecycle ---------------------------------------------------------------------------- */

/*
 * poll, not epoll: in 0.9.75 MHD_quiesce_daemon takes the listening socket out of a worker's epoll
 * set after it told the worker to do the same, and aborts the process when the worker was first.
 * A poll over n_connections descriptors is small beside a request.
 */
static struct MHD_Daemon *start_library(struct gdfo_http *h, int fd)
{
    return MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_THREAD_POOL_SIZE, h->cfg.n_threads > 1 ? h->cfg.n_threads : 0U,
        MHD_OPTION_CONNECTION_LIMIT, h->cfg.n_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        h->cfg.n_per_address, MHD_OPTION_CONNECTION_TIMEOUT, h->cfg.idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_END);
}

/* The library's threads inherit the mask: signals are main's alone. */
static struct MHD_Daemon *start_without_signals(struct gdfo_http *h, int fd)
{
    sigset_t all, before;
    struct MHD_Daemon *daemon;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    daemon = start_library(h, fd);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

static void destroy(struct gdfo_http *h)
{
    if (h) {
        gdfo_lock_destroy(h->lock);
        gdfo_cond_destroy(h->none_parked);
        gdfo_mem_free(h);
    }
}

static struct gdfo_http *create(const struct gdfo_http_config *cfg,
                                const struct gdfo_http_deps *deps)
{
    struct gdfo_http *h = gdfo_mem_array(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    h->cfg = *cfg;
    h->deps = *deps;
    h->quiesced_fd = -1;
    h->lock = gdfo_lock_create();
    h->none_parked = gdfo_cond_create();
    (void)snprintf(h->hosts, sizeof h->hosts, "%s", cfg->hosts ? cfg->hosts : "");
    h->cfg.hosts = h->hosts;
    if (!h->lock || !h->none_parked) {
        destroy(h);
        return NULL;
    }
    return h;
}

enum gdfo_status gdfo_http_bind(const struct gdfo_http_config *cfg, struct gdfo_http_socket *out,
                                struct gdfo_error *err)
{
    out->fd = -1;
    return gdfo_http_listen(cfg->bind, cfg->port, &out->fd, &out->port, err);
}

void gdfo_http_unbind(struct gdfo_http_socket *socket)
{
    if (socket->fd >= 0) {
        (void)close(socket->fd);
        socket->fd = -1;
    }
}

enum gdfo_status gdfo_http_start(struct gdfo_http **out, const struct gdfo_http_config *cfg,
                                 const struct gdfo_http_deps *deps, struct gdfo_error *err)
{
    struct gdfo_http_socket own = {.fd = -1};
    struct gdfo_http_socket *socket = cfg->socket ? cfg->socket : &own;
    enum gdfo_status status = GDFO_STATUS_OK;
    struct gdfo_http *h = create(cfg, deps);
    if (!h) {
        return gdfo_error_no_memory(err, "starting the REST edge");
    }
    if (socket->fd < 0) {
        status = gdfo_http_bind(cfg, socket, err);
    }
    if (status != GDFO_STATUS_OK) {
        destroy(h);
        return status;
    }
    h->port = socket->port;
    h->daemon = start_without_signals(h, socket->fd);
    if (!h->daemon) {
        gdfo_http_unbind(socket);
        destroy(h);
        return gdfo_error_set(err, GDFO_STATUS_IO, "microhttpd %s did not start on %s:%u",
                              MHD_get_version(), cfg->bind, cfg->port);
    }
    socket->fd = -1;
    *out = h;
    return GDFO_STATUS_OK;
}

unsigned gdfo_http_port(const struct gdfo_http *h)
{
    return h->port;
}

const char *gdfo_http_library(void)
{
    return MHD_get_version();
}

void gdfo_http_quiesce(struct gdfo_http *h)
{
    if (h->quiesced_fd < 0) {
        h->quiesced_fd = MHD_quiesce_daemon(h->daemon);
    }
}

void gdfo_http_stop(struct gdfo_http *h)
{
    int64_t end_ms;
    if (!h) {
        return;
    }
    gdfo_http_quiesce(h);
    gdfo_lock_acquire(h->lock);
    while (h->n_parked > 0) { /* stopping with one suspended is undefined in the library */
        gdfo_cond_wait(h->none_parked, h->lock);
    }
    end_ms = gdfo_clk_monotonic_ms(gdfo_clk_system()) + SEND_MS;
    while (h->n_unsent > 0 && end_ms > gdfo_clk_monotonic_ms(gdfo_clk_system())) {
        GDFO_IGNORE(gdfo_cond_wait_ms(h->none_parked, h->lock,
                                      end_ms - gdfo_clk_monotonic_ms(gdfo_clk_system())));
    }
    gdfo_lock_release(h->lock);
    MHD_stop_daemon(h->daemon);
    if (h->quiesced_fd >= 0) {
        (void)close(h->quiesced_fd);
    }
    destroy(h);
}
