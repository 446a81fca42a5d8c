#ifndef GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_H
#define GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Text to token ids and back. Immutable after creation: any thread. Kinds: byte-level BPE ("gpt2",
 * with the gpt2 or smollm pre-tokeniser) and SPM ("llama"). Example text never yields a control
 * token.
 */
struct gdfo_tokenizer;

struct gdfo_ids { /* a growable list of ids; init to {0}, end with gdfo_ids_deinit */
    int32_t *data;
    size_t n, cap;
};
void gdfo_ids_deinit(struct gdfo_ids *ids);

void gdfo_tokenizer_destroy(struct gdfo_tokenizer *t);

/* Appends the ids of text (valid UTF-8, no BOS or EOS added) to out. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_encode(const struct gdfo_tokenizer *t,
                                                     const char *text, size_t n_bytes,
                                                     struct gdfo_ids *out, struct gdfo_error *err);
/* Appends the bytes of the ids to out. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_decode(const struct gdfo_tokenizer *t,
                                                     const int32_t *ids, size_t n,
                                                     struct gdfo_buf *out, struct gdfo_error *err);
size_t gdfo_tokenizer_vocab(const struct gdfo_tokenizer *t);
int32_t gdfo_tokenizer_bos(
    const struct gdfo_tokenizer *t); /* -1 when the model adds none in front of a text */
int gdfo_tokenizer_is_control(const struct gdfo_tokenizer *t,
                              int32_t id); /* control, unknown, unused */

#endif
