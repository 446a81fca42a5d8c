/* The job object: OpenAI's fifteen members first, ours after them (service.md 4.1). */
#include "server/http/api/job_priv.h"

#include <stdio.h>
#include <string.h>

/* A spec was checked on its way in; its limits are wider than a body's, for defaults came in. */
static const struct gdfo_json_limits spec_limits = {
    .depth = 96, .string_bytes = (size_t)1 << 20, .members = 4096, .values = 100000};

static void put_text(struct gdfo_json_writer *w, const char *key, const char *s)
{
    gdfo_json_put_str(w, key, s[0] ? s : NULL);
}

static void put_time(struct gdfo_json_writer *w, const char *key, int64_t v)
{
    if (v) {
        gdfo_json_put_int(w, key, v);
    } else {
        gdfo_json_put_null(w, key);
    }
}

static void put_error(struct gdfo_json_writer *w, const struct gdfo_store_job *job)
{
    if (job->status != GDFO_JOB_FAILED || !job->err_code[0]) {
        gdfo_json_put_null(w, "error");
        return;
    }
    gdfo_json_open(w, "error", '{');
    gdfo_json_put_str(w, "code", job->err_code);
    gdfo_json_put_str(w, "message", job->err_message);
    put_text(w, "param", job->err_param);
    gdfo_json_close(w, '}');
}

static void put_hyperparameters(struct gdfo_json_writer *w, const struct gdfo_json *spec)
{
    static const char *const names[] = {"n_epochs", "batch_size", "learning_rate_multiplier"};
    const struct gdfo_json *given = spec ? gdfo_json_get(spec, "hyperparameters") : NULL;
    gdfo_json_open(w, "hyperparameters", '{');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct gdfo_json *v = given ? gdfo_json_get(given, names[i]) : NULL;
        if (v && gdfo_json_type(v) != GDFO_JSON_NULL) {
            gdfo_json_put_node(w, names[i], v);
        } else {
            gdfo_json_put_str(w, names[i], "auto");
        }
    }
    gdfo_json_close(w, '}');
}

static void put_openai(struct gdfo_json_writer *w, const struct gdfo_job_view *view,
                       const struct gdfo_json *spec)
{
    const struct gdfo_store_job *job = view->job;
    int has_ended = !gdfo_job_status_is_live(job->status);
    gdfo_json_put_str(w, "id", job->id);
    gdfo_json_put_str(w, "object", "fine_tuning.job");
    gdfo_json_put_int(w, "created_at", job->created_at);
    put_time(w, "finished_at", has_ended ? job->finished_at : 0);
    put_error(w, job);
    put_text(w, "fine_tuned_model", job->fine_tuned_model);
    put_hyperparameters(w, spec);
    gdfo_json_put_str(w, "model", job->teacher);
    gdfo_json_put_str(w, "organization_id", job->project_id);
    gdfo_json_open(w, "result_files", '[');
    for (size_t i = 0; i < job->n_results; i++) {
        gdfo_json_put_str(w, NULL, job->result_files[i]);
    }
    gdfo_json_close(w, ']');
    gdfo_json_put_int(w, "seed", job->seed);
    gdfo_json_put_str(w, "status", gdfo_job_status_name(job->status));
    if (job->status == GDFO_JOB_SUCCEEDED) {
        gdfo_json_put_int(w, "trained_tokens", job->spend.tokens_in + job->spend.tokens_out);
    } else {
        gdfo_json_put_null(w, "trained_tokens");
    }
    gdfo_json_put_str(w, "training_file", job->training_file);
    put_text(w, "validation_file", job->validation_file);
}

static void put_spend(struct gdfo_json_writer *w, const struct gdfo_store_spend *s)
{
    gdfo_json_open(w, "spend", '{');
    gdfo_json_put_int(w, "evals", s->evals);
    gdfo_json_put_int(w, "queries", s->queries);
    gdfo_json_put_int(w, "dev_queries", s->dev_queries);
    gdfo_json_put_int(w, "cached", s->cached);
    gdfo_json_put_int(w, "calls", s->calls);
    gdfo_json_put_int(w, "tokens_in", s->tokens_in);
    gdfo_json_put_int(w, "tokens_out", s->tokens_out);
    gdfo_json_put_int(w, "usd_micros", s->usd_micros);
    gdfo_json_put_int(w, "unknown_calls", s->unknown_calls);
    gdfo_json_close(w, '}');
}

static const struct gdfo_store_cap *find_cap(const struct gdfo_job_view *view,
                                             enum gdfo_store_unit unit)
{
    for (size_t i = 0; i < view->n_caps; i++) {
        if (view->caps[i].unit == unit) {
            return &view->caps[i];
        }
    }
    return NULL;
}

