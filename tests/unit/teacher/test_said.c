/* Answers that have begun, and logits: the same bits as the label trie's, whoever appends. */
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

#define D 64
#define V 512

static const struct gdfo_text bodies[3] = {
    {"Once upon a time", 16}, {"Tom", 3}, {"She was happy because the sun was warm", 38}};
static const struct gdfo_label_ids whole[2] = {{{300, 302}, 2}, {{300, 7, 9}, 3}};
static float rows[2 * 2 * D];

static struct gdfo_score_req request(enum gdfo_position position,
                                     const struct gdfo_label_ids *forms, uint32_t n_forms)
{
    rows[3] = 0.7F;
    rows[2 * D + 5] = -0.4F;
    return (struct gdfo_score_req){.rows = rows,
                                   .n_prompts = 2,
                                   .n_prompt_tokens = 2,
                                   .d_model = D,
                                   .position = position,
                                   .bodies = bodies,
                                   .n_examples = 3,
                                   .cue = {" so", 3},
                                   .forms = forms,
                                   .n_forms = n_forms};
}

/* lp [6] of next token `id` in every cell after `said`, the same for all examples. */
static void ask(struct tiny *t, enum gdfo_position position, const struct gdfo_label_ids *said,
                int32_t id, float lp[6])
{
    const struct gdfo_label_ids form = {{id}, 1};
    const struct gdfo_label_ids all[3] = {*said, *said, *said};
    struct gdfo_score_req req = request(position, &form, 1);
    struct gdfo_score_res res = {.lp = lp};
    struct gdfo_error err = {0};
    req.said = all;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
}

static void a_form_is_the_sum_of_its_steps_bit_for_bit(void **state)
{
    struct tiny *t = *state;
    for (int p = GDFO_POSITION_PREFIX; p <= GDFO_POSITION_SUFFIX; p++) {
        const enum gdfo_position position = (enum gdfo_position)p;
        struct gdfo_score_req req = request(position, whole, 2);
        float lp[6 * 2];
        struct gdfo_score_res res = {.lp = lp};
        struct gdfo_error err = {0};
        gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
        for (int f = 0; f < 2; f++) {
            double sums[6] = {0};
            for (uint32_t depth = 0; depth < whole[f].n_ids; depth++) {
                struct gdfo_label_ids said = whole[f];
                float step[6];
                said.n_ids = depth;
                ask(t, position, &said, whole[f].ids[depth], step);
                for (int i = 0; i < 6; i++) {
                    sums[i] += (double)step[i];
                }
            }
            for (int i = 0; i < 6; i++) {
                const float sum = (float)sums[i];
                assert_memory_equal(&sum, &lp[i * 2 + f], sizeof sum);
            }
        }
    }
}

static void each_example_has_its_own_beginning(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_label_ids form = {{9}, 1};
    const struct gdfo_label_ids said[3] = {{{0}, 0}, {{300}, 1}, {{300, 7}, 2}};
    struct gdfo_score_req req = request(GDFO_POSITION_SUFFIX, &form, 1);
    float lp[6];
    struct gdfo_score_res res = {.lp = lp};
    struct gdfo_usage usage = {0};
    struct gdfo_error err = {0};
    req.said = said;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    gdfo_test_ok(gdfo_teacher_measure(t->teacher, &req, &usage, &err), &err);
    for (uint32_t b = 0; b < 3; b++) {
        float alone[6];
        ask(t, GDFO_POSITION_SUFFIX, &said[b], 9, alone);
        assert_memory_equal(&alone[b], &lp[b], sizeof lp[b]);
        assert_memory_equal(&alone[3 + b], &lp[3 + b], sizeof lp[b]);
    }
    assert_int_equal(usage.tokens_in, res.usage.tokens_in);
    req.said = NULL;
    gdfo_test_ok(gdfo_teacher_measure(t->teacher, &req, &usage, &err), &err);
    assert_int_equal(res.usage.tokens_in, usage.tokens_in + 2L * (0 + 1 + 2));
}

static double log_sum(const float *logits)
{
    double most = (double)logits[0];
    double sum = 0;
    for (int i = 1; i < V; i++) {
        most = fmax(most, (double)logits[i]);
    }
    for (int i = 0; i < V; i++) {
        sum += exp((double)logits[i] - most);
    }
    return most + log(sum);
}

static void logits_are_those_under_the_log_probabilities(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_label_ids forms[2] = {{{300}, 1}, {{7}, 1}};
    static float logits[6 * V];
    for (int p = GDFO_POSITION_PREFIX; p <= GDFO_POSITION_SUFFIX; p++) {
        struct gdfo_score_req req = request((enum gdfo_position)p, forms, 2);
        float lp[6 * 2];
        struct gdfo_score_res res = {.lp = lp, .logits = logits};
        struct gdfo_error err = {0};
        req.want_logits = 1;
        gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
        for (size_t cell = 0; cell < 6; cell++) {
            const float *row = logits + cell * V;
            gdfo_test_near((double)row[300] - log_sum(row), (double)lp[2 * cell], 1e-5);
            gdfo_test_near((double)row[7] - log_sum(row), (double)lp[2 * cell + 1], 1e-5);
        }
    }
}

static void too_long_a_beginning_and_unknown_tokens_are_refused(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_label_ids form = {{9}, 1};
    struct gdfo_label_ids said[3] = {{{0}, 0}, {{V}, 1}, {{0}, 0}};
    struct gdfo_score_req req = request(GDFO_POSITION_SUFFIX, &form, 1);
    float lp[6];
    struct gdfo_score_res res = {.lp = lp};
    struct gdfo_error err = {0};
    req.said = said;
    assert_int_equal(gdfo_teacher_run(t->teacher, &req, &res, &err), GDFO_STATUS_INVALID);
    said[1].n_ids = GDFO_LABEL_IDS_MAX + 1;
    assert_int_equal(gdfo_teacher_run(t->teacher, &req, &res, &err), GDFO_STATUS_INVALID);
    assert_non_null(strstr(err.text, "example 1 begins its answer with 9 tokens: at most 8"));
}

static int setup(void **state)
{
    static struct tiny t;
    tiny_open(&t, 0);
    *state = &t;
    return 0;
}

static int teardown(void **state)
{
    tiny_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_is_the_sum_of_its_steps_bit_for_bit),
        cmocka_unit_test(each_example_has_its_own_beginning),
        cmocka_unit_test(logits_are_those_under_the_log_probabilities),
        cmocka_unit_test(too_long_a_beginning_and_unknown_tokens_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
