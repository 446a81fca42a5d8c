#include "common/hash.h"
#include "common/span.h"
#include "server/tune/head_priv.h"

#include <math.h>
#include <string.h>

/*
 * Bytes of a head, little-endian: "GDFOHED1", u32 kind, u32 labels, u32 anchors, the scores of
 * none, bias and anchors (u32 tried, 7 doubles), scale, bias, weights, CRC-32C of all before it.
 */
static const char magic[8] = {'G', 'D', 'F', 'O', 'H', 'E', 'D', '1'};

static void save_score(const struct gdfo_head_score *s, struct gdfo_buf *out)
{
    const double numbers[] = {s->strength, s->loss,    s->loss_se, s->accuracy,
                              s->gain,     s->gain_se, s->loss_fit};
    gdfo_buf_u32(out, (unsigned)s->is_tried);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        gdfo_buf_f64(out, numbers[i]);
    }
}

static void load_score(struct gdfo_head_score *s, struct gdfo_span *in)
{
    double *const numbers[] = {&s->strength, &s->loss,    &s->loss_se, &s->accuracy,
                               &s->gain,     &s->gain_se, &s->loss_fit};
    s->is_tried = gdfo_span_u32(in) != 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        *numbers[i] = gdfo_span_f64(in);
    }
}

void gdfo_head_save(const struct gdfo_head *h, struct gdfo_buf *out)
{
    const size_t L = h->numbers.n_labels;
    const size_t from = out->len;
    gdfo_buf_addn(out, magic, sizeof magic);
    gdfo_buf_u32(out, (unsigned)h->shape.kind);
    gdfo_buf_u32(out, (unsigned)L);
    gdfo_buf_u32(out, (unsigned)h->numbers.n_anchors);
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS; k++) {
        save_score(&h->scores[k], out);
    }
    gdfo_buf_f64(out, h->numbers.scale);
    for (size_t i = 0; i < L; i++) {
        gdfo_buf_f64(out, h->numbers.bias[i]);
    }
    for (size_t i = 0; i < L * h->numbers.n_anchors; i++) {
        gdfo_buf_f64(out, h->numbers.weights[i]);
    }
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + from, out->len - from));
    }
}

static enum gdfo_status corrupt(struct gdfo_error *err, const char *what)
{
    return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "a saved head: %s", what);
}

/* Sizes that fit the kind, the ceilings and the number of bytes left. */
static enum gdfo_status load_shape(struct gdfo_head_shape *shape, struct gdfo_span *in,
                                   struct gdfo_error *err)
{
    uint32_t kind = gdfo_span_u32(in);
    shape->n_labels = gdfo_span_u32(in);
    shape->n_anchors = gdfo_span_u32(in);
    if (kind < GDFO_HEAD_NONE || kind > GDFO_HEAD_ANCHORS) {
        return corrupt(err, "unknown kind");
    }
    shape->kind = (enum gdfo_head_kind)kind;
    if (shape->n_labels < 2 || shape->n_labels > GDFO_HEAD_LABELS_MAX ||
        shape->n_anchors > GDFO_HEAD_ANCHORS_MAX ||
        (shape->n_anchors > 0) != (shape->kind == GDFO_HEAD_ANCHORS)) {
        return corrupt(err, "impossible sizes");
    }
    size_t n_scores = GDFO_HEAD_N_KINDS - 1;
    size_t want = n_scores * (4 + 7 * 8) + 8 * (1 + shape->n_labels * (1 + shape->n_anchors)) + 4;
    return in->n == want ? GDFO_STATUS_OK : corrupt(err, "cut short or too long");
}

static enum gdfo_status load_numbers(struct gdfo_head *h, struct gdfo_span *in,
                                     struct gdfo_error *err)
{
    const size_t n = h->numbers.n_labels * h->numbers.n_anchors;
    int is_finite = 1;
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS; k++) {
        h->scores[k].kind = (enum gdfo_head_kind)k;
        load_score(&h->scores[k], in);
    }
    h->numbers.scale = gdfo_span_f64(in);
    is_finite = isfinite(h->numbers.scale);
    for (size_t i = 0; i < h->numbers.n_labels; i++) {
        h->numbers.bias[i] = gdfo_span_f64(in);
        is_finite = is_finite && isfinite(h->numbers.bias[i]);
    }
    for (size_t i = 0; i < n; i++) {
        h->numbers.weights[i] = gdfo_span_f64(in);
        is_finite = is_finite && isfinite(h->numbers.weights[i]);
    }
    return is_finite ? GDFO_STATUS_OK : corrupt(err, "a number is not finite");
}

