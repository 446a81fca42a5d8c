/*
 * Every kind of head on a task's own texts: bench_head_kinds MODEL.gguf WORK.json CACHE [SEEDS].
 * One JSON line for each head and way of choosing anchors. tests/bench/head-kinds writes the works.
 *
 * WORK.json: {"name": "sst2", "cues": [...], "labels": [" bad", ...], "bodies": [...],
 * "gold": [...], "n_train": 32}; the body behind the train rows is the template of an empty text,
 * those behind it are the test rows. CACHE keeps the hidden states, from which any anchor's
 * log-probability follows.
 */
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/model/forward.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/teacher/teacher.h"
#include "server/tune/head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 16
#define BODIES_MAX 1024
#define CUES_MAX   8
#define ANCHORS    128

struct work {
    struct gdfo_json *json;
    const char *name;
    struct gdfo_text cues[CUES_MAX], labels[LABELS_MAX], bodies[BODIES_MAX];
    uint32_t gold[BODIES_MAX], n_labels, n_bodies, n_cues, n_train;
    struct gdfo_label_ids forms[LABELS_MAX];
    uint32_t d;
    float *hidden, *lp; /* [cue][body][d], [cue][body][label] */
};

static struct gdfo_error err;

static void must(enum gdfo_status status)
{
    if (status != GDFO_STATUS_OK) {
        (void)fprintf(stderr, "bench_head_kinds: %s\n", err.text);
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

static uint32_t texts_of(const struct gdfo_json *list, struct gdfo_text *out, uint32_t max)
{
    uint32_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(list); v && n < max; v = gdfo_json_next(v)) {
        const char *s = gdfo_json_string(v);
        out[n++] = (struct gdfo_text){s, s ? strlen(s) : 0};
    }
    return n;
}

static uint32_t count_of(const struct gdfo_json *v)
{
    int64_t n = 0;
    if (!v || !gdfo_json_int(v, &n) || n < 0 || n > BODIES_MAX) {
        must(gdfo_error_set(&err, GDFO_STATUS_INVALID, "a number of the work"));
    }
    return (uint32_t)n;
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
    w->name = gdfo_json_string(gdfo_json_get(w->json, "name"));
    w->n_cues = texts_of(gdfo_json_get(w->json, "cues"), w->cues, CUES_MAX);
    w->n_labels = texts_of(gdfo_json_get(w->json, "labels"), w->labels, LABELS_MAX);
    w->n_bodies = texts_of(gdfo_json_get(w->json, "bodies"), w->bodies, BODIES_MAX);
    w->n_train = count_of(gdfo_json_get(w->json, "n_train"));
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(w->json, "gold"));
         v && i < w->n_bodies; v = gdfo_json_next(v)) {
        w->gold[i++] = count_of(v);
    }
}

