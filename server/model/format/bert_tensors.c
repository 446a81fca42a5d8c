#include "server/model/format/bert_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum extent { EXTENT_NONE, EXTENT_D, EXTENT_FF, EXTENT_VOCAB, EXTENT_POSITIONS, EXTENT_TYPES };

struct row {
    const char *file;  /* BERT's name, without "bert." or "encoder.layer.N." */
    const char *other; /* RoBERTa's, where it differs */
    const char *name;  /* ours */
    enum extent columns, rows;
};

#define LAYER_PREFIX "encoder.layer."
#define PAIR(file, name, columns, rows)                                                            \
    {file ".weight", NULL, name ".weight", columns, rows},                                         \
    {                                                                                              \
        file ".bias", NULL, name ".bias", rows, EXTENT_NONE                                        \
    }
#define NORM(file, name)                                                                           \
    {file ".weight", NULL, name ".weight", EXTENT_D, EXTENT_NONE},                                 \
    {                                                                                              \
        file ".bias", NULL, name ".bias", EXTENT_D, EXTENT_NONE                                    \
    }

static const struct row of_block[] = {
    PAIR("attention.self.query", "attn_q", EXTENT_D, EXTENT_D),
    PAIR("attention.self.key", "attn_k", EXTENT_D, EXTENT_D),
    PAIR("attention.self.value", "attn_v", EXTENT_D, EXTENT_D),
    PAIR("attention.output.dense", "attn_output", EXTENT_D, EXTENT_D),
    NORM("attention.output.LayerNorm", "attn_output_norm"),
    PAIR("intermediate.dense", "ffn_up", EXTENT_D, EXTENT_FF),
    PAIR("output.dense", "ffn_down", EXTENT_FF, EXTENT_D),
    NORM("output.LayerNorm", "layer_output_norm"),
};
static const struct row of_file[] = {
    {"embeddings.word_embeddings.weight", NULL, "token_embd.weight", EXTENT_D, EXTENT_VOCAB},
    {"embeddings.position_embeddings.weight", NULL, "position_embd.weight", EXTENT_D,
     EXTENT_POSITIONS},
    {"embeddings.token_type_embeddings.weight", NULL, "token_types.weight", EXTENT_D, EXTENT_TYPES},
    NORM("embeddings.LayerNorm", "token_embd_norm"),
};
static const struct row of_head[] = {
    {"cls.predictions.transform.dense.weight", "lm_head.dense.weight", "mlm_dense.weight", EXTENT_D,
     EXTENT_D},
    {"cls.predictions.transform.dense.bias", "lm_head.dense.bias", "mlm_dense.bias", EXTENT_D,
     EXTENT_NONE},
    {"cls.predictions.transform.LayerNorm.weight", "lm_head.layer_norm.weight", "mlm_norm.weight",
     EXTENT_D, EXTENT_NONE},
    {"cls.predictions.transform.LayerNorm.bias", "lm_head.layer_norm.bias", "mlm_norm.bias",
     EXTENT_D, EXTENT_NONE},
    {"cls.predictions.bias", "lm_head.bias", "output.bias", EXTENT_VOCAB, EXTENT_NONE},
    {"cls.predictions.decoder.weight", "lm_head.decoder.weight", "output.weight", EXTENT_D,
     EXTENT_VOCAB}, /* not when tied */
    {"cls.predictions.decoder.bias", "lm_head.decoder.bias", "output.decoder_bias", EXTENT_VOCAB,
     EXTENT_NONE}, /* not when tied; else optional, and goes before output.bias */
};
#define N_HEAD_TIED 5
#define N(table)    (sizeof(table) / sizeof *(table))

int gdfo_is_bert(const struct gdfo_model_config *c)
{
    return strcmp(c->architecture, "bert") == 0;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static int starts_with(const char *s, const char *head)
{
    return strncmp(s, head, strlen(head)) == 0;
}

static const struct row *find_file(const struct row *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].file, name) == 0 ||
            (table[i].other && strcmp(table[i].other, name) == 0)) {
            return &table[i];
        }
    }
    return NULL;
}

/* What no masked LM's forward pass reads, and what is tied to another tensor. */
static int is_ignored(const struct gdfo_model_config *c, const char *name)
{
    static const char *const ignored[] = {"pooler.", "cls.seq_relationship.",
                                          "embeddings.position_ids", "embeddings.token_type_ids"};
    static const char *const tied[] = {"cls.predictions.decoder.", "lm_head.decoder."};
    for (size_t i = 0; i < N(ignored); i++) {
        if (starts_with(name, ignored[i])) {
            return 1;
        }
    }
    return c->is_tied && (starts_with(name, tied[0]) || starts_with(name, tied[1]));
}

/* The oldest files call a norm's weight and bias gamma and beta. */
static void modernise(char *name, size_t room)
{
    static const char *const old[][2] = {{".gamma", ".weight"}, {".beta", ".bias"}};
    for (size_t i = 0; i < N(old); i++) {
        const size_t n = strlen(name);
        const size_t n_old = strlen(old[i][0]);
        if (n > n_old && strcmp(name + n - n_old, old[i][0]) == 0) {
            GDFO_IGNORE(snprintf(name + n - n_old, room - (n - n_old), "%s", old[i][1]));
        }
    }
}

/* Our name for a name without its prefix; 0 when it has no place. */
static int name_of(struct gdfo_model_tensor *t, const char *name)
{
    const struct row *row = NULL;
    if (starts_with(name, LAYER_PREFIX)) {
        const char *number = name + strlen(LAYER_PREFIX);
        const size_t n = strspn(number, "0123456789");
        if (n >= 1 && n <= 5 && number[n] == '.') {
            row = find_file(of_block, N(of_block), number + n + 1);
        }
        if (row) {
            GDFO_IGNORE(
                snprintf(t->name, sizeof t->name, "blk.%.*s.%s", (int)n, number, row->name));
        }
        return row != NULL;
    }
    row = find_file(of_file, N(of_file), name);
    row = row ? row : find_file(of_head, N(of_head), name);
    if (row) {
        GDFO_IGNORE(snprintf(t->name, sizeof t->name, "%s", row->name));
    }
    return row != NULL;
}

