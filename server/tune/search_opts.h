#ifndef GDFO_SERVER_TUNE_SEARCH_OPTS_H
#define GDFO_SERVER_TUNE_SEARCH_OPTS_H

#include "common/opt.h"
#include "server/tune/fake.h"

#include <stdint.h>

/*
 * Every knob of the search core. random, bbt and gdfo are configurations of it: each method has its
 * own table over this struct, with its own defaults (method.md 4.3: p = p0 + g + s A z).
 */
enum gdfo_search_optimiser { GDFO_SEARCH_CMA, GDFO_SEARCH_RANDOM };
enum gdfo_search_init {
    GDFO_INIT_INSTRUCTION,
    GDFO_INIT_VOCAB,
    GDFO_INIT_ZEROS,
    GDFO_INIT_DEMONSTRATION
};
enum gdfo_search_objective {
    GDFO_OBJECTIVE_LABELS,
    GDFO_OBJECTIVE_CALIBRATED,
    GDFO_OBJECTIVE_HEAD
};
enum gdfo_distillation { GDFO_DISTILLATION_PUBLISHED, GDFO_DISTILLATION_REPAIRED };
enum gdfo_schedule { GDFO_SCHEDULE_SEQUENTIAL, GDFO_SCHEDULE_INTERLEAVED };
enum gdfo_search_head {
    GDFO_SEARCH_HEAD_AUTO,
    GDFO_SEARCH_HEAD_NONE,
    GDFO_SEARCH_HEAD_BIAS,
    GDFO_SEARCH_HEAD_ANCHORS
};

struct gdfo_search_opts {
    int64_t n_prompt_tokens, intrinsic_dim, popsize;
    int optimiser, projection, step_size, covariance, prompt_init, objective, head;
    char instruction[GDFO_OPT_STR_BYTES]; /* "" = made from the labels */
    double alpha;                         /* radius of the search: scale of A */
    double step_size_init;
    int64_t n_anchors;
    int64_t n_committee; /* prompts whose answers are averaged; 1: the best alone */
    int64_t n_experts, n_gradient_experts, n_student_experts; /* dfwe; 0 experts: another method */
    int64_t n_scouts;    /* prompts of random words tried before the search */
    int teacher_answers; /* enum gdfo_fake: what reaches the method */
    int64_t n_cues;      /* plain prompts under so many cues, the task's own counted */
    int64_t patience;    /* checks without gain that end a search; 0: none do */
    int partner;         /* a sentence encoder labels along where there is one */
    /* gdfo */
    int distill, gradient, search; /* ablation switches */
    int student_alone;             /* the prompt without one teacher answer in its making */
    int64_t distill_evals;         /* evals of stage 1; 0 = two fifths of the budget */
    int64_t distill_steps;         /* student steps per generation */
    int64_t distill_batch;         /* (prompt, example) pairs per step */
    double mix_kd, temperature, lr_student;
    int64_t student_layers; /* 0 = all of another model; a fifth of the teacher's own */
    int student_train;      /* adapter | full */
    int64_t adapter_rank;
    int allow_same_student;
    int64_t prompt_steps; /* gradient steps of the prompt through the student */
    double lr_prompt;
    int distillation, schedule; /* of gdfo_distillation, gdfo_schedule */
    double gradient_weight;     /* of the gradient prompt; 0: the teacher tries several */
    double alpha_final;         /* radius of stage 3 */
    int measure_cosine;         /* of student and teacher gradients: research on a local teacher */
    /* bbtv2 and bbt-rgb */
    int is_deep;              /* of the method, no row: rows before every layer */
    int64_t layers;           /* searched, spread evenly; 0 = as many as get two generations */
    double alpha_deeper;      /* radius of the layers behind the first, in alphas */
    int coordinate;           /* the second stage of bbt-rgb */
    int64_t coordinate_evals; /* its evals; 0 = three sevenths of the budget */
    double coordinate_step;
    int64_t n_words; /* per class, averaged; 0 and 1: the label words alone */
    int64_t n_demos; /* demonstrations tried for the first rows */
};

#define GDFO_SEARCH_OPT(name, type, fallback, min, max, choices, help)                             \
    {                                                                                              \
#        name, GDFO_OPT_##type, offsetof(struct gdfo_search_opts, name), fallback, min, max,       \
            choices, help                                                                          \
    }

/* Rows that all methods share; defaults where methods differ are arguments. */
#define GDFO_SEARCH_OPTS_COMMON(optimiser_default, alpha_default, covariance_default,              \
                                projection_default)                                                \
    GDFO_SEARCH_OPTS_BODY(optimiser_default, alpha_default, covariance_default,                    \
                          projection_default, "10", "instruction", "auto",                         \
                          "instruction|vocab|zeros")