static struct gdfo_model *open_model(const char *path)
{
    const struct gdfo_model_options options = {.precision = GDFO_PRECISION_F32};
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

/* ---- the answers ---- */

static void ask(struct work *w, struct gdfo_teacher *teacher)
{
    for (uint32_t v = 0; v < w->n_cues; v++) {
        struct gdfo_score_req req = {.n_prompts = 1,
                                     .d_model = w->d,
                                     .position = GDFO_POSITION_SUFFIX,
                                     .bodies = w->bodies,
                                     .n_examples = w->n_bodies,
                                     .cue = w->cues[v],
                                     .forms = w->forms,
                                     .n_forms = w->n_labels,
                                     .want_hidden = 1};
        struct gdfo_score_res res = {.lp = w->lp + (size_t)v * w->n_bodies * w->n_labels,
                                     .hidden = w->hidden + (size_t)v * w->n_bodies * w->d};
        must(gdfo_teacher_run(teacher, &req, &res, &err));
    }
}

static void answers(struct work *w, struct gdfo_teacher *teacher, const char *cache)
{
    const size_t n_lp = (size_t)w->n_cues * w->n_bodies * w->n_labels;
    const size_t n_hidden = (size_t)w->n_cues * w->n_bodies * w->d;
    const size_t n_bytes = (n_lp + n_hidden) * sizeof(float);
    struct gdfo_buf b;
    w->lp = memory(n_lp + n_hidden, sizeof *w->lp);
    w->hidden = w->lp + n_lp;
    for (uint32_t i = 0; i < w->n_labels; i++) {
        must(gdfo_teacher_tokenize(teacher, w->labels[i], &w->forms[i], &err));
    }
    gdfo_buf_init(&b, n_bytes + 1);
    if (gdfo_file_read(cache, &b, &err) == GDFO_STATUS_OK && b.len == n_bytes) {
        memcpy(w->lp, b.data, n_bytes);
    } else {
        ask(w, teacher);
        must(gdfo_file_write(cache, w->lp, n_bytes, &err));
    }
    gdfo_buf_deinit(&b);
}

/* ---- ways to choose anchors ---- */

struct words { /* the embedding, rows at unit length */
    const struct gdfo_model *model;
    uint32_t vocab, d;
    float *unit;
};

static void make_words(struct words *x, const struct gdfo_model *model)
{
    const float *e = gdfo_model_embed(model);
    x->model = model;
    x->vocab = gdfo_model_config(model)->vocab;
    x->d = gdfo_model_config(model)->d_model;
    x->unit = memory((size_t)x->vocab * x->d, sizeof *x->unit);
    for (size_t i = 0; i < x->vocab; i++) {
        double square = 1e-12;
        for (size_t k = 0; k < x->d; k++) {
            square += (double)e[i * x->d + k] * (double)e[i * x->d + k];
        }
        for (size_t k = 0; k < x->d; k++) {
            x->unit[i * x->d + k] = (float)((double)e[i * x->d + k] / sqrt(square));
        }
    }
}

static float cosine(const struct words *x, size_t a, size_t b)
{
    float sum = 0;
    for (size_t k = 0; k < x->d; k++) {
        sum += x->unit[a * x->d + k] * x->unit[b * x->d + k];
    }
    return sum;
}

static int may_be(const struct words *x, const int32_t *ids, uint32_t n, int32_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == id) {
            return 0;
        }
    }
    return !gdfo_tokenizer_is_control(gdfo_model_tokenizer(x->model), id);
}

static uint32_t add_random(const struct words *x, int32_t *ids, uint32_t n, uint64_t seed)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "anchors");
    while (n < ANCHORS) {
        int32_t id = (int32_t)gdfo_rng_below(&rng, x->vocab);
        if (may_be(x, ids, n, id)) {
            ids[n++] = id;
        }
    }
    return n;
}

/* The label words and their nearest words, in turn, until there are `most`. */
static uint32_t add_neighbours(const struct words *x, const struct work *w, int32_t *ids,
                               uint32_t n, uint32_t most)
{
    while (n < most) {
        for (uint32_t c = 0; c < w->n_labels && n < most; c++) {
            float top = -2;
            int32_t best = -1;
            for (uint32_t id = 0; id < x->vocab; id++) {
                float like = cosine(x, (size_t)w->forms[c].ids[0], id);
                if (like > top && may_be(x, ids, n, (int32_t)id)) {
                    top = like;
                    best = (int32_t)id;
                }
            }
            ids[n++] = best;
        }
    }
    return n;
}

/* Each next one is the word whose nearest chosen one is farthest, of a draw of 4096. */
static uint32_t add_spread(const struct words *x, int32_t *ids, uint32_t n, uint64_t seed)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "spread");
    int32_t drawn[4096];
    float near[4096];
    for (size_t i = 0; i < 4096; i++) {
        drawn[i] = (int32_t)gdfo_rng_below(&rng, x->vocab);
        near[i] = -2;
        for (uint32_t k = 0; k < n; k++) {
            near[i] = fmaxf(near[i], cosine(x, (size_t)drawn[i], (size_t)ids[k]));
        }
    }
    while (n < ANCHORS) {
        size_t best = 0;
        float least = 3;
        for (size_t i = 0; i < 4096; i++) {
            if (near[i] < least && may_be(x, ids, n, drawn[i])) {
                least = near[i];
                best = i;
            }
        }
        ids[n++] = drawn[best];
        for (size_t i = 0; i < 4096; i++) {
            near[i] = fmaxf(near[i], cosine(x, (size_t)drawn[i], (size_t)drawn[best]));
        }
    }
    return n;
}

/* The words that vary most over the train rows, their share in all words taken off: of the whole
 * vocabulary, so from a first query that sees it. */
