#include "server/job/job_step.h"

#include "common/clk.h"
#include "common/json_write.h"
#include "common/span.h"
#include "server/store/store_file.h"
#include "server/store/store_metric.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STATE_FORMAT    1
#define STATE_MAX_BYTES ((size_t)1 << 31)
#define TEXTS_MAX_BYTES ((size_t)64 << 20)
#define EVENTS_MAX      (GDFO_REPORT_MESSAGES_MAX + 1)
#define NAMES_MAX       128
#define CSV_CHUNK       256

void gdfo_job_steps_init(struct gdfo_job_steps *s, struct gdfo_store *store,
                         const struct gdfo_store_job *job, struct gdfo_job_wall *wall)
{
    memset(s, 0, sizeof *s);
    s->store = store;
    s->jid = job->jid;
    s->wall = wall;
    gdfo_buf_init(&s->state, STATE_MAX_BYTES);
    gdfo_buf_init(&s->artefact, STATE_MAX_BYTES);
    gdfo_buf_init(&s->texts, TEXTS_MAX_BYTES);
}

void gdfo_job_steps_deinit(struct gdfo_job_steps *s)
{
    gdfo_buf_deinit(&s->state);
    gdfo_buf_deinit(&s->artefact);
    gdfo_buf_deinit(&s->texts);
}

/* A snapshot is: u32 done flag, the reason of the end, then the method's own block. */
enum gdfo_status gdfo_job_steps_resume(struct gdfo_job_steps *s, const struct gdfo_method_ops *ops,
                                       void *method, struct gdfo_error *err)
{
    struct gdfo_store_snapshot snap = {0};
    struct gdfo_span in;
    const void *bytes;
    size_t n = 0;
    int found = 0;
    enum gdfo_status status;
    gdfo_buf_reset(&s->state);
    status = gdfo_store_snapshot_load(s->store, s->jid, &snap, &s->state, &found, err);
    if (status != GDFO_STATUS_OK || !found) {
        return status;
    }
    in = gdfo_span_make(s->state.data, s->state.len);
    s->is_done = (int)gdfo_span_u32(&in);
    (void)gdfo_span_copy(&in, s->reason, sizeof s->reason);
    s->reason[sizeof s->reason - 1] = '\0';
    bytes = gdfo_span_block(&in, &n);
    if (!bytes || snap.format != STATE_FORMAT) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "snapshot %lld is of another format",
                              (long long)snap.generation);
    }
    s->generation = snap.generation;
    return ops->load(method, bytes, n, err);
}

static size_t make_points(const struct gdfo_report *r, const struct gdfo_meter *m, int64_t step,
                          struct gdfo_store_point *out)
{
    for (size_t i = 0; i < r->n_metrics; i++) {
        out[i] = (struct gdfo_store_point){r->metrics[i].name, step, m->evals, m->queries,
                                           r->metrics[i].value};
    }
    return r->n_metrics;
}

