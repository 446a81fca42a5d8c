#ifndef GDFO_SERVER_TUNE_SEARCH_DEMO_H
#define GDFO_SERVER_TUNE_SEARCH_DEMO_H

#include "server/tune/search_priv.h"

/* What the search core starts from: the instruction, bbt-rgb's demonstration and its words. */
/* Token ids of the instruction, appended. */
GDFO_MUST_USE enum gdfo_status gdfo_search_instruction(const struct gdfo_search *s,
                                                       struct gdfo_ids *ids,
                                                       struct gdfo_error *err);

/* Words averaged from here on, chosen from what the plain prompt answered: the
 * baselines keep the label words alone. */
GDFO_MUST_USE enum gdfo_status gdfo_search_choose_words(struct gdfo_search *s,
                                                        struct gdfo_report *r,
                                                        struct gdfo_error *err);

/* The first prompt, or with prompt_init demonstration the best of several:
 * evaluated, and the centre of all that follows. */
GDFO_MUST_USE enum gdfo_status gdfo_search_first_prompt(struct gdfo_search *s,
                                                        struct gdfo_report *r,
                                                        struct gdfo_error *err);

#endif
