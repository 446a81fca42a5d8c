#include "server/model/format/format.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"
#include "tests/unit/model/gguf_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The tiny model with one u32 key changed. */
static void with_u32(const char *key, uint32_t v, const char *words)
{
    struct gdfo_test_gguf m;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, key, v);
    if (words) {
        refused(&m, GDFO_STATUS_FORMAT, words);
    } else {
        accepted(&m);
    }
}

static void with_f32(const char *key, float v, const char *words)
{
    struct gdfo_test_gguf m;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_f32(&m, key, v);
    if (words) {
        refused(&m, GDFO_STATUS_FORMAT, words);
    } else {
        accepted(&m);
    }
}

/* ---- meaning ----------------------------------------------------------------------------------
 */

static void required_keys_are_missed_by_name(void **state)
{
    static const char *const keys[] = {"general.architecture",
                                       "llama.block_count",
                                       "llama.embedding_length",
                                       "llama.feed_forward_length",
                                       "llama.context_length",
                                       "llama.attention.head_count",
                                       "llama.attention.layer_norm_rms_epsilon"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct gdfo_test_gguf m;
        char words[120];
        gdfo_test_gguf_tiny(&m);
        gdfo_test_gguf_drop(&m, keys[i]);
        (void)snprintf(words, sizeof words, "key \"%s\" is missing", keys[i]);
        refused(&m, GDFO_STATUS_FORMAT, words);
    }
}

static void optional_keys_have_defaults(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_drop(&m, "llama.vocab_size"); /* the rows of token_embd */
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_drop(&m, "llama.attention.head_count_kv"); /* then k has as many rows as q */
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_k.weight\" has 2 dimensions, rows of 32 and 512 elements; the "
            "metadata ask for 32 rows of 32");
}

static void numbers_of_the_model_have_bounds(void **state)
{
    (void)state;
    with_u32("llama.block_count", 0, "key \"llama.block_count\" is 0, accepted 1..512");
    with_u32("llama.block_count", 513, "key \"llama.block_count\" is 513, accepted 1..512");
    with_u32("llama.block_count", 512, "tensor \"blk.1.attn_norm.weight\" is missing");
    with_u32("llama.context_length", 0, "key \"llama.context_length\" is 0, accepted 1..1048576");
    with_u32("llama.context_length", 1048576, NULL);
    with_u32("llama.context_length", 1048577,
             "key \"llama.context_length\" is 1048577, accepted 1..1048576");
    with_u32("llama.attention.head_count", 3, "embedding length 32 is not 3 heads of size 10");
    with_u32("llama.attention.head_count_kv", 3, "2 heads are no multiple of 3 KV heads");
    with_u32("llama.rope.dimension_count", 16, NULL);
    with_u32("llama.rope.dimension_count", 2, NULL);
    with_u32("llama.rope.dimension_count", 15,
             "rope dimension is 15, accepted even numbers 2..16 (the head size)");
    with_u32("llama.rope.dimension_count", 18,
             "rope dimension is 18, accepted even numbers 2..16 (the head size)");
    with_u32("llama.attention.key_length", 16, NULL);
    with_u32("llama.attention.key_length", 32,
             "key \"llama.attention.key_length\" is 32, accepted 16..16");
    with_u32("llama.attention.value_length", 8,
             "key \"llama.attention.value_length\" is 8, accepted 16..16");
    with_u32("llama.vocab_size", 9,
             "tensor \"token_embd.weight\" has 2 dimensions, rows of 32 and 256 elements; the "
             "metadata ask for 9 rows of 32");
    with_u32("llama.vocab_size", 4194305,
             "key \"llama.vocab_size\" is 4194305, accepted 1..4194304");
    with_u32("llama.embedding_length", 65537,
             "key \"llama.embedding_length\" is 65537, accepted 1..65536");
}

static void epsilon_and_base_have_bounds(void **state)
{
    static const char eps[] = "llama.attention.layer_norm_rms_epsilon";
    static const char base[] = "llama.rope.freq_base";
    (void)state;
    with_f32(eps, 0.01F * 0.999999F, NULL);
    with_f32(eps, 0.011F, "rms epsilon is 0.011, accepted above 0 and up to 0.01");
    with_f32(eps, 0, "rms epsilon is 0, accepted above 0 and up to 0.01");
    with_f32(eps, -1e-5F, "rms epsilon is -1e-05, accepted above 0 and up to 0.01");
    with_f32(eps, NAN, "key \"llama.attention.layer_norm_rms_epsilon\" is not finite");
    with_f32(base, 1, NULL);
    with_f32(base, 0.5F, "rope base is 0.5, accepted 1 and above");
    with_f32(base, INFINITY, "key \"llama.rope.freq_base\" is not finite");
}

