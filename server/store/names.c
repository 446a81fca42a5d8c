/* Words of the enums, the same in SQL, JSON and logs. */
#include "server/store/store_event.h"
#include "server/store/store_job.h"

static const char *const levels[] = {"info", "warn", "error"};

static const char *const statuses[GDFO_JOB_STATUS_END] = {
    [GDFO_JOB_VALIDATING_FILES] = "validating_files",
    [GDFO_JOB_QUEUED] = "queued",
    [GDFO_JOB_RUNNING] = "running",
    [GDFO_JOB_PAUSING] = "pausing",
    [GDFO_JOB_PAUSED] = "paused",
    [GDFO_JOB_CANCELLING] = "cancelling",
    [GDFO_JOB_SUCCEEDED] = "succeeded",
    [GDFO_JOB_FAILED] = "failed",
    [GDFO_JOB_CANCELLED] = "cancelled",
};

const char *gdfo_store_level_name(enum gdfo_store_level level)
{
    return levels[level];
}

const char *gdfo_job_status_name(enum gdfo_job_status status)
{
    return statuses[status];
}

int gdfo_job_status_is_live(enum gdfo_job_status status)
{
    return status < GDFO_JOB_SUCCEEDED;
}
