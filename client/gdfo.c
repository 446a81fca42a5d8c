#include "client/gdfo.h"

#include "client/transport_priv.h"
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_MAX_BYTES     4096
#define EVENTS_PER_PAGE    100
#define PREDICT_TIMEOUT_MS 900000 /* a batch through a large model on a busy machine */

struct gdfo_client {
    struct gdfo_transport *transport;
};

enum gdfo_status gdfo_client_open(struct gdfo_client **out, const struct gdfo_client_config *config,
                                  struct gdfo_error *err)
{
    enum gdfo_status status;
    struct gdfo_client *c = gdfo_mem_array(1, sizeof *c);
    if (!c) {
        return gdfo_error_no_memory(err, "the client");
    }
    status = gdfo_transport_open(&c->transport, config, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_mem_free(c);
        return status;
    }
    *out = c;
    return GDFO_STATUS_OK;
}

void gdfo_client_close(struct gdfo_client *c)
{
    if (c) {
        gdfo_transport_close(c->transport);
        gdfo_mem_free(c);
    }
}

enum gdfo_status gdfo_client_send(struct gdfo_client *c, const struct gdfo_request *request,
                                  struct gdfo_reply *reply, struct gdfo_error *err)
{
    return gdfo_transport_send(c->transport, request, reply, err);
}

/* ---- verbs ---- */

enum gdfo_status gdfo_client_get(struct gdfo_client *c, struct gdfo_reply *reply,
                                 struct gdfo_error *err, const char *fmt, ...)
{
    char path[PATH_MAX_BYTES];
    va_list args;
    int n;
    va_start(args, fmt);
    n = vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof path) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "the path is longer than %d bytes",
                              PATH_MAX_BYTES - 1);
    }
    return gdfo_client_send(c, &(struct gdfo_request){.method = "GET", .path = path}, reply, err);
}

static enum gdfo_status post(struct gdfo_client *c, const char *path, const char *body,
                             struct gdfo_request extra, struct gdfo_reply *reply,
                             struct gdfo_error *err)
{
    extra.method = "POST";
    extra.path = path;
    extra.body = body;
    extra.n_body = body ? strlen(body) : 0;
    return gdfo_client_send(c, &extra, reply, err);
}

enum gdfo_status gdfo_client_file_put(struct gdfo_client *c, const char *path,
                                      struct gdfo_reply *reply, struct gdfo_error *err)
{
    return post(c, "/v1/files", NULL, (struct gdfo_request){.upload_path = path}, reply, err);
}

enum gdfo_status gdfo_client_job_create(struct gdfo_client *c, const char *body, const char *key,
                                        struct gdfo_reply *reply, struct gdfo_error *err)
{
    return post(c, "/v1/fine_tuning/jobs", body, (struct gdfo_request){.key = key}, reply, err);
}

enum gdfo_status gdfo_client_predict(struct gdfo_client *c, const char *body,
                                     struct gdfo_reply *reply, struct gdfo_error *err)
{
    return post(c, "/v1/predict", body, (struct gdfo_request){.timeout_ms = PREDICT_TIMEOUT_MS},
                reply, err);
}

/* INVALID unless id may stand in a path: the daemon must never see a path a user's typo made. */
static enum gdfo_status check_id(const char *id, struct gdfo_error *err)
{
    if (!gdfo_client_is_id(id)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "\"%.60s\" is no id; want the like of ftjob-01J9Z3...", id);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_client_job_get(struct gdfo_client *c, const char *id,
                                     struct gdfo_reply *reply, struct gdfo_error *err)
{
    enum gdfo_status status = check_id(id, err);
    return status != GDFO_STATUS_OK ? status
                                    : gdfo_client_get(c, reply, err, "/v1/fine_tuning/jobs/%s", id);
}

enum gdfo_status gdfo_client_job_act(struct gdfo_client *c, const char *id, const char *action,
                                     struct gdfo_reply *reply, struct gdfo_error *err)
{
    char path[PATH_MAX_BYTES];
    enum gdfo_status status = check_id(id, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/%s", id, action);
    return post(c, path, NULL, (struct gdfo_request){0}, reply, err);
}

enum gdfo_status gdfo_client_job_events(struct gdfo_client *c, const char *id, int64_t after_seq,
                                        struct gdfo_reply *reply, struct gdfo_error *err)
{
    enum gdfo_status status = check_id(id, err);
    return status != GDFO_STATUS_OK
               ? status
               : gdfo_client_get(c, reply, err,
                                 "/v1/fine_tuning/jobs/%s/events?after_seq=%lld&limit=%d", id,
                                 (long long)after_seq, EVENTS_PER_PAGE);
}

enum gdfo_status gdfo_client_job_metrics(struct gdfo_client *c, const char *id, const char *names,
                                         int points, struct gdfo_reply *reply,
                                         struct gdfo_error *err)
{
    enum gdfo_status status = check_id(id, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    return gdfo_client_get(c, reply, err, "/v1/fine_tuning/jobs/%s/metrics?points=%d%s%s", id,
                           points, names ? "&names=" : "", names ? names : "");
}

enum gdfo_status gdfo_client_job_content(struct gdfo_client *c, const char *id,
                                         const char *checkpoint, const char *format,
                                         struct gdfo_reply *reply, struct gdfo_error *err)
{
    enum gdfo_status status = check_id(id, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    return gdfo_client_get(c, reply, err,
                           "/v1/fine_tuning/jobs/%s/checkpoints/%s/content?format=%s", id,
                           checkpoint, format);
}
