#include "server/net/url.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static enum gdfo_status parse(const char *text, const char *range, struct gdfo_net_url *out,
                              struct gdfo_error *err)
{
    struct gdfo_gate_cidr cidr;
    if (range) {
        gdfo_test_ok(gdfo_gate_cidr_parse(&cidr, range, err), err);
    }
    return gdfo_net_url_parse(out, text, &cidr, range ? 1 : 0, err);
}

static void good(const char *text, const char *range, const char *as)
{
    struct gdfo_net_url url;
    struct gdfo_error err = {0};
    gdfo_test_ok(parse(text, range, &url, &err), &err);
    assert_string_equal(url.text, as);
}

static void bad(const char *text, const char *range)
{
    struct gdfo_net_url url;
    struct gdfo_error err = {0};
    if (parse(text, range, &url, &err) != GDFO_STATUS_INVALID) {
        fail_msg("'%s' was not refused as invalid", text);
    }
    assert_string_equal(err.code, "");
}

static void forbidden(const char *text, const char *range)
{
    struct gdfo_net_url url;
    struct gdfo_error err = {0};
    if (parse(text, range, &url, &err) != GDFO_STATUS_CONFLICT) {
        fail_msg("'%s' was not refused as forbidden", text);
    }
    assert_string_equal(err.code, "teacher_address_forbidden");
}

static void https_is_taken_with_port_and_path(void **state)
{
    (void)state;
    good("https://api.example.com", NULL, "https://api.example.com");
    good("https://api.example.com/", NULL, "https://api.example.com");
    good("https://api.example.com:8443/v1//", NULL, "https://api.example.com:8443/v1");
    good("HTTPS://8.8.8.8/a", NULL, "https://8.8.8.8/a");
    good("https://[2001:4860::8888]/v1", NULL, "https://[2001:4860::8888]/v1");
    good("https://10.1.2.3/v1", "10.0.0.0/8", "https://10.1.2.3/v1");
}

static void http_is_for_allowed_ranges(void **state)
{
    (void)state;
    good("http://10.1.2.3:8000", "10.0.0.0/8", "http://10.1.2.3:8000");
    good("http://inside.example", "10.0.0.0/8",
         "http://inside.example"); /* judged when connected */
    good("http://localhost:1", "127.0.0.0/8", "http://localhost:1");
    good("http://[::1]:1", "::1", "http://[::1]:1");
    bad("http://inside.example", NULL);
    bad("http://8.8.8.8", NULL);
    bad("http://8.8.8.8", "10.0.0.0/8");
}

static void every_spelling_of_loopback_is_forbidden(void **state)
{
    static const char *const spellings[] = {"127.0.0.1",
                                            "127.1",
                                            "127.0.1",
                                            "2130706433",
                                            "0x7f000001",
                                            "0x7f.0.0.1",
                                            "0177.0.0.1",
                                            "017700000001",
                                            "0x7f.1",
                                            "localhost",
                                            "LOCALHOST",
                                            "a.localhost",
                                            "[::1]",
                                            "[0:0:0:0:0:0:0:1]",
                                            "[::ffff:127.0.0.1]",
                                            "[::ffff:7f00:1]",
                                            "[::127.0.0.1]",
                                            "0",
                                            "0.0.0.0",
                                            "[::]",
                                            "%31%32%37.0.0.1"};
    char url[128];
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        (void)snprintf(url, sizeof url, "https://%s/v1", spellings[i]);
        forbidden(url, NULL);
        (void)snprintf(url, sizeof url, "http://%s:80", spellings[i]);
        forbidden(url, "10.0.0.0/8");
    }
}

static void everything_else_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "unix:/run/x",
        "https://",
        "https:///v1",
        "https://user@example.com",
        "https://user:pw@example.com",
        "https://:pw@example.com",
        "https://example.com?q=1",
        "https://example.com/#f",
        "https://exa mple.com",
        "https://example.com/a b",
        "https://example.com\\@evil",
        "https://example.com/\x7f",
        "https://ex\xc3\xa4mple.com",
        "https://example.com:0x50",
        "https://example.com:65536",
        "https://[fe80::1%25lo]/",
        "https://[::1",
        "https://a$b.com",
        "gopher://127.0.0.1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bad(texts[i], NULL);
    }
}

static void long_urls_are_refused(void **state)
{
    char url[GDFO_NET_URL_MAX + 2];
    (void)state;
    memset(url, 'a', sizeof url);
    memcpy(url, "https://example.com/", 20);
    url[GDFO_NET_URL_MAX] = '\0';
    bad(url, NULL);
    url[GDFO_NET_URL_MAX - 1] = '\0';
    good(url, NULL, url);
}

static void paths_are_plain(void **state)
{
    (void)state;
    assert_true(gdfo_net_path_is_good("/"));
    assert_true(gdfo_net_path_is_good("/v1/a%20b?x=1"));
    assert_false(gdfo_net_path_is_good(""));
    assert_false(gdfo_net_path_is_good("v1"));
    assert_false(gdfo_net_path_is_good("/a b"));
    assert_false(gdfo_net_path_is_good("/a\r\n"));
    assert_false(gdfo_net_path_is_good("/a#b"));
    assert_false(gdfo_net_path_is_good("/\\"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(https_is_taken_with_port_and_path),
        cmocka_unit_test(http_is_for_allowed_ranges),
        cmocka_unit_test(every_spelling_of_loopback_is_forbidden),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(long_urls_are_refused),
        cmocka_unit_test(paths_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
