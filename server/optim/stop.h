#ifndef GDFO_SERVER_OPTIM_STOP_H
#define GDFO_SERVER_OPTIM_STOP_H

#include "server/optim/optim.h"
#include "server/optim/state_io.h"

/*
 * The stop rules, shared by all optimiser plug-ins: one struct with what has to be remembered, one
 * predicate for each reason. Part of the core (optim.c).
 */
#define GDFO_OPTIM_HISTORY_MAX 4096

struct gdfo_optim_stopper {
    struct gdfo_optim_stop_rules rules; /* defaults filled in */
    double *history;                    /* [n_history] best loss of the last generations, a ring */
    size_t n_history;
    uint64_t n_seen; /* generations with a finite loss */
    uint64_t n_flat; /* generations in a row whose losses were all equal */
    uint64_t best_generation;
    double range; /* largest minus smallest finite loss of the last generation */
};

GDFO_MUST_USE enum gdfo_status gdfo_optim_stopper_init(struct gdfo_optim_stopper *s,
                                                       const struct gdfo_optim_spec *spec,
                                                       size_t popsize, struct gdfo_error *err);
void gdfo_optim_stopper_deinit(struct gdfo_optim_stopper *s);

/* Takes note of one generation with at least one finite loss. */
struct gdfo_optim_losses {
    double lowest, highest; /* of the finite ones */
    int all_finite, is_new_best;
    uint64_t generation;
};
void gdfo_optim_stopper_note(struct gdfo_optim_stopper *s, const struct gdfo_optim_losses *l);
enum gdfo_optim_stop gdfo_optim_stopper_check(const struct gdfo_optim_stopper *s,
                                              const struct gdfo_optim_view *v);
void gdfo_optim_stopper_save(const struct gdfo_optim_stopper *s, struct gdfo_buf *buf);
void gdfo_optim_stopper_load(struct gdfo_optim_stopper *s, struct gdfo_optim_reader *r);

#endif
