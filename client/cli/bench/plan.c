#include "client/cli/bench/plan.h"

#include "client/cli/bench/plan_priv.h"
#include "client/cli/spec.h"
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONCURRENT_MAX 64

/* ---- faults ---- */

void gdfo_plan_fault(struct gdfo_plan_reader *r, const char *path, const char *fmt, ...)
{
    char detail[GDFO_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    r->n_faults++;
    r->fault(r->ctx, path, detail);
}

const struct gdfo_json *gdfo_plan_member(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                                         const char *key, enum gdfo_json_type type, int is_required)
{
    const struct gdfo_json *v = gdfo_json_get(at.v, key);
    char path[GDFO_PLAN_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%.60s.%.60s", at.path, key);
    if (!v || gdfo_json_type(v) == GDFO_JSON_NULL) {
        if (is_required) {
            gdfo_plan_fault(r, path, "is missing");
        }
        return NULL;
    }
    if (gdfo_json_type(v) != type) {
        gdfo_plan_fault(r, path, "is %s; want %s", gdfo_json_type_name(gdfo_json_type(v)),
                        gdfo_json_type_name(type));
        return NULL;
    }
    return v;
}

void gdfo_plan_only(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *const *known)
{
    char path[GDFO_PLAN_PATH_BYTES];
    for (const struct gdfo_json *m = gdfo_json_first(at.v); m; m = gdfo_json_next(m)) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], gdfo_json_key(m)) != 0) {
            i++;
        }
        if (!known[i]) {
            (void)snprintf(path, sizeof path, "%.60s.%.60s", at.path, gdfo_json_key(m));
            gdfo_plan_fault(r, path, "is no member of a plan here");
        }
    }
}

struct gdfo_plan_at gdfo_plan_element(struct gdfo_plan_at list, const char *key,
                                      const struct gdfo_json *v, size_t i)
{
    struct gdfo_plan_at at = {.v = v};
    (void)snprintf(at.path, sizeof at.path, "%.60s.%.40s[%zu]", list.path, key, i);
    return at;
}

const char *gdfo_plan_word(struct gdfo_plan_reader *r, struct gdfo_plan_at at, size_t max)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *s = gdfo_json_string(at.v);
    if (!s) {
        gdfo_plan_fault(r, at.path, "is %s; want a string",
                        gdfo_json_type_name(gdfo_json_type(at.v)));
        return NULL;
    }
    if (!*s || strlen(s) >= max || strspn(s, allowed) != strlen(s)) {
        gdfo_plan_fault(r, at.path, "is \"%.60s\"; want 1..%zu of A-Z a-z 0-9 . _ -", s, max - 1);
        return NULL;
    }
    return s;
}

/* ---- lists of words and numbers ---- */

/* Each word once. `out` has room for `max`. */
static void read_words(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                       const char **out, size_t *n, size_t max)
{
    const struct gdfo_json *list = gdfo_plan_member(r, at, key, GDFO_JSON_ARRAY, 0);
    size_t i = 0;
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, key, v, i);
        const char *word = gdfo_plan_word(r, one, GDFO_BENCH_NAME_BYTES);
        for (size_t k = 0; word && k < *n; k++) {
            if (strcmp(out[k], word) == 0) {
                gdfo_plan_fault(r, one.path, "\"%s\" stands there twice", word);
                word = NULL;
            }
        }
        if (word && *n == max) {
            gdfo_plan_fault(r, one.path, "is one too many; want at most %zu", max);
            return;
        }
        if (word) {
            out[(*n)++] = word;
        }
    }
}

void gdfo_plan_numbers(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                       struct gdfo_plan_range range, int64_t *out, size_t *n)
{
    const struct gdfo_json *list = gdfo_plan_member(r, at, key, GDFO_JSON_ARRAY, range.is_required);
    size_t i = 0, n_faults = r->n_faults;
    int64_t number;
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, key, v, i);
        if (!gdfo_json_int(v, &number) || number < range.min || number > range.max) {
            gdfo_plan_fault(r, one.path, "is no integer of %lld..%lld", (long long)range.min,
                            (long long)range.max);
            continue;
        }
        for (size_t k = 0; k < *n; k++) {
            if (out[k] == number) {
                gdfo_plan_fault(r, one.path, "%lld stands there twice", (long long)number);
            }
        }
        if (*n == range.n_max) {
            gdfo_plan_fault(r, one.path, "is one too many; want at most %zu", range.n_max);
            return;
        }
        out[(*n)++] = number;
    }
    if (list && *n == 0 && r->n_faults == n_faults) {
        struct gdfo_plan_at at_list = gdfo_plan_element(at, key, list, 0);
        at_list.path[strlen(at_list.path) - 3] = '\0'; /* without "[0]" */
        gdfo_plan_fault(r, at_list.path, "is empty; want at least one");
    }
}

