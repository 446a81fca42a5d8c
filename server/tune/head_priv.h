#ifndef GDFO_SERVER_TUNE_HEAD_PRIV_H
#define GDFO_SERVER_TUNE_HEAD_PRIV_H

#include "server/tune/head.h"
#include "server/tune/head_part.h"

#define GDFO_HEAD_N_KINDS 4 /* AUTO counted, its score never tried */

struct gdfo_head {
    struct gdfo_head_shape shape;
    struct gdfo_head_score scores[GDFO_HEAD_N_KINDS];
    struct gdfo_head_numbers numbers;
};

/* A head of all zeros with room for its numbers. */
GDFO_MUST_USE enum gdfo_status gdfo_head_make(struct gdfo_head **out, size_t n_labels,
                                              size_t n_anchors, struct gdfo_error *err);

#endif
