#ifndef GDFO_SERVER_MODEL_TOKENIZER_MERGE_PRIV_H
#define GDFO_SERVER_MODEL_TOKENIZER_MERGE_PRIV_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Greedy joining of neighbours, shared by BPE and SPM: of all adjacent pairs that may join, the one
 * of lowest key is joined, the leftmost of equals, until none is left. A heap of candidates over a
 * linked list: n log n. Candidates that an earlier join made stale are dropped when they surface.
 */
struct gdfo_merge_symbol {
    uint32_t start, n;   /* its bytes in the text; n = 0: joined away */
    uint32_t prev, next; /* GDFO_MERGE_END at the ends */
    int32_t id;
};
#define GDFO_MERGE_END UINT32_MAX

struct gdfo_merge_found {
    double key;
    int32_t id; /* of the joined symbol */
};

/* 1 and *out when left and right may join. */
typedef int gdfo_merge_find(const void *ctx, const struct gdfo_merge_symbol *left,
                            const struct gdfo_merge_symbol *right, struct gdfo_merge_found *out);

struct gdfo_merge_candidate;

struct gdfo_merge { /* init to {0}; reusable */
    struct gdfo_merge_symbol *symbols;
    size_t n_symbols, cap_symbols;
    struct gdfo_merge_candidate *heap;
    size_t n_heap, cap_heap;
};

void gdfo_merge_deinit(struct gdfo_merge *m);
/* Appends a symbol behind the last one. */
GDFO_MUST_USE enum gdfo_status gdfo_merge_add(struct gdfo_merge *m, uint32_t start, uint32_t n,
                                              int32_t id, struct gdfo_error *err);
/* Joins. Symbol 0 stays the first; follow next. Set n_symbols to 0 to begin anew. */
GDFO_MUST_USE enum gdfo_status gdfo_merge_run(struct gdfo_merge *m, gdfo_merge_find *find,
                                              const void *ctx, struct gdfo_error *err);

#endif
