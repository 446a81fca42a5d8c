#include "client/cli/render.h"
#include "client/cli/view.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void bar_of(double share, int n, char *out, size_t size)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1024);
    gdfo_view_bar(share, n, 1, &b);
    assert_true(gdfo_buf_ok(&b));
    (void)snprintf(out, size, "%s", b.data);
    gdfo_buf_deinit(&b);
}

static void bars_fill_by_share(void **state)
{
    static const struct {
        double share;
        const char *want;
    } rows[] = {{0.0, "[....]"}, {0.25, "[#...]"}, {0.99, "[###.]"}, {1.0, "[####]"},
                {7.0, "[####]"}, {-1.0, "[....]"}, {1e308, "[####]"}};
    char out[32];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bar_of(rows[i].share, 4, out, sizeof out);
        assert_string_equal(out, rows[i].want);
    }
    bar_of((double)NAN, 4, out, sizeof out);
    assert_string_equal(out, "[....]");
}

static void spark_of(const double *y, size_t n, int columns, char upper[64], char lower[64])
{
    struct gdfo_buf rows[2];
    gdfo_buf_init(&rows[0], 256);
    gdfo_buf_init(&rows[1], 256);
    gdfo_view_spark(y, n, columns, 1, rows);
    assert_true(gdfo_buf_ok(&rows[0]) && gdfo_buf_ok(&rows[1]));
    (void)snprintf(upper, 64, "%s", rows[0].data ? rows[0].data : "");
    (void)snprintf(lower, 64, "%s", rows[1].data ? rows[1].data : "");
    gdfo_buf_deinit(&rows[0]);
    gdfo_buf_deinit(&rows[1]);
}

static void a_spark_runs_from_its_lowest_to_its_highest_point(void **state)
{
    const double y[] = {3.0, 2.0, 1.0, 0.0};
    char upper[64], lower[64];
    (void)state;
    spark_of(y, 4, 10, upper, lower);
    assert_string_equal(upper, "#-  "); /* levels 16, 11, 6, 1 of 16 */
    assert_string_equal(lower, "##=.");
}

static void a_spark_takes_the_mean_of_what_falls_together(void **state)
{
    const double y[] = {0.0, 2.0, 15.0, 17.0, 1.0, 1.0};
    char upper[64], lower[64];
    (void)state;
    spark_of(y, 6, 3, upper, lower); /* 1, 16, 1 */
    assert_int_equal(strlen(lower), 3);
    assert_int_equal(upper[1], '#');
    assert_int_equal(lower[0], lower[2]);
    assert_int_equal(upper[0], ' ');
}

static void odd_points_leave_holes(void **state)
{
    const double y[] = {1.0, (double)NAN, (double)INFINITY, 2.0};
    char upper[64], lower[64];
    (void)state;
    spark_of(y, 4, 4, upper, lower);
    assert_int_equal(lower[1], ' ');
    assert_int_equal(lower[2], ' ');
    assert_int_equal(upper[3], '#');
    spark_of(y + 1, 2, 2, upper, lower);
    assert_string_equal(lower, "  ");
    spark_of(y, 0, 4, upper, lower);
    assert_string_equal(lower, "");
    spark_of(y, 1, 4, upper, lower); /* flat: the middle */
    assert_int_equal(lower[0], '#');
}

/* ---- the whole view ---- */

static void fill(struct gdfo_view *v, const char *job_text, const char *metrics_text,
                 struct gdfo_json **job)
{
    struct gdfo_json *metrics = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_json_parse(job, job_text, strlen(job_text), NULL, &err), &err);
    gdfo_view_take_job(v, *job);
    if (metrics_text) {
        gdfo_test_ok(gdfo_json_parse(&metrics, metrics_text, strlen(metrics_text), NULL, &err),
                     &err);
        gdfo_view_take_metrics(v, metrics);
        gdfo_json_destroy(metrics);
    }
}

static const char job_text[] =
    "{\"id\":\"ftjob-1\",\"status\":\"running\",\"model\":\"local\",\"method\":{\"type\":\"gdfo\"},"
    "\"status_detail\":\"step 3\",\"spend\":{\"evals\":30,\"queries\":960,\"dev_queries\":32,"
    "\"tokens_in\":1000,\"tokens_out\":5},\"budget\":{\"evals\":60,\"queries\":9999},"
    "\"progress\":{\"eta_seconds\":75},\"best\":{\"metric\":\"accuracy_dev\",\"value\":0.875}}";

static const char metrics_text[] = "{\"series\":{\"loss_dev\":{\"x\":[1,2,3],\"y\":[0.9,0.4,0.5]},"
                                   "\"accuracy_dev\":{\"x\":[1,2,3],\"y\":[0.5,0.875,0.75]}}}";

static struct gdfo_view blank(void)
{
    struct gdfo_view v = {.loss_name = "loss_dev", .width = 100, .is_ascii = 1, .note = "a note"};
    v.loss_best = v.loss_last = v.accuracy_last = v.accuracy_best = (double)NAN;
    return v;
}

static void the_view_says_what_job_and_metrics_say(void **state)
{
    struct gdfo_view v = blank();
    struct gdfo_json *job = NULL;
    struct gdfo_buf b;
    (void)state;
    fill(&v, job_text, metrics_text, &job);
    v.elapsed_s = 61.0;
    gdfo_buf_init(&b, 8192);
    assert_int_equal(gdfo_view_render(&v, &b), 8);
    assert_string_equal(b.data,
                        "running  ftjob-1  gdfo on local  1m01s\n"
                        "budget  [####################....................]  30 of 60 evals  ETA "
                        "1m15s\n"
                        "spent   queries 960  dev queries 32  tokens 1005\n"
                        "result  best loss_dev 0.4  now 0.5  dev accuracy 0.875  now 0.75\n"
                        "loss_dev   ######              0.9\n"
                        "           ######......------  0.4\n"
                        "step 3\n"
                        "a note\n");
    gdfo_buf_deinit(&b);
    gdfo_json_destroy(job);
}

