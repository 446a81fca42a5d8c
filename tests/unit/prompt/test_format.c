#include "common/hash.h"
#include "common/json.h"
#include "common/mem.h"
#include "server/prompt/format/format.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define P 3
#define H 5

static float rows[P * H];

static int fill_rows(void **state)
{
    (void)state;
    for (int i = 0; i < P * H; i++) {
        rows[i] = 0.5F * (float)i - 1.25F;
    }
    return 0;
}

static struct gdfo_prompt sample(void)
{
    struct gdfo_prompt p = {.n_prompt_tokens = P,
                            .d_model = H,
                            .position = GDFO_PROMPT_POSITION_SUFFIX,
                            .rows = rows,
                            .cue = " It was \"gut\u00e9\"\n",
                            .about = "{\"labels\":[\" bad\",\" great\"],\"score\":0.8125}"};
    return p;
}

typedef enum gdfo_status (*writer)(const struct gdfo_prompt *p, struct gdfo_buf *out,
                                   struct gdfo_error *err);
typedef enum gdfo_status (*reader)(struct gdfo_prompt_file *out, const void *bytes, size_t n,
                                   struct gdfo_error *err);

static void write_ok(writer w, const struct gdfo_prompt *p, struct gdfo_buf *out)
{
    struct gdfo_error err = {0};
    gdfo_buf_init(out, GDFO_PROMPT_FILE_MAX_BYTES);
    gdfo_test_ok(w(p, out, &err), &err);
}

/* ---- round trips ---- */

static void assert_same_prompt(const struct gdfo_prompt *a, const struct gdfo_prompt *b)
{
    assert_int_equal(a->n_prompt_tokens, b->n_prompt_tokens);
    assert_int_equal(a->d_model, b->d_model);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->bos_before_soft, b->bos_before_soft);
    assert_memory_equal(a->rows, b->rows, a->n_prompt_tokens * a->d_model * sizeof *a->rows);
    assert_string_equal(a->cue, b->cue ? b->cue : "");
    assert_string_equal(a->about, b->about ? b->about : "{}");
}

static void round_trip(writer w, reader r, const struct gdfo_prompt *p)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf bytes;
    write_ok(w, p, &bytes);
    gdfo_test_ok(r(&f, bytes.data, bytes.len, &err), &err);
    assert_same_prompt(&f.prompt, p);
    gdfo_prompt_file_deinit(&f);
    assert_null(f.memory);
    gdfo_buf_deinit(&bytes);
}

static void round_trips(writer w, reader r)
{
    static const float extremes[4] = {-0.0F, 1e-45F, 3.4028234e38F, -1.17549435e-38F};
    struct gdfo_prompt p = sample();
    round_trip(w, r, &p);
    p.position = GDFO_PROMPT_POSITION_PREFIX;
    p.bos_before_soft = 1;
    p.cue = NULL;
    p.about = NULL;
    round_trip(w, r, &p);
    p.n_prompt_tokens = 1;
    p.d_model = 4;
    p.rows = extremes;
    round_trip(w, r, &p);
}

static void a_gdfo_file_comes_back_as_it_was(void **state)
{
    (void)state;
    round_trips(gdfo_prompt_write_gdfo, gdfo_prompt_read_gdfo);
}

static void a_safetensors_file_comes_back_as_it_was(void **state)
{
    (void)state;
    round_trips(gdfo_prompt_write_safetensors, gdfo_prompt_read_safetensors);
}

/* ---- the bytes ---- */

static size_t u32_at(const char *b)
{
    const unsigned char *u = (const unsigned char *)b;
    return (size_t)u[0] | (size_t)u[1] << 8 | (size_t)u[2] << 16 | (size_t)u[3] << 24;
}

static void a_gdfo_file_is_laid_out_as_written_down(void **state)
{
    struct gdfo_prompt p = sample();
    struct gdfo_buf b;
    unsigned char sum[GDFO_SHA256_BYTES];
    size_t n_json;
    size_t data;
    static const char json[] =
        "{\"n_prompt_tokens\":3,\"d_model\":5,\"position\":\"suffix\",\"bos_before_soft\":false,"
        "\"cue\":\" It was \\\"gut\u00e9\\\"\\n\",\"about\":{\"labels\":[\" bad\",\" great\"],"
        "\"score\":0.8125}}";
    (void)state;
    write_ok(gdfo_prompt_write_gdfo, &p, &b);
    assert_memory_equal(b.data, "GDFOPRM1", 8);
    n_json = u32_at(b.data + 8);
    assert_int_equal(n_json, strlen(json));
    assert_memory_equal(b.data + 12, json, n_json);
    data = (12 + n_json + 63) / 64 * 64;
    for (size_t i = 12 + n_json; i < data; i++) {
        assert_int_equal(b.data[i], 0);
    }
    assert_memory_equal(b.data + data, rows, sizeof rows);
    assert_int_equal(b.len, data + sizeof rows + 32);
    gdfo_sha256(b.data, b.len - 32, sum);
    assert_memory_equal(b.data + b.len - 32, sum, 32);
    gdfo_buf_deinit(&b);
}

