#ifndef GDFO_SERVER_TEACHER_REMOTE_PRIV_H
#define GDFO_SERVER_TEACHER_REMOTE_PRIV_H

#include "server/teacher/remote.h"

/* Between an adapter's exchange and the net's call: one request with all its bytes. */
struct gdfo_remote_sending {
    struct gdfo_exchange exchange;
    struct gdfo_net_call call;
    char lines[GDFO_EXCHANGE_HEADERS_MAX][192];
    const char *headers[GDFO_EXCHANGE_HEADERS_MAX];
    char key[40]; /* of idempotency: the request's own hash */
};

void gdfo_remote_sending_init(struct gdfo_remote_sending *s, size_t body_max);
/* After the adapter has written the exchange: fills the call. s must not move afterwards. */
GDFO_MUST_USE enum gdfo_status gdfo_remote_sending_ready(struct gdfo_remote_sending *s,
                                                         struct gdfo_error *err);
void gdfo_remote_sending_deinit(struct gdfo_remote_sending *s);

/* Ends calls once *cancel is set; NULL: never. */
struct gdfo_net_control gdfo_remote_control(const atomic_int *cancel);

/* The net's answer as an adapter reads it: &view->answer, valid while both stand. A header's value
 * is valid until the next is asked for. */
struct gdfo_remote_view {
    struct gdfo_exchange_answer answer;
    const struct gdfo_net_answer *from;
    char value[512];
};
void gdfo_remote_view_init(struct gdfo_remote_view *v, const struct gdfo_net_answer *from);

#endif
