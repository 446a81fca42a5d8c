#ifndef GDFO_SERVER_JOB_JOB_SPEC_PRIV_H
#define GDFO_SERVER_JOB_JOB_SPEC_PRIV_H

#include "server/job/job_spec.h"
#include "server/task/spec.h"
#include "server/tune/method/method.h"

struct gdfo_job_early_stop {
    int is_on;
    int64_t patience;
    double min_delta;
};

struct gdfo_job_evaluation {
    int64_t every_queries; /* 0 = the method's choice */
    int select_by_metric;
    double dev_split; /* negative: by the rule of the contract */
};

struct gdfo_job_spec {
    struct gdfo_job_spec_head head;
    const struct gdfo_method_ops *ops;
    void *options; /* ops->options_bytes, owned */
    struct gdfo_task_spec task;
    int has_task;
    struct gdfo_job_early_stop early_stop;
    struct gdfo_job_evaluation evaluation;
    int64_t max_inflight;
    int fails_on_exhausted;
    char openai_hyper[3][32]; /* n_epochs batch_size learning_rate_multiplier, as JSON text */
};

/* A fault counter shared by all parsers of one body. */
struct gdfo_job_spec_check {
    gdfo_job_spec_fault fault;
    void *ctx;
    size_t n_faults;
};

void gdfo_job_spec_report(struct gdfo_job_spec_check *c, const char *prefix, const char *key,
                          const char *code, const char *detail);

/* job_spec_method.c: the method member and everything below it. */
GDFO_MUST_USE enum gdfo_status gdfo_job_spec_parse_method(struct gdfo_job_spec *s,
                                                          const struct gdfo_json *method,
                                                          struct gdfo_job_spec_check *c,
                                                          struct gdfo_error *err);

/* Typed members of an object. A missing or null member keeps *out; a wrong one is reported. */
struct gdfo_job_spec_range {
    int64_t min, max;
};
void gdfo_job_spec_int(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                       const char *prefix, const char *key, struct gdfo_job_spec_range range,
                       int64_t *out);
void gdfo_job_spec_text(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                        const char *prefix, const char *key, char *out, size_t out_bytes);

/* Every member must be in known (ended by NULL) or in later (not built: not_supported). */
void gdfo_job_spec_members(struct gdfo_job_spec_check *c, const struct gdfo_json *object,
                           const char *prefix, const char *const *known, const char *const *later);

/* The object under key, or NULL when missing, null or of another type (then reported). */
const struct gdfo_json *gdfo_job_spec_object(struct gdfo_job_spec_check *c,
                                             const struct gdfo_json *object, const char *prefix,
                                             const char *key);

/* What a run needs; borrowed from the spec. */
const struct gdfo_task_spec *gdfo_job_spec_task(const struct gdfo_job_spec *s);

#endif
