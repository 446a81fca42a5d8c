#include "common/json.h"
#include "common/mem.h"
#include "server/model/features.h"
#include "server/model/forward.h"
#include "server/num/pool.h"
#include "tests/support/test.h"
#include "tests/support/tiny_masked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Masked language models against PyTorch and transformers (tests/reference/engine/bert-logits.json)
 * and what a forward pass that reads both ways promises.
 */
#define ROWS_MAX 128

static struct gdfo_model *open_model(const char *name)
{
    const struct gdfo_test_masked *m = gdfo_test_masked_find(name);
    struct gdfo_buf weights, config;
    struct gdfo_reader file, beside;
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
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

static struct gdfo_forward *open_forward(const struct gdfo_model *model, struct gdfo_pool *pool,
                                         int wants_features)
{
    struct gdfo_forward_options o = {.positions_max = 600, .wants_features = wants_features};
    struct gdfo_forward *f = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_forward_create(&f, model, pool, &o, &err), &err);
    return f;
}

/* ---- the reference ----------------------------------------------------------------------------
 */

struct input { /* one case of the file, as a run */
    int32_t ids[ROWS_MAX];
    float rows[ROWS_MAX * 32];
    struct gdfo_piece pieces[3];
    struct gdfo_run run;
    size_t n_ids;
};

static int64_t number(const struct gdfo_json *c, const char *key)
{
    int64_t n = -1;
    assert_true(gdfo_json_int(gdfo_json_get(c, key), &n));
    return n;
}

static void read_input(struct input *in, const struct gdfo_json *c, size_t d)
{
    const char *kind = gdfo_json_string(gdfo_json_get(c, "kind"));
    const size_t at = (size_t)number(c, "rows_at");
    const size_t n_rows = (size_t)number(c, "n_rows");
    const int is_added = strcmp(kind, "added") == 0;
    char name[100];
    memset(in, 0, sizeof *in);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(c, "ids")); v;
         v = gdfo_json_next(v)) {
        int64_t id = 0;
        assert_true(gdfo_json_int(v, &id));
        in->ids[in->n_ids++] = (int32_t)id;
    }
    (void)snprintf(name, sizeof name, "rows:%s", gdfo_json_string(gdfo_json_get(c, "name")));
    gdfo_test_masked_values(name, 2, in->rows, n_rows * d);
    in->pieces[0] = (struct gdfo_piece){.ids = in->ids, .n = at};
    in->pieces[1] = (struct gdfo_piece){
        .ids = is_added ? in->ids + at : NULL, .rows = n_rows ? in->rows : NULL, .n = n_rows};
    in->pieces[2].ids = in->ids + at + (is_added ? n_rows : 0);
    in->pieces[2].n = in->n_ids - at - (is_added ? n_rows : 0);
    in->run = (struct gdfo_run){.pieces = in->pieces,
                                .n_pieces = 3,
                                .scored = GDFO_SCORED_AT,
                                .scored_at = (size_t)number(c, "scored")};
}

/* |got - want| over the largest |want|. */
static double worst(const float *got, const struct gdfo_json *want)
{
    double most = 0;
    double off = 0;
    for (const struct gdfo_json *v = gdfo_json_first(want); v; v = gdfo_json_next(v), got++) {
        double w = 0;
        assert_true(gdfo_json_number(v, &w));
        most = fabs(w) > most ? fabs(w) : most;
        off = fabs((double)*got - w) > off ? fabs((double)*got - w) : off;
    }
    return off / most;
}

