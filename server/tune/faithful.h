#ifndef GDFO_SERVER_TUNE_FAITHFUL_H
#define GDFO_SERVER_TUNE_FAITHFUL_H

#include "common/error.h"
#include "server/teacher/teacher.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How faithful a model in reduced precision is to itself in float32, seen the way a search sees it:
 * the same candidate prompts, scored on the same labelled texts by both. What counts for a search
 * is the order of the candidates, so Kendall's tau-b of their losses stands beside the plain
 * differences.
 *
 * The probe asks GDFO_FAITHFUL_PROMPTS soft prompts on eight short labelled texts of our own, in
 * suffix position: five rows that begin as an instruction's words and are moved by a normal step of
 * the embedding's own deviation, as the first generation of a search is (method.md A, alpha 1). It
 * is the same for every model of one vocabulary and width, and a few seconds of work for a small
 * model. Two sets of labels are read from the same answers, one of two (is the text glad?) and one
 * of six (what is it about?): the more labels, the nearer the likeliest are to each other, and the
 * sooner rounding changes which it is. Owner thread only.
 *
 *   gdfo_faithful_probe(f32, model, &stop, reference, &err);      [GDFO_FAITHFUL_FLOATS]
 *   gdfo_faithful_probe(bf16, model, &stop, other, &err);
 *   gdfo_faithful_probe_compare(reference, other, &f, &err);
 *   if (gdfo_faithful_is_good(&f)) ...
 */
#define GDFO_FAITHFUL_PROMPTS 200
#define GDFO_FAITHFUL_TEXTS   8
#define GDFO_FAITHFUL_LABELS  8 /* of both sets */
#define GDFO_FAITHFUL_FLOATS                                                                       \
    ((size_t)GDFO_FAITHFUL_PROMPTS * GDFO_FAITHFUL_TEXTS * GDFO_FAITHFUL_LABELS)

#define GDFO_FAITHFUL_TAU_MIN       0.95
#define GDFO_FAITHFUL_AGREEMENT_MIN 0.99

struct gdfo_faithful {
    double lp_max, lp_mean; /* |difference| of the labels' log-probabilities */
    double agreement;       /* share of (prompt, text) pairs with the same likeliest label */
    double tau;             /* tau-b of the prompts' mean losses; NaN when one side is all ties */
};

struct gdfo_faithful_shape {
    size_t n_prompts, n_texts, n_labels;
    const uint32_t *gold;    /* [n_texts] */
    size_t first, n_columns; /* the labels are columns from first on, of n_columns an answer has */
};

/* reference, other: [n_prompts][n_texts][n_columns] log-probabilities over the full vocabulary. */
GDFO_MUST_USE enum gdfo_status gdfo_faithful_compare(const struct gdfo_faithful_shape *shape,
                                                     const float *reference, const float *other,
                                                     struct gdfo_faithful *out,
                                                     struct gdfo_error *err);
/* tau >= 0.95 and agreement >= 99 %: what `auto` asks of a precision. */
int gdfo_faithful_is_good(const struct gdfo_faithful *f);

/* gdfo_rank_tau of n pairs, but NaN when any is NaN: such a precision is not to be trusted. */
double gdfo_kendall_tau_b(const double *x, const double *y, size_t n);

/* lp [GDFO_FAITHFUL_FLOATS] of the built-in prompts and texts. CANCELLED soon after *stop is not
 * 0; stop may be NULL. */
GDFO_MUST_USE enum gdfo_status gdfo_faithful_probe(struct gdfo_teacher *teacher,
                                                   const struct gdfo_model *model,
                                                   const atomic_int *stop, float *lp,
                                                   struct gdfo_error *err);
/* Of two such answers, over both sets of labels: each number is that of the worse set. */
GDFO_MUST_USE enum gdfo_status gdfo_faithful_probe_compare(const float *reference,
                                                           const float *other,
                                                           struct gdfo_faithful *out,
                                                           struct gdfo_error *err);

#endif
