#ifndef GDFO_SERVER_TUNE_SEARCH_PRIV_H
#define GDFO_SERVER_TUNE_SEARCH_PRIV_H

#include "server/optim/optim.h"
#include "server/prompt/projection.h"
#include "server/teacher/stack.h"
#include "server/tune/gallery.h"
#include "server/tune/incumbent.h"
#include "server/tune/pupil.h"
#include "server/tune/search.h"

enum gdfo_search_stage {
    GDFO_STAGE_START,
    GDFO_STAGE_DISTIL,
    GDFO_STAGE_GRADIENT,
    GDFO_STAGE_SEARCH,
    GDFO_STAGE_DONE
};

struct gdfo_search {
    struct gdfo_tune_env env; /* borrowed members, copied struct */
    struct gdfo_search_opts opts;
    struct gdfo_evaluator *evaluator;
    struct gdfo_pupil *pupil;         /* NULL without a student */
    struct gdfo_search_map *map;      /* NULL unless distillation is repaired */
    struct gdfo_yardstick *yardstick; /* NULL unless the cosine is measured */
    char pupil_note[240];
    struct gdfo_projection *projection; /* A, with alpha folded in */
    struct gdfo_optim *optim;           /* of the stage under way */
    size_t n_floats;                    /* P x H */
    uint32_t n_anchors;
    int64_t asked_popsize; /* opts.popsize is what the budget allows */
    /* state */
    enum gdfo_search_stage stage;
    int64_t generation, evals_at_check, evals_at_distil_end, n_checks_without_gain;
    float *start;    /* [P][H] p0 */
    float *centre;   /* [P][H] of the stage under way */
    float *experts;  /* [n_experts][P][H] their moves from p0; NULL without any */
    float *gradient; /* [P][H] the gradient prompt of an interleaved run */
    double scale;    /* s */
    struct gdfo_incumbent best, plain;
    struct gdfo_gallery gallery; /* of the judged prompts, when a committee may be elected */
    struct gdfo_artefact *result;
    struct gdfo_head *baseline;
    double best_value; /* of selection, lower is better */
    int has_best_value;
    double gain_value; /* of early stop: the number at the last gain */
    int has_gain_value;
    /* scratch */
    int is_scouting; /* what is judged is for the committee alone */
    double *z, *losses;
    float *prompts; /* [popsize][P][H] */
    struct gdfo_tune_budget caps;
};

/* search_judge.c */
double gdfo_search_objective(const struct gdfo_search *s, const float *lp, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_search_judge(struct gdfo_search *s, struct gdfo_incumbent *who,
                                                 struct gdfo_report *r, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_search_judge_plain(struct gdfo_search *s, struct gdfo_report *r,
                                                       struct gdfo_error *err);

/* search_gradient.c: the gradient stage, calls included; moves the centre. */
GDFO_MUST_USE enum gdfo_status gdfo_search_gradient(struct gdfo_search *s, struct gdfo_report *r,
                                                    struct gdfo_error *err);

/* Interleaved: some gradient steps more of the gradient prompt, which moves the centre. */
GDFO_MUST_USE enum gdfo_status gdfo_search_interleave(struct gdfo_search *s, struct gdfo_report *r,
                                                      struct gdfo_error *err);

/* The prompt at the end of the descent through the untaught student, asked once: for its head, for
 * the report, and for nothing else. */
GDFO_MUST_USE enum gdfo_status gdfo_search_student_alone(struct gdfo_search *s,
                                                         struct gdfo_report *r,
                                                         struct gdfo_error *err);

/* search.c: train evals that every cap still allows. */
int64_t gdfo_search_evals_left(const struct gdfo_search *s);

/* search.c: evaluates n prompts in s->prompts on the train rows, fills s->losses, keeps the best.
 */
GDFO_MUST_USE enum gdfo_status gdfo_search_try(struct gdfo_search *s, uint32_t n,
                                               struct gdfo_evaluation *e, struct gdfo_report *r,
                                               struct gdfo_error *err);
/* A, anew: of the options, or of the experts. */
GDFO_MUST_USE enum gdfo_status gdfo_search_new_projection(struct gdfo_search *s,
                                                          struct gdfo_error *err);
/* The prompt at the mean of the stage's optimiser. */
void gdfo_search_mean_prompt(struct gdfo_search *s, float *rows);
GDFO_MUST_USE enum gdfo_status gdfo_search_new_optimiser(struct gdfo_search *s, uint64_t seed,
                                                         struct gdfo_error *err);

#endif
