#include "server/model/kernels/train_kernels.h"

#include <math.h>

void gdfo_train_rope_tables(float *cosines, float *sines, size_t n_pos, size_t n_rot, double base)
{
    for (size_t p = 0; p < n_pos; p++) {
        for (size_t i = 0; i < n_rot / 2; i++) {
            double angle = (double)p * pow(base, -2.0 * (double)i / (double)n_rot);
            *cosines++ = (float)cos(angle);
            *sines++ = (float)sin(angle);
        }
    }
}

/* sign -1 is the inverse, and the transpose, of sign 1. */
static void rotate(float *x, const uint32_t *pos, const float *cosines, const float *sines,
                   size_t T, size_t n_heads, size_t d_head, size_t n_rot, float sign)
{
    size_t half = n_rot / 2;
    for (size_t t = 0; t < T; t++) {
        const float *c = cosines + pos[t] * half;
        const float *s = sines + pos[t] * half;
        for (size_t h = 0; h < n_heads; h++, x += d_head) {
            for (size_t i = 0; i < half; i++) {
                float a = x[2 * i];
                float b = x[2 * i + 1];
                x[2 * i] = a * c[i] - b * (sign * s[i]);
                x[2 * i + 1] = a * (sign * s[i]) + b * c[i];
            }
        }
    }
}

void gdfo_train_rope_forward(float *x, const uint32_t *pos, const float *cosines,
                             const float *sines, size_t T, size_t n_heads, size_t d_head,
                             size_t n_rot)
{
    rotate(x, pos, cosines, sines, T, n_heads, d_head, n_rot, 1.0F);
}

void gdfo_train_rope_backward(float *dx, const uint32_t *pos, const float *cosines,
                              const float *sines, size_t T, size_t n_heads, size_t d_head,
                              size_t n_rot)
{
    rotate(dx, pos, cosines, sines, T, n_heads, d_head, n_rot, -1.0F);
}
