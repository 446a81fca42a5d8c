#include "common/mem.h"
#include "common/rng.h"
#include "server/num/mathx.h"
#include "tests/support/test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 1234.5F /* stands behind every output and must still stand there afterwards */

static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 31, 33, 65, 576};
#define MOST_KEYS 130
#define N_SIZES   (sizeof sizes / sizeof sizes[0])

static void fill(float *x, size_t n, const char *name, double spread)
{
    struct gdfo_rng r = gdfo_rng_stream(n, name);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(spread * gdfo_rng_normal(&r));
    }
}

/* Runs check once for each table this processor has. */
static void each(void (*check)(const struct gdfo_math *m))
{
    size_t n = 0;
    for (const struct gdfo_math *m; (m = gdfo_math_at(n)) != NULL; n++) {
        check(m);
    }
    assert_true(n >= 1);
    assert_string_equal(gdfo_math_at(0)->name, "plain");
    assert_ptr_equal(gdfo_math_at(n - 1), gdfo_math());
}

/* ---- exp ---- */

static void check_exp_at(const struct gdfo_math *m, const float *x, size_t n, double *worst)
{
    float y[64];
    m->exp(y, x, n);
    for (size_t i = 0; i < n; i++) {
        double want = exp((double)x[i]);
        double rel = fabs((double)y[i] - want) / want;
        *worst = rel > *worst ? rel : *worst;
    }
}

static void check_exp(const struct gdfo_math *m)
{
    double worst = 0;
    float x[64];
    const int n = GDFO_TEST_REPEATS(200000, 20000);
    for (int i = 0; i < n; i++) {
        x[i % 64] = (float)(-87.25 + 175.0 * (double)i / (double)n);
        if (i % 64 == 63) {
            check_exp_at(m, x, 64, &worst);
        }
    }
    print_message("exp %s: worst relative error %.3g\n", m->name, worst);
    assert_true(worst < 2.0 * (double)FLT_EPSILON);
}

static void exp_is_within_two_ulp_of_libm(void **state)
{
    (void)state;
    each(check_exp);
}

static void check_exp_edges(const struct gdfo_math *m)
{
    const float x[8] = {0.0F, -0.0F, -88.0F, -1e30F, -INFINITY, NAN, 88.0F, 1.0F};
    float y[8];
    m->exp(y, x, 8);
    assert_true(y[0] == 1.0F && y[1] == 1.0F);
    assert_true(y[2] == 0.0F && y[3] == 0.0F && y[4] == 0.0F);
    assert_true(isnan(y[5]));
    gdfo_test_near((double)y[6] / exp(88.0), 1.0, 1e-6);
    gdfo_test_near((double)y[7], exp(1.0), 1e-6);
}

static void exp_knows_its_edges(void **state)
{
    (void)state;
    each(check_exp_edges);
}

/* A number's result does not depend on where in the array it stands. */
static void check_exp_places(const struct gdfo_math *m)
{
    float x[40], y[40], one;
    fill(x, 40, "places", 5);
    m->exp(y, x, 40);
    for (size_t i = 0; i < 40; i++) {
        m->exp(&one, x + i, 1);
        assert_memory_equal(&one, &y[i], sizeof one);
    }
}

static void a_result_does_not_depend_on_its_place(void **state)
{
    (void)state;
    each(check_exp_places);
}

/* ---- norms and gates ---- */

static void check_rms_norm(const struct gdfo_math *m)
{
    float x[577], w[577], y[577];
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        double sum = 0;
        fill(x, n, "x", 3);
        fill(w, n, "w", 1);
        y[n] = GUARD;
        m->rms_norm(y, x, w, n, 1e-5);
        for (size_t i = 0; i < n; i++) {
            sum += (double)x[i] * (double)x[i];
        }
        for (size_t i = 0; i < n; i++) {
            double want = (double)x[i] / sqrt(sum / (double)n + 1e-5) * (double)w[i];
            gdfo_test_near((double)y[i], want, 5e-7);
        }
        assert_true(y[n] == GUARD);
    }
}

