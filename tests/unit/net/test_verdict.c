#include "server/net/verdict.h"
#include "tests/support/test.h"

#include <string.h>

static struct gdfo_net_answer answer(int status, const char *body, const char *headers)
{
    struct gdfo_net_answer a = {status, body, strlen(body), headers};
    return a;
}

static void every_status_has_its_verdict(void **state)
{
    static const struct {
        int status;
        enum gdfo_net_verdict verdict;
    } rows[] = {
        {0, GDFO_NET_RETRY},      {100, GDFO_NET_RETRY}, {200, GDFO_NET_OK},
        {201, GDFO_NET_BAD},      {204, GDFO_NET_BAD},   {299, GDFO_NET_BAD},
        {300, GDFO_NET_FATAL},    {301, GDFO_NET_FATAL}, {302, GDFO_NET_FATAL},
        {307, GDFO_NET_FATAL},    {399, GDFO_NET_FATAL}, {400, GDFO_NET_FATAL},
        {401, GDFO_NET_PAUSE},    {402, GDFO_NET_PAUSE}, {403, GDFO_NET_PAUSE},
        {404, GDFO_NET_FATAL},    {405, GDFO_NET_FATAL}, {407, GDFO_NET_PAUSE},
        {408, GDFO_NET_RETRY},    {409, GDFO_NET_FATAL}, {413, GDFO_NET_FATAL},
        {422, GDFO_NET_FATAL},    {425, GDFO_NET_RETRY}, {429, GDFO_NET_THROTTLE},
        {498, GDFO_NET_THROTTLE}, {499, GDFO_NET_FATAL}, {500, GDFO_NET_RETRY},
        {501, GDFO_NET_FATAL},    {502, GDFO_NET_RETRY}, {503, GDFO_NET_THROTTLE},
        {504, GDFO_NET_RETRY},    {505, GDFO_NET_FATAL}, {520, GDFO_NET_RETRY},
        {529, GDFO_NET_THROTTLE}, {599, GDFO_NET_RETRY}, {999, GDFO_NET_RETRY},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gdfo_net_answer a = answer(rows[i].status, "", "");
        if (gdfo_verdict_of(&a) != rows[i].verdict) {
            fail_msg("%d: %d, want %d", rows[i].status, (int)gdfo_verdict_of(&a),
                     (int)rows[i].verdict);
        }
    }
}

static void an_exhausted_account_needs_a_person(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":{\"code\":\"insufficient_quota\"}}",
        "{\"error\":{\"code\":null,\"type\":\"insufficient_quota\"}}",
        "{\"error\":{\"code\":\"rate_limit\",\"type\":\"credit_balance_exhausted\"}}",
        "{\"error\":\"spend_limit_reached\"}",
        "{\"code\":\"billing_hard_limit_reached\"}",
        "{\"type\":\"insufficient_balance\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct gdfo_net_answer a = answer(429, bodies[i], "");
        assert_int_equal(gdfo_verdict_of(&a), GDFO_NET_PAUSE);
        a.status = 503; /* of 429 alone */
        assert_int_equal(gdfo_verdict_of(&a), GDFO_NET_THROTTLE);
    }
}

static void other_429_are_throttling(void **state)
{
    static const char *const bodies[] = {
        "",
        "{}",
        "[]",
        "null",
        "\"insufficient_quota\"",
        "insufficient_quota",
        "{\"error\":{\"code\":\"rate_limit_exceeded\"}}",
        "{\"error\":{\"code\":\"insufficient_quota\"}", /* cut short */
        "{\"error\":{\"code\":\"no insufficient_quota here\"}}",
        "{\"error\":{\"message\":\"insufficient_quota\"}}",
        "{\"error\":[\"insufficient_quota\"]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct gdfo_net_answer a = answer(429, bodies[i], "");
        assert_int_equal(gdfo_verdict_of(&a), GDFO_NET_THROTTLE);
    }
}

