#define _DEFAULT_SOURCE /* madvise */
#include "common/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

static atomic_size_t n_allocations;
static atomic_long fail_countdown = -1;

static int should_fail(void)
{
    (void)atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) {
        return 0;
    }
    return atomic_fetch_sub_explicit(&fail_countdown, 1, memory_order_relaxed) == 0;
}

void *gdfo_mem_array(size_t n, size_t size)
{
    if (should_fail()) {
        return NULL;
    }
    return calloc(n ? n : 1, size ? size : 1); /* calloc checks the product */
}

void *gdfo_mem_aligned_unset(size_t n, size_t size)
{
    void *p = NULL;
    size_t bytes = 0;
    if (!gdfo_size_mul(&bytes, n, size) || should_fail()) {
        return NULL;
    }
    if (posix_memalign(&p, bytes < HUGE_PAGE ? 64 : HUGE_PAGE, bytes ? bytes : 64) != 0) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    if (bytes >= HUGE_PAGE) { /* advice: a system without such pages refuses, and all is well */
        (void)madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
#endif
    return p;
}

void *gdfo_mem_aligned(size_t n, size_t size)
{
    void *p = gdfo_mem_aligned_unset(n, size);
    if (p) {
        memset(p, 0, n * size);
    }
    return p;
}

void gdfo_mem_free(void *p)
{
    free(p);
}

void *gdfo_mem_dup(const void *p, size_t n)
{
    void *copy = gdfo_mem_array(n, 1);
    if (copy && n > 0) {
        memcpy(copy, p, n);
    }
    return copy;
}

char *gdfo_mem_dup_str(const char *s)
{
    return s ? gdfo_mem_dup(s, strlen(s) + 1) : NULL;
}

int gdfo_mem_grow(void **p, size_t *cap, size_t want, size_t size)
{
    size_t next = *cap ? *cap : 8;
    size_t bytes = 0;
    void *grown;
    if (want <= *cap) {
        return 1;
    }
    while (next < want) {
        if (!gdfo_size_mul(&next, next, 2)) {
            return 0;
        }
    }
    if (!gdfo_size_mul(&bytes, next, size) || should_fail()) {
        return 0;
    }
    grown = realloc(*p, bytes);
    if (!grown) {
        return 0;
    }
    memset((char *)grown + *cap * size, 0, (next - *cap) * size);
    *p = grown;
    *cap = next;
    return 1;
}

int gdfo_size_mul(size_t *out, size_t a, size_t b)
{
    if (b != 0 && a > SIZE_MAX / b) {
        return 0;
    }
    *out = a * b;
    return 1;
}

int gdfo_size_add(size_t *out, size_t a, size_t b)
{
    if (a > SIZE_MAX - b) {
        return 0;
    }
    *out = a + b;
    return 1;
}

size_t gdfo_mem_count(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}

void gdfo_mem_fail_after(long n)
{
    atomic_store_explicit(&fail_countdown, n, memory_order_relaxed);
}

void gdfo_mem_wipe(void *p, size_t n)
{
    volatile unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = 0;
    }
}