static void a_safetensors_file_is_laid_out_as_written_down(void **state)
{
    struct gdfo_prompt p = sample();
    struct gdfo_buf b;
    size_t n_json;
    static const char json[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"gdfo.position\":\"suffix\","
        "\"gdfo.bos_before_soft\":\"false\",\"gdfo.cue\":\"x\",\"gdfo.about\":\"{}\"},"
        "\"prompt_embeddings\":{\"dtype\":\"F32\",\"shape\":[3,5],\"data_offsets\":[0,60]}}";
    (void)state;
    p.cue = "x";
    p.about = NULL;
    write_ok(gdfo_prompt_write_safetensors, &p, &b);
    n_json = u32_at(b.data);
    assert_int_equal(u32_at(b.data + 4), 0);
    assert_int_equal((8 + n_json) % 8, 0);
    assert_in_range(n_json, strlen(json), strlen(json) + 7);
    assert_memory_equal(b.data + 8, json, strlen(json));
    for (size_t i = 8 + strlen(json); i < 8 + n_json; i++) {
        assert_int_equal(b.data[i], ' ');
    }
    assert_int_equal(b.len, 8 + n_json + sizeof rows);
    assert_memory_equal(b.data + 8 + n_json, rows, sizeof rows);
    gdfo_buf_deinit(&b);
}

static void a_peft_folder_has_the_two_files_of_peft(void **state)
{
    struct gdfo_prompt p = sample();
    const struct gdfo_prompt_peft peft = {.base_model = "a/\"b\"", .n_heads = 9, .n_layers = 30};
    struct gdfo_error err = {0};
    struct gdfo_buf model;
    struct gdfo_buf config;
    static const char tensor[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"prompt_embeddings\":{\"dtype\":\"F32\","
        "\"shape\":[3,5],\"data_offsets\":[0,60]}}";
    static const char want[] =
        "{\n  \"auto_mapping\": null,\n  \"base_model_name_or_path\": \"a/\\\"b\\\"\",\n"
        "  \"inference_mode\": true,\n  \"modules_to_save\": null,\n"
        "  \"num_attention_heads\": 9,\n  \"num_layers\": 30,\n"
        "  \"num_transformer_submodules\": 1,\n  \"num_virtual_tokens\": 3,\n"
        "  \"peft_type\": \"PROMPT_TUNING\",\n  \"prompt_tuning_init\": \"RANDOM\",\n"
        "  \"prompt_tuning_init_text\": null,\n  \"revision\": null,\n"
        "  \"task_type\": \"CAUSAL_LM\",\n  \"token_dim\": 5,\n  \"tokenizer_kwargs\": null,\n"
        "  \"tokenizer_name_or_path\": null\n}\n";
    (void)state;
    p.position = GDFO_PROMPT_POSITION_PREFIX;
    gdfo_buf_init(&model, 1 << 20);
    gdfo_buf_init(&config, 1 << 20);
    gdfo_test_ok(gdfo_prompt_write_peft(&p, &peft, &model, &config, &err), &err);
    assert_string_equal(config.data, want);
    assert_memory_equal(model.data + 8, tensor, strlen(tensor));
    assert_memory_equal(model.data + model.len - sizeof rows, rows, sizeof rows);
    gdfo_buf_deinit(&model);
    gdfo_buf_deinit(&config);
}

static void a_file_of_another_program_is_a_prefix_without_cue(void **state)
{
    static const char json[] = "{\"prompt_embeddings\":{\"data_offsets\":[0,8],\"dtype\":\"F32\","
                               "\"shape\":[2,1]}}     ";
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    const float values[2] = {1.5F, -2.0F};
    (void)state;
    gdfo_buf_init(&b, 1 << 16);
    gdfo_buf_u64(&b, strlen(json));
    gdfo_buf_add(&b, json);
    gdfo_buf_addn(&b, values, sizeof values);
    gdfo_test_ok(gdfo_prompt_read_safetensors(&f, b.data, b.len, &err), &err);
    assert_int_equal(f.prompt.position, GDFO_PROMPT_POSITION_PREFIX);
    assert_int_equal(f.prompt.n_prompt_tokens, 2);
    assert_int_equal(f.prompt.d_model, 1);
    assert_string_equal(f.prompt.cue, "");
    assert_string_equal(f.prompt.about, "{}");
    assert_memory_equal(f.prompt.rows, values, sizeof values);
    gdfo_prompt_file_deinit(&f);
    gdfo_buf_deinit(&b);
}

/* ---- refused on the way out ---- */

static void peft_cannot_say_suffix_or_rows_behind_bos(void **state)
{
    struct gdfo_prompt p = sample();
    const struct gdfo_prompt_peft peft = {.n_heads = 1, .n_layers = 1};
    struct gdfo_error err = {0};
    struct gdfo_buf model;
    struct gdfo_buf config;
    (void)state;
    gdfo_buf_init(&model, 1 << 20);
    gdfo_buf_init(&config, 1 << 20);
    assert_int_equal(gdfo_prompt_write_peft(&p, &peft, &model, &config, &err),
                     GDFO_STATUS_UNSUPPORTED);
    assert_string_equal(err.text, "PEFT puts prompt rows before the text; this prompt is a suffix");
    p.position = GDFO_PROMPT_POSITION_PREFIX;
    p.bos_before_soft = 1;
    assert_int_equal(gdfo_prompt_write_peft(&p, &peft, &model, &config, &err),
                     GDFO_STATUS_UNSUPPORTED);
    assert_string_equal(err.text, "PEFT puts prompt rows before BOS; this prompt stands behind it");
    assert_int_equal(model.len + config.len, 0);
    gdfo_buf_deinit(&model);
    gdfo_buf_deinit(&config);
}

static void not_written(const struct gdfo_prompt *p, const char *words)
{
    static const writer writers[] = {gdfo_prompt_write_gdfo, gdfo_prompt_write_safetensors};
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_error err = {0};
        struct gdfo_buf b;
        gdfo_buf_init(&b, 1 << 20);
        assert_int_equal(writers[i](p, &b, &err), GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, words));
        assert_int_equal(b.len, 0);
        gdfo_buf_deinit(&b);
    }
}

