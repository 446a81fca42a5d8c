/*
 * DESIGN. Several prompts for each text, in the spirit of MPD (Findings of ACL 2025, arXiv
 * 2406.06279). Its abstract is all that was read (method.md section 7): hidden states of the
 * prompts are matched to shared class prototypes by optimal transport, class scores come from
 * calibrated label words, and the two are summed. The rest is ours:
 *
 *     logit_c = 1/shots mean_v (lp_vc - blank_vc) - knob * OT(z, P_c)
 *
 * z_v is prompt v's hidden state minus its mean over the rows, at unit length; P_cv the mean of
 * class c's z_v, at unit length, so a class has as many prototypes as there are prompts. OT is the
 * entropic transport cost between the two sets under even weights, with 1 - cosine as the cost of a
 * pair: a prompt that reads a text as another one reads the class may be matched to that one. The
 * knob, which the paper would train, is chosen by cross-validation.
 */
#include "server/tune/head_transport.h"

#include "common/mem.h"
#include "server/tune/head_learn.h"

#include <math.h>
#include <string.h>

#define TINY 1e-12

static const double knobs[] = {1, 3, 10, 30, 100};

struct transport {     /* how extra is cut */
    double *mean;      /* [V][H] */
    double *prototype; /* [L][V][H] */
    double *blank;     /* [V][L] */
    double *gain;      /* [1] */
};

static size_t n_extra(const struct gdfo_head_numbers *h)
{
    return h->n_views * h->n_features * (1 + h->n_labels) + h->n_views * h->n_labels + 1;
}

static struct transport cut(const struct gdfo_head_numbers *h)
{
    double *mean = h->extra;
    double *prototype = mean + h->n_views * h->n_features;
    double *blank = prototype + h->n_labels * h->n_views * h->n_features;
    return (struct transport){mean, prototype, blank, blank + h->n_views * h->n_labels};
}

double gdfo_sinkhorn(const double *cost, size_t n)
{
    double kernel[GDFO_HEAD_VIEWS_MAX * GDFO_HEAD_VIEWS_MAX];
    double u[GDFO_HEAD_VIEWS_MAX];
    double v[GDFO_HEAD_VIEWS_MAX];
    double total = 0;
    for (size_t i = 0; i < n * n; i++) {
        kernel[i] = exp(-cost[i] / GDFO_SINKHORN_EPSILON);
    }
    for (size_t j = 0; j < n; j++) {
        v[j] = 1;
    }
    for (int step = 0; step < GDFO_SINKHORN_STEPS; step++) {
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                sum += kernel[i * n + j] * v[j];
            }
            u[i] = 1 / ((double)n * sum);
        }
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t i = 0; i < n; i++) {
                sum += kernel[i * n + j] * u[i];
            }
            v[j] = 1 / ((double)n * sum);
        }
    }
    for (size_t i = 0; i < n * n; i++) {
        total += u[i / n] * kernel[i] * v[i % n] * cost[i];
    }
    return total;
}

/* The mean of view v taken off; returns one over the length. */
static double unit_of(const struct gdfo_head_numbers *h, const float *hidden, size_t v)
{
    const size_t H = h->n_features;
    const double *mean = cut(h).mean + v * H;
    double square = 0;
    for (size_t k = 0; k < H; k++) {
        double off = (double)hidden[v * H + k] - mean[k];
        square += off * off;
    }
    return 1 / (sqrt(square) > TINY ? sqrt(square) : TINY);
}

static double cosine(const struct gdfo_head_numbers *h, const float *hidden, size_t v,
                     const double *prototype)
{
    const size_t H = h->n_features;
    const double *mean = cut(h).mean + v * H;
    double sum = 0;
    for (size_t k = 0; k < H; k++) {
        sum += ((double)hidden[v * H + k] - mean[k]) * prototype[k];
    }
    return sum * unit_of(h, hidden, v);
}

static void logits(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out)
{
    const size_t V = h->n_views;
    const size_t H = h->n_features;
    const struct transport t = cut(h);
    double cost[GDFO_HEAD_VIEWS_MAX * GDFO_HEAD_VIEWS_MAX];
    for (size_t c = 0; c < h->n_labels; c++) {
        double said = 0;
        for (size_t v = 0; v < V; v++) {
            said += ((double)lp[v * h->n_labels + c] - t.blank[v * h->n_labels + c]) / (double)V;
            for (size_t k = 0; k < V; k++) {
                cost[v * V + k] = 1 - cosine(h, features, v, t.prototype + (c * V + k) * H);
            }
        }
        out[c] = h->scale * said + h->bias[c] - t.gain[0] * gdfo_sinkhorn(cost, V);
    }
}

/* ---- fitting ---- */

static void fill_means(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l)
{
    const size_t n = h->n_views * h->n_features;
    double *mean = cut(h).mean;
    memset(mean, 0, n * sizeof *mean);
    for (size_t i = 0; i < l->n; i++) {
        const float *x = l->features.x + l->rows[i] * n;
        for (size_t k = 0; k < n; k++) {
            mean[k] += (double)x[k] / (double)l->n;
        }
    }
}

static void scale_to_unit(double *x, size_t n)
{
    double square = 0;
    for (size_t k = 0; k < n; k++) {
        square += x[k] * x[k];
    }
    for (size_t k = 0; k < n; k++) {
        x[k] /= sqrt(square) > TINY ? sqrt(square) : 1;
    }
}

static void fill_prototypes(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l)
{
    const size_t V = h->n_views;
    const size_t H = h->n_features;
    const struct transport t = cut(h);
    memset(t.prototype, 0, h->n_labels * V * H * sizeof *t.prototype);
    for (size_t i = 0; i < l->n; i++) {
        const float *x = l->features.x + l->rows[i] * V * H;
        double *class = t.prototype + l->d->gold[l->rows[i]] * V * H;
        for (size_t v = 0; v < V; v++) {
            const double unit = unit_of(h, x, v);
            for (size_t k = 0; k < H; k++) {
                class[v * H + k] += ((double)x[v * H + k] - t.mean[v * H + k]) * unit;
            }
        }
    }
    for (size_t cv = 0; cv < h->n_labels * V; cv++) {
        scale_to_unit(t.prototype + cv * H, H);
    }
}

static enum gdfo_status fit(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                            struct gdfo_error *err)
{
    const struct transport t = cut(h);
    (void)err;
    h->scale = 1 / gdfo_head_shots(l);
    memset(h->bias, 0, h->n_labels * sizeof *h->bias);
    for (size_t k = 0; k < h->n_views * h->n_labels; k++) {
        t.blank[k] = (double)l->d->blank[k];
    }
    t.gain[0] = l->knob;
    fill_means(h, l);
    fill_prototypes(h, l);
    return GDFO_STATUS_OK;
}

const struct gdfo_head_learner gdfo_head_mpd = {.knobs = knobs,
                                                .n_knobs = sizeof knobs / sizeof knobs[0],
                                                .n_extra = n_extra,
                                                .fit = fit,
                                                .logits = logits};
