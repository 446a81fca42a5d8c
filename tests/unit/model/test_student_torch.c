#include "server/num/gemm.h"
#include "tests/reference/train/tiny_grads.h"
#include "tests/support/test.h"
#include "tests/unit/model/ref_llama.h"

#include <stdio.h>

/*
 * Losses and gradients of a tiny llama against PyTorch autograd through transformers' own llama.
 * The numbers, their versions and the formula of the weights are in tests/reference/train.
 */
static const struct gdfo_model_config CONFIG = {.architecture = "llama",
                                                .n_layers = 2,
                                                .d_model = 16,
                                                .n_heads = 4,
                                                .n_kv_heads = 2,
                                                .d_head = 4,
                                                .d_ff = 24,
                                                .vocab = 32,
                                                .context_max = 64,
                                                .n_rot = 4,
                                                .rope_base = 10000,
                                                .rms_eps = 1e-5};
#define N_ITEMS 3
#define N_ROWS  3
#define RANK    2

static const int32_t BODIES[N_ITEMS][5] = {{1, 5, 7, 2, 28}, {1, 9}, {1, 13, 17, 19}};
static const int32_t CUES[N_ITEMS][3] = {{8, 9, 10}, {8, 9, 10}, {21}};
static const uint32_t LENGTHS[N_ITEMS][2] = {{5, 3}, {2, 3}, {4, 1}};
static const int32_t FORMS[4] = {3, 14, 15, 26};
static const struct gdfo_student_label LABELS[3] = {{FORMS, 1}, {FORMS + 1, 2}, {FORMS + 3, 1}};
static const struct gdfo_student_columns COLUMNS = {LABELS, 3, NULL, 0};
static const int32_t GOLD[N_ITEMS] = {0, 2, 1};
static const float TEACHER
[N_ITEMS][3] = {{-0.25F, -2.0F, -4.0F}, {-3.0F, -0.5F, -1.5F}, {-1.0F, -1.125F, -1.25F}};
static const struct gdfo_student_target TARGET = {
    .teacher_lp = TEACHER[0], .gold = GOLD, .w = 0.5, .tau = 2};

/* value() of make_tiny_grads.py. */
static float value(uint32_t tensor, uint32_t i)
{
    uint32_t h = i * 2654435761U + tensor * (40503U * 65537U) + 12345U;
    h ^= h >> 15;
    h *= 2246822519U;
    h ^= h >> 13;
    return (float)(h >> 8) / 16777216.0F - 0.5F;
}

static void fill(float *out, uint32_t tensor, size_t n, float base, float scale)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = base + scale * value(tensor, (uint32_t)i);
    }
}

static struct gdfo_llama_weights *build(void)
{
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_llama_weights_create(&w, &CONFIG, &err), &err);
    fill(w->embed, 0, 32 * 16, 0, 1);
    fill(w->head, 1, 32 * 16, 0, 1);
    fill(w->out_norm, 2, 16, 1, 0.5F);
    for (uint32_t l = 0; l < 2; l++) {
        const struct gdfo_llama_layer *y = &w->layers[l];
        float *const t[REF_N_LINEAR] = {y->q, y->k, y->v, y->o, y->gate, y->up, y->down};
        fill(y->attn_norm, 100 * (l + 1), 16, 1, 0.5F);
        fill(y->ffn_norm, 100 * (l + 1) + 1, 16, 1, 0.5F);
        for (uint32_t i = 0; i < REF_N_LINEAR; i++) {
            fill(t[i], 100 * (l + 1) + 2 + i, ref_in(&CONFIG, i) * ref_out(&CONFIG, i), 0, 1);
        }
    }
    return w;
}

static void fill_adapters(struct gdfo_student *s)
{
    const struct gdfo_llama_net *net = (const struct gdfo_llama_net *)s->net;
    for (uint32_t l = 0; l < 2; l++) {
        for (uint32_t i = 0; i < REF_N_LINEAR; i++) {
            const struct gdfo_llama_linear *lin = &net->layers[l].lin[i];
            uint32_t number = 100 * (l + 1) + 20 + 2 * i;
            fill(s->net->params + (lin->a - s->net->params), number, RANK * lin->in, 0, 0.5F);
            fill(s->net->params + (lin->b - s->net->params), number + 1, RANK * lin->out, 0, 0.5F);
        }
    }
}

