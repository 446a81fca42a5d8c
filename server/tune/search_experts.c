#include "server/tune/search_experts.h"

#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/task/task.h"
#include "server/tune/pupil_mix.h"

#include <math.h>
#include <string.h>

/* Ways to put a task without knowing it; the labels' words follow. */
static const char *const instructions[] = {
    "Choose the best word:", "Read it and decide between",
    "The right answer is one of these:", "Think about the meaning. Options:"};
#define STUDENT_STEPS  20 /* ours: a few passes over some dozen rows */
#define STUDENT_RATE   1e-3
#define N_INSTRUCTIONS (sizeof instructions / sizeof instructions[0])

static struct gdfo_embedding embedding_of(const struct gdfo_search *s)
{
    const struct gdfo_model *m = s->env.teacher_model;
    return (struct gdfo_embedding){gdfo_model_embed(m), gdfo_model_config(m)->vocab,
                                   gdfo_model_config(m)->d_model};
}

static enum gdfo_status from_instruction(const struct gdfo_search *s, size_t number, float *rows,
                                         struct gdfo_error *err)
{
    struct gdfo_embedding e = embedding_of(s);
    struct gdfo_ids ids = {0};
    struct gdfo_buf text;
    enum gdfo_status status;
    gdfo_buf_init(&text, 65536);
    gdfo_buf_add(&text, instructions[number % N_INSTRUCTIONS]);
    for (size_t i = 0; i < gdfo_task_n_labels(s->env.task); i++) {
        gdfo_buf_addf(&text, "%s%s", i > 0 ? "," : "", gdfo_task_word(s->env.task, i, 0));
    }
    status = gdfo_buf_ok(&text) ? gdfo_tokenizer_encode(gdfo_model_tokenizer(s->env.teacher_model),
                                                        text.data, text.len, &ids, err)
                                : gdfo_error_no_memory(err, "instruction");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_soft_prompt_from_ids(rows, (size_t)s->opts.n_prompt_tokens, &e, ids.data,
                                           ids.n, err);
    }
    gdfo_ids_deinit(&ids);
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status from_words(const struct gdfo_search *s, size_t number, float *rows,
                                   struct gdfo_error *err)
{
    struct gdfo_embedding e = embedding_of(s);
    struct gdfo_prompt_words all = {NULL, 0};
    return gdfo_soft_prompt_from_vocab(rows, (size_t)s->opts.n_prompt_tokens, &e, &all,
                                       s->env.seed * 1000003 + 101 + number, err);
}

/* The share number + 1 of n of the deepest student's layers. */
static int64_t depth_of(const struct gdfo_search *s, size_t number, size_t n)
{
    int64_t all = gdfo_model_config(s->env.student_model)->n_layers;
    int64_t deepest = s->opts.student_layers > 0 ? s->opts.student_layers
                      : s->env.is_same_model     ? (all + 4) / 5
                                                 : all;
    deepest = deepest < all ? deepest : all;
    return (deepest * ((int64_t)number + 1) + (int64_t)n - 1) / (int64_t)n;
}

/* Students fine-tuned on halves of the gold labels, mixed into one. */
static enum gdfo_status mix_students(const struct gdfo_search *s, struct gdfo_pupil *pupil,
                                     struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_pupil_mix mix = {
        .rows = s->start, .n_experts = (uint32_t)s->opts.n_student_experts, .steps = STUDENT_STEPS};
    enum gdfo_status status = gdfo_pupil_mix(pupil, &s->env, &mix, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_report_metric_add(r, "loss_student_average", mix.loss_average);
        gdfo_report_metric_add(r, "loss_student_mix", mix.loss);
    }
    return status;
}

static enum gdfo_status from_gradient(const struct gdfo_search *s, size_t number, size_t n,
                                      float *rows, struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_search_opts o = s->opts;
    struct gdfo_pupil *pupil = NULL;
    char note[240];
    double loss = 0;
    const struct gdfo_pupil_descent d = {.start = s->start,
                                         .marks = &o.prompt_steps,
                                         .n_marks = 1,
                                         .lr = o.lr_prompt,
                                         .out = rows,
                                         .losses = &loss};
    enum gdfo_status status;
    o.student_layers = depth_of(s, number, n);
    o.distill = o.n_student_experts > 0; /* else it stays as it is */
    o.lr_student = STUDENT_RATE;
    status = gdfo_pupil_create(&pupil, &s->env, &o, note, err);
    if (status == GDFO_STATUS_OK && o.n_student_experts > 0) {
        status = mix_students(s, pupil, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_pupil_descend(pupil, &d, err);
    }
    gdfo_pupil_destroy(pupil);
    return status;
}

static enum gdfo_status make_one(const struct gdfo_search *s, size_t i, float *rows,
                                 struct gdfo_report *r, struct gdfo_error *err)
{
    size_t n_gradient = (size_t)s->opts.n_gradient_experts;
    size_t rest;
    if (i < n_gradient) {
        size_t n = n_gradient < (size_t)s->opts.n_experts ? n_gradient : (size_t)s->opts.n_experts;
        return from_gradient(s, i, n, rows, r, err);
    }
    rest = i - n_gradient;
    return rest % 2 == 0 && rest / 2 < N_INSTRUCTIONS ? from_instruction(s, rest / 2, rows, err)
                                                      : from_words(s, rest, rows, err);
}

enum gdfo_status gdfo_search_experts_make(struct gdfo_search *s, struct gdfo_report *r,
                                          struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < (size_t)s->opts.n_experts; i++) {
        float *rows = s->experts + i * s->n_floats;
        status = make_one(s, i, rows, r, err);
        for (size_t j = 0; status == GDFO_STATUS_OK && j < s->n_floats; j++) {
            rows[j] -= s->start[j];
        }
    }
    if (status == GDFO_STATUS_OK) {
        gdfo_report_message_add(r, 0, "experts", "%lld expert prompts are mixed",
                                (long long)s->opts.n_experts);
        status = gdfo_search_new_projection(s, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_search_new_optimiser(s, s->env.seed, err) : status;
}

static enum gdfo_status inject(struct gdfo_search *s, size_t best, struct gdfo_error *err)
{
    if (s->opts.optimiser != GDFO_SEARCH_CMA) {
        return GDFO_STATUS_OK;
    }
    memset(s->z, 0, (size_t)s->opts.n_experts * sizeof *s->z);
    s->z[best] = 1;
    return gdfo_optim_inject(s->optim, s->z, 1, err);
}

enum gdfo_status gdfo_search_experts_try(struct gdfo_search *s, struct gdfo_report *r,
                                         struct gdfo_error *err)
{
    int64_t room = gdfo_search_evals_left(s) - 2 * s->opts.popsize;
    size_t n = room < s->opts.n_experts ? (size_t)(room > 0 ? room : 0) : (size_t)s->opts.n_experts;
    size_t best = 0;
    double least = (double)INFINITY;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        struct gdfo_evaluation e = {0};
        for (size_t j = 0; j < s->n_floats; j++) {
            s->prompts[j] = s->start[j] + s->experts[i * s->n_floats + j];
        }
        status = gdfo_search_try(s, 1, &e, r, err);
        if (status == GDFO_STATUS_OK && s->losses[0] < least) {
            least = s->losses[0];
            best = i;
        }
    }
    if (status == GDFO_STATUS_OK && isfinite(least)) {
        gdfo_report_metric_add(r, "loss_expert", least);
        status = inject(s, best, err);
    }
    return status;
}