static void a_prompt_that_makes_no_sense_is_not_written(void **state)
{
    float bad[P * H];
    struct gdfo_prompt p = sample();
    (void)state;
    memcpy(bad, rows, sizeof bad);
    bad[7] = NAN;
    p.rows = bad;
    not_written(&p, "prompt: number 2 of row 1 is not finite");
    p = sample();
    p.n_prompt_tokens = 0;
    not_written(&p, "prompt of 0 x 5: want 1..4096 x 1..65536");
    p = sample();
    p.cue = "\xff";
    not_written(&p, "cue");
    p = sample();
    p.about = "[1]";
    not_written(&p, "prompt: about: want a JSON object");
    p.about = "{\"a\":";
    not_written(&p, "prompt: about");
}

static void a_full_buffer_is_reported(void **state)
{
    struct gdfo_prompt p = sample();
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 100);
    assert_int_equal(gdfo_prompt_write_gdfo(&p, &b, &err), GDFO_STATUS_NO_MEMORY);
    gdfo_buf_deinit(&b);
    gdfo_buf_init(&b, 100);
    assert_int_equal(gdfo_prompt_write_safetensors(&p, &b, &err), GDFO_STATUS_NO_MEMORY);
    gdfo_buf_deinit(&b);
}

/* ---- hostile bytes ---- */

static void never_reads(reader r, const char *bytes, size_t n)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    char *exact = gdfo_mem_dup(bytes, n); /* exact size, so that a sanitizer sees any overrun */
    enum gdfo_status status = r(&f, exact, n, &err);
    assert_true(status == GDFO_STATUS_FORMAT || status == GDFO_STATUS_CORRUPT);
    assert_null(f.memory);
    assert_true(strlen(err.text) > 10);
    gdfo_mem_free(exact);
}

