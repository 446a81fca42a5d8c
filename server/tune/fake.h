#ifndef GDFO_SERVER_TUNE_FAKE_H
#define GDFO_SERVER_TUNE_FAKE_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The fake teacher: answers that were paid for, made worthless before a method sees them, so that
 * a run beside a real one shows what the teacher's calls are worth (method.md 5.2: much of a
 * published gain can be the student's alone). Pure: the fake answer to a prompt depends on the
 * seed, the prompt's rows and the set of examples, not on when it is asked. Any thread.
 *
 *   SHUFFLED   the answers of a prompt are dealt to its examples anew: whole rows of labels,
 *              anchors and hidden states
 *   RANDOM     every column is drawn from a normal distribution of the mean and deviation that the
 *              prompt's answers have in it; no log-probabilities any more
 */
#define GDFO_FAKE_CHOICES "real|shuffled|random" /* for option tables, in the order of the enum */
#define GDFO_FAKE_HELP                                                                             \
    "ablation: answers are paid for, then shuffled between the rows or replaced by random ones; "  \
    "the result is worth nothing"
enum gdfo_fake { GDFO_FAKE_REAL, GDFO_FAKE_SHUFFLED, GDFO_FAKE_RANDOM };

struct gdfo_fake_answers { /* of one prompt */
    float *lp, *anchors,
        *hidden; /* [n][n_labels], [n][n_anchors], [n][d_model]; changed in place */
    size_t n, n_labels, n_anchors, d_model;
};

/* rows [n_floats]: the prompt that was asked. */
GDFO_MUST_USE enum gdfo_status gdfo_fake_answer(const struct gdfo_fake_answers *a,
                                                enum gdfo_fake kind, uint64_t seed,
                                                const float *rows, size_t n_floats,
                                                struct gdfo_error *err);

struct gdfo_report;
/* The warning that belongs into the first step of such a run; nothing for REAL. */
void gdfo_fake_report(enum gdfo_fake kind, struct gdfo_report *r);

#endif
