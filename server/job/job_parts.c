#include "server/job/job_parts.h"

#include "common/mem.h"
#include "server/job/job_memory.h"
#include "server/model/model.h"
#include "server/num/pool.h"
#include "server/store/store_file.h"
#include "server/store/store_teacher.h"
#include "server/tune/partner.h"
#include "server/tune/search_opts.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)256 << 20)

/* ---- data --------------------------------------------------------------------------------------
 */

static enum gdfo_status parse_file(struct gdfo_store *store, int64_t fid,
                                   const struct gdfo_dataset_source *from,
                                   struct gdfo_dataset **out, struct gdfo_error *err)
{
    struct gdfo_store_file file;
    struct gdfo_reader reader;
    enum gdfo_status status = gdfo_store_file_of_fid(store, fid, &file, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_store_blob_open(store, &file.blob, &reader, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_dataset_parse(out, &reader, from, NULL, err);
    gdfo_reader_close(&reader);
    return status;
}

static enum gdfo_status load_data(struct gdfo_job_parts *p, struct gdfo_store *store,
                                  const struct gdfo_store_job *job, struct gdfo_error *err)
{
    struct gdfo_dataset_source train = {p->spec->task.kind, GDFO_ROWS_TRAIN, "training_file"};
    struct gdfo_dataset_source dev = {p->spec->task.kind, GDFO_ROWS_VALIDATION, "validation_file"};
    struct gdfo_split_opts split = {.k_shot = p->spec->task.k_shot,
                                    .dev_split = p->spec->evaluation.dev_split,
                                    .seed = (uint64_t)job->seed};
    enum gdfo_status status = parse_file(store, job->training_fid, &train, &p->training, err);
    if (status == GDFO_STATUS_OK && job->validation_fid != 0) {
        split.dev_split = 0;
        status = parse_file(store, job->validation_fid, &dev, &p->validation, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_dataset_align(p->validation, p->training, err);
        }
    }
    return status == GDFO_STATUS_OK ? gdfo_split_draw(&p->split, p->training, &split, err) : status;
}

void gdfo_job_texts_deinit(struct gdfo_job_texts *t)
{
    gdfo_buf_deinit(&t->bytes);
    gdfo_buf_deinit(&t->plain);
    gdfo_mem_free(t->bodies);
    gdfo_mem_free(t->texts);
    gdfo_mem_free(t->gold);
    memset(t, 0, sizeof *t);
}

enum gdfo_status gdfo_job_texts_init(struct gdfo_job_texts *t, size_t n, struct gdfo_error *err)
{
    gdfo_buf_init(&t->bytes, TEXT_BYTES_MAX);
    gdfo_buf_init(&t->plain, TEXT_BYTES_MAX);
    t->bodies = gdfo_mem_array(n, sizeof *t->bodies);
    t->texts = gdfo_mem_array(n, sizeof *t->texts);
    t->gold = gdfo_mem_array(n, sizeof *t->gold);
    return t->bodies && t->texts && t->gold ? GDFO_STATUS_OK
                                            : gdfo_error_no_memory(err, "examples");
}

enum gdfo_status gdfo_job_texts_add(struct gdfo_job_texts *t, size_t at,
                                    const struct gdfo_task *task, const struct gdfo_row *row,
                                    struct gdfo_error *err)
{
    size_t before = t->bytes.len;
    size_t before_plain = t->plain.len;
    enum gdfo_status status = gdfo_task_render(task, row, &t->bytes, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_buf_add(&t->plain, row->text);
    if (row->text_b) {
        gdfo_buf_addf(&t->plain, "\n%s", row->text_b);
    }
    t->bodies[at].n = t->bytes.len - before;
    t->texts[at].n = t->plain.len - before_plain;
    t->gold[at] = row->label == GDFO_ROW_NO_LABEL ? 0 : row->label;
    return gdfo_buf_ok(&t->plain) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "examples");
}

void gdfo_job_texts_settle(struct gdfo_job_texts *t, size_t n)
{
    size_t at = 0;
    size_t at_plain = 0;
    for (size_t i = 0; i < n; i++) {
        t->bodies[i].s = t->bytes.data + at;
        t->texts[i].s = t->plain.data + at_plain;
        at += t->bodies[i].n;
        at_plain += t->texts[i].n;
    }
    t->n = (uint32_t)n;
}

enum gdfo_status gdfo_job_texts_render(struct gdfo_job_texts *t, const struct gdfo_task *task,
                                       const struct gdfo_dataset *d, const uint32_t *which,
                                       size_t n, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_job_texts_init(t, n, err);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        status = gdfo_job_texts_add(t, i, task, gdfo_dataset_row(d, which ? which[i] : i), err);
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_job_texts_settle(t, n);
    }
    return status;
}

static enum gdfo_status render_all(struct gdfo_job_parts *p, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_job_texts_render(&p->train, p->task, p->training, p->split.train,
                                                    p->split.n_train, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (p->validation) {
        return gdfo_job_texts_render(&p->dev, p->task, p->validation, NULL,
                                     gdfo_dataset_size(p->validation), err);
    }
    return gdfo_job_texts_render(&p->dev, p->task, p->training, p->split.dev, p->split.n_dev, err);
}

/* ---- teacher and student ------------------------------------------------------------------------
 */

/* A token is a byte at least, and BOS is one more. */
static struct gdfo_job_text_size text_size(const struct gdfo_job_parts *p)
{
    struct gdfo_job_text_size size = {p->train.bytes.len + p->train.n, 0};
    for (uint32_t i = 0; i < p->train.n; i++) {
        size.longest =
            p->train.bodies[i].n >= size.longest ? p->train.bodies[i].n + 1 : size.longest;
    }
    return size;
}

/* The one sentence encoder of the models folder, or NULL: of several none is the obvious one. */
static const struct gdfo_model_entry *only_encoder(const struct gdfo_models *models)
{
    const struct gdfo_model_entry *found = NULL;
    for (size_t i = 0; i < gdfo_models_count(models); i++) {
        const struct gdfo_model_entry *e = gdfo_models_at(models, i);
        if (e->config.is_encoder && e->has_tokenizer && found &&
            strcmp(found->sha256, e->sha256) != 0) {
            return NULL;
        }
        found = !found && e->config.is_encoder && e->has_tokenizer ? e : found;
    }
    return found;
}

/* Whom the job names, or has begun with: its row names the student since then. "" for none; NULL
 * where nothing is said yet. */
static const char *named_partner(const struct gdfo_job_parts *p, const struct gdfo_store_job *job,
                                 const struct gdfo_job_use *use)
{
    const struct gdfo_job_spec *spec = p->spec;
    const struct gdfo_search_opts *o = spec->options; /* of every method that takes a partner */
    if (use->purpose == GDFO_JOB_PREDICT) {
        return use->partner ? use->partner : "";
    }
    if (use->purpose != GDFO_JOB_RUN || !spec->ops->takes_partner || !o->partner ||
        gdfo_method_wants_student(spec->ops, spec->options)) {
        return "";
    }
    if (spec->head.student[0]) {
        return spec->head.student;
    }
    return job->generation > 0 ? job->student : NULL;
}

/* Who labels beside the teacher: *out is NULL for nobody. */
static enum gdfo_status find_partner(const struct gdfo_job_parts *p,
                                     const struct gdfo_models *models,
                                     const struct gdfo_store_job *job,
                                     const struct gdfo_job_use *use,
                                     const struct gdfo_model_entry **out, struct gdfo_error *err)
{
    const char *name = named_partner(p, job, use);
    if (!name) {
        *out = only_encoder(models);
        return GDFO_STATUS_OK;
    }
    *out = name[0] ? gdfo_models_find(models, name) : NULL;
    return *out || !name[0]
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                                "the job's student \"%.100s\" is not in the models folder", name);
}

/* Models and room for the work on them, in one piece. */
static enum gdfo_status hold_models(struct gdfo_job_parts *p, const struct gdfo_job_deps *deps,
                                    const char *teacher, const struct gdfo_store_job *job,
                                    const struct gdfo_job_use *use, struct gdfo_error *err)
{
    const struct gdfo_model_entry *e = gdfo_models_find(deps->models, teacher);
    const struct gdfo_job_text_size texts = text_size(p);
    const struct gdfo_model_entry *partner = NULL;
    const struct gdfo_model_entry *student;
    struct gdfo_models_want want = {.teacher = teacher,
                                    .precision = use->precision,
                                    .any_precision = use->purpose == GDFO_JOB_CHECK};
    enum gdfo_status status = find_partner(p, deps->models, job, use, &partner, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (use->purpose == GDFO_JOB_RUN && gdfo_method_wants_student(p->spec->ops, p->spec->options)) {
        want.student = p->spec->head.student[0] ? p->spec->head.student : teacher;
        (void)snprintf(p->student_name, sizeof p->student_name, "%s", want.student);
    }
    if (e && use->purpose != GDFO_JOB_CHECK) {
        want.work_bytes = gdfo_job_teacher_bytes(deps->models, deps->pool, e);
    }
    if (e && partner) {
        want.student = partner->name;
        want.work_bytes +=
            gdfo_partner_bytes(&partner->config, (unsigned)gdfo_pool_threads(deps->pool));
        (void)snprintf(p->partner_sha256, sizeof p->partner_sha256, "%s", partner->sha256);
        (void)snprintf(p->student_name, sizeof p->student_name, "%s", partner->name);
    } else if (e && want.student) {
        student = gdfo_models_find(deps->models, want.student);
        want.work_bytes +=
            student ? gdfo_job_student_bytes(student, strcmp(student->sha256, e->sha256) == 0,
                                             &texts, p->spec)
                    : 0;
        want.work_bytes += gdfo_job_yardstick_bytes(e, &texts, p->spec);
    }
    status = gdfo_models_acquire(deps->models, &want, &p->hold, err);
    p->models = deps->models;
    p->teacher_model = p->hold.teacher;
    p->partner_model = partner ? p->hold.student : NULL;
    p->student_model = partner ? NULL : p->hold.student;
    p->is_same_model = p->student_model && p->student_model == p->teacher_model;
    return status;
}

/* A job that can be created can be asked of its teacher: the probe says what is lacking. */
static enum gdfo_status find_remote(struct gdfo_job_parts *p, const struct gdfo_job_deps *deps,
                                    const struct gdfo_store_teacher *row,
                                    const struct gdfo_job_use *use, struct gdfo_teacher_env *env,
                                    struct gdfo_error *err)
{
    const struct gdfo_remotes_entry *e = gdfo_remotes_find(deps->remotes, row->name);
    const struct gdfo_remotes_ask ask = {deps->store, p->teacher_model, use->stop,
                                         use->purpose == GDFO_JOB_RUN};
    if (!e) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "teacher %s stands in the configuration no longer", row->name);
    }
    env->remote = e->remote;
    env->cancel = use->stop;
    return gdfo_remotes_ready(e, &ask, err);
}