/* 0.01 exactly can only be written as an f64. */
static void epsilon_may_be_its_bound(void **state)
{
    const double bound = 0.01;
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_set(&m, "llama.attention.layer_norm_rms_epsilon", 12, &bound, sizeof bound);
    accepted(&m);
}

static void what_we_do_not_compute_is_refused_by_name(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "general.architecture", "gemma\n");
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "architecture \"gemma\\x0a\" is not read, accepted \"llama\"");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "general.architecture", "llama with something longer than we keep");
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "architecture \"llama with something longer tha\" is not read, accepted \"llama\"");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "llama.rope.scaling.type", "none");
    gdfo_test_gguf_f32(&m, "llama.rope.scaling.factor", 1);
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "llama.rope.scaling.type", "yarn");
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "key \"llama.rope.scaling.type\": scaled rotations are not read");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_f32(&m, "llama.rope.scaling.factor", 2);
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "key \"llama.rope.scaling.factor\": scaled rotations are not read");
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, "split.count", 2);
    refused(&m, GDFO_STATUS_UNSUPPORTED, "key \"split.count\": split files are not read");
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "rope_freqs.weight", 8, 0);
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "tensor \"rope_freqs.weight\": rotations with frequency factors are not read");
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "blk.0.attn_q.bias", 32, 0);
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "tensor \"blk.0.attn_q.bias\": models with bias are not read");
}

static void long_names_are_cut_at_a_character(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    struct gdfo_reader r;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    char name[202];
    (void)state;
    for (size_t i = 0; i + 1 < sizeof name; i++) {
        name[i] = i % 2 ? '\xA9' : '\xC3'; /* e with an acute accent, 100 times */
    }
    name[200] = '\0';
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_text(&m, "general.name", name);
    gdfo_test_gguf_build(&m, &b);
    r = gdfo_reader_memory(b.data, b.len, "x.gguf");
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    assert_int_equal(strlen(gdfo_model_file_config(f)->name), 126);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

/* The tiny model, its q tensor in the caller's hands. */
static struct gdfo_test_tensor *tiny_q(struct gdfo_test_gguf *m)
{
    gdfo_test_gguf_tiny(m);
    return gdfo_test_gguf_find(m, "blk.0.attn_q.weight");
}

static void types_we_do_not_read_are_refused_by_name(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    tiny_q(&m)->type = 12;
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "tensor \"blk.0.attn_q.weight\" has type Q4_K, accepted F32, F16, BF16, Q8_0, Q4_0, "
            "Q4_1");
    tiny_q(&m)->type = 99;
    refused(&m, GDFO_STATUS_UNSUPPORTED,
            "tensor \"blk.0.attn_q.weight\" has the unknown type 99, accepted F32, F16, BF16, "
            "Q8_0, Q4_0, Q4_1");
}

static void a_tensor_has_one_to_four_dimensions_of_at_least_one(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    tiny_q(&m)->n_dims = 0;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\" has 0 dimensions, accepted 1..4");
    tiny_q(&m)->n_dims = 5;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\" has 5 dimensions, accepted 1..4");
    tiny_q(&m)->n_dims = 4; /* passes the bound, fails on the shape */
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\" has 4 dimensions, rows of 32 and 1024 elements; the "
            "metadata ask for 32 rows of 32");
    tiny_q(&m)->dims[1] = 0;
    refused(&m, GDFO_STATUS_FORMAT, "tensor \"blk.0.attn_q.weight\": dimension 1 is 0");
}

static void elements_are_counted_without_overflow(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_test_tensor *t = tiny_q(&m);
    (void)state;
    t->n_dims = 4;
    for (size_t i = 0; i < 4; i++) {
        t->dims[i] = (uint64_t)1 << 62;
    }
    refused(&m, GDFO_STATUS_LIMIT,
            "tensor \"blk.0.attn_q.weight\" has more than 1099511627776 elements");
    t = tiny_q(&m);
    t->dims[0] = (uint64_t)1 << 20;
    t->dims[1] = ((uint64_t)1 << 20) + 1;
    refused(&m, GDFO_STATUS_LIMIT,
            "tensor \"blk.0.attn_q.weight\" has more than 1099511627776 elements");
    t = tiny_q(&m);
    t->dims[0] = (uint64_t)1 << 20; /* the bound itself: then the file is too short */
    t->dims[1] = (uint64_t)1 << 20;
    t->offset = 0;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": 4398046511104 bytes at offset 0 end outside the "
            "file, whose data have 38272 bytes");
}

