#ifndef GDFO_SERVER_STORE_STORE_STEP_H
#define GDFO_SERVER_STORE_STORE_STEP_H

#include "server/store/store_event.h"

/*
 * What one step of a method leaves behind, in one transaction: metrics, best values, a checkpoint,
 * a snapshot, events, and the job's generation. A step that is committed already (generation <= the
 * job's) changes nothing and is OK: a run resumed from an older snapshot walks over it again.
 */
struct gdfo_store_point {
    const char *name; /* loss_train, accuracy_dev, ... at most 63 bytes */
    int64_t step, evals, queries;
    double value; /* NaN and infinities are kept as such */
};

struct gdfo_store_checkpoint_new {
    const void *bytes; /* the prompt in our own format */
    size_t n;
    int64_t step, queries;
    double rank;         /* higher is better: the best five and the last step's are kept */
    const char *metrics; /* JSON object made by the daemon */
};

struct gdfo_store_snapshot_new {
    const void *bytes; /* optimiser, student, Adam moments, counters */
    size_t n;
    int64_t format;   /* the writer's own number */
    int64_t next_seq; /* first eval the resumed run asks for */
};

struct gdfo_store_step {
    int64_t jid, generation; /* 1, 2, ... */
    const struct gdfo_store_point *points;
    size_t n_points;
    int has_best;
    double best_metric;
    int64_t best_step, best_queries;
    const struct gdfo_store_checkpoint_new *checkpoint; /* NULL: none */
    const struct gdfo_store_snapshot_new *snapshot;     /* NULL: none */
    const struct gdfo_store_event_new *events;
    size_t n_events;
    int64_t wall_ms; /* running time since it was last booked: used of every cap in wall_ms */
};

struct gdfo_store_snapshot {
    int64_t generation, format, next_seq;
    int64_t n_bad; /* newer ones passed over because their checksum is wrong */
};

struct gdfo_store_checkpoint {
    int64_t cid, jid, step, queries, created_at;
    char id[GDFO_STORE_ID_BYTES];
    char job[GDFO_STORE_ID_BYTES];
    unsigned char sha256[GDFO_SHA256_BYTES];
    uint64_t bytes;
    double rank;
    char *metrics; /* owned; gdfo_store_checkpoint_deinit() */
};

/* *was_new (may be NULL) 0 when the step was committed before. */
GDFO_MUST_USE enum gdfo_status gdfo_store_step_commit(struct gdfo_store *s,
                                                      const struct gdfo_store_step *step,
                                                      int *was_new, struct gdfo_error *err);

/* The newest snapshot whose CRC-32C is right; bytes are appended to state. *found 0: start anew.
 * The move to an end drops them. */
GDFO_MUST_USE enum gdfo_status gdfo_store_snapshot_load(struct gdfo_store *s, int64_t jid,
                                                        struct gdfo_store_snapshot *out,
                                                        struct gdfo_buf *state, int *found,
                                                        struct gdfo_error *err);

/* id: a checkpoint's id, or "best" or "last". NOT_FOUND. */
GDFO_MUST_USE enum gdfo_status gdfo_store_checkpoint_get(struct gdfo_store *s, int64_t jid,
                                                         const char *id,
                                                         struct gdfo_store_checkpoint *out,
                                                         struct gdfo_error *err);
/* By id alone, within a project: for /v1/predict. */
GDFO_MUST_USE enum gdfo_status gdfo_store_checkpoint_find(struct gdfo_store *s, int64_t pid,
                                                          const char *id,
                                                          struct gdfo_store_checkpoint *out,
                                                          struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_checkpoint_list(struct gdfo_store *s, int64_t jid,
                                                          const struct gdfo_store_page *page,
                                                          struct gdfo_store_checkpoint *out,
                                                          size_t *n, int *has_more,
                                                          struct gdfo_error *err);
/* The prompt's bytes, appended; CORRUPT when they are not what was stored. */
GDFO_MUST_USE enum gdfo_status gdfo_store_checkpoint_read(
    struct gdfo_store *s, const struct gdfo_store_checkpoint *checkpoint, struct gdfo_buf *bytes,
    struct gdfo_error *err);
void gdfo_store_checkpoint_deinit(struct gdfo_store_checkpoint *checkpoint);

#endif
