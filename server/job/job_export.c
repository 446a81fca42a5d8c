#include "server/job/job_export.h"

#include "common/json_write.h"
#include "common/mem.h"
#include "server/prompt/format/format.h"
#include "server/tune/artefact.h"
#include "server/tune/head.h"

#include <stdio.h>
#include <string.h>

#define EXPORT_MAX ((size_t)1 << 30)
#define TAR_BLOCK  512u

struct subject { /* what is exported */
    const struct gdfo_store_job *job;
    const struct gdfo_store_checkpoint *checkpoint;
    struct gdfo_artefact *artefact;
    const struct gdfo_model_entry *model; /* NULL when the file is gone */
    struct gdfo_json *spec;
    struct gdfo_buf about;
};

/* The task member of the job's method: what has to stand around a text for the prompt to mean the
 * same. */
static const struct gdfo_json *task_of(const struct subject *s)
{
    const struct gdfo_json *method = gdfo_json_get(s->spec, "method");
    const struct gdfo_json *inner = method ? gdfo_json_get(method, s->job->method) : NULL;
    return inner ? gdfo_json_get(inner, "task") : NULL;
}

static const char *cue_of(const struct subject *s)
{
    const struct gdfo_json *task = task_of(s);
    const struct gdfo_json *cue = task ? gdfo_json_get(task, "cue") : NULL;
    const char *text = cue ? gdfo_json_string(cue) : NULL;
    return text ? text : "";
}

/* What the method's answers were, when they were not the teacher's: "shuffled", "random". */
static const char *fake_of(const struct subject *s)
{
    const struct gdfo_json *method = gdfo_json_get(s->spec, "method");
    const struct gdfo_json *inner = method ? gdfo_json_get(method, s->job->method) : NULL;
    const struct gdfo_json *given = inner ? gdfo_json_get(inner, "hyperparameters") : NULL;
    const struct gdfo_json *answers = given ? gdfo_json_get(given, "teacher_answers") : NULL;
    const char *kind = answers ? gdfo_json_string(answers) : NULL;
    return kind && strcmp(kind, "real") != 0 ? kind : NULL;
}

/* As people wrote it; NULL where it is the task's own. */
static void put_cue(struct gdfo_json_writer *w, const char *cue)
{
    const char *mask = cue ? strchr(cue, GDFO_TEXT_MASK) : NULL;
    char text[512];
    if (mask) {
        (void)snprintf(text, sizeof text, "%.*s{mask}%s", (int)(mask - cue), cue, mask + 1);
    }
    gdfo_json_put_str(w, "cue", mask ? text : cue);
}

/* Words that are averaged into each class beside its own, as token ids. */
static void write_words(const struct gdfo_artefact *a, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, "words", '[');
    for (uint32_t s = 0; s < a->words.n_sets; s++) {
        gdfo_json_open(w, NULL, '[');
        for (uint32_t c = 0; c < a->words.n_labels; c++) {
            gdfo_json_put_int(w, NULL, a->anchor_ids[a->words.at[s * a->words.n_labels + c]]);
        }
        gdfo_json_close(w, ']');
    }
    gdfo_json_close(w, ']');
}

static void write_about(const struct subject *s, struct gdfo_json_writer *w, const char *key)
{
    const struct gdfo_artefact *a = s->artefact;
    gdfo_json_open(w, key, '{');
    gdfo_json_put_str(w, "job", s->job->id);
    gdfo_json_put_str(w, "checkpoint", s->checkpoint->id);
    gdfo_json_put_str(w, "teacher", s->job->teacher);
    gdfo_json_put_str(w, "teacher_sha256", s->model ? s->model->sha256 : NULL);
    gdfo_json_put_str(w, "method", s->job->method);
    gdfo_json_put_str(w, "student", s->job->student[0] ? s->job->student : NULL);
    gdfo_json_put_bool(w, "student_is_of_teacher_file",
                       strcmp(s->job->student, s->job->teacher) == 0);
    gdfo_json_put_int(w, "evals", a->evals);
    gdfo_json_put_int(w, "queries", a->queries);
    gdfo_json_put_num(w, "loss_train_held_out", a->loss_train);
    gdfo_json_put_num(w, "loss_dev", a->loss_dev);
    gdfo_json_put_num(w, "metric_dev", a->metric_dev);
    gdfo_json_put_str(w, "fake_answers", fake_of(s)); /* not null: an ablation, not for use */
    gdfo_json_put_str(w, "grid", "f32");
    gdfo_json_put_str(w, "precision", s->job->precision[0] ? s->job->precision : NULL);
    gdfo_json_put_node(w, "task", task_of(s));
    gdfo_head_write_json(a->head, w, "head");
    gdfo_json_open(w, "committee", '[');
    for (uint32_t i = 0; i < a->n_members; i++) {
        gdfo_json_open(w, NULL, '{');
        gdfo_json_put_int(w, "n_prompt_tokens", a->members[i].n_prompt_tokens);
        put_cue(w, a->members[i].cue);
        gdfo_json_put_num(w, "weight", a->members[i].weight);
        if (a->members[i].head) {
            gdfo_head_write_json(a->members[i].head, w, "head");
        }
        gdfo_json_close(w, '}');
    }
    gdfo_json_close(w, ']');
    if (a->partner.head) {
        gdfo_json_open(w, "student_labels_along", '{');
        gdfo_json_put_str(w, "sha256", a->partner.sha256);
        gdfo_json_put_num(w, "weight", a->partner.weight);
        gdfo_head_write_json(a->partner.head, w, "head");
        gdfo_json_close(w, '}');
    }
    gdfo_json_open(w, "anchor_ids", '[');
    for (uint32_t i = 0; i < a->n_anchors; i++) {
        gdfo_json_put_int(w, NULL, a->anchor_ids[i]);
    }
    gdfo_json_close(w, ']');
    write_words(a, w);
    gdfo_json_close(w, '}');
}

