#ifndef GDFO_CLIENT_CLI_BENCH_PLAN_PRIV_H
#define GDFO_CLIENT_CLI_BENCH_PLAN_PRIV_H

#include "client/cli/bench/plan.h"

/* What plan.c (members) and plan_grid.c (which combinations run) share. */
#define GDFO_PLAN_PATH_BYTES 128
#define GDFO_PLAN_RULES_MAX  (GDFO_BENCH_METHODS_MAX + 64)

/* Where in the plan: a value and its path, "$.methods[2]". */
struct gdfo_plan_at {
    const struct gdfo_json *v;
    char path[GDFO_PLAN_PATH_BYTES];
};

struct gdfo_plan_range {
    int64_t min, max;
    size_t n_max;
    int is_required;
};

/* These methods run on these tasks with these budgets: one rule a method, one each "also". */
struct gdfo_plan_rule {
    uint64_t methods; /* bits by place */
    uint32_t tasks;
    int64_t budgets[GDFO_BENCH_BUDGETS_MAX];
    size_t n_budgets;
};

struct gdfo_plan_reader {
    struct gdfo_bench_plan *plan;
    const char *plan_path;
    gdfo_bench_fault fault;
    void *ctx;
    size_t n_faults;
    struct gdfo_plan_rule rules[GDFO_PLAN_RULES_MAX];
    size_t n_rules;
};

GDFO_PRINTF(3, 4)
void gdfo_plan_fault(struct gdfo_plan_reader *r, const char *path, const char *fmt, ...);

/* The member of that type; NULL when it is missing (a fault when required) or of another type. */
const struct gdfo_json *gdfo_plan_member(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                                         const char *key, enum gdfo_json_type type,
                                         int is_required);
/* A fault for each member that is not in `known`, a list ended by NULL. */
void gdfo_plan_only(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *const *known);
struct gdfo_plan_at gdfo_plan_element(struct gdfo_plan_at list, const char *key,
                                      const struct gdfo_json *v, size_t i);
/* A name that may stand in a key and in a file's name, below max bytes; NULL after a fault. */
const char *gdfo_plan_word(struct gdfo_plan_reader *r, struct gdfo_plan_at at, size_t max);
void gdfo_plan_numbers(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                       struct gdfo_plan_range range, int64_t *out, size_t *n);

/* Reads budgets, the methods' own tasks and budgets, and "also" into rules. */
void gdfo_plan_grid(struct gdfo_plan_reader *r, struct gdfo_plan_at at);
/* Lays out the cells by the rules. */
GDFO_MUST_USE enum gdfo_status gdfo_plan_cells(struct gdfo_plan_reader *r, struct gdfo_error *err);

#endif