static void metrics_json(struct gdfo_buf *b, const struct gdfo_report *r,
                         const struct gdfo_meter *m, int64_t step)
{
    struct gdfo_json_writer w = gdfo_json_writer(b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_int(&w, "step", step);
    gdfo_json_put_int(&w, "evals", m->evals);
    gdfo_json_put_int(&w, "queries", m->queries);
    gdfo_json_put_int(&w, "dev_queries", m->dev_queries);
    for (size_t i = 0; i < r->n_metrics; i++) {
        gdfo_json_put_num(&w, r->metrics[i].name, r->metrics[i].value);
    }
    gdfo_json_close(&w, '}');
    gdfo_buf_addc(b, '\0');
}

/* Events of one step; their JSON lies in s->texts, so pointers are taken when it has stopped
 * moving. */
static size_t make_events(struct gdfo_job_steps *s, const struct gdfo_report *r,
                          const struct gdfo_meter *m, struct gdfo_store_event_new *out)
{
    size_t at[EVENTS_MAX];
    size_t n = 0;
    gdfo_buf_reset(&s->texts);
    for (; n < r->n_messages; n++) {
        struct gdfo_json_writer w = gdfo_json_writer(&s->texts);
        at[n] = s->texts.len;
        gdfo_json_open(&w, NULL, '{');
        gdfo_json_put_str(&w, "code", r->messages[n].code);
        gdfo_json_close(&w, '}');
        gdfo_buf_addc(&s->texts, '\0');
        out[n] = (struct gdfo_store_event_new){r->messages[n].is_warning ? GDFO_STORE_WARN
                                                                         : GDFO_STORE_INFO,
                                               "message", r->messages[n].text, NULL};
    }
    at[n] = s->texts.len;
    metrics_json(&s->texts, r, m, s->generation);
    out[n++] = (struct gdfo_store_event_new){GDFO_STORE_INFO, "metrics", r->detail, NULL};
    for (size_t i = 0; i < n; i++) {
        out[i].data = s->texts.data + at[i];
    }
    return n;
}

static int wants_snapshot(struct gdfo_job_steps *s, const struct gdfo_method_ops *ops,
                          const void *method, const struct gdfo_report *r)
{
    int64_t now = gdfo_clk_monotonic_ms(gdfo_clk_system());
    struct gdfo_buf whole;
    if (s->state.len > GDFO_JOB_SNAPSHOT_EAGER && now - s->saved_ms < GDFO_JOB_SNAPSHOT_MS &&
        !r->is_done) {
        return 0; /* the last one was large and is fresh enough */
    }
    gdfo_buf_init(&whole, STATE_MAX_BYTES);
    ops->save(method, &whole);
    gdfo_buf_reset(&s->state);
    gdfo_buf_u32(&s->state, (unsigned)r->is_done);
    gdfo_buf_addn(&s->state, r->reason, sizeof r->reason);
    gdfo_buf_block(&s->state, whole.data, whole.len);
    s->state.is_broken |= whole.is_broken;
    gdfo_buf_deinit(&whole);
    s->saved_ms = now;
    return 1;
}

static void checkpoint_json(struct gdfo_buf *b, const struct gdfo_artefact *a)
{
    struct gdfo_json_writer w = gdfo_json_writer(b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_num(&w, "train_loss", a->loss_train);
    gdfo_json_put_num(&w, "valid_loss", a->loss_dev);
    gdfo_json_put_num(&w, "valid_metric", a->metric_dev);
    gdfo_json_put_int(&w, "evals", a->evals);
    gdfo_json_close(&w, '}');
    gdfo_buf_addc(b, '\0');
}

enum gdfo_status gdfo_job_steps_commit(struct gdfo_job_steps *s, const struct gdfo_method_ops *ops,
                                       void *method, const struct gdfo_report *report,
                                       const struct gdfo_meter *meter, struct gdfo_error *err)
{
    struct gdfo_store_point points[GDFO_REPORT_METRICS_MAX];
    struct gdfo_store_event_new events[EVENTS_MAX];
    struct gdfo_store_checkpoint_new checkpoint = {0};
    struct gdfo_store_snapshot_new snapshot = {0};
    struct gdfo_store_step step = {.jid = s->jid, .points = points, .events = events};
    const struct gdfo_artefact *best = ops->result(method);
    enum gdfo_status status;
    size_t metrics_at;
    int was_new = 0;
    s->generation++;
    step.generation = s->generation;
    step.n_points = make_points(report, meter, s->generation, points);
    step.n_events = make_events(s, report, meter, events);
    if (report->has_new_best && best) {
        gdfo_buf_reset(&s->artefact);
        gdfo_artefact_save(best, &s->artefact);
        metrics_at = s->artefact.len;
        checkpoint_json(&s->artefact, best);
        checkpoint = (struct gdfo_store_checkpoint_new){
            s->artefact.data, metrics_at,        s->generation,
            meter->queries,   report->best_rank, s->artefact.data + metrics_at};
        step.checkpoint = &checkpoint;
        step.has_best = 1;
        step.best_metric = report->best_value;
        step.best_step = s->generation;
        step.best_queries = meter->queries;
    }
    if (wants_snapshot(s, ops, method, report)) {
        snapshot = (struct gdfo_store_snapshot_new){s->state.data, s->state.len, STATE_FORMAT,
                                                    meter->next_seq};
        step.snapshot = &snapshot;
    }
    if (!gdfo_buf_ok(&s->state) || !gdfo_buf_ok(&s->artefact) || !gdfo_buf_ok(&s->texts)) {
        return gdfo_error_no_memory(err, "a step's state");
    }
    step.wall_ms = gdfo_job_wall_pending(s->wall);
    status = gdfo_store_step_commit(s->store, &step, &was_new, err);
    if (status == GDFO_STATUS_OK && was_new) {
        gdfo_job_wall_booked(s->wall, step.wall_ms);
    }
    return status;
}

/* ---- metrics as a file
 * --------------------------------------------------------------------------- */

static enum gdfo_status add_series(struct gdfo_job_steps *s, const char *name, struct gdfo_buf *csv,
                                   struct gdfo_error *err)
{
    struct gdfo_store_bucket rows[CSV_CHUNK];
    struct gdfo_store_metric_query q = {.jid = s->jid, .name = name, .points = CSV_CHUNK};
    int64_t after = -1;
    size_t n = 0;
    do {
        enum gdfo_status status = gdfo_store_metric_points(s->store, &q, after, rows, &n, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            static const char *const odd[] = {NULL, "inf", "-inf", "nan"};
            gdfo_buf_addf(csv, "%s,%.0f,%.0f,%.0f,", name, rows[i].step, rows[i].evals,
                          rows[i].queries);
            if (rows[i].odd == GDFO_STORE_FINITE) {
                gdfo_buf_addf(csv, "%.17g\n", rows[i].mean);
            } else {
                gdfo_buf_addf(csv, "%s\n", odd[rows[i].odd]);
            }
            after = (int64_t)rows[i].step;
        }
    } while (n == CSV_CHUNK);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_job_steps_metrics_file(struct gdfo_job_steps *s, struct gdfo_error *err)
{
    char names[NAMES_MAX][GDFO_STORE_METRIC_NAME_BYTES];
    struct gdfo_store_file_new file = {
        .filename = "metrics.csv", .purpose = "fine-tune-results", .result_of_jid = s->jid};
    struct gdfo_store_file out;
    size_t n = 0;
    enum gdfo_status status = gdfo_store_metric_names(s->store, s->jid, names, NAMES_MAX, &n, err);
    gdfo_buf_reset(&s->texts);
    gdfo_buf_add(&s->texts, "name,step,evals,queries,value\n");
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        status = add_series(s, names[i], &s->texts, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_blob_put(s->store, s->texts.data, s->texts.len, &file.blob, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_store_file_add(s->store, NULL, &file, &out, err)
                                    : status;
}
