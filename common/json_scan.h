#ifndef GDFO_COMMON_JSON_SCAN_H
#define GDFO_COMMON_JSON_SCAN_H

#include "common/json.h"

/*
 * The strict scanner that stands in front of cJSON (json.c is its only user; tests reach it through
 * gdfo_json_parse). It accepts exactly RFC 8259 within the limits and notes, for each value in
 * document order, what cJSON forgets: where it and its key stand, and whether a number was written
 * as an integer up to 2^53.
 */
struct gdfo_json_mark {
    size_t offset;     /* of the value's first byte */
    size_t key_offset; /* of its key's opening quote; 0 when it has none */
    int is_integer;
};

struct gdfo_json_marks {
    struct gdfo_json_mark *items; /* freed by the caller with gdfo_mem_free */
    size_t n, cap;
};

/* limits: all members set (no zeros). FORMAT names the byte. marks is freed by the caller also on
 * failure. */
GDFO_MUST_USE enum gdfo_status gdfo_json_scan(const char *text, size_t n,
                                              const struct gdfo_json_limits *limits,
                                              struct gdfo_json_marks *marks,
                                              struct gdfo_error *err);

#endif
