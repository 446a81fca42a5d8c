/*
 * The embedded engine as tests/bench/engine asks it: a process that holds one model and answers
 * commands on its standard input, one a line, each with one JSON object on a line. Peers answer the
 * same commands, so that turns can alternate without loading anything again.
 *
 *   bench_engine_worker MODEL.gguf [PRECISION [THREADS [cold]]]
 *
 *   open WORK.json JOBS   takes up a work, for JOBS jobs with workspaces of their own; it stays
 * open run                   one pass of job 0, timed lp                    log-probabilities of
 * the labels in that pass, [run][label] jobs N TURNS          N jobs at once on one pool, TURNS
 * passes each merged N TURNS        the runs of N jobs in one pass, TURNS times peak GFLOP/s of
 * large square products memory                the largest resident set so far
 *
 * WORK.json: {"layout": "forward"|"suffix"|"prefix", "past": [[ids]...], "texts": [[ids]...],
 * "candidates": C, "rows": P, "cue": [ids], "labels": [ids]}.
 *
 *   forward   every text behind its own cached past (or none): hidden states of all positions
 *   suffix    each candidate's rows and the cue behind the cached K and V of each text
 *   prefix    each candidate's rows once, then each text and the cue behind their K and V
 *
 * suffix and prefix end in the label log-probabilities over the full vocabulary. Row p of candidate
 * c is the embedding of token (1000 c + 37 p + 11) mod vocab, so that a peer can make the same.
 * cold: the model's pages are dropped from the cache before they are read. GDFO_BENCH_MATH=avx2 in
 * the environment masks what our own kernels may use (OPENBLAS_CORETYPE=Haswell does it for the
 * BLAS).
 */
#include "common/json.h"
#include "common/json_write.h"
#include "common/lock.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pack.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TEXTS_MAX     64
#define IDS_MAX       640
#define JOBS_MAX      16
#define POSITIONS_MAX 8192 /* as the embedded teacher's workspace */
#define SETS_MAX      24
#define LINE_MAX_     4096
#define PEAK_SIDE     1024
#define PEAK_TURNS    4
#define PEAK_PRODUCTS 6 /* of each thread in a turn */

enum layout { FORWARD, SUFFIX, PREFIX };

struct ids {
    int32_t id[IDS_MAX];
    size_t n;
};

struct work {
    enum layout layout;
    struct ids past[TEXTS_MAX], texts[TEXTS_MAX], cue, labels;
    size_t n_past, n_texts, n_candidates, n_rows;
};

struct job {
    struct worker *worker;
    const struct work *work;
    struct gdfo_forward *forward;
    struct gdfo_kv **kv; /* [n_kv]: of the pasts, or of the candidates' rows */
    size_t n_kv;
    float *rows; /* [candidates][rows][d] */
    struct gdfo_piece *pieces, *row_pieces;
    struct gdfo_run *runs, *row_runs;
    size_t n_runs, n_row_runs;
    float *hidden, *lp;
    int64_t turns;
};

/* A work that was opened stays open, to be measured again in the next turn. */
struct set {
    char path[LINE_MAX_];
    struct work work;
    struct job jobs[JOBS_MAX];
    size_t n_jobs;
};

struct worker {
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct set sets[SETS_MAX], *set;
    size_t n_sets;
    double load_seconds, load_cpu;
    struct gdfo_buf text;
    struct gdfo_json_writer json;
};

/* Linked in place of gdfo_math (--wrap): the table that the environment names. */
const struct gdfo_math *__real_gdfo_math(void);
const struct gdfo_math *__wrap_gdfo_math(void);

const struct gdfo_math *__wrap_gdfo_math(void)
{
    const char *name = getenv("GDFO_BENCH_MATH");
    const struct gdfo_math *m = __real_gdfo_math();
    for (size_t i = 0; name && gdfo_math_at(i); i++) {
        m = strcmp(gdfo_math_at(i)->name, name) == 0 ? gdfo_math_at(i) : m;
    }
    return m;
}

static double at_clock(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void)
{
    return at_clock(CLOCK_MONOTONIC);
}

static size_t width(const struct worker *w)
{
    return gdfo_model_config(w->model)->d_model;
}

