#include "client/cli/tar.h"
#include "common/rng.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#define BLOCK 512

/* A ustar archive as the standard says it; the tests then spoil it. */
struct archive {
    char bytes[16 * BLOCK];
    size_t n;
};

static void seal(char *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < BLOCK; i++) {
        sum += (unsigned char)header[i];
    }
    (void)snprintf(header + 148, 8, "%06o", sum);
    header[155] = ' ';
}

static void add(struct archive *a, const char *name, char type, const char *text)
{
    char *header = a->bytes + a->n;
    size_t n = strlen(text);
    memcpy(header, name, strlen(name));
    memcpy(header + 100, "0000600", 8);
    (void)snprintf(header + 124, 12, "%011o", (unsigned)n & 0777777);
    header[156] = type;
    memcpy(header + 257, "ustar", 6);
    memcpy(header + 263, "00", 2);
    seal(header);
    memcpy(header + BLOCK, text, n);
    a->n += BLOCK + (n + BLOCK - 1) / BLOCK * BLOCK;
}

static void end(struct archive *a)
{
    a->n += 2 * BLOCK;
}

static enum gdfo_status next(const struct archive *a, size_t *offset, struct gdfo_tar_entry *e,
                             int *is_end)
{
    struct gdfo_error err = {0};
    return gdfo_tar_next(a->bytes, a->n, offset, e, is_end, &err);
}

static void plain_files_come_in_order(void **state)
{
    struct archive a = {{0}, 0};
    struct gdfo_tar_entry e;
    size_t offset = 0;
    int is_end;
    (void)state;
    add(&a, "one.json", '0', "first");
    add(&a, "peft/", '5', "");
    add(&a, "peft/two.bin", '\0', "");
    end(&a);
    assert_int_equal(next(&a, &offset, &e, &is_end), GDFO_STATUS_OK);
    assert_string_equal(e.name, "one.json");
    assert_int_equal(e.n, 5);
    assert_memory_equal(e.bytes, "first", 5);
    assert_int_equal(next(&a, &offset, &e, &is_end), GDFO_STATUS_OK);
    assert_string_equal(e.name, "two.bin"); /* folders are passed over, and taken off names */
    assert_int_equal(e.n, 0);
    assert_int_equal(next(&a, &offset, &e, &is_end), GDFO_STATUS_OK);
    assert_true(is_end);
}

static void assert_refused(const struct archive *a)
{
    struct gdfo_tar_entry e;
    size_t offset = 0;
    int is_end;
    assert_int_equal(next(a, &offset, &e, &is_end), GDFO_STATUS_FORMAT);
}

static void names_that_are_not_plain_are_refused(void **state)
{
    static const char *const names[] = {"..", ".x",   "a/..", "a b",     "a\nb",
                                        "",   "dir/", "a\\b", "\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct archive a = {{0}, 0};
        add(&a, names[i], '0', "x");
        end(&a);
        assert_refused(&a);
    }
}

static void links_and_devices_are_refused(void **state)
{
    (void)state;
    for (const char *type = "123467gxLK"; *type; type++) {
        struct archive a = {{0}, 0};
        add(&a, "x", *type, "");
        end(&a);
        assert_refused(&a);
    }
}

static void damage_is_noticed(void **state)
{
    struct archive a = {{0}, 0};
    (void)state;
    add(&a, "x", '0', "content");
    end(&a);
    a.bytes[3] ^= 1; /* the name, behind the checksum's back */
    assert_refused(&a);
    a.bytes[3] ^= 1;
    a.n = BLOCK + 3; /* cut in the content */
    assert_refused(&a);
    a.n = 100; /* cut in the header */
    assert_refused(&a);
    a.n = 0;
    assert_refused(&a);
}

static void sizes_that_lie_are_refused(void **state)
{
    static const char *const sizes[] = {"77777777777", "99999999999", "-0000000001",
                                        "           ", "0000000x001", "10000000000"};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct archive a = {{0}, 0};
        add(&a, "x", '0', "content");
        end(&a);
        memcpy(a.bytes + 124, sizes[i], 12);
        seal(a.bytes);
        assert_refused(&a);
    }
}

static void any_bytes_end_in_a_verdict(void **state)
{
    struct gdfo_rng rng = gdfo_rng_stream(7, "tar");
    (void)state;
    for (int turn = 0; turn < 3000; turn++) {
        struct archive a = {{0}, 0};
        struct gdfo_tar_entry e;
        size_t offset = 0;
        int is_end = 0;
        add(&a, "x", '0', "content");
        add(&a, "y", '0', "more of it");
        end(&a);
        for (size_t k = 0; k < 3; k++) {
            a.bytes[gdfo_rng_below(&rng, (uint32_t)a.n)] = (char)gdfo_rng_below(&rng, 256);
        }
        seal(a.bytes);
        a.n = (size_t)gdfo_rng_below(&rng, (uint32_t)a.n + 1);
        while (!is_end && next(&a, &offset, &e, &is_end) == GDFO_STATUS_OK) {
            assert_true(is_end || (e.bytes >= a.bytes && e.bytes + e.n <= a.bytes + a.n));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_files_come_in_order),
        cmocka_unit_test(names_that_are_not_plain_are_refused),
        cmocka_unit_test(links_and_devices_are_refused),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(sizes_that_lie_are_refused),
        cmocka_unit_test(any_bytes_end_in_a_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
