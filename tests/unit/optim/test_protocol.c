#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/optim/optim_ops.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* The core around the plug-ins: what is refused, the best point, the stop rules, saved bytes. */
#define DIM     2
#define POPSIZE 20

static double points[POPSIZE * DIM];
static double losses[POPSIZE];

static struct gdfo_optim *make(const struct gdfo_optim_stop_rules *rules)
{
    static const struct gdfo_optim_stop_rules defaults;
    struct gdfo_optim_spec spec = {
        .name = "random_search", .dim = DIM, .seed = 1, .stop = rules ? *rules : defaults};
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
    assert_int_equal(gdfo_optim_view(o).popsize, POPSIZE);
    return o;
}

/* One generation whose losses run from first in steps. */
static void generation(struct gdfo_optim *o, double first, double by)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < POPSIZE; i++) {
        losses[i] = first + by * (double)i;
    }
    gdfo_test_ok(gdfo_optim_tell(o, losses, &err), &err);
}

/* ---- creation ---- */

static void refused(const struct gdfo_optim_spec *spec, enum gdfo_status want, const char *words)
{
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_optim_create(&o, spec, &err), want);
    assert_string_equal(err.text, words);
    assert_null(o);
}

static void a_spec_that_makes_no_sense_is_refused(void **state)
{
    static const double start[DIM] = {1, (double)NAN};
    (void)state;
    refused(&(struct gdfo_optim_spec){.name = "annealing", .dim = 2}, GDFO_STATUS_NOT_FOUND,
            "no optimiser is called \"annealing\"");
    refused(&(struct gdfo_optim_spec){.dim = 0}, GDFO_STATUS_INVALID,
            "search dimension 0: want 1..16384");
    refused(&(struct gdfo_optim_spec){.dim = 16385}, GDFO_STATUS_INVALID,
            "search dimension 16385: want 1..16384");
    refused(&(struct gdfo_optim_spec){.dim = DIM, .start = start}, GDFO_STATUS_INVALID,
            "start[1] is not finite");
}

static void one_candidate_is_not_a_population(void **state)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("cma");
    void *values = gdfo_mem_array(1, ops->values_bytes);
    struct gdfo_optim_spec spec = {.values = values, .dim = DIM};
    struct gdfo_error err = {0};
    (void)state;
    gdfo_opt_defaults(ops->options, values);
    gdfo_test_ok(gdfo_opt_set_text(ops->options, values, "popsize", "1", &err), &err);
    refused(&spec, GDFO_STATUS_INVALID, "popsize 1: want 2..1024");
    gdfo_mem_free(values);
}

static void the_start_is_the_first_mean(void **state)
{
    static const double start[DIM] = {3, -4};
    (void)state;
    for (size_t i = 0; i < gdfo_optim_count(); i++) {
        struct gdfo_optim_spec spec = {.name = gdfo_optim_at(i)->name, .dim = DIM, .start = start};
        struct gdfo_optim *o = NULL;
        struct gdfo_error err = {0};
        gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
        assert_memory_equal(gdfo_optim_view(o).mean, start, sizeof start);
        assert_null(gdfo_optim_view(o).best);
        assert_true(isinf(gdfo_optim_view(o).best_loss));
        gdfo_optim_destroy(o);
    }
}

/* ---- best, injection, own points ---- */

static void the_best_is_the_lowest_finite_loss_ever(void **state)
{
    struct gdfo_optim *o = make(NULL);
    double best[DIM];
    (void)state;
    generation(o, (double)NAN, 1);
    assert_null(gdfo_optim_view(o).best);
    generation(o, 5, 1);
    memcpy(best, points, sizeof best);
    assert_memory_equal(gdfo_optim_view(o).best, best, sizeof best);
    generation(o, 6, 1);
    generation(o, 5, 0); /* a tie does not replace it */
    assert_memory_equal(gdfo_optim_view(o).best, best, sizeof best);
    gdfo_test_near(gdfo_optim_view(o).best_loss, 5, 0);
    generation(o, 24, -1);
    gdfo_test_near(gdfo_optim_view(o).best_loss, 5, 0);
    generation(o, 23, -1);
    gdfo_test_near(gdfo_optim_view(o).best_loss, 4, 0);
    assert_memory_equal(gdfo_optim_view(o).best, points + DIM * (POPSIZE - 1), sizeof best);
    gdfo_optim_destroy(o);
}

