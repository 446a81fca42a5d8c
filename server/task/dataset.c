#include "server/task/dataset.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/task/kind.h"
#include "server/task/quote.h"
#include "server/task/rows_priv.h"

#include <stdio.h>
#include <string.h>

/*
 * DESIGN. The file is read in windows of 64 KiB; a line is gathered in one buffer of at most 256
 * KiB, and what is longer is skipped to its end without being kept. So memory is the window, one
 * line, its JSON tree (capped by the strict scanner) and the rows kept, each with a ceiling. A
 * fault of the data is collected and reading goes on, up to twenty; a fault of the reader or of
 * memory ends it at once.
 */
#define WINDOW_BYTES ((size_t)64 * 1024)
#define VALUES_MAX   20000U

struct gdfo_dataset {
    struct gdfo_rows_store store;
    int is_pair;
};

struct lines { /* a reader cut into lines */
    const struct gdfo_reader *in;
    uint64_t offset; /* of the next window */
    size_t at, n;    /* unread part of the window */
    char window[WINDOW_BYTES];
};

struct parser {
    struct gdfo_dataset *d;
    const struct gdfo_dataset_source *from;
    struct gdfo_faults *faults;
    struct gdfo_faults own_faults; /* when the caller gave none */
    struct gdfo_row_draft draft;
    struct gdfo_buf line;
    int shape; /* of the first good row; -1 before */
    uint32_t shape_line;
    int is_array;
};

/* ---- faults ---- */

static void add_fault(struct parser *p, uint32_t line, const char *text)
{
    struct gdfo_faults *f = p->faults;
    if (f->n < GDFO_DATASET_FAULTS_MAX) {
        struct gdfo_fault *fault = &f->items[f->n++];
        size_t n = strlen(text);
        n = n < sizeof fault->text ? n : sizeof fault->text - 1;
        memset(fault, 0, sizeof *fault);
        memcpy(fault->text, text, gdfo_utf8_valid(text, n)); /* never cut inside a character */
        fault->line = line;
    }
}

static int has_enough_faults(const struct parser *p)
{
    return p->faults->n >= GDFO_DATASET_FAULTS_MAX;
}

/* FILE:LINE, or the JSON pointer of the element; the whole where line is 0. */
static void name_place(const struct parser *p, uint32_t line, char out[GDFO_ERROR_FIELD_MAX])
{
    const char *field = p->from->field != NULL ? p->from->field : "";
    if (line == 0) {
        GDFO_IGNORE(snprintf(out, GDFO_ERROR_FIELD_MAX, "%s", field));
    } else if (p->is_array) {
        GDFO_IGNORE(snprintf(out, GDFO_ERROR_FIELD_MAX, "%.100s/%u", field, line - 1));
    } else {
        GDFO_IGNORE(snprintf(out, GDFO_ERROR_FIELD_MAX, "%.100s:%u", field, line));
    }
}

/* The collected faults as one error: the first one's words, and how many there are. */
static enum gdfo_status faults_as_error(const struct parser *p, struct gdfo_error *err)
{
    const struct gdfo_fault *first = &p->faults->items[0];
    const char *unit = p->is_array ? "example" : "line";
    char place[GDFO_ERROR_FIELD_MAX];
    char more[48] = "";
    char where[32] = "";
    if (p->faults->n > 1) {
        GDFO_IGNORE(snprintf(more, sizeof more, " (%s%zu errors in all)",
                             has_enough_faults(p) ? "at least " : "", p->faults->n));
    }
    if (first->line > 0) {
        GDFO_IGNORE(snprintf(where, sizeof where, "%s %u: ", unit, first->line));
    }
    gdfo_error_set(err, GDFO_STATUS_INVALID, "%s%s%s", where, first->text, more);
    name_place(p, first->line, place);
    gdfo_error_at(err, place, "invalid_training_file");
    return GDFO_STATUS_INVALID;
}

/* Is it the data's fault (collected) or ours (ends the parse)? */
static int is_fault_of_data(enum gdfo_status status)
{
    return status == GDFO_STATUS_INVALID || status == GDFO_STATUS_FORMAT;
}

