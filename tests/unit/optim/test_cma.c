#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/optim/optim_ops.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* What CMA-ES does that a caller can see, beyond the contract and the vectors. */
struct setting {
    const char *name, *value;
};

static struct gdfo_optim *make(size_t dim, uint64_t seed, const struct setting *settings)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("cma");
    void *values = gdfo_mem_array(1, ops->values_bytes);
    struct gdfo_optim_spec spec = {.values = values, .dim = dim, .seed = seed};
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    gdfo_opt_defaults(ops->options, values);
    for (const struct setting *s = settings; s && s->name; s++) {
        gdfo_test_ok(gdfo_opt_set_text(ops->options, values, s->name, s->value, &err), &err);
    }
    gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
    gdfo_mem_free(values); /* copied */
    return o;
}

static double distance(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sqrt(sum);
}

#define MAX_POINTS 65536

static double points[MAX_POINTS];
static double losses[1024];

static void step(struct gdfo_optim *o, double (*f)(const double *x, size_t n))
{
    struct gdfo_optim_view v = gdfo_optim_view(o);
    struct gdfo_error err = {0};
    assert_true(v.dim * v.popsize <= MAX_POINTS);
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < v.popsize; i++) {
        losses[i] = f(points + i * v.dim, v.dim);
    }
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
}

static double shifted_sphere(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (x[i] - 1) * (x[i] - 1);
    }
    return sum;
}

static double slope(const double *x, size_t n)
{
    (void)n;
    return x[0];
}

static double skewed(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += pow(1e4, (double)i / (double)(n - 1)) * x[i] * x[i] + x[i];
    }
    return sum;
}

static void it_finds_the_optimum_to_rounding(void **state)
{
    static const struct setting settings[][3] = {
        {{"popsize", "0"}, {0}},
        {{"popsize", "0"}, {"step_size", "tpa"}, {0}},
        {{"popsize", "0"}, {"covariance", "diagonal"}, {0}},
        {{"popsize", "0"}, {"reference", "purecma"}, {0}},
        {{"popsize", "0"}, {"active", "false"}, {0}},
    };
    (void)state;
    for (size_t k = 0; k < 5; k++) {
        struct gdfo_optim *o = make(8, 11, settings[k]);
        for (int g = 0; g < 3000 && gdfo_optim_stop(o) == GDFO_OPTIM_STOP_NONE; g++) {
            step(o, shifted_sphere);
        }
        assert_true(gdfo_optim_view(o).best_loss < 1e-9);
        assert_int_not_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
        gdfo_optim_destroy(o);
    }
}

/* The covariance approaches the inverse Hessian: the condition number of the skewed bowl is 1e4. */
static void the_covariance_learns_the_shape_of_the_function(void **state)
{
    static const struct setting full[] = {{"popsize", "12"}, {0}};
    static const struct setting diagonal[] = {{"popsize", "12"}, {"covariance", "diagonal"}, {0}};
    static const struct setting none[] = {{"popsize", "12"}, {"covariance", "none"}, {0}};
    struct gdfo_optim *a = make(6, 2, full);
    struct gdfo_optim *b = make(6, 2, diagonal);
    struct gdfo_optim *c = make(6, 2, none);
    (void)state;
    for (int g = 0; g < 120; g++) {
        step(a, skewed);
        step(b, skewed);
        step(c, skewed);
    }
    assert_true(gdfo_optim_view(a).condition > 2e3 && gdfo_optim_view(a).condition < 5e4);
    assert_true(gdfo_optim_view(b).condition > 2e3 && gdfo_optim_view(b).condition < 5e4);
    gdfo_test_near(gdfo_optim_view(c).condition, 1, 0);
    assert_null(gdfo_optim_view(c).covariance);
    assert_null(gdfo_optim_view(b).covariance);
    assert_non_null(gdfo_optim_view(b).variances);
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
    gdfo_optim_destroy(c);
}

/* On a plane both rules must lengthen the steps, by at most a factor e each generation. */
static void the_step_size_grows_on_a_slope_and_not_too_fast(void **state)
{
    static const struct setting csa[] = {{"popsize", "10"}, {0}};
    static const struct setting tpa[] = {{"popsize", "10"}, {"step_size", "tpa"}, {0}};
    const struct setting *settings[] = {csa, tpa};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct gdfo_optim *o = make(5, 4, settings[k]);
        double before = 1;
        for (int g = 0; g < 60; g++) {
            step(o, slope);
            assert_true(gdfo_optim_view(o).step_size <= before * 2.7182818284590456);
            before = gdfo_optim_view(o).step_size;
        }
        assert_true(before > 10);
        gdfo_optim_destroy(o);
    }
}

