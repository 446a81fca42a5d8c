#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/test.h"
#include "tests/unit/model/ref_llama.h"

#include <math.h>

/* What a user of the student sees: scores, steps, snapshots, refusals. */
#define C       24
#define N_ITEMS 12
#define N_ROWS  4

static const struct gdfo_model_config CONFIG = {.architecture = "llama",
                                                .n_layers = 3,
                                                .d_model = C,
                                                .n_heads = 4,
                                                .n_kv_heads = 2,
                                                .d_head = 6,
                                                .d_ff = 40,
                                                .vocab = 50,
                                                .context_max = 40,
                                                .n_rot = 6,
                                                .rope_base = 10000,
                                                .rms_eps = 1e-5};

static const int32_t CUE[2] = {7, 9};
static const int32_t FORMS[4] = {11, 12, 13, 14};
static const struct gdfo_student_label LABELS[2] = {{FORMS, 2}, {FORMS + 2, 1}};
static const int32_t ANCHORS[3] = {0, 49, 20};
static const struct gdfo_student_columns COLUMNS = {LABELS, 2, ANCHORS, 3};
#define N_COLS 5

struct fixture {
    struct gdfo_pool *pool;
    struct gdfo_llama_weights *weights;
    struct gdfo_student *s;
    int32_t bodies[N_ITEMS][8];
    float rows[N_ROWS * C];
    struct gdfo_student_item items[N_ITEMS];
    struct gdfo_student_batch batch;
    struct gdfo_student_kv *kv[N_ITEMS];
    float teacher[N_ITEMS * N_COLS];
    int32_t gold[N_ITEMS];
    struct gdfo_student_target target;
};

static struct gdfo_student_opts options(enum gdfo_train_mode mode)
{
    struct gdfo_student_opts o = gdfo_student_defaults();
    o.mode = mode;
    o.adapter_rank = 4;
    o.adamw.lr = 5e-3;
    o.max_positions = 128;
    o.max_items = 16;
    o.max_sequence = 32;
    o.max_columns = 8;
    o.seed = 1;
    return o;
}

static struct gdfo_student *make_student(struct fixture *f, enum gdfo_train_mode mode,
                                         struct gdfo_pool *pool)
{
    const struct gdfo_student_opts o = options(mode);
    struct gdfo_student *s = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(tiny_student(&s, f->weights, &o, pool, &err), &err);
    return s;
}

static void make_items(struct fixture *f)
{
    struct gdfo_rng rng = gdfo_rng_stream(2, "items");
    for (size_t j = 0; j < N_ROWS * C; j++) {
        f->rows[j] = (float)(0.4 * gdfo_rng_normal(&rng));
    }
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        uint32_t n = 1 + gdfo_rng_below(&rng, 8);
        double margin = 2 * gdfo_rng_normal(&rng);
        for (uint32_t j = 0; j < n; j++) {
            f->bodies[i][j] = (int32_t)gdfo_rng_below(&rng, CONFIG.vocab);
        }
        f->items[i] = (struct gdfo_student_item){
            .rows = f->rows, .n_rows = N_ROWS, .body = {f->bodies[i], n}, .cue = {CUE, 2}};
        f->teacher[i * N_COLS] = (float)-log1p(exp(-margin));
        f->teacher[i * N_COLS + 1] = (float)-log1p(exp(margin));
        f->gold[i] = margin < 0;
    }
    f->batch = (struct gdfo_student_batch){f->items, N_ITEMS, GDFO_STUDENT_SUFFIX, &COLUMNS};
    f->target = (struct gdfo_student_target){f->teacher, f->gold, 0.8, 2};
}

static int set_up_mode(void **state, enum gdfo_train_mode mode)
{
    struct fixture *f = *state;
    f->s = make_student(f, mode, f->pool);
    make_items(f);
    return 0;
}

static int adapter(void **state)
{
    return set_up_mode(state, GDFO_TRAIN_ADAPTER);
}

static int full(void **state)
{
    return set_up_mode(state, GDFO_TRAIN_FULL);
}

