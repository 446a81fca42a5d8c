#ifndef GDFO_SERVER_MODEL_FORMAT_GGUF_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_GGUF_PRIV_H

#include "server/model/format/cursor.h"
#include "server/model/format/format_priv.h"

/*
 * The metadata of a GGUF file: every key with its scalar value, or with where its string or array
 * lies. Strings and arrays are checked once on opening and read again when they are wanted, so a
 * file full of text costs no memory.
 */
#define GDFO_GGUF_KVS_MAX    4096u
#define GDFO_GGUF_KEY_MAX    256u
#define GDFO_GGUF_STRING_MAX ((uint64_t)16 << 20)
#define GDFO_GGUF_ARRAY_MAX  4194304u
#define GDFO_GGUF_NESTING    1u /* arrays in arrays, how deep */

enum gdfo_gguf_type {
    GDFO_GGUF_U8,
    GDFO_GGUF_I8,
    GDFO_GGUF_U16,
    GDFO_GGUF_I16,
    GDFO_GGUF_U32,
    GDFO_GGUF_I32,
    GDFO_GGUF_F32,
    GDFO_GGUF_BOOL,
    GDFO_GGUF_STRING,
    GDFO_GGUF_ARRAY,
    GDFO_GGUF_U64,
    GDFO_GGUF_I64,
    GDFO_GGUF_F64,
    GDFO_GGUF_END
};

struct gdfo_gguf_value { /* of a scalar: the member its type belongs to */
    uint64_t u;          /* unsigned types and bool */
    int64_t i;           /* signed types */
    double f;
};

struct gdfo_gguf_kv {
    char key[GDFO_GGUF_KEY_MAX + 1];
    uint32_t type;
    uint32_t element_type; /* of an array */
    struct gdfo_gguf_value value;
    uint64_t at, n; /* string: its length at byte at; array: its elements, the first at byte at */
};

struct gdfo_gguf {
    struct gdfo_gguf_kv *kvs; /* sorted by key */
    size_t n_kvs, cap_kvs;
};

/* Reads n kvs at the cursor; sorts and checks them. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_read_kvs(struct gdfo_gguf *g, struct gdfo_cursor *c,
                                                  uint64_t n, struct gdfo_error *err);
const struct gdfo_gguf_kv *gdfo_gguf_find(const struct gdfo_gguf *g, const char *key);
const char *gdfo_gguf_type_name(uint32_t type); /* "an u32"; NULL when there is no such type */

/* One scalar of the type at the cursor; FORMAT for a bool that is neither 0 nor 1. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_scalar(struct gdfo_cursor *c, uint32_t type,
                                                struct gdfo_gguf_value *out, const char *what,
                                                struct gdfo_error *err);

/* The number of a key, any integer type, in [min, max]; of a value already read. */
struct gdfo_gguf_range {
    uint64_t min, max;
};
GDFO_MUST_USE enum gdfo_status gdfo_gguf_int_of(uint32_t type, struct gdfo_gguf_value value,
                                                struct gdfo_gguf_range range, uint64_t *out,
                                                const char *what, struct gdfo_error *err);

/* Getters: *out keeps what it holds (the default) when the key is missing. FORMAT for a wrong type
 * or range. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_int(const struct gdfo_gguf *g, const char *key,
                                             struct gdfo_gguf_range range, uint64_t *out,
                                             struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_gguf_float(const struct gdfo_gguf *g, const char *key,
                                               double *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_gguf_bool(const struct gdfo_gguf *g, const char *key, int *out,
                                              struct gdfo_error *err);
/* Cut to cap - 1 bytes at a character; *out is a NUL-terminated string. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_text(const struct gdfo_gguf *g,
                                              const struct gdfo_reader *r, const char *key,
                                              char *out, size_t cap, struct gdfo_error *err);
/* NULL in *out when missing; FORMAT when it is no array. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_array(const struct gdfo_gguf *g, const char *key,
                                               const struct gdfo_gguf_kv **out,
                                               struct gdfo_error *err);
enum gdfo_status gdfo_gguf_missing(const char *key, struct gdfo_error *err); /* FORMAT */

/* The lists behind the tokenizer's keys. NOT_FOUND when the file has none. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_tokenizer(const struct gdfo_model_file *f,
                                                   struct gdfo_tokenizer **out,
                                                   struct gdfo_error *err);

#endif
