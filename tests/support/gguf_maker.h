#ifndef GDFO_TESTS_SUPPORT_GGUF_MAKER_H
#define GDFO_TESTS_SUPPORT_GGUF_MAKER_H

#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Writes GGUF files for tests, right ones and wrong ones: every field can be set to a lie before
 * the file is built. Runs out of memory by failing the test that calls it.
 *
 *   gdfo_test_gguf_tiny(&m);                          a valid llama model, F32, one block
 *   gdfo_test_gguf_u32(&m, "llama.block_count", 2);   now it lies
 *   gdfo_test_gguf_build(&m, &bytes);
 *   gdfo_test_gguf_deinit(&m);
 */
#define GDFO_TEST_GGUF_OFFSET_AUTO UINT64_MAX

struct gdfo_test_kv {
    struct gdfo_buf key, value; /* value as stored, without its type */
    uint32_t type;
};

struct gdfo_test_tensor {
    struct gdfo_buf name, bytes;
    uint32_t n_dims, type;
    uint64_t dims[5];
    uint64_t offset; /* AUTO: after the one before, aligned */
};

struct gdfo_test_gguf {
    struct gdfo_test_kv *kvs;
    struct gdfo_test_tensor *tensors;
    size_t n_kvs, cap_kvs, n_tensors, cap_tensors;
    uint32_t version;
    uint64_t count_kvs, count_tensors; /* what the head says; AUTO: the truth */
    uint64_t alignment;                /* of the data */
};

void gdfo_test_gguf_init(struct gdfo_test_gguf *m);
void gdfo_test_gguf_deinit(struct gdfo_test_gguf *m);
/* llama, 1 block, d_model 32, 2 heads, 1 KV head, d_ff 64, vocab 8, context 16; no tokenizer. */
void gdfo_test_gguf_tiny(struct gdfo_test_gguf *m);

/* Sets a key (added when new). value: its bytes as stored. */
void gdfo_test_gguf_set(struct gdfo_test_gguf *m, const char *key, uint32_t type, const void *value,
                        size_t n);
void gdfo_test_gguf_u32(struct gdfo_test_gguf *m, const char *key, uint32_t v);
void gdfo_test_gguf_f32(struct gdfo_test_gguf *m, const char *key, float v);
void gdfo_test_gguf_text(struct gdfo_test_gguf *m, const char *key, const char *text);
void gdfo_test_gguf_texts(struct gdfo_test_gguf *m, const char *key, const char *const *texts,
                          size_t n);
void gdfo_test_gguf_drop(struct gdfo_test_gguf *m, const char *key);
struct gdfo_test_kv *gdfo_test_gguf_add(struct gdfo_test_gguf *m, const char *key); /* even twice */

/* Adds a tensor of type F32 with rows x columns values 1, 2, 3, ... / 256 (rows 0: one dimension).
 * Borrowed until the next add. */
struct gdfo_test_tensor *gdfo_test_gguf_tensor(struct gdfo_test_gguf *m, const char *name,
                                               uint64_t columns, uint64_t rows);
struct gdfo_test_tensor *gdfo_test_gguf_find(struct gdfo_test_gguf *m, const char *name);

/* out: initialised here, deinit by caller. */
void gdfo_test_gguf_build(const struct gdfo_test_gguf *m, struct gdfo_buf *out);

#endif
