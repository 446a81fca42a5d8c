#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/tune/head_part.h"
#include "server/tune/head_solve.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* ---- scikit-learn's and numpy's numbers: tests/reference/tune/head.py ---- */

static struct gdfo_json *reference(void)
{
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/tune/head.json", &b, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    gdfo_buf_deinit(&b);
    return root;
}

static double number(const struct gdfo_json *object, const char *key)
{
    double x = 0;
    const struct gdfo_json *v = gdfo_json_get(object, key);
    assert_non_null(v);
    assert_true(gdfo_json_number(v, &x));
    return x;
}

/* A matrix as an array of arrays; returns the number of values. */
static size_t floats(const struct gdfo_json *object, const char *key, float *out)
{
    size_t n = 0;
    for (const struct gdfo_json *row = gdfo_json_first(gdfo_json_get(object, key)); row != NULL;
         row = gdfo_json_next(row)) {
        for (const struct gdfo_json *v = gdfo_json_first(row); v != NULL; v = gdfo_json_next(v)) {
            double x = 0;
            assert_true(gdfo_json_number(v, &x));
            out[n++] = (float)x;
        }
    }
    return n;
}

#define N_ALL   50
#define N_TRAIN 40
#define LABELS  3
#define ANCHORS 6

struct given {
    float lp[N_ALL * LABELS], anchors[N_ALL * ANCHORS];
    uint32_t gold[N_ALL], rows[N_TRAIN];
    struct gdfo_head_data d;
};

static void read_given(struct given *g, const struct gdfo_json *root)
{
    size_t i = 0;
    assert_int_equal((int)number(root, "n") + (int)number(root, "n_held"), N_ALL);
    assert_int_equal(floats(root, "lp", g->lp), N_ALL * LABELS);
    assert_int_equal(floats(root, "anchors", g->anchors), N_ALL * ANCHORS);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(root, "gold")); v != NULL;
         v = gdfo_json_next(v)) {
        int64_t c = 0;
        assert_true(gdfo_json_int(v, &c));
        g->gold[i++] = (uint32_t)c;
    }
    for (uint32_t k = 0; k < N_TRAIN; k++) {
        g->rows[k] = k;
    }
    g->d = (struct gdfo_head_data){.lp = g->lp,
                                   .anchors = g->anchors,
                                   .gold = g->gold,
                                   .n = N_TRAIN,
                                   .n_labels = LABELS,
                                   .n_anchors = ANCHORS};
}

/* One case of the reference: the same problem, then log-probabilities of the held-out rows. */
static void check_case(const struct gdfo_json *one, struct given *g)
{
    struct gdfo_head_part part;
    struct gdfo_error err = {0};
    double bias[LABELS];
    double weights[LABELS * ANCHORS] = {0};
    struct gdfo_head_numbers h = {.bias = bias, .weights = weights};
    float want[10 * LABELS];
    double got[LABELS];
    int is_free = 0;
    struct gdfo_head_features f = gdfo_head_features_of(
        &g->d, strcmp(gdfo_json_string(gdfo_json_get(one, "name")), "bias") != 0 ? GDFO_HEAD_ANCHORS
                                                                                 : GDFO_HEAD_BIAS);
    gdfo_test_ok(gdfo_head_part_init(&part, &g->d, &f, g->rows, N_TRAIN, &err), &err);
    struct gdfo_head_problem *p = &part.problem;
    double *scratch = gdfo_mem_array(gdfo_head_scratch(LABELS, p->n_columns), sizeof *scratch);
    assert_non_null(scratch);
    assert_true(gdfo_json_bool(gdfo_json_get(one, "scale_free"), &is_free));
    p->penalty = number(one, "penalty");
    p->penalty_bias = number(one, "penalty_bias");
    p->penalty_scale = number(one, "penalty_scale");
    p->is_scale_free = is_free;
    p->tolerance = 1e-7;
    part.theta[gdfo_head_n_parameters(LABELS, p->n_columns) - 1] =
        is_free ? 1 : number(one, "scale");
    assert_true(gdfo_head_solve(p, part.theta, scratch) > 2);
    gdfo_head_part_unfold(&part, &h);
    gdfo_test_near(h.scale, number(one, "scale"), 1e-6);
    assert_int_equal(floats(one, "held", want), 10 * LABELS);
    for (size_t i = 0; i < 10; i++) {
        const size_t row = N_TRAIN + i;
        gdfo_head_row(&h, g->lp + row * LABELS, g->anchors + row * ANCHORS, got);
        for (size_t c = 0; c < LABELS; c++) {
            gdfo_test_near(got[c], (double)want[i * LABELS + c], 3e-6);
        }
    }
    gdfo_mem_free(scratch);
    gdfo_head_part_deinit(&part);
}

