#include "common/json_floats.h"

#include "common/buf.h"
#include "common/mem.h"
#include "common/parse.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * DESIGN. One walk copies the document and leaves the arrays out, putting their index in their
 * place; what is left is small and goes through the strict parser. The walk knows strings, so that
 * brackets in them are text. What it cannot read as an array of numbers it copies as it is.
 */
#define NUMBER_MAX_CHARS 63 /* as json_scan.c */
#define DEPTH_MAX        8  /* of nested arrays of numbers */

void gdfo_json_add_floats(struct gdfo_json_writer *w, const float *values, size_t n, int digits)
{
    char text[32];
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(text, sizeof text, "%s%.*g", w->needs_comma ? "," : "", digits,
                           (double)values[i]);
        gdfo_buf_addn(w->buf, text, (size_t)len);
        w->needs_comma = 1;
    }
}

void gdfo_json_put_floats(struct gdfo_json_writer *w, const char *key, const float *values,
                          size_t n, int digits)
{
    gdfo_json_open(w, key, '[');
    gdfo_json_add_floats(w, values, n, digits);
    gdfo_json_close(w, ']');
}

struct walk {
    const char *text;
    size_t n, at;
    const struct gdfo_json_pour *setup;
    struct gdfo_json_poured *out;
    struct gdfo_buf rest;
    enum gdfo_status status; /* NO_MEMORY or LIMIT ends the walk */
};

static size_t skip_blanks(const struct walk *w, size_t at)
{
    while (at < w->n && w->text[at] != '\0' && strchr(" \t\r\n", w->text[at])) {
        at++;
    }
    return at;
}

static size_t skip_digits(const struct walk *w, size_t at)
{
    while (at < w->n && w->text[at] >= '0' && w->text[at] <= '9') {
        at++;
    }
    return at;
}

static int is_at(const struct walk *w, size_t at, const char *any)
{
    return at < w->n && w->text[at] != '\0' && strchr(any, w->text[at]) != NULL;
}

/* The end of the JSON number at `at`; `at` itself when there is none. */
static size_t number_end(const struct walk *w, size_t at)
{
    const size_t first = at + (size_t)is_at(w, at, "-");
    size_t end = skip_digits(w, first);
    size_t digits;
    if (end == first || (end - first > 1 && w->text[first] == '0')) {
        return at;
    }
    if (is_at(w, end, ".")) {
        digits = end + 1;
        end = skip_digits(w, digits);
        if (end == digits) {
            return at;
        }
    }
    if (is_at(w, end, "eE")) {
        digits = end + 1;
        digits += (size_t)is_at(w, digits, "+-");
        end = skip_digits(w, digits);
        if (end == digits) {
            return at;
        }
    }
    return end - at <= NUMBER_MAX_CHARS ? end : at;
}

static int add_value(struct walk *w, size_t at, size_t n)
{
    struct gdfo_json_poured *out = w->out;
    void *values = out->values;
    char digits[NUMBER_MAX_CHARS + 1];
    double v = 0;
    if (out->n_values == w->setup->max_values) {
        w->status = GDFO_STATUS_LIMIT;
        return 0;
    }
    if (out->n_values == out->values_cap) {
        if (!gdfo_mem_grow(&values, &out->values_cap, out->n_values + 1, sizeof *out->values)) {
            w->status = GDFO_STATUS_NO_MEMORY;
            return 0;
        }
        out->values = values;
    }
    memcpy(digits, w->text + at, n);
    digits[n] = '\0';
    /* A number past the range of a double is well-formed JSON: infinite, for the caller to judge.
     */
    out->values[out->n_values++] =
        !gdfo_parse_f64(digits, &v) || fabs(v) > (double)FLT_MAX ? (float)INFINITY : (float)v;
    return 1;
}

/* The end of the array of numbers whose '[' stands at `at`, its numbers poured; 0 when it is none
 * (numbers poured so far are the caller's to take back). */
static size_t pour_array(struct walk *w, size_t at)
{
    int depth = 0;
    int wants_value = 1; /* after '[' or ',' */
    int may_close = 0;   /* after '[' or a value */
    do {
        at = skip_blanks(w, at);
        if (is_at(w, at, "[") && wants_value && depth < DEPTH_MAX) {
            depth++;
            may_close = 1;
            at++;
        } else if (is_at(w, at, "]") && may_close) {
            depth--;
            wants_value = 0;
            at++;
        } else if (is_at(w, at, ",") && !wants_value) {
            wants_value = 1;
            may_close = 0;
            at++;
        } else {
            const size_t end = wants_value ? number_end(w, at) : at;
            if (end == at || !add_value(w, at, end - at)) {
                return 0;
            }
            wants_value = 0;
            may_close = 1;
            at = end;
        }
    } while (depth > 0);
    return at;
}

