#include "server/tune/pupil.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/rng.h"
#include "common/span.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/model/train/student.h"
#include "server/task/task.h"
#include "server/tune/pupil_bridge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STATE_MAGIC      0x4C505550u /* "PUPL" */
#define LABELS_MAX       1024u
#define SEQUENCE_SLACK   8u
#define STUDENT_TEXT_MAX 2048u
#define SAVE_MAX         ((size_t)1 << 31)

struct pupil_text {
    struct gdfo_ids ids;
    struct gdfo_student_kv *kv; /* suffix position only */
};

struct gdfo_pupil {
    const struct gdfo_tune_env *env;
    const struct gdfo_search_opts *opts;
    struct gdfo_student *student;
    struct gdfo_bridge *bridge; /* NULL when student and teacher share their embedding space */
    uint32_t n_labels;
    size_t width_t, width_s;  /* d_model of teacher and student */
    struct pupil_text *texts; /* [train.n] */
    struct gdfo_ids cue;
    struct gdfo_student_label *labels;
    int32_t *label_ids;
    struct gdfo_student_columns columns;
    struct gdfo_rng rng;
    /* scratch */
    struct gdfo_student_item *items;
    float *rows_s, *grad_s, *target_lp, *logits;
    int32_t *gold;
    size_t items_cap, rows_cap, grad_cap, target_cap, logits_cap, gold_cap;
};

static uint32_t kept(size_t n)
{
    return n < STUDENT_TEXT_MAX ? (uint32_t)n : STUDENT_TEXT_MAX;
}

/* ---- set-up ------------------------------------------------------------------------------------
 */

static enum gdfo_status encode(const struct gdfo_tune_env *env, struct gdfo_text text, int is_first,
                               struct gdfo_ids *out, struct gdfo_error *err)
{
    const struct gdfo_tokenizer *t = gdfo_pupil_tokenizer(env->teacher_model, env->student_model);
    int32_t bos = gdfo_tokenizer_bos(t);
    void *data = out->data;
    if (is_first && bos >= 0) {
        if (!gdfo_mem_grow(&data, &out->cap, 1, sizeof *out->data)) {
            return gdfo_error_no_memory(err, "token ids");
        }
        out->data = data;
        out->data[out->n++] = bos;
    }
    return is_first ? gdfo_tokenizer_encode(t, text.s, text.n, out, err)
                    : gdfo_tokenizer_encode_after(t, text.s, text.n, out, err);
}

static enum gdfo_status encode_texts(struct gdfo_pupil *p, struct gdfo_error *err)
{
    const struct gdfo_tune_env *env = p->env;
    enum gdfo_status status = encode(env, env->cue, 0, &p->cue, err);
    p->texts = gdfo_mem_array(env->train.n, sizeof *p->texts);
    if (!p->texts) {
        return gdfo_error_no_memory(err, "student's texts");
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < env->train.n; i++) {
        status = encode(env, env->train.bodies[i], 1, &p->texts[i].ids, err);
    }
    return status;
}

/* The first token of a label word in the student's vocabulary; *n_ids tells whether it is the whole
 * word. */
static enum gdfo_status first_token(struct gdfo_pupil *p, size_t label, size_t word, int32_t *id,
                                    size_t *n_ids, struct gdfo_error *err)
{
    const char *s = gdfo_task_word(p->env->task, label, word);
    struct gdfo_text text = {s, strlen(s)};
    struct gdfo_ids ids = {0};
    enum gdfo_status status = encode(p->env, text, 0, &ids, err);
    if (status == GDFO_STATUS_OK && ids.n == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "the student's tokenizer gives no token for a word");
    }
    if (status == GDFO_STATUS_OK) {
        *id = ids.data[0];
        *n_ids = ids.n;
    }
    gdfo_ids_deinit(&ids);
    return status;
}

static int shares_token(const struct gdfo_student_label *a, const struct gdfo_student_label *b)
{
    for (uint32_t i = 0; i < a->n; i++) {
        for (uint32_t j = 0; j < b->n; j++) {
            if (a->ids[i] == b->ids[j]) {
                return 1;
            }
        }
    }
    return 0;
}

