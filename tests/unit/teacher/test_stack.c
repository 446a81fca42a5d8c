#include "server/teacher/stack.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

#define D        64
#define BOOK_MAX 16

static const struct gdfo_text bodies[2] = {{"Once upon a time", 16}, {"Tom", 3}};
static const struct gdfo_label_ids forms[2] = {{{300}, 1}, {{301}, 1}};

/* A ledger in memory that writes down the order of what it is told. */
struct book {
    char order[64]; /* b begin, a answered, e end, r reject */
    struct gdfo_call calls[BOOK_MAX];
    struct gdfo_buf answers[BOOK_MAX];
    int n;
    enum gdfo_status refuse; /* what begin says */
    struct gdfo_ledger ledger;
};

static void note(struct book *b, char what)
{
    size_t n = strlen(b->order);
    b->order[n] = what;
}

static enum gdfo_status book_begin(void *ctx, const struct gdfo_call *call, struct gdfo_buf *answer,
                                   int *is_answered, struct gdfo_error *err)
{
    struct book *b = ctx;
    note(b, 'b');
    if (b->refuse != GDFO_STATUS_OK) {
        return gdfo_error_set(err, b->refuse, "no");
    }
    for (int i = 0; i < b->n; i++) {
        if (memcmp(b->calls[i].request_sha256, call->request_sha256, 32) == 0 &&
            b->calls[i].seq == call->seq) {
            gdfo_buf_addn(answer, b->answers[i].data, b->answers[i].len);
            *is_answered = 1;
            note(b, 'a');
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status book_end(void *ctx, const struct gdfo_call *call,
                                 const struct gdfo_buf *answer, const struct gdfo_usage *used,
                                 struct gdfo_error *err)
{
    struct book *b = ctx;
    (void)err;
    (void)used;
    note(b, 'e');
    assert_true(b->n < BOOK_MAX);
    b->calls[b->n] = *call;
    gdfo_buf_init(&b->answers[b->n], 1 << 20);
    gdfo_buf_addn(&b->answers[b->n], answer->data, answer->len);
    b->n++;
    return GDFO_STATUS_OK;
}

static void book_reject(void *ctx, const struct gdfo_call *call, const struct gdfo_error *why,
                        int is_unknown)
{
    (void)is_unknown;
    (void)call;
    (void)why;
    note(ctx, 'r');
}

static struct book *book_open(void)
{
    static struct book b;
    for (int i = 0; i < b.n; i++) {
        gdfo_buf_deinit(&b.answers[i]);
    }
    memset(&b, 0, sizeof b);
    b.ledger = (struct gdfo_ledger){&b, book_begin, book_end, book_reject};
    return &b;
}

static struct gdfo_score_req request(const float *rows, uint32_t n_prompts)
{
    struct gdfo_score_req req = {.rows = rows,
                                 .n_prompts = n_prompts,
                                 .n_prompt_tokens = 1,
                                 .d_model = D,
                                 .position = GDFO_POSITION_SUFFIX,
                                 .bodies = bodies,
                                 .n_examples = 2,
                                 .cue = {" and", 4},
                                 .forms = forms,
                                 .n_forms = 2};
    return req;
}

static void the_intent_stands_before_the_call_and_the_answer_after(void **state)
{
    struct tiny *t = *state;
    struct book *b = book_open();
    struct gdfo_stack *s = NULL;
    struct gdfo_error err = {0};
    float rows[3 * D] = {0.5F};
    float lp[3 * 2 * 2];
    struct gdfo_score_req req = request(rows, 3);
    struct gdfo_score_res res = {.lp = lp};
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &b->ledger, &err), &err);
    gdfo_test_ok(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err), &err);
    assert_string_equal(b->order, "be");
    assert_int_equal(b->calls[0].seq, 0);
    assert_int_equal(b->calls[0].n_queries, 6);
    assert_true(b->calls[0].reserved.tokens_in >= res.usage.tokens_in);
    assert_int_equal(gdfo_stack_meter(s)->evals, 3);
    assert_int_equal(gdfo_stack_meter(s)->next_seq, 3);
    gdfo_stack_destroy(s);
}

static void an_answer_on_file_is_not_asked_again_and_counts_the_same(void **state)
{
    struct tiny *t = *state;
    struct book *b = book_open();
    struct gdfo_stack *s = NULL;
    struct gdfo_stack *again = NULL;
    struct gdfo_error err = {0};
    float rows[D] = {0.25F};
    float first[4];
    float second[4];
    struct gdfo_score_req req = request(rows, 1);
    struct gdfo_score_res res = {.lp = first};
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &b->ledger, &err), &err);
    gdfo_test_ok(gdfo_stack_score(s, &req, GDFO_PURPOSE_DEV, &res, &err), &err);
    gdfo_test_ok(gdfo_stack_create(&again, t->teacher, &b->ledger, &err), &err);
    res.lp = second;
    gdfo_test_ok(gdfo_stack_score(again, &req, GDFO_PURPOSE_DEV, &res, &err), &err);
    assert_string_equal(b->order, "beba");
    assert_memory_equal(first, second, sizeof first);
    assert_memory_equal(gdfo_stack_meter(s), gdfo_stack_meter(again), sizeof(struct gdfo_meter));
    assert_int_equal(gdfo_stack_meter(again)->dev_evals, 1);
    assert_int_equal(gdfo_stack_meter(again)->evals, 0);
    gdfo_stack_destroy(s);
    gdfo_stack_destroy(again);
}

