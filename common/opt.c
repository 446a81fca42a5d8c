#include "common/opt.h"

#include "common/check.h"
#include "common/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_MAX_BYTES  256
#define POINTER_MAX_BYTES 256
#define SHOWN_MAX_CHARS   64 /* of an offending value in a message */
#define NAME_MAX_CHARS    64 /* longer names get no suggestion */

static void *at(void *values, const struct gdfo_opt *o)
{
    return (char *)values + o->offset;
}

static const void *at_const(const void *values, const struct gdfo_opt *o)
{
    return (const char *)values + o->offset;
}

static const struct gdfo_opt *find(const struct gdfo_opt *opts, const char *name)
{
    for (; opts->name; opts++) {
        if (strcmp(opts->name, name) == 0) {
            return opts;
        }
    }
    return NULL;
}

static int has_range(const struct gdfo_opt *o)
{
    return o->min != 0.0 || o->max != 0.0;
}

static int in_range(const struct gdfo_opt *o, double v)
{
    return !has_range(o) || (v >= o->min && v <= o->max);
}

/* Index of word in "a|b|c", or -1. */
static int choice_index(const char *choices, const char *word)
{
    size_t n = strlen(word);
    int i = 0;
    for (const char *p = choices; p; i++) {
        const char *bar = strchr(p, '|');
        size_t k = bar ? (size_t)(bar - p) : strlen(p);
        if (k == n && memcmp(p, word, n) == 0) {
            return i;
        }
        p = bar ? bar + 1 : NULL;
    }
    return -1;
}

/* The index-th word of "a|b|c" as a span; *n is 0 past the end. */
static const char *choice_at(const char *choices, int index, size_t *n)
{
    const char *p = choices;
    for (; p && index > 0; index--) {
        p = strchr(p, '|');
        p = p ? p + 1 : NULL;
    }
    *n = p ? strcspn(p, "|") : 0;
    return p;
}

static size_t text_bytes(const struct gdfo_opt *o)
{
    return o->type == GDFO_OPT_PATH ? GDFO_OPT_PATH_BYTES : GDFO_OPT_STR_BYTES;
}

/* What would be accepted: "an integer 2..1024". */
static void describe(const struct gdfo_opt *o, char *out, size_t n)
{
    switch (o->type) {
    case GDFO_OPT_INT:
        (void)snprintf(out, n, has_range(o) ? "an integer %.0f..%.0f" : "an integer", o->min,
                       o->max);
        break;
    case GDFO_OPT_NUM:
        (void)snprintf(out, n, has_range(o) ? "a number %g..%g" : "a number", o->min, o->max);
        break;
    case GDFO_OPT_BOOL: (void)snprintf(out, n, "true or false"); break;
    case GDFO_OPT_ENUM: (void)snprintf(out, n, "one of %s", o->choices); break;
    case GDFO_OPT_STR:
    case GDFO_OPT_PATH:
        (void)snprintf(out, n, "text of at most %zu bytes", text_bytes(o) - 1);
        break;
    }
}

static int store_int(const struct gdfo_opt *o, void *values, int64_t v)
{
    if (!in_range(o, (double)v)) {
        return 0;
    }
    memcpy(at(values, o), &v, sizeof v);
    return 1;
}

static int store_num(const struct gdfo_opt *o, void *values, double v)
{
    if (!in_range(o, v)) {
        return 0;
    }
    memcpy(at(values, o), &v, sizeof v);
    return 1;
}

static int store_enum(const struct gdfo_opt *o, void *values, const char *word)
{
    int v = choice_index(o->choices, word);
    if (v < 0) {
        return 0;
    }
    memcpy(at(values, o), &v, sizeof v);
    return 1;
}

static int store_str(const struct gdfo_opt *o, void *values, const char *text)
{
    size_t n = strlen(text);
    if (n >= text_bytes(o)) {
        return 0;
    }
    memset(at(values, o), 0, text_bytes(o));
    memcpy(at(values, o), text, n);
    return 1;
}

static int store_bool(const struct gdfo_opt *o, void *values, int v)
{
    memcpy(at(values, o), &v, sizeof v);
    return 1;
}

static int store_text(const struct gdfo_opt *o, void *values, const char *text)
{
    int64_t whole = 0;
    double num = 0;
    int flag = 0;
    switch (o->type) {
    case GDFO_OPT_INT:
        return gdfo_parse_i64(text, INT64_MIN, INT64_MAX, &whole) && store_int(o, values, whole);
    case GDFO_OPT_NUM: return gdfo_parse_f64(text, &num) && store_num(o, values, num);
    case GDFO_OPT_BOOL: return gdfo_parse_bool(text, &flag) && store_bool(o, values, flag);
    case GDFO_OPT_ENUM: return store_enum(o, values, text);
    case GDFO_OPT_STR:
    case GDFO_OPT_PATH: return store_str(o, values, text);
    }
    return 0;
}

