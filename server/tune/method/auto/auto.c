/* auto: needs no setting. For now gdfo with the head that cross-validation prefers, and it says so.
 */
#include "server/tune/gdfo_opts.h"
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {GDFO_SEARCH_OPTS_COMMON("cma", "1", "diagonal"),
                                       GDFO_SEARCH_OPTS_COMMITTEE("6", "4"),
                                       GDFO_SEARCH_OPTS_STUDENT,
                                       {0}};

const struct gdfo_method_ops gdfo_method_auto_ops = {
    .name = "auto",
    .help =
        "the best hybrid of this build: for now gdfo with the head that cross-validation prefers",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .needs_student = 1,
    .resolves_to = "gdfo",
    .default_evals = 200,
    .check = gdfo_search_check,
    .create = gdfo_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
};
