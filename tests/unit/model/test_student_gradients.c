#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/test.h"
#include "tests/unit/model/ref_llama.h"

/*
 * Every gradient the student takes, against central differences of the reference in double. Shapes
 * are odd on purpose: width 17, one head wider than it rotates, feed-forward 65, one key-value head
 * for three query heads.
 */
#define N_ITEMS 5
#define N_ROWS  3
#define PROBES  GDFO_TEST_REPEATS(4U, 1U) /* elements of each tensor */

static const struct gdfo_model_config CONFIG = {.architecture = "llama",
                                                .n_layers = 3,
                                                .d_model = 17,
                                                .n_heads = 6,
                                                .n_kv_heads = 2,
                                                .d_head = 6,
                                                .d_ff = 65,
                                                .vocab = 29,
                                                .context_max = 64,
                                                .n_rot = 4,
                                                .rope_base = 100,
                                                .rms_eps = 1e-5};

static const int32_t BODIES[N_ITEMS][7] = {
    {1, 5, 7, 2, 28, 3, 0}, {1, 9, 0}, {1}, {1, 4, 4, 4, 4, 11}, {1, 13, 17, 19, 23}};
static const uint32_t BODY_LENGTHS[N_ITEMS] = {7, 3, 1, 6, 5};
static const int32_t CUES[N_ITEMS][3] = {{8, 9, 10}, {8, 9, 10}, {21}, {8, 9, 10}, {6, 20}};
static const uint32_t CUE_LENGTHS[N_ITEMS] = {3, 3, 1, 3, 2};
static const int32_t FORMS[4] = {3, 14, 15, 26};
static const struct gdfo_student_label LABELS[3] = {{FORMS, 1}, {FORMS + 1, 2}, {FORMS + 3, 1}};
static const int32_t ANCHORS[2] = {0, 28};
static const struct gdfo_student_columns COLUMNS = {LABELS, 3, ANCHORS, 2};
static const int32_t GOLD[N_ITEMS] = {0, 2, 1, -1, 2};
static const float TEACHER
[N_ITEMS][5] = {{-0.2F, -2.0F, -4.0F, NAN, NAN},
                {-3.0F, -0.4F, -1.5F, NAN, NAN},
                {-1.0F, -1.1F, -1.2F, NAN, NAN},
                {-5.0F, -0.1F, NAN, NAN, NAN},
                {-0.9F, -0.9F, -0.9F, NAN, NAN}};

struct fixture {
    struct gdfo_pool *pool;
    struct gdfo_llama_weights *weights;
    struct gdfo_student *s;
    float rows[N_ITEMS][N_ROWS * 17]; /* a prompt for each item; the first is the shared one */
    double rows_f64[N_ITEMS][N_ROWS * 17];
    struct gdfo_student_item items[N_ITEMS];
    struct ref_item ref_items[N_ITEMS];
    struct gdfo_student_batch batch;
    struct gdfo_student_kv *kv[N_ITEMS];
};

enum layout { LAYOUT_PREFIX, LAYOUT_SUFFIX, LAYOUT_CACHED };

static struct gdfo_student_opts options(enum gdfo_train_mode mode)
{
    struct gdfo_student_opts o = gdfo_student_defaults();
    o.mode = mode;
    o.adapter_rank = 3;
    o.adapter_scale = 1.5;
    o.adamw.lr = 0; /* gradients are wanted, not steps */
    o.max_positions = 64;
    o.max_items = 8;
    o.max_sequence = 32;
    o.max_columns = 16;
    o.seed = 5;
    return o;
}

