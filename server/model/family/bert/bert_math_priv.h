#ifndef GDFO_SERVER_MODEL_FAMILY_BERT_BERT_MATH_PRIV_H
#define GDFO_SERVER_MODEL_FAMILY_BERT_BERT_MATH_PRIV_H

#include "server/model/format/format.h"
#include "server/num/mathx.h"

#include <stddef.h>

struct gdfo_bert_norm {
    const float *weight, *bias; /* [n] */
    size_t n;
    double eps;
};

/* x = (x - mean) / sqrt(variance + eps) weight + bias, the sums in double. NaN in, NaN out. */
void gdfo_bert_layer_norm(float *x, const struct gdfo_bert_norm *norm);

/* GELU by the error function to within 2e-7 |x|, GELU by tanh, or ReLU, in place. */
void gdfo_bert_activate(float *x, size_t n, enum gdfo_activation activation,
                        const struct gdfo_math *math);

#endif
