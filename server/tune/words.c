#include "server/tune/words.h"

#include "common/mem.h"

#include <math.h>
#include <string.h>

void gdfo_words_deinit(struct gdfo_words *w)
{
    gdfo_mem_free(w->at);
    memset(w, 0, sizeof *w);
}

enum gdfo_status gdfo_words_copy(struct gdfo_words *to, const struct gdfo_words *from,
                                 struct gdfo_error *err)
{
    uint32_t *at = NULL;
    if (from->n_sets > 0) {
        at = gdfo_mem_dup(from->at, (size_t)from->n_sets * from->n_labels * sizeof *at);
        if (!at) {
            return gdfo_error_no_memory(err, "word sets");
        }
    }
    gdfo_words_deinit(to);
    *to = *from;
    to->at = at;
    return GDFO_STATUS_OK;
}

void gdfo_words_apply(const struct gdfo_words *w, float *lp, const float *anchors, size_t n_anchors,
                      size_t n)
{
    for (size_t i = 0; i < n && w->n_sets > 0; i++) {
        for (size_t c = 0; c < w->n_labels; c++) {
            float *out = lp + i * w->n_labels + c;
            double sum = (double)*out;
            for (uint32_t s = 0; s < w->n_sets; s++) {
                sum += (double)anchors[i * n_anchors + w->at[s * w->n_labels + c]];
            }
            *out = (float)(sum / (1.0 + w->n_sets));
        }
    }
}

/* ---- choosing --------------------------------------------------------------------------------
 */

struct choice {
    const struct gdfo_words_data *d;
    const struct gdfo_words *w;
    double *sums; /* [n][n_labels] over a class's words so far */
    double *rest,
        *gold;   /* [n] while one class is at turn: logsumexp of the others, gold's number */
    double n_in; /* words in those sums of each class */
};

/* What stays the same while words are tried for one class; sums are over n_words each. */
static void freeze_others(const struct choice *c, size_t label, double n_words)
{
    const size_t n_labels = c->d->n_labels;
    for (size_t i = 0; i < c->d->n; i++) {
        const double *x = c->sums + i * n_labels;
        double top = -(double)INFINITY;
        double mass = 0;
        for (size_t k = 0; k < n_labels; k++) {
            top = k != label && x[k] > top ? x[k] : top;
        }
        for (size_t k = 0; k < n_labels; k++) {
            mass += k != label ? exp((x[k] - top) / n_words) : 0;
        }
        c->rest[i] = top / n_words + log(mass);
        c->gold[i] = x[c->d->gold[i]] / n_words;
    }
}

/* Mean cross-entropy with one more word for the class that is at turn, or with none: SIZE_MAX. */
static double loss_with(const struct choice *c, size_t label, size_t token, double n_words)
{
    const struct gdfo_words_data *d = c->d;
    double total = 0;
    for (size_t i = 0; i < d->n; i++) {
        double added = token == SIZE_MAX ? 0 : (double)d->anchors[i * d->n_anchors + token];
        double x = (c->sums[i * d->n_labels + label] + added) / n_words;
        double top = x > c->rest[i] ? x : c->rest[i];
        double all = top + log(exp(x - top) + exp(c->rest[i] - top));
        total += all - (d->gold[i] == label ? x : c->gold[i]);
    }
    return total / (double)d->n;
}

static int is_taken(const struct choice *c, const uint32_t *set, size_t n_in_set, uint32_t token)
{
    const size_t n = (size_t)c->w->n_sets * c->w->n_labels;
    for (size_t i = 0; i < n; i++) {
        if (c->w->at[i] == token) {
            return 1;
        }
    }
    for (size_t i = 0; i < n_in_set; i++) {
        if (set[i] == token) {
            return 1;
        }
    }
    return 0;
}

static void add_column(const struct choice *c, size_t label, uint32_t token)
{
    const struct gdfo_words_data *d = c->d;
    for (size_t i = 0; i < d->n; i++) {
        c->sums[i * d->n_labels + label] += (double)d->anchors[i * d->n_anchors + token];
    }
}

/* The mean of a class's words so far stands in for its word of the set under way until it has one:
 * so classes that wait for theirs are on one scale with those that have it. */
static void rescale(const struct choice *c, size_t label, double share)
{
    for (size_t i = 0; i < c->d->n; i++) {
        c->sums[i * c->d->n_labels + label] *= share;
    }
}

