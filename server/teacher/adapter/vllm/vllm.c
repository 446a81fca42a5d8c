#include "server/teacher/adapter/vllm/vllm_priv.h"

static const struct gdfo_opt options[] = {
    {"route", GDFO_OPT_ENUM, offsetof(struct gdfo_vllm_options, route), "auto", 0, 0,
     "auto|completions|chat", "auto: chat where the server takes rows in a message"},
    {"grid", GDFO_OPT_ENUM, offsetof(struct gdfo_vllm_options, grid), "bf16", 0, 0, "f32|f16|bf16",
     "the type that the server runs the model in, which it does not tell"},
    {"no_thinking", GDFO_OPT_BOOL, offsetof(struct gdfo_vllm_options, no_thinking), "true", 0, 0,
     NULL, "chat: switch a reasoning model's reasoning off"},
    {0}};

const struct gdfo_remote_ops gdfo_remote_vllm_ops = {
    .name = "vllm",
    .help = "a vLLM server started with --enable-prompt-embeds",
    .options = options,
    .options_bytes = sizeof(struct gdfo_vllm_options),
    .probe_encode = gdfo_vllm_probe_encode,
    .probe_decode = gdfo_vllm_probe_decode,
    .encode = gdfo_vllm_encode,
    .decode = gdfo_vllm_decode,
};
