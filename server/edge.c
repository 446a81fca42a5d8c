#include "server/edge.h"

#include "common/lock.h"
#include "common/mem.h"
#include "server/job/job_export.h"
#include "server/job/job_memory.h"
#include "server/job/job_models.h"
#include "server/job/job_precision.h"
#include "server/sched/sched.h"
#include "server/tune/method/method.h"

#include <stdio.h>

struct gdfo_edge {
    struct gdfo_lock *gate;   /* outermost of all; held across the short calls into the scheduler */
    struct gdfo_sched *sched; /* with gate held; NULL once closed */
    struct gdfo_store *store;
    struct gdfo_models *models;
    struct gdfo_pool *pool;
    const struct gdfo_remotes *remotes;
};

struct gdfo_edge *gdfo_edge_create(struct gdfo_store *store, struct gdfo_sched *sched,
                                   struct gdfo_models *models, struct gdfo_pool *pool,
                                   const struct gdfo_remotes *remotes)
{
    struct gdfo_edge *e = gdfo_mem_array(1, sizeof *e);
    if (e) {
        *e = (struct gdfo_edge){gdfo_lock_create(), sched, store, models, pool, remotes};
    }
    if (e && !e->gate) {
        gdfo_mem_free(e);
        e = NULL;
    }
    return e;
}

void gdfo_edge_destroy(struct gdfo_edge *e)
{
    if (e) {
        gdfo_lock_destroy(e->gate);
        gdfo_mem_free(e);
    }
}

void gdfo_edge_close(struct gdfo_edge *e)
{
    GDFO_LOCK_SCOPE(e->gate);
    e->sched = NULL;
}

static enum gdfo_status draining(struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "the daemon is stopping");
}

/* ---- the scheduler -------------------------------------------------------------------------- */

static void wake(void *ctx)
{
    struct gdfo_edge *e = ctx;
    GDFO_LOCK_SCOPE(e->gate);
    if (e->sched) {
        gdfo_sched_wake(e->sched);
    }
}

static enum gdfo_status pause_job(void *ctx, const char *job_id, struct gdfo_error *err)
{
    struct gdfo_edge *e = ctx;
    GDFO_LOCK_SCOPE(e->gate);
    return e->sched ? gdfo_sched_pause(e->sched, job_id, err) : draining(err);
}

static enum gdfo_status resume_job(void *ctx, const char *job_id, struct gdfo_error *err)
{
    struct gdfo_edge *e = ctx;
    GDFO_LOCK_SCOPE(e->gate);
    return e->sched ? gdfo_sched_resume(e->sched, job_id, err) : draining(err);
}

static enum gdfo_status cancel_job(void *ctx, const char *job_id, struct gdfo_error *err)
{
    struct gdfo_edge *e = ctx;
    GDFO_LOCK_SCOPE(e->gate);
    return e->sched ? gdfo_sched_cancel(e->sched, job_id, err) : draining(err);
}

static enum gdfo_status predict(void *ctx, struct gdfo_predict *p, struct gdfo_error *err)
{
    struct gdfo_edge *e = ctx;
    GDFO_LOCK_SCOPE(e->gate);
    return e->sched ? gdfo_sched_predict(e->sched, p, err) : draining(err);
}

/* ---- the catalogues ------------------------------------------------------------------------- */

static void write_methods(void *ctx, struct gdfo_json_writer *w)
{
    const struct gdfo_method_ops *ops;
    (void)ctx;
    for (size_t i = 0; (ops = gdfo_method_at(i)) != NULL; i++) {
        gdfo_json_open(w, NULL, '{');
        gdfo_json_put_str(w, "type", ops->name);
        gdfo_json_put_str(w, "object", "method");
        gdfo_json_put_str(w, "help", ops->help);
        gdfo_json_put_str(w, "resolves_to", ops->resolves_to);
        gdfo_json_open(w, "needs", '{');
        gdfo_json_put_bool(w, "soft_rows", ops->needs_soft_rows);
        gdfo_json_put_bool(w, "student", ops->needs_student);
        gdfo_json_put_bool(w, "layers", ops->needs_layers);
        gdfo_json_close(w, '}');
        gdfo_json_open(w, "budget", '{');
        gdfo_json_put_int(w, "evals", ops->default_evals);
        gdfo_json_close(w, '}');
        gdfo_opt_write_catalogue(ops->opts, w, "hyperparameters");
        gdfo_json_close(w, '}');
    }
}

static void write_students(void *ctx, struct gdfo_json_writer *w)
{
    const struct gdfo_edge *e = ctx;
    for (size_t i = 0; i < gdfo_models_count(e->models); i++) {
        const struct gdfo_model_entry *m = gdfo_models_at(e->models, i);
        gdfo_json_open(w, NULL, '{');
        gdfo_json_put_str(w, "name", m->name);
        gdfo_json_put_str(w, "object", "student");
        gdfo_json_put_int(w, "params", (int64_t)m->params);
        gdfo_json_put_int(w, "n_layers", m->n_layers);
        gdfo_json_put_int(w, "d_model", m->d_model);
        gdfo_json_put_int(w, "vocab", m->vocab);
        gdfo_json_put_str(w, "sha256", m->sha256);
        gdfo_job_precision_write(e->store, e->models, m->name, w);
        gdfo_json_close(w, '}');
    }
}

static int has_student(void *ctx, const char *name)
{
    const struct gdfo_edge *e = ctx;
    return gdfo_models_find(e->models, name) != NULL;
}

static void write_precision(void *ctx, const char *model, struct gdfo_json_writer *w)
{
    const struct gdfo_edge *e = ctx;
    gdfo_job_precision_write(e->store, e->models, model, w);
}

static enum gdfo_status fits(void *ctx, const struct gdfo_job_spec *spec, struct gdfo_error *err)
{
    const struct gdfo_edge *e = ctx;
    const struct gdfo_job_deps deps = {e->store, e->models, e->pool, NULL, e->remotes};
    return gdfo_job_fits(&deps, spec, err);
}

static enum gdfo_status export_prompt(void *ctx, const struct gdfo_http_export_ask *ask,
                                      struct gdfo_http_export *out, struct gdfo_error *err)
{
    struct gdfo_edge *e = ctx;
    struct gdfo_job_export made = {.content_type = NULL};
    enum gdfo_status status =
        gdfo_job_export(&made, e->store, e->models, ask->job, ask->checkpoint, ask->format, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_buf_addn(out->bytes, made.bytes.data, made.bytes.len);
        out->content_type = made.content_type;
        GDFO_IGNORE(snprintf(out->filename, sizeof out->filename, "%s", made.filename));
        if (!gdfo_buf_ok(out->bytes)) {
            status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "an export of %zu bytes; at most %zu",
                                    made.bytes.len, out->bytes->max);
        }
    }
    gdfo_buf_deinit(&made.bytes);
    return status;
}

struct gdfo_http_deps gdfo_edge_deps(struct gdfo_edge *e)
{
    struct gdfo_http_deps deps = {.store = e->store,
                                  .ctx = e,
                                  .wake = wake,
                                  .pause = pause_job,
                                  .resume = resume_job,
                                  .cancel = cancel_job,
                                  .predict = predict,
                                  .write_methods = write_methods,
                                  .write_students = write_students,
                                  .has_student = has_student,
                                  .write_precision = write_precision,
                                  .fits = fits,
                                  .export_prompt = export_prompt};
    return deps;
}
