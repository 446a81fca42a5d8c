#ifndef GDFO_COMMON_OPT_H
#define GDFO_COMMON_OPT_H

#include "common/error.h"
#include "common/json.h"
#include "common/json_write.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The one option engine, shared by job specs, plug-ins and configuration. A plug-in declares a
 * const table of rows ended by {0}; values are stored into a caller's struct at each row's offset,
 * defaults first.
 *
 *   static const struct gdfo_opt opts[] = {
 *       {"popsize", GDFO_OPT_INT, offsetof(struct my, popsize), "20", 2, 1024, NULL, "candidates
 * per generation"}, {0}};
 *
 * Member types: INT int64_t, NUM double, BOOL int, ENUM int (index into choices "a|b|c"), STR
 * char[64], PATH char[1024].
 */
enum gdfo_opt_type {
    GDFO_OPT_INT,
    GDFO_OPT_NUM,
    GDFO_OPT_BOOL,
    GDFO_OPT_ENUM,
    GDFO_OPT_STR,
    GDFO_OPT_PATH
};
#define GDFO_OPT_STR_BYTES  64
#define GDFO_OPT_PATH_BYTES 1024

struct gdfo_opt {
    const char *name;
    enum gdfo_opt_type type;
    size_t offset;
    const char *fallback; /* the default, as text */
    double min, max;      /* INT and NUM; both 0 = no range */
    const char *choices;  /* ENUM: "csa|tpa" */
    const char *help;
};

/* Writes every default into values. A default that does not parse is a programmer's error
 * (GDFO_CHECK). */
void gdfo_opt_defaults(const struct gdfo_opt *opts, void *values);

/* Sets one option from text (configuration, command line). INVALID names the option, the value and
 * the range. */
GDFO_MUST_USE enum gdfo_status gdfo_opt_set_text(const struct gdfo_opt *opts, void *values,
                                                 const char *name, const char *text,
                                                 struct gdfo_error *err);

/* Called once for every fault found; pointer is a JSON pointer, code is unknown_field or
 * invalid_value. */
typedef void (*gdfo_opt_fault)(void *ctx, const char *pointer, const char *code,
                               const char *detail);

/* Sets options from the members of a JSON object (NULL: nothing). null members keep the default.
 * Reports every fault; returns the number of faults. prefix is the JSON pointer of the object, ""
 * at the top. */
size_t gdfo_opt_set_json(const struct gdfo_opt *opts, void *values, const struct gdfo_json *object,
                         const char *prefix, gdfo_opt_fault fault, void *ctx);

/* Writes all values as members of the object that is open in w, in table order. */
void gdfo_opt_write_json(const struct gdfo_opt *opts, const void *values,
                         struct gdfo_json_writer *w);

/* Writes the table itself as an array member `key` of {name,type,default,min,max,choices,help}: the
 * catalogue. */
void gdfo_opt_write_catalogue(const struct gdfo_opt *opts, struct gdfo_json_writer *w,
                              const char *key);

#endif
