/*
 * Seconds of one student step (forward, backward, AdamW): 32 texts of 24 tokens, 10 soft rows and a
 * cue of 4 in suffix position, two labels, KL to made-up teacher answers. With "adapter" the texts'
 * keys and values are cached, so a step computes 32 x 14 positions; with "full" it computes 32
 * x 38. Prints one JSON object: seconds and CPU seconds of every step, and its loss, so that a peer
 * can show that it does the same work.
 *
 *   bench_student_step MODEL.gguf adapter|full [LAYERS] [STEPS] [PRECISION] [THREADS]
 */
#include "common/json_write.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/train/train_priv.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define N_TEXTS   32
#define N_IDS     24
#define N_ROWS    10
#define STEPS_MAX 1000

static const int32_t CUE[] = {30, 657, 436, 253};
static const int32_t FORMS[] = {1109, 13321};
static const struct gdfo_student_label LABELS[] = {{FORMS, 1}, {FORMS + 1, 1}};
static const struct gdfo_student_columns COLUMNS = {LABELS, 2, NULL, 0};

struct bench {
    enum gdfo_train_mode mode;
    enum gdfo_precision precision;
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_student *student;
    int32_t ids[N_TEXTS][N_IDS];
    struct gdfo_student_kv *kv[N_TEXTS];
    struct gdfo_student_item items[N_TEXTS];
    float teacher[N_TEXTS][2];
    float *rows; /* [N_ROWS][d] */
    double seconds[STEPS_MAX], cpu[STEPS_MAX], loss[STEPS_MAX];
};

static double now(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void make_work(struct bench *b)
{
    const struct gdfo_model_config *c = gdfo_model_config(b->model);
    size_t d = c->d_model;
    b->rows = gdfo_mem_array(N_ROWS * d, sizeof *b->rows);
    for (size_t p = 0; p < N_ROWS; p++) {
        memcpy(b->rows + p * d, gdfo_model_embed(b->model) + (37 * p + 11) % c->vocab * d,
               d * sizeof *b->rows);
    }
    for (size_t i = 0; i < N_TEXTS; i++) {
        double p = 0.1 + 0.08 * (double)(i * 7 % 11);
        for (size_t j = 0; j < N_IDS; j++) {
            b->ids[i][j] = (int32_t)(100 + (i * 131 + j * 17) % 4000);
        }
        b->teacher[i][0] = (float)log(p);
        b->teacher[i][1] = (float)log(1 - p);
        b->items[i] = (struct gdfo_student_item){.rows = b->rows,
                                                 .n_rows = N_ROWS,
                                                 .body = {b->ids[i], N_IDS},
                                                 .cue = {CUE, sizeof CUE / sizeof CUE[0]}};
    }
}

static void cache_texts(struct bench *b)
{
    struct gdfo_student_text texts[N_TEXTS];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < N_TEXTS; i++) {
        texts[i] = b->items[i].body;
    }
    gdfo_test_ok(gdfo_student_text_kv(b->student, texts, N_TEXTS, b->kv, &err), &err);
    for (size_t i = 0; i < N_TEXTS; i++) {
        b->items[i].kv = b->kv[i];
    }
}

static void make_student(struct bench *b, uint32_t n_layers)
{
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_error err = {0};
    o.mode = b->mode;
    o.n_layers = n_layers;
    o.precision = b->precision;
    gdfo_test_ok(gdfo_student_create(&b->student, b->model, &o, b->pool, &err), &err);
    make_work(b);
    if (b->mode == GDFO_TRAIN_ADAPTER) {
        cache_texts(b);
    }
}

static void destroy_student(struct bench *b)
{
    for (size_t i = 0; i < N_TEXTS; i++) {
        gdfo_student_kv_destroy(b->kv[i]);
    }
    gdfo_student_destroy(b->student);
    gdfo_mem_free(b->rows);
}

static void run(struct bench *b, int64_t n_steps)
{
    const struct gdfo_student_batch batch = {.items = b->items,
                                             .n_items = N_TEXTS,
                                             .position = GDFO_STUDENT_SUFFIX,
                                             .columns = &COLUMNS};
    const struct gdfo_student_target target = {.teacher_lp = b->teacher[0], .w = 1, .tau = 1};
    struct gdfo_error err = {0};
    for (int64_t i = 0; i < n_steps; i++) {
        double start = now(CLOCK_MONOTONIC);
        double start_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        gdfo_test_ok(gdfo_student_distill(b->student, &batch, &target, &b->loss[i], &err), &err);
        b->seconds[i] = now(CLOCK_MONOTONIC) - start;
        b->cpu[i] = now(CLOCK_PROCESS_CPUTIME_ID) - start_cpu;
    }
}

