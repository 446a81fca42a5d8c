/* results.csv and differences.csv: every number with ten digits, a missing one as nothing. */
#include "client/cli/bench/report_priv.h"

#include <math.h>
#include <string.h>

#define VARIANTS_MAX (GDFO_BENCH_METHODS_MAX * 2)

static void put_number(struct gdfo_buf *out, double v)
{
    gdfo_buf_addc(out, ',');
    if (isfinite(v)) {
        gdfo_buf_addf(out, "%.10g", v);
    }
}

static void put_text(struct gdfo_buf *out, const char *text)
{
    gdfo_buf_add(out, ",\"");
    for (const char *p = text; *p; p++) {
        gdfo_buf_add(out, *p == '"' ? "\"" : "");
        gdfo_buf_addc(out, *p);
    }
    gdfo_buf_addc(out, '"');
}

/* Every variant that any method reports, in the plan's order. */
static size_t all_variants(const struct gdfo_bench_plan *p, const char **out)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_methods; i++) {
        for (size_t k = 0; k < p->methods[i].n_variants; k++) {
            size_t at = 0;
            while (at < n && strcmp(out[at], p->methods[i].variants[k]) != 0) {
                at++;
            }
            if (at == n && n < VARIANTS_MAX) {
                out[n++] = p->methods[i].variants[k];
            }
        }
    }
    return n;
}

static void put_head(const struct gdfo_bench_plan *p, const char *const *variants, size_t n,
                     struct gdfo_buf *out)
{
    gdfo_buf_add(out, "key,model,task,method,type,seed,budget,status,evals,queries,dev_queries,"
                      "requests,tokens,seconds,student_seconds,dev,cosine_first,cosine_last,"
                      "cosine_mean,tau_first,tau_last,tau_mean");
    for (size_t i = 0; i < n; i++) {
        gdfo_buf_addf(out, ",accuracy_%s,loss_%s,n_%s", variants[i], variants[i], variants[i]);
    }
    for (size_t i = 0; i < p->n_baselines; i++) {
        gdfo_buf_addf(out, ",baseline_accuracy_%s,baseline_loss_%s", p->baselines[i],
                      p->baselines[i]);
    }
    gdfo_buf_add(out, ",job,why\n");
}

static void put_spend(const struct gdfo_bench_result *row, struct gdfo_buf *out)
{
    const double nan = (double)NAN;
    const double values[] = {row ? row->evals : nan,           row ? row->queries : nan,
                             row ? row->dev_queries : nan,     row ? row->calls : nan,
                             row ? row->tokens : nan,          row ? row->seconds : nan,
                             row ? row->student_seconds : nan, row ? row->dev : nan,
                             row ? row->cosine.first : nan,    row ? row->cosine.last : nan,
                             row ? row->cosine.mean : nan,     row ? row->tau.first : nan,
                             row ? row->tau.last : nan,        row ? row->tau.mean : nan};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        put_number(out, values[i]);
    }
}

/* The first reason there is: of the cell, else of a variant that could not be asked. */
static const char *why_of(const struct gdfo_bench_result *row)
{
    if (!row || row->why[0]) {
        return row ? row->why : "";
    }
    for (size_t i = 0; i < row->n_scores; i++) {
        if (row->scores[i].why[0]) {
            return row->scores[i].why;
        }
    }
    return "";
}

static void put_cell(const struct gdfo_grid *g, const struct gdfo_bench_cell *c,
                     const char *const *variants, size_t n, struct gdfo_buf *out)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    size_t place = c->model * p->n_tasks + c->task;
    const struct gdfo_bench_result *row = gdfo_grid_row(g, place, c->method, c->seed, c->budget);
    gdfo_buf_addf(out, "%s,%s,%s,%s,%s,%lld,%lld,%s", c->key, p->models[c->model],
                  p->tasks[c->task].name, p->methods[c->method].name, p->methods[c->method].type,
                  (long long)p->seeds[c->seed], (long long)p->budgets[c->budget],
                  gdfo_bench_state_name(row ? row->state : GDFO_BENCH_STATE_NONE));
    put_spend(row, out);
    for (size_t i = 0; i < n; i++) {
        const struct gdfo_bench_score *s = row ? gdfo_bench_result_score(row, variants[i]) : NULL;
        put_number(out, s ? s->accuracy : (double)NAN);
        put_number(out, s ? s->loss : (double)NAN);
        put_number(out, s ? (double)s->n : (double)NAN);
    }
    for (size_t i = 0; i < p->n_baselines; i++) {
        const struct gdfo_bench_baseline *b =
            g->baselines[(place * p->n_seeds + c->seed) * p->n_baselines + i];
        put_number(out, b ? b->score.accuracy : (double)NAN);
        put_number(out, b ? b->score.loss : (double)NAN);
    }
    gdfo_buf_addf(out, ",%s", row ? row->job : "");
    put_text(out, why_of(row));
    gdfo_buf_addc(out, '\n');
}

void gdfo_report_results_csv(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    const char *variants[VARIANTS_MAX];
    size_t n = all_variants(p, variants);
    put_head(p, variants, n, out);
    for (size_t i = 0; i < p->n_cells; i++) {
        put_cell(g, &p->cells[i], variants, n, out);
    }
}

static void put_pair(const struct gdfo_grid *g, size_t a, size_t b, size_t budget,
                     struct gdfo_buf *out)
{
    static const char *const names[] = {"accuracy", "loss"};
    for (int m = GDFO_GRID_ACCURACY; m <= GDFO_GRID_LOSS; m++) {
        struct gdfo_stats_paired p = gdfo_grid_paired(g, a, b, budget, (enum gdfo_grid_measure)m);
        if (p.n == 0) {
            continue;
        }
        gdfo_buf_addf(out, "%lld", (long long)g->b->plan->budgets[budget]);
        put_text(out, g->series[a].label);
        put_text(out, g->series[b].label);
        gdfo_buf_addf(out, ",%s,%zu", names[m], p.n);
        put_number(out, p.mean);
        put_number(out, p.sd);
        put_number(out, p.mean - p.t_half);
        put_number(out, p.mean + p.t_half);
        gdfo_buf_addc(out, '\n');
    }
}

void gdfo_report_differences_csv(const struct gdfo_grid *g, struct gdfo_buf *out)
{
    gdfo_buf_add(out, "budget,a,b,measure,n,mean,sd,low,high\n");
    for (size_t budget = 0; budget < g->b->plan->n_budgets; budget++) {
        for (size_t a = 0; a < g->n_series; a++) {
            for (size_t b = a + 1; b < g->n_series && !g->series[a].is_baseline; b++) {
                put_pair(g, a, b, budget, out);
            }
        }
    }
}
