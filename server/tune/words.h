#ifndef GDFO_SERVER_TUNE_WORDS_H
#define GDFO_SERVER_TUNE_WORDS_H

#include "common/buf.h"
#include "common/error.h"
#include "common/span.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Several words for each class, averaged: BBT-RGB's multi-mixed verbalizer (method.md 3, G). Word
 * sets hold one word for each class; the first is the label's own, the further ones are anchor
 * tokens that the teacher answers anyway. A class's number is the plain mean over its words. Plain
 * data, owned by who fills it.
 *
 * The original takes its sets from a list that another program found on the same few rows. Here
 * they are found from the rows' answers: set by set, class by class, the token whose addition
 * lowers the mean cross-entropy of the rows most, for as long as a set lowers it. So the train loss
 * of the averaged words is never above that of the label words.
 */
#define GDFO_WORD_SETS_MAX 15U /* beside the label's own word */

struct gdfo_words {
    uint32_t n_labels, n_sets;
    uint32_t *at; /* [n_sets][n_labels], owned: which anchor */
};

struct gdfo_words_data {  /* borrowed; one prompt's answers on the rows */
    const float *lp;      /* [n][n_labels], of the label words */
    const float *anchors; /* [n][n_anchors] */
    const uint32_t *gold; /* [n] */
    size_t n, n_labels, n_anchors;
};

/* At most n_sets of them, none where no token helps. w is empty or loaded before; what it held is
 * gone. Draws nothing: same answers, same words. */
GDFO_MUST_USE enum gdfo_status gdfo_words_choose(struct gdfo_words *w,
                                                 const struct gdfo_words_data *d, uint32_t n_sets,
                                                 struct gdfo_error *err);
void gdfo_words_deinit(struct gdfo_words *w);
GDFO_MUST_USE enum gdfo_status gdfo_words_copy(struct gdfo_words *to, const struct gdfo_words *from,
                                               struct gdfo_error *err);

/* lp [n][n_labels]: label words in, means out. anchors [n][n_anchors]. */
void gdfo_words_apply(const struct gdfo_words *w, float *lp, const float *anchors, size_t n_anchors,
                      size_t n);

void gdfo_words_save(const struct gdfo_words *w, struct gdfo_buf *out);
/* CORRUPT for another number of labels, or a word past n_anchors. */
GDFO_MUST_USE enum gdfo_status gdfo_words_load(struct gdfo_words *w, struct gdfo_span *in,
                                               size_t n_labels, size_t n_anchors,
                                               struct gdfo_error *err);

#endif
