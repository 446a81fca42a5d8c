#ifndef GDFO_SERVER_SCHED_SCHED_H
#define GDFO_SERVER_SCHED_SCHED_H

#include "common/buf.h"
#include "common/error.h"

#include <stdint.h>

/*
 * The run queue: `workers` threads, each with one job at a time, oldest first; a janitor beside
 * them serves predictions and checks files when all have jobs, and keeps the store tidy. What the
 * REST edge asks for is decided here in one place: a move of a waiting job is made at once, a
 * running job is flagged and moves itself at its next durable point. Any thread.
 */
struct gdfo_sched;
struct gdfo_store;
struct gdfo_models;
struct gdfo_pool;
struct gdfo_remotes;

struct gdfo_sched_config {
    unsigned n_workers;           /* 1..256 */
    int64_t stop_ms;              /* patience of gdfo_sched_drain for calls in flight */
    struct gdfo_remotes *remotes; /* teachers over HTTP, borrowed until stop; NULL: none */
};

/* store, models and pool are borrowed until stop. Recovers what a crash left before the first
 * worker starts. */
GDFO_MUST_USE enum gdfo_status gdfo_sched_start(struct gdfo_sched **out, struct gdfo_store *store,
                                                struct gdfo_models *models, struct gdfo_pool *pool,
                                                const struct gdfo_sched_config *config,
                                                struct gdfo_error *err);
/* No job is taken any more; running ones are asked to snapshot and go back to queued (draining),
 * open predictions are answered. 1 when all workers have ended; 0 when stop_ms were over first:
 * then threads still use all that was borrowed, and the process can only leave, which loses
 * nothing. */
GDFO_MUST_USE int gdfo_sched_drain(struct gdfo_sched *s);
/* The same without an end to its patience; then frees s. NULL is fine. */
void gdfo_sched_stop(struct gdfo_sched *s);

void gdfo_sched_wake(struct gdfo_sched *s); /* a job was made or moved */

/* NOT_FOUND; CONFLICT (invalid_transition) names the state the job is in. Pausing a pausing or
 * paused job, resuming a queued or running one, cancelling a cancelled one is OK. */
GDFO_MUST_USE enum gdfo_status gdfo_sched_pause(struct gdfo_sched *s, const char *job_id,
                                                struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_sched_resume(struct gdfo_sched *s, const char *job_id,
                                                 struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_sched_cancel(struct gdfo_sched *s, const char *job_id,
                                                 struct gdfo_error *err);

/*
 * Labels new texts with a tuned prompt (POST /v1/predict). The job's method decides how inputs are
 * rendered. variant: "tuned" (committee or prompt, with heads), "tuned_alone", "tuned_no_head",
 * "manual" (no rows), "calibrated" (manual with a bias per class fitted on the train rows).
 */
struct gdfo_predict_input { /* text_b NULL for one text; borrowed until done is called */
    const char *text_a, *text_b;
};

struct gdfo_predict {
    char model[160]; /* gdfo:..., ftjob-... or ftckpt-... */
    char variant[24];
    int want_scores;
    const struct gdfo_predict_input *inputs;
    size_t n_inputs;
    /* Called once, on a worker thread: status OK with the JSON body of the answer, or the error. */
    void (*done)(void *ctx, enum gdfo_status status, const struct gdfo_buf *json,
                 const struct gdfo_error *err);
    void *ctx;
};

/* Queues it; p is borrowed until done is called. BUSY when 64 wait already. On failure done is not
 * called. */
GDFO_MUST_USE enum gdfo_status gdfo_sched_predict(struct gdfo_sched *s, struct gdfo_predict *p,
                                                  struct gdfo_error *err);

#endif
