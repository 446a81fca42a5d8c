#include "server/model/train/adamw.h"

#include "common/hash.h"
#include "common/mem.h"
#include "server/model/kernels/train_lanes.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

#define TILE  16384 /* elements of one pool item */
#define N_MAX ((size_t)1 << 34)

static const char magic[8] = {'G', 'D', 'F', 'O', 'A', 'D', 'W', '1'};
#define HEAD_BYTES 24 /* magic, step, n */
#define TAIL_BYTES 4  /* crc32c of all before it */

struct step {
    struct gdfo_train_adamw of;
    size_t n;
};

struct gdfo_adamw_opts gdfo_adamw_defaults(void)
{
    return (struct gdfo_adamw_opts){.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
}

enum gdfo_status gdfo_adamw_check(const struct gdfo_adamw_opts *opts, struct gdfo_error *err)
{
    const struct {
        const char *name;
        double value, min, end; /* min <= value < end */
    } rows[] = {
        {"lr", opts->lr, 0, 1e6},
        {"beta1", opts->beta1, 0, 1},
        {"beta2", opts->beta2, 0, 1},
        {"eps", opts->eps, 1e-30, 1},
        {"weight_decay", opts->weight_decay, 0, 1e6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!(rows[i].value >= rows[i].min && rows[i].value < rows[i].end)) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s %g: want at least %g and below %g",
                                  rows[i].name, rows[i].value, rows[i].min, rows[i].end);
        }
    }
    if (opts->total_steps > 0 && opts->warmup_steps > opts->total_steps) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID, "warmup_steps %llu: want at most total_steps, %llu",
            (unsigned long long)opts->warmup_steps, (unsigned long long)opts->total_steps);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_adamw_init(struct gdfo_adamw *a, const struct gdfo_adamw_opts *opts, size_t n,
                                 struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_adamw_check(opts, err);
    memset(a, 0, sizeof *a);
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    if (n > N_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%zu parameters: want at most %zu", n, N_MAX);
    }
    a->opts = *opts;
    a->n = n;
    a->m = gdfo_mem_aligned(n, sizeof *a->m);
    a->v = gdfo_mem_aligned(n, sizeof *a->v);
    if (!a->m || !a->v) {
        gdfo_adamw_deinit(a);
        return gdfo_error_no_memory(err, "optimiser moments");
    }
    return GDFO_STATUS_OK;
}

void gdfo_adamw_deinit(struct gdfo_adamw *a)
{
    gdfo_mem_free(a->m);
    gdfo_mem_free(a->v);
    memset(a, 0, sizeof *a);
}

double gdfo_adamw_lr(const struct gdfo_adamw_opts *opts, uint64_t step)
{
    if (step <= opts->warmup_steps) {
        return opts->lr * (double)step / (double)(opts->warmup_steps ? opts->warmup_steps : 1);
    }
    if (opts->total_steps == 0) {
        return opts->lr;
    }
    if (step >= opts->total_steps) {
        return 0;
    }
    return opts->lr * (double)(opts->total_steps - step) /
           (double)(opts->total_steps - opts->warmup_steps);
}

static void step_tile(void *ctx, size_t item, unsigned slot)
{
    const struct step *s = ctx;
    size_t first = item * TILE;
    (void)slot;
    gdfo_train_lanes()->adamw(&s->of, first, s->n - first < TILE ? s->n : first + TILE);
}

void gdfo_adamw_step(struct gdfo_adamw *a, struct gdfo_pool *pool, float *params,
                     const float *grads)
{
    const struct gdfo_adamw_opts *o = &a->opts;
    double lr = gdfo_adamw_lr(o, ++a->step);
    struct step s = {.of = {.m = a->m, .v = a->v, .grads = grads}, .n = a->n};
    s.of.params = params;
    s.of.keep = (float)(1.0 - lr * o->weight_decay);
    s.of.beta1 = (float)o->beta1;
    s.of.beta2 = (float)o->beta2;
    s.of.eps = (float)o->eps;
    s.of.rate = (float)(lr / (1.0 - pow(o->beta1, (double)a->step)));
    s.of.root_bias2 = (float)sqrt(1.0 - pow(o->beta2, (double)a->step));
    gdfo_pool_run(pool, (a->n + TILE - 1) / TILE, step_tile, &s);
}

size_t gdfo_adamw_state_bytes(size_t n)
{
    return HEAD_BYTES + 2 * n * sizeof(float) + TAIL_BYTES;
}

void gdfo_adamw_save(const struct gdfo_adamw *a, struct gdfo_buf *out)
{
    size_t first = out->len;
    gdfo_buf_addn(out, magic, sizeof magic);
    gdfo_buf_u64(out, a->step);
    gdfo_buf_u64(out, a->n);
    gdfo_buf_addn(out, a->m, a->n * sizeof *a->m);
    gdfo_buf_addn(out, a->v, a->n * sizeof *a->v);
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + first, out->len - first));
    }
}

static uint64_t read_le(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    while (n-- > 0) {
        v = v << 8 | p[n];
    }
    return v;
}

enum gdfo_status gdfo_adamw_load(struct gdfo_adamw *a, const void *bytes, size_t n,
                                 struct gdfo_error *err)
{
    const unsigned char *p = bytes;
    size_t floats = a->n * sizeof(float);
    if (n != gdfo_adamw_state_bytes(a->n) || memcmp(p, magic, sizeof magic) != 0 ||
        read_le(p + 16, 8) != a->n) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "optimiser state of %zu bytes: want one of %zu parameters, %zu bytes",
                              n, a->n, gdfo_adamw_state_bytes(a->n));
    }
    if (read_le(p + n - TAIL_BYTES, TAIL_BYTES) != gdfo_crc32c(0, p, n - TAIL_BYTES)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "optimiser state: checksum differs");
    }
    a->step = read_le(p + 8, 8);
    memcpy(a->m, p + HEAD_BYTES, floats);
    memcpy(a->v, p + HEAD_BYTES + floats, floats);
    return GDFO_STATUS_OK;
}