/* The formats of soft prompts have nothing to say where the prompt is the plain one. */
static enum gdfo_status need_rows(const struct subject *s, const char *format,
                                  struct gdfo_error *err)
{
    return s->artefact->n_prompt_tokens > 0
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "%s: this result of method %s has no prompt rows, it is a head on "
                                "the plain prompt; want json",
                                format, s->job->method);
}

static void write_rows(struct gdfo_json_writer *w, const struct gdfo_artefact *a, const float *rows)
{
    gdfo_json_open(w, "rows", '[');
    for (uint32_t r = 0; r < a->n_prompt_tokens; r++) {
        gdfo_json_open(w, NULL, '[');
        for (uint32_t i = 0; i < a->d_model; i++) {
            gdfo_json_put_num(w, NULL, (double)rows[(size_t)r * a->d_model + i]);
        }
        gdfo_json_close(w, ']');
    }
    gdfo_json_close(w, ']');
}

static enum gdfo_status as_json(const struct subject *s, struct gdfo_job_export *out,
                                struct gdfo_error *err)
{
    const struct gdfo_artefact *a = s->artefact;
    struct gdfo_json_writer w = gdfo_json_writer(&out->bytes);
    (void)err;
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_int(&w, "n_prompt_tokens", a->n_prompt_tokens);
    gdfo_json_put_int(&w, "d_model", a->d_model);
    gdfo_json_put_str(&w, "position", a->position == GDFO_POSITION_PREFIX ? "prefix" : "suffix");
    write_about(s, &w, "about");
    write_rows(&w, a, a->rows);
    gdfo_json_open(&w, "layers", '[');
    for (uint32_t k = 0; k < a->n_layer_ids; k++) {
        gdfo_json_open(&w, NULL, '{');
        gdfo_json_put_int(&w, "layer", a->layer_ids[k]);
        write_rows(&w, a, a->rows + (1 + (size_t)k) * a->n_prompt_tokens * a->d_model);
        gdfo_json_close(&w, '}');
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    gdfo_buf_addc(&out->bytes, '\n');
    return GDFO_STATUS_OK;
}

static struct gdfo_prompt prompt_of(const struct subject *s)
{
    const struct gdfo_artefact *a = s->artefact;
    struct gdfo_prompt p = {.n_prompt_tokens = a->n_prompt_tokens,
                            .d_model = a->d_model,
                            .position = a->position == GDFO_POSITION_PREFIX
                                            ? GDFO_PROMPT_POSITION_PREFIX
                                            : GDFO_PROMPT_POSITION_SUFFIX,
                            .rows = a->rows,
                            .cue = cue_of(s),
                            .about = s->about.data,
                            .n_layers = a->n_layer_ids,
                            .layer_ids = a->layer_ids};
    return p;
}

static enum gdfo_status as_gdfo(const struct subject *s, struct gdfo_job_export *out,
                                struct gdfo_error *err)
{
    struct gdfo_prompt p = prompt_of(s);
    enum gdfo_status status = need_rows(s, "gdfo", err);
    return status == GDFO_STATUS_OK ? gdfo_prompt_write_gdfo(&p, &out->bytes, err) : status;
}

static enum gdfo_status as_safetensors(const struct subject *s, struct gdfo_job_export *out,
                                       struct gdfo_error *err)
{
    struct gdfo_prompt p = prompt_of(s);
    enum gdfo_status status = need_rows(s, "safetensors", err);
    return status == GDFO_STATUS_OK ? gdfo_prompt_write_safetensors(&p, &out->bytes, err) : status;
}

/* One POSIX ustar member: header block, bytes, zeros to the next block. Time, owner and mode are
 * fixed, so that the same prompt is the same archive. */
static void tar_add(struct gdfo_buf *out, const char *name, const struct gdfo_buf *bytes)
{
    char h[TAR_BLOCK] = {0};
    static const char zeros[TAR_BLOCK];
    unsigned sum = 0;
    (void)snprintf(h, 100, "%s", name);
    (void)snprintf(h + 100, 8, "%07o", 0644u);
    (void)snprintf(h + 108, 8, "%07o", 0u);
    (void)snprintf(h + 116, 8, "%07o", 0u);
    (void)snprintf(h + 124, 12, "%011llo", (unsigned long long)bytes->len);
    (void)snprintf(h + 136, 12, "%011o", 0u);
    memset(h + 148, ' ', 8);
    h[156] = '0';
    memcpy(h + 257, "ustar\00000", 8);
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        sum += (unsigned char)h[i];
    }
    (void)snprintf(h + 148, 8, "%06o", sum);
    gdfo_buf_addn(out, h, sizeof h);
    gdfo_buf_addn(out, bytes->data, bytes->len);
    gdfo_buf_addn(out, zeros, (TAR_BLOCK - bytes->len % TAR_BLOCK) % TAR_BLOCK);
}

