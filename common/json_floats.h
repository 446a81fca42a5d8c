#ifndef GDFO_COMMON_JSON_FLOATS_H
#define GDFO_COMMON_JSON_FLOATS_H

#include "common/json.h"
#include "common/json_write.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Long arrays of numbers in JSON, written and read without a tree. Any thread on its own data.
 *
 *   gdfo_json_put_floats(&w, "data", rows, n, GDFO_JSON_DIGITS_F32);
 *
 *   gdfo_json_pour(&poured, text, n, &setup, err);
 *   gdfo_json_poured_at(&poured, gdfo_json_get(output, "data"), &values, &n);
 *   gdfo_json_poured_deinit(&poured);
 */
#define GDFO_JSON_DIGITS_F32  9 /* significant digits that give a number of this type back */
#define GDFO_JSON_DIGITS_F16  5
#define GDFO_JSON_DIGITS_BF16 4

/* Appends finite numbers as members of the array that is open in w. */
void gdfo_json_add_floats(struct gdfo_json_writer *w, const float *values, size_t n, int digits);
/* A flat array of them. */
void gdfo_json_put_floats(struct gdfo_json_writer *w, const char *key, const float *values,
                          size_t n, int digits);

struct gdfo_json_pour {
    const char *key;                       /* members of this name, written without escapes */
    size_t max_values;                     /* of all such arrays together */
    const struct gdfo_json_limits *limits; /* of everything else; NULL: the defaults */
};

struct gdfo_json_poured {
    struct gdfo_json *root; /* what was not poured; in an array's place stands a number */
    float *values;
    size_t n_values, values_cap;
    size_t *ends; /* array i is values[ends[i - 1]..ends[i]) */
    size_t n_arrays, ends_cap;
};

/*
 * Reads a document. Arrays of numbers alone, flat or nested, that are members called setup->key
 * become floats in document order; numbers that no float holds become infinite. All else is read by
 * gdfo_json_parse. Ended by gdfo_json_poured_deinit also on failure.
 *
 *   errors   FORMAT as gdfo_json_parse; LIMIT past max_values
 */
GDFO_MUST_USE enum gdfo_status gdfo_json_pour(struct gdfo_json_poured *out, const char *text,
                                              size_t n, const struct gdfo_json_pour *setup,
                                              struct gdfo_error *err);
/* The numbers of a poured array: 0 when v (which may be NULL) is none. */
int gdfo_json_poured_at(const struct gdfo_json_poured *p, const struct gdfo_json *v,
                        const float **values, size_t *n);
void gdfo_json_poured_deinit(struct gdfo_json_poured *p);

#endif
