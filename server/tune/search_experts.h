#ifndef GDFO_SERVER_TUNE_SEARCH_EXPERTS_H
#define GDFO_SERVER_TUNE_SEARCH_EXPERTS_H

#include "server/tune/search_priv.h"

/*
 * dfwe's experts p_1..p_k: prompts made without the teacher, kept as their moves from the first
 * rows, s->experts [k][P][H]. The search's map is p = centre + sum w_i (p_i - p0), so z holds the
 * weights, w = 0 is the first prompt and a unit vector is an expert. Owner thread only.
 */

/* Makes the experts and with them the search's map and optimiser. */
GDFO_MUST_USE enum gdfo_status gdfo_search_experts_make(struct gdfo_search *s,
                                                        struct gdfo_report *r,
                                                        struct gdfo_error *err);

/* Asks for as many of them as leave room for two generations; the best goes into the first one. */
GDFO_MUST_USE enum gdfo_status gdfo_search_experts_try(struct gdfo_search *s, struct gdfo_report *r,
                                                       struct gdfo_error *err);

#endif