static void words_are_identifiers_only(void **state)
{
    static const char *const rows[][2] = {
        {"{\"error\":{\"code\":\"a_b-c.1\",\"type\":\"t\"}}", "a_b-c.1"},
        {"{\"error\":{\"code\":5,\"type\":\"t\"}}", "t"},
        {"{\"error\":{\"code\":\"has blank\"}}", ""},
        {"{\"error\":{\"code\":\"line\\nbreak\"}}", ""},
        {"{\"error\":{\"code\":\"0123456789012345678901234567890123456789012345678\"}}", ""},
        {"{\"detail\":\"x\"}", ""},
        {"<html>", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char word[GDFO_VERDICT_WORD_MAX];
        struct gdfo_net_answer a = answer(400, rows[i][0], "");
        gdfo_verdict_word(&a, word);
        assert_string_equal(word, rows[i][1]);
    }
}

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"20ms", 20},
        {"6m0s", 360000},
        {"1.5s", 1500},
        {"1h2m3.004s", 600000},
        {"7", 7000},
        {"0s", 0},
        {"0", 0},
        {"2m", 120000},
        {"9m59s", 599000},
        {"10m1s", 600000},
        {"99999999h", 600000},
        {"", -1},
        {"ms", -1},
        {"5x", -1},
        {"-5s", -1},
        {"5s5", -1},
        {"1..5s", -1},
        {".5s", -1},
        {"5 s", -1},
        {"nan", -1},
        {"inf", -1},
        {"1e3s", -1},
        {"00000000000000000000000000000000001s", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (gdfo_verdict_duration_ms(rows[i].text) != rows[i].ms) {
            fail_msg("'%s': %lld, want %lld", rows[i].text,
                     (long long)gdfo_verdict_duration_ms(rows[i].text), (long long)rows[i].ms);
        }
    }
}

#define NOW_MS 784111777000 /* Sun, 06 Nov 1994 08:49:37 GMT */

static void waits_are_read_and_capped(void **state)
{
    static const struct {
        const char *headers;
        int64_t ms;
    } rows[] = {
        {"", 0},
        {"retry-after: 7\n", 7000},
        {"retry-after: 0\n", 0},
        {"retry-after: 1.5\n", 1500},
        {"retry-after: 600\n", 600000},
        {"retry-after: 601\n", 600000},
        {"retry-after: 31536000\n", 600000},
        {"retry-after: 99999999999999999999999999999999999999999\n", 600000},
        {"retry-after: -7\n", 0},
        {"retry-after: soon\n", 0},
        {"retry-after: \n", 0},
        {"retry-after: 7 seconds\n", 0},
        {"retry-after: Sun, 06 Nov 1994 08:50:37 GMT\n", 60000},
        {"retry-after: Sun, 06 Nov 1994 08:48:37 GMT\n", 0},
        {"retry-after: Sunday, 06-Nov-94 08:50:37 GMT\n", 60000},
        {"retry-after: Sun Nov  6 08:50:37 1994\n", 60000},
        {"retry-after: Sun, 06 Nov 2044 08:50:37 GMT\n", 600000},
        {"retry-after-ms: 250\n", 250},
        {"retry-after-ms: 250\nretry-after: 7\n", 250},
        {"retry-after-ms: x\nretry-after: 7\n", 7000},
        {"retry-after-ms: -1\n", 0},
        {"x-ratelimit-reset-requests: 20ms\n", 20},
        {"x-ratelimit-reset-tokens: 6m0s\n", 360000},
        {"x-ratelimit-reset-requests: 0s\nx-ratelimit-reset-tokens: 1s\n", 1000},
        {"x-ratelimit-reset-tokens: 6m0s\nretry-after: 2\n", 2000},
        {"not-retry-after: 7\n", 0},
        {"retry-after-x: 7\n", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gdfo_net_answer a = answer(429, "", rows[i].headers);
        if (gdfo_verdict_wait_ms(&a, NOW_MS) != rows[i].ms) {
            fail_msg("'%s': %lld, want %lld", rows[i].headers,
                     (long long)gdfo_verdict_wait_ms(&a, NOW_MS), (long long)rows[i].ms);
        }
    }
}

static void the_longer_reset_holds(void **state)
{
    struct gdfo_net_answer a =
        answer(429, "", "x-ratelimit-reset-requests: 20ms\nx-ratelimit-reset-tokens: 6m0s\n");
    (void)state;
    assert_int_equal(gdfo_verdict_wait_ms(&a, NOW_MS), 360000);
}

static void headers_are_found_and_cut(void **state)
{
    struct gdfo_net_answer a = answer(200, "", "a: 1\nab: two\nempty: \n");
    char out[3];
    (void)state;
    assert_int_equal(gdfo_net_header(&a, "a", out, sizeof out), 1);
    assert_string_equal(out, "1");
    assert_int_equal(gdfo_net_header(&a, "ab", out, sizeof out), 1);
    assert_string_equal(out, "tw");
    assert_int_equal(gdfo_net_header(&a, "empty", out, sizeof out), 1);
    assert_string_equal(out, "");
    assert_int_equal(gdfo_net_header(&a, "b", out, sizeof out), 0);
    a.headers = NULL;
    assert_int_equal(gdfo_net_header(&a, "a", out, sizeof out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_verdict),
        cmocka_unit_test(an_exhausted_account_needs_a_person),
        cmocka_unit_test(other_429_are_throttling),
        cmocka_unit_test(words_are_identifiers_only),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(waits_are_read_and_capped),
        cmocka_unit_test(the_longer_reset_holds),
        cmocka_unit_test(headers_are_found_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
