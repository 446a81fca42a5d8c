#include "server/optim/state_io.h"

#include "common/hash.h"

#include <math.h>
#include <string.h>

#define MAGIC        "GDFOOPT1"
#define MAGIC_BYTES  8
#define HEADER_BYTES 24 /* magic, checksum, zero, length */

void gdfo_optim_put_f64(struct gdfo_buf *b, const double *x, size_t n)
{
    gdfo_buf_addn(b, x, n * sizeof *x); /* little-endian machines only, as the rest of the daemon */
}

void gdfo_optim_get_bytes(struct gdfo_optim_reader *r, void *out, size_t n)
{
    if (r->is_broken || r->left < n) {
        r->is_broken = 1;
        memset(out, 0, n);
        return;
    }
    memcpy(out, r->at, n);
    r->at += n;
    r->left -= n;
}

uint64_t gdfo_optim_get_u64(struct gdfo_optim_reader *r)
{
    unsigned char b[8];
    uint64_t v = 0;
    gdfo_optim_get_bytes(r, b, sizeof b);
    for (int i = 7; i >= 0; i--) {
        v = v << 8 | b[i];
    }
    return v;
}

void gdfo_optim_get_f64(struct gdfo_optim_reader *r, double *out, size_t n)
{
    gdfo_optim_get_bytes(r, out, n * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(out[i])) {
            r->is_broken = 1;
            out[i] = 0;
        }
    }
}

void gdfo_optim_seal(struct gdfo_buf *b, const struct gdfo_buf *body)
{
    if (!gdfo_buf_ok(body)) {
        b->is_broken = 1;
        return;
    }
    gdfo_buf_addn(b, MAGIC, MAGIC_BYTES);
    gdfo_buf_u32(b, gdfo_crc32c(0, body->data, body->len));
    gdfo_buf_u32(b, 0);
    gdfo_buf_u64(b, body->len);
    gdfo_buf_addn(b, body->data, body->len);
}

enum gdfo_status gdfo_optim_unseal(struct gdfo_optim_reader *body, const void *bytes, size_t n,
                                   struct gdfo_error *err)
{
    struct gdfo_optim_reader r = {.at = bytes, .left = n};
    char magic[MAGIC_BYTES];
    uint64_t sums;
    uint64_t length;
    gdfo_optim_get_bytes(&r, magic, sizeof magic);
    sums = gdfo_optim_get_u64(&r);
    length = gdfo_optim_get_u64(&r);
    if (r.is_broken || memcmp(magic, MAGIC, MAGIC_BYTES) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "optimiser state of %zu bytes: want at least %d and the mark " MAGIC,
                              n, HEADER_BYTES);
    }
    if (length != r.left) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "optimiser state: body of %zu bytes, want %llu", r.left,
                              (unsigned long long)length);
    }
    if (sums != gdfo_crc32c(0, r.at, r.left)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "optimiser state: checksum does not match");
    }
    *body = r;
    return GDFO_STATUS_OK;
}
