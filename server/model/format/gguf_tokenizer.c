#include "common/mem.h"
#include "server/model/format/gguf_priv.h"
#include "server/model/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* An array of n elements (0: any number) that the file must have; the cursor stands at the first.
 */
static enum gdfo_status seek_array(const struct gdfo_gguf *g, struct gdfo_cursor *c,
                                   const char *key, const struct gdfo_gguf_kv **out,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_gguf_array(g, key, out, err);
    if (status == GDFO_STATUS_OK && !*out) {
        return gdfo_gguf_missing(key, err);
    }
    if (status == GDFO_STATUS_OK) {
        c->at = (*out)->at;
    }
    return status;
}

static enum gdfo_status wrong_elements(const struct gdfo_gguf_kv *kv, const char *wanted,
                                       struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s has elements that are each %s, wanted %s",
                          gdfo_format_label("key", kv->key).text,
                          gdfo_gguf_type_name(kv->element_type), wanted);
}

static enum gdfo_status check_length(const struct gdfo_gguf_kv *kv, size_t n,
                                     struct gdfo_error *err)
{
    if (kv->n == n) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                          "%s has %" PRIu64 " entries, but there are %zu tokens",
                          gdfo_format_label("key", kv->key).text, kv->n, n);
}

static enum gdfo_status read_texts(const struct gdfo_gguf *g, struct gdfo_cursor *c,
                                   const char *key, struct gdfo_text_list *list,
                                   struct gdfo_error *err)
{
    const struct gdfo_gguf_kv *kv = NULL;
    struct gdfo_buf text;
    enum gdfo_status status = seek_array(g, c, key, &kv, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (kv->element_type != GDFO_GGUF_STRING) {
        return wrong_elements(kv, "a string", err);
    }
    gdfo_buf_init(&text, GDFO_GGUF_STRING_MAX);
    for (uint64_t i = 0; i < kv->n && status == GDFO_STATUS_OK; i++) {
        status = gdfo_cursor_text(c, &text, GDFO_GGUF_STRING_MAX, key, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_text_list_add(list, text.data, text.len, err);
        }
    }
    gdfo_buf_deinit(&text);
    return status;
}

static enum gdfo_status read_types(const struct gdfo_gguf *g, struct gdfo_cursor *c,
                                   struct gdfo_tokenizer_spec *spec, struct gdfo_error *err)
{
    static const char key[] = KEY("token_type");
    const struct gdfo_gguf_range range = {GDFO_TOKEN_NORMAL, GDFO_TOKEN_BYTE};
    const struct gdfo_gguf_kv *kv = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!gdfo_gguf_find(g, key)) {
        return GDFO_STATUS_OK;
    }
    status = seek_array(g, c, key, &kv, err);
    if (status == GDFO_STATUS_OK) {
        status = check_length(kv, spec->tokens.n, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (kv->element_type == GDFO_GGUF_STRING || kv->element_type == GDFO_GGUF_ARRAY) {
        return wrong_elements(kv, "an integer", err);
    }
    spec->types = gdfo_mem_array(spec->tokens.n, sizeof *spec->types);
    if (!spec->types) {
        return gdfo_error_no_memory(err, "reading tokens");
    }
    for (size_t i = 0; i < spec->tokens.n && status == GDFO_STATUS_OK; i++) {
        struct gdfo_gguf_value value;
        uint64_t v = 0;
        status = gdfo_gguf_scalar(c, kv->element_type, &value, key, err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_gguf_int_of(kv->element_type, value, range, &v, key, err);
        }
        spec->types[i] = (uint8_t)v;
    }
    return status;
}

static enum gdfo_status read_scores(const struct gdfo_gguf *g, struct gdfo_cursor *c,
                                    struct gdfo_tokenizer_spec *spec, struct gdfo_error *err)
{
    static const char key[] = KEY("scores");
    const struct gdfo_gguf_kv *kv = NULL;
    enum gdfo_status status = seek_array(g, c, key, &kv, err);
    if (status == GDFO_STATUS_OK) {
        status = check_length(kv, spec->tokens.n, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (kv->element_type != GDFO_GGUF_F32) {
        return wrong_elements(kv, "an f32", err);
    }
    spec->scores = gdfo_mem_array(spec->tokens.n, sizeof *spec->scores);
    if (!spec->scores) {
        return gdfo_error_no_memory(err, "reading tokens");
    }
    for (size_t i = 0; i < spec->tokens.n && status == GDFO_STATUS_OK; i++) {
        struct gdfo_gguf_value value = {0};
        status = gdfo_gguf_scalar(c, GDFO_GGUF_F32, &value, key, err);
        spec->scores[i] = (float)value.f; /* was a float: exact */
    }
    return status;
}

static enum gdfo_status read_id(const struct gdfo_gguf *g, const char *key, int32_t *out,
                                struct gdfo_error *err)
{
    const struct gdfo_gguf_range range = {0, INT32_MAX};
    uint64_t v = 0;
    enum gdfo_status status = gdfo_gguf_int(g, key, range, &v, err);
    *out = gdfo_gguf_find(g, key) ? (int32_t)v : -1;
    return status;
}

static enum gdfo_status read_kind(const struct gdfo_model_file *f, enum gdfo_tokenizer_kind *out,
                                  struct gdfo_error *err)
{
    char model[32] = "";
    char pre[32] = "";
    enum gdfo_status status =
        gdfo_gguf_text(f->gguf, &f->reader, KEY("model"), model, sizeof model, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_text(f->gguf, &f->reader, KEY("pre"), pre, sizeof pre, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (strcmp(model, "llama") == 0) {
        *out = GDFO_TOKENIZER_SPM;
    } else if (strcmp(model, "gpt2") != 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "%s is not read, accepted \"gpt2\" and \"llama\"",
                              gdfo_format_label("tokenizer model", model).text);
    } else if (strcmp(pre, "smollm") == 0) {
        *out = GDFO_TOKENIZER_SMOLLM;
    } else if (strcmp(pre, "gpt2") == 0 || strcmp(pre, "gpt-2") == 0) {
        *out = GDFO_TOKENIZER_GPT2;
    } else {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "%s is not read, accepted \"gpt2\" and \"smollm\"",
                              gdfo_format_label("pre-tokenizer", pre).text);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_flags(const struct gdfo_gguf *g, struct gdfo_tokenizer_spec *spec,
                                   struct gdfo_error *err)
{
    const int is_spm = spec->kind == GDFO_TOKENIZER_SPM;
    enum gdfo_status status = read_id(g, KEY("bos_token_id"), &spec->bos, err);
    if (status == GDFO_STATUS_OK) {
        status = read_id(g, KEY("eos_token_id"), &spec->eos, err);
    }
    spec->add_bos = is_spm && spec->bos >= 0;
    spec->add_space_prefix = is_spm;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_bool(g, KEY("add_bos_token"), &spec->add_bos, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_bool(g, KEY("add_space_prefix"), &spec->add_space_prefix, err);
    }
    return status;
}

static enum gdfo_status read_spec(const struct gdfo_model_file *f, struct gdfo_cursor *c,
                                  struct gdfo_tokenizer_spec *spec, struct gdfo_error *err)
{
    enum gdfo_status status = read_kind(f, &spec->kind, err);
    if (status == GDFO_STATUS_OK) {
        status = read_flags(f->gguf, spec, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_texts(f->gguf, c, KEY("tokens"), &spec->tokens, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_types(f->gguf, c, spec, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    return spec->kind == GDFO_TOKENIZER_SPM
               ? read_scores(f->gguf, c, spec, err)
               : read_texts(f->gguf, c, KEY("merges"), &spec->merges, err);
}

enum gdfo_status gdfo_gguf_tokenizer(const struct gdfo_model_file *f, struct gdfo_tokenizer **out,
                                     struct gdfo_error *err)
{
    struct gdfo_tokenizer_spec spec = {0};
    struct gdfo_cursor c;
    enum gdfo_status status;
    if (!gdfo_gguf_find(f->gguf, KEY("model"))) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "the file carries no tokenizer (%s)",
                              KEY("model"));
    }
    status = gdfo_cursor_init(&c, &f->reader, err);
    if (status == GDFO_STATUS_OK) {
        status = read_spec(f, &c, &spec, err);
    }
    gdfo_cursor_deinit(&c);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tokenizer_create(out, &spec, err);
    }
    gdfo_tokenizer_spec_deinit(&spec);
    return status;
}