static void a_search_that_runs_away_stays_finite(void **state)
{
    static const struct setting fast[] = {{"popsize", "40"}, {0}};
    struct gdfo_optim *o = make(2, 4, fast);
    (void)state;
    for (int g = 0; g < 400; g++) {
        step(o, slope);
        assert_true(isfinite(gdfo_optim_view(o).step_size));
    }
    assert_true(gdfo_optim_view(o).step_size <= 1e20);
    gdfo_optim_destroy(o);
}

/* method.md 9.2: with few directions that matter path length control stalls, probes do not. */
static double low_dimensional(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (i < 6 ? 1 : 1e-3) * (x[i] - 1) * (x[i] - 1);
    }
    return sum;
}

static void probes_shrink_the_step_where_path_length_cannot(void **state)
{
    static const struct setting csa[] = {{0}};
    static const struct setting tpa[] = {{"step_size", "tpa"}, {0}};
    struct gdfo_optim *a = make(100, 1, csa);
    struct gdfo_optim *b = make(100, 1, tpa);
    (void)state;
    for (int g = 0; g < 60; g++) {
        step(a, low_dimensional);
        step(b, low_dimensional);
    }
    assert_true(gdfo_optim_view(b).step_size < 0.5 * gdfo_optim_view(a).step_size);
    assert_true(gdfo_optim_view(b).best_loss < gdfo_optim_view(a).best_loss);
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
}

static void probes_are_mirrored_along_the_last_move(void **state)
{
    static const struct setting tpa[] = {{"popsize", "8"}, {"step_size", "tpa"}, {0}};
    enum { N = 4 };
    struct gdfo_optim *o = make(N, 3, tpa);
    struct gdfo_error err = {0};
    double before[N];
    double mean[N];
    double ratio = 0;
    (void)state;
    for (int g = 0; g < 5; g++) {
        memcpy(before, gdfo_optim_view(o).mean, sizeof before);
        step(o, shifted_sphere);
    }
    memcpy(mean, gdfo_optim_view(o).mean, sizeof mean);
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < N; i++) {
        double forward = points[i] - mean[i];
        gdfo_test_near(forward, -(points[N + i] - mean[i]), 1e-12);
        ratio = i == 0 ? forward / (mean[0] - before[0]) : ratio;
        gdfo_test_near(forward, ratio * (mean[i] - before[i]), 1e-9);
    }
    assert_true(ratio > 0);
    gdfo_optim_destroy(o);
}

/* ---- injection (method.md 9.4) ---- */

static void a_far_injected_point_is_shortened_a_near_one_kept(void **state)
{
    enum { N = 50 };
    struct gdfo_optim *o = make(N, 3, NULL);
    struct gdfo_error err = {0};
    double far[N];
    double near[N] = {0.25};
    double zero[N] = {0};
    (void)state;
    for (size_t i = 0; i < N; i++) {
        far[i] = 100;
    }
    gdfo_test_ok(gdfo_optim_inject(o, far, 0, &err), &err);
    gdfo_test_ok(gdfo_optim_inject(o, near, 0, &err), &err);
    gdfo_test_ok(gdfo_optim_inject(o, far, 1, &err), &err);
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    /* as long as a fresh sample: sqrt(50) = 7.07, give or take a few times 0.7 */
    assert_true(fabs(distance(points, zero, N) - sqrt(N)) < 3);
    gdfo_test_near(points[0] / points[N - 1], 1, 1e-12); /* direction kept */
    gdfo_test_near(distance(points + N, near, N), 0, 1e-12);
    gdfo_test_near(distance(points + (size_t)2 * N, far, N), 0, 1e-9);
    gdfo_optim_destroy(o);
}

static void injected_points_stand_behind_the_probes(void **state)
{
    static const struct setting tpa[] = {{"popsize", "8"}, {"step_size", "tpa"}, {0}};
    enum { N = 4 };
    struct gdfo_optim *o = make(N, 3, tpa);
    struct gdfo_error err = {0};
    double point[N];
    (void)state;
    step(o, shifted_sphere);
    memcpy(point, gdfo_optim_view(o).mean, sizeof point);
    point[2] += 0.01;
    gdfo_test_ok(gdfo_optim_inject(o, point, 0, &err), &err);
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    gdfo_test_near(distance(points + (size_t)2 * N, point, N), 0, 1e-12);
    gdfo_optim_destroy(o);
}

