#ifndef GDFO_SERVER_JOB_JOB_LEDGER_H
#define GDFO_SERVER_JOB_JOB_LEDGER_H

#include "server/job/job_wall.h"
#include "server/store/store_call.h"
#include "server/teacher/stack.h"

/*
 * The ledger that the teacher stack sees, over the store: intent committed before the call, answer
 * and use committed after it, an answer on file handed back instead of asked again (service.md 7.1,
 * D2 to D4).
 */
struct gdfo_job_ledger {
    struct gdfo_store *store;
    int64_t jid, epoch, attempt;
    int is_repeatable; /* nothing leaves the machine: an interrupted call is simply made again */
    struct gdfo_job_wall *wall; /* booked with every answer */
    struct gdfo_ledger ledger;
};

/* l is caller's storage and stays in place while l->ledger is used. */
void gdfo_job_ledger_init(struct gdfo_job_ledger *l, struct gdfo_store *store, int64_t jid,
                          int64_t epoch, int is_repeatable, struct gdfo_job_wall *wall);

#endif
