#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/optim/optim_ops.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* State after every tell, against pycma and purecma: ../shared/vectors/cma-vectors.json and, for
 * what it lacks, tests/reference/optim/cma-extra.json with the script that made it. */
#define TOLERANCE 1e-10

static const struct gdfo_json *need(const struct gdfo_json *object, const char *key)
{
    const struct gdfo_json *v = gdfo_json_get(object, key);
    if (!v) {
        print_error("vectors: no member %s\n", key);
        fail();
    }
    return v;
}

static double number(const struct gdfo_json *v)
{
    double x = (double)NAN;
    assert_true(gdfo_json_number(v, &x));
    return x;
}

/* Reads numbers, nested or not, row by row; returns how many. */
static size_t numbers(const struct gdfo_json *v, double *out, size_t max)
{
    size_t n = 0;
    if (gdfo_json_type(v) == GDFO_JSON_NUMBER) {
        assert_true(max > 0);
        out[0] = number(v);
        return 1;
    }
    for (const struct gdfo_json *i = gdfo_json_first(v); i; i = gdfo_json_next(i)) {
        n += numbers(i, out + n, max - n);
    }
    return n;
}

static void set(const struct gdfo_optim_ops *ops, void *values, const char *name, const char *text)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_opt_set_text(ops->options, values, name, text, &err), &err);
}

static void *values_of_run(const struct gdfo_optim_ops *ops, const struct gdfo_json *run,
                           const char *root)
{
    void *values = gdfo_mem_array(1, ops->values_bytes);
    const struct gdfo_json *options = gdfo_json_get(run, "options");
    const struct gdfo_json *active = gdfo_json_get(run, "active");
    int is_active = 1;
    char text[32];
    gdfo_opt_defaults(ops->options, values);
    (void)snprintf(text, sizeof text, "%.0f", number(need(need(run, "params"), "lambda")));
    set(ops, values, "popsize", text);
    (void)snprintf(text, sizeof text, "%.17g", number(need(run, "sigma0")));
    set(ops, values, "step_size_init", text);
    if (strcmp(gdfo_json_string(need(run, "impl")), "purecma") == 0) {
        set(ops, values, "reference", "purecma");
        if (!options) { /* the shared runs of purecma decompose in every generation */
            set(ops, values, "eigen_gap", "1");
        }
    }
    if (active && gdfo_json_bool(active, &is_active) && !is_active) {
        set(ops, values, "active", "false");
    }
    for (const struct gdfo_json *o = options ? gdfo_json_first(options) : NULL; o;
         o = gdfo_json_next(o)) {
        set(ops, values, gdfo_json_key(o), gdfo_json_string(o));
    }
    set(ops, values, "root", root);
    return values;
}

static void compare(const char *what, const struct gdfo_json *want_json, const double *have,
                    size_t n)
{
    double want[64];
    double scale = 0;
    assert_int_equal(numbers(want_json, want, 64), n);
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) { /* relative to the largest number of the vector */
        if (!(fabs(have[i] - want[i]) <= TOLERANCE * scale)) {
            print_error("%s[%zu] is %.17g, want %.17g (dimension %zu)\n", what, i, have[i], want[i],
                        n);
            fail();
        }
    }
}

static void compare_covariance(const struct gdfo_json *want_json, const struct gdfo_optim_view *v)
{
    double want[100];
    double scale = 0;
    assert_int_equal(numbers(want_json, want, 100), v->dim * v->dim);
    for (size_t i = 0; i < v->dim * v->dim; i++) {
        scale = fmax(scale, fabs(want[i]));
    }
    for (size_t i = 0; i < v->dim; i++) {
        for (size_t j = 0; j <= i; j++) {
            size_t at = i * v->dim + j;
            gdfo_test_near(v->covariance[at] / scale, want[at] / scale, TOLERANCE);
        }
    }
}

/* With a factor the covariance shown is that of the last root; the largest deviation is always the
 * present one. Told apart by that. */
