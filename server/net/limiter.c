#include "server/net/limiter.h"

#include <string.h>

#define MS_PER_MINUTE 60000.0
#define BURST_MS      1000.0
#define WAIT_MAX_MS   600000.0

static void bucket_init(struct gdfo_limiter_bucket *b, double per_minute, double least)
{
    b->per_ms = per_minute > 0 ? per_minute / MS_PER_MINUTE : 0;
    b->cap = b->per_ms * BURST_MS > least ? b->per_ms * BURST_MS : least;
    b->level = b->cap;
}

void gdfo_limiter_init(struct gdfo_limiter *l, uint32_t max_inflight, double requests_per_minute,
                       double tokens_per_minute, int64_t now_ms)
{
    memset(l, 0, sizeof *l);
    bucket_init(&l->requests, requests_per_minute, 1.0);
    bucket_init(&l->tokens, tokens_per_minute, 1.0);
    l->filled_ms = now_ms;
    l->max_inflight = max_inflight;
    l->allowed = max_inflight;
    l->cut_ms = INT64_MIN;
    l->paused_until_ms = INT64_MIN;
}

static void bucket_fill(struct gdfo_limiter_bucket *b, double ms)
{
    b->level += b->per_ms * ms;
    if (b->level > b->cap) {
        b->level = b->cap;
    }
}

/* Milliseconds until the bucket allows it; 0 = now. A millisecond is added, not a fraction lost. */
static int64_t bucket_wait(const struct gdfo_limiter_bucket *b, double need)
{
    double lacking = (need < b->cap ? need : b->cap) - b->level;
    double ms;
    if (b->per_ms <= 0 || lacking <= 1e-9) {
        return 0;
    }
    ms = lacking / b->per_ms;
    return ms >= WAIT_MAX_MS ? (int64_t)WAIT_MAX_MS : (int64_t)ms + 1;
}

static int64_t longer(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int gdfo_limiter_take(struct gdfo_limiter *l, int64_t now_ms, int64_t n_tokens, int64_t *wait_ms)
{
    double need = n_tokens > 0 ? (double)n_tokens : 0;
    int64_t wait;
    if (now_ms > l->filled_ms) {
        bucket_fill(&l->requests, (double)(now_ms - l->filled_ms));
        bucket_fill(&l->tokens, (double)(now_ms - l->filled_ms));
        l->filled_ms = now_ms;
    }
    *wait_ms = -1;
    if (l->n_inflight >= l->allowed) {
        return 0;
    }
    wait = longer(bucket_wait(&l->requests, 1.0), bucket_wait(&l->tokens, need));
    if (l->paused_until_ms > now_ms) {
        wait = longer(wait, l->paused_until_ms - now_ms);
    }
    if (wait > 0) {
        *wait_ms = wait;
        return 0;
    }
    l->requests.level -= 1.0;
    l->tokens.level -= need;
    l->n_inflight++;
    return 1;
}

void gdfo_limiter_give(struct gdfo_limiter *l)
{
    l->n_inflight -= l->n_inflight > 0;
}

void gdfo_limiter_clean(struct gdfo_limiter *l)
{
    if (++l->n_clean >= l->allowed) {
        l->n_clean = 0;
        l->allowed += l->allowed < l->max_inflight;
    }
}

void gdfo_limiter_cut(struct gdfo_limiter *l, int64_t sent_ms, int64_t now_ms)
{
    l->n_clean = 0;
    if (sent_ms < l->cut_ms) {
        return;
    }
    l->allowed = l->allowed > 1 ? l->allowed / 2 : 1;
    l->cut_ms = now_ms + 1;
}

void gdfo_limiter_pause(struct gdfo_limiter *l, int64_t until_ms)
{
    l->paused_until_ms = longer(l->paused_until_ms, until_ms);
}
