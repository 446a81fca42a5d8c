#include "server/tune/head_part.h"

#include "common/mem.h"
#include "server/num/la.h"
#include "server/tune/head_learn.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. Anchor log-probabilities are centred in each row (the part they share is how much mass
 * the rest of the vocabulary has, which says little about the class), standardised by column, and
 * divided by the root of their number, so that a row's squared length is about 1 and one grid of
 * penalties serves any number of anchors. Then the rows are rotated to the principal axes of the
 * part: a ridge penalty does not see a rotation, the axes are at most as many as rows, and the
 * solver's bound becomes diagonal. Axes with less than 1e-10 of the largest energy are rounding.
 *
 * Chosen on SmolLM2 answers (SST-2, AG's News, TREC and the two examples, 16 per class, 128 random
 * anchors), by held-out loss: centring was better on four of five, the label log-probabilities as
 * an offset of fitted weight better than none, than weight 1 and than features among the others.
 */
#define ENERGY_FLOOR 1e-10

void gdfo_head_numbers_size(struct gdfo_head_numbers *h, const struct gdfo_head_shape *shape)
{
    const struct gdfo_head_learner *learner = gdfo_head_learner_of(shape->kind);
    const int is_linear = !learner || !learner->logits;
    h->kind = shape->kind;
    h->n_labels = shape->n_labels;
    h->n_features = shape->n_anchors > 0 ? shape->n_anchors : shape->n_hidden;
    h->n_views = shape->n_views;
    h->is_centred = shape->kind == GDFO_HEAD_ANCHORS;
    h->n_weights = is_linear ? h->n_labels * h->n_features : 0;
    h->n_extra = is_linear ? 0 : learner->n_extra(h);
}

static void linear_logits(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                          double *out)
{
    const size_t F = h->n_features;
    double mean = 0;
    for (size_t k = 0; k < F && h->is_centred; k++) {
        mean += (double)features[k];
    }
    mean /= F > 0 ? (double)F : 1;
    for (size_t c = 0; c < h->n_labels; c++) {
        out[c] = h->scale * (double)lp[c] + h->bias[c];
        for (size_t k = 0; k < F; k++) {
            out[c] += h->weights[c * F + k] * ((double)features[k] - mean);
        }
    }
}

void gdfo_head_row(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out)
{
    const struct gdfo_head_learner *learner = gdfo_head_learner_of(h->kind);
    const size_t L = h->n_labels;
    double top = -(double)INFINITY;
    int has_nan = 0;
    if (learner && learner->logits) {
        learner->logits(h, lp, features, out);
    } else {
        linear_logits(h, lp, features, out);
    }
    for (size_t c = 0; c < L; c++) {
        has_nan |= isnan(out[c]);
        top = out[c] > top ? out[c] : top;
    }
    double sum = 0;
    for (size_t c = 0; c < L; c++) {
        sum += exp(out[c] - top);
    }
    double lse = has_nan || isinf(top) ? (double)NAN : top + log(sum);
    for (size_t c = 0; c < L; c++) {
        out[c] -= lse;
    }
}

struct gdfo_head_features gdfo_head_features_of(const struct gdfo_head_data *d,
                                                enum gdfo_head_kind kind)
{
    struct gdfo_head_features f = {NULL, 0, kind == GDFO_HEAD_ANCHORS};
    switch (kind) {
    case GDFO_HEAD_ANCHORS:
    case GDFO_HEAD_VERBALIZER:
    case GDFO_HEAD_PROMPTBOOST:
        f.x = d->anchors;
        f.n = d->n_anchors;
        break;
    case GDFO_HEAD_HIDDEN:
    case GDFO_HEAD_DECT:
    case GDFO_HEAD_MPD:
        f.x = d->hidden;
        f.n = d->n_hidden;
        break;
    case GDFO_HEAD_AUTO:
    case GDFO_HEAD_NONE:
    case GDFO_HEAD_BIAS:
    case GDFO_HEAD_BLANK:
    case GDFO_HEAD_TEMPERATURE: break;
    }
    return f;
}

/* ---- the offset ---- */