static int frozen(void **state)
{
    return set_up_mode(state, GDFO_TRAIN_FROZEN);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < N_ITEMS; i++) {
        gdfo_student_kv_destroy(f->kv[i]);
        f->kv[i] = NULL;
    }
    gdfo_student_destroy(f->s);
    f->s = NULL;
    return 0;
}

static void cache_texts(struct fixture *f)
{
    struct gdfo_student_text texts[N_ITEMS];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < N_ITEMS; i++) {
        texts[i] = f->items[i].body;
    }
    gdfo_test_ok(gdfo_student_text_kv(f->s, texts, N_ITEMS, f->kv, &err), &err);
    for (size_t i = 0; i < N_ITEMS; i++) {
        f->items[i].kv = f->kv[i];
    }
}

static void train(struct gdfo_student *s, const struct fixture *f, int steps, double *loss)
{
    struct gdfo_error err = {0};
    for (int i = 0; i < steps; i++) {
        gdfo_test_ok(gdfo_student_distill(s, &f->batch, &f->target, loss, &err), &err);
    }
}

static void scores_equal_the_reference(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float got[N_ITEMS * N_COLS];
    double rows[N_ROWS * C];
    struct ref r;
    double loss = 0;
    train(f->s, f, 5, &loss); /* adapters away from their start */
    r = ref_of(f->s);
    for (size_t j = 0; j < N_ROWS * C; j++) {
        rows[j] = (double)f->rows[j];
    }
    f->items[1].n_rows = 0; /* the plain prompt, among others */
    for (int prefix = 0; prefix < 2; prefix++) {
        f->batch.position = prefix ? GDFO_STUDENT_PREFIX : GDFO_STUDENT_SUFFIX;
        gdfo_test_ok(gdfo_student_score(f->s, &f->batch, got, &err), &err);
        for (size_t i = 0; i < N_ITEMS; i++) {
            const struct ref_item it = {rows, f->items[i].n_rows, f->items[i].body, f->items[i].cue,
                                        f->batch.position};
            double want[N_COLS];
            ref_scores(&r, &it, &COLUMNS, want);
            for (size_t j = 0; j < N_COLS; j++) {
                gdfo_test_near((double)got[i * N_COLS + j], want[j], 1e-5);
            }
        }
    }
    ref_free(&r);
}

static void a_cached_text_scores_as_its_ids(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float with_ids[N_ITEMS * N_COLS];
    float with_kv[N_ITEMS * N_COLS];
    double loss = 0;
    train(f->s, f, 5, &loss);
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, with_ids, &err), &err);
    cache_texts(f);
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, with_kv, &err), &err);
    for (size_t i = 0; i < N_ITEMS * N_COLS; i++) {
        gdfo_test_near((double)with_kv[i], (double)with_ids[i], 1e-5);
    }
    train(f->s, f, 5, &loss); /* adapters change, cached texts stay right */
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, with_kv, &err), &err);
    for (size_t i = 0; i < N_ITEMS; i++) {
        f->items[i].kv = NULL;
    }
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, with_ids, &err), &err);
    for (size_t i = 0; i < N_ITEMS * N_COLS; i++) {
        gdfo_test_near((double)with_kv[i], (double)with_ids[i], 1e-5);
    }
}

static void packed_items_score_as_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float together[N_ITEMS * N_COLS];
    float alone[N_COLS];
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, together, &err), &err);
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        struct gdfo_student_batch one = f->batch;
        one.items = &f->items[i];
        one.n_items = 1;
        gdfo_test_ok(gdfo_student_score(f->s, &one, alone, &err), &err);
        for (size_t j = 0; j < N_COLS; j++) {
            gdfo_test_near((double)alone[j], (double)together[i * N_COLS + j], 1e-5);
        }
    }
}

static void an_untrained_adapter_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student *base = make_student(f, GDFO_TRAIN_FROZEN, f->pool);
    struct gdfo_error err = {0};
    float want[N_ITEMS * N_COLS];
    float got[N_ITEMS * N_COLS];
    gdfo_test_ok(gdfo_student_score(base, &f->batch, want, &err), &err);
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, got, &err), &err);
    assert_memory_equal(got, want, sizeof got);
    gdfo_student_destroy(base);
}

