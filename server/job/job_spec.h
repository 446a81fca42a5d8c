#ifndef GDFO_SERVER_JOB_JOB_SPEC_H
#define GDFO_SERVER_JOB_JOB_SPEC_H

#include "common/error.h"
#include "common/json.h"
#include "common/json_write.h"
#include "server/store/store_job.h"

#include <stdint.h>

/*
 * What a client asked for: the body of POST /v1/fine_tuning/jobs, checked whole, with every default
 * filled in (service.md 4.1). The canonical text that gdfo_job_spec_write produces is what the
 * store keeps; parsing it again gives the same spec. Parsing looks at nothing outside the body:
 * whether the teacher, the student and the files exist is the caller's to check.
 *
 *   n = gdfo_job_spec_parse(&spec, body, on_fault, ctx, &err);      n faults were reported
 *   gdfo_job_spec_destroy(spec);
 */
struct gdfo_job_spec;
struct gdfo_task_spec;
struct gdfo_method_ops;

/* One fault: JSON pointer, wire code (unknown_field, missing_field, invalid_value, not_supported),
 * words. */
typedef void (*gdfo_job_spec_fault)(void *ctx, const char *pointer, const char *code,
                                    const char *detail);

/* Reports every fault at once; *out is set only when there is none. Returns OK, INVALID after
 * faults, NO_MEMORY. body is borrowed until the spec is destroyed only for the inline examples. */
GDFO_MUST_USE enum gdfo_status gdfo_job_spec_parse(struct gdfo_job_spec **out,
                                                   const struct gdfo_json *body,
                                                   gdfo_job_spec_fault fault, void *ctx,
                                                   struct gdfo_error *err);
void gdfo_job_spec_destroy(struct gdfo_job_spec *spec);

struct gdfo_job_spec_pair {
    char key[65];
    char value[513];
};

/* The plain part, for the store and the REST answer; borrowed until destroy. Absent texts are "".
 */
struct gdfo_job_spec_head {
    char model[129];        /* teacher id or name */
    char training_file[64]; /* "" when examples are inline */
    char validation_file[64];
    char method[16]; /* as asked: "auto", "gdfo", ... */
    char suffix[65], name[129], student[129];
    int has_seed;
    int64_t seed;
    int64_t budget_evals, budget_queries, budget_tokens_in, budget_tokens_out, budget_usd_micros,
        budget_wall_seconds; /* 0 = no cap of that unit */
    struct gdfo_job_spec_pair metadata[16];
    int n_metadata;
    const struct gdfo_json *examples;            /* inline rows, borrowed from body; NULL */
    const struct gdfo_json *validation_examples; /* the same */
};
const struct gdfo_job_spec_head *gdfo_job_spec_head(const struct gdfo_job_spec *spec);

/* The caps of the job's own budget; how many. */
size_t gdfo_job_spec_caps(const struct gdfo_job_spec_head *head,
                          struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX]);

/* Fills in what the daemon decides: the drawn seed and, for inline examples, the files they became.
 */
void gdfo_job_spec_settle(struct gdfo_job_spec *spec, int64_t seed, const char *training_file,
                          const char *validation_file);

/* The whole spec as a create body without inline examples: one JSON object. */
void gdfo_job_spec_write(const struct gdfo_job_spec *spec, struct gdfo_json_writer *w);

/* The "method" member alone: {"type":"gdfo","gdfo":{...}}, as the job object shows it. */
void gdfo_job_spec_write_method(const struct gdfo_job_spec *spec, struct gdfo_json_writer *w,
                                const char *key);

#endif
