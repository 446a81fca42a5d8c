/*
 * How well a student follows its teacher per CPU second of training. The teacher, the whole model
 * in float32, answers candidate prompts on labelled texts; a student of its first layers is trained
 * on the answers to some of them, in batches of 32 (prompt, text) pairs, and now and then scores
 * the others. Prints JSON, a line at a time: the teacher's mean loss on each held-out prompt, then
 * at every check the CPU seconds spent in steps, the student's losses and the mean KL of its label
 * distribution from the teacher's.
 *
 *   bench_student_follow MODEL.gguf WORK.json ANSWERS adapter|full LAYERS PRECISION RATE SECONDS
 *
 * WORK.json: {"train":60,"held":40,"rows":10,"cue":[ids],"labels":[ids],"gold":[n],
 * "texts":[[ids],...]}. Rows of a candidate: embeddings of tokens (37 p + 11) mod vocab, each
 * number moved by a normal step of the embedding's deviation. ANSWERS is read, or made when it is
 * not there: [prompts][texts][2] floats.
 */
#include "common/json.h"
#include "common/json_write.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/train/student.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TEXTS_MAX   64
#define IDS_MAX     128
#define PROMPTS_MAX 256
#define BATCH       32
#define FIRST_CHECK 2.5 /* CPU seconds; each further one after twice as many */

struct ids {
    int32_t id[IDS_MAX];
    size_t n;
};

struct bench {
    struct ids texts[TEXTS_MAX], cue, labels, gold;
    size_t n_texts, n_train, n_held, n_rows;
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_student *student;
    struct gdfo_student_kv *kv[TEXTS_MAX];
    enum gdfo_train_mode mode;
    float *rows;    /* [prompts][n_rows][d] */
    float *answers; /* [prompts][n_texts][2] */
    struct gdfo_student_item *items;
    struct gdfo_rng order;
    double cpu;
};

static double cpu_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t n_prompts(const struct bench *b)
{
    return b->n_train + b->n_held;
}

/* ---- the work -------------------------------------------------------------------------------- */

static void read_ids(const struct gdfo_json *array, struct ids *out)
{
    for (const struct gdfo_json *v = gdfo_json_first(array); v; v = gdfo_json_next(v)) {
        int64_t id = 0;
        assert_true(out->n < IDS_MAX && gdfo_json_int(v, &id));
        out->id[out->n++] = (int32_t)id;
    }
}

static size_t read_count(const struct gdfo_json *root, const char *key)
{
    int64_t n = 0;
    assert_true(gdfo_json_int(gdfo_json_get(root, key), &n) && n >= 1 && n <= PROMPTS_MAX);
    return (size_t)n;
}

static void read_work(struct bench *b, const char *path)
{
    const struct gdfo_json_limits limits = {.values = 1000000};
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    gdfo_buf_init(&text, 8 << 20);
    gdfo_test_ok(gdfo_file_read(path, &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &limits, &err), &err);
    b->n_train = read_count(root, "train");
    b->n_held = read_count(root, "held");
    b->n_rows = read_count(root, "rows");
    read_ids(gdfo_json_get(root, "cue"), &b->cue);
    read_ids(gdfo_json_get(root, "labels"), &b->labels);
    read_ids(gdfo_json_get(root, "gold"), &b->gold);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(root, "texts")); v;
         v = gdfo_json_next(v)) {
        assert_true(b->n_texts < TEXTS_MAX);
        read_ids(v, &b->texts[b->n_texts++]);
    }
    assert_true(b->labels.n == 2 && b->gold.n == b->n_texts);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

