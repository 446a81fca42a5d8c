#define _DEFAULT_SOURCE /* explicit_bzero */
#include "client/transport_priv.h"
#include "common/hash.h"
#include "common/mem.h"

#include <curl/curl.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 5000L
#define HEADER_MAX         512
#define URL_MAX            8192
#define TOKEN_MAX          256

struct gdfo_transport {
    CURL *curl;
    char *url;   /* no slash at its end; for a socket "unix:/path" */
    char *base;  /* what libcurl is given: the same, or http://localhost */
    char *token; /* NULL: none */
    const atomic_int *cancel;
};

/* What the callbacks of one request need. */
struct exchange {
    struct gdfo_transport *transport;
    const struct gdfo_request *request;
    struct gdfo_reply *reply;
    struct gdfo_sha256 hash;
    int sink_errno; /* why the sink refused bytes; 0: it did not */
};

/* ---- callbacks ---- */

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            return errno ? errno : EIO;
        }
        bytes += k;
        n -= (size_t)k;
    }
    return 0;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    long http = 0;
    size_t len = size * n;
    (void)curl_easy_getinfo(x->transport->curl, CURLINFO_RESPONSE_CODE, &http);
    gdfo_sha256_add(&x->hash, bytes, len);
    if (x->request->has_sink && http >= 200 && http < 300) {
        x->sink_errno = write_all(x->request->sink_fd, bytes, len);
        return x->sink_errno ? 0 : len;
    }
    gdfo_buf_addn(&x->reply->body, bytes, len);
    return gdfo_buf_ok(&x->reply->body) ? len : 0;
}

/* Copies the value of header `name` when line is that header; quotes and blanks go. */
static void take_header(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':') {
        return;
    }
    line += k + 1;
    n -= k + 1;
    while (n > 0 && (*line == ' ' || *line == '\t' || *line == '"')) {
        line++;
        n--;
    }
    while (n > 0 && strchr(" \t\r\n\"", line[n - 1])) {
        n--;
    }
    if (n >= size) {
        n = size - 1;
    }
    memcpy(out, line, n);
    out[n] = '\0';
}

static size_t take_header_line(char *line, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    struct gdfo_reply *reply = x->reply;
    size_t len = size * n;
    take_header(line, len, "x-request-id", reply->request_id, sizeof reply->request_id);
    take_header(line, len, "etag", reply->etag, sizeof reply->etag);
    take_header(line, len, "content-type", reply->content_type, sizeof reply->content_type);
    return len;
}

static int is_cancelled(const struct gdfo_transport *t)
{
    return t->cancel && atomic_load_explicit(t->cancel, memory_order_acquire) != 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct exchange *x = ctx;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return is_cancelled(x->transport);
}

/* ---- set-up ---- */

static int has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int is_plain(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static enum gdfo_status check_config(const char *url, const char *token, struct gdfo_error *err)
{
    if ((!has_prefix(url, "http://") && !has_prefix(url, "https://") &&
         !has_prefix(url, "unix:/")) ||
        strlen(url) >= 1024 || !is_plain(url) || strpbrk(url, "?#@")) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the daemon's URL is \"%.80s\"; want http://HOST:PORT or unix:/PATH",
                              url);
    }
    if (strlen(token) > TOKEN_MAX || !is_plain(token)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the token has %zu bytes or a blank in it; want up to %d printable "
                              "characters",
                              strlen(token), TOKEN_MAX);
    }
    return GDFO_STATUS_OK;
}

static void trim_slashes(char *url)
{
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/') {
        url[--n] = '\0';
    }
}

enum gdfo_status gdfo_transport_open(struct gdfo_transport **out,
                                     const struct gdfo_client_config *config,
                                     struct gdfo_error *err)
{
    const char *url = config->url && *config->url ? config->url : GDFO_CLIENT_URL;
    const char *token = config->token ? config->token : "";
    struct gdfo_transport *t;
    enum gdfo_status status = check_config(url, token, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    t = gdfo_mem_array(1, sizeof *t);
    if (!t) {
        return gdfo_error_no_memory(err, "the client");
    }
    t->cancel = config->cancel;
    t->url = gdfo_mem_dup_str(url);
    t->base = gdfo_mem_dup_str(has_prefix(url, "unix:") ? "http://localhost" : url);
    t->token = *token ? gdfo_mem_dup_str(token) : NULL;
    t->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
    if (!t->url || !t->base || !t->curl || (*token && !t->token)) {
        gdfo_transport_close(t);
        return gdfo_error_no_memory(err, "the client");
    }
    trim_slashes(t->url);
    trim_slashes(t->base);
    *out = t;
    return GDFO_STATUS_OK;
}

void gdfo_transport_close(struct gdfo_transport *t)
{
    if (!t) {
        return;
    }
    if (t->curl) {
        curl_easy_cleanup(t->curl);
    }
    if (t->token) {
        explicit_bzero(t->token, strlen(t->token));
    }
    gdfo_mem_free(t->token);
    gdfo_mem_free(t->base);
    gdfo_mem_free(t->url);
    gdfo_mem_free(t);
}

/* ---- one request ---- */

/* NULL on failure, which frees the list that was; else the longer list. */
static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    char line[HEADER_MAX];
    struct curl_slist *longer;
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    longer = n > 0 && (size_t)n < sizeof line ? curl_slist_append(list, line) : NULL;
    explicit_bzero(line, sizeof line);
    if (!longer) {
        curl_slist_free_all(list);
    }
    return longer;
}

