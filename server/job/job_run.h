#ifndef GDFO_SERVER_JOB_JOB_RUN_H
#define GDFO_SERVER_JOB_JOB_RUN_H

#include "server/job/job_parts.h"

#include <stdatomic.h>

/*
 * One job's life on one worker: validate its files, run its method step by step, make every step
 * durable in one transaction, move it to its end with a reason. Worker thread of the job only;
 * `stop` may be set by any thread.
 */
enum gdfo_job_stop { /* what a running job is asked to do at its next durable point */
                     GDFO_JOB_STOP_NONE,
                     GDFO_JOB_STOP_DRAIN,
                     GDFO_JOB_STOP_PAUSE,
                     GDFO_JOB_STOP_CANCEL
};

/* validating_files -> queued, or failed with the fault. Makes no call. 0: there is no room for the
 * model now, and the job is as it was. */
int gdfo_job_validate(const struct gdfo_job_deps *deps, const struct gdfo_store_job *job);

/* Runs a job that was claimed (running) until it ends or is asked to stop; all moves are made here.
 */
void gdfo_job_run(const struct gdfo_job_deps *deps, const struct gdfo_store_job *job,
                  const atomic_int *stop);

/* Where a job that stops goes: its row says what was asked. pausing -> paused, cancelling ->
 * cancelled; else paused by a full disk, or back to the queue (draining). */
struct gdfo_store_move gdfo_job_stopped_move(enum gdfo_job_status status, int is_disk_full);

/* Every model with a tokenizer becomes a teacher of adapter embedded under its name. Once, at
 * start. */
GDFO_MUST_USE enum gdfo_status gdfo_job_register_teachers(struct gdfo_store *store,
                                                          const struct gdfo_models *models,
                                                          struct gdfo_error *err);

/* The same for the names of one model file, after its precision was settled. */
GDFO_MUST_USE enum gdfo_status gdfo_job_register_teachers_of(struct gdfo_store *store,
                                                             const struct gdfo_models *models,
                                                             const char *sha256,
                                                             struct gdfo_error *err);

/* "x86-64/openblas/SkylakeX": the class of machines on which the same bytes come out. */
const char *gdfo_job_machine_class(void);

#endif
