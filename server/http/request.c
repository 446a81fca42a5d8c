#include "server/http/request.h"

#include "common/clk.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/http/oip.h"
#include "server/http/respond.h"
#include "server/http/router.h"
#include "server/http/upload.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define REQUEST_LINE_MAX_BYTES 4096
#define HEADER_BLOCK_MAX_BYTES (16u << 10)
#define FORM_EXTRA_BYTES       (64u << 10) /* of an upload's body beside the file itself */
#define DRAIN_MAX_BYTES        (64u << 10) /* of a refused body that is read all the same */
#define OVERRUN_MAX_BYTES      (1u << 20)  /* read past a ceiling before the connection is cut */

struct gdfo_request *gdfo_request_create(const struct gdfo_http_config *cfg,
                                         const struct gdfo_http_deps *deps, unsigned port)
{
    struct gdfo_request *r = gdfo_mem_array(1, sizeof *r);
    if (!r) {
        return NULL;
    }
    r->cfg = cfg;
    r->deps = deps;
    r->port = port;
    r->answer.retry = -1;
    r->start_ms = gdfo_clk_monotonic_ms(gdfo_clk_system());
    gdfo_ulid(r->id, gdfo_clk_wall_ms(gdfo_clk_system()));
    gdfo_buf_init(&r->body, cfg->json_max_bytes);
    gdfo_buf_init(&r->answer.body, GDFO_ANSWER_MAX_BYTES);
    return r;
}

void gdfo_request_destroy(struct gdfo_request *r)
{
    if (!r) {
        return;
    }
    if (r->park) {
        r->park_destroy(r->park);
    }
    gdfo_upload_destroy(r->upload);
    gdfo_json_destroy(r->json);
    gdfo_buf_deinit(&r->body);
    gdfo_buf_deinit(&r->answer.body);
    if (r->answer.has_reader) {
        gdfo_reader_close(&r->answer.reader);
    }
    gdfo_mem_free(r->faults);
    gdfo_mem_free(r->raw_target);
    gdfo_mem_free(r);
}

void gdfo_request_set_target(struct gdfo_request *r, const char *raw)
{
    r->raw_target = strlen(raw) <= GDFO_TARGET_MAX_BYTES ? gdfo_mem_dup_str(raw) : NULL;
}

static int is_header(const char *name, size_t n, const char *want)
{
    return n == strlen(want) && strncasecmp(name, want, n) == 0;
}

static void keep(struct gdfo_request *r, char *out, size_t out_bytes, const char *value, size_t n)
{
    if (n >= out_bytes || out[0] != '\0') {
        r->headers.is_unclear = 1;
        return;
    }
    memcpy(out, value, n);
    out[n] = '\0';
}

void gdfo_request_header(struct gdfo_request *r, const char *name, size_t n_name, const char *value,
                         size_t n_value)
{
    struct gdfo_request_headers *h = &r->headers;
    value = value ? value : "";
    gdfo_framing_add(&r->framing, name, n_name, value, n_value);
    if (is_header(name, n_name, "content-type")) {
        keep(r, h->content_type, sizeof h->content_type, value, n_value);
    } else if (is_header(name, n_name, "accept")) {
        (void)snprintf(h->accept, sizeof h->accept, "%s", value);
    } else if (is_header(name, n_name, "if-none-match")) {
        (void)snprintf(h->if_none_match, sizeof h->if_none_match, "%s", value);
    } else if (is_header(name, n_name, "idempotency-key")) {
        keep(r, h->idempotency_key, sizeof h->idempotency_key, value, n_value);
    } else if (is_header(name, n_name, "inference-header-content-length")) {
        keep(r, h->inference_header, sizeof h->inference_header, value, n_value);
    } else if (is_header(name, n_name, "expect")) {
        h->expects_continue = 1;
    }
}

