#ifndef GDFO_CLIENT_CLI_BENCH_DOC_H
#define GDFO_CLIENT_CLI_BENCH_DOC_H

#include "common/buf.h"
#include "common/error.h"

/*
 * Headings, paragraphs and tables as Markdown or HTML, so that both reports say the same. All text
 * is escaped; control characters and what reorders text are replaced.
 */
struct gdfo_doc {
    struct gdfo_buf *out;
    int is_html;
    int is_row_open;
};

void gdfo_doc_heading(struct gdfo_doc *d, int level, const char *text);
GDFO_PRINTF(2, 3) void gdfo_doc_paragraph(struct gdfo_doc *d, const char *fmt, ...);

/* A table: titles ended by NULL; then cells and row ends. The first n_text columns are text. */
void gdfo_doc_table(struct gdfo_doc *d, const char *const *titles, size_t n_text);
GDFO_PRINTF(3, 4)
void gdfo_doc_cell(struct gdfo_doc *d, const char *html_class, const char *fmt, ...);
void gdfo_doc_row_end(struct gdfo_doc *d);
void gdfo_doc_table_end(struct gdfo_doc *d);

void gdfo_doc_text(struct gdfo_doc *d, const char *text);        /* escaped */
void gdfo_doc_html_text(struct gdfo_buf *out, const char *text); /* escaped for HTML */

#endif