/* Label log-probabilities, centred in each row: a shift of a row changes no probability. */
static void fill_offset(struct gdfo_head_part *part, const struct gdfo_head_data *d,
                        const uint32_t *rows)
{
    const size_t L = d->n_labels;
    for (size_t i = 0; i < part->problem.n; i++) {
        const float *lp = d->lp + rows[i] * L;
        double *o = part->offset + i * L;
        double mean = 0;
        for (size_t c = 0; c < L; c++) {
            mean += (double)lp[c] / (double)L;
        }
        for (size_t c = 0; c < L; c++) {
            o[c] = (double)lp[c] - mean;
            part->problem.offset_energy += o[c] * o[c];
        }
        part->gold[i] = d->gold[rows[i]];
    }
}

/* ---- the features ---- */

/* x [n][A]: centred in rows (anchors), then by column, each column scaled; scale [A] is what was
 * applied. */
static void standardise(struct gdfo_head_part *part, const uint32_t *rows, double *x, double *scale)
{
    const size_t n = part->problem.n;
    const size_t A = part->features.n;
    for (size_t i = 0; i < n; i++) {
        const float *from = part->features.x + rows[i] * A;
        double mean = 0;
        for (size_t a = 0; a < A && part->features.is_centred; a++) {
            mean += (double)from[a];
        }
        mean /= (double)A;
        for (size_t a = 0; a < A; a++) {
            x[i * A + a] = (double)from[a] - mean;
            part->mean[a] += x[i * A + a] / (double)n;
        }
    }
    for (size_t a = 0; a < A; a++) {
        double square = 0;
        for (size_t i = 0; i < n; i++) {
            x[i * A + a] -= part->mean[a];
            square += x[i * A + a] * x[i * A + a];
        }
        double sd = sqrt(square / (double)n);
        scale[a] = sd > 1e-9 ? 1 / (sd * sqrt((double)A)) : 0; /* a constant column says nothing */
        for (size_t i = 0; i < n; i++) {
            x[i * A + a] *= scale[a];
        }
    }
}

/* gram [m][m]: of the rows of x when m = n, of its columns when m = A. */
static void fill_gram(const double *x, size_t n, size_t A, int is_by_row, double *gram)
{
    const size_t m = is_by_row ? n : A;
    memset(gram, 0, m * m * sizeof *gram);
    for (size_t i = 0; i < n; i++) {
        if (is_by_row) {
            for (size_t k = 0; k <= i; k++) {
                gram[i * m + k] = gdfo_la_dot(x + i * A, x + k * A, A);
            }
            continue;
        }
        for (size_t a = 0; a < A; a++) {
            for (size_t b = 0; b <= a; b++) {
                gram[a * m + b] += x[i * A + a] * x[i * A + b];
            }
        }
    }
}

/* The axis (unit vector over A) that belongs to one eigenvector of the Gram matrix. */
static void fill_axis(const double *x, size_t n, size_t A, int is_by_row, const double *vector,
                      double energy, double *axis)
{
    if (!is_by_row) {
        memcpy(axis, vector, A * sizeof *axis);
        return;
    }
    memset(axis, 0, A * sizeof *axis);
    for (size_t i = 0; i < n; i++) {
        for (size_t a = 0; a < A; a++) {
            axis[a] += vector[i] * x[i * A + a] / sqrt(energy);
        }
    }
}

struct rotation { /* scratch of one part */
    double *x, *gram, *values, *scale;
    struct gdfo_la_eigen *eigen;
};

/* Keeps the axes with energy, largest first: rotated rows, energies, and the map from answers. */
static void take_axes(struct gdfo_head_part *part, const struct rotation *w, size_t m)
{
    const size_t n = part->problem.n;
    const size_t A = part->features.n;
    const int is_by_row = m == n;
    size_t r = 0;
    for (size_t k = m; k-- > 0 && w->values[k] > ENERGY_FLOOR * w->values[m - 1];) {
        double *axis = part->basis + r * A;
        fill_axis(w->x, n, A, is_by_row, w->gram + k * m, w->values[k], axis);
        part->energy[r] = w->values[k];
        r++;
    }
    part->problem.n_columns = r;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < r; k++) {
            part->x[i * r + k] = gdfo_la_dot(w->x + i * A, part->basis + k * A, A);
        }
    }
    for (size_t k = 0; k < r * A; k++) {
        part->basis[k] *= w->scale[k % A];
    }
}