/* Fills set [n_labels] with the best token of each class in turn; returns the loss with all of
 * them. */
static double fill_set(const struct choice *c, uint32_t *set)
{
    const size_t n_labels = c->d->n_labels;
    double best = (double)INFINITY;
    for (size_t label = 0; label < n_labels; label++) {
        rescale(c, label, (c->n_in + 1) / c->n_in);
    }
    for (size_t label = 0; label < n_labels; label++) {
        rescale(c, label, c->n_in / (c->n_in + 1));
        freeze_others(c, label, c->n_in + 1);
        best = (double)INFINITY;
        set[label] = UINT32_MAX;
        for (uint32_t token = 0; token < c->d->n_anchors; token++) {
            double loss;
            if (is_taken(c, set, label, token)) {
                continue;
            }
            loss = loss_with(c, label, token, c->n_in + 1);
            if (loss < best) {
                best = loss;
                set[label] = token;
            }
        }
        if (set[label] == UINT32_MAX) {
            return (double)INFINITY; /* no token is left */
        }
        add_column(c, label, set[label]);
    }
    return best;
}

static enum gdfo_status make_choice(struct choice *c, struct gdfo_words *w,
                                    const struct gdfo_words_data *d, uint32_t n_sets,
                                    struct gdfo_error *err)
{
    const size_t n = d->n * d->n_labels;
    gdfo_words_deinit(w);
    w->n_labels = (uint32_t)d->n_labels;
    w->at = gdfo_mem_array((size_t)n_sets * d->n_labels, sizeof *w->at);
    *c = (struct choice){.d = d,
                         .w = w,
                         .sums = gdfo_mem_array(n, sizeof *c->sums),
                         .rest = gdfo_mem_array(d->n, sizeof *c->rest),
                         .gold = gdfo_mem_array(d->n, sizeof *c->gold),
                         .n_in = 1};
    if (!c->sums || !c->rest || !c->gold || !w->at) {
        return gdfo_error_no_memory(err, "word sets");
    }
    for (size_t i = 0; i < n; i++) {
        c->sums[i] = (double)d->lp[i];
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_words_choose(struct gdfo_words *w, const struct gdfo_words_data *d,
                                   uint32_t n_sets, struct gdfo_error *err)
{
    struct choice c;
    enum gdfo_status status = make_choice(&c, w, d, n_sets, err);
    double before;
    while (status == GDFO_STATUS_OK && w->n_sets < n_sets) {
        freeze_others(&c, 0, c.n_in);
        before = loss_with(&c, 0, SIZE_MAX, c.n_in);
        if (!(fill_set(&c, w->at + (size_t)w->n_sets * d->n_labels) < before)) {
            break;
        }
        w->n_sets++;
        c.n_in += 1;
    }
    gdfo_mem_free(c.sums);
    gdfo_mem_free(c.rest);
    gdfo_mem_free(c.gold);
    if (status != GDFO_STATUS_OK || w->n_sets == 0) {
        gdfo_words_deinit(w);
    }
    return status;
}

/* ---- bytes ---- */

void gdfo_words_save(const struct gdfo_words *w, struct gdfo_buf *out)
{
    gdfo_buf_u32(out, w->n_sets);
    for (size_t i = 0; i < (size_t)w->n_sets * w->n_labels; i++) {
        gdfo_buf_u32(out, w->at[i]);
    }
}

enum gdfo_status gdfo_words_load(struct gdfo_words *w, struct gdfo_span *in, size_t n_labels,
                                 size_t n_anchors, struct gdfo_error *err)
{
    uint32_t n_sets = gdfo_span_u32(in);
    if (n_sets > GDFO_WORD_SETS_MAX || n_labels > UINT32_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "%u word sets", n_sets);
    }
    gdfo_words_deinit(w);
    if (n_sets == 0) {
        return GDFO_STATUS_OK;
    }
    w->n_labels = (uint32_t)n_labels;
    w->at = gdfo_mem_array(n_sets * n_labels, sizeof *w->at);
    if (!w->at) {
        return gdfo_error_no_memory(err, "word sets");
    }
    for (size_t i = 0; i < n_sets * n_labels; i++) {
        w->at[i] = gdfo_span_u32(in);
        if (w->at[i] >= n_anchors) {
            return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "a word set names anchor %u of %zu",
                                  w->at[i], n_anchors);
        }
    }
    w->n_sets = n_sets;
    return GDFO_STATUS_OK;
}