static void fill_items(struct fixture *f, enum layout layout, int shares_prompt)
{
    struct gdfo_rng rng = gdfo_rng_stream(3, "rows");
    for (size_t i = 0; i < N_ITEMS; i++) {
        size_t own = shares_prompt ? 0 : i;
        for (size_t j = 0; j < N_ROWS * 17; j++) {
            f->rows[i][j] = (float)(0.5 * gdfo_rng_normal(&rng));
            f->rows_f64[i][j] = (double)f->rows[i][j];
        }
        f->items[i] = (struct gdfo_student_item){.rows = f->rows[own],
                                                 .n_rows = N_ROWS,
                                                 .body = {BODIES[i], BODY_LENGTHS[i]},
                                                 .cue = {CUES[i], CUE_LENGTHS[i]}};
        f->ref_items[i] = (struct ref_item){
            .rows = f->rows_f64[own],
            .n_rows = N_ROWS,
            .text = f->items[i].body,
            .cue = f->items[i].cue,
            .position = layout == LAYOUT_PREFIX ? GDFO_STUDENT_PREFIX : GDFO_STUDENT_SUFFIX};
    }
    f->batch = (struct gdfo_student_batch){.items = f->items,
                                           .n_items = N_ITEMS,
                                           .position = f->ref_items[0].position,
                                           .columns = &COLUMNS};
}

static void set_up(struct fixture *f, enum gdfo_train_mode mode, enum layout layout,
                   int shares_prompt)
{
    struct gdfo_error err = {0};
    struct gdfo_student_opts o = options(mode);
    struct gdfo_rng rng = gdfo_rng_stream(11, "params");
    gdfo_test_ok(tiny_student(&f->s, f->weights, &o, f->pool, &err), &err);
    for (size_t i = 0; i < f->s->net->n_params && mode == GDFO_TRAIN_ADAPTER; i++) {
        f->s->net->params[i] = (float)(0.3 * gdfo_rng_normal(&rng)); /* b away from zero */
    }
    fill_items(f, layout, shares_prompt);
    for (size_t i = 0; i < N_ITEMS && layout == LAYOUT_CACHED; i++) {
        const struct gdfo_student_text text = f->items[i].body;
        gdfo_test_ok(gdfo_student_text_kv(f->s, &text, 1, &f->kv[i], &err), &err);
        f->items[i].kv = f->kv[i];
        f->items[i].body.n = 0;
    }
}

static void tear_down(struct fixture *f)
{
    for (size_t i = 0; i < N_ITEMS; i++) {
        gdfo_student_kv_destroy(f->kv[i]);
        f->kv[i] = NULL;
    }
    gdfo_student_destroy(f->s);
    f->s = NULL;
}

/* Compares a gradient with central differences at a few elements. Up to three steps are tried, as
 * any one may be too curved or round too much; one has to agree. */
static void check_tensor(const char *what, double *p, const float *grad, size_t n,
                         const struct ref *r, const struct fixture *f,
                         const struct gdfo_student_target *t)
{
    static const double steps[] = {1e-4, 1e-5, 1e-3};
    double scale = 1e-3;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(grad[i]));
        scale = fmax(scale, fabs((double)grad[i]));
    }
    for (size_t k = 0; k < PROBES && k < n; k++) {
        size_t i = n <= PROBES ? k : (k * 2654435761U) % n;
        double kept = p[i];
        double best = HUGE_VAL;
        double slope = 0;
        for (size_t j = 0; j < sizeof steps / sizeof steps[0] && best > 1e-5; j++) {
            double high;
            double miss;
            p[i] = kept + steps[j];
            high = ref_loss(r, f->ref_items, N_ITEMS, &COLUMNS, t);
            p[i] = kept - steps[j];
            slope = (high - ref_loss(r, f->ref_items, N_ITEMS, &COLUMNS, t)) / (2 * steps[j]);
            miss = fabs(slope - (double)grad[i]) / scale;
            best = fmin(best, miss);
        }
        p[i] = kept;
        if (!(best <= 1e-4)) {
            print_error("%s[%zu]: gradient %.9g, difference %.9g\n", what, i, (double)grad[i],
                        slope);
            fail();
        }
    }
}

