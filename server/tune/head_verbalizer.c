/*
 * DESIGN. Label words chosen among the anchor tokens. A token speaks for a class when its
 * log-probability (centred in the row) is higher on that class's rows than on the others: the
 * difference of the two means over the deviation within them. The knob's number of best tokens
 * joins the label's own word; a class's score is the mean of their log-probabilities (BBT-RGB
 * averages logits), and each class's mean score over the rows is taken off, because rare and
 * frequent words have bases of their own. So the head is linear.
 */
#include "common/mem.h"
#include "server/tune/head_learn.h"

#include <math.h>
#include <string.h>

static const double knobs[] = {1, 2, 4, 8, 16};

struct moments {          /* per class and anchor, of row-centred log-probabilities */
    double *sum, *square; /* [L][A] */
    double *count;        /* [L] */
};

static double row_mean(const float *x, size_t n)
{
    double mean = 0;
    for (size_t a = 0; a < n; a++) {
        mean += (double)x[a] / (double)n;
    }
    return mean;
}

static void add_rows(struct moments *m, const struct gdfo_head_lesson *l)
{
    const size_t A = l->features.n;
    for (size_t i = 0; i < l->n; i++) {
        const float *x = l->features.x + l->rows[i] * A;
        const uint32_t c = l->d->gold[l->rows[i]];
        const double mean = row_mean(x, A);
        m->count[c]++;
        for (size_t a = 0; a < A; a++) {
            double v = (double)x[a] - mean;
            m->sum[c * A + a] += v;
            m->square[c * A + a] += v * v;
        }
    }
}

/* How well anchor a tells class c from the rest. */
static double separation(const struct moments *m, size_t L, size_t A, size_t c, size_t a)
{
    double n_rest = 0, sum_rest = 0, square_rest = 0;
    const double n_in = m->count[c];
    for (size_t k = 0; k < L; k++) {
        n_rest += k == c ? 0 : m->count[k];
        sum_rest += k == c ? 0 : m->sum[k * A + a];
        square_rest += k == c ? 0 : m->square[k * A + a];
    }
    if (n_in < 1 || n_rest < 1) {
        return 0;
    }
    const double in = m->sum[c * A + a] / n_in;
    const double rest = sum_rest / n_rest;
    const double within =
        m->square[c * A + a] - n_in * in * in + square_rest - n_rest * rest * rest;
    return (in - rest) / sqrt((within > 0 ? within : 0) / (n_in + n_rest) + 1e-6);
}

/* The best anchors of class c get an equal weight each; value [A] is scratch. */
static void choose(struct gdfo_head_numbers *h, const struct moments *m, size_t c, size_t n_words,
                   double *value)
{
    const size_t A = h->n_features;
    double *w = h->weights + c * A;
    for (size_t a = 0; a < A; a++) {
        value[a] = separation(m, h->n_labels, A, c, a);
        w[a] = 0;
    }
    for (size_t k = 0; k < n_words; k++) {
        size_t best = 0;
        for (size_t a = 1; a < A; a++) {
            best = value[a] > value[best] ? a : best;
        }
        value[best] = -(double)INFINITY;
        w[best] = h->scale;
    }
}

static void take_off_means(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l)
{
    const size_t A = h->n_features;
    for (size_t c = 0; c < h->n_labels; c++) {
        h->bias[c] = 0;
        for (size_t i = 0; i < l->n; i++) {
            const float *x = l->features.x + l->rows[i] * A;
            double score = h->scale * (double)l->d->lp[l->rows[i] * h->n_labels + c];
            for (size_t a = 0; a < A; a++) {
                score += h->weights[c * A + a] * (double)x[a];
            }
            h->bias[c] -= score / (double)l->n;
        }
    }
}

static enum gdfo_status fit(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                            struct gdfo_error *err)
{
    const size_t L = h->n_labels;
    const size_t A = h->n_features;
    const size_t n_words = l->knob < (double)A ? (size_t)l->knob : A;
    double *block = gdfo_mem_array(2 * L * A + L + A, sizeof *block);
    struct moments m = {block, block + L * A, block + 2 * L * A};
    if (!block) {
        return gdfo_error_no_memory(err, "fitting a head");
    }
    h->scale = 1 / (1 + (double)n_words);
    add_rows(&m, l);
    for (size_t c = 0; c < L; c++) {
        choose(h, &m, c, n_words, block + 2 * L * A + L);
    }
    take_off_means(h, l);
    gdfo_mem_free(block);
    return GDFO_STATUS_OK;
}

const struct gdfo_head_learner gdfo_head_verbalizer = {
    .knobs = knobs, .n_knobs = sizeof knobs / sizeof knobs[0], .fit = fit};
