#include "server/tune/head.h"

#include "common/mem.h"
#include "server/tune/head_cv.h"
#include "server/tune/head_priv.h"

#include <math.h>
#include <string.h>

static const char *const names[GDFO_HEAD_N_KINDS] = {
    "auto",       "none",   "bias", "anchors", "blank",      "temperature",
    "verbalizer", "hidden", "dect", "mpd",     "promptboost"};

const enum gdfo_head_kind gdfo_head_by_simplicity[GDFO_HEAD_N_KINDS - 1] = {
    GDFO_HEAD_NONE,       GDFO_HEAD_BLANK,      GDFO_HEAD_BIAS,   GDFO_HEAD_TEMPERATURE,
    GDFO_HEAD_VERBALIZER, GDFO_HEAD_ANCHORS,    GDFO_HEAD_HIDDEN, GDFO_HEAD_DECT,
    GDFO_HEAD_MPD,        GDFO_HEAD_PROMPTBOOST};

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
    return (struct gdfo_head_opts){GDFO_HEAD_AUTO, 5, seed, NULL, 0};
}

/* ---- what may come in ---- */

static size_t views_of(const struct gdfo_head_data *d)
{
    return d->n_views > 0 ? d->n_views : 1;
}

static int needs_blank(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_BLANK || kind == GDFO_HEAD_DECT || kind == GDFO_HEAD_MPD;
}

static int takes_views(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_MPD || kind == GDFO_HEAD_PROMPTBOOST;
}

/* A kind that was asked for finds what it looks at. */
static enum gdfo_status check_kind(const struct gdfo_head_data *d, enum gdfo_head_kind kind,
                                   struct gdfo_error *err)
{
    const struct gdfo_head_features f = gdfo_head_features_of(d, kind);
    const int is_hidden =
        kind == GDFO_HEAD_HIDDEN || kind == GDFO_HEAD_DECT || kind == GDFO_HEAD_MPD;
    const int is_anchors =
        kind == GDFO_HEAD_ANCHORS || kind == GDFO_HEAD_VERBALIZER || kind == GDFO_HEAD_PROMPTBOOST;
    if ((is_hidden || is_anchors) && (f.n == 0 || f.x == NULL)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "head %s without %s",
                              gdfo_head_kind_name(kind),
                              is_hidden ? "hidden states" : "anchors' answers");
    }
    if (needs_blank(kind) && d->blank == NULL) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "head %s without the answer to an empty text",
                              gdfo_head_kind_name(kind));
    }
    if (views_of(d) > 1 && !takes_views(kind)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "head %s takes one prompt, not %u",
                              gdfo_head_kind_name(kind), d->n_views);
    }
    return GDFO_STATUS_OK;
}

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
    if (d->n_hidden > GDFO_HEAD_HIDDEN_MAX || d->n_views > GDFO_HEAD_VIEWS_MAX) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "a head on hidden states of width %zu of %u prompts; at most %u of %u", d->n_hidden,
            d->n_views, GDFO_HEAD_HIDDEN_MAX, GDFO_HEAD_VIEWS_MAX);
    }
    if (opts->n_folds < 2 || opts->n_folds > GDFO_HEAD_FOLDS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%u folds; want 2..%u", opts->n_folds,
                              GDFO_HEAD_FOLDS_MAX);
    }
    return check_kind(d, opts->kind, err);
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

/* Whether a fit with these options reads the same features as this kind does. */
static int may_look_at(const struct gdfo_head_opts *opts, enum gdfo_head_kind like,
                       const struct gdfo_head_data *d)
{
    const float *x = gdfo_head_features_of(d, like).x;
    return x != NULL &&
           (opts->kind == GDFO_HEAD_AUTO || gdfo_head_features_of(d, opts->kind).x == x);
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
        status = check_finite(d->lp, d->n, views_of(d) * d->n_labels, "label", err);
    }
    if (status == GDFO_STATUS_OK && d->blank != NULL) {
        status = check_finite(d->blank, 1, views_of(d) * d->n_labels, "empty text's label", err);
    }
    if (status == GDFO_STATUS_OK && may_look_at(opts, GDFO_HEAD_ANCHORS, d)) {
        status = check_finite(d->anchors, d->n, views_of(d) * d->n_anchors, "anchor", err);
    }
    if (status == GDFO_STATUS_OK && may_look_at(opts, GDFO_HEAD_HIDDEN, d)) {
        status = check_finite(d->hidden, d->n, views_of(d) * d->n_hidden, "hidden state", err);
    }
    return status;
}

/* ---- the object ---- */

struct gdfo_head_shape gdfo_head_shape_for(const struct gdfo_head_data *d, enum gdfo_head_kind kind)
{
    const struct gdfo_head_features f = gdfo_head_features_of(d, kind);
    const int is_hidden = f.x != NULL && f.x == d->hidden;
    return (struct gdfo_head_shape){kind, d->n_labels, is_hidden ? 0 : f.n, is_hidden ? f.n : 0,
                                    takes_views(kind) ? views_of(d) : 1};
}

