#include "server/tune/head_cv.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/tune/head_learn.h"
#include "server/tune/head_priv.h"

#include <math.h>
#include <string.h>

#define TOLERANCE_FOLD  1e-4 /* on the gradient, per root of a row: losses settle to six digits */
#define TOLERANCE_FINAL 1e-7
#define GRID_MAX        8
#define PATIENCE        2 /* settings in a row that are no better end a grid */

/* A prior standard deviation of 0.5 on the weight of the label log-probabilities, around 1. */
#define PENALTY_SCALE         4.0
#define PENALTY_FEATURES_BIAS 0.1

static const double strengths_bias[] = {30, 10, 3, 1, 0.3, 0.1, 0.03};
static const double strengths_features[] = {3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001};

/* ---- folds ---- */

static uint32_t smallest_class(const struct gdfo_head_data *d, uint32_t *counts)
{
    uint32_t least = UINT32_MAX;
    memset(counts, 0, d->n_labels * sizeof *counts);
    for (size_t i = 0; i < d->n; i++) {
        counts[d->gold[i]]++;
    }
    for (size_t c = 0; c < d->n_labels; c++) {
        least = counts[c] > 0 && counts[c] < least ? counts[c] : least;
    }
    return least;
}

/* Deals each class out in turn, in a drawn order, so that folds differ by at most one row. */
static void deal_folds(struct gdfo_head_cv *cv, uint64_t seed)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "head folds");
    uint32_t turn = 0;
    for (uint32_t c = 0; c < cv->d->n_labels; c++) {
        size_t n = 0;
        for (size_t i = 0; i < cv->d->n; i++) {
            if (cv->d->gold[i] == c) {
                cv->rows[n++] = (uint32_t)i;
            }
        }
        gdfo_rng_shuffle(&rng, cv->rows, n);
        for (size_t i = 0; i < n; i++) {
            cv->fold[cv->rows[i]] = turn++ % cv->n_folds;
        }
    }
}

/* The rows that fold f does not hold out, into cv->rows. */
static size_t rows_beside(struct gdfo_head_cv *cv, uint32_t f)
{
    size_t n = 0;
    for (size_t i = 0; i < cv->d->n; i++) {
        if (cv->fold[i] != f) {
            cv->rows[n++] = (uint32_t)i;
        }
    }
    return n;
}

