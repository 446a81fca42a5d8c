/*
 * Seconds for one generation of the embedded engine: C candidates x B texts, each run P soft rows
 * and the cue behind the cached K and V of its text, all in one pass, with the log-probabilities of
 * the label tokens. Prints one JSON object.
 *
 *   bench_engine_forward MODEL.gguf [WORK.json] [REPEATS] [POSITIONS_MAX]
 *
 * WORK.json: {"candidates":20,"rows":10,"cue":[ids],"labels":[ids],"texts":[[ids],...]}. Without
 * it: 32 texts of 24 tokens, 20 candidates, 10 rows, a cue of 5. Row p of candidate c is the
 * embedding of token (1000 c + 37 p + 11) mod vocab, so that a peer can make the same rows.
 */
#include "common/json.h"
#include "common/json_write.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TEXTS_MAX  512
#define IDS_MAX    512
#define PEAK_SIDE  1024
#define PEAK_TURNS 6

struct ids {
    int32_t id[IDS_MAX];
    size_t n;
};

struct work {
    struct ids texts[TEXTS_MAX], cue, labels;
    size_t n_texts, n_candidates, n_rows;
};

struct bench {
    struct work work;
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_forward *forward;
    struct gdfo_kv *kv[TEXTS_MAX];
    float *rows; /* [candidates][rows][d] */
    struct gdfo_piece *pieces;
    struct gdfo_run *runs;
    float *hidden, *lp;
    size_t n_runs;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the work -------------------------------------------------------------------------------- */

static void default_work(struct work *w)
{
    w->n_texts = 32;
    w->n_candidates = 20;
    w->n_rows = 10;
    for (size_t i = 0; i < w->n_texts; i++) {
        w->texts[i].n = 24;
        for (size_t j = 0; j < 24; j++) {
            w->texts[i].id[j] = (int32_t)(100 + (i * 131 + j * 17) % 4000);
        }
    }
    w->cue = (struct ids){{30, 657, 436, 253, 260}, 5};
    w->labels = (struct ids){{1109, 13321}, 2};
}

static void read_ids(const struct gdfo_json *array, struct ids *out)
{
    out->n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(array); v; v = gdfo_json_next(v)) {
        int64_t id = 0;
        assert_true(out->n < IDS_MAX && gdfo_json_int(v, &id));
        out->id[out->n++] = (int32_t)id;
    }
}

static size_t read_count(const struct gdfo_json *root, const char *key)
{
    int64_t n = 0;
    assert_true(gdfo_json_int(gdfo_json_get(root, key), &n) && n >= 1 && n <= 4096);
    return (size_t)n;
}

static void read_work(struct work *w, const char *path)
{
    const struct gdfo_json_limits limits = {.values = 1000000};
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    gdfo_buf_init(&text, 8 << 20);
    gdfo_test_ok(gdfo_file_read(path, &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &limits, &err), &err);
    w->n_candidates = read_count(root, "candidates");
    w->n_rows = read_count(root, "rows");
    read_ids(gdfo_json_get(root, "cue"), &w->cue);
    read_ids(gdfo_json_get(root, "labels"), &w->labels);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(root, "texts")); v;
         v = gdfo_json_next(v)) {
        assert_true(w->n_texts < TEXTS_MAX);
        read_ids(v, &w->texts[w->n_texts++]);
    }
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static void make_rows(struct bench *b)
{
    const struct gdfo_model_config *c = gdfo_model_config(b->model);
    size_t d = c->d_model;
    b->rows = gdfo_mem_array(b->work.n_candidates * b->work.n_rows * d, sizeof *b->rows);
    for (size_t i = 0; i < b->work.n_candidates * b->work.n_rows; i++) {
        size_t id = (1000 * (i / b->work.n_rows) + 37 * (i % b->work.n_rows) + 11) % c->vocab;
        for (size_t j = 0; j < d; j++) {
            b->rows[i * d + j] = gdfo_model_embed(b->model)[id * d + j];
        }
    }
}

