#include "common/clk.h"

#include <stddef.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts = {0, 0};
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_monotonic_ms(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t system_wall_ms(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_REALTIME);
}

const struct gdfo_clk *gdfo_clk_system(void)
{
    static const struct gdfo_clk clk = {NULL, system_monotonic_ms, system_wall_ms};
    return &clk;
}

int64_t gdfo_clk_monotonic_ms(const struct gdfo_clk *clk)
{
    return clk->monotonic_ms(clk->ctx);
}

int64_t gdfo_clk_wall_ms(const struct gdfo_clk *clk)
{
    return clk->wall_ms(clk->ctx);
}

int gdfo_clk_sleep(int64_t ms, const atomic_int *cancel)
{
    int64_t end = read_clock(CLOCK_MONOTONIC) + ms;
    for (;;) {
        int64_t left = end - read_clock(CLOCK_MONOTONIC);
        struct timespec ts = {0, 50 * 1000000L};
        if (cancel && atomic_load_explicit(cancel, memory_order_acquire)) {
            return 0;
        }
        if (left <= 0) {
            return 1;
        }
        if (left < 50) {
            ts.tv_nsec = (long)left * 1000000L;
        }
        (void)nanosleep(&ts, NULL);
    }
}
