#ifndef GDFO_TESTS_SUPPORT_ENGINE_H
#define GDFO_TESTS_SUPPORT_ENGINE_H

#include "common/file.h"
#include "common/rng.h"
#include "server/model/forward.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* Models for tests of the engine; for programs that link gdfo_model. */

/* Opens a model file for a test, which fails with the reader's words if it cannot. config NULL:
 * GGUF. options as gdfo_model_open takes them. */
static inline struct gdfo_model *gdfo_test_model_with(const char *path, const char *config,
                                                      const struct gdfo_model_options *options)
{
    struct gdfo_error err = {0};
    struct gdfo_reader file, beside;
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    gdfo_test_ok(gdfo_reader_open(&file, path, &err), &err);
    if (config) {
        gdfo_test_ok(gdfo_reader_open(&beside, config, &err), &err);
    }
    gdfo_test_ok(gdfo_model_file_open(&f, &file, config ? &beside : NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, f, options, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&file);
    if (config) {
        gdfo_reader_close(&beside);
    }
    return model;
}

static inline struct gdfo_model *gdfo_test_model(const char *path, const char *config)
{
    return gdfo_test_model_with(path, config, NULL);
}

static inline struct gdfo_model *gdfo_test_stories(void)
{
    return gdfo_test_model(gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"),
                           NULL);
}

/* A small llama with random weights: shapes that divide by nothing. */
struct gdfo_test_shape {
    uint32_t n_layers, n_heads, n_kv_heads, d_head, n_rot, d_ff, vocab, context;
    int is_tied;
};

static inline void gdfo_test_noise(struct gdfo_test_gguf *m, const char *name, size_t columns,
                                   size_t rows)
{
    struct gdfo_test_tensor *t = gdfo_test_gguf_tensor(m, name, columns, rows);
    struct gdfo_rng r = gdfo_rng_stream(columns * 1000 + rows, name);
    size_t n = columns * (rows ? rows : 1);
    gdfo_buf_reset(&t->bytes);
    for (size_t i = 0; i < n; i++) { /* norms around 1, matrices that keep the size of x */
        float v = (float)(gdfo_rng_normal(&r) * (rows ? 0.15 : 0.1) + (rows ? 0.0 : 1.0));
        gdfo_buf_addn(&t->bytes, &v, sizeof v);
    }
}

static inline void gdfo_test_noise_layer(struct gdfo_test_gguf *m, const struct gdfo_test_shape *s,
                                         uint32_t l)
{
    const size_t d = (size_t)s->n_heads * s->d_head;
    const size_t kv = (size_t)s->n_kv_heads * s->d_head;
    const struct {
        const char *name;
        size_t columns, rows;
    } rows[] = {
        {"attn_norm", d, 0},    {"attn_q", d, d},      {"attn_k", d, kv},
        {"attn_v", d, kv},      {"ffn_norm", d, 0},    {"ffn_gate", d, s->d_ff},
        {"ffn_up", d, s->d_ff}, {"attn_output", d, d}, {"ffn_down", s->d_ff, d},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%u.%s.weight", l, rows[i].name);
        gdfo_test_noise(m, name, rows[i].columns, rows[i].rows);
    }
}

/* The GGUF of that model; caller deinits bytes. */
static inline void gdfo_test_random_gguf(const struct gdfo_test_shape *s, struct gdfo_buf *bytes)
{
    struct gdfo_test_gguf m;
    const size_t d = (size_t)s->n_heads * s->d_head;
    gdfo_test_gguf_init(&m);
    gdfo_test_gguf_text(&m, "general.architecture", "llama");
    gdfo_test_gguf_u32(&m, "llama.block_count", s->n_layers);
    gdfo_test_gguf_u32(&m, "llama.embedding_length", (uint32_t)d);
    gdfo_test_gguf_u32(&m, "llama.feed_forward_length", s->d_ff);
    gdfo_test_gguf_u32(&m, "llama.context_length", s->context);
    gdfo_test_gguf_u32(&m, "llama.vocab_size", s->vocab);
    gdfo_test_gguf_u32(&m, "llama.rope.dimension_count", s->n_rot);
    gdfo_test_gguf_u32(&m, "llama.attention.head_count", s->n_heads);
    gdfo_test_gguf_u32(&m, "llama.attention.head_count_kv", s->n_kv_heads);
    gdfo_test_gguf_f32(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gdfo_test_noise(&m, "token_embd.weight", d, s->vocab);
    gdfo_test_noise(&m, "output_norm.weight", d, 0);
    if (!s->is_tied) {
        gdfo_test_noise(&m, "output.weight", d, s->vocab);
    }
    for (uint32_t l = 0; l < s->n_layers; l++) {
        gdfo_test_noise_layer(&m, s, l);
    }
    gdfo_test_gguf_build(&m, bytes);
    gdfo_test_gguf_deinit(&m);
}

static inline struct gdfo_model *gdfo_test_random_model_with(
    const struct gdfo_test_shape *s, const struct gdfo_model_options *options)
{
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    struct gdfo_reader r;
    struct gdfo_buf bytes;
    gdfo_test_random_gguf(s, &bytes);
    r = gdfo_reader_memory(bytes.data, bytes.len, "random.gguf");
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, f, options, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    return model;
}

static inline struct gdfo_model *gdfo_test_random_model(const struct gdfo_test_shape *s)
{
    return gdfo_test_random_model_with(s, NULL);
}

#endif
