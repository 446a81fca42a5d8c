#ifndef GDFO_SERVER_NUM_HALF_H
#define GDFO_SERVER_NUM_HALF_H

#include <stdint.h>

/* Numbers of 16 bits, rounded to nearest, ties to even. What is past the largest becomes infinite,
 * NaN stays NaN. Any thread. */
uint16_t gdfo_half_to_bf16(float x);
uint16_t gdfo_half_to_f16(float x);
float gdfo_half_from_bf16(uint16_t h);
float gdfo_half_from_f16(uint16_t h);

#endif
