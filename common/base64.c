#include "common/base64.h"

#include <stdint.h>

#define GROUPS 256 /* of three bytes, put into the buffer at once */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_group(char out[4], const unsigned char *in, size_t n)
{
    uint32_t v = (uint32_t)in[0] << 16;
    v |= n > 1 ? (uint32_t)in[1] << 8 : 0;
    v |= n > 2 ? in[2] : 0;
    out[0] = alphabet[v >> 18];
    out[1] = alphabet[v >> 12 & 63];
    out[2] = n > 1 ? alphabet[v >> 6 & 63] : '=';
    out[3] = n > 2 ? alphabet[v & 63] : '=';
}

void gdfo_base64_add(struct gdfo_buf *out, const void *bytes, size_t n)
{
    const unsigned char *in = bytes;
    char piece[4 * GROUPS];
    while (n > 0) {
        size_t used = 0;
        while (n > 0 && used < sizeof piece) {
            size_t k = n < 3 ? n : 3;
            put_group(piece + used, in, k);
            used += 4;
            in += k;
            n -= k;
        }
        gdfo_buf_addn(out, piece, used);
    }
}
