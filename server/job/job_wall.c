#include "server/job/job_wall.h"

enum gdfo_status gdfo_job_wall_init(struct gdfo_job_wall *w, struct gdfo_store *store, int64_t jid,
                                    const struct gdfo_clk *clk, struct gdfo_error *err)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    size_t n = 0;
    enum gdfo_status status = gdfo_store_job_caps(store, jid, caps, &n, err);
    *w = (struct gdfo_job_wall){.clk = clk, .from_ms = gdfo_clk_monotonic_ms(clk)};
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        if (caps[i].unit == GDFO_STORE_WALL_MS) {
            w->cap_ms = caps[i].cap;
            w->used_ms = caps[i].used;
        }
    }
    return status;
}

int64_t gdfo_job_wall_pending(const struct gdfo_job_wall *w)
{
    return w->cap_ms > 0 ? gdfo_clk_monotonic_ms(w->clk) - w->from_ms : 0;
}

void gdfo_job_wall_booked(struct gdfo_job_wall *w, int64_t ms)
{
    w->used_ms += ms;
    w->from_ms += ms;
}

int gdfo_job_wall_is_over(const struct gdfo_job_wall *w)
{
    return w->cap_ms > 0 && w->used_ms + gdfo_job_wall_pending(w) >= w->cap_ms;
}
