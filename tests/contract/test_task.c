#include "common/mem.h"
#include "server/task/kind.h"
#include "server/task/task.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * What every kind of task keeps to, for each row of task.def: rows it writes about are named by
 * line, good rows come back as they were, what it minimises has the gradient it says, and its
 * metric is what counting by hand gives. Options and the catalogue follow from its table.
 */
#define EACH_KIND(kind)                                                                            \
    for (size_t kind##_i = 0; kind##_i < gdfo_task_n_kinds(); kind##_i++)                          \
        for (const struct gdfo_task_ops *kind = gdfo_task_kind(kind##_i); kind != NULL; kind = NULL)

static void kinds_are_complete_and_found_by_name(void **state)
{
    (void)state;
    assert_true(gdfo_task_n_kinds() >= 1);
    EACH_KIND(kind)
    {
        assert_ptr_equal(gdfo_task_find_kind(kind->name), kind);
        assert_true(strlen(kind->help) > 10);
        assert_non_null(kind->opts);
        assert_non_null(kind->parse_row);
        assert_non_null(kind->shape_name);
        assert_non_null(kind->check_template);
        assert_non_null(kind->default_template);
        assert_non_null(kind->render);
        assert_non_null(kind->loss);
        assert_non_null(kind->loss_gradient);
        assert_non_null(kind->metric);
    }
    assert_null(gdfo_task_find_kind("no such kind"));
}

static void options_have_defaults_and_help(void **state)
{
    (void)state;
    EACH_KIND(kind)
    {
        struct gdfo_task_options options = {0};
        struct gdfo_buf b;
        gdfo_buf_init(&b, 65536);
        gdfo_opt_defaults(kind->opts, &options);
        struct gdfo_json_writer w = gdfo_json_writer(&b);
        gdfo_json_open(&w, NULL, '{');
        gdfo_opt_write_catalogue(kind->opts, &w, "options");
        gdfo_json_close(&w, '}');
        for (const struct gdfo_opt *o = kind->opts; o->name != NULL; o++) {
            assert_true(strlen(o->help) > 10);
            assert_non_null(strstr(b.data, o->name));
        }
        gdfo_buf_deinit(&b);
    }
}

static enum gdfo_status parse(const struct gdfo_task_ops *kind, const char *text,
                              struct gdfo_dataset **out, struct gdfo_faults *faults,
                              struct gdfo_error *err)
{
    struct gdfo_reader in = gdfo_reader_memory(text, strlen(text), "rows.jsonl");
    struct gdfo_dataset_source from = {kind, GDFO_ROWS_TRAIN, "training_file"};
    return gdfo_dataset_parse(out, &in, &from, faults, err);
}

static void bad_rows_are_named_by_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}", "[]", "{\"unheard\":1}", "{\"text\":null}",
                                      "7",  "{",  "{\"label\":{}}"};
    EACH_KIND(kind)
    {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            struct gdfo_dataset *d = NULL;
            struct gdfo_faults faults = {0};
            struct gdfo_error err = {0};
            char text[256];
            GDFO_IGNORE(snprintf(text, sizeof text, "\n%s\n\n", bad[i]) < 0);
            assert_int_equal(parse(kind, text, &d, &faults, &err), GDFO_STATUS_INVALID);
            assert_null(d);
            assert_int_equal(faults.n, 1);
            assert_int_equal(faults.items[0].line, 2);
            assert_string_equal(err.field, "training_file:2");
            assert_true(strlen(faults.items[0].text) > 5);
        }
    }
}

static void good_rows_come_back(void **state)
{
    (void)state;
    EACH_KIND(kind)
    {
        struct gdfo_dataset *d = NULL;
        struct gdfo_error err = {0};
        struct gdfo_buf body;
        gdfo_test_ok(parse(kind,
                           "{\"text\":\"\\u00e9 \\\\ {\",\"label\":\"b\"}\n"
                           "{\"text\":\"two\",\"label\":\"a\"}\n",
                           &d, NULL, &err),
                     &err);
        const struct gdfo_row *row = gdfo_dataset_row(d, 0);
        gdfo_buf_init(&body, 4096);
        gdfo_test_ok(kind->check_template(kind->default_template(0), 0, &err), &err);
        kind->render(kind->default_template(0), row, &body);
        assert_non_null(strstr(body.data, "\xC3\xA9 \\ {"));
        assert_string_equal(gdfo_dataset_label(d, row->label), "b");
        gdfo_buf_deinit(&body);
        gdfo_dataset_destroy(d);
    }
}

static double loss_at(const struct gdfo_task_ops *kind, const struct gdfo_loss_spec *spec,
                      const struct gdfo_answers *a, float *x, float by)
{
    float keep = *x;
    *x = keep + by;
    double loss = kind->loss(spec, a, NULL);
    *x = keep;
    return loss;
}

static void losses_have_the_gradient_they_say(void **state)
{
    (void)state;
    float lp[] = {-1.125F, -2.5F, -0.25F, -4.0F, -3.625F, -0.5F, -1.75F, -2.25F, -6.5F};
    const uint32_t gold[] = {0, 2, 1};
    struct gdfo_answers a = {lp, gold, 3, 3};
    EACH_KIND(kind)
    {
        for (int i = GDFO_LOSS_CE; i <= GDFO_LOSS_ACCURACY; i++) {
            struct gdfo_loss_spec spec = {(enum gdfo_loss)i, 1.3};
            double grad[9];
            kind->loss_gradient(&spec, &a, grad);
            for (size_t k = 0; k < 9; k++) {
                const float h = 1.0F / 128;
                double slope =
                    (loss_at(kind, &spec, &a, &lp[k], h) - loss_at(kind, &spec, &a, &lp[k], -h)) /
                    (2 * (double)h);
                gdfo_test_near(grad[k], slope, 2e-5);
            }
        }
    }
}

static void metrics_count_as_a_hand_would(void **state)
{
    (void)state;
    /* gold 0 0 1 1, said 0 1 1 1 */
    const float lp[] = {-1, -2, -2, -1, -3, -1, -9, -1};
    const uint32_t gold[] = {0, 0, 1, 1};
    struct gdfo_answers a = {lp, gold, 4, 2};
    EACH_KIND(kind)
    {
        gdfo_test_near(kind->metric(GDFO_METRIC_ACCURACY, 0, &a), 0.75, 1e-12);
        gdfo_test_near(kind->metric(GDFO_METRIC_F1, 1, &a), 0.8, 1e-12);
        gdfo_test_near(kind->metric(GDFO_METRIC_MACRO_F1, 0, &a), (2.0 / 3 + 0.8) / 2, 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_complete_and_found_by_name),
        cmocka_unit_test(options_have_defaults_and_help),
        cmocka_unit_test(bad_rows_are_named_by_line),
        cmocka_unit_test(good_rows_come_back),
        cmocka_unit_test(losses_have_the_gradient_they_say),
        cmocka_unit_test(metrics_count_as_a_hand_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
