#include "server/tune/search_demo.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/model/model.h"
#include "server/task/task.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. BBT-RGB's initialisation (method.md 3, B): the instruction, then one train example as the
 * task shows it with its answer, picked by trying several. The example's text is cut where it does
 * not fit, never its cue and answer; where there is room to spare the beginning is repeated in
 * front, so that the answer is always the last row. Each trial is an eval like any other.
 */

/* The instruction whose words the first rows are: the user's, or one made from the labels. */
enum gdfo_status gdfo_search_instruction(const struct gdfo_search *s, struct gdfo_ids *ids,
                                         struct gdfo_error *err)
{
    const struct gdfo_task *task = s->env.task;
    struct gdfo_buf text;
    enum gdfo_status status;
    gdfo_buf_init(&text, 65536);
    if (s->opts.instruction[0]) {
        gdfo_buf_add(&text, s->opts.instruction);
    } else {
        gdfo_buf_add(&text, "Answer with one of:");
        for (size_t i = 0; i < gdfo_task_n_labels(task); i++) {
            gdfo_buf_addf(&text, "%s%s", i > 0 ? "," : "", gdfo_task_word(task, i, 0));
        }
        gdfo_buf_add(&text, ".");
    }
    status = gdfo_buf_ok(&text) ? gdfo_tokenizer_encode(gdfo_model_tokenizer(s->env.teacher_model),
                                                        text.data, text.len, ids, err)
                                : gdfo_error_no_memory(err, "instruction");
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status add_text(const struct gdfo_search *s, struct gdfo_ids *ids,
                                 const struct gdfo_buf *text, struct gdfo_error *err)
{
    return gdfo_tokenizer_encode_after(gdfo_model_tokenizer(s->env.teacher_model), text->data,
                                       text->len, ids, err);
}

/* text with the answer where a masked language model would give it; returns whether it was there.
 */
static int add_answered(struct gdfo_buf *out, struct gdfo_text text, const char *word)
{
    const char *mask = text.n > 0 ? memchr(text.s, GDFO_TEXT_MASK, text.n) : NULL;
    size_t n_before = mask ? (size_t)(mask - text.s) : text.n;
    gdfo_buf_addn(out, text.s, n_before);
    if (mask) {
        gdfo_buf_add(out, word);
        gdfo_buf_addn(out, mask + 1, text.n - n_before - 1);
    }
    return mask != NULL;
}

/* Ids of "text" and of "cue answer" of one train example, apart. */
static enum gdfo_status example_ids(const struct gdfo_search *s, uint32_t row,
                                    struct gdfo_ids *text, struct gdfo_ids *answer,
                                    struct gdfo_error *err)
{
    const char *word = gdfo_task_word(s->env.task, s->env.train.gold[row], 0);
    struct gdfo_buf b;
    enum gdfo_status status;
    int is_told;
    gdfo_buf_init(&b, (size_t)1 << 22);
    is_told = add_answered(&b, s->env.train.bodies[row], word);
    status = add_text(s, text, &b, err);
    gdfo_buf_reset(&b);
    is_told |= add_answered(&b, s->env.cue, word);
    if (!is_told) {
        gdfo_buf_add(&b, word);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_buf_ok(&b) ? add_text(s, answer, &b, err)
                                 : gdfo_error_no_memory(err, "demonstration");
    }
    gdfo_buf_deinit(&b);
    return status;
}

/* The last n_rows of instruction, text and answer; text gives way first. */
static enum gdfo_status lay_rows(const struct gdfo_search *s, const struct gdfo_ids part[3],
                                 float *rows, struct gdfo_error *err)
{
    const struct gdfo_model *m = s->env.teacher_model;
    struct gdfo_embedding e = {gdfo_model_embed(m), gdfo_model_config(m)->vocab, s->width};
    const size_t n_rows = (size_t)s->opts.n_prompt_tokens;
    const size_t beside = part[0].n + part[2].n;
    const size_t n_text = n_rows > beside && n_rows - beside < part[1].n ? n_rows - beside
                          : n_rows > beside                              ? part[1].n
                                                                         : 0;
    const size_t n = beside + n_text;
    int32_t *ids = gdfo_mem_array(n + n_rows, sizeof *ids);
    size_t at = 0;
    enum gdfo_status status;
    if (!ids) {
        return gdfo_error_no_memory(err, "demonstration");
    }
    while (at + n < n_rows) { /* filler: the beginning once more */
        ids[at] = part[0].n > 0 ? part[0].data[at % part[0].n] : part[2].data[0];
        at++;
    }
    for (size_t i = 0; i < 3; i++) {
        size_t count = i == 1 ? n_text : part[i].n;
        if (count > 0) {
            memcpy(ids + at, part[i].data, count * sizeof *ids);
        }
        at += count;
    }
    status = gdfo_soft_prompt_from_ids(rows, n_rows, &e, ids + (at - n_rows), n_rows, err);
    gdfo_mem_free(ids);
    return status;
}

static enum gdfo_status lay_example(const struct gdfo_search *s, uint32_t row, float *rows,
                                    struct gdfo_error *err)
{
    struct gdfo_ids part[3] = {{0}, {0}, {0}};
    enum gdfo_status status = gdfo_search_instruction(s, &part[0], err);
    if (status == GDFO_STATUS_OK) {
        status = example_ids(s, row, &part[1], &part[2], err);
    }
    if (status == GDFO_STATUS_OK) {
        status = lay_rows(s, part, rows, err);
    }
    for (size_t i = 0; i < 3; i++) {
        gdfo_ids_deinit(&part[i]);
    }
    return status;
}

/* How many are tried: as asked, as there are, and as fit in a generation's memory. */
static uint32_t n_trials(const struct gdfo_search *s)
{
    int64_t n = s->opts.n_demos;
    int64_t left = gdfo_search_evals_left(s) - 1;
    if (s->opts.prompt_init != GDFO_INIT_DEMONSTRATION || s->env.is_added) {
        return 0;
    }
    n = n < (int64_t)s->env.train.n ? n : (int64_t)s->env.train.n;
    n = n < s->opts.popsize - 1 ? n : s->opts.popsize - 1;
    n = n < left ? n : left;
    return n > 0 ? (uint32_t)n : 0;
}

/* s->prompts 1..n: distinct train rows, drawn. */
static enum gdfo_status lay_trials(struct gdfo_search *s, uint32_t n, uint32_t *rows,
                                   struct gdfo_error *err)
{
    struct gdfo_rng rng = gdfo_rng_stream(s->env.seed, "demonstrations");
    const uint32_t n_train = s->env.train.n;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t i = 0; i < n_train; i++) {
        rows[i] = i;
    }
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        uint32_t pick = i + gdfo_rng_below(&rng, n_train - i);
        uint32_t row = rows[pick];
        float *out = s->prompts + (1 + (size_t)i) * s->n_floats;
        rows[pick] = rows[i];
        rows[i] = row;
        memset(out, 0, s->n_floats * sizeof *out); /* deeper layers: nothing yet */
        status = lay_example(s, row, out, err);
    }
    return status;
}

