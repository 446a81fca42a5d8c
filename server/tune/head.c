#include "server/tune/head.h"

#include "common/mem.h"
#include "server/tune/head_cv.h"
#include "server/tune/head_priv.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {"auto", "none", "bias", "anchors"};

const char *gdfo_head_kind_name(enum gdfo_head_kind kind)
{
    return names[kind];
}

int gdfo_head_kind_parse(const char *name, enum gdfo_head_kind *out)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum gdfo_head_kind)i;
            return 1;
        }
    }
    return 0;
}

struct gdfo_head_opts gdfo_head_opts_default(uint64_t seed)
{
    return (struct gdfo_head_opts){GDFO_HEAD_AUTO, 5, seed, NULL};
}

/* ---- what may come in ---- */

static enum gdfo_status check_sizes(const struct gdfo_head_data *d,
                                    const struct gdfo_head_opts *opts, struct gdfo_error *err)
{
    if (d->n < 2 || d->n > GDFO_HEAD_ROWS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "a head on %zu rows; want 2..%u", d->n,
                              GDFO_HEAD_ROWS_MAX);
    }
    if (d->n_labels < 2 || d->n_labels > GDFO_HEAD_LABELS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "a head with %zu labels; want 2..%u",
                              d->n_labels, GDFO_HEAD_LABELS_MAX);
    }
    if (d->n_anchors > GDFO_HEAD_ANCHORS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "a head with %zu anchors; want 0..%u",
                              d->n_anchors, GDFO_HEAD_ANCHORS_MAX);
    }
    if (opts->n_folds < 2 || opts->n_folds > GDFO_HEAD_FOLDS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%u folds; want 2..%u", opts->n_folds,
                              GDFO_HEAD_FOLDS_MAX);
    }
    if (opts->kind == GDFO_HEAD_ANCHORS && (d->n_anchors == 0 || d->anchors == NULL)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "head anchors without anchors' answers");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_finite(const float *x, size_t n, size_t width, const char *what,
                                     struct gdfo_error *err)
{
    for (size_t i = 0; i < n * width; i++) {
        if (!isfinite(x[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s %zu of row %zu is not finite", what,
                                  i % width, i / width);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check(const struct gdfo_head_data *d, const struct gdfo_head_opts *opts,
                              struct gdfo_error *err)
{
    enum gdfo_status status = check_sizes(d, opts, err);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < d->n; i++) {
        if (d->gold[i] >= d->n_labels) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID, "row %zu has class %u of %zu", i,
                                    d->gold[i], d->n_labels);
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = check_finite(d->lp, d->n, d->n_labels, "label", err);
    }
    if (status == GDFO_STATUS_OK && d->anchors != NULL && opts->kind != GDFO_HEAD_NONE &&
        opts->kind != GDFO_HEAD_BIAS) {
        status = check_finite(d->anchors, d->n, d->n_anchors, "anchor", err);
    }
    return status;
}

/* ---- the object ---- */

enum gdfo_status gdfo_head_make(struct gdfo_head **out, size_t n_labels, size_t n_anchors,
                                struct gdfo_error *err)
{
    struct gdfo_head *h = gdfo_mem_array(1, sizeof *h);
    if (h != NULL) {
        h->numbers.n_labels = n_labels;
        h->numbers.n_anchors = n_anchors;
        h->numbers.bias = gdfo_mem_array(n_labels, sizeof *h->numbers.bias);
        h->numbers.weights = gdfo_mem_array(n_labels * n_anchors + 1, sizeof *h->numbers.weights);
    }
    if (h == NULL || h->numbers.bias == NULL || h->numbers.weights == NULL) {
        gdfo_head_destroy(h);
        return gdfo_error_no_memory(err, "fitting a head");
    }
    *out = h;
    return GDFO_STATUS_OK;
}

void gdfo_head_destroy(struct gdfo_head *h)
{
    if (h != NULL) {
        gdfo_mem_free(h->numbers.bias);
        gdfo_mem_free(h->numbers.weights);
        gdfo_mem_free(h);
    }
}

const struct gdfo_head_shape *gdfo_head_shape_of(const struct gdfo_head *h)
{
    return &h->shape;
}

const struct gdfo_head_score *gdfo_head_score_of(const struct gdfo_head *h,
                                                 enum gdfo_head_kind kind)
{
    return &h->scores[kind];
}

void gdfo_head_apply(const struct gdfo_head *h, const float *lp, const float *anchors, size_t n,
                     float *out)
{
    const size_t L = h->numbers.n_labels;
    const size_t A = h->numbers.n_anchors;
    double row[GDFO_HEAD_LABELS_MAX];
    for (size_t i = 0; i < n; i++) {
        gdfo_head_row(&h->numbers, lp + i * L, A > 0 ? anchors + i * A : NULL, row);
        for (size_t c = 0; c < L; c++) {
            out[i * L + c] = (float)row[c];
        }
    }
}

/* ---- fitting ---- */

struct fit {
    const struct gdfo_head_data *d;
    const struct gdfo_head_opts *opts;
    struct gdfo_head_cv cv[GDFO_HEAD_N_KINDS];
    struct gdfo_head_score scores[GDFO_HEAD_N_KINDS];
};

/* None is always tried, being free; the others when asked for, or by auto. */
static int is_wanted(const struct fit *f, enum gdfo_head_kind kind)
{
    int is_auto = f->opts->kind == GDFO_HEAD_AUTO;
    switch (kind) {
    case GDFO_HEAD_AUTO: return 0;
    case GDFO_HEAD_NONE: return 1;
    case GDFO_HEAD_BIAS: return is_auto || f->opts->kind == GDFO_HEAD_BIAS;
    case GDFO_HEAD_ANCHORS:
        return f->opts->kind == GDFO_HEAD_ANCHORS ||
               (is_auto && f->d->n_anchors > 0 && f->d->anchors != NULL);
    }
    return 0;
}

/* Mean of a - b (b NULL: of a) and its standard error over the rows. */
static void paired(const double *a, const double *b, size_t n, double *mean, double *se)
{
    double sum = 0;
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] - (b != NULL ? b[i] : 0);
    }
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double off = a[i] - (b != NULL ? b[i] : 0) - *mean;
        square += off * off;
    }
    *se = sqrt(square / (double)(n - 1) / (double)n);
}

