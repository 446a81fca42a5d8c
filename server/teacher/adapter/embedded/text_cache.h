#ifndef GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_TEXT_CACHE_H
#define GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_TEXT_CACHE_H

#include "server/model/forward.h"
#include "server/model/model.h"
#include "server/teacher/adapter/embedded/masked_text.h"
#include "server/teacher/teacher.h"

/*
 * The texts a teacher has seen: their token ids, and their keys and values while there is room. A
 * text's KV is the same for all candidates in suffix position, and from one generation to the next.
 * Least recently used KV goes first; ids stay (they are small). Owner thread only.
 */
struct gdfo_text_cache;

struct gdfo_text_entry {
    char *text; /* owned copy */
    size_t n_text;
    uint64_t hash;
    int32_t *ids; /* BOS first when the model adds one; owned */
    size_t n_ids;
    size_t mask_at;     /* of a masked language model: where ids have the mask, GDFO_MASKED_NONE */
    struct gdfo_kv *kv; /* NULL when not cached */
    uint64_t used;      /* turn of the last use */
};

GDFO_MUST_USE enum gdfo_status gdfo_text_cache_create(struct gdfo_text_cache **out,
                                                      const struct gdfo_model *model,
                                                      size_t kv_max_bytes, struct gdfo_error *err);
void gdfo_text_cache_destroy(struct gdfo_text_cache *c);

/* The entry of a text, made and tokenised on first sight. Its index stays valid; the table may
 * move. */
GDFO_MUST_USE enum gdfo_status gdfo_text_cache_find(struct gdfo_text_cache *c,
                                                    struct gdfo_text text, size_t *index,
                                                    struct gdfo_error *err);
struct gdfo_text_entry *gdfo_text_cache_at(struct gdfo_text_cache *c, size_t index);

/* How many of the n entries, from the front, can hold their KV at once within the ceiling; at
 * least 1. */
size_t gdfo_text_cache_fitting(const struct gdfo_text_cache *c, const size_t *indices, size_t n,
                               size_t n_ids_max);

/* Makes sure that all n entries have their KV (of at most n_ids_max tokens each), computing the
 * missing in one pass. */
GDFO_MUST_USE enum gdfo_status gdfo_text_cache_fill(struct gdfo_text_cache *c,
                                                    struct gdfo_forward *f, const size_t *indices,
                                                    size_t n, size_t n_ids_max,
                                                    struct gdfo_error *err);

#endif
