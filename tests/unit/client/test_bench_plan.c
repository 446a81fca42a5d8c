/* Which cells a plan asks for, how predictions are scored, and what survives the results file. */
#include "client/cli/bench/doc.h"
#include "client/cli/bench/plot.h"
#include "client/cli/bench/score.h"
#include "common/mem.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS                                                                                      \
    "\"tasks\":[{\"name\":\"t\",\"train\":\"x\",\"test\":\"/y\"},"                                 \
    "{\"name\":\"u\",\"train\":\"x\",\"test\":\"y\",\"dev\":\"z\"}]"

static void collect(void *ctx, const char *path, const char *detail)
{
    struct gdfo_buf *b = ctx;
    gdfo_buf_addf(b, "%s: %s\n", path, detail);
}

static enum gdfo_status parse(const char *text, struct gdfo_bench_plan **out, struct gdfo_buf *told)
{
    char copy[4096];
    (void)snprintf(copy, sizeof copy, "%s", text);
    gdfo_buf_init(told, 65536);
    return gdfo_bench_plan_parse(out, copy, strlen(copy), "some/plan.json", collect, told, NULL);
}

static void cells_are_the_product_and_what_also_adds(void **state)
{
    static const char *const want[] = {"m/t/a/s7/b2", "m/u/a/s7/b2", "m/t/b/s7/b9", "m/u/a/s7/b9",
                                       "m/u/b/s7/b9"};
    struct gdfo_bench_plan *p = NULL;
    struct gdfo_buf told;
    (void)state;
    assert_int_equal(parse("{\"name\":\"n\",\"model\":\"m\",\"seeds\":[7],\"budgets\":[9]," TASKS
                           ",\"methods\":[{\"name\":\"a\",\"type\":\"bbt\",\"budgets\":[2]},"
                           "{\"name\":\"b\",\"type\":\"auto\"}],"
                           "\"also\":[{\"methods\":[\"a\"],\"tasks\":[\"u\"],\"budgets\":[9]}]}",
                           &p, &told),
                     GDFO_STATUS_OK);
    assert_int_equal(p->n_cells, 5);
    for (size_t i = 0; i < p->n_cells; i++) {
        assert_string_equal(p->cells[i].key, want[i]);
    }
    assert_string_equal(p->tasks[0].train, "some/x"); /* beside the plan */
    assert_string_equal(p->tasks[0].test, "/y");
    assert_string_equal(p->tasks[0].dev, "");
    assert_int_equal(p->reference, 1); /* the first of type auto */
    assert_int_equal(p->n_baselines, 2);
    assert_string_equal(p->methods[0].variants[0], "tuned");
    gdfo_bench_plan_destroy(p);
    gdfo_buf_deinit(&told);
}

static void a_method_without_any_budget_is_a_fault(void **state)
{
    struct gdfo_bench_plan *p = NULL;
    struct gdfo_buf told;
    (void)state;
    assert_int_equal(parse("{\"name\":\"n\",\"model\":\"m\",\"seeds\":[7]," TASKS
                           ",\"methods\":[{\"name\":\"a\",\"type\":\"bbt\"}]}",
                           &p, &told),
                     GDFO_STATUS_INVALID);
    assert_string_equal(told.data, "$.methods[0]: has no budgets, and neither has the plan\n");
    assert_null(p);
    gdfo_buf_deinit(&told);
}

static void a_digest_is_of_the_cell_alone(void **state)
{
    static const char text[] =
        "{\"name\":\"n\",\"model\":\"m\",\"seeds\":[7,8],\"budgets\":[9]," TASKS
        ",\"methods\":[{\"name\":\"a\",\"type\":\"bbt\"}]}";
    struct gdfo_bench *b = gdfo_mem_array(1, sizeof *b);
    struct gdfo_bench_plan *p = NULL;
    struct gdfo_buf told;
    char one[GDFO_BENCH_HEX_BYTES], two[GDFO_BENCH_HEX_BYTES];
    (void)state;
    assert_int_equal(parse(text, &p, &told), GDFO_STATUS_OK);
    b->plan = p;
    assert_int_equal(gdfo_bench_cell_digest(b, &p->cells[0], one, NULL), GDFO_STATUS_OK);
    assert_int_equal(gdfo_bench_cell_digest(b, &p->cells[0], two, NULL), GDFO_STATUS_OK);
    assert_string_equal(one, two);
    assert_int_equal(gdfo_bench_cell_digest(b, &p->cells[2], two, NULL), GDFO_STATUS_OK);
    assert_string_not_equal(one, two); /* another seed */
    (void)snprintf(b->data[0].sha256[GDFO_BENCH_TRAIN], GDFO_BENCH_HEX_BYTES, "ab");
    assert_int_equal(gdfo_bench_cell_digest(b, &p->cells[0], two, NULL), GDFO_STATUS_OK);
    assert_string_not_equal(one, two); /* other data */
    gdfo_bench_plan_destroy(p);
    gdfo_buf_deinit(&told);
    gdfo_mem_free(b);
}

