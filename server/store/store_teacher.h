#ifndef GDFO_SERVER_STORE_STORE_TEACHER_H
#define GDFO_SERVER_STORE_STORE_TEACHER_H

#include "server/store/store.h"

/* Teachers as the daemon knows them. At start: gdfo_store_teacher_retire, then an upsert for each
 * that the configuration or the models folder has. */
struct gdfo_store_teacher {
    int64_t tch;
    char id[GDFO_STORE_ID_BYTES];
    char name[GDFO_STORE_NAME_BYTES];
    char adapter[16]; /* embedded, ... */
    char model[GDFO_STORE_NAME_BYTES];
    char *capabilities; /* JSON, owned; NULL until probed */
    int64_t max_inflight;
    int is_idempotent, is_from_config;
    int64_t epoch; /* raised when the fingerprint changes: old answers are of another teacher */
    int has_fingerprint;
    unsigned char fingerprint[GDFO_SHA256_BYTES];
    int64_t created_at, archived_at;
};

struct gdfo_store_teacher_new {
    const char *name, *adapter, *model;
    const char *capabilities;         /* JSON, or NULL */
    const unsigned char *fingerprint; /* 32 bytes (for embedded: SHA-256 of the file), or NULL */
    int64_t max_inflight;             /* 0 = 8 */
    int is_idempotent;
};

/* Archives every teacher that came from the configuration; upsert brings those back that remain. */
GDFO_MUST_USE enum gdfo_status gdfo_store_teacher_retire(struct gdfo_store *s,
                                                         struct gdfo_error *err);
/* By name. out may be NULL; else ended with deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_store_teacher_upsert(struct gdfo_store *s,
                                                         const struct gdfo_store_teacher_new *t,
                                                         struct gdfo_store_teacher *out,
                                                         struct gdfo_error *err);
/* By name or id; NOT_FOUND, also when archived. */
GDFO_MUST_USE enum gdfo_status gdfo_store_teacher_get(struct gdfo_store *s, const char *name_or_id,
                                                      struct gdfo_store_teacher *out,
                                                      struct gdfo_error *err);
/* By rowid, archived or not: the teacher of a job. */
GDFO_MUST_USE enum gdfo_status gdfo_store_teacher_of_tch(struct gdfo_store *s, int64_t tch,
                                                         struct gdfo_store_teacher *out,
                                                         struct gdfo_error *err);
/* Not archived; out holds page->limit rows, each ended with deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_store_teacher_list(struct gdfo_store *s,
                                                       const struct gdfo_store_page *page,
                                                       struct gdfo_store_teacher *out, size_t *n,
                                                       int *has_more, struct gdfo_error *err);
void gdfo_store_teacher_deinit(struct gdfo_store_teacher *t);

#endif