/* Every cap under its unit's name, and what is held against each. */
static void put_budget(struct gdfo_json_writer *w, const struct gdfo_job_view *view)
{
    static const char *const names[] = {"evals",      "queries",    "tokens_in",
                                        "tokens_out", "usd_micros", "wall_seconds"};
    gdfo_json_open(w, "budget", '{');
    for (int unit = GDFO_STORE_EVALS; unit <= GDFO_STORE_WALL_MS; unit++) {
        const struct gdfo_store_cap *cap = find_cap(view, (enum gdfo_store_unit)unit);
        if (cap) {
            gdfo_json_put_int(w, names[unit],
                              unit == GDFO_STORE_WALL_MS ? cap->cap / 1000 : cap->cap);
        } else {
            gdfo_json_put_null(w, names[unit]);
        }
    }
    gdfo_json_open(w, "held", '{');
    for (int unit = GDFO_STORE_EVALS; unit < GDFO_STORE_WALL_MS; unit++) {
        const struct gdfo_store_cap *cap = find_cap(view, (enum gdfo_store_unit)unit);
        if (cap) {
            gdfo_json_put_int(w, names[unit], cap->held);
        }
    }
    gdfo_json_close(w, '}');
    gdfo_json_close(w, '}');
}

/* Share of the budget that is used: of the cap that will bind first. */
static double done_share(const struct gdfo_job_view *view)
{
    double share = 0;
    for (size_t i = 0; i < view->n_caps; i++) {
        const struct gdfo_store_cap *cap = &view->caps[i];
        double used = cap->cap > 0 ? (double)cap->used / (double)cap->cap : 0;
        share = used > share ? used : share;
    }
    return share;
}

/* Seconds left at the pace since the first call, for before it a model may have been measured for
 * minutes; -1 when there is nothing to judge by. */
static int64_t eta_seconds(const struct gdfo_job_view *view)
{
    const struct gdfo_store_job *job = view->job;
    double share = done_share(view);
    double gone = (double)(view->now - view->first_call_ms / 1000);
    if (job->status != GDFO_JOB_RUNNING || view->first_call_ms == 0 || share <= 0 || gone < 0) {
        return -1;
    }
    return share < 1 ? (int64_t)(gone * (1 - share) / share + 0.5) : 0;
}

static void put_progress(struct gdfo_json_writer *w, const struct gdfo_job_view *view)
{
    const struct gdfo_store_cap *cap = find_cap(view, GDFO_STORE_QUERIES);
    int64_t eta = eta_seconds(view);
    gdfo_json_open(w, "progress", '{');
    gdfo_json_put_int(w, "step", view->job->generation);
    gdfo_json_put_int(w, "queries_done", view->job->spend.queries);
    put_time(w, "queries_total", cap ? cap->cap : 0);
    if (eta >= 0) {
        gdfo_json_put_int(w, "eta_seconds", eta);
    } else {
        gdfo_json_put_null(w, "eta_seconds");
    }
    if (view->queue_position >= 0) {
        gdfo_json_put_int(w, "queue_position", view->queue_position);
    } else {
        gdfo_json_put_null(w, "queue_position");
    }
    gdfo_json_close(w, '}');
}

/* The method's own member of the spec: {"type":"bbt","bbt":{...}}. */
static const struct gdfo_json *method_body(const struct gdfo_json *spec)
{
    const struct gdfo_json *method = spec ? gdfo_json_get(spec, "method") : NULL;
    const struct gdfo_json *type = method ? gdfo_json_get(method, "type") : NULL;
    return type && gdfo_json_string(type) ? gdfo_json_get(method, gdfo_json_string(type)) : NULL;
}

static void put_best(struct gdfo_json_writer *w, const struct gdfo_store_job *job,
                     const struct gdfo_json *spec)
{
    const struct gdfo_json *body = method_body(spec);
    const struct gdfo_json *task = body ? gdfo_json_get(body, "task") : NULL;
    const struct gdfo_json *metric = task ? gdfo_json_get(task, "metric") : NULL;
    const char *name = metric ? gdfo_json_string(metric) : NULL;
    char text[64];
    if (!job->has_best) {
        gdfo_json_put_null(w, "best");
        return;
    }
    (void)snprintf(text, sizeof text, "%.50s_dev", name ? name : "accuracy");
    gdfo_json_open(w, "best", '{');
    gdfo_json_put_str(w, "metric", text);
    gdfo_json_put_num(w, "value", job->best_metric);
    gdfo_json_put_int(w, "step", job->best_step);
    gdfo_json_put_int(w, "queries", job->best_queries);
    gdfo_json_close(w, '}');
}

