#include "server/num/gemm.h"
#include "server/num/mathx.h"
#include "server/num/pool.h"
#include "tests/support/test.h"
#include "tests/unit/model/ref_llama.h"

#include <math.h>
#include <string.h>

/*
 * A student in reduced precision: its gradient points where that of float32 points, it forgets
 * nothing over a snapshot, threads change no bit, and its base is packed once for all students.
 * Where the processor lacks a precision, what is tested is that it says so.
 */
static const struct gdfo_model_config CONFIG = {.architecture = "llama",
                                                .n_layers = 3,
                                                .d_model = 40,
                                                .n_heads = 5,
                                                .n_kv_heads = 1,
                                                .d_head = 8,
                                                .d_ff = 72,
                                                .vocab = 50,
                                                .context_max = 40,
                                                .n_rot = 8,
                                                .rope_base = 10000,
                                                .rms_eps = 1e-5};
#define C       40
#define N_ITEMS 11
#define N_ROWS  3

static const int32_t CUE[2] = {7, 8};
static const int32_t FORMS[3] = {3, 14, 15};
static const struct gdfo_student_label LABELS[2] = {{FORMS, 1}, {FORMS + 1, 2}};
static const struct gdfo_student_columns COLUMNS = {LABELS, 2, NULL, 0};

struct fixture {
    struct gdfo_llama_weights *weights;
    struct gdfo_pool *pool;
    float rows[N_ROWS * C];
    int32_t bodies[N_ITEMS][8];
    struct gdfo_student_item items[N_ITEMS];
    struct gdfo_student_batch batch;
    float teacher[N_ITEMS * 2];
    struct gdfo_student_target target;
};

static void make_items(struct fixture *f)
{
    struct gdfo_rng rng = gdfo_rng_stream(2, "items");
    for (size_t j = 0; j < N_ROWS * C; j++) {
        f->rows[j] = (float)(0.4 * gdfo_rng_normal(&rng));
    }
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        double margin = 2 * gdfo_rng_normal(&rng);
        for (uint32_t j = 0; j < 8; j++) {
            f->bodies[i][j] = (int32_t)gdfo_rng_below(&rng, CONFIG.vocab);
        }
        f->items[i] = (struct gdfo_student_item){
            .rows = f->rows, .n_rows = N_ROWS, .body = {f->bodies[i], 1 + i % 8}, .cue = {CUE, 2}};
        f->teacher[i * 2] = (float)-log1p(exp(-margin));
        f->teacher[i * 2 + 1] = (float)-log1p(exp(margin));
    }
    f->batch = (struct gdfo_student_batch){f->items, N_ITEMS, GDFO_STUDENT_SUFFIX, &COLUMNS};
    f->target = (struct gdfo_student_target){.teacher_lp = f->teacher, .w = 1, .tau = 1};
}

static struct gdfo_student *make_student(const struct fixture *f, enum gdfo_train_mode mode,
                                         enum gdfo_precision precision, struct gdfo_pool *pool)
{
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_student *s = NULL;
    struct gdfo_error err = {0};
    o.mode = mode;
    o.precision = precision;
    o.adapter_rank = 4;
    o.adamw.lr = 1e-3;
    o.max_positions = 64; /* the batch is more than that */
    o.max_items = 16;
    o.max_sequence = 32;
    o.max_columns = 8;
    gdfo_test_ok(tiny_student(&s, f->weights, &o, pool, &err), &err);
    return s;
}

static double train(struct gdfo_student *s, const struct fixture *f, int steps)
{
    struct gdfo_error err = {0};
    double loss = 0;
    for (int i = 0; i < steps; i++) {
        gdfo_test_ok(gdfo_student_distill(s, &f->batch, &f->target, &loss, &err), &err);
    }
    return loss;
}

static double cosine(const float *x, const float *y, size_t n)
{
    double dot = 0;
    double x2 = 0;
    double y2 = 0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)x[i] * (double)y[i];
        x2 += (double)x[i] * (double)x[i];
        y2 += (double)y[i] * (double)y[i];
    }
    return dot / sqrt(x2 * y2);
}