static enum gdfo_status make_parts(struct gdfo_head_cv *cv, struct gdfo_error *err)
{
    for (uint32_t f = 0; f < cv->n_folds; f++) {
        size_t n = rows_beside(cv, f);
        enum gdfo_status status =
            gdfo_head_part_init(&cv->parts[f], cv->d, &cv->features, cv->rows, n, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status allocate(struct gdfo_head_cv *cv, struct gdfo_error *err)
{
    const size_t n = cv->d->n;
    const size_t L = cv->d->n_labels;
    const size_t F = cv->learner ? 0 : cv->features.n;
    const size_t scratch = gdfo_head_scratch(L, n < F ? n : F);
    const size_t numbers = L + cv->numbers.n_weights + cv->numbers.n_extra;
    cv->block = gdfo_mem_array(2 * n + 2 * n * L + L + numbers + scratch, sizeof *cv->block);
    cv->fold = gdfo_mem_array(n, sizeof *cv->fold);
    cv->rows = gdfo_mem_array(n > L ? n : L, sizeof *cv->rows);
    if (cv->block == NULL || cv->fold == NULL || cv->rows == NULL) {
        return gdfo_error_no_memory(err, "fitting a head");
    }
    cv->loss = cv->block;
    cv->loss_best = cv->loss + n;
    cv->held_out = cv->loss_best + n;
    cv->held_out_best = cv->held_out + n * L;
    cv->row = cv->held_out_best + n * L;
    cv->numbers.weights = cv->row + L;
    cv->numbers.bias = cv->numbers.weights + cv->numbers.n_weights;
    cv->numbers.extra = cv->numbers.bias + L;
    cv->scratch = cv->numbers.extra + cv->numbers.n_extra;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_head_cv_init(struct gdfo_head_cv *cv, const struct gdfo_head_data *d,
                                   enum gdfo_head_kind kind, const struct gdfo_head_opts *opts,
                                   struct gdfo_error *err)
{
    memset(cv, 0, sizeof *cv);
    cv->d = d;
    cv->kind = kind;
    cv->seed = opts->seed;
    cv->learner = gdfo_head_learner_of(kind);
    cv->features = gdfo_head_features_of(d, kind);
    struct gdfo_head_shape shape = gdfo_head_shape_for(d, kind);
    gdfo_head_numbers_size(&cv->numbers, &shape);
    enum gdfo_status status = allocate(cv, err);
    if (status != GDFO_STATUS_OK || kind == GDFO_HEAD_NONE) {
        return status; /* nothing is fitted, so nothing is held out */
    }
    uint32_t least = smallest_class(d, cv->rows);
    cv->n_folds = least < opts->n_folds ? least : opts->n_folds;
    cv->n_folds = cv->n_folds < 2 ? 2 : cv->n_folds;
    deal_folds(cv, opts->seed);
    return cv->learner ? GDFO_STATUS_OK : make_parts(cv, err);
}

void gdfo_head_cv_deinit(struct gdfo_head_cv *cv)
{
    for (uint32_t f = 0; f < GDFO_HEAD_FOLDS_MAX; f++) {
        gdfo_head_part_deinit(&cv->parts[f]);
    }
    gdfo_mem_free(cv->block);
    gdfo_mem_free(cv->fold);
    gdfo_mem_free(cv->rows);
    memset(cv, 0, sizeof *cv);
}

/* ---- one setting ---- */

static void solve_part(struct gdfo_head_cv *cv, struct gdfo_head_part *part,
                       const struct gdfo_head_setting *s, double tolerance)
{
    struct gdfo_head_problem *p = &part->problem;
    p->penalty = s->penalty;
    p->penalty_bias = s->penalty_bias;
    p->penalty_scale = PENALTY_SCALE;
    p->is_scale_free = cv->kind != GDFO_HEAD_BIAS;
    p->tolerance = tolerance * sqrt((double)p->n);
    if (!p->is_scale_free) {
        part->theta[gdfo_head_n_parameters(p->n_labels, p->n_columns) - 1] = 1;
    }
    gdfo_head_solve(p, part->theta, cv->scratch);
}

/* Loss of one row under cv->numbers; counts it when it is right. */
static void judge(struct gdfo_head_cv *cv, size_t i)
{
    const struct gdfo_head_data *d = cv->d;
    const size_t V = cv->numbers.n_views;
    const float *x = cv->features.n > 0 ? cv->features.x + i * V * cv->features.n : NULL;
    size_t best = 0;
    gdfo_head_row(&cv->numbers, d->lp + i * V * d->n_labels, x, cv->row);
    for (size_t c = 1; c < d->n_labels; c++) {
        best = cv->row[c] > cv->row[best] ? c : best;
    }
    memcpy(cv->held_out + i * d->n_labels, cv->row, d->n_labels * sizeof *cv->row);
    cv->loss[i] = -cv->row[d->gold[i]];
    cv->n_right += best == d->gold[i];
}

static double mean_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / (double)n;
}

static void keep_if_better(struct gdfo_head_cv *cv, const struct gdfo_head_setting *s,
                           unsigned *n_worse)
{
    double mean = mean_of(cv->loss, cv->d->n);
    if (mean < cv->mean_best) {
        cv->mean_best = mean;
        cv->best = *s;
        cv->n_right_best = cv->n_right;
        memcpy(cv->loss_best, cv->loss, cv->d->n * sizeof *cv->loss);
        memcpy(cv->held_out_best, cv->held_out, cv->d->n * cv->d->n_labels * sizeof *cv->held_out);
        *n_worse = 0;
    } else {
        (*n_worse)++;
    }
}

static enum gdfo_status learn(struct gdfo_head_cv *cv, size_t n_rows,
                              const struct gdfo_head_setting *s, struct gdfo_head_numbers *h,
                              struct gdfo_error *err)
{
    struct gdfo_head_lesson lesson = {cv->d, cv->features, cv->rows, n_rows, s->knob, cv->seed};
    return cv->learner->fit(h, &lesson, err);
}

/* Every row is judged by the fold that did not see it. */
static enum gdfo_status try_setting(struct gdfo_head_cv *cv, const struct gdfo_head_setting *s,
                                    unsigned *n_worse, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    cv->n_right = 0;
    for (uint32_t f = 0; f < cv->n_folds; f++) {
        if (cv->learner) {
            status = learn(cv, rows_beside(cv, f), s, &cv->numbers, err);
        } else {
            solve_part(cv, &cv->parts[f], s, TOLERANCE_FOLD);
            gdfo_head_part_unfold(&cv->parts[f], &cv->numbers);
        }
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        for (size_t i = 0; i < cv->d->n; i++) {
            if (cv->fold[i] == f) {
                judge(cv, i);
            }
        }
    }
    keep_if_better(cv, s, n_worse);
    return GDFO_STATUS_OK;
}

/* ---- the grids ---- */

static void run_none(struct gdfo_head_cv *cv)
{
    unsigned n_worse = 0;
    struct gdfo_head_setting plain = {0, 0, 0};
    cv->n_right = 0;
    cv->numbers.n_labels = cv->d->n_labels;
    cv->numbers.scale = 1; /* and no bias: the memory was zeroed */
    for (size_t i = 0; i < cv->d->n; i++) {
        judge(cv, i);
    }
    keep_if_better(cv, &plain, &n_worse);
}

/* Settings in turn, from strong to weak, until PATIENCE in a row are no better. */
static enum gdfo_status run_grid(struct gdfo_head_cv *cv, const struct gdfo_head_setting *grid,
                                 size_t n, struct gdfo_error *err)
{
    unsigned n_worse = 0;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t k = 0; status == GDFO_STATUS_OK && k < n && n_worse < PATIENCE; k++) {
        status = try_setting(cv, &grid[k], &n_worse, err);
    }
    return status;
}

enum gdfo_status gdfo_head_cv_run(struct gdfo_head_cv *cv, struct gdfo_error *err)
{
    struct gdfo_head_setting grid[GRID_MAX] = {{0, 0, 0}};
    const size_t n_bias = sizeof strengths_bias / sizeof strengths_bias[0];
    const size_t n_features = sizeof strengths_features / sizeof strengths_features[0];
    size_t n = 0;
    cv->mean_best = (double)INFINITY;
    if (cv->kind == GDFO_HEAD_NONE) {
        run_none(cv);
        return GDFO_STATUS_OK;
    }
    for (size_t k = 0; cv->learner && k < cv->learner->n_knobs; k++) {
        grid[n++].knob = cv->learner->knobs[k];
    }
    for (size_t k = 0; !cv->learner && cv->features.n > 0 && k < n_features; k++) {
        grid[n++] = (struct gdfo_head_setting){strengths_features[k], PENALTY_FEATURES_BIAS, 0};
    }
    for (size_t k = 0; !cv->learner && cv->features.n == 0 && k < n_bias; k++) {
        grid[n++] = (struct gdfo_head_setting){1, strengths_bias[k], 0};
    }
    return run_grid(cv, grid, n, err);
}

enum gdfo_status gdfo_head_cv_refit(struct gdfo_head_cv *cv, struct gdfo_head_numbers *h,
                                    struct gdfo_error *err)
{
    struct gdfo_head_part all;
    if (cv->kind == GDFO_HEAD_NONE) {
        h->scale = 1;
        return GDFO_STATUS_OK;
    }
    for (size_t i = 0; i < cv->d->n; i++) {
        cv->rows[i] = (uint32_t)i;
    }
    if (cv->learner) {
        return learn(cv, cv->d->n, &cv->best, h, err);
    }
    enum gdfo_status status =
        gdfo_head_part_init(&all, cv->d, &cv->features, cv->rows, cv->d->n, err);
    if (status == GDFO_STATUS_OK) {
        solve_part(cv, &all, &cv->best, TOLERANCE_FINAL);
        gdfo_head_part_unfold(&all, h);
    }
    gdfo_head_part_deinit(&all);
    return status;
}
