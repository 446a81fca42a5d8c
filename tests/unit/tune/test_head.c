#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/tune/head.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define ROWS_MAX    256
#define LABELS_MAX  4
#define ANCHORS_MAX 32

/* Made-up answers whose truth is known. */
struct answers {
    float lp[ROWS_MAX * LABELS_MAX];
    float anchors[ROWS_MAX * ANCHORS_MAX];
    uint32_t gold[ROWS_MAX];
    struct gdfo_head_data d;
};

struct recipe {
    size_t n, n_labels, n_anchors;
    double in_labels;  /* how much the label log-probabilities know */
    double in_anchors; /* how much the anchors know */
    double bias;       /* added to label 0's log-probability */
    double stretch;    /* of the label log-probabilities: above 1 they are over-confident */
};

/* Rows of every class in turn. A label's score is its evidence plus noise of the same size, so that
 * with stretch 1 the softmax of the scores is the true posterior: evidence e, noise sd sqrt(e). */
static void make(struct answers *a, const struct recipe *r, uint64_t seed)
{
    struct gdfo_rng rng = gdfo_rng_stream(seed, "answers");
    const size_t L = r->n_labels;
    const size_t A = r->n_anchors;
    double direction[LABELS_MAX * ANCHORS_MAX];
    for (size_t k = 0; k < L * A; k++) {
        direction[k] = gdfo_rng_normal(&rng);
    }
    for (size_t i = 0; i < r->n; i++) {
        const uint32_t gold = (uint32_t)(i % L);
        double z[LABELS_MAX];
        double sum = 0;
        a->gold[i] = gold;
        for (size_t c = 0; c < L; c++) {
            double e = r->in_labels;
            z[c] = r->stretch * ((c == gold ? e : 0) + sqrt(e) * gdfo_rng_normal(&rng)) +
                   (c == 0 ? r->bias : 0);
            sum += exp(z[c]);
        }
        for (size_t c = 0; c < L; c++) { /* a hundredth of the mass is on the labels */
            a->lp[i * L + c] = (float)(z[c] - log(sum) - log(100));
        }
        const double level = gdfo_rng_normal(&rng);
        for (size_t k = 0; k < A; k++) {
            a->anchors[i * A + k] = (float)(-12 + 2 * level + gdfo_rng_normal(&rng) +
                                            r->in_anchors * direction[gold * A + k]);
        }
    }
    a->d = (struct gdfo_head_data){.lp = a->lp,
                                   .anchors = A > 0 ? a->anchors : NULL,
                                   .gold = a->gold,
                                   .n = r->n,
                                   .n_labels = L,
                                   .n_anchors = A};
}

static struct gdfo_head *fit(const struct answers *a, enum gdfo_head_kind kind)
{
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    struct gdfo_head_opts opts = gdfo_head_opts_default(7);
    opts.kind = kind;
    gdfo_test_ok(gdfo_head_fit(&h, &a->d, &opts, &err), &err);
    return h;
}

static enum gdfo_head_kind kind_of(const struct gdfo_head *h)
{
    return gdfo_head_shape_of(h)->kind;
}

struct verdict {
    double loss, accuracy;
};

static struct verdict judge(const struct gdfo_head *h, const struct answers *a)
{
    static float out[ROWS_MAX * LABELS_MAX];
    struct verdict v = {0, 0};
    const size_t L = a->d.n_labels;
    gdfo_head_apply(h, a->lp, a->anchors, a->d.n, out);
    for (size_t i = 0; i < a->d.n; i++) {
        double sum = 0;
        size_t best = 0;
        for (size_t c = 0; c < L; c++) {
            sum += exp((double)out[i * L + c]);
            best = out[i * L + c] > out[i * L + best] ? c : best;
        }
        gdfo_test_near(sum, 1, 1e-5);
        v.loss -= (double)out[i * L + a->gold[i]] / (double)a->d.n;
        v.accuracy += (best == a->gold[i] ? 1.0 : 0.0) / (double)a->d.n;
    }
    return v;
}

