/* The words and tables of a report, the same in Markdown and HTML. */
#include "client/cli/bench/report_text.h"

#include "client/cli/bench/report_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX (GDFO_BENCH_BUDGETS_MAX + 2)

typedef char number_text[GDFO_REPORT_NUMBER_BYTES];

/* ---- summary ---- */

static void count_states(const struct gdfo_grid *g, size_t counts[4])
{
    const struct gdfo_bench_plan *p = g->b->plan;
    memset(counts, 0, 4 * sizeof counts[0]);
    for (size_t i = 0; i < p->n_cells; i++) {
        const struct gdfo_bench_cell *c = &p->cells[i];
        const struct gdfo_bench_result *row =
            gdfo_grid_row(g, c->model * p->n_tasks + c->task, c->method, c->seed, c->budget);
        counts[row ? row->state : GDFO_BENCH_STATE_NONE]++;
    }
}

static void add_list(struct gdfo_buf *out, const char *word, int is_first)
{
    gdfo_buf_addf(out, "%s%s", is_first ? "" : ", ", word);
}

void gdfo_report_summary(const struct gdfo_grid *g, struct gdfo_doc *d)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    struct gdfo_buf list;
    size_t counts[4];
    count_states(g, counts);
    gdfo_doc_paragraph(d,
                       "%zu cells (methods x tasks x seeds x budgets): %zu done, %zu failed, "
                       "%zu not finished.",
                       p->n_cells, counts[GDFO_BENCH_STATE_DONE], counts[GDFO_BENCH_STATE_FAILED],
                       counts[GDFO_BENCH_STATE_NONE] + counts[GDFO_BENCH_STATE_SUBMITTED]);
    gdfo_buf_init(&list, 8000);
    gdfo_buf_add(&list, "Teacher: ");
    for (size_t i = 0; i < p->n_models; i++) {
        add_list(&list, p->models[i], i == 0);
    }
    gdfo_buf_add(&list, ". Tasks: ");
    for (size_t i = 0; i < p->n_tasks; i++) {
        add_list(&list, p->tasks[i].name, i == 0);
        if (g->b->digests) {
            gdfo_buf_addf(&list, " (%zu train, %zu test rows)", g->b->data[i].n_train,
                          g->b->data[i].n_asked);
        }
    }
    gdfo_buf_add(&list, ". Seeds: ");
    for (size_t i = 0; i < p->n_seeds; i++) {
        gdfo_buf_addf(&list, "%s%lld", i ? ", " : "", (long long)p->seeds[i]);
    }
    gdfo_buf_addf(&list, ". Jobs at a time: %lld.", (long long)p->n_concurrent);
    if (gdfo_buf_ok(&list)) {
        gdfo_doc_paragraph(d, "%s", list.data);
    }
    gdfo_buf_deinit(&list);
}

/* ---- accuracy and loss by budget ---- */

static void put_overview_cell(const struct gdfo_grid *g, struct gdfo_doc *d, size_t series,
                              size_t place, size_t budget, enum gdfo_grid_measure measure)
{
    size_t n_places;
    struct gdfo_stats s = gdfo_report_stats(g, series, place, budget, measure, &n_places);
    const char *cls = g->series[series].is_baseline ? "base" : "";
    number_text mean, sd;
    char some[32] = "";
    if (place == g->n_places && n_places > 0 && n_places < g->n_places) {
        (void)snprintf(some, sizeof some, " (%zu tasks)", n_places);
    }
    if (isfinite(s.sd)) {
        gdfo_doc_cell(d, cls, "%s \xC2\xB1 %s%s", gdfo_report_number(s.mean, 3, mean),
                      gdfo_report_number(s.sd, 3, sd), some);
    } else {
        gdfo_doc_cell(d, cls, "%s%s", gdfo_report_number(s.mean, 3, mean), s.n ? some : "");
    }
}

