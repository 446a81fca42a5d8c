#ifndef GDFO_SERVER_MODEL_TOKENIZER_BERT_TEXT_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_BERT_TEXT_PRIV_H

#include "common/error.h"

#include <stddef.h>

/*
 * BERT's basic tokenizer: valid UTF-8 into words, in order. Control characters vanish, white space
 * parts words, every punctuation sign and (split_cjk) every Han character is a word of its own;
 * strip_accents takes the marks off (NFD without Mn), lower_case lowers character by character.
 * Letters follow the Unicode version of the tables.
 */
struct gdfo_bert_words {
    int lower_case, strip_accents, split_cjk;
    /* takes one word: n_chars characters in n bytes */
    enum gdfo_status (*take)(void *ctx, const char *word, size_t n, size_t n_chars,
                             struct gdfo_error *err);
    void *ctx;
};

/* What take says, or NO_MEMORY. */
GDFO_MUST_USE enum gdfo_status gdfo_bert_words_cut(const struct gdfo_bert_words *w,
                                                   const char *text, size_t n,
                                                   struct gdfo_error *err);

#endif
