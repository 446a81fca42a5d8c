#ifndef GDFO_CLIENT_CLI_BENCH_PLAN_H
#define GDFO_CLIENT_CLI_BENCH_PLAN_H

#include "common/buf.h"
#include "common/error.h"
#include "common/json.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A PLAN: which methods run on which tasks, with which seeds and budgets. It is one JSON file
 * (comments allowed); file names in it are meant beside it. Every combination is a cell, and one
 * cell is one job of the daemon. What methods, hyperparameters and task members mean is the
 * daemon's to say: a method added there is benchmarked here by naming it.
 *
 *   {"name": "mine", "model": "local", "seeds": [1, 2, 3], "budgets": [3, 30],
 *    "tasks":   [{"name": "mood", "train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl",
 *                 "task": {"template": "{text}", "cue": " It was"}}],
 *    "methods": [{"name": "bbt", "type": "bbt", "hyperparameters": {"popsize": 10}},
 *                {"name": "auto", "type": "auto", "variants": ["tuned", "tuned_no_head"]}],
 *    "also":    [{"methods": ["auto"], "tasks": ["mood"], "budgets": [1000]}],
 *    "reference": "auto", "baselines": ["manual", "calibrated"], "concurrency": 1, "test_rows":
 * 500}
 *
 * Strings are borrowed from the plan's own JSON, which lives as long as the plan.
 */
#define GDFO_BENCH_NAME_BYTES   33 /* of a task, method, plan or variant, with its NUL */
#define GDFO_BENCH_MODEL_BYTES  41
#define GDFO_BENCH_KEY_BYTES    129 /* a job's name */
#define GDFO_BENCH_PATH_BYTES   1024
#define GDFO_BENCH_MODELS_MAX   8
#define GDFO_BENCH_TASKS_MAX    32
#define GDFO_BENCH_METHODS_MAX  64
#define GDFO_BENCH_VARIANTS_MAX 6
#define GDFO_BENCH_SEEDS_MAX    64
#define GDFO_BENCH_BUDGETS_MAX  32
#define GDFO_BENCH_CELLS_MAX    100000

struct gdfo_bench_task {
    const char *name;
    char train[GDFO_BENCH_PATH_BYTES], dev[GDFO_BENCH_PATH_BYTES], test[GDFO_BENCH_PATH_BYTES];
    const struct gdfo_json *task; /* as the daemon takes it; NULL: its defaults */
};

struct gdfo_bench_method {
    const char *name, *type;
    const struct gdfo_json *hyperparameters, *options, *task; /* NULL when not given */
    const char *variants[GDFO_BENCH_VARIANTS_MAX];
    size_t n_variants; /* at least one */
};

struct gdfo_bench_cell {
    size_t model, task, method, seed, budget; /* places in the plan's lists */
    char key[GDFO_BENCH_KEY_BYTES];           /* model/task/method/s1/b30: the job's name */
};

struct gdfo_bench_plan {
    struct gdfo_json *root;
    const char *name;
    const char *models[GDFO_BENCH_MODELS_MAX];
    struct gdfo_bench_task tasks[GDFO_BENCH_TASKS_MAX];
    struct gdfo_bench_method methods[GDFO_BENCH_METHODS_MAX];
    const char *baselines[GDFO_BENCH_VARIANTS_MAX]; /* variants that no tuning touches */
    int64_t seeds[GDFO_BENCH_SEEDS_MAX];
    int64_t budgets[GDFO_BENCH_BUDGETS_MAX]; /* all that occur anywhere, rising */
    size_t n_models, n_tasks, n_methods, n_baselines, n_seeds, n_budgets;
    size_t reference;                  /* the method that the others are compared with */
    int64_t n_concurrent, n_test_rows; /* n_test_rows 0: all */
    struct gdfo_bench_cell *cells;     /* budgets outermost, then seeds: rows compare early */
    size_t n_cells, cap_cells;
};

/* Called once for every fault: a path like $.tasks[0].train, and what is wrong. */
typedef void (*gdfo_bench_fault)(void *ctx, const char *path, const char *detail);

/*
 * Reads the plan in text (changed in place: comments become blanks). INVALID after every fault was
 * told; *out: ended by gdfo_bench_plan_destroy(). path: of the plan, for the names in it.
 */
GDFO_MUST_USE enum gdfo_status gdfo_bench_plan_parse(struct gdfo_bench_plan **out, char *text,
                                                     size_t n, const char *path,
                                                     gdfo_bench_fault fault, void *ctx,
                                                     struct gdfo_error *err);
void gdfo_bench_plan_destroy(struct gdfo_bench_plan *plan); /* NULL is fine */

#endif
