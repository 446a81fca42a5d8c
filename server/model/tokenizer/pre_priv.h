#ifndef GDFO_SERVER_MODEL_TOKENIZER_PRE_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_PRE_PRIV_H

#include <stddef.h>

/*
 * The pre-tokenisers of byte-level BPE: cuts valid UTF-8 into the pieces inside which merges happen
 * (teachers.md 6.3, steps 1 and 2). The pieces in order are the whole text.
 */
struct gdfo_pre {
    const char *text;
    size_t n, at;
    int cut_numbers; /* smollm: every number character is a piece of its own, cut out first */
    size_t rest_end; /* end of the rest that at lies in; init to 0 */
};

int gdfo_pre_next(struct gdfo_pre *p, size_t *start, size_t *n); /* 0 at the end */

#endif
