#ifndef GDFO_SERVER_TUNE_HEAD_PRIV_H
#define GDFO_SERVER_TUNE_HEAD_PRIV_H

#include "server/tune/head.h"
#include "server/tune/head_part.h"

#define GDFO_HEAD_N_KINDS 11 /* AUTO counted, its score never tried */

struct gdfo_head {
    struct gdfo_head_shape shape;
    struct gdfo_head_score scores[GDFO_HEAD_N_KINDS];
    struct gdfo_head_numbers numbers;
};

/* The kinds from simple to rich, GDFO_HEAD_N_KINDS - 1 of them: the order of the one-standard-error
 * rule. */
extern const enum gdfo_head_kind gdfo_head_by_simplicity[GDFO_HEAD_N_KINDS - 1];

/* What a kind's head on these rows takes. */
struct gdfo_head_shape gdfo_head_shape_for(const struct gdfo_head_data *d,
                                           enum gdfo_head_kind kind);

/* A head of all zeros with room for its numbers. */
GDFO_MUST_USE enum gdfo_status gdfo_head_make(struct gdfo_head **out,
                                              const struct gdfo_head_shape *shape,
                                              struct gdfo_error *err);

#endif
