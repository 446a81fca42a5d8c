#include "common/file.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/model/format/format.h"
#include "server/model/forward.h"
#include "server/model/model.h"
#include "server/model/train/student.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/test.h"

/* A student of all layers is its model: same logits as the engine's own forward pass, on a real
 * model file. */
#define VOCAB  512
#define C      64
#define N_ROWS 4

static const int32_t BODIES[2][5] = {{1, 403, 407, 261, 378}, {1, 403, 259, 0, 0}};
static const uint32_t LENGTHS[2] = {5, 3};
static const int32_t CUE[3] = {410, 295, 432};

struct fixture {
    struct gdfo_reader reader;
    struct gdfo_model_file *file;
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_forward *forward;
    struct gdfo_student *s;
    float rows[N_ROWS * C];
    int32_t ids[VOCAB];
    struct gdfo_student_label label;
    struct gdfo_student_columns columns;
    struct gdfo_student_item items[2];
    struct gdfo_student_batch batch;
    float want[2 * VOCAB], got[2 * VOCAB];
};

static void engine_logits(struct fixture *f, enum gdfo_student_position position)
{
    struct gdfo_piece pieces[2][3];
    struct gdfo_run runs[2];
    float hidden[2 * C];
    struct gdfo_error err = {0};
    for (size_t i = 0; i < 2; i++) {
        const struct gdfo_piece body = {.ids = BODIES[i], .n = LENGTHS[i]};
        const struct gdfo_piece rows = {.rows = f->rows, .n = N_ROWS};
        pieces[i][0] = position == GDFO_STUDENT_PREFIX ? rows : body;
        pieces[i][1] = position == GDFO_STUDENT_PREFIX ? body : rows;
        pieces[i][2] = (struct gdfo_piece){.ids = CUE, .n = 3};
        runs[i] = (struct gdfo_run){.pieces = pieces[i], .n_pieces = 3, .scored = GDFO_SCORED_LAST};
    }
    gdfo_test_ok(gdfo_forward_run(f->forward, runs, 2, hidden, &err), &err);
    gdfo_model_logits(f->forward, hidden, 2, f->want);
}

static void compare(struct fixture *f)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_student_score(f->s, &f->batch, f->got, &err), &err);
    for (size_t i = 0; i < 2 * VOCAB; i++) {
        gdfo_test_near((double)f->got[i], (double)f->want[i], 1e-4);
    }
}

static void all_layers_give_the_engines_logits(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student_text texts[2] = {f->items[0].body, f->items[1].body};
    struct gdfo_student_kv *kv[2] = {NULL, NULL};
    struct gdfo_error err = {0};
    f->batch.position = GDFO_STUDENT_PREFIX;
    engine_logits(f, GDFO_STUDENT_PREFIX);
    compare(f);
    f->batch.position = GDFO_STUDENT_SUFFIX;
    engine_logits(f, GDFO_STUDENT_SUFFIX);
    compare(f);
    gdfo_test_ok(gdfo_student_text_kv(f->s, texts, 2, kv, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        f->items[i].kv = kv[i];
    }
    compare(f);
    for (size_t i = 0; i < 2; i++) {
        f->items[i].kv = NULL;
        gdfo_student_kv_destroy(kv[i]);
    }
}

static void fewer_layers_give_other_logits_and_a_gradient(void **state)
{
    struct fixture *f = *state;
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_student *s = NULL;
    struct gdfo_error err = {0};
    float grad[N_ROWS * C];
    float score[2 * VOCAB];
    double loss = 0;
    double size = 0;
    o.n_layers = 2;
    gdfo_test_ok(gdfo_student_create(&s, f->model, &o, f->pool, &err), &err);
    assert_true(gdfo_student_n_trainable(s) > 0);
    gdfo_test_ok(gdfo_student_score(s, &f->batch, score, &err), &err);
    assert_memory_not_equal(score, f->got, sizeof score);
    f->columns.n_labels = 2;
    f->columns.n_anchors = 0;
    gdfo_test_ok(gdfo_student_prompt_grad(s, &f->batch, (const int32_t[]){0, 1}, grad, &loss, &err),
                 &err);
    for (size_t i = 0; i < N_ROWS * C; i++) {
        size += (double)grad[i] * (double)grad[i];
    }
    assert_true(loss > 0 && size > 0);
    o.n_layers = 6;
    gdfo_student_destroy(s);
    assert_int_equal(gdfo_student_create(&s, f->model, &o, f->pool, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "student of 6 layers: the model has 5");
}

static void set_columns(struct fixture *f, struct gdfo_student_label *labels)
{
    for (int32_t i = 0; i < VOCAB; i++) {
        f->ids[i] = i;
    }
    labels[0] = (struct gdfo_student_label){f->ids, 1};
    labels[1] = (struct gdfo_student_label){f->ids + 1, 1};
    f->columns = (struct gdfo_student_columns){labels, 1, f->ids + 1, VOCAB - 1};
}

static int make(void **state)
{
    static struct fixture f;
    static struct gdfo_student_label labels[2];
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_rng rng = gdfo_rng_stream(1, "rows");
    struct gdfo_error err = {0};
    gdfo_gemm_init();
    gdfo_test_ok(
        gdfo_reader_open(
            &f.reader, gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"), &err),
        &err);
    gdfo_test_ok(gdfo_model_file_open(&f.file, &f.reader, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&f.model, f.file, NULL, &err), &err);
    gdfo_test_ok(gdfo_pool_create(&f.pool, 2, &err), &err);
    gdfo_test_ok(gdfo_forward_create(&f.forward, f.model, f.pool, NULL, &err), &err);
    o.mode = GDFO_TRAIN_FROZEN;
    gdfo_test_ok(gdfo_student_create(&f.s, f.model, &o, f.pool, &err), &err);
    for (size_t j = 0; j < N_ROWS * C; j++) {
        f.rows[j] = (float)(0.3 * gdfo_rng_normal(&rng));
    }
    set_columns(&f, labels);
    for (size_t i = 0; i < 2; i++) {
        f.items[i] = (struct gdfo_student_item){
            .rows = f.rows, .n_rows = N_ROWS, .body = {BODIES[i], LENGTHS[i]}, .cue = {CUE, 3}};
    }
    f.batch = (struct gdfo_student_batch){f.items, 2, GDFO_STUDENT_SUFFIX, &f.columns};
    *state = &f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    gdfo_student_destroy(f->s);
    gdfo_forward_destroy(f->forward);
    gdfo_pool_destroy(f->pool);
    gdfo_model_destroy(f->model);
    gdfo_model_file_destroy(f->file);
    gdfo_reader_close(&f->reader);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_layers_give_the_engines_logits),
        cmocka_unit_test(fewer_layers_give_other_logits_and_a_gradient),
    };
    return cmocka_run_group_tests(tests, make, end);
}
