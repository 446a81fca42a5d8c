#include "server/model/model.h"

#include "common/mem.h"
#include "server/model/family/family.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/pool.h"

#include <inttypes.h>
#include <math.h>

struct gdfo_model {
    const struct gdfo_family_ops *family;
    struct gdfo_model_config config;
    struct gdfo_tokenizer *tokenizer;
    void *weights;
    uint64_t bytes;
    double embed_std;
    enum gdfo_precision precision;
};

/*
 * The deviation of an embedding's elements. Two passes, in double: its mean is small against its
 * spread, but need not be. Parts of PART elements are summed side by side, in LANES sums each, and
 * added in their order, so the bits do not depend on the threads.
 */
#define PART  ((size_t)1 << 18)
#define LANES 8

struct spread {
    const float *x;
    size_t n;
    double mean; /* 0 in the first pass */
    int is_squared;
    double *sums; /* [parts] */
};

static double part_sum(const struct spread *s, const float *x, size_t n)
{
    double lanes[LANES] = {0};
    double sum = 0;
    size_t n_whole = n / LANES * LANES;
    for (size_t i = 0; i < n_whole; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            double d = (double)x[i + l] - s->mean;
            lanes[l] += s->is_squared ? d * d : d;
        }
    }
    for (size_t i = n_whole; i < n; i++) {
        double d = (double)x[i] - s->mean;
        lanes[i - n_whole] += s->is_squared ? d * d : d;
    }
    for (size_t l = 0; l < LANES; l++) {
        sum += lanes[l];
    }
    return sum;
}

static void sum_part(void *ctx, size_t item, unsigned slot)
{
    const struct spread *s = ctx;
    size_t first = item * PART;
    (void)slot;
    s->sums[item] = part_sum(s, s->x + first, s->n - first < PART ? s->n - first : PART);
}

static double mean_of(struct spread *s, struct gdfo_pool *pool)
{
    size_t n_parts = (s->n + PART - 1) / PART;
    double sum = 0;
    gdfo_pool_run(pool, n_parts, sum_part, s);
    for (size_t i = 0; i < n_parts; i++) {
        sum += s->sums[i];
    }
    return sum / (double)s->n;
}

static enum gdfo_status measure_spread(struct gdfo_model *m, struct gdfo_pool *pool,
                                       struct gdfo_error *err)
{
    struct spread s = {.x = gdfo_model_embed(m), .n = (size_t)m->config.vocab * m->config.d_model};
    s.sums = gdfo_mem_array((s.n + PART - 1) / PART, sizeof *s.sums);
    if (!s.sums) {
        return gdfo_error_no_memory(err, "model");
    }
    s.mean = mean_of(&s, pool);
    s.is_squared = 1;
    m->embed_std = sqrt(mean_of(&s, pool));
    gdfo_mem_free(s.sums);
    return GDFO_STATUS_OK;
}

uint64_t gdfo_model_bytes_for(const struct gdfo_model_config *config, enum gdfo_precision precision)
{
    const struct gdfo_family_ops *family = gdfo_family_find(config->architecture);
    size_t n_floats = family ? family->weights_floats(config) : 0;
    if (n_floats == 0 || n_floats > SIZE_MAX / sizeof(float) ||
        (precision != GDFO_PRECISION_F32 && !family->packs_bytes)) {
        return 0;
    }
    return (uint64_t)n_floats * sizeof(float) +
           (precision == GDFO_PRECISION_F32 ? 0 : family->packs_bytes(config, precision));
}

static enum gdfo_status plan(struct gdfo_model *m, const struct gdfo_model_options *options,
                             struct gdfo_error *err)
{
    size_t n_floats;
    uint64_t ceiling = options ? options->memory_max_bytes : 0;
    m->family = gdfo_family_find(m->config.architecture);
    if (!m->family) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "architecture \"%s\": want \"%s\"",
                              m->config.architecture, gdfo_family_at(0)->name);
    }
    if (m->precision != GDFO_PRECISION_F32 && !m->family->packs_bytes) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "architecture \"%s\" in %s: want f32",
                              m->config.architecture, gdfo_precision_name(m->precision));
    }
    n_floats = m->family->weights_floats(&m->config);
    m->bytes = (uint64_t)n_floats * sizeof(float);
    if (n_floats > 0 && m->precision != GDFO_PRECISION_F32) {
        m->bytes += m->family->packs_bytes(&m->config, m->precision);
    }
    if (n_floats > 0 && (n_floats > SIZE_MAX / sizeof(float) || (ceiling && m->bytes > ceiling))) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "the model needs %" PRIu64 " MiB of memory: at most %" PRIu64
                              " MiB are allowed",
                              (m->bytes >> 20) + 1, ceiling >> 20);
    }
    return GDFO_STATUS_OK; /* 0 floats: load says what does not fit */
}

static enum gdfo_status load(struct gdfo_model *m, const struct gdfo_model_file *file,
                             struct gdfo_pool *pool, struct gdfo_error *err)
{
    const struct gdfo_family_load how = {.precision = m->precision, .pool = pool};
    enum gdfo_status st = gdfo_model_file_tokenizer(file, &m->tokenizer, err);
    if (st != GDFO_STATUS_OK && st != GDFO_STATUS_NOT_FOUND) {
        return st;
    }
    st = m->family->load(&m->weights, file, &how, err);
    return st == GDFO_STATUS_OK ? measure_spread(m, pool, err) : st;
}

enum gdfo_status gdfo_model_open(struct gdfo_model **out, const struct gdfo_model_file *file,
                                 const struct gdfo_model_options *options, struct gdfo_error *err)
{
    struct gdfo_model *m = gdfo_mem_array(1, sizeof *m);
    enum gdfo_status st;
    if (!m) {
        return gdfo_error_no_memory(err, "model");
    }
    m->config = *gdfo_model_file_config(file);
    m->precision = options ? options->precision : GDFO_PRECISION_F32;
    st = gdfo_precision_check(m->precision, err);
    if (st == GDFO_STATUS_OK) {
        st = plan(m, options, err);
    }
    if (st == GDFO_STATUS_OK) {
        st = load(m, file, options ? options->pool : NULL, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_model_destroy(m);
        return st;
    }
    *out = m;
    return GDFO_STATUS_OK;
}

void gdfo_model_destroy(struct gdfo_model *m)
{
    if (m) {
        if (m->family) {
            m->family->unload(m->weights);
        }
        gdfo_tokenizer_destroy(m->tokenizer);
        gdfo_mem_free(m);
    }
}

const struct gdfo_model_config *gdfo_model_config(const struct gdfo_model *m)
{
    return &m->config;
}

const struct gdfo_tokenizer *gdfo_model_tokenizer(const struct gdfo_model *m)
{
    return m->tokenizer;
}

const float *gdfo_model_embed(const struct gdfo_model *m)
{
    return m->family->embed(m->weights);
}

double gdfo_model_embed_std(const struct gdfo_model *m)
{
    return m->embed_std;
}

uint64_t gdfo_model_bytes(const struct gdfo_model *m)
{
    return m->bytes;
}

enum gdfo_precision gdfo_model_precision(const struct gdfo_model *m)
{
    return m->precision;
}

const struct gdfo_family_ops *gdfo_family_of(const struct gdfo_model *m)
{
    return m->family;
}

const void *gdfo_family_weights(const struct gdfo_model *m)
{
    return m->weights;
}
