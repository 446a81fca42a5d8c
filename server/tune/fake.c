#include "server/tune/fake.h"

#include "common/hash.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/tune/method/method.h"

#include <math.h>
#include <string.h>

/* A stream of its own for every prompt. */
static struct gdfo_rng stream_of(uint64_t seed, const float *rows, size_t n_floats, size_t n)
{
    unsigned char digest[GDFO_SHA256_BYTES];
    struct gdfo_sha256 h;
    uint64_t own = 0;
    gdfo_sha256_init(&h);
    gdfo_sha256_add(&h, &seed, sizeof seed);
    gdfo_sha256_add(&h, &n, sizeof n);
    gdfo_sha256_add(&h, rows, n_floats * sizeof *rows);
    gdfo_sha256_end(&h, digest);
    memcpy(&own, digest, sizeof own);
    return gdfo_rng_stream(own, "fake answers");
}

/* items[i] becomes what was items[order[i]]. */
static void deal(float *items, size_t n, size_t width, const uint32_t *order, float *copy)
{
    if (width == 0) {
        return;
    }
    memcpy(copy, items, n * width * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        memcpy(items + i * width, copy + order[i] * width, width * sizeof *items);
    }
}

static enum gdfo_status shuffle(const struct gdfo_fake_answers *a, struct gdfo_rng *rng,
                                struct gdfo_error *err)
{
    size_t width = a->n_labels > a->n_anchors ? a->n_labels : a->n_anchors;
    uint32_t *order = gdfo_mem_array(a->n, sizeof *order);
    float *copy = gdfo_mem_array(a->n * (width > a->d_model ? width : a->d_model), sizeof *copy);
    enum gdfo_status status =
        order && copy ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "shuffled answers");
    if (status == GDFO_STATUS_OK) {
        for (size_t i = 0; i < a->n; i++) {
            order[i] = (uint32_t)i;
        }
        gdfo_rng_shuffle(rng, order, a->n);
        deal(a->lp, a->n, a->n_labels, order, copy);
        deal(a->anchors, a->n, a->n_anchors, order, copy);
        deal(a->hidden, a->n, a->d_model, order, copy);
    }
    gdfo_mem_free(order);
    gdfo_mem_free(copy);
    return status;
}

static void draw_column(float *column, size_t n, size_t width, struct gdfo_rng *rng)
{
    double sum = 0;
    double square = 0;
    double mean;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)column[i * width];
        sum += isfinite(x) ? x : 0;
        known += isfinite(x) != 0;
    }
    mean = known > 0 ? sum / (double)known : 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)column[i * width] - mean;
        square += isfinite(d) ? d * d : 0;
    }
    square = known > 0 ? square / (double)known : 0;
    for (size_t i = 0; i < n; i++) {
        column[i * width] = (float)(mean + sqrt(square) * gdfo_rng_normal(rng));
    }
}

static void draw(float *items, size_t n, size_t width, struct gdfo_rng *rng)
{
    for (size_t j = 0; j < width; j++) {
        draw_column(items + j, n, width, rng);
    }
}

enum gdfo_status gdfo_fake_answer(const struct gdfo_fake_answers *a, enum gdfo_fake kind,
                                  uint64_t seed, const float *rows, size_t n_floats,
                                  struct gdfo_error *err)
{
    struct gdfo_rng rng = stream_of(seed, rows, n_floats, a->n);
    switch (kind) {
    case GDFO_FAKE_REAL: break;
    case GDFO_FAKE_SHUFFLED: return shuffle(a, &rng, err);
    case GDFO_FAKE_RANDOM:
        draw(a->lp, a->n, a->n_labels, &rng);
        draw(a->anchors, a->n, a->n_anchors, &rng);
        draw(a->hidden, a->n, a->d_model, &rng);
        break;
    }
    return GDFO_STATUS_OK;
}

void gdfo_fake_report(enum gdfo_fake kind, struct gdfo_report *r)
{
    if (kind != GDFO_FAKE_REAL) {
        gdfo_report_message_add(r, 1, "fake_answers",
                                "ablation: the teacher's answers are %s before the method sees "
                                "them; what comes out is worth nothing and not for use",
                                kind == GDFO_FAKE_SHUFFLED ? "shuffled between the rows"
                                                           : "replaced by random numbers");
    }
}
