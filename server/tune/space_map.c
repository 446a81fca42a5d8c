#include "server/tune/space_map.h"

#include "common/mem.h"

#include <math.h>
#include <string.h>

/*
 * DESIGN. The best step lies in the row space of J, s = J^T a with m = n C numbers a, so all of the
 * solver runs on the m x m Gram matrix and a prompt of thousands of numbers costs no more than a
 * small one. FISTA (Beck and Teboulle, 2009): its rate is fixed by the largest eigenvalue, found by
 * power iteration, and a fixed number of steps keeps a run reproducible.
 */
#define STEPS       400
#define POWER_STEPS 30
#define RIDGE       1e-3 /* method.md section 10 rank 2: lam */

static size_t n_logits(const struct gdfo_space_map *m)
{
    return m->n * m->n_labels;
}

enum gdfo_status gdfo_space_map_init(struct gdfo_space_map *m, size_t n, size_t n_labels,
                                     size_t dim, struct gdfo_error *err)
{
    size_t all = n * n_labels;
    memset(m, 0, sizeof *m);
    m->n = n;
    m->n_labels = n_labels;
    m->dim = dim;
    m->jac = gdfo_mem_array(all * dim, sizeof *m->jac);
    m->gram = gdfo_mem_array(all * all, sizeof *m->gram);
    m->work = gdfo_mem_array(7 * all, sizeof *m->work);
    return m->jac && m->gram && m->work ? GDFO_STATUS_OK
                                        : gdfo_error_no_memory(err, "the student's Jacobian");
}

void gdfo_space_map_deinit(struct gdfo_space_map *m)
{
    gdfo_mem_free(m->jac);
    gdfo_mem_free(m->gram);
    gdfo_mem_free(m->work);
    memset(m, 0, sizeof *m);
}

void gdfo_space_map_centre(struct gdfo_space_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        float *row = m->jac + i * m->n_labels * m->dim;
        for (size_t j = 0; j < m->dim; j++) {
            float sum = 0;
            for (size_t c = 0; c < m->n_labels; c++) {
                sum += row[c * m->dim + j];
            }
            for (size_t c = 0; c < m->n_labels; c++) {
                row[c * m->dim + j] -= sum / (float)m->n_labels;
            }
        }
    }
}

void gdfo_space_map_centre_logits(const struct gdfo_space_map *m, double *logits)
{
    for (size_t i = 0; i < m->n; i++) {
        double sum = 0;
        for (size_t c = 0; c < m->n_labels; c++) {
            sum += logits[i * m->n_labels + c];
        }
        for (size_t c = 0; c < m->n_labels; c++) {
            logits[i * m->n_labels + c] -= sum / (double)m->n_labels;
        }
    }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        sum += (double)a[j] * (double)b[j];
    }
    return sum;
}

void gdfo_space_map_apply(const struct gdfo_space_map *m, const float *s, double *moves)
{
    for (size_t i = 0; i < n_logits(m); i++) {
        moves[i] = dot(m->jac + i * m->dim, s, m->dim);
    }
}

void gdfo_space_map_correct(struct gdfo_space_map *m, const float *s, const double *moved)
{
    double square = dot(s, s, m->dim);
    if (!(square > 0)) {
        return;
    }
    for (size_t i = 0; i < n_logits(m); i++) {
        float *row = m->jac + i * m->dim;
        double share = (moved[i] - dot(row, s, m->dim)) / square;
        for (size_t j = 0; j < m->dim; j++) {
            row[j] = (float)((double)row[j] + share * (double)s[j]);
        }
    }
}

/* Row i's cross-entropy; d [n_labels]: softmax - gold, unless NULL. */
static double row_loss(const double *logits, size_t n_labels, uint32_t gold, double *d)
{
    double max = logits[0];
    double sum = 0;
    for (size_t c = 1; c < n_labels; c++) {
        max = logits[c] > max ? logits[c] : max;
    }
    for (size_t c = 0; c < n_labels; c++) {
        sum += exp(logits[c] - max);
    }
    for (size_t c = 0; d && c < n_labels; c++) {
        d[c] = exp(logits[c] - max) / sum - (c == gold);
    }
    return max + log(sum) - logits[gold];
}

