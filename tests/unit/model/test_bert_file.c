#include "common/mem.h"
#include "server/model/model.h"
#include "tests/support/test.h"
#include "tests/support/tiny_masked.h"

#include <stdio.h>
#include <string.h>

/*
 * Files of masked language models that are wrong, or right but not computed here: each refused with
 * the words that name what it is. A good file with one stretch of its bytes changed.
 */
struct change { /* in the config or in the header of the weights; same length in the header */
    const char *from, *to;
};

static void replace(struct gdfo_buf *b, const struct change *c, int must_fit)
{
    struct gdfo_buf out;
    char *at = NULL;
    const size_t n = strlen(c->from);
    for (size_t i = 0; i + n <= b->len && !at; i++) {
        at = memcmp(b->data + i, c->from, n) == 0 ? b->data + i : NULL;
    }
    assert_non_null(at);
    if (must_fit) {
        assert_int_equal(strlen(c->to), n);
        memcpy(at, c->to, n);
        return;
    }
    gdfo_buf_init(&out, 100000);
    gdfo_buf_addn(&out, b->data, (size_t)(at - b->data));
    gdfo_buf_add(&out, c->to);
    gdfo_buf_add(&out, at + n);
    gdfo_buf_deinit(b);
    *b = out;
}

static enum gdfo_status open_changed(const char *name, const struct change *config,
                                     const struct change *header, struct gdfo_model_config *out,
                                     struct gdfo_error *err)
{
    const struct gdfo_test_masked *m = gdfo_test_masked_find(name);
    struct gdfo_buf weights, beside;
    struct gdfo_reader a, b;
    struct gdfo_model_file *f = NULL;
    enum gdfo_status status;
    gdfo_test_masked_weights(m, &weights);
    gdfo_test_masked_config(m, &beside);
    if (config) {
        replace(&beside, config, 0);
    }
    if (header) {
        replace(&weights, header, 1);
    }
    a = gdfo_reader_memory(weights.data, weights.len, "m");
    b = gdfo_reader_memory(beside.data, beside.len, "config.json");
    status = gdfo_model_file_open(&f, &a, &b, err);
    if (status == GDFO_STATUS_OK && out) {
        *out = *gdfo_model_file_config(f);
    }
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&beside);
    return status;
}

static void refused(const char *name, const struct change *config, const struct change *header,
                    enum gdfo_status status, const char *words)
{
    struct gdfo_error err = {0};
    const enum gdfo_status got = open_changed(name, config, header, NULL, &err);
    if (got != status || strcmp(err.text, words) != 0) {
        print_error("got  %s: %s\nwant %s: %s\n", gdfo_status_name(got), err.text,
                    gdfo_status_name(status), words);
        fail();
    }
}