static void check_case(const struct gdfo_json *c, struct gdfo_pool *pool)
{
    static struct input in;
    const char *name = gdfo_json_string(gdfo_json_get(c, "name"));
    struct gdfo_model *model = open_model(gdfo_json_string(gdfo_json_get(c, "model")));
    const size_t d = gdfo_model_config(model)->d_model;
    const size_t vocab = gdfo_model_config(model)->vocab;
    struct gdfo_forward *f = open_forward(model, pool, 0);
    struct gdfo_forward *features = open_forward(model, pool, 1);
    struct gdfo_error err = {0};
    float hidden[32], mean[32], logits[400], lp[400];
    int32_t ids[400];
    double lse = 0, off;
    read_input(&in, c, d);
    for (size_t i = 0; i < vocab; i++) {
        ids[i] = (int32_t)i;
    }
    gdfo_test_ok(gdfo_forward_run(f, &in.run, 1, hidden, &err), &err);
    gdfo_model_logits(f, hidden, 1, logits);
    off = worst(logits, gdfo_json_get(c, "logits"));
    if (!(off < 2e-6)) { /* the file has six digits */
        print_error("%s: logits are off by %g of the largest\n", name, off);
        fail();
    }
    gdfo_test_ok(gdfo_model_logprobs(f, &(struct gdfo_logprobs){hidden, 1, ids, vocab, lp}, &err),
                 &err);
    assert_true(gdfo_json_number(gdfo_json_get(c, "lse"), &lse));
    for (size_t i = 0; i < vocab; i++) {
        gdfo_test_near((double)lp[i], (double)logits[i] - lse, 2e-5);
    }
    gdfo_test_ok(gdfo_features_mean(features, &in.run, 1, mean, &err), &err);
    assert_true(worst(mean, gdfo_json_get(c, "mean")) < 2e-6);
    gdfo_forward_destroy(f);
    gdfo_forward_destroy(features);
    gdfo_model_destroy(model);
}

