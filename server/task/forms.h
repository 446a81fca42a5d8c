#ifndef GDFO_SERVER_TASK_FORMS_H
#define GDFO_SERVER_TASK_FORMS_H

#include "server/task/task.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The token ids of every label word, found with a tokenizer that the caller lends as a callback
 * (teachers.md 1.3, rule 5). Two labels with the same ids are an error; a form of several tokens,
 * or one that shares its first token with another label's, is a warning.
 */
#define GDFO_FORM_TOKENS_MAX   8U /* teachers.md 1.3, rule 6 */
#define GDFO_FORM_WARNINGS_MAX 32U

struct gdfo_encoder { /* text (no NUL inside, n_bytes of it) to at most cap ids */
    void *ctx;
    enum gdfo_status (*encode)(void *ctx, const char *text, size_t n_bytes, int32_t *ids,
                               size_t cap, size_t *n_ids, struct gdfo_error *err);
};

struct gdfo_form {
    uint32_t label;
    const char *text; /* borrowed from the task */
    uint32_t n_ids;
    int32_t ids[GDFO_FORM_TOKENS_MAX];
};

struct gdfo_forms { /* label by label, words in order: the columns of lp_forms */
    struct gdfo_form *items;
    size_t n;
    char (*warnings)[256];
    size_t n_warnings;
    int is_single_token; /* every form is one token: no trie is needed */
};

/*
 *   *out     owned by caller, ended by gdfo_forms_destroy(); borrows words from t
 *   errors   INVALID with code label_forms_clash when two labels have the same ids; LIMIT for a
 *            form of more than 8 tokens (encode says LIMIT when cap is too small); INVALID for a
 *            form without tokens; what encode says
 */
GDFO_MUST_USE enum gdfo_status gdfo_task_label_forms(struct gdfo_forms **out,
                                                     const struct gdfo_task *t,
                                                     const struct gdfo_encoder *encoder,
                                                     struct gdfo_error *err);
void gdfo_forms_destroy(struct gdfo_forms *f);

#endif