static void a_good_injected_point_pulls_the_mean_but_only_so_far(void **state)
{
    enum { N = 20 };
    double target[N];
    struct gdfo_optim *o = make(N, 3, NULL);
    struct gdfo_error err = {0};
    double zero[N] = {0};
    double limit = sqrt(N) + 2.0 * N / (N + 2);
    (void)state;
    for (size_t i = 0; i < N; i++) {
        target[i] = 1000;
    }
    gdfo_test_ok(gdfo_optim_inject(o, target, 1, &err), &err);
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < 20; i++) {
        losses[i] = distance(points + i * N, target, N);
    }
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
    assert_true(distance(gdfo_optim_view(o).mean, zero, N) <
                limit); /* a cut step, with weight < 1 */
    assert_true(distance(gdfo_optim_view(o).mean, zero, N) > 0.2 * limit);
    gdfo_test_near(gdfo_optim_view(o).best[0], 1000, 1e-12); /* the best point itself is not cut */
    gdfo_optim_destroy(o);
}

static void a_bad_injected_point_does_not_shrink_the_covariance(void **state)
{
    enum { N = 5, POPSIZE = 8 };
    static const struct setting small[] = {{"popsize", "8"}, {0}};
    unsigned char outside[POPSIZE] = {0};
    double variance[2];
    (void)state;
    for (int is_outside = 0; is_outside < 2; is_outside++) {
        struct gdfo_optim *o = make(N, 3, small);
        struct gdfo_error err = {0};
        gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
        for (size_t i = 0; i < POPSIZE; i++) {
            losses[i] = (double)i;
        }
        memset(points + (size_t)7 * N, 0, N * sizeof *points);
        points[7 * N + 2] = 2; /* the worst one lies on axis 2 */
        outside[7] = (unsigned char)is_outside;
        gdfo_test_ok(gdfo_optim_tell_points(o, points, losses, outside, &err), &err);
        variance[is_outside] = gdfo_optim_view(o).covariance[2 * N + 2];
        gdfo_optim_destroy(o);
    }
    assert_true(variance[1] > variance[0] + 0.05);
}

/* With two finite losses among eight the mean moves to between those two points, whatever the six
 * others are: their shares go to the two. */
static void points_without_a_loss_do_not_pull_the_mean(void **state)
{
    enum { N = 3, POPSIZE = 8 };
    static const struct setting small[] = {{"popsize", "8"}, {0}};
    struct gdfo_optim *o = make(N, 3, small);
    struct gdfo_error err = {0};
    double between;
    (void)state;
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < POPSIZE; i++) {
        losses[i] = (double)NAN;
    }
    losses[2] = 1;
    losses[5] = 2;
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
    between = distance(points + (size_t)2 * N, gdfo_optim_view(o).mean, N) +
              distance(points + (size_t)5 * N, gdfo_optim_view(o).mean, N);
    gdfo_test_near(between, distance(points + (size_t)2 * N, points + (size_t)5 * N, N), 1e-12);
    assert_true(distance(points + (size_t)2 * N, gdfo_optim_view(o).mean, N) < 0.5 * between);
    gdfo_optim_destroy(o);
}

/* ---- bounds ---- */

static void a_full_covariance_has_a_largest_dimension(void **state)
{
    struct gdfo_optim_spec spec = {.dim = 4097};
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_optim_create(&o, &spec, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text,
                        "dimension 4097 with covariance full: at most 4096, or use diagonal");
    assert_null(o);
}

static void one_dimension_and_two_candidates_are_enough(void **state)
{
    static const struct setting kinds[][3] = {
        {{"popsize", "2"}, {0}},
        {{"popsize", "2"}, {"step_size", "tpa"}, {0}},
        {{"popsize", "2"}, {"covariance", "diagonal"}, {0}},
    };
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct gdfo_optim *o = make(1, 5, kinds[k]);
        for (int g = 0; g < 200; g++) {
            step(o, shifted_sphere);
        }
        assert_true(gdfo_optim_view(o).best_loss < 0.05);
        gdfo_optim_destroy(o);
    }
}

