#ifndef GDFO_CLIENT_CLI_ROWS_H
#define GDFO_CLIENT_CLI_ROWS_H

#include "common/buf.h"
#include "common/error.h"
#include "common/json_write.h"

/*
 * The texts to label: lines of plain text, or JSONL with text (or text_a, text_b) and perhaps the
 * true label. The first line decides which; blank lines are skipped.
 */
#define GDFO_ROWS_MAX_BYTES  ((size_t)256 << 20)
#define GDFO_ROW_LABEL_BYTES 65

struct gdfo_rows {
    const char *text; /* borrowed */
    size_t n, at;
    size_t line; /* of the last row, from 1 */
    int is_jsonl;
};

struct gdfo_row {
    char label[GDFO_ROW_LABEL_BYTES]; /* "" when the row carries none */
    char head[48];                    /* the beginning of the text, for people */
};

struct gdfo_rows gdfo_rows(const char *text, size_t n);

/* Appends the next row as one member of the open array in w, {"text": ...}. *is_end: there is
 * none. INVALID names the line. */
GDFO_MUST_USE enum gdfo_status gdfo_rows_next(struct gdfo_rows *r, struct gdfo_json_writer *w,
                                              struct gdfo_row *out, int *is_end,
                                              struct gdfo_error *err);

#endif