/* ---- the work -------------------------------------------------------------------------------- */

static void read_ids(const struct gdfo_json *array, struct ids *out)
{
    out->n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(array); v; v = gdfo_json_next(v)) {
        int64_t id = 0;
        assert_true(out->n < IDS_MAX && gdfo_json_int(v, &id));
        out->id[out->n++] = (int32_t)id;
    }
}

static size_t read_lists(const struct gdfo_json *array, struct ids *out)
{
    size_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(array); v; v = gdfo_json_next(v)) {
        assert_true(n < TEXTS_MAX);
        read_ids(v, &out[n++]);
    }
    return n;
}

static size_t read_count(const struct gdfo_json *root, const char *key)
{
    int64_t n = 0;
    assert_true(gdfo_json_int(gdfo_json_get(root, key), &n) && n >= 0 && n <= 4096);
    return (size_t)n;
}

static enum layout read_layout(const struct gdfo_json *root)
{
    const char *s = gdfo_json_string(gdfo_json_get(root, "layout"));
    assert_non_null(s);
    if (strcmp(s, "suffix") == 0) {
        return SUFFIX;
    }
    return strcmp(s, "prefix") == 0 ? PREFIX : FORWARD;
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
    w->layout = read_layout(root);
    w->n_candidates = read_count(root, "candidates");
    w->n_rows = read_count(root, "rows");
    w->n_past = read_lists(gdfo_json_get(root, "past"), w->past);
    w->n_texts = read_lists(gdfo_json_get(root, "texts"), w->texts);
    read_ids(gdfo_json_get(root, "cue"), &w->cue);
    read_ids(gdfo_json_get(root, "labels"), &w->labels);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static struct gdfo_piece of_ids(const struct ids *ids)
{
    return (struct gdfo_piece){.ids = ids->id, .n = ids->n};
}

static struct gdfo_piece of_rows(const struct job *j, size_t candidate)
{
    size_t n = j->work->n_rows;
    return (struct gdfo_piece){.rows = j->rows + candidate * n * width(j->worker), .n = n};
}

/* K and V of these lists of ids, computed once. */
static void fill_past(struct job *j, const struct ids *lists, size_t n)
{
    static struct gdfo_piece pieces[TEXTS_MAX];
    static struct gdfo_run runs[TEXTS_MAX];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < n; i++) {
        gdfo_test_ok(gdfo_kv_create(&j->kv[i], j->worker->model, lists[i].n, &err), &err);
        pieces[i] = of_ids(&lists[i]);
        runs[i] = (struct gdfo_run){.pieces = &pieces[i], .n_pieces = 1, .keep = j->kv[i]};
    }
    j->n_kv = n;
    if (n > 0) {
        gdfo_test_ok(gdfo_forward_run(j->forward, runs, n, NULL, &err), &err);
    }
}

static void make_forward(struct job *j)
{
    const struct work *w = j->work;
    fill_past(j, w->past, w->n_past);
    for (size_t i = 0; i < w->n_texts; i++) {
        j->pieces[2 * i] = of_ids(&w->texts[i]);
        j->runs[i].n_pieces = 1;
        j->runs[i].past = w->n_past > 0 ? j->kv[i] : NULL;
        j->runs[i].scored = GDFO_SCORED_ALL;
    }
}

static void make_suffix(struct job *j)
{
    const struct work *w = j->work;
    fill_past(j, w->texts, w->n_texts);
    for (size_t i = 0; i < j->n_runs; i++) {
        j->pieces[2 * i] = of_rows(j, i / w->n_texts);
        j->pieces[2 * i + 1] = of_ids(&w->cue);
        j->runs[i].past = j->kv[i % w->n_texts];
    }
}

static void make_prefix(struct job *j)
{
    const struct work *w = j->work;
    struct gdfo_error err = {0};
    j->n_row_runs = j->n_kv = w->n_candidates;
    for (size_t c = 0; c < w->n_candidates; c++) {
        gdfo_test_ok(gdfo_kv_create(&j->kv[c], j->worker->model, w->n_rows, &err), &err);
        j->row_pieces[c] = of_rows(j, c);
        j->row_runs[c] =
            (struct gdfo_run){.pieces = &j->row_pieces[c], .n_pieces = 1, .keep = j->kv[c]};
    }
    for (size_t i = 0; i < j->n_runs; i++) {
        j->pieces[2 * i] = of_ids(&w->texts[i % w->n_texts]);
        j->pieces[2 * i + 1] = of_ids(&w->cue);
        j->runs[i].past = j->kv[i / w->n_texts];
    }
}

