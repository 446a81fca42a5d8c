#ifndef GDFO_SERVER_NUM_PRECISION_H
#define GDFO_SERVER_NUM_PRECISION_H

#include "common/error.h"

/*
 * How exactly a model's matrix products are computed. F32 is the reference and works everywhere;
 * the others need instructions of the processor, asked for at run time. Any thread.
 *
 *   if (!gdfo_precision_parse("int8", &p) || !gdfo_precision_is_available(p)) ...
 */
enum gdfo_precision {
    GDFO_PRECISION_F32,  /* float32, by the BLAS */
    GDFO_PRECISION_BF16, /* both operands rounded to bfloat16, sums in float32: AVX512_BF16 */
    GDFO_PRECISION_INT8  /* both operands in 8 bits by blocks of 32, sums of a block exact, of
                            blocks in float32: AVX512_VNNI. A model keeps in BF16 what 8 bits would
                            spoil (family/llama/llama_packs.c) */
};
#define GDFO_PRECISION_COUNT 3

const char *gdfo_precision_name(enum gdfo_precision p);               /* "f32", "bf16", "int8" */
int gdfo_precision_parse(const char *text, enum gdfo_precision *out); /* 0: none of these names */
int gdfo_precision_is_available(enum gdfo_precision p);               /* on this processor */

/* OK, or UNSUPPORTED in words: which instructions are missing and what works instead. */
GDFO_MUST_USE enum gdfo_status gdfo_precision_check(enum gdfo_precision p, struct gdfo_error *err);

/* What decides the bits of a model in this precision besides its file, part of a teacher's
 * identity: gdfo_gemm_name(), and behind it "+bf16/avx512" or, because a model in INT8 keeps some
 * products in BF16, "+bf16/avx512+int8-spread/avx512". Valid until this thread's next call. */
const char *gdfo_precision_kernels(enum gdfo_precision p);

/* Tests: as if the processor lacked the precisions of these bits (1 << p). 0: as it is. */
void gdfo_precision_pretend_lacking(unsigned bits);

#endif
