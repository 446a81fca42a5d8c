/*
 * auto: needs no setting. Most of what a teacher's answers are worth is had in the first calls
 * (method.md Part A): a head on the plain prompt's answers, the same under other cues, the start
 * prompt and a few of random words, pooled with the calibrated prompt and the student's own word.
 * Then the search, for prompts whose answers the head can use, as long as held-out rows say that it
 * gains.
 */
#include "server/tune/gdfo_opts.h"
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {
    GDFO_SEARCH_OPTS_COMMON("cma", "1", "diagonal", "normal"),
    GDFO_SEARCH_OPTS_COMMITTEE("6", "4", "3"),
    GDFO_SEARCH_OPT(partner, BOOL, "true", 0, 0, NULL,
                    "a student that is a sentence encoder labels beside the teacher"),
    GDFO_SEARCH_OPT(patience, INT, "4", 0, 1000, NULL,
                    "checks without gain that end the search, unless the job has early_stop; 0 = "
                    "none do"),
    GDFO_SEARCH_OPTS_STUDENT_OF("4", "false"),
    {0}};

static int wants_student(const void *options)
{
    const struct gdfo_search_opts *o = options;
    return o->distill || o->gradient || o->student_alone;
}

const struct gdfo_method_ops gdfo_method_auto_ops = {
    .name = "auto",
    .help = "the default: heads on a committee of prompts, times a student's own word, then search",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .resolves_to = "committee",
    .default_evals = 200,
    .check = gdfo_search_check,
    .create = gdfo_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
    .wants_student = wants_student,
    .takes_partner = 1,
};
