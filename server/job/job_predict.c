#include "server/job/job_predict.h"

#include "common/json_write.h"
#include "common/mem.h"
#include "server/store/store_model.h"
#include "server/tune/artefact.h"
#include "server/tune/head.h"
#include "server/tune/log_pool.h"
#include "server/tune/partner.h"

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
    float *hidden;                          /* [n][d_model] */
    float *joint_lp, *joint_features;       /* [n][voices][L], [n][voices][A or d_model] */
    float *votes;                           /* [voices][n][L] */
    float *partner;                         /* [n][L], of the partner; NULL: it says nothing */
    double *wide;                           /* [n][L] */
    double *mass;                           /* [n] of the label words, mean over the voices */
    uint8_t *truncated;                     /* [n] */
    struct gdfo_usage usage;
    int64_t n_queries;
    enum gdfo_precision precision;
};

int gdfo_variant_parse(const char *name, enum gdfo_variant *out)
{
    static const char *const names[] = {"tuned",  "tuned_alone", "tuned_no_head",
                                        "manual", "calibrated",  "student"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
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

static int asks_partner(const struct prediction *p)
{
    return p->request->variant == GDFO_VARIANT_STUDENT ||
           (p->request->variant == GDFO_VARIANT_TUNED && p->artefact->partner.head != NULL);
}

/* By the digest of its files: a model of the same name may be another one by now. */
static enum gdfo_status find_partner(const struct prediction *p, const char **name,
                                     struct gdfo_error *err)
{
    const struct gdfo_artefact_partner *partner = &p->artefact->partner;
    if (!partner->head) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "variant student: this job had no student that labels by itself");
    }
    for (size_t i = 0; i < gdfo_models_count(p->deps->models); i++) {
        const struct gdfo_model_entry *e = gdfo_models_at(p->deps->models, i);
        if (strcmp(e->sha256, partner->sha256) == 0) {
            *name = e->name;
            return GDFO_STATUS_OK;
        }
    }
    return gdfo_error_set(
        err, GDFO_STATUS_CONFLICT,
        "the student that labels along in this result (SHA-256 %.16s...) is not in "
        "the models folder: put it back, or ask for variant tuned_alone",
        partner->sha256);
}

