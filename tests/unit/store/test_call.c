#include "server/store/store_step.h"
#include "tests/unit/store/fixture.h"

#include <stdio.h>

static struct gdfo_store_spend spend_of(struct fixture *f, int64_t jid)
{
    struct gdfo_store_job job = fixture_read(f, jid);
    struct gdfo_store_spend spend = job.spend;
    gdfo_store_job_deinit(&job);
    return spend;
}

/* The ledger and the job row say the same, after everything. */
static void check_sums(struct fixture *f, int64_t jid)
{
    struct gdfo_store_spend row = spend_of(f, jid);
    struct gdfo_store_spend sums = {0};
    gdfo_test_ok(gdfo_store_call_sums(f->s, jid, &sums, &f->err), &f->err);
    assert_int_equal(sums.evals, row.evals);
    assert_int_equal(sums.queries, row.queries);
    assert_int_equal(sums.dev_queries, row.dev_queries);
    assert_int_equal(sums.cached, row.cached);
    assert_int_equal(sums.calls, row.calls);
    assert_int_equal(sums.tokens_in, row.tokens_in);
    assert_int_equal(sums.tokens_out, row.tokens_out);
    assert_int_equal(sums.usd_micros, row.usd_micros);
    assert_int_equal(sums.unknown_calls, row.unknown_calls);
}

static struct gdfo_store_cap cap_of(struct fixture *f, int64_t jid, enum gdfo_store_unit unit)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    size_t n;
    gdfo_test_ok(gdfo_store_job_caps(f->s, jid, caps, &n, &f->err), &f->err);
    for (size_t i = 0; i < n; i++) {
        if (caps[i].unit == unit) {
            return caps[i];
        }
    }
    fail();
    return caps[0];
}

static int64_t intend(struct fixture *f, const struct gdfo_store_intent *call)
{
    int64_t attempt = 0;
    gdfo_test_ok(gdfo_store_call_intent(f->s, call, &attempt, &f->err), &f->err);
    return attempt;
}

static void finish(struct fixture *f, const struct gdfo_store_intent *call, int64_t attempt)
{
    struct gdfo_store_outcome o = fixture_done(call, attempt);
    gdfo_test_ok(gdfo_store_call_done(f->s, &o, &f->err), &f->err);
}

static struct gdfo_store_call row_of(struct fixture *f, int64_t jid, size_t index)
{
    struct gdfo_store_call rows[16];
    size_t n;
    gdfo_test_ok(gdfo_store_call_list(f->s, jid, NULL, rows, 16, &n, &f->err), &f->err);
    assert_true(index < n);
    return rows[index];
}

static size_t count_rows(struct fixture *f, int64_t jid)
{
    struct gdfo_store_call rows[16];
    size_t n;
    gdfo_test_ok(gdfo_store_call_list(f->s, jid, NULL, rows, 16, &n, &f->err), &f->err);
    return n;
}

/* ---- the plain way ----------------------------------------------------------------------------
 */

static void a_call_is_open_then_done_with_its_answer(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_call row;
    struct gdfo_buf answer;
    unsigned char sha[GDFO_SHA256_BYTES];
    int found = 9;
    gdfo_buf_init(&answer, 100);
    gdfo_test_ok(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err), &f->err);
    assert_int_equal(found, 0);
    assert_int_equal(intend(f, &call), 1);
    row = row_of(f, jid, 0);
    assert_int_equal(row.state, GDFO_STORE_CALL_INTENT);
    assert_int_equal(row.intent_ms, T0_MS);
    assert_int_equal(row.done_ms, 0);
    assert_int_equal(row.reserved_in, 7000);
    gdfo_test_ok(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err), &f->err);
    assert_int_equal(found, 0); /* an open one has no answer */
    assert_int_equal(spend_of(f, jid).calls, 0);
    f->now_ms += 250;
    finish(f, &call, 1);
    row = row_of(f, jid, 0);
    assert_int_equal(row.state, GDFO_STORE_CALL_DONE);
    assert_int_equal(row.done_ms - row.intent_ms, 250);
    assert_int_equal(row.used_in, 6500);
    assert_int_equal(row.used_cached, 6000);
    assert_string_equal(row.verdict, "OK");
    gdfo_sha256("answer", 6, sha);
    assert_memory_equal(row.answer_sha256, sha, sizeof sha);
    gdfo_test_ok(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err), &f->err);
    assert_int_equal(found, 1);
    assert_int_equal(answer.len, 6);
    assert_memory_equal(answer.data, "answer", 6);
    gdfo_buf_deinit(&answer);
    check_sums(f, jid);
}

