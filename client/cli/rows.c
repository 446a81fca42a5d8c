#include "client/cli/rows.h"

#include "client/cli/render.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES ((size_t)256 << 10)

static const struct gdfo_json_limits row_limits = {.string_bytes = LINE_MAX_BYTES};

static int is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r", s[i]) || s[i] == '\0') {
            return 0;
        }
    }
    return 1;
}

/* The next line that is not blank, without its end. 0 at the end. */
static int next_line(struct gdfo_rows *r, const char **line, size_t *n)
{
    while (r->at < r->n) {
        const char *start = r->text + r->at;
        const char *end = memchr(start, '\n', r->n - r->at);
        size_t len = end ? (size_t)(end - start) : r->n - r->at;
        r->at += len + (end ? 1 : 0);
        r->line++;
        if (!is_blank(start, len)) {
            *line = start;
            *n = len > 0 && start[len - 1] == '\r' ? len - 1 : len;
            return 1;
        }
    }
    return 0;
}

struct gdfo_rows gdfo_rows(const char *text, size_t n)
{
    struct gdfo_rows r = {.text = text, .n = n};
    struct gdfo_rows peek;
    const char *line;
    size_t len;
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        r.at = 3; /* a byte order mark */
    }
    peek = r;
    if (next_line(&peek, &line, &len)) {
        r.is_jsonl = line[strspn(line, " \t")] == '{';
    }
    return r;
}

static enum gdfo_status bad(const struct gdfo_rows *r, struct gdfo_error *err, const char *what)
{
    return gdfo_error_set(err, GDFO_STATUS_INVALID, "line %zu: %s", r->line, what);
}

static void take_head(struct gdfo_row *out, const char *text)
{
    (void)snprintf(out->head, sizeof out->head, "%s", text);
    size_t n = strlen(out->head);
    n = gdfo_utf8_valid(out->head, n); /* what the cut left of a character goes */
    out->head[n] = '\0';
    gdfo_cli_clean(out->head);
}

static enum gdfo_status take_text(struct gdfo_rows *r, const char *line, size_t n,
                                  struct gdfo_json_writer *w, struct gdfo_row *out,
                                  struct gdfo_error *err)
{
    char *text;
    if (gdfo_utf8_valid(line, n) != n || memchr(line, '\0', n)) {
        return bad(r, err, "no valid UTF-8 text");
    }
    text = gdfo_mem_array(n + 1, 1);
    if (!text) {
        return gdfo_error_no_memory(err, "a line");
    }
    memcpy(text, line, n);
    take_head(out, text);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "text", text);
    gdfo_json_close(w, '}');
    gdfo_mem_free(text);
    return GDFO_STATUS_OK;
}

static int take_label(const struct gdfo_json *v, struct gdfo_row *out)
{
    int64_t number;
    const char *text = v ? gdfo_json_string(v) : NULL;
    if (!v || gdfo_json_type(v) == GDFO_JSON_NULL) {
        return 1;
    }
    if (gdfo_json_int(v, &number)) {
        (void)snprintf(out->label, sizeof out->label, "%" PRId64, number);
        return 1;
    }
    if (!text || strlen(text) == 0 || strlen(text) >= sizeof out->label) {
        return 0;
    }
    memcpy(out->label, text, strlen(text) + 1);
    return 1;
}

static enum gdfo_status put_object(struct gdfo_rows *r, const struct gdfo_json *row,
                                   struct gdfo_json_writer *w, struct gdfo_row *out,
                                   struct gdfo_error *err)
{
    const char *text = gdfo_cli_text_at(row, "text");
    const char *a = gdfo_cli_text_at(row, "text_a"), *b = gdfo_cli_text_at(row, "text_b");
    if (!text && !(a && b)) {
        return bad(r, err, "want {\"text\": ...} or {\"text_a\": ..., \"text_b\": ...}");
    }
    if (!take_label(gdfo_json_get(row, "label"), out)) {
        return bad(r, err, "the label is neither a text of 1..64 bytes nor an integer");
    }
    take_head(out, text ? text : a);
    gdfo_json_open(w, NULL, '{');
    if (text) {
        gdfo_json_put_str(w, "text", text);
    } else {
        gdfo_json_put_str(w, "text_a", a);
        gdfo_json_put_str(w, "text_b", b);
    }
    gdfo_json_close(w, '}');
    return GDFO_STATUS_OK;
}

static enum gdfo_status take_json(struct gdfo_rows *r, const char *line, size_t n,
                                  struct gdfo_json_writer *w, struct gdfo_row *out,
                                  struct gdfo_error *err)
{
    struct gdfo_json *row = NULL;
    enum gdfo_status status = gdfo_json_parse(&row, line, n, &row_limits, err);
    if (status != GDFO_STATUS_OK) {
        (void)gdfo_error_prefix(err, "line %zu", r->line);
        return status;
    }
    status = gdfo_json_type(row) == GDFO_JSON_OBJECT ? put_object(r, row, w, out, err)
                                                     : bad(r, err, "no JSON object");
    gdfo_json_destroy(row);
    return status;
}

enum gdfo_status gdfo_rows_next(struct gdfo_rows *r, struct gdfo_json_writer *w,
                                struct gdfo_row *out, int *is_end, struct gdfo_error *err)
{
    const char *line;
    size_t n;
    *out = (struct gdfo_row){0};
    *is_end = !next_line(r, &line, &n);
    if (*is_end) {
        return GDFO_STATUS_OK;
    }
    if (n > LINE_MAX_BYTES) {
        return bad(r, err, "longer than 256 KiB");
    }
    return r->is_jsonl ? take_json(r, line, n, w, out, err) : take_text(r, line, n, w, out, err);
}
