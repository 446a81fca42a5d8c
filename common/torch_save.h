#ifndef GDFO_COMMON_TORCH_SAVE_H
#define GDFO_COMMON_TORCH_SAVE_H

#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/*
 * One matrix as torch.load reads it: a ZIP of stored records with a pickle that builds the tensor
 * (teachers.md 3.3). The same matrix always gives the same bytes. Any thread.
 *
 *   gdfo_buf_init(&pt, gdfo_torch_save_bytes(GDFO_TORCH_F32, rows, cols));
 *   gdfo_torch_save(&pt, GDFO_TORCH_F32, rows, cols, floats, err);
 */
enum gdfo_torch_type { GDFO_TORCH_F32, GDFO_TORCH_F16, GDFO_TORCH_BF16 };

size_t gdfo_torch_width(enum gdfo_torch_type type); /* bytes of one number */
/* A ceiling that any such container stays below. */
size_t gdfo_torch_save_bytes(enum gdfo_torch_type type, uint32_t rows, uint32_t cols);

/*
 * Appends the container to out.
 *
 *   data     little-endian, row-major, rows x cols numbers of the type's width
 *   errors   LIMIT past 2^31 - 1 numbers or 2^32 - 1 bytes; NO_MEMORY also at out's ceiling
 */
GDFO_MUST_USE enum gdfo_status gdfo_torch_save(struct gdfo_buf *out, enum gdfo_torch_type type,
                                               uint32_t rows, uint32_t cols, const void *data,
                                               struct gdfo_error *err);

#endif