/* Gradients of both to their weights, after three steps of one, and to the prompt. */
static void check_gradient(struct fixture *f, enum gdfo_train_mode mode,
                           enum gdfo_precision precision, double least)
{
    static const int32_t gold[N_ITEMS] = {0, 1, 0, 1};
    struct gdfo_student *low = make_student(f, mode, precision, f->pool);
    struct gdfo_student *exact = make_student(f, mode, GDFO_PRECISION_F32, f->pool);
    float grad[2][N_ROWS * C];
    struct gdfo_error err = {0};
    double loss = 0;
    size_t n = low->net->n_params;
    train(exact, f, 3);
    memcpy(low->net->params, exact->net->params, n * sizeof *low->net->params);
    gdfo_net_changed(low->net);
    gdfo_test_ok(gdfo_student_prompt_grad(low, &f->batch, gold, grad[0], &loss, &err), &err);
    gdfo_test_ok(gdfo_student_prompt_grad(exact, &f->batch, gold, grad[1], &loss, &err), &err);
    assert_true(cosine(grad[0], grad[1], N_ROWS * C) > least);
    assert_memory_not_equal(grad[0], grad[1], sizeof grad[0]);
    train(low, f, 1);
    train(exact, f, 1);
    assert_true(cosine(low->net->grads, exact->net->grads, n) > least);
    gdfo_student_destroy(low);
    gdfo_student_destroy(exact);
}

/* Random weights carry no redundancy, and their outputs grow by the layer: a real model's gradients
 * are ten to a hundred times closer (tests/bench/student-step prints them). */
static void gradients_point_where_those_of_float32_do(void **state)
{
    if (gdfo_precision_is_available(GDFO_PRECISION_BF16)) {
        check_gradient(*state, GDFO_TRAIN_ADAPTER, GDFO_PRECISION_BF16, 0.99);
        check_gradient(*state, GDFO_TRAIN_FULL, GDFO_PRECISION_BF16, 0.99);
    }
    if (gdfo_precision_is_available(GDFO_PRECISION_INT8)) {
        check_gradient(*state, GDFO_TRAIN_ADAPTER, GDFO_PRECISION_INT8, 0.9);
        check_gradient(*state, GDFO_TRAIN_FULL, GDFO_PRECISION_INT8, 0.9);
    }
}

static void check_same_state(const struct gdfo_student *x, const struct gdfo_student *y)
{
    struct gdfo_error err = {0};
    struct gdfo_buf a, b;
    gdfo_buf_init(&a, 1 << 24);
    gdfo_buf_init(&b, 1 << 24);
    gdfo_test_ok(gdfo_student_save(x, &a, &err), &err);
    gdfo_test_ok(gdfo_student_save(y, &b, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    gdfo_buf_deinit(&a);
    gdfo_buf_deinit(&b);
}

/* Six steps; six on one thread; and three, a snapshot into a new student, three more. */
static void check_bits(struct fixture *f, enum gdfo_train_mode mode, enum gdfo_precision precision)
{
    struct gdfo_student *whole = make_student(f, mode, precision, f->pool);
    struct gdfo_student *alone = make_student(f, mode, precision, NULL);
    struct gdfo_student *first = make_student(f, mode, precision, f->pool);
    struct gdfo_student *second = make_student(f, mode, precision, f->pool);
    struct gdfo_error err = {0};
    struct gdfo_buf snapshot;
    double loss = train(whole, f, 6);
    gdfo_buf_init(&snapshot, 1 << 24);
    assert_true(train(alone, f, 6) == loss);
    check_same_state(whole, alone);
    train(first, f, 3);
    train(second, f, 1); /* packs of other weights, to be followed by those of the snapshot */
    gdfo_test_ok(gdfo_student_save(first, &snapshot, &err), &err);
    gdfo_test_ok(gdfo_student_load(second, snapshot.data, snapshot.len, &err), &err);
    assert_true(train(second, f, 3) == loss);
    check_same_state(whole, second);
    gdfo_buf_deinit(&snapshot);
    gdfo_student_destroy(whole);
    gdfo_student_destroy(alone);
    gdfo_student_destroy(first);
    gdfo_student_destroy(second);
}

static void neither_threads_nor_snapshots_change_a_bit(void **state)
{
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            check_bits(*state, GDFO_TRAIN_ADAPTER, (enum gdfo_precision)p);
            check_bits(*state, GDFO_TRAIN_FULL, (enum gdfo_precision)p);
        }
    }
}

