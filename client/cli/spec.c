#include "client/cli/spec.h"

#include "common/json_write.h"
#include "common/parse.h"

#include <string.h>

#define PATH_BYTES 512
#define DEPTH_MAX  64

static size_t line_of(const char *text, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < offset; i++) {
        line += text[i] == '\n';
    }
    return line;
}

/* ---- comments ---- */

static size_t string_end(const char *text, size_t n, size_t i)
{
    for (i++; i < n && text[i] != '"'; i++) {
        i += text[i] == '\\';
    }
    return i < n ? i + 1 : n;
}

/* The end of the comment at i; n + 1 when it never ends. */
static size_t comment_end(const char *text, size_t n, size_t i)
{
    if (text[i + 1] == '/') {
        while (i < n && text[i] != '\n') {
            i++;
        }
        return i;
    }
    for (i += 2; i + 1 < n; i++) {
        if (text[i] == '*' && text[i + 1] == '/') {
            return i + 2;
        }
    }
    return n + 1;
}

enum gdfo_status gdfo_spec_strip(char *text, size_t n, struct gdfo_error *err)
{
    size_t i = 0;
    while (i < n) {
        if (text[i] == '"') {
            i = string_end(text, n, i);
        } else if (text[i] == '/' && i + 1 < n && (text[i + 1] == '/' || text[i + 1] == '*')) {
            size_t end = comment_end(text, n, i);
            if (end > n) {
                return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                                      "line %zu: the comment is never closed; want */",
                                      line_of(text, i));
            }
            for (; i < end; i++) {
                text[i] = text[i] == '\n' ? '\n' : ' ';
            }
        } else {
            i++;
        }
    }
    return GDFO_STATUS_OK;
}

/* ---- parsing ---- */

/* "... at byte 17: ..." of the scanner, as a line of the text; 0 when it says no byte. */
static size_t line_of_error(const char *text, size_t n, const char *words)
{
    char digits[20];
    const char *at = strstr(words, "at byte ");
    size_t k;
    int64_t offset;
    if (!at) {
        return 0;
    }
    at += strlen("at byte ");
    k = strspn(at, "0123456789");
    if (k == 0 || k >= sizeof digits) {
        return 0;
    }
    memcpy(digits, at, k);
    digits[k] = '\0';
    return gdfo_parse_i64(digits, 0, (int64_t)n, &offset) ? line_of(text, (size_t)offset) : 0;
}

enum gdfo_status gdfo_spec_parse(struct gdfo_json **out, char *text, size_t n, const char *name,
                                 struct gdfo_error *err)
{
    struct gdfo_error words = {0};
    enum gdfo_status status = gdfo_spec_strip(text, n, &words);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_parse(out, text, n, NULL, &words);
        if (status != GDFO_STATUS_OK && line_of_error(text, n, words.text)) {
            (void)gdfo_error_prefix(&words, "line %zu", line_of_error(text, n, words.text));
        }
    }
    if (status == GDFO_STATUS_OK && gdfo_json_type(*out) != GDFO_JSON_OBJECT) {
        status = gdfo_error_set(&words, GDFO_STATUS_FORMAT, "it holds %s; want an object",
                                gdfo_json_type_name(gdfo_json_type(*out)));
        gdfo_json_destroy(*out);
        *out = NULL;
    }
    if (status != GDFO_STATUS_OK) {
        (void)gdfo_error_set(err, GDFO_STATUS_INVALID, "%s: %s", name, words.text);
        return GDFO_STATUS_INVALID;
    }
    return status;
}

enum gdfo_status gdfo_spec_set_parse(struct gdfo_spec_set *out, char *text, struct gdfo_error *err)
{
    char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    if (n == 0 || n >= PATH_BYTES || text[0] == '.' || text[n - 1] == '.' ||
        (strstr(text, "..") && strstr(text, "..") < equals)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "--set %.60s: want PATH=VALUE, the path in dots, as in "
                              "method.gdfo.budget.evals=60",
                              text);
    }
    *equals = '\0';
    out->path = text;
    out->value = equals + 1;
    out->is_text = 0;
    return GDFO_STATUS_OK;
}

const char *gdfo_spec_member(const struct gdfo_json *root, const struct gdfo_spec_set *sets,
                             size_t n_sets, const char *key)
{
    const struct gdfo_json *v = gdfo_json_get(root, key);
    for (size_t i = n_sets; i > 0; i--) {
        if (strcmp(sets[i - 1].path, key) == 0) {
            return sets[i - 1].value;
        }
    }
    return v ? gdfo_json_string(v) : NULL;
}

/* ---- writing ---- */

struct writing {
    struct gdfo_json_writer w;
    const struct gdfo_spec_set *sets;
    size_t n_sets;
    struct gdfo_error *err;
};

/* What a set's path says below `path` (n bytes; "" at the top): the rest of it, or NULL. */
static const char *rest_below(const char *set, const char *path, size_t n)
{
    if (n == 0) {
        return set;
    }
    return strncmp(set, path, n) == 0 && set[n] == '.' ? set + n + 1 : NULL;
}