static struct answers train; /* big: not on the stack */
static struct answers fresh; /* the same recipe, other rows */

/* ---- what each kind is ---- */

static void none_renormalises_over_the_labels(void **state)
{
    (void)state;
    const struct recipe r = {.n = 8, .n_labels = 3, .in_labels = 1, .stretch = 1};
    float out[24];
    make(&train, &r, 1);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_NONE);
    gdfo_head_apply(h, train.lp, NULL, 8, out);
    for (size_t i = 0; i < 24; i++) { /* the labels hold a hundredth of the mass: log 100 back */
        gdfo_test_near((double)out[i], (double)train.lp[i] + log(100), 1e-5);
    }
    assert_int_equal(gdfo_head_shape_of(h)->n_labels, 3);
    assert_int_equal(gdfo_head_shape_of(h)->n_anchors, 0);
    const struct gdfo_head_score *s = gdfo_head_score_of(h, GDFO_HEAD_NONE);
    gdfo_test_near(s->loss, judge(h, &train).loss, 1e-5);
    gdfo_test_near(s->loss_fit, s->loss, 1e-12);
    gdfo_test_near(s->accuracy, judge(h, &train).accuracy, 1e-9);
    gdfo_head_destroy(h);
}

static void a_bias_is_taken_out(void **state)
{
    (void)state;
    const struct recipe r = {.n = 200, .n_labels = 3, .in_labels = 2, .bias = 3, .stretch = 1};
    make(&train, &r, 2);
    make(&fresh, &r, 3);
    struct gdfo_head *none = fit(&train, GDFO_HEAD_NONE);
    struct gdfo_head *bias = fit(&train, GDFO_HEAD_BIAS);
    struct verdict before = judge(none, &fresh);
    struct verdict after = judge(bias, &fresh);
    assert_true(after.accuracy > before.accuracy + 0.15);
    assert_true(after.loss < before.loss - 0.4);
    const struct gdfo_head_score *s = gdfo_head_score_of(bias, GDFO_HEAD_BIAS);
    gdfo_test_near(s->loss, after.loss, 0.15); /* held out: an honest forecast */
    assert_true(s->loss >= s->loss_fit - 1e-9);
    assert_true(s->gain > 3 * s->gain_se);
    gdfo_head_destroy(none);
    gdfo_head_destroy(bias);
}

static void anchors_read_what_the_labels_do_not_say(void **state)
{
    (void)state;
    const struct recipe r = {
        .n = 64, .n_labels = 4, .n_anchors = 32, .in_labels = 0.2, .in_anchors = 0.8, .stretch = 1};
    make(&train, &r, 4);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    assert_int_equal(gdfo_head_shape_of(h)->n_anchors, 32);
    assert_false(gdfo_head_score_of(h, GDFO_HEAD_BIAS)->is_tried); /* only what was asked for */
    assert_true(gdfo_head_score_of(h, GDFO_HEAD_NONE)->is_tried);
    assert_true(gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->accuracy > 0.8);
    gdfo_head_destroy(h);
}

static void shared_levels_of_rows_change_nothing(void **state)
{
    (void)state;
    const struct recipe r = {
        .n = 48, .n_labels = 3, .n_anchors = 16, .in_labels = 0.5, .in_anchors = 0.5, .stretch = 1};
    float one[48 * 3];
    float two[48 * 3];
    make(&train, &r, 5);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    gdfo_head_apply(h, train.lp, train.anchors, 48, one);
    for (size_t i = 0; i < 48; i++) {
        for (size_t c = 0; c < 3; c++) {
            train.lp[i * 3 + c] -= 0.25F * (float)i;
        }
        for (size_t a = 0; a < 16; a++) {
            train.anchors[i * 16 + a] -= 0.5F;
        }
    }
    gdfo_head_apply(h, train.lp, train.anchors, 48, two);
    for (size_t i = 0; i < 48 * 3; i++) {
        gdfo_test_near((double)two[i], (double)one[i], 2e-5);
    }
    gdfo_head_destroy(h);
}

