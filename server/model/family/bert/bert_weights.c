#include "common/mem.h"
#include "server/model/family/bert/bert_weights_priv.h"

#include <stdio.h>
#include <string.h>

#define ALIGN_FLOATS 16 /* 64 bytes */
#define NAME_BYTES   64

enum dim { DIM_ONE, DIM_MODEL, DIM_FF, DIM_VOCAB, DIM_POSITIONS, DIM_TYPES };

struct row {
    const char *tensor; /* "blk.N." stands in front of a layer's */
    size_t member;      /* of struct gdfo_bert_layer, or of struct gdfo_bert_weights */
    enum dim rows, cols;
    int is_joined; /* follows the tensor before it without a gap */
};

#define OF_LAYER(m) offsetof(struct gdfo_bert_layer, m)
#define OF_MODEL(m) offsetof(struct gdfo_bert_weights, m)
#define N(table)    (sizeof(table) / sizeof *(table))

static const struct row layer_rows[] = {
    {"attn_q.weight", OF_LAYER(q), DIM_MODEL, DIM_MODEL, 0},
    {"attn_k.weight", OF_LAYER(k), DIM_MODEL, DIM_MODEL, 1},
    {"attn_v.weight", OF_LAYER(v), DIM_MODEL, DIM_MODEL, 1},
    {"attn_q.bias", OF_LAYER(q_bias), DIM_ONE, DIM_MODEL, 0},
    {"attn_k.bias", OF_LAYER(k_bias), DIM_ONE, DIM_MODEL, 1},
    {"attn_v.bias", OF_LAYER(v_bias), DIM_ONE, DIM_MODEL, 1},
    {"attn_output.weight", OF_LAYER(o), DIM_MODEL, DIM_MODEL, 0},
    {"attn_output.bias", OF_LAYER(o_bias), DIM_ONE, DIM_MODEL, 0},
    {"attn_output_norm.weight", OF_LAYER(attn_norm), DIM_ONE, DIM_MODEL, 0},
    {"attn_output_norm.bias", OF_LAYER(attn_norm_bias), DIM_ONE, DIM_MODEL, 0},
    {"ffn_up.weight", OF_LAYER(up), DIM_FF, DIM_MODEL, 0},
    {"ffn_up.bias", OF_LAYER(up_bias), DIM_ONE, DIM_FF, 0},
    {"ffn_down.weight", OF_LAYER(down), DIM_MODEL, DIM_FF, 0},
    {"ffn_down.bias", OF_LAYER(down_bias), DIM_ONE, DIM_MODEL, 0},
    {"layer_output_norm.weight", OF_LAYER(out_norm), DIM_ONE, DIM_MODEL, 0},
    {"layer_output_norm.bias", OF_LAYER(out_norm_bias), DIM_ONE, DIM_MODEL, 0},
};

static const struct row model_rows[] = {
    {"token_embd.weight", OF_MODEL(embed), DIM_VOCAB, DIM_MODEL, 0},
    {"position_embd.weight", OF_MODEL(positions), DIM_POSITIONS, DIM_MODEL, 0},
    {"token_types.weight", OF_MODEL(types), DIM_TYPES, DIM_MODEL, 0},
    {"token_embd_norm.weight", OF_MODEL(embed_norm), DIM_ONE, DIM_MODEL, 0},
    {"token_embd_norm.bias", OF_MODEL(embed_norm_bias), DIM_ONE, DIM_MODEL, 0},
    /* the masked-LM head, not in an encoder */
    {"mlm_dense.weight", OF_MODEL(mlm_dense), DIM_MODEL, DIM_MODEL, 0},
    {"mlm_dense.bias", OF_MODEL(mlm_dense_bias), DIM_ONE, DIM_MODEL, 0},
    {"mlm_norm.weight", OF_MODEL(mlm_norm), DIM_ONE, DIM_MODEL, 0},
    {"mlm_norm.bias", OF_MODEL(mlm_norm_bias), DIM_ONE, DIM_MODEL, 0},
    {"output.bias", OF_MODEL(head_bias), DIM_ONE, DIM_VOCAB, 0},
    {"output.weight", OF_MODEL(head), DIM_VOCAB, DIM_MODEL, 0}, /* not when tied */
};
#define N_ENCODER_ROWS 5

static size_t n_model_rows(const struct gdfo_model_config *c)
{
    if (c->is_encoder) {
        return N_ENCODER_ROWS;
    }
    return c->is_tied ? N(model_rows) - 1 : N(model_rows);
}

static size_t dim_of(const struct gdfo_model_config *c, enum dim d)
{
    switch (d) {
    case DIM_ONE: return 1;
    case DIM_MODEL: return c->d_model;
    case DIM_FF: return c->d_ff;
    case DIM_VOCAB: return c->vocab;
    case DIM_POSITIONS: return (size_t)c->position_first + c->context_max;
    case DIM_TYPES: return c->n_types;
    }
    return 0;
}

