#include "common/rng.h"

#include <math.h>
#include <string.h>

void gdfo_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[1] = (uint32_t)p1;
        c[3] = (uint32_t)p0;
        c[0] = n0;
        c[2] = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* splitmix64's finaliser: spreads close seeds and names over the key space. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

struct gdfo_rng gdfo_rng_stream(uint64_t seed, const char *name)
{
    struct gdfo_rng r;
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a over the name */
    memset(&r, 0, sizeof r);
    for (const char *p = name; *p; p++) {
        h = (h ^ (unsigned char)*p) * 0x100000001B3u;
    }
    r.key = mix(mix(seed + 0x9E3779B97F4A7C15u) ^ h);
    return r;
}

uint32_t gdfo_rng_u32(struct gdfo_rng *r)
{
    if (r->n_left == 0) {
        uint32_t c[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32), 0, 0};
        uint32_t k[2] = {(uint32_t)r->key, (uint32_t)(r->key >> 32)};
        gdfo_rng_philox(c, k, r->block);
        r->counter++;
        r->n_left = 4;
    }
    return r->block[4 - r->n_left--];
}

uint64_t gdfo_rng_u64(struct gdfo_rng *r)
{
    uint64_t lo = gdfo_rng_u32(r);
    return lo | ((uint64_t)gdfo_rng_u32(r) << 32);
}

double gdfo_rng_uniform(struct gdfo_rng *r)
{
    return (double)(gdfo_rng_u64(r) >> 11) * 0x1.0p-53;
}

double gdfo_rng_normal(struct gdfo_rng *r)
{
    double radius;
    double angle;
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    radius = sqrt(-2.0 * log(1.0 - gdfo_rng_uniform(r)));
    angle = 6.283185307179586 * gdfo_rng_uniform(r);
    r->spare = radius * sin(angle);
    r->has_spare = 1;
    return radius * cos(angle);
}

static double unit(uint32_t lo, uint32_t hi)
{
    return (double)((lo | ((uint64_t)hi << 32)) >> 11) * 0x1.0p-53;
}

void gdfo_rng_normals(struct gdfo_rng *r, double *out, size_t n)
{
    uint32_t key[2] = {(uint32_t)r->key, (uint32_t)(r->key >> 32)};
    size_t i = 0;
    while (i < n && (r->has_spare || r->n_left > 0)) { /* up to the edge of a block */
        out[i++] = gdfo_rng_normal(r);
    }
    for (; i + 2 <= n; i += 2, r->counter++) { /* a block of four words is one pair */
        uint32_t c[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32), 0, 0};
        uint32_t w[4];
        double radius;
        double angle;
        gdfo_rng_philox(c, key, w);
        radius = sqrt(-2.0 * log(1.0 - unit(w[0], w[1])));
        angle = 6.283185307179586 * unit(w[2], w[3]);
        out[i] = radius * cos(angle);
        out[i + 1] = radius * sin(angle);
    }
    while (i < n) {
        out[i++] = gdfo_rng_normal(r);
    }
}

uint32_t gdfo_rng_below(struct gdfo_rng *r, uint32_t n)
{
    uint32_t floor_ = (0u - n) % n; /* reject the uneven rest of 2^32 */
    uint32_t x;
    do {
        x = gdfo_rng_u32(r);
    } while (x < floor_);
    return x % n;
}

void gdfo_rng_shuffle(struct gdfo_rng *r, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        uint32_t j = gdfo_rng_below(r, (uint32_t)i);
        uint32_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}

void gdfo_rng_save(const struct gdfo_rng *r, unsigned char out[GDFO_RNG_STATE_BYTES])
{
    memset(out, 0, GDFO_RNG_STATE_BYTES);
    memcpy(out, &r->key, 8);
    memcpy(out + 8, &r->counter, 8);
    memcpy(out + 16, r->block, 16);
    memcpy(out + 32, &r->n_left, 4);
    memcpy(out + 36, &r->has_spare, 4);
    memcpy(out + 40, &r->spare, 8);
}

void gdfo_rng_load(struct gdfo_rng *r, const unsigned char in[GDFO_RNG_STATE_BYTES])
{
    memset(r, 0, sizeof *r);
    memcpy(&r->key, in, 8);
    memcpy(&r->counter, in + 8, 8);
    memcpy(r->block, in + 16, 16);
    memcpy(&r->n_left, in + 32, 4);
    memcpy(&r->has_spare, in + 36, 4);
    memcpy(&r->spare, in + 40, 8);
    r->n_left = r->n_left > 4 ? 0 : r->n_left;
}
