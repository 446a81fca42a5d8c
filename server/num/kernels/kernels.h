#ifndef GDFO_SERVER_NUM_KERNELS_KERNELS_H
#define GDFO_SERVER_NUM_KERNELS_KERNELS_H

#include "server/num/mathx.h"

/* What kernels.c becomes under each set of compiler flags (CMakeLists.txt of num). */
extern const struct gdfo_math gdfo_kernels_plain;
extern const struct gdfo_math gdfo_kernels_avx2;
extern const struct gdfo_math gdfo_kernels_avx512;

#endif
