#ifndef GDFO_SERVER_TUNE_SEARCH_H
#define GDFO_SERVER_TUNE_SEARCH_H

#include "server/tune/method/method.h"
#include "server/tune/search_opts.h"

/*
 * The one search core: prompt = centre + s A z. random, bbt and gdfo are configurations of it
 * (method.md 4.3). Stages, each a number of steps, each step one or a few calls:
 *
 *   start      the plain prompt (its per-class bias is "calibration only") and the initial rows p0;
 *              dfwe makes and asks its experts here, then searches their weights
 *   distil     published: search around p0, the student learns from every generation's answers;
 *              repaired: the student proposes, the teacher verifies (search_map.h)         (gdfo)
 *   gradient   the prompt that the frozen student's gradients give, tried at several strengths or
 *              taken at gradient_weight; repaired has done that already                    (gdfo)
 *   search     search around the best centre so far
 *
 * schedule interleaved makes the second to the fourth one: after every generation the student
 * learns and the gradient prompt, and with it the centre, moves on.
 *
 * Every `dev_every` evals the best unjudged candidate and the search's mean are judged: a head is
 * fitted on their train answers, the dev rows are asked once, the better dev loss (or metric) wins
 * and becomes the result. Functions below are what a method's ops point at.
 */
struct gdfo_search;

GDFO_MUST_USE enum gdfo_status gdfo_search_create(void **self, const struct gdfo_tune_env *env,
                                                  const void *options, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_search_step(void *self, struct gdfo_report *report,
                                                struct gdfo_error *err);
void gdfo_search_save(const void *self, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_search_load(void *self, const void *bytes, size_t n,
                                                struct gdfo_error *err);
const struct gdfo_artefact *gdfo_search_result(const void *self);
void gdfo_search_destroy(void *self);

/* Rules across options that no single row can hold. */
GDFO_MUST_USE enum gdfo_status gdfo_search_check(const void *options, struct gdfo_error *err);

#endif
