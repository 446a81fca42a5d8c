#include "common/mem.h"
#include "server/model/format/format.h"
#include "tests/support/gguf_maker.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct gdfo_model_file *open_shared(const char *path, struct gdfo_reader *r)
{
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    gdfo_test_ok(gdfo_reader_open(r, path, &err), &err);
    gdfo_test_ok(gdfo_model_file_open(&f, r, NULL, &err), &err);
    return f;
}

static void stories260k_has_the_published_shape(void **state)
{
    struct gdfo_reader r;
    struct gdfo_model_file *f =
        open_shared(gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"), &r);
    const struct gdfo_model_config *c = gdfo_model_file_config(f);
    (void)state;
    assert_string_equal(c->architecture, "llama");
    assert_string_equal(c->name, "stories260K");
    assert_int_equal(c->n_layers, 5);
    assert_int_equal(c->d_model, 64);
    assert_int_equal(c->n_heads, 8);
    assert_int_equal(c->n_kv_heads, 4);
    assert_int_equal(c->d_head, 8);
    assert_int_equal(c->d_ff, 172);
    assert_int_equal(c->vocab, 512);
    assert_int_equal(c->context_max, 512);
    assert_int_equal(c->n_rot, 8);
    gdfo_test_near(c->rope_base, 10000, 0);
    gdfo_test_near(c->rms_eps, 1e-5, 1e-12);
    assert_int_equal(c->is_tied, 0);
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&r);
}

static double mean_square(const struct gdfo_model_file *f, const char *name, size_t n)
{
    struct gdfo_error err = {0};
    float *w = gdfo_mem_array(n, sizeof *w);
    double sum = 0;
    gdfo_test_ok(gdfo_model_file_read(f, name, w, n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        sum += (double)w[i] * (double)w[i];
    }
    gdfo_mem_free(w);
    return sum / (double)n;
}

static void smollm2_opens_and_every_kind_of_its_tensors_reads(void **state)
{
    struct gdfo_reader r;
    struct gdfo_model_file *f = open_shared(gdfo_test_model_path(), &r);
    const struct gdfo_model_config *c = gdfo_model_file_config(f);
    (void)state;
    assert_int_equal(c->n_layers, 30);
    assert_int_equal(c->d_model, 576);
    assert_int_equal(c->n_heads, 9);
    assert_int_equal(c->n_kv_heads, 3);
    assert_int_equal(c->d_ff, 1536);
    assert_int_equal(c->vocab, 49152);
    assert_int_equal(c->context_max, 8192);
    assert_int_equal(c->is_tied, 1);
    gdfo_test_near(c->rope_base, 100000, 0);
    assert_true(gdfo_model_file_has(f, "blk.29.ffn_down.weight"));
    assert_false(gdfo_model_file_has(f, "output.weight"));
    assert_true(mean_square(f, "blk.29.ffn_down.weight", (size_t)576 * 1536) > 1e-4); /* Q4_1 */
    assert_true(mean_square(f, "token_embd.weight", (size_t)576 * 49152) > 1e-4);     /* Q8_0 */
    assert_true(mean_square(f, "output_norm.weight", 576) > 1e-4);                    /* F32 */
    assert_int_equal(gdfo_model_file_float_bytes(f), (uint64_t)134515008 * 4);
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&r);
}

static void a_tensor_comes_out_as_it_was_written(void **state)
{
    struct gdfo_test_gguf m;
    struct gdfo_buf b;
    struct gdfo_reader r;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    float w[32 * 16];
    (void)state;
    gdfo_test_gguf_tiny(&m);
    gdfo_test_gguf_build(&m, &b);
    r = gdfo_reader_memory(b.data, b.len, "tiny.gguf");
    gdfo_test_ok(gdfo_model_file_open(&f, &r, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_file_read(f, "blk.0.attn_k.weight", w, 512, &err), &err);
    for (size_t i = 0; i < 512; i++) {
        gdfo_test_near((double)w[i], (double)(i + 1) / 256.0, 0);
    }
    assert_int_equal(gdfo_model_file_config(f)->n_rot, 16);
    assert_int_equal(gdfo_model_file_config(f)->is_tied, 1);
    gdfo_test_near(gdfo_model_file_config(f)->rope_base, 10000, 0);
    assert_int_equal(gdfo_model_file_read(f, "blk.0.attn_k.weight", w, 511, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text,
                        "tiny.gguf: tensor \"blk.0.attn_k.weight\" has 512 elements, not 511");
    assert_int_equal(gdfo_model_file_read(f, "blk.1.attn_k.weight", w, 512, &err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&b);
    gdfo_test_gguf_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories260k_has_the_published_shape),
        cmocka_unit_test(smollm2_opens_and_every_kind_of_its_tensors_reads),
        cmocka_unit_test(a_tensor_comes_out_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
