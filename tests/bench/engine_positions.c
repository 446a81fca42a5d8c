/*
 * Positions a second through the embedded engine's forward pass, in each precision and three shapes
 * of a pass, in alternation. Prints one JSON object a line: the medians by the wall clock and by
 * the processor's time (which others on the machine do not disturb), and what each leaves of the
 * rate at which one core multiplies in that precision.
 *
 *   bench_engine_positions MODEL.gguf [REPEATS] [PRECISION]
 *
 * Shapes: 32 runs of 14 behind cached texts of 24, the last position scored (a candidate on a batch
 * in suffix layout); 32 runs of 64; 8 runs of 512. The head is not applied.
 */
#include "common/mem.h"
#include "common/parse.h"
#include "server/num/gemm.h"
#include "server/num/pack.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RUNS_MAX    32
#define REPEATS_MAX 101
#define TEXT        24

static const struct shape {
    const char *name;
    size_t n_runs, n, n_past;
} shapes[] = {{"32x14+24", 32, 14, TEXT}, {"32x64", 32, 64, 0}, {"8x512", 8, 512, 0}};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

struct engine {
    struct gdfo_model *model;
    struct gdfo_forward *forward;
    struct gdfo_kv *kv[RUNS_MAX];
    double load_seconds;
    double wall[N_SHAPES][REPEATS_MAX], cpu[N_SHAPES][REPEATS_MAX];
};

static int32_t ids[RUNS_MAX * 512];
static float *hidden;

static double read_clock(clockid_t which)
{
    struct timespec t;
    (void)clock_gettime(which, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_shape(const struct engine *e, const struct shape *s, int is_text)
{
    struct gdfo_piece pieces[RUNS_MAX];
    struct gdfo_run runs[RUNS_MAX];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < s->n_runs; i++) {
        pieces[i] = (struct gdfo_piece){.ids = ids + i * 512, .n = is_text ? s->n_past : s->n};
        runs[i] = (struct gdfo_run){.pieces = &pieces[i], .n_pieces = 1};
        runs[i].scored = is_text ? GDFO_SCORED_NONE : GDFO_SCORED_LAST;
        runs[i].keep = is_text ? e->kv[i] : NULL;
        runs[i].past = !is_text && s->n_past > 0 ? e->kv[i] : NULL;
    }
    gdfo_test_ok(gdfo_forward_run(e->forward, runs, s->n_runs, is_text ? NULL : hidden, &err),
                 &err);
}

static void open_engine(struct engine *e, const char *path, enum gdfo_precision p,
                        struct gdfo_pool *pool)
{
    const struct gdfo_model_options opt = {.precision = p, .pool = pool};
    double start = read_clock(CLOCK_MONOTONIC);
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    struct gdfo_reader file;
    gdfo_test_ok(gdfo_reader_open(&file, path, &err), &err);
    gdfo_test_ok(gdfo_model_file_open(&f, &file, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&e->model, f, &opt, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&file);
    e->load_seconds = read_clock(CLOCK_MONOTONIC) - start;
    gdfo_test_ok(gdfo_forward_create(&e->forward, e->model, pool, NULL, &err), &err);
    for (size_t i = 0; i < RUNS_MAX; i++) {
        gdfo_test_ok(gdfo_kv_create(&e->kv[i], e->model, TEXT, &err), &err);
    }
    run_shape(e, &shapes[0], 1);
}

static void close_engine(struct engine *e)
{
    for (size_t i = 0; i < RUNS_MAX; i++) {
        gdfo_kv_destroy(e->kv[i]);
    }
    gdfo_forward_destroy(e->forward);
    gdfo_model_destroy(e->model);
}

static void measure(struct engine *e, size_t turn)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        double wall = read_clock(CLOCK_MONOTONIC);
        double cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        run_shape(e, &shapes[i], 0);
        e->wall[i][turn] = read_clock(CLOCK_MONOTONIC) - wall;
        e->cpu[i][turn] = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
}

static int by_size(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_size);
    return x[n / 2];
}

/* Matrix products of a position, in floating-point operations; the last layer's but for q, k, v are
 * done for scored positions alone. */
