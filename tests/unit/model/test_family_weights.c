#include "common/mem.h"
#include "server/model/family/family.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/mathx.h"
#include "server/num/pack.h"
#include "tests/support/engine.h"

#include <math.h>

/* Opening a model, and the slab of weights that forward and backward share. */

static const struct gdfo_test_shape shape = {2, 3, 1, 4, 4, 10, 7, 32, 0};

static struct gdfo_model_config config_of(const struct gdfo_test_shape *s)
{
    return (struct gdfo_model_config){.n_layers = s->n_layers,
                                      .d_model = s->n_heads * s->d_head,
                                      .n_heads = s->n_heads,
                                      .n_kv_heads = s->n_kv_heads,
                                      .d_head = s->d_head,
                                      .d_ff = s->d_ff,
                                      .vocab = s->vocab,
                                      .n_rot = s->n_rot,
                                      .is_tied = s->is_tied};
}

static void joined_tensors_lie_back_to_back(void **state)
{
    struct gdfo_model_config c = config_of(&shape);
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_llama_weights_create(&w, &c, &err), &err);
    for (size_t l = 0; l < 2; l++) {
        const struct gdfo_llama_layer *p = &w->layers[l];
        assert_ptr_equal(p->k, p->q + 12 * 12);
        assert_ptr_equal(p->v, p->k + 4 * 12);
        assert_ptr_equal(p->up, p->gate + 10 * 12);
        assert_int_equal((size_t)(p->q - w->slab) % 16, 0);
        assert_int_equal((size_t)(p->gate - w->slab) % 16, 0);
        assert_int_equal((size_t)(p->down - w->slab) % 16, 0);
    }
    assert_true(w->layers[1].down + 12 * 10 == w->slab + w->n_floats);
    assert_true(w->head != w->embed);
    gdfo_llama_weights_destroy(w);
    gdfo_llama_weights_destroy(NULL);
}

/* Each tensor's place is its own: what is written to one is read back after all are written. */
static void no_two_tensors_share_a_place(void **state)
{
    struct gdfo_model_config c = config_of(&shape);
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    size_t n = 0;
    (void)state;
    gdfo_test_ok(gdfo_llama_weights_create(&w, &c, &err), &err);
    for (size_t l = 0; l < 2; l++) {
        const struct gdfo_llama_layer *p = &w->layers[l];
        float *const at[] = {p->attn_norm, p->q,    p->k,  p->v,   p->o,
                             p->ffn_norm,  p->gate, p->up, p->down};
        const size_t sizes[] = {12, 144, 48, 48, 144, 12, 120, 120, 120};
        for (size_t i = 0; i < 9; i++) {
            for (size_t j = 0; j < sizes[i]; j++, n++) {
                assert_true(at[i][j] == 0.0F);
                at[i][j] = 1.0F;
            }
        }
    }
    for (size_t i = 0; i < 12; i++, n++) {
        assert_true(w->out_norm[i] == 0.0F);
        w->out_norm[i] = 1.0F;
    }
    for (size_t i = 0; i < 84; i++, n += 2) {
        assert_true(w->embed[i] == 0.0F && w->head[i] == 0.0F);
        w->embed[i] = w->head[i] = 1.0F;
    }
    for (size_t i = 0; i < w->n_floats; i++) {
        n -= w->slab[i] == 1.0F;
    }
    assert_int_equal(n, 0);
    gdfo_llama_weights_destroy(w);
}

