#include "common/mem.h"
#include "server/model/model.h"
#include "server/prompt/prompt.h"
#include "server/task/task.h"
#include "server/tune/search_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * DESIGN. What labels differently from the first prompt is worth most on a committee (method.md
 * Part A: several cues averaged). Other cues are the cheapest such prompts: text alone, and so
 * general that they fit any task. Each has a head of its own, which is why it matters little that
 * they suit a task's words less well than its own cue.
 */
#define CUE_BYTES  64
#define SHORT_ROWS 3

/* In the order in which they helped. Cues that list the labels' words were worse than none. */
#define N_CUES 3
static const char *const cues[N_CUES] = {"In one word:", "Category:", "In short,"};

/* The plain prompt under another cue, which asks at its end where the task's own has a mask. */
static enum gdfo_status try_cue(struct gdfo_search *s, const char *words, struct gdfo_report *r,
                                struct gdfo_error *err)
{
    const int has_mask = memchr(s->env.cue.s, GDFO_TEXT_MASK, s->env.cue.n) != NULL;
    const char mask[3] = {' ', GDFO_TEXT_MASK, '\0'};
    char cue[CUE_BYTES];
    struct gdfo_prompts plain = {.n = 1, .cue = cue};
    struct gdfo_evaluation e = {0};
    struct gdfo_incumbent who;
    struct gdfo_search_subject subject = {&who, 0, cue, 1};
    double loss;
    enum gdfo_status status = gdfo_incumbent_init(&who, 0, s->plain.n_lp, s->plain.n_anchors, err);
    (void)snprintf(cue, sizeof cue, "%s%s", words, has_mask ? mask : "");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_evaluate(s->evaluator, &plain, GDFO_PURPOSE_TRAIN, &e, err);
        s->n_parallel++;
    }
    if (status == GDFO_STATUS_OK) {
        loss = gdfo_search_objective(s, e.lp, e.anchors, err);
        gdfo_incumbent_set(&who, NULL, &e, 0, loss);
        status = isfinite(loss) ? gdfo_search_judge_subject(s, &subject, r, err) : status;
    }
    gdfo_incumbent_deinit(&who);
    return status;
}

static int64_t n_cues(const struct gdfo_search *s)
{
    const int in_body = gdfo_task_has_mask(s->env.task) &&
                        memchr(s->env.cue.s, GDFO_TEXT_MASK, s->env.cue.n) == NULL;
    int64_t want = s->opts.n_cues - 1;
    return in_body ? 0 : want < N_CUES ? want : N_CUES;
}

/* Every other scout is short: three rows are enough to label differently, and their heads are often
 * the better ones. */
static uint32_t n_rows_of(const struct gdfo_search *s, int64_t i)
{
    int64_t all = s->opts.n_prompt_tokens;
    return (uint32_t)(i % 2 == 0 && all > SHORT_ROWS ? SHORT_ROWS : all);
}

/*
 * One prompt of random words: asked, judged, and for the committee alone. It is neither the tuned
 * prompt nor the centre of the search: without its head random words say nothing.
 */
static enum gdfo_status try_words(struct gdfo_search *s, int64_t i, struct gdfo_report *r,
                                  struct gdfo_error *err)
{
    const struct gdfo_model *m = s->env.teacher_model;
    struct gdfo_embedding words = {gdfo_model_embed(m), gdfo_model_config(m)->vocab,
                                   gdfo_model_config(m)->d_model};
    struct gdfo_prompts one = {.rows = s->prompts, .n = 1, .n_prompt_tokens = n_rows_of(s, i)};
    struct gdfo_incumbent who;
    struct gdfo_search_subject subject = {&who, one.n_prompt_tokens, NULL, 1};
    struct gdfo_prompt_words all = {NULL, 0};
    struct gdfo_evaluation e = {0};
    uint64_t seed = s->env.seed * 1000003 + (uint64_t)i + 1;
    double loss;
    enum gdfo_status status = gdfo_incumbent_init(&who, one.n_prompt_tokens * words.d_model,
                                                  s->best.n_lp, s->best.n_anchors, err);
    if (status == GDFO_STATUS_OK) {
        status =
            gdfo_soft_prompt_from_vocab(s->prompts, one.n_prompt_tokens, &words, &all, seed, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_evaluate(s->evaluator, &one, GDFO_PURPOSE_TRAIN, &e, err);
        s->n_parallel++;
    }
    if (status == GDFO_STATUS_OK) {
        loss = gdfo_search_objective(s, e.lp, e.anchors, err);
        gdfo_incumbent_set(&who, s->prompts, &e, 0, loss);
        status = isfinite(loss) ? gdfo_search_judge_subject(s, &subject, r, err) : status;
    }
    gdfo_incumbent_deinit(&who);
    return status;
}

int64_t gdfo_search_n_scouts(const struct gdfo_search *s)
{
    return n_cues(s) + s->opts.n_scouts;
}

enum gdfo_status gdfo_search_scout(struct gdfo_search *s, int64_t i, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    return i < n_cues(s) ? try_cue(s, cues[i], r, err) : try_words(s, i - n_cues(s), r, err);
}
