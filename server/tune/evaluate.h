#ifndef GDFO_SERVER_TUNE_EVALUATE_H
#define GDFO_SERVER_TUNE_EVALUATE_H

#include "server/teacher/stack.h"
#include "server/tune/env.h"
#include "server/tune/fake.h"
#include "server/tune/words.h"

/*
 * Prompts to answers: builds requests for the metered teacher and turns its answers, one
 * log-probability per label word, into one per label. Also owns the anchor tokens that ride along
 * in every query. Owner thread only.
 */
struct gdfo_evaluator;

struct gdfo_prompts {
    const float *rows; /* [n][n_prompt_tokens][d_model]; NULL when n_prompt_tokens is 0 */
    uint32_t n, n_prompt_tokens;
    const char *cue; /* NULL: the task's; GDFO_TEXT_MASK in it where it needs one */
};

struct gdfo_evaluation {  /* borrowed until the next evaluate */
    const float *lp;      /* [n prompts][n examples][n_labels] */
    const float *anchors; /* [n prompts][n examples][n_anchors], NULL when there are none */
    const float *hidden;  /* [n prompts][n examples][d_model], NULL when not asked */
    uint32_t n_truncated; /* examples whose text was cut */
};

struct gdfo_question { /* what gdfo_evaluate asks, piece by piece */
    struct gdfo_prompts prompts;
    struct gdfo_text cue;
    const struct gdfo_text *bodies; /* [n] */
    uint32_t n;
    enum gdfo_purpose purpose;
    int want_hidden;
};

/* n_anchors ids are drawn from the stream "anchors": distinct, no control tokens. env is borrowed
 * until destroy. */
GDFO_MUST_USE enum gdfo_status gdfo_evaluator_create(struct gdfo_evaluator **out,
                                                     const struct gdfo_tune_env *env,
                                                     uint32_t n_anchors, struct gdfo_error *err);
void gdfo_evaluator_destroy(struct gdfo_evaluator *e);
/* Every later answer is made worthless (fake.h); counted and kept by the ledger as the real one. */
void gdfo_evaluator_fake(struct gdfo_evaluator *e, enum gdfo_fake kind);
const int32_t *gdfo_evaluator_anchors(const struct gdfo_evaluator *e, uint32_t *n);

/* From here on soft prompts are deep: rows [n][1 + n_layer_ids][n_prompt_tokens][d_model]. ids are
 * borrowed until destroy. */
void gdfo_evaluator_set_layers(struct gdfo_evaluator *e, const uint32_t *ids, uint32_t n_layer_ids);
/* From here on classes are averaged over these words too, the plain prompt's as well. Borrowed
 * until destroy; NULL: the label words alone. */
void gdfo_evaluator_set_words(struct gdfo_evaluator *e, const struct gdfo_words *words);
/* How hidden states spread on their way into the deeper layers, under one soft prompt on the train
 * set: std [n_layer_ids]. One train eval. */
GDFO_MUST_USE enum gdfo_status gdfo_evaluate_layer_std(struct gdfo_evaluator *e, const float *rows,
                                                       uint32_t n_prompt_tokens, double *std,
                                                       struct gdfo_error *err);

/* The train or dev rows under the job's own cue. CANCELLED between calls when env->cancel is set.
 */
GDFO_MUST_USE enum gdfo_status gdfo_evaluate(struct gdfo_evaluator *e,
                                             const struct gdfo_prompts *prompts,
                                             enum gdfo_purpose purpose, struct gdfo_evaluation *out,
                                             struct gdfo_error *err);

/* Any texts under any cue; as many calls as the answers' size asks for. */
GDFO_MUST_USE enum gdfo_status gdfo_evaluator_ask(struct gdfo_evaluator *e,
                                                  const struct gdfo_question *q,
                                                  struct gdfo_evaluation *out,
                                                  struct gdfo_error *err);

#endif