/* ---- auto ---- */

static enum gdfo_head_kind chosen(const struct recipe *r, uint64_t seed)
{
    make(&train, r, seed);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_AUTO);
    enum gdfo_head_kind kind = kind_of(h);
    const struct gdfo_head_score *none = gdfo_head_score_of(h, GDFO_HEAD_NONE);
    const struct gdfo_head_score *got = gdfo_head_score_of(h, kind);
    assert_true(none->is_tried && gdfo_head_score_of(h, GDFO_HEAD_BIAS)->is_tried);
    assert_true(got->loss <= none->loss);
    gdfo_head_destroy(h);
    return kind;
}

static void auto_takes_the_simplest_that_does(void **state)
{
    (void)state;
    const struct recipe good = {
        .n = 96, .n_labels = 3, .n_anchors = 32, .in_labels = 3, .stretch = 1};
    struct recipe biased = good;
    struct recipe deaf = good;
    biased.bias = 3;
    deaf.in_labels = 0.1;
    deaf.in_anchors = 0.8;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        assert_int_equal(chosen(&good, seed), GDFO_HEAD_NONE);
        assert_int_equal(chosen(&biased, seed), GDFO_HEAD_BIAS);
        assert_int_equal(chosen(&deaf, seed), GDFO_HEAD_ANCHORS);
    }
}

static void anchors_without_a_signal_are_not_taken(void **state)
{
    (void)state;
    const struct recipe r = {
        .n = 64, .n_labels = 4, .n_anchors = 32, .in_labels = 0.3, .bias = 1, .stretch = 1};
    int n_anchors = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        n_anchors += chosen(&r, seed) == GDFO_HEAD_ANCHORS;
    }
    assert_true(n_anchors <= 2); /* twenty draws of pure noise in 32 columns */
}

static void auto_without_anchors_stays_with_what_there_is(void **state)
{
    (void)state;
    const struct recipe r = {.n = 60, .n_labels = 2, .in_labels = 2, .bias = 3, .stretch = 1};
    assert_int_equal(chosen(&r, 3), GDFO_HEAD_BIAS);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_AUTO);
    assert_false(gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->is_tried);
    gdfo_head_destroy(h);
}

/* The same draws unstretched and unbiased are the true posterior: no head can do better. */
/* ---- the same again ---- */

static void save(const struct gdfo_head *h, struct gdfo_buf *b)
{
    gdfo_buf_init(b, 1 << 20);
    gdfo_head_save(h, b);
    assert_true(gdfo_buf_ok(b));
}

static const struct recipe plain = {.n = 60,
                                    .n_labels = 3,
                                    .n_anchors = 16,
                                    .in_labels = 0.5,
                                    .in_anchors = 0.5,
                                    .bias = 1,
                                    .stretch = 1};

static void the_same_data_give_the_same_bytes(void **state)
{
    (void)state;
    for (int kind = GDFO_HEAD_AUTO; kind <= GDFO_HEAD_ANCHORS; kind++) {
        struct gdfo_buf one;
        struct gdfo_buf two;
        make(&train, &plain, 8);
        struct gdfo_head *a = fit(&train, (enum gdfo_head_kind)kind);
        struct gdfo_head *b = fit(&train, (enum gdfo_head_kind)kind);
        save(a, &one);
        save(b, &two);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        gdfo_buf_deinit(&one);
        gdfo_buf_deinit(&two);
        gdfo_head_destroy(a);
        gdfo_head_destroy(b);
    }
}

