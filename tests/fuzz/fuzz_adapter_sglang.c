/* Answers of SGLang by either route: promises in fuzz_adapter.h. Without a local model an answer of
 * generate ends at the count of its positions. */
#include "server/teacher/adapter/sglang/sglang_priv.h"
#include "tests/fuzz/fuzz_adapter.h"

static int set(struct fuzz_case *c, unsigned kind)
{
    c->profile.route = kind & 1 ? GDFO_SGLANG_GENERATE : GDFO_SGLANG_SCORE;
    return kind & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_adapter("sglang", data, n, set);
}