static void a_refused_budget_makes_no_call(void **state)
{
    struct tiny *t = *state;
    struct book *b = book_open();
    struct gdfo_stack *s = NULL;
    struct gdfo_error err = {0};
    float rows[D] = {0};
    float lp[4];
    struct gdfo_score_req req = request(rows, 1);
    struct gdfo_score_res res = {.lp = lp};
    b->refuse = GDFO_STATUS_BUDGET;
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &b->ledger, &err), &err);
    assert_int_equal(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err), GDFO_STATUS_BUDGET);
    assert_string_equal(b->order, "b");
    assert_int_equal(gdfo_stack_meter(s)->calls, 0);
    gdfo_stack_destroy(s);
}

static void a_damaged_answer_on_file_is_noticed(void **state)
{
    struct tiny *t = *state;
    struct book *b = book_open();
    struct gdfo_stack *s = NULL;
    struct gdfo_error err = {0};
    float rows[D] = {0};
    float lp[4];
    struct gdfo_score_req req = request(rows, 1);
    struct gdfo_score_res res = {.lp = lp};
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &b->ledger, &err), &err);
    gdfo_test_ok(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err), &err);
    gdfo_stack_set_meter(s, &(struct gdfo_meter){0});
    b->answers[0].len--;
    assert_int_equal(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err),
                     GDFO_STATUS_CORRUPT);
    gdfo_stack_destroy(s);
}

static void a_failed_call_is_rejected_in_the_ledger(void **state)
{
    struct tiny *t = *state;
    struct book *b = book_open();
    struct gdfo_stack *s = NULL;
    struct gdfo_error err = {0};
    float rows[D] = {0};
    float lp[4];
    struct gdfo_score_req req = request(rows, 1);
    struct gdfo_score_res res = {.lp = lp};
    rows[3] = (float)INFINITY;
    gdfo_test_ok(gdfo_stack_create(&s, t->teacher, &b->ledger, &err), &err);
    assert_int_equal(gdfo_stack_score(s, &req, GDFO_PURPOSE_TRAIN, &res, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(b->order, "br");
    gdfo_stack_destroy(s);
}

/* Whatever can change an answer changes the hash; what cannot does not. */
static void the_hash_tells_requests_apart(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_teacher_caps *caps = gdfo_teacher_caps(t->teacher);
    float rows[2 * D] = {0};
    unsigned char base[32];
    unsigned char other[32];
    static const int32_t anchors[1] = {7};
    static const struct gdfo_text swapped[2] = {{"Tom", 3}, {"Once upon a time", 16}};
    static const struct gdfo_text moved[2] = {{"Once upon a timeT", 17}, {"om", 2}};
    struct gdfo_score_req req = request(rows, 2);
    struct gdfo_teacher_caps drifted = *caps;
    gdfo_stack_request_hash(caps, &req, base);
    for (int what = 0; what < 8; what++) {
        struct gdfo_score_req r = request(rows, 2);
        rows[5] = what == 0 ? 1e-7F : 0;
        r.position = what == 1 ? GDFO_POSITION_PREFIX : r.position;
        r.bodies = what == 2 ? swapped : what == 3 ? moved : r.bodies;
        r.cue.n -= what == 4;
        r.n_forms -= what == 5;
        r.anchor_ids = anchors;
        r.n_anchors = what == 6;
        drifted.identity[0] = what == 7 ? 'X' : caps->identity[0];
        gdfo_stack_request_hash(&drifted, &r, other);
        assert_memory_not_equal(base, other, sizeof base);
    }
    rows[5] = 0;
    gdfo_stack_request_hash(caps, &req, other);
    assert_memory_equal(base, other, sizeof base);
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
    (void)book_open();
    tiny_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_intent_stands_before_the_call_and_the_answer_after),
        cmocka_unit_test(an_answer_on_file_is_not_asked_again_and_counts_the_same),
        cmocka_unit_test(a_refused_budget_makes_no_call),
        cmocka_unit_test(a_damaged_answer_on_file_is_noticed),
        cmocka_unit_test(a_failed_call_is_rejected_in_the_ledger),
        cmocka_unit_test(the_hash_tells_requests_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