static enum gdfo_status as_peft(const struct subject *s, struct gdfo_job_export *out,
                                struct gdfo_error *err)
{
    static const char zeros[2 * TAR_BLOCK];
    struct gdfo_prompt p = prompt_of(s);
    struct gdfo_prompt_peft peft = {s->job->teacher, s->model ? s->model->n_heads : 0,
                                    s->model ? s->model->n_layers : 0};
    struct gdfo_buf model;
    struct gdfo_buf config;
    enum gdfo_status status = need_rows(s, "peft", err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (fake_of(s)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "peft: this prompt was tuned on %s answers, an ablation, and the "
                              "format has no place to say so; want json, gdfo or safetensors",
                              fake_of(s));
    }
    if (s->model && s->model->config.is_masked) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "peft: the format puts rows in front of a causal model's text, and "
                              "%s is a masked language model; want json, gdfo or safetensors",
                              s->job->teacher);
    }
    gdfo_buf_init(&model, EXPORT_MAX);
    gdfo_buf_init(&config, EXPORT_MAX);
    status = gdfo_prompt_write_peft(&p, &peft, &model, &config, err);
    if (status == GDFO_STATUS_OK) {
        tar_add(&out->bytes, "adapter_config.json", &config);
        tar_add(&out->bytes, "adapter_model.safetensors", &model);
        gdfo_buf_addn(&out->bytes, zeros, sizeof zeros);
    }
    gdfo_buf_deinit(&model);
    gdfo_buf_deinit(&config);
    return status;
}

struct format {
    const char *name, *content_type, *suffix;
    enum gdfo_status (*write)(const struct subject *s, struct gdfo_job_export *out,
                              struct gdfo_error *err);
};

static const struct format formats[] = {
    {"json", "application/json", "json", as_json},
    {"gdfo", "application/octet-stream", "gdfo", as_gdfo},
    {"safetensors", "application/octet-stream", "safetensors", as_safetensors},
    {"peft", "application/x-tar", "peft.tar", as_peft},
};

static const struct format *find_format(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

static enum gdfo_status load_subject(struct subject *s, struct gdfo_store *store,
                                     const struct gdfo_models *models, struct gdfo_error *err)
{
    struct gdfo_buf bytes;
    struct gdfo_json_writer w;
    enum gdfo_status status;
    gdfo_buf_init(&bytes, EXPORT_MAX);
    status = gdfo_store_checkpoint_read(store, s->checkpoint, &bytes, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_artefact_load(&s->artefact, bytes.data, bytes.len, err);
    }
    gdfo_buf_deinit(&bytes);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_parse(&s->spec, s->job->spec, strlen(s->job->spec), NULL, err);
    }
    if (status == GDFO_STATUS_OK) {
        s->model = gdfo_models_find(models, s->job->teacher);
        w = gdfo_json_writer(&s->about);
        write_about(s, &w, NULL);
        gdfo_buf_addc(&s->about, '\0');
        status = gdfo_buf_ok(&s->about) ? status : gdfo_error_no_memory(err, "export");
    }
    return status;
}

enum gdfo_status gdfo_job_export(struct gdfo_job_export *out, struct gdfo_store *store,
                                 const struct gdfo_models *models, const struct gdfo_store_job *job,
                                 const struct gdfo_store_checkpoint *checkpoint, const char *format,
                                 struct gdfo_error *err)
{
    const struct format *f = find_format(format);
    struct subject s = {.job = job, .checkpoint = checkpoint};
    enum gdfo_status status;
    gdfo_buf_init(&out->bytes, EXPORT_MAX);
    if (!f) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "format \"%.32s\": want json, gdfo, safetensors or peft", format);
    }
    gdfo_buf_init(&s.about, EXPORT_MAX);
    status = load_subject(&s, store, models, err);
    if (status == GDFO_STATUS_OK) {
        out->content_type = f->content_type;
        (void)snprintf(out->filename, sizeof out->filename, "%s.%s", checkpoint->id, f->suffix);
        status = f->write(&s, out, err);
    }
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(&out->bytes)) {
        status = gdfo_error_no_memory(err, "export");
    }
    gdfo_artefact_destroy(s.artefact);
    gdfo_json_destroy(s.spec);
    gdfo_buf_deinit(&s.about);
    return status;
}
