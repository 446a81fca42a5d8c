#include "common/mem.h"
#include "server/model/format/config_json_priv.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define N_VALUES_MAX  (12u * GDFO_FORMAT_TENSORS_MAX) /* a tensor has at most 1 + 1 + 5 + 3 */
#define N_MEMBERS_MAX (GDFO_FORMAT_TENSORS_MAX + 1u)  /* and __metadata__ */

enum gdfo_status gdfo_json_read_at(struct gdfo_json **out, const struct gdfo_reader *r, uint64_t at,
                                   size_t n, struct gdfo_error *err)
{
    const struct gdfo_json_limits limits = {
        .depth = 16, .string_bytes = n + 1, .members = N_MEMBERS_MAX, .values = N_VALUES_MAX};
    enum gdfo_status status;
    char *text = gdfo_mem_array(n, 1);
    if (!text) {
        return gdfo_error_no_memory(err, "reading JSON");
    }
    status = gdfo_reader_at(r, at, text, n, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_json_parse(out, text, n, &limits, err);
    }
    gdfo_mem_free(text);
    return status;
}

#define AT(field) offsetof(struct gdfo_model_config, field)

static const struct gdfo_config_number numbers[] = {
    {"hidden_size", AT(d_model), GDFO_FORMAT_WIDTH_MAX, 1},
    {"intermediate_size", AT(d_ff), GDFO_FORMAT_FF_MAX, 1},
    {"num_hidden_layers", AT(n_layers), GDFO_FORMAT_LAYERS_MAX, 1},
    {"num_attention_heads", AT(n_heads), GDFO_FORMAT_WIDTH_MAX, 1},
    {"num_key_value_heads", AT(n_kv_heads), GDFO_FORMAT_WIDTH_MAX, 0},
    {"vocab_size", AT(vocab), GDFO_FORMAT_VOCAB_MAX, 1},
    {"max_position_embeddings", AT(context_max), GDFO_FORMAT_CONTEXT_MAX, 1},
    {"head_dim", AT(d_head), GDFO_FORMAT_WIDTH_MAX, 0},
};

/* NULL when the member is missing or null: Python writes null for what is not set. */
const struct gdfo_json *gdfo_config_member(const struct gdfo_json *root, const char *key)
{
    const struct gdfo_json *v = gdfo_json_get(root, key);
    return v && gdfo_json_type(v) == GDFO_JSON_NULL ? NULL : v;
}

enum gdfo_status gdfo_config_missing(const char *key, struct gdfo_error *err)
{
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"%s\" is missing", key);
}

enum gdfo_status gdfo_config_numbers(struct gdfo_model_config *c, const struct gdfo_json *root,
                                     const struct gdfo_config_number *rows, size_t n_rows,
                                     struct gdfo_error *err)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct gdfo_config_number *row = &rows[i];
        const struct gdfo_json *v = gdfo_config_member(root, row->key);
        int64_t n = 0;
        uint32_t narrow;
        if (!v && row->is_required) {
            return gdfo_config_missing(row->key, err);
        }
        if (v && (!gdfo_json_int(v, &n) || n < 1 || n > (int64_t)row->max)) {
            return gdfo_error_set(
                err, GDFO_STATUS_FORMAT, "\"%s\" is %s%" PRId64 ", accepted integers 1..%" PRIu32,
                row->key, gdfo_json_int(v, &n) ? "" : "no integer: ", n, row->max);
        }
        narrow = (uint32_t)n;
        memcpy((char *)c + row->at, &narrow, sizeof narrow);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_config_real(const struct gdfo_json *root, const char *key, double *out,
                                  struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_config_member(root, key);
    if (v && !gdfo_json_number(v, out)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"%s\" is %s, wanted a number", key,
                              gdfo_json_type_name(gdfo_json_type(v)));
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_config_bool(const struct gdfo_json *root, const char *key, int *out,
                                  struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_config_member(root, key);
    if (v && !gdfo_json_bool(v, out)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"%s\" is %s, wanted true or false", key,
                              gdfo_json_type_name(gdfo_json_type(v)));
    }
    return GDFO_STATUS_OK;
}