static void put_metadata(struct gdfo_json_writer *w, const struct gdfo_store_job *job)
{
    gdfo_json_open(w, "metadata", '{');
    for (size_t i = 0; i < job->n_metadata; i++) {
        gdfo_json_put_str(w, job->metadata[i].key, job->metadata[i].value);
    }
    gdfo_json_close(w, '}');
}

static void put_method(struct gdfo_json_writer *w, const struct gdfo_store_job *job,
                       const struct gdfo_json *spec)
{
    const struct gdfo_json *method = spec ? gdfo_json_get(spec, "method") : NULL;
    if (method) {
        gdfo_json_put_node(w, "method", method);
    } else {
        gdfo_json_open(w, "method", '{');
        gdfo_json_put_str(w, "type", job->method);
        gdfo_json_close(w, '}');
    }
}

static void put_links(struct gdfo_json_writer *w, const char *id)
{
    static const char *const names[] = {"events", "metrics", "checkpoints"};
    char path[128];
    gdfo_json_open(w, "links", '{');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/%s", id, names[i]);
        gdfo_json_put_str(w, names[i], path);
    }
    gdfo_json_close(w, '}');
}

/* How far it is, in the unit of the cap that people set: evals first, then queries. */
static void describe_step(const struct gdfo_job_view *view, char *out, size_t n)
{
    const struct gdfo_store_job *job = view->job;
    const struct gdfo_store_cap *evals = find_cap(view, GDFO_STORE_EVALS);
    const struct gdfo_store_cap *queries = find_cap(view, GDFO_STORE_QUERIES);
    long long step = (long long)job->generation;
    if (evals) {
        (void)snprintf(out, n, "step %lld, %lld of %lld evals", step, (long long)job->spend.evals,
                       (long long)evals->cap);
    } else if (queries) {
        (void)snprintf(out, n, "step %lld, %lld of %lld queries", step,
                       (long long)job->spend.queries, (long long)queries->cap);
    } else {
        (void)snprintf(out, n, "step %lld, %lld queries", step, (long long)job->spend.queries);
    }
}

static void put_detail(struct gdfo_json_writer *w, const struct gdfo_job_view *view)
{
    char text[96] = "";
    if (view->job->status == GDFO_JOB_QUEUED && view->queue_position >= 0) {
        (void)snprintf(text, sizeof text, "%lld jobs ahead", (long long)view->queue_position);
    } else if (view->job->generation > 0) {
        describe_step(view, text, sizeof text);
    } else if (view->job->status == GDFO_JOB_RUNNING && !view->job->precision[0]) {
        (void)snprintf(text, sizeof text, "finding the precision of its teacher");
    }
    put_text(w, "status_detail", text);
}

static void put_ours(struct gdfo_json_writer *w, const struct gdfo_job_view *view,
                     const struct gdfo_json *spec)
{
    const struct gdfo_store_job *job = view->job;
    int64_t eta = eta_seconds(view);
    put_time(w, "estimated_finish", eta >= 0 ? view->now + eta : 0);
    gdfo_json_open(w, "integrations", '[');
    gdfo_json_close(w, ']');
    put_metadata(w, job);
    put_method(w, job, spec);
    put_text(w, "suffix", job->suffix);
    put_text(w, "name", job->name);
    put_text(w, "student", job->student);
    gdfo_json_put_str(w, "project", job->project);
    gdfo_json_put_str(w, "user", job->user);
    gdfo_json_put_int(w, "rev", job->rev);
    put_text(w, "reason", job->reason);
    put_detail(w, view);
    gdfo_json_put_null(w, "parent");
    gdfo_json_put_int(w, "priority", job->priority);
    put_time(w, "started_at", job->started_at);
    gdfo_json_put_int(w, "updated_at", job->updated_at);
    put_spend(w, &job->spend);
    put_budget(w, view);
    put_progress(w, view);
    put_best(w, job, spec);
    put_text(w, "precision", job->precision);
    gdfo_json_open(w, "deterministic", '{');
    gdfo_json_put_bool(w, "ok", 1);
    put_text(w, "machine_class", job->machine_class);
    gdfo_json_close(w, '}');
    gdfo_json_put_int(w, "recoveries", job->recoveries);
    put_links(w, job->id);
}

void gdfo_job_write(struct gdfo_json_writer *w, const struct gdfo_job_view *view)
{
    struct gdfo_json *spec = NULL;
    const char *text = view->job->spec ? view->job->spec : "";
    enum gdfo_status status = gdfo_json_parse(&spec, text, strlen(text), &spec_limits, NULL);
    if (status == GDFO_STATUS_NO_MEMORY) {
        w->buf->is_broken = 1; /* half an object is no answer; a spec that is no JSON is */
    }
    gdfo_json_open(w, NULL, '{');
    put_openai(w, view, spec);
    put_ours(w, view, spec);
    gdfo_json_close(w, '}');
    gdfo_json_destroy(spec);
}