static void distillation_lowers_the_loss(void **state)
{
    struct fixture *f = *state;
    double first = 0;
    double last = 0;
    train(f->s, f, 1, &first);
    train(f->s, f, 40, &last);
    assert_true(last < 0.5 * first);
    assert_int_equal(gdfo_student_steps(f->s), 41);
}

static void distillation_over_cached_texts_lowers_the_loss(void **state)
{
    struct fixture *f = *state;
    double first = 0;
    double last = 0;
    cache_texts(f);
    train(f->s, f, 1, &first);
    train(f->s, f, 40, &last);
    assert_true(last < 0.5 * first);
}

static void the_base_model_is_never_written(void **state)
{
    struct fixture *f = *state;
    float *kept = gdfo_mem_dup(f->weights->slab, f->weights->n_floats * sizeof *kept);
    double loss = 0;
    train(f->s, f, 3, &loss);
    assert_memory_equal(f->weights->slab, kept, f->weights->n_floats * sizeof *kept);
    gdfo_mem_free(kept);
}

static void steps_down_the_prompt_gradient_lower_the_loss(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float grad[N_ROWS * C];
    double first = 0;
    double loss = 0;
    cache_texts(f);
    for (int step = 0; step < 30; step++) {
        gdfo_test_ok(gdfo_student_prompt_grad(f->s, &f->batch, f->gold, grad, &loss, &err), &err);
        first = step == 0 ? loss : first;
        for (size_t j = 0; j < N_ROWS * C; j++) {
            f->rows[j] -= 0.5F * grad[j];
        }
    }
    assert_true(loss < 0.8 * first);
}

