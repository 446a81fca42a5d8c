#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_PRIV_H

#include "server/model/format/format.h"

#include <stddef.h>

/*
 * The weights of a llama-layout model as float, row-major [out][in], q and k in adjacent-pair
 * rotation order. One slab, pointers dealt out of it. Forward and backward share this layout;
 * gradients and Adam moments of a student use a slab of the same shape.
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

struct gdfo_llama_weights {
    struct gdfo_model_config config;
    float *embed;                    /* [V][C] */
    float *out_norm;                 /* [C] */
    float *head;                     /* [V][C]; equals embed when tied */
    struct gdfo_llama_layer *layers; /* [n_layers] */
    float *slab;
    size_t n_floats;
};

#endif
