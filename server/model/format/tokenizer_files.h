#ifndef GDFO_SERVER_MODEL_FORMAT_TOKENIZER_FILES_H
#define GDFO_SERVER_MODEL_FORMAT_TOKENIZER_FILES_H

#include "common/error.h"
#include "common/file.h"

#include <stddef.h>

/*
 * The tokenizer of a Hugging Face folder: tokenizer.json when it is there, else vocab.txt
 * (WordPiece; tokenizer_config.json says whether it lowers), else vocab.json with merges.txt
 * (RoBERTa's byte-level BPE). BERT's special tokens are [CLS] [SEP] [MASK] [UNK] [PAD], RoBERTa's
 * <s> </s> <mask> <unk> <pad>; [CLS] or <s> goes in front of every text and [SEP] or </s> behind.
 *
 *   struct gdfo_tokenizer_files files = {.vocab_txt = &reader};
 *   gdfo_tokenizer_files_read(&t, &files, vocab, &err);
 */
struct gdfo_tokenizer;

struct gdfo_tokenizer_files { /* all borrowed; NULL: not there */
    const struct gdfo_reader *tokenizer_json, *vocab_txt, *vocab_json, *merges_txt, *config;
};

int gdfo_tokenizer_files_any(const struct gdfo_tokenizer_files *files); /* enough for one */

/*
 * *out: owned by caller. n_vocab: rows of the embedding; ids without a token are unused ones.
 *
 *   errors   NOT_FOUND no tokenizer among the files; FORMAT bytes that are wrong, an id twice or
 *            past n_vocab, a special token missing; UNSUPPORTED a kind or switch not computed here,
 *            by name; LIMIT a file past 64 MiB. Each names its file.
 */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_files_read(struct gdfo_tokenizer **out,
                                                         const struct gdfo_tokenizer_files *files,
                                                         size_t n_vocab, struct gdfo_error *err);

#endif
