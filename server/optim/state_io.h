#ifndef GDFO_SERVER_OPTIM_STATE_IO_H
#define GDFO_SERVER_OPTIM_STATE_IO_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Saved state of an optimiser: "GDFOOPT1", u32 CRC-32C of the body, u32 zero, u64 body length,
 * body. Numbers are little-endian, doubles bit for bit.
 */
struct gdfo_optim_reader {
    const unsigned char *at;
    size_t left;
    int is_broken; /* something was short or not finite; all later reads give zeros */
};

void gdfo_optim_put_f64(struct gdfo_buf *b, const double *x, size_t n);
uint64_t gdfo_optim_get_u64(struct gdfo_optim_reader *r);
void gdfo_optim_get_bytes(struct gdfo_optim_reader *r, void *out, size_t n);
void gdfo_optim_get_f64(struct gdfo_optim_reader *r, double *out, size_t n); /* finite ones only */

void gdfo_optim_seal(struct gdfo_buf *b, const struct gdfo_buf *body);
GDFO_MUST_USE enum gdfo_status gdfo_optim_unseal(struct gdfo_optim_reader *body, const void *bytes,
                                                 size_t n, struct gdfo_error *err);

#endif
