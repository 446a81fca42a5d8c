#include "server/model/kernels/train_lanes_priv.h"
#include "server/num/mathx.h"

#include <string.h>

#define N_TABLES 4

/* Fills out with the tables this processor can run, plain first. */
static size_t supported(const struct gdfo_train_lanes *out[N_TABLES])
{
    size_t n = 0;
    out[n++] = &gdfo_train_lanes_plain;
#if defined(GDFO_LANES_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        out[n++] = &gdfo_train_lanes_avx2;
    }
    if (n == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        out[n++] = &gdfo_train_lanes_avx512;
    }
    if (n == 3 && __builtin_cpu_supports("avx512bf16")) {
        out[n++] = &gdfo_train_lanes_avx512bf16;
    }
#endif
    return n;
}

/* No further than the table of num's loops, which a test may limit. */
static size_t runnable(const struct gdfo_train_lanes *out[N_TABLES])
{
    const char *limit = gdfo_math()->name;
    size_t n = supported(out);
    for (size_t i = 0; i < n && strcmp(limit, "avx512") != 0; i++) {
        if (strcmp(out[i]->name, limit) == 0) {
            return i + 1;
        }
    }
    return n;
}

const struct gdfo_train_lanes *gdfo_train_lanes_at(size_t i)
{
    const struct gdfo_train_lanes *tables[N_TABLES];
    return i < runnable(tables) ? tables[i] : NULL;
}

const struct gdfo_train_lanes *gdfo_train_lanes(void)
{
    const struct gdfo_train_lanes *tables[N_TABLES];
    return tables[runnable(tables) - 1];
}