static uint32_t add_varying(const struct words *x, const struct work *w, struct gdfo_forward *f,
                            int32_t *ids)
{
    float *logits = memory((size_t)w->n_train * x->vocab, sizeof *logits);
    double *spread = memory(x->vocab, sizeof *spread);
    uint32_t n = 0;
    gdfo_model_logits(f, w->hidden, w->n_train, logits);
    for (size_t i = 0; i < w->n_train; i++) {
        double mean = 0;
        for (size_t id = 0; id < x->vocab; id++) {
            mean += (double)logits[i * x->vocab + id] / x->vocab;
        }
        for (size_t id = 0; id < x->vocab; id++) {
            logits[i * x->vocab + id] -= (float)mean;
        }
    }
    for (size_t id = 0; id < x->vocab; id++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < w->n_train; i++) {
            double z = (double)logits[i * x->vocab + id];
            sum += z;
            square += z * z;
        }
        spread[id] = square - sum * sum / w->n_train;
    }
    while (n < ANCHORS) {
        int32_t best = -1;
        for (uint32_t id = 0; id < x->vocab; id++) {
            if ((best < 0 || spread[id] > spread[best]) && may_be(x, ids, n, (int32_t)id)) {
                best = (int32_t)id;
            }
        }
        ids[n++] = best;
    }
    gdfo_mem_free(logits);
    gdfo_mem_free(spread);
    return n;
}

static const char *const ways[] = {"random", "labels", "half", "spread", "varying"};

static void choose(const struct words *x, const struct work *w, struct gdfo_forward *f, size_t way,
                   uint64_t seed, int32_t *ids)
{
    uint32_t n = 0;
    switch (way) {
    case 0: (void)add_random(x, ids, 0, seed); break;
    case 1: (void)add_neighbours(x, w, ids, 0, ANCHORS); break;
    case 2:
        n = add_neighbours(x, w, ids, 0, ANCHORS / 2);
        (void)add_random(x, ids, n, seed);
        break;
    case 3:
        n = add_neighbours(x, w, ids, 0, w->n_labels);
        (void)add_spread(x, ids, n, seed);
        break;
    default: (void)add_varying(x, w, f, ids); break;
    }
}

/* ---- heads ---- */

struct table { /* [body][view] of the first n_views cues */
    float *lp, *hidden, *anchors;
    uint32_t n_views;
};

static void make_table(struct table *t, const struct work *w, struct gdfo_forward *f,
                       const int32_t *ids, uint32_t n_views)
{
    const size_t n = (size_t)w->n_bodies * n_views;
    t->n_views = n_views;
    t->lp = memory(n * w->n_labels, sizeof *t->lp);
    t->hidden = memory(n * w->d, sizeof *t->hidden);
    t->anchors = memory(n * ANCHORS, sizeof *t->anchors);
    for (size_t at = 0; at < n; at++) {
        const size_t from = (at % n_views) * w->n_bodies + at / n_views;
        memcpy(t->lp + at * w->n_labels, w->lp + from * w->n_labels, w->n_labels * sizeof(float));
        memcpy(t->hidden + at * w->d, w->hidden + from * w->d, w->d * sizeof(float));
    }
    struct gdfo_logprobs q = {
        .hidden = t->hidden, .n = n, .ids = ids, .n_ids = ANCHORS, .lp = t->anchors};
    must(gdfo_model_logprobs(f, &q, &err));
}

static void end_table(struct table *t)
{
    gdfo_mem_free(t->lp);
    gdfo_mem_free(t->hidden);
    gdfo_mem_free(t->anchors);
}