static void train_and_dev_are_counted_apart(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_spend spend;
    finish(f, &call, intend(f, &call));
    call = fixture_call(jid, 20);
    call.purpose = GDFO_STORE_DEV;
    call.n_prompts = 1;
    call.n_queries = 32;
    finish(f, &call, intend(f, &call));
    spend = spend_of(f, jid);
    assert_int_equal(spend.evals, 20);
    assert_int_equal(spend.queries, 640);
    assert_int_equal(spend.dev_queries, 32);
    assert_int_equal(spend.calls, 2);
    assert_int_equal(spend.tokens_in, 13000);
    check_sums(f, jid);
}

static void an_eval_in_parts_is_counted_once(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    for (int64_t part = 0; part < 3; part++) {
        struct gdfo_store_intent call = fixture_call(jid, 0);
        call.part = part;
        call.n_queries = 100;
        finish(f, &call, intend(f, &call));
    }
    assert_int_equal(spend_of(f, jid).evals, 20);
    assert_int_equal(spend_of(f, jid).queries, 300);
    assert_int_equal(count_rows(f, jid), 3);
    check_sums(f, jid);
}

static void an_answer_of_any_size_comes_back_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 300001};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    char *bytes = gdfo_mem_array(300001, 1);
    for (size_t i = 0; i < 300001; i++) {
        bytes[i] = (char)(i * 31 + i / 7);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct gdfo_store_intent call = fixture_call(jid, (int64_t)i);
        struct gdfo_store_outcome o = fixture_done(&call, intend(f, &call));
        struct gdfo_buf answer;
        int found;
        o.answer = bytes;
        o.n_answer = sizes[i];
        gdfo_test_ok(gdfo_store_call_done(f->s, &o, &f->err), &f->err);
        gdfo_buf_init(&answer, 400000);
        gdfo_test_ok(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err), &f->err);
        assert_int_equal(found, 1);
        assert_int_equal(answer.len, sizes[i]);
        if (sizes[i] > 0) {
            assert_memory_equal(answer.data, bytes, sizes[i]);
        }
        gdfo_buf_deinit(&answer);
        if (sizes[i] > 1) {
            gdfo_buf_init(&answer, sizes[i] - 1); /* one byte short */
            assert_int_equal(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err),
                             GDFO_STATUS_LIMIT);
            gdfo_buf_deinit(&answer);
        }
    }
    gdfo_mem_free(bytes);
}

static void rows_are_listed_oldest_first_and_paged(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_call rows[2];
    size_t n;
    static const int64_t keys[5][2] = {{40, 0}, {0, 1}, {0, 0}, {20, 0}, {20, 1}};
    for (size_t i = 0; i < 5; i++) {
        struct gdfo_store_intent call = fixture_call(jid, keys[i][0]);
        call.part = keys[i][1];
        finish(f, &call, intend(f, &call));
    }
    gdfo_test_ok(gdfo_store_call_list(f->s, jid, NULL, rows, 2, &n, &f->err), &f->err);
    assert_int_equal(n, 2);
    assert_int_equal(rows[1].seq, 0);
    assert_int_equal(rows[1].part, 1);
    gdfo_test_ok(gdfo_store_call_list(f->s, jid, &rows[1], rows, 2, &n, &f->err), &f->err);
    assert_int_equal(rows[0].seq, 20);
    assert_int_equal(rows[1].part, 1);
    gdfo_test_ok(gdfo_store_call_list(f->s, jid, &rows[1], rows, 2, &n, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].seq, 40);
}

/* ---- what cannot be -----------------------------------------------------------------------------
 */