static void training_in_bfloat16_learns(void **state)
{
    const struct fixture *f = *state;
    enum gdfo_precision p =
        gdfo_precision_is_available(GDFO_PRECISION_BF16) ? GDFO_PRECISION_BF16 : GDFO_PRECISION_F32;
    for (int mode = GDFO_TRAIN_ADAPTER; mode <= GDFO_TRAIN_FULL; mode++) {
        struct gdfo_student *s = make_student(f, (enum gdfo_train_mode)mode, p, f->pool);
        double first = train(s, f, 1);
        assert_true(train(s, f, 60) < 0.5 * first);
        gdfo_student_destroy(s);
    }
}

static void a_snapshot_of_another_precision_is_refused(void **state)
{
    const struct fixture *f = *state;
    struct gdfo_student *s = make_student(f, GDFO_TRAIN_ADAPTER, GDFO_PRECISION_F32, NULL);
    struct gdfo_error err = {0};
    struct gdfo_buf snapshot;
    gdfo_buf_init(&snapshot, 1 << 24);
    s->opts.precision = GDFO_PRECISION_BF16; /* as one would have saved it */
    gdfo_test_ok(gdfo_student_save(s, &snapshot, &err), &err);
    s->opts.precision = GDFO_PRECISION_F32;
    assert_int_equal(gdfo_student_load(s, snapshot.data, snapshot.len, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "student state of a student in precision bf16: want f32");
    gdfo_buf_deinit(&snapshot);
    gdfo_student_destroy(s);
}

static void the_base_is_packed_once_for_all_its_students(void **state)
{
    const struct fixture *f = *state;
    enum gdfo_precision p =
        gdfo_precision_is_available(GDFO_PRECISION_BF16) ? GDFO_PRECISION_BF16 : GDFO_PRECISION_F32;
    struct gdfo_llama_shelf *shelf = f->weights->shelf;
    struct gdfo_student *a;
    struct gdfo_student *b;
    size_t bytes;
    assert_int_equal(gdfo_llama_shelf_bytes(shelf), 0);
    a = make_student(f, GDFO_TRAIN_ADAPTER, p, NULL);
    bytes = gdfo_llama_shelf_bytes(shelf);
    assert_true(bytes > 0);
    b = make_student(f, GDFO_TRAIN_FROZEN, p, NULL);
    assert_int_equal(gdfo_llama_shelf_bytes(shelf), bytes);
    gdfo_student_destroy(a);
    assert_int_equal(gdfo_llama_shelf_bytes(shelf), bytes);
    a = make_student(f, GDFO_TRAIN_FULL, p, NULL); /* its own */
    assert_int_equal(gdfo_llama_shelf_bytes(shelf), bytes);
    gdfo_student_destroy(b);
    assert_int_equal(gdfo_llama_shelf_bytes(shelf), 0);
    train(a, f, 1);
    gdfo_student_destroy(a);
}

static void a_precision_that_is_not_there_is_refused(void **state)
{
    const struct fixture *f = *state;
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_student *s = NULL;
    struct gdfo_error err = {0};
    o.precision = GDFO_PRECISION_BF16;
    gdfo_math_limit("plain");
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_UNSUPPORTED);
    gdfo_math_limit(NULL);
    assert_non_null(strstr(err.text, "precision bf16"));
    assert_null(s);
    assert_int_equal(gdfo_llama_shelf_bytes(f->weights->shelf), 0);
}

static int make(void **state)
{
    static struct fixture f;
    struct gdfo_error err = {0};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&f.pool, 3, &err), &err);
    f.weights = tiny_model(&CONFIG, 4);
    assert_non_null(f.weights);
    make_items(&f);
    *state = &f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    gdfo_llama_weights_destroy(f->weights);
    gdfo_pool_destroy(f->pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_point_where_those_of_float32_do),
        cmocka_unit_test(neither_threads_nor_snapshots_change_a_bit),
        cmocka_unit_test(training_in_bfloat16_learns),
        cmocka_unit_test(a_snapshot_of_another_precision_is_refused),
        cmocka_unit_test(the_base_is_packed_once_for_all_its_students),
        cmocka_unit_test(a_precision_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, make, end);
}