static void put_overview(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place,
                         enum gdfo_grid_measure measure, const char *name)
{
    const struct gdfo_bench_plan *p = g->b->plan;
    const char *titles[COLUMNS_MAX] = {name};
    char words[GDFO_BENCH_BUDGETS_MAX][32];
    for (size_t i = 0; i < p->n_budgets; i++) {
        (void)snprintf(words[i], sizeof words[i], "%lld call%s", (long long)p->budgets[i],
                       p->budgets[i] == 1 ? "" : "s");
        titles[i + 1] = words[i];
    }
    gdfo_doc_table(d, titles, 1);
    for (size_t s = 0; s < g->n_series; s++) {
        gdfo_doc_cell(d, "text", "%s", g->series[s].label);
        for (size_t i = 0; i < p->n_budgets; i++) {
            put_overview_cell(g, d, s, place, i, measure);
        }
        gdfo_doc_row_end(d);
    }
    gdfo_doc_table_end(d);
}

void gdfo_report_overview(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place)
{
    put_overview(g, d, place, GDFO_GRID_ACCURACY, "test accuracy, mean \xC2\xB1 sd over seeds");
    put_overview(g, d, place, GDFO_GRID_LOSS, "test loss, mean \xC2\xB1 sd over seeds");
}

/* ---- every number ---- */

static double mean_of(const struct gdfo_grid *g, size_t series, size_t place, size_t budget,
                      enum gdfo_grid_measure measure)
{
    size_t n_places;
    return gdfo_report_stats(g, series, place, budget, measure, &n_places).mean;
}

static void put_details_row(const struct gdfo_grid *g, struct gdfo_doc *d, size_t series,
                            size_t place, size_t budget)
{
    static const enum gdfo_grid_measure spends[] = {GDFO_GRID_EVALS, GDFO_GRID_QUERIES,
                                                    GDFO_GRID_DEV_QUERIES, GDFO_GRID_TOKENS};
    size_t n_places;
    struct gdfo_stats a =
        gdfo_report_stats(g, series, place, budget, GDFO_GRID_ACCURACY, &n_places);
    struct gdfo_stats l = gdfo_report_stats(g, series, place, budget, GDFO_GRID_LOSS, &n_places);
    const double values[] = {a.mean, a.sd, a.se, l.mean, l.sd, l.se};
    number_text t;
    if (a.n == 0) {
        return;
    }
    gdfo_doc_cell(d, "text", "%s", g->series[series].label);
    if (g->series[series].is_baseline) {
        gdfo_doc_cell(d, "", "-");
    } else {
        gdfo_doc_cell(d, "", "%lld", (long long)g->b->plan->budgets[budget]);
    }
    gdfo_doc_cell(d, "", "%zu", a.n);
    for (size_t i = 0; i < sizeof spends / sizeof spends[0]; i++) {
        gdfo_doc_cell(
            d, "", "%s",
            gdfo_report_number(mean_of(g, series, place, budget, spends[i]), i == 0 ? 1 : 0, t));
    }
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        gdfo_doc_cell(d, "", "%s", gdfo_report_number(values[i], 4, t));
    }
    gdfo_doc_row_end(d);
}

void gdfo_report_details(const struct gdfo_grid *g, struct gdfo_doc *d, size_t place)
{
    static const char *const titles[] = {"method",      "budget", "seeds",    "calls", "queries",
                                         "dev queries", "tokens", "accuracy", "sd",    "se",
                                         "loss",        "sd",     "se",       NULL};
    gdfo_doc_table(d, titles, 1);
    for (size_t s = 0; s < g->n_series; s++) {
        for (size_t i = 0; i < (g->series[s].is_baseline ? 1 : g->b->plan->n_budgets); i++) {
            put_details_row(g, d, s, place, i);
        }
    }
    gdfo_doc_table_end(d);
}

/* ---- paired differences ---- */

static void put_interval(struct gdfo_doc *d, const struct gdfo_stats_paired *p, int is_loss)
{
    double sign = is_loss ? -1.0 : 1.0; /* a lower loss is the better one */
    const char *cls = "";
    number_text mean, low, high;
    if (isfinite(p->t_half) && fabs(p->mean) > p->t_half) {
        cls = sign * p->mean > 0 ? "better" : "worse";
    }
    gdfo_doc_cell(d, cls, "%s%s", p->mean > 0 ? "+" : "", gdfo_report_number(p->mean, 4, mean));
    if (isfinite(p->t_half)) {
        gdfo_doc_cell(d, cls, "%s to %s", gdfo_report_number(p->mean - p->t_half, 4, low),
                      gdfo_report_number(p->mean + p->t_half, 4, high));
    } else {
        gdfo_doc_cell(d, "", "-");
    }
}