static void another_request_under_the_same_number_is_found_out(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 5);
    struct gdfo_buf answer;
    int64_t attempt;
    int found;
    finish(f, &call, intend(f, &call));
    call.request_sha256[31] ^= 1;
    gdfo_buf_init(&answer, 100);
    assert_int_equal(gdfo_store_call_find(f->s, &call, &answer, &found, &f->err),
                     GDFO_STATUS_CORRUPT);
    assert_non_null(strstr(f->err.text, "call 5.0 was made for another request"));
    assert_int_equal(answer.len, 0);
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_CORRUPT);
    gdfo_buf_deinit(&answer);
}

static void a_settled_call_stays_settled(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_outcome o = fixture_done(&call, 1);
    int64_t attempt;
    assert_int_equal(gdfo_store_call_done(f->s, &o, &f->err), GDFO_STATUS_NOT_FOUND);
    finish(f, &call, intend(f, &call));
    assert_int_equal(gdfo_store_call_done(f->s, &o, &f->err), GDFO_STATUS_CONFLICT);
    assert_string_equal(f->err.text, "call 0.0.1 is done; it is settled");
    assert_int_equal(gdfo_store_call_unknown(f->s, &o, &f->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_store_call_rejected(f->s, &o, &f->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(spend_of(f, jid).calls, 1);
    check_sums(f, jid);
}

static void a_call_of_no_job_is_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_intent call = fixture_call(99, 0);
    int64_t attempt;
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_CONFLICT);
}

/* ---- budgets ------------------------------------------------------------------------------------
 */

static void a_call_holds_its_worst_case_and_books_what_it_used(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 100},
                                                 {.unit = GDFO_STORE_TOKENS_IN, .cap = 20000}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 2);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt = intend(f, &call);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 20);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).held, 7000);
    finish(f, &call, attempt);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 0);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).used, 20);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).held, 0);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 6500);
}

static void the_call_that_fills_a_cap_is_allowed_and_the_next_refused(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 40}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent a = fixture_call(jid, 0);
    struct gdfo_store_intent b = fixture_call(jid, 20);
    struct gdfo_store_intent c = fixture_call(jid, 40);
    int64_t attempt = 77;
    finish(f, &a, intend(f, &a));
    gdfo_test_ok(gdfo_store_call_fits(f->s, &b, &f->err), &f->err);
    (void)intend(f, &b); /* still held: that counts too */
    c.held_evals = 1;
    assert_int_equal(gdfo_store_call_fits(f->s, &c, &f->err), GDFO_STATUS_BUDGET);
    assert_int_equal(gdfo_store_call_intent(f->s, &c, &attempt, &f->err), GDFO_STATUS_BUDGET);
    assert_string_equal(f->err.text,
                        "job budget of 40 evals: 20 used and 20 held leave 0, but 1 are needed");
    assert_int_equal(attempt, 77);
    assert_int_equal(count_rows(f, jid), 2); /* nothing was written */
    c.held_evals = 0;
    (void)intend(f, &c); /* what holds nothing of that unit is free to go */
}

static void a_refused_call_holds_nothing_in_any_budget(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 1000},
                                                 {.unit = GDFO_STORE_TOKENS_IN, .cap = 100}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 2);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt;
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_BUDGET);
    assert_non_null(strstr(f->err.text, "tokens_in"));
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 0);
}

static void use_past_the_worst_case_goes_over_and_never_past_the_cap(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_TOKENS_IN, .cap = 7100}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_outcome o = fixture_done(&call, intend(f, &call));
    o.used_in = 9000;
    gdfo_test_ok(gdfo_store_call_done(f->s, &o, &f->err), &f->err);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 7100);
    assert_int_equal(spend_of(f, jid).tokens_in, 9000);
    check_sums(f, jid);
}

static void negative_needs_are_refused(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt;
    call.reserved_in = -1;
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_INVALID);
}

static void needs_near_the_end_of_the_numbers_do_not_wrap(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_TOKENS_IN, .cap = 100}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt;
    finish(f, &(struct gdfo_store_intent){.jid = jid, .seq = 9},
           intend(f, &(struct gdfo_store_intent){.jid = jid, .seq = 9}));
    call.reserved_in = INT64_MAX;
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_BUDGET);
}

