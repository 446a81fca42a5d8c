/* The kinds of head that method `head` adds, against numpy and PyTorch (tests/reference/tune/
 * learn.py), and what their bytes, their folds and their choice must keep. */
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/tune/head_learn.h"
#include "server/tune/head_priv.h"
#include "server/tune/head_transport.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define N    24
#define HELD 6
#define ALL  (N + HELD)
#define L    3
#define A    7
#define H    5
#define V    2
#define K    GDFO_DECT_WIDTH

static struct given { /* the reference, read once */
    struct gdfo_json *root;
    float lp[ALL * V * L], anchors[ALL * V * A], hidden[ALL * V * H], blank[V * L];
    float first_lp[ALL * L], first_anchors[ALL * A], first_hidden[ALL * H]; /* of prompt 0 */
    uint32_t gold[ALL], rows[ALL];
    struct gdfo_head_data one, all; /* of the first prompt, and of both */
} g;

/* All numbers below v, however deep the arrays are. */
static size_t numbers(const struct gdfo_json *v, float *out, size_t n)
{
    double x = 0;
    if (gdfo_json_number(v, &x)) {
        out[n] = (float)x;
        return n + 1;
    }
    for (const struct gdfo_json *c = gdfo_json_first(v); c; c = gdfo_json_next(c)) {
        n = numbers(c, out, n);
    }
    return n;
}

static void read_floats(const char *key, float *out, size_t want)
{
    assert_int_equal(numbers(gdfo_json_get(g.root, key), out, 0), want);
}

static void first_of(const float *from, size_t width, float *to)
{
    for (size_t i = 0; i < ALL; i++) {
        memcpy(to + i * width, from + i * V * width, width * sizeof *to);
    }
}

static int set_up(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    float gold[ALL];
    (void)state;
    gdfo_gemm_init();
    gdfo_buf_init(&b, 1 << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/tune/learn.json", &b, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&g.root, b.data, b.len, NULL, &err), &err);
    gdfo_buf_deinit(&b);
    read_floats("lp", g.lp, ALL * V * L);
    read_floats("anchors", g.anchors, ALL * V * A);
    read_floats("hidden", g.hidden, ALL * V * H);
    read_floats("blank", g.blank, V * L);
    read_floats("gold", gold, ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        g.gold[i] = (uint32_t)gold[i];
        g.rows[i] = i;
    }
    first_of(g.lp, L, g.first_lp);
    first_of(g.anchors, A, g.first_anchors);
    first_of(g.hidden, H, g.first_hidden);
    g.all = (struct gdfo_head_data){.lp = g.lp,
                                    .anchors = g.anchors,
                                    .gold = g.gold,
                                    .n = N,
                                    .n_labels = L,
                                    .n_anchors = A,
                                    .hidden = g.hidden,
                                    .n_hidden = H,
                                    .blank = g.blank,
                                    .n_views = V};
    g.one = g.all;
    g.one.lp = g.first_lp;
    g.one.anchors = g.first_anchors;
    g.one.hidden = g.first_hidden;
    g.one.n_views = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gdfo_json_destroy(g.root);
    return 0;
}

/* ---- against the reference ----------------------------------------------------------------------
 */

static struct gdfo_head *make(const struct gdfo_head_data *d, enum gdfo_head_kind kind)
{
    const struct gdfo_head_shape shape = gdfo_head_shape_for(d, kind);
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_head_make(&h, &shape, &err), &err);
    return h;
}

static void check_held_out(const struct gdfo_head *h, const struct gdfo_head_data *d,
                           const char *name, double tolerance)
{
    const struct gdfo_head_features f = gdfo_head_features_of(d, h->shape.kind);
    const size_t views = d->n_views;
    float want[HELD * L];
    assert_int_equal(numbers(gdfo_json_get(gdfo_json_get(g.root, "cases"), name), want, 0),
                     HELD * L);
    for (size_t i = 0; i < HELD; i++) {
        const size_t row = N + i;
        double got[L];
        gdfo_head_row(&h->numbers, d->lp + row * views * L,
                      f.n > 0 ? f.x + row * views * f.n : NULL, got);
        for (size_t c = 0; c < L; c++) {
            gdfo_test_near(got[c], (double)want[i * L + c], tolerance);
        }
    }
}

static struct gdfo_head_lesson lesson(const struct gdfo_head_data *d, enum gdfo_head_kind kind,
                                      double knob)
{
    return (struct gdfo_head_lesson){d, gdfo_head_features_of(d, kind), g.rows, N, knob, 3};
}

static struct gdfo_head *learned(const struct gdfo_head_data *d, enum gdfo_head_kind kind,
                                 double knob)
{
    struct gdfo_head *h = make(d, kind);
    struct gdfo_head_lesson l = lesson(d, kind, knob);
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_head_learner_of(kind)->fit(&h->numbers, &l, &err), &err);
    return h;
}

