#ifndef GDFO_SERVER_JOB_JOB_STEP_H
#define GDFO_SERVER_JOB_JOB_STEP_H

#include "server/job/job_wall.h"
#include "server/store/store_job.h"
#include "server/store/store_step.h"
#include "server/teacher/stack.h"
#include "server/tune/method/method.h"

/*
 * From a method's report to one durable transaction, and from the newest snapshot back to a method.
 * A state of up to GDFO_JOB_SNAPSHOT_EAGER bytes is saved with every step; a larger one (a fully
 * trained student) at most every half minute, since the steps in between are computed again, bit
 * for bit, from the answers on file.
 */
#define GDFO_JOB_SNAPSHOT_EAGER ((size_t)8 << 20)
#define GDFO_JOB_SNAPSHOT_MS    30000

struct gdfo_job_steps {
    struct gdfo_store *store;
    int64_t jid, generation;
    int64_t saved_ms;
    struct gdfo_job_wall *wall; /* booked with every new step */
    int is_done;                /* the last committed step was the method's end */
    char reason[24];            /* of that end */
    struct gdfo_buf state, artefact, texts;
};

void gdfo_job_steps_init(struct gdfo_job_steps *s, struct gdfo_store *store,
                         const struct gdfo_store_job *job, struct gdfo_job_wall *wall);
void gdfo_job_steps_deinit(struct gdfo_job_steps *s);
GDFO_MUST_USE enum gdfo_status gdfo_job_steps_resume(struct gdfo_job_steps *s,
                                                     const struct gdfo_method_ops *ops,
                                                     void *method, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_job_steps_commit(struct gdfo_job_steps *s,
                                                     const struct gdfo_method_ops *ops,
                                                     void *method, const struct gdfo_report *report,
                                                     const struct gdfo_meter *meter,
                                                     struct gdfo_error *err);

/* Stores every metric point as CSV and names it a result file of the job. */
GDFO_MUST_USE enum gdfo_status gdfo_job_steps_metrics_file(struct gdfo_job_steps *s,
                                                           struct gdfo_error *err);

#endif