static void make_rows(struct job *j)
{
    const struct work *w = j->work;
    size_t vocab = gdfo_model_config(j->worker->model)->vocab;
    size_t d = width(j->worker);
    for (size_t i = 0; i < w->n_candidates * w->n_rows; i++) {
        size_t id = (1000 * (i / w->n_rows) + 37 * (i % w->n_rows) + 11) % vocab;
        memcpy(j->rows + i * d, gdfo_model_embed(j->worker->model) + id * d, d * sizeof *j->rows);
    }
}

static void job_init(struct job *j, struct worker *worker, const struct work *w)
{
    const struct gdfo_forward_options opt = {.positions_max = POSITIONS_MAX};
    struct gdfo_error err = {0};
    size_t d = width(worker);
    memset(j, 0, sizeof *j);
    j->worker = worker;
    j->work = w;
    j->n_runs = w->layout == FORWARD ? w->n_texts : w->n_candidates * w->n_texts;
    gdfo_test_ok(gdfo_forward_create(&j->forward, worker->model, worker->pool, &opt, &err), &err);
    j->kv = gdfo_mem_array(w->n_candidates + TEXTS_MAX, sizeof(struct gdfo_kv *));
    j->rows = gdfo_mem_array(w->n_candidates * w->n_rows * d + 1, sizeof *j->rows);
    j->pieces = gdfo_mem_array(2 * j->n_runs, sizeof *j->pieces);
    j->runs = gdfo_mem_array(j->n_runs, sizeof *j->runs);
    j->row_pieces = gdfo_mem_array(w->n_candidates + 1, sizeof *j->row_pieces);
    j->row_runs = gdfo_mem_array(w->n_candidates + 1, sizeof *j->row_runs);
    j->lp = gdfo_mem_array(j->n_runs * w->labels.n, sizeof *j->lp);
    for (size_t i = 0; i < j->n_runs; i++) {
        j->runs[i] = (struct gdfo_run){
            .pieces = j->pieces + 2 * i, .n_pieces = 2, .scored = GDFO_SCORED_LAST};
    }
    make_rows(j);
    (w->layout == FORWARD ? make_forward : w->layout == SUFFIX ? make_suffix : make_prefix)(j);
    j->hidden = gdfo_mem_array(gdfo_forward_n_scored(j->runs, j->n_runs) * d, sizeof *j->hidden);
}

static void job_deinit(struct job *j)
{
    for (size_t i = 0; i < j->n_kv; i++) {
        gdfo_kv_destroy(j->kv[i]);
    }
    gdfo_forward_destroy(j->forward);
    gdfo_mem_free(j->kv);
    gdfo_mem_free(j->rows);
    gdfo_mem_free(j->pieces);
    gdfo_mem_free(j->runs);
    gdfo_mem_free(j->row_pieces);
    gdfo_mem_free(j->row_runs);
    gdfo_mem_free(j->hidden);
    gdfo_mem_free(j->lp);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static void score(struct job *j, const float *hidden, size_t n, float *lp)
{
    const struct ids *labels = &j->work->labels;
    const struct gdfo_logprobs q = {
        .hidden = hidden, .n = n, .ids = labels->id, .n_ids = labels->n, .lp = lp};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_model_logprobs(j->forward, &q, &err), &err);
}

static void pass(struct job *j)
{
    struct gdfo_error err = {0};
    if (j->n_row_runs > 0) {
        gdfo_test_ok(gdfo_forward_run(j->forward, j->row_runs, j->n_row_runs, NULL, &err), &err);
    }
    gdfo_test_ok(gdfo_forward_run(j->forward, j->runs, j->n_runs, j->hidden, &err), &err);
    if (j->work->layout != FORWARD) {
        score(j, j->hidden, j->n_runs, j->lp);
    }
}