static enum gdfo_status open_teacher(struct gdfo_job_parts *p, const struct gdfo_job_deps *deps,
                                     const struct gdfo_store_job *job,
                                     const struct gdfo_job_use *use, struct gdfo_error *err)
{
    struct gdfo_store_teacher row = {0};
    const struct gdfo_model_entry *entry;
    struct gdfo_teacher_env env = {.pool = deps->pool,
                                   .kv_max_bytes = gdfo_job_kv_bytes(deps->models)};
    enum gdfo_status status = gdfo_store_teacher_of_tch(deps->store, job->tch, &row, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = hold_models(p, deps, gdfo_remotes_local(deps->remotes, &row), job, use, err);
    if (status == GDFO_STATUS_OK) {
        entry = gdfo_models_find(deps->models, gdfo_remotes_local(deps->remotes, &row));
        env.model = p->teacher_model;
        env.model_sha256 = entry ? entry->sha256 : "";
        if (strcmp(row.adapter, "embedded") != 0) {
            status = find_remote(p, deps, &row, use, &env, err);
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_teacher_open(&p->teacher, row.adapter, &env, err);
    }
    gdfo_store_teacher_deinit(&row);
    return status;
}

_Static_assert(GDFO_TASK_MASK == GDFO_TEXT_MASK, "one byte for the mask in tasks and teachers");

int gdfo_job_adds_rows(const struct gdfo_task *task)
{
    return gdfo_task_options_of(task)->prompt == GDFO_TASK_PROMPT_ADDED;
}

/* What a task may say to a masked language model alone, and what that cannot do yet. */
static enum gdfo_status check_masked(const struct gdfo_job_parts *p,
                                     const struct gdfo_job_deps *deps, struct gdfo_error *err)
{
    const int is_masked = gdfo_teacher_caps(p->teacher)->is_masked;
    const int needs_student = gdfo_method_wants_student(p->spec->ops, p->spec->options);
    const char *name = p->spec->head.student;
    const struct gdfo_model_entry *student = name[0] ? gdfo_models_find(deps->models, name) : NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!is_masked && gdfo_task_has_mask(p->task)) {
        status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "{mask}: the teacher is no masked language model; leave it out, "
                                "the answer follows the cue");
    } else if (!is_masked && gdfo_job_adds_rows(p->task)) {
        status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "prompt added: the teacher is no masked language model; want "
                                "inserted");
    } else if (is_masked && needs_student) {
        status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "method %s learns a student from the teacher: there is none yet "
                                "for a masked language model; want bbt, head or random",
                                p->spec->ops->name);
    } else if (needs_student && student && student->config.is_masked) {
        status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "student %s is a masked language model: want a causal one", name);
    }
    return status;
}

