/*
 * DESIGN. DecT (Cui et al., ACL 2023; method.md section 7): with h the hidden state and s_c the
 * calibrated score of label word c,
 *
 *     logit_c = w s_c + r_c - | W h / |W h| - p_c |
 *
 * W [128][H] without bias, drawn as PyTorch draws a linear layer; prototypes p_c Xavier-uniform and
 * frozen, as the released code does; radii r_c start at the class's mean distance; W and r trained
 * with Adam (0.01) for 30 steps on all rows at once; w = 1 / shots. s_c is the label's
 * log-probability over that of the empty text, whose mean over the labels is 1.
 */
#include "common/mem.h"
#include "common/rng.h"
#include "server/num/la.h"
#include "server/tune/head_learn.h"

#include <math.h>
#include <string.h>

#define K           ((size_t)GDFO_DECT_WIDTH)
#define STEPS       30
#define RATE        0.01
#define BETA_1      0.9
#define BETA_2      0.999
#define EPSILON     1e-8
#define TINY        1e-12 /* below any distance or norm that means something */
#define RATIO_LEAST 1e-3

static size_t n_extra(const struct gdfo_head_numbers *h)
{
    return K * h->n_features + h->n_labels * K + h->n_labels;
}

struct gdfo_dect gdfo_dect_of(const struct gdfo_head_numbers *h)
{
    double *w = h->extra;
    double *proto = w + K * h->n_features;
    return (struct gdfo_dect){w, proto, proto + h->n_labels * K};
}

/* z [K] = W x / |W x|; returns |W x|. */
static double project(const double *w, const double *x, size_t H, double *z)
{
    double norm = 0;
    for (size_t k = 0; k < K; k++) {
        z[k] = gdfo_la_dot(w + k * H, x, H);
        norm += z[k] * z[k];
    }
    norm = sqrt(norm);
    norm = norm > TINY ? norm : TINY;
    for (size_t k = 0; k < K; k++) {
        z[k] /= norm;
    }
    return norm;
}

static double distance(const double *z, const double *p)
{
    double square = 0;
    for (size_t k = 0; k < K; k++) {
        square += (z[k] - p[k]) * (z[k] - p[k]);
    }
    return sqrt(square);
}

static void logits_of(const struct gdfo_head_numbers *h, const float *lp, const double *z,
                      double *out)
{
    const struct gdfo_dect m = gdfo_dect_of(h);
    for (size_t c = 0; c < h->n_labels; c++) {
        out[c] = h->scale * (double)lp[c] / m.ratio[c] + h->bias[c] - distance(z, m.proto + c * K);
    }
}

static void logits(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out)
{
    const struct gdfo_dect m = gdfo_dect_of(h);
    const size_t H = h->n_features;
    double z[K];
    double norm = 0;
    for (size_t k = 0; k < K; k++) {
        double sum = 0;
        for (size_t i = 0; i < H; i++) {
            sum += m.w[k * H + i] * (double)features[i];
        }
        z[k] = sum;
        norm += sum * sum;
    }
    norm = sqrt(norm) > TINY ? sqrt(norm) : TINY;
    for (size_t k = 0; k < K; k++) {
        z[k] /= norm;
    }
    logits_of(h, lp, z, out);
}

/* ---- training ---- */

struct trainer {
    struct gdfo_head_numbers *h;
    const struct gdfo_head_lesson *l;
    double *x;            /* [n][H] */
    double *grad, *m, *v; /* [K H + L]: W, then the radii */
    double z[K], dz[K];
    double out[GDFO_HEAD_LABELS_MAX];
};

static const float *lp_of(const struct trainer *t, size_t i)
{
    return t->l->d->lp + t->l->rows[i] * t->h->n_labels;
}

static void start_radii(struct trainer *t)
{
    const struct gdfo_dect m = gdfo_dect_of(t->h);
    const size_t H = t->h->n_features;
    const size_t L = t->h->n_labels;
    double count[GDFO_HEAD_LABELS_MAX] = {0};
    memset(t->h->bias, 0, L * sizeof *t->h->bias);
    for (size_t i = 0; i < t->l->n; i++) {
        const uint32_t c = t->l->d->gold[t->l->rows[i]];
        (void)project(m.w, t->x + i * H, H, t->z);
        t->h->bias[c] += distance(t->z, m.proto + c * K);
        count[c]++;
    }
    for (size_t c = 0; c < L; c++) {
        t->h->bias[c] /= count[c] > 0 ? count[c] : 1;
    }
}

/* out becomes d loss / d logit of one row, softmax minus gold over n. */
static void row_residual(struct trainer *t, size_t i)
{
    const size_t L = t->h->n_labels;
    const double n = (double)t->l->n;
    double top = -(double)INFINITY;
    double sum = 0;
    for (size_t c = 0; c < L; c++) {
        top = t->out[c] > top ? t->out[c] : top;
    }
    for (size_t c = 0; c < L; c++) {
        t->out[c] = exp(t->out[c] - top);
        sum += t->out[c];
    }
    for (size_t c = 0; c < L; c++) {
        t->out[c] /= sum * n;
    }
    t->out[t->l->d->gold[t->l->rows[i]]] -= 1 / n;
}

