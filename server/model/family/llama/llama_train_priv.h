#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_TRAIN_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_TRAIN_PRIV_H

#include "server/model/train/net.h"

#include <stddef.h>

/*
 * The trainable llama network behind train/net.h. T = packed rows at hand, C = d_model,
 * Q = n_heads d_head, K = n_kv_heads d_head, F = d_ff, r = adapter rank.
 *
 * Rows are cut into an even number of nearly equal tiles, each of which walks through all products
 * of half a layer; attention is cut by (item, key-value head); gradients to weights by product and
 * rows of the gradient. The cuts depend on the batch alone, so threads never change a bit.
 */
enum gdfo_llama_linear_id {
    GDFO_LLAMA_Q,
    GDFO_LLAMA_K,
    GDFO_LLAMA_V,
    GDFO_LLAMA_O,
    GDFO_LLAMA_GATE,
    GDFO_LLAMA_UP,
    GDFO_LLAMA_DOWN,
    GDFO_LLAMA_N_LINEAR
};

/* y = x w^T + u b^T with u = scale x a^T. dw: FULL only; a and all below: ADAPTER only. */
struct gdfo_llama_linear {
    const float *w; /* [out][in] */
    float *dw;
    const float *a, *b; /* [r][in], [out][r] */
    float *da, *db;
    float *u;  /* [T][r] kept by forward */
    float *du; /* [T][r] of this backward; shared by all layers */
    size_t in, out;
};

struct gdfo_llama_train_layer {
    struct gdfo_llama_linear lin[GDFO_LLAMA_N_LINEAR];
    const float *attn_norm, *ffn_norm; /* [C] */
    float *d_attn_norm, *d_ffn_norm;   /* FULL only */
    /* What forward keeps, [T][...]. */
    float *x;         /* [C] input of the layer */
    float *q, *k, *v; /* [Q], [K], [K]; q and k rotated */
    float *att;       /* [Q] */
    float *mid;       /* [C] after attention */
    float *gate, *up; /* [F] */
};

struct gdfo_llama_net {
    struct gdfo_net base; /* first member: a net pointer is this pointer */
    struct gdfo_pool *pool;
    struct gdfo_llama_train_layer *layers; /* [n_layers] */
    const float *out_norm;
    float *d_out_norm;
    float *slab; /* all floats below and above that are ours */
    size_t rank;
    float scale;
    float *cosines, *sines; /* [max_sequence][n_rot / 2] */
    float *x_out;           /* [max_items][C] output of the last layer */
    /* Scratch of one layer, [max_positions][...]; the gradient to the residual is base.dx. */
    float *norm;                /* [C] a norm's output */
    float *dnorm;               /* [C] */
    float *dffn;                /* [C] gradient to the layer's output, kept for down's weights */
    float *h, *dgate, *dup;     /* [F] */
    float *datt, *dq, *dk, *dv; /* [Q], [Q], [K], [K] */
    float *attention;           /* [threads][attention_floats] */
    size_t attention_floats;
    /* The run at hand. */
    const struct gdfo_pack *pack;
    unsigned want;
    size_t layer;
};

struct gdfo_llama_range { /* packed rows first .. end - 1 */
    size_t first, end;
};

/* Tile `item` of n rows, and how many there are. */
size_t gdfo_llama_n_tiles(size_t n);
struct gdfo_llama_range gdfo_llama_tile(size_t n, size_t item);

/* Rows whose output layer l computes: all, but the scored ones in the last layer. */
size_t gdfo_llama_asking(const struct gdfo_llama_net *net, size_t l);

/* Attention of span item / n_kv_heads under key-value head item % n_kv_heads in layer l. */
struct gdfo_train_attention gdfo_llama_attention(const struct gdfo_llama_net *net, size_t l,
                                                 size_t item);

/* y [T][out] = x [T][in] w^T + beta y, adapter included, for rows r. */
void gdfo_llama_linear_forward(const struct gdfo_llama_net *net,
                               const struct gdfo_llama_linear *lin, const float *x, float *y,
                               struct gdfo_llama_range r, float beta);

void gdfo_llama_train_forward(struct gdfo_net *base, const struct gdfo_pack *pack);
void gdfo_llama_train_backward(struct gdfo_net *base, const struct gdfo_pack *pack, unsigned want);

#endif
