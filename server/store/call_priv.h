#ifndef GDFO_SERVER_STORE_CALL_PRIV_H
#define GDFO_SERVER_STORE_CALL_PRIV_H

#include "server/store/store_call.h"
#include "server/store/store_priv.h"

/* Budgets and ledger rows within a transaction. Amounts are indexed by enum gdfo_store_unit. */
#define GDFO_CALL_UNITS 5 /* wall_ms is not a call's to hold */

struct gdfo_amounts {
    int64_t n[GDFO_CALL_UNITS];
};

/* BUDGET names the first cap that has no room; needs only a reader. */
GDFO_MUST_USE enum gdfo_status gdfo_budget_check(struct gdfo_db *db, int64_t jid,
                                                 const struct gdfo_amounts *need,
                                                 struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_budget_hold(struct gdfo_store *s, int64_t jid,
                                                const struct gdfo_amounts *need,
                                                struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_budget_settle(struct gdfo_store *s, int64_t jid,
                                                  const struct gdfo_amounts *held,
                                                  const struct gdfo_amounts *used,
                                                  struct gdfo_error *err);
/* Takes back what settle had booked for a call that turned out not to have happened. */
GDFO_MUST_USE enum gdfo_status gdfo_budget_undo(struct gdfo_store *s, int64_t jid,
                                                const struct gdfo_amounts *used,
                                                struct gdfo_error *err);

/* Running time of a job enters `used` of every cap in wall_ms; what a cap has no room for goes to
 * `over`. Nothing is held for time, and 0 writes nothing. */
GDFO_MUST_USE enum gdfo_status gdfo_budget_book_wall(struct gdfo_store *s, int64_t jid, int64_t ms,
                                                     struct gdfo_error *err);

/* Open intents become unknown, counted at their reserve. *n: how many. */
GDFO_MUST_USE enum gdfo_status gdfo_call_recover(struct gdfo_store *s, int64_t *n,
                                                 struct gdfo_error *err);

#endif
