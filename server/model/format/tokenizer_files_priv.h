#ifndef GDFO_SERVER_MODEL_FORMAT_TOKENIZER_FILES_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_TOKENIZER_FILES_PRIV_H

#include "common/json.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/tokenizer/tokenizer.h"

/* Tokens by id while files are read: texts are borrowed from them until the list is made. */
struct gdfo_draft_token {
    const char *text; /* NULL: no token has this id */
    size_t n;
    uint8_t type;
};

struct gdfo_tokenizer_draft {
    struct gdfo_draft_token *tokens; /* [n_vocab] */
    size_t n_vocab;
    struct gdfo_tokenizer_spec spec;
};

/* FORMAT: an id outside the vocabulary, or taken by another token. */
GDFO_MUST_USE enum gdfo_status gdfo_draft_put(struct gdfo_tokenizer_draft *d, int64_t id,
                                              const char *text, size_t n, uint8_t type,
                                              struct gdfo_error *err);

/* The root of tokenizer.json into the draft; root must outlive it. */
GDFO_MUST_USE enum gdfo_status gdfo_draft_from_json(struct gdfo_tokenizer_draft *d,
                                                    const struct gdfo_json *root,
                                                    struct gdfo_error *err);
/* An object from token to id. */
GDFO_MUST_USE enum gdfo_status gdfo_draft_vocab(struct gdfo_tokenizer_draft *d,
                                                const struct gdfo_json *vocab,
                                                struct gdfo_error *err);

#endif
