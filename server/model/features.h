#ifndef GDFO_SERVER_MODEL_FEATURES_H
#define GDFO_SERVER_MODEL_FEATURES_H

#include "server/model/forward.h"

/*
 * Sentence embeddings: the mean of a run's hidden states over all its positions, as sentence
 * encoders are read. f is best created with wants_features.
 *
 *   gdfo_features_mean(f, runs, n_runs, out, &err);        out [n_runs][d_model]
 *
 * What gdfo_forward_run says; the runs' scored is not looked at.
 */
GDFO_MUST_USE enum gdfo_status gdfo_features_mean(struct gdfo_forward *f,
                                                  const struct gdfo_run *runs, size_t n_runs,
                                                  float *out, struct gdfo_error *err);

#endif
