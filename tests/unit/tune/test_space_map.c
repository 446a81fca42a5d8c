#include "common/rng.h"
#include "server/tune/space_map.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define D 6 /* of the square toy teacher: as many logits as numbers in a prompt */

static void init(struct gdfo_space_map *m, size_t n, size_t n_labels, size_t dim)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_space_map_init(m, n, n_labels, dim, &err), &err);
}

static void noise(struct gdfo_rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)gdfo_rng_normal(r);
    }
}

/* out = A x for the teacher's matrix [rows][dim], in plain loops. */
static void times(const float *a, size_t rows, size_t dim, const float *x, double *out)
{
    for (size_t i = 0; i < rows; i++) {
        out[i] = 0;
        for (size_t j = 0; j < dim; j++) {
            out[i] += (double)a[i * dim + j] * (double)x[j];
        }
    }
}

static void a_correction_is_exact_along_the_step_and_nowhere_else(void **state)
{
    struct gdfo_space_map m;
    struct gdfo_rng r = gdfo_rng_stream(1, "space map");
    static const float s[5] = {1, 2, 0, 0, 2};
    static const float across[5] = {2, -1, 5, 0, 0}; /* orthogonal to s */
    static const double moved[4] = {0.5, -1, 2, 0.25};
    double before[4];
    double after[4];
    (void)state;
    init(&m, 2, 2, 5);
    noise(&r, m.jac, 20);
    gdfo_space_map_apply(&m, across, before);
    gdfo_space_map_correct(&m, s, moved);
    gdfo_space_map_apply(&m, s, after);
    for (int i = 0; i < 4; i++) {
        gdfo_test_near(after[i], moved[i], 1e-5);
    }
    gdfo_space_map_apply(&m, across, after);
    for (int i = 0; i < 4; i++) {
        gdfo_test_near(after[i], before[i], 1e-5);
    }
    gdfo_space_map_deinit(&m);
}

/* J s = -f by elimination with pivots, in double. */
static void solve(const float *jac, const double *f, float *s)
{
    double a[D][D + 1];
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            a[i][j] = (double)jac[i * D + j];
        }
        a[i][D] = -f[i];
    }
    for (int k = 0; k < D; k++) {
        int best = k;
        for (int i = k + 1; i < D; i++) {
            best = fabs(a[i][k]) > fabs(a[best][k]) ? i : best;
        }
        for (int j = 0; j <= D; j++) {
            double t = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = t;
        }
        for (int i = 0; i < D; i++) {
            double share = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; j <= D; j++) {
                a[i][j] -= share * a[k][j];
            }
        }
    }
    for (int i = 0; i < D; i++) {
        s[i] = (float)(a[i][D] / a[i][i]);
    }
}

