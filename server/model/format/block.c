#include "server/model/format/block.h"

#include <math.h>
#include <string.h>

#define QUANT_ELEMENTS 32u

static uint16_t load_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | (p[1] << 8));
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float gdfo_block_half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exponent = (h >> 10) & 0x1Fu;
    const uint32_t fraction = h & 0x3FFu;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24, exact in float */
        const float v = (float)fraction * 0x1p-24F;
        return sign ? -v : v;
    }
    if (exponent == 31) {
        return from_bits(sign | 0x7F800000u | (fraction << 13));
    }
    return from_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
}

static size_t decode_f32(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 4) {
        out[i] = from_bits((uint32_t)load_u16(in) | (uint32_t)load_u16(in + 2) << 16);
        if (!isfinite(out[i])) {
            return i;
        }
    }
    return n;
}

static size_t decode_f16(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 2) {
        out[i] = gdfo_block_half_to_float(load_u16(in));
        if (!isfinite(out[i])) {
            return i;
        }
    }
    return n;
}

static size_t decode_bf16(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 2) {
        out[i] = from_bits((uint32_t)load_u16(in) << 16);
        if (!isfinite(out[i])) {
            return i;
        }
    }
    return n;
}

/* 16 bytes hold 32 four-bit numbers: low nibble of byte j is element j, high nibble j + 16. */
static void decode_nibbles(const unsigned char *qs, int bias, float d, float m, float *out)
{
    for (size_t j = 0; j < QUANT_ELEMENTS / 2; j++) {
        out[j] = (float)((qs[j] & 15) - bias) * d + m;
        out[j + QUANT_ELEMENTS / 2] = (float)((qs[j] >> 4) - bias) * d + m;
    }
}

static size_t decode_q4_0(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 18, out += QUANT_ELEMENTS) {
        const float d = gdfo_block_half_to_float(load_u16(in));
        if (!isfinite(d)) {
            return i;
        }
        decode_nibbles(in + 2, 8, d, 0.0F, out);
    }
    return n;
}

static size_t decode_q4_1(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 20, out += QUANT_ELEMENTS) {
        const float d = gdfo_block_half_to_float(load_u16(in));
        const float m = gdfo_block_half_to_float(load_u16(in + 2));
        if (!isfinite(d) || !isfinite(m)) {
            return i;
        }
        decode_nibbles(in + 4, 0, d, m, out);
    }
    return n;
}

static size_t decode_q8_0(const unsigned char *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++, in += 34, out += QUANT_ELEMENTS) {
        const float d = gdfo_block_half_to_float(load_u16(in));
        if (!isfinite(d)) {
            return i;
        }
        for (size_t j = 0; j < QUANT_ELEMENTS; j++) {
            const int q = in[2 + j] < 128 ? in[2 + j] : in[2 + j] - 256;
            out[j] = (float)q * d;
        }
    }
    return n;
}

static const struct gdfo_block_type types[] = {
    {"F32", GDFO_BLOCK_F32, 4, 1, decode_f32},
    {"F16", GDFO_BLOCK_F16, 2, 1, decode_f16},
    {"Q4_0", GDFO_BLOCK_Q4_0, 18, QUANT_ELEMENTS, decode_q4_0},
    {"Q4_1", GDFO_BLOCK_Q4_1, 20, QUANT_ELEMENTS, decode_q4_1},
    {"Q8_0", GDFO_BLOCK_Q8_0, 34, QUANT_ELEMENTS, decode_q8_0},
    {"BF16", GDFO_BLOCK_BF16, 2, 1, decode_bf16},
};

/* Every id GGUF has given out, so that a refusal can say the name people know. */
static const char *const names[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
};

const struct gdfo_block_type *gdfo_block_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].id == id) {
            return &types[i];
        }
    }
    return NULL;
}

const char *gdfo_block_name(uint32_t id)
{
    return id < sizeof names / sizeof names[0] ? names[id] : NULL;
}

const char *gdfo_block_list(void)
{
    return "F32, F16, BF16, Q8_0, Q4_0, Q4_1";
}
