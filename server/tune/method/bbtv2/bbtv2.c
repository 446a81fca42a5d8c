/* BBTv2 (Sun et al., EMNLP 2022; method.md section 2): rows before every layer, each layer with a
 * CMA-ES of its own, bottom first. Covariance is off by default: at the original's 16 generations
 * in 500 dimensions the full matrix moves by 0.07 %, and one for each layer would fill a snapshot.
 * The head is off as published; head auto reads it as bbt is read. */
#include "server/tune/deep.h"

static const struct gdfo_opt opts[] = {GDFO_SEARCH_OPTS_BODY("cma", "0.2", "none", "normal", "10",
                                                             "instruction", "none",
                                                             "instruction|vocab|zeros"),
                                       GDFO_SEARCH_OPTS_DEEP("1"),
                                       {0}};

const struct gdfo_method_ops gdfo_method_bbtv2_ops = {
    .name = "bbtv2",
    .help = "rows before every layer, searched layer by layer (Sun et al., EMNLP 2022)",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .default_evals = 300,
    .check = gdfo_deep_check,
    .create = gdfo_deep_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
    .needs_layers = 1,
};