static void a_rejected_call_gives_everything_back_and_may_be_tried_again(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 20}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_outcome o = fixture_done(&call, intend(f, &call));
    o.verdict = "RETRY";
    o.http_status = 500;
    gdfo_test_ok(gdfo_store_call_rejected(f->s, &o, &f->err), &f->err);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 0);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).used, 0);
    assert_int_equal(spend_of(f, jid).calls, 0);
    assert_int_equal(row_of(f, jid, 0).http_status, 500);
    assert_int_equal(intend(f, &call), 2);
    finish(f, &call, 2);
    assert_int_equal(count_rows(f, jid), 2);
    assert_int_equal(spend_of(f, jid).calls, 1);
    check_sums(f, jid);
}

static void the_seventeenth_attempt_is_refused(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt;
    for (int i = 1; i <= 16; i++) {
        struct gdfo_store_outcome o = fixture_done(&call, intend(f, &call));
        assert_int_equal(o.attempt, i);
        gdfo_test_ok(gdfo_store_call_rejected(f->s, &o, &f->err), &f->err);
    }
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_LIMIT);
}

/* ---- crashes ------------------------------------------------------------------------------------
 */

static void crash(struct fixture *f)
{
    struct gdfo_store_recovery found;
    fixture_reopen(f);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err);
}

static void an_open_call_of_a_crash_counts_at_its_reserve(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 100},
                                                 {.unit = GDFO_STORE_TOKENS_IN, .cap = 100000}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 2);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    struct gdfo_store_call row;
    struct gdfo_store_spend spend;
    (void)intend(f, &call);
    crash(f);
    row = row_of(f, jid, 0);
    assert_int_equal(row.state, GDFO_STORE_CALL_UNKNOWN);
    assert_true(row.done_ms > 0);
    spend = spend_of(f, jid);
    assert_int_equal(spend.evals, 20);
    assert_int_equal(spend.calls, 1);
    assert_int_equal(spend.unknown_calls, 1);
    assert_int_equal(spend.tokens_in, 7000);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).used, 20);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 0);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 7000);
    check_sums(f, jid);
}

static void check_undisturbed(struct fixture *f, int64_t jid)
{
    struct gdfo_store_call row = row_of(f, jid, 0);
    struct gdfo_store_spend spend = spend_of(f, jid);
    assert_int_equal(count_rows(f, jid), 1);
    assert_int_equal(row.attempt, 1);
    assert_int_equal(row.state, GDFO_STORE_CALL_DONE);
    assert_string_equal(row.verdict, "OK");
    assert_int_equal(spend.evals, 20);
    assert_int_equal(spend.queries, 640);
    assert_int_equal(spend.calls, 1);
    assert_int_equal(spend.unknown_calls, 0);
    assert_int_equal(spend.tokens_in, 6500);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).used, 20);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).held, 0);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 6500);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).held, 0);
    check_sums(f, jid);
}

static void a_repeated_call_ends_with_the_rows_of_an_undisturbed_run(void **state)
{
    /* caps with room for one call alone: the reserve must really come back */
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 20},
                                                 {.unit = GDFO_STORE_TOKENS_IN, .cap = 7000}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 2);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    (void)intend(f, &call);
    crash(f);
    assert_int_equal(intend(f, &call), 1);
    assert_int_equal(row_of(f, jid, 0).state, GDFO_STORE_CALL_INTENT);
    crash(f); /* and once more */
    assert_int_equal(intend(f, &call), 1);
    finish(f, &call, 1);
    check_undisturbed(f, jid);
}

static void a_call_still_open_in_this_process_can_be_repeated_too(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 20},
                                                 {.unit = GDFO_STORE_TOKENS_IN, .cap = 7000}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 2);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    (void)intend(f, &call);
    assert_int_equal(intend(f, &call), 1);
    finish(f, &call, 1);
    check_undisturbed(f, jid);
}

