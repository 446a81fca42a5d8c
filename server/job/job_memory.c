#include "server/job/job_memory.h"

#include "server/job/job_parts.h"
#include "server/job/job_precision.h"
#include "server/job/job_spec_priv.h"
#include "server/model/train/student.h"
#include "server/store/store_teacher.h"
#include "server/teacher/teacher.h"
#include "server/tune/search_opts.h"

#include <string.h>

#define KV_MAX_BYTES     ((uint64_t)512 << 20)
#define KV_SHARE         8
#define PRODUCTS         7 /* of a layer, each with an adapter */

#define STUDENT_TEXT_MAX 2048 /* tokens of a text that a student keeps */
#define CUE_MAX          64   /* a cue of ours, and slack */

size_t gdfo_job_kv_bytes(const struct gdfo_models *models)
{
    uint64_t share = gdfo_models_setup_of(models)->memory_bytes / KV_SHARE;
    return (size_t)(share > 0 && share < KV_MAX_BYTES ? share : KV_MAX_BYTES);
}

uint64_t gdfo_job_teacher_bytes(const struct gdfo_models *models, struct gdfo_pool *pool,
                                const struct gdfo_model_entry *teacher)
{
    const struct gdfo_teacher_env env = {.pool = pool, .kv_max_bytes = gdfo_job_kv_bytes(models)};
    return gdfo_teacher_memory("embedded", &teacher->config, &env);
}

static uint64_t layers_of(const struct gdfo_search_opts *o, uint64_t all, int is_teachers_file)
{
    if (o->student_layers > 0) {
        return (uint64_t)o->student_layers < all ? (uint64_t)o->student_layers : all;
    }
    return is_teachers_file ? (all + 4) / 5 : all;
}

/* Rows computed at once: the student's own, or its longest text with prompt and cue. */
static uint64_t positions_of(const struct gdfo_search_opts *o, uint64_t longest)
{
    uint64_t least = gdfo_student_defaults().max_positions;
    uint64_t one = (longest < STUDENT_TEXT_MAX ? longest : STUDENT_TEXT_MAX) +
                   (uint64_t)o->n_prompt_tokens + CUE_MAX;
    return one > least ? one : least;
}

static uint64_t student_bytes(const struct gdfo_model_entry *student, uint64_t n_layers,
                              const struct gdfo_job_text_size *texts,
                              const struct gdfo_search_opts *o)
{
    const struct gdfo_model_config *m = &student->config;
    const struct gdfo_student_opts limits = gdfo_student_defaults();
    uint64_t c = m->d_model;
    uint64_t q = (uint64_t)m->n_heads * m->d_head;
    uint64_t k = (uint64_t)m->n_kv_heads * m->d_head;
    uint64_t f = m->d_ff;
    uint64_t t;
    uint64_t r;
    uint64_t params;
    uint64_t packed;
    t = positions_of(o, texts->longest);
    r = (uint64_t)o->adapter_rank;
    params = o->student_train == 0 ? r * (4 * c + 2 * q + 2 * k + 3 * f + 3 * c)
                                   : c * (2 * q + 2 * k + 3 * f + 2);
    /* Packed both ways round in two bytes each; FULL also lays out the operands of a layer's weight
     * gradients. */
    packed = n_layers * c * (2 * q + 2 * k + 3 * f) +
             (o->student_train == 0 ? 0 : t / 2 * (3 * c + q + 3 * (f + k)));
    return sizeof(float) *
           (packed + 4 * n_layers * params + n_layers * t * (2 * (c + q + k + f) + PRODUCTS * r) +
            t * (5 * c + 3 * f + 2 * q + 2 * k + PRODUCTS * r) + 3 * limits.max_items * c +
            texts->all * n_layers * 2 * k);
}