static void rows_are_whole_blocks(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_test_tensor *t = tiny_q(&m);
    (void)state;
    t->type = 8;
    t->dims[0] = 33;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": row length 33 is no multiple of 32, the block of "
            "Q8_0");
    t = tiny_q(&m);
    t->type = 8; /* 32 blocks of 34 bytes */
    gdfo_buf_reset(&t->bytes);
    for (int i = 0; i < 32 * 34; i++) {
        gdfo_buf_addc(&t->bytes, 0);
    }
    accepted(&m);
}

static void offsets_are_aligned_and_inside(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    tiny_q(&m)->offset = 33;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": offset 33 is no multiple of 32");
    tiny_q(&m)->offset = (uint64_t)1 << 63;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": 4096 bytes at offset 9223372036854775808 end outside "
            "the file, whose data have 38272 bytes");
    tiny_q(&m)->offset = UINT64_MAX - 31;
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": 4096 bytes at offset 18446744073709551584 end outside "
            "the file, whose data have 38272 bytes");
    tiny_q(&m)->offset = 38272 - 4096 + 32; /* one step past the last place it fits */
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"blk.0.attn_q.weight\": 4096 bytes at offset 34208 end outside the file, "
            "whose data have 38272 bytes");
}

static void tensors_do_not_overlap(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    tiny_q(&m)->offset = 0;
    {
        struct gdfo_buf b;
        struct gdfo_error err = {0};
        gdfo_test_gguf_build(&m, &b);
        assert_int_equal(open_bytes(&b, &err), GDFO_STATUS_FORMAT);
        assert_non_null(strstr(err.text, "overlaps"));
        assert_non_null(strstr(err.text, "tensor \"blk.0.attn_q.weight\""));
        assert_non_null(strstr(err.text, "tensor \"token_embd.weight\""));
        gdfo_buf_deinit(&b);
        gdfo_test_gguf_deinit(&m);
    }
    tiny_q(&m)->offset = 38272 - 4096; /* the last 32 rows are ffn_down's */
    {
        struct gdfo_buf b;
        struct gdfo_error err = {0};
        gdfo_test_gguf_build(&m, &b);
        assert_int_equal(open_bytes(&b, &err), GDFO_STATUS_FORMAT);
        assert_non_null(strstr(err.text, "overlaps"));
        gdfo_buf_deinit(&b);
        gdfo_test_gguf_deinit(&m);
    }
}

static void a_tensor_twice_is_refused(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "blk.0.ffn_up.weight", 32, 64);
    refused(&m, GDFO_STATUS_FORMAT, "tensor \"blk.0.ffn_up.weight\" stands in the file twice");
}

static void a_tensor_name_has_one_to_64_bytes(void **state)
{
    struct gdfo_test_gguf m;
    char name[66];
    (void)state;
    memset(name, 'n', sizeof name);
    name[65] = '\0';
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, name, 1, 0);
    refused(&m, GDFO_STATUS_LIMIT,
            "tensor number 11: the name of a tensor: a string of 65 bytes, at most 64");
    name[64] = '\0';
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, name, 1, 0);
    {
        char words[160];
        (void)snprintf(words, sizeof words,
                       "tensor \"%s\" has no place in a llama model of 1 "
                       "blocks",
                       name);
        refused(&m, GDFO_STATUS_UNSUPPORTED, words);
    }
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "", 1, 0);
    refused(&m, GDFO_STATUS_FORMAT, "tensor number 11 has no name");
}

static void names_that_only_look_right_are_refused(void **state)
{
    static const char *const names[] = {"blk.00.attn_q.weight",
                                        "blk.1.attn_q.weight",
                                        "blk..attn_q.weight",
                                        "blk.0.attn_q.weight ",
                                        "blk.0attn_q.weight",
                                        "blk.-1.attn_q.weight",
                                        "blk.99999999999999999999.attn_q.weight",
                                        "token_embd",
                                        "blk.0."};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct gdfo_test_gguf m;
        char words[160];
        gdfo_test_gguf_tiny(&m);
        (void)gdfo_test_gguf_tensor(&m, names[i], 32, 32);
        (void)snprintf(words, sizeof words,
                       "tensor \"%s\" has no place in a llama model of 1 "
                       "blocks",
                       names[i]);
        refused(&m, GDFO_STATUS_UNSUPPORTED, words);
    }
}