/* ---- the root of the covariance: eigenvectors, or a factor ---- */

/* b goes on from a's state as a itself does, to the last bit of the next snapshot. */
static void check_resume(struct gdfo_optim *a, struct gdfo_optim *b,
                         double (*f)(const double *x, size_t n))
{
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    struct gdfo_buf again;
    gdfo_buf_init(&bytes, (size_t)64 << 20);
    gdfo_buf_init(&again, (size_t)64 << 20);
    gdfo_optim_save(a, &bytes);
    assert_true(gdfo_buf_ok(&bytes));
    gdfo_test_ok(gdfo_optim_load(b, bytes.data, bytes.len, &err), &err);
    step(a, f);
    step(b, f);
    gdfo_buf_reset(&bytes);
    gdfo_optim_save(a, &bytes);
    gdfo_optim_save(b, &again);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&again);
}

/* At 500 dimensions a root is due every fifth generation: snapshots fall on it, before it and
 * behind it, with updates waiting and without. */
static void lazy_roots_survive_a_save(void **state)
{
    static const size_t dims[] = {60, 200, 500};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct gdfo_optim *a = make(dims[k], 5, NULL);
        struct gdfo_optim *b = make(dims[k], 6, NULL);
        for (int g = 0; g < 12; g++) {
            check_resume(a, b, shifted_sphere);
        }
        gdfo_optim_destroy(a);
        gdfo_optim_destroy(b);
    }
}

static void check_near(const double *have, const double *want, size_t n)
{
    double scale = 0;
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) {
        gdfo_test_near(have[i] / scale, want[i] / scale, 1e-10);
    }
}

/* Both are told the points that the first one draws. */
static void check_same_method(const struct setting *eigen, const struct setting *factor)
{
    enum { N = 150 };
    struct gdfo_optim *a = make(N, 8, factor);
    struct gdfo_optim *b = make(N, 9, eigen);
    struct gdfo_error err = {0};
    for (int g = 0; g < 60; g++) {
        step(a, skewed);
        gdfo_test_ok(gdfo_optim_tell_points(b, points, losses, NULL, &err), &err);
        check_near(gdfo_optim_view(a).mean, gdfo_optim_view(b).mean, N);
        check_near(gdfo_optim_view(a).path_sigma, gdfo_optim_view(b).path_sigma, N);
        check_near(gdfo_optim_view(a).path_c, gdfo_optim_view(b).path_c, N);
        gdfo_test_near(gdfo_optim_view(a).step_size / gdfo_optim_view(b).step_size, 1, 1e-10);
        gdfo_test_near(gdfo_optim_view(a).std_max / gdfo_optim_view(b).std_max, 1, 1e-10);
    }
    assert_true(gdfo_optim_view(b).condition > 1.05); /* something was learnt */
    assert_true(gdfo_optim_view(a).condition <= gdfo_optim_view(b).condition * (1 + 1e-9));
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
}

static void a_factor_is_the_same_method_as_eigenvectors(void **state)
{
    static const struct setting eigen[][3] = {
        {{"root", "eigen"}, {0}},
        {{"root", "eigen"}, {"eigen_gap", "3"}, {0}},
    };
    static const struct setting factor[][3] = {
        {{"root", "factor"}, {0}},
        {{"root", "factor"}, {"eigen_gap", "3"}, {0}},
    };
    (void)state;
    check_same_method(eigen[0], factor[0]);
    check_same_method(eigen[1], factor[1]);
}

/* Lengths of our own candidates are taken from the draw, those of probes and of told points are
 * computed: the same ones. */
static void a_candidate_is_as_long_as_it_was_drawn(void **state)
{
    enum { N = 140 };
    static const struct setting tpa[] = {{"step_size", "tpa"}, {0}};
    struct gdfo_optim *a = make(N, 8, tpa);
    struct gdfo_optim *b = make(N, 8, tpa);
    struct gdfo_error err = {0};
    (void)state;
    for (int g = 0; g < 12; g++) {
        step(a, skewed);
        if (g == 0) {
            gdfo_test_ok(gdfo_optim_ask(b, points, &err), &err);
        }
        gdfo_test_ok(gdfo_optim_tell_points(b, points, losses, NULL, &err), &err);
        check_near(gdfo_optim_view(a).mean, gdfo_optim_view(b).mean, N);
        check_near(gdfo_optim_view(a).path_c, gdfo_optim_view(b).path_c, N);
        gdfo_test_near(gdfo_optim_view(a).std_max / gdfo_optim_view(b).std_max, 1, 1e-10);
    }
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
}

