/* BBT (Sun et al., ICML 2022; method.md section 1) on inserted rows: CMA-ES around p0, no student.
 */
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {GDFO_SEARCH_OPTS_COMMON("cma", "1", "full", "normal"),
                                       GDFO_SEARCH_OPTS_COMMITTEE("1", "0", "1"),
                                       {0}};

const struct gdfo_method_ops gdfo_method_bbt_ops = {
    .name = "bbt",
    .help = "CMA-ES in a random subspace of the prompt (Sun et al., ICML 2022)",
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
