/*
 * How faithful reduced precision is on a task's own texts: bench_faithful MODEL.gguf WORK.json. One
 * JSON line for each precision of this processor, float32 first. tests/bench/faithful writes the
 * works.
 *
 * WORK.json: {"name": "sst2", "cue": " ...", "instruction": "...", "labels": [" bad", ...],
 * "bodies": ["Review: ...\n", ...], "gold": [0, ...], "prompts": 200, "rows": 10}
 *
 * The candidates are those of a search's first generation: the instruction's words, moved by a
 * normal step of the embedding's deviation (alpha 1), from the stream "bench" of seed 7.
 */
#include "server/tune/faithful.h"

#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/prompt/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LABELS_MAX 16
#define BODIES_MAX 256
#define TOGETHER   20

struct work {
    struct gdfo_json *json;
    const char *name, *instruction;
    struct gdfo_text cue, labels[LABELS_MAX], bodies[BODIES_MAX];
    uint32_t gold[BODIES_MAX], n_labels, n_bodies, n_prompts, n_rows;
};

static struct gdfo_error err;

static void must(enum gdfo_status status)
{
    if (status != GDFO_STATUS_OK) {
        (void)fprintf(stderr, "bench_faithful: %s\n", err.text);
        _Exit(1);
    }
}

static void *memory(size_t n, size_t size)
{
    void *p = gdfo_mem_array(n, size);
    if (!p) {
        must(gdfo_error_no_memory(&err, "bench"));
    }
    return p;
}

static const char *text_of(const struct gdfo_json *v, const char *key)
{
    const char *s = gdfo_json_string(gdfo_json_get(v, key));
    if (!s) {
        must(gdfo_error_set(&err, GDFO_STATUS_INVALID, "the work has no %s", key));
    }
    return s;
}

static uint32_t count_of(const struct gdfo_json *v, double max)
{
    double n = 0;
    if (!v || !gdfo_json_number(v, &n) || n < 0 || n > max) {
        must(gdfo_error_set(&err, GDFO_STATUS_INVALID, "a number of the work is not 0..%g", max));
    }
    return (uint32_t)n;
}

static uint32_t texts_of(const struct gdfo_json *list, struct gdfo_text *out, uint32_t max)
{
    uint32_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(list); v && n < max; v = gdfo_json_next(v)) {
        const char *s = gdfo_json_string(v);
        out[n++] = (struct gdfo_text){s, s ? strlen(s) : 0};
    }
    return n;
}

static void read_work(struct work *w, const char *path)
{
    const struct gdfo_json_limits limits = {.values = 100000};
    struct gdfo_buf b;
    uint32_t i = 0;
    gdfo_buf_init(&b, (size_t)16 << 20);
    must(gdfo_file_read(path, &b, &err));
    must(gdfo_json_parse(&w->json, b.data, b.len, &limits, &err));
    gdfo_buf_deinit(&b);
    w->name = text_of(w->json, "name");
    w->instruction = text_of(w->json, "instruction");
    w->cue.s = text_of(w->json, "cue");
    w->cue.n = strlen(w->cue.s);
    w->n_labels = texts_of(gdfo_json_get(w->json, "labels"), w->labels, LABELS_MAX);
    w->n_bodies = texts_of(gdfo_json_get(w->json, "bodies"), w->bodies, BODIES_MAX);
    w->n_prompts = count_of(gdfo_json_get(w->json, "prompts"), 10000);
    w->n_rows = count_of(gdfo_json_get(w->json, "rows"), 200);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(w->json, "gold"));
         v && i < w->n_bodies; v = gdfo_json_next(v)) {
        w->gold[i++] = count_of(v, w->n_labels - 1.0);
    }
}