/* Adds one row's gradient. */
static void add_row(struct trainer *t, size_t i)
{
    const struct gdfo_dect m = gdfo_dect_of(t->h);
    const size_t H = t->h->n_features;
    const double *x = t->x + i * H;
    const double norm = project(m.w, x, H, t->z);
    double along = 0;
    logits_of(t->h, lp_of(t, i), t->z, t->out);
    row_residual(t, i);
    memset(t->dz, 0, sizeof t->dz);
    for (size_t c = 0; c < t->h->n_labels; c++) {
        const double *p = m.proto + c * K;
        const double far = distance(t->z, p);
        t->grad[K * H + c] += t->out[c];
        for (size_t k = 0; k < K && far > TINY; k++) {
            t->dz[k] -= t->out[c] * (t->z[k] - p[k]) / far;
        }
    }
    for (size_t k = 0; k < K; k++) {
        along += t->dz[k] * t->z[k];
    }
    for (size_t k = 0; k < K; k++) {
        const double du = (t->dz[k] - along * t->z[k]) / norm;
        double *g = t->grad + k * H;
        for (size_t j = 0; j < H; j++) {
            g[j] += du * x[j];
        }
    }
}

static void adam(struct trainer *t, int step)
{
    const size_t n_w = K * t->h->n_features;
    const double fix_1 = 1 - pow(BETA_1, step);
    const double fix_2 = 1 - pow(BETA_2, step);
    for (size_t k = 0; k < n_w + t->h->n_labels; k++) {
        double *at = k < n_w ? t->h->extra + k : t->h->bias + (k - n_w);
        t->m[k] = BETA_1 * t->m[k] + (1 - BETA_1) * t->grad[k];
        t->v[k] = BETA_2 * t->v[k] + (1 - BETA_2) * t->grad[k] * t->grad[k];
        *at -= RATE * (t->m[k] / fix_1) / (sqrt(t->v[k] / fix_2) + EPSILON);
    }
}

enum gdfo_status gdfo_dect_train(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                                 struct gdfo_error *err)
{
    const size_t H = h->n_features;
    const size_t n = K * H + h->n_labels;
    double *block = gdfo_mem_array(l->n * H + 3 * n, sizeof *block);
    struct trainer *t = gdfo_mem_array(1, sizeof *t);
    if (!block || !t) {
        gdfo_mem_free(block);
        gdfo_mem_free(t);
        return gdfo_error_no_memory(err, "fitting a head");
    }
    t->h = h;
    t->l = l;
    t->x = block;
    t->grad = t->x + l->n * H;
    t->m = t->grad + n;
    t->v = t->m + n;
    for (size_t i = 0; i < l->n * H; i++) {
        t->x[i] = (double)l->features.x[l->rows[i / H] * H + i % H];
    }
    h->scale = 1 / gdfo_head_shots(l);
    start_radii(t);
    for (int step = 1; step <= STEPS; step++) {
        memset(t->grad, 0, n * sizeof *t->grad);
        for (size_t i = 0; i < l->n; i++) {
            add_row(t, i);
        }
        adam(t, step);
    }
    gdfo_mem_free(block);
    gdfo_mem_free(t);
    return GDFO_STATUS_OK;
}

static void draw(double *x, size_t n, double bound, struct gdfo_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = bound * (2 * gdfo_rng_uniform(rng) - 1);
    }
}

static enum gdfo_status fit(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                            struct gdfo_error *err)
{
    const struct gdfo_dect m = gdfo_dect_of(h);
    struct gdfo_rng rng = gdfo_rng_stream(l->seed, "dect");
    double mean = 0;
    draw(m.w, K * h->n_features, 1 / sqrt((double)h->n_features), &rng);
    draw(m.proto, h->n_labels * K, sqrt(6 / (double)(h->n_labels + K)), &rng);
    for (size_t c = 0; c < h->n_labels; c++) {
        mean += (double)l->d->blank[c] / (double)h->n_labels;
    }
    for (size_t c = 0; c < h->n_labels; c++) { /* an empty text that is sure: no calibration */
        double ratio = mean < 0 ? (double)l->d->blank[c] / mean : 1;
        m.ratio[c] = ratio > RATIO_LEAST ? ratio : RATIO_LEAST;
    }
    return gdfo_dect_train(h, l, err);
}

static int is_sound(const struct gdfo_head_numbers *h)
{
    const struct gdfo_dect m = gdfo_dect_of(h);
    int is_ok = 1;
    for (size_t c = 0; c < h->n_labels; c++) {
        is_ok = is_ok && m.ratio[c] > 0;
    }
    return is_ok;
}

static const double no_knob[] = {1};

const struct gdfo_head_learner gdfo_head_dect = {.knobs = no_knob,
                                                 .n_knobs = 1,
                                                 .n_extra = n_extra,
                                                 .fit = fit,
                                                 .logits = logits,
                                                 .is_sound = is_sound};
