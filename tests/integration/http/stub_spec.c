/* Until the job layer is there: no body is a spec. */
#include "server/job/job_spec.h"

enum gdfo_status gdfo_job_spec_parse(struct gdfo_job_spec **out, const struct gdfo_json *body,
                                     gdfo_job_spec_fault fault, void *ctx, struct gdfo_error *err)
{
    (void)out;
    (void)body;
    fault(ctx, "", "not_supported", "no specs yet");
    return gdfo_error_set(err, GDFO_STATUS_INVALID, "no specs yet");
}

void gdfo_job_spec_destroy(struct gdfo_job_spec *spec)
{
    (void)spec;
}

const struct gdfo_job_spec_head *gdfo_job_spec_head(const struct gdfo_job_spec *spec)
{
    (void)spec;
    return NULL;
}

void gdfo_job_spec_settle(struct gdfo_job_spec *spec, int64_t seed, const char *training_file,
                          const char *validation_file)
{
    (void)spec;
    (void)seed;
    (void)training_file;
    (void)validation_file;
}

void gdfo_job_spec_write(const struct gdfo_job_spec *spec, struct gdfo_json_writer *w)
{
    (void)spec;
    (void)w;
}
