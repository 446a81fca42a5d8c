#ifndef GDFO_SERVER_TEACHER_STACK_H
#define GDFO_SERVER_TEACHER_STACK_H

#include "common/buf.h"
#include "common/hash.h"
#include "server/teacher/teacher.h"

/*
 * What stands between a job and its teacher: the meter, the ledger and the replay of answers on
 * file. A call is numbered by its first eval (seq), in the job's deterministic order. Before
 * anything is paid the ledger makes the intent durable; an answer it already has is used and not
 * asked again. Owner thread only.
 */
enum gdfo_purpose { GDFO_PURPOSE_TRAIN, GDFO_PURPOSE_DEV, GDFO_PURPOSE_TEST };
const char *gdfo_purpose_name(enum gdfo_purpose purpose); /* "train" */

struct gdfo_call {
    int64_t seq;
    enum gdfo_purpose purpose;
    unsigned char request_sha256[GDFO_SHA256_BYTES];
    uint32_t n_prompts, n_examples;
    int64_t n_queries;
    struct gdfo_usage reserved; /* worst case */
};

/* How a durable ledger looks from here; the job layer fills it. A NULL ledger keeps nothing. */
struct gdfo_ledger {
    void *ctx;
    /* Makes the intent durable, or appends the answer on file to `answer` and sets *is_answered.
     * BUDGET when a cap forbids the call: nothing was written. */
    enum gdfo_status (*begin)(void *ctx, const struct gdfo_call *call, struct gdfo_buf *answer,
                              int *is_answered, struct gdfo_error *err);
    /* Makes the answer and its use durable. */
    enum gdfo_status (*end)(void *ctx, const struct gdfo_call *call, const struct gdfo_buf *answer,
                            const struct gdfo_usage *used, struct gdfo_error *err);
    /* The teacher did not do it: nothing used. is_unknown: nobody can say, it counts as reserved.
     */
    void (*reject)(void *ctx, const struct gdfo_call *call, const struct gdfo_error *why,
                   int is_unknown);
};

struct gdfo_meter { /* everything asked so far, replayed answers included: part of a job's snapshot
                     */
    int64_t calls, evals, queries, dev_evals, dev_queries, tokens_in, tokens_cached, tokens_out;
    int64_t next_seq;
};

struct gdfo_stack;

/* teacher and ledger are borrowed until destroy. */
GDFO_MUST_USE enum gdfo_status gdfo_stack_create(struct gdfo_stack **out,
                                                 struct gdfo_teacher *teacher,
                                                 const struct gdfo_ledger *ledger,
                                                 struct gdfo_error *err);
void gdfo_stack_destroy(struct gdfo_stack *s);
GDFO_MUST_USE enum gdfo_status gdfo_stack_score(struct gdfo_stack *s,
                                                const struct gdfo_score_req *req,
                                                enum gdfo_purpose purpose,
                                                struct gdfo_score_res *res, struct gdfo_error *err);
/* gdfo_teacher_layer_std as one eval of purpose train: counted, made durable, replayed. */
GDFO_MUST_USE enum gdfo_status gdfo_stack_layer_std(struct gdfo_stack *s,
                                                    const struct gdfo_score_req *req, double *std,
                                                    struct gdfo_error *err);
const struct gdfo_meter *gdfo_stack_meter(const struct gdfo_stack *s);
void gdfo_stack_set_meter(struct gdfo_stack *s,
                          const struct gdfo_meter *meter); /* from a snapshot */
struct gdfo_teacher *gdfo_stack_teacher(const struct gdfo_stack *s);

/* SHA-256 of everything the answer depends on: identity, layout, rows, texts, forms, anchors. */
void gdfo_stack_request_hash(const struct gdfo_teacher_caps *caps, const struct gdfo_score_req *req,
                             unsigned char out[GDFO_SHA256_BYTES]);

#endif
