#ifndef GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_H
#define GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_H

#include "common/buf.h"
#include "common/error.h"
#include "server/model/tokenizer/lists.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Text to token ids and back (teachers.md 6.3). Immutable after creation: any thread. Kinds:
 * byte-level BPE ("gpt2", with the gpt2 or smollm pre-tokeniser; RoBERTa's is GPT-2's with special
 * tokens of its own), SPM ("llama") and BERT's WordPiece. Example text never yields a control
 * token. With BPE and SPM nothing is dropped: a byte or character that the vocabulary has no token
 * for is an error that names it; BPE: decode(encode(s)) == s, SPM may put one blank in front.
 * WordPiece gives its unknown token for such a word, and decoding gives the words with one blank
 * between.
 *
 *   gdfo_model_file_tokenizer(file, &t, &err);
 *   gdfo_tokenizer_encode(t, text, strlen(text), &ids, &err);   ids is {0} before its first use
 *   gdfo_tokenizer_destroy(t);
 */
#define GDFO_TOKENIZER_TEXT_MAX_BYTES  1048576u /* of one text: ours, as the longest context */
#define GDFO_TOKENIZER_PIECE_MAX_BYTES 65536u   /* of one pre-token of BPE: teachers.md 6.3 */

struct gdfo_tokenizer;

enum gdfo_tokenizer_kind {
    GDFO_TOKENIZER_NONE,
    GDFO_TOKENIZER_GPT2,   /* byte-level BPE, pre-tokeniser "gpt2" */
    GDFO_TOKENIZER_SMOLLM, /* byte-level BPE, numbers cut out first */
    GDFO_TOKENIZER_SPM,
    GDFO_TOKENIZER_WORDPIECE /* BERT's basic tokenizer, then WordPiece */
};

enum gdfo_token_type { /* as tokenizer.ggml.token_type numbers them */
                       GDFO_TOKEN_NORMAL = 1,
                       GDFO_TOKEN_UNKNOWN,
                       GDFO_TOKEN_CONTROL,
                       GDFO_TOKEN_USER,
                       GDFO_TOKEN_UNUSED,
                       GDFO_TOKEN_BYTE
};

struct gdfo_tokenizer_spec {
    enum gdfo_tokenizer_kind kind;
    struct gdfo_text_list tokens;
    struct gdfo_text_list merges; /* BPE: "left right", the best first */
    uint8_t *types;               /* [tokens.n] enum gdfo_token_type; NULL: all normal */
    float *scores;                /* SPM: [tokens.n] */
    int32_t bos, eos;             /* -1: none */
    int add_bos;                  /* BOS belongs in front of every text */
    int add_space_prefix;         /* SPM */
    int add_eos;                  /* EOS ([SEP], </s>) belongs behind every text */
    int has_mask;                 /* masked language models */
    int32_t mask, unk;            /* unk: WordPiece, the token of a word it cannot spell */
    int lower_case, strip_accents, split_cjk; /* WordPiece */
};
void gdfo_tokenizer_spec_deinit(struct gdfo_tokenizer_spec *spec);

/* Takes the lists and arrays out of spec (also on failure). *out: owned by caller. FORMAT: a merge
 * that is not two tokens making a third, a type out of range, a score that is not finite. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_create(struct gdfo_tokenizer **out,
                                                     struct gdfo_tokenizer_spec *spec,
                                                     struct gdfo_error *err);
void gdfo_tokenizer_destroy(struct gdfo_tokenizer *t);

/* Appends the ids of text (valid UTF-8, no BOS or EOS added) to out. INVALID: not UTF-8, or no
 * token for a byte; LIMIT: too long. On failure out may hold some of the ids. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_encode(const struct gdfo_tokenizer *t,
                                                     const char *text, size_t n_bytes,
                                                     struct gdfo_ids *out, struct gdfo_error *err);
/* The same for a text that follows other text (a cue, a label's word): SPM puts no blank of its own
 * in front, so " great" is one blank and "great" is none. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_encode_after(const struct gdfo_tokenizer *t,
                                                           const char *text, size_t n_bytes,
                                                           struct gdfo_ids *out,
                                                           struct gdfo_error *err);
/* Appends the bytes of the ids to out (of a control token: its name). INVALID for an id outside
 * the vocabulary. */
GDFO_MUST_USE enum gdfo_status gdfo_tokenizer_decode(const struct gdfo_tokenizer *t,
                                                     const int32_t *ids, size_t n,
                                                     struct gdfo_buf *out, struct gdfo_error *err);
size_t gdfo_tokenizer_vocab(const struct gdfo_tokenizer *t);
int32_t gdfo_tokenizer_bos(
    const struct gdfo_tokenizer *t); /* -1 when the model adds none in front of a text */
int32_t gdfo_tokenizer_eos(const struct gdfo_tokenizer *t); /* -1 when the model has none */
int32_t gdfo_tokenizer_end(
    const struct gdfo_tokenizer *t); /* -1 when the model adds none behind a text */
int32_t gdfo_tokenizer_mask(const struct gdfo_tokenizer *t); /* -1 when the model has none */
/* White space in front of the mask belongs to it (RoBERTa). */
int gdfo_tokenizer_mask_eats_blank(const struct gdfo_tokenizer *t);
int gdfo_tokenizer_is_control(const struct gdfo_tokenizer *t,
                              int32_t id);        /* control, unknown, unused */
const char *gdfo_tokenizer_unicode_version(void); /* of the letter and number classes */

#endif