static void other_kinds_of_model_are_refused_by_name(void **state)
{
    static const struct {
        struct change c;
        const char *words;
    } rows[] = {
        {{"\"absolute\"", "\"relative_key\""},
         "m: config.json: position_embedding_type \"relative_key\" is not read, accepted "
         "\"absolute\""},
        {{"\"gelu\"", "\"swish\""},
         "m: config.json: hidden_act \"swish\" is not read, accepted \"gelu\", \"gelu_new\", "
         "\"gelu_pytorch_tanh\", \"relu\""},
        {{"\"is_decoder\":false", "\"is_decoder\":true"},
         "m: config.json: models with \"is_decoder\" are not read"},
        {{"\"is_decoder\":false", "\"quantization_config\":{}"},
         "m: config.json: models with \"quantization_config\" are not read"},
        {{"\"model_type\":\"bert\"", "\"model_type\":\"deberta-v2\""},
         "m: config.json: model_type \"deberta-v2\" is not read, accepted \"llama\", \"bert\", "
         "\"roberta\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused("bert", &rows[i].c, NULL, GDFO_STATUS_UNSUPPORTED, rows[i].words);
    }
}

static void numbers_of_the_config_are_checked(void **state)
{
    static const struct {
        const char *model;
        struct change c;
        const char *words;
    } rows[] = {
        {"bert",
         {"\"type_vocab_size\":2", "\"type_vocab_size\":0"},
         "m: config.json: \"type_vocab_size\" is 0, accepted integers 1..65536"},
        {"bert", {"\"type_vocab_size\":2,", ""}, "m: config.json: \"type_vocab_size\" is missing"},
        {"bert",
         {"\"num_attention_heads\":4", "\"num_attention_heads\":5"},
         "m: hidden_size 32 is no multiple of 5 heads"},
        {"bert", {"1e-12", "0.5"}, "m: layer_norm_eps is 0.5, accepted above 0 and up to 0.01"},
        {"bert",
         {"1e-12", "\"x\""},
         "m: config.json: \"layer_norm_eps\" is a string, wanted a number"},
        {"roberta",
         {"\"pad_token_id\":1", "\"pad_token_id\":97"},
         "m: config.json: \"pad_token_id\" is 97, accepted 0..96 (two below "
         "max_position_embeddings)"},
        {"roberta",
         {"\"max_position_embeddings\":98", "\"max_position_embeddings\":2"},
         "m: config.json: \"pad_token_id\" is 1, accepted 0..0 (two below "
         "max_position_embeddings)"},
        {"bert",
         {"\"hidden_size\":32", "\"hidden_size\":64"},
         "m: tensor \"token_embd.weight\" has 2 dimensions, rows of 32 and 6368 elements; the "
         "config asks for 199 rows of 64"},
        {"bert",
         {"\"num_hidden_layers\":2", "\"num_hidden_layers\":3"},
         "m: tensor \"blk.2.attn_q.weight\" (attention.self.query.weight) is missing"},
        {"bert",
         {"\"tie_word_embeddings\":true", "\"tie_word_embeddings\":false"},
         "m: tensor \"output.weight\" (cls.predictions.decoder.weight) is missing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(rows[i].model, &rows[i].c, NULL, GDFO_STATUS_FORMAT, rows[i].words);
    }
    refused("bert", &(struct change){"\"num_hidden_layers\":2", "\"num_hidden_layers\":1"}, NULL,
            GDFO_STATUS_UNSUPPORTED,
            "m: the file has 16 tensors that a model of 1 blocks has no place for");
}

static void tensors_are_known_and_of_their_shape(void **state)
{
    (void)state;
    refused("bert", NULL, &(struct change){"cls.predictions.bias", "cls.predictions.bxas"},
            GDFO_STATUS_UNSUPPORTED,
            "m: tensor \"cls.predictions.bxas\" has no place in a bert model");
    refused("roberta", NULL, &(struct change){"lm_head.bias", "lm_xead.bias"},
            GDFO_STATUS_UNSUPPORTED, "m: tensor \"lm_xead.bias\" has no place in a roberta model");
    refused("bert", NULL, &(struct change){"encoder.layer.0.", "encoder.layer.x."},
            GDFO_STATUS_UNSUPPORTED,
            "m: tensor \"bert.encoder.layer.x.attention.self.query.weight\" has no place in a bert "
            "model");
    refused("bert", NULL, &(struct change){"[199,32]", "[32,199]"}, GDFO_STATUS_FORMAT,
            "m: tensor \"token_embd.weight\" has 2 dimensions, rows of 199 and 6368 elements; the "
            "config asks for 199 rows of 32");
    refused("bert-old", NULL,
            &(struct change){"\"I64\",\"shape\":[1,8],\"data_offsets\":[1",
                             "\"I64\",\"shape\":[1,8],\"data_offsets\":[9"},
            GDFO_STATUS_FORMAT,
            "m: tensor \"bert.embeddings.position_ids\": data_offsets 907804..107868 are no range");
}

/* A head that has lost a part is an error, not an encoder. */
static void half_a_head_is_refused(void **state)
{
    (void)state;
    refused("bert", NULL,
            &(struct change){"cls.predictions.transform.dense.bias",
                             "cls.predictions.decoder.bias00000000"},
            GDFO_STATUS_FORMAT,
            "m: tensor \"mlm_dense.bias\" (cls.predictions.transform.dense.bias) is missing");
}

static void the_config_tells_what_the_model_is(void **state)
{
    struct gdfo_model_config c;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(open_changed("bert", NULL, NULL, &c, &err), &err);
    assert_string_equal(c.architecture, "bert");
    assert_int_equal(c.context_max, 64);
    assert_int_equal(c.position_first, 0);
    assert_int_equal(c.activation, GDFO_ACTIVATION_GELU);
    assert_false(c.is_encoder);
    assert_true(c.is_tied);
    gdfo_test_ok(open_changed("roberta", NULL, NULL, &c, &err), &err);
    assert_string_equal(c.architecture, "bert");
    assert_int_equal(c.context_max, 96);
    assert_int_equal(c.position_first, 2);
    gdfo_test_ok(open_changed("bert-untied", NULL, NULL, &c, &err), &err);
    assert_int_equal(c.activation, GDFO_ACTIVATION_GELU_TANH);
    assert_false(c.is_tied);
    gdfo_test_ok(open_changed("bert-encoder", NULL, NULL, &c, &err), &err);
    assert_true(c.is_encoder);
    gdfo_test_ok(open_changed("bert-relu", &(struct change){"\"relu\"", "null"}, NULL, &c, &err),
                 &err);
    assert_int_equal(c.activation, GDFO_ACTIVATION_GELU);
}

static void no_memory_at_any_moment_is_an_error_and_nothing_leaks(void **state)
{
    const struct gdfo_test_masked *m = gdfo_test_masked_find("bert-relu");
    struct gdfo_buf weights, config;
    struct gdfo_reader a, b;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    (void)state;
    gdfo_test_masked_weights(m, &weights);
    gdfo_test_masked_config(m, &config);
    a = gdfo_reader_memory(weights.data, weights.len, "m");
    b = gdfo_reader_memory(config.data, config.len, "config.json");
    for (; status != GDFO_STATUS_OK && n < 2000; n++) {
        struct gdfo_model_file *f = NULL;
        struct gdfo_model *model = NULL;
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = gdfo_model_file_open(&f, &a, &b, &err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_model_open(&model, f, NULL, &err);
        }
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_model_destroy(model);
        gdfo_model_file_destroy(f);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    assert_true(n > 10);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_kinds_of_model_are_refused_by_name),
        cmocka_unit_test(numbers_of_the_config_are_checked),
        cmocka_unit_test(tensors_are_known_and_of_their_shape),
        cmocka_unit_test(half_a_head_is_refused),
        cmocka_unit_test(the_config_tells_what_the_model_is),
        cmocka_unit_test(no_memory_at_any_moment_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
