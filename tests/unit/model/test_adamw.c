#include "common/mem.h"
#include "common/rng.h"
#include "server/model/train/adamw.h"
#include "server/num/pool.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* Torch's own numbers are in test_student_torch.c; here the definition, in double. */
static struct gdfo_adamw_opts options(void)
{
    struct gdfo_adamw_opts o = gdfo_adamw_defaults();
    o.lr = 0.01;
    o.weight_decay = 0.2;
    o.warmup_steps = 4;
    o.total_steps = 20;
    return o;
}

static void the_rate_warms_up_and_decays_in_straight_lines(void **state)
{
    struct gdfo_adamw_opts o = options();
    (void)state;
    gdfo_test_near(gdfo_adamw_lr(&o, 1), 0.01 * 1 / 4, 1e-12);
    gdfo_test_near(gdfo_adamw_lr(&o, 4), 0.01, 1e-12);
    gdfo_test_near(gdfo_adamw_lr(&o, 12), 0.005, 1e-12);
    gdfo_test_near(gdfo_adamw_lr(&o, 19), 0.01 / 16, 1e-12);
    assert_true(gdfo_adamw_lr(&o, 20) == 0);
    assert_true(gdfo_adamw_lr(&o, 1000) == 0);
    o.total_steps = 0;
    assert_true(gdfo_adamw_lr(&o, 1000) == 0.01);
    o.warmup_steps = 0;
    assert_true(gdfo_adamw_lr(&o, 1) == 0.01);
    o.total_steps = 10;
    gdfo_test_near(gdfo_adamw_lr(&o, 1), 0.009, 1e-12);
}

static void steps_follow_the_definition(void **state)
{
    const struct gdfo_adamw_opts o = options();
    struct gdfo_rng rng = gdfo_rng_stream(1, "adamw");
    struct gdfo_error err = {0};
    struct gdfo_adamw a;
    float x[3] = {0.5F, -2.0F, 0.0F};
    double y[3] = {0.5, -2.0, 0.0};
    double m[3] = {0};
    double v[3] = {0};
    (void)state;
    gdfo_test_ok(gdfo_adamw_init(&a, &o, 3, &err), &err);
    for (int k = 1; k <= 12; k++) {
        float g[3];
        for (int i = 0; i < 3; i++) {
            g[i] = (float)gdfo_rng_normal(&rng);
        }
        gdfo_adamw_step(&a, NULL, x, g);
        for (int i = 0; i < 3; i++) {
            double lr = gdfo_adamw_lr(&o, (uint64_t)k);
            double d = (double)g[i];
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * d;
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * d * d;
            y[i] -= lr * o.weight_decay * y[i];
            y[i] -=
                lr * (m[i] / (1 - pow(o.beta1, k))) / (sqrt(v[i] / (1 - pow(o.beta2, k))) + o.eps);
            gdfo_test_near((double)x[i], y[i], 1e-6);
        }
    }
    assert_int_equal(a.step, 12);
    gdfo_adamw_deinit(&a);
}

static void decay_alone_shrinks_and_no_gradient_no_decay_stands_still(void **state)
{
    struct gdfo_adamw_opts o = gdfo_adamw_defaults();
    struct gdfo_error err = {0};
    struct gdfo_adamw a;
    float x[1] = {3};
    const float g[1] = {0};
    (void)state;
    gdfo_test_ok(gdfo_adamw_init(&a, &o, 1, &err), &err);
    gdfo_adamw_step(&a, NULL, x, g);
    assert_true(x[0] == 3);
    a.opts.lr = 0.1;
    a.opts.weight_decay = 0.5;
    gdfo_adamw_step(&a, NULL, x, g);
    gdfo_test_near((double)x[0], 3 * 0.95, 1e-6);
    gdfo_adamw_deinit(&a);
}

#define MANY 40000 /* several pool items */

static void threads_never_change_a_bit(void **state)
{
    const struct gdfo_adamw_opts o = options();
    struct gdfo_rng rng = gdfo_rng_stream(1, "adamw");
    struct gdfo_error err = {0};
    struct gdfo_pool *pool = NULL;
    struct gdfo_adamw a;
    struct gdfo_adamw b;
    float *x = gdfo_mem_array(MANY, sizeof *x);
    float *y = gdfo_mem_array(MANY, sizeof *y);
    float *g = gdfo_mem_array(MANY, sizeof *g);
    (void)state;
    gdfo_test_ok(gdfo_pool_create(&pool, 3, &err), &err);
    gdfo_test_ok(gdfo_adamw_init(&a, &o, MANY, &err), &err);
    gdfo_test_ok(gdfo_adamw_init(&b, &o, MANY, &err), &err);
    for (int k = 0; k < 3; k++) {
        for (size_t i = 0; i < MANY; i++) {
            g[i] = (float)gdfo_rng_normal(&rng);
        }
        gdfo_adamw_step(&a, pool, x, g);
        gdfo_adamw_step(&b, NULL, y, g);
    }
    assert_memory_equal(x, y, MANY * sizeof *x);
    gdfo_adamw_deinit(&a);
    gdfo_adamw_deinit(&b);
    gdfo_pool_destroy(pool);
    gdfo_mem_free(x);
    gdfo_mem_free(y);
    gdfo_mem_free(g);
}