static void every_tensor_of_the_table_must_be_there(void **state)
{
    struct gdfo_test_gguf tiny;
    (void)state;
    gdfo_test_gguf_tiny(&tiny);
    for (size_t i = 0; i < tiny.n_tensors; i++) {
        struct gdfo_test_gguf m;
        struct gdfo_test_tensor *t;
        char words[100];
        gdfo_test_gguf_tiny(&m);
        t = gdfo_test_gguf_find(&m, tiny.tensors[i].name.data);
        gdfo_buf_deinit(&t->name);
        gdfo_buf_deinit(&t->bytes);
        *t = m.tensors[--m.n_tensors];
        (void)snprintf(words, sizeof words, "tensor \"%s\" is missing", tiny.tensors[i].name.data);
        refused(&m, GDFO_STATUS_FORMAT, words);
    }
    gdfo_test_gguf_deinit(&tiny);
}

static void a_head_of_its_own_makes_the_model_untied(void **state)
{
    struct gdfo_test_gguf m;
    (void)state;
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "output.weight", 32, 8);
    accepted(&m);
    gdfo_test_gguf_tiny(&m);
    (void)gdfo_test_gguf_tensor(&m, "output.weight", 32, 7);
    refused(&m, GDFO_STATUS_FORMAT,
            "tensor \"output.weight\" has 2 dimensions, rows of 32 and 224 elements; the metadata "
            "ask for 8 rows of 32");
}

static void with_alignment(uint32_t v, uint64_t of_data, const char *words)
{
    struct gdfo_test_gguf m;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_u32(&m, "general.alignment", v);
    m.alignment = of_data;
    if (words) {
        refused(&m, GDFO_STATUS_FORMAT, words);
    } else {
        accepted(&m);
    }
}

static void alignment_is_a_power_of_two_from_8_to_4096(void **state)
{
    (void)state;
    with_alignment(8, 8, NULL);
    with_alignment(4096, 4096, NULL);
    with_alignment(4, 32, "key \"general.alignment\" is 4, accepted 8..4096");
    with_alignment(7, 32, "key \"general.alignment\" is 7, accepted 8..4096");
    with_alignment(8192, 8192, "key \"general.alignment\" is 8192, accepted 8..4096");
    with_alignment(48, 48, "key \"general.alignment\" is 48, accepted powers of two 8..4096");
}

/* ---- values -----------------------------------------------------------------------------------
 */

static void a_scale_that_is_not_finite_is_refused_on_reading(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_test_tensor *t = tiny_q(&m);
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    struct gdfo_reader r;
    struct gdfo_model_file *f = NULL;
    float w[1024];
    (void)state;
    t->type = 3;
    gdfo_buf_reset(&t->bytes);
    for (int i = 0; i < 32 * 20; i++) {
        gdfo_buf_addc(&t->bytes, 0);
    }
    t->bytes.data[31 * 20 + 3] = 0x7C; /* the start of the last block: infinite */
    gdfo_test_gguf_build(&m, &b);
    r = gdfo_reader_memory(b.data, b.len, "x.gguf");
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    assert_int_equal(gdfo_model_file_read(f, "blk.0.attn_q.weight", w, 1024, &err),
                     GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "x.gguf: tensor \"blk.0.attn_q.weight\": the Q4_1 block scale "
                                  "number 31 is not finite");
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_keys_are_missed_by_name),
        cmocka_unit_test(optional_keys_have_defaults),
        cmocka_unit_test(numbers_of_the_model_have_bounds),
        cmocka_unit_test(epsilon_and_base_have_bounds),
        cmocka_unit_test(epsilon_may_be_its_bound),
        cmocka_unit_test(what_we_do_not_compute_is_refused_by_name),
        cmocka_unit_test(long_names_are_cut_at_a_character),
        cmocka_unit_test(types_we_do_not_read_are_refused_by_name),
        cmocka_unit_test(a_tensor_has_one_to_four_dimensions_of_at_least_one),
        cmocka_unit_test(elements_are_counted_without_overflow),
        cmocka_unit_test(rows_are_whole_blocks),
        cmocka_unit_test(offsets_are_aligned_and_inside),
        cmocka_unit_test(tensors_do_not_overlap),
        cmocka_unit_test(a_tensor_twice_is_refused),
        cmocka_unit_test(a_tensor_name_has_one_to_64_bytes),
        cmocka_unit_test(names_that_only_look_right_are_refused),
        cmocka_unit_test(every_tensor_of_the_table_must_be_there),
        cmocka_unit_test(a_head_of_its_own_makes_the_model_untied),
        cmocka_unit_test(alignment_is_a_power_of_two_from_8_to_4096),
        cmocka_unit_test(a_scale_that_is_not_finite_is_refused_on_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
