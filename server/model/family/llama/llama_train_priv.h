#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_TRAIN_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_TRAIN_PRIV_H

#include "server/model/family/llama/llama_shelf.h"
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
    float *bt;  /* [r][out] b transposed, by forward */
    float *dbt; /* [r][out] of this backward; shared by all layers */
    float *u;   /* [T][r] kept by forward */
    float *du;  /* [T][r] of this backward; shared by all layers */
    size_t in, out;
    struct gdfo_llama_pair packs; /* of w */
};

/* Where an operand of weight gradients lies in pairs (train_lanes.h); FULL in reduced precision. */
enum gdfo_llama_operand_id {
    GDFO_LLAMA_D_DOWN,
    GDFO_LLAMA_H,
    GDFO_LLAMA_D_GATE,
    GDFO_LLAMA_D_UP,
    GDFO_LLAMA_NORM,
    GDFO_LLAMA_D_O,
    GDFO_LLAMA_ATT,
    GDFO_LLAMA_N_OPERANDS,
    GDFO_LLAMA_D_K = GDFO_LLAMA_H, /* the other half of a layer uses the same room */
    GDFO_LLAMA_D_V = GDFO_LLAMA_D_GATE,
    GDFO_LLAMA_D_Q = GDFO_LLAMA_D_UP
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
    unsigned char *rows; /* [threads][row_bytes] of a tile, prepared for a product */
    size_t row_bytes;
    /* Packed matrices: lent by the model's shelf, or our own in FULL mode. */
    enum gdfo_precision precision;
    struct gdfo_llama_shelf *shelf;
    struct gdfo_llama_pack_layer *packs; /* [n_layers] */
    size_t n_packed;
    uint32_t *pairs; /* [panels][max_pairs][GDFO_TRAIN_PANEL]; NULL: gradients in float32 */
    size_t max_pairs, n_panels;
    size_t first_panel[GDFO_LLAMA_N_OPERANDS];
    /* The run at hand. */
    const struct gdfo_pack *pack;
    unsigned want;
    size_t layer;
};

#define GDFO_LLAMA_TILE_ROWS 256 /* most rows of a tile: weights are read once for each */

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

/* Rows r of x [T][k] as products with a pack take them; prepared in the slot's room unless the
 * precision is F32. Valid until the slot's next. */
struct gdfo_llama_rows {
    const float *x;
    size_t k;
    const void *prepared;
    struct gdfo_llama_range r;
};
struct gdfo_llama_rows gdfo_llama_prepare(const struct gdfo_llama_net *net,
                                          const struct gdfo_pack *pack, const float *x,
                                          struct gdfo_llama_range r, unsigned slot);

/* c [T][n] = x times the pack + beta c, for the first rows of x, up to end. */
void gdfo_llama_multiply(const struct gdfo_pack *pack, const struct gdfo_llama_rows *x, size_t end,
                         float *c, float beta);

/* Rows of r that carry adapters. */
struct gdfo_llama_range gdfo_llama_adapted(const struct gdfo_llama_net *net,
                                           struct gdfo_llama_range r);

/* u [T][r] = scale x [T][k] a [r][k]^T, and y [T][n] += u b [r][n], for rows r. */
void gdfo_llama_low(const struct gdfo_llama_net *net, float *u, const float *x, const float *a,
                    size_t k, struct gdfo_llama_range r);
void gdfo_llama_low_add(const struct gdfo_llama_net *net, float *y, const float *u, const float *b,
                        size_t n, struct gdfo_llama_range r);

void gdfo_llama_train_forward(struct gdfo_net *base, const struct gdfo_pack *pack);
void gdfo_llama_train_backward(struct gdfo_net *base, const struct gdfo_pack *pack, unsigned want);

#endif