static double length(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* Gay (1979): on a linear teacher of d unknowns Broyden's method ends in 2 d steps at most, from a
 * Jacobian that is wrong; and the Jacobian is wrong enough that a chord step does not get there. */
static void a_linear_teacher_is_matched_in_twice_its_dimension(void **state)
{
    struct gdfo_space_map m;
    struct gdfo_rng r = gdfo_rng_stream(3, "space map");
    float teacher[D * D];
    float x[D] = {0};
    double target[D];
    double f[D];
    double first;
    (void)state;
    init(&m, D, 1, D);
    noise(&r, teacher, D * D);
    for (int i = 0; i < D; i++) {
        teacher[i * D + i] += 4;
        target[i] = gdfo_rng_normal(&r);
        for (int j = 0; j < D; j++) { /* the student: the same up to noise */
            m.jac[i * D + j] = teacher[i * D + j] + (float)(0.7 * gdfo_rng_normal(&r));
        }
    }
    times(teacher, D, D, x, f);
    for (int i = 0; i < D; i++) {
        f[i] -= target[i];
    }
    first = length(f, D);
    for (int k = 0; k < 2 * D; k++) {
        float s[D];
        double moved[D];
        solve(m.jac, f, s);
        times(teacher, D, D, s, moved);
        gdfo_space_map_correct(&m, s, moved);
        for (int i = 0; i < D; i++) {
            x[i] += s[i];
            f[i] += moved[i];
        }
        if (k == 0) {
            assert_true(length(f, D) > 0.01 * first);
        }
    }
    assert_true(length(f, D) < 1e-4 * first);
    gdfo_space_map_deinit(&m);
}

#define N      8
#define LABELS 3
#define DIM    40

struct problem {
    struct gdfo_space_map m;
    double logits[N * LABELS];
    uint32_t gold[N];
};

static void make_problem(struct problem *p)
{
    struct gdfo_rng r = gdfo_rng_stream(2, "space map");
    init(&p->m, N, LABELS, DIM);
    noise(&r, p->m.jac, N * LABELS * DIM);
    gdfo_space_map_centre(&p->m);
    for (uint32_t i = 0; i < N; i++) {
        p->gold[i] = gdfo_rng_below(&r, LABELS);
        for (int c = 0; c < LABELS; c++) {
            p->logits[i * LABELS + (uint32_t)c] = gdfo_rng_normal(&r);
        }
    }
    gdfo_space_map_centre_logits(&p->m, p->logits);
}

static double loss_at(const struct problem *p, const float *s)
{
    double sum[N * LABELS];
    gdfo_space_map_apply(&p->m, s, sum);
    for (size_t i = 0; i < N * LABELS; i++) {
        sum[i] += p->logits[i];
    }
    return gdfo_space_map_loss(&p->m, sum, p->gold);
}

static double norm(const float *s)
{
    double sum = 0;
    for (size_t j = 0; j < DIM; j++) {
        sum += (double)s[j] * (double)s[j];
    }
    return sqrt(sum);
}

static void the_step_is_the_best_of_its_ball(void **state)
{
    static const double radii[] = {0.01, 0.1, 0.5};
    struct problem p;
    struct gdfo_rng r = gdfo_rng_stream(4, "space map");
    float s[DIM];
    (void)state;
    make_problem(&p);
    for (size_t k = 0; k < 3; k++) {
        double predicted = gdfo_space_map_step(&p.m, p.logits, p.gold, radii[k], s);
        gdfo_test_near(predicted, loss_at(&p, s), 1e-5);
        gdfo_test_near(norm(s), radii[k], 1e-4 * radii[k]); /* more is better here: at the rim */
        for (int trial = 0; trial < 200; trial++) {
            float other[DIM];
            double scale;
            for (size_t j = 0; j < DIM; j++) {
                other[j] = s[j] + (float)(0.1 * radii[k] * gdfo_rng_normal(&r) / sqrt(DIM));
            }
            scale = radii[k] / norm(other);
            for (size_t j = 0; j < DIM && scale < 1; j++) {
                other[j] = (float)(scale * (double)other[j]);
            }
            assert_true(loss_at(&p, other) >= predicted - 1e-6);
        }
    }
    gdfo_space_map_deinit(&p.m);
}

static void the_gradient_is_that_of_the_loss(void **state)
{
    struct problem p;
    float grad[DIM];
    (void)state;
    make_problem(&p);
    gdfo_space_map_gradient(&p.m, p.logits, p.gold, grad);
    for (size_t j = 0; j < DIM; j += 7) {
        float s[DIM] = {0};
        double up;
        s[j] = 1e-3F;
        up = loss_at(&p, s);
        s[j] = -1e-3F;
        gdfo_test_near((double)grad[j], (up - loss_at(&p, s)) / 2e-3, 1e-5);
    }
    gdfo_space_map_deinit(&p.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_correction_is_exact_along_the_step_and_nowhere_else),
        cmocka_unit_test(a_linear_teacher_is_matched_in_twice_its_dimension),
        cmocka_unit_test(the_step_is_the_best_of_its_ball),
        cmocka_unit_test(the_gradient_is_that_of_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