static int store_json(const struct gdfo_opt *o, void *values, const struct gdfo_json *v)
{
    const char *text = gdfo_json_string(v);
    int64_t whole = 0;
    double num = 0;
    int flag = 0;
    switch (o->type) {
    case GDFO_OPT_INT: return gdfo_json_int(v, &whole) && store_int(o, values, whole);
    case GDFO_OPT_NUM: return gdfo_json_number(v, &num) && store_num(o, values, num);
    case GDFO_OPT_BOOL: return gdfo_json_bool(v, &flag) && store_bool(o, values, flag);
    case GDFO_OPT_ENUM: return text && store_enum(o, values, text);
    case GDFO_OPT_STR:
    case GDFO_OPT_PATH: return text && store_str(o, values, text);
    }
    return 0;
}

void gdfo_opt_defaults(const struct gdfo_opt *opts, void *values)
{
    for (; opts->name; opts++) {
        GDFO_CHECK(store_text(opts, values, opts->fallback ? opts->fallback : ""));
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance of two names of at most NAME_MAX_CHARS characters. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_CHARS + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(swap, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

/* The known name that is nearest to `name`, or NULL when none is near. */
static const char *nearest(const struct gdfo_opt *opts, const char *name)
{
    const char *best = NULL;
    size_t best_distance = strlen(name) / 3 + 2;
    for (; strlen(name) <= NAME_MAX_CHARS && opts->name; opts++) {
        if (strlen(opts->name) <= NAME_MAX_CHARS && distance(name, opts->name) < best_distance) {
            best = opts->name;
            best_distance = distance(name, opts->name);
        }
    }
    return best;
}

static void describe_unknown(const struct gdfo_opt *opts, const char *name, char *out, size_t n)
{
    const char *near = nearest(opts, name);
    if (near) {
        (void)snprintf(out, n, "unknown option '%.*s'; nearest is '%s'", SHOWN_MAX_CHARS, name,
                       near);
    } else {
        (void)snprintf(out, n, "unknown option '%.*s'", SHOWN_MAX_CHARS, name);
    }
}

enum gdfo_status gdfo_opt_set_text(const struct gdfo_opt *opts, void *values, const char *name,
                                   const char *text, struct gdfo_error *err)
{
    const struct gdfo_opt *o = find(opts, name);
    enum gdfo_status status;
    char words[DETAIL_MAX_BYTES];
    if (!o) {
        describe_unknown(opts, name, words, sizeof words);
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s", words);
        gdfo_error_at(err, name, "unknown_field");
        return status;
    }
    if (!store_text(o, values, text)) {
        describe(o, words, sizeof words);
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "%s is '%.*s'; want %s", name,
                                SHOWN_MAX_CHARS, text, words);
        gdfo_error_at(err, name, "invalid_value");
        return status;
    }
    return GDFO_STATUS_OK;
}

/* prefix + "/" + key with ~ and / escaped (RFC 6901), cut when too long. */
static void make_pointer(const char *prefix, const char *key, char out[POINTER_MAX_BYTES])
{
    size_t k = (size_t)snprintf(out, POINTER_MAX_BYTES, "%s/", prefix);
    for (; *key && k + 3 < POINTER_MAX_BYTES; key++) {
        if (*key == '~' || *key == '/') {
            out[k++] = '~';
            out[k++] = *key == '~' ? '0' : '1';
        } else {
            out[k++] = *key;
        }
    }
    out[k < POINTER_MAX_BYTES ? k : POINTER_MAX_BYTES - 1] = '\0';
}

/* The offending value as JSON, cut to a line's length; containers by their type alone. */
static void show(const struct gdfo_json *v, char *out, size_t n)
{
    enum gdfo_json_type type = gdfo_json_type(v);
    struct gdfo_buf b;
    if (type == GDFO_JSON_ARRAY || type == GDFO_JSON_OBJECT) {
        (void)snprintf(out, n, "%s", gdfo_json_type_name(type));
        return;
    }
    gdfo_buf_init(&b, SHOWN_MAX_CHARS);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_put_node(&w, NULL, v);
    (void)snprintf(out, n, "%s", gdfo_buf_ok(&b) ? b.data : "a long text");
    gdfo_buf_deinit(&b);
}

size_t gdfo_opt_set_json(const struct gdfo_opt *opts, void *values, const struct gdfo_json *object,
                         const char *prefix, gdfo_opt_fault fault, void *ctx)
{
    char pointer[POINTER_MAX_BYTES];
    char words[DETAIL_MAX_BYTES];
    char shown[SHOWN_MAX_CHARS + 1];
    char detail[2 * DETAIL_MAX_BYTES];
    size_t n_faults = 0;
    for (const struct gdfo_json *v = object ? gdfo_json_first(object) : NULL; v;
         v = gdfo_json_next(v)) {
        const struct gdfo_opt *o = find(opts, gdfo_json_key(v));
        if (o && (gdfo_json_type(v) == GDFO_JSON_NULL || store_json(o, values, v))) {
            continue;
        }
        n_faults++;
        make_pointer(prefix, gdfo_json_key(v), pointer);
        if (!o) {
            describe_unknown(opts, gdfo_json_key(v), detail, sizeof detail);
            fault(ctx, pointer, "unknown_field", detail);
            continue;
        }
        describe(o, words, sizeof words);
        show(v, shown, sizeof shown);
        (void)snprintf(detail, sizeof detail, "%s is %s; want %s", o->name, shown, words);
        fault(ctx, pointer, "invalid_value", detail);
    }
    return n_faults;
}

static void put_choice(struct gdfo_json_writer *w, const char *key, const struct gdfo_opt *o,
                       int index)
{
    char word[GDFO_OPT_STR_BYTES];
    size_t n;
    const char *p = choice_at(o->choices, index, &n);
    (void)snprintf(word, sizeof word, "%.*s", (int)n, p ? p : "");
    gdfo_json_put_str(w, key, word);
}

static void put_value(struct gdfo_json_writer *w, const char *key, const struct gdfo_opt *o,
                      const void *value)
{
    int64_t whole;
    double num;
    int flag;
    switch (o->type) {
    case GDFO_OPT_INT:
        memcpy(&whole, value, sizeof whole);
        gdfo_json_put_int(w, key, whole);
        break;
    case GDFO_OPT_NUM:
        memcpy(&num, value, sizeof num);
        gdfo_json_put_num(w, key, num);
        break;
    case GDFO_OPT_BOOL:
        memcpy(&flag, value, sizeof flag);
        gdfo_json_put_bool(w, key, flag);
        break;
    case GDFO_OPT_ENUM:
        memcpy(&flag, value, sizeof flag);
        put_choice(w, key, o, flag);
        break;
    case GDFO_OPT_STR:
    case GDFO_OPT_PATH: gdfo_json_put_str(w, key, value); break;
    }
}

void gdfo_opt_write_json(const struct gdfo_opt *opts, const void *values,
                         struct gdfo_json_writer *w)
{
    for (; opts->name; opts++) {
        put_value(w, opts->name, opts, at_const(values, opts));
    }
}

static void put_bound(struct gdfo_json_writer *w, const char *key, const struct gdfo_opt *o,
                      double v)
{
    if (!has_range(o) || (o->type != GDFO_OPT_INT && o->type != GDFO_OPT_NUM)) {
        gdfo_json_put_null(w, key);
    } else if (o->type == GDFO_OPT_INT) {
        gdfo_json_put_int(w, key, (int64_t)v);
    } else {
        gdfo_json_put_num(w, key, v);
    }
}

static void put_row(struct gdfo_json_writer *w, const struct gdfo_opt *o)
{
    static const char *const types[] = {"integer", "number", "boolean", "enum", "string", "string"};
    struct gdfo_opt alone = *o; /* the default goes through the same parser and printer */
    char value[GDFO_OPT_PATH_BYTES] = {0};
    size_t n;
    alone.offset = 0;
    GDFO_CHECK(store_text(&alone, value, o->fallback ? o->fallback : ""));
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "name", o->name);
    gdfo_json_put_str(w, "type", types[o->type]);
    put_value(w, "default", o, value);
    put_bound(w, "min", o, o->min);
    put_bound(w, "max", o, o->max);
    if (o->type == GDFO_OPT_ENUM) {
        gdfo_json_open(w, "choices", '[');
        for (int i = 0; choice_at(o->choices, i, &n); i++) {
            put_choice(w, NULL, o, i);
        }
        gdfo_json_close(w, ']');
    } else {
        gdfo_json_put_null(w, "choices");
    }
    gdfo_json_put_str(w, "help", o->help);
    gdfo_json_close(w, '}');
}

void gdfo_opt_write_catalogue(const struct gdfo_opt *opts, struct gdfo_json_writer *w,
                              const char *key)
{
    gdfo_json_open(w, key, '[');
    for (; opts->name; opts++) {
        put_row(w, opts);
    }
    gdfo_json_close(w, ']');
}
