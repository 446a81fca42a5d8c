#ifndef GDFO_SERVER_TUNE_PUPIL_MIX_H
#define GDFO_SERVER_TUNE_PUPIL_MIX_H

#include "server/tune/pupil.h"

/*
 * DFWE as published, on a student's adapters (arXiv 2307.03506, abstract; method.md section 7):
 * experts are the same student fine-tuned on the gold labels of different halves of the train rows,
 * and CMA-ES finds the weights at which their weights, interpolated, have the least gold loss on
 * all rows. The student becomes that mixture. No call of the teacher. Owner thread only.
 */
struct gdfo_pupil_mix {
    const float *rows; /* [P][H] the prompt under which it is tuned and judged */
    uint32_t n_experts;
    int64_t steps;             /* AdamW steps of each expert */
    double loss_average, loss; /* out: of the plain average of the experts, of the mixture */
};

/* For a pupil that trains (distill). errors: CANCELLED between steps. */
GDFO_MUST_USE enum gdfo_status gdfo_pupil_mix(struct gdfo_pupil *p, const struct gdfo_tune_env *env,
                                              struct gdfo_pupil_mix *mix, struct gdfo_error *err);

#endif