/* A word that must be the one we compute with, when it is there at all. */
enum gdfo_status gdfo_config_require_word(const struct gdfo_json *root, const char *key,
                                          const char *word, struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_config_member(root, key);
    const char *text = v ? gdfo_json_string(v) : word;
    if (!text) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"%s\" is %s, wanted \"%s\"", key,
                              gdfo_json_type_name(gdfo_json_type(v)), word);
    }
    if (strcmp(text, word) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s is not read, accepted \"%s\"",
                              gdfo_format_label(key, text).text, word);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_config_refuse_set(const struct gdfo_json *root, const char *key,
                                        struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_config_member(root, key);
    int is_set = 1;
    if (!v || (gdfo_json_bool(v, &is_set) && !is_set)) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "models with \"%s\" are not read", key);
}

/* What would change the computation. */
static enum gdfo_status check_kind(const struct gdfo_json *root, struct gdfo_error *err)
{
    static const char *const refused[] = {"attention_bias", "mlp_bias", "rope_scaling",
                                          "quantization_config", "sliding_window"};
    enum gdfo_status status = gdfo_config_require_word(root, "hidden_act", "silu", err);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && status == GDFO_STATUS_OK; i++) {
        status = gdfo_config_refuse_set(root, refused[i], err);
    }
    return status;
}

/* rope_theta stands at the top, or inside rope_parameters in newer files. */
static enum gdfo_status read_rope(struct gdfo_model_config *c, const struct gdfo_json *root,
                                  struct gdfo_error *err)
{
    const struct gdfo_json *inner = gdfo_config_member(root, "rope_parameters");
    enum gdfo_status status;
    c->rope_base = 10000;
    status = gdfo_config_real(root, "rope_theta", &c->rope_base, err);
    if (status != GDFO_STATUS_OK || !inner) {
        return status;
    }
    if (gdfo_json_type(inner) != GDFO_JSON_OBJECT) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"rope_parameters\" is no object");
    }
    status = gdfo_config_require_word(inner, "rope_type", "default", err);
    return status == GDFO_STATUS_OK ? gdfo_config_real(inner, "rope_theta", &c->rope_base, err)
                                    : status;
}

static enum gdfo_status read_llama(struct gdfo_model_config *c, const struct gdfo_json *root,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = check_kind(root, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_numbers(c, root, numbers, sizeof numbers / sizeof numbers[0], err);
    }
    if (status == GDFO_STATUS_OK && !gdfo_config_member(root, "rms_norm_eps")) {
        return gdfo_config_missing("rms_norm_eps", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_real(root, "rms_norm_eps", &c->rms_eps, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_rope(c, root, err);
    }
    c->is_tied = -1;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_bool(root, "tie_word_embeddings", &c->is_tied, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    memcpy(c->architecture, "llama", sizeof "llama");
    c->n_kv_heads = c->n_kv_heads ? c->n_kv_heads : c->n_heads;
    c->d_head = c->d_head ? c->d_head : c->d_model / c->n_heads;
    c->n_rot = c->d_head;
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_members(struct gdfo_model_config *c, const struct gdfo_json *root,
                                     struct gdfo_error *err)
{
    const struct gdfo_json *v;
    const char *type;
    if (gdfo_json_type(root) != GDFO_JSON_OBJECT) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the config is no JSON object");
    }
    v = gdfo_config_member(root, "model_type");
    type = v ? gdfo_json_string(v) : "llama";
    if (!type) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "\"model_type\" is %s, wanted a string",
                              gdfo_json_type_name(gdfo_json_type(v)));
    }
    if (strcmp(type, "llama") == 0) {
        return read_llama(c, root, err);
    }
    if (strcmp(type, "bert") == 0 || strcmp(type, "roberta") == 0) {
        return gdfo_config_bert(c, root, type, err);
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "%s is not read, accepted \"llama\", \"bert\", \"roberta\"",
                          gdfo_format_label("model_type", type).text);
}

enum gdfo_status gdfo_config_json_read(struct gdfo_model_config *c, const struct gdfo_reader *r,
                                       struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status;
    if (r->size > GDFO_CONFIG_JSON_MAX) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%" PRIu64 " bytes, at most %" PRIu64,
                                r->size, GDFO_CONFIG_JSON_MAX);
    } else {
        status = gdfo_json_read_at(&root, r, 0, (size_t)r->size, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_members(c, root, err);
    }
    gdfo_json_destroy(root);
    if (status != GDFO_STATUS_OK) {
        return err ? gdfo_error_prefix(err, "%s", r->name ? r->name : "config.json") : status;
    }
    c->rms_eps = (double)(float)c->rms_eps; /* as GGUF stores it: both files give one model */
    return GDFO_STATUS_OK;
}
