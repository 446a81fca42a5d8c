#include "server/model/format/gguf_priv.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define ROPE_SCALING "llama.rope.scaling."
#define TOKENS_KEY   "tokenizer.ggml.tokens"

/* Numbers that a llama file must have; ranges of meaning are checked by gdfo_format_check_config.
 */
struct number_row {
    const char *key;
    size_t at; /* offset of an uint32_t in struct gdfo_model_config */
    uint32_t max;
    int is_required;
};
#define AT(member) offsetof(struct gdfo_model_config, member)

static const struct number_row numbers[] = {
    {"llama.block_count", AT(n_layers), GDFO_FORMAT_LAYERS_MAX, 1},
    {"llama.embedding_length", AT(d_model), GDFO_FORMAT_WIDTH_MAX, 1},
    {"llama.feed_forward_length", AT(d_ff), GDFO_FORMAT_FF_MAX, 1},
    {"llama.context_length", AT(context_max), GDFO_FORMAT_CONTEXT_MAX, 1},
    {"llama.attention.head_count", AT(n_heads), GDFO_FORMAT_WIDTH_MAX, 1},
    {"llama.attention.head_count_kv", AT(n_kv_heads), GDFO_FORMAT_WIDTH_MAX, 0},
    {"llama.rope.dimension_count", AT(n_rot), GDFO_FORMAT_WIDTH_MAX, 0},
    {"llama.vocab_size", AT(vocab), GDFO_FORMAT_VOCAB_MAX, 0},
};

static enum gdfo_status read_numbers(const struct gdfo_gguf *g, struct gdfo_model_config *c,
                                     struct gdfo_error *err)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const struct gdfo_gguf_range range = {1, numbers[i].max};
        uint64_t v = 0;
        uint32_t narrow;
        enum gdfo_status status = gdfo_gguf_int(g, numbers[i].key, range, &v, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        if (v == 0 && numbers[i].is_required) {
            return gdfo_gguf_missing(numbers[i].key, err);
        }
        narrow = (uint32_t)v;
        memcpy((char *)c + numbers[i].at, &narrow, sizeof narrow);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_architecture(const struct gdfo_model_file *f,
                                           struct gdfo_model_config *c, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (!gdfo_gguf_find(f->gguf, "general.architecture")) {
        return gdfo_gguf_missing("general.architecture", err);
    }
    status = gdfo_gguf_text(f->gguf, &f->reader, "general.architecture", c->architecture,
                            sizeof c->architecture, err);
    if (status == GDFO_STATUS_OK && strcmp(c->architecture, "llama") != 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s is not read, accepted \"llama\"",
                              gdfo_format_label("architecture", c->architecture).text);
    }
    return status;
}

/* Keys that change what the numbers mean, and that we do not follow. */
static enum gdfo_status check_refused(const struct gdfo_model_file *f, struct gdfo_error *err)
{
    char scaling[16] = "";
    enum gdfo_status status =
        gdfo_gguf_text(f->gguf, &f->reader, ROPE_SCALING "type", scaling, sizeof scaling, err);
    for (size_t i = 0; i < f->gguf->n_kvs && status == GDFO_STATUS_OK; i++) {
        const char *key = f->gguf->kvs[i].key;
        const int is_scaling = strncmp(key, ROPE_SCALING, strlen(ROPE_SCALING)) == 0 ||
                               strcmp(key, "llama.rope.scale_linear") == 0;
        if (is_scaling && strcmp(scaling, "none") != 0) {
            status =
                gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s: scaled rotations are not read",
                               gdfo_format_label("key", key).text);
        } else if (strncmp(key, "split.", 6) == 0) {
            status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s: split files are not read",
                                    gdfo_format_label("key", key).text);
        }
    }
    return status;
}

/* Head sizes that are stated must be d / heads: one head size is all we compute with. */
static enum gdfo_status check_head_sizes(const struct gdfo_gguf *g,
                                         const struct gdfo_model_config *c, struct gdfo_error *err)
{
    static const char *const keys[] = {"llama.attention.key_length",
                                       "llama.attention.value_length"};
    for (size_t i = 0; i < 2; i++) {
        const struct gdfo_gguf_range range = {c->d_head, c->d_head};
        uint64_t v = 0;
        enum gdfo_status status = gdfo_gguf_int(g, keys[i], range, &v, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

/* The special ids lie in the vocabulary, and there are as many tokens as it says. */
static enum gdfo_status check_tokens(const struct gdfo_gguf *g, const struct gdfo_model_config *c,
                                     struct gdfo_error *err)
{
    static const char *const ids[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                      "tokenizer.ggml.unknown_token_id",
                                      "tokenizer.ggml.padding_token_id"};
    const struct gdfo_gguf_range range = {0, c->vocab - 1};
    const struct gdfo_gguf_kv *tokens = NULL;
    uint64_t v = 0;
    enum gdfo_status status = gdfo_gguf_array(g, TOKENS_KEY, &tokens, err);
    if (status == GDFO_STATUS_OK && tokens && tokens->n != c->vocab) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has %" PRIu64 " entries, but the vocabulary is %" PRIu32,
                              gdfo_format_label("key", TOKENS_KEY).text, tokens->n, c->vocab);
    }
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && status == GDFO_STATUS_OK; i++) {
        status = gdfo_gguf_int(g, ids[i], range, &v, err);
    }
    return status;
}

/* vocab_size when missing: the number of tokens, else the rows of token_embd. */
static uint32_t default_vocab(const struct gdfo_model_file *f)
{
    const struct gdfo_gguf_kv *tokens = gdfo_gguf_find(f->gguf, TOKENS_KEY);
    const struct gdfo_model_tensor *embed = gdfo_model_tensor_find(f, "token_embd.weight");
    uint64_t n = embed ? embed->dims[1] : 1;
    if (tokens && tokens->type == GDFO_GGUF_ARRAY) {
        n = tokens->n;
    }
    return n <= GDFO_FORMAT_VOCAB_MAX ? (uint32_t)n : 0;
}

static void fill_defaults(const struct gdfo_model_file *f, struct gdfo_model_config *c)
{
    c->n_kv_heads = c->n_kv_heads ? c->n_kv_heads : c->n_heads;
    c->d_head = c->d_model / c->n_heads;
    c->n_rot = c->n_rot ? c->n_rot : c->d_head;
    c->vocab = c->vocab ? c->vocab : default_vocab(f);
    c->is_tied = gdfo_model_tensor_find(f, "output.weight") == NULL;
}

enum gdfo_status gdfo_gguf_config(struct gdfo_model_file *f, struct gdfo_error *err)
{
    static const char *const eps_key = "llama.attention.layer_norm_rms_epsilon";
    const struct gdfo_gguf *g = f->gguf;
    struct gdfo_model_config *c = &f->config;
    enum gdfo_status status = check_architecture(f, c, err);
    if (status == GDFO_STATUS_OK) {
        status = check_refused(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = read_numbers(g, c, err);
    }
    if (status == GDFO_STATUS_OK && !gdfo_gguf_find(g, eps_key)) {
        status = gdfo_gguf_missing(eps_key, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_float(g, eps_key, &c->rms_eps, err);
    }
    c->rope_base = 10000;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_float(g, "llama.rope.freq_base", &c->rope_base, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gguf_text(g, &f->reader, "general.name", c->name, sizeof c->name, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    fill_defaults(f, c);
    status = gdfo_format_check_config(c, err);
    if (status == GDFO_STATUS_OK) {
        status = check_head_sizes(g, c, err);
    }
    return status == GDFO_STATUS_OK ? check_tokens(g, c, err) : status;
}
