#ifndef GDFO_SERVER_JOB_JOB_PREDICT_H
#define GDFO_SERVER_JOB_JOB_PREDICT_H

#include "server/job/job_parts.h"
#include "server/store/store_step.h"

/*
 * New texts under a tuned prompt, through the job's own teacher, template and head. A predictor is
 * opened for one job and checkpoint, used by one worker, and closed; its queries are counted as
 * service calls. A result with a partner needs the partner's model in the models folder.
 */
enum gdfo_variant {                     /* which parts of the result are used */
                    GDFO_VARIANT_TUNED, /* all: committee, or prompt and head; times the partner */
                    GDFO_VARIANT_TUNED_ALONE,   /* the best prompt and its head */
                    GDFO_VARIANT_TUNED_NO_HEAD, /* prompt alone */
                    GDFO_VARIANT_MANUAL,        /* neither: the plain manual prompt */
                    GDFO_VARIANT_CALIBRATED,    /* the plain prompt with its bias per class */
                    GDFO_VARIANT_STUDENT        /* the partner alone: no query */
};
int gdfo_variant_parse(const char *name, enum gdfo_variant *out); /* "tuned", ...; 1 when known */

struct gdfo_job_input {
    const char *text_a, *text_b; /* text_b NULL for one text */
};

struct gdfo_job_predict {
    const char *model; /* gdfo:..., ftjob-... or ftckpt-... */
    enum gdfo_variant variant;
    int want_scores;
    const struct gdfo_job_input *inputs;
    size_t n_inputs;
};

/* Appends the body of POST /v1/predict's answer to json. NOT_FOUND for an unknown model, CONFLICT
 * for a job without a checkpoint yet, INVALID with field /inputs/N for an input of the wrong shape.
 */
GDFO_MUST_USE enum gdfo_status gdfo_job_predict(const struct gdfo_job_deps *deps,
                                                const struct gdfo_job_predict *request,
                                                struct gdfo_buf *json, struct gdfo_error *err);

#endif
