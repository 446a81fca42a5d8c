#include "server/http/backend.h"

#include "server/job/job_export.h"
#include "server/job/job_models.h"
#include "server/sched/sched.h"
#include "server/tune/method/method.h"

#include <stdio.h>

static void wake(void *ctx)
{
    struct gdfo_http_backend *b = ctx;
    gdfo_sched_wake(b->sched);
}

static enum gdfo_status pause_job(void *ctx, const char *id, struct gdfo_error *err)
{
    struct gdfo_http_backend *b = ctx;
    return gdfo_sched_pause(b->sched, id, err);
}

static enum gdfo_status resume_job(void *ctx, const char *id, struct gdfo_error *err)
{
    struct gdfo_http_backend *b = ctx;
    return gdfo_sched_resume(b->sched, id, err);
}

static enum gdfo_status cancel_job(void *ctx, const char *id, struct gdfo_error *err)
{
    struct gdfo_http_backend *b = ctx;
    return gdfo_sched_cancel(b->sched, id, err);
}

static enum gdfo_status predict(void *ctx, struct gdfo_predict *p, struct gdfo_error *err)
{
    struct gdfo_http_backend *b = ctx;
    return gdfo_sched_predict(b->sched, p, err);
}

static void write_method(const struct gdfo_method_ops *m, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "type", m->name);
    gdfo_json_put_str(w, "object", "method");
    gdfo_json_put_str(w, "help", m->help);
    gdfo_json_put_str(w, "resolves_to", m->resolves_to);
    gdfo_json_open(w, "needs", '{');
    gdfo_json_put_bool(w, "soft_rows", m->needs_soft_rows);
    gdfo_json_put_bool(w, "student", m->needs_student);
    gdfo_json_close(w, '}');
    gdfo_json_open(w, "budget", '{');
    gdfo_json_put_int(w, "evals", m->default_evals);
    gdfo_json_close(w, '}');
    gdfo_opt_write_catalogue(m->opts, w, "options");
    gdfo_json_close(w, '}');
}

static void write_methods(void *ctx, struct gdfo_json_writer *w)
{
    const struct gdfo_method_ops *m;
    (void)ctx;
    for (size_t i = 0; (m = gdfo_method_at(i)) != NULL; i++) {
        write_method(m, w);
    }
}

static void write_students(void *ctx, struct gdfo_json_writer *w)
{
    const struct gdfo_http_backend *b = ctx;
    for (size_t i = 0; i < gdfo_models_count(b->models); i++) {
        const struct gdfo_model_entry *e = gdfo_models_at(b->models, i);
        gdfo_json_open(w, NULL, '{');
        gdfo_json_put_str(w, "name", e->name);
        gdfo_json_put_str(w, "object", "student");
        gdfo_json_put_str(w, "file", e->file);
        gdfo_json_put_int(w, "bytes", (int64_t)e->bytes);
        gdfo_json_put_int(w, "layers", e->n_layers);
        gdfo_json_put_int(w, "d_model", e->d_model);
        gdfo_json_put_int(w, "vocab", e->vocab);
        gdfo_json_put_str(w, "sha256", e->sha256);
        gdfo_json_close(w, '}');
    }
}

static int has_student(void *ctx, const char *name)
{
    const struct gdfo_http_backend *b = ctx;
    return gdfo_models_find(b->models, name) != NULL;
}

static enum gdfo_status export_prompt(void *ctx, const struct gdfo_http_export_ask *ask,
                                      struct gdfo_http_export *out, struct gdfo_error *err)
{
    const struct gdfo_http_backend *b = ctx;
    struct gdfo_job_export made = {.content_type = NULL};
    enum gdfo_status status =
        gdfo_job_export(&made, b->store, b->models, ask->job, ask->checkpoint, ask->format, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_buf_addn(out->bytes, made.bytes.data, made.bytes.len);
        out->content_type = made.content_type;
        (void)snprintf(out->filename, sizeof out->filename, "%s", made.filename);
    }
    gdfo_buf_deinit(&made.bytes);
    return status;
}

struct gdfo_http_deps gdfo_http_deps_of(struct gdfo_http_backend *b)
{
    return (struct gdfo_http_deps){
        .store = b->store,
        .ctx = b,
        .wake = wake,
        .pause = pause_job,
        .resume = resume_job,
        .cancel = cancel_job,
        .predict = predict,
        .write_methods = write_methods,
        .write_students = write_students,
        .has_student = has_student,
        .export_prompt = export_prompt,
    };
}