static void threads_never_change_a_bit(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student *alone = make_student(f, GDFO_TRAIN_ADAPTER, NULL);
    struct gdfo_buf a;
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    double loss_a = 0;
    double loss_b = 0;
    gdfo_buf_init(&a, 1 << 22);
    gdfo_buf_init(&b, 1 << 22);
    train(f->s, f, 6, &loss_a);
    train(alone, f, 6, &loss_b);
    assert_true(loss_a == loss_b);
    gdfo_test_ok(gdfo_student_save(f->s, &a, &err), &err);
    gdfo_test_ok(gdfo_student_save(alone, &b, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    gdfo_buf_deinit(&a);
    gdfo_buf_deinit(&b);
    gdfo_student_destroy(alone);
}

/* Six steps, against three, a snapshot into a new student, and three more. */
static void check_resume(struct fixture *f, enum gdfo_train_mode mode)
{
    struct gdfo_student *second = make_student(f, mode, f->pool);
    struct gdfo_buf snapshot;
    struct gdfo_buf a;
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    double loss = 0;
    gdfo_buf_init(&snapshot, 1 << 24);
    gdfo_buf_init(&a, 1 << 24);
    gdfo_buf_init(&b, 1 << 24);
    train(f->s, f, 3, &loss);
    gdfo_test_ok(gdfo_student_save(f->s, &snapshot, &err), &err);
    train(f->s, f, 3, &loss);
    gdfo_test_ok(gdfo_student_load(second, snapshot.data, snapshot.len, &err), &err);
    assert_int_equal(gdfo_student_steps(second), 3);
    train(second, f, 3, &loss);
    gdfo_test_ok(gdfo_student_save(f->s, &a, &err), &err);
    gdfo_test_ok(gdfo_student_save(second, &b, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    gdfo_buf_deinit(&snapshot);
    gdfo_buf_deinit(&a);
    gdfo_buf_deinit(&b);
    gdfo_student_destroy(second);
}

static void a_resumed_adapter_makes_the_same_bytes(void **state)
{
    check_resume(*state, GDFO_TRAIN_ADAPTER);
}

static void a_resumed_full_student_makes_the_same_bytes(void **state)
{
    check_resume(*state, GDFO_TRAIN_FULL);
}

static void damaged_snapshots_are_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_buf b;
    struct gdfo_buf now;
    struct gdfo_error err = {0};
    gdfo_buf_init(&b, 1 << 22);
    gdfo_buf_init(&now, 1 << 22);
    gdfo_test_ok(gdfo_student_save(f->s, &b, &err), &err);
    for (size_t n = 0; n < b.len; n += n < 64 ? 1 : 997) {
        assert_int_equal(gdfo_student_load(f->s, b.data, n, &err), GDFO_STATUS_CORRUPT);
    }
    for (size_t i = 0; i < b.len; i += i < 64 ? 1 : 997) {
        b.data[i] ^= 0x10;
        assert_int_equal(gdfo_student_load(f->s, b.data, b.len, &err), GDFO_STATUS_CORRUPT);
        b.data[i] ^= 0x10;
    }
    gdfo_test_ok(gdfo_student_save(f->s, &now, &err), &err);
    assert_memory_equal(now.data, b.data, b.len); /* nothing has changed */
    gdfo_buf_deinit(&b);
    gdfo_buf_deinit(&now);
}

static void a_snapshot_of_another_shape_is_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student_opts o = options(GDFO_TRAIN_ADAPTER);
    struct gdfo_student *other = NULL;
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    gdfo_buf_init(&b, 1 << 22);
    o.adapter_rank = 5;
    gdfo_test_ok(tiny_student(&other, f->weights, &o, NULL, &err), &err);
    gdfo_test_ok(gdfo_student_save(other, &b, &err), &err);
    assert_int_equal(gdfo_student_load(f->s, b.data, b.len, &err), GDFO_STATUS_INVALID);
    assert_non_null(strstr(err.text, "rank 5, 3 layers: want mode 1, rank 4"));
    gdfo_buf_deinit(&b);
    gdfo_buf_init(&b, 100); /* and a buffer that is too small says so */
    assert_int_equal(gdfo_student_save(other, &b, &err), GDFO_STATUS_LIMIT);
    gdfo_buf_deinit(&b);
    gdfo_student_destroy(other);
}

static void nothing_is_allocated_after_create(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float scores[N_ITEMS * N_COLS];
    float grad[N_ROWS * C];
    double loss = 0;
    size_t before;
    cache_texts(f);
    before = gdfo_mem_count();
    for (int i = 0; i < 3; i++) {
        train(f->s, f, 1, &loss);
        gdfo_test_ok(gdfo_student_score(f->s, &f->batch, scores, &err), &err);
        gdfo_test_ok(gdfo_student_prompt_grad(f->s, &f->batch, f->gold, grad, &loss, &err), &err);
    }
    assert_int_equal(gdfo_mem_count(), before);
}

static void every_failed_allocation_is_reported(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_student_opts o = options(GDFO_TRAIN_ADAPTER);
    struct gdfo_error err = {0};
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; st == GDFO_STATUS_NO_MEMORY; n++) {
        struct gdfo_student *s = NULL;
        assert_true(n < 30);
        gdfo_mem_fail_after(n);
        st = tiny_student(&s, f->weights, &o, NULL, &err);
        gdfo_mem_fail_after(-1);
        assert_true((st == GDFO_STATUS_OK) == (s != NULL));
        gdfo_student_destroy(s);
    }
    gdfo_test_ok(st, &err);
    st = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; st == GDFO_STATUS_NO_MEMORY; n++) {
        struct gdfo_student_text texts[2] = {f->items[0].body, f->items[1].body};
        gdfo_mem_fail_after(n);
        st = gdfo_student_text_kv(f->s, texts, 2, f->kv, &err);
        gdfo_mem_fail_after(-1);
        assert_true((st == GDFO_STATUS_OK) == (f->kv[0] != NULL));
    }
    gdfo_test_ok(st, &err);
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

static void expect_score(struct fixture *f, enum gdfo_status want, const char *words)
{
    struct gdfo_error err = {0};
    float out[N_ITEMS * N_COLS];
    assert_int_equal(gdfo_student_score(f->s, &f->batch, out, &err), want);
    if (!strstr(err.text, words)) {
        print_error("\"%s\" has no \"%s\"\n", err.text, words);
        fail();
    }
}

static void bad_items_are_refused_by_number(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student_item kept = f->items[2];
    struct gdfo_student_item *it = &f->items[2];
    static const int32_t bad[2] = {3, 50};
    static const int32_t negative[1] = {-1};
    it->cue.n = 0;
    expect_score(f, GDFO_STATUS_INVALID, "item 2: the cue is empty");
    it->cue = (struct gdfo_student_text){bad, 2};
    expect_score(f, GDFO_STATUS_INVALID, "item 2: cue id 50: want 0..49");
    *it = kept;
    it->body = (struct gdfo_student_text){negative, 1};
    expect_score(f, GDFO_STATUS_INVALID, "item 2: body id -1: want 0..49");
    *it = kept;
    it->rows = NULL;
    expect_score(f, GDFO_STATUS_INVALID, "item 2: 4 soft rows, but none given");
    *it = kept;
    it->n_rows = 33;
    expect_score(f, GDFO_STATUS_LIMIT, "of its own: want at most 32 and 128");
    it->n_rows = UINT32_MAX;
    expect_score(f, GDFO_STATUS_LIMIT, "item 2 has 4294967");
    *it = kept;
    f->batch.n_items = 0;
    expect_score(f, GDFO_STATUS_INVALID, "the batch is empty");
}

static void bad_columns_are_refused(void **state)
{
    struct fixture *f = *state;
    static const int32_t many[20] = {0};
    static const int32_t bad[1] = {50};
    struct gdfo_student_label labels[2] = {LABELS[0], LABELS[1]};
    struct gdfo_student_columns c = {labels, 0, NULL, 0};
    f->batch.columns = &c;
    expect_score(f, GDFO_STATUS_INVALID, "0 labels and 0 anchors: want at least one label");
    c.n_labels = 2;
    labels[1].n = 0;
    expect_score(f, GDFO_STATUS_INVALID, "label 1 has 0 token ids");
    labels[1] = (struct gdfo_student_label){many, 20};
    expect_score(f, GDFO_STATUS_INVALID,
                 "label 1 has 20 token ids: want at least 1, and 8 columns");
    labels[1] = (struct gdfo_student_label){bad, 1};
    expect_score(f, GDFO_STATUS_INVALID, "label 1: token id 50: want 0..49");
    labels[1] = LABELS[1];
    c.anchors = bad;
    c.n_anchors = 1;
    expect_score(f, GDFO_STATUS_INVALID, "token id 50: want 0..49");
    c.n_anchors = 9;
    expect_score(f, GDFO_STATUS_INVALID, "2 labels and 9 anchors");
}

static void bad_targets_are_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    double loss = 0;
    f->target.w = 1.5;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_INVALID);
    f->target.w = 0.5;
    f->target.tau = 0;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_INVALID);
    f->target.tau = 1;
    f->gold[3] = 2;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "item 3: gold label 2: want -1..1");
    f->target.gold = NULL;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "distillation with w 0.5 needs gold labels");
    assert_int_equal(gdfo_student_steps(f->s), 0);
}