static void a_call_that_may_have_been_paid_gets_a_row_of_its_own(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_EVALS, .cap = 40}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent call = fixture_call(jid, 0);
    int64_t attempt;
    call.is_repeatable = 0;
    (void)intend(f, &call);
    assert_int_equal(gdfo_store_call_intent(f->s, &call, &attempt, &f->err), GDFO_STATUS_CONFLICT);
    crash(f);
    assert_int_equal(intend(f, &call), 2);
    finish(f, &call, 2);
    assert_int_equal(row_of(f, jid, 0).state, GDFO_STORE_CALL_UNKNOWN);
    assert_int_equal(row_of(f, jid, 1).state, GDFO_STORE_CALL_DONE);
    assert_int_equal(spend_of(f, jid).evals, 40); /* counted twice rather than not at all */
    assert_int_equal(spend_of(f, jid).unknown_calls, 1);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_EVALS).used, 40);
    check_sums(f, jid);
}

static void undoing_an_unknown_call_that_went_over_restores_the_budget(void **state)
{
    static const struct gdfo_store_cap caps[] = {{.unit = GDFO_STORE_TOKENS_IN, .cap = 10000}};
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, caps, 1);
    struct gdfo_store_intent first = fixture_call(jid, 0);
    struct gdfo_store_intent second = fixture_call(jid, 20);
    struct gdfo_store_outcome o = fixture_done(&first, intend(f, &first));
    o.used_in = 3000;
    gdfo_test_ok(gdfo_store_call_done(f->s, &o, &f->err), &f->err);
    (void)intend(f, &second);
    crash(f);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 10000);
    assert_int_equal(intend(f, &second), 1);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).used, 3000);
    assert_int_equal(cap_of(f, jid, GDFO_STORE_TOKENS_IN).held, 7000);
}

static void recovery_tells_how_much_will_be_replayed(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_running_job(f, NULL, 0);
    const struct gdfo_store_snapshot_new snapshot = {"s", 1, 1, 40};
    const struct gdfo_store_step step = {.jid = jid, .generation = 2, .snapshot = &snapshot};
    struct gdfo_store_event_query q = {.jid = jid, .limit = 10};
    struct gdfo_store_event events[10];
    size_t n;
    int more;
    for (int64_t seq = 0; seq < 80; seq += 20) {
        struct gdfo_store_intent call = fixture_call(jid, seq);
        finish(f, &call, intend(f, &call));
    }
    gdfo_test_ok(gdfo_store_step_commit(f->s, &step, NULL, &f->err), &f->err);
    {
        struct gdfo_store_intent open_call = fixture_call(jid, 80);
        (void)intend(f, &open_call);
    }
    crash(f);
    gdfo_test_ok(gdfo_store_event_list(f->s, &q, events, &n, &more, &f->err), &f->err);
    assert_string_equal(events[0].type, "recovery");
    assert_string_equal(events[0].data,
                        "{\"from_generation\":2,\"replayed_calls\":2,\"unknown_calls\":1}");
    for (size_t i = 0; i < n; i++) {
        gdfo_store_event_deinit(&events[i]);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_call_is_open_then_done_with_its_answer),
        CASE(train_and_dev_are_counted_apart),
        CASE(an_eval_in_parts_is_counted_once),
        CASE(an_answer_of_any_size_comes_back_whole),
        CASE(rows_are_listed_oldest_first_and_paged),
        CASE(another_request_under_the_same_number_is_found_out),
        CASE(a_settled_call_stays_settled),
        CASE(a_call_of_no_job_is_refused),
        CASE(a_call_holds_its_worst_case_and_books_what_it_used),
        CASE(the_call_that_fills_a_cap_is_allowed_and_the_next_refused),
        CASE(a_refused_call_holds_nothing_in_any_budget),
        CASE(use_past_the_worst_case_goes_over_and_never_past_the_cap),
        CASE(negative_needs_are_refused),
        CASE(needs_near_the_end_of_the_numbers_do_not_wrap),
        CASE(a_rejected_call_gives_everything_back_and_may_be_tried_again),
        CASE(the_seventeenth_attempt_is_refused),
        CASE(an_open_call_of_a_crash_counts_at_its_reserve),
        CASE(a_repeated_call_ends_with_the_rows_of_an_undisturbed_run),
        CASE(a_call_still_open_in_this_process_can_be_repeated_too),
        CASE(a_call_that_may_have_been_paid_gets_a_row_of_its_own),
        CASE(undoing_an_unknown_call_that_went_over_restores_the_budget),
        CASE(recovery_tells_how_much_will_be_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
