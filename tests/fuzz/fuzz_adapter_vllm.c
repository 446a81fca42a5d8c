/* Answers of vLLM by either route: promises in fuzz_adapter.h. Without a local model an answer of
 * completions ends at the count of its positions. */
#include "server/teacher/adapter/vllm/vllm_priv.h"
#include "tests/fuzz/fuzz_adapter.h"

static int set(struct fuzz_case *c, unsigned kind)
{
    c->profile.route = kind & 1 ? GDFO_VLLM_COMPLETIONS : GDFO_VLLM_CHAT;
    ((struct gdfo_vllm_options *)(void *)c->options)->route = (int)(kind >> 1 & 3) % 3;
    return !(kind & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_adapter("vllm", data, n, set);
}
