#ifndef GDFO_SERVER_STORE_STORE_EVENT_H
#define GDFO_SERVER_STORE_STORE_EVENT_H

#include "server/store/store.h"

/* A job's history. seq is global and has no gaps. */
enum gdfo_store_level { GDFO_STORE_INFO, GDFO_STORE_WARN, GDFO_STORE_ERROR };

const char *gdfo_store_level_name(enum gdfo_store_level level); /* info warn error */

struct gdfo_store_event_new {
    enum gdfo_store_level level;
    const char *type;    /* message status metrics checkpoint budget teacher recovery */
    const char *message; /* one line for people */
    const char *data;    /* JSON object made by the daemon, or NULL */
};

struct gdfo_store_event {
    int64_t seq, at;
    char id[GDFO_STORE_ID_BYTES];
    enum gdfo_store_level level;
    char type[16];
    char *message; /* owned; gdfo_store_event_deinit() */
    char *data;    /* owned; NULL for none */
};

struct gdfo_store_event_query {
    int64_t jid;
    int has_after_seq; /* oldest first, seq > after_seq; else newest first after the id `after` */
    int64_t after_seq;
    const char *after; /* id of an event of this job; NULL or "": from the newest */
    size_t limit;      /* 1..GDFO_STORE_LIST_MAX: the size of the caller's array */
};

/* Adds one event by itself. *seq may be NULL. */
GDFO_MUST_USE enum gdfo_status gdfo_store_event_add(struct gdfo_store *s, int64_t jid,
                                                    const struct gdfo_store_event_new *event,
                                                    int64_t *seq, struct gdfo_error *err);
/* out holds q->limit rows, each ended with deinit. INVALID (field after) for an unknown `after`. */
GDFO_MUST_USE enum gdfo_status gdfo_store_event_list(struct gdfo_store *s,
                                                     const struct gdfo_store_event_query *q,
                                                     struct gdfo_store_event *out, size_t *n,
                                                     int *has_more, struct gdfo_error *err);
void gdfo_store_event_deinit(struct gdfo_store_event *e);

#endif
