#include "server/teacher/trie.h"

#include "common/check.h"
#include "common/mem.h"
#include "server/model/tokenizer/tokenizer.h"

#include <string.h>

/* The node whose path is the first n tokens of the form; n_nodes when there is none yet. */
static uint32_t find_node(const struct gdfo_trie *t, const struct gdfo_label_ids *form, uint32_t n)
{
    uint32_t i = 0;
    while (i < t->n_nodes && (t->nodes[i].n_path != n ||
                              memcmp(t->nodes[i].path, form->ids, n * sizeof form->ids[0]) != 0)) {
        i++;
    }
    return i;
}

static uint32_t find_asked(const struct gdfo_trie_node *node, int32_t id)
{
    uint32_t i = 0;
    while (i < node->n_asked && node->asked[i] != id) {
        i++;
    }
    return i;
}

static enum gdfo_status ask(struct gdfo_trie_node *node, int32_t id, struct gdfo_error *err)
{
    void *asked = node->asked;
    if (find_asked(node, id) < node->n_asked) {
        return GDFO_STATUS_OK;
    }
    if (!gdfo_mem_grow(&asked, &node->asked_cap, node->n_asked + 1, sizeof node->asked[0])) {
        return gdfo_error_no_memory(err, "label forms");
    }
    node->asked = asked;
    node->asked[node->n_asked++] = id;
    return GDFO_STATUS_OK;
}

static enum gdfo_status add_form(struct gdfo_trie *t, const struct gdfo_label_ids *form,
                                 struct gdfo_error *err)
{
    for (uint32_t depth = 0; depth < form->n_ids; depth++) {
        uint32_t at = find_node(t, form, depth);
        enum gdfo_status status;
        if (at == t->n_nodes) {
            if (t->n_nodes == GDFO_TRIE_NODES_MAX) {
                return gdfo_error_set(
                    err, GDFO_STATUS_LIMIT,
                    "the label words branch at more than %d places: use words of fewer "
                    "tokens or with common beginnings",
                    GDFO_TRIE_NODES_MAX);
            }
            memcpy(t->nodes[at].path, form->ids, depth * sizeof form->ids[0]);
            t->nodes[at].n_path = depth;
            t->n_nodes++;
        }
        status = ask(&t->nodes[at], form->ids[depth], err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_trie_init(struct gdfo_trie *t, const struct gdfo_label_ids *forms,
                                uint32_t n_forms, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    memset(t, 0, sizeof *t);
    t->n_nodes = 1;
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n_forms; i++) {
        if (forms[i].n_ids < 1 || forms[i].n_ids > GDFO_LABEL_IDS_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "label form %u has %u tokens: want 1..%d", i, forms[i].n_ids,
                                  GDFO_LABEL_IDS_MAX);
        }
        status = add_form(t, &forms[i], err);
    }
    return status;
}

void gdfo_trie_deinit(struct gdfo_trie *t)
{
    for (uint32_t i = 0; i < t->n_nodes; i++) {
        gdfo_mem_free(t->nodes[i].asked);
    }
    memset(t, 0, sizeof *t);
}

float gdfo_trie_form_lp(const struct gdfo_trie *t, const struct gdfo_label_ids *form,
                        const float *const *lp_at)
{
    double sum = 0;
    for (uint32_t depth = 0; depth < form->n_ids; depth++) {
        uint32_t node = find_node(t, form, depth);
        uint32_t at;
        GDFO_CHECK(node < t->n_nodes);
        at = find_asked(&t->nodes[node], form->ids[depth]);
        GDFO_CHECK(at < t->nodes[node].n_asked);
        sum += (double)lp_at[node][at];
    }
    return (float)sum;
}

enum gdfo_status gdfo_label_ids_encode(const struct gdfo_tokenizer *t, struct gdfo_text text,
                                       struct gdfo_label_ids *out, struct gdfo_error *err)
{
    struct gdfo_ids ids = {0};
    enum gdfo_status status = gdfo_tokenizer_encode_after(t, text.s, text.n, &ids, err);
    if (status == GDFO_STATUS_OK && ids.n > GDFO_LABEL_IDS_MAX) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%zu tokens: at most %d", ids.n,
                                GDFO_LABEL_IDS_MAX);
    }
    if (status == GDFO_STATUS_OK) {
        memcpy(out->ids, ids.data, ids.n * sizeof out->ids[0]);
        out->n_ids = (uint32_t)ids.n;
    }
    gdfo_ids_deinit(&ids);
    return status;
}