/* forward keeps the states of all positions: the labels are asked behind each run's last. */
static void score_last(struct job *j)
{
    size_t at = 0;
    for (size_t i = 0; i < j->n_runs; i++) {
        at += j->runs[i].pieces[0].n;
        score(j, j->hidden + (at - 1) * width(j->worker), 1, j->lp + i * j->work->labels.n);
    }
}

static void *serve_job(void *arg)
{
    struct job *j = arg;
    for (int64_t i = 0; i < j->turns; i++) {
        pass(j);
    }
    return NULL;
}

static double run_jobs(struct worker *w, size_t n, int64_t turns)
{
    struct gdfo_thread *threads[JOBS_MAX];
    double start = now();
    for (size_t i = 0; i < n; i++) {
        w->set->jobs[i].turns = turns;
        threads[i] = gdfo_thread_start("job", serve_job, &w->set->jobs[i]);
        assert_non_null(threads[i]);
    }
    for (size_t i = 0; i < n; i++) {
        gdfo_thread_join(threads[i]);
    }
    return now() - start;
}

/* What a scheduler that merges would run: the runs of n jobs in one pass, one workspace. */
static double run_merged(struct worker *w, size_t n, int64_t turns)
{
    struct job all = w->set->jobs[0];
    size_t d = width(w);
    double start;
    all.n_runs = all.n_row_runs = 0;
    all.runs = gdfo_mem_array(n * w->set->jobs[0].n_runs, sizeof *all.runs);
    all.row_runs = gdfo_mem_array(n * w->set->jobs[0].n_row_runs + 1, sizeof *all.row_runs);
    for (size_t i = 0; i < n; i++) {
        const struct job *j = &w->set->jobs[i];
        memcpy(all.runs + all.n_runs, j->runs, j->n_runs * sizeof *j->runs);
        memcpy(all.row_runs + all.n_row_runs, j->row_runs, j->n_row_runs * sizeof *j->row_runs);
        all.n_runs += j->n_runs;
        all.n_row_runs += j->n_row_runs;
    }
    all.hidden =
        gdfo_mem_array(gdfo_forward_n_scored(all.runs, all.n_runs) * d, sizeof *all.hidden);
    all.lp = gdfo_mem_array(all.n_runs * w->set->work.labels.n, sizeof *all.lp);
    start = now();
    for (int64_t i = 0; i < turns; i++) {
        pass(&all);
    }
    start = now() - start;
    gdfo_mem_free(all.runs);
    gdfo_mem_free(all.row_runs);
    gdfo_mem_free(all.hidden);
    gdfo_mem_free(all.lp);
    return start;
}

/* ---- the peak -------------------------------------------------------------------------------- */

struct peak {
    struct gdfo_pack *pack;
    float *a, *c; /* [PEAK_SIDE][PEAK_SIDE], c one for each thread */
    void *rows;   /* a, prepared */
    unsigned char *scratch;
    size_t scratch_bytes;
};

static void run_product(void *ctx, size_t item, unsigned slot)
{
    const struct peak *p = ctx;
    const int is_f32 = gdfo_pack_precision(p->pack) == GDFO_PRECISION_F32;
    const struct gdfo_product x = {.m = PEAK_SIDE,
                                   .a = is_f32 ? p->a : NULL,
                                   .rows = is_f32 ? NULL : p->rows,
                                   .lda = PEAK_SIDE,
                                   .c = p->c + (size_t)slot * PEAK_SIDE * PEAK_SIDE,
                                   .ldc = PEAK_SIDE,
                                   .scratch = p->scratch + slot * p->scratch_bytes,
                                   .is_loose = 1};
    (void)item;
    gdfo_pack_product(p->pack, &x);
}

