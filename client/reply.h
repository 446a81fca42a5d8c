#ifndef GDFO_CLIENT_REPLY_H
#define GDFO_CLIENT_REPLY_H

#include "common/buf.h"
#include "common/error.h"
#include "common/json.h"

/* An answer of the daemon, as it came; part of the public client (gdfo.h includes this). */
#define GDFO_REPLY_MAX_BYTES ((size_t)64 << 20)

struct gdfo_reply {
    int http;             /* 200, 404, ... */
    struct gdfo_buf body; /* empty when it went to the sink */
    char request_id[64];  /* x-request-id, "" when absent */
    char etag[80];        /* without its quotes */
    char sha256[65];      /* of the body as received, 64 hex digits */
    char content_type[80];
};

void gdfo_reply_deinit(struct gdfo_reply *reply);

/* The body as JSON; *out: owned by caller, ended by gdfo_json_destroy(). FORMAT when it is none. */
GDFO_MUST_USE enum gdfo_status gdfo_reply_json(const struct gdfo_reply *reply,
                                               struct gdfo_json **out, struct gdfo_error *err);

/* OK for 2xx; else fills err with the daemon's message, its code and the first faulty field. */
GDFO_MUST_USE enum gdfo_status gdfo_reply_error(const struct gdfo_reply *reply,
                                                struct gdfo_error *err);

/* 1 when s looks like an id of ours ("ftjob-01J..."), safe to stand in a path; checkpoint words
 * too. */
int gdfo_client_is_id(const char *s);

#endif