static enum gdfo_status try_kind(struct fit *f, enum gdfo_head_kind kind, struct gdfo_error *err)
{
    struct gdfo_head_cv *cv = &f->cv[kind];
    struct gdfo_head_score *score = &f->scores[kind];
    enum gdfo_status status = gdfo_head_cv_init(cv, f->d, kind, f->opts, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_head_cv_run(cv);
    score->is_tried = 1;
    score->strength = kind == GDFO_HEAD_ANCHORS ? cv->best.penalty : cv->best.penalty_bias;
    score->accuracy = (double)cv->n_right_best / (double)f->d->n;
    paired(cv->loss_best, NULL, f->d->n, &score->loss, &score->loss_se);
    for (int simpler = (int)kind - 1; simpler >= GDFO_HEAD_NONE; simpler--) {
        if (f->scores[simpler].is_tried) {
            paired(f->cv[simpler].loss_best, cv->loss_best, f->d->n, &score->gain, &score->gain_se);
            break;
        }
    }
    return GDFO_STATUS_OK;
}

/*
 * The kind with the lowest held-out loss, unless a simpler one is within one standard error of it.
 * The error is that of the paired difference: rows are hard or easy for all kinds alike, so the
 * difference is known far better than either loss. The rule leans to the simpler head because the
 * better one's loss is the best of several tries, and because few rows decide.
 */
static enum gdfo_head_kind choose(const struct fit *f)
{
    enum gdfo_head_kind best = GDFO_HEAD_NONE;
    if (f->opts->kind != GDFO_HEAD_AUTO) {
        return f->opts->kind;
    }
    for (int k = GDFO_HEAD_BIAS; k <= GDFO_HEAD_ANCHORS; k++) {
        if (f->scores[k].is_tried && f->scores[k].loss < f->scores[best].loss) {
            best = (enum gdfo_head_kind)k;
        }
    }
    for (int k = GDFO_HEAD_NONE; k < (int)best; k++) {
        double mean = 0;
        double se = 0;
        paired(f->cv[k].loss_best, f->cv[best].loss_best, f->d->n, &mean, &se);
        if (f->scores[k].is_tried && mean <= se) {
            return (enum gdfo_head_kind)k;
        }
    }
    return best;
}

static double loss_of(const struct gdfo_head *h, const struct gdfo_head_data *d)
{
    double row[GDFO_HEAD_LABELS_MAX];
    double sum = 0;
    for (size_t i = 0; i < d->n; i++) {
        const float *anchors =
            h->numbers.n_anchors > 0 ? d->anchors + i * h->numbers.n_anchors : NULL;
        gdfo_head_row(&h->numbers, d->lp + i * d->n_labels, anchors, row);
        sum -= row[d->gold[i]];
    }
    return sum / (double)d->n;
}

static enum gdfo_status finish(struct fit *f, enum gdfo_head_kind kind, struct gdfo_head **out,
                               struct gdfo_error *err)
{
    size_t n_anchors = kind == GDFO_HEAD_ANCHORS ? f->d->n_anchors : 0;
    struct gdfo_head *h = NULL;
    enum gdfo_status status = gdfo_head_make(&h, f->d->n_labels, n_anchors, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_head_cv_refit(&f->cv[kind], &h->numbers, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_head_destroy(h);
        return status;
    }
    h->shape = (struct gdfo_head_shape){kind, f->d->n_labels, n_anchors};
    f->scores[kind].loss_fit = loss_of(h, f->d);
    memcpy(h->scores, f->scores, sizeof h->scores);
    for (size_t i = 0; f->opts->held_out && i < f->d->n * f->d->n_labels; i++) {
        f->opts->held_out[i] = (float)f->cv[kind].held_out_best[i];
    }
    *out = h;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_head_fit(struct gdfo_head **out, const struct gdfo_head_data *d,
                               const struct gdfo_head_opts *opts, struct gdfo_error *err)
{
    enum gdfo_status status = check(d, opts, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    struct fit *f = gdfo_mem_array(1, sizeof *f);
    if (f == NULL) {
        return gdfo_error_no_memory(err, "fitting a head");
    }
    f->d = d;
    f->opts = opts;
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS && status == GDFO_STATUS_OK; k++) {
        f->scores[k].kind = (enum gdfo_head_kind)k;
        if (is_wanted(f, (enum gdfo_head_kind)k)) {
            status = try_kind(f, (enum gdfo_head_kind)k, err);
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = finish(f, choose(f), out, err);
    }
    for (int k = 0; k < GDFO_HEAD_N_KINDS; k++) {
        gdfo_head_cv_deinit(&f->cv[k]);
    }
    gdfo_mem_free(f);
    return status;
}