static void three_problems_agree_with_other_implementations(void **state)
{
    (void)state;
    static struct given g;
    size_t n = 0;
    struct gdfo_json *root = reference();
    read_given(&g, root);
    for (const struct gdfo_json *one = gdfo_json_first(gdfo_json_get(root, "cases")); one != NULL;
         one = gdfo_json_next(one)) {
        check_case(one, &g);
        n++;
    }
    assert_int_equal(n, 3);
    gdfo_json_destroy(root);
}

/* ---- the optimum itself ---- */

struct toy { /* random rows; columns neither centred nor orthogonal: only slower */
    double x[12 * 4], offset[12 * 3], energy[4];
    uint32_t gold[12];
    struct gdfo_head_problem p;
};

static void make_toy(struct toy *t, uint64_t seed)
{
    struct gdfo_rng r = gdfo_rng_stream(seed, "toy");
    memset(t, 0, sizeof *t);
    t->p = (struct gdfo_head_problem){.n = 12,
                                      .n_labels = 3,
                                      .n_columns = 4,
                                      .x = t->x,
                                      .offset = t->offset,
                                      .gold = t->gold,
                                      .energy = t->energy,
                                      .penalty = 0.05,
                                      .penalty_bias = 0.2,
                                      .penalty_scale = 3,
                                      .is_scale_free = 1,
                                      .tolerance = 1e-7};
    for (size_t i = 0; i < 12; i++) {
        t->gold[i] = gdfo_rng_below(&r, 3);
        for (size_t k = 0; k < 4; k++) {
            t->x[i * 4 + k] = gdfo_rng_normal(&r);
            t->energy[k] += t->x[i * 4 + k] * t->x[i * 4 + k];
        }
        for (size_t c = 0; c < 3; c++) {
            t->offset[i * 3 + c] = gdfo_rng_normal(&r);
            t->p.offset_energy += t->offset[i * 3 + c] * t->offset[i * 3 + c];
        }
    }
}

/* The objective written down once more, plainly. */
static double objective(const struct gdfo_head_problem *p, const double *theta)
{
    const size_t n_w = p->n_labels * p->n_columns;
    const double *bias = theta + n_w;
    const double scale = bias[p->n_labels];
    double value = p->penalty_scale / 2 * (scale - 1) * (scale - 1);
    for (size_t k = 0; k < n_w; k++) {
        value += p->penalty / 2 * theta[k] * theta[k];
    }
    for (size_t c = 0; c < p->n_labels; c++) {
        value += p->penalty_bias / 2 * bias[c] * bias[c];
    }
    for (size_t i = 0; i < p->n; i++) {
        double sum = 0;
        double gold = 0;
        for (size_t c = 0; c < p->n_labels; c++) {
            double z = scale * p->offset[i * p->n_labels + c] + bias[c];
            for (size_t k = 0; k < p->n_columns; k++) {
                z += theta[c * p->n_columns + k] * p->x[i * p->n_columns + k];
            }
            sum += exp(z);
            gold = c == p->gold[i] ? z : gold;
        }
        value += log(sum) - gold;
    }
    return value;
}

static void no_direction_leads_further_down(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct toy t;
        double theta[16] = {0};
        double scratch[16 * 22 + 3];
        make_toy(&t, seed);
        assert_int_equal(gdfo_head_n_parameters(3, 4), 16);
        assert_int_equal(gdfo_head_scratch(3, 4), sizeof scratch / sizeof scratch[0]);
        theta[15] = 1;
        gdfo_head_solve(&t.p, theta, scratch);
        for (size_t k = 0; k < 16; k++) {
            const double keep = theta[k];
            theta[k] = keep + 1e-4;
            double up = objective(&t.p, theta);
            theta[k] = keep - 1e-4;
            double down = objective(&t.p, theta);
            theta[k] = keep;
            gdfo_test_near((up - down) / 2e-4, 0, 2e-6);
            assert_true(up > objective(&t.p, theta) && down > objective(&t.p, theta));
        }
    }
}

static void a_warm_start_ends_at_the_same_place(void **state)
{
    (void)state;
    struct toy t;
    double cold[16] = {0};
    double warm[16] = {0};
    double scratch[16 * 22 + 3];
    make_toy(&t, 9);
    cold[15] = 1;
    warm[15] = 1;
    gdfo_head_solve(&t.p, cold, scratch);
    t.p.penalty = 3;
    gdfo_head_solve(&t.p, warm, scratch);
    t.p.penalty = 0.05;
    gdfo_head_solve(&t.p, warm, scratch);
    for (size_t k = 0; k < 16; k++) {
        gdfo_test_near(warm[k], cold[k], 1e-5);
    }
    assert_true(gdfo_head_solve(&t.p, warm, scratch) <= 1); /* and stays there */
}