static void put_difference(const struct gdfo_grid *g, struct gdfo_doc *d, size_t a, size_t b,
                           size_t budget)
{
    struct gdfo_stats_paired accuracy = gdfo_grid_paired(g, a, b, budget, GDFO_GRID_ACCURACY);
    struct gdfo_stats_paired loss = gdfo_grid_paired(g, a, b, budget, GDFO_GRID_LOSS);
    if (accuracy.n == 0) {
        return;
    }
    gdfo_doc_cell(d, "text", "%s", g->series[a].label);
    gdfo_doc_cell(d, "text", "%s", g->series[b].label);
    gdfo_doc_cell(d, "", "%lld", (long long)g->b->plan->budgets[budget]);
    gdfo_doc_cell(d, "", "%zu", accuracy.n);
    put_interval(d, &accuracy, 0);
    put_interval(d, &loss, 1);
    gdfo_doc_row_end(d);
}

void gdfo_report_differences(const struct gdfo_grid *g, struct gdfo_doc *d)
{
    static const char *const titles[] = {"method", "minus",         "budget",
                                         "pairs",  "accuracy",      "95 % interval",
                                         "loss",   "95 % interval", NULL};
    size_t reference = 0;
    while (reference + 1 < g->n_series && g->series[reference].method != g->b->plan->reference) {
        reference++;
    }
    gdfo_doc_heading(d, 2, "Paired differences");
    gdfo_doc_paragraph(d,
                       "%s minus each other row, paired over task and seed at the same budget; "
                       "Student's t over the pairs. All pairs of methods are in differences.csv.",
                       g->series[reference].label);
    gdfo_doc_table(d, titles, 2);
    for (size_t s = 0; s < g->n_series; s++) {
        for (size_t i = 0; i < g->b->plan->n_budgets && s != reference; i++) {
            put_difference(g, d, reference, s, i);
        }
    }
    gdfo_doc_table_end(d);
}

/* ---- time, and how well the student follows ---- */

static void put_course(struct gdfo_doc *d, double first, double last, double mean)
{
    number_text a, b, c;
    if (!isfinite(mean)) {
        gdfo_doc_cell(d, "", "-");
        return;
    }
    gdfo_doc_cell(d, "", "%s (%s to %s)", gdfo_report_number(mean, 3, a),
                  gdfo_report_number(first, 3, b), gdfo_report_number(last, 3, c));
}

static void put_cost_row(const struct gdfo_grid *g, struct gdfo_doc *d, size_t s, size_t budget)
{
    static const enum gdfo_grid_measure sums[] = {
        GDFO_GRID_EVALS,  GDFO_GRID_REQUESTS, GDFO_GRID_QUERIES,        GDFO_GRID_DEV_QUERIES,
        GDFO_GRID_TOKENS, GDFO_GRID_SECONDS,  GDFO_GRID_STUDENT_SECONDS};
    size_t all = g->n_places;
    number_text t;
    if (!isfinite(mean_of(g, s, all, budget, GDFO_GRID_EVALS))) {
        return;
    }
    gdfo_doc_cell(d, "text", "%s", g->series[s].label);
    gdfo_doc_cell(d, "", "%lld", (long long)g->b->plan->budgets[budget]);
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        int n_digits = sums[i] == GDFO_GRID_SECONDS || sums[i] == GDFO_GRID_STUDENT_SECONDS ||
                       sums[i] == GDFO_GRID_EVALS;
        gdfo_doc_cell(d, "", "%s",
                      gdfo_report_number(mean_of(g, s, all, budget, sums[i]), n_digits, t));
    }
    put_course(d, mean_of(g, s, all, budget, GDFO_GRID_COSINE_FIRST),
               mean_of(g, s, all, budget, GDFO_GRID_COSINE_LAST),
               mean_of(g, s, all, budget, GDFO_GRID_COSINE_MEAN));
    put_course(d, mean_of(g, s, all, budget, GDFO_GRID_TAU_FIRST),
               mean_of(g, s, all, budget, GDFO_GRID_TAU_LAST),
               mean_of(g, s, all, budget, GDFO_GRID_TAU_MEAN));
    gdfo_doc_row_end(d);
}