static void a_new_job_is_shown_with_what_there_is(void **state)
{
    struct gdfo_view v = blank();
    struct gdfo_json *job = NULL;
    struct gdfo_buf b;
    (void)state;
    v.note = NULL;
    fill(&v, "{\"id\":\"ftjob-1\",\"status\":\"queued\"}", NULL, &job);
    gdfo_buf_init(&b, 8192);
    assert_int_equal(gdfo_view_render(&v, &b), 4);
    assert_non_null(strstr(b.data, "queued  ftjob-1"));
    assert_null(strstr(b.data, "nan"));
    gdfo_buf_deinit(&b);
    gdfo_json_destroy(job);
}

static void the_budget_is_counted_in_the_unit_that_has_a_cap(void **state)
{
    struct gdfo_view v = blank();
    struct gdfo_json *job = NULL;
    (void)state;
    fill(&v, "{\"budget\":{\"evals\":null,\"queries\":500},\"spend\":{\"evals\":3,\"queries\":96}}",
         NULL, &job);
    assert_string_equal(v.unit, "queries");
    assert_true(v.used == 96.0 && v.cap == 500.0);
    gdfo_json_destroy(job);
    fill(&v, "{\"spend\":{\"evals\":3}}", NULL, &job);
    assert_string_equal(v.unit, "evals");
    assert_true(isnan(v.cap));
    gdfo_json_destroy(job);
}

static void a_curve_longer_than_the_view_keeps_its_newest_points(void **state)
{
    struct gdfo_view v = blank();
    struct gdfo_json *metrics = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 65536);
    gdfo_buf_add(&b, "{\"series\":{\"loss_train\":{\"y\":[");
    for (int i = 0; i < GDFO_VIEW_POINTS + 10; i++) {
        gdfo_buf_addf(&b, "%s%d", i ? "," : "", i);
    }
    gdfo_buf_add(&b, "]}}}");
    gdfo_test_ok(gdfo_json_parse(&metrics, b.data, b.len, NULL, &err), &err);
    gdfo_view_take_metrics(&v, metrics);
    assert_string_equal(v.loss_name, "loss_train");
    assert_int_equal(v.n_curve, GDFO_VIEW_POINTS);
    assert_true(v.curve[0] == 10.0 && v.loss_last == GDFO_VIEW_POINTS + 9);
    gdfo_json_destroy(metrics);
    gdfo_buf_deinit(&b);
}

static void lines_are_cut_at_the_width_between_characters(void **state)
{
    struct gdfo_view v = blank();
    struct gdfo_json *job = NULL;
    (void)state;
    fill(&v, job_text, metrics_text, &job);
    v.is_ascii = 0;
    v.has_color = 1;
    v.note = "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
             "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
             "\xc3\xa9\xc3\xa9";
    for (v.width = 20; v.width < 100; v.width++) {
        struct gdfo_buf b;
        int columns = 0;
        gdfo_buf_init(&b, 8192);
        (void)gdfo_view_render(&v, &b);
        for (size_t i = 0; i < b.len; i++) {
            if (b.data[i] == '\033') {
                i += strcspn(b.data + i, "m");
            } else if (b.data[i] == '\n') {
                columns = 0;
            } else {
                columns += ((unsigned char)b.data[i] & 0xc0) != 0x80;
                assert_true(columns <= v.width);
            }
        }
        gdfo_buf_deinit(&b);
    }
    gdfo_json_destroy(job);
}

/* ---- cells ---- */

static void durations_read_well(void **state)
{
    static const struct {
        double s;
        const char *want;
    } rows[] = {{0, "0s"},         {59.4, "59s"},  {60, "1m00s"}, {3599, "59m59s"}, {3600, "1h00m"},
                {90000, "25h00m"}, {200000, "2d"}, {-1, "-"},     {1e300, "-"}};
    char out[GDFO_CLI_CELL_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gdfo_cli_seconds(rows[i].s, out);
        assert_string_equal(out, rows[i].want);
    }
    gdfo_cli_seconds((double)NAN, out);
    assert_string_equal(out, "-");
}

static void text_loses_what_moves_a_terminal(void **state)
{
    char text[] = "a\x1b[2J\x07\xc2\x9b"
                  "b\xff\xe2\x80\xae.\xc3\xa9";
    (void)state;
    gdfo_cli_clean(text);
    assert_string_equal(text, "a?[2J???b????.\xc3\xa9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bars_fill_by_share),
        cmocka_unit_test(a_spark_runs_from_its_lowest_to_its_highest_point),
        cmocka_unit_test(a_spark_takes_the_mean_of_what_falls_together),
        cmocka_unit_test(odd_points_leave_holes),
        cmocka_unit_test(the_view_says_what_job_and_metrics_say),
        cmocka_unit_test(a_new_job_is_shown_with_what_there_is),
        cmocka_unit_test(the_budget_is_counted_in_the_unit_that_has_a_cap),
        cmocka_unit_test(a_curve_longer_than_the_view_keeps_its_newest_points),
        cmocka_unit_test(lines_are_cut_at_the_width_between_characters),
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(text_loses_what_moves_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