/* ---- one object ---- */

static enum gdfo_status check_shape(struct parser *p, uint32_t line, struct gdfo_error *err)
{
    const struct gdfo_task_ops *kind = p->from->kind;
    if (p->shape < 0) {
        p->shape = p->draft.shape;
        p->shape_line = line;
        p->d->is_pair = p->draft.is_pair;
    }
    if (p->shape == p->draft.shape) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_INVALID, "has %s, but %s %u has %s; want one shape",
                          kind->shape_name(p->draft.shape), p->is_array ? "example" : "line",
                          p->shape_line, kind->shape_name(p->shape));
}

static enum gdfo_status keep_id(struct parser *p, const struct gdfo_json *object,
                                struct gdfo_row *row, struct gdfo_error *err)
{
    const struct gdfo_json *id = gdfo_json_get(object, "id");
    int64_t number = 0;
    char text[24];
    const char *s = text;
    if (id == NULL) {
        return GDFO_STATUS_OK;
    }
    if (gdfo_json_int(id, &number)) {
        GDFO_IGNORE(snprintf(text, sizeof text, "%lld", (long long)number));
    } else if ((s = gdfo_json_string(id)) == NULL) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "id is %s; want a string or an integer",
                              gdfo_json_type_name(gdfo_json_type(id)));
    }
    return gdfo_rows_keep(&p->d->store, s, strlen(s), &row->id, err);
}

static enum gdfo_status keep_row(struct parser *p, const struct gdfo_json *object, uint32_t line,
                                 struct gdfo_error *err)
{
    struct gdfo_rows_store *store = &p->d->store;
    struct gdfo_row_draft *draft = &p->draft;
    struct gdfo_row row = {.label = GDFO_ROW_NO_LABEL, .line = line};
    enum gdfo_status status = keep_id(p, object, &row, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_rows_keep(store, draft->text.data, draft->text.len, &row.text, err);
    }
    if (status == GDFO_STATUS_OK && draft->is_pair) {
        status = gdfo_rows_keep(store, draft->text_b.data, draft->text_b.len, &row.text_b, err);
    }
    if (status == GDFO_STATUS_OK && draft->has_label) {
        status = gdfo_rows_label(store, draft->label.data, draft->label.len, &row.label, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_rows_add(store, &row, err);
    }
    return status;
}

/* One object becomes one row or one fault; other failures are returned. */
static enum gdfo_status take_object(struct parser *p, const struct gdfo_json *object, uint32_t line,
                                    struct gdfo_error *err)
{
    struct gdfo_error fault = {0};
    struct gdfo_row_draft *draft = &p->draft;
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_buf_reset(&draft->text);
    gdfo_buf_reset(&draft->text_b);
    gdfo_buf_reset(&draft->label);
    draft->is_pair = 0;
    draft->has_label = 0;
    if (gdfo_json_type(object) != GDFO_JSON_OBJECT) {
        status = gdfo_error_set(&fault, GDFO_STATUS_INVALID, "%s; want an object",
                                gdfo_json_type_name(gdfo_json_type(object)));
    }
    if (status == GDFO_STATUS_OK) {
        status = p->from->kind->parse_row(object, p->from->rows, draft, &fault);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_shape(p, line, &fault);
    }
    if (status == GDFO_STATUS_OK) {
        status = keep_row(p, object, line, &fault);
    }
    if (is_fault_of_data(status)) {
        add_fault(p, line, fault.text);
        return GDFO_STATUS_OK;
    }
    if (status != GDFO_STATUS_OK && err != NULL) {
        *err = fault;
    }
    return status;
}

/* ---- lines ---- */

static enum gdfo_status fill_window(struct lines *in, struct gdfo_error *err)
{
    uint64_t left = in->in->size - in->offset;
    size_t n = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    enum gdfo_status status = gdfo_reader_at(in->in, in->offset, in->window, n, err);
    if (status == GDFO_STATUS_OK) {
        in->offset += n;
        in->at = 0;
        in->n = n;
    }
    return status;
}

/*
 * Gathers the next line without its end into p->line. *state: 0 no line left, 1 a line, 2 a line
 * past the ceiling, of which only the beginning is kept.
 */
static enum gdfo_status next_line(struct lines *in, struct gdfo_buf *line, int *state,
                                  struct gdfo_error *err)
{
    int found = 0;
    *state = 0;
    gdfo_buf_reset(line);
    while (!found) {
        if (in->at == in->n) {
            if (in->offset == in->in->size) {
                break;
            }
            enum gdfo_status status = fill_window(in, err);
            if (status != GDFO_STATUS_OK) {
                return status;
            }
        }
        const char *from = in->window + in->at;
        const char *end = memchr(from, '\n', in->n - in->at);
        size_t n = end != NULL ? (size_t)(end - from) : in->n - in->at;
        size_t room = GDFO_DATASET_LINE_MAX_BYTES - line->len;
        *state = *state == 2 || n > room ? 2 : 1;
        gdfo_buf_addn(line, from, n > room ? room : n);
        in->at += n + (end != NULL);
        found = end != NULL;
    }
    return gdfo_buf_ok(line) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "reading a line");
}