static int clashes(const struct gdfo_pupil *p, size_t label)
{
    for (size_t other = 0; other < label; other++) {
        if (shares_token(&p->labels[other], &p->labels[label])) {
            return 1;
        }
    }
    return 0;
}

/* The student stands for the teacher only as a guide, so a word of several tokens counts by its
 * first, said in the note; two labels that begin alike cannot be told apart and are refused. */
static enum gdfo_status encode_labels(struct gdfo_pupil *p, char note[240], struct gdfo_error *err)
{
    const struct gdfo_task *task = p->env->task;
    size_t n_long = 0;
    int32_t *next;
    p->n_labels = (uint32_t)gdfo_task_n_labels(task);
    p->labels = gdfo_mem_array(p->n_labels, sizeof *p->labels);
    p->label_ids = gdfo_mem_array(gdfo_task_n_forms(task), sizeof *p->label_ids);
    if (!p->labels || !p->label_ids) {
        return gdfo_error_no_memory(err, "student's labels");
    }
    next = p->label_ids;
    for (size_t label = 0; label < p->n_labels; label++) {
        p->labels[label].ids = next;
        for (size_t w = 0; w < gdfo_task_n_words(task, label); w++) {
            size_t n_ids = 0;
            enum gdfo_status status = first_token(p, label, w, next, &n_ids, err);
            if (status != GDFO_STATUS_OK) {
                return status;
            }
            n_long += n_ids > 1;
            next++;
            p->labels[label].n++;
        }
        if (clashes(p, label)) {
            return gdfo_error_set(
                err, GDFO_STATUS_INVALID,
                "in the student's vocabulary label \"%s\" begins like another label: give the "
                "labels words of one token",
                gdfo_task_label(task, label));
        }
    }
    if (n_long > 0) {
        (void)snprintf(note, 240, "the student scores %zu label words by their first token",
                       n_long);
    }
    p->columns = (struct gdfo_student_columns){.labels = p->labels, .n_labels = p->n_labels};
    return GDFO_STATUS_OK;
}

static uint32_t layers_of(const struct gdfo_tune_env *env, const struct gdfo_search_opts *opts)
{
    uint32_t all = gdfo_model_config(env->student_model)->n_layers;
    if (opts->student_layers > 0) {
        return opts->student_layers < (int64_t)all ? (uint32_t)opts->student_layers : all;
    }
    return env->is_same_model ? (all + 4) / 5 : all;
}

static enum gdfo_status check_student(const struct gdfo_tune_env *env,
                                      const struct gdfo_search_opts *opts, struct gdfo_error *err)
{
    uint32_t all;
    if (!env->student_model || !gdfo_pupil_tokenizer(env->teacher_model, env->student_model)) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "this method needs a student: a model file with a tokenizer, or with the "
            "teacher's vocabulary");
    }
    all = gdfo_model_config(env->student_model)->n_layers;
    if (env->is_same_model && layers_of(env, opts) == all && !opts->allow_same_student) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "the student would be the teacher itself (same file, all %u layers): lower "
            "student_layers, or set allow_same_student",
            all);
    }
    return GDFO_STATUS_OK;
}

/* Repaired, the student stays what it is and its Jacobian is corrected outside. */
static int trains(const struct gdfo_search_opts *o)
{
    return o->distill && o->distillation == GDFO_DISTILLATION_PUBLISHED;
}

static enum gdfo_status open_student(struct gdfo_pupil *p, struct gdfo_error *err)
{
    const struct gdfo_search_opts *o = p->opts;
    struct gdfo_student_opts so = gdfo_student_defaults();
    size_t longest = 0;
    for (uint32_t i = 0; i < p->env->train.n; i++) {
        longest = p->texts[i].ids.n > longest ? p->texts[i].ids.n : longest;
    }
    so.n_layers = layers_of(p->env, o);
    so.mode = !trains(o)              ? GDFO_TRAIN_FROZEN
              : o->student_train == 0 ? GDFO_TRAIN_ADAPTER
                                      : GDFO_TRAIN_FULL;
    so.precision = p->env->student_precision;
    so.adapter_rank = (uint32_t)o->adapter_rank;
    so.adamw.lr = o->lr_student;
    so.max_sequence =
        kept(longest) + (uint32_t)o->n_prompt_tokens + (uint32_t)p->cue.n + SEQUENCE_SLACK;
    so.max_positions = so.max_positions < so.max_sequence ? so.max_sequence : so.max_positions;
    so.max_columns = (uint32_t)gdfo_task_n_forms(p->env->task) + 1;
    so.seed = p->env->seed;
    return gdfo_student_create(&p->student, p->env->student_model, &so, p->env->pool, err);
}