static struct curl_slist *headers_of(const struct gdfo_transport *t,
                                     const struct gdfo_request *request)
{
    char bearer[TOKEN_MAX + 16];
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no 100-continue round trip */
    if (list && t->token) {
        (void)snprintf(bearer, sizeof bearer, "Bearer %s", t->token);
        list = add_header(list, "Authorization", bearer);
        explicit_bzero(bearer, sizeof bearer);
    }
    if (list && request->key) {
        list = add_header(list, "Idempotency-Key", request->key);
    }
    if (list && !request->upload_path && strcmp(request->method, "GET") != 0) {
        list = add_header(list, "Content-Type", "application/json");
    }
    return list;
}

static curl_mime *mime_of(CURL *curl, const char *path)
{
    curl_mime *mime = curl_mime_init(curl);
    curl_mimepart *purpose = mime ? curl_mime_addpart(mime) : NULL;
    curl_mimepart *file = purpose ? curl_mime_addpart(mime) : NULL;
    if (!file || curl_mime_name(purpose, "purpose") != CURLE_OK ||
        curl_mime_data(purpose, "fine-tune", CURL_ZERO_TERMINATED) != CURLE_OK ||
        curl_mime_name(file, "file") != CURLE_OK || curl_mime_filedata(file, path) != CURLE_OK) {
        curl_mime_free(mime);
        return NULL;
    }
    return mime;
}

static void set_common(struct gdfo_transport *t, struct exchange *x)
{
    const struct gdfo_request *request = x->request;
    int is_long = request->upload_path || request->has_sink;
    int64_t timeout = request->timeout_ms ? request->timeout_ms : GDFO_CLIENT_TIMEOUT_MS;
    CURL *curl = t->curl;
    curl_easy_reset(curl); /* keeps the live connection */
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the daemon is reached directly */
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                           is_long && !request->timeout_ms ? 0L : (long)timeout);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header_line);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "gdfo/" GDFO_VERSION);
    if (has_prefix(t->url, "unix:")) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, t->url + strlen("unix:"));
    }
}

static void set_method(CURL *curl, const struct gdfo_request *request, curl_mime *mime)
{
    if (mime) {
        (void)curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime);
    } else if (strcmp(request->method, "HEAD") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (request->body || strcmp(request->method, "POST") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body ? request->body : "");
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                               (curl_off_t)(request->body ? request->n_body : 0));
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    } else {
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

static enum gdfo_status failure(const struct exchange *x, CURLcode code, struct gdfo_error *err)
{
    const struct gdfo_transport *t = x->transport;
    if (is_cancelled(t)) {
        return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "interrupted");
    }
    if (x->sink_errno) {
        return gdfo_error_errno(err, x->sink_errno, "writing what was downloaded");
    }
    if (x->reply->body.is_broken) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "the answer is longer than %zu bytes",
                              GDFO_REPLY_MAX_BYTES);
    }
    if (code == CURLE_READ_ERROR && x->request->upload_path) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s cannot be read",
                              x->request->upload_path);
    }
    if (code == CURLE_OUT_OF_MEMORY) {
        return gdfo_error_no_memory(err, "a request");
    }
    (void)gdfo_error_set(err, GDFO_STATUS_IO, "no answer from %s: %s", t->url,
                         curl_easy_strerror(code));
    gdfo_error_at(err, "", "unreachable");
    return GDFO_STATUS_IO;
}

static void clear(struct gdfo_reply *reply)
{
    if (reply->body.max == 0) {
        gdfo_buf_init(&reply->body, GDFO_REPLY_MAX_BYTES);
    }
    gdfo_buf_reset(&reply->body);
    reply->http = 0;
    reply->request_id[0] = reply->etag[0] = reply->sha256[0] = reply->content_type[0] = '\0';
}

static enum gdfo_status perform(struct exchange *x, struct gdfo_error *err)
{
    unsigned char digest[GDFO_SHA256_BYTES];
    long http = 0;
    CURLcode code = curl_easy_perform(x->transport->curl);
    if (code != CURLE_OK) {
        return failure(x, code, err);
    }
    (void)curl_easy_getinfo(x->transport->curl, CURLINFO_RESPONSE_CODE, &http);
    gdfo_sha256_end(&x->hash, digest);
    gdfo_hex(digest, sizeof digest, x->reply->sha256);
    x->reply->http = (int)http;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_transport_send(struct gdfo_transport *t, const struct gdfo_request *request,
                                     struct gdfo_reply *reply, struct gdfo_error *err)
{
    char url[URL_MAX];
    struct exchange x = {.transport = t, .request = request, .reply = reply};
    struct curl_slist *headers = NULL;
    curl_mime *mime = NULL;
    enum gdfo_status status;
    int n = snprintf(url, sizeof url, "%s%s", t->base, request->path);
    clear(reply);
    if (n < 0 || (size_t)n >= sizeof url || !is_plain(request->path) || request->path[0] != '/') {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "the path \"%.60s\" is no path: want /..., without blanks, up to %d "
                              "bytes",
                              request->path, URL_MAX);
    }
    gdfo_sha256_init(&x.hash);
    set_common(t, &x);
    headers = headers_of(t, request);
    mime = request->upload_path ? mime_of(t->curl, request->upload_path) : NULL;
    if (!headers || (request->upload_path && !mime)) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s cannot be sent",
                                request->upload_path ? request->upload_path : "the request");
        goto done;
    }
    set_method(t->curl, request, mime);
    (void)curl_easy_setopt(t->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    status = perform(&x, err);
done:
    curl_easy_reset(t->curl);
    curl_mime_free(mime);
    curl_slist_free_all(headers);
    return status;
}
