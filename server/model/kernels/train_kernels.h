#ifndef GDFO_SERVER_MODEL_KERNELS_TRAIN_KERNELS_H
#define GDFO_SERVER_MODEL_KERNELS_TRAIN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Layers of a llama-like network as pairs of free functions over plain float arrays, row-major.
 * Outputs first, then inputs, then sizes. T = positions (packed rows), C = width, F = feed-forward
 * width. A backward reads what its forward read and adds (+=) to gradients unless it says "writes".
 * No allocation, no threads: the caller cuts rows between threads. Any thread.
 */

/* out [T][C] = w * x / sqrt(mean(x^2) + eps); x [T][C], w [C] */
void gdfo_train_rmsnorm_forward(float *out, const float *x, const float *w, size_t T, size_t C,
                                double eps);
/* dx [T][C] += ...; dout [T][C] */
void gdfo_train_rmsnorm_backward(float *dx, const float *dout, const float *x, const float *w,
                                 size_t T, size_t C, double eps);
/* dw [C] += ... */
void gdfo_train_rmsnorm_backward_weight(float *dw, const float *dout, const float *x, size_t T,
                                        size_t C, double eps);

/* Tables of cos and sin, [n_pos][n_rot / 2]: angle pos * base^(-2 i / n_rot). */
void gdfo_train_rope_tables(float *cosines, float *sines, size_t n_pos, size_t n_rot, double base);
/* Rotates adjacent pairs of the first n_rot of every head's d_head numbers, in place. x [T][H d];
 * pos [T]. */
void gdfo_train_rope_forward(float *x, const uint32_t *pos, const float *cosines,
                             const float *sines, size_t T, size_t n_heads, size_t d_head,
                             size_t n_rot);
/* Rotates the gradient back, in place. */
void gdfo_train_rope_backward(float *dx, const uint32_t *pos, const float *cosines,
                              const float *sines, size_t T, size_t n_heads, size_t d_head,
                              size_t n_rot);

/* out [n] = silu(gate) * up */
void gdfo_train_swiglu_forward(float *out, const float *gate, const float *up, size_t n);
/* Writes dgate and dup [n]; dup may be dout. */
void gdfo_train_swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate,
                                const float *up, size_t n);

/*
 * Causal attention of one sequence under one key-value head and the `group` query heads that share
 * it. The sequence is n_text cached positions, then n own ones, whose packed rows are in order[n].
 * Own positions from first_query on ask; the earlier ones are only seen.
 */
struct gdfo_train_attention {
    const float *q;        /* [rows][q_stride], rotated; this group starts at q_offset */
    const float *k, *v;    /* [rows][kv_stride], k rotated; this head starts at kv_offset */
    const float *text_k;   /* [n_text][kv_stride] */
    const float *text_v;   /* [n_text][kv_stride] */
    const uint32_t *order; /* [n] */
    size_t n, n_text, first_query;
    size_t q_stride, kv_stride, q_offset, kv_offset;
    size_t group, d_head;
};

/* Floats of scratch for sequences of up to n_keys positions. */
size_t gdfo_train_attention_scratch(size_t n_keys, size_t group, size_t d_head);
/* Writes out [rows][q_stride] of the asking rows and this group's heads. */
void gdfo_train_attention_forward(float *out, const struct gdfo_train_attention *a, float *scratch);
/* Writes dq of the asking rows and dk, dv of all own rows, this head's part. Layouts as q, k, v. */
void gdfo_train_attention_backward(float *dq, float *dk, float *dv, const float *dout,
                                   const struct gdfo_train_attention *a, float *scratch);

#endif