static void a_loss_that_is_not_finite_makes_no_step(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    double loss = 0;
    f->rows[5] = INFINITY;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_INVALID);
    assert_int_equal(gdfo_student_steps(f->s), 0);
    f->rows[5] = 0;
    train(f->s, f, 1, &loss);
    assert_true(isfinite(loss));
}

static void a_frozen_student_cannot_be_trained(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    double loss = 0;
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_STATE);
    assert_string_equal(err.text, "a frozen student cannot be trained");
    assert_int_equal(gdfo_student_n_trainable(f->s), 0);
}

static void full_training_refuses_cached_and_stale_texts(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    double loss = 0;
    cache_texts(f);
    assert_int_equal(gdfo_student_distill(f->s, &f->batch, &f->target, &loss, &err),
                     GDFO_STATUS_STATE);
    assert_non_null(strstr(err.text, "item 0: full training needs the body"));
    for (size_t i = 0; i < N_ITEMS; i++) {
        f->items[i].kv = NULL;
    }
    train(f->s, f, 1, &loss);
    f->items[4].kv = f->kv[4];
    expect_score(f, GDFO_STATUS_STATE, "item 4: the cached text is older than the weights");
}

static void a_cached_text_belongs_to_its_student_and_to_the_suffix(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student *own = f->s;
    struct gdfo_student *other = make_student(f, GDFO_TRAIN_ADAPTER, NULL);
    cache_texts(f);
    f->s = other;
    expect_score(f, GDFO_STATUS_INVALID, "item 0: the cached text is another student's");
    f->s = own;
    f->batch.position = GDFO_STUDENT_PREFIX;
    expect_score(f, GDFO_STATUS_INVALID, "item 0: a cached text needs the suffix position");
    gdfo_student_destroy(other);
}

