#ifndef GDFO_SERVER_JOB_JOB_EXPORT_H
#define GDFO_SERVER_JOB_JOB_EXPORT_H

#include "server/job/job_models.h"
#include "server/store/store_job.h"
#include "server/store/store_step.h"

/*
 * A checkpoint in the formats that others read (service.md 4.6): json (rows, head and all, for
 * people and programs), gdfo, safetensors, and peft as a tar of the adapter folder. An export that
 * would change the prompt's meaning is UNSUPPORTED with the reason. Any thread.
 */
struct gdfo_job_export {
    struct gdfo_buf bytes; /* ended by the caller with gdfo_buf_deinit, also on failure */
    const char *content_type;
    char filename[160];
};

/* format: "json", "gdfo", "safetensors" or "peft"; INVALID lists them. */
GDFO_MUST_USE enum gdfo_status gdfo_job_export(struct gdfo_job_export *out,
                                               struct gdfo_store *store,
                                               const struct gdfo_models *models,
                                               const struct gdfo_store_job *job,
                                               const struct gdfo_store_checkpoint *checkpoint,
                                               const char *format, struct gdfo_error *err);

#endif
