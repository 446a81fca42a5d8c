#ifndef GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_TOKENIZER_PRIV_H

#include "server/model/tokenizer/tokenizer.h"

struct gdfo_vocab_entry { /* a token that text may become */
    const char *text;
    uint32_t n;
    int32_t id;
};

struct gdfo_bpe_rule {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank;
    int32_t id; /* of the joined token */
};

struct gdfo_tokenizer {
    struct gdfo_tokenizer_spec spec; /* owned; merges emptied once the rules stand */
    int32_t byte_ids[256];           /* -1: the vocabulary has no token for the byte */
    struct gdfo_bpe_rule *rules;     /* BPE: sorted by pair */
    size_t n_rules;
    struct gdfo_vocab_entry *entries; /* sorted by text; of equal texts the lowest id first */
    size_t n_entries;
    uint32_t n_longest; /* bytes of the longest entry */
};

/* Id of the token with that text among those text may become; -1 when there is none. */
int32_t gdfo_vocab_find(const struct gdfo_tokenizer *t, const char *text, size_t n);

GDFO_MUST_USE enum gdfo_status gdfo_bpe_prepare(struct gdfo_tokenizer *t, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_bpe_encode(const struct gdfo_tokenizer *t, const char *text,
                                               size_t n, struct gdfo_ids *out,
                                               struct gdfo_error *err);
void gdfo_bpe_decode(const char *token, size_t n, struct gdfo_buf *out);

GDFO_MUST_USE enum gdfo_status gdfo_spm_prepare(struct gdfo_tokenizer *t, struct gdfo_error *err);
struct gdfo_spm_text {
    const char *s;
    size_t n;
    int has_prefix; /* a blank is put in front */
};
GDFO_MUST_USE enum gdfo_status gdfo_spm_encode(const struct gdfo_tokenizer *t,
                                               const struct gdfo_spm_text *text,
                                               struct gdfo_ids *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_wordpiece_prepare(const struct gdfo_tokenizer *t,
                                                      struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_wordpiece_encode(const struct gdfo_tokenizer *t,
                                                     const char *text, size_t n,
                                                     struct gdfo_ids *out, struct gdfo_error *err);
void gdfo_wordpiece_decode(const char *token, size_t n, struct gdfo_buf *out);

void gdfo_spm_decode(const struct gdfo_tokenizer *t, int32_t id, struct gdfo_buf *out);

#endif
