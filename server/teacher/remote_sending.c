#include "common/hash.h"
#include "server/teacher/remote_priv.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX ((size_t)16 << 20) /* teachers.md 2 */

void gdfo_remote_sending_init(struct gdfo_remote_sending *s, size_t body_max)
{
    memset(s, 0, sizeof *s);
    gdfo_buf_init(&s->exchange.body, body_max);
}

void gdfo_remote_sending_deinit(struct gdfo_remote_sending *s)
{
    gdfo_buf_deinit(&s->exchange.body);
}

/* The same request has the same key, whoever sends it and however often. */
static void make_key(struct gdfo_remote_sending *s)
{
    struct gdfo_sha256 h;
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[2 * GDFO_SHA256_BYTES + 1];
    gdfo_sha256_init(&h);
    gdfo_sha256_add(&h, s->exchange.path, strlen(s->exchange.path) + 1);
    gdfo_sha256_add(&h, s->exchange.body.data, s->exchange.body.len);
    gdfo_sha256_end(&h, digest);
    gdfo_hex(digest, 16, hex);
    (void)snprintf(s->key, sizeof s->key, "gdfo-%.32s", hex);
}

enum gdfo_status gdfo_remote_sending_ready(struct gdfo_remote_sending *s, struct gdfo_error *err)
{
    struct gdfo_exchange *x = &s->exchange;
    if (!gdfo_buf_ok(&x->body)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "a request is larger than %zu bytes, the teacher's max_body_bytes",
                              x->body.max);
    }
    for (size_t i = 0; i < x->n_headers; i++) {
        (void)snprintf(s->lines[i], sizeof s->lines[i], "%s: %s", x->headers[i].name,
                       x->headers[i].value);
        s->headers[i] = s->lines[i];
    }
    make_key(s);
    s->call = (struct gdfo_net_call){
        .method = x->method,
        .path = x->path,
        .headers = s->headers,
        .n_headers = x->n_headers,
        .body = x->body.data,
        .body_bytes = x->body.len,
        .answer_max = x->answer_max < ANSWER_MAX ? x->answer_max : ANSWER_MAX,
        .tokens = x->tokens,
        .idempotency_key = strcmp(x->method, "POST") == 0 ? s->key : NULL};
    return GDFO_STATUS_OK;
}

static int is_cancelled(void *ctx)
{
    const atomic_int *cancel = ctx;
    return atomic_load_explicit(cancel, memory_order_acquire) != 0;
}

struct gdfo_net_control gdfo_remote_control(const atomic_int *cancel)
{
    struct gdfo_net_control control = {.is_cancelled = cancel ? is_cancelled : NULL};
    memcpy(&control.ctx, &cancel, sizeof control.ctx); /* read alone, whatever its type says */
    return control;
}

static const char *header_of(const struct gdfo_exchange_answer *a, const char *name)
{
    struct gdfo_remote_view *v = a->headers;
    return gdfo_net_header(v->from, name, v->value, sizeof v->value) ? v->value : NULL;
}

void gdfo_remote_view_init(struct gdfo_remote_view *v, const struct gdfo_net_answer *from)
{
    memset(v, 0, sizeof *v);
    v->from = from;
    v->answer = (struct gdfo_exchange_answer){.status = from->status,
                                              .body = from->body,
                                              .n = from->n,
                                              .header = header_of,
                                              .headers = v};
}
