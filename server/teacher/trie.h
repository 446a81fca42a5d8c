#ifndef GDFO_SERVER_TEACHER_TRIE_H
#define GDFO_SERVER_TEACHER_TRIE_H

#include "server/teacher/teacher.h"

/*
 * Label forms of several tokens, scored exactly: one scored position for each internal node of the
 * trie of all forms (the node's tokens are appended after the cue), and the lps along a form's path
 * are summed (teachers.md 1.3, rule 6). Node 0 is the root: nothing appended.
 */
#define GDFO_TRIE_NODES_MAX 64

struct gdfo_tokenizer;

struct gdfo_trie_node {
    int32_t path[GDFO_LABEL_IDS_MAX]; /* tokens already said */
    uint32_t n_path;
    int32_t *asked; /* distinct next tokens wanted at this node */
    uint32_t n_asked;
    size_t asked_cap;
};

struct gdfo_trie {
    struct gdfo_trie_node nodes[GDFO_TRIE_NODES_MAX];
    uint32_t n_nodes;
};

/* A label word in a tokenizer's own tokens, as they come behind a text. LIMIT past
 * GDFO_LABEL_IDS_MAX. */
GDFO_MUST_USE enum gdfo_status gdfo_label_ids_encode(const struct gdfo_tokenizer *t,
                                                     struct gdfo_text text,
                                                     struct gdfo_label_ids *out,
                                                     struct gdfo_error *err);

/* t is caller's storage, ended by gdfo_trie_deinit also on failure. LIMIT past GDFO_TRIE_NODES_MAX
 * nodes. */
GDFO_MUST_USE enum gdfo_status gdfo_trie_init(struct gdfo_trie *t,
                                              const struct gdfo_label_ids *forms, uint32_t n_forms,
                                              struct gdfo_error *err);
void gdfo_trie_deinit(struct gdfo_trie *t);

/* lp of one form from the answers at one cell: lp_at[node] points at that node's asked lps, in
 * order. */
float gdfo_trie_form_lp(const struct gdfo_trie *t, const struct gdfo_label_ids *form,
                        const float *const *lp_at);

#endif