/* Suffix position: keys and values of every text once. A FULL student's change with it: no cache
 * then. */
static enum gdfo_status cache_texts(struct gdfo_pupil *p, struct gdfo_error *err)
{
    int is_full = trains(p->opts) && p->opts->student_train != 0;
    struct gdfo_student_text *texts;
    struct gdfo_student_kv **kv;
    uint32_t n;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (p->env->position != GDFO_POSITION_SUFFIX || is_full) {
        return GDFO_STATUS_OK;
    }
    n = p->env->train.n;
    texts = gdfo_mem_array(n, sizeof *texts);
    kv = gdfo_mem_array(n, sizeof(struct gdfo_student_kv *));
    if (!texts || !kv) {
        status = gdfo_error_no_memory(err, "student's texts");
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        texts[i] = (struct gdfo_student_text){p->texts[i].ids.data, kept(p->texts[i].ids.n)};
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_student_text_kv(p->student, texts, n, kv, err);
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        p->texts[i].kv = kv[i];
    }
    gdfo_mem_free(texts);
    gdfo_mem_free(kv);
    return status;
}

static enum gdfo_status build(struct gdfo_pupil *p, char note[240], struct gdfo_error *err)
{
    size_t n_shared = 0;
    enum gdfo_status status = encode_texts(p, err);
    if (status == GDFO_STATUS_OK) {
        status = encode_labels(p, note, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_student(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = cache_texts(p, err);
    }
    if (status == GDFO_STATUS_OK) {
        p->width_s = gdfo_model_config(p->env->student_model)->d_model;
        if (!p->env->is_same_model) {
            status = gdfo_pupil_bridge_fit(&p->bridge, p->env->teacher_model, p->env->student_model,
                                           &n_shared, err);
        }
    }
    if (status == GDFO_STATUS_OK && p->bridge) {
        (void)snprintf(note, 240,
                       "student of width %zu reached over a bridge: %zu shared tokens, r2 %.3f",
                       p->width_s, n_shared, gdfo_bridge_r2(p->bridge));
    }
    return status;
}

/* What cannot be had of this teacher with this student; memory that ran out is no such thing. */
static enum gdfo_status refused(enum gdfo_status status, struct gdfo_error *err)
{
    if (status == GDFO_STATUS_INVALID || status == GDFO_STATUS_UNSUPPORTED) {
        gdfo_error_at(err, "student", "teacher_capability");
    }
    return status;
}

enum gdfo_status gdfo_pupil_create(struct gdfo_pupil **out, const struct gdfo_tune_env *env,
                                   const struct gdfo_search_opts *opts, char note[240],
                                   struct gdfo_error *err)
{
    enum gdfo_status status = check_student(env, opts, err);
    struct gdfo_pupil *p;
    note[0] = '\0';
    if (status != GDFO_STATUS_OK) {
        return refused(status, err);
    }
    p = gdfo_mem_array(1, sizeof *p);
    if (!p) {
        return gdfo_error_no_memory(err, "student");
    }
    p->env = env;
    p->opts = opts;
    p->width_t = gdfo_model_config(env->teacher_model)->d_model;
    p->rng = gdfo_rng_stream(env->seed, "distill");
    status = build(p, note, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_pupil_destroy(p);
        return refused(gdfo_error_prefix(err, "student"), err);
    }
    *out = p;
    return GDFO_STATUS_OK;
}

void gdfo_pupil_destroy(struct gdfo_pupil *p)
{
    if (!p) {
        return;
    }
    for (uint32_t i = 0; p->texts && i < p->env->train.n; i++) {
        gdfo_ids_deinit(&p->texts[i].ids);
        gdfo_student_kv_destroy(p->texts[i].kv);
    }
    gdfo_mem_free(p->texts);
    gdfo_ids_deinit(&p->cue);
    gdfo_mem_free(p->labels);
    gdfo_mem_free(p->label_ids);
    gdfo_student_destroy(p->student);
    gdfo_bridge_destroy(p->bridge);
    gdfo_mem_free(p->items);
    gdfo_mem_free(p->rows_s);
    gdfo_mem_free(p->grad_s);
    gdfo_mem_free(p->target_lp);
    gdfo_mem_free(p->logits);
    gdfo_mem_free(p->gold);
    gdfo_mem_free(p);
}

/* ---- batches -----------------------------------------------------------------------------------
 */

static int grow(void *array, size_t *cap, size_t want, size_t size)
{
    void *q;
    int ok;
    memcpy(&q, array, sizeof q);
    ok = gdfo_mem_grow(&q, cap, want, size);
    memcpy(array, &q, sizeof q);
    return ok;
}

static enum gdfo_status reserve(struct gdfo_pupil *p, size_t n_items, size_t n_prompts,
                                struct gdfo_error *err)
{
    size_t per_prompt = (size_t)p->opts->n_prompt_tokens * p->width_s;
    int ok = grow(&p->items, &p->items_cap, n_items, sizeof *p->items) &&
             grow(&p->rows_s, &p->rows_cap, n_prompts * per_prompt, sizeof *p->rows_s) &&
             grow(&p->grad_s, &p->grad_cap, per_prompt, sizeof *p->grad_s) &&
             grow(&p->target_lp, &p->target_cap, n_items * p->n_labels, sizeof *p->target_lp) &&
             grow(&p->logits, &p->logits_cap, n_items * p->n_labels, sizeof *p->logits) &&
             grow(&p->gold, &p->gold_cap, n_items, sizeof *p->gold);
    return ok ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "student's batch");
}

/* Teacher rows [n][P][H_T] in the student's space: in place when the spaces are one, else over the
 * bridge. */
static const float *student_rows(struct gdfo_pupil *p, const float *rows, uint32_t n)
{
    if (!p->bridge) {
        return rows;
    }
    gdfo_bridge_apply(p->bridge, rows, (size_t)n * (size_t)p->opts->n_prompt_tokens, p->rows_s);
    return p->rows_s;
}

static struct gdfo_student_item item_of(const struct gdfo_pupil *p, const float *rows_s,
                                        uint32_t example)
{
    const struct pupil_text *t = &p->texts[example];
    struct gdfo_student_item item = {.rows = rows_s,
                                     .n_rows = (uint32_t)p->opts->n_prompt_tokens,
                                     .kv = t->kv,
                                     .body = {t->ids.data, kept(t->ids.n)},
                                     .cue = {p->cue.data, (uint32_t)p->cue.n}};
    return item;
}

static struct gdfo_student_batch batch_of(const struct gdfo_pupil *p, uint32_t n_items)
{
    struct gdfo_student_batch b = {.items = p->items,
                                   .n_items = n_items,
                                   .position = p->env->position == GDFO_POSITION_SUFFIX
                                                   ? GDFO_STUDENT_SUFFIX
                                                   : GDFO_STUDENT_PREFIX,
                                   .columns = &p->columns};
    return b;
}

/* ---- what it does ------------------------------------------------------------------------------
 */

struct lesson { /* one generation's answers */
    const float *rows_s, *lp;
    uint32_t n;
};

static void set_pair(struct gdfo_pupil *p, const struct lesson *l, uint32_t i, uint32_t candidate,
                     uint32_t example)
{
    size_t stride = (size_t)p->opts->n_prompt_tokens * p->width_s;
    size_t at = (size_t)candidate * p->env->train.n + example;
    p->items[i] = item_of(p, l->rows_s + candidate * stride, example);
    p->gold[i] = (int32_t)p->env->train.gold[example];
    memcpy(p->target_lp + (size_t)i * p->n_labels, l->lp + at * p->n_labels,
           p->n_labels * sizeof *l->lp);
}

static int is_cancelled(const struct gdfo_pupil *p)
{
    return p->env->cancel && atomic_load_explicit(p->env->cancel, memory_order_acquire);
}

static enum gdfo_status learn_items(struct gdfo_pupil *p, uint32_t n_items, double *loss,
                                    struct gdfo_error *err)
{
    struct gdfo_student_batch batch = batch_of(p, n_items);
    struct gdfo_student_target target = {.teacher_lp = p->target_lp,
                                         .gold = p->gold,
                                         .w = p->opts->mix_kd,
                                         .tau = p->opts->temperature};
    return gdfo_student_distill(p->student, &batch, &target, loss, err);
}

/* Pairs drawn over the whole generation. */
static enum gdfo_status learn_mixed(struct gdfo_pupil *p, const struct lesson *l, double *loss,
                                    struct gdfo_error *err)
{
    uint32_t n_items = (uint32_t)p->opts->distill_batch;
    for (uint32_t i = 0; i < n_items; i++) {
        uint32_t c = gdfo_rng_below(&p->rng, l->n);
        set_pair(p, l, i, c, gdfo_rng_below(&p->rng, p->env->train.n));
    }
    return learn_items(p, n_items, loss, err);
}

/* As published (method.md 4.2): one candidate, all its rows. */
static enum gdfo_status learn_candidate(struct gdfo_pupil *p, const struct lesson *l,
                                        uint32_t candidate, double *loss, struct gdfo_error *err)
{
    for (uint32_t b = 0; b < p->env->train.n; b++) {
        set_pair(p, l, b, candidate, b);
    }
    return learn_items(p, p->env->train.n, loss, err);
}

enum gdfo_status gdfo_pupil_learn(struct gdfo_pupil *p, const float *rows, const float *lp,
                                  uint32_t n, double *loss, struct gdfo_error *err)
{
    int is_mixed = p->opts->distill_steps > 0;
    uint32_t n_steps = is_mixed ? (uint32_t)p->opts->distill_steps : n;
    size_t most = (size_t)p->opts->distill_batch > p->env->train.n ? (size_t)p->opts->distill_batch
                                                                   : p->env->train.n;
    enum gdfo_status status = reserve(p, most, n, err);
    struct lesson l = {.lp = lp, .n = n};
    double sum = 0;
    if (status == GDFO_STATUS_OK) {
        l.rows_s = student_rows(p, rows, n);
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n_steps; i++) {
        double one = 0;
        status = is_cancelled(p)
                     ? gdfo_error_set(err, GDFO_STATUS_CANCELLED, "stopped between student steps")
                 : is_mixed ? learn_mixed(p, &l, &one, err)
                            : learn_candidate(p, &l, i, &one, err);
        sum += one;
    }
    *loss = sum / (double)n_steps;
    return status;
}

enum gdfo_status gdfo_pupil_learn_gold(struct gdfo_pupil *p, const struct gdfo_pupil_lesson *lesson,
                                       struct gdfo_error *err)
{
    enum gdfo_status status = reserve(p, lesson->n, 1, err);
    const float *rows_s = status == GDFO_STATUS_OK ? student_rows(p, lesson->rows, 1) : NULL;
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < lesson->n; i++) {
        p->items[i] = item_of(p, rows_s, lesson->examples[i]);
        p->gold[i] = (int32_t)p->env->train.gold[lesson->examples[i]];
    }
    for (int64_t k = 0; status == GDFO_STATUS_OK && k < lesson->steps; k++) {
        struct gdfo_student_batch batch = batch_of(p, lesson->n);
        struct gdfo_student_target target = {.gold = p->gold, .w = 0, .tau = 1};
        double loss = 0;
        status = is_cancelled(p)
                     ? gdfo_error_set(err, GDFO_STATUS_CANCELLED, "stopped between student steps")
                     : gdfo_student_distill(p->student, &batch, &target, &loss, err);
    }
    return status;
}

