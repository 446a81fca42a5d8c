#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/optim/optim_ops.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* What every registered optimiser keeps, over the whole table and, for each, over every choice of
 * its enumerated options: what is added is tested the same day. */
#define DIM         5
#define POINTS_MAX  4096
#define VARIANT_MAX 64

static double sphere(const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < DIM; i++) {
        sum += x[i] * x[i];
    }
    return sum;
}

static double ellipsoid(const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < DIM; i++) {
        sum += pow(1e3, (double)i / (DIM - 1)) * x[i] * x[i];
    }
    return sum;
}

static double rosenbrock(const double *x)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < DIM; i++) {
        double a = x[i + 1] - x[i] * x[i];
        sum += 100 * a * a + (1 - x[i]) * (1 - x[i]);
    }
    return sum;
}

static double (*const objectives[])(const double *x) = {sphere, ellipsoid, rosenbrock};

/* One optimiser with one set of option values. */
struct variant {
    const struct gdfo_optim_ops *ops;
    void *values;
    char name[128];
};

static struct gdfo_optim *make(const struct variant *v, uint64_t seed)
{
    static const double start[DIM] = {2, -1, 1.5, 2, -2};
    struct gdfo_optim_spec spec = {
        .name = v->ops->name, .values = v->values, .dim = DIM, .seed = seed, .start = start};
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
    return o;
}

static size_t popsize_of(const struct gdfo_optim *o)
{
    size_t n = gdfo_optim_view(o).popsize;
    assert_in_range(n, 2, POINTS_MAX / DIM);
    return n;
}

static void step(struct gdfo_optim *o, double (*f)(const double *x))
{
    double x[POINTS_MAX];
    double losses[POINTS_MAX / DIM];
    struct gdfo_error err = {0};
    size_t n = popsize_of(o);
    gdfo_test_ok(gdfo_optim_ask(o, x, &err), &err);
    for (size_t i = 0; i < n; i++) {
        losses[i] = f(x + i * DIM);
    }
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
}

static void run(struct gdfo_optim *o, double (*f)(const double *x), int generations)
{
    for (int g = 0; g < generations; g++) {
        step(o, f);
    }
}

static void save(const struct gdfo_optim *o, struct gdfo_buf *b)
{
    gdfo_buf_init(b, (size_t)16 << 20);
    gdfo_optim_save(o, b);
    assert_true(gdfo_buf_ok(b));
}

