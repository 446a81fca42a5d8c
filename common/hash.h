#ifndef GDFO_COMMON_HASH_H
#define GDFO_COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

#define GDFO_SHA256_BYTES 32
#define GDFO_SHA256_HEX   65 /* 64 digits and NUL */

/* SHA-256 (FIPS 180-4), streaming. */
struct gdfo_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    unsigned char block[64];
};

void gdfo_sha256_init(struct gdfo_sha256 *h);
void gdfo_sha256_add(struct gdfo_sha256 *h, const void *bytes, size_t n);
void gdfo_sha256_end(struct gdfo_sha256 *h, unsigned char out[GDFO_SHA256_BYTES]);
void gdfo_sha256(const void *bytes, size_t n, unsigned char out[GDFO_SHA256_BYTES]);
void gdfo_hex(const unsigned char *bytes, size_t n, char *out); /* out: 2 n + 1 chars */

uint32_t gdfo_crc32c(uint32_t crc, const void *bytes, size_t n); /* Castagnoli, start with 0 */
uint32_t gdfo_crc32(uint32_t crc, const void *bytes, size_t n);  /* of ZIP, start with 0 */

#endif
