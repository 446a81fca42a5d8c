#ifndef GDFO_COMMON_RNG_H
#define GDFO_COMMON_RNG_H

#include <stddef.h>
#include <stdint.h>

/*
 * Counter-based random numbers (Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). A stream is its key and a counter, so saving the counter saves the stream,
 * and two streams of one seed never overlap. One named stream per purpose; owner thread only.
 *
 *   struct gdfo_rng r = gdfo_rng_stream(seed, "projection");
 *   double x = gdfo_rng_normal(&r);
 */
struct gdfo_rng {
    uint64_t key;     /* seed and name, mixed */
    uint64_t counter; /* blocks of four words consumed; this is all that has to be saved */
    uint32_t block[4];
    uint32_t n_left; /* words of block not yet handed out: 0..4 */
    uint32_t has_spare;
    double spare; /* second number of a Box-Muller pair */
};

struct gdfo_rng gdfo_rng_stream(uint64_t seed, const char *name);
uint32_t gdfo_rng_u32(struct gdfo_rng *r);
uint64_t gdfo_rng_u64(struct gdfo_rng *r);
double gdfo_rng_uniform(struct gdfo_rng *r); /* [0, 1), 53 bits */
double gdfo_rng_normal(struct gdfo_rng *r);  /* N(0, 1), Box-Muller in double */
void gdfo_rng_normals(struct gdfo_rng *r, double *out, size_t n); /* n calls of the above, faster */
uint32_t gdfo_rng_below(struct gdfo_rng *r, uint32_t n);          /* 0..n-1 without bias; n >= 1 */
void gdfo_rng_shuffle(struct gdfo_rng *r, uint32_t *items, size_t n); /* Fisher-Yates */

/* Fixed-size state for snapshots. */
#define GDFO_RNG_STATE_BYTES 56
void gdfo_rng_save(const struct gdfo_rng *r, unsigned char out[GDFO_RNG_STATE_BYTES]);
void gdfo_rng_load(struct gdfo_rng *r, const unsigned char in[GDFO_RNG_STATE_BYTES]);

/* The bare block function: ten rounds over counter and key. For tests against the published
 * vectors. */
void gdfo_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