static void check_layer(const struct fixture *f, struct ref *r, size_t l,
                        const struct gdfo_student_target *t)
{
    static const char *const names[] = {"q", "k", "v", "o", "gate", "up", "down"};
    const struct gdfo_llama_net *net = (const struct gdfo_llama_net *)f->s->net;
    const struct gdfo_llama_train_layer *y = &net->layers[l];
    for (size_t i = 0; i < REF_N_LINEAR; i++) {
        const struct gdfo_llama_linear *lin = &y->lin[i];
        if (lin->dw) {
            check_tensor(names[i], r->layers[l].w[i], lin->dw, lin->in * lin->out, r, f, t);
        } else {
            check_tensor(names[i], r->layers[l].a[i], lin->da, r->rank * lin->in, r, f, t);
            check_tensor(names[i], r->layers[l].b[i], lin->db, r->rank * lin->out, r, f, t);
        }
    }
    if (y->d_attn_norm) {
        check_tensor("attn_norm", r->layers[l].attn_norm, y->d_attn_norm, CONFIG.d_model, r, f, t);
        check_tensor("ffn_norm", r->layers[l].ffn_norm, y->d_ffn_norm, CONFIG.d_model, r, f, t);
    }
}

static void check_weights(struct fixture *f, enum gdfo_train_mode mode, enum layout layout)
{
    const struct gdfo_student_target t = {
        .teacher_lp = TEACHER[0],
        .gold = GOLD,
        .w = 0.6,
        .tau = 2
    };
    const struct gdfo_llama_net *net;
    struct gdfo_error err = {0};
    struct ref r;
    double loss = 0;
    set_up(f, mode, layout, 0);
    net = (const struct gdfo_llama_net *)f->s->net;
    gdfo_test_ok(gdfo_student_distill(f->s, &f->batch, &t, &loss, &err), &err);
    r = ref_of(f->s);
    gdfo_test_near(loss, ref_loss(&r, f->ref_items, N_ITEMS, &COLUMNS, &t), 1e-5);
    for (size_t l = 0; l < CONFIG.n_layers; l++) {
        check_layer(f, &r, l, &t);
    }
    if (net->d_out_norm) {
        check_tensor("out_norm", r.out_norm, net->d_out_norm, CONFIG.d_model, &r, f, &t);
    }
    ref_free(&r);
    tear_down(f);
}

static void full_gradients_equal_differences_prefix(void **state)
{
    check_weights(*state, GDFO_TRAIN_FULL, LAYOUT_PREFIX);
}

static void full_gradients_equal_differences_suffix(void **state)
{
    check_weights(*state, GDFO_TRAIN_FULL, LAYOUT_SUFFIX);
}

static void adapter_gradients_equal_differences_prefix(void **state)
{
    check_weights(*state, GDFO_TRAIN_ADAPTER, LAYOUT_PREFIX);
}

static void adapter_gradients_equal_differences_suffix(void **state)
{
    check_weights(*state, GDFO_TRAIN_ADAPTER, LAYOUT_SUFFIX);
}

static void adapter_gradients_equal_differences_cached(void **state)
{
    check_weights(*state, GDFO_TRAIN_ADAPTER, LAYOUT_CACHED);
}

static void check_prompt(struct fixture *f, enum gdfo_train_mode mode, enum layout layout)
{
    float grad[N_ROWS * 17];
    struct gdfo_error err = {0};
    struct ref r;
    double loss = 0;
    int32_t gold[N_ITEMS];
    const struct gdfo_student_target t = {.gold = gold, .tau = 1};
    memcpy(gold, GOLD, sizeof gold);
    gold[3] = 0; /* all known: the reference's mean is over all items */
    set_up(f, mode, layout, 1);
    gdfo_test_ok(gdfo_student_prompt_grad(f->s, &f->batch, gold, grad, &loss, &err), &err);
    r = ref_of(f->s);
    gdfo_test_near(loss, ref_loss(&r, f->ref_items, N_ITEMS, &COLUMNS, &t), 1e-5);
    check_tensor("rows", f->rows_f64[0], grad, N_ROWS * 17, &r, f, &t);
    ref_free(&r);
    tear_down(f);
}