static void logits_and_features_are_those_of_transformers(void **state)
{
    const struct gdfo_json_limits wide = {.depth = 8, .values = 20000};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    size_t n = 0;
    (void)state;
    gdfo_buf_init(&text, 1u << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/engine/bert-logits.json", &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &wide, &err), &err);
    gdfo_test_ok(gdfo_pool_create(&pool, 2, &err), &err);
    for (const struct gdfo_json *c = gdfo_json_first(gdfo_json_get(root, "cases")); c;
         c = gdfo_json_next(c)) {
        check_case(c, n % 2 ? pool : NULL);
        n++;
    }
    assert_int_equal(n, 11);
    gdfo_pool_destroy(pool);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

/* ---- promises ---------------------------------------------------------------------------------
 */

#define RUNS 60

struct batch { /* runs of all kinds */
    int32_t ids[200];
    float rows[20 * 32];
    struct gdfo_piece pieces[RUNS][3];
    struct gdfo_run runs[RUNS];
};

static void make_batch(struct batch *b)
{
    memset(b, 0, sizeof *b);
    gdfo_test_masked_values("batch", 2, b->rows, 20 * 32);
    for (size_t i = 0; i < 200; i++) {
        b->ids[i] = (int32_t)(i * 31 % 300 + 5);
    }
    for (size_t i = 0; i < RUNS; i++) {
        size_t n = 1 + i * 7 % 40;
        b->pieces[i][0] = (struct gdfo_piece){.ids = b->ids, .n = 1};
        b->pieces[i][1] = (struct gdfo_piece){.ids = i % 3 == 1 ? b->ids + 100 : NULL,
                                              .rows = b->rows + i % 10 * 32,
                                              .n = i % 3 ? 10 : 0};
        b->pieces[i][2] = (struct gdfo_piece){.ids = b->ids + i, .n = n};
        b->runs[i] = (struct gdfo_run){.pieces = b->pieces[i],
                                       .n_pieces = 3,
                                       .scored = i % 5 ? GDFO_SCORED_AT : GDFO_SCORED_LAST,
                                       .scored_at = i % 5 ? i % n : 0};
    }
}

static void a_packed_pass_equals_its_runs_bit_for_bit(void **state)
{
    static struct batch b;
    static float packed[RUNS * 32], once_more[RUNS * 32];
    struct gdfo_model *model = open_model("roberta");
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    struct gdfo_forward *f, *alone;
    size_t before;
    (void)state;
    make_batch(&b);
    gdfo_test_ok(gdfo_pool_create(&pool, 3, &err), &err);
    f = open_forward(model, pool, 0);
    alone = open_forward(model, NULL, 0);
    before = gdfo_mem_count();
    gdfo_test_ok(gdfo_forward_run(f, b.runs, RUNS, packed, &err), &err);
    for (size_t i = 0; i < RUNS; i++) {
        float one[32];
        gdfo_test_ok(gdfo_forward_run(alone, &b.runs[i], 1, one, &err), &err);
        assert_memory_equal(one, packed + i * 32, sizeof one);
    }
    gdfo_test_ok(gdfo_forward_run(alone, b.runs, RUNS, once_more, &err), &err);
    assert_memory_equal(packed, once_more, sizeof packed);
    assert_int_equal(gdfo_mem_count(), before); /* a pass allocates nothing */
    gdfo_forward_destroy(f);
    gdfo_forward_destroy(alone);
    gdfo_pool_destroy(pool);
    gdfo_model_destroy(model);
}

static void means_of_many_runs_are_those_of_each(void **state)
{
    static struct batch b;
    static float all[RUNS * 32];
    struct gdfo_model *model = open_model("roberta");
    struct gdfo_forward *f = open_forward(model, NULL, 1);
    struct gdfo_error err = {0};
    (void)state;
    make_batch(&b);
    gdfo_test_ok(gdfo_features_mean(f, b.runs, RUNS, all, &err), &err);
    for (size_t i = 0; i < RUNS; i++) {
        float one[32];
        gdfo_test_ok(gdfo_features_mean(f, &b.runs[i], 1, one, &err), &err);
        assert_memory_equal(one, all + i * 32, sizeof one);
    }
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

/* A position before the last changes when only the last does: nothing is causal here. */
static void every_position_sees_those_behind_it(void **state)
{
    struct gdfo_model *model = open_model("bert");
    struct gdfo_forward *f = open_forward(model, NULL, 0);
    struct gdfo_error err = {0};
    int32_t ids[2][3] = {{2, 4, 7}, {2, 4, 8}};
    float hidden[2][32];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_piece p = {.ids = ids[i], .n = 3};
        struct gdfo_run run = {
            .pieces = &p, .n_pieces = 1, .scored = GDFO_SCORED_AT, .scored_at = 1};
        gdfo_test_ok(gdfo_forward_run(f, &run, 1, hidden[i], &err), &err);
    }
    assert_memory_not_equal(hidden[0], hidden[1], sizeof hidden[0]);
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

static void a_row_that_is_not_finite_spoils_its_own_run_alone(void **state)
{
    static struct batch b;
    static float good[RUNS * 32], bad[RUNS * 32];
    float nan_rows[10 * 32];
    struct gdfo_model *model = open_model("roberta");
    struct gdfo_forward *f = open_forward(model, NULL, 0);
    struct gdfo_error err = {0};
    (void)state;
    make_batch(&b);
    gdfo_test_ok(gdfo_forward_run(f, b.runs, RUNS, good, &err), &err);
    memcpy(nan_rows, b.rows, sizeof nan_rows);
    nan_rows[5] = NAN;
    b.pieces[7][1].rows = nan_rows;
    gdfo_test_ok(gdfo_forward_run(f, b.runs, RUNS, bad, &err), &err);
    assert_memory_equal(good, bad, 7 * 32 * sizeof *good);
    assert_memory_equal(good + 8 * 32, bad + 8 * 32, (RUNS - 8) * 32 * sizeof *good);
    assert_true(isnan(bad[7 * 32]));
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

static void refused(struct gdfo_forward *f, const struct gdfo_run *run, enum gdfo_status status,
                    const char *words)
{
    float hidden[32];
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_forward_run(f, run, 1, hidden, &err), status);
    assert_string_equal(err.text, words);
}

static void nothing_can_be_kept_and_positions_have_bounds(void **state)
{
    struct gdfo_model *model = open_model("roberta");
    struct gdfo_forward *f = open_forward(model, NULL, 0);
    struct gdfo_kv *kv = NULL;
    struct gdfo_error err = {0};
    int32_t ids[97] = {0};
    struct gdfo_piece p = {.ids = ids, .n = 97};
    struct gdfo_piece none = {.n = 2};
    struct gdfo_run run = {.pieces = &p, .n_pieces = 1, .scored = GDFO_SCORED_LAST};
    (void)state;
    assert_int_equal(gdfo_model_config(model)->context_max, 96); /* 98 less two */
    refused(f, &run, GDFO_STATUS_LIMIT, "run 0: 97 positions after 0 cached: at most 96 in all");
    p.n = 4;
    run.scored = GDFO_SCORED_AT;
    run.scored_at = 4;
    refused(f, &run, GDFO_STATUS_INVALID, "run 0: scored position 4: want 0..3");
    run.scored_at = 3;
    gdfo_test_ok(gdfo_kv_create(&kv, model, 10, &err), &err);
    run.keep = kv;
    refused(f, &run, GDFO_STATUS_INVALID,
            "run 0: past or keep: every position of a \"bert\" model sees all others, so nothing "
            "can be kept");
    run.keep = NULL;
    run.past = kv;
    refused(f, &run, GDFO_STATUS_INVALID,
            "run 0: past or keep: every position of a \"bert\" model sees all others, so nothing "
            "can be kept");
    run.past = NULL;
    run.pieces = &none;
    run.scored = GDFO_SCORED_LAST;
    refused(f, &run, GDFO_STATUS_INVALID, "run 0: piece 0: want ids or rows");
    gdfo_kv_destroy(kv);
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

/* The mean of hidden states before the head is that of the same model without it. */
static void an_encoder_gives_features_and_no_logits(void **state)
{
    struct gdfo_model *encoder = open_model("bert-encoder");
    struct gdfo_model *whole = open_model("bert");
    struct gdfo_forward *f = open_forward(encoder, NULL, 0);
    struct gdfo_forward *g = open_forward(whole, NULL, 1);
    struct gdfo_error err = {0};
    int32_t ids[] = {2, 7, 8, 9, 3};
    struct gdfo_piece p = {.ids = ids, .n = 5};
    struct gdfo_run run = {.pieces = &p, .n_pieces = 1};
    float a[32], b[32], lp[1];
    struct gdfo_logprobs q = {a, 1, ids, 1, lp};
    (void)state;
    gdfo_test_ok(gdfo_features_mean(f, &run, 1, a, &err), &err);
    gdfo_test_ok(gdfo_features_mean(g, &run, 1, b, &err), &err);
    assert_memory_equal(a, b, sizeof a);
    assert_true(gdfo_model_config(encoder)->is_encoder);
    assert_int_equal(gdfo_model_logprobs(f, &q, &err), GDFO_STATUS_UNSUPPORTED);
    assert_string_equal(err.text, "the model has no masked-LM head: no log-probabilities");
    assert_int_equal(gdfo_model_logprobs(g, &q, &err), GDFO_STATUS_UNSUPPORTED);
    assert_string_equal(err.text, "a workspace of features: no log-probabilities");
    gdfo_forward_destroy(f);
    gdfo_forward_destroy(g);
    gdfo_model_destroy(encoder);
    gdfo_model_destroy(whole);
}

/* Poolers, position ids of another dtype, old names of the norms: the same model. */
static void an_old_file_gives_the_same_model(void **state)
{
    struct gdfo_model *model[2] = {open_model("bert"), open_model("bert-old")};
    int32_t ids[] = {2, 7, 4, 3};
    struct gdfo_piece p = {.ids = ids, .n = 4};
    struct gdfo_run run = {.pieces = &p, .n_pieces = 1, .scored = GDFO_SCORED_LAST};
    struct gdfo_error err = {0};
    float hidden[2][32];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_forward *f = open_forward(model[i], NULL, 0);
        gdfo_test_ok(gdfo_forward_run(f, &run, 1, hidden[i], &err), &err);
        gdfo_forward_destroy(f);
    }
    assert_int_equal(gdfo_model_bytes(model[0]), gdfo_model_bytes(model[1]));
    assert_memory_equal(hidden[0], hidden[1], sizeof hidden[0]);
    gdfo_model_destroy(model[0]);
    gdfo_model_destroy(model[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_features_are_those_of_transformers),
        cmocka_unit_test(a_packed_pass_equals_its_runs_bit_for_bit),
        cmocka_unit_test(means_of_many_runs_are_those_of_each),
        cmocka_unit_test(every_position_sees_those_behind_it),
        cmocka_unit_test(a_row_that_is_not_finite_spoils_its_own_run_alone),
        cmocka_unit_test(nothing_can_be_kept_and_positions_have_bounds),
        cmocka_unit_test(an_encoder_gives_features_and_no_logits),
        cmocka_unit_test(an_old_file_gives_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
