#include "server/net/gate.h"
#include "tests/support/test.h"

#include <string.h>

static enum gdfo_gate_word judge(const char *text)
{
    struct gdfo_gate_addr addr;
    if (!gdfo_gate_addr_parse(&addr, text)) {
        fail_msg("'%s' is an address", text);
    }
    return gdfo_gate_judge(&addr, NULL, 0);
}

static void check(const char *text, enum gdfo_gate_word word)
{
    if (judge(text) != word) {
        fail_msg("%s: %d, want %d", text, (int)judge(text), (int)word);
    }
}

/* Every range of service.md 8.3 with its first and last address, and the ones just outside; NULL
 * where the neighbour lies in another range. */
static const struct {
    const char *before, *first, *last, *behind;
} ranges[] = {
    {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
    {NULL, "::", "::1", "::1:0:0:0"},
    {"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fe00::"},
    {"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fec0::"},
    {"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     NULL},
    {"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9b::1:0:0"},
};

static void every_range_is_closed_and_no_wider(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        check(ranges[i].first, GDFO_GATE_FORBIDDEN);
        check(ranges[i].last, GDFO_GATE_FORBIDDEN);
        if (ranges[i].before) {
            check(ranges[i].before, GDFO_GATE_PUBLIC);
        }
        if (ranges[i].behind) {
            check(ranges[i].behind, GDFO_GATE_PUBLIC);
        }
    }
}

static void v4_inside_v6_is_judged_by_the_inner_address(void **state)
{
    (void)state;
    check("::ffff:127.0.0.1", GDFO_GATE_FORBIDDEN);
    check("::ffff:10.255.255.255", GDFO_GATE_FORBIDDEN);
    check("::ffff:7f00:1", GDFO_GATE_FORBIDDEN);
    check("0:0:0:0:0:ffff:a9fe:a9fe", GDFO_GATE_FORBIDDEN); /* cloud metadata */
    check("::ffff:8.8.8.8", GDFO_GATE_PUBLIC);
    check("::127.0.0.1", GDFO_GATE_FORBIDDEN);
    check("::192.168.0.1", GDFO_GATE_FORBIDDEN);
    check("::2", GDFO_GATE_FORBIDDEN); /* 0.0.0.2 */
    check("::8.8.8.8", GDFO_GATE_PUBLIC);
    check("64:ff9b::8.8.8.8", GDFO_GATE_FORBIDDEN);
}

static void only_plain_addresses_are_read(void **state)
{
    static const char *const bad[] = {"",      "127.1",  "0x7f.0.0.1", "2130706433", "127.0.0.1:80",
                                      "[::1]", "::1%lo", "127.0.0.1 ", "localhost",  "0177.0.0.1"};
    struct gdfo_gate_addr addr;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(gdfo_gate_addr_parse(&addr, bad[i]), 0);
    }
}

static enum gdfo_gate_word judge_with(const char *range, const char *text)
{
    struct gdfo_gate_cidr cidr;
    struct gdfo_gate_addr addr;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_gate_cidr_parse(&cidr, range, &err), &err);
    assert_int_equal(gdfo_gate_addr_parse(&addr, text), 1);
    return gdfo_gate_judge(&addr, &cidr, 1);
}

static void allowed_ranges_open_exactly_themselves(void **state)
{
    (void)state;
    assert_int_equal(judge_with("10.32.0.0/11", "10.32.0.0"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("10.32.0.0/11", "10.63.255.255"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("10.32.0.0/11", "10.64.0.0"), GDFO_GATE_FORBIDDEN);
    assert_int_equal(judge_with("10.32.0.0/11", "10.31.255.255"), GDFO_GATE_FORBIDDEN);
    assert_int_equal(judge_with("10.0.0.7", "10.0.0.7"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("10.0.0.7", "10.0.0.6"), GDFO_GATE_FORBIDDEN);
    assert_int_equal(judge_with("10.0.0.0/8", "::ffff:10.1.1.1"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("0.0.0.0/0", "127.0.0.1"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("0.0.0.0/0", "::1"), GDFO_GATE_FORBIDDEN);
    assert_int_equal(judge_with("fd00::/8", "fd12::1"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("fd00::/8", "fc12::1"), GDFO_GATE_FORBIDDEN);
    assert_int_equal(judge_with("::1", "::1"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("8.8.8.0/24", "8.8.8.8"), GDFO_GATE_LISTED);
    assert_int_equal(judge_with("8.8.8.0/24", "8.8.9.8"), GDFO_GATE_PUBLIC);
}

static void broken_ranges_are_refused(void **state)
{
    static const char *const bad[] = {"",           "10.0.0.0/",   "10.0.0.0/33", "10.0.0.0/-1",
                                      "10.0.0.1/8", "10.0.0/8",    "fd00::/129",  "fd00::1/8",
                                      "/8",         "10.0.0.0/8x", "all"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gdfo_gate_cidr cidr;
        struct gdfo_error err = {0};
        assert_int_equal(gdfo_gate_cidr_parse(&cidr, bad[i], &err), GDFO_STATUS_INVALID);
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_range_is_closed_and_no_wider),
        cmocka_unit_test(v4_inside_v6_is_judged_by_the_inner_address),
        cmocka_unit_test(only_plain_addresses_are_read),
        cmocka_unit_test(allowed_ranges_open_exactly_themselves),
        cmocka_unit_test(broken_ranges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