static void a_tied_head_is_the_embedding(void **state)
{
    struct gdfo_model_config c = config_of(&shape);
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    size_t untied = gdfo_llama_weights_floats(&c);
    (void)state;
    c.is_tied = 1;
    gdfo_test_ok(gdfo_llama_weights_create(&w, &c, &err), &err);
    assert_ptr_equal(w->head, w->embed);
    assert_true(gdfo_llama_weights_floats(&c) < untied);
    gdfo_llama_weights_destroy(w);
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    struct gdfo_model_config c = config_of(&shape);
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    (void)state;
    c.n_kv_heads = 2; /* of 3 heads */
    assert_int_equal(gdfo_llama_weights_floats(&c), 0);
    assert_int_equal(gdfo_llama_weights_create(&w, &c, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "model shapes do not fit together: 2 layers, d 12, 3/2 heads of "
                                  "4, 4 rotated, ff 10, vocabulary 7");
    c = config_of(&shape);
    c.n_rot = 6;
    assert_int_equal(gdfo_llama_weights_floats(&c), 0);
    c = config_of(&shape);
    c.n_layers = c.d_ff = c.d_model = UINT32_MAX;
    assert_int_equal(gdfo_llama_weights_floats(&c), 0);
    assert_null(w);
}

/* ---- opening ---- */

struct counted {
    struct gdfo_reader inner;
    size_t n_reads;
};

static enum gdfo_status counted_read(void *ctx, uint64_t offset, void *out, size_t n,
                                     struct gdfo_error *err)
{
    struct counted *c = ctx;
    c->n_reads++;
    return c->inner.read_at(c->inner.ctx, offset, out, n, err);
}

struct opened {
    struct gdfo_buf bytes;
    struct counted counted;
    struct gdfo_reader reader;
    struct gdfo_model_file *file;
};

static void open_file(struct opened *o, const struct gdfo_test_shape *s)
{
    struct gdfo_error err = {0};
    gdfo_test_random_gguf(s, &o->bytes);
    o->counted.n_reads = 0;
    o->counted.inner = gdfo_reader_memory(o->bytes.data, o->bytes.len, "random.gguf");
    o->reader = o->counted.inner;
    o->reader.ctx = &o->counted;
    o->reader.read_at = counted_read;
    gdfo_test_ok(gdfo_model_file_open(&o->file, &o->reader, NULL, &err), &err);
}

static void close_file(struct opened *o)
{
    gdfo_model_file_destroy(o->file);
    gdfo_buf_deinit(&o->bytes);
}

static void too_large_a_model_is_refused_before_a_tensor_is_read(void **state)
{
    struct opened o;
    struct gdfo_model *model = NULL;
    struct gdfo_model_options opt = {0};
    struct gdfo_model_config c = config_of(&shape);
    struct gdfo_error err = {0};
    size_t n_before;
    (void)state;
    open_file(&o, &shape);
    n_before = o.counted.n_reads;
    opt.memory_max_bytes = gdfo_llama_weights_floats(&c) * sizeof(float) - 1;
    assert_int_equal(gdfo_model_open(&model, o.file, &opt, &err), GDFO_STATUS_LIMIT);
    assert_string_equal(err.text, "the model needs 1 MiB of memory: at most 0 MiB are allowed");
    assert_int_equal(o.counted.n_reads, n_before);
    opt.memory_max_bytes++;
    gdfo_test_ok(gdfo_model_open(&model, o.file, &opt, &err), &err);
    assert_int_equal(gdfo_model_bytes(model), opt.memory_max_bytes);
    assert_true(o.counted.n_reads > n_before);
    close_file(&o);
    assert_int_equal(gdfo_model_config(model)->d_ff, 10); /* the file is not needed any more */
    gdfo_model_destroy(model);
    gdfo_model_destroy(NULL);
}

/* What a reduced precision packs beside the floats counts too. */
static void packed_weights_count_against_the_ceiling(void **state)
{
    (void)state;
    for (int p = GDFO_PRECISION_BF16; p < GDFO_PRECISION_COUNT; p++) {
        struct opened o;
        struct gdfo_model *model = NULL;
        struct gdfo_model_options opt = {.precision = (enum gdfo_precision)p};
        struct gdfo_model_config c = config_of(&shape);
        uint64_t n_floats = gdfo_llama_weights_floats(&c);
        struct gdfo_error err = {0};
        if (!gdfo_precision_is_available(opt.precision)) {
            continue; /* refused: see the next test */
        }
        open_file(&o, &shape);
        opt.memory_max_bytes = n_floats * sizeof(float) + n_floats;
        assert_int_equal(gdfo_model_open(&model, o.file, &opt, &err), GDFO_STATUS_LIMIT);
        opt.memory_max_bytes = 0;
        gdfo_test_ok(gdfo_model_open(&model, o.file, &opt, &err), &err);
        assert_int_equal(gdfo_model_precision(model), p);
        opt.memory_max_bytes = gdfo_model_bytes(model);
        assert_true(opt.memory_max_bytes > n_floats * 5);
        gdfo_model_destroy(model);
        gdfo_test_ok(gdfo_model_open(&model, o.file, &opt, &err), &err);
        gdfo_model_destroy(model);
        close_file(&o);
    }
}

/* What int8 keeps in bfloat16 (llama_packs.c): of 11 layers all but gate and up, and those in the
 * last two; the head. */
static void int8_leaves_the_finest_products_to_bf16(void **state)
{
    const struct gdfo_test_shape tall = {11, 3, 1, 4, 4, 10, 7, 32, 0};
    const struct gdfo_family_load how = {.precision = GDFO_PRECISION_INT8};
    struct gdfo_model_config c = config_of(&tall);
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    (void)state;
    if (!gdfo_precision_is_available(GDFO_PRECISION_INT8)) {
        return; /* refused: see the next test */
    }
    gdfo_test_ok(gdfo_llama_weights_create(&w, &c, &err), &err);
    gdfo_test_ok(gdfo_llama_packs_create(w, &how, &err), &err);
    for (size_t l = 0; l < 11; l++) {
        const struct gdfo_llama_packs *p = &w->packs[l];
        enum gdfo_precision inner = l < 9 ? GDFO_PRECISION_INT8 : GDFO_PRECISION_BF16;
        assert_int_equal(gdfo_pack_precision(p->qkv), GDFO_PRECISION_BF16);
        assert_int_equal(gdfo_pack_precision(p->o), GDFO_PRECISION_BF16);
        assert_int_equal(gdfo_pack_precision(p->gate_up), inner);
        assert_int_equal(gdfo_pack_precision(p->down), GDFO_PRECISION_BF16);
    }
    assert_int_equal(gdfo_pack_precision(w->head_pack), GDFO_PRECISION_BF16);
    gdfo_llama_weights_destroy(w);
}

/* The memory of a model that is read is not zeroed before: what lies between tensors is all the
 * same (ASan fills fresh memory with something else). */
static void gaps_between_tensors_are_zero(void **state)
{
    struct opened o;
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_error err = {0};
    (void)state;
    open_file(&o, &shape);
    gdfo_test_ok(gdfo_llama_weights_load(&w, o.file, NULL, &err), &err);
    for (const float *p = w->layers[1].attn_norm + 12; p < w->layers[1].q; p++) {
        assert_true(*p == 0);
    }
    assert_true(w->layers[1].attn_norm + 12 < w->layers[1].q);
    gdfo_llama_weights_destroy(w);
    close_file(&o);
}

static void a_precision_the_processor_lacks_is_refused(void **state)
{
    struct opened o;
    const struct gdfo_model_options opt = {.precision = GDFO_PRECISION_INT8};
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
    (void)state;
    open_file(&o, &shape);
    gdfo_math_limit("plain");
    assert_int_equal(gdfo_model_open(&model, o.file, &opt, &err), GDFO_STATUS_UNSUPPORTED);
    assert_string_equal(err.text, "precision int8: this processor lacks AVX512_VNNI; f32 works "
                                  "everywhere");
    gdfo_test_ok(gdfo_model_open(&model, o.file, NULL, &err), &err);
    gdfo_math_limit(NULL);
    assert_int_equal(gdfo_model_precision(model), GDFO_PRECISION_F32);
    gdfo_model_destroy(model);
    close_file(&o);
}

static void every_failed_allocation_is_a_status(void **state)
{
    struct opened o;
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    struct gdfo_model_options opt = {0};
    opt.precision =
        gdfo_precision_is_available(GDFO_PRECISION_INT8) ? GDFO_PRECISION_INT8 : GDFO_PRECISION_F32;
    (void)state;
    open_file(&o, &shape);
    for (long n = 0; st != GDFO_STATUS_OK; n++) {
        struct gdfo_error err = {0};
        struct gdfo_model *model = NULL;
        assert_true(n < 60);
        gdfo_mem_fail_after(n);
        st = gdfo_model_open(&model, o.file, &opt, &err);
        gdfo_mem_fail_after(-1);
        assert_true(st == GDFO_STATUS_OK || st == GDFO_STATUS_NO_MEMORY);
        assert_true(!model == (st != GDFO_STATUS_OK));
        gdfo_model_destroy(model);
    }
    close_file(&o);
}

/* A tensor that cannot be read: the model is not opened, and the file's words come through. */
static void a_non_finite_weight_is_refused(void **state)
{
    struct opened o;
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
    const float bad = INFINITY;
    (void)state;
    open_file(&o, &shape);
    memcpy(o.bytes.data + o.bytes.len - sizeof bad, &bad, sizeof bad); /* the last ffn_down */
    assert_int_equal(gdfo_model_open(&model, o.file, NULL, &err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(err.text, "blk.1.ffn_down.weight"));
    assert_null(model);
    close_file(&o);
}

static void an_open_model_tells_what_it_is(void **state)
{
    struct gdfo_model *model = gdfo_test_stories();
    const struct gdfo_llama_weights *w = gdfo_llama_weights_of(model);
    const float *embed = gdfo_model_embed(model);
    double sum = 0;
    double squares = 0;
    (void)state;
    for (size_t i = 0; i < 512 * 64; i++) {
        sum += (double)embed[i] / (512 * 64);
        squares += (double)embed[i] * (double)embed[i] / (512 * 64);
    }
    gdfo_test_near(gdfo_model_embed_std(model), sqrt(squares - sum * sum), 1e-9);
    assert_ptr_equal(embed, w->embed);
    assert_ptr_equal(gdfo_family_weights(model), w);
    assert_string_equal(gdfo_family_of(model)->name, "llama");
    assert_int_equal(gdfo_tokenizer_vocab(gdfo_model_tokenizer(model)), 512);
    assert_int_equal(gdfo_model_bytes(model), w->n_floats * sizeof(float));
    gdfo_model_destroy(model);
}

static void a_model_without_a_tokenizer_opens(void **state)
{
    struct gdfo_model *model = gdfo_test_random_model(&shape);
    (void)state;
    assert_null(gdfo_model_tokenizer(model));
    gdfo_model_destroy(model);
}

static void families_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(gdfo_family_find("llama"), &gdfo_family_llama_ops);
    assert_null(gdfo_family_find("gpt2"));
    assert_null(gdfo_family_find(""));
    assert_null(gdfo_family_at(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joined_tensors_lie_back_to_back),
        cmocka_unit_test(no_two_tensors_share_a_place),
        cmocka_unit_test(a_tied_head_is_the_embedding),
        cmocka_unit_test(shapes_that_cannot_be_are_refused),
        cmocka_unit_test(too_large_a_model_is_refused_before_a_tensor_is_read),
        cmocka_unit_test(packed_weights_count_against_the_ceiling),
        cmocka_unit_test(int8_leaves_the_finest_products_to_bf16),
        cmocka_unit_test(gaps_between_tensors_are_zero),
        cmocka_unit_test(a_precision_the_processor_lacks_is_refused),
        cmocka_unit_test(every_failed_allocation_is_a_status),
        cmocka_unit_test(a_non_finite_weight_is_refused),
        cmocka_unit_test(an_open_model_tells_what_it_is),
        cmocka_unit_test(a_model_without_a_tokenizer_opens),
        cmocka_unit_test(families_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