static void run_kind(const struct work *w, const struct table *t, enum gdfo_head_kind kind,
                     const char *way, uint64_t seed)
{
    const size_t n_test = w->n_bodies - w->n_train - 1;
    const size_t first = (size_t)(w->n_train + 1) * t->n_views;
    struct gdfo_head_data d = {.lp = t->lp,
                               .anchors = t->anchors,
                               .gold = w->gold,
                               .n = w->n_train,
                               .n_labels = w->n_labels,
                               .n_anchors = ANCHORS,
                               .hidden = t->hidden,
                               .n_hidden = w->d,
                               .blank = t->lp + (size_t)w->n_train * t->n_views * w->n_labels,
                               .n_views = t->n_views};
    struct gdfo_head_opts o = gdfo_head_opts_default(seed);
    struct gdfo_head *h = NULL;
    float *out = memory(n_test * w->n_labels, sizeof *out);
    size_t n_right = 0;
    double loss = 0;
    o.kind = kind;
    o.kinds = 1U << GDFO_HEAD_BIAS | 1U << GDFO_HEAD_TEMPERATURE | 1U << GDFO_HEAD_HIDDEN;
    must(gdfo_head_fit(&h, &d, &o, &err));
    const struct gdfo_head_shape *shape = gdfo_head_shape_of(h);
    const float *x = shape->n_hidden > 0 ? t->hidden + first * w->d : t->anchors + first * ANCHORS;
    gdfo_head_apply(h, t->lp + first * w->n_labels, x, n_test, out);
    for (size_t i = 0; i < n_test; i++) {
        const float *row = out + i * w->n_labels;
        size_t best = 0;
        for (size_t c = 1; c < w->n_labels; c++) {
            best = row[c] > row[best] ? c : best;
        }
        n_right += best == w->gold[w->n_train + 1 + i];
        loss -= (double)row[w->gold[w->n_train + 1 + i]] / (double)n_test;
    }
    printf("{\"task\":\"%s\",\"kind\":\"%s\",\"took\":\"%s\",\"views\":%u,\"anchors\":\"%s\","
           "\"seed\":%llu,\"accuracy\":%.4f,\"loss\":%.4f,\"loss_cv\":%.4f}\n",
           w->name, gdfo_head_kind_name(kind), gdfo_head_kind_name(shape->kind), t->n_views, way,
           (unsigned long long)seed, (double)n_right / (double)n_test, loss,
           gdfo_head_score_of(h, shape->kind)->loss);
    (void)fflush(stdout);
    gdfo_head_destroy(h);
    gdfo_mem_free(out);
}

static void run_all(const struct work *w, const struct words *x, struct gdfo_forward *f,
                    uint64_t seed)
{
    static const enum gdfo_head_kind alone[] = {
        GDFO_HEAD_NONE,        GDFO_HEAD_BLANK,   GDFO_HEAD_BIAS,
        GDFO_HEAD_TEMPERATURE, GDFO_HEAD_ANCHORS, GDFO_HEAD_VERBALIZER,
        GDFO_HEAD_HIDDEN,      GDFO_HEAD_DECT,    GDFO_HEAD_AUTO};
    int32_t ids[ANCHORS];
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        struct table t;
        choose(x, w, f, way, seed, ids);
        make_table(&t, w, f, ids, 1);
        for (size_t k = 0; k < sizeof alone / sizeof alone[0]; k++) {
            if (way == 0 || alone[k] == GDFO_HEAD_ANCHORS || alone[k] == GDFO_HEAD_VERBALIZER) {
                run_kind(w, &t, alone[k], ways[way], seed);
            }
        }
        end_table(&t);
        make_table(&t, w, f, ids, w->n_cues);
        run_kind(w, &t, GDFO_HEAD_PROMPTBOOST, ways[way], seed);
        end_table(&t);
        make_table(&t, w, f, ids, w->n_cues < 4 ? w->n_cues : 4);
        if (way == 0) {
            run_kind(w, &t, GDFO_HEAD_MPD, ways[way], seed);
        }
        end_table(&t);
    }
}

int main(int argc, char **argv)
{
    struct work w = {0};
    struct words x = {0};
    struct gdfo_pool *pool = NULL;
    struct gdfo_teacher *teacher = NULL;
    struct gdfo_forward *f = NULL;
    struct gdfo_teacher_env env = {.model_sha256 = "bench"};
    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench_head_kinds MODEL.gguf WORK.json CACHE [SEEDS]\n");
        return 2;
    }
    gdfo_gemm_init();
    must(gdfo_pool_create(&pool, 2, &err));
    struct gdfo_model *model = open_model(argv[1]);
    read_work(&w, argv[2]);
    w.d = gdfo_model_config(model)->d_model;
    env.model = model;
    env.pool = pool;
    must(gdfo_teacher_open(&teacher, "embedded", &env, &err));
    must(gdfo_forward_create(&f, model, pool, NULL, &err));
    answers(&w, teacher, argv[3]);
    make_words(&x, model);
    for (uint64_t seed = 1; seed <= (argc > 4 ? strtoull(argv[4], NULL, 10) : 3); seed++) {
        run_all(&w, &x, f, seed);
    }
    gdfo_mem_free(x.unit);
    gdfo_mem_free(w.lp);
    gdfo_json_destroy(w.json);
    gdfo_forward_destroy(f);
    gdfo_teacher_close(teacher);
    gdfo_model_destroy(model);
    gdfo_pool_destroy(pool);
    return 0;
}