/* In the precision that the prompt was tuned in; where the processor lacks it, in float32. */
static enum gdfo_status build_parts(struct prediction *p, struct gdfo_error *err)
{
    struct gdfo_job_use use = {.purpose = GDFO_JOB_PREDICT, .precision = GDFO_PRECISION_F32};
    if (!gdfo_precision_parse(p->job.precision, &use.precision) ||
        !gdfo_precision_is_available(use.precision)) {
        use.precision = GDFO_PRECISION_F32;
    }
    p->precision = use.precision;
    if (asks_partner(p)) {
        enum gdfo_status status = find_partner(p, &use.partner, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return gdfo_job_parts_build(&p->parts, p->deps, &p->job, &use, err);
}

/* ---- the query ----------------------------------------------------------------------------------
 */

/* One prompt that is asked: rows may be none, head NULL. */
struct voice {
    const float *rows;
    uint32_t n_prompt_tokens;
    const struct gdfo_head *head;
    const char *cue; /* NULL: the task's own */
    int is_tuned;    /* the tuned prompt itself: with its deeper layers and its words */
};

/* One head over the answers to all members: alone it would have nothing to look at. */
static int is_joint(const struct prediction *p)
{
    return (p->request->variant == GDFO_VARIANT_TUNED ||
            p->request->variant == GDFO_VARIANT_TUNED_ALONE) &&
           gdfo_artefact_is_joint(p->artefact);
}

/* Whether the members label; a partner may do so without any. */
static int has_committee(const struct prediction *p)
{
    return p->request->variant == GDFO_VARIANT_TUNED &&
           (p->artefact->n_members > 0 || p->artefact->partner.head);
}

/* Members of the committee, or the one prompt of the variant. */
static size_t n_voices(const struct prediction *p)
{
    if (p->request->variant == GDFO_VARIANT_STUDENT) {
        return 0;
    }
    return is_joint(p) || has_committee(p) ? p->artefact->n_members : 1;
}

static struct voice voice_at(const struct prediction *p, size_t i)
{
    const struct gdfo_artefact *a = p->artefact;
    struct voice v = {a->rows, a->n_prompt_tokens, a->head, NULL, 1};
    if (is_joint(p)) {
        return (struct voice){a->members[i].rows, a->members[i].n_prompt_tokens, a->head,
                              a->members[i].cue, 0};
    }
    switch (p->request->variant) {
    case GDFO_VARIANT_TUNED:
        if (has_committee(p)) {
            v.rows = a->members[i].rows;
            v.n_prompt_tokens = a->members[i].n_prompt_tokens;
            v.head = a->members[i].head;
            v.cue = a->members[i].cue;
            v.is_tuned = 0;
        }
        return v;
    case GDFO_VARIANT_TUNED_ALONE: return v;
    case GDFO_VARIANT_TUNED_NO_HEAD: v.head = NULL; return v;
    case GDFO_VARIANT_MANUAL: return (struct voice){NULL, 0, NULL, NULL, 0};
    case GDFO_VARIANT_CALIBRATED: return (struct voice){NULL, 0, a->baseline, NULL, 0};
    case GDFO_VARIANT_STUDENT: break; /* has no voice */
    }
    return v;
}

static const struct gdfo_words *words_of(const struct prediction *p, const struct voice *v)
{
    return v->is_tuned && p->artefact->words.n_sets > 0 ? &p->artefact->words : NULL;
}

static size_t anchors_needed(const struct voice *v)
{
    return v->head ? gdfo_head_shape_of(v->head)->n_anchors : 0;
}

static size_t hidden_needed(const struct voice *v)
{
    return v->head ? gdfo_head_shape_of(v->head)->n_hidden : 0;
}

static size_t n_features(const struct voice *v)
{
    return anchors_needed(v) + hidden_needed(v); /* one of them at most */
}

static const float *features_of(const struct prediction *p, const struct voice *v)
{
    return hidden_needed(v) > 0 ? p->hidden : anchors_needed(v) > 0 ? p->anchors : NULL;
}

static enum gdfo_status render_inputs(struct prediction *p, struct gdfo_error *err)
{
    const struct gdfo_job_predict *r = p->request;
    enum gdfo_status status = gdfo_job_texts_init(&p->texts, r->n_inputs, err);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < r->n_inputs; i++) {
        struct gdfo_row row = {
            .text = r->inputs[i].text_a, .text_b = r->inputs[i].text_b, .label = GDFO_ROW_NO_LABEL};
        status = gdfo_job_texts_add(&p->texts, i, p->parts.task, &row, err);
        if (status != GDFO_STATUS_OK) {
            char field[32];
            (void)snprintf(field, sizeof field, "/inputs/%zu", i);
            gdfo_error_at(err, field, NULL);
        }
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_job_texts_settle(&p->texts, r->n_inputs);
    }
    return status;
}

static enum gdfo_status make_joint(struct prediction *p, struct gdfo_error *err)
{
    const struct voice v = voice_at(p, 0);
    const size_t n = p->request->n_inputs * n_voices(p);
    if (!is_joint(p)) {
        return GDFO_STATUS_OK;
    }
    p->joint_lp = gdfo_mem_array(n * gdfo_task_n_labels(p->parts.task), sizeof *p->joint_lp);
    p->joint_features = gdfo_mem_array(n * n_features(&v) + 1, sizeof *p->joint_features);
    return p->joint_lp && p->joint_features ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "scores");
}

/* The widest hidden state that a voice needs: all come from one model. */
static size_t hidden_width(const struct prediction *p)
{
    size_t most = 0;
    for (size_t i = 0; i < n_voices(p); i++) {
        const struct voice v = voice_at(p, i);
        most = hidden_needed(&v) > most ? hidden_needed(&v) : most;
    }
    return most;
}

static enum gdfo_status make_memory(struct prediction *p, struct gdfo_error *err)
{
    size_t n = p->request->n_inputs;
    size_t n_labels = gdfo_task_n_labels(p->parts.task);
    p->form_lp = gdfo_mem_array(n * p->parts.forms->n, sizeof *p->form_lp);
    p->lp = gdfo_mem_array(n * n_labels, sizeof *p->lp);
    p->anchors = gdfo_mem_array(n * GDFO_ANCHORS_MAX, sizeof *p->anchors);
    p->hidden = gdfo_mem_array(n * hidden_width(p) + 1, sizeof *p->hidden);
    p->scores = gdfo_mem_array(n * n_labels, sizeof *p->scores);
    p->wide = gdfo_mem_array(n * n_labels, sizeof *p->wide);
    p->truncated = gdfo_mem_array(n, sizeof *p->truncated);
    p->mass = gdfo_mem_array(n, sizeof *p->mass);
    p->votes = gdfo_mem_array(n_voices(p) * n * n_labels, sizeof *p->votes);
    p->partner = asks_partner(p) ? gdfo_mem_array(n * n_labels, sizeof *p->partner) : NULL;
    return p->votes && (p->partner || !asks_partner(p)) && p->mass && p->form_lp && p->lp &&
                   p->anchors && p->hidden && p->scores && p->wide && p->truncated
               ? make_joint(p, err)
               : gdfo_error_no_memory(err, "scores");
}