static void bad_texts_are_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    static const int32_t ids[40] = {1, 2, 50};
    struct gdfo_student_text t[2] = {{ids, 2}, {ids, 3}};
    assert_int_equal(gdfo_student_text_kv(f->s, t, 2, f->kv, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "text 1: id 50: want 0..49");
    assert_null(f->kv[0]);
    t[1].n = 0;
    assert_int_equal(gdfo_student_text_kv(f->s, t, 2, f->kv, &err), GDFO_STATUS_LIMIT);
    t[1].n = 33;
    assert_int_equal(gdfo_student_text_kv(f->s, t, 2, f->kv, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text, "text 1 has 33 positions: want 1..32");
}

static void a_prompt_gradient_needs_one_shared_prompt(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    float grad[N_ROWS * C];
    float other[N_ROWS * C] = {0};
    double loss = 0;
    f->items[1].rows = other;
    assert_int_equal(gdfo_student_prompt_grad(f->s, &f->batch, f->gold, grad, &loss, &err),
                     GDFO_STATUS_INVALID);
    assert_non_null(strstr(err.text, "item 1: a prompt gradient needs one prompt"));
    for (size_t i = 0; i < N_ITEMS; i++) {
        f->items[i].n_rows = 0;
    }
    assert_int_equal(gdfo_student_prompt_grad(f->s, &f->batch, f->gold, grad, &loss, &err),
                     GDFO_STATUS_INVALID);
}

static void bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student *s = NULL;
    struct gdfo_error err = {0};
    struct gdfo_student_opts o = options(GDFO_TRAIN_ADAPTER);
    o.n_layers = 4;
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "student of 4 layers: the model has 3");
    o = options(GDFO_TRAIN_ADAPTER);
    o.adapter_rank = 0;
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "adapter_rank 0: want 1..256");
    o = options(GDFO_TRAIN_ADAPTER);
    o.adapter_scale = 0;
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_INVALID);
    o = options(GDFO_TRAIN_ADAPTER);
    o.adamw.beta2 = 1;
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_INVALID);
    o = options(GDFO_TRAIN_FULL);
    o.max_columns = 0;
    assert_int_equal(tiny_student(&s, f->weights, &o, NULL, &err), GDFO_STATUS_INVALID);
    assert_null(s);
}

static void a_sequence_never_passes_the_models_context(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student_opts o = options(GDFO_TRAIN_FROZEN);
    struct gdfo_student *own = f->s;
    struct gdfo_error err = {0};
    o.max_sequence = 128; /* the model has 40 */
    gdfo_test_ok(tiny_student(&f->s, f->weights, &o, NULL, &err), &err);
    f->items[0].n_rows = 41;
    expect_score(f, GDFO_STATUS_LIMIT, "want at most 40 and 128");
    gdfo_student_destroy(f->s);
    f->s = own;
}

static int make(void **state)
{
    static struct fixture f;
    struct gdfo_error err = {0};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&f.pool, 3, &err), &err);
    f.weights = tiny_model(&CONFIG, 4);
    assert_non_null(f.weights);
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