static double flop_of(const struct gdfo_model_config *c, const struct shape *s)
{
    double d = c->d_model;
    double q = (double)c->n_heads * c->d_head;
    double enter = 2 * d * (q + 2 * (double)c->n_kv_heads * c->d_head);
    double leave = 2 * (q * d + 3 * d * c->d_ff);
    return c->n_layers * enter + (c->n_layers - 1 + 1.0 / (double)s->n) * leave;
}

/* GFLOP/s of one core in large products of this precision, the best of a few turns. */
static double core_peak(enum gdfo_precision p)
{
    const size_t m = 240, n = 1024, k = 1024;
    float *w = gdfo_mem_aligned(n * k, sizeof *w);
    float *a = gdfo_mem_aligned(m * k, sizeof *a);
    float *c = gdfo_mem_aligned(m * n, sizeof *c);
    const struct gdfo_pack_source source = {GDFO_GEMM_NT, w, n, k, k};
    struct gdfo_product x = {.m = m, .a = a, .lda = k, .c = c, .ldc = n, .is_loose = 1};
    struct gdfo_pack *pack = NULL;
    struct gdfo_error err = {0};
    void *scratch;
    double best = 1e9;
    gdfo_test_ok(gdfo_pack_create(&pack, p, &source, &err), &err);
    scratch = gdfo_mem_aligned(gdfo_pack_scratch(pack, m), 1);
    x.scratch = scratch;
    for (int i = 0; i < 20; i++) {
        double start = read_clock(CLOCK_THREAD_CPUTIME_ID);
        double seconds;
        gdfo_pack_product(pack, &x);
        seconds = read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
        best = seconds < best ? seconds : best;
    }
    gdfo_pack_destroy(pack);
    gdfo_mem_free(scratch);
    gdfo_mem_free(w);
    gdfo_mem_free(a);
    gdfo_mem_free(c);
    return 2e-9 * (double)(m * n * k) / best;
}

static void report(struct engine *e, enum gdfo_precision p, size_t n_turns, unsigned n_threads)
{
    double peak = core_peak(p);
    for (size_t i = 0; i < N_SHAPES; i++) {
        const struct shape *s = &shapes[i];
        double positions = (double)(s->n_runs * s->n);
        double wall = positions / median(e->wall[i], n_turns);
        double cpu = positions / median(e->cpu[i], n_turns) * n_threads;
        double per_core = cpu / n_threads * flop_of(gdfo_model_config(e->model), s) * 1e-9;
        (void)printf("{\"precision\":\"%s\",\"shape\":\"%s\",\"positions_per_second\":%.0f,"
                     "\"by_processor_time\":%.0f,\"core_gflops\":%.1f,\"core_peak_gflops\":%.1f,"
                     "\"share_of_peak\":%.3f,\"load_seconds\":%.3f,\"model_bytes\":%llu}\n",
                     gdfo_precision_name(p), s->name, wall, cpu, per_core, peak, per_core / peak,
                     e->load_seconds, (unsigned long long)gdfo_model_bytes(e->model));
    }
}

int main(int argc, char **argv)
{
    static struct engine engines[GDFO_PRECISION_COUNT];
    unsigned n_threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    enum gdfo_precision only = GDFO_PRECISION_F32;
    int64_t n_turns = 5;
    if (argc < 2 || argc > 4 || (argc > 2 && !gdfo_parse_i64(argv[2], 1, REPEATS_MAX, &n_turns)) ||
        (argc > 3 && !gdfo_precision_parse(argv[3], &only))) {
        (void)fprintf(stderr, "usage: %s MODEL.gguf [REPEATS] [f32|bf16|int8]\n", argv[0]);
        return 2;
    }
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&pool, n_threads, &err), &err);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        ids[i] = (int32_t)(100 + i * 131 % 4000);
    }
    hidden = gdfo_mem_array(RUNS_MAX * 8192, sizeof *hidden);
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p) &&
            (argc < 4 || only == (enum gdfo_precision)p)) {
            open_engine(&engines[p], argv[1], (enum gdfo_precision)p, pool);
        }
    }
    for (size_t turn = 0; turn < (size_t)n_turns; turn++) {
        for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
            if (engines[p].model) {
                measure(&engines[p], turn);
            }
        }
    }
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        if (engines[p].model) {
            report(&engines[p], (enum gdfo_precision)p, (size_t)n_turns, n_threads);
            close_engine(&engines[p]);
        }
    }
    gdfo_pool_destroy(pool);
    gdfo_mem_free(hidden);
    return 0;
}
