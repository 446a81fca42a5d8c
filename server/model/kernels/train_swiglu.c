#include "server/model/kernels/train_kernels.h"

#include <math.h>

void gdfo_train_swiglu_forward(float *out, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = gate[i] / (1.0F + expf(-gate[i])) * up[i];
    }
}

/* With s = sigmoid(g): d silu / dg = s (1 + g (1 - s)). */
void gdfo_train_swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate,
                                const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i];
        float s = 1.0F / (1.0F + expf(-g));
        float d = dout[i];
        dgate[i] = d * up[i] * s * (1.0F + g * (1.0F - s));
        dup[i] = d * g * s;
    }
}