static void a_quarter_of_the_population_may_be_injected(void **state)
{
    static const double point[DIM] = {7, 8};
    static const double odd[DIM] = {7, (double)INFINITY};
    struct gdfo_optim *o = make(NULL);
    struct gdfo_error err = {0};
    (void)state;
    for (int i = 0; i < POPSIZE / 4; i++) {
        gdfo_test_ok(gdfo_optim_inject(o, point, 0, &err), &err);
    }
    assert_int_equal(gdfo_optim_inject(o, point, 0, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text, "injected points: at most 5 for popsize 20");
    assert_int_equal(gdfo_optim_inject(o, odd, 0, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "injected point: number 1 is not finite");
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    for (size_t i = 0; i < POPSIZE / 4; i++) {
        assert_memory_equal(points + i * DIM, point, sizeof point);
    }
    assert_memory_not_equal(points + (size_t)DIM * (POPSIZE / 4), point, sizeof point);
    assert_int_equal(gdfo_optim_inject(o, point, 0, &err), GDFO_STATUS_STATE);
    assert_string_equal(err.text, "inject while a population is out");
    gdfo_optim_destroy(o);
}

static void own_points_may_be_told_instead(void **state)
{
    static double own[POPSIZE * DIM];
    struct gdfo_optim *o = make(NULL);
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i < POPSIZE; i++) {
        own[i * DIM] = (double)i;
        losses[i] = 100 - (double)i;
    }
    gdfo_test_ok(gdfo_optim_ask(o, points, &err), &err);
    gdfo_test_ok(gdfo_optim_tell_points(o, own, losses, NULL, &err), &err);
    gdfo_test_near(gdfo_optim_view(o).best[0], 19, 0);
    assert_int_equal(gdfo_optim_tell(o, losses, &err), GDFO_STATUS_STATE); /* the ask is gone */
    own[3] = (double)NAN;
    assert_int_equal(gdfo_optim_tell_points(o, own, losses, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "told points: number 3 is not finite");
    assert_int_equal(gdfo_optim_view(o).generation, 1);
    gdfo_optim_destroy(o);
}

/* ---- stop rules ---- */

static void nothing_stops_before_the_first_tell(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.has_target = 1, .target = 1e300, .tol_x = 10};
    struct gdfo_optim *o = make(&rules);
    (void)state;
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    gdfo_optim_destroy(o);
}

static void it_stops_at_the_target(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.has_target = 1, .target = -3};
    struct gdfo_optim *o = make(&rules);
    (void)state;
    generation(o, -2.9, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    generation(o, -3, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_TARGET);
    gdfo_optim_destroy(o);
}

static void it_stops_after_enough_candidates(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.max_evals = 60};
    struct gdfo_optim *o = make(&rules);
    (void)state;
    generation(o, 1, 1);
    generation(o, 1, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    generation(o, 1, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_MAX_EVALS);
    gdfo_optim_destroy(o);
}

static void it_stops_on_a_plain_but_not_at_the_first_tie(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.flat_generations = 3, .tol_fun = -1};
    struct gdfo_optim *o = make(&rules);
    (void)state;
    generation(o, 1, 0);
    generation(o, 1, 0);
    generation(o, 1, 1); /* breaks the series */
    generation(o, 2, 0);
    generation(o, 3, 0);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    generation(o, 4, 0);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_FLAT);
    gdfo_optim_destroy(o);
}

static void it_stops_when_the_losses_no_longer_differ(void **state)
{
    struct gdfo_optim *o = make(NULL); /* history: 10 + 30 * 2 / 20 = 13 generations */
    (void)state;
    generation(o, 1, 0.1);
    for (int g = 0; g < 12; g++) {
        generation(o, 0.5, 1e-14);
        assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    }
    generation(o, 0.5, 1e-14);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_TOL_FUN);
    generation(o, 0.5, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    gdfo_optim_destroy(o);
}

