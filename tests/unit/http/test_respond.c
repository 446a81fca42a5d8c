#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/wire.h"
#include "server/http/respond.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* A request with nothing but what answers need. */
static int setup(void **state)
{
    static struct gdfo_request r;
    memset(&r, 0, sizeof r);
    r.answer.retry = -1;
    (void)snprintf(r.id, sizeof r.id, "01JTESTTESTTESTTESTTESTTES");
    gdfo_buf_init(&r.answer.body, GDFO_ANSWER_MAX_BYTES);
    gdfo_log_set_level(GDFO_LOG_OFF);
    *state = &r;
    return 0;
}

static int teardown(void **state)
{
    struct gdfo_request *r = *state;
    gdfo_buf_deinit(&r->answer.body);
    gdfo_mem_free(r->faults);
    return 0;
}

static void body_is(const struct gdfo_request *r, const char *want)
{
    assert_true(gdfo_buf_ok(&r->answer.body));
    assert_string_equal(r->answer.body.data, want);
}

static void a_fault_has_the_body_of_the_contract(void **state)
{
    struct gdfo_request *r = *state;
    gdfo_respond_fault(r, "/seed", "invalid_value", "seed is %d; want 0..2147483647", -1);
    assert_int_equal(gdfo_respond_faults(r), 1);
    assert_int_equal(r->answer.http_status, 400);
    assert_string_equal(r->answer.content_type, "application/problem+json");
    assert_int_equal(r->answer.retry, 0);
    assert_int_equal(r->answer.must_close, 0);
    body_is(r,
            "{\"type\":\"urn:gdfo:error:invalid_value\",\"title\":\"Invalid value\","
            "\"status\":400,\"detail\":\"seed is -1; want 0..2147483647\","
            "\"instance\":\"01JTESTTESTTESTTESTTESTTES\","
            "\"errors\":[{\"pointer\":\"/seed\",\"code\":\"invalid_value\","
            "\"detail\":\"seed is -1; want 0..2147483647\"}],"
            "\"error\":{\"message\":\"seed is -1; want 0..2147483647\","
            "\"type\":\"invalid_request_error\",\"param\":\"seed\",\"code\":\"invalid_value\"}}");
}

static void no_fault_no_answer(void **state)
{
    struct gdfo_request *r = *state;
    assert_int_equal(gdfo_respond_faults(r), 0);
    assert_int_equal(r->answer.is_ready, 0);
}

static const char *error_member(const struct gdfo_request *r, const char *key,
                                struct gdfo_json **root)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_json_parse(root, r->answer.body.data, r->answer.body.len, NULL, &err), &err);
    return gdfo_json_string(gdfo_json_get(gdfo_json_get(*root, "error"), key));
}

static void all_faults_come_together_and_the_first_400_leads(void **state)
{
    struct gdfo_request *r = *state;
    struct gdfo_json *root = NULL;
    gdfo_respond_fault(r, "/method/dfwe", "not_supported", "dfwe is not built yet");
    gdfo_respond_fault(r, "/method/bbt/budget/queries", "invalid_value", "too many");
    gdfo_respond_fault(r, "/a~1b~0c", "unknown_field", "what is it");
    assert_int_equal(gdfo_respond_faults(r), 1);
    assert_int_equal(r->answer.http_status, 400);
    assert_string_equal(error_member(r, "code", &root), "invalid_value");
    assert_int_equal(gdfo_json_size(gdfo_json_get(root, "errors")), 3);
    gdfo_json_destroy(root);
    assert_string_equal(error_member(r, "param", &root), "method.bbt.budget.queries");
    gdfo_json_destroy(root);
    assert_string_equal(error_member(r, "message", &root), "too many (and 2 more)");
    gdfo_json_destroy(root);
}

static void only_what_is_not_built_is_422(void **state)
{
    struct gdfo_request *r = *state;
    gdfo_respond_fault(r, "/priority", "not_supported", "priority is not built yet");
    assert_int_equal(gdfo_respond_faults(r), 1);
    assert_int_equal(r->answer.http_status, 422);
}

static void a_pointer_is_unescaped_for_people(void **state)
{
    struct gdfo_request *r = *state;
    struct gdfo_json *root = NULL;
    gdfo_respond_refuse(r, "/metadata/a~1b~0c", "invalid_value", "too long");
    assert_string_equal(error_member(r, "param", &root), "metadata.a/b~c");
    gdfo_json_destroy(root);
}

static void the_number_of_faults_kept_is_bounded(void **state)
{
    struct gdfo_request *r = *state;
    for (int i = 0; i < 1000; i++) {
        gdfo_respond_fault(r, "/x", "unknown_field", "fault %d", i);
    }
    assert_int_equal(r->n_faults, 100);
    assert_int_equal(gdfo_respond_faults(r), 1);
}

static void framing_faults_close_the_connection(void **state)
{
    struct gdfo_request *r = *state;
    gdfo_respond_refuse(r, "", "bad_framing", "two lengths");
    assert_int_equal(r->answer.must_close, 1);
}

static void conflicts_are_not_tried_again_but_keys_in_flight_are(void **state)
{
    struct gdfo_request *r = *state;
    gdfo_respond_refuse(r, "", "invalid_transition", "it has ended");
    assert_int_equal(r->answer.http_status, 409);
    assert_int_equal(r->answer.retry, 0);
    gdfo_respond_refuse(r, "", "idempotency_in_flight", "still running");
    assert_int_equal(r->answer.http_status, 409);
    assert_int_equal(r->answer.retry, 1);
}

