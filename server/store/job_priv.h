#ifndef GDFO_SERVER_STORE_JOB_PRIV_H
#define GDFO_SERVER_STORE_JOB_PRIV_H

#include "server/store/store_priv.h"
#include "server/store/store_sched.h"

/* Reading jobs (job_read.c), and moving them within a transaction (job_move.c). */
struct gdfo_query;

/* One job with metadata and result files; NOT_FOUND. Ends q. */
GDFO_MUST_USE enum gdfo_status gdfo_job_row(struct gdfo_db *db, struct gdfo_query *q,
                                            struct gdfo_store_job *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_job_row_of(struct gdfo_db *db, int64_t jid,
                                               struct gdfo_store_job *out, struct gdfo_error *err);
enum gdfo_job_status gdfo_job_status_get(struct gdfo_query *q); /* the next column */

/* Row, rev, status event, audit row. */
GDFO_MUST_USE enum gdfo_status gdfo_job_move(struct gdfo_store *s, int64_t jid,
                                             const struct gdfo_store_move *move,
                                             const struct gdfo_store_actor *who,
                                             struct gdfo_error *err);
/* The event and the audit row alone, for a row that was moved already. */
GDFO_MUST_USE enum gdfo_status gdfo_job_moved(struct gdfo_store *s, int64_t jid, const char *id,
                                              enum gdfo_job_status from,
                                              const struct gdfo_store_move *move,
                                              const struct gdfo_store_actor *who,
                                              struct gdfo_error *err);

#endif