static void it_stops_when_the_distribution_is_narrow(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.tol_x = 1.5};
    struct gdfo_optim *o = make(&rules); /* random search keeps its deviation of 1 */
    (void)state;
    generation(o, 1, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_TOL_X);
    gdfo_optim_destroy(o);
}

static void it_stops_without_a_new_best_for_long(void **state)
{
    const struct gdfo_optim_stop_rules rules = {.stagnation_generations = 4};
    struct gdfo_optim *o = make(&rules);
    (void)state;
    generation(o, 3, 1);
    generation(o, 2, 1);
    for (int g = 0; g < 3; g++) {
        generation(o, 2.5, 1);
        assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_NONE);
    }
    generation(o, 2.5, 1);
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_STAGNATION);
    gdfo_optim_destroy(o);
}

static void a_covariance_of_large_condition_stops(void **state)
{
    struct gdfo_optim_spec spec = {.dim = DIM, .seed = 1, .stop = {.condition_max = 1.0001}};
    struct gdfo_optim *o = NULL;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_optim_create(&o, &spec, &err), &err);
    for (int g = 0; g < 3; g++) {
        generation(o, 1, 1);
    }
    assert_int_equal(gdfo_optim_stop(o), GDFO_OPTIM_STOP_CONDITION);
    gdfo_optim_destroy(o);
}

static void every_reason_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_NONE), "none");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_TARGET), "target");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_MAX_EVALS), "max_evals");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_FLAT), "flat");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_TOL_FUN), "tol_fun");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_TOL_X), "tol_x");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_STAGNATION), "stagnation");
    assert_string_equal(gdfo_optim_stop_name(GDFO_OPTIM_STOP_CONDITION), "condition");
}

/* ---- saved state ---- */

static void load_says(struct gdfo_optim *o, const struct gdfo_buf *b, enum gdfo_status want,
                      const char *words)
{
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_optim_load(o, b->data, b->len, &err), want);
    assert_string_equal(err.text, words);
}

static void a_state_of_something_else_is_refused(void **state)
{
    struct gdfo_optim_spec spec = {.name = "cma", .dim = DIM, .seed = 1};
    struct gdfo_optim *saved = make(NULL);
    struct gdfo_optim *other = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_optim_save(saved, &b);
    gdfo_test_ok(gdfo_optim_create(&other, &spec, &err), &err);
    load_says(other, &b, GDFO_STATUS_CONFLICT,
              "optimiser state is of random_search, dimension 2, popsize 20: want cma, 2, 20");
    gdfo_optim_destroy(other);
    spec.name = "random_search";
    spec.dim = 3;
    gdfo_test_ok(gdfo_optim_create(&other, &spec, &err), &err);
    load_says(other, &b, GDFO_STATUS_CONFLICT,
              "optimiser state is of random_search, dimension 2, popsize 20: want random_search, "
              "3, 20");
    gdfo_optim_destroy(other);
    gdfo_optim_destroy(saved);
    gdfo_buf_deinit(&b);
}

static void a_state_with_other_options_is_refused(void **state)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("random_search");
    void *values = gdfo_mem_array(1, ops->values_bytes);
    struct gdfo_optim_spec spec = {.name = ops->name, .values = values, .dim = DIM};
    struct gdfo_optim *saved = make(NULL);
    struct gdfo_optim *other = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_optim_save(saved, &b);
    gdfo_opt_defaults(ops->options, values);
    gdfo_test_ok(gdfo_opt_set_text(ops->options, values, "step_size_init", "2", &err), &err);
    gdfo_test_ok(gdfo_optim_create(&other, &spec, &err), &err);
    load_says(other, &b, GDFO_STATUS_CONFLICT, "optimiser state was saved with other options");
    gdfo_optim_destroy(other);
    gdfo_optim_destroy(saved);
    gdfo_mem_free(values);
    gdfo_buf_deinit(&b);
}