static void make_rows(struct bench *b)
{
    const struct gdfo_model_config *c = gdfo_model_config(b->model);
    struct gdfo_rng rng = gdfo_rng_stream(1, "candidates");
    double std = gdfo_model_embed_std(b->model);
    size_t d = c->d_model;
    b->rows = gdfo_mem_array(n_prompts(b) * b->n_rows * d, sizeof *b->rows);
    for (size_t i = 0; i < n_prompts(b) * b->n_rows; i++) {
        size_t id = (37 * (i % b->n_rows) + 11) % c->vocab;
        for (size_t j = 0; j < d; j++) {
            b->rows[i * d + j] =
                gdfo_model_embed(b->model)[id * d + j] + (float)(std * gdfo_rng_normal(&rng));
        }
    }
}

/* ---- the teacher ----------------------------------------------------------------------------- */

static void ask_prompt(struct bench *b, struct gdfo_forward *f, struct gdfo_kv *const *kv, size_t i)
{
    static struct gdfo_piece pieces[TEXTS_MAX][2];
    static struct gdfo_run runs[TEXTS_MAX];
    size_t d = gdfo_model_config(b->model)->d_model;
    float *hidden = gdfo_mem_array(b->n_texts * d, sizeof *hidden);
    struct gdfo_logprobs q = {.hidden = hidden, .n = b->n_texts, .ids = b->labels.id, .n_ids = 2};
    struct gdfo_error err = {0};
    for (size_t t = 0; t < b->n_texts; t++) {
        pieces[t][0] = (struct gdfo_piece){.rows = b->rows + i * b->n_rows * d, .n = b->n_rows};
        pieces[t][1] = (struct gdfo_piece){.ids = b->cue.id, .n = b->cue.n};
        runs[t] = (struct gdfo_run){
            .pieces = pieces[t], .n_pieces = 2, .past = kv[t], .scored = GDFO_SCORED_LAST};
    }
    q.lp = b->answers + i * b->n_texts * 2;
    gdfo_test_ok(gdfo_forward_run(f, runs, b->n_texts, hidden, &err), &err);
    gdfo_test_ok(gdfo_model_logprobs(f, &q, &err), &err);
    gdfo_mem_free(hidden);
}

static void ask_teacher(struct bench *b)
{
    struct gdfo_forward *f = NULL;
    struct gdfo_kv *kv[TEXTS_MAX] = {NULL};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_forward_create(&f, b->model, b->pool, NULL, &err), &err);
    for (size_t t = 0; t < b->n_texts; t++) {
        const struct gdfo_piece piece = {.ids = b->texts[t].id, .n = b->texts[t].n};
        struct gdfo_run run = {.pieces = &piece, .n_pieces = 1};
        gdfo_test_ok(gdfo_kv_create(&kv[t], b->model, piece.n, &err), &err);
        run.keep = kv[t];
        gdfo_test_ok(gdfo_forward_run(f, &run, 1, NULL, &err), &err);
    }
    for (size_t i = 0; i < n_prompts(b); i++) {
        ask_prompt(b, f, kv, i);
    }
    for (size_t t = 0; t < b->n_texts; t++) {
        gdfo_kv_destroy(kv[t]);
    }
    gdfo_forward_destroy(f);
}

static void get_answers(struct bench *b, const char *path)
{
    size_t bytes = n_prompts(b) * b->n_texts * 2 * sizeof *b->answers;
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    b->answers = gdfo_mem_array(bytes, 1);
    gdfo_buf_init(&text, 64 << 20);
    if (access(path, R_OK) == 0) {
        gdfo_test_ok(gdfo_file_read(path, &text, &err), &err);
        assert_int_equal(text.len, bytes);
        memcpy(b->answers, text.data, bytes);
    } else {
        ask_teacher(b);
        gdfo_test_ok(gdfo_file_write(path, b->answers, bytes, &err), &err);
    }
    gdfo_buf_deinit(&text);
}

/* ---- the student ----------------------------------------------------------------------------- */