static int64_t read_number(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                           int64_t max, int64_t fallback)
{
    const struct gdfo_json *v = gdfo_plan_member(r, at, key, GDFO_JSON_NUMBER, 0);
    int64_t number = fallback;
    char path[GDFO_PLAN_PATH_BYTES];
    if (v && (!gdfo_json_int(v, &number) || number < 1 || number > max)) {
        (void)snprintf(path, sizeof path, "%.60s.%.60s", at.path, key);
        gdfo_plan_fault(r, path, "is no integer of 1..%lld", (long long)max);
        return fallback;
    }
    return number;
}

/* ---- tasks ---- */

/* A file that can be read, named beside the plan. */
static void read_path(struct gdfo_plan_reader *r, struct gdfo_plan_at at, const char *key,
                      int is_required, char out[GDFO_BENCH_PATH_BYTES])
{
    const struct gdfo_json *v = gdfo_plan_member(r, at, key, GDFO_JSON_STRING, is_required);
    const char *name = v ? gdfo_json_string(v) : NULL;
    const char *slash = strrchr(r->plan_path, '/');
    size_t n_folder = slash && name && name[0] != '/' ? (size_t)(slash - r->plan_path) + 1 : 0;
    char path[GDFO_PLAN_PATH_BYTES];
    if (!name) {
        return;
    }
    (void)snprintf(path, sizeof path, "%.60s.%.60s", at.path, key);
    if (!*name) {
        gdfo_plan_fault(r, path, "is empty; want the name of a file");
    } else if (n_folder + strlen(name) >= GDFO_BENCH_PATH_BYTES) {
        gdfo_plan_fault(r, path, "is longer than %d bytes", GDFO_BENCH_PATH_BYTES - 1);
    } else {
        memcpy(out, r->plan_path, n_folder);
        memcpy(out + n_folder, name, strlen(name) + 1);
    }
}

static const char *read_name(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    const struct gdfo_json *v = gdfo_plan_member(r, at, "name", GDFO_JSON_STRING, 1);
    struct gdfo_plan_at name = {.v = v};
    if (!v) {
        return NULL;
    }
    (void)snprintf(name.path, sizeof name.path, "%.60s.name", at.path);
    return gdfo_plan_word(r, name, GDFO_BENCH_NAME_BYTES);
}

static void read_task(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                      struct gdfo_bench_task *out)
{
    static const char *const known[] = {"name", "train", "dev", "test", "task", NULL};
    gdfo_plan_only(r, at, known);
    out->name = read_name(r, at);
    read_path(r, at, "train", 1, out->train);
    read_path(r, at, "dev", 0, out->dev);
    read_path(r, at, "test", 1, out->test);
    out->task = gdfo_plan_member(r, at, "task", GDFO_JSON_OBJECT, 0);
    for (size_t i = 0; out->name && i < r->plan->n_tasks; i++) {
        if (r->plan->tasks[i].name && strcmp(r->plan->tasks[i].name, out->name) == 0) {
            gdfo_plan_fault(r, at.path, "a task \"%s\" stands there already", out->name);
        }
    }
}

/* ---- methods ---- */

static void read_options(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                         struct gdfo_bench_method *out)
{
    static const char *const own[] = {"task", "hyperparameters", "budget"};
    char path[GDFO_PLAN_PATH_BYTES];
    out->hyperparameters = gdfo_plan_member(r, at, "hyperparameters", GDFO_JSON_OBJECT, 0);
    out->task = gdfo_plan_member(r, at, "task", GDFO_JSON_OBJECT, 0);
    out->options = gdfo_plan_member(r, at, "options", GDFO_JSON_OBJECT, 0);
    for (size_t i = 0; out->options && i < sizeof own / sizeof own[0]; i++) {
        if (gdfo_json_get(out->options, own[i])) {
            (void)snprintf(path, sizeof path, "%.60s.options.%s", at.path, own[i]);
            gdfo_plan_fault(r, path, "is not set here: it is the plan's \"%s\"",
                            i == 2 ? "budgets" : own[i]);
        }
    }
}