/* Seals a body again after changing it: what the checksum cannot catch. */
static void reseal(struct gdfo_buf *out, const struct gdfo_buf *sealed, size_t at, double value,
                   size_t n_extra)
{
    struct gdfo_buf body;
    gdfo_buf_init(&body, 1 << 20);
    gdfo_buf_addn(&body, sealed->data + 24, sealed->len - 24);
    if (at != SIZE_MAX) {
        memcpy(body.data + at, &value, sizeof value);
    }
    for (size_t i = 0; i < n_extra; i++) {
        gdfo_buf_addc(&body, 'x');
    }
    gdfo_buf_init(out, 1 << 20);
    gdfo_optim_seal(out, &body);
    gdfo_buf_deinit(&body);
}

static void a_sealed_state_that_lies_is_refused(void **state)
{
    struct gdfo_optim *o = make(NULL);
    struct gdfo_buf b;
    struct gdfo_buf bad;
    (void)state;
    generation(o, 1, 1);
    gdfo_buf_init(&b, 1 << 20);
    gdfo_optim_save(o, &b);
    reseal(&bad, &b, b.len - 24 - sizeof(double), (double)NAN,
           0); /* the last number of the best point */
    load_says(o, &bad, GDFO_STATUS_CORRUPT, "optimiser state: a number is missing or not finite");
    gdfo_buf_deinit(&bad);
    reseal(&bad, &b, SIZE_MAX, 0, 3);
    load_says(o, &bad, GDFO_STATUS_CORRUPT, "optimiser state: bytes are left over");
    gdfo_buf_deinit(&bad);
    assert_int_equal(gdfo_optim_view(o).generation, 1);
    gdfo_optim_destroy(o);
    gdfo_buf_deinit(&b);
}

static void a_buffer_too_small_for_the_state_breaks(void **state)
{
    struct gdfo_optim *o = make(NULL);
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 64);
    gdfo_optim_save(o, &b);
    assert_false(gdfo_buf_ok(&b));
    gdfo_buf_deinit(&b);
    gdfo_optim_destroy(o);
}

static void loading_without_memory_leaves_the_object_alone(void **state)
{
    struct gdfo_optim *o = make(NULL);
    struct gdfo_buf b;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    (void)state;
    generation(o, 1, 1);
    gdfo_buf_init(&b, 1 << 20);
    gdfo_optim_save(o, &b);
    generation(o, 1, 1);
    for (long n = 0; status != GDFO_STATUS_OK && n < 100; n++) {
        gdfo_mem_fail_after(n);
        status = gdfo_optim_load(o, b.data, b.len, NULL);
        gdfo_mem_fail_after(-1);
        assert_int_equal(gdfo_optim_view(o).generation, status == GDFO_STATUS_OK ? 1 : 2);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    gdfo_optim_destroy(o);
    gdfo_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_that_makes_no_sense_is_refused),
        cmocka_unit_test(one_candidate_is_not_a_population),
        cmocka_unit_test(the_start_is_the_first_mean),
        cmocka_unit_test(the_best_is_the_lowest_finite_loss_ever),
        cmocka_unit_test(a_quarter_of_the_population_may_be_injected),
        cmocka_unit_test(own_points_may_be_told_instead),
        cmocka_unit_test(nothing_stops_before_the_first_tell),
        cmocka_unit_test(it_stops_at_the_target),
        cmocka_unit_test(it_stops_after_enough_candidates),
        cmocka_unit_test(it_stops_on_a_plain_but_not_at_the_first_tie),
        cmocka_unit_test(it_stops_when_the_losses_no_longer_differ),
        cmocka_unit_test(it_stops_when_the_distribution_is_narrow),
        cmocka_unit_test(it_stops_without_a_new_best_for_long),
        cmocka_unit_test(a_covariance_of_large_condition_stops),
        cmocka_unit_test(every_reason_has_a_name),
        cmocka_unit_test(a_state_of_something_else_is_refused),
        cmocka_unit_test(a_state_with_other_options_is_refused),
        cmocka_unit_test(a_sealed_state_that_lies_is_refused),
        cmocka_unit_test(a_buffer_too_small_for_the_state_breaks),
        cmocka_unit_test(loading_without_memory_leaves_the_object_alone),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
