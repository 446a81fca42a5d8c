#ifndef GDFO_SERVER_HTTP_REQUEST_H
#define GDFO_SERVER_HTTP_REQUEST_H

#include "common/buf.h"
#include "common/file.h"
#include "common/json.h"
#include "common/ulid.h"
#include "server/http/framing.h"
#include "server/http/http.h"
#include "server/http/target.h"
#include "server/store/store.h"

/*
 * One request from its first header to its answer, without a word of microhttpd: http.c feeds it,
 * a handler reads it and leaves an answer (respond.h). Owned by the connection; one http thread at
 * a time, except that a parked request belongs to whoever will unpark it.
 */
struct gdfo_route;
struct gdfo_upload;

#define GDFO_REQUEST_ARGS_MAX 2

enum gdfo_method {
    GDFO_METHOD_OTHER,
    GDFO_METHOD_GET, /* HEAD is read as GET; microhttpd leaves the body out */
    GDFO_METHOD_POST,
    GDFO_METHOD_PUT,
    GDFO_METHOD_PATCH,
    GDFO_METHOD_DELETE
};

/* Headers that mean something to a route; too long ones are refused. "" when missing. */
struct gdfo_request_headers {
    char content_type[256];
    char accept[256];
    char if_none_match[128];
    char idempotency_key[256];
    char inference_header[24]; /* Inference-Header-Content-Length */
    int expects_continue;
    int is_unclear; /* one of the above is given twice or is too long to be meant */
};

/* One reason why a request is refused. */
struct gdfo_fault {
    char pointer[192]; /* JSON pointer, "" for the whole */
    char detail[320];
    const char *code; /* of common/wire.h, static */
};

struct gdfo_answer {
    int is_ready;
    int http_status;
    const char *content_type; /* static */
    struct gdfo_buf body;
    struct gdfo_reader
        reader; /* has_reader: the body is a file's content, closed with the request */
    int has_reader;
    int must_close;          /* nothing behind this request may be read */
    int retry;               /* x-should-retry: -1 not said, 0 false, 1 true */
    char allow[64];          /* Allow */
    char etag[80];           /* ETag, with its quotes */
    char disposition[640];   /* Content-Disposition */
    const char *replayed;    /* idempotency-replayed, static, or NULL */
    int retry_after_s;       /* of a 429 or 503; 0: the contract's */
    size_t inference_header; /* Inference-Header-Content-Length; 0: none */
};

struct gdfo_request {
    const struct gdfo_http_config *cfg;
    const struct gdfo_http_deps *deps;
    unsigned port;
    char id[GDFO_ULID_BYTES];
    int64_t start_ms; /* monotonic */
    enum gdfo_method method;
    const struct gdfo_route *route;
    const char *args[GDFO_REQUEST_ARGS_MAX]; /* what stood in the path for {id} and the like */
    char *raw_target;                        /* owned; NULL when it was too long to keep */
    int is_begun;
    struct gdfo_target target;
    struct gdfo_framing framing;
    struct gdfo_request_headers headers;
    uint64_t n_body; /* bytes that came */
    struct gdfo_buf body;
    struct gdfo_json *json;     /* BODY_JSON: an object, owned */
    struct gdfo_upload *upload; /* BODY_MULTIPART: owned */
    struct gdfo_fault *faults;  /* owned */
    size_t n_faults, faults_cap;
    struct gdfo_answer answer;

    /* Parking (predict): the handler sets submit and park; http.c suspends the connection, then
     * calls submit. Whoever answers calls unpark, after which the request is not his any more. */
    enum gdfo_status (*submit)(struct gdfo_request *r, struct gdfo_error *err);
    void (*unpark)(struct gdfo_request *r);
    void *park; /* what submit works on */
    void (*park_destroy)(void *park);
    void *connection;       /* http.c's */
    struct gdfo_http *http; /* http.c's */
};

struct gdfo_request *gdfo_request_create(const struct gdfo_http_config *cfg,
                                         const struct gdfo_http_deps *deps, unsigned port);
void gdfo_request_destroy(struct gdfo_request *r);

/* Takes the target as it was sent. */
void gdfo_request_set_target(struct gdfo_request *r, const char *raw);

/* Takes one header. */
void gdfo_request_header(struct gdfo_request *r, const char *name, size_t n_name, const char *value,
                         size_t n_value);

/* How the head was sent, and how large it was. */
struct gdfo_request_head {
    const char *method, *version;
    size_t header_bytes; /* of the whole head; 0 when unknown */
};

/*
 * Judges the head once all headers are in: framing, size, Host, path, route, method, content type,
 * announced size. An answer is ready afterwards when the request is refused.
 */
void gdfo_request_begin(struct gdfo_request *r, const struct gdfo_request_head *head);

/* 1 when a refused request's body is small and on its way: read it, then answer, so that the
 * connection may go on. */
int gdfo_request_drains(const struct gdfo_request *r);

/* Takes a piece of the body. 0: too much came, the connection must be closed. */
int gdfo_request_body(struct gdfo_request *r, const char *bytes, size_t n);

/* The body is complete: parses it and runs the handler. Afterwards an answer is ready, or submit is
 * set. */
void gdfo_request_end(struct gdfo_request *r);

/* On whose behalf: user local in project default. */
struct gdfo_store_actor gdfo_request_actor(const struct gdfo_request *r);

/* The query parameter as an integer min..max; *out is untouched when it is missing. 0 after a
 * fault. */
int gdfo_request_int_param(struct gdfo_request *r, const char *name, int64_t min, int64_t max,
                           int64_t *out);

#endif