enum gdfo_status gdfo_head_load(struct gdfo_head **out, const void *bytes, size_t n,
                                struct gdfo_error *err)
{
    struct gdfo_span in = gdfo_span_make(bytes, n);
    struct gdfo_span tail =
        gdfo_span_make(n >= 4 ? (const char *)bytes + n - 4 : bytes, n < 4 ? 0 : 4);
    struct gdfo_head_shape shape;
    struct gdfo_head *h = NULL;
    char start[sizeof magic];
    if (!gdfo_span_copy(&in, start, sizeof start) || memcmp(start, magic, sizeof magic) != 0) {
        return corrupt(err, "does not begin with GDFOHED1");
    }
    if (gdfo_span_u32(&tail) != gdfo_crc32c(0, bytes, n - 4)) {
        return corrupt(err, "wrong checksum");
    }
    enum gdfo_status status = load_shape(&shape, &in, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_head_make(&h, shape.n_labels, shape.n_anchors, err);
    }
    if (status == GDFO_STATUS_OK) {
        h->shape = shape;
        status = load_numbers(h, &in, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_head_destroy(h);
        return status;
    }
    *out = h;
    return GDFO_STATUS_OK;
}

static void write_score(const struct gdfo_head_score *s, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "kind", gdfo_head_kind_name(s->kind));
    gdfo_json_put_num(w, "strength", s->strength);
    gdfo_json_put_num(w, "loss_cv", s->loss);
    gdfo_json_put_num(w, "loss_cv_se", s->loss_se);
    gdfo_json_put_num(w, "accuracy_cv", s->accuracy);
    gdfo_json_put_num(w, "gain", s->gain);
    gdfo_json_put_num(w, "gain_se", s->gain_se);
    gdfo_json_close(w, '}');
}

void gdfo_head_write_json(const struct gdfo_head *h, struct gdfo_json_writer *w, const char *key)
{
    const struct gdfo_head_score *s = &h->scores[h->shape.kind];
    gdfo_json_open(w, key, '{');
    gdfo_json_put_str(w, "kind", gdfo_head_kind_name(h->shape.kind));
    gdfo_json_put_num(w, "strength", s->strength);
    gdfo_json_put_num(w, "loss_cv", s->loss);
    gdfo_json_put_num(w, "loss_cv_se", s->loss_se);
    gdfo_json_put_num(w, "accuracy_cv", s->accuracy);
    gdfo_json_put_num(w, "loss_fit", s->loss_fit);
    gdfo_json_put_num(w, "scale", h->numbers.scale);
    gdfo_json_put_int(w, "n_anchors", (int64_t)h->numbers.n_anchors);
    gdfo_json_open(w, "bias", '[');
    for (size_t i = 0; i < h->numbers.n_labels; i++) {
        gdfo_json_put_num(w, NULL, h->numbers.bias[i]);
    }
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "tried", '[');
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS; k++) {
        if (h->scores[k].is_tried) {
            write_score(&h->scores[k], w);
        }
    }
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

enum gdfo_status gdfo_head_copy(struct gdfo_head **out, const struct gdfo_head *h,
                                struct gdfo_error *err)
{
    const size_t L = h->numbers.n_labels;
    const size_t A = h->numbers.n_anchors;
    struct gdfo_head *copy = NULL;
    enum gdfo_status status = gdfo_head_make(&copy, L, A, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    copy->shape = h->shape;
    copy->numbers.scale = h->numbers.scale;
    memcpy(copy->scores, h->scores, sizeof copy->scores);
    memcpy(copy->numbers.bias, h->numbers.bias, L * sizeof *copy->numbers.bias);
    memcpy(copy->numbers.weights, h->numbers.weights, L * A * sizeof *copy->numbers.weights);
    *out = copy;
    return GDFO_STATUS_OK;
}