/* 0 and an answer when the head cannot be read one way only, or is not for us. */
static int check_head(struct gdfo_request *r, const struct gdfo_request_head *head)
{
    struct gdfo_error err = {0};
    size_t n_line = strlen(head->method) + strlen(head->version) + 4;
    if (!r->raw_target || strlen(r->raw_target) + n_line > REQUEST_LINE_MAX_BYTES) {
        gdfo_respond_refuse(r, "", "uri_too_long", "the request line is longer than %d bytes",
                            REQUEST_LINE_MAX_BYTES);
    } else if (head->header_bytes > HEADER_BLOCK_MAX_BYTES + n_line + strlen(r->raw_target)) {
        gdfo_respond_refuse(r, "", "headers_too_large", "the headers are longer than %u bytes",
                            HEADER_BLOCK_MAX_BYTES);
    } else if (r->headers.is_unclear) {
        gdfo_respond_refuse(r, "", "bad_framing",
                            "a header that may stand once is given twice or is too long");
    } else if (gdfo_framing_check(&r->framing, head->version, &err) != GDFO_STATUS_OK ||
               gdfo_framing_check_host(&r->framing, r->cfg->hosts, r->port, &err) !=
                   GDFO_STATUS_OK ||
               gdfo_target_parse(&r->target, r->raw_target, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    }
    r->answer.must_close |= r->answer.is_ready;
    return !r->answer.is_ready;
}

/* Every query parameter must be one of the route's. */
static void check_params(struct gdfo_request *r)
{
    char pointer[80];
    for (size_t i = 0; i < r->target.n_params; i++) {
        const char *name = r->target.params[i].name;
        char word[64];
        (void)snprintf(pointer, sizeof pointer, "/%.64s", name);
        (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(name, "["), name);
        if (gdfo_router_has_word(r->route->params, name)) {
            continue;
        }
        if (gdfo_router_has_word(r->route->later, word)) {
            gdfo_respond_fault(r, pointer, "not_supported",
                               "the query parameter %.64s is not built yet", name);
        } else {
            gdfo_respond_fault(r, pointer, "unknown_field", "unknown query parameter '%.64s'%s%s",
                               name, r->route->params[0] ? "; want one of: " : "",
                               r->route->params);
        }
    }
    (void)gdfo_respond_faults(r);
}

/* 1 when the content type is want, with or without parameters. */
static int has_type(const struct gdfo_request *r, const char *want)
{
    size_t n = strlen(want);
    const char *type = r->headers.content_type;
    return strncasecmp(type, want, n) == 0 && (type[n] == '\0' || strchr("; \t", type[n]) != NULL);
}

static uint64_t body_ceiling(const struct gdfo_request *r)
{
    if (r->route && r->route->body == GDFO_BODY_OIP) {
        return r->headers.inference_header[0] ? GDFO_OIP_BINARY_MAX_BYTES : GDFO_OIP_JSON_MAX_BYTES;
    }
    return r->route && r->route->body == GDFO_BODY_MULTIPART
               ? r->cfg->upload_max_bytes + FORM_EXTRA_BYTES
               : r->cfg->json_max_bytes;
}

static void refuse_large(struct gdfo_request *r)
{
    gdfo_respond_refuse(r, "", "body_too_large", "the body is longer than %llu bytes",
                        (unsigned long long)body_ceiling(r));
}

/* Public clients say octet-stream, or nothing at all. */
static void check_oip(struct gdfo_request *r)
{
    r->body.max = (size_t)body_ceiling(r);
    if (r->headers.content_type[0] && !has_type(r, "application/json") &&
        !has_type(r, "application/octet-stream")) {
        gdfo_respond_refuse(r, "", "unsupported_media_type",
                            "want Content-Type: application/json or application/octet-stream");
    } else if (!r->deps->serve) {
        gdfo_respond_refuse(r, "", "not_found", GDFO_OIP_OFF);
    }
}

static void check_type(struct gdfo_request *r)
{
    int has_body = r->framing.is_chunked || r->framing.content_length > 0;
    switch (r->route->body) {
    case GDFO_BODY_NONE:
        if (has_body) {
            gdfo_respond_refuse(r, "", "invalid_value", "this route takes no body");
        }
        break;
    case GDFO_BODY_ACTION: break;
    case GDFO_BODY_JSON:
        if (!has_type(r, "application/json")) {
            gdfo_respond_refuse(r, "", "unsupported_media_type",
                                "want Content-Type: application/json");
        }
        break;
    case GDFO_BODY_MULTIPART:
        if (!has_type(r, "multipart/form-data")) {
            gdfo_respond_refuse(r, "", "unsupported_media_type",
                                "want Content-Type: multipart/form-data");
        }
        break;
    case GDFO_BODY_OIP: check_oip(r); break;
    }
}

static void begin_upload(struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    if (gdfo_upload_create(&r->upload, r, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    }
}

static void find_route(struct gdfo_request *r, const char *method)
{
    r->method = gdfo_method_parse(method);
    r->route = gdfo_router_find(r->method, &r->target, r->args, r->answer.allow);
    if (!r->route && r->answer.allow[0]) {
        gdfo_respond_refuse(r, "", "method_not_allowed", "this path takes %s", r->answer.allow);
    } else if (!r->route) {
        gdfo_respond_refuse(r, "", "not_found", "there is nothing at this path");
    } else {
        r->answer.allow[0] = '\0';
    }
}

void gdfo_request_begin(struct gdfo_request *r, const struct gdfo_request_head *head)
{
    if (!check_head(r, head)) {
        return;
    }
    find_route(r, head->method);
    if (r->framing.content_length > body_ceiling(r)) {
        refuse_large(r);
    }
    if (!r->answer.is_ready) {
        check_params(r);
    }
    if (!r->answer.is_ready) {
        check_type(r);
    }
    if (!r->answer.is_ready && r->route->body == GDFO_BODY_MULTIPART) {
        begin_upload(r);
    }
}

int gdfo_request_drains(const struct gdfo_request *r)
{
    return !r->answer.must_close && !r->headers.expects_continue && !r->framing.is_chunked &&
           r->framing.content_length <= DRAIN_MAX_BYTES;
}

int gdfo_request_body(struct gdfo_request *r, const char *bytes, size_t n)
{
    struct gdfo_error err = {0};
    r->n_body += n;
    if (r->n_body > body_ceiling(r) + OVERRUN_MAX_BYTES) {
        return 0;
    }
    if (r->answer.is_ready) {
        return 1; /* refused already: what is left is read and dropped */
    }
    if (r->n_body > body_ceiling(r)) {
        refuse_large(r);
    } else if (r->upload) {
        if (gdfo_upload_add(r->upload, bytes, n, &err) != GDFO_STATUS_OK) {
            gdfo_respond_error(r, &err);
        }
    } else {
        gdfo_buf_addn(&r->body, bytes, n);
    }
    return 1;
}

/* Parses the body into r->json; 0 after an answer. */
static int parse_json(struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    struct gdfo_json *json = NULL;
    if (!gdfo_buf_ok(&r->body)) {
        (void)gdfo_error_no_memory(&err, "reading a body");
        gdfo_respond_error(r, &err);
        return 0;
    }
    if (gdfo_json_parse(&json, r->body.data, r->body.len, NULL, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return 0;
    }
    r->json = json;
    if (gdfo_json_type(json) != GDFO_JSON_OBJECT) {
        gdfo_respond_refuse(r, "", "invalid_value", "the body is %s; want an object",
                            gdfo_json_type_name(gdfo_json_type(json)));
        return 0;
    }
    return 1;
}

/* An action's body is empty, or an object without members. */
static int check_action(struct gdfo_request *r)
{
    char pointer[80];
    if (r->n_body == 0) {
        return 1;
    }
    if (!parse_json(r)) {
        return 0;
    }
    for (const struct gdfo_json *v = gdfo_json_first(r->json); v; v = gdfo_json_next(v)) {
        (void)snprintf(pointer, sizeof pointer, "/%.64s", gdfo_json_key(v));
        gdfo_respond_fault(r, pointer, "unknown_field", "unknown member '%.64s'; want none",
                           gdfo_json_key(v));
    }
    return !gdfo_respond_faults(r);
}

void gdfo_request_end(struct gdfo_request *r)
{
    if (r->answer.is_ready || (r->route->body == GDFO_BODY_ACTION && !check_action(r)) ||
        (r->route->body == GDFO_BODY_JSON && !parse_json(r))) {
        return;
    }
    r->route->handler(r);
}

struct gdfo_store_actor gdfo_request_actor(const struct gdfo_request *r)
{
    struct gdfo_store_actor who = {.uid = GDFO_STORE_LOCAL_UID, .pid = GDFO_STORE_LOCAL_PID};
    (void)snprintf(who.request_id, sizeof who.request_id, "%s", r->id);
    return who;
}

int gdfo_request_int_param(struct gdfo_request *r, const char *name, int64_t min, int64_t max,
                           int64_t *out)
{
    const char *text = gdfo_target_param(&r->target, name);
    char pointer[80];
    if (!text || gdfo_parse_i64(text, min, max, out)) {
        return 1;
    }
    (void)snprintf(pointer, sizeof pointer, "/%s", name);
    gdfo_respond_fault(r, pointer, "invalid_value", "%s is '%.40s'; want an integer %lld..%lld",
                       name, text, (long long)min, (long long)max);
    return 0;
}