static enum gdfo_status try_all(struct gdfo_search *s, uint32_t n, const uint32_t *rows,
                                struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_evaluation e = {0};
    uint32_t best = 0;
    enum gdfo_status status = gdfo_search_try(s, 1 + n, &e, r, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (uint32_t i = 1; i <= n; i++) {
        best = s->losses[i] < s->losses[best] || isnan(s->losses[best]) ? i : best;
    }
    if (best > 0) {
        memcpy(s->start, s->prompts + best * s->n_floats, s->n_floats * sizeof *s->start);
        memcpy(s->centre, s->start, s->n_floats * sizeof *s->centre);
    }
    if (n > 0) {
        gdfo_report_message_add(r, 0, "demonstration",
                                best > 0 ? "train row %u is the best of %u demonstrations: loss "
                                           "%.4f, the instruction alone %.4f"
                                         : "none: row %u, of %u, loss %.4f; the instruction alone "
                                           "%.4f is the best",
                                rows[best > 0 ? best - 1 : 0], n, s->losses[best > 0 ? best : 1],
                                s->losses[0]);
    }
    gdfo_report_metric_add(r, "loss_start", s->losses[best]);
    return status;
}

enum gdfo_status gdfo_search_first_prompt(struct gdfo_search *s, struct gdfo_report *r,
                                          struct gdfo_error *err)
{
    const uint32_t n = n_trials(s);
    uint32_t *rows = gdfo_mem_array(s->env.train.n, sizeof *rows);
    enum gdfo_status status =
        rows ? lay_trials(s, n, rows, err) : gdfo_error_no_memory(err, "demonstrations");
    if (status == GDFO_STATUS_OK) {
        if (s->env.is_added && s->opts.prompt_init == GDFO_INIT_DEMONSTRATION) {
            gdfo_report_message_add(r, 0, "demonstration",
                                    "added rows keep their placeholders: no demonstration");
        }
        memcpy(s->prompts, s->start, s->n_floats * sizeof *s->prompts);
        status = try_all(s, n, rows, r, err);
    }
    gdfo_mem_free(rows);
    return status;
}

enum gdfo_status gdfo_search_choose_words(struct gdfo_search *s, struct gdfo_report *r,
                                          struct gdfo_error *err)
{
    struct gdfo_words_data d = {.lp = s->plain.lp,
                                .anchors = s->plain.anchors,
                                .gold = s->env.train.gold,
                                .n = s->env.train.n,
                                .n_labels = gdfo_task_n_labels(s->env.task),
                                .n_anchors = s->n_anchors};
    enum gdfo_status status = gdfo_words_choose(&s->words, &d, (uint32_t)s->opts.n_words - 1, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_evaluator_set_words(s->evaluator, &s->words);
        gdfo_report_message_add(r, 0, "words", "%u words averaged for each class, of at most %lld",
                                s->words.n_sets + 1, (long long)s->opts.n_words);
    }
    return status;
}