static const struct tiny_tensor *find(const char *name)
{
    for (size_t i = 0; i < sizeof tiny_tensors / sizeof tiny_tensors[0]; i++) {
        if (strcmp(tiny_tensors[i].name, name) == 0) {
            return &tiny_tensors[i];
        }
    }
    print_error("tiny_grads.h has no %s\n", name);
    fail();
    return tiny_tensors; /* not reached */
}

/* Within 1e-4 of the tensor's largest element. */
static void check(const char *name, const float *got, size_t n)
{
    const struct tiny_tensor *want = find(name);
    double scale = 0;
    assert_int_equal(want->n, n);
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(want->x[i]));
    }
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want->x[i]) <= 1e-4 * scale)) {
            print_error("%s[%zu] is %.9g, torch has %.9g\n", name, i, (double)got[i], want->x[i]);
            fail();
        }
    }
}

struct fixture {
    struct gdfo_llama_weights *weights;
    struct gdfo_student *s;
    float rows[N_ITEMS][N_ROWS * 16];
    struct gdfo_student_item items[N_ITEMS];
    struct gdfo_student_batch batch;
};

static void set_up(struct fixture *f, enum gdfo_train_mode mode,
                   enum gdfo_student_position position, int shares_prompt)
{
    struct gdfo_student_opts o = gdfo_student_defaults();
    struct gdfo_error err = {0};
    o.mode = mode;
    o.adapter_rank = RANK;
    o.adapter_scale = 1.5;
    o.max_positions = 64;
    o.max_sequence = 64;
    f->weights = build();
    gdfo_test_ok(tiny_student(&f->s, f->weights, &o, NULL, &err), &err);
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        fill(f->rows[i], 10 + i, sizeof f->rows[i] / sizeof f->rows[i][0], 0, 1);
        f->items[i] = (struct gdfo_student_item){.rows = f->rows[shares_prompt ? 0 : i],
                                                 .n_rows = N_ROWS,
                                                 .body = {BODIES[i], LENGTHS[i][0]},
                                                 .cue = {CUES[i], LENGTHS[i][1]}};
    }
    f->batch = (struct gdfo_student_batch){f->items, N_ITEMS, position, &COLUMNS};
}

static void tear_down(struct fixture *f)
{
    gdfo_student_destroy(f->s);
    gdfo_llama_weights_destroy(f->weights);
}

static void full_gradients_equal_autograd(void **state)
{
    static const char *const names[] = {"q", "k", "v", "o", "gate", "up", "down"};
    struct fixture f;
    struct gdfo_error err = {0};
    const struct gdfo_llama_net *net;
    char name[64];
    double loss = 0;
    (void)state;
    set_up(&f, GDFO_TRAIN_FULL, GDFO_STUDENT_SUFFIX, 0);
    net = (const struct gdfo_llama_net *)f.s->net;
    gdfo_test_ok(gdfo_student_distill(f.s, &f.batch, &TARGET, &loss, &err), &err);
    gdfo_test_near(loss, find("full_loss")->x[0], 1e-5);
    check("full_out_norm", net->d_out_norm, 16);
    for (size_t l = 0; l < 2; l++) {
        const struct gdfo_llama_train_layer *y = &net->layers[l];
        (void)snprintf(name, sizeof name, "full_%zu_attn_norm", l);
        check(name, y->d_attn_norm, 16);
        (void)snprintf(name, sizeof name, "full_%zu_ffn_norm", l);
        check(name, y->d_ffn_norm, 16);
        for (size_t i = 0; i < REF_N_LINEAR; i++) {
            (void)snprintf(name, sizeof name, "full_%zu_%s", l, names[i]);
            check(name, y->lin[i].dw, y->lin[i].in * y->lin[i].out);
        }
    }
    tear_down(&f);
}

