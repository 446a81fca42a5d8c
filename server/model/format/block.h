#ifndef GDFO_SERVER_MODEL_FORMAT_BLOCK_H
#define GDFO_SERVER_MODEL_FORMAT_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The element types of model files (teachers.md 6.1): how many bytes hold how many elements, and
 * how a run of blocks becomes float. Pure functions; any thread.
 */
#define GDFO_BLOCK_F32  0u /* ids as GGUF numbers them */
#define GDFO_BLOCK_F16  1u
#define GDFO_BLOCK_Q4_0 2u
#define GDFO_BLOCK_Q4_1 3u
#define GDFO_BLOCK_Q8_0 8u
#define GDFO_BLOCK_BF16 30u

struct gdfo_block_type {
    const char *name;
    uint32_t id;
    uint32_t n_bytes;    /* of one block */
    uint32_t n_elements; /* of one block */
    /* Decodes n blocks into n * n_elements floats, exactly. Returns the index of the first block
     * that holds a non-finite scale or value (out is then undefined), n when all are finite. */
    size_t (*decode)(const unsigned char *in, size_t n, float *out);
};

const struct gdfo_block_type *gdfo_block_find(uint32_t id); /* NULL when we do not read it */
const char *gdfo_block_name(uint32_t id);   /* "Q4_K", also of types we do not read; else NULL */
const char *gdfo_block_list(void);          /* the names we read, for messages */
float gdfo_block_half_to_float(uint16_t h); /* IEEE binary16, exact, subnormals included */

#endif
