#ifndef GDFO_SERVER_NUM_KERNELS_PACK_KERNELS_H
#define GDFO_SERVER_NUM_KERNELS_PACK_KERNELS_H

#include "server/num/pack.h"

/*
 * What a reduced precision gives the seam. Weights are kept in panels of GDFO_PACK_COLUMNS columns,
 * panel_bytes(k) each; rows of A in row_bytes(k) each. What k and n lack of whole blocks is zero in
 * both.
 */
struct gdfo_panel_product {
    const unsigned char *panels; /* of the first column wanted */
    const unsigned char *rows;
    size_t m, n, k;
    float *c;
    size_t ldc;
    int is_added;
};

struct gdfo_pack_kernels {
    const char *name; /* "bf16/avx512" */
    size_t (*panel_bytes)(size_t k);
    size_t (*row_bytes)(size_t k);
    /* One panel from columns first.. of the source. */
    void (*fill)(unsigned char *panel, const struct gdfo_pack_source *s, size_t first);
    void (*prepare)(unsigned char *row, const float *a, size_t k);
    void (*product)(const struct gdfo_panel_product *x);
};

/* Each in a file of its own, compiled for its instructions (CMakeLists.txt of num). */
extern const struct gdfo_pack_kernels gdfo_pack_bf16_avx512;
extern const struct gdfo_pack_kernels gdfo_pack_int8_avx512;

/* NULL: the precision needs none (F32), or the processor cannot. */
const struct gdfo_pack_kernels *gdfo_pack_kernels(enum gdfo_precision p);

#endif
