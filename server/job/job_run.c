#include "server/job/job_run.h"

#include "common/check.h"
#include "common/log.h"
#include "server/job/job_ledger.h"
#include "server/job/job_precision.h"
#include "server/job/job_step.h"
#include "server/num/gemm.h"
#include "server/store/store_file.h"
#include "server/store/store_sched.h"
#include "server/store/store_teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_LOOK_MS 500 /* between two looks at the stop flag while others hold the memory */

const char *gdfo_job_machine_class(void)
{
    static _Thread_local char text[80];
    (void)snprintf(text, sizeof text, "x86-64/%s", gdfo_gemm_name());
    return text;
}

/* ---- moves --------------------------------------------------------------------------------------
 */

static enum gdfo_status move(struct gdfo_store *store, int64_t jid, const struct gdfo_store_move *m)
{
    struct gdfo_error err = {0};
    char quoted[600];
    enum gdfo_status status = gdfo_store_job_set_state(store, jid, m, NULL, NULL, &err);
    if (status != GDFO_STATUS_OK) {
        gdfo_log(GDFO_LOG_ERROR, "job", "ev=move_failed to=%s why=%s", gdfo_job_status_name(m->to),
                 gdfo_log_quote(err.text, quoted, (int)sizeof quoted));
    }
    return status;
}

/* Whose fault: the request's and the data's, or ours. Codes are the closed list of service.md 1.2.
 */
static void name_fault(struct gdfo_error *e)
{
    const char *code = "internal_error";
    if (strcmp(e->code, "teacher_down") == 0 || strcmp(e->code, "teacher_refused") == 0) {
        e->code[0] = '\0'; /* reasons to wait; here nothing waits */
    }
    if (e->code[0]) {
        return;
    }
    switch (e->status) {
    case GDFO_STATUS_INVALID:
    case GDFO_STATUS_LIMIT:
    case GDFO_STATUS_FORMAT:
    case GDFO_STATUS_NOT_FOUND:
    case GDFO_STATUS_UPSTREAM: code = "teacher_rejected"; break;
    case GDFO_STATUS_UNSUPPORTED: code = "teacher_capability"; break;
    case GDFO_STATUS_BUDGET: code = "budget_exhausted"; break;
    default: break;
    }
    gdfo_error_at(e, NULL, code);
}

static const char *fail_reason(const struct gdfo_error *e)
{
    static const char *const own[] = {"invalid_training_file",
                                      "too_few_examples",
                                      "label_set_mismatch",
                                      "label_forms_clash",
                                      "budget_exhausted",
                                      "internal_error",
                                      NULL};
    for (size_t i = 0; own[i]; i++) {
        if (strcmp(own[i], e->code) == 0) {
            return own[i];
        }
    }
    return "user_error";
}

static enum gdfo_status fail(struct gdfo_store *store, int64_t jid, struct gdfo_error *why)
{
    struct gdfo_store_move m = {.to = GDFO_JOB_FAILED, .fail = why};
    char quoted[600];
    name_fault(why);
    m.reason = fail_reason(why);
    gdfo_log(GDFO_LOG_WARN, "job", "ev=failed code=%s why=%s", why->code,
             gdfo_log_quote(why->text, quoted, (int)sizeof quoted));
    return move(store, jid, &m);
}

/* ---- validate -----------------------------------------------------------------------------------
 */

static void report_warnings(const struct gdfo_job_deps *deps, const struct gdfo_job_parts *p,
                            int64_t jid)
{
    struct gdfo_error err = {0};
    struct gdfo_store_event_new e = {.level = GDFO_STORE_WARN, .type = "message"};
    for (size_t i = 0; i < p->forms->n_warnings; i++) {
        e.message = p->forms->warnings[i];
        e.data = "{\"code\":\"label_form_shared\"}";
        GDFO_IGNORE(gdfo_store_event_add(deps->store, jid, &e, NULL, &err));
    }
    if (p->split.is_dev_off && !p->validation) {
        e.message = "too few examples of a label to set a dev part aside: the train rows' held-out "
                    "folds select";
        e.data = "{\"code\":\"dev_split_off\"}";
        GDFO_IGNORE(gdfo_store_event_add(deps->store, jid, &e, NULL, &err));
    }
    if (p->spec->ops->resolves_to) {
        char text[160];
        e.level = GDFO_STORE_INFO;
        (void)snprintf(text, sizeof text,
                       "auto resolves to %s: prompts with the heads that cross-validation prefers",
                       p->spec->ops->resolves_to);
        e.message = text;
        e.data = "{\"code\":\"method_resolved\"}";
        GDFO_IGNORE(gdfo_store_event_add(deps->store, jid, &e, NULL, &err));
    }
}

