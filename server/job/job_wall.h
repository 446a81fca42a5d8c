#ifndef GDFO_SERVER_JOB_JOB_WALL_H
#define GDFO_SERVER_JOB_JOB_WALL_H

#include "common/clk.h"
#include "server/store/store_job.h"

/*
 * How long a job has been running, over all its runs: budget.wall_seconds. The time lies durably in
 * the `used` of the job's cap, booked with every call, step and stop, so that a crash forgets what
 * ran since the last of these and no more. Time spent paused, queued or without a daemon is
 * nobody's. Worker thread of the job only.
 *
 *   status = gdfo_job_wall_init(&w, store, jid, clk, err);
 *   ms = gdfo_job_wall_pending(&w);  ... commit ms with something ...  gdfo_job_wall_booked(&w,
 * ms);
 */
struct gdfo_job_wall {
    const struct gdfo_clk *clk;
    int64_t cap_ms;  /* 0: none, and nothing is booked */
    int64_t used_ms; /* booked, by earlier runs too */
    int64_t from_ms; /* monotonic: running time after it is not booked yet */
};

/* Starts counting now. */
GDFO_MUST_USE enum gdfo_status gdfo_job_wall_init(struct gdfo_job_wall *w, struct gdfo_store *store,
                                                  int64_t jid, const struct gdfo_clk *clk,
                                                  struct gdfo_error *err);
int64_t gdfo_job_wall_pending(const struct gdfo_job_wall *w); /* ms to book; 0 without a cap */
void gdfo_job_wall_booked(struct gdfo_job_wall *w, int64_t ms);
int gdfo_job_wall_is_over(const struct gdfo_job_wall *w);

#endif