static void make_runs(struct bench *b)
{
    const struct work *w = &b->work;
    size_t d = gdfo_model_config(b->model)->d_model;
    b->n_runs = w->n_candidates * w->n_texts;
    b->pieces = gdfo_mem_array(2 * b->n_runs, sizeof *b->pieces);
    b->runs = gdfo_mem_array(b->n_runs, sizeof *b->runs);
    b->hidden = gdfo_mem_array(b->n_runs * d, sizeof *b->hidden);
    b->lp = gdfo_mem_array(b->n_runs * w->labels.n, sizeof *b->lp);
    for (size_t i = 0; i < b->n_runs; i++) {
        struct gdfo_piece *p = b->pieces + 2 * i;
        p[0].rows = b->rows + i / w->n_texts * w->n_rows * d;
        p[0].n = w->n_rows;
        p[1].ids = w->cue.id;
        p[1].n = w->cue.n;
        b->runs[i].pieces = p;
        b->runs[i].n_pieces = 2;
        b->runs[i].past = b->kv[i % w->n_texts];
        b->runs[i].scored = GDFO_SCORED_LAST;
    }
}

static void set_up(struct bench *b, const char *model, size_t positions_max)
{
    const struct gdfo_forward_options opt = {.positions_max = positions_max};
    struct gdfo_error err = {0};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&b->pool, (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &err), &err);
    b->model = gdfo_test_model(model, NULL);
    gdfo_test_ok(gdfo_forward_create(&b->forward, b->model, b->pool, &opt, &err), &err);
    for (size_t i = 0; i < b->work.n_texts; i++) {
        gdfo_test_ok(gdfo_kv_create(&b->kv[i], b->model, b->work.texts[i].n, &err), &err);
    }
    make_rows(b);
    make_runs(b);
}

static void tear_down(struct bench *b)
{
    for (size_t i = 0; i < b->work.n_texts; i++) {
        gdfo_kv_destroy(b->kv[i]);
    }
    gdfo_forward_destroy(b->forward);
    gdfo_model_destroy(b->model);
    gdfo_pool_destroy(b->pool);
    gdfo_mem_free(b->rows);
    gdfo_mem_free(b->pieces);
    gdfo_mem_free(b->runs);
    gdfo_mem_free(b->hidden);
    gdfo_mem_free(b->lp);
}

/* ---- what is measured ------------------------------------------------------------------------ */

static double run_texts(struct bench *b)
{
    static struct gdfo_piece pieces[TEXTS_MAX];
    static struct gdfo_run runs[TEXTS_MAX];
    struct gdfo_error err = {0};
    double start = now();
    for (size_t i = 0; i < b->work.n_texts; i++) {
        pieces[i] = (struct gdfo_piece){.ids = b->work.texts[i].id, .n = b->work.texts[i].n};
        runs[i] = (struct gdfo_run){.pieces = &pieces[i], .n_pieces = 1, .keep = b->kv[i]};
    }
    gdfo_test_ok(gdfo_forward_run(b->forward, runs, b->work.n_texts, NULL, &err), &err);
    return now() - start;
}

static double run_pass(struct bench *b)
{
    struct gdfo_logprobs q = {.hidden = b->hidden, .n = b->n_runs, .lp = b->lp};
    struct gdfo_error err = {0};
    double start = now();
    q.ids = b->work.labels.id;
    q.n_ids = b->work.labels.n;
    gdfo_test_ok(gdfo_forward_run(b->forward, b->runs, b->n_runs, b->hidden, &err), &err);
    gdfo_test_ok(gdfo_model_logprobs(b->forward, &q, &err), &err);
    return now() - start;
}

/* Floating-point operations that the pass needs: products and attention, no padding. */
static double pass_flop(const struct bench *b)
{
    const struct gdfo_model_config *c = gdfo_model_config(b->model);
    double d = c->d_model;
    double q = (double)c->n_heads * c->d_head;
    double kv = (double)c->n_kv_heads * c->d_head;
    double own = (double)(b->work.n_rows + b->work.cue.n);
    double enter = 2 * d * (q + 2 * kv);
    double leave = 2 * (q * d + 3 * d * c->d_ff);
    double sum = 0;
    for (size_t i = 0; i < b->n_runs; i++) {
        double past = (double)b->work.texts[i % b->work.n_texts].n;
        sum += c->n_layers * own * (enter + 4 * q * (past + (own + 1) / 2));
        sum += ((c->n_layers - 1) * own + 1) * leave;
        sum += 2 * d * c->vocab;
    }
    return sum;
}

struct peak {
    float *a, *b, *c;
};

