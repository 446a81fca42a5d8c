#include "tests/support/tiny_masked.h"

#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static const struct gdfo_test_masked models[] = {
    {"bert", "bert", 199, 32, 2, 4, 64, 64, 2, "gelu", "1e-12", 0, 0, 0, 0},
    {"bert-old", "bert", 199, 32, 2, 4, 64, 64, 2, "gelu", "1e-12", 0, 0, 0, 1},
    {"bert-encoder", "bert", 199, 32, 2, 4, 64, 64, 2, "gelu", "1e-12", 0, 0, 1, 0},
    {"roberta", "roberta", 315, 32, 2, 4, 64, 98, 1, "gelu", "1e-5", 1, 0, 0, 0},
    {"bert-untied", "bert", 70, 24, 3, 2, 40, 40, 1, "gelu_new", "1e-3", 0, 1, 0, 0},
    {"bert-relu", "bert", 40, 16, 1, 1, 17, 33, 2, "relu", "1e-12", 0, 0, 0, 0},
};

const struct gdfo_test_masked *gdfo_test_masked_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, name) == 0) {
            return &models[i];
        }
    }
    fail_msg("no tiny model %s", name);
    return NULL;
}

/* ---- values -----------------------------------------------------------------------------------
 */

static double value(uint32_t h, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761U + h;
    x ^= x >> 15;
    x *= 2246822519U;
    x ^= x >> 13;
    x *= 3266489917U;
    x ^= x >> 16;
    return (double)(x >> 8) / 16777216.0 - 0.5;
}

static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261U;
    for (; *name != '\0'; name++) {
        h = (h ^ (unsigned char)*name) * 16777619U;
    }
    return h;
}

void gdfo_test_masked_values(const char *name, double scale, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)(scale * value(hash(name), i));
    }
}

static int has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* The weight of a tensor under its name in a masked LM of today. */
static float weight(const char *name, int is_vector, size_t i)
{
    const double v = value(hash(name), i);
    if (has(name, "Norm") || has(name, "norm")) {
        return (float)(has(name, ".weight") ? 1 + 0.5 * v : 0.25 * v);
    }
    if (is_vector) {
        return (float)(0.25 * v);
    }
    return (float)((has(name, "embeddings") ? 2 : 0.5) * v);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

struct maker {
    const struct gdfo_test_masked *m;
    struct gdfo_buf head, data;
};

static void entry(struct maker *k, const char *name, const char *dtype, const size_t shape[2],
                  size_t n_bytes)
{
    gdfo_buf_addf(&k->head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", k->head.len > 1 ? "," : "",
                  name, dtype, shape[0]);
    if (shape[1] > 0) {
        gdfo_buf_addf(&k->head, ",%zu", shape[1]);
    }
    gdfo_buf_addf(&k->head, "],\"data_offsets\":[%zu,%zu]}", k->data.len, k->data.len + n_bytes);
}

/* columns 0: a vector */
static void tensor(struct maker *k, const char *name, size_t rows, size_t columns)
{
    const size_t n = rows * (columns ? columns : 1);
    const size_t shape[2] = {rows, columns};
    char written[200];
    const char *tail = strrchr(name, '.');
    (void)snprintf(written, sizeof written, "%s",
                   k->m->is_encoder && strncmp(name, "bert.", 5) == 0 ? name + 5 : name);
    if (k->m->is_old && has(name, "LayerNorm")) {
        (void)snprintf(written, sizeof written, "%.*s.%s", (int)(tail - name), name,
                       strcmp(tail, ".weight") == 0 ? "gamma" : "beta");
    }
    entry(k, written, "F32", shape, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        const float w = weight(name, columns == 0, i);
        gdfo_buf_addn(&k->data, &w, sizeof w);
    }
}

static void pair(struct maker *k, const char *name, size_t rows, size_t columns)
{
    char full[200];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    tensor(k, full, rows, columns);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    tensor(k, full, rows, 0);
}

static void block(struct maker *k, uint32_t l)
{
    static const char *const square[] = {"attention.self.query", "attention.self.key",
                                         "attention.self.value", "attention.output.dense"};
    const struct gdfo_test_masked *m = k->m;
    char name[200];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "%s.encoder.layer.%u.%s", m->type, l, square[i]);
        pair(k, name, m->d_model, m->d_model);
    }
    (void)snprintf(name, sizeof name, "%s.encoder.layer.%u.attention.output.LayerNorm", m->type, l);
    pair(k, name, m->d_model, 0);
    (void)snprintf(name, sizeof name, "%s.encoder.layer.%u.intermediate.dense", m->type, l);
    pair(k, name, m->d_ff, m->d_model);
    (void)snprintf(name, sizeof name, "%s.encoder.layer.%u.output.dense", m->type, l);
    pair(k, name, m->d_model, m->d_ff);
    (void)snprintf(name, sizeof name, "%s.encoder.layer.%u.output.LayerNorm", m->type, l);
    pair(k, name, m->d_model, 0);
}