static struct gdfo_model *open_model(const char *path, enum gdfo_precision precision)
{
    const struct gdfo_model_options options = {.precision = precision};
    struct gdfo_reader file;
    struct gdfo_model_file *parsed = NULL;
    struct gdfo_model *model = NULL;
    must(gdfo_reader_open(&file, path, &err));
    must(gdfo_model_file_open(&parsed, &file, NULL, &err));
    must(gdfo_model_open(&model, parsed, &options, &err));
    gdfo_model_file_destroy(parsed);
    gdfo_reader_close(&file);
    return model;
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void draw(const struct work *w, const struct gdfo_model *model, const float *first,
                 struct gdfo_rng *rng, float *rows)
{
    size_t n = (size_t)w->n_rows * gdfo_model_config(model)->d_model;
    double deviation = gdfo_model_embed_std(model);
    for (size_t i = 0; i < TOGETHER * n; i++) {
        rows[i] = (float)((double)first[i % n] + deviation * gdfo_rng_normal(rng));
    }
}

static void ask(const struct work *w, struct gdfo_teacher *teacher, const struct gdfo_model *model,
                float *lp)
{
    const struct gdfo_embedding e = {gdfo_model_embed(model), gdfo_model_config(model)->vocab,
                                     gdfo_model_config(model)->d_model};
    struct gdfo_rng rng = gdfo_rng_stream(7, "bench");
    struct gdfo_label_ids forms[LABELS_MAX];
    struct gdfo_ids ids = {0};
    size_t n = (size_t)w->n_rows * e.d_model;
    float *first = memory(n, sizeof *first);
    float *rows = memory(TOGETHER * n, sizeof *rows);
    for (uint32_t i = 0; i < w->n_labels; i++) {
        must(gdfo_teacher_tokenize(teacher, w->labels[i], &forms[i], &err));
    }
    must(gdfo_tokenizer_encode(gdfo_model_tokenizer(model), w->instruction, strlen(w->instruction),
                               &ids, &err));
    must(gdfo_soft_prompt_from_ids(first, w->n_rows, &e, ids.data, ids.n, &err));
    for (uint32_t at = 0; at < w->n_prompts; at += TOGETHER) {
        uint32_t k = w->n_prompts - at < TOGETHER ? w->n_prompts - at : TOGETHER;
        struct gdfo_score_res res = {.lp = lp + (size_t)at * w->n_bodies * w->n_labels};
        const struct gdfo_score_req req = {.rows = rows,
                                           .n_prompts = k,
                                           .n_prompt_tokens = w->n_rows,
                                           .d_model = (uint32_t)e.d_model,
                                           .position = GDFO_POSITION_SUFFIX,
                                           .bodies = w->bodies,
                                           .n_examples = w->n_bodies,
                                           .cue = w->cue,
                                           .forms = forms,
                                           .n_forms = w->n_labels};
        draw(w, model, first, &rng, rows);
        must(gdfo_teacher_run(teacher, &req, &res, &err));
    }
    gdfo_ids_deinit(&ids);
    gdfo_mem_free(first);
    gdfo_mem_free(rows);
}

static void measure(const struct work *w, const char *path, struct gdfo_pool *pool,
                    enum gdfo_precision precision, const float *reference, float *lp)
{
    const struct gdfo_faithful_shape shape = {w->n_prompts, w->n_bodies, w->n_labels,
                                              w->gold,      0,           w->n_labels};
    struct gdfo_model *model = open_model(path, precision);
    const struct gdfo_teacher_env env = {.model = model, .model_sha256 = "", .pool = pool};
    struct gdfo_teacher *teacher = NULL;
    struct gdfo_faithful f;
    double wall = seconds(CLOCK_MONOTONIC);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    must(gdfo_teacher_open(&teacher, "embedded", &env, &err));
    ask(w, teacher, model, lp);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    must(gdfo_faithful_compare(&shape, reference ? reference : lp, lp, &f, &err));
    (void)printf("{\"task\": \"%s\", \"precision\": \"%s\", \"kernels\": \"%s\", \"lp_max\": %.6g, "
                 "\"lp_mean\": %.6g, \"agreement\": %.6f, \"tau\": %.6f, \"faithful\": %s, "
                 "\"seconds\": %.2f, \"cpu_seconds\": %.2f}\n",
                 w->name, gdfo_precision_name(precision), gdfo_precision_kernels(precision),
                 f.lp_max, f.lp_mean, f.agreement, f.tau,
                 gdfo_faithful_is_good(&f) ? "true" : "false", wall, cpu);
    (void)fflush(stdout);
    gdfo_teacher_close(teacher);
    gdfo_model_destroy(model);
}

int main(int argc, char **argv)
{
    static struct work w;
    struct gdfo_pool *pool = NULL;
    float *reference;
    float *lp;
    size_t n;
    if (argc != 3) {
        (void)fputs("usage: bench_faithful MODEL.gguf WORK.json\n", stderr);
        return 2;
    }
    gdfo_gemm_init();
    must(gdfo_pool_create(&pool, 2, &err));
    read_work(&w, argv[2]);
    n = (size_t)w.n_prompts * w.n_bodies * w.n_labels;
    reference = memory(n, sizeof *reference);
    lp = memory(n, sizeof *lp);
    measure(&w, argv[1], pool, GDFO_PRECISION_F32, NULL, reference);
    for (int p = GDFO_PRECISION_F32 + 1; p < GDFO_PRECISION_COUNT; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            measure(&w, argv[1], pool, (enum gdfo_precision)p, reference, lp);
        }
    }
    gdfo_mem_free(reference);
    gdfo_mem_free(lp);
    gdfo_json_destroy(w.json);
    gdfo_pool_destroy(pool);
    return 0;
}
