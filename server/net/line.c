#include "common/mem.h"
#include "server/net/line_priv.h"
#include "server/net/net_priv.h"
#include "server/net/peer_priv.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define URL_BYTES_MAX (GDFO_NET_URL_MAX + 4096)

/* libcurl only reads these lists; the list's type has no const. */
static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* ---- the gate ---- */

/* With http, a name may lead only into the allowed ranges: what is public is asked by https. */
static int may_reach(const struct gdfo_net_line *line, const struct gdfo_gate_addr *addr)
{
    const struct gdfo_net_peer *peer = line->peer;
    enum gdfo_gate_word word = gdfo_gate_judge(addr, peer->allowed, peer->spec.n_allow_cidrs);
    int needs_listed = !peer->urls[line->replica].is_https && !peer->proxy;
    return word == GDFO_GATE_LISTED || (word == GDFO_GATE_PUBLIC && !needs_listed);
}

static int read_sockaddr(const struct curl_sockaddr *a, struct gdfo_gate_addr *out)
{
    const void *raw = &a->addr; /* of the family's own type, whatever its declaration says */
    memset(out, 0, sizeof *out);
    if (a->family == AF_INET6) {
        out->is_v6 = 1;
        memcpy(out->bytes, &((const struct sockaddr_in6 *)raw)->sin6_addr, 16);
    } else if (a->family == AF_INET) {
        memcpy(out->bytes, &((const struct sockaddr_in *)raw)->sin_addr, 4);
    }
    return a->family == AF_INET || a->family == AF_INET6;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct gdfo_net_line *line = ctx;
    struct gdfo_gate_addr addr;
    (void)purpose;
    if (!read_sockaddr(a, &addr) || !may_reach(line, &addr)) {
        line->is_forbidden = 1;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* Before every request, so also on a connection that another peer's call has opened. */
static int on_prereq(void *ctx, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    struct gdfo_net_line *line = ctx;
    struct gdfo_gate_addr addr;
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    line->is_forbidden = !gdfo_gate_addr_parse(&addr, peer_ip) || !may_reach(line, &addr);
    /* libcurl resends by itself when a kept connection dies; it does so once, not five times */
    if (line->is_forbidden || line->n_prereq >= 2) {
        return CURL_PREREQFUNC_ABORT;
    }
    line->n_prereq++;
    if (line->ticket) {
        line->ticket->call->n_sends++;
        line->ticket->call->sent_ms = gdfo_clk_wall_ms(line->peer->net->setup.clk);
        (void)atomic_fetch_add_explicit(&line->peer->seen.n_sent, 1, memory_order_relaxed);
    }
    return CURL_PREREQFUNC_OK;
}

/* ---- the answer ---- */

static void on_drip_end(struct gdfo_timer *timer)
{
    struct gdfo_net_ticket *t = GDFO_NET_OWNER(timer, struct gdfo_net_ticket, timer);
    gdfo_net_line_dripped(t->line);
}

static void first_byte(struct gdfo_net_line *line)
{
    struct gdfo_net *net = line->peer->net;
    struct gdfo_net_ticket *t = line->ticket;
    line->has_answer = 1;
    if (t) {
        t->call->first_byte_ms = gdfo_clk_wall_ms(net->setup.clk);
        t->timer.fire = on_drip_end;
        gdfo_timer_set(&net->timers, &t->timer, gdfo_net_now(net) + line->peer->spec.drip_ms);
    }
}

/* "Name:  value\r\n" to "name: value\n"; what is no header is left out. */
static void add_header(struct gdfo_buf *out, const char *bytes, size_t n)
{
    const char *colon = memchr(bytes, ':', n);
    size_t k = colon ? (size_t)(colon - bytes) : 0;
    if (k == 0) {
        return;
    }
    for (size_t i = 0; i < k; i++) {
        gdfo_buf_addc(out, (char)(bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 32 : bytes[i]));
    }
    gdfo_buf_add(out, ": ");
    for (k++; k < n && (bytes[k] == ' ' || bytes[k] == '\t'); k++) {
    }
    while (n > k && (unsigned char)bytes[n - 1] <= 0x20) {
        n--;
    }
    for (; k < n; k++) {
        gdfo_buf_addc(out, (char)((unsigned char)bytes[k] < 0x20 ? ' ' : bytes[k]));
    }
    gdfo_buf_addc(out, '\n');
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
    struct gdfo_net_line *line = ctx;
    size_t len = size * n;
    if (!line->has_answer) {
        first_byte(line);
    }
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        gdfo_buf_reset(&line->headers); /* an answer of 1xx came before */
    } else {
        add_header(&line->headers, bytes, len);
    }
    line->is_over = line->is_over || !gdfo_buf_ok(&line->headers);
    return line->is_over ? 0 : len;
}

static size_t body_max(const struct gdfo_net_line *line)
{
    long status = 0;
    (void)curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!line->ticket || (status != 200 && !line->ticket->call->judges_all)) {
        return 65536; /* nobody wants more of it */
    }
    return line->ticket->call->answer_max;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct gdfo_net_line *line = ctx;
    struct gdfo_net *net = line->peer->net;
    size_t len = size * n;
    if (!line->has_answer) {
        first_byte(line);
    }
    line->is_over = len > body_max(line) - line->body.len;
    if (line->is_over || len > GDFO_NET_ANSWERS_MAX - net->answer_bytes) {
        return 0; /* past the ceiling of all answers it is sent again: this one may be right */
    }
    gdfo_buf_addn(&line->body, bytes, len);
    if (!gdfo_buf_ok(&line->body)) {
        return 0;
    }
    net->answer_bytes += len;
    return len;
}

