#include "client/cli/bench/doc.h"

#include "client/cli/render.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 8192

void gdfo_doc_html_text(struct gdfo_buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const char *as = *p == '&'   ? "&amp;"
                         : *p == '<' ? "&lt;"
                         : *p == '>' ? "&gt;"
                         : *p == '"' ? "&quot;"
                                     : NULL;
        if (as) {
            gdfo_buf_add(out, as);
        } else {
            gdfo_buf_addc(out, *p);
        }
    }
}

void gdfo_doc_text(struct gdfo_doc *d, const char *text)
{
    char clean[TEXT_BYTES];
    (void)snprintf(clean, sizeof clean, "%s", text);
    gdfo_cli_clean(clean);
    if (d->is_html) {
        gdfo_doc_html_text(d->out, clean);
        return;
    }
    for (const char *p = clean; *p; p++) {
        if (strchr("|<>*`\\", *p)) { /* what would be markup, also inside a table */
            gdfo_buf_addc(d->out, '\\');
        }
        gdfo_buf_addc(d->out, *p);
    }
}

void gdfo_doc_heading(struct gdfo_doc *d, int level, const char *text)
{
    if (d->is_html) {
        gdfo_buf_addf(d->out, "<h%d>", level);
        gdfo_doc_text(d, text);
        gdfo_buf_addf(d->out, "</h%d>\n", level);
    } else {
        gdfo_buf_addf(d->out, "\n%.*s ", level, "######");
        gdfo_doc_text(d, text);
        gdfo_buf_add(d->out, "\n\n");
    }
}

void gdfo_doc_paragraph(struct gdfo_doc *d, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gdfo_buf_add(d->out, d->is_html ? "<p>" : "");
    gdfo_doc_text(d, text);
    gdfo_buf_add(d->out, d->is_html ? "</p>\n" : "\n\n");
}

void gdfo_doc_table(struct gdfo_doc *d, const char *const *titles, size_t n_text)
{
    if (d->is_html) {
        gdfo_buf_add(d->out, "<div class=\"wide\"><table><thead><tr>");
    }
    for (size_t i = 0; titles[i]; i++) {
        gdfo_buf_add(d->out, d->is_html ? (i < n_text ? "<th class=\"text\">" : "<th>") : "| ");
        gdfo_doc_text(d, titles[i]);
        gdfo_buf_add(d->out, d->is_html ? "</th>" : " ");
    }
    if (d->is_html) {
        gdfo_buf_add(d->out, "</tr></thead><tbody>\n");
        return;
    }
    gdfo_buf_add(d->out, "|\n");
    for (size_t i = 0; titles[i]; i++) {
        gdfo_buf_add(d->out, i < n_text ? "|---" : "|---:");
    }
    gdfo_buf_add(d->out, "|\n");
}

void gdfo_doc_cell(struct gdfo_doc *d, const char *html_class, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (d->is_html) {
        gdfo_buf_add(d->out, d->is_row_open ? "" : "<tr>");
        if (html_class && *html_class) {
            gdfo_buf_addf(d->out, "<td class=\"%s\">", html_class);
        } else {
            gdfo_buf_add(d->out, "<td>");
        }
        gdfo_doc_text(d, text);
        gdfo_buf_add(d->out, "</td>");
    } else {
        gdfo_buf_add(d->out, "| ");
        gdfo_doc_text(d, text);
        gdfo_buf_addc(d->out, ' ');
    }
    d->is_row_open = 1;
}

void gdfo_doc_row_end(struct gdfo_doc *d)
{
    gdfo_buf_add(d->out, d->is_html ? "</tr>\n" : "|\n");
    d->is_row_open = 0;
}

void gdfo_doc_table_end(struct gdfo_doc *d)
{
    gdfo_buf_add(d->out, d->is_html ? "</tbody></table></div>\n" : "\n");
}
