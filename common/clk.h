#ifndef GDFO_COMMON_CLK_H
#define GDFO_COMMON_CLK_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Time as an argument. Durations use monotonic_ms, stamps use wall_ms. Tests hand in a clock of
 * their own; the daemon hands in gdfo_clk_system(). Any thread.
 */
struct gdfo_clk {
    void *ctx;
    int64_t (*monotonic_ms)(void *ctx);
    int64_t (*wall_ms)(void *ctx); /* since 1970 */
};

const struct gdfo_clk *gdfo_clk_system(void);
int64_t gdfo_clk_monotonic_ms(const struct gdfo_clk *clk);
int64_t gdfo_clk_wall_ms(const struct gdfo_clk *clk);

/* Sleeps up to ms; returns 0 early (within 50 ms) once *cancel is set, else 1. cancel may be NULL.
 */
int gdfo_clk_sleep(int64_t ms, const atomic_int *cancel);

#endif
