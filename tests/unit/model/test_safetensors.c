#include "common/mem.h"
#include "server/model/format/format.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/* A safetensors file and its config.json, put together from text; every part can lie. */
struct maker {
    struct gdfo_buf head, data, config;
    uint64_t head_len; /* 0: the truth */
};

static void add_tensor(struct maker *m, const char *name, unsigned rows, unsigned columns)
{
    const size_t begin = m->data.len;
    const unsigned n = rows ? rows * columns : columns;
    for (unsigned i = 0; i < n; i++) {
        const float v = (float)(i + 1) / 64.0F;
        gdfo_buf_addn(&m->data, &v, sizeof v);
    }
    gdfo_buf_add(&m->head, m->head.len > 1 ? "," : "");
    gdfo_buf_addf(&m->head, "\"%s\":{\"dtype\":\"F32\",\"shape\":[", name);
    if (rows) {
        gdfo_buf_addf(&m->head, "%u,", rows);
    }
    gdfo_buf_addf(&m->head, "%u],\"data_offsets\":[%zu,%zu]}", columns, begin, m->data.len);
}

static const char tiny_config[] =
    "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":8,\"intermediate_size\":3,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":4,"
    "\"max_position_embeddings\":16,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
    "\"rope_scaling\":null,\"attention_bias\":false,\"tie_word_embeddings\":true}";

static void make_tiny(struct maker *m)
{
    memset(m, 0, sizeof *m);
    gdfo_buf_init(&m->head, 1u << 25);
    gdfo_buf_init(&m->data, 1u << 20);
    gdfo_buf_init(&m->config, 1u << 22);
    gdfo_buf_add(&m->config, tiny_config);
    gdfo_buf_addc(&m->head, '{');
    add_tensor(m, "model.embed_tokens.weight", 4, 8);
    add_tensor(m, "model.norm.weight", 0, 8);
    add_tensor(m, "model.layers.0.input_layernorm.weight", 0, 8);
    add_tensor(m, "model.layers.0.self_attn.q_proj.weight", 8, 8);
    add_tensor(m, "model.layers.0.self_attn.k_proj.weight", 4, 8);
    add_tensor(m, "model.layers.0.self_attn.v_proj.weight", 4, 8);
    add_tensor(m, "model.layers.0.self_attn.o_proj.weight", 8, 8);
    add_tensor(m, "model.layers.0.post_attention_layernorm.weight", 0, 8);
    add_tensor(m, "model.layers.0.mlp.gate_proj.weight", 3, 8);
    add_tensor(m, "model.layers.0.mlp.up_proj.weight", 3, 8);
    add_tensor(m, "model.layers.0.mlp.down_proj.weight", 8, 3);
}

static void deinit(struct maker *m)
{
    gdfo_buf_deinit(&m->head);
    gdfo_buf_deinit(&m->data);
    gdfo_buf_deinit(&m->config);
}

/* Replaces the first occurrence of a text in b. */
static void swap(struct gdfo_buf *b, const char *from, const char *to)
{
    struct gdfo_buf next;
    const char *at = strstr(b->data, from);
    if (!at) {
        fail_msg("no %s", from);
        return;
    }
    gdfo_buf_init(&next, b->max);
    gdfo_buf_addn(&next, b->data, (size_t)(at - b->data));
    gdfo_buf_add(&next, to);
    gdfo_buf_add(&next, at + strlen(from));
    gdfo_buf_deinit(b);
    *b = next;
}

static void build(const struct maker *m, struct gdfo_buf *out)
{
    gdfo_buf_init(out, 1u << 26);
    gdfo_buf_u64(out, m->head_len ? m->head_len : m->head.len + 1);
    gdfo_buf_addn(out, m->head.data, m->head.len);
    gdfo_buf_addc(out, '}');
    gdfo_buf_addn(out, m->data.data, m->data.len);
    assert_true(gdfo_buf_ok(out) && gdfo_buf_ok(&m->head) && gdfo_buf_ok(&m->data));
}

static enum gdfo_status open_made(const struct maker *m, struct gdfo_model_file **f,
                                  struct gdfo_buf *bytes, struct gdfo_error *err)
{
    struct gdfo_reader file;
    struct gdfo_reader config;
    build(m, bytes);
    file = gdfo_reader_memory(bytes->data, bytes->len, "tiny.safetensors");
    config = gdfo_reader_memory(m->config.data, m->config.len, "config.json");
    return gdfo_model_file_open(f, &file, &config, err);
}

