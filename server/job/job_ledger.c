#include "server/job/job_ledger.h"

#include "common/log.h"

#include <string.h>

static struct gdfo_store_intent intent_of(const struct gdfo_job_ledger *l,
                                          const struct gdfo_call *call)
{
    int is_train = call->purpose == GDFO_PURPOSE_TRAIN;
    struct gdfo_store_intent i = {.jid = l->jid,
                                  .seq = call->seq,
                                  .purpose = is_train                            ? GDFO_STORE_TRAIN
                                             : call->purpose == GDFO_PURPOSE_DEV ? GDFO_STORE_DEV
                                                                                 : GDFO_STORE_TEST,
                                  .epoch = l->epoch,
                                  .n_prompts = call->n_prompts,
                                  .n_examples = call->n_examples,
                                  .n_queries = call->n_queries,
                                  .held_evals = is_train ? call->n_prompts : 0,
                                  .held_queries = call->n_queries,
                                  .reserved_in = call->reserved.tokens_in,
                                  .reserved_out = call->reserved.tokens_out,
                                  .is_repeatable = l->is_repeatable};
    memcpy(i.request_sha256, call->request_sha256, sizeof i.request_sha256);
    return i;
}

static enum gdfo_status ledger_begin(void *ctx, const struct gdfo_call *call,
                                     struct gdfo_buf *answer, int *is_answered,
                                     struct gdfo_error *err)
{
    struct gdfo_job_ledger *l = ctx;
    struct gdfo_store_intent intent = intent_of(l, call);
    enum gdfo_status status = gdfo_store_call_find(l->store, &intent, answer, is_answered, err);
    if (status == GDFO_STATUS_OK && !*is_answered) {
        status = gdfo_store_has_room(l->store, err);
    }
    if (status == GDFO_STATUS_OK && !*is_answered) {
        status = gdfo_store_call_intent(l->store, &intent, &l->attempt, err);
    }
    return status;
}

static enum gdfo_status ledger_end(void *ctx, const struct gdfo_call *call,
                                   const struct gdfo_buf *answer, const struct gdfo_usage *used,
                                   struct gdfo_error *err)
{
    struct gdfo_job_ledger *l = ctx;
    struct gdfo_store_outcome o = {.jid = l->jid,
                                   .seq = call->seq,
                                   .attempt = l->attempt,
                                   .used_in = used->tokens_in,
                                   .used_cached = used->tokens_cached,
                                   .used_out = used->tokens_out,
                                   .answer = answer->data,
                                   .n_answer = answer->len,
                                   .verdict = "OK",
                                   .wall_ms = gdfo_job_wall_pending(l->wall)};
    enum gdfo_status status = gdfo_store_call_done(l->store, &o, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_job_wall_booked(l->wall, o.wall_ms);
    }
    return status;
}

static void ledger_reject(void *ctx, const struct gdfo_call *call, const struct gdfo_error *why,
                          int is_unknown)
{
    struct gdfo_job_ledger *l = ctx;
    struct gdfo_store_outcome o = {.jid = l->jid,
                                   .seq = call->seq,
                                   .attempt = l->attempt,
                                   .verdict = is_unknown ? "RETRY" : "FATAL"};
    struct gdfo_error err = {0};
    char quoted[256];
    if ((is_unknown ? gdfo_store_call_unknown(l->store, &o, &err)
                    : gdfo_store_call_rejected(l->store, &o, &err)) != GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_ERROR, "job", "ev=reject_not_stored why=%s",
                 gdfo_log_quote(err.text, quoted, (int)sizeof quoted));
    }
    gdfo_log(GDFO_LOG_WARN, "job", "ev=call_%s seq=%lld why=%s",
             is_unknown ? "unknown" : "rejected", (long long)call->seq,
             gdfo_log_quote(why ? why->text : "", quoted, (int)sizeof quoted));
}

void gdfo_job_ledger_init(struct gdfo_job_ledger *l, struct gdfo_store *store, int64_t jid,
                          int64_t epoch, int is_repeatable, struct gdfo_job_wall *wall)
{
    memset(l, 0, sizeof *l);
    l->store = store;
    l->jid = jid;
    l->epoch = epoch;
    l->is_repeatable = is_repeatable;
    l->wall = wall;
    l->ledger = (struct gdfo_ledger){l, ledger_begin, ledger_end, ledger_reject};
}
