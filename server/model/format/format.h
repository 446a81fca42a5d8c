#ifndef GDFO_SERVER_MODEL_FORMAT_FORMAT_H
#define GDFO_SERVER_MODEL_FORMAT_FORMAT_H

#include "common/error.h"
#include "common/file.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A model file, GGUF or safetensors, opened and checked whole (teachers.md section 6): every
 * offset, size, count and shape is verified before the first tensor is read. Tensors are named as
 * in GGUF ("blk.0.attn_q.weight") whatever the file, and come out dequantised to float, row-major
 * [rows][columns] with q and k in GGUF's adjacent-pair rotation order.
 *
 * A failure names the file, the key or tensor, the value and what is accepted. FORMAT: the bytes
 * are wrong; LIMIT: past a ceiling of ours; UNSUPPORTED: right, but a kind we do not read.
 * An open file is immutable: any thread may read tensors, as far as its reader allows it.
 *
 *   gdfo_model_file_open(&f, &reader, NULL, &err);
 *   gdfo_model_file_read(f, "blk.0.attn_norm.weight", weights, d_model, &err);
 *   gdfo_model_file_destroy(f);
 */
struct gdfo_model_file;
struct gdfo_tokenizer;

enum gdfo_activation {
    GDFO_ACTIVATION_SILU,
    GDFO_ACTIVATION_GELU,      /* x Phi(x) */
    GDFO_ACTIVATION_GELU_TANH, /* its approximation by tanh: gelu_new, gelu_pytorch_tanh */
    GDFO_ACTIVATION_RELU
};

struct gdfo_model_config {
    char architecture[32]; /* "llama", "bert" (RoBERTa has its layout) */
    char name[128];        /* general.name, or "" */
    uint32_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff, vocab, context_max;
    uint32_t n_rot; /* rotated dimensions of a head, even, <= d_head */
    double rope_base;
    double rms_eps; /* of RMSNorm, or of bert's LayerNorm */
    enum gdfo_activation activation;
    int is_tied; /* no output.weight: the head is token_embd */
    /* bert */
    int is_masked;           /* reads both ways, answers at a mask */
    uint32_t n_types;        /* rows of the token type table; ours is the first */
    uint32_t position_first; /* row of the position table for the first position: 0, RoBERTa's 2 */
    int is_encoder;          /* no masked-LM head: hidden states only */
};

/* config: config.json of a safetensors file, NULL for GGUF. What the readers read from is borrowed
 * until destroy. */
GDFO_MUST_USE enum gdfo_status gdfo_model_file_open(struct gdfo_model_file **out,
                                                    const struct gdfo_reader *file,
                                                    const struct gdfo_reader *config,
                                                    struct gdfo_error *err);
void gdfo_model_file_destroy(struct gdfo_model_file *f);
const struct gdfo_model_config *gdfo_model_file_config(const struct gdfo_model_file *f);
int gdfo_model_file_has(const struct gdfo_model_file *f, const char *tensor);

/* Whether this is the file name of one shard of a model, as transformers writes them beside a
 * model.safetensors.index.json ("model-00001-of-00002.safetensors"). Such sets are not read. */
int gdfo_model_name_is_shard(const char *file_name);

/* Memory of all tensors as float, in bytes: compare it with your ceiling before the first read. */
uint64_t gdfo_model_file_float_bytes(const struct gdfo_model_file *f);

/* Reads and dequantises one tensor. n must be its exact number of elements (INVALID). NOT_FOUND for
 * a name the file does not have, FORMAT for non-finite values or block scales. Allocates nothing.
 */
GDFO_MUST_USE enum gdfo_status gdfo_model_file_read(const struct gdfo_model_file *f,
                                                    const char *tensor, float *out, size_t n,
                                                    struct gdfo_error *err);

/* The tokenizer's own files beside a safetensors file, borrowed until destroy; only masked language
 * models have them read. */
struct gdfo_tokenizer_files;
void gdfo_model_file_set_tokenizer(struct gdfo_model_file *f,
                                   const struct gdfo_tokenizer_files *files);

/* The tokenizer in the file or beside it; NOT_FOUND when there is none. *out: owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_model_file_tokenizer(const struct gdfo_model_file *f,
                                                         struct gdfo_tokenizer **out,
                                                         struct gdfo_error *err);

#endif