static void peak_init(struct peak *p, const struct worker *w, enum gdfo_precision precision)
{
    size_t side = (size_t)PEAK_SIDE * PEAK_SIDE;
    size_t n_threads = gdfo_pool_threads(w->pool);
    struct gdfo_error err = {0};
    struct gdfo_pack_source source = {
        .op = GDFO_GEMM_NT, .n = PEAK_SIDE, .k = PEAK_SIDE, .ld = PEAK_SIDE};
    p->a = gdfo_mem_aligned(side, sizeof *p->a);
    p->c = gdfo_mem_aligned(side * n_threads, sizeof *p->c);
    for (size_t i = 0; i < side; i++) {
        p->a[i] = (float)(i % 7) - 3.0F;
    }
    source.w = p->a;
    gdfo_test_ok(gdfo_pack_create(&p->pack, precision, &source, &err), &err);
    p->scratch_bytes = gdfo_pack_scratch(p->pack, PEAK_SIDE);
    p->scratch = gdfo_mem_aligned(n_threads, p->scratch_bytes);
    p->rows = gdfo_mem_aligned(PEAK_SIDE, gdfo_pack_row_bytes(p->pack));
    if (gdfo_pack_precision(p->pack) != GDFO_PRECISION_F32) {
        gdfo_pack_prepare(p->pack, p->rows, p->a, PEAK_SIDE, PEAK_SIDE);
    }
}

static void peak_deinit(struct peak *p)
{
    gdfo_pack_destroy(p->pack);
    gdfo_mem_free(p->a);
    gdfo_mem_free(p->c);
    gdfo_mem_free(p->rows);
    gdfo_mem_free(p->scratch);
}

/* The best of a few turns of large square products through the model's seam in its precision, one
 * on each thread at a time, rows prepared before; GFLOP/s. */
static double peak_in(const struct worker *w, enum gdfo_precision precision, clockid_t clock)
{
    size_t n = PEAK_PRODUCTS * (size_t)gdfo_pool_threads(w->pool);
    struct peak p;
    double best = 0;
    peak_init(&p, w, precision);
    for (int turn = 0; turn < PEAK_TURNS; turn++) {
        double start = at_clock(clock);
        double rate;
        gdfo_pool_run(w->pool, n, run_product, &p);
        rate = (double)n * 2e-9 * PEAK_SIDE * PEAK_SIDE * PEAK_SIDE / (at_clock(clock) - start);
        best = rate > best ? rate : best;
    }
    peak_deinit(&p);
    return best;
}

/* Multiplications of one position in the layers' products that are kept in this precision. */
static double multiplications(const struct worker *w, enum gdfo_precision precision)
{
    const struct gdfo_llama_weights *weights = gdfo_llama_weights_of(w->model);
    double sum = 0;
    for (size_t l = 0; l < weights->config.n_layers; l++) {
        const struct gdfo_llama_packs *p = &weights->packs[l];
        const struct gdfo_pack *const all[] = {p->qkv, p->o, p->gate_up, p->down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            if (gdfo_pack_precision(all[i]) == precision) {
                sum += (double)gdfo_pack_n(all[i]) * (double)gdfo_pack_k(all[i]);
            }
        }
    }
    return sum;
}

/* The peak of the model's own mixture: INT8 keeps some products in BF16. */
static double measure_peak(const struct worker *w, clockid_t clock)
{
    double work = 0;
    double time = 0;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        double n = multiplications(w, (enum gdfo_precision)p);
        work += n;
        time += n > 0 ? n / peak_in(w, (enum gdfo_precision)p, clock) : 0;
    }
    return work / time;
}

/* Floating-point operations of runs: the products and attention that were asked for, no padding. */
static double runs_flop(const struct worker *w, const struct gdfo_run *runs, size_t n)
{
    const struct gdfo_model_config *c = gdfo_model_config(w->model);
    double d = c->d_model;
    double q = (double)c->n_heads * c->d_head;
    double kv = (double)c->n_kv_heads * c->d_head;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double past = runs[i].past ? (double)gdfo_kv_positions(runs[i].past) : 0;
        double own = 0;
        double last = 1; /* positions of the last layer that go on behind its attention */
        for (size_t k = 0; k < runs[i].n_pieces; k++) {
            own += (double)runs[i].pieces[k].n;
        }
        last = runs[i].scored == GDFO_SCORED_ALL ? own : runs[i].scored == GDFO_SCORED_LAST;
        sum += c->n_layers * own * (2 * d * (q + 2 * kv) + 4 * q * (past + (own + 1) / 2));
        sum += ((c->n_layers - 1) * own + last) * 2 * (q * d + 3 * d * c->d_ff);
    }
    return sum;
}

