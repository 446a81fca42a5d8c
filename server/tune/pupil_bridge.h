#ifndef GDFO_SERVER_TUNE_PUPIL_BRIDGE_H
#define GDFO_SERVER_TUNE_PUPIL_BRIDGE_H

#include "server/model/model.h"
#include "server/model/train/bridge.h"

/* The student's tokenizer: its own, or the teacher's when the student's file brings none and has a
 * vocabulary of the same size; NULL when it has neither. */
const struct gdfo_tokenizer *gdfo_pupil_tokenizer(const struct gdfo_model *teacher,
                                                  const struct gdfo_model *student);

/* Fits the bridge between two models over the tokens that both spell alike, byte for byte.
 * *n_shared: how many. INVALID when there are fewer than 64. *out: owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_bridge_fit(struct gdfo_bridge **out,
                                                     const struct gdfo_model *teacher,
                                                     const struct gdfo_model *student,
                                                     size_t *n_shared, struct gdfo_error *err);

#endif
