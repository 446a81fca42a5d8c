/* Random search: every candidate drawn around p0 on its own. The row that any search has to beat.
 */
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {GDFO_SEARCH_OPTS_COMMON("random", "1", "full", "normal"),
                                       GDFO_SEARCH_OPTS_COMMITTEE("1", "0", "1"),
                                       {0}};

const struct gdfo_method_ops gdfo_method_random_ops = {
    .name = "random",
    .help = "random search around the initial prompt",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .default_evals = 200,
    .check = gdfo_search_check,
    .create = gdfo_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
};