static void rms_norm_equals_double(void **state)
{
    (void)state;
    each(check_rms_norm);
}

static void check_tiny_norm(const struct gdfo_math *m)
{
    float x[17] = {0}, w[17], y[17];
    fill(w, 17, "w", 1);
    m->rms_norm(y, x, w, 17, 1e-5);
    for (size_t i = 0; i < 17; i++) {
        assert_true(y[i] == 0.0F);
    }
    x[3] = 1e-20F; /* its square is no float: the sum must be in double */
    m->rms_norm(y, x, w, 17, 1e-60);
    gdfo_test_near((double)y[3], sqrt(17.0) * (double)w[3], 1e-5);
}

static void rms_norm_of_nothing_is_nothing(void **state)
{
    (void)state;
    each(check_tiny_norm);
}

static void check_silu(const struct gdfo_math *m)
{
    float g[577], u[577];
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        float was[577];
        fill(g, n, "gate", 10);
        fill(u, n, "up", 1);
        memcpy(was, g, n * sizeof *g);
        g[n] = GUARD;
        m->silu_mul(g, g, u, n);
        for (size_t i = 0; i < n; i++) {
            double x = (double)was[i];
            gdfo_test_near((double)g[i], x / (1.0 + exp(-x)) * (double)u[i], 1e-6);
        }
        assert_true(g[n] == GUARD);
    }
}

static void silu_equals_double(void **state)
{
    (void)state;
    each(check_silu);
}

static void check_silu_edges(const struct gdfo_math *m)
{
    const float g[4] = {-200.0F, 200.0F, 0.0F, NAN};
    const float u[4] = {1.0F, 2.0F, 3.0F, 1.0F};
    float y[4];
    m->silu_mul(y, g, u, 4);
    gdfo_test_near((double)y[0], 0.0, 1e-30);
    gdfo_test_near((double)y[1], 400.0, 1e-6);
    assert_true(y[2] == 0.0F);
    assert_true(isnan(y[3]));
}

static void silu_of_large_numbers_is_finite(void **state)
{
    (void)state;
    each(check_silu_edges);
}

static void check_max_sum_exp(const struct gdfo_math *m)
{
    float x[576];
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        float max = 0;
        double sum = 0;
        double want = 0;
        fill(x, n, "logits", 20);
        m->max_sum_exp(x, n, &max, &sum);
        for (size_t i = 0; i < n; i++) {
            assert_true(x[i] <= max);
            want += exp((double)x[i] - (double)max);
        }
        gdfo_test_near(sum / want, 1.0, 1e-6);
    }
}

static void max_sum_exp_equals_double(void **state)
{
    (void)state;
    each(check_max_sum_exp);
}

static void check_rope(const struct gdfo_math *m)
{
    float x[3 * 17 + 1], was[3 * 17], turn[16];
    for (size_t n_rot = 0; n_rot <= 16; n_rot += 2) {
        fill(x, 3 * 17, "heads", 1);
        x[3 * 17] = GUARD;
        memcpy(was, x, sizeof was);
        for (size_t i = 0; i < n_rot; i += 2) {
            turn[i] = (float)cos((double)i);
            turn[i + 1] = (float)sin((double)i);
        }
        m->rope(x, turn, 3, 17, n_rot);
        for (size_t i = 0; i < sizeof was / sizeof was[0]; i++) {
            size_t d = i % 17;
            double want = (double)was[i];
            if (d < n_rot && d % 2 == 0) {
                want = (double)was[i] * cos((double)d) - (double)was[i + 1] * sin((double)d);
            } else if (d < n_rot) {
                double angle = (double)d - 1.0;
                want = (double)was[i - 1] * sin(angle) + (double)was[i] * cos(angle);
            }
            gdfo_test_near((double)x[i], want, 1e-6);
        }
        assert_true(x[3 * 17] == GUARD);
    }
}

static void rope_turns_adjacent_pairs(void **state)
{
    (void)state;
    each(check_rope);
}

/* ---- attention ---- */

struct shape {
    size_t n_past, n_own, n_group, d_head, q_first;
    size_t q_end; /* 0: to the last */
    int is_both_ways;
};