static struct gdfo_student_batch batch_of(struct bench *b, struct gdfo_student_label labels[2],
                                          struct gdfo_student_columns *columns, size_t n)
{
    labels[0] = (struct gdfo_student_label){b->labels.id, 1};
    labels[1] = (struct gdfo_student_label){b->labels.id + 1, 1};
    *columns = (struct gdfo_student_columns){labels, 2, NULL, 0};
    return (struct gdfo_student_batch){b->items, (uint32_t)n, GDFO_STUDENT_SUFFIX, columns};
}

static void set_item(struct bench *b, size_t at, size_t prompt, size_t text, int is_cached)
{
    size_t d = gdfo_model_config(b->model)->d_model;
    b->items[at] =
        (struct gdfo_student_item){.rows = b->rows + prompt * b->n_rows * d,
                                   .n_rows = (uint32_t)b->n_rows,
                                   .kv = is_cached ? b->kv[text] : NULL,
                                   .body = {b->texts[text].id, (uint32_t)b->texts[text].n},
                                   .cue = {b->cue.id, (uint32_t)b->cue.n}};
}

static void cache_texts(struct bench *b)
{
    struct gdfo_student_text texts[TEXTS_MAX];
    struct gdfo_error err = {0};
    for (size_t t = 0; t < b->n_texts; t++) {
        texts[t] = (struct gdfo_student_text){b->texts[t].id, (uint32_t)b->texts[t].n};
        gdfo_student_kv_destroy(b->kv[t]);
    }
    gdfo_test_ok(gdfo_student_text_kv(b->student, texts, b->n_texts, b->kv, &err), &err);
}

static void step(struct bench *b)
{
    struct gdfo_student_label labels[2];
    struct gdfo_student_columns columns;
    struct gdfo_error err = {0};
    float answers[BATCH * 2];
    const struct gdfo_student_target target = {.teacher_lp = answers, .w = 1, .tau = 1};
    double start = cpu_now();
    double loss = 0;
    struct gdfo_student_batch batch = batch_of(b, labels, &columns, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        size_t prompt = gdfo_rng_below(&b->order, (uint32_t)b->n_train);
        size_t text = gdfo_rng_below(&b->order, (uint32_t)b->n_texts);
        set_item(b, i, prompt, text, b->mode == GDFO_TRAIN_ADAPTER);
        memcpy(answers + 2 * i, b->answers + (prompt * b->n_texts + text) * 2, 2 * sizeof *answers);
    }
    gdfo_test_ok(gdfo_student_distill(b->student, &batch, &target, &loss, &err), &err);
    b->cpu += cpu_now() - start;
}

/* Log-probabilities of the two labels among themselves. */
static void normalise(const float *x, double out[2])
{
    double max = fmax((double)x[0], (double)x[1]);
    double sum = exp((double)x[0] - max) + exp((double)x[1] - max);
    out[0] = (double)x[0] - max - log(sum);
    out[1] = (double)x[1] - max - log(sum);
}

static void put_losses(const struct bench *b, struct gdfo_json_writer *w, const float *lp)
{
    gdfo_json_open(w, "losses", '[');
    for (size_t i = 0; i < b->n_held; i++) {
        double sum = 0;
        for (size_t t = 0; t < b->n_texts; t++, lp += 2) {
            double x[2];
            normalise(lp, x);
            sum -= x[b->gold.id[t]];
        }
        gdfo_json_put_num(w, NULL, sum / (double)b->n_texts);
    }
    gdfo_json_close(w, ']');
}

static double mean_kl(const struct bench *b, const float *teacher, const float *student)
{
    size_t n = b->n_held * b->n_texts;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double t[2], s[2];
        normalise(teacher + 2 * i, t);
        normalise(student + 2 * i, s);
        sum += exp(t[0]) * (t[0] - s[0]) + exp(t[1]) * (t[1] - s[1]);
    }
    return sum / (double)n;
}

/* Prints what was written and begins anew. */
static void print_line(struct gdfo_buf *text)
{
    assert_true(gdfo_buf_ok(text));
    (void)printf("%s\n", text->data);
    (void)fflush(stdout);
    gdfo_buf_deinit(text);
}