static void the_seed_moves_the_folds_only(void **state)
{
    (void)state;
    struct gdfo_error err = {0};
    struct gdfo_head *a = NULL;
    struct gdfo_head *b = NULL;
    struct gdfo_head_opts opts = gdfo_head_opts_default(1);
    opts.kind = GDFO_HEAD_BIAS;
    make(&train, &plain, 8);
    gdfo_test_ok(gdfo_head_fit(&a, &train.d, &opts, &err), &err);
    opts.seed = 2;
    gdfo_test_ok(gdfo_head_fit(&b, &train.d, &opts, &err), &err);
    const struct gdfo_head_score *s = gdfo_head_score_of(a, GDFO_HEAD_BIAS);
    const struct gdfo_head_score *t = gdfo_head_score_of(b, GDFO_HEAD_BIAS);
    assert_true(s->loss != t->loss);
    gdfo_test_near(s->loss, t->loss, 0.05);
    gdfo_head_destroy(a);
    gdfo_head_destroy(b);
}

static void a_loaded_head_is_the_saved_one(void **state)
{
    (void)state;
    for (int kind = GDFO_HEAD_NONE; kind <= GDFO_HEAD_ANCHORS; kind++) {
        struct gdfo_buf one;
        struct gdfo_buf two;
        struct gdfo_head *back = NULL;
        struct gdfo_error err = {0};
        float before[180];
        float after[180];
        make(&train, &plain, 9);
        struct gdfo_head *h = fit(&train, (enum gdfo_head_kind)kind);
        save(h, &one);
        gdfo_test_ok(gdfo_head_load(&back, one.data, one.len, &err), &err);
        save(back, &two);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        gdfo_head_apply(h, train.lp, train.anchors, 60, before);
        gdfo_head_apply(back, train.lp, train.anchors, 60, after);
        assert_memory_equal(before, after, sizeof before);
        assert_int_equal(kind_of(back), kind);
        gdfo_buf_deinit(&one);
        gdfo_buf_deinit(&two);
        gdfo_head_destroy(h);
        gdfo_head_destroy(back);
    }
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct gdfo_buf b;
    struct gdfo_head *back = NULL;
    struct gdfo_error err = {0};
    make(&train, &plain, 9);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_BIAS);
    save(h, &b);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] = (char)(b.data[i] ^ 0x40);
        assert_int_equal(gdfo_head_load(&back, b.data, b.len, &err), GDFO_STATUS_CORRUPT);
        b.data[i] = (char)(b.data[i] ^ 0x40);
        assert_int_equal(gdfo_head_load(&back, b.data, i, &err), GDFO_STATUS_CORRUPT);
    }
    assert_null(back);
    gdfo_buf_addc(&b, 'x');
    assert_int_equal(gdfo_head_load(&back, b.data, b.len, &err), GDFO_STATUS_CORRUPT);
    assert_int_equal(gdfo_head_load(&back, "", 0, &err), GDFO_STATUS_CORRUPT);
    gdfo_buf_deinit(&b);
    gdfo_head_destroy(h);
}

static void the_result_tells_people(void **state)
{
    (void)state;
    struct gdfo_buf b;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    double x = 0;
    gdfo_buf_init(&b, 65536);
    make(&train, &plain, 9);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_AUTO);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_head_write_json(h, &w, "head");
    gdfo_json_close(&w, '}');
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    const struct gdfo_json *head = gdfo_json_get(root, "head");
    assert_string_equal(gdfo_json_string(gdfo_json_get(head, "kind")),
                        gdfo_head_kind_name(kind_of(h)));
    assert_true(gdfo_json_number(gdfo_json_get(head, "loss_cv"), &x));
    assert_true(x == gdfo_head_score_of(h, kind_of(h))->loss); /* 17 digits */
    assert_int_equal(gdfo_json_size(gdfo_json_get(head, "tried")), 3);
    assert_int_equal(gdfo_json_size(gdfo_json_get(head, "bias")), 3);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    gdfo_head_destroy(h);
}

/* What the result says of the weight of the label log-probabilities. */
static double scale_of(const struct gdfo_head *h)
{
    struct gdfo_buf b;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    double scale = 0;
    gdfo_buf_init(&b, 65536);
    struct gdfo_json_writer w = gdfo_json_writer(&b);
    gdfo_head_write_json(h, &w, NULL);
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    assert_true(gdfo_json_number(gdfo_json_get(root, "scale"), &scale));
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    return scale;
}

