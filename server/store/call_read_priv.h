#ifndef GDFO_SERVER_STORE_CALL_READ_PRIV_H
#define GDFO_SERVER_STORE_CALL_READ_PRIV_H

#include "server/store/call_priv.h"

/* Ledger rows as they stand, on any connection. */
const char *gdfo_call_purpose_name(enum gdfo_store_purpose purpose);
const char *gdfo_call_state_name(enum gdfo_store_call_state state);

/* The row of (jid, seq, part) with the highest attempt. */
GDFO_MUST_USE enum gdfo_status gdfo_call_last(struct gdfo_db *db,
                                              const struct gdfo_store_intent *call,
                                              struct gdfo_store_call *out, int *found,
                                              struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_call_get(struct gdfo_db *db,
                                             const struct gdfo_store_outcome *key,
                                             struct gdfo_store_call *out, struct gdfo_error *err);
/* CORRUPT when the row was made for another request. */
GDFO_MUST_USE enum gdfo_status gdfo_call_same_request(const struct gdfo_store_intent *call,
                                                      const struct gdfo_store_call *row,
                                                      struct gdfo_error *err);

#endif