void gdfo_report_costs(const struct gdfo_grid *g, struct gdfo_doc *d)
{
    static const char *const titles[] = {"method",
                                         "budget",
                                         "calls",
                                         "requests",
                                         "queries",
                                         "dev queries",
                                         "tokens",
                                         "seconds",
                                         "student s",
                                         "gradient cosine (first to last)",
                                         "rank correlation (first to last)",
                                         NULL};
    gdfo_doc_heading(d, 2, "What a cell costs, and how well its student follows");
    gdfo_doc_table(d, titles, 1);
    for (size_t s = 0; s < g->n_series; s++) {
        int is_first = s == 0 || g->series[s].method != g->series[s - 1].method;
        for (size_t i = 0; i < g->b->plan->n_budgets; i++) {
            if (!g->series[s].is_baseline && is_first) {
                put_cost_row(g, d, s, i);
            }
        }
    }
    gdfo_doc_table_end(d);
    gdfo_doc_paragraph(d, "Means over tasks and seeds. Cosine: of the student's prompt gradient "
                          "with the teacher's; rank correlation: Kendall's tau of student and "
                          "teacher over candidates; mean over the run. A dash: the job does not "
                          "say.");
}

/* ---- what went wrong ---- */

static size_t put_cell_faults(const struct gdfo_bench_result *row, struct gdfo_doc *d)
{
    size_t n = 0;
    if (row->state == GDFO_BENCH_STATE_FAILED) {
        gdfo_doc_cell(d, "text", "%s", row->key);
        gdfo_doc_cell(d, "text", "%s", row->job[0] ? row->job : "refused");
        gdfo_doc_cell(d, "text", "%s", row->why);
        gdfo_doc_row_end(d);
        return 1;
    }
    for (size_t i = 0; i < row->n_scores; i++) {
        if (row->scores[i].why[0]) {
            gdfo_doc_cell(d, "text", "%s", row->key);
            gdfo_doc_cell(d, "text", "variant %s", row->scores[i].variant);
            gdfo_doc_cell(d, "text", "%s", row->scores[i].why);
            gdfo_doc_row_end(d);
            n++;
        }
    }
    return n;
}

void gdfo_report_faults(const struct gdfo_grid *g, struct gdfo_doc *d)
{
    static const char *const titles[] = {"cell", "job", "reason", NULL};
    const struct gdfo_bench_plan *p = g->b->plan;
    size_t n = 0;
    gdfo_doc_heading(d, 2, "Failed cells");
    gdfo_doc_table(d, titles, 3);
    for (size_t i = 0; i < p->n_cells; i++) {
        const struct gdfo_bench_cell *c = &p->cells[i];
        const struct gdfo_bench_result *row =
            gdfo_grid_row(g, c->model * p->n_tasks + c->task, c->method, c->seed, c->budget);
        n += row ? put_cell_faults(row, d) : 0;
    }
    gdfo_doc_table_end(d);
    gdfo_doc_paragraph(d, n ? "A failed cell is in no mean and in no pair." : "None.");
}

void gdfo_report_reading(const struct gdfo_grid *g, struct gdfo_doc *d)
{
    gdfo_doc_heading(d, 2, "How to read this");
    gdfo_doc_paragraph(d, "A call (of the budget) is one prompt on the training rows, the papers' "
                          "\"API call\", dev checks not counted. A query, or sample, is one text "
                          "under one prompt; the plots over samples and tokens count dev checks. "
                          "Asking the test file is counted nowhere.");
    gdfo_doc_paragraph(d, "Loss: mean cross-entropy of the true label among the labels, in nats; "
                          "a probability below 1e-12 counts as 1e-12. sd and se: over seeds, of "
                          "the mean over tasks where tasks are averaged (a seed counts there when "
                          "it has every task). Bands in plots: one sd.");
    gdfo_doc_paragraph(d, "The plain prompt and calibration rows need no tuning; they are asked "
                          "once for each task and seed.");
    if (g->b->plan->n_concurrent > 1) {
        gdfo_doc_paragraph(d,
                           "Seconds were taken with up to %lld jobs at a time, so they share "
                           "the machine.",
                           (long long)g->b->plan->n_concurrent);
    }
    if (g->n_dropped) {
        gdfo_doc_paragraph(d, "%zu more variants are in results.csv only.", g->n_dropped);
    }
}
