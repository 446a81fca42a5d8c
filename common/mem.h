#ifndef GDFO_COMMON_MEM_H
#define GDFO_COMMON_MEM_H

#include <stddef.h>

/*
 * The only way to the heap. Memory is zeroed (but for one function that says so), products are
 * checked, blocks are counted (so that a test can hold "allocates nothing after set-up" against the
 * count), and a test can make the Nth one fail. Any thread.
 */
void *gdfo_mem_array(
    size_t n, size_t size); /* n * size zeroed bytes, NULL when out of memory or overflowing */
void *gdfo_mem_aligned(
    size_t n, size_t size); /* the same on a 64-byte boundary; ended by gdfo_mem_free too */
/* As gdfo_mem_aligned, but not zeroed: for the many pages of a model's weights, which are then
 * touched first by the thread that fills them. The caller writes every byte before it is read. */
void *gdfo_mem_aligned_unset(size_t n, size_t size);
void gdfo_mem_free(void *p);           /* NULL is fine */
char *gdfo_mem_dup_str(const char *s); /* NULL in, NULL out */
void *gdfo_mem_dup(const void *p, size_t n);
void gdfo_mem_wipe(void *p, size_t n); /* zeros that no compiler leaves out: for secrets */

/* Grows *p to hold at least want elements (doubling; new bytes zeroed). *cap is updated. 0 on
 * failure. */
int gdfo_mem_grow(void **p, size_t *cap, size_t want, size_t size);

int gdfo_size_mul(size_t *out, size_t a, size_t b); /* 0 on overflow, *out untouched */
int gdfo_size_add(size_t *out, size_t a, size_t b);

size_t gdfo_mem_count(void);      /* allocations since start */
void gdfo_mem_fail_after(long n); /* tests: allocation number n from now fails once; -1 = never */

#endif
