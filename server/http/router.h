#ifndef GDFO_SERVER_HTTP_ROUTER_H
#define GDFO_SERVER_HTTP_ROUTER_H

#include "server/http/request.h"

/*
 * Routes by an exact table (api/routes.def). A pattern's {id} takes an id of the strict form of
 * service.md 1.1, {ckpt} the same or best or last, {name} and {version} a teacher's or a model's.
 */
enum gdfo_body_kind {
    GDFO_BODY_NONE,      /* a body is refused */
    GDFO_BODY_ACTION,    /* empty under any content type, or {} */
    GDFO_BODY_JSON,      /* one JSON object */
    GDFO_BODY_MULTIPART, /* an upload, streamed */
    GDFO_BODY_OIP        /* JSON, or JSON and raw tensors (oip.h) */
};

struct gdfo_route {
    enum gdfo_method method;
    enum gdfo_body_kind body;
    const char *pattern;
    void (*handler)(struct gdfo_request *r);
    const char *params; /* names of query parameters, by blanks */
    const char *later;  /* names of a later stage: 422 not_supported */
};

/* The row for method and target, with args filled in; else NULL, and allow holds what the path
 * would take ("GET, HEAD, POST"), "" when there is no such path. */
const struct gdfo_route *gdfo_router_find(enum gdfo_method method, const struct gdfo_target *t,
                                          const char *args[GDFO_REQUEST_ARGS_MAX], char allow[64]);

const struct gdfo_route *gdfo_router_at(size_t index); /* NULL past the end; for tests and docs */
const char *gdfo_method_name(enum gdfo_method method);
enum gdfo_method gdfo_method_parse(const char *name);          /* HEAD is GET */
int gdfo_router_is_id(const char *s);                          /* ^[a-z]+-[0-9A-Za-z]{1,40}$ */
int gdfo_router_has_word(const char *words, const char *word); /* in a list by blanks */

#endif