static void beside_anchors_the_labels_have_a_fitted_weight(void **state)
{
    (void)state;
    struct recipe r = {
        .n = 240, .n_labels = 3, .n_anchors = 16, .in_labels = 1, .in_anchors = 0.1, .stretch = 4};
    make(&train, &r, 14);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    gdfo_test_near(scale_of(h), 0.25, 0.1); /* the stretch undone */
    gdfo_head_destroy(h);
    r.stretch = 1;
    make(&train, &r, 14);
    h = fit(&train, GDFO_HEAD_ANCHORS);
    gdfo_test_near(scale_of(h), 1, 0.25);
    gdfo_head_destroy(h);
}

/* Over-confident answers, where a flatter scale would have the lower held-out loss. */
static void a_bias_is_one_number_per_class_and_nothing_else(void **state)
{
    (void)state;
    const struct recipe r = {.n = 240, .n_labels = 3, .in_labels = 1, .stretch = 4};
    static float out[240 * 3];
    make(&train, &r, 14);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_BIAS);
    assert_true(scale_of(h) == 1);
    gdfo_head_apply(h, train.lp, NULL, r.n, out);
    for (size_t c = 1; c < 3; c++) {
        const double first =
            (double)out[c] - (double)out[0] - ((double)train.lp[c] - (double)train.lp[0]);
        for (size_t i = 1; i < r.n; i++) {
            const float *lp = train.lp + i * 3;
            double moved = (double)out[i * 3 + c] - (double)out[i * 3];
            gdfo_test_near(moved - ((double)lp[c] - (double)lp[0]), first, 1e-4);
        }
    }
    gdfo_head_destroy(h);
}

static void kinds_have_names(void **state)
{
    (void)state;
    enum gdfo_head_kind kind = GDFO_HEAD_NONE;
    for (int k = GDFO_HEAD_AUTO; k <= GDFO_HEAD_ANCHORS; k++) {
        assert_true(gdfo_head_kind_parse(gdfo_head_kind_name((enum gdfo_head_kind)k), &kind));
        assert_int_equal(kind, k);
    }
    assert_false(gdfo_head_kind_parse("ridge", &kind));
}

/* ---- odd data ---- */

static void expect_refusal(const struct gdfo_head_data *d, const struct gdfo_head_opts *opts,
                           const char *words)
{
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_head_fit(&h, d, opts, &err), GDFO_STATUS_INVALID);
    assert_null(h);
    if (strstr(err.text, words) == NULL) {
        fail_msg("'%s' without '%s'", err.text, words);
    }
}

static void impossible_requests_are_refused(void **state)
{
    (void)state;
    struct gdfo_head_opts opts = gdfo_head_opts_default(1);
    make(&train, &plain, 9);
    struct gdfo_head_data d = train.d;
    d.n = 1;
    expect_refusal(&d, &opts, "1 rows; want 2..100000");
    d = train.d;
    d.n_labels = 1;
    expect_refusal(&d, &opts, "1 labels; want 2..1000");
    d = train.d;
    d.n_anchors = GDFO_HEAD_ANCHORS_MAX + 1;
    expect_refusal(&d, &opts, "4097 anchors");
    d = train.d;
    opts.n_folds = 1;
    expect_refusal(&d, &opts, "1 folds; want 2..32");
    opts = gdfo_head_opts_default(1);
    opts.kind = GDFO_HEAD_ANCHORS;
    d.anchors = NULL;
    d.n_anchors = 0;
    expect_refusal(&d, &opts, "without anchors' answers");
    opts.kind = GDFO_HEAD_AUTO;
    d = train.d;
    train.gold[7] = 3;
    expect_refusal(&d, &opts, "row 7 has class 3 of 3");
    train.gold[7] = 0;
    train.lp[3 * 3 + 1] = NAN;
    expect_refusal(&d, &opts, "label 1 of row 3 is not finite");
    train.lp[3 * 3 + 1] = -1;
    train.anchors[2 * 16 + 5] = -INFINITY;
    expect_refusal(&d, &opts, "anchor 5 of row 2 is not finite");
    opts.kind = GDFO_HEAD_BIAS; /* which reads no anchors */
    struct gdfo_head *h = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_head_fit(&h, &d, &opts, &err), &err);
    gdfo_head_destroy(h);
}

