#ifndef GDFO_SERVER_NUM_KERNELS_PACK_KERNELS_H
#define GDFO_SERVER_NUM_KERNELS_PACK_KERNELS_H

#include "server/num/pack_priv.h"

/* Each in a file of its own, compiled for its instructions (CMakeLists.txt of num). */
extern const struct gdfo_pack_kernels gdfo_pack_bf16_avx512;
extern const struct gdfo_pack_kernels gdfo_pack_int8_avx512;

#endif
