#ifndef GDFO_SERVER_HTTP_HTTP_H
#define GDFO_SERVER_HTTP_HTTP_H

#include "common/error.h"
#include "common/json_write.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The REST edge (service.md 1, 3, 4, 8): libmicrohttpd on two threads of its own, every request
 * checked before its body is read, one row of api/routes.def for each route. Handlers read and
 * write the store, wake the scheduler and answer; none waits for work (a prediction parks its
 * connection and is answered when a worker is done).
 *
 *   struct gdfo_http_config c = gdfo_http_config_default();
 *   status = gdfo_http_bind(&c, &socket, &err);              clients queue from here on
 *   c.socket = &socket;                                       or NULL, and start binds by itself
 *   status = gdfo_http_start(&http, &c, &deps, &err);        prints nothing; 0 = any port
 *   printf("ready http://%s:%u\n", c.bind, gdfo_http_port(http));
 *   gdfo_http_quiesce(http);                                  no new connection from here on
 *   gdfo_sched_stop(sched);                                   answers the parked ones
 *   gdfo_http_stop(http);
 *
 * start, quiesce and stop: owner thread only. What deps points to outlives stop.
 */
struct gdfo_http;
struct gdfo_store;
struct gdfo_store_job;
struct gdfo_job_spec;
struct gdfo_store_checkpoint;
struct gdfo_predict;
struct gdfo_serve;

#define GDFO_HTTP_HOSTS_MAX 16

struct gdfo_http_socket { /* listening; clients queue in it until gdfo_http_start */
    int fd;               /* -1: none, or taken over by gdfo_http_start */
    unsigned port;
};

struct gdfo_http_config {
    const char *bind;   /* 127.0.0.1, ::1 or localhost: while there are no tokens, nothing else */
    unsigned port;      /* 0 = any free one */
    unsigned n_threads; /* of microhttpd's pool */
    const char *hosts;  /* further names accepted in Host and Origin, by commas; NULL = none */
    unsigned n_connections, n_per_address, idle_seconds;
    struct gdfo_http_socket *socket; /* bound before; NULL: start binds one itself */
    size_t json_max_bytes;           /* of a JSON body */
    uint64_t upload_max_bytes;       /* of an uploaded file */
};

struct gdfo_http_config gdfo_http_config_default(void);

/* A checkpoint's way out. */
struct gdfo_http_export_ask {
    const struct gdfo_store_job *job;
    const struct gdfo_store_checkpoint *checkpoint;
    const char *format; /* gdfo, json, safetensors, peft */
};
struct gdfo_http_export {
    struct gdfo_buf *bytes;   /* appended to */
    const char *content_type; /* static */
    char filename[160];
};

/* What the edge asks of the layers below. Every function may be called from any http thread and
 * returns without waiting for work. */
struct gdfo_http_deps {
    struct gdfo_store *store;
    void *ctx; /* first argument of all below */
    void (*wake)(void *ctx);
    enum gdfo_status (*pause)(void *ctx, const char *job_id, struct gdfo_error *err);
    enum gdfo_status (*resume)(void *ctx, const char *job_id, struct gdfo_error *err);
    enum gdfo_status (*cancel)(void *ctx, const char *job_id, struct gdfo_error *err);

    enum gdfo_status (*predict)(void *ctx, struct gdfo_predict *p, struct gdfo_error *err);
    /* Each writes the members of the array that is open in w. */
    void (*write_methods)(void *ctx, struct gdfo_json_writer *w);
    void (*write_students)(void *ctx, struct gdfo_json_writer *w);
    int (*has_student)(void *ctx, const char *name);
    /* Member "precision" of the teacher or student that is open in w; NULL: not shown. */
    void (*write_precision)(void *ctx, const char *model, struct gdfo_json_writer *w);
    /* LIMIT when the job could never have the memory it needs, in words with both numbers; NULL:
     * not asked. */
    enum gdfo_status (*fits)(void *ctx, const struct gdfo_job_spec *spec, struct gdfo_error *err);
    /* A stored prompt in the format that a client asks for. INVALID lists the formats; UNSUPPORTED
     * when the export would change what the prompt means. */
    enum gdfo_status (*export_prompt)(void *ctx, const struct gdfo_http_export_ask *ask,
                                      struct gdfo_http_export *out, struct gdfo_error *err);
    struct gdfo_serve *serve; /* /v2; NULL: off */
};

/*
 * Takes the address of cfg without serving yet, so that one in use is known before anything else
 * has begun. out is owned by caller: taken over by gdfo_http_start, else ended by unbind.
 *
 *   errors  BUSY         "127.0.0.1:8787 is in use ...": the daemon exits 4
 *           UNSUPPORTED  an address that is not loopback, while there are no tokens
 *           INVALID      not an address
 */
GDFO_MUST_USE enum gdfo_status gdfo_http_bind(const struct gdfo_http_config *cfg,
                                              struct gdfo_http_socket *out, struct gdfo_error *err);
void gdfo_http_unbind(struct gdfo_http_socket *socket); /* one with fd -1 is fine */

/* Starts serving. *out: owned by caller, ended by gdfo_http_stop(). Errors as gdfo_http_bind. */
GDFO_MUST_USE enum gdfo_status gdfo_http_start(struct gdfo_http **out,
                                               const struct gdfo_http_config *cfg,
                                               const struct gdfo_http_deps *deps,
                                               struct gdfo_error *err);
unsigned gdfo_http_port(const struct gdfo_http *h);
const char *gdfo_http_library(void); /* version of microhttpd */

/* Accepts no further connection; those that are open go on. */
void gdfo_http_quiesce(struct gdfo_http *h);

/* Waits for the parked predictions to be answered, then closes everything. NULL is fine. */
void gdfo_http_stop(struct gdfo_http *h);

#endif