static void a_fixed_scale_stays(void **state)
{
    (void)state;
    struct toy t;
    double theta[16] = {0};
    double scratch[16 * 22 + 3];
    make_toy(&t, 4);
    t.p.is_scale_free = 0;
    theta[15] = 0.35;
    gdfo_head_solve(&t.p, theta, scratch);
    gdfo_test_near(theta[15], 0.35, 1e-15);
}

/* ---- a part of the rows ---- */

static void a_part_sees_its_own_rows_only(void **state)
{
    (void)state;
    static struct given g;
    static struct given other;
    struct gdfo_head_part a;
    struct gdfo_head_part b;
    struct gdfo_error err = {0};
    const uint32_t rows[] = {0, 3, 4, 7, 9, 12, 20};
    struct gdfo_json *root = reference();
    read_given(&g, root);
    read_given(&other, root);
    for (size_t a_k = 0; a_k < ANCHORS; a_k++) {
        other.anchors[5 * ANCHORS + a_k] = 1e6F; /* row 5 is in neither part */
    }
    const struct gdfo_head_features f = gdfo_head_features_of(&g.d, GDFO_HEAD_ANCHORS);
    const struct gdfo_head_features f_other = gdfo_head_features_of(&other.d, GDFO_HEAD_ANCHORS);
    gdfo_test_ok(gdfo_head_part_init(&a, &g.d, &f, rows, 7, &err), &err);
    gdfo_test_ok(gdfo_head_part_init(&b, &other.d, &f_other, rows, 7, &err), &err);
    assert_int_equal(a.problem.n_columns, b.problem.n_columns);
    assert_memory_equal(a.x, b.x, 7 * a.problem.n_columns * sizeof *a.x);
    assert_memory_equal(a.mean, b.mean, ANCHORS * sizeof *a.mean);
    gdfo_head_part_deinit(&a);
    gdfo_head_part_deinit(&b);
    gdfo_json_destroy(root);
}

/* Columns orthogonal, energies what they say, and the basis leads from answers to columns. */
static void rotated_features_are_what_the_basis_gives(void **state)
{
    (void)state;
    static struct given g;
    struct gdfo_head_part part;
    struct gdfo_error err = {0};
    struct gdfo_json *root = reference();
    read_given(&g, root);
    const struct gdfo_head_features f = gdfo_head_features_of(&g.d, GDFO_HEAD_ANCHORS);
    for (size_t n = 4; n <= N_TRAIN; n += 36) { /* fewer rows than anchors, and more */
        gdfo_test_ok(gdfo_head_part_init(&part, &g.d, &f, g.rows, n, &err), &err);
        const size_t r = part.problem.n_columns;
        assert_int_equal(r, n < ANCHORS ? n - 1 : ANCHORS - 1); /* centring takes one away */
        for (size_t k = 0; k < r; k++) {
            for (size_t m = 0; m < r; m++) {
                double sum = 0;
                for (size_t i = 0; i < n; i++) {
                    sum += part.x[i * r + k] * part.x[i * r + m];
                }
                gdfo_test_near(sum, k == m ? part.energy[k] : 0, 1e-10);
            }
        }
        for (size_t i = 0; i < n; i++) {
            double mean = 0;
            for (size_t a = 0; a < ANCHORS; a++) {
                mean += (double)g.anchors[i * ANCHORS + a] / ANCHORS;
            }
            for (size_t k = 0; k < r; k++) {
                double sum = 0;
                for (size_t a = 0; a < ANCHORS; a++) {
                    sum += part.basis[k * ANCHORS + a] *
                           ((double)g.anchors[i * ANCHORS + a] - mean - part.mean[a]);
                }
                gdfo_test_near(sum, part.x[i * r + k], 1e-10);
            }
        }
        gdfo_head_part_deinit(&part);
    }
    gdfo_json_destroy(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_problems_agree_with_other_implementations),
        cmocka_unit_test(no_direction_leads_further_down),
        cmocka_unit_test(a_warm_start_ends_at_the_same_place),
        cmocka_unit_test(a_fixed_scale_stays),
        cmocka_unit_test(a_part_sees_its_own_rows_only),
        cmocka_unit_test(rotated_features_are_what_the_basis_gives),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
