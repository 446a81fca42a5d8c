/* GDFO (Han et al., Findings of ACL 2023; method.md section 4.3): all three stages, each with its
 * switch. */
#include "server/tune/gdfo_opts.h"
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {GDFO_SEARCH_OPTS_COMMON("cma", "1", "diagonal", "normal"),
                                       GDFO_SEARCH_OPTS_COMMITTEE("1", "0", "1"),
                                       GDFO_SEARCH_OPTS_STUDENT_OF("0", "true"),
                                       {0}};

const struct gdfo_method_ops gdfo_method_gdfo_ops = {
    .name = "gdfo",
    .help = "distillation, gradient prompt and CMA-ES combined (Han et al., Findings of ACL 2023)",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .needs_student = 1,
    .default_evals = 200,
    .check = gdfo_search_check,
    .create = gdfo_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
};
