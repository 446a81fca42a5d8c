#ifndef GDFO_SERVER_JOB_JOB_SERVE_PRIV_H
#define GDFO_SERVER_JOB_JOB_SERVE_PRIV_H

#include "server/job/job_serve.h"

#include <stdatomic.h>

/* One served request, answered by a teacher. Serving thread only. */
struct gdfo_serve_work {
    const struct gdfo_serve_ask *ask;
    const atomic_int *stop; /* looked at between blocks */
    struct gdfo_serve_answer answer;
    float *lp, *hidden, *logits; /* owned */
    int32_t *tokens_used, *tokens_cached;
};

/* Block by block: 64 examples or 256 cells at most, so that a stop waits for one block. Blocks do
 * not show in the numbers (forward.h). answer points into work until deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_serve_work_run(struct gdfo_serve_work *work,
                                                   struct gdfo_teacher *teacher,
                                                   struct gdfo_error *err);
void gdfo_serve_work_deinit(struct gdfo_serve_work *work);

#endif
