#include "server/model/family/bert/bert_math_priv.h"

#include <math.h>

#define LANES 8
#define BLOCK 256 /* values of one turn through exp */

/* LANES sums, then their sum: the same order whatever the width of the processor. */
static double mean_of(const float *x, size_t n, double centre, int is_squared)
{
    double sums[LANES] = {0};
    double sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            const double d = (double)x[i + l] - centre;
            sums[l] += is_squared ? d * d : d;
        }
    }
    for (; i < n; i++) {
        const double d = (double)x[i] - centre;
        sum += is_squared ? d * d : d;
    }
    for (size_t l = 0; l < LANES; l++) {
        sum += sums[l];
    }
    return sum / (double)n;
}

void gdfo_bert_layer_norm(float *x, const struct gdfo_bert_norm *norm)
{
    const double mean = mean_of(x, norm->n, 0, 0);
    const double scale = 1.0 / sqrt(mean_of(x, norm->n, mean, 1) + norm->eps);
    for (size_t i = 0; i < norm->n; i++) {
        x[i] = (float)(((double)x[i] - mean) * scale) * norm->weight[i] + norm->bias[i];
    }
}

/* erf by Abramowitz and Stegun 7.1.26: |error| <= 1.5e-7. For x < 0 the small 1 - erf is had
 * without a difference. */
static void gelu(float *x, size_t n, const struct gdfo_math *math)
{
    float z[BLOCK];
    float e[BLOCK] = {0}; /* without it gcc 12 under ASan warns: it cannot see that n > 0 */
    for (size_t i = 0; i < n; i++) {
        z[i] = fabsf(x[i]) * 0.70710678118654752F;
        e[i] = -z[i] * z[i];
    }
    math->exp(e, e, n);
    for (size_t i = 0; i < n; i++) {
        const float t = 1.0F / (1.0F + 0.3275911F * z[i]);
        const float poly =
            t * (0.254829592F +
                 t * (-0.284496736F + t * (1.421413741F + t * (-1.453152027F + t * 1.061405429F))));
        const float tail = 0.5F * poly * e[i]; /* Phi(-|x|) */
        x[i] *= x[i] < 0.0F ? tail : 1.0F - tail;
    }
}

/* x (1 + tanh u) / 2 = x / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
static void gelu_tanh(float *x, size_t n, const struct gdfo_math *math)
{
    float e[BLOCK] = {0}; /* without it gcc 12 under ASan warns: it cannot see that n > 0 */
    for (size_t i = 0; i < n; i++) {
        e[i] = -1.5957691216057308F * (x[i] + 0.044715F * x[i] * x[i] * x[i]);
    }
    math->exp(e, e, n);
    for (size_t i = 0; i < n; i++) {
        x[i] /= 1.0F + e[i];
    }
}

void gdfo_bert_activate(float *x, size_t n, enum gdfo_activation activation,
                        const struct gdfo_math *math)
{
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t some = n - at < BLOCK ? n - at : BLOCK;
        switch (activation) {
        case GDFO_ACTIVATION_GELU: gelu(x + at, some, math); break;
        case GDFO_ACTIVATION_GELU_TANH: gelu_tanh(x + at, some, math); break;
        case GDFO_ACTIVATION_RELU:
            for (size_t i = at; i < at + some; i++) {
                x[i] = x[i] < 0.0F ? 0.0F : x[i];
            }
            break;
        case GDFO_ACTIVATION_SILU: break; /* config readers give bert none */
        }
    }
}