/* A covariance whose eigenvalues have spread too far goes over to eigenvectors, in the middle of a
 * run, saved or not, and the search goes on as if nothing had happened. */
static void a_bad_condition_goes_over_to_eigenvectors(void **state)
{
    enum { N = 24 };
    static const struct setting fast[] = {{"root", "factor"}, {"popsize", "40"}, {0}};
    struct gdfo_optim *a = make(N, 5, fast);
    struct gdfo_optim *b = make(N, 6, fast);
    (void)state;
    for (int g = 0; g < 900; g++) {
        step(a, skewed);
        if (g % 50 == 0) {
            check_resume(a, b, skewed);
        }
    }
    assert_true(gdfo_optim_view(a).condition > 2e3);
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
}

static size_t snapshot_bytes(const struct gdfo_optim *o)
{
    struct gdfo_buf bytes;
    size_t n;
    gdfo_buf_init(&bytes, (size_t)64 << 20);
    gdfo_optim_save(o, &bytes);
    n = bytes.len;
    gdfo_buf_deinit(&bytes);
    return n;
}

/* C once as a triangle, and at most four generations of steps that wait. */
static void a_snapshot_at_500_dimensions_stays_below_a_megabyte_and_a_half(void **state)
{
    struct gdfo_optim *o = make(500, 5, NULL);
    size_t most = 0;
    (void)state;
    for (int g = 0; g < 11; g++) {
        step(o, shifted_sphere);
        most = snapshot_bytes(o) > most ? snapshot_bytes(o) : most;
    }
    assert_in_range(most, 1300000, 1500000);
    gdfo_optim_destroy(o);
}

static void a_state_with_impossible_counts_is_refused(void **state)
{
    struct gdfo_optim *o = make(200, 5, NULL);
    struct gdfo_optim *small = make(200, 5, (const struct setting[]){{"root", "eigen"}, {0}});
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    (void)state;
    gdfo_buf_init(&bytes, (size_t)64 << 20);
    step(o, shifted_sphere);
    gdfo_optim_save(o, &bytes);
    assert_int_equal(gdfo_optim_load(small, bytes.data, bytes.len, &err), GDFO_STATUS_CONFLICT);
    bytes.data[bytes.len / 2]++;
    assert_int_equal(gdfo_optim_load(o, bytes.data, bytes.len, &err), GDFO_STATUS_CORRUPT);
    step(o, shifted_sphere); /* and o goes on */
    gdfo_buf_deinit(&bytes);
    gdfo_optim_destroy(o);
    gdfo_optim_destroy(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_the_optimum_to_rounding),
        cmocka_unit_test(the_covariance_learns_the_shape_of_the_function),
        cmocka_unit_test(the_step_size_grows_on_a_slope_and_not_too_fast),
        cmocka_unit_test(a_search_that_runs_away_stays_finite),
        cmocka_unit_test(probes_shrink_the_step_where_path_length_cannot),
        cmocka_unit_test(probes_are_mirrored_along_the_last_move),
        cmocka_unit_test(a_far_injected_point_is_shortened_a_near_one_kept),
        cmocka_unit_test(injected_points_stand_behind_the_probes),
        cmocka_unit_test(a_good_injected_point_pulls_the_mean_but_only_so_far),
        cmocka_unit_test(a_bad_injected_point_does_not_shrink_the_covariance),
        cmocka_unit_test(points_without_a_loss_do_not_pull_the_mean),
        cmocka_unit_test(a_full_covariance_has_a_largest_dimension),
        cmocka_unit_test(one_dimension_and_two_candidates_are_enough),
        cmocka_unit_test(lazy_roots_survive_a_save),
        cmocka_unit_test(a_factor_is_the_same_method_as_eigenvectors),
        cmocka_unit_test(a_candidate_is_as_long_as_it_was_drawn),
        cmocka_unit_test(a_bad_condition_goes_over_to_eigenvectors),
        cmocka_unit_test(a_snapshot_at_500_dimensions_stays_below_a_megabyte_and_a_half),
        cmocka_unit_test(a_state_with_impossible_counts_is_refused),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