static void files_cut_anywhere_are_refused(void **state)
{
    static const writer writers[] = {gdfo_prompt_write_gdfo, gdfo_prompt_write_safetensors};
    static const reader readers[] = {gdfo_prompt_read_gdfo, gdfo_prompt_read_safetensors};
    struct gdfo_prompt p = sample();
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_buf b;
        write_ok(writers[i], &p, &b);
        for (size_t n = 0; n < b.len; n++) {
            never_reads(readers[i], b.data, n);
        }
        gdfo_buf_addc(&b, '\0');
        never_reads(readers[i], b.data, b.len); /* and one byte too many */
        gdfo_buf_deinit(&b);
    }
}

static void a_changed_byte_breaks_the_seal_of_gdfo(void **state)
{
    struct gdfo_prompt p = sample();
    struct gdfo_buf b;
    (void)state;
    write_ok(gdfo_prompt_write_gdfo, &p, &b);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] = (char)(b.data[i] ^ 1);
        never_reads(gdfo_prompt_read_gdfo, b.data, b.len);
        b.data[i] = (char)(b.data[i] ^ 1);
    }
    gdfo_buf_deinit(&b);
}

/* Any one byte changed: read or refused, never a crash (safetensors has no checksum). */
static void a_changed_byte_of_safetensors_is_harmless(void **state)
{
    struct gdfo_prompt p = sample();
    struct gdfo_buf b;
    (void)state;
    write_ok(gdfo_prompt_write_safetensors, &p, &b);
    for (size_t i = 0; i < b.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct gdfo_prompt_file f = {0};
            b.data[i] = (char)(b.data[i] ^ (1 << bit));
            if (gdfo_prompt_read_safetensors(&f, b.data, b.len, NULL) == GDFO_STATUS_OK) {
                assert_in_range(f.prompt.n_prompt_tokens * f.prompt.d_model, 1, P * H);
                gdfo_prompt_file_deinit(&f);
            }
            b.data[i] = (char)(b.data[i] ^ (1 << bit));
        }
    }
    gdfo_buf_deinit(&b);
}

static void seal(struct gdfo_buf *b, const char *json, size_t n_json, size_t n_data)
{
    unsigned char sum[GDFO_SHA256_BYTES];
    gdfo_buf_init(b, 1 << 20);
    gdfo_buf_add(b, "GDFOPRM1");
    gdfo_buf_u32(b, (unsigned)n_json);
    gdfo_buf_add(b, json);
    while (b->len % 64 != 0) {
        gdfo_buf_addc(b, '\0');
    }
    for (size_t i = 0; i < n_data; i++) {
        gdfo_buf_addc(b, '\0');
    }
    gdfo_sha256(b->data, b->len, sum);
    gdfo_buf_addn(b, sum, sizeof sum);
}