/* ---- a handle's fixed part ---- */

static int set_callbacks(struct gdfo_net_line *line)
{
    CURL *e = line->easy;
    return curl_easy_setopt(e, CURLOPT_PRIVATE, line) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, line) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_prereq) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PREREQDATA, line) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERDATA, line) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, line) == CURLE_OK;
}

static int set_safety(struct gdfo_net_line *line)
{
    CURL *e = line->easy;
    const struct gdfo_net_peer *p = line->peer;
    return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROXY, p->proxy ? p->proxy : "") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_NOPROXY, "") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           (!p->ca_file || curl_easy_setopt(e, CURLOPT_CAINFO, p->ca_file) == CURLE_OK) &&
           curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_USERAGENT, "gdfo/" GDFO_VERSION) == CURLE_OK;
}

static int set_times(struct gdfo_net_line *line)
{
    CURL *e = line->easy;
    const struct gdfo_net_peer_spec *s = &line->peer->spec;
    long age_s = s->idle_ms < 1000 ? 1L : (long)(s->idle_ms / 1000);
    return curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, age_s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)s->connect_ms) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)s->timeout_ms) == CURLE_OK;
}

static struct gdfo_net_line *line_create(struct gdfo_net_peer *peer)
{
    struct gdfo_net_line *line = gdfo_mem_array(1, sizeof *line);
    if (!line) {
        return NULL;
    }
    line->peer = peer;
    gdfo_net_link_init(&line->link);
    gdfo_buf_init(&line->url, URL_BYTES_MAX);
    gdfo_buf_init(&line->headers, GDFO_NET_HEADER_BYTES_MAX);
    gdfo_buf_init(&line->body, GDFO_NET_ANSWER_MAX);
    line->easy = curl_easy_init();
    if (!line->easy || !set_callbacks(line) || !set_safety(line) || !set_times(line)) {
        gdfo_net_line_destroy(line);
        return NULL;
    }
    return line;
}

void gdfo_net_line_destroy(struct gdfo_net_line *line)
{
    if (line) {
        curl_easy_cleanup(line->easy);
        gdfo_buf_deinit(&line->url);
        gdfo_buf_deinit(&line->headers);
        gdfo_buf_deinit(&line->body);
        gdfo_mem_free(line);
    }
}

/* ---- one request ---- */

static size_t add_line(struct gdfo_net_line *line, size_t n, char *text)
{
    line->lines[n].data = text;
    line->lines[n].next = NULL;
    if (n > 0) {
        line->lines[n - 1].next = &line->lines[n];
    }
    return n + 1;
}

