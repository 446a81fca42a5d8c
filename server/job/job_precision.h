#ifndef GDFO_SERVER_JOB_JOB_PRECISION_H
#define GDFO_SERVER_JOB_JOB_PRECISION_H

#include "common/json_write.h"
#include "server/job/job_parts.h"

#include <stdatomic.h>

/*
 * In which precision a model's teacher computes. With a precision in the daemon's setting it is
 * that one. With `auto` it is the fastest that is available, fits into --memory and is faithful to
 * float32 (tune/faithful.h): measured when a job first needs it, kept in the store for this file,
 * build and processor, and never measured again. A measurement that is interrupted leaves nothing.
 * Worker threads; any number may ask at once, and one of them measures.
 */
struct gdfo_precision_ask {
    const struct gdfo_job_deps *deps;
    const char *model;      /* its name in the models folder */
    const atomic_int *stop; /* CANCELLED soon after it is not 0; may be NULL */
    /* Called before a measurement is made or waited for, with words for a person; may be NULL. */
    void (*say)(void *ctx, const char *words);
    void *ctx;
};

/* UNSUPPORTED where the processor lacks what the setting asks for; what loading and asking say. */
GDFO_MUST_USE enum gdfo_status gdfo_job_precision_settle(const struct gdfo_precision_ask *ask,
                                                         enum gdfo_precision *out,
                                                         struct gdfo_error *err);

/* The same from what is known already; 0 when it wants measuring. */
int gdfo_job_precision_known(struct gdfo_store *store, const struct gdfo_models *models,
                             const struct gdfo_model_entry *e, enum gdfo_precision *out);

/* "f32, bf16": what this processor can. out has n bytes. */
void gdfo_job_precisions_available(char *out, size_t n);

/* Member "precision" of the object that is open: setting, precision in use or null, what the
 * processor has, and every measurement. */
void gdfo_job_precision_write(struct gdfo_store *store, const struct gdfo_models *models,
                              const char *model, struct gdfo_json_writer *w);

/* SHA-256 over the model file and the precision in use: what a teacher is. */
void gdfo_job_precision_fingerprint(const struct gdfo_model_entry *e, enum gdfo_precision precision,
                                    unsigned char out[GDFO_SHA256_BYTES]);

/* Under what a measurement is kept: build, probe and kernels. */
#define GDFO_PRECISION_ENGINE_BYTES 192
void gdfo_job_precision_engine(enum gdfo_precision p, char out[GDFO_PRECISION_ENGINE_BYTES]);

#endif
