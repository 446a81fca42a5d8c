#ifndef GDFO_SERVER_MODEL_TRAIN_ADAMW_H
#define GDFO_SERVER_MODEL_TRAIN_ADAMW_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101) over one flat array of floats: decoupled weight
 * decay, bias correction, linear warm-up and linear decay. Used for a student's weights and for
 * prompt rows. An element depends on nothing but itself, so threads never change a bit. Owner
 * thread only.
 *
 *   struct gdfo_adamw a;
 *   gdfo_adamw_init(&a, &opts, n, &err);
 *   for (...) gdfo_adamw_step(&a, pool, params, grads);
 *   gdfo_adamw_deinit(&a);
 */
struct gdfo_pool;

struct gdfo_adamw_opts {
    double lr;           /* >= 0; the peak of the schedule */
    double beta1, beta2; /* [0, 1) */
    double eps;          /* > 0 */
    double weight_decay; /* >= 0; a step shrinks weights by lr * weight_decay */
    uint64_t warmup_steps;
    uint64_t total_steps; /* 0 = no decay; else the rate reaches 0 at this step */
};

struct gdfo_adamw {
    struct gdfo_adamw_opts opts;
    float *m, *v; /* [n] first and second moments; owned */
    size_t n;
    uint64_t step; /* steps done */
};

/* lr 1e-4, betas 0.9 and 0.999, eps 1e-8, no decay, no schedule (method.md 4.2). */
struct gdfo_adamw_opts gdfo_adamw_defaults(void);

/* INVALID names the member and its range. gdfo_adamw_init checks too. */
GDFO_MUST_USE enum gdfo_status gdfo_adamw_check(const struct gdfo_adamw_opts *opts,
                                                struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_adamw_init(struct gdfo_adamw *a,
                                               const struct gdfo_adamw_opts *opts, size_t n,
                                               struct gdfo_error *err);
void gdfo_adamw_deinit(struct gdfo_adamw *a);

/* The rate of step number `step`, counted from 1: lr step / warmup up to the warm-up's end, then a
 * straight line to 0 at total_steps. */
double gdfo_adamw_lr(const struct gdfo_adamw_opts *opts, uint64_t step);

/* One step: params [n] in place, grads [n]. Allocates nothing. pool may be NULL. */
void gdfo_adamw_step(struct gdfo_adamw *a, struct gdfo_pool *pool, float *params,
                     const float *grads);

/* Step count and moments, exact to the bit. load: CORRUPT when the bytes are not those of an
 * optimiser of n elements; then nothing has changed. */
void gdfo_adamw_save(const struct gdfo_adamw *a, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_adamw_load(struct gdfo_adamw *a, const void *bytes, size_t n,
                                               struct gdfo_error *err);
size_t gdfo_adamw_state_bytes(size_t n); /* what save writes for n elements */

#endif
