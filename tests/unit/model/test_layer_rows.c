#include "common/json.h"
#include "common/mem.h"
#include "server/model/forward.h"
#include "server/num/pool.h"
#include "server/num/spread.h"
#include "tests/support/engine.h"
#include "tests/support/tiny_masked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Rows that are added between layers against PyTorch and transformers with forward pre-hooks
 * (tests/reference/engine/layer-logits.json), and what a pass promises of them.
 */
#define D_MAX      64
#define N_MAX      32
#define LAYERS_MAX 4

static struct gdfo_model *open_model(const char *name)
{
    struct gdfo_buf weights, config;
    struct gdfo_reader file, beside;
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
    if (strcmp(name, "llama") == 0) {
        return gdfo_test_stories();
    }
    gdfo_test_masked_weights(gdfo_test_masked_find(name), &weights);
    gdfo_test_masked_config(gdfo_test_masked_find(name), &config);
    file = gdfo_reader_memory(weights.data, weights.len, "model.safetensors");
    beside = gdfo_reader_memory(config.data, config.len, "config.json");
    gdfo_test_ok(gdfo_model_file_open(&f, &file, &beside, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, f, NULL, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&config);
    return model;
}

struct input { /* one case of the file, as a run */
    int32_t ids[N_MAX];
    float rows[N_MAX * D_MAX], deep[LAYERS_MAX * N_MAX * D_MAX];
    uint32_t layers[LAYERS_MAX];
    struct gdfo_piece pieces[3];
    struct gdfo_run run;
    size_t n_ids, n;
};

static int64_t number(const struct gdfo_json *c, const char *key)
{
    int64_t n = -1;
    assert_true(gdfo_json_int(gdfo_json_get(c, key), &n));
    return n;
}

static uint32_t read_ints(const struct gdfo_json *list, int32_t *out)
{
    uint32_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(list); v; v = gdfo_json_next(v)) {
        int64_t i = 0;
        assert_true(gdfo_json_int(v, &i));
        out[n++] = (int32_t)i;
    }
    return n;
}

static void read_layers(struct input *in, const struct gdfo_json *c, size_t d)
{
    const size_t at = (size_t)number(c, "rows_at");
    const size_t n_rows = (size_t)number(c, "n_rows");
    const char *name = gdfo_json_string(gdfo_json_get(c, "name"));
    int32_t layers[LAYERS_MAX];
    uint32_t n_layers = read_ints(gdfo_json_get(c, "layers"), layers);
    char label[64];
    double scale = 0;
    assert_true(gdfo_json_number(gdfo_json_get(c, "scale"), &scale));
    (void)snprintf(label, sizeof label, "rows:%s", name);
    gdfo_test_masked_values(label, scale, in->rows, n_rows * d);
    (void)snprintf(label, sizeof label, "layers:%s", name);
    gdfo_test_masked_values(label, scale, in->deep, n_layers * n_rows * d);
    for (uint32_t k = 0; k < n_layers; k++) {
        in->layers[k] = (uint32_t)layers[k];
    }
    in->run.layer_rows = (struct gdfo_layer_rows){in->deep, in->layers, n_layers, at, n_rows};
}