static void regress(enum gdfo_head_kind kind, double penalty, double penalty_bias, const char *name)
{
    const struct gdfo_head_features f = gdfo_head_features_of(&g.one, kind);
    struct gdfo_head *h = make(&g.one, kind);
    struct gdfo_head_part part;
    struct gdfo_error err = {0};
    double *scratch;
    gdfo_test_ok(gdfo_head_part_init(&part, &g.one, &f, g.rows, N, &err), &err);
    scratch = gdfo_mem_array(gdfo_head_scratch(L, part.problem.n_columns), sizeof *scratch);
    part.problem.penalty = penalty;
    part.problem.penalty_bias = penalty_bias;
    part.problem.penalty_scale = 4;
    part.problem.is_scale_free = 1;
    part.problem.tolerance = 1e-8;
    assert_true(gdfo_head_solve(&part.problem, part.theta, scratch) > 2);
    gdfo_head_part_unfold(&part, &h->numbers);
    check_held_out(h, &g.one, name, 3e-6);
    gdfo_mem_free(scratch);
    gdfo_head_part_deinit(&part);
    gdfo_head_destroy(h);
}

static void regressions_are_at_pytorch_s_optimum(void **state)
{
    (void)state;
    regress(GDFO_HEAD_HIDDEN, 0.03, 0.1, "hidden");
    regress(GDFO_HEAD_TEMPERATURE, 1, 0.3, "temperature");
}

static void dect_takes_pytorch_s_thirty_steps(void **state)
{
    struct gdfo_head *h = make(&g.one, GDFO_HEAD_DECT);
    struct gdfo_head_lesson l = lesson(&g.one, GDFO_HEAD_DECT, 1);
    struct gdfo_dect m = gdfo_dect_of(&h->numbers);
    struct gdfo_error err = {0};
    double mean = 0;
    (void)state;
    for (size_t k = 0; k < K * H; k++) {
        m.w[k] = 0.3 * sin(1 + (double)k);
    }
    for (size_t k = 0; k < L * K; k++) {
        m.proto[k] = 0.2 * cos(2 + (double)k);
    }
    for (size_t c = 0; c < L; c++) {
        mean += (double)g.blank[c] / L;
    }
    for (size_t c = 0; c < L; c++) {
        m.ratio[c] = (double)g.blank[c] / mean;
    }
    gdfo_test_ok(gdfo_dect_train(&h->numbers, &l, &err), &err);
    check_held_out(h, &g.one, "dect", 3e-6);
    gdfo_head_destroy(h);
}

static void transport_and_its_head_are_those_of_numpy(void **state)
{
    struct gdfo_head *h = learned(&g.all, GDFO_HEAD_MPD, 10);
    float cost[16];
    double wide[16];
    double want = 0;
    (void)state;
    read_floats("cost", cost, 16);
    for (size_t i = 0; i < 16; i++) {
        wide[i] = round(1000 * (double)cost[i]) / 1000; /* given to three digits */
    }
    assert_true(gdfo_json_number(gdfo_json_get(g.root, "transport"), &want));
    gdfo_test_near(gdfo_sinkhorn(wide, 4), want, 1e-9);
    check_held_out(h, &g.all, "mpd", 3e-6);
    gdfo_head_destroy(h);
}

static void boosting_gives_numpy_s_learners_their_weights(void **state)
{
    struct gdfo_head *h = learned(&g.all, GDFO_HEAD_PROMPTBOOST, 4);
    const struct gdfo_json *alpha = gdfo_json_first(gdfo_json_get(g.root, "alphas"));
    const double *extra = h->numbers.extra;
    size_t n = 0;
    (void)state;
    for (; alpha; alpha = gdfo_json_next(alpha), n++) {
        double want = 0;
        assert_true(gdfo_json_number(alpha, &want));
        gdfo_test_near(extra[1 + n * (2 + 2 * L)], want, 1e-6);
    }
    assert_int_equal((size_t)extra[0], n);
    check_held_out(h, &g.all, "promptboost", 3e-6);
    gdfo_head_destroy(h);
}

static void the_verbalizer_chooses_numpy_s_words(void **state)
{
    struct gdfo_head *h = learned(&g.one, GDFO_HEAD_VERBALIZER, 2);
    (void)state;
    check_held_out(h, &g.one, "verbalizer", 3e-6);
    gdfo_head_destroy(h);
}