/* The part of the line that is JSON: without BOM and CR. */
static void trim_line(const struct gdfo_buf *line, uint32_t number, const char **text, size_t *n)
{
    *text = line->data;
    *n = line->len;
    if (number == 1 && *n >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0) {
        *text += 3;
        *n -= 3;
    }
    if (*n > 0 && (*text)[*n - 1] == '\r') {
        (*n)--;
    }
}

static int is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') {
            return 0;
        }
    }
    return 1;
}

/* What is wrong with the bytes themselves, in words that help with the usual causes. 1 = fault. */
static int has_bad_bytes(struct parser *p, const char *text, size_t n, uint32_t number)
{
    char words[GDFO_DATASET_FAULT_TEXT_BYTES];
    size_t good = gdfo_utf8_valid(text, n);
    const char *nul = memchr(text, '\0', n);
    size_t bad = good;
    if (number == 1 && n >= 2 &&
        (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0)) {
        add_fault(p, number, "the file is UTF-16; want UTF-8");
        return 1;
    }
    if (nul != NULL && (size_t)(nul - text) < bad) {
        bad = (size_t)(nul - text);
    }
    if (bad == n) {
        return 0;
    }
    GDFO_IGNORE(snprintf(words, sizeof words,
                         bad < good ? "byte %zu is NUL; want UTF-8 text"
                                    : "byte %zu is no valid UTF-8; want UTF-8 text",
                         bad + 1));
    add_fault(p, number, words);
    return 1;
}

static enum gdfo_status take_line(struct parser *p, uint32_t number, struct gdfo_error *err)
{
    static const struct gdfo_json_limits limits = {.string_bytes = GDFO_DATASET_LINE_MAX_BYTES,
                                                   .values = VALUES_MAX};
    const char *text = NULL;
    size_t n = 0;
    struct gdfo_json *object = NULL;
    struct gdfo_error fault = {0};
    trim_line(&p->line, number, &text, &n);
    if (is_blank(text, n) || has_bad_bytes(p, text, n, number)) {
        return GDFO_STATUS_OK;
    }
    enum gdfo_status status = gdfo_json_parse(&object, text, n, &limits, &fault);
    if (status == GDFO_STATUS_NO_MEMORY) {
        return gdfo_error_no_memory(err, "reading a line");
    }
    if (status != GDFO_STATUS_OK) {
        add_fault(p, number, fault.text);
        return GDFO_STATUS_OK;
    }
    status = take_object(p, object, number, err);
    gdfo_json_destroy(object);
    return status;
}

static enum gdfo_status read_lines(struct parser *p, struct lines *in, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    char words[64];
    for (uint32_t number = 1; status == GDFO_STATUS_OK && !has_enough_faults(p); number++) {
        int state = 0;
        status = next_line(in, &p->line, &state, err);
        if (status != GDFO_STATUS_OK || state == 0) {
            break;
        }
        if (number > GDFO_DATASET_LINES_MAX) {
            add_fault(p, 0, "more than 1,000,000 lines");
            break;
        }
        if (state == 2) {
            GDFO_IGNORE(
                snprintf(words, sizeof words, "longer than %u bytes", GDFO_DATASET_LINE_MAX_BYTES));
            add_fault(p, number, words);
            continue;
        }
        status = take_line(p, number, err);
    }
    return status;
}