/* Cosine between the gradients of this student and of one in float32 with the same weights. */
static double gradient_cosine(struct bench *b, uint32_t n_layers)
{
    struct bench exact = {.mode = b->mode, .model = b->model, .pool = b->pool};
    const struct gdfo_net *mine = b->student->net;
    double dot = 0;
    double x2 = 0;
    double y2 = 0;
    make_student(&exact, n_layers);
    memcpy(exact.student->net->params, mine->params, mine->n_params * sizeof *mine->params);
    gdfo_net_changed(exact.student->net);
    run(&exact, 1);
    run(b, 1);
    for (size_t i = 0; i < mine->n_params; i++) {
        double x = (double)mine->grads[i];
        double y = (double)exact.student->net->grads[i];
        dot += x * y;
        x2 += x * x;
        y2 += y * y;
    }
    destroy_student(&exact);
    return dot / sqrt(x2 * y2);
}

static void put_list(struct gdfo_json_writer *w, const char *key, const double *x, int64_t n)
{
    gdfo_json_open(w, key, '[');
    for (int64_t i = 0; i < n; i++) {
        gdfo_json_put_num(w, NULL, x[i]);
    }
    gdfo_json_close(w, ']');
}

static void report(const struct bench *b, int64_t n_steps, double cosine)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w = gdfo_json_writer(&text);
    gdfo_buf_init(&text, 1 << 20);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "gemm", gdfo_precision_kernels(b->precision));
    gdfo_json_put_int(&w, "threads", gdfo_pool_threads(b->pool));
    gdfo_json_put_int(&w, "trainable", (int64_t)gdfo_student_n_trainable(b->student));
    gdfo_json_put_num(&w, "gradient_cosine", cosine);
    put_list(&w, "seconds", b->seconds, n_steps);
    put_list(&w, "cpu", b->cpu, n_steps);
    put_list(&w, "loss", b->loss, n_steps);
    gdfo_json_close(&w, '}');
    (void)printf("%s\n", gdfo_buf_ok(&text) ? text.data : "");
    gdfo_buf_deinit(&text);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct gdfo_error err = {0};
    double cosine = 1;
    int64_t n_layers = 6;
    int64_t n_steps = 10;
    int64_t n_threads = 0;
    if (argc < 3 || argc > 7 || (strcmp(argv[2], "adapter") != 0 && strcmp(argv[2], "full") != 0) ||
        (argc > 3 && !gdfo_parse_i64(argv[3], 1, 1000, &n_layers)) ||
        (argc > 4 && !gdfo_parse_i64(argv[4], 0, STEPS_MAX - 1, &n_steps)) ||
        (argc > 5 && !gdfo_precision_parse(argv[5], &b.precision)) ||
        (argc > 6 && !gdfo_parse_i64(argv[6], 0, 256, &n_threads))) {
        (void)fprintf(stderr,
                      "usage: %s MODEL.gguf adapter|full [LAYERS] [STEPS] [f32|bf16|int8] "
                      "[THREADS]\n",
                      argv[0]);
        return 2;
    }
    b.mode = strcmp(argv[2], "full") == 0 ? GDFO_TRAIN_FULL : GDFO_TRAIN_ADAPTER;
    n_threads = n_threads ? n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&b.pool, (unsigned)n_threads, &err), &err);
    b.model = gdfo_test_model(argv[1], NULL);
    make_student(&b, (uint32_t)n_layers);
    run(&b, n_steps);
    if (b.precision != GDFO_PRECISION_F32) {
        struct bench timed = b; /* its times are those reported */
        cosine = gradient_cosine(&b, (uint32_t)n_layers);
        memcpy(b.seconds, timed.seconds, sizeof b.seconds);
        memcpy(b.cpu, timed.cpu, sizeof b.cpu);
        memcpy(b.loss, timed.loss, sizeof b.loss);
    }
    report(&b, n_steps, cosine);
    destroy_student(&b);
    gdfo_model_destroy(b.model);
    gdfo_pool_destroy(b.pool);
    return 0;
}