#define GDFO_SEARCH_OPTS_BODY(optimiser_default, alpha_default, covariance_default,                \
                              projection_default, rows_default, init_default, head_default,        \
                              init_choices)                                                        \
    GDFO_SEARCH_OPT(n_prompt_tokens, INT, rows_default, 1, 200, NULL, "rows of the soft prompt"),  \
        GDFO_SEARCH_OPT(intrinsic_dim, INT, "500", 1, 16384, NULL,                                 \
                        "dimension of the search vector z"),                                       \
        GDFO_SEARCH_OPT(popsize, INT, "20", 4, 256, NULL, "candidates per generation"),            \
        GDFO_SEARCH_OPT(optimiser, ENUM, optimiser_default, 0, 0, "cma|random",                    \
                        "how z is searched"),                                                      \
        GDFO_SEARCH_OPT(                                                                           \
            projection, ENUM, projection_default, 0, 0, "normal|uniform|identity|vocab",           \
            "the fixed map from z to rows; identity needs intrinsic_dim = rows x width"),          \
        GDFO_SEARCH_OPT(step_size, ENUM, "tpa", 0, 0, "csa|tpa", "step-size rule of CMA-ES"),      \
        GDFO_SEARCH_OPT(covariance, ENUM, covariance_default, 0, 0, "full|diagonal|none",          \
                        "covariance of CMA-ES"),                                                   \
        GDFO_SEARCH_OPT(                                                                           \
            alpha, NUM, alpha_default, 1e-6, 1e3, NULL,                                            \
            "radius: with z normal, rows move by alpha times the embedding's deviation"),          \
        GDFO_SEARCH_OPT(step_size_init, NUM, "1", 1e-6, 1e3, NULL, "first step size in z"),        \
        GDFO_SEARCH_OPT(prompt_init, ENUM, init_default, 0, 0, init_choices,                       \
                        "first rows: an instruction's words, random words, zeros, or the "         \
                        "instruction and one train example"),                                      \
        GDFO_SEARCH_OPT(instruction, STR, "", 0, 0, NULL,                                          \
                        "text of the first rows, under 64 bytes; empty = made from the labels"),   \
        GDFO_SEARCH_OPT(                                                                           \
            objective, ENUM, "labels", 0, 0, "labels|calibrated|head",                             \
            "what is searched: the loss of the label words, that after a bias per class, or the "  \
            "held-out loss of the head"),                                                          \
        GDFO_SEARCH_OPT(head, ENUM, head_default, 0, 0, "auto|none|bias|anchors",                  \
                        "classifier on top of the answers; auto = what cross-validation prefers"), \
        GDFO_SEARCH_OPT(n_anchors, INT, "128", 0, 128, NULL,                                       \
                        "anchor tokens asked in every query"),                                     \
        GDFO_SEARCH_OPT(teacher_answers, ENUM, "real", 0, 0, GDFO_FAKE_CHOICES, GDFO_FAKE_HELP)

/* How many prompts label together, and where the first of them come from. */
#define GDFO_SEARCH_OPTS_COMMITTEE(committee_default, scouts_default, cues_default)                \
    GDFO_SEARCH_OPT(n_committee, INT, committee_default, 1, 16, NULL,                              \
                    "judged prompts whose answers are averaged; 1 = the best alone"),              \
        GDFO_SEARCH_OPT(n_scouts, INT, scouts_default, 0, 16, NULL,                                \
                        "prompts of random words tried before the search"),                        \
        GDFO_SEARCH_OPT(n_cues, INT, cues_default, 1, 4, NULL,                                     \
                        "cues the plain prompt is tried with: the task's own and general ones")

/* Prompts before every layer: bbtv2, and bbt-rgb which stands on it. */
#define GDFO_SEARCH_OPTS_DEEP(alpha_deeper_default)                                                \
    GDFO_SEARCH_OPT(layers, INT, "0", 0, 512, NULL,                                                \
                    "layers searched, spread evenly, the input being the first; 0 = as many as "   \
                    "the budget gives two generations each"),                                      \
        GDFO_SEARCH_OPT(alpha_deeper, NUM, alpha_deeper_default, 1e-6, 1e3, NULL,                  \
                        "radius of the layers behind the input, as a multiple of alpha")

/* The three plug-ins of bbt-rgb. */
#define GDFO_SEARCH_OPTS_RGB                                                                       \
    GDFO_SEARCH_OPT(coordinate, BOOL, "true", 0, 0, NULL,                                          \
                    "second stage: one coordinate after the other, layer by layer"),               \
        GDFO_SEARCH_OPT(coordinate_evals, INT, "0", 0, 1e7, NULL,                                  \
                        "evals of the second stage; 0 = three sevenths of the budget"),            \
        GDFO_SEARCH_OPT(coordinate_step, NUM, "1", 1e-6, 1e3, NULL, "step of a coordinate in z"),  \
        GDFO_SEARCH_OPT(                                                                           \
            n_words, INT, "5", 1, 16, NULL,                                                        \
            "words averaged for each class, the others chosen from the anchor tokens"),            \
        GDFO_SEARCH_OPT(n_demos, INT, "8", 0, 255, NULL,                                           \
                        "train examples tried as the demonstration, an eval each")

#endif
