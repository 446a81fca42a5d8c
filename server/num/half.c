#include "server/num/half.h"

#include <string.h>

#define F32_INFINITY 0x7F800000u
#define F16_INFINITY 0x7C00u

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

uint16_t gdfo_half_to_bf16(float x)
{
    const uint32_t u = bits_of(x);
    if ((u & 0x7FFFFFFFu) > F32_INFINITY) {
        return (uint16_t)(u >> 16 | 0x40u); /* a quiet NaN: rounding might make it infinite */
    }
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

float gdfo_half_from_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

/* mantissa >> shift, to nearest, ties to even. */
static uint32_t shift_round(uint32_t mantissa, uint32_t shift)
{
    const uint32_t half = 1u << (shift - 1);
    const uint32_t rest = mantissa & ((half << 1) - 1);
    const uint32_t kept = mantissa >> shift;
    return kept + (rest > half || (rest == half && (kept & 1u)));
}

uint16_t gdfo_half_to_f16(float x)
{
    const uint32_t u = bits_of(x);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    const uint32_t size = u & 0x7FFFFFFFu;
    const uint32_t exponent = size >> 23;
    const uint32_t mantissa = size & 0x7FFFFFu;
    if (size > F32_INFINITY) {
        return (uint16_t)(sign | F16_INFINITY | 0x200u);
    }
    if (exponent >= 143) { /* 2^16 and more, and infinity */
        return (uint16_t)(sign | F16_INFINITY);
    }
    if (exponent >= 113) { /* normal; a carry runs into the exponent, up to infinity */
        return (uint16_t)(sign | (((exponent - 112) << 10) + shift_round(mantissa, 13)));
    }
    if (exponent < 102) { /* below half of the least subnormal, 2^-24 */
        return sign;
    }
    return (uint16_t)(sign | shift_round(mantissa | 0x800000u, 126 - exponent));
}

float gdfo_half_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 31u;
    uint32_t mantissa = h & 0x3FFu;
    if (exponent == 31) {
        return float_of(sign | F32_INFINITY | mantissa << 13);
    }
    if (exponent == 0) { /* zero, or a subnormal number that a float holds as a normal one */
        const float value = (float)mantissa * 0x1p-24F;
        return sign ? -value : value;
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}
