#include "server/model/format/config_json_priv.h"

#include <inttypes.h>
#include <string.h>

#define AT(field) offsetof(struct gdfo_model_config, field)

static const struct gdfo_config_number numbers[] = {
    {"hidden_size", AT(d_model), GDFO_FORMAT_WIDTH_MAX, 1},
    {"intermediate_size", AT(d_ff), GDFO_FORMAT_FF_MAX, 1},
    {"num_hidden_layers", AT(n_layers), GDFO_FORMAT_LAYERS_MAX, 1},
    {"num_attention_heads", AT(n_heads), GDFO_FORMAT_WIDTH_MAX, 1},
    {"vocab_size", AT(vocab), GDFO_FORMAT_VOCAB_MAX, 1},
    {"max_position_embeddings", AT(context_max), GDFO_FORMAT_CONTEXT_MAX, 1},
    {"type_vocab_size", AT(n_types), GDFO_FORMAT_WIDTH_MAX, 1},
};

static enum gdfo_status read_activation(struct gdfo_model_config *c, const struct gdfo_json *root,
                                        struct gdfo_error *err)
{
    static const struct {
        const char *word;
        enum gdfo_activation activation;
    } words[] = {{"gelu", GDFO_ACTIVATION_GELU},
                 {"gelu_new", GDFO_ACTIVATION_GELU_TANH},
                 {"gelu_pytorch_tanh", GDFO_ACTIVATION_GELU_TANH},
                 {"relu", GDFO_ACTIVATION_RELU}};
    const struct gdfo_json *v = gdfo_config_member(root, "hidden_act");
    const char *word = v ? gdfo_json_string(v) : "gelu";
    for (size_t i = 0; word && i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i].word, word) == 0) {
            c->activation = words[i].activation;
            return GDFO_STATUS_OK;
        }
    }
    return gdfo_error_set(
        err, GDFO_STATUS_UNSUPPORTED,
        "%s is not read, accepted \"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\", \"relu\"",
        gdfo_format_label("hidden_act", word ? word : "").text);
}

static enum gdfo_status check_kind(const struct gdfo_json *root, struct gdfo_error *err)
{
    static const char *const refused[] = {"is_decoder", "add_cross_attention",
                                          "quantization_config"};
    enum gdfo_status status =
        gdfo_config_require_word(root, "position_embedding_type", "absolute", err);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && status == GDFO_STATUS_OK; i++) {
        status = gdfo_config_refuse_set(root, refused[i], err);
    }
    return status;
}

/* RoBERTa counts positions from behind its padding id. */
static enum gdfo_status shift_positions(struct gdfo_model_config *c, const struct gdfo_json *root,
                                        struct gdfo_error *err)
{
    const struct gdfo_json *v = gdfo_config_member(root, "pad_token_id");
    int64_t pad = 1;
    if (v && (!gdfo_json_int(v, &pad) || pad < 0 || pad + 2 > (int64_t)c->context_max)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "\"pad_token_id\" is %" PRId64 ", accepted 0..%" PRId64
                              " (two below max_position_embeddings)",
                              pad, (int64_t)c->context_max - 2);
    }
    if (pad + 2 > (int64_t)c->context_max) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "\"max_position_embeddings\" is %" PRIu32 ", accepted 3 and above",
                              c->context_max);
    }
    c->position_first = (uint32_t)pad + 1;
    c->context_max -= c->position_first;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_config_bert(struct gdfo_model_config *c, const struct gdfo_json *root,
                                  const char *type, struct gdfo_error *err)
{
    enum gdfo_status status = check_kind(root, err);
    if (status == GDFO_STATUS_OK) {
        status = read_activation(c, root, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_numbers(c, root, numbers, sizeof numbers / sizeof numbers[0], err);
    }
    c->rms_eps = 1e-12; /* the default of both */
    c->is_tied = 1;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_real(root, "layer_norm_eps", &c->rms_eps, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_config_bool(root, "tie_word_embeddings", &c->is_tied, err);
    }
    if (status == GDFO_STATUS_OK && strcmp(type, "roberta") == 0) {
        status = shift_positions(c, root, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    memcpy(c->architecture, "bert", sizeof "bert");
    c->is_masked = 1;
    c->n_kv_heads = c->n_heads;
    c->d_head = c->d_model / c->n_heads;
    return GDFO_STATUS_OK;
}