static void a_status_from_below_becomes_its_code(void **state)
{
    static const struct {
        enum gdfo_status status;
        const char *code;
        int http, retry;
    } rows[] = {
        {GDFO_STATUS_INVALID, "", 400, 0},
        {GDFO_STATUS_NOT_FOUND, "", 404, 0},
        {GDFO_STATUS_CONFLICT, "", 409, 0},
        {GDFO_STATUS_CONFLICT, "file_in_use", 409, 0},
        {GDFO_STATUS_UNSUPPORTED, "", 422, 0},
        {GDFO_STATUS_UNSUPPORTED, "idempotency_key_reused", 422, 0},
        {GDFO_STATUS_LIMIT, "", 413, 0},
        {GDFO_STATUS_BUDGET, "", 402, 0},
        {GDFO_STATUS_STATE, "", 500, 0},
        {GDFO_STATUS_IO, "", 500, 0},
        {GDFO_STATUS_CORRUPT, "", 500, 0},
        {GDFO_STATUS_FULL, "", 503, 1},
        {GDFO_STATUS_BUSY, "", 503, 1},
        {GDFO_STATUS_NO_MEMORY, "", 503, 1},
        {GDFO_STATUS_UPSTREAM, "", 503, 1},
        {GDFO_STATUS_INVALID, "no_such_code", 400, 0},
    };
    struct gdfo_request *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gdfo_error err = {.status = rows[i].status};
        (void)snprintf(err.code, sizeof err.code, "%s", rows[i].code);
        gdfo_respond_error(r, &err);
        assert_int_equal(r->answer.http_status, rows[i].http);
        assert_int_equal(r->answer.retry, rows[i].retry);
    }
}

static void the_daemon_s_own_words_stay_in_its_log(void **state)
{
    struct gdfo_request *r = *state;
    struct gdfo_error err = {.status = GDFO_STATUS_IO, .text = "/home/x/blobs/ab: I/O error"};
    gdfo_respond_error(r, &err);
    assert_null(strstr(r->answer.body.data, "/home"));
    err.status = GDFO_STATUS_FULL;
    gdfo_respond_error(r, &err);
    assert_null(strstr(r->answer.body.data, "/home"));
    assert_non_null(strstr(r->answer.body.data, "disk is full"));
    err.status = GDFO_STATUS_NOT_FOUND;
    (void)snprintf(err.text, sizeof err.text, "no job ftjob-1");
    gdfo_respond_error(r, &err);
    assert_non_null(strstr(r->answer.body.data, "no job ftjob-1"));
}

static void a_culprit_becomes_a_pointer(void **state)
{
    struct gdfo_request *r = *state;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {.status = GDFO_STATUS_INVALID, .text = "unknown", .field = "after"};
    gdfo_respond_error(r, &err);
    assert_string_equal(error_member(r, "param", &root), "after");
    assert_string_equal(
        gdfo_json_string(gdfo_json_get(gdfo_json_first(gdfo_json_get(root, "errors")), "pointer")),
        "/after");
    gdfo_json_destroy(root);
}

static void the_list_of_codes_is_closed_and_consistent(void **state)
{
    size_t n = 0;
    (void)state;
    for (const struct gdfo_wire_code *row; (row = gdfo_wire_at((unsigned)n)) != NULL; n++) {
        assert_ptr_equal(gdfo_wire_find(row->code), row);
        assert_in_range(row->http, 400, 503);
        /* the official clients try 408, 409, 429 and 5xx again unless told otherwise */
        assert_true(!row->may_retry || row->http == 408 || row->http == 409 || row->http == 429 ||
                    row->http == 503);
        assert_string_equal(row->type, row->http >= 500   ? "server_error"
                                       : row->http == 401 ? "authentication_error"
                                       : row->http == 402 ? "budget_error"
                                       : row->http == 403 ? "permission_error"
                                       : row->http == 429 ? "rate_limit_error"
                                                          : "invalid_request_error");
    }
    assert_int_equal(n, 32);
    assert_null(gdfo_wire_find("anything"));
}

static void every_status_has_a_code_of_the_list(void **state)
{
    (void)state;
    for (int s = GDFO_STATUS_INVALID; s < GDFO_STATUS_END; s++) {
        const struct gdfo_wire_code *row = gdfo_wire_find(gdfo_status_code((enum gdfo_status)s));
        assert_non_null(row);
        assert_int_equal(row->http, gdfo_status_http((enum gdfo_status)s));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_fault_has_the_body_of_the_contract),
        CASE(no_fault_no_answer),
        CASE(all_faults_come_together_and_the_first_400_leads),
        CASE(only_what_is_not_built_is_422),
        CASE(a_pointer_is_unescaped_for_people),
        CASE(the_number_of_faults_kept_is_bounded),
        CASE(framing_faults_close_the_connection),
        CASE(conflicts_are_not_tried_again_but_keys_in_flight_are),
        CASE(a_status_from_below_becomes_its_code),
        CASE(the_daemon_s_own_words_stay_in_its_log),
        CASE(a_culprit_becomes_a_pointer),
        CASE(the_list_of_codes_is_closed_and_consistent),
        CASE(every_status_has_a_code_of_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
