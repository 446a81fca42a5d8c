#ifndef GDFO_SERVER_TUNE_ARTEFACT_H
#define GDFO_SERVER_TUNE_ARTEFACT_H

#include "common/buf.h"
#include "common/error.h"
#include "server/teacher/teacher.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What tuning leaves: the prompt rows, the head on top of them, and the two baselines of the same
 * data (the plain manual prompt and its per-class bias), so that every prediction can be made with
 * and without each part. Saved as one block of bytes, exact to the bit.
 */
struct gdfo_head;

struct gdfo_artefact {
    uint32_t n_prompt_tokens, d_model;
    enum gdfo_position position;
    float *rows;            /* [n_prompt_tokens][d_model], owned */
    struct gdfo_head *head; /* on the tuned prompt's answers, owned */
    struct gdfo_head
        *baseline;       /* bias head on the plain prompt's answers, owned: "calibration only" */
    int32_t *anchor_ids; /* [n_anchors], owned; asked in every query when the head needs them */
    uint32_t n_anchors;
    int64_t evals, queries;                  /* spent when it was found */
    double loss_train, loss_dev, metric_dev; /* with the head; NaN when not measured */
};

struct gdfo_artefact *gdfo_artefact_create(void); /* all empty; NULL when out of memory */
void gdfo_artefact_destroy(struct gdfo_artefact *a);
void gdfo_artefact_save(const struct gdfo_artefact *a, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_artefact_load(struct gdfo_artefact **out, const void *bytes,
                                                  size_t n, struct gdfo_error *err);

#endif
