/* What a start finds of the run before it (service.md 4.2 and 7.1, D3), in one transaction. */
#include "common/json_write.h"
#include "server/store/call_priv.h"
#include "server/store/job_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define EVENT_DATA_MAX 256

struct left_over {
    int64_t jid;
    char reason[32]; /* kept where the move does not bring its own */
};

/* Oldest job in this state; after a move it is in it no longer. */
static enum gdfo_status next_in(struct gdfo_store *s, enum gdfo_job_status state,
                                struct left_over *out, int *found, struct gdfo_error *err)
{
    struct gdfo_store_job job;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_NEXT);
    enum gdfo_status status;
    gdfo_query_text(&q, gdfo_job_status_name(state));
    gdfo_query_int(&q, 0);
    status = gdfo_job_row(&s->writer, &q, &job, err);
    *found = status == GDFO_STATUS_OK;
    if (status == GDFO_STATUS_OK) {
        out->jid = job.jid;
        GDFO_IGNORE(snprintf(out->reason, sizeof out->reason, "%s", job.reason));
        gdfo_store_job_deinit(&job);
    }
    return status == GDFO_STATUS_NOT_FOUND ? GDFO_STATUS_OK : status;
}

static enum gdfo_status last_snapshot(struct gdfo_store *s, int64_t jid, int64_t *generation,
                                      int64_t *next_seq, struct gdfo_error *err)
{
    int has_row;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_SNAPSHOT_LAST);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    status = gdfo_query_row(&q, &has_row, err);
    *generation = 0;
    *next_seq = 0;
    if (status == GDFO_STATUS_OK && has_row) {
        *generation = gdfo_query_get_int(&q);
        *next_seq = gdfo_query_get_int(&q);
        gdfo_query_end(&q);
    }
    return status;
}

static enum gdfo_status count_calls(struct gdfo_store *s, int64_t jid, int64_t next_seq,
                                    int64_t *n_done, int64_t *n_unknown, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_CALL_COUNT_DONE);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    gdfo_query_int(&q, next_seq);
    status = gdfo_query_one_int(&q, 0, n_done, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(&s->writer, GDFO_SQL_CALL_COUNT_UNKNOWN);
        gdfo_query_int(&q, jid);
        status = gdfo_query_one_int(&q, 0, n_unknown, err);
    }
    return status;
}

/* The counts are what the resumed run will meet: they are known from the tables alone. */
static enum gdfo_status tell(struct gdfo_store *s, int64_t jid, struct gdfo_error *err)
{
    struct gdfo_store_event_new event = {.type = "recovery",
                                         .message = "taken up again after the daemon stopped"};
    int64_t generation;
    int64_t next_seq;
    int64_t n_done = 0;
    int64_t n_unknown = 0;
    char data[EVENT_DATA_MAX];
    enum gdfo_status status = last_snapshot(s, jid, &generation, &next_seq, err);
    if (status == GDFO_STATUS_OK) {
        status = count_calls(s, jid, next_seq, &n_done, &n_unknown, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    GDFO_IGNORE(snprintf(data, sizeof data,
                         "{\"from_generation\":%" PRId64 ",\"replayed_calls\":%" PRId64
                         ",\"unknown_calls\":%" PRId64 "}",
                         generation, n_done, n_unknown));
    event.data = data;
    return gdfo_event_row(s, jid, &event, NULL, err);
}

static enum gdfo_status mark_recovered(struct gdfo_store *s, int64_t jid, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_RECOVERED);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    status = gdfo_query_run(&q, err);
    return status == GDFO_STATUS_OK ? tell(s, jid, err) : status;
}

static enum gdfo_status move_all(struct gdfo_store *s, enum gdfo_job_status from,
                                 enum gdfo_job_status to, int64_t *n, struct gdfo_error *err)
{
    struct left_over job = {0};
    int found = 0;
    enum gdfo_status status = next_in(s, from, &job, &found, err);
    while (status == GDFO_STATUS_OK && found) {
        struct gdfo_store_move move = {.to = to, .reason = job.reason[0] ? job.reason : NULL};
        if (to == GDFO_JOB_QUEUED) {
            move.reason = "recovering";
        }
        status = gdfo_job_move(s, job.jid, &move, NULL, err);
        if (status == GDFO_STATUS_OK && to == GDFO_JOB_QUEUED) {
            status = mark_recovered(s, job.jid, err);
        }
        *n += 1;
        if (status == GDFO_STATUS_OK) {
            status = next_in(s, from, &job, &found, err);
        }
    }
    return status;
}

static enum gdfo_status forget_unfinished(struct gdfo_store *s, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_SERVICE_RECOVER);
    enum gdfo_status status;
    gdfo_query_int(&q, gdfo_store_now_ms(s));
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK) {
        q = gdfo_query(&s->writer, GDFO_SQL_KEY_RECOVER); /* who asked got no answer */
        status = gdfo_query_run(&q, err);
    }
    return status;
}

static enum gdfo_status recover_rows(struct gdfo_store *s, struct gdfo_store_recovery *found,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_call_recover(s, &found->unknown_calls, err);
    if (status == GDFO_STATUS_OK) {
        status = move_all(s, GDFO_JOB_RUNNING, GDFO_JOB_QUEUED, &found->requeued, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = move_all(s, GDFO_JOB_PAUSING, GDFO_JOB_PAUSED, &found->paused, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = move_all(s, GDFO_JOB_CANCELLING, GDFO_JOB_CANCELLED, &found->cancelled, err);
    }
    return status == GDFO_STATUS_OK ? forget_unfinished(s, err) : status;
}

enum gdfo_status gdfo_store_recover(struct gdfo_store *s, struct gdfo_store_recovery *out,
                                    struct gdfo_error *err)
{
    struct gdfo_store_recovery found = {0};
    int64_t counts[GDFO_JOB_STATUS_END];
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_tx_end(s, recover_rows(s, &found, err), err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_job_counts(s, counts, err);
    }
    if (status == GDFO_STATUS_OK) {
        found.validating = counts[GDFO_JOB_VALIDATING_FILES];
        *out = found;
    }
    return status;
}