static double loss_and_slope(const struct gdfo_space_map *m, const double *logits,
                             const uint32_t *gold, double *d)
{
    double sum = 0;
    for (size_t i = 0; i < m->n; i++) {
        size_t at = i * m->n_labels;
        sum += row_loss(logits + at, m->n_labels, gold[i], d ? d + at : NULL);
    }
    for (size_t i = 0; d && i < n_logits(m); i++) {
        d[i] /= (double)m->n;
    }
    return sum / (double)m->n;
}

double gdfo_space_map_loss(const struct gdfo_space_map *m, const double *logits,
                           const uint32_t *gold)
{
    return loss_and_slope(m, logits, gold, NULL);
}

/* out = J^T a */
static void pull(const struct gdfo_space_map *m, const double *a, float *out)
{
    memset(out, 0, m->dim * sizeof *out);
    for (size_t i = 0; i < n_logits(m); i++) {
        const float *row = m->jac + i * m->dim;
        for (size_t j = 0; j < m->dim; j++) {
            out[j] += (float)a[i] * row[j];
        }
    }
}

void gdfo_space_map_gradient(struct gdfo_space_map *m, const double *logits, const uint32_t *gold,
                             float *grad)
{
    (void)loss_and_slope(m, logits, gold, m->work);
    pull(m, m->work, grad);
}

static void fill_gram(struct gdfo_space_map *m)
{
    size_t all = n_logits(m);
    for (size_t i = 0; i < all; i++) {
        for (size_t j = 0; j <= i; j++) {
            double x = dot(m->jac + i * m->dim, m->jac + j * m->dim, m->dim);
            m->gram[i * all + j] = x;
            m->gram[j * all + i] = x;
        }
    }
}

static void times_gram(const struct gdfo_space_map *m, const double *a, double *out)
{
    size_t all = n_logits(m);
    for (size_t i = 0; i < all; i++) {
        out[i] = 0;
        for (size_t j = 0; j < all; j++) {
            out[i] += m->gram[i * all + j] * a[j];
        }
    }
}

static double inner(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* The Gram matrix's largest eigenvalue; v and w are scratch. */
static double largest(const struct gdfo_space_map *m, double *v, double *w)
{
    size_t all = n_logits(m);
    double norm = 0;
    for (size_t i = 0; i < all; i++) {
        v[i] = 1 + 0.37 * (double)(i % 7) * (i % 2 ? 1 : -1);
    }
    for (int k = 0; k < POWER_STEPS; k++) {
        times_gram(m, v, w);
        norm = sqrt(inner(w, w, all));
        for (size_t i = 0; norm > 0 && i < all; i++) {
            v[i] = w[i] / norm;
        }
    }
    return norm;
}

double gdfo_space_map_step(struct gdfo_space_map *m, const double *logits, const uint32_t *gold,
                           double radius, float *s)
{
    size_t all = n_logits(m);
    double *a = m->work; /* the iterate, its last, the extrapolated one; G times it; slope; sum */
    double *last = a + all;
    double *ahead = last + all;
    double *moves = ahead + all;
    double *slope = moves + all;
    double *sum = slope + all;
    double rate;
    double t = 1;
    fill_gram(m);
    rate = 1 / (1.1 * largest(m, a, last) / (2 * (double)m->n) + RIDGE);
    memset(a, 0, 3 * all * sizeof *a);
    for (int k = 0; k < STEPS; k++) {
        double t_next = (1 + sqrt(1 + 4 * t * t)) / 2;
        double length;
        times_gram(m, ahead, moves);
        for (size_t i = 0; i < all; i++) {
            sum[i] = logits[i] + moves[i];
        }
        (void)loss_and_slope(m, sum, gold, slope);
        memcpy(last, a, all * sizeof *a);
        for (size_t i = 0; i < all; i++) {
            a[i] = ahead[i] - rate * (slope[i] + RIDGE * ahead[i]);
        }
        times_gram(m, a, moves);
        length = sqrt(fmax(inner(a, moves, all), 0));
        for (size_t i = 0; i < all; i++) {
            a[i] *= length > radius ? radius / length : 1;
            ahead[i] = a[i] + (t - 1) / t_next * (a[i] - last[i]);
        }
        t = t_next;
    }
    pull(m, a, s);
    times_gram(m, a, moves);
    for (size_t i = 0; i < all; i++) {
        sum[i] = logits[i] + moves[i];
    }
    return gdfo_space_map_loss(m, sum, gold);
}
