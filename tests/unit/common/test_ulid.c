#include "common/ulid.h"
#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

static void one_id_is_26_digits_of_its_alphabet_and_starts_with_the_time(void **state)
{
    char id[GDFO_ULID_BYTES];
    (void)state;
    gdfo_ulid(id, INT64_C(1700000000000));
    assert_int_equal(strlen(id), 26);
    assert_int_equal(strspn(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
    /* 1700000000000 in base 32 is 01HF7YAT00 */
    assert_memory_equal(id, "01HF7YAT00", 10);
}

static void ids_rise_within_a_millisecond_and_when_the_clock_steps_back(void **state)
{
    char before[GDFO_ULID_BYTES];
    char after[GDFO_ULID_BYTES];
    (void)state;
    gdfo_ulid(before, INT64_C(1700000000001));
    for (int i = 0; i < 1000; i++) {
        gdfo_ulid(after, INT64_C(1700000000001) - i * 7);
        assert_true(strcmp(after, before) > 0);
        memcpy(before, after, sizeof before);
    }
    gdfo_ulid(after, INT64_C(1700000000002));
    assert_true(strcmp(after, before) > 0);
}

#define PER_THREAD 500

static void *make_many(void *arg)
{
    char(*ids)[GDFO_ULID_BYTES] = arg;
    for (int i = 0; i < PER_THREAD; i++) {
        gdfo_ulid(ids[i], INT64_C(1700000000003));
    }
    return NULL;
}

static void threads_never_get_the_same_id(void **state)
{
    static char ids[4][PER_THREAD][GDFO_ULID_BYTES];
    pthread_t threads[4];
    (void)state;
    for (int t = 0; t < 4; t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, make_many, ids[t]), 0);
    }
    for (int t = 0; t < 4; t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    for (int a = 0; a < 4; a++) {
        for (int b = a + 1; b < 4; b++) {
            for (int i = 0, j = 0; i < PER_THREAD && j < PER_THREAD;) {
                int order = strcmp(ids[a][i], ids[b][j]); /* both rise: one walk finds doubles */
                assert_int_not_equal(order, 0);
                i += order < 0;
                j += order > 0;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_id_is_26_digits_of_its_alphabet_and_starts_with_the_time),
        cmocka_unit_test(ids_rise_within_a_millisecond_and_when_the_clock_steps_back),
        cmocka_unit_test(threads_never_get_the_same_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