const float *gdfo_pupil_params(const struct gdfo_pupil *p, size_t *n)
{
    *n = gdfo_student_n_trainable(p->student);
    return gdfo_student_params(p->student);
}

void gdfo_pupil_set_params(struct gdfo_pupil *p, const float *params)
{
    gdfo_student_set_params(p->student, params);
}

static double cross_entropy(const float *logits, uint32_t n_labels, uint32_t gold)
{
    double max = (double)logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < n_labels; i++) {
        max = (double)logits[i] > max ? (double)logits[i] : max;
    }
    for (uint32_t i = 0; i < n_labels; i++) {
        sum += exp((double)logits[i] - max);
    }
    return max + log(sum) - (double)logits[gold];
}

enum gdfo_status gdfo_pupil_losses(struct gdfo_pupil *p, const float *rows, uint32_t n,
                                   double *losses, struct gdfo_error *err)
{
    uint32_t n_train = p->env->train.n;
    size_t stride = (size_t)p->opts->n_prompt_tokens * p->width_s;
    enum gdfo_status status = reserve(p, n_train, n, err);
    const float *rows_s = status == GDFO_STATUS_OK ? student_rows(p, rows, n) : NULL;
    for (uint32_t c = 0; status == GDFO_STATUS_OK && c < n; c++) {
        struct gdfo_student_batch batch;
        for (uint32_t b = 0; b < n_train; b++) {
            p->items[b] = item_of(p, rows_s + c * stride, b);
        }
        batch = batch_of(p, n_train);
        status = gdfo_student_score(p->student, &batch, p->logits, err);
        losses[c] = 0;
        for (uint32_t b = 0; status == GDFO_STATUS_OK && b < n_train; b++) {
            losses[c] += cross_entropy(p->logits + (size_t)b * p->n_labels, p->n_labels,
                                       p->env->train.gold[b]) /
                         (double)n_train;
        }
    }
    return status;
}

