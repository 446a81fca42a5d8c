#ifndef GDFO_COMMON_JSON_H
#define GDFO_COMMON_JSON_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Strict JSON in front of cJSON (service.md 8.1, E4): our own scanner first (RFC 8259, UTF-8
 * without surrogate code points, depth, counts, duplicate keys compared after unescaping, no
 * \u0000, finite numbers, integers up to 2^53, nothing after the value), then cJSON by length, then
 * the typed getters below. A struct gdfo_json * is an opaque cJSON node, owned by its root, ended
 * by gdfo_json_destroy(root).
 */
struct gdfo_json;

struct gdfo_json_limits {
    size_t depth, string_bytes, members, values; /* 0 = the default of service.md 1.7 */
};

/* FORMAT with code "invalid_json" and the byte offset in the text. limits NULL = defaults (64, 64
 * KiB, 256, 20,000). */
GDFO_MUST_USE enum gdfo_status gdfo_json_parse(struct gdfo_json **out, const char *text, size_t n,
                                               const struct gdfo_json_limits *limits,
                                               struct gdfo_error *err);
void gdfo_json_destroy(struct gdfo_json *root);

enum gdfo_json_type {
    GDFO_JSON_NULL,
    GDFO_JSON_BOOL,
    GDFO_JSON_NUMBER,
    GDFO_JSON_STRING,
    GDFO_JSON_ARRAY,
    GDFO_JSON_OBJECT
};

enum gdfo_json_type gdfo_json_type(const struct gdfo_json *v);
const char *gdfo_json_type_name(enum gdfo_json_type type); /* "a string" */
const struct gdfo_json *gdfo_json_get(const struct gdfo_json *object,
                                      const char *key); /* case-sensitive; NULL if missing */
const struct gdfo_json *gdfo_json_first(const struct gdfo_json *container);
const struct gdfo_json *gdfo_json_next(const struct gdfo_json *v);
const char *gdfo_json_key(const struct gdfo_json *v); /* member name, NULL in arrays */
size_t gdfo_json_size(const struct gdfo_json *container);
const char *gdfo_json_string(const struct gdfo_json *v);      /* NULL unless a string */
int gdfo_json_number(const struct gdfo_json *v, double *out); /* 1 if a number */
int gdfo_json_int(const struct gdfo_json *v,
                  int64_t *out); /* 1 if written without fraction, |v| <= 2^53 */
int gdfo_json_bool(const struct gdfo_json *v, int *out); /* 1 if true or false */

#endif
