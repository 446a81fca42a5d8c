#ifndef GDFO_SERVER_PROMPT_PROMPT_H
#define GDFO_SERVER_PROMPT_PROMPT_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Soft prompts: n_prompt_tokens rows of d_model floats that stand where token embeddings stand.
 * Pure; any thread on its own data.
 *
 *   soft_prompt (here)        the first rows p0, from text, zeros or random words
 *   projection.h              the fixed map from the search vector z to rows: p0 + g + s A z
 *   format/format.h           tuned prompts as files, out and in
 *
 *   struct gdfo_embedding e = {.rows = token_embd, .vocab = V, .d_model = H};
 *   gdfo_soft_prompt_from_ids(p0, 10, &e, ids, n_ids, &err);
 */
#define GDFO_PROMPT_TOKENS_MAX 4096
#define GDFO_PROMPT_WIDTH_MAX  65536

struct gdfo_embedding {
    const float *rows; /* [vocab][d_model], borrowed */
    size_t vocab, d_model;
};

/* Standard deviation over all entries of the embedding matrix, in double. */
double gdfo_embedding_std(const struct gdfo_embedding *e);

/*
 * Row i becomes the embedding of ids[i mod n_ids]: an instruction's tokens, repeated or cut as PEFT
 * does it.
 *
 *   rows    [n_prompt_tokens][d_model], caller's storage
 *   errors  INVALID without ids, or for an id outside the vocabulary
 */
GDFO_MUST_USE enum gdfo_status gdfo_soft_prompt_from_ids(float *rows, size_t n_prompt_tokens,
                                                         const struct gdfo_embedding *e,
                                                         const int32_t *ids, size_t n_ids,
                                                         struct gdfo_error *err);

/* Which vocabulary rows may be drawn: all when ids is NULL. */
struct gdfo_prompt_words {
    const int32_t *ids; /* borrowed */
    size_t n;
};

/* Rows of tokens drawn from the stream "soft_prompt" of seed, with replacement. */
GDFO_MUST_USE enum gdfo_status gdfo_soft_prompt_from_vocab(float *rows, size_t n_prompt_tokens,
                                                           const struct gdfo_embedding *e,
                                                           const struct gdfo_prompt_words *words,
                                                           uint64_t seed, struct gdfo_error *err);

void gdfo_soft_prompt_zeros(float *rows, size_t n_prompt_tokens, size_t d_model);

#endif
