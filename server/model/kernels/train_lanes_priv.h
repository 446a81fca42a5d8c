#ifndef GDFO_SERVER_MODEL_KERNELS_TRAIN_LANES_PRIV_H
#define GDFO_SERVER_MODEL_KERNELS_TRAIN_LANES_PRIV_H

#include "server/model/kernels/train_lanes.h"

/* What train_lanes.c becomes under each set of compiler flags (CMakeLists.txt of model). */
extern const struct gdfo_train_lanes gdfo_train_lanes_plain;
extern const struct gdfo_train_lanes gdfo_train_lanes_avx2;
extern const struct gdfo_train_lanes gdfo_train_lanes_avx512;
extern const struct gdfo_train_lanes gdfo_train_lanes_avx512bf16;

#endif