/* grad [P][H_T] through the student and, where there is one, over the bridge. */
static enum gdfo_status gradient(struct gdfo_pupil *p, const float *rows, float *grad, double *loss,
                                 struct gdfo_error *err)
{
    const float *rows_s = student_rows(p, rows, 1);
    struct gdfo_student_batch batch;
    enum gdfo_status status;
    for (uint32_t b = 0; b < p->env->train.n; b++) {
        p->items[b] = item_of(p, rows_s, b);
        p->gold[b] = (int32_t)p->env->train.gold[b];
    }
    batch = batch_of(p, p->env->train.n);
    status = gdfo_student_prompt_grad(p->student, &batch, p->gold, p->bridge ? p->grad_s : grad,
                                      loss, err);
    if (status == GDFO_STATUS_OK && p->bridge) {
        gdfo_bridge_pull(p->bridge, p->grad_s, (size_t)p->opts->n_prompt_tokens, grad);
    }
    return status;
}

enum gdfo_status gdfo_pupil_gradient(struct gdfo_pupil *p, const float *rows, float *grad,
                                     double *loss, struct gdfo_error *err)
{
    enum gdfo_status status = reserve(p, p->env->train.n, 1, err);
    return status == GDFO_STATUS_OK ? gradient(p, rows, grad, loss, err) : status;
}

