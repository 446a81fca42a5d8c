#ifndef GDFO_SERVER_STORE_STORE_MODEL_H
#define GDFO_SERVER_STORE_STORE_MODEL_H

#include "server/store/store.h"

/* Tuned prompts that may be served. A row is made with the move to succeeded (store_job.h). */
struct gdfo_store_model {
    char id[GDFO_STORE_NAME_BYTES]; /* gdfo:<teacher>:<suffix>:<last 8 of the job's id> */
    int64_t jid, cid, created_at;
    char job[GDFO_STORE_ID_BYTES], checkpoint[GDFO_STORE_ID_BYTES];
    char teacher[GDFO_STORE_NAME_BYTES];
};

/* By name; NOT_FOUND when unknown, withdrawn or of another project. */
GDFO_MUST_USE enum gdfo_status gdfo_store_model_get(struct gdfo_store *s, int64_t pid,
                                                    const char *id, struct gdfo_store_model *out,
                                                    struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_model_list(struct gdfo_store *s, int64_t pid,
                                                     const struct gdfo_store_page *page,
                                                     struct gdfo_store_model *out, size_t *n,
                                                     int *has_more, struct gdfo_error *err);

/* Paid calls outside a job (predictions, probes): counted, never replayed. begin before a byte
 * leaves, *sid names the row; end settles it with what was used. */
struct gdfo_store_service_call {
    const char *kind; /* predict, probe */
    int64_t tch, jid; /* jid 0: none */
    int64_t n_queries, reserved_in, reserved_out, reserved_usd_micros;
};
GDFO_MUST_USE enum gdfo_status gdfo_store_service_begin(struct gdfo_store *s,
                                                        const struct gdfo_store_actor *who,
                                                        const struct gdfo_store_service_call *call,
                                                        int64_t *sid, struct gdfo_error *err);
/* state: done, rejected or unknown. */
GDFO_MUST_USE enum gdfo_status gdfo_store_service_end(struct gdfo_store *s, int64_t sid,
                                                      const char *state, int64_t used_in,
                                                      int64_t used_out, struct gdfo_error *err);

#endif