/* Hand counts: ln 2 for even odds, ln(1 + e^-1) for a lead of one, the floor for a null. */
static void scores_are_those_of_hand(void **state)
{
    static const char even[] =
        "{}\n{\"label\":\"a\",\"predicted\":\"a\",\"lp\":{\"a\":-3,\"b\":-3}}\n"
        "{\"label\":\"a\",\"predicted\":\"b\",\"lp\":{\"a\":-2,\"b\":-1}}\n";
    static const char odd[] =
        "{}\n{\"label\":\"a\",\"predicted\":\"b\",\"lp\":{\"a\":null,\"b\":-1}}\n"
        "{\"label\":\"z\",\"predicted\":\"b\",\"lp\":{\"a\":-1,\"b\":-1}}\n";
    struct gdfo_bench_score s = {{0}, 0, 0, 0, {0}, {0}};
    (void)state;
    gdfo_bench_score_lines(even, sizeof even - 1, &s);
    assert_int_equal(s.n, 2);
    gdfo_test_near(s.accuracy, 0.5, 1e-15);
    gdfo_test_near(s.loss, (log(2.0) + log(1.0 + exp(1.0))) / 2.0, 1e-12);
    gdfo_bench_score_lines(odd, sizeof odd - 1, &s);
    gdfo_test_near(s.accuracy, 0.0, 0.0);
    gdfo_test_near(s.loss, -log(1e-12), 1e-9);
    gdfo_bench_score_lines(even, 3, &s); /* the header alone */
    assert_int_equal(s.n, 0);
    assert_true(isnan(s.accuracy) && isnan(s.loss));
}

static void a_draw_takes_as_many_rows_as_asked(void **state)
{
    const struct gdfo_bench_data data = {.n_test = 1000, .n_asked = 100};
    struct gdfo_bench_draw one = gdfo_bench_draw(&data), two = gdfo_bench_draw(&data);
    size_t n = 0, n_early = 0;
    (void)state;
    for (size_t i = 0; i < data.n_test; i++) {
        int is_taken = gdfo_bench_draw_next(&one);
        assert_int_equal(is_taken, gdfo_bench_draw_next(&two)); /* the same rows every time */
        n += (size_t)is_taken;
        n_early += i < 500 ? (size_t)is_taken : 0;
    }
    assert_int_equal(n, 100);
    assert_in_range(n_early, 30,
                    70); /* 50 +- 4 standard deviations: not the head of a sorted file */
}

static void results_come_back_as_they_were_saved(void **state)
{
    struct gdfo_bench_results a, b;
    struct gdfo_bench_result *row;
    char path[] = "/tmp/gdfo-bench-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    gdfo_bench_results_init(&a);
    gdfo_bench_results_init(&b);
    row = gdfo_bench_results_put(&a, "m/t/a/s7/b2", "d1");
    row->state = GDFO_BENCH_STATE_DONE;
    row->evals = 30.0;
    row->tau = (struct gdfo_bench_course){0.1, 0.3, 0.2};
    row->n_scores = 1;
    row->scores[0] = (struct gdfo_bench_score){"tuned", 0.1, 1.0 / 3.0, 12, "t/12", ""};
    row = gdfo_bench_results_put(&a, "m/t/a/s8/b2", "d2");
    row->state = GDFO_BENCH_STATE_FAILED;
    (void)snprintf(row->why, sizeof row->why, "because \"x\"");
    gdfo_bench_results_put_baseline(&a, "m/t/s7", "manual")->score.accuracy = 0.25;
    assert_int_equal(gdfo_bench_results_save(&a, "n", path, NULL), GDFO_STATUS_OK);
    assert_int_equal(gdfo_bench_results_load(&b, path, NULL), GDFO_STATUS_OK);
    assert_int_equal(b.n, 2);
    row = gdfo_bench_results_find(&b, "m/t/a/s7/b2");
    assert_non_null(row);
    assert_int_equal(row->state, GDFO_BENCH_STATE_DONE);
    gdfo_test_near(row->evals, 30.0, 0.0);
    assert_true(isnan(row->seconds) && isnan(row->cosine.mean));
    gdfo_test_near(row->tau.last, 0.3, 0.0);
    gdfo_test_near(gdfo_bench_result_score(row, "tuned")->loss, 1.0 / 3.0, 0.0);
    assert_string_equal(gdfo_bench_results_find(&b, "m/t/a/s8/b2")->why, "because \"x\"");
    gdfo_test_near(gdfo_bench_results_baseline(&b, "m/t/s7", "manual")->score.accuracy, 0.25, 0.0);
    gdfo_bench_results_deinit(&a);
    gdfo_bench_results_deinit(&b);
    (void)close(fd);
    (void)unlink(path);
}

static void ticks_are_round_and_inside(void **state)
{
    double ticks[16];
    size_t n;
    (void)state;
    gdfo_plot_ticks(0.43, 0.97, 5, ticks, 16, &n);
    assert_int_equal(n, 2); /* 0.54 / 5 = 0.108, so steps of 0.2 */
    gdfo_test_near(ticks[0], 0.6, 1e-12);
    gdfo_test_near(ticks[1], 0.8, 1e-12);
    gdfo_plot_ticks(1.0, 1.0, 5, ticks, 16, &n);
    assert_int_equal(n, 0);
}

static void text_is_escaped_in_both_reports(void **state)
{
    struct gdfo_buf out;
    struct gdfo_doc html = {.out = &out, .is_html = 1}, md = {.out = &out};
    (void)state;
    gdfo_buf_init(&out, 4096);
    gdfo_doc_text(&html, "<b a=\"1\">&\x1b");
    assert_string_equal(out.data, "&lt;b a=&quot;1&quot;&gt;&amp;?");
    gdfo_buf_reset(&out);
    gdfo_doc_text(&md, "a|b <i>\n");
    assert_string_equal(out.data, "a\\|b \\<i\\>?");
    gdfo_buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_the_product_and_what_also_adds),
        cmocka_unit_test(a_method_without_any_budget_is_a_fault),
        cmocka_unit_test(a_digest_is_of_the_cell_alone),
        cmocka_unit_test(scores_are_those_of_hand),
        cmocka_unit_test(a_draw_takes_as_many_rows_as_asked),
        cmocka_unit_test(results_come_back_as_they_were_saved),
        cmocka_unit_test(ticks_are_round_and_inside),
        cmocka_unit_test(text_is_escaped_in_both_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
