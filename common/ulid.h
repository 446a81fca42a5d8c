#ifndef GDFO_COMMON_ULID_H
#define GDFO_COMMON_ULID_H

#include <stdint.h>

#define GDFO_ULID_BYTES 27 /* 26 characters of Crockford's base 32, and NUL */

/*
 * Writes a ULID: 48 bits of wall_ms, then 80 random bits from the system. Ids made by one process
 * rise strictly: within one millisecond, or when the clock steps back, the last one is counted up.
 * Any thread.
 */
void gdfo_ulid(char out[GDFO_ULID_BYTES], int64_t wall_ms);

#endif
