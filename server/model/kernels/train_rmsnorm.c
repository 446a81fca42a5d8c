#include "server/model/kernels/train_kernels.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/mathx.h"

void gdfo_train_rmsnorm_forward(float *out, const float *x, const float *w, size_t T, size_t C,
                                double eps)
{
    const struct gdfo_math *math = gdfo_math();
    for (size_t t = 0; t < T; t++) {
        math->rms_norm(out + t * C, x + t * C, w, C, eps);
    }
}

void gdfo_train_rmsnorm_backward(float *dx, const float *dout, const float *x, const float *w,
                                 size_t T, size_t C, double eps)
{
    const struct gdfo_train_lanes *lanes = gdfo_train_lanes();
    for (size_t t = 0; t < T; t++) {
        lanes->norm_backward(dx + t * C, dout + t * C, x + t * C, w, C, eps);
    }
}

void gdfo_train_rmsnorm_backward_weight(float *dw, const float *dout, const float *x, size_t T,
                                        size_t C, double eps)
{
    const struct gdfo_train_lanes *lanes = gdfo_train_lanes();
    for (size_t t = 0; t < T; t++) {
        lanes->norm_backward_weight(dw, dout + t * C, x + t * C, C, eps);
    }
}
