#ifndef GDFO_SERVER_TUNE_SEARCH_MEASURE_H
#define GDFO_SERVER_TUNE_SEARCH_MEASURE_H

#include "server/tune/search_priv.h"

/*
 * Measurements of the student over a run. tau_student: does it order prompts as the teacher does,
 * at no call. cosine_student: does its prompt gradient point where the teacher's does; that needs
 * the teacher's weights, so it is for research on a local teacher: the yardstick is a student of
 * all the teacher's layers, untrained. Its work is no query and stands on no meter. Owner thread
 * only.
 */

/* A yardstick for opts.measure_cosine; *out stays NULL when it is not wanted. s is borrowed until
 * destroy. */
GDFO_MUST_USE enum gdfo_status gdfo_yardstick_create(struct gdfo_yardstick **out,
                                                     const struct gdfo_search *s,
                                                     struct gdfo_error *err);
void gdfo_yardstick_destroy(struct gdfo_yardstick *y);

/* Reports both for a generation that was asked and not yet told or learnt from: n prompts in
 * s->prompts with their losses in s->losses. */
GDFO_MUST_USE enum gdfo_status gdfo_search_measure(struct gdfo_search *s, uint32_t n,
                                                   struct gdfo_report *r, struct gdfo_error *err);

/* Reports the cosine of grad [P][H] with the teacher's own gradient at rows; needs a yardstick. */
GDFO_MUST_USE enum gdfo_status gdfo_search_measure_gradient(struct gdfo_search *s,
                                                            const float *rows, const float *grad,
                                                            struct gdfo_report *r,
                                                            struct gdfo_error *err);

/* Reports cosine_student at rows [P][H], when there is a yardstick. */
GDFO_MUST_USE enum gdfo_status gdfo_search_measure_at(struct gdfo_search *s, const float *rows,
                                                      struct gdfo_report *r,
                                                      struct gdfo_error *err);

#endif
