#ifndef GDFO_SERVER_STORE_STORE_CALL_H
#define GDFO_SERVER_STORE_STORE_CALL_H

#include "server/store/store_job.h"

/*
 * The ledger: one row for each call a job needs (service.md 7.1, D2 to D4).
 *
 *   find     the answer is on file already (a resumed run): nothing is sent, nothing is counted
 *   intent   durable before a byte leaves: worst case held in every budget that applies
 *   done     answer, use and settled holds in one commit; or rejected (not done, nothing used), or
 *            unknown (sent and unanswered: counted at its reserve)
 *
 * A row is (jid, seq, part, attempt). seq is the number of the first eval that the call carries in
 * the job's own deterministic order; part numbers the calls of one eval that did not fit into one.
 * Evals are counted once: at part 0.
 */
enum gdfo_store_purpose { GDFO_STORE_TRAIN, GDFO_STORE_DEV, GDFO_STORE_TEST, GDFO_STORE_CANARY };

struct gdfo_store_intent {
    int64_t jid, seq, part;
    enum gdfo_store_purpose purpose;
    int64_t epoch; /* of the teacher */
    unsigned char request_sha256[GDFO_SHA256_BYTES];
    int64_t n_prompts, n_examples, n_queries;
    int64_t held_evals, held_queries; /* what counts against caps in evals and queries */
    int64_t reserved_in, reserved_out, reserved_usd_micros; /* worst case */
    /* The teacher is in this process (or idempotent): an unknown or still open row of a crashed run
     * is taken up again, its reserve given back first, so that a killed run ends with the rows of
     * an undisturbed one. Else the next attempt gets a row of its own. */
    int is_repeatable;
};

/* Names a row and what became of it. */
struct gdfo_store_outcome {
    int64_t jid, seq, part, attempt;
    int64_t used_in, used_cached, used_out, used_usd_micros; /* done only */
    const void *answer;                                      /* done only */
    size_t n_answer;
    const char *verdict;             /* OK RETRY THROTTLE ...; NULL */
    const char *detail;              /* JSON without texts or keys; NULL */
    const char *upstream_request_id; /* NULL */
    int64_t http_status, sent_ms;    /* 0: none */
    int64_t wall_ms; /* done only: the job's running time since it was last booked */
};

enum gdfo_store_call_state {
    GDFO_STORE_CALL_INTENT,
    GDFO_STORE_CALL_DONE,
    GDFO_STORE_CALL_CACHED,
    GDFO_STORE_CALL_REJECTED,
    GDFO_STORE_CALL_UNKNOWN
};

struct gdfo_store_call {
    int64_t seq, part, attempt;
    enum gdfo_store_purpose purpose;
    enum gdfo_store_call_state state;
    int64_t epoch, n_prompts, n_examples, n_queries;
    unsigned char request_sha256[GDFO_SHA256_BYTES];
    int64_t held_evals, held_queries, reserved_in, reserved_out, reserved_usd_micros;
    int64_t used_in, used_cached, used_out, used_usd_micros;
    int64_t http_status, intent_ms, sent_ms, done_ms;
    char verdict[16];
    unsigned char answer_sha256[GDFO_SHA256_BYTES]; /* of the stored answer; zeros: none */
    uint64_t answer_bytes;
};

/*
 * Looks for the answer to this very request.
 *
 *   answer  caller's, initialised; the bytes are appended
 *   found   0 when there is no settled answer
 *   errors  CORRUPT when (seq, part) was answered for another request: the run took another way
 */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_find(struct gdfo_store *s,
                                                    const struct gdfo_store_intent *call,
                                                    struct gdfo_buf *answer, int *found,
                                                    struct gdfo_error *err);

/* Commits the row in state intent. BUDGET names scope, unit, cap, used, held and needed. */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_intent(struct gdfo_store *s,
                                                      const struct gdfo_store_intent *call,
                                                      int64_t *attempt, struct gdfo_error *err);
/* One of these settles an intent; CONFLICT when the row is not open. */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_done(struct gdfo_store *s,
                                                    const struct gdfo_store_outcome *outcome,
                                                    struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_call_rejected(struct gdfo_store *s,
                                                        const struct gdfo_store_outcome *outcome,
                                                        struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_call_unknown(struct gdfo_store *s,
                                                       const struct gdfo_store_outcome *outcome,
                                                       struct gdfo_error *err);

/* Whether `call` fits under every cap now; nothing is held. BUDGET as intent. */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_fits(struct gdfo_store *s,
                                                    const struct gdfo_store_intent *call,
                                                    struct gdfo_error *err);

/* Sums over the ledger rows; equal to the job's spend at every commit. */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_sums(struct gdfo_store *s, int64_t jid,
                                                    struct gdfo_store_spend *out,
                                                    struct gdfo_error *err);
/* Oldest first, after the row (seq, part, attempt) of *after; NULL: from the first. */
GDFO_MUST_USE enum gdfo_status gdfo_store_call_list(struct gdfo_store *s, int64_t jid,
                                                    const struct gdfo_store_call *after,
                                                    struct gdfo_store_call *out, size_t limit,
                                                    size_t *n, struct gdfo_error *err);

#endif
