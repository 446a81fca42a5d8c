#ifndef GDFO_TESTS_SUPPORT_TINY_MASKED_H
#define GDFO_TESTS_SUPPORT_TINY_MASKED_H

#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Tiny masked language models in Hugging Face's files, with weights by the formula of
 * tests/reference/engine/make_bert_logits.py, whose numbers they must reproduce.
 *
 *   const struct gdfo_test_masked *m = gdfo_test_masked_find("roberta");
 *   gdfo_test_masked_weights(m, &safetensors);
 *   gdfo_test_masked_config(m, &config);
 */
struct gdfo_test_masked {
    const char *name, *type; /* type: model_type */
    uint32_t vocab, d_model, n_layers, n_heads, d_ff, positions, n_types;
    const char *activation;
    const char *eps;
    uint32_t pad;
    int is_untied;
    int is_encoder; /* no head, names without "bert." */
    int is_old;     /* gamma and beta, poolers, position ids, the next-sentence head */
};

const struct gdfo_test_masked *gdfo_test_masked_find(const char *name); /* fails the test */
/* n values of the formula, times scale. */
void gdfo_test_masked_values(const char *name, double scale, float *out, size_t n);
/* The files; b is initialised here, the caller ends it. */
void gdfo_test_masked_weights(const struct gdfo_test_masked *m, struct gdfo_buf *b);
void gdfo_test_masked_config(const struct gdfo_test_masked *m, struct gdfo_buf *b);

#endif
