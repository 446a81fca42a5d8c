#ifndef GDFO_SERVER_TUNE_SEARCH_PRIV_H
#define GDFO_SERVER_TUNE_SEARCH_PRIV_H

#include "server/model/tokenizer/tokenizer.h"
#include "server/optim/optim.h"
#include "server/prompt/projection.h"
#include "server/teacher/stack.h"
#include "server/tune/deep.h"
#include "server/tune/gallery.h"
#include "server/tune/incumbent.h"
#include "server/tune/partner.h"
#include "server/tune/pupil.h"
#include "server/tune/search.h"

enum gdfo_search_stage {
    GDFO_STAGE_START,
    GDFO_STAGE_SCOUT,
    GDFO_STAGE_DISTIL,
    GDFO_STAGE_GRADIENT,
    GDFO_STAGE_SEARCH,
    GDFO_STAGE_COORDINATE,
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
    struct gdfo_deep *deep;             /* NULL: rows at the input alone, by the two above */
    size_t width, n_floats;             /* H; P x H, times the layers of a deep prompt */
    uint32_t n_anchors;
    int64_t asked_popsize; /* opts.popsize is what the budget allows */
    /* state */
    enum gdfo_search_stage stage;
    int64_t n_scouted; /* steps of the scout stage that were taken */
    int64_t generation, evals_at_check, evals_at_distil_end, n_checks_without_gain;
    float *start;    /* [P][H] p0 */
    float *centre;   /* [P][H] of the stage under way */
    float *experts;  /* [n_experts][P][H] their moves from p0; NULL without any */
    float *gradient; /* [P][H] the gradient prompt of an interleaved run */
    double scale;    /* s */
    struct gdfo_incumbent best, plain;
    struct gdfo_gallery gallery; /* of the judged prompts, when a committee may be elected */
    struct gdfo_head *partner;   /* NULL: no partner; made by create, like its answers */
    float *partner_votes;        /* [train rows held out, dev rows][labels] */
    float *calibrated;           /* [train rows held out, dev rows][labels] the plain prompt under
                                    its bias per class, which always has a voice */
    float *seated;           /* [train rows, dev rows] losses of what labels now: the elected and
                                their partner */
    int64_t n_seated;        /* how often that changed: the newest ranks first */
    struct gdfo_words words; /* averaged beside the label words; none at first */
    int64_t n_parallel;      /* train calls, a generation being one: as --parallel counts */
    struct gdfo_artefact *result;
    struct gdfo_head *baseline;
    double best_value; /* of selection, lower is better */
    int has_best_value;
    double gain_value; /* of early stop: the number at the last gain */
    int has_gain_value;
    /* scratch */
    double *z, *losses;
    float *prompts; /* [popsize][P][H] */
    struct gdfo_tune_budget caps;
};

/* What is judged: a prompt with the answers it was paid for. */
struct gdfo_search_subject {
    struct gdfo_incumbent *who;
    uint32_t n_prompt_tokens; /* 0: a plain prompt */
    const char *cue;          /* NULL: the task's */
    int is_scout;             /* for the committee alone: never the tuned prompt */
};

/* search_judge.c */
double gdfo_search_objective(const struct gdfo_search *s, const float *lp, const float *anchors,
                             struct gdfo_error *err);
/* A prompt of the search's own size under the task's cue. */
GDFO_MUST_USE enum gdfo_status gdfo_search_judge(struct gdfo_search *s, struct gdfo_incumbent *who,
                                                 struct gdfo_report *r, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_search_judge_subject(struct gdfo_search *s,
                                                         const struct gdfo_search_subject *subject,
                                                         struct gdfo_report *r,
                                                         struct gdfo_error *err);
/* The baselines; and the plain prompt as the result, until one with rows is judged. */
GDFO_MUST_USE enum gdfo_status gdfo_search_judge_plain(struct gdfo_search *s, struct gdfo_report *r,
                                                       struct gdfo_error *err);

/* search_scout.c: what is tried for the committee before the search, one prompt a step. */
int64_t gdfo_search_n_scouts(const struct gdfo_search *s);
GDFO_MUST_USE enum gdfo_status gdfo_search_scout(struct gdfo_search *s, int64_t i,
                                                 struct gdfo_report *r, struct gdfo_error *err);

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
void gdfo_search_report_generation(const struct gdfo_search *s, const struct gdfo_optim *o,
                                   uint32_t n, struct gdfo_report *r);
/* By the options of s; *out is the caller's. */
GDFO_MUST_USE enum gdfo_status gdfo_search_make_optim(const struct gdfo_search *s, size_t dim,
                                                      uint64_t seed, struct gdfo_optim **out,
                                                      struct gdfo_error *err);

/* The prompt at the mean of the stage's optimiser; of a deep search, the one it stands at. */
void gdfo_search_mean_prompt(struct gdfo_search *s, float *rows);
GDFO_MUST_USE enum gdfo_status gdfo_search_new_optimiser(struct gdfo_search *s, uint64_t seed,
                                                         struct gdfo_error *err);

#endif