enum gdfo_status gdfo_bert_map_name(struct gdfo_model_tensor *t, const struct gdfo_model_config *c,
                                    const char *name, struct gdfo_error *err)
{
    static const char *const prefixes[] = {"bert.", "roberta."};
    char modern[256];
    const char *rest = modern;
    GDFO_IGNORE(snprintf(modern, sizeof modern, "%s", name));
    modernise(modern, sizeof modern);
    for (size_t i = 0; i < N(prefixes); i++) {
        rest += starts_with(rest, prefixes[i]) ? strlen(prefixes[i]) : 0;
    }
    if (is_ignored(c, rest)) {
        t->is_ignored = 1;
        GDFO_IGNORE(snprintf(t->name, sizeof t->name, "%.*s", (int)sizeof t->name - 1, name));
        return GDFO_STATUS_OK;
    }
    if (name_of(t, rest)) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s has no place in a %s model",
                          gdfo_format_label("tensor", name).text,
                          c->position_first > 0 ? "roberta" : "bert");
}

/* ---- shapes -----------------------------------------------------------------------------------
 */

static uint64_t extent(const struct gdfo_model_config *c, enum extent e)
{
    switch (e) {
    case EXTENT_NONE: return 1;
    case EXTENT_D: return c->d_model;
    case EXTENT_FF: return c->d_ff;
    case EXTENT_VOCAB: return c->vocab;
    case EXTENT_POSITIONS: return (uint64_t)c->context_max + c->position_first;
    case EXTENT_TYPES: return c->n_types;
    }
    return 0;
}

/* One tensor that the model needs: there, and of its shape. */
static enum gdfo_status check_one(const struct gdfo_model_file *f, const char *name,
                                  const struct row *row, struct gdfo_error *err)
{
    const struct gdfo_model_tensor *t = gdfo_model_tensor_find(f, name);
    const uint64_t columns = extent(&f->config, row->columns);
    const uint64_t rows = extent(&f->config, row->rows);
    if (!t) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s (%s) is missing",
                              gdfo_format_label("tensor", name).text, row->file);
    }
    if (t->dims[0] != columns || t->n_elements != columns * rows ||
        t->n_dims != (row->rows == EXTENT_NONE ? 1u : 2u)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s has %" PRIu32 " dimensions, rows of %" PRIu64 " and %" PRIu64
                              " elements; the config asks for %" PRIu64 " rows of %" PRIu64,
                              gdfo_format_label("tensor", name).text, t->n_dims, t->dims[0],
                              t->n_elements, rows, columns);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_table(const struct gdfo_model_file *f, const struct row *table,
                                    size_t n, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = check_one(f, table[i].name, &table[i], err);
    }
    return status;
}

static enum gdfo_status check_blocks(const struct gdfo_model_file *f, struct gdfo_error *err)
{
    char name[GDFO_FORMAT_NAME_MAX + 1];
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t b = 0; b < f->config.n_layers; b++) {
        for (size_t i = 0; i < N(of_block) && status == GDFO_STATUS_OK; i++) {
            GDFO_IGNORE(snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", b, of_block[i].name));
            status = check_one(f, name, &of_block[i], err);
        }
    }
    return status;
}

/* Names are good one by one; so many of them and no more means that none is of a block too far. */
static enum gdfo_status check_count(const struct gdfo_model_file *f, size_t n_head,
                                    struct gdfo_error *err)
{
    const size_t want = N(of_file) + n_head + N(of_block) * f->config.n_layers;
    size_t n = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        n += !f->tensors[i].is_ignored;
    }
    return n == want ? GDFO_STATUS_OK
                     : gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                      "the file has %zu tensors that a model of %" PRIu32
                                      " blocks has no place for",
                                      n - want, f->config.n_layers);
}

static enum gdfo_status check_config(const struct gdfo_model_config *c, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_format_check_bounds(c, err);
    if (status == GDFO_STATUS_OK && (uint64_t)c->n_heads * c->d_head != c->d_model) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "hidden_size %" PRIu32 " is no multiple of %" PRIu32 " heads",
                              c->d_model, c->n_heads);
    }
    if (status == GDFO_STATUS_OK && !(c->rms_eps > 0 && c->rms_eps <= 0.01)) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "layer_norm_eps is %g, accepted above 0 and up to 0.01", c->rms_eps);
    }
    return status;
}

enum gdfo_status gdfo_bert_check(struct gdfo_model_file *f, struct gdfo_error *err)
{
    const int has_bias = gdfo_model_tensor_find(f, "output.decoder_bias") != NULL;
    const size_t n_all = f->config.is_tied ? N_HEAD_TIED : N_HEAD_TIED + 1 + (has_bias ? 1 : 0);
    size_t n_head = 0;
    enum gdfo_status status = check_config(&f->config, err);
    for (size_t i = 0; i < n_all; i++) {
        n_head += gdfo_model_tensor_find(f, of_head[i].name) != NULL;
    }
    f->config.is_encoder = n_head == 0;
    n_head = n_head ? n_all : 0;
    if (status == GDFO_STATUS_OK) {
        status = check_table(f, of_file, N(of_file), err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_blocks(f, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_table(f, of_head, n_head, err);
    }
    return status == GDFO_STATUS_OK ? check_count(f, n_head, err) : status;
}
