#include "common/hash.h"
#include "common/span.h"
#include "server/tune/head_learn.h"
#include "server/tune/head_priv.h"

#include <math.h>
#include <string.h>

/*
 * Bytes of a head, little-endian: "GDFOHED2", u32 kind, labels, anchors, width of hidden states and
 * prompts, the scores of all kinds from none on (u32 tried, 7 doubles), scale, bias, weights,
 * extra, CRC-32C of all before it. "GDFOHED1", still read, has neither width nor prompts, and the
 * scores of none, bias and anchors alone.
 */
static const char magic[8] = {'G', 'D', 'F', 'O', 'H', 'E', 'D', '2'};
static const char magic_first[8] = {'G', 'D', 'F', 'O', 'H', 'E', 'D', '1'};

#define N_SCORES       (GDFO_HEAD_N_KINDS - 1)
#define N_SCORES_FIRST 3u
#define SCORE_BYTES    (4u + 7u * 8u)
#define NUMBERS_MAX    ((size_t)8 << 20) /* 64 MiB of doubles: an artefact's block of a head */

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

static void save_doubles(const double *x, size_t n, struct gdfo_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        gdfo_buf_f64(out, x[i]);
    }
}

void gdfo_head_save(const struct gdfo_head *h, struct gdfo_buf *out)
{
    const size_t from = out->len;
    gdfo_buf_addn(out, magic, sizeof magic);
    gdfo_buf_u32(out, (unsigned)h->shape.kind);
    gdfo_buf_u32(out, (unsigned)h->shape.n_labels);
    gdfo_buf_u32(out, (unsigned)h->shape.n_anchors);
    gdfo_buf_u32(out, (unsigned)h->shape.n_hidden);
    gdfo_buf_u32(out, (unsigned)h->shape.n_views);
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS; k++) {
        save_score(&h->scores[k], out);
    }
    gdfo_buf_f64(out, h->numbers.scale);
    save_doubles(h->numbers.bias, h->numbers.n_labels, out);
    save_doubles(h->numbers.weights, h->numbers.n_weights, out);
    save_doubles(h->numbers.extra, h->numbers.n_extra, out);
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + from, out->len - from));
    }
}

static enum gdfo_status corrupt(struct gdfo_error *err, const char *what)
{
    return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "a saved head: %s", what);
}

static enum gdfo_status load_shape(struct gdfo_head_shape *shape, int is_first,
                                   struct gdfo_span *in, struct gdfo_error *err)
{
    uint32_t kind = gdfo_span_u32(in);
    shape->n_labels = gdfo_span_u32(in);
    shape->n_anchors = gdfo_span_u32(in);
    shape->n_hidden = is_first ? 0 : gdfo_span_u32(in);
    shape->n_views = is_first ? 1 : gdfo_span_u32(in);
    if (kind < GDFO_HEAD_NONE || kind >= GDFO_HEAD_N_KINDS) {
        return corrupt(err, "unknown kind");
    }
    shape->kind = (enum gdfo_head_kind)kind;
    return GDFO_STATUS_OK;
}

/* Sizes that fit the kind and the ceilings. */
static int is_possible(const struct gdfo_head_shape *s)
{
    const float one = 0;
    const struct gdfo_head_data like = {.anchors = &one,
                                        .hidden = &one + 1,
                                        .n_labels = 2,
                                        .n_anchors = 1,
                                        .n_hidden = 1,
                                        .n_views = GDFO_HEAD_VIEWS_MAX};
    const struct gdfo_head_shape needs = gdfo_head_shape_for(&like, s->kind);
    return s->n_labels >= 2 && s->n_labels <= GDFO_HEAD_LABELS_MAX &&
           s->n_anchors <= GDFO_HEAD_ANCHORS_MAX && s->n_hidden <= GDFO_HEAD_HIDDEN_MAX &&
           (s->n_anchors > 0) == (needs.n_anchors > 0) &&
           (s->n_hidden > 0) == (needs.n_hidden > 0) && s->n_views >= 1 &&
           s->n_views <= needs.n_views;
}

static int load_doubles(double *x, size_t n, struct gdfo_span *in)
{
    int is_finite = 1;
    for (size_t i = 0; i < n; i++) {
        x[i] = gdfo_span_f64(in);
        is_finite = is_finite && isfinite(x[i]);
    }
    return is_finite;
}