static void read_method(struct gdfo_plan_reader *r, struct gdfo_plan_at at,
                        struct gdfo_bench_method *out)
{
    static const char *const known[] = {"name",     "type",  "hyperparameters", "options", "task",
                                        "variants", "tasks", "budgets",         NULL};
    const struct gdfo_json *type = gdfo_plan_member(r, at, "type", GDFO_JSON_STRING, 1);
    struct gdfo_plan_at at_type = {.v = type};
    gdfo_plan_only(r, at, known);
    out->name = read_name(r, at);
    if (type) {
        (void)snprintf(at_type.path, sizeof at_type.path, "%.60s.type", at.path);
        out->type = gdfo_plan_word(r, at_type, GDFO_BENCH_NAME_BYTES);
    }
    read_options(r, at, out);
    read_words(r, at, "variants", out->variants, &out->n_variants, GDFO_BENCH_VARIANTS_MAX);
    if (out->n_variants == 0) {
        out->variants[out->n_variants++] = "tuned";
    }
    for (size_t i = 0; out->name && i < r->plan->n_methods; i++) {
        if (r->plan->methods[i].name && strcmp(r->plan->methods[i].name, out->name) == 0) {
            gdfo_plan_fault(r, at.path, "a method \"%s\" stands there already", out->name);
        }
    }
}

/* ---- the plan ---- */

static void read_tasks(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    const struct gdfo_json *list = gdfo_plan_member(r, at, "tasks", GDFO_JSON_ARRAY, 1);
    size_t i = 0;
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, "tasks", v, i);
        if (gdfo_json_type(v) != GDFO_JSON_OBJECT) {
            gdfo_plan_fault(r, one.path, "is no object");
        } else if (r->plan->n_tasks == GDFO_BENCH_TASKS_MAX) {
            gdfo_plan_fault(r, one.path, "is one too many; want at most %d", GDFO_BENCH_TASKS_MAX);
            return;
        } else {
            read_task(r, one, &r->plan->tasks[r->plan->n_tasks]);
            r->plan->n_tasks++;
        }
    }
    if (list && i == 0) {
        gdfo_plan_fault(r, "$.tasks", "is empty; want at least one");
    }
}

static void read_methods(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    const struct gdfo_json *list = gdfo_plan_member(r, at, "methods", GDFO_JSON_ARRAY, 1);
    size_t i = 0;
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v), i++) {
        struct gdfo_plan_at one = gdfo_plan_element(at, "methods", v, i);
        if (gdfo_json_type(v) != GDFO_JSON_OBJECT) {
            gdfo_plan_fault(r, one.path, "is no object");
        } else if (r->plan->n_methods == GDFO_BENCH_METHODS_MAX) {
            gdfo_plan_fault(r, one.path, "is one too many; want at most %d",
                            GDFO_BENCH_METHODS_MAX);
            return;
        } else {
            read_method(r, one, &r->plan->methods[r->plan->n_methods]);
            r->plan->n_methods++;
        }
    }
    if (list && i == 0) {
        gdfo_plan_fault(r, "$.methods", "is empty; want at least one");
    }
}

