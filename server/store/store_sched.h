#ifndef GDFO_SERVER_STORE_STORE_SCHED_H
#define GDFO_SERVER_STORE_STORE_SCHED_H

#include "server/store/store_job.h"

/* The run queue as the tables have it: what the scheduler asks for. */
struct gdfo_store_recovery {
    int64_t requeued, paused, cancelled, validating; /* jobs by what became of them */
    int64_t unknown_calls;                           /* open intents that became unknown */
};

/* Oldest queued -> running, as set_state does it. *found 0 and *out untouched when none waits. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_claim(struct gdfo_store *s,
                                                    struct gdfo_store_job *out, int *found,
                                                    struct gdfo_error *err);

/* Oldest job of this status with jid > after_jid: how the scheduler finds files to validate. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_next(struct gdfo_store *s,
                                                   enum gdfo_job_status status, int64_t after_jid,
                                                   struct gdfo_store_job *out, int *found,
                                                   struct gdfo_error *err);

/* Once after open and before any worker, in one transaction: open intents -> unknown; running ->
 * queued (recovering) with a recovery event; pausing -> paused; cancelling -> cancelled. */
GDFO_MUST_USE enum gdfo_status gdfo_store_recover(struct gdfo_store *s,
                                                  struct gdfo_store_recovery *out,
                                                  struct gdfo_error *err);

GDFO_MUST_USE enum gdfo_status gdfo_store_job_counts(struct gdfo_store *s,
                                                     int64_t counts[GDFO_JOB_STATUS_END],
                                                     struct gdfo_error *err);
/* Queued jobs older than this one; 0: it is next. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_queue_position(struct gdfo_store *s, int64_t jid,
                                                             int64_t *out, struct gdfo_error *err);
/* When the job's first call was intended, unix time in ms; 0: it has made none. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_first_call(struct gdfo_store *s, int64_t jid,
                                                         int64_t *out, struct gdfo_error *err);
/* The teacher's epoch at the job's last call; -1: it has made none. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_last_epoch(struct gdfo_store *s, int64_t jid,
                                                         int64_t *out, struct gdfo_error *err);

#endif