static size_t elements(const struct gdfo_model_config *c, const struct row *r)
{
    return dim_of(c, r->rows) * dim_of(c, r->cols);
}

/* Adds the place of one tensor to *at; 0 on overflow. */
static int place(size_t *at, const struct gdfo_model_config *c, const struct row *r)
{
    size_t n = 0;
    if (!r->is_joined &&
        !gdfo_size_add(at, *at, (ALIGN_FLOATS - *at % ALIGN_FLOATS) % ALIGN_FLOATS)) {
        return 0;
    }
    return gdfo_size_mul(&n, dim_of(c, r->rows), dim_of(c, r->cols)) && gdfo_size_add(at, *at, n);
}

static int shapes_fit(const struct gdfo_model_config *c)
{
    return c->n_layers > 0 && c->d_model > 0 && c->n_heads > 0 && c->d_head > 0 && c->d_ff > 0 &&
           c->vocab > 0 && c->n_types > 0 && c->context_max > 0 && c->n_kv_heads == c->n_heads &&
           (uint64_t)c->n_heads * c->d_head == c->d_model;
}

size_t gdfo_bert_weights_floats(const struct gdfo_model_config *c)
{
    size_t at = 0;
    if (!shapes_fit(c)) {
        return 0;
    }
    for (size_t i = 0; i < n_model_rows(c); i++) {
        if (!place(&at, c, &model_rows[i])) {
            return 0;
        }
    }
    for (size_t l = 0; l < c->n_layers; l++) {
        for (size_t i = 0; i < N(layer_rows); i++) {
            if (!place(&at, c, &layer_rows[i])) {
                return 0;
            }
        }
    }
    return at;
}

void gdfo_bert_weights_destroy(struct gdfo_bert_weights *w)
{
    if (w) {
        gdfo_mem_free(w->slab);
        gdfo_mem_free(w->layers);
        gdfo_mem_free(w);
    }
}

/* Reads one tensor to its place, sets the pointer member of owner to it and moves *at past it. */
static enum gdfo_status read_one(struct gdfo_bert_weights *w, void *owner, const struct row *r,
                                 const char *name, const struct gdfo_model_file *file, size_t *at,
                                 struct gdfo_error *err)
{
    const size_t n = elements(&w->config, r);
    float *p;
    (void)place(at, &w->config, r);
    p = w->slab + (*at - n);
    memcpy((char *)owner + r->member, &p, sizeof p);
    if (strcmp(r->tensor, "output.bias") == 0 && gdfo_model_file_has(file, "output.decoder_bias")) {
        name = "output.decoder_bias"; /* untied: the one that the decoder adds */
    }
    return gdfo_model_file_read(file, name, p, n, err);
}

static enum gdfo_status read_all(struct gdfo_bert_weights *w, const struct gdfo_model_file *file,
                                 struct gdfo_error *err)
{
    enum gdfo_status st = GDFO_STATUS_OK;
    size_t at = 0;
    w->head = NULL;
    for (size_t i = 0; i < n_model_rows(&w->config) && st == GDFO_STATUS_OK; i++) {
        st = read_one(w, w, &model_rows[i], model_rows[i].tensor, file, &at, err);
    }
    for (size_t l = 0; l < w->config.n_layers; l++) {
        for (size_t i = 0; i < N(layer_rows) && st == GDFO_STATUS_OK; i++) {
            char name[NAME_BYTES];
            (void)snprintf(name, sizeof name, "blk.%zu.%s", l, layer_rows[i].tensor);
            st = read_one(w, &w->layers[l], &layer_rows[i], name, file, &at, err);
        }
    }
    w->head = w->head ? w->head : w->embed;
    return st;
}

enum gdfo_status gdfo_bert_weights_load(struct gdfo_bert_weights **out,
                                        const struct gdfo_model_file *file, struct gdfo_error *err)
{
    const struct gdfo_model_config *c = gdfo_model_file_config(file);
    const size_t n = gdfo_bert_weights_floats(c);
    struct gdfo_bert_weights *w;
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    if (n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "model shapes do not fit together: %u layers, d %u, %u heads of %u, "
                              "ff %u, vocabulary %u",
                              c->n_layers, c->d_model, c->n_heads, c->d_head, c->d_ff, c->vocab);
    }
    w = gdfo_mem_array(1, sizeof *w);
    if (w) {
        w->config = *c;
        w->slab = gdfo_mem_aligned(n, sizeof *w->slab);
        w->layers = gdfo_mem_array(c->n_layers, sizeof *w->layers);
    }
    st = w && w->slab && w->layers ? read_all(w, file, err)
                                   : gdfo_error_no_memory(err, "model weights");
    if (st != GDFO_STATUS_OK) {
        gdfo_bert_weights_destroy(w);
        return st;
    }
    *out = w;
    return GDFO_STATUS_OK;
}
