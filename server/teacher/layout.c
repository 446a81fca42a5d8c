#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/teacher/exchange_write.h"

#include <string.h>

static enum gdfo_status add_ids(struct gdfo_ids *to, const int32_t *ids, size_t n,
                                struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < n && status == GDFO_STATUS_OK; i++) {
        status = gdfo_ids_add(to, ids[i], err);
    }
    return status;
}

static uint32_t longest_path(const struct gdfo_trie *t)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < t->n_nodes; k++) {
        n = t->nodes[k].n_path > n ? t->nodes[k].n_path : n;
    }
    return n;
}

/* Cuts the body so that rows, BOS, cue and the longest path fit too. */
static enum gdfo_status cut_body(struct gdfo_layout *l, size_t *n_body, size_t n_others,
                                 uint32_t max_positions, struct gdfo_error *err)
{
    if (max_positions == 0 || n_others + *n_body <= max_positions) {
        return GDFO_STATUS_OK;
    }
    if (n_others >= max_positions) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "prompt, cue and label words take %zu positions, the teacher has %u",
                              n_others, max_positions);
    }
    *n_body = max_positions - n_others;
    l->is_cut = 1;
    return GDFO_STATUS_OK;
}

static enum gdfo_status put_parts(struct gdfo_layout *l, const struct gdfo_remote_block *b,
                                  const struct gdfo_trie_node *node, const int32_t *bos,
                                  const struct gdfo_ids *body, const struct gdfo_ids *cue,
                                  struct gdfo_error *err)
{
    struct gdfo_ids *text = b->req->position == GDFO_POSITION_SUFFIX ? &l->head : &l->tail;
    enum gdfo_status status = add_ids(text, bos, *bos >= 0, err);
    if (status == GDFO_STATUS_OK) {
        status = add_ids(text, body->data, body->n, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = add_ids(&l->tail, cue->data, cue->n, err);
    }
    return status == GDFO_STATUS_OK ? add_ids(&l->tail, node->path, node->n_path, err) : status;
}

enum gdfo_status gdfo_layout_make(struct gdfo_layout *out, const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b, uint32_t example,
                                  uint32_t node, struct gdfo_error *err)
{
    const struct gdfo_tokenizer *t = setup->local ? gdfo_model_tokenizer(setup->local) : NULL;
    const struct gdfo_text text = b->req->bodies[example];
    struct gdfo_ids body = {0};
    struct gdfo_ids cue = {0};
    enum gdfo_status status;
    int32_t bos;
    if (!t) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher is sent tokens: register its model here too, for the "
                              "tokenizer and the embeddings");
    }
    bos = gdfo_tokenizer_bos(t);
    status = gdfo_tokenizer_encode(t, text.s, text.n, &body, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tokenizer_encode_after(t, b->req->cue.s, b->req->cue.n, &cue, err);
    }
    if (status == GDFO_STATUS_OK) {
        status =
            cut_body(out, &body.n,
                     b->req->n_prompt_tokens + (size_t)(bos >= 0) + cue.n + longest_path(b->trie),
                     setup->profile->max_positions, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = put_parts(out, b, &b->trie->nodes[node], &bos, &body, &cue, err);
    }
    gdfo_ids_deinit(&body);
    gdfo_ids_deinit(&cue);
    return status;
}

void gdfo_layout_deinit(struct gdfo_layout *l)
{
    gdfo_ids_deinit(&l->head);
    gdfo_ids_deinit(&l->tail);
}

enum gdfo_status gdfo_layout_embed(const struct gdfo_model *local, const int32_t *ids, size_t n,
                                   float *out, struct gdfo_error *err)
{
    const struct gdfo_model_config *config = gdfo_model_config(local);
    const float *embed = gdfo_model_embed(local);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= config->vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "token %d: the vocabulary has %u",
                                  ids[i], config->vocab);
        }
        memcpy(out + i * config->d_model, embed + (size_t)ids[i] * config->d_model,
               config->d_model * sizeof *out);
    }
    return GDFO_STATUS_OK;
}