struct problem {
    struct shape s;
    size_t d_stride;
    float *rows; /* [n_past + n_own][d_head]: keys, then values behind them */
    float *q;    /* [n_own][n_group * d_head] */
    float *out, *k_past, *v_past, *k_own, *v_own, *scores;
};

static size_t pad16(size_t n)
{
    return (n + 15) / 16 * 16;
}

static float *numbers(size_t n, const char *name)
{
    float *x = gdfo_mem_array(n + 1, sizeof *x);
    fill(x, n, name, 1);
    x[n] = GUARD;
    return x;
}

static const float *key_row(const struct problem *p, size_t j)
{
    return p->rows + j * p->s.d_head;
}

static const float *value_row(const struct problem *p, size_t j)
{
    return p->rows + (p->s.n_past + p->s.n_own + j) * p->s.d_head;
}

static void make_problem(struct problem *p, const struct gdfo_math *m, struct shape s)
{
    size_t n_all = s.n_past + s.n_own;
    *p = (struct problem){.s = s, .d_stride = pad16(s.d_head)};
    p->rows = numbers(2 * n_all * s.d_head, "rows");
    p->q = numbers(s.n_own * s.n_group * s.d_head, "q");
    p->out = numbers(s.n_own * s.n_group * s.d_head, "out");
    p->k_past = numbers(s.d_head * pad16(s.n_past), "stale");
    p->k_own = numbers(s.d_head * pad16(s.n_own), "stale");
    p->v_past = numbers(s.n_past * p->d_stride, "stale");
    p->v_own = numbers(s.n_own * p->d_stride, "stale");
    p->scores = numbers(gdfo_attend_scratch(s.n_past, s.n_own), "stale");
    m->lay_keys(p->k_past, pad16(s.n_past), p->rows, s.d_head, s.n_past, s.d_head);
    m->lay_keys(p->k_own, pad16(s.n_own), key_row(p, s.n_past), s.d_head, s.n_own, s.d_head);
    for (size_t j = 0; j < n_all; j++) {
        float *v =
            j < s.n_past ? p->v_past + j * p->d_stride : p->v_own + (j - s.n_past) * p->d_stride;
        memcpy(v, value_row(p, j), s.d_head * sizeof *v);
    }
}

static void run_problem(const struct problem *p, const struct gdfo_math *m)
{
    const struct shape *s = &p->s;
    struct gdfo_attend a = {.q = p->q, .out = p->out, .n_group = s->n_group, .d_head = s->d_head};
    a.q_stride = a.out_stride = s->n_group * s->d_head;
    a.d_stride = p->d_stride;
    a.q_first = s->q_first;
    a.q_end = s->q_end;
    a.is_both_ways = s->is_both_ways;
    a.past = (struct gdfo_attend_keys){p->k_past, p->v_past, s->n_past, pad16(s->n_past)};
    a.own = (struct gdfo_attend_keys){p->k_own, p->v_own, s->n_own, pad16(s->n_own)};
    a.scale = 0.25F;
    a.scores = p->scores;
    m->attend(&a);
    assert_true(p->scores[gdfo_attend_scratch(s->n_past, s->n_own)] == GUARD);
    assert_true(p->out[s->n_own * s->n_group * s->d_head] == GUARD);
}

static void end_problem(struct problem *p)
{
    gdfo_mem_free(p->rows);
    gdfo_mem_free(p->q);
    gdfo_mem_free(p->out);
    gdfo_mem_free(p->k_past);
    gdfo_mem_free(p->k_own);
    gdfo_mem_free(p->v_past);
    gdfo_mem_free(p->v_own);
    gdfo_mem_free(p->scores);
}

/* The plain loops in double. First what query q gives to each of keys 0..n-1, then element d. */
static void plain_weights(const struct problem *p, const float *q, size_t n, double *weights)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        double dot = 0;
        for (size_t i = 0; i < p->s.d_head; i++) {
            dot += (double)q[i] * (double)key_row(p, j)[i];
        }
        weights[j] = exp(0.25 * dot);
        sum += weights[j];
    }
    for (size_t j = 0; j < n; j++) {
        weights[j] /= sum;
    }
}