/* ---- the whole ---- */

static enum gdfo_status too_few(const struct parser *p, struct gdfo_error *err, const char *words)
{
    gdfo_error_set(err, GDFO_STATUS_INVALID, "%s", words);
    gdfo_error_at(err, p->from->field != NULL ? p->from->field : "", "too_few_examples");
    return GDFO_STATUS_INVALID;
}

static enum gdfo_status finish(struct parser *p, struct gdfo_error *err)
{
    struct gdfo_dataset *d = p->d;
    char words[GDFO_QUOTE_BYTES + 64];
    if (p->faults->n > 0) {
        return faults_as_error(p, err);
    }
    if (d->store.n_rows == 0) {
        return too_few(p, err, "no examples; want at least one of each of two labels");
    }
    enum gdfo_status status = gdfo_rows_finish(&d->store, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (p->from->rows == GDFO_ROWS_TRAIN && d->store.n_labels < 2) {
        GDFO_IGNORE(snprintf(words, sizeof words, "the only label is %s; want at least two",
                             gdfo_task_quote(d->store.labels[0]).s));
        return too_few(p, err, words);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status parser_init(struct parser *p, const struct gdfo_dataset_source *from,
                                    struct gdfo_faults *faults, struct gdfo_error *err)
{
    memset(p, 0, sizeof *p);
    p->from = from;
    p->faults = faults != NULL ? faults : &p->own_faults;
    p->faults->n = 0;
    p->shape = -1;
    gdfo_buf_init(&p->line, GDFO_DATASET_LINE_MAX_BYTES);
    gdfo_buf_init(&p->draft.text, GDFO_DATASET_LINE_MAX_BYTES);
    gdfo_buf_init(&p->draft.text_b, GDFO_DATASET_LINE_MAX_BYTES);
    gdfo_buf_init(&p->draft.label, GDFO_DATASET_LINE_MAX_BYTES);
    p->d = gdfo_mem_array(1, sizeof *p->d);
    if (p->d == NULL) {
        return gdfo_error_no_memory(err, "reading examples");
    }
    gdfo_rows_init(&p->d->store, GDFO_DATASET_KEPT_MAX_BYTES);
    return GDFO_STATUS_OK;
}

/* Hands the data set over when status says so; ends everything else. */
static enum gdfo_status parser_end(struct parser *p, enum gdfo_status status,
                                   struct gdfo_dataset **out)
{
    gdfo_buf_deinit(&p->line);
    gdfo_buf_deinit(&p->draft.text);
    gdfo_buf_deinit(&p->draft.text_b);
    gdfo_buf_deinit(&p->draft.label);
    if (status == GDFO_STATUS_OK) {
        *out = p->d;
    } else {
        gdfo_dataset_destroy(p->d);
    }
    return status;
}

/* A ceiling that was met is named like any other fault of the file. */
static void name_limit(const struct parser *p, enum gdfo_status status, struct gdfo_error *err)
{
    if (status == GDFO_STATUS_LIMIT) {
        gdfo_error_at(err, p->from->field != NULL ? p->from->field : "", "invalid_training_file");
    }
}

enum gdfo_status gdfo_dataset_parse(struct gdfo_dataset **out, const struct gdfo_reader *in,
                                    const struct gdfo_dataset_source *from,
                                    struct gdfo_faults *faults, struct gdfo_error *err)
{
    struct parser p;
    struct lines *lines = gdfo_mem_array(1, sizeof *lines);
    enum gdfo_status status = parser_init(&p, from, faults, err);
    if (status == GDFO_STATUS_OK && lines == NULL) {
        status = gdfo_error_no_memory(err, "reading examples");
    }
    if (status == GDFO_STATUS_OK) {
        lines->in = in;
        status = read_lines(&p, lines, err);
        name_limit(&p, status, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = finish(&p, err);
    }
    gdfo_mem_free(lines);
    return parser_end(&p, status, out);
}

enum gdfo_status gdfo_dataset_parse_json(struct gdfo_dataset **out, const struct gdfo_json *array,
                                         const struct gdfo_dataset_source *from,
                                         struct gdfo_faults *faults, struct gdfo_error *err)
{
    struct parser p;
    uint32_t place = 0;
    enum gdfo_status status = parser_init(&p, from, faults, err);
    p.is_array = 1;
    if (status == GDFO_STATUS_OK && gdfo_json_type(array) != GDFO_JSON_ARRAY) {
        add_fault(&p, 0, "not an array; want an array of examples");
    } else if (status == GDFO_STATUS_OK && gdfo_json_size(array) > GDFO_DATASET_INLINE_MAX) {
        add_fault(&p, 0, "more than 2,048 examples; upload a file instead");
    } else if (status == GDFO_STATUS_OK) {
        for (const struct gdfo_json *v = gdfo_json_first(array);
             v != NULL && status == GDFO_STATUS_OK && !has_enough_faults(&p);
             v = gdfo_json_next(v)) {
            status = take_object(&p, v, ++place, err);
        }
    }
    name_limit(&p, status, err);
    if (status == GDFO_STATUS_OK) {
        status = finish(&p, err);
    }
    return parser_end(&p, status, out);
}

void gdfo_dataset_destroy(struct gdfo_dataset *d)
{
    if (d != NULL) {
        gdfo_rows_deinit(&d->store);
        gdfo_mem_free(d);
    }
}

/* ---- looking at it ---- */

size_t gdfo_dataset_size(const struct gdfo_dataset *d)
{
    return d->store.n_rows;
}

const struct gdfo_row *gdfo_dataset_row(const struct gdfo_dataset *d, size_t i)
{
    return &d->store.rows[i];
}

int gdfo_dataset_is_pair(const struct gdfo_dataset *d)
{
    return d->is_pair;
}

size_t gdfo_dataset_n_labels(const struct gdfo_dataset *d)
{
    return d->store.n_labels;
}

const char *gdfo_dataset_label(const struct gdfo_dataset *d, size_t label)
{
    return d->store.labels[label];
}

const char *const *gdfo_dataset_labels(const struct gdfo_dataset *d)
{
    return d->store.labels;
}

size_t gdfo_dataset_n_of_label(const struct gdfo_dataset *d, size_t label)
{
    return d->store.n_of_label[label];
}

/* ---- two data sets ---- */

/* The first row of a label, for the message. */
static uint32_t line_of_label(const struct gdfo_dataset *d, uint32_t label)
{
    for (size_t i = 0; i < d->store.n_rows; i++) {
        if (d->store.rows[i].label == label) {
            return d->store.rows[i].line;
        }
    }
    return 0;
}

static enum gdfo_status check_labels(const struct gdfo_dataset *validation,
                                     const struct gdfo_dataset *training, struct gdfo_error *err)
{
    uint32_t number = 0;
    for (size_t i = 0; i < gdfo_dataset_n_labels(validation); i++) {
        const char *name = gdfo_dataset_label(validation, i);
        if (!gdfo_rows_find_label(&training->store, name, &number)) {
            gdfo_error_set(err, GDFO_STATUS_INVALID,
                           "validation has the label %s (line %u), which training lacks",
                           gdfo_task_quote(name).s, line_of_label(validation, (uint32_t)i));
            gdfo_error_at(err, "", "label_set_mismatch");
            return GDFO_STATUS_INVALID;
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_dataset_align(struct gdfo_dataset *validation,
                                    const struct gdfo_dataset *training, struct gdfo_error *err)
{
    if (validation->is_pair != training->is_pair) {
        gdfo_error_set(err, GDFO_STATUS_INVALID,
                       "validation has %s, training has %s; want the same in both",
                       validation->is_pair ? "two texts" : "one text",
                       training->is_pair ? "two texts" : "one text");
        gdfo_error_at(err, "", "invalid_training_file");
        return GDFO_STATUS_INVALID;
    }
    enum gdfo_status status = check_labels(validation, training, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_rows_renumber(&validation->store, &training->store, err);
    }
    return status;
}