static void mark_files(const struct gdfo_job_deps *deps, const struct gdfo_store_job *job,
                       const struct gdfo_job_parts *p, int is_good)
{
    struct gdfo_error err = {0};
    GDFO_IGNORE(
        gdfo_store_file_set_status(deps->store, job->training_fid, is_good ? "processed" : "error",
                                   is_good ? (int64_t)gdfo_dataset_size(p->training) : 0, &err));
    if (is_good && p->validation) {
        GDFO_IGNORE(gdfo_store_file_set_status(deps->store, job->validation_fid, "processed",
                                               (int64_t)gdfo_dataset_size(p->validation), &err));
    }
}

int gdfo_job_validate(const struct gdfo_job_deps *deps, const struct gdfo_store_job *job)
{
    const struct gdfo_job_use use = {.purpose = GDFO_JOB_CHECK, .precision = GDFO_PRECISION_F32};
    struct gdfo_job_parts p;
    struct gdfo_error err = {0};
    struct gdfo_store_move m = {.to = GDFO_JOB_QUEUED};
    enum gdfo_status status;
    gdfo_log_context("job", job->id);
    status = gdfo_job_parts_build(&p, deps, job, &use, &err);
    if (status == GDFO_STATUS_OK) {
        mark_files(deps, job, &p, 1);
        report_warnings(deps, &p, job->jid);
        GDFO_IGNORE(move(deps->store, job->jid, &m)); /* cancelled meanwhile: logged */
    } else if (status != GDFO_STATUS_BUSY) {
        if (strcmp(err.code, "invalid_training_file") == 0) {
            mark_files(deps, job, &p, 0);
        }
        GDFO_IGNORE(fail(deps->store, job->jid, &err));
    }
    gdfo_job_parts_deinit(&p);
    gdfo_log_context("job", NULL);
    return status != GDFO_STATUS_BUSY;
}

/* ---- run ----------------------------------------------------------------------------------------
 */

struct run {
    const struct gdfo_job_deps *deps;
    const struct gdfo_store_job *job;
    const atomic_int *stop;
    struct gdfo_job_parts parts;
    struct gdfo_job_ledger ledger;
    struct gdfo_stack *stack;
    struct gdfo_tune_env env;
    void *method;
    struct gdfo_job_steps steps;
    struct gdfo_job_wall wall;
    struct gdfo_job_use use;
    int is_elsewhere; /* it was begun in a precision that this processor lacks, or on another
                         teacher than now answers under the name */
};

/* Of a job's precision the student keeps what its gradients bear: 8 bits are for the teacher. */
static enum gdfo_precision student_precision(enum gdfo_precision of_job)
{
    return of_job != GDFO_PRECISION_F32 && gdfo_precision_is_available(GDFO_PRECISION_BF16)
               ? GDFO_PRECISION_BF16
               : GDFO_PRECISION_F32;
}

