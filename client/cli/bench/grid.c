#include "client/cli/bench/grid.h"

#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- making ---- */

static size_t row_index(const struct gdfo_bench_plan *p, size_t place, size_t method, size_t seed,
                        size_t budget)
{
    return ((place * p->n_methods + method) * p->n_seeds + seed) * p->n_budgets + budget;
}

static void add_series(struct gdfo_grid *g, const char *label, size_t method, const char *variant,
                       int is_baseline)
{
    struct gdfo_grid_series *s;
    if (g->n_series == GDFO_GRID_SERIES_MAX) {
        g->n_dropped++;
        return;
    }
    s = &g->series[g->n_series++];
    *s =
        (struct gdfo_grid_series){.is_baseline = is_baseline, .method = method, .variant = variant};
    (void)snprintf(s->label, sizeof s->label, "%s", label);
}

static void name_series(struct gdfo_grid *g)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    char label[GDFO_GRID_LABEL_BYTES];
    for (size_t i = 0; i < p->n_methods; i++) {
        for (size_t k = 0; k < p->methods[i].n_variants; k++) {
            const char *variant = p->methods[i].variants[k];
            (void)snprintf(label, sizeof label, k ? "%s, %s" : "%s", p->methods[i].name, variant);
            add_series(g, label, i, variant, 0);
        }
    }
    for (size_t i = 0; i < p->n_baselines; i++) {
        const char *name = p->baselines[i];
        add_series(g,
                   strcmp(name, "manual") == 0       ? "plain prompt"
                   : strcmp(name, "calibrated") == 0 ? "calibration"
                                                     : name,
                   i, name, 1);
    }
}

static void place_rows(struct gdfo_grid *g)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    for (size_t i = 0; i < p->n_cells; i++) {
        const struct gdfo_bench_cell *c = &p->cells[i];
        const struct gdfo_bench_result *row = gdfo_bench_results_find(&g->b->results, c->key);
        if (row && (!g->b->digests || strcmp(g->b->digests[i], row->digest) == 0)) {
            g->rows[row_index(p, c->model * p->n_tasks + c->task, c->method, c->seed, c->budget)] =
                row;
        }
    }
}

static void place_baselines(struct gdfo_grid *g)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    for (size_t place = 0; place < g->n_places; place++) {
        for (size_t seed = 0; seed < p->n_seeds; seed++) {
            const struct gdfo_bench_cell c = {
                .model = place / p->n_tasks, .task = place % p->n_tasks, .seed = seed};
            char key[GDFO_BENCH_KEY_BYTES];
            gdfo_bench_baseline_key(p, &c, key);
            for (size_t i = 0; i < p->n_baselines; i++) {
                g->baselines[(place * p->n_seeds + seed) * p->n_baselines + i] =
                    gdfo_bench_results_baseline(&g->b->results, key, p->baselines[i]);
            }
        }
    }
}

enum gdfo_status gdfo_grid_create(struct gdfo_grid **out, const struct gdfo_bench *b,
                                  struct gdfo_error *err)
{
    const struct gdfo_bench_plan *p = b->plan;
    struct gdfo_grid *g = gdfo_mem_array(1, sizeof *g);
    if (!g) {
        return gdfo_error_no_memory(err, "the report");
    }
    g->b = b;
    g->n_places = p->n_models * p->n_tasks;
    g->rows = gdfo_mem_array(g->n_places * p->n_methods * p->n_seeds * p->n_budgets,
                             sizeof(const struct gdfo_bench_result *));
    g->baselines = gdfo_mem_array(g->n_places * p->n_seeds * p->n_baselines + 1,
                                  sizeof(const struct gdfo_bench_baseline *));
    if (!g->rows || !g->baselines) {
        gdfo_grid_destroy(g);
        return gdfo_error_no_memory(err, "the report");
    }
    name_series(g);
    place_rows(g);
    place_baselines(g);
    *out = g;
    return GDFO_STATUS_OK;
}

void gdfo_grid_destroy(struct gdfo_grid *g)
{
    if (g) {
        gdfo_mem_free(g->rows);
        gdfo_mem_free(g->baselines);
        gdfo_mem_free(g);
    }
}

/* ---- reading ---- */

void gdfo_grid_place_label(const struct gdfo_grid *g, size_t place, char *out, size_t size)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    const char *task = p->tasks[place % p->n_tasks].name;
    if (p->n_models > 1) {
        (void)snprintf(out, size, "%s, %s", task, p->models[place / p->n_tasks]);
    } else {
        (void)snprintf(out, size, "%s", task);
    }
}

