#include "server/tune/partner.h"

#include "common/mem.h"
#include "server/model/features.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"
#include "server/tune/head.h"

#include <math.h>
#include <string.h>

#define POSITIONS_MAX 2048u /* computed at once */
#define TEXT_MAX      510u  /* tokens of a text: what sentence encoders are trained on, and less */
#define RUNS_MAX      64u   /* texts encoded before they are run */

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