/* Same saved bytes: everything that can matter later is the same. */
static void assert_same(const struct gdfo_optim *a, const struct gdfo_optim *b)
{
    struct gdfo_buf x;
    struct gdfo_buf y;
    save(a, &x);
    save(b, &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    gdfo_buf_deinit(&x);
    gdfo_buf_deinit(&y);
}

/* ---- the facts ---- */

static void improves(const struct variant *v)
{
    static const double start[DIM] = {2, -1, 1.5, 2, -2};
    for (size_t k = 0; k < sizeof objectives / sizeof objectives[0]; k++) {
        struct gdfo_optim *o = make(v, 7 + k);
        double first = objectives[k](start);
        struct gdfo_optim_view view;
        run(o, objectives[k], 150);
        view = gdfo_optim_view(o);
        assert_non_null(view.best);
        assert_true(view.best_loss < 0.5 * first);
        gdfo_test_near(objectives[k](view.best), view.best_loss, 0);
        assert_int_equal(view.generation, 150);
        assert_int_equal(view.evals, 150 * view.popsize);
        gdfo_optim_destroy(o);
    }
}

static void same_seed_same_run(const struct variant *v)
{
    struct gdfo_optim *a = make(v, 3);
    struct gdfo_optim *b = make(v, 3);
    struct gdfo_optim *c = make(v, 4);
    run(a, rosenbrock, 20);
    run(b, rosenbrock, 20);
    run(c, rosenbrock, 20);
    assert_same(a, b);
    assert_true(gdfo_optim_view(a).best_loss != gdfo_optim_view(c).best_loss);
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
    gdfo_optim_destroy(c);
}

static void save_and_load_mid_run_is_the_same_run(const struct variant *v)
{
    struct gdfo_error err = {0};
    for (int generations = 0; generations < 12; generations += 5) {
        struct gdfo_optim *a = make(v, 9);
        struct gdfo_optim *b = make(v, 1); /* another seed: the stream comes from the state */
        struct gdfo_buf bytes;
        run(a, ellipsoid, generations);
        save(a, &bytes);
        gdfo_test_ok(gdfo_optim_load(b, bytes.data, bytes.len, &err), &err);
        assert_same(a, b);
        run(a, ellipsoid, 8);
        run(b, ellipsoid, 8);
        assert_same(a, b);
        gdfo_buf_deinit(&bytes);
        gdfo_optim_destroy(a);
        gdfo_optim_destroy(b);
    }
}

static void a_population_that_is_out_is_saved_too(const struct variant *v)
{
    static const double point[DIM] = {0.5, 0.5, 0.5, 0.5, 9};
    double x[POINTS_MAX];
    double losses[POINTS_MAX / DIM];
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    struct gdfo_optim *a = make(v, 9);
    struct gdfo_optim *b = make(v, 9);
    run(a, ellipsoid, 3);
    gdfo_test_ok(gdfo_optim_inject(a, point, 0, &err), &err);
    gdfo_test_ok(gdfo_optim_ask(a, x, &err), &err);
    save(a, &bytes);
    gdfo_test_ok(gdfo_optim_load(b, bytes.data, bytes.len, &err), &err);
    for (size_t i = 0; i < popsize_of(a); i++) {
        losses[i] = ellipsoid(x + i * DIM);
    }
    gdfo_test_ok(gdfo_optim_tell(a, losses, &err), &err);
    gdfo_test_ok(gdfo_optim_tell(b, losses, &err), &err);
    assert_same(a, b);
    gdfo_buf_deinit(&bytes);
    gdfo_optim_destroy(a);
    gdfo_optim_destroy(b);
}

static void calls_out_of_order_are_refused(const struct variant *v)
{
    double x[POINTS_MAX];
    double losses[POINTS_MAX / DIM] = {0};
    struct gdfo_error err = {0};
    struct gdfo_optim *o = make(v, 2);
    assert_int_equal(gdfo_optim_tell(o, losses, &err), GDFO_STATUS_STATE);
    assert_string_equal(err.text, "tell before ask");
    gdfo_test_ok(gdfo_optim_ask(o, x, &err), &err);
    assert_int_equal(gdfo_optim_ask(o, x, &err), GDFO_STATUS_STATE);
    assert_string_equal(err.text, "ask before tell");
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
    assert_int_equal(gdfo_optim_tell(o, losses, &err), GDFO_STATUS_STATE);
    gdfo_optim_destroy(o);
}

static void assert_finite(const struct gdfo_optim *o)
{
    struct gdfo_optim_view view = gdfo_optim_view(o);
    assert_true(isfinite(view.step_size) && isfinite(view.std_max) && isfinite(view.condition));
    for (size_t i = 0; i < view.dim; i++) {
        assert_true(isfinite(view.mean[i]));
        assert_true(!view.path_sigma || isfinite(view.path_sigma[i]));
        assert_true(!view.path_c || isfinite(view.path_c[i]));
    }
}

static void losses_that_are_no_numbers_are_tolerated(const struct variant *v)
{
    double x[POINTS_MAX];
    double losses[POINTS_MAX / DIM];
    static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    struct gdfo_error err = {0};
    struct gdfo_optim *o = make(v, 6);
    double first = sphere(gdfo_optim_view(o).mean);
    for (size_t g = 0; g < 120; g++) {
        size_t n = popsize_of(o);
        gdfo_test_ok(gdfo_optim_ask(o, x, &err), &err);
        for (size_t i = 0; i < n; i++) { /* every tenth generation is lost, else every third loss */
            losses[i] = g % 10 == 0 || i % 3 == 1 ? odd[(g + i) % 3] : sphere(x + i * DIM);
        }
        losses[n - 1] =
            g % 10 == 5 ? 1.0 : losses[n - 1]; /* at least one is finite, perhaps alone */
        gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
        assert_finite(o);
    }
    assert_true(gdfo_optim_view(o).best_loss < 0.5 * first);
    gdfo_optim_destroy(o);
}

static void a_lost_generation_changes_nothing(const struct variant *v)
{
    double x[POINTS_MAX];
    double mean[DIM];
    double losses[POINTS_MAX / DIM];
    struct gdfo_error err = {0};
    struct gdfo_optim *o = make(v, 6);
    double step_size;
    run(o, sphere, 4);
    memcpy(mean, gdfo_optim_view(o).mean, sizeof mean);
    step_size = gdfo_optim_view(o).step_size;
    gdfo_test_ok(gdfo_optim_ask(o, x, &err), &err);
    for (size_t i = 0; i < POINTS_MAX / DIM; i++) {
        losses[i] = (double)NAN;
    }
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
    assert_memory_equal(mean, gdfo_optim_view(o).mean, sizeof mean);
    gdfo_test_near(gdfo_optim_view(o).step_size, step_size, 0);
    assert_int_equal(gdfo_optim_view(o).generation, 5);
    gdfo_optim_destroy(o);
}

/* A point near the optimum is found at once when somebody hands it in. */
static void an_injected_point_is_evaluated(const struct variant *v)
{
    static const double point[DIM] = {1.9, -1, 1.5, 2, -2};
    double x[POINTS_MAX];
    struct gdfo_error err = {0};
    struct gdfo_optim *o = make(v, 8);
    int is_there = 0;
    gdfo_test_ok(gdfo_optim_inject(o, point, 1, &err), &err);
    gdfo_test_ok(gdfo_optim_ask(o, x, &err), &err);
    for (size_t i = 0; i < popsize_of(o); i++) {
        double far = 0;
        for (size_t k = 0; k < DIM; k++) {
            far += fabs(x[i * DIM + k] - point[k]);
        }
        is_there |= far < 1e-12;
    }
    assert_true(is_there);
    assert_int_equal(gdfo_optim_inject(o, point, 1, &err), GDFO_STATUS_STATE);
    gdfo_optim_destroy(o);
}

static void ask_and_tell_allocate_nothing(const struct variant *v)
{
    struct gdfo_optim *o = make(v, 1);
    size_t before = gdfo_mem_count();
    run(o, sphere, 10);
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_optim_destroy(o);
}

static void damaged_states_are_refused(const struct variant *v)
{
    struct gdfo_error err = {0};
    struct gdfo_optim *o = make(v, 5);
    struct gdfo_optim *other = make(v, 5);
    struct gdfo_buf bytes;
    run(o, sphere, 3);
    run(other, sphere, 1);
    save(o, &bytes);
    for (size_t n = 0; n < bytes.len; n += n < 200 ? 1 : 97) {
        char *cut =
            gdfo_mem_dup(bytes.data, n); /* exact size, so that a sanitizer sees any overrun */
        assert_int_equal(gdfo_optim_load(other, cut, n, &err), GDFO_STATUS_CORRUPT);
        gdfo_mem_free(cut);
    }
    for (size_t at = 0; at < bytes.len; at += 13) {
        bytes.data[at] = (char)(bytes.data[at] ^ 0x20);
        assert_int_not_equal(gdfo_optim_load(other, bytes.data, bytes.len, &err), GDFO_STATUS_OK);
        bytes.data[at] = (char)(bytes.data[at] ^ 0x20);
    }
    assert_int_equal(gdfo_optim_view(other).generation, 1); /* left alone */
    gdfo_test_ok(gdfo_optim_load(other, bytes.data, bytes.len, &err), &err);
    assert_same(o, other);
    gdfo_buf_deinit(&bytes);
    gdfo_optim_destroy(o);
    gdfo_optim_destroy(other);
}

static void out_of_memory_is_reported(const struct variant *v)
{
    struct gdfo_optim_spec spec = {.name = v->ops->name, .values = v->values, .dim = DIM};
    struct gdfo_error err = {0};
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; status != GDFO_STATUS_OK && n < 100; n++) {
        struct gdfo_optim *o = NULL;
        gdfo_mem_fail_after(n);
        status = gdfo_optim_create(&o, &spec, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK ? o != NULL : status == GDFO_STATUS_NO_MEMORY && !o);
        gdfo_optim_destroy(o);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
}

/* ---- every variant of every optimiser ---- */

static size_t n_choices(const struct gdfo_opt *opt)
{
    size_t n = 1;
    for (const char *c = opt->choices ? opt->choices : ""; *c; c++) {
        n += *c == '|' ? 1 : 0;
    }
    return opt->type == GDFO_OPT_ENUM ? n : 1;
}

/* Sets the enumerated options to combination number `which`; 0 when there is no such one. */
static int make_variant(struct variant *v, size_t which)
{
    v->values = gdfo_mem_array(1, v->ops->values_bytes);
    gdfo_opt_defaults(v->ops->options, v->values);
    for (const struct gdfo_opt *opt = v->ops->options; opt->name; opt++) {
        if (opt->type == GDFO_OPT_ENUM) {
            int choice = (int)(which % n_choices(opt));
            memcpy((char *)v->values + opt->offset, &choice, sizeof choice);
        }
        which /= n_choices(opt);
    }
    return which == 0;
}

static void for_all(void (*fact)(const struct variant *v))
{
    for (size_t i = 0; i < gdfo_optim_count(); i++) {
        for (size_t which = 0; which < VARIANT_MAX; which++) {
            struct variant v = {.ops = gdfo_optim_at(i)};
            int exists = make_variant(&v, which);
            if (exists) {
                fact(&v);
            }
            gdfo_mem_free(v.values);
        }
    }
}

#define FACT(name)                                                                                 \
    static void every_optimiser_##name(void **state)                                               \
    {                                                                                              \
        (void)state;                                                                               \
        for_all(name);                                                                             \
    }
FACT(improves)
FACT(same_seed_same_run)
FACT(save_and_load_mid_run_is_the_same_run)
FACT(a_population_that_is_out_is_saved_too)
FACT(calls_out_of_order_are_refused)
FACT(losses_that_are_no_numbers_are_tolerated)
FACT(a_lost_generation_changes_nothing)
FACT(an_injected_point_is_evaluated)
FACT(ask_and_tell_allocate_nothing)
FACT(damaged_states_are_refused)
FACT(out_of_memory_is_reported)

static void every_optimiser_says_what_it_is(void **state)
{
    (void)state;
    assert_true(gdfo_optim_count() >= 2);
    for (size_t i = 0; i < gdfo_optim_count(); i++) {
        const struct gdfo_optim_ops *ops = gdfo_optim_at(i);
        assert_ptr_equal(gdfo_optim_find(ops->name), ops);
        assert_true(strlen(ops->help) > 10);
        for (const struct gdfo_opt *opt = ops->options; opt->name; opt++) {
            assert_true(opt->help && strlen(opt->help) > 5);
            assert_true(opt->offset < ops->values_bytes);
        }
    }
    assert_null(gdfo_optim_find("simulated_annealing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimiser_says_what_it_is),
        cmocka_unit_test(every_optimiser_improves),
        cmocka_unit_test(every_optimiser_same_seed_same_run),
        cmocka_unit_test(every_optimiser_save_and_load_mid_run_is_the_same_run),
        cmocka_unit_test(every_optimiser_a_population_that_is_out_is_saved_too),
        cmocka_unit_test(every_optimiser_calls_out_of_order_are_refused),
        cmocka_unit_test(every_optimiser_losses_that_are_no_numbers_are_tolerated),
        cmocka_unit_test(every_optimiser_a_lost_generation_changes_nothing),
        cmocka_unit_test(every_optimiser_an_injected_point_is_evaluated),
        cmocka_unit_test(every_optimiser_ask_and_tell_allocate_nothing),
        cmocka_unit_test(every_optimiser_damaged_states_are_refused),
        cmocka_unit_test(every_optimiser_out_of_memory_is_reported),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
