#ifndef GDFO_SERVER_TUNE_SEARCH_COMMITTEE_H
#define GDFO_SERVER_TUNE_SEARCH_COMMITTEE_H

#include "server/tune/search_priv.h"

/*
 * Who labels beside the tuned prompt: the best of the gallery, the calibrated plain prompt and the
 * partner, each by a weight (search_committee.c, search_partner.c). Owner thread only.
 */

/* The gallery, memory for the calibrated prompt's word, and the partner where there is one. */
GDFO_MUST_USE enum gdfo_status gdfo_search_committee_create(struct gdfo_search *s,
                                                            struct gdfo_error *err);
void gdfo_search_committee_destroy(struct gdfo_search *s);

/* Whether more than the one tuned prompt may label. */
int gdfo_search_has_committee(const struct gdfo_search *s);

/* Hangs a judged prompt in the gallery, when there is a committee. Its lp [train rows, dev rows]
 * [labels] is what its head says of rows it was not fitted on. */
GDFO_MUST_USE enum gdfo_status gdfo_search_hang(struct gdfo_search *s, const struct gdfo_picture *p,
                                                struct gdfo_error *err);
/* Weighs all voices anew and makes them part of the result, whose numbers are then theirs. */
GDFO_MUST_USE enum gdfo_status gdfo_search_elect(struct gdfo_search *s, struct gdfo_report *r,
                                                 struct gdfo_error *err);

/* The task's metric on the dev rows, under its name. */
void gdfo_search_report_dev(const struct gdfo_search *s, struct gdfo_report *r, double metric);

/* The partner's features and head, made at create; its numbers alone; its seat. */
GDFO_MUST_USE enum gdfo_status gdfo_search_partner_make(struct gdfo_search *s,
                                                        struct gdfo_error *err);
void gdfo_search_partner_report(const struct gdfo_search *s, struct gdfo_report *r);
GDFO_MUST_USE enum gdfo_status gdfo_search_partner_seat(const struct gdfo_search *s, double weight,
                                                        struct gdfo_artefact *a,
                                                        struct gdfo_error *err);

#endif
