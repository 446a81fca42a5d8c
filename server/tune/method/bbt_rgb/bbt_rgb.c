/* BBT-RGB (Sun, Han et al., LREC-COLING 2024; method.md section 3) on top of bbtv2: R a second
 * stage of coordinate search, G several averaged words for each class, B an instruction and one
 * demonstration as the first rows. Radii are those of its script: 0.5 at the input, a fifth of it
 * behind. */
#include "server/tune/deep.h"

static const struct gdfo_opt opts[] = {
    GDFO_SEARCH_OPTS_BODY("cma", "0.5", "none", "normal", "50", "demonstration", "none",
                          "instruction|vocab|zeros|demonstration"),
    GDFO_SEARCH_OPTS_DEEP("0.2"),
    GDFO_SEARCH_OPTS_RGB,
    {0}};

const struct gdfo_method_ops gdfo_method_bbt_rgb_ops = {
    .name = "bbt-rgb",
    .help = "bbtv2 with a second stage, averaged words and a demonstration (Sun, Han et al., 2024)",
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