uint64_t gdfo_job_student_bytes(const struct gdfo_model_entry *student, int is_teachers_file,
                                const struct gdfo_job_text_size *texts,
                                const struct gdfo_job_spec *spec)
{
    const struct gdfo_search_opts *o = spec->options; /* of every method with a student */
    return gdfo_method_wants_student(spec->ops, spec->options)
               ? student_bytes(student, layers_of(o, student->config.n_layers, is_teachers_file),
                               texts, o)
               : 0;
}

uint64_t gdfo_job_yardstick_bytes(const struct gdfo_model_entry *teacher,
                                  const struct gdfo_job_text_size *texts,
                                  const struct gdfo_job_spec *spec)
{
    const struct gdfo_search_opts *o = spec->options;
    return gdfo_method_wants_student(spec->ops, spec->options) && o->measure_cosine
               ? student_bytes(teacher, teacher->config.n_layers, texts, o)
               : 0;
}

static enum gdfo_status want_of(const struct gdfo_job_deps *deps, const struct gdfo_job_spec *spec,
                                const struct gdfo_model_entry *teacher,
                                struct gdfo_models_want *want, struct gdfo_error *err)
{
    static const struct gdfo_job_text_size no_texts = {0, 0}; /* known when the files are read */
    const char *name = spec->head.student[0] ? spec->head.student : teacher->name;
    const struct gdfo_model_entry *student = gdfo_models_find(deps->models, name);
    *want = (struct gdfo_models_want){
        .teacher = teacher->name,
        .work_bytes = gdfo_job_teacher_bytes(deps->models, deps->pool, teacher)};
    if (!gdfo_job_precision_known(deps->store, deps->models, teacher, &want->precision)) {
        want->precision = GDFO_PRECISION_F32; /* the least it will be */
    }
    if (gdfo_method_wants_student(spec->ops, spec->options) && student) {
        want->student = student->name;
        want->work_bytes += gdfo_job_student_bytes(
            student, strcmp(student->sha256, teacher->sha256) == 0, &no_texts, spec);
        want->work_bytes += gdfo_job_yardstick_bytes(teacher, &no_texts, spec);
    }
    return gdfo_models_fits(deps->models, want, err);
}

/* An adapter that shows nothing of its hidden states takes nothing into them either. */
static enum gdfo_status can_layers(const struct gdfo_job_spec *spec, const char *adapter,
                                   struct gdfo_error *err)
{
    const struct gdfo_teacher_ops *ops = NULL;
    for (size_t i = 0; (ops = gdfo_teacher_adapter(i)) != NULL; i++) {
        if (strcmp(ops->name, adapter) == 0) {
            break;
        }
    }
    return spec->ops->needs_layers && (!ops || !ops->layer_std)
               ? gdfo_error_set(
                     err, GDFO_STATUS_UNSUPPORTED,
                     "method %s adds rows before every layer, and a teacher of adapter "
                     "%s takes them at its input alone; want an embedded teacher, or bbt",
                     spec->ops->name, adapter)
               : GDFO_STATUS_OK;
}

enum gdfo_status gdfo_job_fits(const struct gdfo_job_deps *deps, const struct gdfo_job_spec *spec,
                               struct gdfo_error *err)
{
    struct gdfo_store_teacher row = {0};
    const struct gdfo_model_entry *teacher;
    struct gdfo_models_want want;
    enum gdfo_status status;
    status = gdfo_store_teacher_get(deps->store, spec->head.model, &row, err);
    if (status == GDFO_STATUS_OK) {
        status = can_layers(spec, row.adapter, err);
    }
    if (status == GDFO_STATUS_OK && gdfo_models_setup_of(deps->models)->memory_bytes > 0) {
        teacher = gdfo_models_find(deps->models, gdfo_remotes_local(deps->remotes, &row));
        status = teacher ? want_of(deps, spec, teacher, &want, err) : GDFO_STATUS_OK;
    }
    gdfo_store_teacher_deinit(&row);
    return status == GDFO_STATUS_NOT_FOUND ? GDFO_STATUS_OK : status;
}