/* p(c | text) / p(c | empty), made to sum to one. */
static void blank_divides_by_what_an_empty_text_gets(void **state)
{
    struct gdfo_head *h = learned(&g.one, GDFO_HEAD_BLANK, 1);
    float out[L];
    double want[L];
    double sum = 0;
    (void)state;
    gdfo_head_apply(h, g.one.lp, NULL, 1, out);
    for (size_t c = 0; c < L; c++) {
        want[c] = exp((double)g.one.lp[c]) / exp((double)g.blank[c]);
        sum += want[c];
    }
    for (size_t c = 0; c < L; c++) {
        gdfo_test_near(exp((double)out[c]), want[c] / sum, 1e-6);
    }
    gdfo_head_destroy(h);
}

/* ---- all kinds ----------------------------------------------------------------------------------
 */

static const struct gdfo_head_data *data_for(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_MPD || kind == GDFO_HEAD_PROMPTBOOST ? &g.all : &g.one;
}

static struct gdfo_head *fitted(const struct gdfo_head_data *d, enum gdfo_head_kind kind)
{
    struct gdfo_head_opts o = gdfo_head_opts_default(11);
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    o.kind = kind;
    gdfo_test_ok(gdfo_head_fit(&h, d, &o, &err), &err);
    return h;
}

static void apply_all(const struct gdfo_head *h, const struct gdfo_head_data *d, float *out)
{
    gdfo_head_apply(h, d->lp, gdfo_head_features_of(d, h->shape.kind).x, ALL, out);
}

static void same_shape(const struct gdfo_head_shape *a, const struct gdfo_head_shape *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->n_labels, b->n_labels);
    assert_int_equal(a->n_anchors, b->n_anchors);
    assert_int_equal(a->n_hidden, b->n_hidden);
    assert_int_equal(a->n_views, b->n_views);
}

static void a_head_of_any_kind_survives_its_bytes_and_a_copy(void **state)
{
    (void)state;
    for (int k = GDFO_HEAD_NONE; k < GDFO_HEAD_N_KINDS; k++) {
        const enum gdfo_head_kind kind = (enum gdfo_head_kind)k;
        const struct gdfo_head_data *d = kind == GDFO_HEAD_NONE ? &g.one : data_for(kind);
        struct gdfo_head *h = fitted(d, kind);
        struct gdfo_head *back = NULL, *copy = NULL;
        struct gdfo_error err = {0};
        struct gdfo_buf b;
        float before[ALL * L], after[ALL * L];
        gdfo_buf_init(&b, 1 << 20);
        gdfo_head_save(h, &b);
        gdfo_test_ok(gdfo_head_load(&back, b.data, b.len, &err), &err);
        gdfo_test_ok(gdfo_head_copy(&copy, back, &err), &err);
        apply_all(h, d, before);
        apply_all(copy, d, after);
        assert_memory_equal(before, after, sizeof before);
        same_shape(&h->shape, &copy->shape);
        assert_int_equal(gdfo_head_score_of(copy, kind)->is_tried, 1);
        assert_int_equal(gdfo_head_load(&back, b.data, b.len - 1, &err), GDFO_STATUS_CORRUPT);
        gdfo_head_destroy(h);
        gdfo_head_destroy(back);
        gdfo_head_destroy(copy);
        gdfo_buf_deinit(&b);
    }
}

/* Rows of no class's fold teach nothing about it: a wild hidden state of one row leaves the fit on
 * the others alone. */
static void a_lesson_looks_at_its_own_rows_only(void **state)
{
    static const enum gdfo_head_kind kinds[] = {GDFO_HEAD_VERBALIZER, GDFO_HEAD_DECT, GDFO_HEAD_MPD,
                                                GDFO_HEAD_PROMPTBOOST};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        const struct gdfo_head_data *d = data_for(kinds[k]);
        struct gdfo_head_data wild = *d;
        struct gdfo_head_lesson l = lesson(d, kinds[k], 2);
        struct gdfo_head *a = make(d, kinds[k]);
        struct gdfo_head *b = make(d, kinds[k]);
        struct gdfo_error err = {0};
        float *anchors = gdfo_mem_dup(g.anchors, sizeof g.anchors);
        float *hidden = gdfo_mem_dup(g.hidden, sizeof g.hidden);
        const size_t last = (N - 1) * (size_t)d->n_views;
        l.n = N - 1;
        gdfo_test_ok(gdfo_head_learner_of(kinds[k])->fit(&a->numbers, &l, &err), &err);
        memcpy(anchors, d->anchors, ALL * (size_t)d->n_views * A * sizeof *anchors);
        memcpy(hidden, d->hidden, ALL * (size_t)d->n_views * H * sizeof *hidden);
        anchors[last * A] = 1e6F;
        hidden[last * H] = 1e6F;
        wild.anchors = anchors;
        wild.hidden = hidden;
        l.d = &wild;
        l.features = gdfo_head_features_of(&wild, kinds[k]);
        gdfo_test_ok(gdfo_head_learner_of(kinds[k])->fit(&b->numbers, &l, &err), &err);
        assert_memory_equal(a->numbers.bias, b->numbers.bias, L * sizeof(double));
        assert_memory_equal(a->numbers.weights, b->numbers.weights,
                            a->numbers.n_weights * sizeof(double));
        assert_memory_equal(a->numbers.extra, b->numbers.extra,
                            a->numbers.n_extra * sizeof(double));
        gdfo_head_destroy(a);
        gdfo_head_destroy(b);
        gdfo_mem_free(anchors);
        gdfo_mem_free(hidden);
    }
}