static struct gdfo_score_req request_of(const struct prediction *p, const struct voice *v)
{
    const char *cue = v->cue ? v->cue : gdfo_task_cue(p->parts.task);
    struct gdfo_score_req req = {.n_prompts = 1,
                                 .d_model = p->artefact->d_model,
                                 .position = p->artefact->position,
                                 .is_added = gdfo_job_adds_rows(p->parts.task),
                                 .bodies = p->texts.bodies,
                                 .n_examples = p->texts.n,
                                 .cue = {cue, strlen(cue)},
                                 .forms = p->parts.label_ids,
                                 .n_forms = (uint32_t)p->parts.forms->n,
                                 .form_texts = p->parts.form_texts};
    if (v->n_prompt_tokens > 0) {
        req.rows = v->rows;
        req.n_prompt_tokens = v->n_prompt_tokens;
        req.layer_ids = p->artefact->layer_ids;
        req.n_layer_ids = v->is_tuned ? p->artefact->n_layer_ids : 0;
    }
    req.want_hidden = hidden_needed(v) > 0;
    if (anchors_needed(v) > 0 || words_of(p, v)) {
        req.anchor_ids = p->artefact->anchor_ids;
        req.n_anchors = p->artefact->n_anchors;
    }
    return req;
}

/* Counted before a byte leaves and settled after, like a job's calls. */
static enum gdfo_status ask(struct prediction *p, const struct voice *v, struct gdfo_error *err)
{
    struct gdfo_score_req req = request_of(p, v);
    struct gdfo_score_res res = {
        .lp = p->form_lp, .anchor_lp = p->anchors, .hidden = p->hidden, .truncated = p->truncated};
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
    p->usage.tokens_in += res.usage.tokens_in;
    p->usage.tokens_out += res.usage.tokens_out;
    p->n_queries += (int64_t)p->texts.n;
    end = gdfo_store_service_end(
        p->deps->store, sid, status == GDFO_STATUS_OK ? "done" : "rejected", res.usage.tokens_in,
        res.usage.tokens_out, status == GDFO_STATUS_OK ? err : NULL);
    return status == GDFO_STATUS_OK ? end : status;
}

/* The answers of voice i to where the head of all finds them. */
static void keep_joint(struct prediction *p, const struct voice *v, size_t i)
{
    const size_t n_labels = gdfo_task_n_labels(p->parts.task);
    const size_t width = n_features(v);
    for (size_t row = 0; row < p->texts.n; row++) {
        const size_t at = row * n_voices(p) + i;
        memcpy(p->joint_lp + at * n_labels, p->lp + row * n_labels, n_labels * sizeof *p->lp);
        memcpy(p->joint_features + at * width, features_of(p, v) + row * width,
               width * sizeof *p->joint_features);
    }
}

/* The class log-probabilities of voice number at into out [n][L]; of a joint head, nothing yet. */
static void score(struct prediction *p, const struct voice *v, size_t at, float *out)
{
    size_t n_labels = gdfo_task_n_labels(p->parts.task);
    struct gdfo_answers a = {p->lp, NULL, p->texts.n, n_labels};
    gdfo_task_combine(p->parts.task, p->form_lp, p->texts.n, p->lp);
    (void)gdfo_metric_mass(&a, p->wide);
    for (size_t row = 0; row < p->texts.n; row++) {
        p->mass[row] += p->wide[row] / (double)n_voices(p);
    }
    if (is_joint(p)) {
        keep_joint(p, v, at);
        return;
    }
    if (words_of(p, v)) { /* the mass above is of the label words alone */
        gdfo_words_apply(words_of(p, v), p->lp, p->anchors, p->artefact->n_anchors, p->texts.n);
    }
    if (v->head) {
        gdfo_head_apply(v->head, p->lp, features_of(p, v), p->texts.n, out);
        return;
    }
    gdfo_metric_renormalise(&a, p->wide);
    for (size_t i = 0; i < p->texts.n * n_labels; i++) {
        out[i] = (float)p->wide[i];
    }
}

/* What all voices say together, the partner's last. */
static void join(struct prediction *p)
{
    const size_t n = n_voices(p);
    const float *votes[GDFO_MEMBERS_MAX + 1];
    double weights[GDFO_MEMBERS_MAX + 1];
    struct gdfo_log_pool pool = {.votes = votes,
                                 .n_voices = n + (p->partner != NULL),
                                 .n = p->texts.n,
                                 .n_labels = gdfo_task_n_labels(p->parts.task)};
    for (size_t m = 0; m < n; m++) {
        votes[m] = p->votes + m * pool.n * pool.n_labels;
        weights[m] = has_committee(p) ? p->artefact->members[m].weight : 1;
    }
    votes[n] = p->partner;
    weights[n] = has_committee(p) ? p->artefact->partner.weight : 1;
    gdfo_log_pool_join(&pool, weights, p->scores);
}

