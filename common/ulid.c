#include "common/ulid.h"

#include "common/check.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define RANDOM_BYTES 10
#define ULID_CHARS   26

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int64_t last_ms = -1;
static unsigned char last_random[RANDOM_BYTES];

static void draw(unsigned char *out)
{
    size_t n = 0;
    while (n < RANDOM_BYTES) {
        ssize_t got = getrandom(out + n, RANDOM_BYTES - n, 0);
        GDFO_CHECK(got > 0 || errno == EINTR); /* without random numbers there are no ids */
        n += got > 0 ? (size_t)got : 0;
    }
}

/* Adds one to the big-endian number; wrapping around takes 2^80 ids within a millisecond. */
static void count_up(unsigned char *number)
{
    for (int i = RANDOM_BYTES - 1; i >= 0 && ++number[i] == 0; i--) {
    }
}

static void encode(const unsigned char bytes[16], char *out)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    /* 128 bits in 26 digits of 5: two zero bits stand in front */
    for (int i = 0; i < ULID_CHARS; i++) {
        unsigned int digit = 0;
        for (int bit = i * 5 - 2; bit < i * 5 + 3; bit++) {
            unsigned int one = bit < 0 ? 0U : ((unsigned int)bytes[bit / 8] >> (7 - bit % 8)) & 1U;
            digit = digit << 1 | one;
        }
        out[i] = digits[digit];
    }
    out[ULID_CHARS] = '\0';
}

void gdfo_ulid(char out[GDFO_ULID_BYTES], int64_t wall_ms)
{
    unsigned char bytes[16];
    GDFO_CHECK(pthread_mutex_lock(&mutex) == 0);
    if (wall_ms > last_ms) {
        last_ms = wall_ms;
        draw(last_random);
        last_random[0] &= 0x7F; /* room to count up */
    } else {
        count_up(last_random);
    }
    for (int i = 0; i < 6; i++) {
        bytes[i] = (unsigned char)((uint64_t)last_ms >> (40 - 8 * i));
    }
    memcpy(bytes + 6, last_random, RANDOM_BYTES);
    GDFO_CHECK(pthread_mutex_unlock(&mutex) == 0);
    encode(bytes, out);
}