static enum gdfo_status load_numbers(struct gdfo_head *h, size_t n_scores, struct gdfo_span *in,
                                     struct gdfo_error *err)
{
    const struct gdfo_head_learner *learner = gdfo_head_learner_of(h->shape.kind);
    struct gdfo_head_numbers *n = &h->numbers;
    int is_finite = 1;
    for (size_t k = 0; k < N_SCORES; k++) {
        h->scores[k + 1].kind = (enum gdfo_head_kind)(k + 1);
        if (k < n_scores) {
            load_score(&h->scores[k + 1], in);
        }
    }
    is_finite = load_doubles(&n->scale, 1, in) && is_finite;
    is_finite = load_doubles(n->bias, n->n_labels, in) && is_finite;
    is_finite = load_doubles(n->weights, n->n_weights, in) && is_finite;
    is_finite = load_doubles(n->extra, n->n_extra, in) && is_finite;
    if (!is_finite) {
        return corrupt(err, "a number is not finite");
    }
    return learner && learner->is_sound && !learner->is_sound(n)
               ? corrupt(err, "numbers that cannot be")
               : GDFO_STATUS_OK;
}

static enum gdfo_status make_room(struct gdfo_head **out, const struct gdfo_head_shape *shape,
                                  size_t n_scores, size_t n_bytes, struct gdfo_error *err)
{
    struct gdfo_head_numbers n = {0};
    if (!is_possible(shape)) {
        return corrupt(err, "impossible sizes");
    }
    gdfo_head_numbers_size(&n, shape);
    if (n.n_weights > NUMBERS_MAX || n.n_extra > NUMBERS_MAX ||
        n_bytes != n_scores * SCORE_BYTES + 8 * (1 + n.n_labels + n.n_weights + n.n_extra) + 4) {
        return corrupt(err, "cut short or too long");
    }
    return gdfo_head_make(out, shape, err);
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
    int is_first = 0;
    if (!gdfo_span_copy(&in, start, sizeof start) ||
        (memcmp(start, magic, sizeof magic) != 0 &&
         memcmp(start, magic_first, sizeof magic) != 0)) {
        return corrupt(err, "does not begin with GDFOHED1 or GDFOHED2");
    }
    if (gdfo_span_u32(&tail) != gdfo_crc32c(0, bytes, n - 4)) {
        return corrupt(err, "wrong checksum");
    }
    is_first = memcmp(start, magic_first, sizeof magic) == 0;
    size_t n_scores = is_first ? N_SCORES_FIRST : N_SCORES;
    enum gdfo_status status = load_shape(&shape, is_first, &in, err);
    if (status == GDFO_STATUS_OK) {
        status = make_room(&h, &shape, n_scores, in.n, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = load_numbers(h, n_scores, &in, err);
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
    gdfo_json_put_int(w, "n_anchors", (int64_t)h->shape.n_anchors);
    gdfo_json_put_int(w, "n_hidden", (int64_t)h->shape.n_hidden);
    gdfo_json_open(w, "bias", '[');
    for (size_t i = 0; i < h->numbers.n_labels; i++) {
        gdfo_json_put_num(w, NULL, h->numbers.bias[i]);
    }
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "tried", '[');
    for (size_t at = 0; at < N_SCORES; at++) {
        const struct gdfo_head_score *tried = &h->scores[gdfo_head_by_simplicity[at]];
        if (tried->is_tried) {
            write_score(tried, w);
        }
    }
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

enum gdfo_status gdfo_head_copy(struct gdfo_head **out, const struct gdfo_head *h,
                                struct gdfo_error *err)
{
    const struct gdfo_head_numbers *from = &h->numbers;
    struct gdfo_head *copy = NULL;
    enum gdfo_status status = gdfo_head_make(&copy, &h->shape, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    copy->numbers.scale = from->scale;
    memcpy(copy->scores, h->scores, sizeof copy->scores);
    memcpy(copy->numbers.bias, from->bias, from->n_labels * sizeof *from->bias);
    memcpy(copy->numbers.weights, from->weights, from->n_weights * sizeof *from->weights);
    memcpy(copy->numbers.extra, from->extra, from->n_extra * sizeof *from->extra);
    *out = copy;
    return GDFO_STATUS_OK;
}