static enum gdfo_status check_rows(const struct gdfo_job_parts *p, struct gdfo_error *err)
{
    return p->spec->ops->needs_soft_rows && gdfo_teacher_caps(p->teacher)->soft == GDFO_SOFT_NONE
               ? gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "method %s searches soft prompt rows, and this teacher takes text "
                                "alone; want method head",
                                p->spec->ops->name)
               : GDFO_STATUS_OK;
}

static enum gdfo_status check_layers(const struct gdfo_job_parts *p, struct gdfo_error *err)
{
    return p->spec->ops->needs_layers && !gdfo_teacher_caps(p->teacher)->can_inject_layers
               ? gdfo_error_set(
                     err, GDFO_STATUS_UNSUPPORTED,
                     "method %s adds rows before every layer: this teacher takes them at "
                     "its input alone; want an embedded teacher, or bbt",
                     p->spec->ops->name)
               : GDFO_STATUS_OK;
}

static enum gdfo_status encode_form(void *ctx, const char *text, size_t n_bytes, int32_t *ids,
                                    size_t cap, size_t *n_ids, struct gdfo_error *err)
{
    struct gdfo_label_ids form = {{0}, 0};
    struct gdfo_text t = {text, n_bytes};
    enum gdfo_status status = gdfo_teacher_tokenize(ctx, t, &form, err);
    if (status == GDFO_STATUS_OK && form.n_ids > cap) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%u tokens: at most %zu", form.n_ids, cap);
    }
    if (status == GDFO_STATUS_OK) {
        memcpy(ids, form.ids, form.n_ids * sizeof *ids);
        *n_ids = form.n_ids;
    }
    return status;
}