static int is_present(const struct gdfo_optim_view *v)
{
    double most = 0;
    for (size_t i = 0; i < v->dim; i++) {
        most = fmax(most, v->covariance[i * v->dim + i]);
    }
    return fabs(v->step_size * sqrt(most) / v->std_max - 1) < 1e-13;
}

/* 1 when the covariance was compared too. */
static int compare_state(const struct gdfo_optim *o, const struct gdfo_json *after)
{
    struct gdfo_optim_view v = gdfo_optim_view(o);
    compare("step_size", need(after, "sigma"), &v.step_size, 1);
    compare("mean", need(after, "mean"), v.mean, v.dim);
    compare("path_sigma", need(after, "ps"), v.path_sigma, v.dim);
    compare("path_c", need(after, "pc"), v.path_c, v.dim);
    if (!v.covariance) {
        compare("variances", need(after, "variances"), v.variances, v.dim);
    } else if (is_present(&v)) {
        compare_covariance(need(after, "C"), &v);
    } else {
        return 0;
    }
    return 1;
}

static void replay(const struct gdfo_json *run, const char *root)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("cma");
    const struct gdfo_json *outside = gdfo_json_get(run, "outside");
    void *values = values_of_run(ops, run, root);
    unsigned char is_outside[32] = {0};
    double x[512];
    double f[32];
    double start[32];
    struct gdfo_optim_spec spec = {.values = values, .start = start};
    struct gdfo_error err = {0};
    struct gdfo_optim *o = NULL;
    int flag = 0;
    size_t n_compared = 0;
    size_t n_told = 0;
    spec.dim = numbers(need(run, "x0"), start, 32);
    memset(is_outside, outside && gdfo_json_bool(outside, &flag) && flag, sizeof is_outside);
    gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
    for (const struct gdfo_json *g = gdfo_json_first(need(run, "generations")); g;
         g = gdfo_json_next(g)) {
        size_t popsize = numbers(need(g, "f"), f, 32);
        assert_int_equal(gdfo_optim_view(o).popsize, popsize);
        assert_int_equal(numbers(need(g, "X"), x, 512), popsize * spec.dim);
        gdfo_test_ok(gdfo_optim_tell_points(o, x, f, is_outside, &err), &err);
        n_told++;
        n_compared += (size_t)compare_state(o, need(g, "after"));
    }
    assert_true(strcmp(root, "factor") == 0 ? 4 * n_compared > n_told : n_compared == n_told);
    gdfo_optim_destroy(o);
    gdfo_mem_free(values);
}

static size_t replay_all(const struct gdfo_buf *text, const char *root)
{
    const struct gdfo_json_limits limits = {.values = 200000, .members = 1000};
    struct gdfo_json *file = NULL;
    struct gdfo_error err = {0};
    size_t n = 0;
    gdfo_test_ok(gdfo_json_parse(&file, text->data, text->len, &limits, &err), &err);
    for (const struct gdfo_json *run = gdfo_json_first(need(file, "runs")); run;
         run = gdfo_json_next(run)) {
        replay(run, root);
        n++;
    }
    gdfo_json_destroy(file);
    return n;
}

/* The root of the covariance by eigenvectors, and by Cholesky factor and Lanczos process. */
static const char *const roots[] = {"auto", "eigen", "factor"};

static void the_shared_vectors_are_reproduced(void **state)
{
    struct gdfo_buf text;
    (void)state;
    gdfo_test_shared_read("vectors/cma-vectors.json", &text);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(replay_all(&text, roots[i]), 6);
    }
    gdfo_buf_deinit(&text);
}

static void our_own_reference_runs_are_reproduced(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    (void)state;
    gdfo_buf_init(&text, (size_t)4 << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/optim/cma-extra.json", &text, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(replay_all(&text, roots[i]), 5);
    }
    gdfo_buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shared_vectors_are_reproduced),
        cmocka_unit_test(our_own_reference_runs_are_reproduced),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
