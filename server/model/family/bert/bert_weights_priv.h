#ifndef GDFO_SERVER_MODEL_FAMILY_BERT_BERT_WEIGHTS_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_BERT_BERT_WEIGHTS_PRIV_H

#include "server/model/format/format.h"

#include <stddef.h>

/*
 * The weights of a BERT-layout model as float, row-major [out][in], in one slab. q, k, v lie back
 * to back, their biases too: one [3 C][C] matrix for one GEMM. Every tensor that is not joined
 * starts on a 64-byte boundary. Of the token types only the first is used; it is added where a
 * text's embedding is made.
 */
struct gdfo_bert_layer {
    float *q, *k, *v;                /* [C][C] each, joined */
    float *q_bias, *k_bias, *v_bias; /* [C] each, joined */
    float *o, *o_bias;               /* [C][C], [C] */
    float *attn_norm, *attn_norm_bias;
    float *up, *up_bias;     /* [F][C], [F] */
    float *down, *down_bias; /* [C][F], [C] */
    float *out_norm, *out_norm_bias;
};

struct gdfo_bert_weights {
    struct gdfo_model_config config;
    float *embed;     /* [V][C] */
    float *positions; /* [position_first + context_max][C] */
    float *types;     /* [n_types][C] */
    float *embed_norm, *embed_norm_bias;
    float *mlm_dense, *mlm_dense_bias; /* masked-LM head: [C][C], [C]; NULL in an encoder */
    float *mlm_norm, *mlm_norm_bias;
    float *head_bias; /* [V]; NULL in an encoder */
    float *head;      /* [V][C]; embed when tied or in an encoder */
    struct gdfo_bert_layer *layers;
    float *slab;
};

size_t gdfo_bert_weights_floats(const struct gdfo_model_config *config);
/* *out: owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_bert_weights_load(struct gdfo_bert_weights **out,
                                                      const struct gdfo_model_file *file,
                                                      struct gdfo_error *err);
void gdfo_bert_weights_destroy(struct gdfo_bert_weights *w);

#endif
