/* The state machine's only mover; which moves are legal is the schema's trigger to say. */
#include "common/json_write.h"
#include "server/store/call_priv.h"
#include "server/store/job_priv.h"
#include "server/store/step_priv.h"

#include <stdio.h>
#include <string.h>

#define EVENT_DATA_MAX 512

static enum gdfo_status move_data(struct gdfo_buf *b, enum gdfo_job_status from,
                                  const struct gdfo_store_move *move, struct gdfo_error *err)
{
    struct gdfo_json_writer w = gdfo_json_writer(b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "from", gdfo_job_status_name(from));
    gdfo_json_put_str(&w, "to", gdfo_job_status_name(move->to));
    gdfo_json_put_str(&w, "reason", move->reason);
    gdfo_json_close(&w, '}');
    return gdfo_buf_ok(b) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "moving a job");
}

enum gdfo_status gdfo_job_moved(struct gdfo_store *s, int64_t jid, const char *id,
                                enum gdfo_job_status from, const struct gdfo_store_move *move,
                                const struct gdfo_store_actor *who, struct gdfo_error *err)
{
    char message[128];
    struct gdfo_buf data;
    enum gdfo_status status;
    struct gdfo_store_event_new event = {.type = "status", .message = message};
    struct gdfo_audit audit = {"job.status", id, NULL};
    gdfo_buf_init(&data, EVENT_DATA_MAX);
    status = move_data(&data, from, move, err);
    if (status == GDFO_STATUS_OK) {
        GDFO_IGNORE(snprintf(message, sizeof message, "%s -> %s%s%s", gdfo_job_status_name(from),
                             gdfo_job_status_name(move->to), move->reason ? ": " : "",
                             move->reason ? move->reason : ""));
        event.level = move->to == GDFO_JOB_FAILED ? GDFO_STORE_ERROR : GDFO_STORE_INFO;
        event.data = data.data;
        audit.detail = data.data;
        status = gdfo_event_row(s, jid, &event, NULL, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_audit_add(s, who, &audit, err);
    }
    gdfo_buf_deinit(&data);
    return status;
}

static enum gdfo_status read_from(struct gdfo_store *s, int64_t jid, char *id,
                                  enum gdfo_job_status *from, struct gdfo_error *err)
{
    int has_row;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_STATUS);
    enum gdfo_status status;
    gdfo_query_int(&q, jid);
    status = gdfo_query_row(&q, &has_row, err);
    if (status == GDFO_STATUS_OK && !has_row) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no such job");
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_query_get_text(&q, id, GDFO_STORE_ID_BYTES);
        *from = gdfo_job_status_get(&q);
        gdfo_query_end(&q);
    }
    return status;
}

static enum gdfo_status update_row(struct gdfo_store *s, int64_t jid,
                                   const struct gdfo_store_move *move, struct gdfo_error *err)
{
    const struct gdfo_error *fail = move->to == GDFO_JOB_FAILED ? move->fail : NULL;
    const char *code = fail && fail->code[0] ? fail->code : "internal_error";
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_MOVE);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, gdfo_job_status_name(move->to));
    gdfo_query_opt_text(&q, move->reason);
    gdfo_query_int(&q, gdfo_store_now(s));
    gdfo_query_opt_text(&q, fail ? code : NULL);
    gdfo_query_opt_text(&q, fail ? fail->text : NULL);
    gdfo_query_opt_text(&q, fail ? fail->field : NULL);
    return gdfo_query_run(&q, err);
}

/* The model row comes with the move to succeeded: there is never one without the other. */
static enum gdfo_status add_model(struct gdfo_store *s, int64_t jid,
                                  const struct gdfo_store_move *move, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_MODEL_ADD);
    enum gdfo_status status;
    gdfo_query_text(&q, move->model);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, move->checkpoint);
    gdfo_query_int(&q, gdfo_store_now(s));
    status = gdfo_query_run(&q, err);
    if (status == GDFO_STATUS_OK && gdfo_db_changes(&s->writer) == 0) {
        status =
            gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "model %s: the job has no checkpoint %s",
                           move->model, move->checkpoint ? move->checkpoint : "(none)");
    }
    return status;
}

static enum gdfo_status refuse(struct gdfo_error *err, const char *id, enum gdfo_job_status from,
                               enum gdfo_job_status to)
{
    enum gdfo_status status =
        gdfo_error_set(err, GDFO_STATUS_CONFLICT, "job %s is %s and cannot become %s", id,
                       gdfo_job_status_name(from), gdfo_job_status_name(to));
    gdfo_error_at(err, "", "invalid_transition");
    return status;
}

enum gdfo_status gdfo_job_move(struct gdfo_store *s, int64_t jid,
                               const struct gdfo_store_move *move,
                               const struct gdfo_store_actor *who, struct gdfo_error *err)
{
    char id[GDFO_STORE_ID_BYTES];
    enum gdfo_job_status from = GDFO_JOB_STATUS_END;
    enum gdfo_status status = read_from(s, jid, id, &from, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = from == move->to ? GDFO_STATUS_CONFLICT : update_row(s, jid, move, err);
    if (status == GDFO_STATUS_CONFLICT) {
        return refuse(err, id, from, move->to);
    }
    if (status == GDFO_STATUS_OK && move->to == GDFO_JOB_SUCCEEDED && move->model) {
        status = add_model(s, jid, move, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_budget_book_wall(s, jid, move->wall_ms, err);
    }
    if (status == GDFO_STATUS_OK && !gdfo_job_status_is_live(move->to)) {
        status = gdfo_snapshot_prune(s, jid, 0, err); /* a job at its end needs no resume point */
    }
    return status == GDFO_STATUS_OK ? gdfo_job_moved(s, jid, id, from, move, who, err) : status;
}

enum gdfo_status gdfo_store_job_set_state(struct gdfo_store *s, int64_t jid,
                                          const struct gdfo_store_move *move,
                                          const struct gdfo_store_actor *who,
                                          struct gdfo_store_job *out, struct gdfo_error *err)
{
    struct gdfo_store_job job = {0};
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_job_move(s, jid, move, who, err);
    if (status == GDFO_STATUS_OK && out) {
        status = gdfo_job_row_of(&s->writer, jid, &job, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status == GDFO_STATUS_OK && out) {
        *out = job;
    } else {
        gdfo_store_job_deinit(&job);
    }
    return status;
}

static enum gdfo_status claim_one(struct gdfo_store *s, int64_t *jid, struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_JOB_CLAIM);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_one_int(&q, 0, jid, err);
}

enum gdfo_status gdfo_store_job_claim(struct gdfo_store *s, struct gdfo_store_job *out, int *found,
                                      struct gdfo_error *err)
{
    const struct gdfo_store_move move = {.to = GDFO_JOB_RUNNING};
    struct gdfo_store_job job = {0};
    int64_t jid = 0;
    enum gdfo_status status = gdfo_tx_begin(s, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = claim_one(s, &jid, err);
    if (status == GDFO_STATUS_OK && jid != 0) {
        status = gdfo_job_row_of(&s->writer, jid, &job, err);
    }
    if (status == GDFO_STATUS_OK && jid != 0) {
        status = gdfo_job_moved(s, jid, job.id, GDFO_JOB_QUEUED, &move, NULL, err);
    }
    status = gdfo_tx_end(s, status, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_store_job_deinit(&job);
        return status;
    }
    *found = jid != 0;
    if (jid != 0) {
        *out = job;
    }
    return status;
}