static void read_models(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    const struct gdfo_json *one = gdfo_json_get(at.v, "model");
    const struct gdfo_json *list = gdfo_json_get(at.v, "models");
    struct gdfo_bench_plan *p = r->plan;
    size_t i = 0;
    if ((one != NULL) == (list != NULL)) {
        gdfo_plan_fault(r, "$.model", "want either \"model\" or the list \"models\"");
        return;
    }
    if (list && (gdfo_json_type(list) != GDFO_JSON_ARRAY || gdfo_json_size(list) == 0 ||
                 gdfo_json_size(list) > GDFO_BENCH_MODELS_MAX)) {
        gdfo_plan_fault(r, "$.models", "want an array of 1..%d names", GDFO_BENCH_MODELS_MAX);
        return;
    }
    for (const struct gdfo_json *v = one ? one : gdfo_json_first(list); v;
         v = one ? NULL : gdfo_json_next(v), i++) {
        struct gdfo_plan_at element = gdfo_plan_element(at, "models", v, i);
        const char *word;
        if (one) {
            (void)snprintf(element.path, sizeof element.path, "$.model");
        }
        word = gdfo_plan_word(r, element, GDFO_BENCH_MODEL_BYTES);
        for (size_t k = 0; word && k < p->n_models; k++) {
            if (strcmp(p->models[k], word) == 0) {
                gdfo_plan_fault(r, element.path, "\"%s\" stands there twice", word);
            }
        }
        p->models[p->n_models] = word;
        p->n_models += word != NULL;
    }
}

/* Named, or the first of type auto, or the first. */
static void read_reference(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    const struct gdfo_json *v = gdfo_plan_member(r, at, "reference", GDFO_JSON_STRING, 0);
    struct gdfo_bench_plan *p = r->plan;
    for (size_t i = p->n_methods; i > 0; i--) {
        const struct gdfo_bench_method *m = &p->methods[i - 1];
        if (v ? m->name && strcmp(m->name, gdfo_json_string(v)) == 0
              : m->type && strcmp(m->type, "auto") == 0) {
            p->reference = i - 1;
            return;
        }
    }
    if (v) {
        gdfo_plan_fault(r, "$.reference", "\"%.40s\" is none of the plan's methods",
                        gdfo_json_string(v));
    }
}

static void read_plan(struct gdfo_plan_reader *r, struct gdfo_plan_at at)
{
    static const char *const known[] = {
        "name", "model",     "models",      "tasks",     "methods",   "seeds", "budgets",
        "also", "baselines", "concurrency", "test_rows", "reference", NULL};
    const struct gdfo_plan_range seeds = {0, INT32_MAX, GDFO_BENCH_SEEDS_MAX, 1};
    struct gdfo_bench_plan *p = r->plan;
    gdfo_plan_only(r, at, known);
    p->name = read_name(r, at);
    read_models(r, at);
    read_tasks(r, at);
    read_methods(r, at);
    gdfo_plan_numbers(r, at, "seeds", seeds, p->seeds, &p->n_seeds);
    p->n_concurrent = read_number(r, at, "concurrency", CONCURRENT_MAX, 1);
    p->n_test_rows = read_number(r, at, "test_rows", 1000000, 0);
    if (gdfo_json_get(at.v, "baselines")) {
        read_words(r, at, "baselines", p->baselines, &p->n_baselines, GDFO_BENCH_VARIANTS_MAX);
    } else {
        p->baselines[p->n_baselines++] = "manual";
        p->baselines[p->n_baselines++] = "calibrated";
    }
    read_reference(r, at);
    gdfo_plan_grid(r, at);
}

enum gdfo_status gdfo_bench_plan_parse(struct gdfo_bench_plan **out, char *text, size_t n,
                                       const char *path, gdfo_bench_fault fault, void *ctx,
                                       struct gdfo_error *err)
{
    struct gdfo_plan_reader *r = gdfo_mem_array(1, sizeof *r);
    struct gdfo_bench_plan *plan = gdfo_mem_array(1, sizeof *plan);
    enum gdfo_status status = r && plan ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "the plan");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_spec_parse(&plan->root, text, n, path, err);
    }
    if (status == GDFO_STATUS_OK) {
        r->plan = plan;
        r->plan_path = path;
        r->fault = fault;
        r->ctx = ctx;
        read_plan(r, (struct gdfo_plan_at){plan->root, "$"});
        if (r->n_faults > 0) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s: %zu fault%s in the plan", path,
                                    r->n_faults, r->n_faults == 1 ? "" : "s");
        } else {
            status = gdfo_plan_cells(r, err);
        }
    }
    gdfo_mem_free(r);
    if (status != GDFO_STATUS_OK) {
        gdfo_bench_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return status;
}

void gdfo_bench_plan_destroy(struct gdfo_bench_plan *plan)
{
    if (plan) {
        gdfo_json_destroy(plan->root);
        gdfo_mem_free(plan->cells);
        gdfo_mem_free(plan);
    }
}