static void gdfo_says(const char *json, size_t n_data, const char *words)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    seal(&b, json, strlen(json), n_data);
    assert_int_equal(gdfo_prompt_read_gdfo(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    if (!strstr(err.text, words)) {
        print_error("\"%s\" does not say \"%s\"\n", err.text, words);
        fail();
    }
    gdfo_buf_deinit(&b);
}

#define HEAD(p, h) "{\"n_prompt_tokens\":" p ",\"d_model\":" h ","
#define TAIL       "\"position\":\"prefix\",\"bos_before_soft\":false,\"cue\":\"\",\"about\":{}}"

static void a_sealed_gdfo_file_that_lies_is_refused(void **state)
{
    (void)state;
    gdfo_says(HEAD("2", "3") TAIL, 20, "prompt of 2 x 3 needs 24 bytes, the file has 20");
    gdfo_says(HEAD("0", "3") TAIL, 0, "prompt of 0 x 3: want 1..4096 x 1..65536");
    gdfo_says(HEAD("-1", "3") TAIL, 0, "prompt of -1 x 3");
    gdfo_says(HEAD("4096", "4294967296") TAIL, 0, "prompt of 4096 x 4294967296");
    gdfo_says(HEAD("2.5", "3") TAIL, 0, "must be whole numbers");
    gdfo_says(HEAD("\"2\"", "3") TAIL, 0, "must be whole numbers");
    gdfo_says("{\"d_model\":3," TAIL, 0, "must be whole numbers");
    gdfo_says(HEAD("1", "1") "\"position\":\"infix\",\"bos_before_soft\":false,\"cue\":\"\","
                             "\"about\":{}}",
              4, "want position");
    gdfo_says(HEAD("1", "1") "\"position\":\"prefix\",\"bos_before_soft\":0,\"cue\":\"\","
                             "\"about\":{}}",
              4, "bos_before_soft");
    gdfo_says(HEAD("1", "1") "\"position\":\"prefix\",\"bos_before_soft\":false,\"cue\":\"\","
                             "\"about\":[]}",
              4, "about an object");
    gdfo_says("[]", 4, "prompt file: want a JSON object");
    gdfo_says("{", 4, "prompt file");
    gdfo_says("", 4, "prompt file");
}

static void a_gdfo_file_with_a_huge_description_is_refused(void **state)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    seal(&b, "{}", 0xFFFFFFFFu, 64);
    assert_int_equal(gdfo_prompt_read_gdfo(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(err.text, "description of 4294967295 bytes"));
    gdfo_buf_deinit(&b);
}

static void padding_that_is_not_zero_is_refused(void **state)
{
    static const char json[] = HEAD("1", "1") TAIL;
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    unsigned char sum[GDFO_SHA256_BYTES];
    struct gdfo_buf b;
    (void)state;
    seal(&b, json, strlen(json), 4);
    b.data[b.len - 32 - 4 - 1] = 'x'; /* the last byte in front of the rows, sealed again */
    gdfo_sha256(b.data, b.len - 32, sum);
    memcpy(b.data + b.len - 32, sum, sizeof sum);
    assert_int_equal(gdfo_prompt_read_gdfo(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "prompt file: padding is not zero");
    gdfo_buf_deinit(&b);
}

static void tensors_say(const char *json, size_t n_data, const char *words)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_u64(&b, strlen(json));
    gdfo_buf_add(&b, json);
    for (size_t i = 0; i < n_data; i++) {
        gdfo_buf_addc(&b, '\0');
    }
    assert_int_equal(gdfo_prompt_read_safetensors(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    if (!strstr(err.text, words)) {
        print_error("\"%s\" does not say \"%s\"\n", err.text, words);
        fail();
    }
    gdfo_buf_deinit(&b);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"prompt_embeddings\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void safetensors_that_lie_about_sizes_are_refused(void **state)
{
    (void)state;
    tensors_say(ONE("\"F32\"", "[2,3]", "[0,24]"), 20, "data_offsets 0..24, the data has 0..20");
    tensors_say(ONE("\"F32\"", "[2,3]", "[4,24]"), 24, "data_offsets 4..24");
    tensors_say(ONE("\"F32\"", "[2,3]", "[0,-24]"), 24, "data_offsets 0..-24");
    tensors_say(ONE("\"F32\"", "[2,2]", "[0,24]"), 24, "needs 16 bytes, the file has 24");
    tensors_say(ONE("\"F32\"", "[9007199254740991,9007199254740991]", "[0,4]"), 4, "want 1..4096");
    tensors_say(ONE("\"F32\"", "[6]", "[0,24]"), 24, "a shape of two numbers");
    tensors_say(ONE("\"F32\"", "[1,2,3]", "[0,24]"), 24, "a shape of two numbers");
    tensors_say(ONE("\"F32\"", "[2,3.5]", "[0,24]"), 24, "a shape of two numbers");
    tensors_say(ONE("\"F32\"", "[2,3]", "[0]"), 24, "a shape of two numbers");
    tensors_say(ONE("\"F32\"", "{}", "[0,24]"), 24, "a shape of two numbers");
    tensors_say(ONE("\"I64\"", "[1,3]", "[0,24]"), 24, "dtype I64, want F32");
    tensors_say(ONE("7", "[1,3]", "[0,24]"), 24, "dtype missing, want F32");
}

static void safetensors_that_hold_something_else_are_refused(void **state)
{
    (void)state;
    tensors_say("{}", 0, "exactly one tensor");
    tensors_say("{\"weight\":{}}", 0, "exactly one tensor");
    tensors_say("{\"prompt_embeddings\":3}", 0, "exactly one tensor");
    tensors_say("{\"prompt_embeddings\":{},\"b\":{}}", 0, "exactly one tensor");
    tensors_say("{\"prompt_embeddings\":{},\"prompt_embeddings\":{}}", 0, "safetensors header");
    tensors_say("[]", 0, "want a JSON object");
    tensors_say("{\"a\":1} x", 0, "safetensors header");
}

#define META(meta)                                                                                 \
    "{\"__metadata__\":" meta                                                                      \
    ",\"prompt_embeddings\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}"

static void safetensors_with_odd_metadata_are_refused(void **state)
{
    (void)state;
    tensors_say(META("3"), 4, "__metadata__ is no object");
    tensors_say(META("{\"a\":3}"), 4, "holds strings only");
    tensors_say(META("{\"gdfo.position\":\"infix\"}"), 4, "gdfo.position must be");
    tensors_say(META("{\"gdfo.bos_before_soft\":\"1\"}"), 4, "gdfo.bos_before_soft true");
    tensors_say(META("{\"gdfo.about\":\"[]\"}"), 4, "gdfo.about: want a JSON object");
    tensors_say(META("{\"gdfo.about\":\"{\"}"), 4, "gdfo.about");
}

static void rows_that_are_not_finite_are_refused(void **state)
{
    static const char json[] = ONE("\"F32\"", "[1,2]", "[0,8]");
    const float values[2] = {1, INFINITY};
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 1 << 16);
    gdfo_buf_u64(&b, strlen(json));
    gdfo_buf_add(&b, json);
    gdfo_buf_addn(&b, values, sizeof values);
    assert_int_equal(gdfo_prompt_read_safetensors(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    assert_string_equal(err.text, "prompt: number 1 of row 0 is not finite");
    gdfo_buf_deinit(&b);
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    struct gdfo_prompt_file f = {0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    for (size_t past = 1; past <= 8; past++) {
        char bytes[10] = {(char)(2 + past), 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        never_reads(gdfo_prompt_read_safetensors, bytes, sizeof bytes);
        assert_int_equal(gdfo_prompt_read_safetensors(&f, bytes, sizeof bytes, &err),
                         GDFO_STATUS_FORMAT);
        assert_non_null(strstr(err.text, "the file has 2"));
    }
    gdfo_buf_init(&b, 1 << 16);
    gdfo_buf_u64(&b, UINT64_MAX);
    gdfo_buf_add(&b, "{}");
    assert_int_equal(gdfo_prompt_read_safetensors(&f, b.data, b.len, &err), GDFO_STATUS_FORMAT);
    assert_non_null(strstr(err.text, "header of 18446744073709551615 bytes"));
    gdfo_buf_deinit(&b);
}

static void out_of_memory_is_reported(void **state)
{
    static const reader readers[] = {gdfo_prompt_read_gdfo, gdfo_prompt_read_safetensors};
    static const writer writers[] = {gdfo_prompt_write_gdfo, gdfo_prompt_write_safetensors};
    struct gdfo_prompt p = sample();
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_buf b;
        enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
        write_ok(writers[i], &p, &b);
        for (long n = 0; status != GDFO_STATUS_OK && n < 200; n++) {
            struct gdfo_prompt_file f = {0};
            gdfo_mem_fail_after(n);
            status = readers[i](&f, b.data, b.len, NULL);
            gdfo_mem_fail_after(-1);
            gdfo_prompt_file_deinit(&f);
        }
        assert_int_equal(status, GDFO_STATUS_OK);
        gdfo_buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gdfo_file_comes_back_as_it_was),
        cmocka_unit_test(a_safetensors_file_comes_back_as_it_was),
        cmocka_unit_test(a_gdfo_file_is_laid_out_as_written_down),
        cmocka_unit_test(a_safetensors_file_is_laid_out_as_written_down),
        cmocka_unit_test(a_peft_folder_has_the_two_files_of_peft),
        cmocka_unit_test(a_file_of_another_program_is_a_prefix_without_cue),
        cmocka_unit_test(peft_cannot_say_suffix_or_rows_behind_bos),
        cmocka_unit_test(a_prompt_that_makes_no_sense_is_not_written),
        cmocka_unit_test(a_full_buffer_is_reported),
        cmocka_unit_test(files_cut_anywhere_are_refused),
        cmocka_unit_test(a_changed_byte_breaks_the_seal_of_gdfo),
        cmocka_unit_test(a_changed_byte_of_safetensors_is_harmless),
        cmocka_unit_test(a_sealed_gdfo_file_that_lies_is_refused),
        cmocka_unit_test(a_gdfo_file_with_a_huge_description_is_refused),
        cmocka_unit_test(padding_that_is_not_zero_is_refused),
        cmocka_unit_test(safetensors_that_lie_about_sizes_are_refused),
        cmocka_unit_test(safetensors_that_hold_something_else_are_refused),
        cmocka_unit_test(safetensors_with_odd_metadata_are_refused),
        cmocka_unit_test(rows_that_are_not_finite_are_refused),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, fill_rows, NULL);
}