static void prompt_gradients_equal_differences(void **state)
{
    for (int layout = LAYOUT_PREFIX; layout <= LAYOUT_CACHED; layout++) {
        check_prompt(*state, GDFO_TRAIN_FROZEN, (enum layout)layout);
        check_prompt(*state, GDFO_TRAIN_ADAPTER, (enum layout)layout);
        check_prompt(*state, GDFO_TRAIN_FULL, (enum layout)layout);
    }
}

static void an_unknown_gold_label_is_left_out_of_the_prompt_gradient(void **state)
{
    struct fixture *f = *state;
    float all[N_ROWS * 17];
    float some[N_ROWS * 17];
    struct gdfo_error err = {0};
    double loss_all = 0;
    double loss_some = 0;
    static const int32_t gold_some[N_ITEMS] = {0, -1, 1, -1, -1};
    set_up(f, GDFO_TRAIN_FROZEN, LAYOUT_PREFIX, 1);
    gdfo_test_ok(gdfo_student_prompt_grad(f->s, &f->batch, gold_some, some, &loss_some, &err),
                 &err);
    f->items[1] = f->items[2]; /* the known two alone */
    f->batch.n_items = 2;
    gdfo_test_ok(
        gdfo_student_prompt_grad(f->s, &f->batch, (const int32_t[]){0, 1}, all, &loss_all, &err),
        &err);
    gdfo_test_near(loss_some, loss_all, 1e-6);
    for (size_t i = 0; i < N_ROWS * 17; i++) {
        gdfo_test_near((double)some[i], (double)all[i], 1e-5);
    }
    tear_down(f);
}

static void pieces_add_up_to_the_whole_batch(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_student_target t = {
        .teacher_lp = TEACHER[0],
        .gold = GOLD,
        .w = 0.5,
        .tau = 4
    };
    struct gdfo_student_opts o = options(GDFO_TRAIN_ADAPTER);
    struct gdfo_student *small = NULL;
    struct gdfo_error err = {0};
    double loss = 0;
    double loss_small = 0;
    set_up(f, GDFO_TRAIN_ADAPTER, LAYOUT_PREFIX, 0);
    o.max_positions = 13; /* the longest item alone */
    gdfo_test_ok(tiny_student(&small, f->weights, &o, f->pool, &err), &err);
    memcpy(small->net->params, f->s->net->params, small->net->n_params * sizeof(float));
    gdfo_test_ok(gdfo_student_distill(f->s, &f->batch, &t, &loss, &err), &err);
    gdfo_test_ok(gdfo_student_distill(small, &f->batch, &t, &loss_small, &err), &err);
    gdfo_test_near(loss_small, loss, 1e-6);
    for (size_t i = 0; i < small->net->n_params; i++) {
        gdfo_test_near((double)small->net->grads[i], (double)f->s->net->grads[i], 1e-5);
    }
    gdfo_student_destroy(small);
    tear_down(f);
}

static int make(void **state)
{
    static struct fixture f;
    struct gdfo_error err = {0};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&f.pool, 2, &err), &err);
    f.weights = tiny_model(&CONFIG, 17);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_gradients_equal_differences_prefix),
        cmocka_unit_test(full_gradients_equal_differences_suffix),
        cmocka_unit_test(adapter_gradients_equal_differences_prefix),
        cmocka_unit_test(adapter_gradients_equal_differences_suffix),
        cmocka_unit_test(adapter_gradients_equal_differences_cached),
        cmocka_unit_test(prompt_gradients_equal_differences),
        cmocka_unit_test(an_unknown_gold_label_is_left_out_of_the_prompt_gradient),
        cmocka_unit_test(pieces_add_up_to_the_whole_batch),
    };
    return cmocka_run_group_tests(tests, make, end);
}