static void refused(const struct maker *m, enum gdfo_status status, const char *words)
{
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    struct gdfo_model_file *f = NULL;
    const enum gdfo_status got = open_made(m, &f, &bytes, &err);
    if (got != status || strcmp(err.text, words) != 0) {
        print_error("got  %s: %s\nwant %s: %s\n", gdfo_status_name(got), err.text,
                    gdfo_status_name(status), words);
        fail();
    }
    assert_null(f);
    gdfo_buf_deinit(&bytes);
}

static void head_refused(const char *from, const char *to, enum gdfo_status status,
                         const char *words)
{
    struct maker m;
    make_tiny(&m);
    swap(&m.head, from, to);
    refused(&m, status, words);
    deinit(&m);
}

static void config_refused(const char *from, const char *to, enum gdfo_status status,
                           const char *words)
{
    struct maker m;
    make_tiny(&m);
    swap(&m.config, from, to);
    refused(&m, status, words);
    deinit(&m);
}

static void accepted(struct maker *m)
{
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    struct gdfo_model_file *f = NULL;
    gdfo_test_ok(open_made(m, &f, &bytes, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(m);
}

/* ---- the shared model, both ways --------------------------------------------------------------
 */

static struct gdfo_model_file *open_shared(const char *file, const char *config,
                                           struct gdfo_reader r[2])
{
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    gdfo_test_ok(gdfo_reader_open(&r[0], gdfo_test_shared_path(file), &err), &err);
    if (config) {
        gdfo_test_ok(gdfo_reader_open(&r[1], gdfo_test_shared_path(config), &err), &err);
    }
    gdfo_test_ok(gdfo_model_file_open(&f, &r[0], config ? &r[1] : NULL, &err), &err);
    return f;
}

static void assert_same_tensor(const struct gdfo_model_file *a, const char *name_a,
                               const struct gdfo_model_file *b, const char *name_b, size_t n)
{
    struct gdfo_error err = {0};
    float *x = gdfo_mem_array(n, sizeof *x);
    float *y = gdfo_mem_array(n, sizeof *y);
    gdfo_test_ok(gdfo_model_file_read(a, name_a, x, n, &err), &err);
    gdfo_test_ok(gdfo_model_file_read(b, name_b, y, n, &err), &err);
    if (memcmp(x, y, n * sizeof *x) != 0) {
        fail_msg("%s and %s differ", name_a, name_b);
    }
    gdfo_mem_free(x);
    gdfo_mem_free(y);
}

static void gguf_and_safetensors_of_stories260k_are_one_model(void **state)
{
    static const struct {
        const char *role;
        size_t n;
    } roles[] = {{"attn_norm", 64},      {"attn_q", 64 * 64},      {"attn_k", 32 * 64},
                 {"attn_v", 32 * 64},    {"attn_output", 64 * 64}, {"ffn_norm", 64},
                 {"ffn_gate", 172 * 64}, {"ffn_up", 172 * 64},     {"ffn_down", 64 * 172}};
    struct gdfo_reader ra[2] = {{0}};
    struct gdfo_reader rb[2] = {{0}};
    struct gdfo_model_file *a =
        open_shared("models/stories260K/stories260K.derived.gguf", NULL, ra);
    struct gdfo_model_file *b =
        open_shared("models/stories260K/stories260K.derived.safetensors",
                    "models/stories260K/stories260K.derived.config.json", rb);
    struct gdfo_model_config ca = *gdfo_model_file_config(a);
    struct gdfo_model_config cb = *gdfo_model_file_config(b);
    (void)state;
    for (unsigned layer = 0; layer < 5; layer++) {
        for (size_t i = 0; i < 9; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "blk.%u.%s.weight", layer, roles[i].role);
            assert_same_tensor(a, name, b, name, roles[i].n);
        }
    }
    assert_same_tensor(a, "token_embd.weight", b, "token_embd.weight", 512 * 64);
    assert_same_tensor(a, "output_norm.weight", b, "output_norm.weight", 64);
    assert_same_tensor(a, "output.weight", b, "token_embd.weight", 512 * 64); /* b is tied */
    assert_int_equal(cb.is_tied, 1);
    assert_string_equal(ca.architecture, cb.architecture);
    assert_int_equal(ca.n_layers, cb.n_layers);
    assert_int_equal(ca.d_model, cb.d_model);
    assert_int_equal(ca.n_heads, cb.n_heads);
    assert_int_equal(ca.n_kv_heads, cb.n_kv_heads);
    assert_int_equal(ca.d_head, cb.d_head);
    assert_int_equal(ca.d_ff, cb.d_ff);
    assert_int_equal(ca.vocab, cb.vocab);
    assert_int_equal(ca.context_max, cb.context_max);
    assert_int_equal(ca.n_rot, cb.n_rot);
    gdfo_test_near(ca.rms_eps, cb.rms_eps, 0);
    gdfo_test_near(ca.rope_base, cb.rope_base, 0);
    gdfo_model_file_destroy(a);
    gdfo_model_file_destroy(b);
    gdfo_reader_close(&ra[0]);
    gdfo_reader_close(&rb[0]);
    gdfo_reader_close(&rb[1]);
}

static void a_safetensors_file_has_no_tokenizer(void **state)
{
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    struct gdfo_tokenizer *t = NULL;
    (void)state;
    make_tiny(&m);
    gdfo_test_ok(open_made(&m, &f, &bytes, &err), &err);
    assert_int_equal(gdfo_model_file_tokenizer(f, &t, &err), GDFO_STATUS_NOT_FOUND);
    assert_string_equal(err.text, "tiny.safetensors: a safetensors file carries no tokenizer");
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

static void rows_of_q_and_k_are_paired_per_head_and_the_rest_is_not(void **state)
{
    /* hd 4: new row 2i + p is old row 2p + i inside each head; row r holds r * 8 + 1, ... / 64 */
    static const unsigned from[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    float w[64];
    (void)state;
    make_tiny(&m);
    gdfo_test_ok(open_made(&m, &f, &bytes, &err), &err);
    gdfo_test_ok(gdfo_model_file_read(f, "blk.0.attn_q.weight", w, 64, &err), &err);
    for (unsigned r = 0; r < 8; r++) {
        gdfo_test_near((double)w[r * 8] * 64, from[r] * 8 + 1, 0);
        gdfo_test_near((double)w[r * 8 + 7] * 64, from[r] * 8 + 8, 0);
    }
    gdfo_test_ok(gdfo_model_file_read(f, "blk.0.attn_k.weight", w, 32, &err), &err);
    for (unsigned r = 0; r < 4; r++) {
        gdfo_test_near((double)w[r * 8] * 64, from[r] * 8 + 1, 0);
    }
    gdfo_test_ok(gdfo_model_file_read(f, "blk.0.attn_v.weight", w, 32, &err), &err);
    for (unsigned r = 0; r < 4; r++) {
        gdfo_test_near((double)w[r * 8] * 64, r * 8 + 1, 0);
    }
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

/* ---- the header -------------------------------------------------------------------------------
 */

static void the_header_has_bounds(void **state)
{
    struct maker m;
    (void)state;
    make_tiny(&m);
    m.head_len = 1;
    refused(&m, GDFO_STATUS_LIMIT,
            "tiny.safetensors: the header has 1 bytes, accepted 2..16777216");
    m.head_len = 16777217;
    refused(&m, GDFO_STATUS_LIMIT,
            "tiny.safetensors: the header has 16777217 bytes, accepted 2..16777216");
    m.head_len = 16777216;
    {
        char words[200];
        (void)snprintf(words, sizeof words,
                       "tiny.safetensors: the header has 16777216 bytes, but the file ends after "
                       "%zu",
                       m.head.len + 1 + m.data.len);
        refused(&m, GDFO_STATUS_FORMAT, words);
    }
    m.head_len = 0;
    while (m.head.len + 1 < 16777216) { /* blanks are JSON: the longest header that is taken */
        gdfo_buf_addn(&m.head, "                ", 16777216 - m.head.len - 1 < 16 ? 1 : 16);
    }
    accepted(&m);
}

static void the_header_is_strict_json(void **state)
{
    struct maker m;
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    struct gdfo_model_file *f = NULL;
    (void)state;
    make_tiny(&m);
    add_tensor(&m, "model.norm.weight", 0, 8);
    assert_int_equal(open_made(&m, &f, &bytes, &err), GDFO_STATUS_FORMAT);
    assert_memory_equal(err.text, "tiny.safetensors: header: invalid JSON at byte ", 47);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
    make_tiny(&m);
    m.head.data[0] = '[';
    assert_int_equal(open_made(&m, &f, &bytes, &err), GDFO_STATUS_FORMAT);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

static void the_header_must_be_an_object_and_metadata_strings(void **state)
{
    static const char list[] = "\x02\0\0\0\0\0\0\0[]";
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    struct gdfo_reader file = gdfo_reader_memory(list, 10, "list.safetensors");
    struct gdfo_reader config = gdfo_reader_memory(tiny_config, strlen(tiny_config), "config.json");
    (void)state;
    assert_int_equal(gdfo_model_file_open(&f, &file, &config, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "list.safetensors: the header is no JSON object");
    head_refused("{", "{\"__metadata__\":{\"a\":1},", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: \"__metadata__\" is not an object of strings");
    head_refused("{", "{\"__metadata__\":[],", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: \"__metadata__\" is not an object of strings");
}

static void metadata_and_trailing_blanks_are_fine(void **state)
{
    struct maker m;
    (void)state;
    make_tiny(&m);
    swap(&m.head, "{", "{\"__metadata__\":{\"format\":\"pt\"},");
    gdfo_buf_add(&m.head, "   ");
    accepted(&m);
}

static void an_empty_header_has_no_tensors(void **state)
{
    struct maker m;
    (void)state;
    make_tiny(&m);
    gdfo_buf_reset(&m.head);
    gdfo_buf_reset(&m.data);
    gdfo_buf_addc(&m.head, '{');
    refused(&m, GDFO_STATUS_FORMAT, "tiny.safetensors: the file has no tensors");
    deinit(&m);
}

static void an_entry_has_exactly_its_three_members(void **state)
{
    static const char words[] = "tiny.safetensors: tensor \"model.norm.weight\" is not an object "
                                "of \"dtype\" (a string), \"shape\" and \"data_offsets\" (arrays)";
    static const char norm[] =
        "{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[128,160]},\"model.layers.0.input";
    (void)state;
    head_refused(norm, "7,\"model.layers.0.input", GDFO_STATUS_FORMAT, words);
    head_refused(norm, "{\"dtype\":\"F32\",\"shape\":[8]},\"model.layers.0.input",
                 GDFO_STATUS_FORMAT, words);
    head_refused(norm,
                 "{\"dtype\":1,\"shape\":[8],\"data_offsets\":[128,160]},\"model.layers.0.input",
                 GDFO_STATUS_FORMAT, words);
    head_refused(norm,
                 "{\"dtype\":\"F32\",\"shape\":8,\"data_offsets\":[128,160]},"
                 "\"model.layers.0.input",
                 GDFO_STATUS_FORMAT, words);
    head_refused(norm,
                 "{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[128,160],\"x\":1},"
                 "\"model.layers.0.input",
                 GDFO_STATUS_FORMAT, words);
}

static void dtypes_we_do_not_read_are_refused_by_name(void **state)
{
    (void)state;
    head_refused("\"F32\"", "\"F8_E4M3\"", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\" has dtype \"F8_E4M3\", "
                 "accepted F32, F16, BF16");
    head_refused("\"F32\"", "\"I\\u001b[2J\"", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\" has dtype "
                 "\"I\\x1b[2J\", accepted F32, F16, BF16");
}

static void shapes_have_bounds(void **state)
{
    (void)state;
    head_refused("[4,8]", "[]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\" has 0 dimensions, "
                 "accepted 1..4");
    head_refused("[4,8]", "[1,1,1,4,8]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\": \"shape\" has 5 entries "
                 "or one that is no integer of 0 or more; accepted at most 4");
    head_refused("[4,8]", "[4,-8]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\": \"shape\" has 2 entries "
                 "or one that is no integer of 0 or more; accepted at most 4");
    head_refused("[4,8]", "[4,0]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\": dimension 0 is 0");
    head_refused("[4,8]", "[1099511627776]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\": data_offsets 0..128 are "
                 "not the 4398046511104 bytes of its shape");
    head_refused("[4,8]", "[1099511627776,2]", GDFO_STATUS_LIMIT,
                 "tiny.safetensors: tensor \"model.embed_tokens.weight\" has more than "
                 "1099511627776 elements");
    head_refused("[4,8]", "[8,4]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"token_embd.weight\" has 2 dimensions, rows of 4 and "
                 "32 elements; the metadata ask for 4 rows of 8");
    head_refused("[4,8]", "[1,4,8]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"token_embd.weight\" has 3 dimensions, rows of 8 and "
                 "32 elements; the metadata ask for 4 rows of 8");
}

static void the_data_are_covered_exactly(void **state)
{
    struct maker m;
    (void)state;
    head_refused("[128,160]", "[128,161]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.norm.weight\": data_offsets 128..161 are not "
                 "the 32 bytes of its shape");
    head_refused("[128,160]", "[160,128]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.norm.weight\": data_offsets 160..128 are not "
                 "the 32 bytes of its shape");
    head_refused("[128,160]", "[128,160,1]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.norm.weight\": \"data_offsets\" has 3 entries "
                 "or one that is no integer of 0 or more; accepted at most 2");
    head_refused("[128,160]", "[128]", GDFO_STATUS_FORMAT,
                 "tiny.safetensors: tensor \"model.norm.weight\": data_offsets 128..0 are not "
                 "the 32 bytes of its shape");
    head_refused("[128,160]", "[124,156]", GDFO_STATUS_FORMAT, /* overlap */
                 "tiny.safetensors: tensor \"output_norm.weight\" starts at byte 124 of the data, "
                 "accepted 128, where the one before ends");
    head_refused("[128,160]", "[160,192]", GDFO_STATUS_FORMAT, /* a hole at 128 */
                 "tiny.safetensors: tensor \"output_norm.weight\" starts at byte 160 of the data, "
                 "accepted 128, where the one before ends");
    make_tiny(&m);
    gdfo_buf_addc(&m.data, '\0');
    refused(&m, GDFO_STATUS_FORMAT,
            "tiny.safetensors: the tensors end at byte 1280 of 1281 bytes of data");
    m.data.len -= 2;
    refused(&m, GDFO_STATUS_FORMAT,
            "tiny.safetensors: tensor \"blk.0.ffn_down.weight\": 96 bytes at offset 1184 end "
            "outside the file, whose data have 1279 bytes");
    deinit(&m);
}

static void names_without_a_place_are_refused(void **state)
{
    (void)state;
    head_refused("model.norm.weight", "model.norm.scale", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.norm.scale\" has no place in a llama model");
    head_refused("0.self_attn.q_proj.weight", "0.self_attn.q_proj.bias", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.layers.0.self_attn.q_proj.bias\" is a bias: "
                 "models with bias are not read");
    head_refused("layers.0.self_attn.q", "layers.1.self_attn.q", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"blk.1.attn_q.weight\" has no place in a llama model "
                 "of 1 blocks");
    head_refused("layers.0.self_attn.q", "layers.000000.self_attn.q", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.layers.000000.self_attn.q_proj.weight\" has no "
                 "place in a llama model");
    head_refused("layers.0.self_attn.q", "layers.00.self_attn.q", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"blk.00.attn_q.weight\" has no place in a llama model "
                 "of 1 blocks");
    head_refused("self_attn.q_proj", "self_attn.v_proj.x", GDFO_STATUS_UNSUPPORTED,
                 "tiny.safetensors: tensor \"model.layers.0.self_attn.v_proj.x.weight\" has no "
                 "place in a llama model");
}

static void a_missing_tensor_is_named(void **state)
{
    struct maker m;
    (void)state;
    make_tiny(&m);
    swap(&m.config, "\"num_hidden_layers\":1", "\"num_hidden_layers\":2");
    refused(&m, GDFO_STATUS_FORMAT,
            "tiny.safetensors: tensor \"blk.1.attn_norm.weight\" is missing");
    deinit(&m);
}

static void values_that_are_not_finite_are_refused_on_reading(void **state)
{
    static const float inf = 1.0F / 0.0F;
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    float w[8];
    (void)state;
    make_tiny(&m);
    memcpy(m.data.data + 128 + 12, &inf, sizeof inf);
    gdfo_test_ok(open_made(&m, &f, &bytes, &err), &err);
    assert_int_equal(gdfo_model_file_read(f, "output_norm.weight", w, 8, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "tiny.safetensors: tensor \"output_norm.weight\": the F32 value "
                                  "number 3 is not finite");
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

/* down_proj, the last tensor, as 2-byte values: 1 and -2 first. */
static void half_is_widened(const char *entry, const char *values)
{
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    float down[24];
    make_tiny(&m);
    swap(&m.head, "{\"dtype\":\"F32\",\"shape\":[8,3],\"data_offsets\":[1184,1280]}", entry);
    m.data.len = 1232;
    memcpy(m.data.data + 1184, values, 4);
    gdfo_test_ok(open_made(&m, &f, &bytes, &err), &err);
    gdfo_test_ok(gdfo_model_file_read(f, "blk.0.ffn_down.weight", down, 24, &err), &err);
    gdfo_test_near((double)down[0], 1, 0);
    gdfo_test_near((double)down[1], -2, 0);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

static void half_precision_of_both_kinds_is_widened(void **state)
{
    (void)state;
    half_is_widened("{\"dtype\":\"BF16\",\"shape\":[8,3],\"data_offsets\":[1184,1232]}",
                    "\x80\x3f\x00\xc0");
    half_is_widened("{\"dtype\":\"F16\",\"shape\":[8,3],\"data_offsets\":[1184,1232]}",
                    "\x00\x3c\x00\xc0");
}

/* ---- config.json ------------------------------------------------------------------------------
 */

static void a_config_number_has_bounds(void **state)
{
    (void)state;
    config_refused("\"hidden_size\":8", "\"hidden\":8", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"hidden_size\" is missing");
    config_refused("\"num_hidden_layers\":1", "\"num_hidden_layers\":0", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"num_hidden_layers\" is 0, accepted integers "
                   "1..512");
    config_refused("\"num_hidden_layers\":1", "\"num_hidden_layers\":513", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"num_hidden_layers\" is 513, accepted "
                   "integers 1..512");
    config_refused("\"num_hidden_layers\":1", "\"num_hidden_layers\":512", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: tensor \"blk.1.attn_norm.weight\" is missing");
    config_refused("\"vocab_size\":4", "\"vocab_size\":4.5", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"vocab_size\" is no integer: 0, accepted "
                   "integers 1..4194304");
    config_refused("\"vocab_size\":4", "\"vocab_size\":\"4\"", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"vocab_size\" is no integer: 0, accepted "
                   "integers 1..4194304");
    config_refused("\"max_position_embeddings\":16", "\"max_position_embeddings\":1048577",
                   GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"max_position_embeddings\" is 1048577, "
                   "accepted integers 1..1048576");
    config_refused("\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":null", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"rms_norm_eps\" is missing");
    config_refused("\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":0", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: rms epsilon is 0, accepted above 0 and up to 0.01");
    config_refused(
        "\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":true", GDFO_STATUS_FORMAT,
        "tiny.safetensors: config.json: \"rms_norm_eps\" is true or false, wanted a number");
    config_refused("\"rope_theta\":10000.0", "\"rope_theta\":0.5", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: rope base is 0.5, accepted 1 and above");
    config_refused("\"num_attention_heads\":2", "\"num_attention_heads\":3", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: embedding length 8 is not 3 heads of size 2");
    config_refused("\"num_key_value_heads\":1", "\"num_key_value_heads\":3", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: 2 heads are no multiple of 3 KV heads");
    config_refused("\"num_attention_heads\":2", "\"num_attention_heads\":8", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: rope dimension is 1, accepted even numbers 2..1 (the head "
                   "size)");
    config_refused("\"vocab_size\":4", "\"vocab_size\":4,\"head_dim\":8", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: embedding length 8 is not 2 heads of size 8");
}

static void configs_of_other_computations_are_refused(void **state)
{
    (void)state;
    config_refused("\"llama\"", "\"qwen2\"", GDFO_STATUS_UNSUPPORTED,
                   "tiny.safetensors: config.json: model_type \"qwen2\" is not read, accepted "
                   "\"llama\", \"bert\", \"roberta\"");
    config_refused("\"llama\"", "3", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"model_type\" is a number, wanted a string");
    config_refused("\"silu\"", "\"gelu\"", GDFO_STATUS_UNSUPPORTED,
                   "tiny.safetensors: config.json: hidden_act \"gelu\" is not read, accepted "
                   "\"silu\"");
    config_refused("\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"linear\"}",
                   GDFO_STATUS_UNSUPPORTED,
                   "tiny.safetensors: config.json: models with \"rope_scaling\" are not read");
    config_refused("\"attention_bias\":false", "\"attention_bias\":true", GDFO_STATUS_UNSUPPORTED,
                   "tiny.safetensors: config.json: models with \"attention_bias\" are not read");
    config_refused("\"rope_scaling\":null",
                   "\"rope_parameters\":{\"rope_type\":\"llama3\",\"rope_theta\":5}",
                   GDFO_STATUS_UNSUPPORTED,
                   "tiny.safetensors: config.json: rope_type \"llama3\" is not read, accepted "
                   "\"default\"");
    config_refused("\"rope_scaling\":null", "\"rope_parameters\":7", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"rope_parameters\" is no object");
}

static void newer_configs_keep_the_rope_base_inside_rope_parameters(void **state)
{
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    (void)state;
    make_tiny(&m);
    swap(&m.config, "\"rope_theta\":10000.0",
         "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000.0}");
    gdfo_test_ok(open_made(&m, &f, &bytes, &err), &err);
    gdfo_test_near(gdfo_model_file_config(f)->rope_base, 500000, 0);
    gdfo_model_file_destroy(f);
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

static void the_head_and_the_config_must_agree(void **state)
{
    struct maker m;
    (void)state;
    config_refused("\"tie_word_embeddings\":true", "\"tie_word_embeddings\":false",
                   GDFO_STATUS_FORMAT,
                   "tiny.safetensors: tie_word_embeddings is false, but the file has no "
                   "lm_head.weight");
    config_refused("\"tie_word_embeddings\":true", "\"tie_word_embeddings\":1", GDFO_STATUS_FORMAT,
                   "tiny.safetensors: config.json: \"tie_word_embeddings\" is a number, wanted "
                   "true or false");
    make_tiny(&m);
    add_tensor(&m, "lm_head.weight", 4, 8);
    refused(&m, GDFO_STATUS_FORMAT,
            "tiny.safetensors: tie_word_embeddings is true, but the file has a lm_head.weight");
    swap(&m.config, "\"tie_word_embeddings\":true", "\"tie_word_embeddings\":false");
    accepted(&m);
    make_tiny(&m);
    swap(&m.config, ",\"tie_word_embeddings\":true", "");
    accepted(&m);
}

static void the_config_file_has_a_bound_and_must_be_an_object(void **state)
{
    struct maker m;
    (void)state;
    make_tiny(&m);
    while (m.config.len < 1u << 20) {
        gdfo_buf_addc(&m.config, ' ');
    }
    accepted(&m);
    make_tiny(&m);
    while (m.config.len < (1u << 20) + 1) {
        gdfo_buf_addc(&m.config, ' ');
    }
    refused(&m, GDFO_STATUS_LIMIT, "tiny.safetensors: config.json: 1048577 bytes, at most 1048576");
    gdfo_buf_reset(&m.config);
    gdfo_buf_add(&m.config, "[]");
    refused(&m, GDFO_STATUS_FORMAT, "tiny.safetensors: config.json: the config is no JSON object");
    deinit(&m);
}

static void without_a_config_the_message_says_what_is_missing(void **state)
{
    struct maker m;
    struct gdfo_buf bytes;
    struct gdfo_reader r;
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    (void)state;
    make_tiny(&m);
    build(&m, &bytes);
    r = gdfo_reader_memory(bytes.data, bytes.len, "tiny.safetensors");
    assert_int_equal(gdfo_model_file_open(&f, &r, NULL, &err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(err.text, "a safetensors file needs its config.json beside it"));
    gdfo_buf_deinit(&bytes);
    deinit(&m);
}

static void no_memory_at_any_moment_is_an_error_and_nothing_leaks(void **state)
{
    struct maker m;
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    (void)state;
    make_tiny(&m);
    for (; status != GDFO_STATUS_OK && n < 100000; n++) {
        struct gdfo_error err = {0};
        struct gdfo_buf bytes;
        struct gdfo_reader file;
        struct gdfo_reader config = gdfo_reader_memory(m.config.data, m.config.len, "config.json");
        struct gdfo_model_file *f = NULL;
        build(&m, &bytes);
        file = gdfo_reader_memory(bytes.data, bytes.len, "tiny.safetensors");
        gdfo_mem_fail_after(n);
        status = gdfo_model_file_open(&f, &file, &config, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_model_file_destroy(f);
        gdfo_buf_deinit(&bytes);
    }
    assert_true(n > 10);
    assert_int_equal(status, GDFO_STATUS_OK);
    deinit(&m);
}

/* Cut anywhere, the shared file is refused: the header says how long the data must be. */
static void a_file_cut_short_is_refused(void **state)
{
    struct gdfo_buf file;
    struct gdfo_buf config;
    struct gdfo_reader c;
    (void)state;
    gdfo_test_shared_read("models/stories260K/stories260K.derived.safetensors", &file);
    gdfo_test_shared_read("models/stories260K/stories260K.derived.config.json", &config);
    c = gdfo_reader_memory(config.data, config.len, "config.json");
    for (size_t n = 0; n < file.len; n += n < 8192 ? 61 : 9973) {
        struct gdfo_error err = {0};
        struct gdfo_model_file *f = NULL;
        char *cut = gdfo_mem_dup(file.data, n); /* exact size: the sanitizer sees one byte more */
        struct gdfo_reader r = gdfo_reader_memory(cut, n, "cut.safetensors");
        assert_int_not_equal(gdfo_model_file_open(&f, &r, &c, &err), GDFO_STATUS_OK);
        assert_memory_equal(err.text, "cut.safetensors: ", 17);
        assert_null(f);
        gdfo_mem_free(cut);
    }
    gdfo_buf_deinit(&file);
    gdfo_buf_deinit(&config);
}

static void shards_are_known_by_their_names(void **state)
{
    (void)state;
    assert_int_equal(gdfo_model_name_is_shard("model-00001-of-00002.safetensors"), 1);
    assert_int_equal(gdfo_model_name_is_shard("my-model-00010-of-00010.safetensors"), 1);
    assert_int_equal(gdfo_model_name_is_shard("model.safetensors"), 0);
    assert_int_equal(gdfo_model_name_is_shard("-00001-of-00002.safetensors"), 0); /* no stem */
    assert_int_equal(gdfo_model_name_is_shard("model-0001-of-0002.safetensors"), 0);
    assert_int_equal(gdfo_model_name_is_shard("model-0000a-of-00002.safetensors"), 0);
    assert_int_equal(gdfo_model_name_is_shard("model-00001-of-00002.safetensors.index.json"), 0);
    assert_int_equal(gdfo_model_name_is_shard(""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_known_by_their_names),
        cmocka_unit_test(gguf_and_safetensors_of_stories260k_are_one_model),
        cmocka_unit_test(a_safetensors_file_has_no_tokenizer),
        cmocka_unit_test(rows_of_q_and_k_are_paired_per_head_and_the_rest_is_not),
        cmocka_unit_test(the_header_has_bounds),
        cmocka_unit_test(the_header_is_strict_json),
        cmocka_unit_test(the_header_must_be_an_object_and_metadata_strings),
        cmocka_unit_test(metadata_and_trailing_blanks_are_fine),
        cmocka_unit_test(an_empty_header_has_no_tensors),
        cmocka_unit_test(an_entry_has_exactly_its_three_members),
        cmocka_unit_test(dtypes_we_do_not_read_are_refused_by_name),
        cmocka_unit_test(shapes_have_bounds),
        cmocka_unit_test(the_data_are_covered_exactly),
        cmocka_unit_test(names_without_a_place_are_refused),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(values_that_are_not_finite_are_refused_on_reading),
        cmocka_unit_test(half_precision_of_both_kinds_is_widened),
        cmocka_unit_test(a_config_number_has_bounds),
        cmocka_unit_test(configs_of_other_computations_are_refused),
        cmocka_unit_test(newer_configs_keep_the_rope_base_inside_rope_parameters),
        cmocka_unit_test(the_head_and_the_config_must_agree),
        cmocka_unit_test(the_config_file_has_a_bound_and_must_be_an_object),
        cmocka_unit_test(without_a_config_the_message_says_what_is_missing),
        cmocka_unit_test(no_memory_at_any_moment_is_an_error_and_nothing_leaks),
        cmocka_unit_test(a_file_cut_short_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
