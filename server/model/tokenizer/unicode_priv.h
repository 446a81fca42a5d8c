#ifndef GDFO_SERVER_MODEL_TOKENIZER_UNICODE_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_UNICODE_PRIV_H

#include <stddef.h>
#include <stdint.h>

/* The character classes that pre-tokenisers tell apart. The table is written by unicode_table.py.
 */
enum gdfo_unicode_class {
    GDFO_UNICODE_OTHER,
    GDFO_UNICODE_LETTER, /* L* */
    GDFO_UNICODE_NUMBER, /* N* */
    GDFO_UNICODE_SPACE   /* White_Space */
};

struct gdfo_unicode_range {
    uint32_t first, last;
    enum gdfo_unicode_class class;
};

extern const struct gdfo_unicode_range gdfo_unicode_ranges[]; /* sorted */
extern const size_t gdfo_unicode_n_ranges;
extern const char gdfo_unicode_version[];

enum gdfo_unicode_class gdfo_unicode_classify(uint32_t code_point);

#endif
