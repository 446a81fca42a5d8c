#include "server/tune/partner.h"

#include "common/mem.h"
#include "server/model/features.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"
#include "server/tune/artefact.h"
#include "server/tune/head.h"

#include <math.h>
#include <string.h>

#define POSITIONS_MAX 2048u /* computed at once */
#define TEXT_MAX      510u  /* tokens of a text: what sentence encoders are trained on, and less */
#define RUNS_MAX      64u   /* texts encoded before they are run */

/* A prior of deviation 0.5 around the plain product, as of two that err independently: a few dozen
 * rows do not know the weights well. */
#define WEIGHT_PRIOR   1.0
#define WEIGHT_PENALTY 4.0
#define SWEEPS         60

/* ---- features ------------------------------------------------------------------------------ */

size_t gdfo_partner_width(const struct gdfo_model *model)
{
    return gdfo_model_config(model)->d_model;
}

enum gdfo_status gdfo_partner_check(const struct gdfo_model *model, struct gdfo_error *err)
{
    if (!gdfo_model_tokenizer(model)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the student's file has no tokenizer: its features need one");
    }
    if (gdfo_partner_width(model) > GDFO_HEAD_ANCHORS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the student's features are %zu numbers wide; want at most %u",
                              gdfo_partner_width(model), GDFO_HEAD_ANCHORS_MAX);
    }
    return GDFO_STATUS_OK;
}

uint64_t gdfo_partner_bytes(const struct gdfo_model_config *c, unsigned n_threads)
{
    uint64_t q = (uint64_t)c->n_heads * c->d_head;
    uint64_t k = (uint64_t)c->n_kv_heads * c->d_head;
    uint64_t n = c->context_max < 8192 ? c->context_max : 8192;
    uint64_t floats =
        (POSITIONS_MAX + GDFO_GEMM_TILE) * (2 * (uint64_t)c->d_model + 2 * q + 2 * k) +
        n_threads * (GDFO_GEMM_TILE * (3 * (uint64_t)c->d_model + 5 * (uint64_t)c->d_ff) +
                     n * (2 * (uint64_t)c->d_head + 8) + 65536) +
        n * c->n_rot;
    return floats * sizeof(float);
}

struct reading { /* texts on their way through the encoder */
    const struct gdfo_tokenizer *tokenizer;
    struct gdfo_forward *forward;
    size_t text_max, n;
    struct gdfo_ids ids[RUNS_MAX];
    struct gdfo_piece pieces[RUNS_MAX];
    struct gdfo_run runs[RUNS_MAX];
};

static enum gdfo_status add_id(struct gdfo_ids *ids, int32_t id, struct gdfo_error *err)
{
    void *data = ids->data;
    if (!gdfo_mem_grow(&data, &ids->cap, ids->n + 1, sizeof *ids->data)) {
        return gdfo_error_no_memory(err, "token ids");
    }
    ids->data = data;
    ids->data[ids->n++] = id;
    return GDFO_STATUS_OK;
}

/* BOS, the text up to its limit, the end: what the model adds around a text. A mask that stands in
 * a body asks the teacher and says nothing here. */
static enum gdfo_status encode(const struct reading *r, struct gdfo_text text, struct gdfo_ids *out,
                               struct gdfo_error *err)
{
    const int32_t bos = gdfo_tokenizer_bos(r->tokenizer);
    const int32_t end = gdfo_tokenizer_end(r->tokenizer);
    enum gdfo_status status = GDFO_STATUS_OK;
    out->n = 0;
    if (bos >= 0) {
        status = add_id(out, bos, err);
    }
    while (status == GDFO_STATUS_OK && text.n > 0) {
        const char *mask = memchr(text.s, GDFO_TEXT_MASK, text.n);
        const size_t n = mask ? (size_t)(mask - text.s) : text.n;
        const size_t step = n + (mask ? 1 : 0);
        status = gdfo_tokenizer_encode(r->tokenizer, text.s, n, out, err);
        text.s += step;
        text.n -= step;
    }
    out->n = out->n > r->text_max ? r->text_max : out->n;
    if (status == GDFO_STATUS_OK && end >= 0) {
        status = add_id(out, end, err);
    }
    if (status == GDFO_STATUS_OK && out->n == 0) { /* an empty text is one position still */
        status = add_id(out, 0, err);
    }
    return status;
}

static enum gdfo_status read_some(struct reading *r, const struct gdfo_text *texts, size_t n,
                                  float *out, struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        enum gdfo_status status = encode(r, texts[i], &r->ids[i], err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        r->pieces[i] = (struct gdfo_piece){.ids = r->ids[i].data, .n = r->ids[i].n};
        r->runs[i] = (struct gdfo_run){.pieces = &r->pieces[i], .n_pieces = 1};
    }
    return gdfo_features_mean(r->forward, r->runs, n, out, err);
}