static int add_end(struct walk *w)
{
    struct gdfo_json_poured *out = w->out;
    void *ends = out->ends;
    if (out->n_arrays == out->ends_cap) {
        if (!gdfo_mem_grow(&ends, &out->ends_cap, out->n_arrays + 1, sizeof *out->ends)) {
            w->status = GDFO_STATUS_NO_MEMORY;
            return 0;
        }
        out->ends = ends;
    }
    gdfo_buf_addf(&w->rest, "%zu ", out->n_arrays); /* what follows is no digit of it */
    out->ends[out->n_arrays++] = out->n_values;
    return 1;
}

/* Past the string whose quote stands at `at`, or the end of the text. */
static size_t string_end(const struct walk *w, size_t at)
{
    for (at++; at < w->n && w->text[at] != '"'; at++) {
        at += w->text[at] == '\\';
    }
    return at < w->n ? at + 1 : w->n;
}

/* Copies a string; behind a key of ours it tries to pour. */
static void take_string(struct walk *w)
{
    const size_t start = w->at;
    const size_t n_key = strlen(w->setup->key);
    const size_t n_before = w->out->n_values;
    size_t value, end;
    w->at = string_end(w, start);
    gdfo_buf_addn(&w->rest, w->text + start, w->at - start);
    if (w->at - start != n_key + 2 || memcmp(w->text + start + 1, w->setup->key, n_key) != 0) {
        return;
    }
    value = skip_blanks(w, w->at);
    if (!is_at(w, value, ":")) {
        return;
    }
    value = skip_blanks(w, value + 1);
    end = is_at(w, value, "[") ? pour_array(w, value) : 0;
    if (end == 0) {
        w->out->n_values = n_before;
        return;
    }
    gdfo_buf_addc(&w->rest, ':');
    if (add_end(w)) {
        w->at = end;
    }
}

static void walk_text(struct walk *w)
{
    while (w->at < w->n && w->status == GDFO_STATUS_OK) {
        if (w->text[w->at] == '"') {
            take_string(w);
        } else {
            size_t end = w->at + 1;
            while (end < w->n && w->text[end] != '"') {
                end++;
            }
            gdfo_buf_addn(&w->rest, w->text + w->at, end - w->at);
            w->at = end;
        }
    }
}

enum gdfo_status gdfo_json_pour(struct gdfo_json_poured *out, const char *text, size_t n,
                                const struct gdfo_json_pour *setup, struct gdfo_error *err)
{
    struct walk w = {.text = text, .n = n, .setup = setup, .out = out};
    enum gdfo_status status;
    *out = (struct gdfo_json_poured){0};
    gdfo_buf_init(&w.rest, 2 * n + 64); /* "[]" may become a longer index */
    walk_text(&w);
    if (w.status == GDFO_STATUS_LIMIT) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "more than %zu numbers", setup->max_values);
    } else if (w.status != GDFO_STATUS_OK || !gdfo_buf_ok(&w.rest)) {
        status = gdfo_error_no_memory(err, "reading JSON");
    } else {
        status = gdfo_json_parse(&out->root, w.rest.data, w.rest.len, setup->limits, err);
    }
    gdfo_buf_deinit(&w.rest);
    return status;
}

int gdfo_json_poured_at(const struct gdfo_json_poured *p, const struct gdfo_json *v,
                        const float **values, size_t *n)
{
    int64_t i = 0;
    size_t first;
    if (!v || !gdfo_json_int(v, &i) || i < 0 || (uint64_t)i >= p->n_arrays) {
        return 0;
    }
    first = i > 0 ? p->ends[i - 1] : 0;
    *n = p->ends[i] - first;
    *values = *n > 0 ? p->values + first : NULL;
    return 1;
}

void gdfo_json_poured_deinit(struct gdfo_json_poured *p)
{
    gdfo_json_destroy(p->root);
    gdfo_mem_free(p->values);
    gdfo_mem_free(p->ends);
    *p = (struct gdfo_json_poured){0};
}
