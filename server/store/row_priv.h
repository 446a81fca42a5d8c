#ifndef GDFO_SERVER_STORE_ROW_PRIV_H
#define GDFO_SERVER_STORE_ROW_PRIV_H

#include "server/store/query_priv.h"

/* Reading the current row of a query, column after column; NULL reads as 0 or "". */
int64_t gdfo_query_get_int(struct gdfo_query *q);
double gdfo_query_get_real(struct gdfo_query *q);
int gdfo_query_is_null(const struct gdfo_query *q); /* the next column; does not move on */
void gdfo_query_get_text(struct gdfo_query *q, char *out, size_t out_bytes);
char *gdfo_query_dup_text(struct gdfo_query *q); /* gdfo_mem_free(); NULL: NULL or no memory */
/* Lends the bytes until the query moves on or ends. */
const void *gdfo_query_get_blob(struct gdfo_query *q, size_t *n);
void gdfo_query_get_sha256(struct gdfo_query *q, unsigned char out[32]);
/* Index of the word among n words; n when it is none of them. */
size_t gdfo_query_get_word(struct gdfo_query *q, const char *const *words, size_t n);

/* The first column of the first row, or fallback. */
GDFO_MUST_USE enum gdfo_status gdfo_query_one_int(struct gdfo_query *q, int64_t fallback,
                                                  int64_t *out, struct gdfo_error *err);

/* How the rows of a list become structs in the caller's array. */
struct gdfo_rows {
    void *out;
    size_t row_bytes, limit;
    enum gdfo_status (*read)(struct gdfo_query *q, void *row, struct gdfo_error *err);
    void (*drop)(void *row); /* what deinit does; NULL: rows own nothing */
};

/* Reads up to limit rows of a statement that was asked for limit + 1; after a failure no row is
 * left for the caller to end. */
GDFO_MUST_USE enum gdfo_status gdfo_query_rows(struct gdfo_query *q, const struct gdfo_rows *rows,
                                               size_t *n, int *has_more, struct gdfo_error *err);
/* The only row, or NOT_FOUND: "no such <what>". */
GDFO_MUST_USE enum gdfo_status gdfo_query_only(struct gdfo_query *q, const struct gdfo_rows *row,
                                               const char *what, struct gdfo_error *err);

#endif
