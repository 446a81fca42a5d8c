/*
 * DESIGN. PromptBoosting (Hou et al., ICML 2023; method.md section 7): a weak learner is a prompt
 * and a word for each class, and labels a row with the class whose word is likeliest; AdaBoost (its
 * multi-class form, SAMME) weighs up to 200 of them. Words are the anchor tokens and the label
 * words themselves, whose log-probabilities are first centred over the rows: without the whole
 * vocabulary to choose from, rare and frequent words would never meet on level ground. In each
 * round, and for each prompt, the words of class c are ranked by how much likelier they are on c's
 * rows than on the others, under the rows' weights; of the best 50 (two classes), 10 (three, four)
 * or 5, a coordinate search keeps the set with the least weighted error, where the original tries
 * random products. The head's logits are shares of the votes times the knob.
 */
#include "common/mem.h"
#include "server/tune/head_learn.h"

#include <math.h>
#include <string.h>

#define LEARNERS_MAX 200
#define SWEEPS       2
#define ERROR_LEAST  1e-6 /* of a learner that is always right: its weight stays finite */

static const double knobs[] = {1, 2, 4, 8};

/* extra: the number of learners, then each: alpha, prompt, a word and its mean for every class. */
static size_t stride(const struct gdfo_head_numbers *h)
{
    return 2 + 2 * h->n_labels;
}

static size_t n_extra(const struct gdfo_head_numbers *h)
{
    return 1 + LEARNERS_MAX * stride(h);
}

static size_t n_words(const struct gdfo_head_numbers *h) /* of one prompt */
{
    return h->n_features + h->n_labels;
}

static double word_of(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                      size_t view, size_t word)
{
    return word < h->n_features ? (double)features[view * h->n_features + word]
                                : (double)lp[view * h->n_labels + word - h->n_features];
}

static void logits(const struct gdfo_head_numbers *h, const float *lp, const float *features,
                   double *out)
{
    const size_t L = h->n_labels;
    double sum = 0;
    memset(out, 0, L * sizeof *out);
    for (size_t t = 0; t < (size_t)h->extra[0]; t++) {
        const double *learner = h->extra + 1 + t * stride(h);
        double top = -(double)INFINITY;
        size_t best = 0;
        for (size_t c = 0; c < L; c++) {
            double x = word_of(h, lp, features, (size_t)learner[1], (size_t)learner[2 + c]) -
                       learner[2 + L + c];
            best = x > top ? c : best;
            top = x > top || isnan(x) ? x : top;
        }
        if (isnan(top)) {
            out[0] = (double)NAN; /* and so the row */
        }
        out[best] += learner[0];
        sum += learner[0];
    }
    for (size_t c = 0; c < L; c++) {
        out[c] = sum > 0 ? h->scale * out[c] / sum : out[c];
    }
}

/* ---- fitting ---- */

struct booster {
    struct gdfo_head_numbers *h;
    const struct gdfo_head_lesson *l;
    size_t n_words, n_top;
    double *x;              /* [V][words][n] centred over the rows */
    double *mean;           /* [V][words] */
    double *weight;         /* [n] of the rows */
    double *value;          /* [words] scratch */
    uint32_t *top;          /* [L][n_top] */
    uint32_t *words, *best; /* [L] */
};

static void fill_words(struct booster *b)
{
    const struct gdfo_head_lesson *l = b->l;
    const size_t V = b->h->n_views;
    for (size_t v = 0; v < V; v++) {
        for (size_t w = 0; w < b->n_words; w++) {
            double *x = b->x + (v * b->n_words + w) * l->n;
            double *mean = b->mean + v * b->n_words + w;
            for (size_t i = 0; i < l->n; i++) {
                const float *lp = l->d->lp + l->rows[i] * V * b->h->n_labels;
                const float *f = l->features.x + l->rows[i] * V * l->features.n;
                x[i] = word_of(b->h, lp, f, v, w);
                *mean += x[i] / (double)l->n;
            }
            for (size_t i = 0; i < l->n; i++) {
                x[i] -= *mean;
            }
        }
    }
}

static const double *column(const struct booster *b, size_t v, size_t w)
{
    return b->x + (v * b->n_words + w) * b->l->n;
}

static uint32_t gold(const struct booster *b, size_t i)
{
    return b->l->d->gold[b->l->rows[i]];
}

/* Weighted mean of a word on class c's rows minus that on the others. */
static double preference(const struct booster *b, const double *x, uint32_t c)
{
    double sum[2] = {0, 0};
    double weight[2] = {0, 0};
    for (size_t i = 0; i < b->l->n; i++) {
        const int is_in = gold(b, i) == c;
        sum[is_in] += b->weight[i] * x[i];
        weight[is_in] += b->weight[i];
    }
    return (weight[1] > 0 ? sum[1] / weight[1] : 0) - (weight[0] > 0 ? sum[0] / weight[0] : 0);
}

/* The words that speak most for each class, best first. */
static void rank_words(struct booster *b, size_t v)
{
    for (uint32_t c = 0; c < b->h->n_labels; c++) {
        for (size_t w = 0; w < b->n_words; w++) {
            b->value[w] = preference(b, column(b, v, w), c);
        }
        for (size_t k = 0; k < b->n_top; k++) {
            size_t best = 0;
            for (size_t w = 1; w < b->n_words; w++) {
                best = b->value[w] > b->value[best] ? w : best;
            }
            b->top[c * b->n_top + k] = (uint32_t)best;
            b->value[best] = -(double)INFINITY;
        }
    }
}

static size_t says(const struct booster *b, size_t v, const uint32_t *words, size_t i)
{
    size_t best = 0;
    for (size_t c = 1; c < b->h->n_labels; c++) {
        best = column(b, v, words[c])[i] > column(b, v, words[best])[i] ? c : best;
    }
    return best;
}