static void check(struct bench *b)
{
    struct gdfo_buf text;
    struct gdfo_json_writer out = gdfo_json_writer(&text);
    struct gdfo_json_writer *w = &out;
    struct gdfo_student_label labels[2];
    struct gdfo_student_columns columns;
    struct gdfo_error err = {0};
    size_t n = b->n_held * b->n_texts;
    float *logits = gdfo_mem_array(n * 2, sizeof *logits);
    struct gdfo_student_batch batch = batch_of(b, labels, &columns, n);
    gdfo_buf_init(&text, 1 << 20);
    cache_texts(b); /* stale in FULL mode */
    for (size_t i = 0; i < n; i++) {
        set_item(b, i, b->n_train + i / b->n_texts, i % b->n_texts, 1);
    }
    gdfo_test_ok(gdfo_student_score(b->student, &batch, logits, &err), &err);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_int(w, "steps", (int64_t)gdfo_student_steps(b->student));
    gdfo_json_put_num(w, "cpu", b->cpu);
    gdfo_json_put_num(w, "kl", mean_kl(b, b->answers + b->n_train * b->n_texts * 2, logits));
    put_losses(b, w, logits);
    gdfo_json_close(w, '}');
    print_line(&text);
    gdfo_mem_free(logits);
}

static void run(struct bench *b, double seconds)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w = gdfo_json_writer(&text);
    gdfo_buf_init(&text, 1 << 20);
    b->order = gdfo_rng_stream(1, "pairs");
    gdfo_json_open(&w, NULL, '{');
    put_losses(b, &w, b->answers + b->n_train * b->n_texts * 2);
    gdfo_json_close(&w, '}');
    print_line(&text);
    cache_texts(b);
    check(b);
    for (double next = FIRST_CHECK; next <= seconds; next *= 2) {
        while (b->cpu < next) {
            step(b);
        }
        check(b);
    }
}

static int parse(struct bench *b, struct gdfo_student_opts *o, char **argv, double *seconds)
{
    int64_t n_layers = 0;
    o->mode = b->mode = strcmp(argv[4], "full") == 0 ? GDFO_TRAIN_FULL : GDFO_TRAIN_ADAPTER;
    if ((o->mode == GDFO_TRAIN_ADAPTER && strcmp(argv[4], "adapter") != 0) ||
        !gdfo_parse_i64(argv[5], 1, 1000, &n_layers) ||
        !gdfo_precision_parse(argv[6], &o->precision) || !gdfo_parse_f64(argv[7], &o->adamw.lr) ||
        !gdfo_parse_f64(argv[8], seconds)) {
        return 0;
    }
    o->n_layers = (uint32_t)n_layers;
    return 1;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_error err = {0};
    double seconds = 0;
    if (argc != 9 || !parse(&b, &o, argv, &seconds)) {
        (void)fprintf(stderr,
                      "usage: %s MODEL.gguf WORK.json ANSWERS adapter|full LAYERS f32|bf16|int8 "
                      "RATE SECONDS\n",
                      argv[0]);
        return 2;
    }
    read_work(&b, argv[2]);
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&b.pool, (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &err), &err);
    b.model = gdfo_test_model(argv[1], NULL);
    make_rows(&b);
    get_answers(&b, argv[3]);
    b.items = gdfo_mem_array(b.n_held * b.n_texts + BATCH, sizeof *b.items);
    gdfo_test_ok(gdfo_student_create(&b.student, b.model, &o, b.pool, &err), &err);
    run(&b, seconds);
    for (size_t t = 0; t < b.n_texts; t++) {
        gdfo_student_kv_destroy(b.kv[t]);
    }
    gdfo_student_destroy(b.student);
    gdfo_model_destroy(b.model);
    gdfo_pool_destroy(b.pool);
    gdfo_mem_free(b.items);
    gdfo_mem_free(b.rows);
    gdfo_mem_free(b.answers);
    return 0;
}
