/* DFWE, derivative-free weighting of experts (after arXiv 2307.03506; method.md section 7) on
 * prompts: a handful of candidate prompts, mixed by weights that CMA-ES with a full covariance
 * finds: few enough numbers for it to learn how they depend on each other. */
#include "server/tune/search.h"

static const struct gdfo_opt opts[] = {
    GDFO_SEARCH_OPTS_COMMON("cma", "1", "full", "normal"),
    GDFO_SEARCH_OPTS_COMMITTEE("1", "0", "1"),
    GDFO_SEARCH_OPT(n_experts, INT, "6", 2, 20, NULL,
                    "prompts that are mixed, each with a weight: the dimension of the search; "
                    "intrinsic_dim and projection are not used"),
    GDFO_SEARCH_OPT(n_gradient_experts, INT, "2", 0, 20, NULL,
                    "of them, ends of descents through students of rising depth; the rest are "
                    "instructions and random words in turn"),
    GDFO_SEARCH_OPT(n_student_experts, INT, "0", 0, 12, NULL,
                    "as published: each student is a mixture of so many, fine-tuned on halves of "
                    "the gold labels, at weights that CMA-ES finds; 0 = the untaught student"),
    GDFO_SEARCH_OPT(adapter_rank, INT, "4", 1, 256, NULL, "rank of what they train"),
    GDFO_SEARCH_OPT(student_layers, INT, "0", 0, 512, NULL,
                    "layers of the deepest student; 0 = all of another model, a fifth of the "
                    "teacher's own"),
    GDFO_SEARCH_OPT(allow_same_student, BOOL, "false", 0, 0, NULL,
                    "let the student be the teacher's own file at full depth"),
    GDFO_SEARCH_OPT(prompt_steps, INT, "30", 1, 10000, NULL,
                    "gradient steps of an expert through its student"),
    GDFO_SEARCH_OPT(lr_prompt, NUM, "0.01", 0, 10, NULL, "Adam rate of the prompt rows"),
    {0}};

const struct gdfo_method_ops gdfo_method_dfwe_ops = {
    .name = "dfwe",
    .help = "a few expert prompts mixed by weights that CMA-ES finds (after arXiv 2307.03506)",
    .options_bytes = sizeof(struct gdfo_search_opts),
    .opts = opts,
    .needs_soft_rows = 1,
    .needs_student = 1,
    .default_evals = 100,
    .check = gdfo_search_check,
    .create = gdfo_search_create,
    .step = gdfo_search_step,
    .save = gdfo_search_save,
    .load = gdfo_search_load,
    .result = gdfo_search_result,
    .destroy = gdfo_search_destroy,
};