static void mlm_head(struct maker *k)
{
    const struct gdfo_test_masked *m = k->m;
    const int is_roberta = strcmp(m->type, "roberta") == 0;
    pair(k, is_roberta ? "lm_head.dense" : "cls.predictions.transform.dense", m->d_model,
         m->d_model);
    pair(k, is_roberta ? "lm_head.layer_norm" : "cls.predictions.transform.LayerNorm", m->d_model,
         0);
    tensor(k, is_roberta ? "lm_head.bias" : "cls.predictions.bias", m->vocab, 0);
    if (m->is_untied) {
        pair(k, is_roberta ? "lm_head.decoder" : "cls.predictions.decoder", m->vocab, m->d_model);
    }
}

/* What old files carry besides, to be passed over: one of a dtype that is not read. */
static void leftovers(struct maker *k)
{
    const size_t shape[2] = {1, 8};
    int64_t ids[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    entry(k, "bert.embeddings.position_ids", "I64", shape, sizeof ids);
    gdfo_buf_addn(&k->data, ids, sizeof ids);
    pair(k, "bert.pooler.dense", k->m->d_model, k->m->d_model);
    pair(k, "cls.seq_relationship", 2, k->m->d_model);
    tensor(k, "cls.predictions.decoder.weight", k->m->vocab, k->m->d_model); /* tied */
}

void gdfo_test_masked_weights(const struct gdfo_test_masked *m, struct gdfo_buf *b)
{
    struct maker k = {.m = m};
    char name[100];
    gdfo_buf_init(&k.head, 1u << 20);
    gdfo_buf_init(&k.data, 1u << 24);
    gdfo_buf_init(b, 1u << 24);
    gdfo_buf_add(&k.head, "{");
    (void)snprintf(name, sizeof name, "%s.embeddings.word_embeddings.weight", m->type);
    tensor(&k, name, m->vocab, m->d_model);
    (void)snprintf(name, sizeof name, "%s.embeddings.position_embeddings.weight", m->type);
    tensor(&k, name, m->positions, m->d_model);
    (void)snprintf(name, sizeof name, "%s.embeddings.token_type_embeddings.weight", m->type);
    tensor(&k, name, m->n_types, m->d_model);
    (void)snprintf(name, sizeof name, "%s.embeddings.LayerNorm", m->type);
    pair(&k, name, m->d_model, 0);
    for (uint32_t l = 0; l < m->n_layers; l++) {
        block(&k, l);
    }
    if (!m->is_encoder) {
        mlm_head(&k);
    }
    if (m->is_old) {
        leftovers(&k);
    }
    gdfo_buf_add(&k.head, "}");
    gdfo_buf_u64(b, k.head.len);
    gdfo_buf_addn(b, k.head.data, k.head.len);
    gdfo_buf_addn(b, k.data.data, k.data.len);
    assert_true(gdfo_buf_ok(b) && gdfo_buf_ok(&k.head) && gdfo_buf_ok(&k.data));
    gdfo_buf_deinit(&k.head);
    gdfo_buf_deinit(&k.data);
}

void gdfo_test_masked_config(const struct gdfo_test_masked *m, struct gdfo_buf *b)
{
    gdfo_buf_init(b, 10000);
    gdfo_buf_addf(b,
                  "{\"model_type\":\"%s\",\"vocab_size\":%u,\"hidden_size\":%u,"
                  "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"intermediate_size\":%u,"
                  "\"max_position_embeddings\":%u,\"type_vocab_size\":%u,\"hidden_act\":\"%s\","
                  "\"layer_norm_eps\":%s,\"pad_token_id\":%u,\"tie_word_embeddings\":%s,"
                  "\"position_embedding_type\":\"absolute\",\"is_decoder\":false}",
                  m->type, m->vocab, m->d_model, m->n_layers, m->n_heads, m->d_ff, m->positions,
                  m->n_types, m->activation, m->eps, m->pad, m->is_untied ? "false" : "true");
    assert_true(gdfo_buf_ok(b));
}
