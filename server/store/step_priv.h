#ifndef GDFO_SERVER_STORE_STEP_PRIV_H
#define GDFO_SERVER_STORE_STEP_PRIV_H

#include "server/store/store_blob.h"
#include "server/store/store_step.h"

/* The parts of a step's transaction that have files of their own. */
GDFO_MUST_USE enum gdfo_status gdfo_checkpoint_row(
    struct gdfo_store *s, int64_t jid, const struct gdfo_store_checkpoint_new *checkpoint,
    const struct gdfo_store_blob *blob, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_snapshot_row(struct gdfo_store *s, int64_t jid,
                                                 int64_t generation,
                                                 const struct gdfo_store_snapshot_new *snapshot,
                                                 struct gdfo_error *err);
/* All but the newest `kept`. */
GDFO_MUST_USE enum gdfo_status gdfo_snapshot_prune(struct gdfo_store *s, int64_t jid, int64_t kept,
                                                   struct gdfo_error *err);

#endif
