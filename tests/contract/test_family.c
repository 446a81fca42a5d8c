#include "common/mem.h"
#include "server/model/family/family.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"
#include "tests/support/tiny_masked.h"

#include <math.h>
#include <stdlib.h>

/*
 * What every model family must do. A family brings one line here: how to make a small random model
 * of it. Its numbers are held against references in tests/unit/model.
 */
static const struct gdfo_test_shape small = {2, 4, 2, 6, 6, 20, 50, 64, 0};

/* Its shapes are its own; ids of the tests are below both vocabularies. */
static struct gdfo_model *tiny_roberta(const struct gdfo_test_shape *shape)
{
    const struct gdfo_test_masked *m = gdfo_test_masked_find("roberta");
    struct gdfo_buf weights, config;
    struct gdfo_reader file, beside;
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
    assert_true(shape->vocab <= m->vocab);
    gdfo_test_masked_weights(m, &weights);
    gdfo_test_masked_config(m, &config);
    file = gdfo_reader_memory(weights.data, weights.len, "model.safetensors");
    beside = gdfo_reader_memory(config.data, config.len, "config.json");
    gdfo_test_ok(gdfo_model_file_open(&f, &file, &beside, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, f, NULL, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&config);
    return model;
}

static const struct maker {
    const char *family;
    struct gdfo_model *(*make)(const struct gdfo_test_shape *shape);
} makers[] = {
    {"llama", gdfo_test_random_model},
    {"bert", tiny_roberta},
};

static struct gdfo_model *make(const struct gdfo_family_ops *ops)
{
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (strcmp(makers[i].family, ops->name) == 0) {
            return makers[i].make(&small);
        }
    }
    fail_msg("family %s has no small model in test_family.c", ops->name);
    return NULL;
}

/* Runs check for each family of the table, with a model of it. */
static void each(void (*check)(const struct gdfo_family_ops *ops, struct gdfo_model *model))
{
    size_t n = 0;
    for (const struct gdfo_family_ops *ops; (ops = gdfo_family_at(n)) != NULL; n++) {
        struct gdfo_model *model = make(ops);
        check(ops, model);
        gdfo_model_destroy(model);
    }
    assert_true(n > 0);
}

static void check_found(const struct gdfo_family_ops *ops, struct gdfo_model *model)
{
    assert_ptr_equal(gdfo_family_find(ops->name), ops);
    assert_ptr_equal(gdfo_family_of(model), ops);
    assert_string_equal(gdfo_model_config(model)->architecture, ops->name);
    assert_non_null(ops->embed(gdfo_family_weights(model)));
    assert_non_null(ops->head(gdfo_family_weights(model)));
}

static void it_is_found_by_the_word_in_the_file(void **state)
{
    (void)state;
    each(check_found);
}

static void check_shapes(const struct gdfo_family_ops *ops, struct gdfo_model *model)
{
    const struct gdfo_model_config good = *gdfo_model_config(model);
    const size_t members[] = {offsetof(struct gdfo_model_config, n_layers),
                              offsetof(struct gdfo_model_config, d_model),
                              offsetof(struct gdfo_model_config, n_heads),
                              offsetof(struct gdfo_model_config, n_kv_heads),
                              offsetof(struct gdfo_model_config, d_head),
                              offsetof(struct gdfo_model_config, d_ff),
                              offsetof(struct gdfo_model_config, vocab)};
    const uint32_t none = 0;
    struct gdfo_model_config c = good;
    size_t n = (size_t)small.vocab * good.d_model;
    assert_true(ops->weights_floats(&good) >= 2 * n);
    assert_int_equal(gdfo_model_bytes(model), ops->weights_floats(&good) * sizeof(float));
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        c = good;
        memcpy((char *)&c + members[i], &none, sizeof none);
        assert_int_equal(ops->weights_floats(&c), 0);
    }
    c = good;
    c.d_model = c.d_ff = c.vocab = c.n_layers = UINT32_MAX;
    assert_int_equal(ops->weights_floats(&c), 0);
}

static void impossible_shapes_need_no_memory_at_all(void **state)
{
    (void)state;
    each(check_shapes);
}

#define RUNS 40

static void score(struct gdfo_forward *f, const struct gdfo_run *runs, size_t n, float *hidden)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_forward_run(f, runs, n, hidden, &err), &err);
}

static void check_forward(const struct gdfo_family_ops *ops, struct gdfo_model *model)
{
    static float packed[RUNS * 64];
    float alone[64];
    size_t d = gdfo_model_config(model)->d_model;
    struct gdfo_piece pieces[RUNS];
    struct gdfo_run runs[RUNS];
    int32_t ids[RUNS + 20];
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    struct gdfo_pool *pool = NULL;
    size_t before;
    (void)ops;
    assert_true(d <= 64);
    for (size_t i = 0; i < RUNS + 20; i++) {
        ids[i] = (int32_t)(i * 7 % small.vocab);
    }
    for (size_t i = 0; i < RUNS; i++) {
        pieces[i] = (struct gdfo_piece){.ids = ids + i, .n = 1 + i % 20};
        runs[i] =
            (struct gdfo_run){.pieces = &pieces[i], .n_pieces = 1, .scored = GDFO_SCORED_LAST};
    }
    gdfo_test_ok(gdfo_pool_create(&pool, 2, &err), &err);
    gdfo_test_ok(gdfo_forward_create(&f, model, pool, NULL, &err), &err);
    before = gdfo_mem_count();
    score(f, runs, RUNS, packed);
    for (size_t i = 0; i < RUNS; i++) {
        score(f, &runs[i], 1, alone);
        assert_memory_equal(alone, packed + i * d, d * sizeof *alone);
        assert_true(isfinite(alone[0]));
    }
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_forward_destroy(f);
    gdfo_pool_destroy(pool);
}

static void a_packed_pass_equals_its_runs_and_allocates_nothing(void **state)
{
    (void)state;
    each(check_forward);
}

static void check_memory(const struct gdfo_family_ops *ops, struct gdfo_model *model)
{
    const struct gdfo_pass_sizes sizes = {64, 32, 2};
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; st != GDFO_STATUS_OK; n++) {
        struct gdfo_error err = {0};
        void *workspace = NULL;
        uint64_t bytes = 0;
        assert_true(n < 40);
        gdfo_mem_fail_after(n);
        st = ops->workspace_create(&workspace, gdfo_family_weights(model), &sizes, &bytes, &err);
        gdfo_mem_fail_after(-1);
        assert_true(st == GDFO_STATUS_OK ? bytes > 0 : st == GDFO_STATUS_NO_MEMORY);
        ops->workspace_destroy(workspace);
    }
    ops->workspace_destroy(NULL);
    ops->unload(NULL);
}

static void a_workspace_without_memory_is_a_status(void **state)
{
    (void)state;
    each(check_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_found_by_the_word_in_the_file),
        cmocka_unit_test(impossible_shapes_need_no_memory_at_all),
        cmocka_unit_test(a_packed_pass_equals_its_runs_and_allocates_nothing),
        cmocka_unit_test(a_workspace_without_memory_is_a_status),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
