#ifndef GDFO_SERVER_MODEL_TOKENIZER_LISTS_H
#define GDFO_SERVER_MODEL_TOKENIZER_LISTS_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* The two lists that go in and out of a tokenizer: ids, and texts in one slab. Owner thread only.
 */
#define GDFO_TEXT_LIST_MAX       4194304u           /* texts: the longest array of a GGUF file */
#define GDFO_TEXT_LIST_MAX_BYTES ((size_t)64 << 20) /* all texts together: ours */

struct gdfo_ids { /* a growable list of ids; init to {0}, end with gdfo_ids_deinit */
    int32_t *data;
    size_t n, cap;
};
GDFO_MUST_USE enum gdfo_status gdfo_ids_add(struct gdfo_ids *ids, int32_t id,
                                            struct gdfo_error *err);
void gdfo_ids_deinit(struct gdfo_ids *ids);

struct gdfo_text_list { /* strings in one slab; init to {0}, end with gdfo_text_list_deinit */
    char *bytes;
    size_t n_bytes, cap_bytes;
    size_t *ends; /* text i is bytes[ends[i - 1]..ends[i]) */
    size_t n, cap;
};
GDFO_MUST_USE enum gdfo_status gdfo_text_list_add(struct gdfo_text_list *list, const char *text,
                                                  size_t n, struct gdfo_error *err);
const char *gdfo_text_list_at(const struct gdfo_text_list *list, size_t i,
                              size_t *n); /* borrowed */
void gdfo_text_list_deinit(struct gdfo_text_list *list);

#endif
