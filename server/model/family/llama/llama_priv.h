#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_PRIV_H

#include "server/model/family/family.h"
#include "server/model/format/format.h"

#include <stddef.h>

/*
 * The weights of a llama-layout model as float, row-major [out][in], q and k in adjacent-pair
 * rotation order. One slab, pointers dealt out of it. Forward and backward share this layout;
 * gradients and Adam moments of a student use a slab of the same shape.
 *
 * q, k, v lie back to back and so do gate, up: each group is one [sum of out][C] matrix for one
 * GEMM. Other tensors start on a 64-byte boundary; the few floats between them are zero and stay
 * zero.
 */
struct gdfo_llama_layer {
    float *attn_norm; /* [C] */
    float *q;         /* [n_heads * d_head][C] */
    float *k;         /* [n_kv_heads * d_head][C] */
    float *v;         /* [n_kv_heads * d_head][C] */
    float *o;         /* [C][n_heads * d_head] */
    float *ffn_norm;  /* [C] */
    float *gate, *up; /* [d_ff][C] */
    float *down;      /* [C][d_ff] */
};

/* The matrices of a layer as the forward pass multiplies with them; q k v are one, gate and up too.
 */
struct gdfo_llama_packs {
    struct gdfo_pack *qkv, *o, *gate_up, *down;
};

struct gdfo_llama_weights {
    struct gdfo_model_config config;
    float *embed;                    /* [V][C] */
    float *out_norm;                 /* [C] */
    float *head;                     /* [V][C]; equals embed when tied */
    struct gdfo_llama_layer *layers; /* [n_layers] */
    struct gdfo_llama_shelf *shelf;  /* the layers packed for students, shared by them */
    float *slab;
    size_t n_floats;
    /* of an open model only, not of a student's slab */
    struct gdfo_llama_packs *packs; /* [n_layers] */
    struct gdfo_pack *head_pack;    /* NULL in F32 */
    enum gdfo_precision precision;
};

struct gdfo_model;
extern const struct gdfo_family_ops gdfo_family_llama_ops;

/* Floats of the slab for this config; 0 for shapes that cannot be (or overflow). */
size_t gdfo_llama_weights_floats(const struct gdfo_model_config *config);

/* A zeroed slab of that shape, pointers dealt. *out: owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_llama_weights_create(struct gdfo_llama_weights **out,
                                                         const struct gdfo_model_config *config,
                                                         struct gdfo_error *err);
void gdfo_llama_weights_destroy(struct gdfo_llama_weights *w);

/* Packs every matrix for products in this precision; ended with the weights. */
GDFO_MUST_USE enum gdfo_status gdfo_llama_packs_create(struct gdfo_llama_weights *w,
                                                       const struct gdfo_family_load *how,
                                                       struct gdfo_error *err);
void gdfo_llama_packs_destroy(struct gdfo_llama_weights *w);
uint64_t gdfo_llama_packs_bytes(const struct gdfo_model_config *config,
                                enum gdfo_precision precision);

/* Creates and fills from a file, tensors side by side when a pool is given. *out: owned by caller.
 */
GDFO_MUST_USE enum gdfo_status gdfo_llama_weights_load(struct gdfo_llama_weights **out,
                                                       const struct gdfo_model_file *file,
                                                       struct gdfo_pool *pool,
                                                       struct gdfo_error *err);

/* The weights of an open llama model, borrowed until it is destroyed; NULL for another family. */
const struct gdfo_llama_weights *gdfo_llama_weights_of(const struct gdfo_model *model);

#endif