enum gdfo_status gdfo_head_make(struct gdfo_head **out, const struct gdfo_head_shape *shape,
                                struct gdfo_error *err)
{
    struct gdfo_head *h = gdfo_mem_array(1, sizeof *h);
    if (h != NULL) {
        struct gdfo_head_numbers *n = &h->numbers;
        h->shape = *shape;
        gdfo_head_numbers_size(n, shape);
        n->bias = gdfo_mem_array(n->n_labels, sizeof *n->bias);
        n->weights = gdfo_mem_array(n->n_weights + 1, sizeof *n->weights);
        n->extra = gdfo_mem_array(n->n_extra + 1, sizeof *n->extra);
    }
    if (h == NULL || !h->numbers.bias || !h->numbers.weights || !h->numbers.extra) {
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
        gdfo_mem_free(h->numbers.extra);
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

void gdfo_head_apply(const struct gdfo_head *h, const float *lp, const float *features, size_t n,
                     float *out)
{
    const size_t L = h->numbers.n_labels;
    const size_t V = h->numbers.n_views;
    const size_t F = h->numbers.n_features;
    double row[GDFO_HEAD_LABELS_MAX];
    for (size_t i = 0; i < n; i++) {
        gdfo_head_row(&h->numbers, lp + i * V * L, F > 0 ? features + i * V * F : NULL, row);
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

/* None is always tried, being free (and for several prompts means nothing); the others when asked
 * for, or by auto. */
static int is_wanted(const struct fit *f, enum gdfo_head_kind kind)
{
    const uint32_t usual = 1U << GDFO_HEAD_BIAS | 1U << GDFO_HEAD_ANCHORS | 1U << GDFO_HEAD_HIDDEN;
    const uint32_t kinds = f->opts->kinds != 0 ? f->opts->kinds : usual;
    struct gdfo_error ignored = {0};
    if (kind == GDFO_HEAD_NONE) {
        return views_of(f->d) == 1;
    }
    if (f->opts->kind != GDFO_HEAD_AUTO) {
        return f->opts->kind == kind;
    }
    return (kinds >> (unsigned)kind & 1U) != 0 &&
           check_kind(f->d, kind, &ignored) == GDFO_STATUS_OK;
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

static size_t rank_of(enum gdfo_head_kind kind)
{
    size_t at = 0;
    while (gdfo_head_by_simplicity[at] != kind) {
        at++;
    }
    return at;
}

static enum gdfo_status try_kind(struct fit *f, enum gdfo_head_kind kind, struct gdfo_error *err)
{
    struct gdfo_head_cv *cv = &f->cv[kind];
    struct gdfo_head_score *score = &f->scores[kind];
    enum gdfo_status status = gdfo_head_cv_init(cv, f->d, kind, f->opts, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_head_cv_run(cv, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    score->is_tried = 1;
    score->strength = cv->learner          ? cv->best.knob
                      : cv->features.n > 0 ? cv->best.penalty
                                           : cv->best.penalty_bias;
    score->accuracy = (double)cv->n_right_best / (double)f->d->n;
    paired(cv->loss_best, NULL, f->d->n, &score->loss, &score->loss_se);
    for (size_t at = rank_of(kind); at-- > 0;) {
        enum gdfo_head_kind simpler = gdfo_head_by_simplicity[at];
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
    for (size_t at = 0; at < GDFO_HEAD_N_KINDS - 1; at++) {
        enum gdfo_head_kind k = gdfo_head_by_simplicity[at];
        if (f->scores[k].is_tried && f->scores[k].loss < f->scores[best].loss) {
            best = k;
        }
    }
    for (size_t at = 0; at < rank_of(best); at++) {
        enum gdfo_head_kind k = gdfo_head_by_simplicity[at];
        double mean = 0;
        double se = 0;
        if (!f->scores[k].is_tried) {
            continue;
        }
        paired(f->cv[k].loss_best, f->cv[best].loss_best, f->d->n, &mean, &se);
        if (mean <= se) {
            return k;
        }
    }
    return best;
}

static double loss_of(const struct gdfo_head *h, const struct gdfo_head_data *d)
{
    const struct gdfo_head_features f = gdfo_head_features_of(d, h->shape.kind);
    const size_t V = h->shape.n_views;
    double row[GDFO_HEAD_LABELS_MAX];
    double sum = 0;
    for (size_t i = 0; i < d->n; i++) {
        gdfo_head_row(&h->numbers, d->lp + i * V * d->n_labels, f.x ? f.x + i * V * f.n : NULL,
                      row);
        sum -= row[d->gold[i]];
    }
    return sum / (double)d->n;
}

static enum gdfo_status finish(struct fit *f, enum gdfo_head_kind kind, struct gdfo_head **out,
                               struct gdfo_error *err)
{
    const struct gdfo_head_shape shape = gdfo_head_shape_for(f->d, kind);
    struct gdfo_head *h = NULL;
    enum gdfo_status status = gdfo_head_make(&h, &shape, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_head_cv_refit(&f->cv[kind], &h->numbers, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_head_destroy(h);
        return status;
    }
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
    for (size_t at = 0; at < GDFO_HEAD_N_KINDS - 1 && status == GDFO_STATUS_OK; at++) {
        enum gdfo_head_kind kind = gdfo_head_by_simplicity[at];
        f->scores[kind].kind = kind;
        if (is_wanted(f, kind)) {
            status = try_kind(f, kind, err);
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
