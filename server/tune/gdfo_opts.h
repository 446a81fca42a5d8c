#ifndef GDFO_SERVER_TUNE_GDFO_OPTS_H
#define GDFO_SERVER_TUNE_GDFO_OPTS_H

#include "server/tune/search_opts.h"

/* The student's rows: what gdfo adds to the search core's options, and auto shares with it. */
#define GDFO_SEARCH_OPTS_STUDENT_OF(steps_default, is_on_default)                                  \
    GDFO_SEARCH_OPT(distill, BOOL, is_on_default, 0, 0, NULL,                                      \
                    "stage 1: the student learns from answers that were paid for anyway"),         \
        GDFO_SEARCH_OPT(gradient, BOOL, is_on_default, 0, 0, NULL,                                 \
                        "stage 2: the prompt that the frozen student's gradients give"),           \
        GDFO_SEARCH_OPT(search, BOOL, "true", 0, 0, NULL,                                          \
                        "stage 3: search around it on the teacher"),                               \
        GDFO_SEARCH_OPT(student_alone, BOOL, "false", 0, 0, NULL,                                  \
                        "ablation: the prompt that the untaught student's gradients lead to, no "  \
                        "teacher's answer in its making"),                                         \
        GDFO_SEARCH_OPT(distill_evals, INT, "0", 0, 1e7, NULL,                                     \
                        "evals of stage 1; 0 = two fifths of the budget"),                         \
        GDFO_SEARCH_OPT(distill_steps, INT, steps_default, 0, 1000, NULL,                          \
                        "student steps per generation; 0 = as published: one for each candidate, " \
                        "on all its rows"),                                                        \
        GDFO_SEARCH_OPT(distillation, ENUM, "published", 0, 0, "published|repaired",               \
                        "how the student follows the teacher: trained on its answers, or its "     \
                        "untrained gradients corrected by them, step by step and verified"),       \
        GDFO_SEARCH_OPT(schedule, ENUM, "sequential", 0, 0, "sequential|interleaved",              \
                        "published: stages one after the other, or all in every generation"),      \
        GDFO_SEARCH_OPT(gradient_weight, NUM, "0", 0, 100, NULL,                                   \
                        "weight of the gradient prompt; 0 = what the teacher likes best of "       \
                        "several (interleaved: 0.5)"),                                             \
        GDFO_SEARCH_OPT(distill_batch, INT, "32", 1, 4096, NULL,                                   \
                        "(prompt, example) pairs per student step"),                               \
        GDFO_SEARCH_OPT(                                                                           \
            mix_kd, NUM, "1", 0, 1, NULL,                                                          \
            "weight of the teacher's answers against gold labels in the student's loss"),          \
        GDFO_SEARCH_OPT(temperature, NUM, "4", 1e-3, 1e3, NULL, "of the distillation loss"),       \
        GDFO_SEARCH_OPT(lr_student, NUM, "0.0001", 0, 1, NULL, "AdamW rate of the student"),       \
        GDFO_SEARCH_OPT(                                                                           \
            student_layers, INT, "0", 0, 512, NULL,                                                \
            "first layers taken; 0 = all of another model, a fifth of the teacher's own"),         \
        GDFO_SEARCH_OPT(student_train, ENUM, "adapter", 0, 0, "adapter|full",                      \
                        "what of the student trains"),                                             \
        GDFO_SEARCH_OPT(adapter_rank, INT, "4", 1, 256, NULL, "rank of the adapters"),             \
        GDFO_SEARCH_OPT(allow_same_student, BOOL, "false", 0, 0, NULL,                             \
                        "let the student be the teacher's own file at full depth"),                \
        GDFO_SEARCH_OPT(prompt_steps, INT, "30", 1, 10000, NULL,                                   \
                        "gradient steps of the prompt through the student"),                       \
        GDFO_SEARCH_OPT(lr_prompt, NUM, "0.01", 0, 10, NULL, "Adam rate of the prompt rows"),      \
        GDFO_SEARCH_OPT(alpha_final, NUM, "0.5", 1e-6, 1e3, NULL, "radius of stage 3"),            \
        GDFO_SEARCH_OPT(                                                                           \
            measure_cosine, BOOL, "false", 0, 0, NULL,                                             \
            "research: measure the angle between the student's and the teacher's gradients with "  \
            "the local teacher's own weights; a black box has none, and it is on no meter")

#endif
