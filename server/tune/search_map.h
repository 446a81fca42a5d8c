#ifndef GDFO_SERVER_TUNE_SEARCH_MAP_H
#define GDFO_SERVER_TUNE_SEARCH_MAP_H

#include "server/tune/search_priv.h"

/*
 * gdfo's repaired stages 1 and 2 in one: the student proposes, the teacher disposes. The base
 * student's Jacobian of all label logits is corrected by every answer (space_map.h) instead of the
 * student being trained, which loses what its gradients knew (measured: method.md Part A). A step
 * inside a trust radius is proposed, asked for one eval, taken when the teacher's loss falls. It
 * ends when stage 1's evals are spent, when the radius has shrunk, or when predicted and true
 * losses no longer rank alike: then the search takes over from the best prompt. Owner thread only.
 */
GDFO_MUST_USE enum gdfo_status gdfo_search_map_create(struct gdfo_search_map **out,
                                                      const struct gdfo_search *s,
                                                      struct gdfo_error *err);
void gdfo_search_map_destroy(struct gdfo_search_map *m);

/* One proposal, one eval. *is_over: the search's turn. */
GDFO_MUST_USE enum gdfo_status gdfo_search_map_step(struct gdfo_search *s, int *is_over,
                                                    struct gdfo_report *r, struct gdfo_error *err);

void gdfo_search_map_save(const struct gdfo_search_map *m, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_search_map_load(struct gdfo_search_map *m, struct gdfo_span *in,
                                                    struct gdfo_error *err);

#endif
