#ifndef GDFO_SERVER_TEACHER_EXCHANGE_WRITE_H
#define GDFO_SERVER_TEACHER_EXCHANGE_WRITE_H

#include "common/json_write.h"
#include "server/model/tokenizer/lists.h"
#include "server/teacher/exchange.h"

/* What adapters of teachers over HTTP share when they write a request. Pure; any thread. */

#define GDFO_EXCHANGE_ANSWER_MAX ((size_t)16 << 20) /* no answer may be longer (teachers.md 2) */

/* Starts an exchange: method, path, and for POST the content type of JSON. A %s in the path stands
 * for name, percent-encoded. LIMIT when the path is too long. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_start(struct gdfo_exchange *out, const char *method,
                                                   const char *path, const char *name,
                                                   struct gdfo_error *err);
/* LIMIT past GDFO_EXCHANGE_HEADERS_MAX headers or a value that is too long. Replaces one of the
 * same name. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_add_header(struct gdfo_exchange *out, const char *name,
                                                        const char *value, struct gdfo_error *err);
/* Ends an exchange: the body's ceiling, and answer_max = n_values x bytes_each and some room. LIMIT
 * in both cases: the block is to be cut. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_end(struct gdfo_exchange *out, size_t n_values,
                                                 size_t bytes_each, struct gdfo_error *err);

/* What no teacher over HTTP takes: masked layouts, deep prompts, rows that are not finite, text
 * that is not UTF-8. INVALID or UNSUPPORTED. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_check(const struct gdfo_remote_block *b,
                                                   struct gdfo_error *err);

size_t gdfo_exchange_cells(const struct gdfo_remote_block *b);
size_t gdfo_exchange_values(
    const struct gdfo_remote_block *b); /* of all cells: what decode fills */
const float *gdfo_exchange_rows(const struct gdfo_remote_block *b, uint32_t prompt); /* of block */

/* The ids asked at any node of the block, each once, in the order of their first asking. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_union(const struct gdfo_remote_block *b,
                                                   struct gdfo_ids *out, struct gdfo_error *err);

/* An array of ids as a member of the object that is open in w. */
void gdfo_exchange_put_ids(struct gdfo_json_writer *w, const char *key, const int32_t *ids,
                           size_t n);

/* What a probe asks for: one prompt of zero rows, one text, the ids 1 and 2 after it. */
struct gdfo_exchange_sample {
    struct gdfo_score_req req;
    struct gdfo_trie trie;
    struct gdfo_text body;
    int32_t asked[2];
    struct gdfo_remote_block block;
    float *rows;
};
/* Ended by gdfo_exchange_sample_deinit also on failure; s does not move between. */
GDFO_MUST_USE enum gdfo_status gdfo_exchange_sample_init(struct gdfo_exchange_sample *s,
                                                         uint32_t n_rows, uint32_t d_model,
                                                         const char *text, struct gdfo_error *err);
void gdfo_exchange_sample_deinit(struct gdfo_exchange_sample *s);

/*
 * One cell's input in the teacher's own tokens (teachers.md 1.3): prefix rows | BOS body cue path,
 * suffix BOS body | rows | cue path. A body too long for max_positions (0: no limit) loses its
 * last tokens; what is left is the same at every node of the trie.
 */
struct gdfo_layout {
    struct gdfo_ids head, tail; /* before and behind the rows */
    int is_cut;
};
/* Needs setup->local with a tokenizer (UNSUPPORTED). LIMIT when even an empty body does not fit.
 * Ended by gdfo_layout_deinit also on failure; out is {0} before. */
GDFO_MUST_USE enum gdfo_status gdfo_layout_make(struct gdfo_layout *out,
                                                const struct gdfo_remote_setup *setup,
                                                const struct gdfo_remote_block *b, uint32_t example,
                                                uint32_t node, struct gdfo_error *err);
void gdfo_layout_deinit(struct gdfo_layout *l);
/* Rows of the local model's embedding matrix for ids, into out [n][d_model]. */
GDFO_MUST_USE enum gdfo_status gdfo_layout_embed(const struct gdfo_model *local, const int32_t *ids,
                                                 size_t n, float *out, struct gdfo_error *err);

#endif
