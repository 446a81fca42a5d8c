#ifndef GDFO_SERVER_TUNE_PARTNER_H
#define GDFO_SERVER_TUNE_PARTNER_H

#include "common/error.h"
#include "server/teacher/teacher.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The partner: a sentence encoder of our own that labels beside the teacher and costs no call
 * (method.md Part A, "student alone" and its product with the anchors head). Its features are the
 * mean of a model's last hidden states over a text; its head is a multinomial logistic regression
 * on them (head.h: the features take the anchors' place, and there are no label words). Where
 * teacher and partner both label it is one more voice of the committee (log_pool.h): which of the
 * two knows more differs from task to task.
 *
 *   gdfo_partner_features(model, pool, texts, n, features, &err);
 *   gdfo_partner_fit(&head, &fit, held_out, &err);            held_out: as if each row were new
 *   gdfo_partner_apply(head, features, n, out);
 *
 * Pure functions; the model is read, never changed: any thread.
 */
struct gdfo_head;
struct gdfo_model;
struct gdfo_model_config;
struct gdfo_pool;

/* Why a model cannot be a partner: it has no tokenizer, or is wider than a head. */
GDFO_MUST_USE enum gdfo_status gdfo_partner_check(const struct gdfo_model *model,
                                                  struct gdfo_error *err);
size_t gdfo_partner_width(const struct gdfo_model *model);
/* Bytes that gdfo_partner_features may come to use beside the weights. */
uint64_t gdfo_partner_bytes(const struct gdfo_model_config *config, unsigned n_threads);

/* out [n][width]. A text's features do not depend on the others; a long text's end is not read. */
GDFO_MUST_USE enum gdfo_status gdfo_partner_features(const struct gdfo_model *model,
                                                     struct gdfo_pool *pool,
                                                     const struct gdfo_text *texts, size_t n,
                                                     float *out, struct gdfo_error *err);

struct gdfo_partner_fit { /* borrowed during the call */
    const float *features;
    const uint32_t *gold;
    size_t n, n_labels, width;
    uint64_t seed; /* of the folds */
};
/* *head owned by caller. held_out [n][n_labels]: of every row, by the fold that did not see it. */
GDFO_MUST_USE enum gdfo_status gdfo_partner_fit(struct gdfo_head **head,
                                                const struct gdfo_partner_fit *fit, float *held_out,
                                                struct gdfo_error *err);
/* out [n][n_labels]: class log-probabilities. */
void gdfo_partner_apply(const struct gdfo_head *head, const float *features, size_t n, float *out);

#endif