/* The chain rule binds the Jacobian to the prompt gradient, which is checked by differences
 * elsewhere: the mean over items of (softmax - gold) times the item's Jacobian. */
static void the_jacobian_gives_the_prompt_gradient(void **state)
{
    struct fixture *f = *state;
    static float jac[N_ITEMS * 2 * N_ROWS * C];
    static float again[N_ITEMS * N_COLS];
    float scores[N_ITEMS * 2];
    float grad[N_ROWS * C];
    double want[N_ROWS * C] = {0};
    double loss = 0;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_student_prompt_grad(f->s, &f->batch, f->gold, grad, &loss, &err), &err);
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, again, &err), &err);
    gdfo_test_ok(gdfo_student_prompt_jacobian(f->s, &f->batch, scores, jac, &err), &err);
    for (size_t i = 0; i < N_ITEMS; i++) {
        double p = 1 / (1 + exp((double)scores[2 * i] - (double)scores[2 * i + 1]));
        double d[2] = {1 - p - (f->gold[i] == 0), p - (f->gold[i] == 1)};
        gdfo_test_near((double)scores[2 * i], (double)again[N_COLS * i], 1e-6);
        gdfo_test_near((double)scores[2 * i + 1], (double)again[N_COLS * i + 1], 1e-6);
        for (size_t c = 0; c < 2; c++) {
            for (size_t j = 0; j < N_ROWS * C; j++) {
                want[j] += d[c] * (double)jac[(2 * i + c) * N_ROWS * C + j] / N_ITEMS;
            }
        }
    }
    for (size_t j = 0; j < N_ROWS * C; j++) {
        gdfo_test_near((double)grad[j], want[j], 1e-6);
    }
    f->items[3].rows = f->rows + 1; /* of another prompt */
    assert_int_equal(gdfo_student_prompt_jacobian(f->s, &f->batch, scores, jac, &err),
                     GDFO_STATUS_INVALID);
}

#define CASE(test, mode) cmocka_unit_test_setup_teardown(test, mode, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(scores_equal_the_reference, adapter),
        CASE(a_cached_text_scores_as_its_ids, adapter),
        CASE(packed_items_score_as_one_by_one, adapter),
        CASE(an_untrained_adapter_changes_nothing, adapter),
        CASE(distillation_lowers_the_loss, adapter),
        CASE(distillation_lowers_the_loss, full),
        CASE(distillation_over_cached_texts_lowers_the_loss, adapter),
        CASE(the_base_model_is_never_written, full),
        CASE(the_base_model_is_never_written, adapter),
        CASE(steps_down_the_prompt_gradient_lower_the_loss, frozen),
        CASE(threads_never_change_a_bit, adapter),
        CASE(a_resumed_adapter_makes_the_same_bytes, adapter),
        CASE(a_resumed_full_student_makes_the_same_bytes, full),
        CASE(damaged_snapshots_are_refused, adapter),
        CASE(a_snapshot_of_another_shape_is_refused, adapter),
        CASE(nothing_is_allocated_after_create, adapter),
        CASE(every_failed_allocation_is_reported, adapter),
        CASE(bad_items_are_refused_by_number, adapter),
        CASE(bad_columns_are_refused, adapter),
        CASE(bad_targets_are_refused, adapter),
        CASE(a_loss_that_is_not_finite_makes_no_step, adapter),
        CASE(the_jacobian_gives_the_prompt_gradient, frozen),
        CASE(a_frozen_student_cannot_be_trained, frozen),
        CASE(full_training_refuses_cached_and_stale_texts, full),
        CASE(a_cached_text_belongs_to_its_student_and_to_the_suffix, adapter),
        CASE(bad_texts_are_refused, adapter),
        CASE(a_prompt_gradient_needs_one_shared_prompt, frozen),
        CASE(bad_options_are_refused, frozen),
        CASE(a_sequence_never_passes_the_models_context, frozen),
    };
    return cmocka_run_group_tests(tests, make, end);
}
