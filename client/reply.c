#include "client/reply.h"

#include <string.h>

#define ID_MAX 64

/* Answers may be longer than what the daemon accepts: curves, prompts, predictions. */
static const struct gdfo_json_limits reply_limits = {
    .depth = 64, .string_bytes = (size_t)16 << 20, .members = 65536, .values = 2000000};

void gdfo_reply_deinit(struct gdfo_reply *reply)
{
    gdfo_buf_deinit(&reply->body);
    *reply = (struct gdfo_reply){0};
}

enum gdfo_status gdfo_reply_json(const struct gdfo_reply *reply, struct gdfo_json **out,
                                 struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_json_parse(out, reply->body.data ? reply->body.data : "",
                                              reply->body.len, &reply_limits, err);
    return status == GDFO_STATUS_OK ? status : gdfo_error_prefix(err, "the daemon's answer");
}

static enum gdfo_status status_of(int http)
{
    static const struct {
        int http;
        enum gdfo_status status;
    } rows[] = {{402, GDFO_STATUS_BUDGET},   {404, GDFO_STATUS_NOT_FOUND},
                {409, GDFO_STATUS_CONFLICT}, {412, GDFO_STATUS_CONFLICT},
                {413, GDFO_STATUS_LIMIT},    {422, GDFO_STATUS_UNSUPPORTED},
                {429, GDFO_STATUS_BUSY},     {503, GDFO_STATUS_BUSY}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].http == http) {
            return rows[i].status;
        }
    }
    return http >= 500 ? GDFO_STATUS_UPSTREAM : GDFO_STATUS_INVALID;
}

static const char *member(const struct gdfo_json *object, const char *key)
{
    return object ? gdfo_json_string(gdfo_json_get(object, key)) : NULL;
}

enum gdfo_status gdfo_reply_error(const struct gdfo_reply *reply, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    const struct gdfo_json *e = NULL;
    const char *message, *code, *param;
    enum gdfo_status status;
    if (reply->http >= 200 && reply->http < 300) {
        return GDFO_STATUS_OK;
    }
    status = status_of(reply->http);
    if (gdfo_reply_json(reply, &root, NULL) == GDFO_STATUS_OK &&
        gdfo_json_type(root) == GDFO_JSON_OBJECT) {
        e = gdfo_json_get(root, "error");
    }
    if (e && gdfo_json_type(e) != GDFO_JSON_OBJECT) {
        e = NULL;
    }
    message = member(e, "message");
    code = member(e, "code");
    param = member(e, "param");
    if (message) {
        (void)gdfo_error_set(err, status, "%s", message);
    } else {
        (void)gdfo_error_set(err, status, "HTTP %d without a word of explanation", reply->http);
    }
    gdfo_error_at(err, param ? param : "", code ? code : NULL);
    gdfo_json_destroy(root);
    return status;
}

int gdfo_client_is_id(const char *s)
{
    const char *dash = strchr(s, '-');
    size_t tail;
    if (!dash || dash == s || strspn(s, "abcdefghijklmnopqrstuvwxyz") != (size_t)(dash - s)) {
        return 0;
    }
    tail = strspn(dash + 1, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return tail >= 1 && tail < ID_MAX && dash[1 + tail] == '\0';
}