static double pass_flop(const struct job *j)
{
    const struct worker *w = j->worker;
    double head = 2.0 * (double)width(w) * gdfo_model_config(w->model)->vocab;
    return runs_flop(w, j->runs, j->n_runs) + runs_flop(w, j->row_runs, j->n_row_runs) +
           (j->work->layout == FORWARD ? 0 : head * (double)j->n_runs);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void put_num(struct worker *w, const char *key, double v)
{
    gdfo_json_put_num(&w->json, key, v);
}

static double positions(const struct job *j)
{
    double sum = 0;
    for (size_t i = 0; i < j->n_runs; i++) {
        for (size_t k = 0; k < j->runs[i].n_pieces; k++) {
            sum += (double)j->runs[i].pieces[k].n;
        }
    }
    for (size_t i = 0; i < j->n_row_runs; i++) {
        sum += (double)j->row_pieces[i].n;
    }
    return sum;
}

static struct set *opened(struct worker *w, const char *path, size_t n_jobs)
{
    struct set *set = w->sets;
    while (set < w->sets + w->n_sets && (strcmp(set->path, path) != 0 || set->n_jobs != n_jobs)) {
        set++;
    }
    if (set == w->sets + w->n_sets) {
        assert_true(w->n_sets < SETS_MAX);
        w->n_sets++;
        (void)snprintf(set->path, sizeof set->path, "%s", path);
        read_work(&set->work, path);
        set->n_jobs = n_jobs;
        for (size_t i = 0; i < n_jobs; i++) {
            job_init(&set->jobs[i], w, &set->work);
            pass(&set->jobs[i]); /* to warm up, and to fill what pass_flop counts */
        }
    }
    return set;
}

static void do_open(struct worker *w, char **words)
{
    int64_t n = 1;
    assert_true(gdfo_parse_i64(words[2], 1, JOBS_MAX, &n));
    w->set = opened(w, words[1], (size_t)n);
    put_num(w, "positions", positions(&w->set->jobs[0]));
    put_num(w, "flop", pass_flop(&w->set->jobs[0]));
    put_num(w, "workspace_bytes", (double)gdfo_forward_bytes(w->set->jobs[0].forward));
}

static void do_run(struct worker *w, char **words)
{
    double start = now();
    double cpu = at_clock(CLOCK_PROCESS_CPUTIME_ID);
    (void)words;
    pass(&w->set->jobs[0]);
    put_num(w, "seconds", now() - start);
    put_num(w, "cpu", at_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

static void do_lp(struct worker *w, char **words)
{
    struct job *j = &w->set->jobs[0];
    (void)words;
    if (j->work->layout == FORWARD) {
        score_last(j);
    }
    gdfo_json_open(&w->json, "lp", '[');
    for (size_t i = 0; i < j->n_runs * w->set->work.labels.n; i++) {
        put_num(w, NULL, (double)j->lp[i]);
    }
    gdfo_json_close(&w->json, ']');
}

static void do_jobs(struct worker *w, char **words)
{
    int64_t n = 0;
    int64_t turns = 0;
    assert_true(gdfo_parse_i64(words[1], 1, (int64_t)w->set->n_jobs, &n));
    assert_true(gdfo_parse_i64(words[2], 1, 1000, &turns));
    put_num(w, "seconds",
            words[0][0] == 'm' ? run_merged(w, (size_t)n, turns) : run_jobs(w, (size_t)n, turns));
}

static void do_peak(struct worker *w, char **words)
{
    (void)words;
    put_num(w, "seconds", measure_peak(w, CLOCK_MONOTONIC));
    put_num(w, "cpu", measure_peak(w, CLOCK_PROCESS_CPUTIME_ID));
}

static void do_memory(struct worker *w, char **words)
{
    struct rusage use;
    (void)words;
    (void)getrusage(RUSAGE_SELF, &use);
    put_num(w, "peak_bytes", 1024.0 * (double)use.ru_maxrss);
    put_num(w, "weights_bytes", (double)gdfo_model_bytes(w->model));
}

static const struct command {
    const char *name;
    int n_words;
    void (*run)(struct worker *w, char **words);
} COMMANDS[] = {
    {"open", 3, do_open},   {"run", 1, do_run},   {"lp", 1, do_lp},         {"jobs", 3, do_jobs},
    {"merged", 3, do_jobs}, {"peak", 1, do_peak}, {"memory", 1, do_memory},
};

/* ---- the process ----------------------------------------------------------------------------- */

static int split(char *line, char **words)
{
    int n = 0;
    char *rest = line;
    for (char *word = strtok_r(line, " \n", &rest); word && n < 4;
         word = strtok_r(NULL, " \n", &rest)) {
        words[n++] = word;
    }
    return n;
}

static void answer(struct worker *w, const struct command *command, char **words)
{
    gdfo_buf_reset(&w->text);
    w->json = gdfo_json_writer(&w->text);
    gdfo_json_open(&w->json, NULL, '{');
    command->run(w, words);
    gdfo_json_close(&w->json, '}');
    assert_true(gdfo_buf_ok(&w->text));
    (void)printf("%s\n", w->text.data);
    (void)fflush(stdout);
}

static void do_hello(struct worker *w, char **words)
{
    (void)words;
    gdfo_json_put_str(&w->json, "kernels", gdfo_precision_kernels(gdfo_model_precision(w->model)));
    gdfo_json_put_int(&w->json, "threads", gdfo_pool_threads(w->pool));
    put_num(w, "seconds", w->load_seconds);
    put_num(w, "cpu", w->load_cpu);
}

static int serve(struct worker *w)
{
    static const struct command hello = {"hello", 0, do_hello};
    char line[LINE_MAX_];
    char *words[4];
    answer(w, &hello, NULL);
    while (fgets(line, sizeof line, stdin)) {
        int n = split(line, words);
        size_t i = 0;
        size_t n_commands = sizeof COMMANDS / sizeof COMMANDS[0];
        while (i < n_commands && (n == 0 || strcmp(words[0], COMMANDS[i].name) != 0)) {
            i++;
        }
        if (i == n_commands || n != COMMANDS[i].n_words) {
            (void)fprintf(stderr, "no such command: %s\n", n > 0 ? words[0] : "");
            return 2;
        }
        answer(w, &COMMANDS[i], words);
    }
    return 0;
}

static void drop_pages(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    (void)close(fd);
}

static void load(struct worker *w, const char *path, enum gdfo_precision precision, int is_cold)
{
    const struct gdfo_model_options opt = {.precision = precision};
    struct gdfo_model_file *f = NULL;
    struct gdfo_error err = {0};
    struct gdfo_reader file;
    double start, cpu;
    if (is_cold) {
        drop_pages(path);
    }
    start = now();
    cpu = at_clock(CLOCK_PROCESS_CPUTIME_ID);
    gdfo_test_ok(gdfo_reader_open(&file, path, &err), &err);
    gdfo_test_ok(gdfo_model_file_open(&f, &file, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&w->model, f, &opt, &err), &err);
    w->load_seconds = now() - start;
    w->load_cpu = at_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&file);
}

int main(int argc, char **argv)
{
    static struct worker w;
    struct gdfo_error err = {0};
    int64_t threads = (int64_t)sysconf(_SC_NPROCESSORS_ONLN);
    enum gdfo_precision precision = GDFO_PRECISION_F32;
    int status;
    if (argc < 2 || argc > 5 || (argc > 2 && !gdfo_precision_parse(argv[2], &precision)) ||
        (argc > 3 && !gdfo_parse_i64(argv[3], 1, 64, &threads)) ||
        (argc > 4 && strcmp(argv[4], "cold") != 0)) {
        (void)fprintf(stderr, "usage: %s MODEL.gguf [PRECISION [THREADS [cold]]]\n", argv[0]);
        return 2;
    }
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&w.pool, (unsigned)threads, &err), &err);
    load(&w, argv[1], precision, argc > 4);
    gdfo_buf_init(&w.text, 64 << 20);
    status = serve(&w);
    for (size_t i = 0; i < w.n_sets; i++) {
        for (size_t k = 0; k < w.sets[i].n_jobs; k++) {
            job_deinit(&w.sets[i].jobs[k]);
        }
    }
    gdfo_buf_deinit(&w.text);
    gdfo_model_destroy(w.model);
    gdfo_pool_destroy(w.pool);
    return status;
}