static enum gdfo_status ask_partner(struct prediction *p, struct gdfo_error *err)
{
    const struct gdfo_model *model = p->parts.partner_model;
    float *features = gdfo_mem_array(p->texts.n * gdfo_partner_width(model), sizeof *features);
    enum gdfo_status status = features ? gdfo_partner_features(model, p->deps->pool, p->texts.texts,
                                                               p->texts.n, features, err)
                                       : gdfo_error_no_memory(err, "student's features");
    if (status == GDFO_STATUS_OK) {
        gdfo_partner_apply(p->artefact->partner.head, features, p->texts.n, p->partner);
    }
    gdfo_mem_free(features);
    return status;
}

/* Whether the answers to the last voice are those of v too: its label words are asked alike, and
 * what else its head looks at was asked for. */
static int is_answered(const struct voice *last, const struct voice *v)
{
    const int is_same_prompt = last->n_prompt_tokens == 0 && v->n_prompt_tokens == 0 &&
                               strcmp(last->cue ? last->cue : "", v->cue ? v->cue : "") == 0 &&
                               !last->cue == !v->cue;
    return is_same_prompt && n_features(v) == 0;
}

static enum gdfo_status ask_all(struct prediction *p, struct gdfo_error *err)
{
    size_t n_lp = p->texts.n * gdfo_task_n_labels(p->parts.task);
    struct voice last = {.n_prompt_tokens = UINT32_MAX};
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n_voices(p); i++) {
        struct voice v = voice_at(p, i);
        status = is_answered(&last, &v) ? GDFO_STATUS_OK : ask(p, &v, err);
        if (status == GDFO_STATUS_OK) {
            score(p, &v, i, p->votes + i * n_lp);
        }
        last = v;
    }
    if (status == GDFO_STATUS_OK && p->partner) {
        status = ask_partner(p, err);
    }
    if (status == GDFO_STATUS_OK && is_joint(p)) {
        gdfo_head_apply(p->artefact->head, p->joint_lp, p->joint_features, p->texts.n, p->scores);
    } else if (status == GDFO_STATUS_OK && n_voices(p) == 1 && !has_committee(p)) {
        memcpy(p->scores, p->votes, n_lp * sizeof *p->scores); /* as it is */
    } else if (status == GDFO_STATUS_OK) {
        join(p);
    }
    return status;
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
    gdfo_json_put_num(w, "mass", n_voices(p) > 0 ? mass : (double)NAN);
    gdfo_json_put_bool(w, "truncated", p->truncated[row]);
    gdfo_json_close(w, '}');
}

static enum gdfo_status write_answer(const struct prediction *p, struct gdfo_buf *json,
                                     struct gdfo_error *err)
{
    struct gdfo_json_writer w = gdfo_json_writer(json);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "prediction_list");
    gdfo_json_put_str(&w, "model", p->request->model);
    gdfo_json_put_str(&w, "checkpoint", p->checkpoint.id);
    gdfo_json_open(&w, "data", '[');
    for (size_t i = 0; i < p->texts.n; i++) {
        write_row(p, &w, i, p->mass[i]);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_put_str(&w, "precision", gdfo_precision_name(p->precision));
    gdfo_json_open(&w, "usage", '{');
    gdfo_json_put_int(&w, "queries", p->n_queries);
    gdfo_json_put_int(&w, "cached", 0);
    gdfo_json_put_int(&w, "tokens_in", p->usage.tokens_in);
    gdfo_json_put_int(&w, "tokens_out", p->usage.tokens_out);
    gdfo_json_put_int(&w, "usd_micros", 0);
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, '}');
    return gdfo_buf_ok(json) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "answer");
}

static void prediction_deinit(struct prediction *p)
{
    gdfo_mem_free(p->form_lp);
    gdfo_mem_free(p->lp);
    gdfo_mem_free(p->anchors);
    gdfo_mem_free(p->hidden);
    gdfo_mem_free(p->joint_lp);
    gdfo_mem_free(p->joint_features);
    gdfo_mem_free(p->scores);
    gdfo_mem_free(p->votes);
    gdfo_mem_free(p->partner);
    gdfo_mem_free(p->mass);
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
    gdfo_buf_init(&p.texts.plain, 0);
    gdfo_buf_init(&p.parts.train.bytes, 0);
    gdfo_buf_init(&p.parts.train.plain, 0);
    gdfo_buf_init(&p.parts.dev.bytes, 0);
    gdfo_buf_init(&p.parts.dev.plain, 0);
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
        status = ask_all(&p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = write_answer(&p, json, err);
    }
    prediction_deinit(&p);
    return status;
}