static void a_handful_of_rows_is_enough(void **state)
{
    (void)state;
    struct recipe r = {
        .n = 2, .n_labels = 2, .n_anchors = 8, .in_labels = 1, .in_anchors = 1, .stretch = 1};
    for (r.n = 2; r.n < 12; r.n++) {
        for (r.n_labels = 2; r.n_labels <= 4; r.n_labels++) {
            make(&train, &r, r.n);
            for (int kind = GDFO_HEAD_AUTO; kind <= GDFO_HEAD_ANCHORS; kind++) {
                struct gdfo_head *h = fit(&train, (enum gdfo_head_kind)kind);
                assert_true(isfinite(judge(h, &train).loss));
                assert_true(isfinite(gdfo_head_score_of(h, kind_of(h))->loss));
                gdfo_head_destroy(h);
            }
        }
    }
}

static void useless_and_repeated_anchors_do_no_harm(void **state)
{
    (void)state;
    struct recipe r = plain;
    make(&train, &r, 10);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    double loss = gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->loss;
    gdfo_head_destroy(h);
    for (size_t i = 0; i < 60; i++) {
        train.anchors[i * 16] = train.anchors[i * 16 + 1];
        train.anchors[i * 16 + 2] = train.anchors[i * 16 + 1];
    }
    h = fit(&train, GDFO_HEAD_ANCHORS);
    assert_true(gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->loss < loss + 0.2);
    gdfo_head_destroy(h);
    for (size_t i = 0; i < 60 * 16; i++) {
        train.anchors[i] = -7; /* nothing left to read */
    }
    h = fit(&train, GDFO_HEAD_ANCHORS);
    gdfo_test_near(gdfo_head_score_of(h, GDFO_HEAD_ANCHORS)->loss,
                   gdfo_head_score_of(h, GDFO_HEAD_NONE)->loss, 0.5);
    assert_true(isfinite(judge(h, &train).loss));
    gdfo_head_destroy(h);
}

static void extreme_answers_stay_finite(void **state)
{
    (void)state;
    struct recipe r = plain;
    make(&train, &r, 11);
    for (size_t i = 0; i < 60; i++) { /* right and certain, wrong and certain */
        train.lp[i * 3 + i % 3] = i % 7 == 0 ? -3000.0F : 0.0F;
        train.anchors[i * 16 + 3] = i % 2 == 0 ? -1e30F : 0.0F;
    }
    for (int kind = GDFO_HEAD_AUTO; kind <= GDFO_HEAD_ANCHORS; kind++) {
        struct gdfo_head *h = fit(&train, (enum gdfo_head_kind)kind);
        assert_true(isfinite(judge(h, &train).loss));
        gdfo_head_destroy(h);
    }
}

static void an_unknown_answer_makes_its_row_unknown(void **state)
{
    (void)state;
    float out[180];
    make(&train, &plain, 12);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    train.lp[3 * 3] = NAN;
    train.anchors[5 * 16 + 2] = NAN;
    gdfo_head_apply(h, train.lp, train.anchors, 60, out);
    for (size_t i = 0; i < 60; i++) {
        for (size_t c = 0; c < 3; c++) {
            assert_int_equal(isnan(out[i * 3 + c]) != 0, i == 3 || i == 5);
        }
    }
    gdfo_head_destroy(h);
}

