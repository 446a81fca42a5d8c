#ifndef GDFO_SERVER_TASK_TASK_H
#define GDFO_SERVER_TASK_TASK_H

#include "common/buf.h"
#include "common/error.h"
#include "server/task/dataset.h"
#include "server/task/kind.h"
#include "server/task/score.h"
#include "server/task/spec.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A task: text around an example, a cue, and the words that stand for each label. Made from a spec
 * (spec.h) and the labels of the training data (dataset.h); immutable afterwards, any thread.
 *
 *   gdfo_task_create(&task, &spec, labels, n_labels, is_pair, err);
 *   gdfo_task_render(task, row, &body, err);                 body: what stands before the cue
 *   gdfo_task_label_forms(&forms, task, &encoder, err);      token ids of every label word
 * (forms.h) gdfo_task_combine(task, lp_forms, n, lp);                [n][F] answers to [n][L] loss
 * = gdfo_task_loss(task, &answers, NULL);
 *
 * Kinds of task are plug-ins: one folder each, one line in task.def; only struct gdfo_task_ops
 * (kind.h) is seen from outside.
 */
struct gdfo_task;

/*
 * Joins a spec with the labels of the training data (copied; spec may end afterwards).
 *
 *   errors   INVALID: template slots that the data does not have, a label without a verbalizer
 *            entry, a word under two labels, a positive label that does not occur; err->field is
 *            the member ("/template"), to be prefixed by the caller
 */
GDFO_MUST_USE enum gdfo_status gdfo_task_create(struct gdfo_task **out,
                                                const struct gdfo_task_spec *spec,
                                                const char *const *labels, size_t n_labels,
                                                int is_pair, struct gdfo_error *err);
void gdfo_task_destroy(struct gdfo_task *t);

size_t gdfo_task_n_labels(const struct gdfo_task *t);
const char *gdfo_task_label(const struct gdfo_task *t, size_t label);
size_t gdfo_task_n_words(const struct gdfo_task *t, size_t label);
/* The form as it is scored: with its leading blank where label_space asks for one. */
const char *gdfo_task_word(const struct gdfo_task *t, size_t label, size_t i);
size_t gdfo_task_n_forms(const struct gdfo_task *t); /* F: words of all labels */
/* GDFO_TASK_MASK where the cue says {mask}. */
const char *gdfo_task_cue(const struct gdfo_task *t);
int gdfo_task_has_mask(const struct gdfo_task *t); /* {mask} in the template or in the cue */
int gdfo_task_is_pair(const struct gdfo_task *t);
/* A label of the verbalizer that the data lacks (worth a warning), or NULL. */
const char *gdfo_task_unused_label(const struct gdfo_task *t);
const struct gdfo_task_options *gdfo_task_options_of(const struct gdfo_task *t);

/* Appends the body of a row to out. INVALID when the row has another number of texts, LIMIT when
 * out's ceiling is reached. */
GDFO_MUST_USE enum gdfo_status gdfo_task_render(const struct gdfo_task *t,
                                                const struct gdfo_row *row, struct gdfo_buf *out,
                                                struct gdfo_error *err);

#endif