static void fill_env(struct run *r)
{
    const struct gdfo_job_parts *p = &r->parts;
    const struct gdfo_job_spec *spec = p->spec;
    struct gdfo_tune_env *e = &r->env;
    e->seed = (uint64_t)r->job->seed;
    e->stack = r->stack;
    e->task = p->task;
    e->forms = p->label_ids;
    e->form_texts = p->form_texts;
    e->n_forms = (uint32_t)p->forms->n;
    e->cue = (struct gdfo_text){gdfo_task_cue(p->task), strlen(gdfo_task_cue(p->task))};
    e->position = p->position;
    e->is_added = gdfo_job_adds_rows(p->task);
    e->train = (struct gdfo_tune_set){p->train.bodies, p->train.gold, p->train.n, p->train.texts};
    e->dev = (struct gdfo_tune_set){p->dev.bodies, p->dev.gold, p->dev.n, p->dev.texts};
    e->budget = (struct gdfo_tune_budget){.evals = spec->head.budget_evals,
                                          .queries = spec->head.budget_queries,
                                          .tokens_in = spec->head.budget_tokens_in,
                                          .tokens_out = spec->head.budget_tokens_out};
    if (!gdfo_tune_budget_has_cap(&e->budget)) {
        e->budget.evals = spec->ops->default_evals;
    }
    e->teacher_model = p->teacher_model;
    e->student_model = p->student_model;
    e->partner_model = p->partner_model;
    e->partner_sha256 = p->partner_sha256;
    e->is_same_model = p->is_same_model;
    e->student_precision = student_precision(r->use.precision);
    e->pool = r->deps->pool;
    e->dev_every_evals = spec->evaluation.every_queries > 0
                             ? (spec->evaluation.every_queries + p->train.n - 1) / p->train.n
                             : 0;
    e->select_by_metric = spec->evaluation.select_by_metric;
    e->stop_patience = spec->early_stop.is_on ? spec->early_stop.patience : 0;
    e->stop_min_delta = spec->early_stop.min_delta;
    e->cancel = r->stop;
}

static void say(void *ctx, const char *words)
{
    const struct run *r = ctx;
    const struct gdfo_store_event_new e = {.level = GDFO_STORE_INFO,
                                           .type = "teacher",
                                           .message = words,
                                           .data = "{\"code\":\"precision\"}"};
    struct gdfo_error err = {0};
    GDFO_IGNORE(gdfo_store_event_add(r->deps->store, r->job->jid, &e, NULL, &err));
    gdfo_log(GDFO_LOG_INFO, "job", "ev=precision %s", words);
}

/* A job keeps the precision it was begun in, whatever the daemon's setting has become: answers of
 * two precisions are never mixed. */
static enum gdfo_status settle_precision(struct run *r, const struct gdfo_store_teacher *teacher,
                                         struct gdfo_error *err)
{
    const struct gdfo_precision_ask ask = {r->deps, teacher->model, r->stop, say, r};
    char words[120];
    enum gdfo_status status;
    if (strcmp(teacher->adapter, "embedded") != 0) { /* its server's own business */
        r->use.precision = GDFO_PRECISION_F32;
        return GDFO_STATUS_OK;
    }
    if (r->job->precision[0]) {
        GDFO_CHECK(gdfo_precision_parse(r->job->precision, &r->use.precision));
        status = gdfo_precision_check(r->use.precision, err);
        r->is_elsewhere = status == GDFO_STATUS_UNSUPPORTED;
        if (r->is_elsewhere) {
            (void)gdfo_error_prefix(err, "begun in another precision than this machine has, and "
                                         "two are never mixed");
        }
        return status;
    }
    status = gdfo_job_precision_settle(&ask, &r->use.precision, err);
    if (status == GDFO_STATUS_OK) {
        (void)snprintf(words, sizeof words, "the teacher computes in %s",
                       gdfo_precision_name(r->use.precision));
        say(r, words);
    }
    return status;
}

/* Waits while other jobs hold the memory it needs. */
static enum gdfo_status build_parts(struct run *r, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_job_parts_build(&r->parts, r->deps, r->job, &r->use, err);
    if (status == GDFO_STATUS_BUSY) {
        say(r, err->text);
    }
    while (status == GDFO_STATUS_BUSY) {
        gdfo_job_parts_deinit(&r->parts);
        if (atomic_load_explicit(r->stop, memory_order_acquire) != GDFO_JOB_STOP_NONE) {
            return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "asked to stop");
        }
        gdfo_models_wait(r->deps->models, MEMORY_LOOK_MS);
        status = gdfo_job_parts_build(&r->parts, r->deps, r->job, &r->use, err);
    }
    return status;
}

static enum gdfo_status prepare(struct run *r, struct gdfo_error *err)
{
    struct gdfo_store_teacher teacher = {0};
    struct gdfo_store_run known = {.machine_class = gdfo_job_machine_class()};
    enum gdfo_status status = gdfo_store_teacher_of_tch(r->deps->store, r->job->tch, &teacher, err);
    if (status == GDFO_STATUS_OK) {
        status = settle_precision(r, &teacher, err);
    }
    gdfo_store_teacher_deinit(&teacher);
    if (status == GDFO_STATUS_OK) { /* before the first call, and never changed after it */
        known.precision = gdfo_precision_name(r->use.precision);
        status = gdfo_store_job_set_run(r->deps->store, r->job->jid, &known, err);
    }
    return status;
}