enum gdfo_status gdfo_pupil_jacobian(struct gdfo_pupil *p, const float *rows, float *jac,
                                     struct gdfo_error *err)
{
    size_t n_rows = (size_t)p->opts->n_prompt_tokens * p->env->train.n * p->n_labels;
    enum gdfo_status status = reserve(p, p->env->train.n, 1, err);
    const float *rows_s = status == GDFO_STATUS_OK ? student_rows(p, rows, 1) : NULL;
    float *in_student = p->bridge ? gdfo_mem_array(n_rows * p->width_s, sizeof *jac) : jac;
    struct gdfo_student_batch batch;
    if (status == GDFO_STATUS_OK && !in_student) {
        status = gdfo_error_no_memory(err, "the student's Jacobian");
    }
    for (uint32_t b = 0; status == GDFO_STATUS_OK && b < p->env->train.n; b++) {
        p->items[b] = item_of(p, rows_s, b);
    }
    if (status == GDFO_STATUS_OK) {
        batch = batch_of(p, p->env->train.n);
        status = gdfo_student_prompt_jacobian(p->student, &batch, p->logits, in_student, err);
    }
    if (status == GDFO_STATUS_OK && p->bridge) {
        gdfo_bridge_pull(p->bridge, in_student, n_rows, jac);
    }
    if (p->bridge) {
        gdfo_mem_free(in_student);
    }
    return status;
}