static void check_adapters(const struct fixture *f)
{
    static const char *const names[] = {"q", "k", "v", "o", "gate", "up", "down"};
    const struct gdfo_llama_net *net = (const struct gdfo_llama_net *)f->s->net;
    char name[64];
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < REF_N_LINEAR; i++) {
            const struct gdfo_llama_linear *lin = &net->layers[l].lin[i];
            (void)snprintf(name, sizeof name, "adapter_%zu_%s_a", l, names[i]);
            check(name, lin->da, RANK * lin->in);
            (void)snprintf(name, sizeof name, "adapter_%zu_%s_b", l, names[i]);
            check(name, lin->db, RANK * lin->out);
        }
    }
}

static void adapter_gradients_equal_autograd(void **state)
{
    struct fixture f;
    struct gdfo_student_kv *kv[N_ITEMS] = {0};
    struct gdfo_error err = {0};
    double loss = 0;
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        set_up(&f, GDFO_TRAIN_ADAPTER, GDFO_STUDENT_SUFFIX, 0);
        fill_adapters(f.s);
        for (size_t i = 0; i < N_ITEMS && cached; i++) {
            gdfo_test_ok(gdfo_student_text_kv(f.s, &f.items[i].body, 1, &kv[i], &err), &err);
            f.items[i].kv = kv[i];
        }
        gdfo_test_ok(gdfo_student_distill(f.s, &f.batch, &TARGET, &loss, &err), &err);
        gdfo_test_near(loss, find("adapter_loss")->x[0], 1e-5);
        check_adapters(&f);
        tear_down(&f);
    }
    for (size_t i = 0; i < N_ITEMS; i++) {
        gdfo_student_kv_destroy(kv[i]);
    }
}

static void check_rows(enum gdfo_student_position position, const char *loss_name,
                       const char *rows_name)
{
    struct fixture f;
    struct gdfo_error err = {0};
    float grad[N_ROWS * 16];
    double loss = 0;
    set_up(&f, GDFO_TRAIN_FROZEN, position, 1);
    gdfo_test_ok(gdfo_student_prompt_grad(f.s, &f.batch, GOLD, grad, &loss, &err), &err);
    gdfo_test_near(loss, find(loss_name)->x[0], 1e-5);
    check(rows_name, grad, N_ROWS * 16);
    tear_down(&f);
}

static void prompt_gradients_equal_autograd(void **state)
{
    (void)state;
    check_rows(GDFO_STUDENT_PREFIX, "prefix_loss", "prefix_rows");
    check_rows(GDFO_STUDENT_SUFFIX, "suffix_loss", "suffix_rows");
}

static void adamw_walks_as_torch_does(void **state)
{
    const struct tiny_tensor *want = find("adamw_params");
    const struct gdfo_adamw_opts o = {.lr = 0.05,
                                      .beta1 = 0.9,
                                      .beta2 = 0.99,
                                      .eps = 1e-6,
                                      .weight_decay = 0.1,
                                      .warmup_steps = 3,
                                      .total_steps = 10};
    struct gdfo_adamw a;
    struct gdfo_error err = {0};
    float x[8];
    float grad[8];
    (void)state;
    fill(x, 50, 8, 0, 1);
    gdfo_test_ok(gdfo_adamw_init(&a, &o, 8, &err), &err);
    for (uint32_t k = 0; k < 10; k++) {
        fill(grad, 60 + k, 8, 0, 1);
        gdfo_adamw_step(&a, NULL, x, grad);
        for (size_t i = 0; i < 8; i++) {
            gdfo_test_near((double)x[i], want->x[8 * k + i], 1e-6);
        }
    }
    gdfo_adamw_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_gradients_equal_autograd),
        cmocka_unit_test(adapter_gradients_equal_autograd),
        cmocka_unit_test(prompt_gradients_equal_autograd),
        cmocka_unit_test(adamw_walks_as_torch_does),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