static void put_value(struct gdfo_json_writer *w, const char *key, const struct gdfo_spec_set *set)
{
    struct gdfo_json *v = NULL;
    if (!set->is_text &&
        gdfo_json_parse(&v, set->value, strlen(set->value), NULL, NULL) == GDFO_STATUS_OK) {
        gdfo_json_put_node(w, key, v);
        gdfo_json_destroy(v);
    } else {
        gdfo_json_put_str(w, key, set->value);
    }
}

static enum gdfo_status write_object(struct writing *x, const char *key,
                                     const struct gdfo_json *object, char *path, int depth);

/* The last set whose path is exactly path, and whether any lies below it. */
static const struct gdfo_spec_set *exact(const struct writing *x, const char *path, int *has_below)
{
    const struct gdfo_spec_set *found = NULL;
    *has_below = 0;
    for (size_t i = 0; i < x->n_sets; i++) {
        if (strcmp(x->sets[i].path, path) == 0) {
            found = &x->sets[i];
            *has_below = 0; /* it replaces what was set below it before */
        } else if (rest_below(x->sets[i].path, path, strlen(path))) {
            *has_below = 1;
        }
    }
    return found;
}

/* One member, old (v) or new (v NULL), at path. */
static enum gdfo_status write_member(struct writing *x, const char *key, const struct gdfo_json *v,
                                     char *path, int depth)
{
    int has_below;
    const struct gdfo_spec_set *set = exact(x, path, &has_below);
    int is_object = v && gdfo_json_type(v) == GDFO_JSON_OBJECT;
    if (has_below && (set || (v && !is_object && gdfo_json_type(v) != GDFO_JSON_NULL))) {
        return gdfo_error_set(
            x->err, GDFO_STATUS_INVALID, "--set below \"%.80s\", which is %s; want an object", path,
            set ? "set to a value itself" : gdfo_json_type_name(gdfo_json_type(v)));
    }
    if (set) {
        put_value(&x->w, key, set);
    } else if (has_below) {
        return write_object(x, key, is_object ? v : NULL, path, depth + 1);
    } else {
        gdfo_json_put_node(&x->w, key, v);
    }
    return GDFO_STATUS_OK;
}

/* Appends ".key" to path, does the member, and cuts path back. */
static enum gdfo_status write_child(struct writing *x, const struct gdfo_json *v, const char *name,
                                    char *path, int depth)
{
    size_t n = strlen(path), k = strlen(name);
    enum gdfo_status status;
    if (n + k + 2 > PATH_BYTES) { /* deeper than any --set can name */
        gdfo_json_put_node(&x->w, name, v);
        return GDFO_STATUS_OK;
    }
    if (n) {
        path[n] = '.';
    }
    memcpy(path + n + (n ? 1 : 0), name, k + 1);
    status = write_member(x, name, v, path, depth);
    path[n] = '\0';
    return status;
}

/* 1 when an earlier set names the same member below path: it is written once. */
static int is_repeat(const struct writing *x, size_t i, const char *path, const char *name,
                     size_t n_name)
{
    for (size_t j = 0; j < i; j++) {
        const char *rest = rest_below(x->sets[j].path, path, strlen(path));
        if (rest && strcspn(rest, ".") == n_name && memcmp(rest, name, n_name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The members that only the sets name. */
static enum gdfo_status write_new(struct writing *x, const struct gdfo_json *object, char *path,
                                  int depth)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    char name[PATH_BYTES];
    for (size_t i = 0; status == GDFO_STATUS_OK && i < x->n_sets; i++) {
        const char *rest = rest_below(x->sets[i].path, path, strlen(path));
        size_t n = rest ? strcspn(rest, ".") : 0;
        if (n == 0 || is_repeat(x, i, path, rest, n)) {
            continue;
        }
        memcpy(name, rest, n);
        name[n] = '\0';
        if (!object || !gdfo_json_get(object, name)) {
            status = write_child(x, NULL, name, path, depth);
        }
    }
    return status;
}

static enum gdfo_status write_object(struct writing *x, const char *key,
                                     const struct gdfo_json *object, char *path, int depth)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (depth > DEPTH_MAX) {
        return gdfo_error_set(x->err, GDFO_STATUS_INVALID, "deeper than %d levels", DEPTH_MAX);
    }
    gdfo_json_open(&x->w, key, '{');
    if (object) {
        for (const struct gdfo_json *m = gdfo_json_first(object); m && status == GDFO_STATUS_OK;
             m = gdfo_json_next(m)) {
            status = write_child(x, m, gdfo_json_key(m), path, depth);
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = write_new(x, object, path, depth);
    }
    gdfo_json_close(&x->w, '}');
    return status;
}

enum gdfo_status gdfo_spec_write(struct gdfo_buf *out, const struct gdfo_json *root,
                                 const struct gdfo_spec_set *sets, size_t n_sets,
                                 struct gdfo_error *err)
{
    char path[PATH_BYTES] = "";
    struct writing x = {gdfo_json_writer(out), sets, n_sets, err};
    enum gdfo_status status = write_object(&x, NULL, root, path, 1);
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(out)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "the SPEC is longer than %zu bytes",
                              out->max);
    }
    return status;
}
