#include "server/num/precision.h"

#include "server/num/gemm.h"
#include "server/num/kernels/pack_kernels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const char *const names[GDFO_PRECISION_COUNT] = {"f32", "bf16", "int8"};
static const char *const needs[GDFO_PRECISION_COUNT] = {"", "AVX512_BF16", "AVX512_VNNI"};

const char *gdfo_precision_name(enum gdfo_precision p)
{
    return names[p];
}

int gdfo_precision_parse(const char *text, enum gdfo_precision *out)
{
    for (int i = 0; i < GDFO_PRECISION_COUNT; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum gdfo_precision)i;
            return 1;
        }
    }
    return 0;
}

static atomic_uint pretended; /* bits of precisions */

void gdfo_precision_pretend_lacking(unsigned bits)
{
    atomic_store(&pretended, bits);
}

int gdfo_precision_is_available(enum gdfo_precision p)
{
    if (atomic_load(&pretended) & (1u << p)) {
        return 0;
    }
    return p == GDFO_PRECISION_F32 || gdfo_pack_kernels(p) != NULL;
}

enum gdfo_status gdfo_precision_check(enum gdfo_precision p, struct gdfo_error *err)
{
    if (gdfo_precision_is_available(p)) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "precision %s: this processor lacks %s; f32 works everywhere", names[p],
                          needs[p]);
}

const char *gdfo_precision_kernels(enum gdfo_precision p)
{
    static _Thread_local char text[96];
    const struct gdfo_pack_kernels *k = gdfo_pack_kernels(p);
    const struct gdfo_pack_kernels *fine = gdfo_pack_kernels(GDFO_PRECISION_BF16);
    const int is_mixed = p == GDFO_PRECISION_INT8 && fine;
    (void)snprintf(text, sizeof text, "%s%s%s%s%s", gdfo_gemm_name(), is_mixed ? "+" : "",
                   is_mixed ? fine->name : "", k ? "+" : "", k ? k->name : "");
    return text;
}
