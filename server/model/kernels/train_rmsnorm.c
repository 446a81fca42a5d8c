#include "server/model/kernels/train_kernels.h"

#include <math.h>

static double inverse_rms(const float *x, size_t C, double eps)
{
    double sum = 0;
    for (size_t j = 0; j < C; j++) {
        sum += (double)x[j] * (double)x[j];
    }
    return 1.0 / sqrt(sum / (double)C + eps);
}

void gdfo_train_rmsnorm_forward(float *out, const float *x, const float *w, size_t T, size_t C,
                                double eps)
{
    for (size_t t = 0; t < T; t++, x += C, out += C) {
        float r = (float)inverse_rms(x, C, eps);
        for (size_t j = 0; j < C; j++) {
            out[j] = w[j] * (x[j] * r);
        }
    }
}

/* With r = 1/rms: d out_i / d x_j = w_i r (delta_ij - x_i x_j r^2 / C). */
void gdfo_train_rmsnorm_backward(float *dx, const float *dout, const float *x, const float *w,
                                 size_t T, size_t C, double eps)
{
    for (size_t t = 0; t < T; t++, x += C, dx += C, dout += C) {
        double r = inverse_rms(x, C, eps);
        double dot = 0;
        float scale, pull;
        for (size_t j = 0; j < C; j++) {
            dot += (double)(w[j] * dout[j]) * (double)x[j];
        }
        scale = (float)r;
        pull = (float)(dot * r * r * r / (double)C);
        for (size_t j = 0; j < C; j++) {
            dx[j] += scale * (w[j] * dout[j]) - pull * x[j];
        }
    }
}

void gdfo_train_rmsnorm_backward_weight(float *dw, const float *dout, const float *x, size_t T,
                                        size_t C, double eps)
{
    for (size_t t = 0; t < T; t++, x += C, dout += C) {
        float r = (float)inverse_rms(x, C, eps);
        for (size_t j = 0; j < C; j++) {
            dw[j] += dout[j] * (x[j] * r);
        }
    }
}