/* The list is laid out here and not by curl_slist_append, which would copy the secret. */
static void set_headers(struct gdfo_net_line *line)
{
    const struct gdfo_net_call *call = line->ticket ? line->ticket->call : NULL;
    size_t n = add_line(line, 0, lend("Expect:"));
    if (line->peer->secret) {
        n = add_line(line, n, gdfo_secret_whole(line->peer->secret));
    }
    if (call && call->idempotency_key) {
        (void)snprintf(line->idempotency, sizeof line->idempotency, "Idempotency-Key: %s",
                       call->idempotency_key);
        n = add_line(line, n, line->idempotency);
    }
    for (size_t i = 0; call && i < call->n_headers; i++) {
        n = add_line(line, n, lend(call->headers[i]));
    }
}

/* HTTP/2 over TLS only, and then a call waits for a connection that may take it along. With plain
 * http libcurl would wait as well, namely for the first answer: one call at a time until then. */
static int set_version(struct gdfo_net_line *line)
{
    int is_https = line->peer->urls[line->replica].is_https;
    long version = is_https ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
    return curl_easy_setopt(line->easy, CURLOPT_HTTP_VERSION, version) == CURLE_OK &&
           curl_easy_setopt(line->easy, CURLOPT_PIPEWAIT, is_https ? 1L : 0L) == CURLE_OK;
}

static int set_request(struct gdfo_net_line *line)
{
    CURL *e = line->easy;
    const struct gdfo_net_call *call = line->ticket ? line->ticket->call : NULL;
    int is_post = call && strcmp(call->method, "POST") == 0;
    int is_again = line->ticket && line->ticket->was_resent;
    int ok = curl_easy_setopt(e, CURLOPT_URL, line->url.data) == CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_HTTPHEADER, line->lines) == CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, is_again ? 1L : 0L) == CURLE_OK;
    if (!is_post) {
        return ok && curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    }
    return ok && curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_bytes) ==
               CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->body ? call->body : "") == CURLE_OK;
}

static struct gdfo_net_line *line_acquire(struct gdfo_net_peer *peer)
{
    struct gdfo_net_line *line;
    if (gdfo_net_link_is_empty(&peer->idle)) {
        return line_create(peer);
    }
    line = GDFO_NET_OWNER(peer->idle.prev, struct gdfo_net_line, link); /* the warmest */
    gdfo_net_link_cut(&line->link);
    return line;
}

void gdfo_net_line_release(struct gdfo_net_line *line)
{
    line->peer->net->answer_bytes -= line->body.len;
    if (line->body.cap > GDFO_NET_BODY_KEPT) {
        gdfo_buf_deinit(&line->body);
        gdfo_buf_init(&line->body, GDFO_NET_ANSWER_MAX);
    }
    gdfo_buf_reset(&line->body);
    gdfo_buf_reset(&line->headers);
    line->ticket = NULL;
    line->n_prereq = 0;
    line->is_forbidden = 0;
    line->is_over = 0;
    line->is_dripping = 0;
    line->has_answer = 0;
    line->is_probe = 0;
    gdfo_net_link_add(&line->peer->idle, &line->link);
}

int gdfo_net_line_begin(struct gdfo_net_peer *peer, uint32_t replica,
                        struct gdfo_net_ticket *ticket)
{
    struct gdfo_net_line *line = line_acquire(peer);
    if (!line) {
        return 0;
    }
    line->ticket = ticket;
    line->replica = replica;
    line->begun_ms = gdfo_net_now(peer->net);
    gdfo_buf_reset(&line->url);
    gdfo_buf_add(&line->url, peer->urls[replica].text);
    gdfo_buf_add(&line->url, ticket ? ticket->call->path : peer->health_path);
    set_headers(line);
    if (!gdfo_buf_ok(&line->url) || !set_version(line) || !set_request(line) ||
        curl_multi_add_handle(peer->net->multi, line->easy) != CURLM_OK) {
        gdfo_net_line_release(line);
        return 0;
    }
    if (ticket) {
        ticket->line = line;
        line->is_probe = gdfo_breaker_begin(&peer->breaker);
    } else {
        gdfo_net_link_add(&peer->probes, &line->link);
    }
    peer->replicas[replica].n_inflight++;
    peer->net->n_flying++;
    return 1;
}