enum gdfo_status gdfo_partner_features(const struct gdfo_model *model, struct gdfo_pool *pool,
                                       const struct gdfo_text *texts, size_t n, float *out,
                                       struct gdfo_error *err)
{
    struct gdfo_forward_options options = {.positions_max = POSITIONS_MAX, .wants_features = 1};
    struct reading *r = gdfo_mem_array(1, sizeof *r);
    const size_t context = gdfo_model_config(model)->context_max;
    enum gdfo_status status;
    if (!r) {
        return gdfo_error_no_memory(err, "features");
    }
    r->tokenizer = gdfo_model_tokenizer(model);
    r->text_max = context < TEXT_MAX + 2 ? context - 1 : TEXT_MAX;
    status = gdfo_forward_create(&r->forward, model, pool, &options, err);
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i += RUNS_MAX) {
        size_t some = n - i < RUNS_MAX ? n - i : RUNS_MAX;
        status = read_some(r, texts + i, some, out + i * gdfo_partner_width(model), err);
    }
    for (size_t i = 0; i < RUNS_MAX; i++) {
        gdfo_ids_deinit(&r->ids[i]);
    }
    gdfo_forward_destroy(r->forward);
    gdfo_mem_free(r);
    return status;
}

/* ---- its head ------------------------------------------------------------------------------ */

enum gdfo_status gdfo_partner_fit(struct gdfo_head **head, const struct gdfo_partner_fit *fit,
                                  float *held_out, struct gdfo_error *err)
{
    float *no_words = gdfo_mem_array(fit->n * fit->n_labels, sizeof *no_words);
    struct gdfo_head_data d = {.lp = no_words,
                               .anchors = fit->features,
                               .gold = fit->gold,
                               .n = fit->n,
                               .n_labels = fit->n_labels,
                               .n_anchors = fit->width};
    struct gdfo_head_opts o = gdfo_head_opts_default(fit->seed);
    enum gdfo_status status;
    o.kind = GDFO_HEAD_ANCHORS;
    o.held_out = held_out;
    status =
        no_words ? gdfo_head_fit(head, &d, &o, err) : gdfo_error_no_memory(err, "student's head");
    gdfo_mem_free(no_words);
    return status;
}

void gdfo_partner_apply(const struct gdfo_head *head, const float *features, size_t n, float *out)
{
    static const float no_words[GDFO_HEAD_LABELS_MAX];
    const struct gdfo_head_shape *shape = gdfo_head_shape_of(head);
    for (size_t i = 0; i < n; i++) {
        gdfo_head_apply(head, no_words, features + i * shape->n_anchors, 1,
                        out + i * shape->n_labels);
    }
}

/* ---- both together ------------------------------------------------------------------------- */

struct slope {
    double first, second;
};

/* Derivatives of the loss in one weight; x is that vote, y the other. */
static struct slope slope_of(const struct gdfo_partner_votes *v, const float *x, const float *y,
                             double wx, double wy)
{
    struct slope s = {WEIGHT_PENALTY * (wx - WEIGHT_PRIOR), WEIGHT_PENALTY};
    for (size_t i = 0; i < v->n; i++) {
        const float *xi = x + i * v->n_labels;
        const float *yi = y + i * v->n_labels;
        double top = -(double)INFINITY;
        double sum = 0;
        double mean = 0;
        double square = 0;
        for (size_t c = 0; c < v->n_labels; c++) {
            double logit = wx * (double)xi[c] + wy * (double)yi[c];
            top = logit > top ? logit : top;
        }
        for (size_t c = 0; c < v->n_labels; c++) {
            double p = exp(wx * (double)xi[c] + wy * (double)yi[c] - top);
            sum += p;
            mean += p * (double)xi[c];
            square += p * (double)xi[c] * (double)xi[c];
        }
        mean /= sum;
        s.first += mean - (double)xi[v->gold[i]];
        s.second += square / sum - mean * mean;
    }
    return s;
}

/* One Newton step in one weight of the convex loss; never below zero. */
static double step(const struct gdfo_partner_votes *v, const float *x, const float *y, double wx,
                   double wy)
{
    struct slope s = slope_of(v, x, y, wx, wy);
    double w = wx - s.first / s.second;
    if (!isfinite(w)) {
        return wx;
    }
    w = w > 2 * wx + 0.1 ? 2 * wx + 0.1 : w; /* far out the curvature misleads */
    return w > 0 ? w : 0;
}

struct gdfo_partner_weights gdfo_partner_weigh(const struct gdfo_partner_votes *v)
{
    struct gdfo_partner_weights w = {WEIGHT_PRIOR, WEIGHT_PRIOR};
    for (int i = 0; i < SWEEPS; i++) {
        w.teacher = step(v, v->teacher, v->partner, w.teacher, w.partner);
        w.partner = step(v, v->partner, v->teacher, w.partner, w.teacher);
    }
    return w;
}

void gdfo_partner_join(const float *teacher, const float *partner,
                       const struct gdfo_partner_weights *w, size_t n_labels, float *out)
{
    for (size_t c = 0; c < n_labels; c++) {
        out[c] = (float)(w->teacher * (double)teacher[c] + w->partner * (double)partner[c]);
    }
    gdfo_artefact_renormalise(out, 1, n_labels);
}
