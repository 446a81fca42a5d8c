#include "server/num/mathx.h"

#include "server/num/kernels/kernels.h"

#include <string.h>

#define N_TABLES 3

static const char *limit;

/* Fills out with the tables this processor can run, plain first. */
static size_t supported(const struct gdfo_math *out[N_TABLES])
{
    size_t n = 0;
    out[n++] = &gdfo_kernels_plain;
#if defined(GDFO_KERNELS_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        out[n++] = &gdfo_kernels_avx2;
    }
    if (n == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        out[n++] = &gdfo_kernels_avx512;
    }
#endif
    return n;
}

static size_t runnable(const struct gdfo_math *out[N_TABLES])
{
    size_t n = supported(out);
    for (size_t i = 0; i < n && limit; i++) {
        if (strcmp(out[i]->name, limit) == 0) {
            return i + 1;
        }
    }
    return n;
}

void gdfo_math_limit(const char *name)
{
    limit = name;
}

const struct gdfo_math *gdfo_math_at(size_t i)
{
    const struct gdfo_math *tables[N_TABLES];
    return i < runnable(tables) ? tables[i] : NULL;
}

const struct gdfo_math *gdfo_math(void)
{
    const struct gdfo_math *tables[N_TABLES];
    return tables[runnable(tables) - 1];
}

static size_t pad16(size_t n)
{
    return (n + 15) / 16 * 16;
}

size_t gdfo_attend_scratch(size_t n_past, size_t n_own)
{
    return GDFO_ATTEND_BLOCK * (pad16(n_past) + pad16(n_own));
}