static enum gdfo_status make_forms(struct gdfo_job_parts *p, struct gdfo_error *err)
{
    struct gdfo_encoder encoder = {p->teacher, encode_form};
    enum gdfo_status status = gdfo_task_label_forms(&p->forms, p->task, &encoder, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    p->label_ids = gdfo_mem_array(p->forms->n, sizeof *p->label_ids);
    p->form_texts = gdfo_mem_array(p->forms->n, sizeof *p->form_texts);
    if (!p->label_ids || !p->form_texts) {
        return gdfo_error_no_memory(err, "label forms");
    }
    for (size_t i = 0; i < p->forms->n; i++) {
        const char *text = p->forms->items[i].text;
        p->form_texts[i] = (struct gdfo_text){text, strlen(text)};
        p->label_ids[i].n_ids = p->forms->items[i].n_ids;
        memcpy(p->label_ids[i].ids, p->forms->items[i].ids,
               p->forms->items[i].n_ids * sizeof(int32_t));
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_position resolve_position(const struct gdfo_job_parts *p)
{
    switch ((enum gdfo_task_position)p->spec->task.options.position) {
    case GDFO_TASK_POSITION_PREFIX: return GDFO_POSITION_PREFIX;
    case GDFO_TASK_POSITION_SUFFIX: return GDFO_POSITION_SUFFIX;
    case GDFO_TASK_POSITION_AUTO: break;
    }
    return gdfo_teacher_caps(p->teacher)->reuses_text ? GDFO_POSITION_SUFFIX : GDFO_POSITION_PREFIX;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static void ignore_fault(void *ctx, const char *pointer, const char *code, const char *detail)
{
    (void)ctx;
    (void)pointer;
    (void)code;
    (void)detail;
}

static enum gdfo_status read_spec(struct gdfo_job_parts *p, const struct gdfo_store_job *job,
                                  struct gdfo_error *err)
{
    enum gdfo_status status =
        gdfo_json_parse(&p->spec_json, job->spec, strlen(job->spec), NULL, err);
    return status == GDFO_STATUS_OK
               ? gdfo_job_spec_parse(&p->spec, p->spec_json, ignore_fault, NULL, err)
               : status;
}

enum gdfo_status gdfo_job_parts_build(struct gdfo_job_parts *p, const struct gdfo_job_deps *deps,
                                      const struct gdfo_store_job *job,
                                      const struct gdfo_job_use *use, struct gdfo_error *err)
{
    enum gdfo_status status;
    memset(p, 0, sizeof *p);
    gdfo_buf_init(&p->train.bytes, 0);
    gdfo_buf_init(&p->train.plain, 0);
    gdfo_buf_init(&p->dev.bytes, 0);
    gdfo_buf_init(&p->dev.plain, 0);
    status = read_spec(p, job, err);
    if (status == GDFO_STATUS_OK) {
        status = load_data(p, deps->store, job, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_task_create(&p->task, &p->spec->task, gdfo_dataset_labels(p->training),
                                  gdfo_dataset_n_labels(p->training),
                                  gdfo_dataset_is_pair(p->training), err);
        if (status == GDFO_STATUS_INVALID && err && !err->code[0]) {
            gdfo_error_at(err, NULL,
                          "label_set_mismatch"); /* the task's words do not fit the data's labels */
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = render_all(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_teacher(p, deps, job, use, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_masked(p, deps, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_rows(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_layers(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = make_forms(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        p->position = resolve_position(p);
    }
    return status;
}

void gdfo_job_parts_deinit(struct gdfo_job_parts *p)
{
    gdfo_job_texts_deinit(&p->train);
    gdfo_job_texts_deinit(&p->dev);
    gdfo_mem_free(p->label_ids);
    gdfo_mem_free(p->form_texts);
    gdfo_forms_destroy(p->forms);
    gdfo_teacher_close(p->teacher);
    if (p->models) {
        gdfo_models_release(p->models, &p->hold);
    }
    gdfo_task_destroy(p->task);
    gdfo_split_deinit(&p->split);
    gdfo_dataset_destroy(p->validation);
    gdfo_dataset_destroy(p->training);
    gdfo_job_spec_destroy(p->spec);
    gdfo_json_destroy(p->spec_json);
    memset(p, 0, sizeof *p);
}
