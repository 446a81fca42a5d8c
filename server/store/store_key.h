#ifndef GDFO_SERVER_STORE_STORE_KEY_H
#define GDFO_SERVER_STORE_STORE_KEY_H

#include "server/store/store.h"

/* Idempotency keys (service.md 1.4): they belong to a user and live for 24 hours. */
struct gdfo_store_key {
    int64_t uid;
    const char *key, *route;
    unsigned char body_sha256[GDFO_SHA256_BYTES];
};

/*
 * First use takes the key; a later one gets the stored answer.
 *
 *   response  appended when *http_status is set
 *   status    0: the key is ours now and finish or forget must follow
 *   errors    INVALID with code idempotency_key_reused (other body or route), BUSY with code
 *             idempotency_in_flight
 */
GDFO_MUST_USE enum gdfo_status gdfo_store_key_take(struct gdfo_store *s,
                                                   const struct gdfo_store_key *key,
                                                   int *http_status, struct gdfo_buf *response,
                                                   struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_key_finish(struct gdfo_store *s,
                                                     const struct gdfo_store_key *key,
                                                     int http_status, const char *response,
                                                     struct gdfo_error *err);
/* Refusals that cost nothing are not kept. */
GDFO_MUST_USE enum gdfo_status gdfo_store_key_forget(struct gdfo_store *s,
                                                     const struct gdfo_store_key *key,
                                                     struct gdfo_error *err);

#endif