static void read_input(struct input *in, const struct gdfo_json *c, size_t d)
{
    const int is_added = strcmp(gdfo_json_string(gdfo_json_get(c, "kind")), "added") == 0;
    const size_t at = (size_t)number(c, "rows_at");
    const size_t n_rows = (size_t)number(c, "n_rows");
    memset(in, 0, sizeof *in);
    in->n_ids = read_ints(gdfo_json_get(c, "ids"), in->ids);
    in->pieces[0] = (struct gdfo_piece){.ids = in->ids, .n = at};
    in->pieces[1] =
        (struct gdfo_piece){.ids = is_added ? in->ids + at : NULL, .rows = in->rows, .n = n_rows};
    in->pieces[2].ids = in->ids + at + (is_added ? n_rows : 0);
    in->pieces[2].n = in->n_ids - at - (is_added ? n_rows : 0);
    in->n = at + n_rows + in->pieces[2].n;
    in->run = (struct gdfo_run){.pieces = in->pieces,
                                .n_pieces = 3,
                                .scored = GDFO_SCORED_AT,
                                .scored_at = (size_t)number(c, "scored")};
    read_layers(in, c, d);
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

static const struct gdfo_json *item(const struct gdfo_json *list, size_t i)
{
    const struct gdfo_json *v = gdfo_json_first(list);
    while (i-- > 0) {
        v = gdfo_json_next(v);
    }
    return v;
}

/* What enters each listed layer: mean over positions, and the clipped deviation. */
static void check_trace(const struct input *in, const struct gdfo_json *c, struct gdfo_forward *f,
                        size_t d)
{
    const uint32_t n_layers = in->run.layer_rows.n_layers;
    float *out = gdfo_mem_array(n_layers * in->n * d, sizeof *out);
    struct gdfo_layer_trace trace = {in->layers, n_layers, out};
    struct gdfo_run run = in->run;
    struct gdfo_error err = {0};
    run.scored = GDFO_SCORED_NONE;
    gdfo_test_ok(gdfo_forward_trace(f, &run, 1, &trace, &err), &err);
    for (uint32_t k = 0; k < n_layers; k++) {
        float *x = out + k * in->n * d;
        float mean[D_MAX] = {0};
        double std = 0;
        for (size_t t = 0; t < in->n; t++) {
            for (size_t i = 0; i < d; i++) {
                mean[i] += x[t * d + i] / (float)in->n;
            }
        }
        assert_true(worst(mean, item(gdfo_json_get(c, "enter_mean"), k)) < 5e-6);
        assert_true(gdfo_json_number(item(gdfo_json_get(c, "enter_std"), k), &std));
        gdfo_test_near(gdfo_spread_clipped(x, in->n * d, 5), std, 2e-6 * std);
    }
    gdfo_mem_free(out);
}

static void check_case(const struct gdfo_json *c, struct gdfo_pool *pool)
{
    static struct input in;
    struct gdfo_model *model = open_model(gdfo_json_string(gdfo_json_get(c, "model")));
    const size_t d = gdfo_model_config(model)->d_model;
    struct gdfo_forward *f = NULL;
    struct gdfo_error err = {0};
    float hidden[D_MAX], logits[512];
    double off;
    read_input(&in, c, d);
    gdfo_test_ok(gdfo_forward_create(&f, model, pool, NULL, &err), &err);
    gdfo_test_ok(gdfo_forward_run(f, &in.run, 1, hidden, &err), &err);
    gdfo_model_logits(f, hidden, 1, logits);
    off = worst(logits, gdfo_json_get(c, "logits"));
    if (!(off < 3e-6)) { /* the file has six digits */
        print_error("%s: logits are off by %g of the largest\n",
                    gdfo_json_string(gdfo_json_get(c, "name")), off);
        fail();
    }
    in.run.layer_rows.n_layers--; /* without the last of them they are others */
    gdfo_test_ok(gdfo_forward_run(f, &in.run, 1, hidden, &err), &err);
    gdfo_model_logits(f, hidden, 1, logits);
    assert_true(worst(logits, gdfo_json_get(c, "logits")) > 1e-3);
    in.run.layer_rows.n_layers++;
    check_trace(&in, c, f, d);
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

static void logits_are_those_of_transformers_with_hooks(void **state)
{
    const struct gdfo_json_limits wide = {.depth = 8, .values = 20000};
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    struct gdfo_pool *pool = NULL;
    struct gdfo_error err = {0};
    size_t n = 0;
    (void)state;
    gdfo_buf_init(&text, 1u << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/engine/layer-logits.json", &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &wide, &err), &err);
    gdfo_test_ok(gdfo_pool_create(&pool, 2, &err), &err);
    for (const struct gdfo_json *c = gdfo_json_first(gdfo_json_get(root, "cases")); c;
         c = gdfo_json_next(c)) {
        check_case(c, n++ % 2 ? pool : NULL);
    }
    assert_int_equal(n, 6);
    gdfo_pool_destroy(pool);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&text);
}

/* ---- promises ---------------------------------------------------------------------------------
 */

struct deep { /* three rows behind a text of four tokens, on the stories model */
    struct gdfo_model *model;
    struct gdfo_forward *f;
    int32_t ids[4];
    uint32_t layers[2];
    float rows[3 * 64], added[2 * 3 * 64];
    struct gdfo_piece pieces[2];
    struct gdfo_run run;
};

static int set_up(void **state)
{
    static struct deep t;
    struct gdfo_error err = {0};
    t.model = gdfo_test_stories();
    gdfo_test_ok(gdfo_forward_create(&t.f, t.model, NULL, NULL, &err), &err);
    memcpy(t.ids, (int32_t[]){1, 403, 407, 261}, sizeof t.ids);
    memcpy(t.layers, (uint32_t[]){2, 4}, sizeof t.layers);
    gdfo_test_masked_values("rows", 1, t.rows, 3 * 64);
    gdfo_test_masked_values("added", 1, t.added, 2 * 3 * 64);
    t.pieces[0] = (struct gdfo_piece){.ids = t.ids, .n = 4};
    t.pieces[1] = (struct gdfo_piece){.rows = t.rows, .n = 3};
    t.run = (struct gdfo_run){.pieces = t.pieces,
                              .n_pieces = 2,
                              .scored = GDFO_SCORED_LAST,
                              .layer_rows = {t.added, t.layers, 2, 4, 3}};
    *state = &t;
    return 0;
}

static int tear_down(void **state)
{
    struct deep *t = *state;
    gdfo_forward_destroy(t->f);
    gdfo_model_destroy(t->model);
    return 0;
}

/* Among plain runs and behind a cached text a deep run has the bits it has alone, and they have
 * theirs. */
static void neighbours_and_caches_change_no_bit(void **state)
{
    struct deep *t = *state;
    struct gdfo_run plain = t->run;
    struct gdfo_run text = {.pieces = t->pieces, .n_pieces = 1};
    struct gdfo_run many[3];
    struct gdfo_error err = {0};
    float alone[64], without[64], all[3 * 64], behind[64];
    plain.layer_rows.n_layers = 0;
    gdfo_test_ok(gdfo_forward_run(t->f, &t->run, 1, alone, &err), &err);
    gdfo_test_ok(gdfo_forward_run(t->f, &plain, 1, without, &err), &err);
    assert_memory_not_equal(alone, without, sizeof alone);
    many[0] = plain;
    many[1] = t->run;
    many[2] = plain;
    gdfo_test_ok(gdfo_forward_run(t->f, many, 3, all, &err), &err);
    assert_memory_equal(all, without, sizeof without);
    assert_memory_equal(all + 64, alone, sizeof alone);
    assert_memory_equal(all + 128, without, sizeof without);
    gdfo_test_ok(gdfo_kv_create(&text.keep, t->model, 4, &err), &err);
    gdfo_test_ok(gdfo_forward_run(t->f, &text, 1, NULL, &err), &err);
    many[1].pieces = t->pieces + 1;
    many[1].n_pieces = 1;
    many[1].past = text.keep;
    many[1].layer_rows.first = 0;
    gdfo_test_ok(gdfo_forward_run(t->f, many + 1, 1, behind, &err), &err);
    for (size_t i = 0; i < 64; i++) {
        gdfo_test_near((double)behind[i], (double)alone[i], 1e-5);
    }
    gdfo_kv_destroy(text.keep);
}

static void zeros_change_no_bit(void **state)
{
    struct deep *t = *state;
    static const float zeros[2 * 3 * 64];
    struct gdfo_run zero = t->run;
    struct gdfo_run plain = t->run;
    struct gdfo_error err = {0};
    float a[64], b[64];
    zero.layer_rows.rows = zeros;
    plain.layer_rows.n_layers = 0;
    gdfo_test_ok(gdfo_forward_run(t->f, &zero, 1, a, &err), &err);
    gdfo_test_ok(gdfo_forward_run(t->f, &plain, 1, b, &err), &err);
    assert_memory_equal(a, b, sizeof a);
}

static void layers_and_positions_that_are_not_there_are_refused(void **state)
{
    struct deep *t = *state;
    static const uint32_t wrong[4][2] = {{0, 2}, {2, 2}, {3, 1}, {1, 5}};
    struct gdfo_error err = {0};
    float hidden[64];
    for (size_t i = 0; i < 4; i++) {
        struct gdfo_run run = t->run;
        run.layer_rows.ids = wrong[i];
        assert_int_equal(gdfo_forward_run(t->f, &run, 1, hidden, &err), GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, "want 1..4, ascending"));
    }
    t->run.layer_rows.first = 5;
    assert_int_equal(gdfo_forward_run(t->f, &t->run, 1, hidden, &err), GDFO_STATUS_INVALID);
    assert_non_null(strstr(err.text, "the run has 7"));
    t->run.layer_rows.first = 4;
}

static void a_trace_is_of_unscored_runs_in_one_piece(void **state)
{
    struct deep *t = *state;
    struct gdfo_forward_options few = {.positions_max = 8};
    struct gdfo_forward *small = NULL;
    static float out[2 * 14 * 64];
    struct gdfo_layer_trace trace = {t->layers, 2, out};
    struct gdfo_run two[2] = {t->run, t->run};
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_forward_trace(t->f, two, 2, &trace, &err), GDFO_STATUS_INVALID);
    two[0].scored = two[1].scored = GDFO_SCORED_NONE;
    gdfo_test_ok(gdfo_forward_trace(t->f, two, 2, &trace, &err), &err);
    assert_memory_equal(out, out + 7 * 64, 7 * 64 * sizeof *out);
    gdfo_test_ok(gdfo_forward_create(&small, t->model, NULL, &few, &err), &err);
    assert_int_equal(gdfo_forward_trace(small, two, 2, &trace, &err), GDFO_STATUS_LIMIT);
    gdfo_forward_destroy(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers_with_hooks),
        cmocka_unit_test_setup_teardown(neighbours_and_caches_change_no_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(zeros_change_no_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layers_and_positions_that_are_not_there_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_trace_is_of_unscored_runs_in_one_piece, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
