/* Which combinations of a plan run: rules from "budgets", the methods and "also", then cells. */
#include "client/cli/bench/plan_priv.h"
#include "common/mem.h"

#include <stdio.h>
#include <string.h>

static const struct gdfo_plan_range budget_range = {1, 10000000, GDFO_BENCH_BUDGETS_MAX, 0};

/* ---- names to places ---- */

static int task_place(const struct gdfo_bench_plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_tasks; i++) {
        if (p->tasks[i].name && strcmp(p->tasks[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int method_place(const struct gdfo_bench_plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_methods; i++) {
        if (p->methods[i].name && strcmp(p->methods[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* The places of a list of names as bits; `all` when there is no list. */
static uint64_t read_places(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                            int (*place)(const struct gdfo_bench_plan *p, const char *name),
                            uint64_t all)
{
    const struct gdfo_json *list = gdfo_plan_member(r, at, key, GDFO_JSON_ARRAY, 0);
    uint64_t bits = 0;
    size_t i = 0;
    if (!list) {
        return all;
    }
    for (const struct gdfo_json *v = gdfo_json_first(list); v; v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, key, v, i);
        const char *name = gdfo_json_string(v);
        int k = name ? place(r->plan, name) : -1;
        if (k < 0) {
            gdfo_plan_fault(r, one.path, "\"%.40s\" is none of the plan's %s", name ? name : "?",
                            key);
        } else {
            bits |= (uint64_t)1 << k;
        }
    }
    return bits;
}

/* ---- rules ---- */

static struct gdfo_plan_rule *new_rule(struct gdfo_plan_reader *r, const char *path)
{
    if (r->n_rules == GDFO_PLAN_RULES_MAX) {
        gdfo_plan_fault(r, path, "is one too many; want at most 64");
        return NULL;
    }
    return &r->rules[r->n_rules++];
}

static uint64_t all_of(size_t n)
{
    return n >= 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

static void read_method_rules(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                              const struct gdfo_plan_rule *common)
{
    const struct gdfo_json *list = gdfo_json_get(at.v, "methods");
    size_t i = 0;
    if (!list || gdfo_json_type(list) != GDFO_JSON_ARRAY) {
        return;
    }
    for (const struct gdfo_json *v = gdfo_json_first(list); v && i < r->plan->n_methods;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, "methods", v, i);
        struct gdfo_plan_rule *rule;
        if (gdfo_json_type(v) != GDFO_JSON_OBJECT || !(rule = new_rule(r, one.path))) {
            continue;
        }
        *rule = *common;
        rule->methods = (uint64_t)1 << i;
        rule->tasks = (uint32_t)read_places(r, one, "tasks", task_place, common->tasks);
        if (gdfo_json_get(v, "budgets")) {
            rule->n_budgets = 0;
            gdfo_plan_numbers(r, one, "budgets", budget_range, rule->budgets, &rule->n_budgets);
        } else if (common->n_budgets == 0 && !gdfo_json_get(at.v, "budgets")) {
            gdfo_plan_fault(r, one.path, "has no budgets, and neither has the plan");
        }
    }
}

static void read_also(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                      const struct gdfo_plan_rule *common)
{
    static const char *const known[] = {"methods", "tasks", "budgets", NULL};
    const struct gdfo_json *list = gdfo_plan_member(r, at, "also", GDFO_JSON_ARRAY, 0);
    struct gdfo_plan_range range = budget_range;
    size_t i = 0;
    range.is_required = 1;
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, "also", v, i);
        struct gdfo_plan_rule *rule;
        if (gdfo_json_type(v) != GDFO_JSON_OBJECT) {
            gdfo_plan_fault(r, one.path, "is no object");
        } else if ((rule = new_rule(r, one.path)) != NULL) {
            gdfo_plan_only(r, one, known);
            rule->methods =
                read_places(r, one, "methods", method_place, all_of(r->plan->n_methods));
            rule->tasks = (uint32_t)read_places(r, one, "tasks", task_place, common->tasks);
            gdfo_plan_numbers(r, one, "budgets", range, rule->budgets, &rule->n_budgets);
        }
    }
}

/* Keeps the list of all budgets sorted and without repeats. */
static void add_budget(struct gdfo_plan_reader *r, int64_t budget)
{
    struct gdfo_bench_plan *p = r->plan;
    size_t i = p->n_budgets;
    for (size_t k = 0; k < p->n_budgets; k++) {
        if (p->budgets[k] == budget) {
            return;
        }
    }
    if (p->n_budgets == GDFO_BENCH_BUDGETS_MAX) {
        gdfo_plan_fault(r, "$.budgets", "more than %d different budgets", GDFO_BENCH_BUDGETS_MAX);
        return;
    }
    for (; i > 0 && p->budgets[i - 1] > budget; i--) {
        p->budgets[i] = p->budgets[i - 1];
    }
    p->budgets[i] = budget;
    p->n_budgets++;
}

void gdfo_plan_grid(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    struct gdfo_plan_rule common = {.tasks = (uint32_t)all_of(r->plan->n_tasks)};
    gdfo_plan_numbers(r, at, "budgets", budget_range, common.budgets, &common.n_budgets);
    read_method_rules(r, at, &common);
    read_also(r, at, &common);
    for (size_t i = 0; i < r->n_rules; i++) {
        for (size_t k = 0; k < r->rules[i].n_budgets; k++) {
            add_budget(r, r->rules[i].budgets[k]);
        }
    }
}

/* ---- cells ---- */

static int is_wanted(const struct gdfo_plan_reader *r, const struct gdfo_bench_cell *c)
{
    for (size_t i = 0; i < r->n_rules; i++) {
        const struct gdfo_plan_rule *rule = &r->rules[i];
        if (!(rule->methods >> c->method & 1) || !(rule->tasks >> c->task & 1)) {
            continue;
        }
        for (size_t k = 0; k < rule->n_budgets; k++) {
            if (rule->budgets[k] == r->plan->budgets[c->budget]) {
                return 1;
            }
        }
    }
    return 0;
}

static enum gdfo_status add_cell(struct gdfo_bench_plan *p, struct gdfo_bench_cell c,
                                 struct gdfo_error *err)
{
    void *cells = p->cells;
    if (p->n_cells == GDFO_BENCH_CELLS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "the plan has more than %d cells",
                              GDFO_BENCH_CELLS_MAX);
    }
    if (!gdfo_mem_grow(&cells, &p->cap_cells, p->n_cells + 1, sizeof *p->cells)) {
        return gdfo_error_no_memory(err, "the cells");
    }
    p->cells = cells;
    (void)snprintf(c.key, sizeof c.key, "%s/%s/%s/s%lld/b%lld", p->models[c.model],
                   p->tasks[c.task].name, p->methods[c.method].name, (long long)p->seeds[c.seed],
                   (long long)p->budgets[c.budget]);
    p->cells[p->n_cells++] = c;
    return GDFO_STATUS_OK;
}

/* The cell at `at` of all combinations, budgets outermost and methods innermost. */
static struct gdfo_bench_cell cell_at(const struct gdfo_bench_plan *p, size_t at)
{
    struct gdfo_bench_cell c = {0};
    c.method = at % p->n_methods;
    at /= p->n_methods;
    c.task = at % p->n_tasks;
    at /= p->n_tasks;
    c.model = at % p->n_models;
    at /= p->n_models;
    c.seed = at % p->n_seeds;
    c.budget = at / p->n_seeds;
    return c;
}

enum gdfo_status gdfo_plan_cells(struct gdfo_plan_reader *r, struct gdfo_error *err)
{
    struct gdfo_bench_plan *p = r->plan;
    size_t n = p->n_methods * p->n_tasks * p->n_models * p->n_seeds * p->n_budgets;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        struct gdfo_bench_cell c = cell_at(p, i);
        if (is_wanted(r, &c)) {
            status = add_cell(p, c, err);
        }
    }
    if (status == GDFO_STATUS_OK && p->n_cells == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "the plan names no cell to run");
    }
    return status;
}