static enum gdfo_status rotate(struct gdfo_head_part *part, const uint32_t *rows,
                               struct gdfo_error *err)
{
    const size_t n = part->problem.n;
    const size_t A = part->features.n;
    const size_t m = n < A ? n : A;
    struct rotation w = {0};
    double *block = gdfo_mem_array(n * A + m * m + m + A, sizeof *block);
    w.eigen = gdfo_la_eigen_create(m);
    if (block == NULL || w.eigen == NULL) {
        gdfo_mem_free(block);
        gdfo_la_eigen_destroy(w.eigen);
        return gdfo_error_no_memory(err, "fitting a head");
    }
    w.x = block;
    w.gram = w.x + n * A;
    w.values = w.gram + m * m;
    w.scale = w.values + m;
    standardise(part, rows, w.x, w.scale);
    fill_gram(w.x, n, A, m == n, w.gram);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (gdfo_la_eigen_run(w.eigen, w.gram, w.values)) {
        take_axes(part, &w, m);
    } else {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "the features' axes did not converge");
    }
    gdfo_la_eigen_destroy(w.eigen);
    gdfo_mem_free(block);
    return status;
}

/* ---- the part ---- */

static enum gdfo_status deal(struct gdfo_head_part *part, size_t n, size_t L, size_t A,
                             struct gdfo_error *err)
{
    const size_t r = n < A ? n : A;
    const size_t sizes[] = {n * r, n * L, r, r * A, A, gdfo_head_n_parameters(L, r)};
    double **const arrays[] = {&part->x,     &part->offset, &part->energy,
                               &part->basis, &part->mean,   &part->theta};
    size_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        total += sizes[i]; /* small: head.c checked n, L and A against their ceilings */
    }
    part->block = gdfo_mem_array(total, sizeof *part->block);
    part->gold = gdfo_mem_array(n, sizeof *part->gold);
    if (part->block == NULL || part->gold == NULL) {
        return gdfo_error_no_memory(err, "fitting a head");
    }
    double *at = part->block;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        *arrays[i] = at;
        at += sizes[i];
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_head_part_init(struct gdfo_head_part *part, const struct gdfo_head_data *d,
                                     const struct gdfo_head_features *features,
                                     const uint32_t *rows, size_t n_rows, struct gdfo_error *err)
{
    memset(part, 0, sizeof *part);
    part->features = *features;
    part->problem.n = n_rows;
    part->problem.n_labels = d->n_labels;
    enum gdfo_status status = deal(part, n_rows, d->n_labels, features->n, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    fill_offset(part, d, rows);
    if (features->n > 0) {
        status = rotate(part, rows, err);
    }
    part->problem.x = part->x;
    part->problem.offset = part->offset;
    part->problem.gold = part->gold;
    part->problem.energy = part->energy;
    part->theta[gdfo_head_n_parameters(d->n_labels, part->problem.n_columns) - 1] = 1;
    return status;
}

void gdfo_head_part_deinit(struct gdfo_head_part *part)
{
    gdfo_mem_free(part->block);
    gdfo_mem_free(part->gold);
    memset(part, 0, sizeof *part);
}

void gdfo_head_part_unfold(const struct gdfo_head_part *part, struct gdfo_head_numbers *h)
{
    const size_t L = part->problem.n_labels;
    const size_t A = part->features.n;
    const size_t r = part->problem.n_columns;
    const double *bias = part->theta + L * r;
    h->n_labels = L;
    h->n_features = A;
    h->n_views = 1;
    h->is_centred = part->features.is_centred;
    h->scale = bias[L];
    for (size_t c = 0; c < L; c++) {
        double *to = h->weights + c * A;
        h->bias[c] = bias[c];
        for (size_t a = 0; a < A; a++) {
            to[a] = 0;
        }
        for (size_t k = 0; k < r; k++) {
            for (size_t a = 0; a < A; a++) {
                to[a] += part->theta[c * r + k] * part->basis[k * A + a];
            }
        }
        for (size_t a = 0; a < A; a++) {
            h->bias[c] -= to[a] * part->mean[a];
        }
    }
}
