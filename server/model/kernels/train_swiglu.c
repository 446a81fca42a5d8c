#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/mathx.h"

void gdfo_train_swiglu_forward(float *out, const float *gate, const float *up, size_t n)
{
    gdfo_math()->silu_mul(out, gate, up, n);
}

void gdfo_train_swiglu_backward(float *dgate, float *dup, const float *dout, const float *gate,
                                const float *up, size_t n)
{
    gdfo_train_lanes()->swiglu_backward(dgate, dup, dout, gate, up, n);
}