const struct gdfo_bench_result *gdfo_grid_row(const struct gdfo_grid *g, size_t place,
                                              size_t method, size_t seed, size_t budget)
{
    return g->rows[row_index(g->b->plan, place, method, seed, budget)];
}

static double of_row(const struct gdfo_bench_result *row, const char *variant,
                     enum gdfo_grid_measure measure)
{
    const struct gdfo_bench_score *score = gdfo_bench_result_score(row, variant);
    switch (measure) {
    case GDFO_GRID_ACCURACY: return score ? score->accuracy : (double)NAN;
    case GDFO_GRID_LOSS: return score ? score->loss : (double)NAN;
    case GDFO_GRID_EVALS: return row->evals;
    case GDFO_GRID_SAMPLES: return row->queries + row->dev_queries;
    case GDFO_GRID_QUERIES: return row->queries;
    case GDFO_GRID_DEV_QUERIES: return row->dev_queries;
    case GDFO_GRID_REQUESTS: return row->calls;
    case GDFO_GRID_TOKENS: return row->tokens;
    case GDFO_GRID_SECONDS: return row->seconds;
    case GDFO_GRID_STUDENT_SECONDS: return row->student_seconds;
    case GDFO_GRID_COSINE_FIRST: return row->cosine.first;
    case GDFO_GRID_COSINE_LAST: return row->cosine.last;
    case GDFO_GRID_COSINE_MEAN: return row->cosine.mean;
    case GDFO_GRID_TAU_FIRST: return row->tau.first;
    case GDFO_GRID_TAU_LAST: return row->tau.last;
    case GDFO_GRID_TAU_MEAN: break;
    }
    return row->tau.mean;
}

static double value(const struct gdfo_grid *g, const struct gdfo_grid_series *s, size_t place,
                    size_t seed, size_t budget, enum gdfo_grid_measure measure)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    const struct gdfo_bench_result *row;
    if (s->is_baseline) {
        const struct gdfo_bench_baseline *b =
            g->baselines[(place * p->n_seeds + seed) * p->n_baselines + s->method];
        if (!b || measure > GDFO_GRID_LOSS) {
            return (double)NAN;
        }
        return measure == GDFO_GRID_LOSS ? b->score.loss : b->score.accuracy;
    }
    row = gdfo_grid_row(g, place, s->method, seed, budget);
    return row && row->state == GDFO_BENCH_STATE_DONE ? of_row(row, s->variant, measure)
                                                      : (double)NAN;
}

struct gdfo_stats gdfo_grid_at(const struct gdfo_grid *g, size_t series, size_t place,
                               size_t budget, enum gdfo_grid_measure measure)
{
    double values[GDFO_BENCH_SEEDS_MAX];
    size_t n = g->b->plan->n_seeds;
    for (size_t i = 0; i < n; i++) {
        values[i] = value(g, &g->series[series], place, i, budget, measure);
    }
    return gdfo_stats_of(values, n);
}

struct gdfo_stats gdfo_grid_mean(const struct gdfo_grid *g, size_t series, size_t budget,
                                 enum gdfo_grid_measure measure, size_t *n_places)
{
    double means[GDFO_BENCH_SEEDS_MAX];
    const struct gdfo_grid_series *s = &g->series[series];
    size_t n = g->b->plan->n_seeds;
    *n_places = 0;
    for (size_t i = 0; i < n; i++) {
        means[i] = 0.0;
    }
    for (size_t place = 0; place < g->n_places; place++) {
        if (gdfo_grid_at(g, series, place, budget, measure).n == 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            means[i] += value(g, s, place, i, budget, measure); /* NAN spoils the seed: wanted */
        }
        (*n_places)++;
    }
    for (size_t i = 0; i < n; i++) {
        means[i] = *n_places ? means[i] / (double)*n_places : (double)NAN;
    }
    return gdfo_stats_of(means, n);
}

struct gdfo_stats_paired gdfo_grid_paired(const struct gdfo_grid *g, size_t a, size_t b,
                                          size_t budget, enum gdfo_grid_measure measure)
{
    double left[GDFO_BENCH_SEEDS_MAX * GDFO_BENCH_TASKS_MAX * GDFO_BENCH_MODELS_MAX];
    double right[sizeof left / sizeof left[0]];
    size_t n = 0;
    for (size_t place = 0; place < g->n_places; place++) {
        for (size_t i = 0; i < g->b->plan->n_seeds; i++, n++) {
            left[n] = value(g, &g->series[a], place, i, budget, measure);
            right[n] = value(g, &g->series[b], place, i, budget, measure);
        }
    }
    return gdfo_stats_paired(left, right, n);
}
