#ifndef GDFO_SERVER_HTTP_API_JOB_PRIV_H
#define GDFO_SERVER_HTTP_API_JOB_PRIV_H

#include "common/json_write.h"
#include "server/http/request.h"
#include "server/store/store_job.h"

/* The job of the path; 0 after an answer. Ended with gdfo_store_job_deinit. */
int gdfo_job_find(struct gdfo_request *r, struct gdfo_store_job *out);

/* The job object of service.md 4.1 as a member key. */
struct gdfo_job_view {
    const struct gdfo_store_job *job;
    const struct gdfo_store_cap *caps;
    size_t n_caps;
    int64_t queue_position; /* -1: not waiting */
    int64_t now;            /* unix seconds */
    int64_t first_call_ms;  /* unix time; 0: there was none yet */
};
void gdfo_job_write(struct gdfo_json_writer *w, const struct gdfo_job_view *view);

/* Reads what the view needs beside the row; 0 after an answer. */
int gdfo_job_view(struct gdfo_request *r, const struct gdfo_store_job *job,
                  struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX], struct gdfo_job_view *view);

/* Answers with the job as it is now. */
void gdfo_job_respond(struct gdfo_request *r, const struct gdfo_store_job *job);

#endif
