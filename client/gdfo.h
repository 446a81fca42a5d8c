#ifndef GDFO_CLIENT_GDFO_H
#define GDFO_CLIENT_GDFO_H

#include "client/reply.h"
#include "common/error.h"

#include <stdatomic.h>
#include <stdint.h>

/*
 * The public client of gdfod: one function per REST verb, no policy. It never retries, waits or
 * asks; whoever calls decides. One client is one connection and belongs to one thread.
 *
 * A call succeeds when an HTTP answer came, whatever its status: look at reply.http, and let
 * gdfo_reply_error turn a refusal into words. It fails with
 *   IO         the daemon cannot be reached, or the connection broke (err.code "unreachable")
 *   CANCELLED  config.cancel was set while waiting
 *   LIMIT      the answer is longer than GDFO_REPLY_MAX_BYTES
 *
 *   struct gdfo_client *c;
 *   struct gdfo_reply reply = {0};
 *   gdfo_client_open(&c, &(struct gdfo_client_config){.url = "http://127.0.0.1:8787"}, &err);
 *   gdfo_client_job_get(c, "ftjob-01J...", &reply, &err);
 *   gdfo_reply_deinit(&reply);
 *   gdfo_client_close(c);
 */
#define GDFO_CLIENT_URL        "http://127.0.0.1:8787"
#define GDFO_CLIENT_TIMEOUT_MS 60000

struct gdfo_client;

struct gdfo_client_config {
    const char *url;          /* NULL or "": GDFO_CLIENT_URL; http://, https:// or unix:/path */
    const char *token;        /* NULL or "": none; copied, wiped by close */
    const atomic_int *cancel; /* NULL, or set non-zero by another thread or a signal handler */
};

struct gdfo_request {
    const char *method; /* "GET" */
    const char *path;   /* "/v1/info?x=y", already percent-encoded */
    const char *body;   /* NULL: none */
    size_t n_body;
    const char *key;         /* Idempotency-Key, NULL: none */
    const char *upload_path; /* a file to send as multipart part "file" with purpose fine-tune */
    int has_sink;            /* 1: a 2xx body goes to sink_fd instead of reply.body */
    int sink_fd;
    int64_t timeout_ms; /* 0: GDFO_CLIENT_TIMEOUT_MS, but none for uploads and sinks */
};

/* *out: owned by caller, ended by gdfo_client_close(). INVALID when the URL is none of ours. */
GDFO_MUST_USE enum gdfo_status gdfo_client_open(struct gdfo_client **out,
                                                const struct gdfo_client_config *config,
                                                struct gdfo_error *err);
void gdfo_client_close(struct gdfo_client *c); /* NULL is fine */

/* Any route. Every reply is owned by the caller and reused from call to call: gdfo_reply_deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_client_send(struct gdfo_client *c,
                                                const struct gdfo_request *request,
                                                struct gdfo_reply *reply, struct gdfo_error *err);

/* GET of a path made by printf; every argument must be safe in a URL (ids, numbers). */
GDFO_PRINTF(4, 5)
GDFO_MUST_USE enum gdfo_status gdfo_client_get(struct gdfo_client *c, struct gdfo_reply *reply,
                                               struct gdfo_error *err, const char *fmt, ...);
GDFO_MUST_USE enum gdfo_status gdfo_client_file_put(struct gdfo_client *c, const char *path,
                                                    struct gdfo_reply *reply,
                                                    struct gdfo_error *err);

/* body: the create object; key: Idempotency-Key or NULL. */
GDFO_MUST_USE enum gdfo_status gdfo_client_job_create(struct gdfo_client *c, const char *body,
                                                      const char *key, struct gdfo_reply *reply,
                                                      struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_client_job_get(struct gdfo_client *c, const char *id,
                                                   struct gdfo_reply *reply,
                                                   struct gdfo_error *err);

/* action: pause, resume or cancel. */
GDFO_MUST_USE enum gdfo_status gdfo_client_job_act(struct gdfo_client *c, const char *id,
                                                   const char *action, struct gdfo_reply *reply,
                                                   struct gdfo_error *err);

/* Events after after_seq, oldest first, at most 100. */
GDFO_MUST_USE enum gdfo_status gdfo_client_job_events(struct gdfo_client *c, const char *id,
                                                      int64_t after_seq, struct gdfo_reply *reply,
                                                      struct gdfo_error *err);

/* names: "loss_dev,accuracy_dev" or NULL for all. */
GDFO_MUST_USE enum gdfo_status gdfo_client_job_metrics(struct gdfo_client *c, const char *id,
                                                       const char *names, int points,
                                                       struct gdfo_reply *reply,
                                                       struct gdfo_error *err);

/* checkpoint: an id, "best" or "last"; format: json, safetensors, peft. */
GDFO_MUST_USE enum gdfo_status gdfo_client_job_content(struct gdfo_client *c, const char *id,
                                                       const char *checkpoint, const char *format,
                                                       struct gdfo_reply *reply,
                                                       struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_client_predict(struct gdfo_client *c, const char *body,
                                                   struct gdfo_reply *reply,
                                                   struct gdfo_error *err);

#endif
