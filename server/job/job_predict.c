#include "server/job/job_predict.h"

#include "common/json_write.h"
#include "common/mem.h"
#include "server/store/store_model.h"
#include "server/tune/artefact.h"
#include "server/tune/head.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ARTEFACT_MAX ((size_t)1 << 30)

struct prediction {
    const struct gdfo_job_deps *deps;
    const struct gdfo_job_predict *request;
    struct gdfo_store_job job;
    struct gdfo_store_checkpoint checkpoint;
    struct gdfo_artefact *artefact;
    struct gdfo_job_parts parts;
    struct gdfo_job_texts texts;
    float *form_lp, *lp, *anchors, *scores; /* [n][F], [n][L], [n][A], [n][L] */
    double *wide;                           /* [n][L] */
    uint8_t *truncated;                     /* [n] */
    struct gdfo_usage usage;
    enum gdfo_precision precision;
};

int gdfo_variant_parse(const char *name, enum gdfo_variant *out)
{
    static const char *const names[] = {"tuned", "tuned_no_head", "manual", "calibrated"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum gdfo_variant)i;
            return 1;
        }
    }
    return 0;
}

/* ---- which prompt -------------------------------------------------------------------------------
 */

static enum gdfo_status by_job(struct prediction *p, const char *id, const char *checkpoint,
                               struct gdfo_error *err)
{
    struct gdfo_store *store = p->deps->store;
    enum gdfo_status status = gdfo_store_job_get(store, GDFO_STORE_LOCAL_PID, id, &p->job, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_store_checkpoint_get(store, p->job.jid, checkpoint, &p->checkpoint, err);
    if (status == GDFO_STATUS_NOT_FOUND) {
        status = gdfo_error_set(err, GDFO_STATUS_CONFLICT, "%s is %s and has no tuned prompt yet",
                                id, gdfo_job_status_name(p->job.status));
    }
    return status;
}

static enum gdfo_status find_prompt(struct prediction *p, struct gdfo_error *err)
{
    const char *name = p->request->model;
    struct gdfo_store_model model;
    enum gdfo_status status;
    if (strncmp(name, "ftjob-", 6) == 0) {
        return by_job(p, name, "best", err);
    }
    if (strncmp(name, "ftckpt-", 7) == 0) {
        status = gdfo_store_checkpoint_find(p->deps->store, GDFO_STORE_LOCAL_PID, name,
                                            &p->checkpoint, err);
        return status == GDFO_STATUS_OK
                   ? gdfo_store_job_of_jid(p->deps->store, p->checkpoint.jid, &p->job, err)
                   : status;
    }
    status = gdfo_store_model_get(p->deps->store, GDFO_STORE_LOCAL_PID, name, &model, err);
    return status == GDFO_STATUS_OK ? by_job(p, model.job, model.checkpoint, err) : status;
}

static enum gdfo_status load_artefact(struct prediction *p, struct gdfo_error *err)
{
    struct gdfo_buf bytes;
    enum gdfo_status status;
    gdfo_buf_init(&bytes, ARTEFACT_MAX);
    status = gdfo_store_checkpoint_read(p->deps->store, &p->checkpoint, &bytes, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_artefact_load(&p->artefact, bytes.data, bytes.len, err);
    }
    gdfo_buf_deinit(&bytes);
    return status;
}

/* In the precision that the prompt was tuned in; where the processor lacks it, in float32. */
static enum gdfo_status build_parts(struct prediction *p, struct gdfo_error *err)
{
    struct gdfo_job_use use = {GDFO_JOB_PREDICT, GDFO_PRECISION_F32};
    if (!gdfo_precision_parse(p->job.precision, &use.precision) ||
        !gdfo_precision_is_available(use.precision)) {
        use.precision = GDFO_PRECISION_F32;
    }
    p->precision = use.precision;
    return gdfo_job_parts_build(&p->parts, p->deps, &p->job, &use, err);
}

/* ---- the query ----------------------------------------------------------------------------------
 */

static int uses_rows(const struct prediction *p)
{
    return p->request->variant == GDFO_VARIANT_TUNED ||
           p->request->variant == GDFO_VARIANT_TUNED_NO_HEAD;
}

static const struct gdfo_head *head_of(const struct prediction *p)
{
    switch (p->request->variant) {
    case GDFO_VARIANT_TUNED: return p->artefact->head;
    case GDFO_VARIANT_CALIBRATED: return p->artefact->baseline;
    case GDFO_VARIANT_TUNED_NO_HEAD:
    case GDFO_VARIANT_MANUAL: break;
    }
    return NULL;
}

static uint32_t anchors_asked(const struct prediction *p)
{
    const struct gdfo_head *h = head_of(p);
    return h && gdfo_head_shape_of(h)->n_anchors > 0 ? p->artefact->n_anchors : 0;
}

static enum gdfo_status render_inputs(struct prediction *p, struct gdfo_error *err)
{
    const struct gdfo_job_predict *r = p->request;
    size_t at = 0;
    gdfo_buf_init(&p->texts.bytes, (size_t)64 << 20);
    p->texts.bodies = gdfo_mem_array(r->n_inputs, sizeof *p->texts.bodies);
    if (!p->texts.bodies) {
        return gdfo_error_no_memory(err, "inputs");
    }
    for (size_t i = 0; i < r->n_inputs; i++) {
        struct gdfo_row row = {
            .text = r->inputs[i].text_a, .text_b = r->inputs[i].text_b, .label = GDFO_ROW_NO_LABEL};
        size_t before = p->texts.bytes.len;
        enum gdfo_status status = gdfo_task_render(p->parts.task, &row, &p->texts.bytes, err);
        if (status != GDFO_STATUS_OK) {
            char field[32];
            (void)snprintf(field, sizeof field, "/inputs/%zu", i);
            gdfo_error_at(err, field, NULL);
            return status;
        }
        p->texts.bodies[i].n = p->texts.bytes.len - before;
    }
    for (size_t i = 0; i < r->n_inputs; i++) {
        p->texts.bodies[i].s = p->texts.bytes.data + at;
        at += p->texts.bodies[i].n;
    }
    p->texts.n = (uint32_t)r->n_inputs;
    return GDFO_STATUS_OK;
}

static enum gdfo_status make_memory(struct prediction *p, struct gdfo_error *err)
{
    size_t n = p->request->n_inputs;
    size_t n_labels = gdfo_task_n_labels(p->parts.task);
    p->form_lp = gdfo_mem_array(n * p->parts.forms->n, sizeof *p->form_lp);
    p->lp = gdfo_mem_array(n * n_labels, sizeof *p->lp);
    p->anchors = gdfo_mem_array(n * GDFO_ANCHORS_MAX, sizeof *p->anchors);
    p->scores = gdfo_mem_array(n * n_labels, sizeof *p->scores);
    p->wide = gdfo_mem_array(n * n_labels, sizeof *p->wide);
    p->truncated = gdfo_mem_array(n, sizeof *p->truncated);
    return p->form_lp && p->lp && p->anchors && p->scores && p->wide && p->truncated
               ? GDFO_STATUS_OK
               : gdfo_error_no_memory(err, "scores");
}

static struct gdfo_score_req request_of(const struct prediction *p)
{
    const char *cue = gdfo_task_cue(p->parts.task);
    struct gdfo_score_req req = {.n_prompts = 1,
                                 .d_model = p->artefact->d_model,
                                 .position = p->artefact->position,
                                 .is_added = gdfo_job_adds_rows(p->parts.task),
                                 .bodies = p->texts.bodies,
                                 .n_examples = p->texts.n,
                                 .cue = {cue, strlen(cue)},
                                 .forms = p->parts.label_ids,
                                 .n_forms = (uint32_t)p->parts.forms->n,
                                 .anchor_ids = p->artefact->anchor_ids,
                                 .n_anchors = anchors_asked(p)};
    if (uses_rows(p)) {
        req.rows = p->artefact->rows;
        req.n_prompt_tokens = p->artefact->n_prompt_tokens;
    }
    return req;
}

/* Counted before a byte leaves and settled after, like a job's calls. */
static enum gdfo_status ask(struct prediction *p, struct gdfo_error *err)
{
    struct gdfo_score_req req = request_of(p);
    struct gdfo_score_res res = {
        .lp = p->form_lp, .anchor_lp = p->anchors, .truncated = p->truncated};
    struct gdfo_usage worst = {0};
    struct gdfo_store_service_call call = {
        .kind = "predict", .tch = p->job.tch, .jid = p->job.jid, .n_queries = (int64_t)p->texts.n};
    int64_t sid = 0;
    enum gdfo_status end;
    enum gdfo_status status = gdfo_teacher_measure(p->parts.teacher, &req, &worst, err);
    call.reserved_in = worst.tokens_in;
    call.reserved_out = worst.tokens_out;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_has_room(p->deps->store, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_service_begin(p->deps->store, NULL, &call, &sid, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_teacher_run(p->parts.teacher, &req, &res, err);
    p->usage = res.usage;
    end = gdfo_store_service_end(
        p->deps->store, sid, status == GDFO_STATUS_OK ? "done" : "rejected", res.usage.tokens_in,
        res.usage.tokens_out, status == GDFO_STATUS_OK ? err : NULL);
    return status == GDFO_STATUS_OK ? end : status;
}

static void score(struct prediction *p)
{
    size_t n_labels = gdfo_task_n_labels(p->parts.task);
    const struct gdfo_head *h = head_of(p);
    struct gdfo_answers a = {p->lp, NULL, p->texts.n, n_labels};
    gdfo_task_combine(p->parts.task, p->form_lp, p->texts.n, p->lp);
    if (h) {
        gdfo_head_apply(h, p->lp, anchors_asked(p) > 0 ? p->anchors : NULL, p->texts.n, p->scores);
    } else {
        gdfo_metric_renormalise(&a, p->wide);
        for (size_t i = 0; i < p->texts.n * n_labels; i++) {
            p->scores[i] = (float)p->wide[i];
        }
    }
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

static void write_row(const struct prediction *p, struct gdfo_json_writer *w, size_t row,
                      double mass)
{
    size_t n_labels = gdfo_task_n_labels(p->parts.task);
    const float *s = p->scores + row * n_labels;
    size_t best = 0;
    for (size_t i = 1; i < n_labels; i++) {
        best = s[i] > s[best] ? i : best;
    }
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "label", gdfo_task_label(p->parts.task, best));
    gdfo_json_put_num(w, "probability", exp((double)s[best]));
    if (p->request->want_scores) {
        gdfo_json_open(w, "lp", '{');
        for (size_t i = 0; i < n_labels; i++) {
            gdfo_json_put_num(w, gdfo_task_label(p->parts.task, i), (double)s[i]);
        }
        gdfo_json_close(w, '}');
    }
    gdfo_json_put_num(w, "mass", mass);
    gdfo_json_put_bool(w, "truncated", p->truncated[row]);
    gdfo_json_close(w, '}');
}

static enum gdfo_status write_answer(const struct prediction *p, struct gdfo_buf *json,
                                     struct gdfo_error *err)
{
    struct gdfo_json_writer w = gdfo_json_writer(json);
    struct gdfo_answers a = {p->lp, NULL, p->texts.n, gdfo_task_n_labels(p->parts.task)};
    double *mass = gdfo_mem_array(p->texts.n, sizeof *mass);
    if (!mass) {
        return gdfo_error_no_memory(err, "answer");
    }
    (void)gdfo_metric_mass(&a, mass);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "prediction_list");
    gdfo_json_put_str(&w, "model", p->request->model);
    gdfo_json_put_str(&w, "checkpoint", p->checkpoint.id);
    gdfo_json_open(&w, "data", '[');
    for (size_t i = 0; i < p->texts.n; i++) {
        write_row(p, &w, i, mass[i]);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_put_str(&w, "precision", gdfo_precision_name(p->precision));
    gdfo_json_open(&w, "usage", '{');
    gdfo_json_put_int(&w, "queries", p->texts.n);
    gdfo_json_put_int(&w, "cached", 0);
    gdfo_json_put_int(&w, "tokens_in", p->usage.tokens_in);
    gdfo_json_put_int(&w, "tokens_out", p->usage.tokens_out);
    gdfo_json_put_int(&w, "usd_micros", 0);
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, '}');
    gdfo_mem_free(mass);
    return gdfo_buf_ok(json) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "answer");
}

static void prediction_deinit(struct prediction *p)
{
    gdfo_mem_free(p->form_lp);
    gdfo_mem_free(p->lp);
    gdfo_mem_free(p->anchors);
    gdfo_mem_free(p->scores);
    gdfo_mem_free(p->wide);
    gdfo_mem_free(p->truncated);
    gdfo_job_texts_deinit(&p->texts);
    gdfo_job_parts_deinit(&p->parts);
    gdfo_artefact_destroy(p->artefact);
    gdfo_store_checkpoint_deinit(&p->checkpoint);
    gdfo_store_job_deinit(&p->job);
}

enum gdfo_status gdfo_job_predict(const struct gdfo_job_deps *deps,
                                  const struct gdfo_job_predict *request, struct gdfo_buf *json,
                                  struct gdfo_error *err)
{
    struct prediction p = {.deps = deps, .request = request};
    enum gdfo_status status;
    gdfo_buf_init(&p.texts.bytes, 0);
    gdfo_buf_init(&p.parts.train.bytes, 0);
    gdfo_buf_init(&p.parts.dev.bytes, 0);
    status = find_prompt(&p, err);
    if (status == GDFO_STATUS_OK) {
        status = load_artefact(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = build_parts(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = render_inputs(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = make_memory(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = ask(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        score(&p);
        status = write_answer(&p, json, err);
    }
    prediction_deinit(&p);
    return status;
}