struct descent { /* buffers of one descent */
    struct gdfo_adamw adamw;
    float *rows, *grad; /* [P][H_T] */
    size_t n_floats;
};

static void descent_deinit(struct descent *d)
{
    gdfo_adamw_deinit(&d->adamw);
    gdfo_mem_free(d->rows);
    gdfo_mem_free(d->grad);
}

static enum gdfo_status descent_init(struct descent *d, const struct gdfo_pupil *p,
                                     const struct gdfo_pupil_descent *job, struct gdfo_error *err)
{
    struct gdfo_adamw_opts ao = gdfo_adamw_defaults();
    memset(d, 0, sizeof *d);
    d->n_floats = (size_t)p->opts->n_prompt_tokens * p->width_t;
    d->rows = gdfo_mem_dup(job->start, d->n_floats * sizeof *d->rows);
    d->grad = gdfo_mem_array(d->n_floats, sizeof *d->grad);
    if (!d->rows || !d->grad) {
        return gdfo_error_no_memory(err, "gradient prompt");
    }
    ao.lr = job->lr;
    return gdfo_adamw_init(&d->adamw, &ao, d->n_floats, err);
}

static enum gdfo_status descent_step(struct descent *d, struct gdfo_pupil *p, double *loss,
                                     struct gdfo_error *err)
{
    enum gdfo_status status = gradient(p, d->rows, d->grad, loss, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_adamw_step(&d->adamw, p->env->pool, d->rows, d->grad);
    }
    return status;
}

enum gdfo_status gdfo_pupil_descend(struct gdfo_pupil *p, const struct gdfo_pupil_descent *job,
                                    struct gdfo_error *err)
{
    struct descent d;
    enum gdfo_status status = descent_init(&d, p, job, err);
    int64_t step = 0;
    double loss = (double)NAN;
    if (status == GDFO_STATUS_OK) {
        status = reserve(p, p->env->train.n, 1, err);
    }
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < job->n_marks; k++) {
        while (status == GDFO_STATUS_OK && step < job->marks[k]) {
            status = is_cancelled(p) ? gdfo_error_set(err, GDFO_STATUS_CANCELLED,
                                                      "stopped between gradient steps")
                                     : descent_step(&d, p, &loss, err);
            step++;
        }
        memcpy(job->out + k * d.n_floats, d.rows, d.n_floats * sizeof *d.rows);
        job->losses[k] = loss;
    }
    descent_deinit(&d);
    return status;
}

/* ---- state -------------------------------------------------------------------------------------
 */

void gdfo_pupil_save(const struct gdfo_pupil *p, struct gdfo_buf *out)
{
    struct gdfo_buf student;
    unsigned char rng[GDFO_RNG_STATE_BYTES];
    struct gdfo_error err = {0};
    gdfo_buf_init(&student, SAVE_MAX);
    gdfo_rng_save(&p->rng, rng);
    gdfo_buf_u32(out, STATE_MAGIC);
    gdfo_buf_addn(out, rng, sizeof rng);
    if (gdfo_student_save(p->student, &student, &err) != GDFO_STATUS_OK || !gdfo_buf_ok(&student)) {
        out->is_broken = 1;
    }
    gdfo_buf_block(out, student.data, student.len);
    gdfo_buf_deinit(&student);
}

enum gdfo_status gdfo_pupil_load(struct gdfo_pupil *p, const void *bytes, size_t n,
                                 struct gdfo_error *err)
{
    struct gdfo_span s = gdfo_span_make(bytes, n);
    unsigned char rng[GDFO_RNG_STATE_BYTES];
    uint32_t magic = gdfo_span_u32(&s);
    size_t n_student = 0;
    const void *student;
    enum gdfo_status status;
    (void)gdfo_span_copy(&s, rng, sizeof rng);
    student = gdfo_span_block(&s, &n_student);
    if (!gdfo_span_done(&s) || magic != STATE_MAGIC) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "student state: %zu bytes are not one", n);
    }
    status = gdfo_student_load(p->student, student, n_student, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_rng_load(&p->rng, rng);
    }
    return status;
}