/* Answers of two teachers are never mixed: the server's model, its version or its weights have
 * changed since the job's last call. */
static enum gdfo_status check_epoch(struct run *r, const struct gdfo_store_teacher *teacher,
                                    struct gdfo_error *err)
{
    int64_t last = -1;
    enum gdfo_status status = gdfo_store_job_last_epoch(r->deps->store, r->job->jid, &last, err);
    if (status != GDFO_STATUS_OK || strcmp(teacher->adapter, "embedded") == 0 || last < 0 ||
        last == teacher->epoch) {
        return status;
    }
    r->is_elsewhere = 1;
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "teacher %s is another than the one this job was begun on (its model, "
                          "version or weights), and answers of two are never mixed: bring the old "
                          "one back and resume, or cancel and submit anew",
                          teacher->name);
}

static enum gdfo_status open_run(struct run *r, struct gdfo_error *err)
{
    struct gdfo_store_teacher teacher = {0};
    struct gdfo_store_run known = {.student = NULL};
    const struct gdfo_model_entry *student;
    enum gdfo_status status = build_parts(r, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_teacher_of_tch(r->deps->store, r->job->tch, &teacher, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_epoch(r, &teacher, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_store_teacher_deinit(&teacher);
        return status;
    }
    gdfo_job_ledger_init(&r->ledger, r->deps->store, r->job->jid, teacher.epoch,
                         gdfo_teacher_caps(r->parts.teacher)->is_in_process, &r->wall);
    gdfo_store_teacher_deinit(&teacher);
    status = gdfo_stack_create(&r->stack, r->parts.teacher, &r->ledger.ledger, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    fill_env(r);
    student =
        r->parts.student_name[0] ? gdfo_models_find(r->deps->models, r->parts.student_name) : NULL;
    known.student = student ? student->name : NULL;
    status = gdfo_store_job_set_run(r->deps->store, r->job->jid, &known, err);
    return status == GDFO_STATUS_OK
               ? r->parts.spec->ops->create(&r->method, &r->env, r->parts.spec->options, err)
               : status;
}

static void close_run(struct run *r)
{
    gdfo_job_steps_deinit(&r->steps);
    if (r->method) {
        r->parts.spec->ops->destroy(r->method);
    }
    gdfo_stack_destroy(r->stack);
    gdfo_job_parts_deinit(&r->parts);
}

static enum gdfo_status run_steps(struct run *r, struct gdfo_report *report, struct gdfo_error *err)
{
    const struct gdfo_method_ops *ops = r->parts.spec->ops;
    enum gdfo_status status = gdfo_job_steps_resume(&r->steps, ops, r->method, err);
    report->is_done = r->steps.is_done;
    memcpy(report->reason, r->steps.reason, sizeof report->reason);
    while (status == GDFO_STATUS_OK && !report->is_done) {
        if (atomic_load_explicit(r->stop, memory_order_acquire) != GDFO_JOB_STOP_NONE) {
            return gdfo_error_set(err, GDFO_STATUS_CANCELLED, "asked to stop");
        }
        memset(report, 0, sizeof *report);
        status = ops->step(r->method, report, err);
        if (status == GDFO_STATUS_OK && !report->is_done && gdfo_job_wall_is_over(&r->wall)) {
            report->is_done = 1;
            (void)snprintf(report->reason, sizeof report->reason, "budget_exhausted");
        }
        if (status == GDFO_STATUS_OK) {
            status = gdfo_job_steps_commit(&r->steps, ops, r->method, report,
                                           gdfo_stack_meter(r->stack), err);
        }
    }
    return status;
}

static enum gdfo_status succeed(struct run *r, const struct gdfo_report *report)
{
    struct gdfo_store_checkpoint best = {0};
    struct gdfo_error err = {0};
    char model[GDFO_STORE_NAME_BYTES];
    size_t n_id = strlen(r->job->id);
    enum gdfo_status status = GDFO_STATUS_OK;
    struct gdfo_store_move m = {.to = GDFO_JOB_SUCCEEDED, .reason = report->reason, .model = model};
    if (r->parts.spec->fails_on_exhausted && strcmp(report->reason, "budget_exhausted") == 0) {
        GDFO_IGNORE(
            gdfo_error_set(&err, GDFO_STATUS_BUDGET, "the budget ran out before the method ended"));
        return fail(r->deps->store, r->job->jid, &err);
    }
    if (gdfo_store_checkpoint_get(r->deps->store, r->job->jid, "best", &best, &err) !=
        GDFO_STATUS_OK) {
        return fail(r->deps->store, r->job->jid, &err);
    }
    (void)snprintf(model, sizeof model, "gdfo:%.256s:%s:%s", r->job->teacher, r->job->suffix,
                   n_id > 8 ? r->job->id + n_id - 8 : r->job->id);
    m.checkpoint = best.id;
    /* A run that was killed between this file and its last move left one already. */
    if (r->job->n_results == 0) {
        status = gdfo_job_steps_metrics_file(&r->steps, &err);
    }
    if (status == GDFO_STATUS_OK) {
        status = move(r->deps->store, r->job->jid, &m);
    } else if (status != GDFO_STATUS_FULL) {
        status = fail(r->deps->store, r->job->jid, &err);
    }
    gdfo_log(GDFO_LOG_INFO, "job", "ev=ended reason=%s", report->reason);
    gdfo_store_checkpoint_deinit(&best);
    return status;
}

/* The row was written before the flag was set. */
struct gdfo_store_move gdfo_job_stopped_move(enum gdfo_job_status status, int is_disk_full)
{
    if (status == GDFO_JOB_PAUSING) {
        return (struct gdfo_store_move){.to = GDFO_JOB_PAUSED, .reason = "user"};
    }
    if (status == GDFO_JOB_CANCELLING) {
        return (struct gdfo_store_move){.to = GDFO_JOB_CANCELLED, .reason = "user"};
    }
    if (is_disk_full) {
        return (struct gdfo_store_move){.to = GDFO_JOB_PAUSED, .reason = "disk_full"};
    }
    return (struct gdfo_store_move){.to = GDFO_JOB_QUEUED, .reason = "draining"};
}

/* Looks again when the row moved between look and move: a pause that became a cancel. */
static void end_stopped(struct run *r, int is_disk_full)
{
    struct gdfo_store_job row = {0};
    struct gdfo_store_move m = {.to = GDFO_JOB_QUEUED};
    struct gdfo_error err = {0};
    enum gdfo_status status = GDFO_STATUS_CONFLICT;
    for (int i = 0; status == GDFO_STATUS_CONFLICT && i < 3; i++) {
        status = gdfo_store_job_of_jid(r->deps->store, r->job->jid, &row, &err);
        if (status == GDFO_STATUS_OK) {
            m = gdfo_job_stopped_move(row.status, is_disk_full);
            m.wall_ms = gdfo_job_wall_pending(&r->wall);
            gdfo_store_job_deinit(&row);
            status = move(r->deps->store, r->job->jid, &m);
        }
    }
    gdfo_log(GDFO_LOG_INFO, "job", "ev=stopped to=%s", gdfo_job_status_name(m.to));
}

/* Kept whole for a processor or a server that can, or for the person's word. */
static void pause_elsewhere(struct run *r, const struct gdfo_error *why)
{
    const struct gdfo_store_move m = {.to = GDFO_JOB_PAUSED, .reason = "teacher_drift"};
    say(r, why->text);
    GDFO_IGNORE(move(r->deps->store, r->job->jid, &m));
}

/* The server does not answer, or a person has to act there: what was paid is kept. */
static int waits_for_teacher(enum gdfo_status status, const struct gdfo_error *why)
{
    return status == GDFO_STATUS_UPSTREAM &&
           (strcmp(why->code, "teacher_down") == 0 || strcmp(why->code, "teacher_refused") == 0);
}

static void pause_for_teacher(struct run *r, const struct gdfo_error *why)
{
    const struct gdfo_store_move m = {
        .to = GDFO_JOB_PAUSED, .reason = why->code, .wall_ms = gdfo_job_wall_pending(&r->wall)};
    const struct gdfo_store_event_new e = {.level = GDFO_STORE_WARN,
                                           .type = "teacher",
                                           .message = why->text,
                                           .data = "{\"state\":\"down\"}"};
    struct gdfo_error err = {0};
    GDFO_IGNORE(gdfo_store_event_add(r->deps->store, r->job->jid, &e, NULL, &err));
    gdfo_log(GDFO_LOG_WARN, "job", "ev=waits_for_teacher code=%s", why->code);
    if (move(r->deps->store, r->job->jid, &m) == GDFO_STATUS_CONFLICT) { /* the person's word */
        end_stopped(r, 0);
    }
}

void gdfo_job_run(const struct gdfo_job_deps *deps, const struct gdfo_store_job *job,
                  const atomic_int *stop)
{
    struct run r = {
        .deps = deps, .job = job, .stop = stop, .use = {.purpose = GDFO_JOB_RUN, .stop = stop}};
    struct gdfo_report report;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    memset(&report, 0, sizeof report);
    gdfo_log_context("job", job->id);
    gdfo_log(GDFO_LOG_INFO, "job", "ev=running generation=%lld", (long long)job->generation);
    gdfo_job_steps_init(&r.steps, deps->store, job, &r.wall);
    status = prepare(&r, &err);
    if (status == GDFO_STATUS_OK) { /* a measurement is not the job's own time */
        status = gdfo_job_wall_init(&r.wall, deps->store, job->jid, deps->clk, &err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_run(&r, &err);
    }
    if (status == GDFO_STATUS_OK) {
        status = run_steps(&r, &report, &err);
    }
    if (status == GDFO_STATUS_OK) {
        status = succeed(&r, &report);
    } else if (waits_for_teacher(status, &err)) {
        pause_for_teacher(&r, &err);
    } else if (r.is_elsewhere) {
        pause_elsewhere(&r, &err);
    } else if (status != GDFO_STATUS_CANCELLED && status != GDFO_STATUS_FULL) {
        status = fail(deps->store, job->jid, &err);
    }
    /* In conflict: asked to cancel while the last step ended. The person's word counts. */
    if (status == GDFO_STATUS_CANCELLED || status == GDFO_STATUS_CONFLICT ||
        status == GDFO_STATUS_FULL) {
        end_stopped(&r, status == GDFO_STATUS_FULL);
    }
    close_run(&r);
    gdfo_log_context("job", NULL);
}

/* ---- teachers -----------------------------------------------------------------------------------
 */

static enum gdfo_status register_one(struct gdfo_store *store, const struct gdfo_models *models,
                                     const struct gdfo_model_entry *e, struct gdfo_error *err)
{
    unsigned char fingerprint[GDFO_SHA256_BYTES];
    enum gdfo_precision precision;
    char caps[256];
    struct gdfo_store_teacher_new t = {.name = e->name,
                                       .adapter = "embedded",
                                       .model = e->name,
                                       .capabilities = caps,
                                       .is_idempotent = 1};
    if (gdfo_job_precision_known(store, models, e, &precision)) {
        gdfo_job_precision_fingerprint(e, precision, fingerprint);
        t.fingerprint = fingerprint;
    }
    (void)snprintf(caps, sizeof caps,
                   "{\"soft\":\"spliced\",\"d_model\":%u,\"score\":\"logits\",\"hidden\":true,"
                   "\"max_anchors\":%d,"
                   "\"kv_reuse\":\"%s\",\"grid\":\"f32\",\"sigma\":0}",
                   e->d_model, GDFO_ANCHORS_MAX, e->config.is_masked ? "none" : "both");
    return gdfo_store_teacher_upsert(store, &t, NULL, err);
}

enum gdfo_status gdfo_job_register_teachers_of(struct gdfo_store *store,
                                               const struct gdfo_models *models, const char *sha256,
                                               struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < gdfo_models_count(models); i++) {
        const struct gdfo_model_entry *e = gdfo_models_at(models, i);
        if (e->has_tokenizer && !e->config.is_encoder &&
            (!sha256 || strcmp(e->sha256, sha256) == 0)) {
            status = register_one(store, models, e, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_job_register_teachers(struct gdfo_store *store,
                                            const struct gdfo_models *models,
                                            struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_store_teacher_retire(store, err);
    return status == GDFO_STATUS_OK ? gdfo_job_register_teachers_of(store, models, NULL, err)
                                    : status;
}