static void a_saved_optimiser_walks_on_to_the_same_bytes(void **state)
{
    const struct gdfo_adamw_opts o = options();
    struct gdfo_error err = {0};
    struct gdfo_adamw a;
    struct gdfo_adamw b;
    struct gdfo_buf buf;
    float x[5] = {1, 2, 3, 4, 5};
    float y[5];
    const float g[5] = {0.1F, -0.2F, 0.3F, 1e-9F, 7};
    (void)state;
    gdfo_buf_init(&buf, 1000);
    gdfo_test_ok(gdfo_adamw_init(&a, &o, 5, &err), &err);
    gdfo_test_ok(gdfo_adamw_init(&b, &o, 5, &err), &err);
    gdfo_adamw_step(&a, NULL, x, g);
    gdfo_adamw_step(&a, NULL, x, g);
    memcpy(y, x, sizeof y);
    gdfo_adamw_save(&a, &buf);
    assert_int_equal(buf.len, gdfo_adamw_state_bytes(5));
    gdfo_test_ok(gdfo_adamw_load(&b, buf.data, buf.len, &err), &err);
    gdfo_adamw_step(&a, NULL, x, g);
    gdfo_adamw_step(&b, NULL, y, g);
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(b.step, 3);
    gdfo_adamw_deinit(&a);
    gdfo_adamw_deinit(&b);
    gdfo_buf_deinit(&buf);
}

static void damaged_state_is_refused_and_changes_nothing(void **state)
{
    const struct gdfo_adamw_opts o = options();
    struct gdfo_error err = {0};
    struct gdfo_adamw a;
    struct gdfo_buf buf;
    (void)state;
    gdfo_buf_init(&buf, 1000);
    gdfo_test_ok(gdfo_adamw_init(&a, &o, 5, &err), &err);
    gdfo_adamw_save(&a, &buf);
    a.step = 9;
    for (size_t i = 0; i < buf.len; i++) {
        buf.data[i] ^= 1;
        assert_int_equal(gdfo_adamw_load(&a, buf.data, buf.len, &err), GDFO_STATUS_CORRUPT);
        buf.data[i] ^= 1;
        assert_int_equal(gdfo_adamw_load(&a, buf.data, i, &err), GDFO_STATUS_CORRUPT);
    }
    assert_int_equal(a.step, 9);
    gdfo_adamw_deinit(&a);
    gdfo_buf_deinit(&buf);
}

static void options_out_of_range_are_named(void **state)
{
    struct gdfo_error err = {0};
    struct gdfo_adamw a;
    struct gdfo_adamw_opts o = options();
    (void)state;
    o.beta1 = 1;
    assert_int_equal(gdfo_adamw_init(&a, &o, 1, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "beta1 1: want at least 0 and below 1");
    o = options();
    o.lr = (double)NAN;
    assert_int_equal(gdfo_adamw_check(&o, &err), GDFO_STATUS_INVALID);
    o = options();
    o.eps = 0;
    assert_int_equal(gdfo_adamw_check(&o, &err), GDFO_STATUS_INVALID);
    o = options();
    o.warmup_steps = 21;
    assert_int_equal(gdfo_adamw_check(&o, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "warmup_steps 21: want at most total_steps, 20");
    o = options();
    assert_int_equal(gdfo_adamw_init(&a, &o, SIZE_MAX, &err), GDFO_STATUS_LIMIT);
    gdfo_mem_fail_after(1);
    assert_int_equal(gdfo_adamw_init(&a, &o, 4, &err), GDFO_STATUS_NO_MEMORY);
    gdfo_mem_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_warms_up_and_decays_in_straight_lines),
        cmocka_unit_test(steps_follow_the_definition),
        cmocka_unit_test(decay_alone_shrinks_and_no_gradient_no_decay_stands_still),
        cmocka_unit_test(threads_never_change_a_bit),
        cmocka_unit_test(a_saved_optimiser_walks_on_to_the_same_bytes),
        cmocka_unit_test(damaged_state_is_refused_and_changes_nothing),
        cmocka_unit_test(options_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