static void run_peak(void *ctx, size_t item, unsigned slot)
{
    const struct peak *p = ctx;
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT, .m = PEAK_SIDE, .n = PEAK_SIDE, .k = PEAK_SIDE};
    (void)item;
    g.lda = g.ldb = g.ldc = PEAK_SIDE;
    g.a = p->a;
    g.b = p->b;
    g.c = p->c + (size_t)slot * PEAK_SIDE * PEAK_SIDE;
    gdfo_gemm(&g);
}

/* The best of a few turns of large square products, one on each thread at a time; GFLOP/s. */
static double measure_peak(const struct bench *b)
{
    size_t side = (size_t)PEAK_SIDE * PEAK_SIDE;
    unsigned n_threads = gdfo_pool_threads(b->pool);
    struct peak p;
    double best = 0;
    p.a = gdfo_mem_aligned(side, sizeof *p.a);
    p.b = gdfo_mem_aligned(side, sizeof *p.b);
    p.c = gdfo_mem_aligned(side * n_threads, sizeof *p.c);
    for (size_t i = 0; i < side; i++) {
        p.a[i] = p.b[i] = (float)(i % 7) - 3.0F;
    }
    for (int turn = 0; turn < PEAK_TURNS; turn++) {
        size_t n = 8 * (size_t)n_threads;
        double start = now();
        double rate;
        gdfo_pool_run(b->pool, n, run_peak, &p);
        rate = (double)n * 2e-9 * (double)side * PEAK_SIDE / (now() - start);
        best = rate > best ? rate : best;
    }
    gdfo_mem_free(p.a);
    gdfo_mem_free(p.b);
    gdfo_mem_free(p.c);
    return best;
}

static void report(struct bench *b, int64_t repeats)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w = gdfo_json_writer(&text);
    double own = (double)(b->n_runs * (b->work.n_rows + b->work.cue.n));
    double peak = measure_peak(b);
    double best_text = HUGE_VAL;
    double best = HUGE_VAL;
    double rate;
    gdfo_buf_init(&text, 64 << 20);
    for (int64_t i = 0; i < repeats; i++) {
        best_text = fmin(best_text, run_texts(b));
        best = fmin(best, run_pass(b));
    }
    rate = pass_flop(b) / best * 1e-9;
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "gemm", gdfo_gemm_name());
    gdfo_json_put_str(&w, "math", gdfo_math()->name);
    gdfo_json_put_int(&w, "threads", gdfo_pool_threads(b->pool));
    gdfo_json_put_num(&w, "text_seconds", best_text);
    gdfo_json_put_num(&w, "pass_seconds", best);
    gdfo_json_put_num(&w, "seconds_per_candidate", best / (double)b->work.n_candidates);
    gdfo_json_put_num(&w, "positions_per_second", own / best);
    gdfo_json_put_num(&w, "gflops", rate);
    gdfo_json_put_num(&w, "peak_gflops", peak);
    gdfo_json_put_num(&w, "share_of_peak", rate / peak);
    gdfo_json_put_int(&w, "workspace_bytes", (int64_t)gdfo_forward_bytes(b->forward));
    gdfo_json_open(&w, "lp", '[');
    for (size_t i = 0; i < b->n_runs * b->work.labels.n; i++) {
        gdfo_json_put_num(&w, NULL, (double)b->lp[i]);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    (void)printf("%s\n", gdfo_buf_ok(&text) ? text.data : "");
    gdfo_buf_deinit(&text);
}

int main(int argc, char **argv)
{
    static struct bench b;
    int64_t repeats = 3;
    int64_t positions_max = 0;
    if (argc < 2 || argc > 5 || (argc > 3 && !gdfo_parse_i64(argv[3], 1, 1000, &repeats)) ||
        (argc > 4 && !gdfo_parse_i64(argv[4], 0, 1 << 20, &positions_max))) {
        (void)fprintf(stderr, "usage: %s MODEL.gguf [WORK.json|-] [REPEATS] [POSITIONS_MAX]\n",
                      argv[0]);
        return 2;
    }
    if (argc > 2 && argv[2][0] != '-') {
        read_work(&b.work, argv[2]);
    } else {
        default_work(&b.work);
    }
    set_up(&b, argv[1], (size_t)positions_max);
    report(&b, repeats);
    tear_down(&b);
    return 0;
}
