#ifndef GDFO_TESTS_INTEGRATION_HTTP_RIG_H
#define GDFO_TESTS_INTEGRATION_HTTP_RIG_H

#include "common/buf.h"
#include "common/json.h"
#include "server/http/http.h"
#include "server/sched/sched.h"
#include "server/store/store_file.h"
#include "server/store/store_job.h"

#include <stdint.h>

/*
 * The REST edge with a real store in a folder of its own, a port of its own, and a scheduler that
 * is a script: what is asked of it is noted, moves are made in the store at once, predictions wait
 * until the test answers them. Requests are raw bytes, so that nothing a test sends is made
 * reasonable on its way.
 */
struct rig {
    struct gdfo_store *store;
    struct gdfo_http *http;
    struct gdfo_http_deps deps;
    char *folder;
    int n_wakes; /* touched by http threads: read it only when no request is open */
    struct gdfo_lock *lock;
    struct gdfo_cond *changed;
    struct gdfo_predict *waiting[8]; /* under lock */
    size_t n_waiting;
    int refuse_predictions;
};

struct answer {
    struct gdfo_buf raw; /* everything that came */
    int status;          /* of the first answer; 0: none */
    const char *body;    /* after the first blank line */
    size_t n_body;
    int is_closed;          /* the peer ended the connection */
    struct gdfo_json *json; /* of the body, when it is JSON */
};

struct rig *rig_start(void);
struct rig *rig_start_with(const struct gdfo_http_config *cfg); /* port is always 0 */
void rig_end(struct rig *rig);

/* A connection that stays open over several requests. */
int rig_connect(const struct rig *rig);
void rig_send(int fd, const char *bytes, size_t n);
/* Reads until one whole answer is there (by its Content-Length), or the peer closes. */
void rig_read(int fd, struct answer *a);
/* The same for an answer to HEAD or a 304, which has no body whatever its Content-Length says. */
void rig_read_head(int fd, struct answer *a);
/* Reads until the peer closes. */
void rig_read_all(int fd, struct answer *a);

/* One request on a connection of its own, "Connection: close", and everything that comes back. */
void rig_talk(const struct rig *rig, const char *bytes, size_t n, struct answer *a);
/* METHOD PATH with Host, and the headers ("X: y\r\n") and body that are given. */
void rig_ask(const struct rig *rig, const char *method, const char *path, const char *headers,
             const char *body, struct answer *a);
void rig_get(const struct rig *rig, const char *path, struct answer *a);
void rig_post(const struct rig *rig, const char *path, const char *json, struct answer *a);
void rig_free(struct answer *a);

/* The value of a header of the first answer, "" when missing; static storage. */
const char *rig_header(const struct answer *a, const char *name);

/* Members by a path of dots; array members by number. Fails the test when missing. */
const struct gdfo_json *rig_at(const struct answer *a, const char *path);
const char *rig_text(const struct answer *a, const char *path);
int64_t rig_int(const struct answer *a, const char *path);

/* The answer is this refusal, in the shape of the contract. */
void rig_is_refusal(const struct answer *a, int status, const char *code);

/* Rows that requests are about. */
void rig_add_file(struct rig *rig, const char *content, struct gdfo_store_file *out);
void rig_add_job(struct rig *rig, const char *name, struct gdfo_store_job *out);

/* Waits until n predictions are waiting; then each may be answered by its done. */
void rig_await_predictions(struct rig *rig, size_t n);

#endif
