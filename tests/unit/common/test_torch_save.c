#include "common/base64.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/torch_save.h"
#include "tests/support/test.h"

#include <string.h>

static const float values[6] = {0, 1, 2, 3, -4.5F, 0.1F};

static void containers_are_the_vectors_byte_for_byte(void **state)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    static const uint16_t halves[2][6] = {{0, 0x3C00, 0x4000, 0x4200, 0xC480, 0x2E66},
                                          {0, 0x3F80, 0x4000, 0x4040, 0xC090, 0x3DCD}};
    struct gdfo_buf file, pt, text;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_shared_read("design/torchsave-vectors.json", &file);
    gdfo_test_ok(gdfo_json_parse(&root, file.data, file.len, NULL, &err), &err);
    for (int type = GDFO_TORCH_F32; type <= GDFO_TORCH_BF16; type++) {
        const struct gdfo_json *v = gdfo_json_get(gdfo_json_get(root, "vectors"), names[type]);
        gdfo_buf_init(&pt, gdfo_torch_save_bytes((enum gdfo_torch_type)type, 2, 3));
        gdfo_buf_init(&text, 4096);
        gdfo_test_ok(gdfo_torch_save(&pt, (enum gdfo_torch_type)type, 2, 3,
                                     type == GDFO_TORCH_F32 ? (const void *)values
                                                            : halves[type - GDFO_TORCH_F16],
                                     &err),
                     &err);
        gdfo_base64_add(&text, pt.data, pt.len);
        assert_string_equal(text.data, gdfo_json_string(gdfo_json_get(v, "minimal_b64")));
        gdfo_buf_deinit(&pt);
        gdfo_buf_deinit(&text);
    }
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&file);
}

static void data_starts_on_a_multiple_of_64_after_other_bytes(void **state)
{
    struct gdfo_buf pt;
    struct gdfo_error err = {0};
    size_t at = 6;
    (void)state;
    gdfo_buf_init(&pt, 65536);
    gdfo_buf_add(&pt, "before");
    gdfo_test_ok(gdfo_torch_save(&pt, GDFO_TORCH_F32, 1, 2, "ABCDEFGH", &err), &err);
    while (at + 8 < pt.len && memcmp(pt.data + at, "ABCDEFGH", 8) != 0) {
        at += 64;
    }
    assert_true(at + 8 < pt.len);
    gdfo_buf_deinit(&pt);
}

static void too_many_numbers_are_refused(void **state)
{
    struct gdfo_buf pt;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_buf_init(&pt, 100);
    assert_int_equal(gdfo_torch_save(&pt, GDFO_TORCH_F16, 65536, 65536, values, &err),
                     GDFO_STATUS_LIMIT);
    assert_int_equal(gdfo_torch_save(&pt, GDFO_TORCH_F32, 2, 3, values, &err),
                     GDFO_STATUS_NO_MEMORY);
    gdfo_buf_deinit(&pt);
}

static void base64_is_padded(void **state)
{
    static const char *const want[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                       "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    struct gdfo_buf text;
    (void)state;
    gdfo_buf_init(&text, 64);
    for (size_t n = 0; n <= 6; n++) {
        gdfo_buf_reset(&text);
        gdfo_base64_add(&text, "foobar", n);
        assert_string_equal(text.data, want[n]);
    }
    gdfo_buf_deinit(&text);
}

static void crc32_has_its_check_value(void **state)
{
    (void)state;
    assert_int_equal(gdfo_crc32(0, "123456789", 9), 0xCBF43926u);
    assert_int_equal(gdfo_crc32(gdfo_crc32(0, "1234", 4), "56789", 5), 0xCBF43926u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(containers_are_the_vectors_byte_for_byte),
        cmocka_unit_test(data_starts_on_a_multiple_of_64_after_other_bytes),
        cmocka_unit_test(too_many_numbers_are_refused),
        cmocka_unit_test(base64_is_padded),
        cmocka_unit_test(crc32_has_its_check_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