static double plain_value(const struct problem *p, const double *weights, size_t n, size_t d)
{
    double out = 0;
    for (size_t j = 0; j < n; j++) {
        out += weights[j] * (double)value_row(p, j)[d];
    }
    return out;
}

static void check_shape(const struct gdfo_math *m, struct shape s)
{
    struct problem p;
    size_t width = s.n_group * s.d_head;
    double weights[MOST_KEYS];
    float *before;
    assert_true(s.n_past + s.n_own <= MOST_KEYS);
    make_problem(&p, m, s);
    before = gdfo_mem_dup(p.out, s.n_own * width * sizeof *before);
    run_problem(&p, m);
    for (size_t i = 0; i < s.n_own * width; i++) {
        size_t t = i / width;
        size_t d = i % s.d_head;
        if (t < s.q_first || (s.q_end && t >= s.q_end)) {
            assert_true(p.out[i] == before[i]);
        } else {
            size_t n_seen = s.n_past + (s.is_both_ways ? s.n_own : t + 1);
            if (d == 0) {
                plain_weights(&p, p.q + i, n_seen, weights);
            }
            gdfo_test_near((double)p.out[i], plain_value(&p, weights, n_seen, d),
                           1e-5); /* scores to 30 in float */
        }
    }
    gdfo_mem_free(before);
    end_problem(&p);
}

static void check_attend(const struct gdfo_math *m)
{
    static const size_t lengths[] = {0, 1, 3, 17, 65};
    static const size_t heads[] = {1, 8, 17, 64};
    for (size_t i = 0; i < 5 * 4; i++) {
        for (size_t g = 1; g <= 4; g++) {
            struct shape s = {lengths[i % 5], lengths[1 + i / 5], g, heads[(i + g) % 4], 0, 0, 0};
            check_shape(m, s);
            s.q_first = s.n_own - 1;
            check_shape(m, s);
            s.is_both_ways = 1;
            check_shape(m, s);
            s.q_first = s.n_own / 2;
            s.q_end = s.q_first + 1;
            check_shape(m, s);
            s.q_first = 0;
            check_shape(m, s);
        }
    }
}

static void attention_equals_the_plain_loop(void **state)
{
    (void)state;
    each(check_attend);
}

/* The last row of a run over its own positions, and with the earlier ones as past. */
static void check_split(const struct gdfo_math *m)
{
    const struct shape whole = {0, 40, 3, 64, 39, 0, 0};
    struct problem a, b;
    make_problem(&a, m, whole);
    run_problem(&a, m);
    for (size_t n_past = 1; n_past < 40; n_past++) {
        struct shape s = {n_past, 40 - n_past, 3, 64, 39 - n_past, 0, 0};
        make_problem(&b, m, s);
        memcpy(b.q + s.q_first * 192, a.q + 39 * 192, 192 * sizeof *b.q);
        run_problem(&b, m);
        for (size_t i = 0; i < 192; i++) {
            gdfo_test_near((double)b.out[s.q_first * 192 + i], (double)a.out[39 * 192 + i], 1e-6);
        }
        end_problem(&b);
    }
    end_problem(&a);
}

static void past_and_own_positions_count_alike(void **state)
{
    (void)state;
    each(check_split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_two_ulp_of_libm),
        cmocka_unit_test(exp_knows_its_edges),
        cmocka_unit_test(a_result_does_not_depend_on_its_place),
        cmocka_unit_test(rms_norm_equals_double),
        cmocka_unit_test(rms_norm_of_nothing_is_nothing),
        cmocka_unit_test(silu_equals_double),
        cmocka_unit_test(silu_of_large_numbers_is_finite),
        cmocka_unit_test(max_sum_exp_equals_double),
        cmocka_unit_test(rope_turns_adjacent_pairs),
        cmocka_unit_test(attention_equals_the_plain_loop),
        cmocka_unit_test(past_and_own_positions_count_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