static void applying_allocates_nothing(void **state)
{
    (void)state;
    float out[180];
    make(&train, &plain, 12);
    struct gdfo_head *h = fit(&train, GDFO_HEAD_ANCHORS);
    size_t before = gdfo_mem_count();
    gdfo_head_apply(h, train.lp, train.anchors, 60, out);
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_head_destroy(h);
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    struct gdfo_head_opts opts = gdfo_head_opts_default(1);
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    make(&train, &plain, 13);
    for (; status != GDFO_STATUS_OK && n < 200; n++) {
        struct gdfo_head *h = NULL;
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = gdfo_head_fit(&h, &train.d, &opts, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_head_destroy(h);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n > 20);
}

/* What the folds say of the rows they did not see is what the held-out loss was made of. */
static void held_out_answers_have_the_held_out_loss(void **state)
{
    static struct answers a;
    static float held_out[ROWS_MAX * LABELS_MAX];
    const struct recipe recipe = {120, 3, 16, 0.4, 0.8, 1.5, 1};
    (void)state;
    make(&a, &recipe, 5);
    for (int kind = GDFO_HEAD_NONE; kind <= GDFO_HEAD_ANCHORS; kind++) {
        struct gdfo_head *h = NULL;
        struct gdfo_error err = {0};
        struct gdfo_head_opts opts = gdfo_head_opts_default(7);
        double loss = 0;
        opts.kind = (enum gdfo_head_kind)kind;
        opts.held_out = held_out;
        gdfo_test_ok(gdfo_head_fit(&h, &a.d, &opts, &err), &err);
        for (size_t i = 0; i < a.d.n; i++) {
            loss -= (double)held_out[i * a.d.n_labels + a.gold[i]] / (double)a.d.n;
        }
        gdfo_test_near(loss, gdfo_head_score_of(h, opts.kind)->loss, 1e-6);
        gdfo_head_destroy(h);
    }
}

static void a_copy_says_the_same(void **state)
{
    static struct answers a;
    const struct recipe recipe = {60, 2, 8, 0.5, 0.5, 0, 1};
    struct gdfo_head *h;
    struct gdfo_head *copy = NULL;
    struct gdfo_buf bytes[2];
    struct gdfo_error err = {0};
    (void)state;
    make(&a, &recipe, 6);
    h = fit(&a, GDFO_HEAD_ANCHORS);
    gdfo_test_ok(gdfo_head_copy(&copy, h, &err), &err);
    gdfo_buf_init(&bytes[0], 1 << 20);
    gdfo_buf_init(&bytes[1], 1 << 20);
    gdfo_head_save(h, &bytes[0]);
    gdfo_head_destroy(h);
    gdfo_head_save(copy, &bytes[1]);
    assert_int_equal(bytes[0].len, bytes[1].len);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].len);
    gdfo_buf_deinit(&bytes[0]);
    gdfo_buf_deinit(&bytes[1]);
    gdfo_head_destroy(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_answers_have_the_held_out_loss),
        cmocka_unit_test(a_copy_says_the_same),
        cmocka_unit_test(none_renormalises_over_the_labels),
        cmocka_unit_test(a_bias_is_taken_out),
        cmocka_unit_test(anchors_read_what_the_labels_do_not_say),
        cmocka_unit_test(shared_levels_of_rows_change_nothing),
        cmocka_unit_test(auto_takes_the_simplest_that_does),
        cmocka_unit_test(anchors_without_a_signal_are_not_taken),
        cmocka_unit_test(auto_without_anchors_stays_with_what_there_is),
        cmocka_unit_test(the_same_data_give_the_same_bytes),
        cmocka_unit_test(the_seed_moves_the_folds_only),
        cmocka_unit_test(a_loaded_head_is_the_saved_one),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(the_result_tells_people),
        cmocka_unit_test(beside_anchors_the_labels_have_a_fitted_weight),
        cmocka_unit_test(a_bias_is_one_number_per_class_and_nothing_else),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(impossible_requests_are_refused),
        cmocka_unit_test(a_handful_of_rows_is_enough),
        cmocka_unit_test(useless_and_repeated_anchors_do_no_harm),
        cmocka_unit_test(extreme_answers_stay_finite),
        cmocka_unit_test(an_unknown_answer_makes_its_row_unknown),
        cmocka_unit_test(applying_allocates_nothing),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
