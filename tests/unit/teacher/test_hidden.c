/* Hidden states in the teacher's answer: PyTorch's on the same model, the same bits alone and
 * together, and the same bits from an answer on file. */
#include "common/json.h"
#include "server/teacher/stack.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

#define D 64

static const struct gdfo_label_ids forms[2] = {{{300}, 1}, {{300, 302}, 2}};
static const struct gdfo_text bodies[3] = {
    {"Once upon a time", 16}, {"Tom", 3}, {"She was happy because the sun was warm", 38}};

static struct gdfo_score_req request(const struct gdfo_text *texts, uint32_t n, const char *cue)
{
    return (struct gdfo_score_req){.n_prompts = 1,
                                   .d_model = D,
                                   .position = GDFO_POSITION_SUFFIX,
                                   .bodies = texts,
                                   .n_examples = n,
                                   .cue = {cue, strlen(cue)},
                                   .forms = forms,
                                   .n_forms = 2,
                                   .want_hidden = 1};
}

static struct gdfo_json *reference(void)
{
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_test_ok(gdfo_file_read("tests/reference/engine/stories-hidden.json", &b, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    gdfo_buf_deinit(&b);
    return root;
}

static double check_case(struct tiny *t, const struct gdfo_json *one)
{
    const char *body = gdfo_json_string(gdfo_json_get(one, "body"));
    struct gdfo_text text = {body, strlen(body)};
    struct gdfo_score_req req = request(&text, 1, gdfo_json_string(gdfo_json_get(one, "cue")));
    float lp[2], hidden[D];
    struct gdfo_score_res res = {.lp = lp, .hidden = hidden};
    struct gdfo_error err = {0};
    int64_t n_tokens = 0;
    size_t i = 0;
    double worst = 0;
    req.n_forms = 1;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_true(gdfo_json_int(gdfo_json_get(one, "n_tokens"), &n_tokens));
    assert_int_equal(res.usage.tokens_in, n_tokens);
    for (const struct gdfo_json *v = gdfo_json_first(gdfo_json_get(one, "hidden")); v;
         v = gdfo_json_next(v)) {
        double x = 0;
        assert_true(gdfo_json_number(v, &x));
        worst = fmax(worst, fabs(x - (double)hidden[i++]));
    }
    assert_int_equal(i, D);
    return worst;
}

static void hidden_states_are_those_of_pytorch(void **state)
{
    struct gdfo_json *root = reference();
    size_t n = 0;
    for (const struct gdfo_json *one = gdfo_json_first(gdfo_json_get(root, "cases")); one;
         one = gdfo_json_next(one)) {
        double worst = check_case(*state, one);
        print_message("worst of %d numbers: %.3g\n", D, worst);
        assert_true(worst < 1e-4); /* the largest are about 7 */
        n++;
    }
    assert_int_equal(n, 2);
    gdfo_json_destroy(root);
}

static void together_and_alone_are_the_same_bits(void **state)
{
    struct tiny *t = *state;
    float rows[2 * 2 * D] = {0};
    float lp[2 * 3 * 2], hidden[2 * 3 * D];
    struct gdfo_score_req req = request(bodies, 3, " so");
    struct gdfo_score_res res = {.lp = lp, .hidden = hidden};
    struct gdfo_error err = {0};
    rows[3] = 0.7F;
    rows[2 * D + 5] = -0.4F;
    req.rows = rows;
    req.n_prompts = 2;
    req.n_prompt_tokens = 2;
    for (int position = GDFO_POSITION_PREFIX; position <= GDFO_POSITION_SUFFIX; position++) {
        req.position = (enum gdfo_position)position;
        gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
        for (uint32_t cell = 0; cell < 6; cell++) {
            float one_lp[2], one[D];
            struct gdfo_score_req r = req;
            struct gdfo_score_res one_res = {.lp = one_lp, .hidden = one};
            r.rows = rows + (size_t)(cell / 3) * 2 * D;
            r.n_prompts = 1;
            r.bodies = bodies + cell % 3;
            r.n_examples = 1;
            gdfo_test_ok(gdfo_teacher_run(t->teacher, &r, &one_res, &err), &err);
            assert_memory_equal(one, hidden + (size_t)cell * D, sizeof one);
        }
        assert_memory_not_equal(hidden, hidden + 3 * D, D * sizeof *hidden);
    }
}

struct note { /* a ledger of one call */
    struct gdfo_buf answer;
    int is_there, n_answered;
};

static enum gdfo_status note_begin(void *ctx, const struct gdfo_call *call, struct gdfo_buf *answer,
                                   int *is_answered, struct gdfo_error *err)
{
    struct note *n = ctx;
    (void)call;
    (void)err;
    if (n->is_there) {
        gdfo_buf_addn(answer, n->answer.data, n->answer.len);
        *is_answered = 1;
        n->n_answered++;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status note_end(void *ctx, const struct gdfo_call *call,
                                 const struct gdfo_buf *answer, const struct gdfo_usage *used,
                                 struct gdfo_error *err)
{
    struct note *n = ctx;
    (void)call;
    (void)used;
    (void)err;
    gdfo_buf_addn(&n->answer, answer->data, answer->len);
    n->is_there = 1;
    return GDFO_STATUS_OK;
}

static void note_reject(void *ctx, const struct gdfo_call *call, const struct gdfo_error *why,
                        int is_unknown)
{
    (void)is_unknown;
    (void)ctx;
    (void)call;
    (void)why;
}

static void an_answer_on_file_keeps_the_hidden_states(void **state)
{
    struct tiny *t = *state;
    struct note n = {.is_there = 0};
    const struct gdfo_ledger ledger = {&n, note_begin, note_end, note_reject};
    struct gdfo_stack *s = NULL;
    struct gdfo_error err = {0};
    float lp[6], hidden[3 * D], lp_again[6], hidden_again[3 * D] = {0};
    struct gdfo_score_req req = request(bodies, 3, " so");
    struct gdfo_score_res res = {.lp = lp, .hidden = hidden};
    gdfo_buf_init(&n.answer, 1 << 20);
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &ledger, &err), &err);
    gdfo_test_ok(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err), &err);
    res.lp = lp_again;
    res.hidden = hidden_again;
    gdfo_test_ok(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err), &err);
    assert_int_equal(n.n_answered, 1);
    assert_memory_equal(lp, lp_again, sizeof lp);
    assert_memory_equal(hidden, hidden_again, sizeof hidden);
    n.answer.len -= 4;
    assert_int_equal(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err),
                     GDFO_STATUS_CORRUPT);
    n.answer.len += 4;
    req.want_hidden = 0; /* the bytes are another request's */
    assert_int_equal(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err),
                     GDFO_STATUS_CORRUPT);
    gdfo_stack_destroy(s);
    gdfo_buf_deinit(&n.answer);
}

static void asking_for_them_is_another_request(void **state)
{
    struct tiny *t = *state;
    unsigned char with[GDFO_SHA256_BYTES], without[GDFO_SHA256_BYTES];
    struct gdfo_score_req req = request(bodies, 3, " so");
    gdfo_stack_request_hash(gdfo_teacher_caps(t->teacher), &req, with);
    req.want_hidden = 0;
    gdfo_stack_request_hash(gdfo_teacher_caps(t->teacher), &req, without);
    assert_memory_not_equal(with, without, sizeof with);
    assert_true(gdfo_teacher_caps(t->teacher)->has_hidden);
}

static int set_up(void **state)
{
    static struct tiny t;
    tiny_open(&t, 0);
    *state = &t;
    return 0;
}

static int tear_down(void **state)
{
    tiny_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hidden_states_are_those_of_pytorch),
        cmocka_unit_test(together_and_alone_are_the_same_bits),
        cmocka_unit_test(an_answer_on_file_keeps_the_hidden_states),
        cmocka_unit_test(asking_for_them_is_another_request),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
