#ifndef GDFO_SERVER_MODEL_TOKENIZER_UNICODE_BERT_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_UNICODE_BERT_PRIV_H

#include <stddef.h>
#include <stdint.h>

/* The tables behind BERT's basic tokenizer, each sorted by code point, written by unicode_bert.py.
 */
enum gdfo_bert_class {
    GDFO_BERT_OTHER,
    GDFO_BERT_DROPPED,    /* control, format and private characters, U+FFFD */
    GDFO_BERT_MARK,       /* Mn */
    GDFO_BERT_PUNCTUATION /* P*, and every ASCII sign */
};

struct gdfo_bert_range {
    uint32_t first, last;
    enum gdfo_bert_class class;
};
struct gdfo_bert_base { /* what is left of a character without its marks */
    uint32_t from, to;
};
struct gdfo_bert_split { /* the same where several characters are left; 0 ends them */
    uint32_t from, to[3];
};
struct gdfo_bert_lower { /* first, first + step, ..., last: lower case is delta away */
    uint32_t first, last;
    int32_t step, delta;
};

extern const struct gdfo_bert_range gdfo_bert_ranges[];
extern const size_t gdfo_bert_n_ranges;
extern const struct gdfo_bert_base gdfo_bert_bases[];
extern const size_t gdfo_bert_n_bases;
extern const struct gdfo_bert_split gdfo_bert_splits[];
extern const size_t gdfo_bert_n_splits;
extern const struct gdfo_bert_lower gdfo_bert_lowers[];
extern const size_t gdfo_bert_n_lowers;

#endif
