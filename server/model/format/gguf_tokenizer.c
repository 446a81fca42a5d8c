#include "server/model/format/gguf_priv.h"

enum gdfo_status gdfo_gguf_tokenizer(const struct gdfo_model_file *f, struct gdfo_tokenizer **out,
                                     struct gdfo_error *err)
{
    (void)f;
    (void)out;
    return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no tokenizer reader yet");
}