/* One class in each corner of the hidden state, and labels that know nothing. */
static void auto_finds_what_the_hidden_states_know(void **state)
{
    struct gdfo_rng rng = gdfo_rng_stream(4, "hidden");
    float hidden[ALL * H], lp[ALL * L];
    struct gdfo_head_data d = g.one;
    struct gdfo_head *h;
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        for (size_t k = 0; k < H; k++) {
            hidden[i * H + k] = (float)(gdfo_rng_normal(&rng) + (k == g.gold[i] ? 6 : 0));
        }
        for (size_t c = 0; c < L; c++) {
            lp[i * L + c] = (float)(-3 + 0.1 * gdfo_rng_normal(&rng));
        }
    }
    d.hidden = hidden;
    d.lp = lp;
    h = fitted(&d, GDFO_HEAD_AUTO);
    assert_int_equal(gdfo_head_shape_of(h)->kind, GDFO_HEAD_HIDDEN);
    assert_int_equal(gdfo_head_shape_of(h)->n_hidden, H);
    assert_int_equal(gdfo_head_shape_of(h)->n_anchors, 0);
    assert_true(gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->is_tried);
    assert_false(gdfo_head_score_of(h, GDFO_HEAD_TEMPERATURE)->is_tried); /* unless asked for */
    gdfo_head_destroy(h);
}

static void refuse(struct gdfo_head_data d, enum gdfo_head_kind kind, const char *words)
{
    struct gdfo_head_opts o = gdfo_head_opts_default(1);
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    o.kind = kind;
    assert_int_equal(gdfo_head_fit(&h, &d, &o, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, words);
}

static void a_kind_names_what_it_lacks(void **state)
{
    struct gdfo_head_data bare = {.lp = g.first_lp, .gold = g.gold, .n = N, .n_labels = L};
    float bad[ALL * H];
    (void)state;
    refuse(bare, GDFO_HEAD_HIDDEN, "head hidden without hidden states");
    refuse(bare, GDFO_HEAD_DECT, "head dect without hidden states");
    refuse(bare, GDFO_HEAD_VERBALIZER, "head verbalizer without anchors' answers");
    refuse(bare, GDFO_HEAD_BLANK, "head blank without the answer to an empty text");
    refuse(g.all, GDFO_HEAD_HIDDEN, "head hidden takes one prompt, not 2");
    memcpy(bad, g.first_hidden, sizeof bad);
    bad[2 * H + 1] = NAN;
    bare.hidden = bad;
    bare.n_hidden = H;
    refuse(bare, GDFO_HEAD_HIDDEN, "hidden state 1 of row 2 is not finite");
}

static void a_nan_makes_its_row_nan(void **state)
{
    static const enum gdfo_head_kind kinds[] = {GDFO_HEAD_HIDDEN, GDFO_HEAD_DECT, GDFO_HEAD_MPD,
                                                GDFO_HEAD_VERBALIZER};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        const struct gdfo_head_data *d = data_for(kinds[k]);
        struct gdfo_head *h = fitted(d, kinds[k]);
        const size_t width = gdfo_head_features_of(d, kinds[k]).n * d->n_views;
        float x[V * H + V * A] = {0};
        float out[L];
        memcpy(x, gdfo_head_features_of(d, kinds[k]).x, width * sizeof *x);
        x[width - 1] = NAN;
        gdfo_head_apply(h, d->lp, x, 1, out);
        assert_true(isnan(out[0]) && isnan(out[L - 1]));
        gdfo_head_destroy(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regressions_are_at_pytorch_s_optimum),
        cmocka_unit_test(dect_takes_pytorch_s_thirty_steps),
        cmocka_unit_test(transport_and_its_head_are_those_of_numpy),
        cmocka_unit_test(boosting_gives_numpy_s_learners_their_weights),
        cmocka_unit_test(the_verbalizer_chooses_numpy_s_words),
        cmocka_unit_test(blank_divides_by_what_an_empty_text_gets),
        cmocka_unit_test(a_head_of_any_kind_survives_its_bytes_and_a_copy),
        cmocka_unit_test(a_lesson_looks_at_its_own_rows_only),
        cmocka_unit_test(auto_finds_what_the_hidden_states_know),
        cmocka_unit_test(a_kind_names_what_it_lacks),
        cmocka_unit_test(a_nan_makes_its_row_nan),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