static double error_of(const struct booster *b, size_t v, const uint32_t *words)
{
    double error = 0;
    for (size_t i = 0; i < b->l->n; i++) {
        error += says(b, v, words, i) != gold(b, i) ? b->weight[i] : 0;
    }
    return error;
}

/* The best set of one prompt into b->words. */
static double search_words(struct booster *b, size_t v)
{
    const size_t L = b->h->n_labels;
    double best;
    rank_words(b, v);
    for (size_t c = 0; c < L; c++) {
        b->words[c] = b->top[c * b->n_top];
    }
    best = error_of(b, v, b->words);
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (size_t c = 0; c < L; c++) {
            uint32_t keep = b->words[c];
            for (size_t k = 0; k < b->n_top; k++) {
                double error;
                b->words[c] = b->top[c * b->n_top + k];
                error = error_of(b, v, b->words);
                keep = error < best ? b->words[c] : keep;
                best = error < best ? error : best;
            }
            b->words[c] = keep;
        }
    }
    return best;
}

/* The best learner over all prompts: its words in b->best, its prompt in *view. */
static double search_prompts(struct booster *b, size_t *view)
{
    double best = (double)INFINITY;
    for (size_t v = 0; v < b->h->n_views; v++) {
        double error = search_words(b, v);
        if (error < best) {
            best = error;
            *view = v;
            memcpy(b->best, b->words, b->h->n_labels * sizeof *b->best);
        }
    }
    return best;
}

static void keep_learner(struct booster *b, size_t t, double alpha, size_t view)
{
    const size_t L = b->h->n_labels;
    double *to = b->h->extra + 1 + t * stride(b->h);
    to[0] = alpha;
    to[1] = (double)view;
    for (size_t c = 0; c < L; c++) {
        to[2 + c] = b->best[c];
        to[2 + L + c] = b->mean[view * b->n_words + b->best[c]];
    }
    b->h->extra[0] = (double)(t + 1);
}

static void reweigh(struct booster *b, double alpha, size_t view)
{
    double sum = 0;
    for (size_t i = 0; i < b->l->n; i++) {
        b->weight[i] *= says(b, view, b->best, i) != gold(b, i) ? exp(alpha) : 1;
        sum += b->weight[i];
    }
    for (size_t i = 0; i < b->l->n; i++) {
        b->weight[i] /= sum;
    }
}

/* Ends when a learner is always right, or none is better than chance. */
static void boost(struct booster *b)
{
    const double L = (double)b->h->n_labels;
    for (size_t i = 0; i < b->l->n; i++) {
        b->weight[i] = 1 / (double)b->l->n;
    }
    for (size_t t = 0; t < LEARNERS_MAX; t++) {
        size_t view = 0;
        double error = search_prompts(b, &view);
        double kept = error > ERROR_LEAST ? error : ERROR_LEAST;
        double alpha = log((1 - kept) / kept) + log(L - 1);
        if (!(alpha > 1e-9)) {
            break;
        }
        keep_learner(b, t, alpha, view);
        if (error <= ERROR_LEAST) {
            break;
        }
        reweigh(b, alpha, view);
    }
}

static size_t words_tried(size_t n_labels, size_t n_words)
{
    size_t n = n_labels == 2 ? 50 : n_labels <= 4 ? 10 : 5;
    return n < n_words ? n : n_words;
}

static enum gdfo_status fit(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                            struct gdfo_error *err)
{
    struct booster b = {.h = h, .l = l, .n_words = n_words(h)};
    const size_t n_columns = h->n_views * b.n_words;
    double *block = gdfo_mem_array(n_columns * (l->n + 1) + l->n + b.n_words, sizeof *block);
    b.n_top = words_tried(h->n_labels, b.n_words);
    b.top = gdfo_mem_array(h->n_labels * (b.n_top + 2), sizeof *b.top);
    if (!block || !b.top) {
        gdfo_mem_free(block);
        gdfo_mem_free(b.top);
        return gdfo_error_no_memory(err, "fitting a head");
    }
    b.x = block;
    b.mean = b.x + n_columns * l->n;
    b.weight = b.mean + n_columns;
    b.value = b.weight + l->n;
    b.words = b.top + h->n_labels * b.n_top;
    b.best = b.words + h->n_labels;
    memset(h->extra, 0, h->n_extra * sizeof *h->extra);
    memset(h->bias, 0, h->n_labels * sizeof *h->bias);
    h->scale = l->knob;
    fill_words(&b);
    boost(&b);
    gdfo_mem_free(block);
    gdfo_mem_free(b.top);
    return GDFO_STATUS_OK;
}

static int is_index(double x, size_t n)
{
    return x >= 0 && x < (double)n && x == floor(x);
}

static int is_sound(const struct gdfo_head_numbers *h)
{
    if (!is_index(h->extra[0], LEARNERS_MAX + 1)) {
        return 0;
    }
    for (size_t t = 0; t < (size_t)h->extra[0]; t++) {
        const double *learner = h->extra + 1 + t * stride(h);
        int is_ok = is_index(learner[1], h->n_views);
        for (size_t c = 0; c < h->n_labels; c++) {
            is_ok = is_ok && is_index(learner[2 + c], n_words(h));
        }
        if (!is_ok) {
            return 0;
        }
    }
    return 1;
}

const struct gdfo_head_learner gdfo_head_promptboost = {.knobs = knobs,
                                                        .n_knobs = sizeof knobs / sizeof knobs[0],
                                                        .n_extra = n_extra,
                                                        .fit = fit,
                                                        .logits = logits,
                                                        .is_sound = is_sound};
